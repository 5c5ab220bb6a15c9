"""Finding: every attempt, by number, subscriber and time, in closed and open segments, while keys live."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway import model
from gateway.evidence import plan
from gateway.evidence import record as rec
from gateway.evidence.folder import segment_path, segments
from gateway.evidence.found import Found
from gateway.evidence.journal import Journal
from gateway.evidence.lookup import Index, build_index, drop_outdated, index_path, is_closed
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.evidence.search import OutOfTime, Search
from gateway.evidence.segment import Segment, recover

ACCOUNT = model.AccountKey("mobile", "cmpp", "900001")
NOON = 1_763_697_600_000
DAY = 86_400_000
NUMBERS = ["10690001", "10690002", "1069000299"]


def subscriber(n: int) -> str:
    return f"+8613800{n:06d}"


def judged(number: str, n: int) -> Any:
    verdict = model.Verdict(
        model.Reason.BLACKLISTED if n % 10 == 0 else None, number=number[:8], institution_code="B1"
    )
    return rec.judged(ACCOUNT, "n", model.SMS, number, verdict, profile="p", lexicon="l")


async def fill(path: Path, writer: str, numbers: range, *, days: int = 1) -> dict[int, bytes]:
    """Attempt n: to subscriber n % 50, from NUMBERS[n % 3], n s after noon; refused when n % 10 is 0."""
    journal = Journal(path / "journal", "n", writer, Keys(path / "keys"), clock=lambda: NOON)
    journal.start()
    ids = {}
    for n in numbers:
        at = NOON + 1000 * n + ((n - numbers.start) * days // len(numbers)) * DAY
        item = (
            judged(NUMBERS[n % 3], n), 0, 1, n, 0, 1, 1, 0, "", subscriber(n % 50), 8, 0, b"text %d" % n
        )  # fmt: skip
        (ids[n],) = journal.attempts(at, 5, [item], lambda error: None)
        if n % 10:
            journal.outcomes(at + 5, [(ids[n], 0, b"m%d" % n, 0)])
        if n % 20 == 1:
            journal.report(at + 9000, ACCOUNT, b"m%d" % n, "DELIVRD", "", "", "", "", attempt=ids[n])
        if n % 7 == 0:
            await journal.sync()
    await journal.close()
    return ids


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two writers, 300 attempts each, in several segments of which some have an index."""
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 12_000)
    await fill(tmp_path, "w0", range(300))
    await fill(tmp_path, "w1", range(300, 600))
    for path in segments(tmp_path / "journal" / "w0"):
        build_index(path)
    return tmp_path


def search(path: Path) -> Search:
    return Search(path / "journal", Keys(path / "keys"))


def numbers_of(found: Any) -> list[int]:
    return [one.record.sequence for one in found]


async def test_everything_is_found_with_and_without_an_index(node: Path) -> None:
    here = search(node)
    assert len(segments(node / "journal" / "w0")) > 2
    assert numbers_of(here.find(kinds=frozenset({rec.ATTEMPT}))) == list(range(600))
    assert numbers_of(here.find(verdict="refuse")) == list(range(0, 600, 10))
    assert numbers_of(here.find(subscriber=subscriber(7))) == list(range(7, 600, 50))
    assert numbers_of(here.find(number="1069000299", verdict="pass")) == [
        n for n in range(600) if n % 3 == 2 and n % 10
    ]
    assert numbers_of(here.find(number="10690002", verdict="pass")) == [
        n for n in range(600) if n % 3 and n % 10
    ]
    since, until = NOON + 1000 * 250, NOON + 1000 * 350
    assert numbers_of(here.find(since=since, until=until, verdict="pass")) == [
        n for n in range(250, 350) if n % 10
    ]
    assert numbers_of(
        here.find(verdict="pass", subscriber=subscriber(1), number="10690001", since=NOON + 200_000)
    ) == [n for n in range(200, 600) if n % 50 == 1 and n % 3 == 0 and n % 10]
    assert list(here.find(subscriber="+8613999999999")) == []
    assert list(here.find(number="1069")) == []


async def test_what_is_found_opens_and_names_its_place(node: Path) -> None:
    found: Found = next(search(node).find(subscriber=subscriber(33), since=NOON + 400_000))
    assert found.content == rec.Content(subscriber=subscriber(33), octets=b"text 433")
    assert found.writer == "w1"
    with Segment(segment_path(node / "journal" / found.writer, found.segment)) as segment:
        octets = [octets for block in segment.blocks() for octets in block.records]
    assert octets[found.index] == found.octets


async def test_an_attempt_is_shown_with_what_followed(node: Path, tmp_path: Path) -> None:
    ids = {one.record.sequence: one.record.id for one in search(node).find(kinds=frozenset({rec.ATTEMPT}))}  # type: ignore[union-attr]
    for n in (21, 421):
        shown = search(node).show(ids[n])
        assert shown is not None
        assert shown.found.record.id == ids[n]  # type: ignore[union-attr]
        assert [outcome.message_id for outcome in shown.outcomes] == [b"m%d" % n]
        assert [report.record.stat for report in shown.reports] == ["DELIVRD"]  # type: ignore[union-attr]
    refused = search(node).show(ids[10])
    assert refused is not None
    assert refused.outcomes == ()
    assert search(node).show(bytes(16)) is None


async def test_reports_are_tied_by_the_message_id_of_the_carriers_answer(tmp_path: Path) -> None:
    """To three recipients; ids of the first one, and counted on from it; other reports are others'."""
    base = 0xBB1C_1B40_0001_00FF
    ids = [(base + n).to_bytes(8, "big") for n in range(3)]
    other = model.AccountKey("mobile", "cmpp", "900009")
    keys = Keys(tmp_path / "keys")
    journal = Journal(tmp_path / "journal", "n", "w0", keys, clock=lambda: NOON)
    journal.start()
    judged = rec.judged(ACCOUNT, "n", model.SMS, "10690001", model.Verdict(None), profile="", lexicon="")
    items = [(judged, 0, 7, 5, n, 1, 1, 0, "", subscriber(n), 8, 0, b"x") for n in range(3)]
    attempts = journal.attempts(NOON, 1, items, lambda error: None)
    journal.outcomes(NOON + 1, [(attempt, 0, ids[0], 0) for attempt in attempts])
    for n in range(3):
        journal.report(NOON + 10 + n, ACCOUNT, ids[n], "DELIVRD", "", "", "10690001", subscriber(n))
    journal.report(
        NOON + DAY, ACCOUNT, ids[0], "EXPIRED", "", "", "10690001", subscriber(2)
    )  # not counted on
    journal.report(NOON + 20, other, ids[0], "REJECTD", "", "", "10690001", subscriber(0))
    journal.report(NOON + 21, ACCOUNT, b"12345678", "UNDELIV", "", "", "10690001", subscriber(0))
    await journal.close()

    def shown(place: int) -> list[str]:
        found = search(tmp_path).show(attempts[place])
        assert found is not None
        return [report.record.stat for report in found.reports]  # type: ignore[union-attr]

    wanted = [["DELIVRD"], ["DELIVRD"], ["DELIVRD", "EXPIRED"]]
    assert [shown(place) for place in range(3)] == wanted
    for path in segments(tmp_path / "journal" / "w0"):
        build_index(path)
    assert [shown(place) for place in range(3)] == wanted
    keys.forget(rec.day_of(NOON), at=NOON)
    assert shown(0) == ["DELIVRD", "EXPIRED"]  # whose is whose can't be told any more


async def test_replies_and_reports_are_found_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "n", "w0", Keys(tmp_path / "keys"), clock=lambda: NOON)
    journal.start()
    reply = model.Reply(ACCOUNT, "10690001", subscriber(1), "R", "refuse", b"m")
    id_ = journal.reply(
        NOON, reply, b"\x00R", 8, 0, purposes=1, channels=3, registry_version=1, done=lambda error: None
    )
    journal.report(NOON + 1, ACCOUNT, b"m", "DELIVRD", "", "", "10690001", subscriber(1))
    await journal.close()
    path = segment_path(tmp_path / "journal" / "w0", 1)
    for _ in range(2):
        found = list(search(tmp_path).find(subscriber=subscriber(1)))
        assert [one.record.kind for one in found] == [rec.REPLY, rec.REPORT]
        assert [one.content.octets for one in found if one.content] == [b"\x00R", b""]
        shown = search(tmp_path).show(id_)
        assert shown is not None
        assert shown.found.record.kind == rec.REPLY
        build_index(path)


async def test_forgetting_a_day_hides_texts_and_subscribers_and_leaves_verdicts(tmp_path: Path) -> None:
    ids = await fill(tmp_path, "w0", range(40), days=2)
    folder = tmp_path / "journal" / "w0"
    for path in segments(folder):
        build_index(path)
    keys = Keys(tmp_path / "keys")
    before = list(search(tmp_path).find(subscriber=subscriber(5)))
    assert [one.content.octets for one in before if one.content] == [b"text 5"]
    assert keys.forget("2025-11-21", at=NOON)
    assert list(search(tmp_path).find(subscriber=subscriber(5))) == []
    shown = search(tmp_path).show(ids[5])
    assert shown is not None
    assert shown.found.content is None
    assert "forgotten" in shown.found.sealed_by
    assert isinstance(shown.found.record, rec.Attempt)
    assert (shown.found.record.judged.verdict, shown.found.record.judged.number) == ("pass", "1069000299")
    assert len(shown.outcomes) == 1
    everything = list(search(tmp_path).find(kinds=frozenset({rec.ATTEMPT})))
    assert len(everything) == 40
    assert [one.content is None for one in everything] == [True] * 20 + [False] * 20


async def test_a_record_moved_to_another_place_does_not_open(tmp_path: Path) -> None:
    await fill(tmp_path, "w0", range(1, 3))
    here = search(tmp_path)
    found = next(here.find())
    path = segment_path(tmp_path / "journal" / "w0", 1)
    with Segment(path) as segment:
        assert (
            here._found(segment, found.index + 1, found.octets, found.record).sealed_by
            == "the seal is broken"
        )


async def test_a_damaged_or_foreign_index_is_not_used(node: Path) -> None:
    folder = node / "journal" / "w0"
    one, two = segments(folder)[:2]
    whole = index_path(one).read_bytes()
    with Segment(one) as segment:
        digest = segment.digest
    for octets in (
        b"",
        whole[:-1],
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        index_path(two).read_bytes(),
    ):
        index_path(one).write_bytes(octets)
        with pytest.raises(ValueError, match="idx"):
            Index(one, digest)
        assert numbers_of(search(node).find(verdict="refuse")) == list(range(0, 600, 10))


async def test_damage_anywhere_in_an_index_costs_time_but_no_answer(node: Path) -> None:
    path = segments(node / "journal" / "w0")[0]
    whole = index_path(path).read_bytes()
    right = numbers_of(search(node).find(subscriber=subscriber(7)))
    assert right == list(range(7, 600, 50))
    for place in range(50, len(whole), 97):
        index_path(path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert numbers_of(search(node).find(subscriber=subscriber(7))) == right


async def test_the_index_of_another_version_is_made_anew(node: Path) -> None:
    folder = node / "journal" / "w0"
    one, two, *_ = segments(folder)
    index_path(one).write_bytes(b"ZMJIDX1\n" + bytes(100))
    drop_outdated(folder)
    assert (index_path(one).exists(), index_path(two).exists()) == (False, True)


async def test_the_newest_come_first_when_they_are_asked_for(node: Path) -> None:
    here = search(node)
    assert numbers_of(here.find(kinds=frozenset({rec.ATTEMPT}), newest=True)) == list(range(599, -1, -1))
    span = {"since": NOON + 100_000, "until": NOON + 400_000, "newest": True}
    assert numbers_of(here.find(verdict="refuse", **span)) == list(range(390, 90, -10))


async def test_a_search_ends_at_its_deadline(node: Path) -> None:
    with pytest.raises(OutOfTime):
        next(Search(node / "journal", Keys(node / "keys"), deadline=time.monotonic()).find())


async def test_an_index_goes_when_its_segment_is_cut(node: Path) -> None:
    path = segments(node / "journal" / "w0")[-1]
    assert index_path(path).exists()
    recover(path)
    assert not index_path(path).exists()


async def test_a_segment_is_closed_when_a_later_one_is_there_or_its_writer_has_gone(tmp_path: Path) -> None:
    await fill(tmp_path, "w0", range(1))
    path = segment_path(tmp_path / "journal" / "w0", 1)
    assert is_closed(path)
    journal = Journal(tmp_path / "journal", "n", "w0", Keys(tmp_path / "keys"), clock=lambda: NOON)
    assert not is_closed(path)
    journal.start()
    journal.outcomes(NOON, [(bytes(16), 0, b"", 0)])
    await journal.sync()
    assert is_closed(path)
    assert not is_closed(segment_path(tmp_path / "journal" / "w0", 2))
    found = [one.record.kind for one in search(tmp_path).find()]
    assert found == [rec.ATTEMPT]
    await journal.close()


async def test_a_growing_and_an_empty_segment_are_read_as_far_as_they_are(tmp_path: Path) -> None:
    await fill(tmp_path, "w0", range(1, 4))
    folder = tmp_path / "journal" / "w0"
    os.close(os.open(segment_path(folder, 2), os.O_CREAT | os.O_WRONLY))
    with segment_path(folder, 1).open("ab") as file:
        file.write(b"\0\0\0\x30 half a block")
    assert numbers_of(search(tmp_path).find(verdict="pass")) == [1, 2, 3]


async def test_what_people_see_is_decoded_and_masked(node: Path) -> None:
    keys = Keys(node / "keys")
    one = next(search(node).find(subscriber=subscriber(33), since=NOON + 400_000))
    said = json.loads(json.dumps(plain(one), ensure_ascii=False))
    assert (said["kind"], said["verdict"], said["channel"]) == ("attempt", "pass", "sms")
    assert said["at"] == "2025-11-21T12:07:13.000+08:00"
    assert said["subscriber"] == "138****0033"
    assert "13800000033" not in json.dumps(said)
    shown = search(node).show(bytes.fromhex(said["id"]))
    assert shown is not None
    assert plain(shown)["outcome"] == 0
    keys.forget("2025-11-21", at=NOON)
    shown = search(node).show(bytes.fromhex(said["id"]))
    assert shown is not None
    assert "forgotten" in plain(shown)["sealed_by"]
    assert "text" not in plain(shown, revealed=True)
