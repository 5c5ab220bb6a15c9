"""What a lost `local` held is read back from the journals: all of it, the same refusals, and not more."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.evidence.journal import Journal
from gateway.evidence.seal import Keys
from gateway.model import SMS, VOICE, AccountKey, Reply
from gateway.registry.keys import RegistryKey
from gateway.registry.local import LocalRefusal, learn
from gateway.registry.recorded import FURTHEST, UNDER_WAY, Recorded

KEY = RegistryKey(bytes(32))
ACCOUNT = AccountKey("mobile", "cmpp", "900001")
BOTH = SMS | VOICE
MINUTE, DAY = 60_000, 86_400_000


def now() -> int:
    return time.time_ns() // 1_000_000


class Node:
    """A node's journals, and what it told `local`."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "journal"
        self.keys = Keys(path / "keys")
        self.local: list[LocalRefusal] = []
        self.recorded = Recorded(self.folder, self.keys, KEY)
        self._journals: list[Journal] = []

    async def replies(self, writer: str, *replies: dict[str, Any]) -> None:
        """Record these in a life of that writer; those that refuse are learnt too."""
        journal = Journal(
            self.folder, "n", writer, self.keys, apply=self.local.extend, clock=lambda: replies[0]["at"]
        )
        journal.start()
        for what in replies:
            self._reply(journal, **what)
        await journal.sync()
        await journal.close()

    def _reply(
        self, journal: Journal, *, at: int, subscriber: str, meaning: str = "refuse", institution: int = 3,
        message_id: bytes = b"m", purposes: int = 3, number: str = "10690001",
    ) -> None:  # fmt: skip
        reply = Reply(ACCOUNT, number, subscriber, "R", meaning, message_id, institution, "B1", ("flag",))

        def learnt(record: bytes) -> LocalRefusal:
            what = {"institution": institution, "number": number, "purposes": purposes, "channels": BOTH}
            return learn(
                KEY, subscriber, **what, at=at, flags=("flag",), node="n", account=ACCOUNT,
                message_id=message_id, kind=meaning, record=record,
            )  # type: ignore[arg-type]  # fmt: skip

        journal.reply(
            at, reply, b"R", 0, 0, purposes=purposes, channels=BOTH, registry_version=1,
            local=None if meaning == "other" else learnt, done=lambda error: None,
        )  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def bare(refusal: LocalRefusal) -> tuple[object, ...]:
    """Without the seal, whose nonce differs each time; but what it hides is the same."""
    fields = [getattr(refusal, name) for name in refusal.__struct_fields__ if name != "subscriber_sealed"]
    return (*fields, KEY.open(refusal.subscriber_sealed))


async def test_what_is_read_back_is_what_was_learnt(node: Node) -> None:
    at = now()
    await node.replies("w0", {"at": at - 3000, "subscriber": "+8613800000001"})
    await node.replies(
        "w0",
        {"at": at - 2000, "subscriber": "+8613800000002", "institution": 0},
        {"at": at - 1900, "subscriber": "+8613800000003", "meaning": "other", "purposes": 0},
        {"at": at - 1800, "subscriber": "+8613800000004", "message_id": b""},
        {"at": at - 1700, "subscriber": "+8613800000006", "meaning": "ambiguous", "purposes": 1},
        {"at": at - 1600, "subscriber": "+8613800000007", "meaning": "accept", "purposes": 0},
        {"at": at - 1500, "subscriber": "+8613800000008", "meaning": "wrong_person", "purposes": 0},
    )
    await node.replies("w1", {"at": at - 2500, "subscriber": "+8613800000005"})
    found = list(node.recorded.refusals())
    ages = (3000, 2500, 2000, 1800, 1700, 1600, 1500)
    assert [refusal.at for refusal in found] == [at - age for age in ages]
    assert sorted(map(bare, found)) == sorted(map(bare, node.local))
    assert found[2].number == "10690001"
    assert found[0].number == ""


async def test_what_was_settled_is_not_read_again(node: Node) -> None:
    at = now()
    await node.replies(
        "w0",
        {"at": at - 30 * MINUTE, "subscriber": "+8613800000001"},
        {"at": at - 10 * MINUTE, "subscriber": "+8613800000002"},
    )
    assert len(list(node.recorded.refusals())) == 2
    node.recorded.settle(at - 10 * MINUTE)
    assert node.recorded.settled() == at - 10 * MINUTE - UNDER_WAY
    assert [refusal.at for refusal in node.recorded.refusals()] == [at - 10 * MINUTE]
    node.recorded.settle(at)
    assert list(node.recorded.refusals()) == []


@pytest.mark.parametrize("octets", [b"", b"\0\0\0", b"\x7f" * 8, None])
def test_without_a_word_on_how_far_it_is_read_far_enough(node: Node, octets: bytes | None) -> None:
    node.folder.mkdir()
    node.recorded.settle(now())
    path = node.folder / "settled"
    path.unlink() if octets is None else path.write_bytes(octets)
    assert now() - FURTHEST - MINUTE < node.recorded.settled() <= now() - FURTHEST


def test_no_room_for_the_word_stops_nobody(node: Node, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    Recorded(tmp_path / "pipe", node.keys, KEY).settle(now())


async def test_a_destroyed_key_hides_its_refusals(node: Node) -> None:
    at = now() - 2 * DAY
    await node.replies("w0", {"at": at, "subscriber": "+8613800000001"})
    assert len(list(node.recorded.refusals())) == 1
    (name,) = (name for name in node.keys.names() if name[:10] == _day(at))
    node.keys.forget(name.split(".")[0], at=now())
    assert list(Recorded(node.folder, Keys(node.folder.parent / "keys"), KEY).refusals()) == []


def _day(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at / 1000 + 8 * 3600))
