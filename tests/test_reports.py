"""What became of a message: reports are tied to their attempts in whatever order, spelling, part or recipient
they come, and a restart neither loses nor doubles one."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import model
from gateway.evidence import record as rec
from gateway.evidence.delivery import ACCEPTED, DELIVERED, FAILED, Delivery, delivery_of, state_of
from gateway.evidence.folder import segments
from gateway.evidence.found import Found, Shown
from gateway.evidence.journal import Journal
from gateway.evidence.lookup import build_index
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search

NOON = 1_763_697_600_000
SECOND, DAY = 1000, 86_400_000
NUMBER = "10690001"


def subscriber(n: int = 0) -> str:
    return f"+8613800{n:06d}"


class Node:
    """A node's journals; `begin` is a life of a worker, `kill` its end."""

    def __init__(self, path: Path, protocol: str) -> None:
        self.path = path
        self.account = model.AccountKey("mobile", protocol, "900001")
        self.keys = Keys(path / "keys")
        self.journal: Journal | None = None

    def begin(self) -> Journal:
        self.journal = Journal(self.path / "journal", "n", "w0", self.keys, clock=lambda: NOON)
        self.journal.start()
        return self.journal

    async def again(self) -> Journal:
        """Another life of the same worker."""
        assert self.journal is not None
        await self.journal.close()
        return self.begin()

    def send(
        self,
        recipients: int = 1,
        *,
        at: int = NOON,
        parts: int = 1,
        deliver_at: int = 0,
        came_by: tuple[int, int | bytes] = (7, 5),
    ) -> list[bytes]:
        """`came_by`: the connection, and its submit's number there."""
        assert self.journal is not None
        verdict = model.Verdict(None, number=NUMBER, institution_code="B1")
        judged = rec.judged(self.account, "n", model.SMS, NUMBER, verdict, profile="p", lexicon="l")
        number, octets = (0, (b"x",) * parts) if parts > 1 else (1, b"x")
        items = [
            (judged, deliver_at, *came_by, place, parts, number, 0, "", subscriber(place), 8, 0, octets)
            for place in range(recipients)
        ]
        return self.journal.attempts(at, 1, items, lambda error: None)  # type: ignore[arg-type]

    def report(self, at: int, message_id: bytes, stat: str = "DELIVRD", to: str = subscriber()) -> None:
        assert self.journal is not None
        self.journal.report(at, self.account, message_id, stat, "", f"{at}", NUMBER, to)

    async def look(self, identity: bytes, *, indexed: bool) -> Shown:
        assert self.journal is not None
        await self.journal.sync()
        if indexed:
            await self.again()
            for path in segments(self.path / "journal" / "w0"):
                build_index(path)
        shown = Search(self.path / "journal", self.keys).show(identity)
        assert shown is not None
        return shown


def came(shown: Shown) -> Delivery:
    delivery = delivery_of(shown)
    assert delivery is not None
    return delivery


def test_the_word_of_a_report_that_was_cut_says_what_is_left_of_it() -> None:
    words = ("DELIVRD", "DELI", "delivr", "DEL", "", "ACCE", "ENR", "DELE", "DELETED", "UNDE", "EXPI", "AF:4")
    states = [DELIVERED] * 3 + [ACCEPTED] * 4 + [FAILED] * 5
    assert [state_of(word) for word in words] == states


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_report_may_come_before_the_answer_and_after_a_restart(tmp_path: Path, indexed: bool) -> None:
    node = Node(tmp_path, "cmpp")
    journal = node.begin()
    early, late = *node.send(), *node.send(at=NOON + 1)
    node.report(NOON + 5, b"ABCDEFGH")
    journal.outcomes(NOON + 9, [(early, 0, b"ABCDEFGH", 0), (late, 0, b"IJKLMNOP", 0)])
    shown = await node.look(early, indexed=indexed)
    assert came(shown)[:3] == ("delivered", NOON + 5, "DELIVRD")
    assert came(await node.look(late, indexed=indexed))[:3] == ("accepted", NOON + 9, "")
    await node.again()
    node.report(NOON + DAY, b"IJKLMNOP", "EXPIRED")
    assert came(await node.look(late, indexed=indexed))[:3] == ("failed", NOON + DAY, "EXPIRED")
    assert len(came(await node.look(early, indexed=indexed)).reports) == 1
    assert node.journal is not None
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("node_code", [0, 1, 3_010_099_999])
async def test_a_report_names_an_sgip_submit_whose_answer_was_lost(
    tmp_path: Path, node_code: int, indexed: bool
) -> None:
    """Some senders' node code is 0, so that their numbers have 64 bits."""
    number = node_code << 64 | 1_120_203_225 << 32 | 7
    node = Node(tmp_path, "sgip")
    node.begin()
    (sent,) = node.send(came_by=(7, number if number <= rec.U64 else number.to_bytes(12, "big")))
    (asked,) = node.send(came_by=(0, 0))
    node.report(NOON + 5, number.to_bytes(12, "big"))
    node.report(NOON + 6, bytes(12), "UNDELIV")
    assert came(await node.look(sent, indexed=indexed))[:3] == ("delivered", NOON + 5, "DELIVRD")
    assert came(await node.look(asked, indexed=indexed)).state == "unknown"
    assert node.journal is not None
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("answered", "reported"),
    [
        (b"1f", b"31"),
        (b"31", b"1f"),
        (b"0000001F", b"31"),
        (b"0000000031", b"1F"),
        (b"1F", b"1f"),
        (b"31", b"0000000031"),
        (b"1122334455", b"1122334455"),
        (b"1122334455", b"%x" % 1122334455),
        (b"0A1b-2c", b"0a1B-2C"),
    ],
)
async def test_an_id_in_hex_and_its_report_in_decimal_are_one(
    tmp_path: Path, answered: bytes, reported: bytes, indexed: bool
) -> None:
    node = Node(tmp_path, "smpp")
    node.begin()
    (attempt,) = node.send()
    assert node.journal is not None
    node.journal.outcomes(NOON + 1, [(attempt, 0, answered, 0)])
    node.report(NOON + 2, reported)
    node.report(NOON + 3, b"7777", "UNDELIV")
    assert [one.record.stat for one in (await node.look(attempt, indexed=indexed)).reports] == ["DELIVRD"]  # type: ignore[union-attr]
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_digits_that_may_be_hex_or_decimal_are_as_they_were_given_where_that_is_known(
    tmp_path: Path, indexed: bool
) -> None:
    """0x10 is 16: two messages to one subscriber, whose ids are each the other's in another spelling."""
    node = Node(tmp_path, "smpp")
    node.begin()
    ten, sixteen = *node.send(), *node.send(at=NOON + 1)
    assert node.journal is not None
    node.journal.outcomes(NOON + 2, [(ten, 0, b"10", 0), (sixteen, 0, b"16", 0)])
    node.report(NOON + 3, b"16", "UNDELIV")
    assert came(await node.look(ten, indexed=indexed)).state == "accepted"
    assert came(await node.look(sixteen, indexed=indexed)).state == "failed"
    node.report(NOON + 4, b"10")
    assert came(await node.look(ten, indexed=indexed)).state == "delivered"
    both = Search(tmp_path / "journal", node.keys)
    found = both.with_followers([*both.find(kinds=frozenset({rec.ATTEMPT}))])
    assert [came(one).state for one in found] == ["delivered", "failed"]
    await node.journal.close()


async def test_a_message_in_parts_is_delivered_when_all_are_and_failed_when_one_has(tmp_path: Path) -> None:
    node = Node(tmp_path, "cmpp")
    node.begin()
    (attempt,) = node.send(parts=3)
    assert node.journal is not None
    ids = [b"part%04d" % n for n in (1, 2, 3)]
    node.journal.outcomes(NOON + 1, [(attempt, 0, ids[0], 1), (attempt, 0, ids[1], 2)])

    async def state() -> tuple[str, list[str]]:
        delivery = came(await node.look(attempt, indexed=False))
        return delivery.state, [one.state for one in delivery.parts]

    assert await state() == ("unknown", ["accepted", "accepted", "unknown"])
    node.journal.outcomes(NOON + 2, [(attempt, 0, ids[2], 3)])
    node.report(NOON + 3, ids[2])
    node.report(NOON + 4, ids[0])
    assert await state() == ("accepted", ["delivered", "accepted", "delivered"])
    node.report(NOON + 5, ids[1], "ACCEPTD")
    assert await state() == ("accepted", ["delivered", "accepted", "delivered"])
    node.report(NOON + 6, ids[1])
    assert await state() == ("delivered", ["delivered"] * 3)
    said = plain(await node.look(attempt, indexed=True))
    assert [(one["part"], one["stat"]) for one in said["parts"]] == [(n, "DELIVRD") for n in (1, 2, 3)]
    assert [one["parts"] for one in said["reports"]] == [[3], [1], [2], [2]]

    (broken,) = node.send(parts=2, at=NOON + 10)
    node.journal.outcomes(NOON + 11, [(broken, 0, b"one_____", 1), (broken, 8, b"", 2)])
    node.report(NOON + 12, b"one_____")
    delivery = came(await node.look(broken, indexed=False))
    assert (delivery.state, delivery.stat) == ("not_accepted", "8")
    await node.journal.close()


async def test_of_ids_that_each_other_could_be_a_report_takes_the_part_that_has_it(tmp_path: Path) -> None:
    """SMPP parts 10 to 16: 0x10 is 16. CMPP: octets that differ as letters do in case are other ids."""
    for protocol, ids in (
        ("smpp", [b"%d" % number for number in range(10, 17)]),
        ("cmpp", [(0x4161 + 32 * number).to_bytes(8, "big") for number in range(7)]),
    ):
        node = Node(tmp_path / protocol, protocol)
        node.begin()
        (attempt,) = node.send(parts=7)
        assert node.journal is not None
        node.journal.outcomes(NOON + 1, [(attempt, 0, one, part) for part, one in enumerate(ids, 1)])
        node.report(NOON + 2, ids[6])
        parts = came(await node.look(attempt, indexed=False)).parts
        assert [one.state for one in parts] == ["accepted"] * 6 + ["delivered"]
        await node.journal.close()


async def test_one_id_for_all_parts_is_delivered_unless_one_of_them_failed(tmp_path: Path) -> None:
    node = Node(tmp_path, "smgp")
    node.begin()
    whole, broken = *node.send(parts=2), *node.send(parts=2, at=NOON + 1)
    assert node.journal is not None
    for attempt, identity in ((whole, b"0123456789"), (broken, b"9876543210")):
        node.journal.outcomes(NOON + 2, [(attempt, 0, identity, part) for part in (1, 2)])
        node.report(NOON + 3, identity)
    node.report(NOON + 4, b"9876543210", "UNDELIV")
    assert came(await node.look(whole, indexed=False)).state == "delivered"
    assert came(await node.look(broken, indexed=False)).state == "failed"
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("protocol", "given", "reported"),
    [
        (
            "cmpp",
            0x91E2_0000_0001_FFFE,
            [0x91E2_0000_0001_FFFE, 0x91E2_0000_0001_FFFF, 0x91E2_0000_0001_0000],
        ),
        (
            "cmpp",
            0x91E2_0000_0001_FFFE,
            [0x91E2_0000_0001_FFFE, 0x91E2_0000_0001_FFFF, 0x91E2_0000_0002_0000],
        ),
        ("cmpp", 0x91E2_0000_0001_FFFE, [0x91E2_0000_0001_FFFE] * 3),
        ("smpp", 0x1F, [0x1F] * 3),
        ("smgp", 0x1F, [0x1F] * 3),
    ],
)
async def test_each_recipient_has_his_own_report(
    tmp_path: Path, protocol: str, given: int, reported: list[int], indexed: bool
) -> None:
    """The Msg_Id counts on, wraps or stays (CMPP), or one id stands for all: then the subscriber tells."""

    def spelt(number: int) -> bytes:
        return (
            b"%08X" % number
            if protocol == "smpp"
            else number.to_bytes(10 if protocol == "smgp" else 8, "big")
        )

    node = Node(tmp_path, protocol)
    node.begin()
    attempts = node.send(3)
    assert node.journal is not None
    node.journal.outcomes(NOON + 1, [(attempt, 0, spelt(given), 0) for attempt in attempts])
    for place, (number, stat) in enumerate(zip(reported, ("DELIVRD", "UNDELIV", "EXPIRED"), strict=True)):
        node.report(NOON + 2 + place, spelt(number), stat, subscriber(place))
    shown = [came(await node.look(attempt, indexed=indexed)) for attempt in attempts]
    assert [one.stat for one in shown] == ["DELIVRD", "UNDELIV", "EXPIRED"]
    assert [len(one.reports) for one in shown] == [1, 1, 1]
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_an_id_that_the_carrier_gives_again_is_of_each_message_in_its_time(
    tmp_path: Path, indexed: bool
) -> None:
    """Alone, and in a list with the earlier message to the same subscriber."""
    node = Node(tmp_path, "smpp")
    journal = node.begin()
    (before,) = node.send()
    node.report(NOON + 5, b"77")
    (after,) = node.send(at=NOON + DAY)
    journal.outcomes(NOON + DAY + 1, [(one, 0, b"77", 0) for one in (before, after)])
    alone = [await node.look(one, indexed=indexed) for one in (before, after)]
    assert [came(one).state for one in alone] == ["delivered", "accepted"]
    listed = Search(node.path / "journal", node.keys).with_followers([one.found for one in alone])
    assert [came(one).state for one in listed] == ["delivered", "accepted"]
    assert node.journal is not None
    await node.journal.close()


async def test_what_is_reported_again_is_marked_and_changes_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "cmpp")
    node.begin()
    (attempt,) = node.send()
    assert node.journal is not None
    node.journal.outcomes(NOON + 1, [(attempt, 0, b"ABCDEFGH", 0)])
    for at, stat in ((2, "ACCEPTD"), (3, "DELIVRD"), (4, "DELIVRD"), (5, "UNDELIV")):
        node.journal.report(
            NOON + at, node.account, b"ABCDEFGH", stat, "2511211200", "2511211201", NUMBER, subscriber()
        )
    shown = await node.look(attempt, indexed=False)
    assert came(shown)[:3] == ("delivered", NOON + 3, "DELIVRD")
    assert [one["repeated"] for one in plain(shown)["reports"]] == [False, False, True, False]
    await node.journal.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_a_report_is_found_without_its_subscriber_and_after_a_scheduled_delivery(
    tmp_path: Path, indexed: bool
) -> None:
    node = Node(tmp_path, "cmpp")
    node.begin()
    plain_one, planned = *node.send(), *node.send(deliver_at=NOON + 20 * DAY)
    assert node.journal is not None
    node.journal.outcomes(NOON + 1, [(plain_one, 0, b"ABCDEFGH", 0), (planned, 0, b"IJKLMNOP", 0)])
    node.report(NOON + 2, b"ABCDEFGH", to="")
    node.report(NOON + 20 * DAY + 5, b"IJKLMNOP")
    assert came(await node.look(plain_one, indexed=indexed)).state == "delivered"
    assert came(await node.look(planned, indexed=indexed)).state == "delivered"
    await node.journal.close()


async def test_a_report_that_nobody_knows_is_on_record_and_tied_to_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "cmpp")
    node.begin()
    (attempt,) = node.send()
    assert node.journal is not None
    node.journal.outcomes(NOON + 1, [(attempt, 0, b"ABCDEFGH", 0)])
    node.report(NOON + 2, b"87654321")
    node.report(NOON + 3, b"", "UNDELIV")
    assert came(await node.look(attempt, indexed=False)).reports == ()
    kept = [*Search(tmp_path / "journal", node.keys).find(kinds=frozenset({rec.REPORT}))]
    assert len(kept) == 2
    await node.journal.close()


class Said(NamedTuple):
    """What a carrier said of a part: its answer (stat ""), or a report."""

    part: int
    stat: str


@settings(max_examples=200, deadline=None)
@given(
    parts=st.integers(1, 4),
    fates=st.lists(st.sampled_from(["DELIVRD", "EXPIRED", "ACCEPTD", ""]), min_size=4, max_size=4),
    repeats=st.integers(0, 5),
    seed=st.integers(0, 999),
)
def test_neither_order_nor_repeats_change_what_became_of_it(
    parts: int, fates: list[str], repeats: int, seed: int
) -> None:
    said = [Said(part, "") for part in range(1, parts + 1)]
    said += [Said(part, fates[part - 1]) for part in range(1, parts + 1) if fates[part - 1]]
    rng = random.Random(seed)
    again = said + [rng.choice(said) for _ in range(repeats)]
    rng.shuffle(again)
    one, other = delivery_of(_shown(parts, said)), delivery_of(_shown(parts, again))
    assert one is not None
    assert other is not None
    assert [part[:2] for part in one.parts] == [part[:2] for part in other.parts]
    assert one.state == other.state
    final = {"DELIVRD": "delivered", "EXPIRED": "failed"}
    wanted = {final.get(fate, "accepted") for fate in fates[:parts]}
    assert one.state == next(state for state in ("failed", "accepted", "delivered") if state in wanted)


def _shown(parts: int, said: Sequence[Said]) -> Shown:
    judged: dict[str, Any] = dict.fromkeys(rec.Judged.__struct_fields__, "")
    judged |= {"protocol": "cmpp", "verdict": "pass", "channel": 1, "mandate": 0, "findings": ()}
    many = parts > 1
    attempt = rec.Attempt(
        id=bytes(16), at=NOON, connection=1, sequence=1, pk_total=parts, pk_number=0 if many else 1,
        registry_version=1, subscriber=bytes(16), digest=bytes(16), sealed=b"", judged=rec.Judged(**judged),
    )  # fmt: skip
    outcomes, reports = [], []
    for at, one in enumerate(said, NOON + 1):
        identity = b"message%d" % one.part
        if one.stat:
            report = rec.Report(
                at=at, carrier="", node="", protocol="cmpp", account="", message_id=identity, stat=one.stat,
                submitted="", completed="",
            )  # fmt: skip
            reports.append(Found(report, b"", "", 0, 0, None))
        else:
            part = one.part if many else 0
            outcomes.append(rec.Outcome(attempt=attempt.id, at=at, result=0, message_id=identity, part=part))
    return Shown(Found(attempt, b"", "", 0, 0, None), tuple(outcomes), tuple(reports))
