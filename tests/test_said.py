"""What an attempt said, read back by its place in the journal."""

import random
import time
from pathlib import Path

import pytest
from playbook import MARKETING

from gateway.evidence import plan, said
from gateway.evidence import record as rec
from gateway.evidence.folder import segments
from gateway.evidence.journal import Journal
from gateway.evidence.said import Sayings
from gateway.evidence.seal import Keys
from gateway.model import SMS, AccountKey, Verdict

NOON = 1_763_697_600_000
ACCOUNT = AccountKey("mobile", "cmpp", "900001")
JUDGED = rec.judged(ACCOUNT, "n", SMS, MARKETING, Verdict(None), profile="p", lexicon="l")

Place = tuple[str, bytes, int]
"""Writer, attempt id, index."""


async def write(path: Path, writer: str, texts: list[bytes], *, close: bool = True) -> list[Place]:
    """One block each, an outcome between them."""
    clock = iter(range(NOON, NOON + 10**9, 50))
    journal = Journal(path / "journal", "n", writer, Keys(path / "keys"), clock=lambda: next(clock))
    journal.start()
    places = []
    for n, text in enumerate(texts):
        item = (JUDGED, 0, 1, n, 0, 1, 1, 0, "", f"+861380000{n:04d}", 8, n % 2, text)
        at = next(clock)
        (identity,) = journal.attempts(at, 5, [item], lambda error: None)
        places.append((writer, identity, journal.index))
        journal.outcomes(at, [(identity, 0, b"m", 0)])
        await journal.sync()
    if close:
        await journal.close()
    return places


TEXTS = [b"text %d" % n for n in range(150)]


@pytest.mark.parametrize("open_still", [False, True])
async def test_each_attempt_is_found_in_whichever_segment_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, open_still: bool
) -> None:
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 8_000)
    monkeypatch.setattr(said, "STRIDE", 4)
    monkeypatch.setattr(said, "MOST_MARKED", 2)
    places = await write(tmp_path, "w0", TEXTS, close=not open_still)
    places += await write(tmp_path, "w1", TEXTS)
    assert len(segments(tmp_path / "journal" / "w0")) > 3
    sayings = Sayings(tmp_path / "journal", Keys(tmp_path / "keys"))
    found = list(zip(places, TEXTS * 2, strict=True))
    random.shuffle(found)
    for place, text in found:
        assert sayings.of(*place) == (text, 8, bool(int(text.split()[1]) % 2), "cmpp")


async def test_what_is_not_there_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 8_000)
    places = await write(tmp_path, "w0", TEXTS)
    keys = Keys(tmp_path / "keys")
    sayings = Sayings(tmp_path / "journal", keys)
    writer, identity, index = places[70]
    assert sayings.of(writer, identity, index) is not None
    for wrong in (
        ("w7", identity, index),
        (writer, identity, index + 1),  # an outcome's
        (writer, identity, index + 2),  # another attempt's
        (writer, identity, 2**32 - 1),
        (writer, identity[:8] + bytes(8), index),
        (writer, bytes(16), index),
        (writer, b"\xff" * 16, index),
    ):
        assert sayings.of(*wrong) is None, wrong
    segments(tmp_path / "journal" / "w0")[0].unlink()
    assert Sayings(tmp_path / "journal", keys).of(*places[0]) is None
    assert Sayings(tmp_path / "journal", keys).of(*places[70]) is not None
    keys.forget(rec.day_of(NOON), at=NOON)
    assert sayings.of(*places[70]) is None


@pytest.mark.long
async def test_a_look_up_takes_less_than_a_millisecond(tmp_path: Path) -> None:
    """In a segment of few large blocks, as a campaign leaves it, and in one of many small ones."""
    journal = Journal(tmp_path / "journal", "n", "w0", Keys(tmp_path / "keys"), durability="os")
    journal.start()
    places = []
    for count in (1, 1000):
        for _ in range(2000 // count):
            at = time.time_ns() // 1_000_000
            text = "【示例银行】新客理财专享，详询网点。拒收请回复R".encode("utf-16-be")
            items = [
                (JUDGED, 0, 1, n, 0, 1, 1, 0, "", f"+861380000{n % 10**4:04d}", 8, 0, text)
                for n in range(count)
            ]
            ids = journal.attempts(at, 5, items, lambda error: None)
            places += [("w0", one, journal.index + n) for n, one in enumerate(ids)]
            await journal.sync()
    sayings = Sayings(tmp_path / "journal", Keys(tmp_path / "keys"))
    for some in (places[:2000], places[2000:]):
        random.shuffle(some)
        sayings.of(*some[0])
        began = time.thread_time()
        assert all(sayings.of(*place) is not None for place in some)
        assert (time.thread_time() - began) / len(some) < 0.001
    await journal.close()
