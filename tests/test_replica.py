"""The replica: immutable snapshots, caches dropped only for what concerns them, damage survived."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from mmap import PAGESIZE
from pathlib import Path

import lmdb
import msgspec
import pytest

from gateway.errors import NotReady, UsageError
from gateway.model import FOREVER, AccountKey, AccountNumber, Ban, Hold, Recipient, Refusal, Span
from gateway.registry import local as local_module
from gateway.registry.changelog import Cursor
from gateway.registry.keys import RegistryKey, load_key, subscriber_key
from gateway.registry.local import LocalRefusal, learn
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot
from gateway.registry.writer import ReplicaWriter, pack_key

KEY = RegistryKey(bytes(32))
SUBSCRIBER = "+8613800001234"
ACCOUNT = AccountKey("mobile", "cmpp", "900001")
CURSOR = Cursor("here", "10:10:", "", 0)
CHECKOUT = Path(__file__).parent.parent


def key_of(subscriber: str) -> int:
    return int.from_bytes(KEY.hash(subscriber)[:8], "big", signed=True)


def said_no(subscriber: str = SUBSCRIBER, *, message: bytes = b"m", institution: int = 1) -> LocalRefusal:
    return learn(
        KEY,
        subscriber,
        institution=institution,
        purposes=3,
        channels=3,
        at=7,
        node="node-1",
        account=ACCOUNT,
        message_id=message,
    )


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    opened = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=1 << 26)
    yield opened
    opened.close()


@pytest.fixture
def writer(replica: Replica) -> ReplicaWriter:
    """With an empty generation in use."""
    made = ReplicaWriter(replica)
    assert made.open() is None
    replica.local.complete()
    build(made)
    return made


def build(writer: ReplicaWriter, **rows: list[list[object]]) -> None:
    writer.begin()
    for table, some in rows.items():
        writer.build_rows(table, some)
    writer.finish(CURSOR, 0, 1)


def put(writer: ReplicaWriter, table: str, *rows: list[object]) -> bool:
    return writer.apply({(table, row[0]): row for row in rows}, {}, newest=0, now=5)  # type: ignore[misc]


def test_without_a_replica_nothing_is_judged(replica: Replica) -> None:
    with pytest.raises(NotReady):
        replica.snapshot()


def test_everything_that_policy_asks(replica: Replica, writer: ReplicaWriter) -> None:
    put(writer, "institutions", [1, "B1", "Bank", "bank", 7, FOREVER, 90, "active"])
    put(writer, "institutions", [2, "A1", "Agency", "agency", 7, FOREVER, FOREVER, "active"])
    put(writer, "mandates", [1, 1, 2, 3, 2, 10, 20, "ab", "active"], [2, 2, 1, 3, 2, 10, 20, "", "active"])
    fields = [
        "financial",
        "report",
        "whole",
        "in_text",
        "human",
        ["10.0.0.1:7890"],
        "",
        "",
        ["10.0.0.0/8"],
        4,
    ]
    put(writer, "accounts", [5, *ACCOUNT, 1, *fields])
    put(writer, "account_numbers", [1, 5, "1069", True, 0, 50], [2, 6, "1068", True, 0, 50])
    put(
        writer,
        "holds",
        [1, "i", 1, "penalty", 0, 30],
        [2, "i", 1, "complaints", 5, FOREVER],
        [3, "n", 1, "own", 0, FOREVER],
        [4, "a", 5, "own", 0, FOREVER],
    )
    put(writer, "numbers", [1, "10690001", 2, 1, 1, 1, 2, ["示例银行"], "mobile", "approved", 3, 9])
    view = replica.snapshot()

    bank = view.institution(1)
    assert bank is not None
    assert (bank.code, bank.verified, bank.licence) == ("B1", Span(0, 90), Span())
    assert bank.holds == (Hold("penalty", Span(0, 30)), Hold("complaints", Span(5)))
    assert view.institution(3) is None
    assert [mandate.id for mandate in view.mandates(1, 2)] == [1]
    assert view.mandates(1, 2)[0].span == Span(10, 20)
    account = view.account(ACCOUNT)
    assert account is not None
    assert (account.holder, account.refusal_manner, account.max_connections) == (1, "report", 4)
    assert (account.allowed_ips, account.upstream) == (("10.0.0.0/8",), ("10.0.0.1:7890",))
    assert account.holds == (Hold("own", Span()),)
    assert view.account(ACCOUNT._replace(account="900002")) is None
    assert view.account_numbers(ACCOUNT) == [AccountNumber("1069", True, Span(0, 50))]
    [number] = view.numbers("1069000112")
    assert (number.agency, number.signatures, number.span) == (2, ("示例银行",), Span(3, 9))
    assert number.holds == (Hold("own", Span()),)


def test_numbers_exact_first_then_longest(replica: Replica, writer: ReplicaWriter) -> None:
    filed: list[object] = [1, 1, 1, 0, [], "", "approved", 0, FOREVER]
    texts = {1: ("1069", 12), 2: ("106900", 2), 3: ("10690001", 0), 4: ("1069000", 1), 5: ("1069000", 0)}
    put(writer, "numbers", *[[i, text, digits, *filed] for i, (text, digits) in texts.items()])
    revoked: list[object] = [6, "10690001", 0, 1, 1, 2, 0, [], "", "revoked", 0, FOREVER]
    put(writer, "numbers", revoked)
    view = replica.snapshot()
    assert [n.id for n in view.numbers("10690001")] == [3, 6, 4, 2, 1]
    assert [n.id for n in view.numbers("1069000199")] == [1]
    assert list(view.numbers("10680001")) == []
    assert list(view.numbers("")) == []


def test_bans_exact_or_by_prefix(replica: Replica, writer: ReplicaWriter) -> None:
    put(writer, "blacklist", [1, "1069", True, "r", "c"], [2, "+8613800000001", False, "r", "c"])
    view = replica.snapshot()
    assert view.ban("10690001") == Ban(1, "1069", True, "r", "c")
    assert view.ban("+8613800000001") == Ban(2, "+8613800000001", False, "r", "c")
    assert view.ban("+86138000000012") is None
    assert view.ban("106") is None


def test_a_snapshot_does_not_move_by_itself(replica: Replica, writer: ReplicaWriter) -> None:
    view = replica.snapshot()
    before = view.version
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    assert view.ban("10690001") is None
    assert view.version == before
    view.renew()
    assert view.ban("10690001") is not None
    assert view.version > before


def test_the_senders_of_an_account_go_when_it_receives_again(replica: Replica, writer: ReplicaWriter) -> None:
    """And no others, and not before: what never receives is not looked at again and again."""
    now, day = time.time_ns() // 1_000_000, 86_400_000
    silent, heard = ACCOUNT._replace(account="900002"), ACCOUNT._replace(account="900003")
    replica.receiving.note(heard, now)
    replica.receiving.note(silent, now - 2 * day)
    view = replica.snapshot()
    assert [view.received_at(key) for key in (ACCOUNT, silent, heard)] == [0, now - 2 * day, now]

    def left() -> list[str]:
        view.renew()
        return [key[0].account for key in view.senders]

    view.senders.update({(key, 1): {"1069": "judged"} for key in (ACCOUNT, silent, heard)})  # type: ignore[dict-item, misc]
    replica.receiving.note(heard, now + 1)
    replica.receiving.note(ACCOUNT._replace(account="900004"), now)
    replica.receiving.note(silent, now - day - 60_000)  # longer ago than 24 h: nobody to reply to
    assert left() == ["900001", "900002", "900003"]
    replica.receiving.note(silent, now)
    assert left() == ["900001", "900003"]
    replica.receiving.note(ACCOUNT, now)
    assert left() == ["900003"]


def test_what_hangs_on_the_subscriber_leaves_the_sender_cache_alone(
    replica: Replica, writer: ReplicaWriter
) -> None:
    view = replica.snapshot()
    view.senders["some sender"] = "its facts"  # type: ignore[index,assignment]
    writer.apply({}, {key_of(SUBSCRIBER): [Refusal(1, "", 1, 3, 9)]}, newest=5, now=5)
    replica.add_local_refusals([said_no("+8613800000009")])
    writer.heard(99, None)
    view.renew()
    assert view.refusals(SUBSCRIBER) == (Refusal(1, "", 1, 3, 9),)
    assert (view.version, view.news_at) == (5, 99)
    assert view.senders

    other = KEY.hash("+8613800000008")
    assert view.consents(SUBSCRIBER, 7) == []
    put(writer, "consents", [1, 7, KEY.hash(SUBSCRIBER), 3, 9], [2, 7, KEY.hash(SUBSCRIBER), 9, 11])
    put(writer, "consents", [3, 8, KEY.hash(SUBSCRIBER), 3, 9], [4, 7, other, 1, 2])
    view.renew()
    assert view.consents(SUBSCRIBER, 7) == [Span(3, 9), Span(9, 11)]
    assert view.consents(SUBSCRIBER, 9) == []
    assert not view.lists_recipients(7)
    put(writer, "recipients", [1, 7, other, "debtor", 3, 9], [2, 7, other, "stranger", 9, 11])
    view.renew()
    assert view.recipients("+8613800000008", 7) == [
        Recipient("debtor", Span(3, 9)),
        Recipient("stranger", Span(9, 11)),
    ]
    assert view.recipients(SUBSCRIBER, 7) == []
    assert [view.lists_recipients(body) for body in (6, 7, 8)] == [False, True, False]
    assert view.senders

    hold: list[object] = [1, "i", 1, "penalty", 0, 30]
    assert put(writer, "holds", hold)
    view.renew()
    assert not view.senders
    assert view.version == 9

    view.senders["some sender"] = "its facts"  # type: ignore[index,assignment]
    assert not put(writer, "holds", hold)  # what is so already is no change
    view.renew()
    assert view.senders
    assert view.version == 9


def test_rows_that_move_or_go_leave_nothing_behind(replica: Replica, writer: ReplicaWriter) -> None:
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    put(writer, "blacklist", [1, "1068", True, "r", "c"])
    view = replica.snapshot()
    assert view.ban("1069") is None
    assert view.ban("1068") is not None
    writer.apply({("blacklist", 1): None, ("blacklist", 7): None}, {5: []}, newest=0, now=5)
    view.renew()
    assert view.ban("1068") is None
    assert list(writer.ids("blacklist")) == []
    generation = replica.current
    assert generation is not None
    with generation.env.begin() as txn:
        assert txn.stat(generation.index)["entries"] == 0


def test_what_the_node_learnt_holds_at_once_and_for_all(replica: Replica, writer: ReplicaWriter) -> None:
    view = replica.snapshot()
    thread = threading.Thread(target=replica.add_local_refusals, args=[[said_no()]])  # as the journal does
    thread.start()
    thread.join()
    assert view.refusals(SUBSCRIBER) == ()
    view.renew()
    assert view.refusals(SUBSCRIBER) == (Refusal(1, "", 3, 3, 7),)
    assert view.refusals("+8613800000009") == ()
    known = Refusal(2, "", 1, 3, 9)
    writer.apply({}, {key_of(SUBSCRIBER): [known]}, newest=0, now=5)
    view.renew()
    assert view.refusals(SUBSCRIBER) == (known, Refusal(1, "", 3, 3, 7))


def test_a_reply_delivered_again_changes_nothing(replica: Replica, writer: ReplicaWriter) -> None:
    local = replica.local
    local.add([said_no(), said_no()])
    local.add([said_no(message=b"another"), said_no()])
    assert [refusal.message_id for refusal in local.pending()] == [b"m", b"another"]
    assert local.state()[2] == 1

    first, second = local.pending()
    local.returned({first.event}, {first.key}, 50)
    assert local.pending() == [second]
    local.add([said_no()])  # came back from PostgreSQL long ago; perhaps the subscriber accepted since
    assert local.pending() == [second]
    local.returned({second.event}, {second.key, b"unknown!"}, 90)
    assert local.state()[2] == 0
    assert {refusal.event for refusal, _ in local.kept()} == {first.event, second.event}

    local.revive([first])
    assert local.pending() == [first]
    local.forget(100)
    assert list(local.kept()) == []
    assert local.state()[2] == 1


def test_what_an_older_version_learnt_is_a_refusal(replica: Replica, writer: ReplicaWriter) -> None:
    """Its rows end with the message id, and its refusals in the replica with their instant."""
    learnt, known = msgspec.structs.astuple(said_no())[:13], (2, "", 1, 3, 9)
    local, generation = replica.local, replica.current
    assert generation is not None
    with local.file.writing() as txn:
        txn.put(said_no().key, msgspec.msgpack.encode([learnt]), db=local.pending_db)
        txn.put(b"s", local_module.STATE.pack(local.state()[0], 1, 1), db=local.meta)
    with generation.file.writing() as txn:
        txn.put(said_no().key, msgspec.msgpack.encode([known]), db=generation.refusals)
    view = replica.snapshot()
    assert view.refusals(SUBSCRIBER) == (Refusal(*known), Refusal(1, "", 3, 3, 7))
    assert local.pending() == [said_no_of(local.pending()[0])]


def said_no_of(other: LocalRefusal) -> LocalRefusal:
    """`said_no()` under the same seal."""
    return msgspec.structs.replace(said_no(), subscriber_sealed=other.subscriber_sealed)


def test_there_is_one_keeper(replica: Replica, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeper"):
        Replica.open(tmp_path / "registry", KEY, writer=True)


@pytest.mark.parametrize("what", ["a generation", "a refusal"])
def test_under_another_registry_key_nothing_is_judged(replica: Replica, tmp_path: Path, what: str) -> None:
    """No refusal would be found under its hashes. Where nothing has been written, a key may still come."""
    directory, other = replica.directory, RegistryKey(b"x" * 32)
    replica.close()
    for key in (other, KEY):
        Replica.open(directory, key, writer=True, map_size=1 << 26).close()
    again = Replica.open(directory, KEY, writer=True, map_size=1 << 26)
    if what == "a refusal":
        again.add_local_refusals([said_no()])
    else:
        build(ReplicaWriter(again))
    again.close()
    for writer in (False, True):
        with pytest.raises(UsageError, match="another registry key"):
            Replica.open(directory, other, writer=writer, map_size=1 << 26)
    Replica.open(directory, KEY, writer=True, map_size=1 << 26).close()


def test_a_new_generation_takes_over_at_once(replica: Replica, writer: ReplicaWriter) -> None:
    view, other = replica.snapshot(), replica.snapshot()
    view.senders["some sender"] = "its facts"  # type: ignore[index,assignment]
    version = view.version
    build(writer, blacklist=[[1, "1069", True, "r", "c"]])
    for snapshot in (view, other, view):
        snapshot.renew()
        assert snapshot.ban("1069") is not None
    assert not view.senders
    assert view.version > version
    assert len(list(replica.directory.glob("replica-*"))) == 1


def test_a_half_built_generation_is_nobody_s_business(
    replica: Replica, writer: ReplicaWriter, tmp_path: Path
) -> None:
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    writer.begin()
    writer.build_rows("blacklist", [[2, "1068", True, "r", "c"]])
    writer.abandon()  # as after kill -9
    replica.close()
    again = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=1 << 26)
    keeper = ReplicaWriter(again)
    assert keeper.open() == CURSOR
    view = again.snapshot()
    assert view.ban("1069") is not None
    assert view.ban("1068") is None
    assert keeper.version == view.version
    assert len(list(again.directory.glob("replica-*"))) == 1
    again.close()


def test_after_a_half_built_one_the_first_that_is_whole_is_used(replica: Replica, tmp_path: Path) -> None:
    """A keeper was killed while it made the first of all: the next one looks at it, and makes another."""
    killed = ReplicaWriter(replica)
    killed.begin()
    killed.abandon()
    replica.close()
    again = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=1 << 26)
    keeper = ReplicaWriter(again)
    assert keeper.open() is None
    again.local.complete()
    build(keeper)
    assert put(keeper, "blacklist", [1, "1069", True, "r", "c"])
    assert again.snapshot().ban("1069") is not None
    again.close()


def test_a_deleted_replica_is_read_on_until_there_is_another(replica: Replica, writer: ReplicaWriter) -> None:
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    view = replica.snapshot()
    assert replica.current is not None
    replica.current.file.path.unlink()
    view.renew()
    assert view.ban("1069") is not None
    assert not writer.intact()
    build(writer, blacklist=[[1, "1068", True, "r", "c"]])
    view.renew()
    assert view.ban("1068") is not None
    assert writer.intact()


@pytest.mark.parametrize("octets", [0, 4096, 20_000])
def test_a_cut_replica_is_left_before_it_kills(replica: Replica, writer: ReplicaWriter, octets: int) -> None:
    rows = [[i, f"1069{i:07}", False, "r" * 200, "c"] for i in range(500)]
    put(writer, "blacklist", *rows)
    view = replica.snapshot()
    assert replica.current is not None
    os.truncate(replica.current.file.path, octets)
    for _ in range(2):
        with pytest.raises(NotReady):
            view.renew()
    with pytest.raises(NotReady):
        replica.snapshot()
    assert not writer.intact()
    build(writer, blacklist=rows[:3])
    view.renew()
    assert view.ban("10690000002") is not None


@pytest.mark.parametrize("octets", [0, 4096, 20_000])
def test_a_keeper_that_starts_on_a_cut_replica_makes_another(
    replica: Replica, writer: ReplicaWriter, octets: int, tmp_path: Path
) -> None:
    put(writer, "blacklist", *[[i, f"1069{i:07}", False, "r" * 200, "c"] for i in range(500)])
    assert replica.current is not None
    path = replica.current.file.path
    replica.close()
    os.truncate(path, octets)
    again = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=1 << 26)
    keeper = ReplicaWriter(again)
    assert keeper.open() is None
    build(keeper, blacklist=[[1, "1069", True, "r", "c"]])
    assert again.snapshot().ban("1069") is not None
    again.close()


def test_garbage_in_the_replica_is_damage_not_a_crash(replica: Replica, writer: ReplicaWriter) -> None:
    assert replica.current is not None
    with pytest.raises(NotReady, match="can't be read: page"):
        raise replica.snapshot()._damaged(lmdb.CorruptedError("page"))
    with pytest.raises(NotReady):
        replica.snapshot()
    assert not writer.intact()


@pytest.mark.parametrize("octets", [2, 16])
def test_a_replica_that_was_overwritten_lets_nobody_judge(
    replica: Replica, writer: ReplicaWriter, octets: int
) -> None:
    """In pages: LMDB looks at the first two when it opens a file, and goes by them afterwards."""
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    view = replica.snapshot()
    assert replica.current is not None
    with replica.current.file.path.open("r+b") as file:
        file.write(bytes(octets * PAGESIZE))
    for _ in range(2):
        with pytest.raises(NotReady):
            view.renew()
    assert not writer.intact()
    build(writer, blacklist=[[1, "1068", True, "r", "c"]])
    view.renew()
    assert view.ban("1068") is not None


def made_whole(replica: Replica, writer: ReplicaWriter, view: Snapshot) -> None:
    """A view whose `local` was lost serves again, and not before the keeper says that nothing is missing."""
    build(writer)
    with pytest.raises(NotReady):
        view.renew()
    replica.local.complete()
    assert writer.open() == CURSOR
    assert writer.use()
    view.renew()


@pytest.mark.parametrize("octets", [2, 16])
def test_a_local_that_was_overwritten_is_set_aside(
    replica: Replica, writer: ReplicaWriter, octets: int
) -> None:
    view = replica.snapshot()
    replica.add_local_refusals([said_no()])
    with replica.local.path.open("r+b") as file:
        file.write(bytes(octets * PAGESIZE))
    with pytest.raises(NotReady):
        view.renew()
    with pytest.raises(NotReady):
        replica.add_local_refusals([said_no()])
    replica.check()
    assert (replica.directory / "local.damaged/data.mdb").exists()
    made_whole(replica, writer, view)


def test_what_was_learnt_survives_the_deletion_of_its_file(replica: Replica, writer: ReplicaWriter) -> None:
    view = replica.snapshot()
    old = said_no("+8613800000008")
    replica.add_local_refusals([old])
    replica.local.returned([old.event], [old.key], 99)
    replica.add_local_refusals([said_no()])
    replica.check()
    replica.local.path.unlink()
    view.renew()
    assert view.refusals(SUBSCRIBER)
    replica.check()
    assert not replica.local.is_complete()  # another process may have lost more: the keeper says when it is
    assert replica.local.state()[0] == 0
    replica.local.complete()
    assert writer.use()
    view.renew()
    assert view.refusals(SUBSCRIBER)
    assert replica.local.path.exists()
    replica.add_local_refusals([said_no("+8613800000009")])
    view.renew()
    assert view.refusals("+8613800000009")
    assert list(replica.local.kept()) == [(old, 99)]


def test_a_replica_that_was_let_go_of_is_not_damaged(replica: Replica, writer: ReplicaWriter) -> None:
    put(writer, "blacklist", [1, "10690001", False, "r", "c"])
    view = replica.snapshot()
    replica.local.path.unlink()
    replica.check()
    with pytest.raises(NotReady):
        view.renew()
    looks = (lambda: view.ban("10690001"), lambda: view.refusals(SUBSCRIBER), lambda: view.account(ACCOUNT))
    for look in looks:
        with pytest.raises(NotReady):  # asked all the same, before the keeper says which is in use
            look()
    assert not replica.local.damaged()  # or the keeper would need a copy, and the database may be away


def test_without_room_for_another_the_deleted_one_serves_on(
    replica: Replica, writer: ReplicaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = replica.snapshot()
    replica.add_local_refusals([said_no()])
    replica.local.path.unlink()
    with monkeypatch.context() as full:
        full.setattr(local_module, "Mapped", no_room)
        with pytest.raises(NotReady, match="No space left"):
            replica.check()
    replica.local.complete()
    assert writer.use()
    view.renew()
    assert view.refusals(SUBSCRIBER)
    replica.check()
    replica.local.complete()
    assert writer.use()
    view.renew()
    assert view.refusals(SUBSCRIBER)


def test_without_room_for_another_a_cut_one_lets_nobody_judge(
    replica: Replica, writer: ReplicaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = replica.snapshot()
    os.truncate(replica.local.path, 5000)
    with monkeypatch.context() as full:
        full.setattr(local_module, "Mapped", no_room)
        for _ in range(2):
            with pytest.raises(NotReady, match="No space left"):
                replica.check()
            with pytest.raises(NotReady, match="was cut"):
                view.renew()
        assert replica.used()["replica"] < 1
    replica.check()
    with pytest.raises(NotReady):
        view.renew()


def no_room(*_: object, **__: object) -> None:
    raise lmdb.DiskError("No space left on device")


@pytest.mark.parametrize("octets", [0, 5000])
def test_a_cut_local_is_set_aside(replica: Replica, writer: ReplicaWriter, octets: int) -> None:
    view = replica.snapshot()
    replica.add_local_refusals([said_no()])
    os.truncate(replica.local.path, octets)
    with pytest.raises(NotReady, match="was cut"):
        view.renew()
    replica.check()
    assert (replica.directory / "local.damaged/data.mdb").stat().st_size == octets
    with pytest.raises(NotReady):  # which generation is in use stood there
        view.renew()
    assert replica.local.pending() == []
    made_whole(replica, writer, view)


def test_a_local_that_lost_only_room_is_read_and_written_on(replica: Replica, writer: ReplicaWriter) -> None:
    """Cut in the middle, far behind its last page: nothing is missing, so nobody waits for another."""
    build(writer)
    view = replica.snapshot()
    path = replica.local.path
    os.truncate(path, path.stat().st_size // 2)
    for _ in range(2):
        replica.check()
        view.renew()
        replica.add_local_refusals([said_no()])
    view.renew()
    assert view.refusals(SUBSCRIBER)
    assert not (replica.directory / "local.damaged").exists()


def test_a_cut_local_takes_no_refusal_and_does_not_look_whole_afterwards(replica: Replica) -> None:
    os.truncate(replica.local.path, 2 * PAGESIZE)
    with pytest.raises(NotReady, match="was cut"):
        replica.add_local_refusals([said_no()])
    assert not replica.local.file.whole()


def test_the_newest_whole_replica_is_used_when_nothing_says_which(
    replica: Replica, writer: ReplicaWriter
) -> None:
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    newest = replica.local.state()[0]
    writer.begin()  # and never finished
    writer.build_rows("blacklist", [[1, "1068", True, "r", "c"]])
    writer.abandon()
    shutil.rmtree(replica.local.path.parent)
    replica.check()
    replica.local.use(0)
    again = ReplicaWriter(replica)
    assert again.open() == CURSOR
    assert again.use()
    assert replica.local.state()[0] == newest
    assert replica.snapshot().ban("1069")


def test_other_processes_see_and_add(replica: Replica, writer: ReplicaWriter, tmp_path: Path) -> None:
    """A worker reads what the keeper wrote and adds what the keeper reads; killed, its slot is cleared."""
    put(writer, "blacklist", [1, "1069", True, "r", "c"])
    program = """
import sys
from mmap import PAGESIZE
from pathlib import Path
from gateway.registry.changelog import Cursor
from gateway.registry.keys import RegistryKey
from gateway.registry.replica import Replica
from test_replica import said_no, SUBSCRIBER
replica = Replica.open(Path(sys.argv[1]), RegistryKey(bytes(32)), map_size=1 << 26)
view = replica.snapshot()
assert view.ban("1069")
replica.add_local_refusals([said_no()])
view.renew()
assert view.refusals(SUBSCRIBER)
print("ready", flush=True)
sys.stdin.readline()
view.renew()
assert view.ban("1068"), view.version
print("seen", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "registry")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}"},
    ) as worker:
        assert worker.stdout
        assert worker.stdin
        assert worker.stdout.readline() == "ready\n"
        assert replica.local.pending()[0].key == said_no().key
        build(writer, blacklist=[[1, "1068", True, "r", "c"]])
        worker.stdin.write("\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "seen\n"
        assert replica.clear_dead_readers() == 0
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    supervisor = """
import sys
from mmap import PAGESIZE
from pathlib import Path
from gateway.registry.keys import RegistryKey
from gateway.registry.replica import Replica
print(Replica.open(Path(sys.argv[1]), RegistryKey(bytes(32)), map_size=1 << 26).clear_dead_readers())
"""
    cleared = subprocess.run(
        [sys.executable, "-c", supervisor, str(tmp_path / "registry")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )
    assert int(cleared.stdout) >= 2, "of `local` and of the copy, by who has read neither"


WORKER = """
import sys
from mmap import PAGESIZE
from pathlib import Path
from gateway.errors import NotReady
from gateway.registry.keys import RegistryKey
from gateway.registry.replica import Replica
from test_replica import said_no
replica = Replica.open(Path(sys.argv[1]), RegistryKey(bytes(32)), map_size=1 << 26)
print("ready", flush=True)
for line in sys.stdin:
    word, *numbers = line.split()
    if word == "check":  # as often as a second, all at once
        for _ in range(100):
            try:
                replica.check()
            except NotReady:
                pass
    elif word == "settle":
        replica.check()
    elif word == "add":
        replica.add_local_refusals([said_no(number) for number in numbers])
    else:
        print(*sorted({refusal.key.hex() for refusal in replica.local.pending()}), end="")
    print(flush=True)
"""


@pytest.mark.parametrize("lost", ["local", "data.mdb", "lock.mdb", "everything"])
def test_whatever_is_lost_all_processes_find_themselves_in_one_local(tmp_path: Path, lost: str) -> None:
    """Two that held the same data by different locks neither saw nor spared what the other wrote."""
    registry = tmp_path / "registry"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(registry)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}"},
        )
        for _ in range(3)
    ]
    try:

        def told(word: str, *of_each: str) -> list[str]:
            for place, worker in enumerate(workers):
                assert worker.stdin
                worker.stdin.write(f"{word} {of_each[place] if of_each else ''}\n")
                worker.stdin.flush()
            return heard()

        def heard() -> list[str]:
            return [worker.stdout.readline().strip() for worker in workers if worker.stdout]

        assert heard() == ["ready"] * 3
        for round_ in range(12):
            for worker in workers:
                assert worker.stdin
                worker.stdin.write("check\n")
                worker.stdin.flush()
            for _ in range(1 if lost == "lock.mdb" else 100):
                remove(registry, lost)
            heard()
            told("settle")
            told("settle")  # by then the last of them has made or found it
            numbers = [f"+861380000{round_:02}{place:02}" for place in range(3)]
            told("add", *numbers)
            keys = {KEY.hash(number)[:8].hex() for number in numbers}
            for known in told("tell"):
                assert keys <= set(known.split())
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def remove(registry: Path, what: str) -> None:
    """As somebody's hand would, while processes are at work there."""
    match what:
        case "everything":
            shutil.rmtree(registry, ignore_errors=True)
        case "local":
            shutil.rmtree(registry / "local", ignore_errors=True)
        case _:
            (registry / "local" / what).unlink(missing_ok=True)


def test_the_map_says_how_full_it_is(replica: Replica, writer: ReplicaWriter) -> None:
    before = replica.used()["replica"]
    put(writer, "blacklist", *[[i, f"1069{i:07}", False, "r" * 400, "c"] for i in range(2000)])
    assert before < replica.used()["replica"] < 0.1


def test_a_view_that_is_renewed_lets_pages_be_used_again(replica: Replica, writer: ReplicaWriter) -> None:
    view = replica.snapshot()

    def growth(look: Callable[[], None]) -> int:
        before = replica.used()["replica"]
        for round_ in range(30):
            put(
                writer,
                "blacklist",
                *[[i, f"1069{i:07}", False, f"{round_} {'r' * 300}", "c"] for i in range(100)],
            )
            look()
        return round((replica.used()["replica"] - before) * (1 << 26) / 4096)

    growth(view.renew)
    pinned = growth(lambda: None)
    growth(view.renew)
    assert growth(view.renew) < pinned / 2
    assert view.ban("10690000001") is not None


def test_keys_in_the_replica_are_the_first_octets_of_the_hash() -> None:
    hashed = subscriber_key(SUBSCRIBER, KEY.hash_key)
    assert len(hashed) == 16
    assert hashed == KEY.hash(SUBSCRIBER)
    assert pack_key(key_of(SUBSCRIBER)) == hashed[:8]
    assert subscriber_key(SUBSCRIBER, RegistryKey(b"1" * 32).hash_key) != hashed


def test_a_registry_key_is_made_once_and_seals(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "registry.key"
    key = load_key(path)
    assert load_key(path).fingerprint == key.fingerprint
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["registry.key"]
    sealed = key.seal(SUBSCRIBER)
    assert key.open(sealed) == SUBSCRIBER
    assert sealed != key.seal(SUBSCRIBER)
    assert SUBSCRIBER.encode() not in sealed
    for other in (KEY, key):
        with pytest.raises(ValueError, match="another key"):
            other.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(ValueError, match="another key"):
        KEY.open(sealed)
    path.write_bytes(b"short")
    with pytest.raises(UsageError, match=r"registry\.key"):
        load_key(path)


def test_a_snapshot_is_what_policy_looks_at(replica: Replica, writer: ReplicaWriter) -> None:
    """mypy proves the assignment; this proves that nothing else is asked."""
    from gateway.policy.facts import View  # noqa: PLC0415

    view: View = replica.snapshot()
    assert isinstance(view, Snapshot)
