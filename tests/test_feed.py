"""The keeper's half: whatever PostgreSQL says, and however it is interrupted, the replica follows."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from conftest import sibling
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from playbook import BY_RUN, OPEN_RUN, UNGUARDED

from gateway.errors import UsageError
from gateway.evidence.seal import Keys
from gateway.model import HELD, REPLY_KINDS, AccountKey, Recipient, Refusal, Span
from gateway.registry import feed as feed_module
from gateway.registry import migrate, store, writer
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.feed import Feed
from gateway.registry.keys import RegistryKey
from gateway.registry.local import LocalRefusal, learn
from gateway.registry.recorded import UNDER_WAY, Recorded
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot
from gateway.registry.tables import TABLES

KEY = RegistryKey(bytes(32))
ACCOUNT = AccountKey("mobile", "cmpp", "900001")
SUBSCRIBER = "+8613800001234"
SMALL = 1 << 28
CHECKOUT = Path(__file__).parent.parent
BAN = "INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES ($1, true, 'r', 'c')"


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    opened = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=SMALL)
    yield opened
    opened.close()


@pytest.fixture
async def c(database: str) -> AsyncIterator[asyncpg.Connection]:
    """As a DBA works who owns the tables: the guards are off, and nodes follow all the same."""
    async with connected(database) as connection:
        await connection.execute(UNGUARDED)
        await connection.execute(OPEN_RUN)
        yield connection


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


@contextlib.asynccontextmanager
async def following(dsn: str, replica: Replica, copies: list[int] | None = None) -> AsyncIterator[Feed]:
    """`copies` gets the version of each fresh copy."""
    heard = [] if copies is None else copies
    feed = Feed(dsn, replica, on_cursor=lambda _, version, copied: heard.extend([version] * copied))
    task = asyncio.create_task(feed.run())
    try:
        await until(lambda: feed.connected or task.done())
        yield feed
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(reached: Callable[[], object], seconds: float = 20.0) -> float:
    """Wait until something holds; how many seconds it took."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < seconds, "did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def banned(view: Snapshot, number: str) -> bool:
    view.renew()
    return view.ban(number) is not None


def refused(view: Snapshot, subscriber: str = SUBSCRIBER) -> bool:
    view.renew()
    return bool(view.refusals(subscriber))


def said_no(subscriber: str = SUBSCRIBER, *, message: bytes = b"m", institution: int = 0) -> LocalRefusal:
    what: dict[str, Any] = {"purposes": 3, "channels": 3, "at": 1_700_000_000_000}
    return learn(
        KEY, subscriber, institution=institution, node="n", account=ACCOUNT, message_id=message, **what
    )


def content(replica: Replica) -> dict[str, object]:
    """All that a replica holds, but its version and cursor."""
    generation = replica.current
    assert generation is not None
    with generation.env.begin() as txn:
        held: dict[str, object] = {
            name: sorted(txn.cursor(db=getattr(generation, name))) for name in ("rows", "index", "refusals")
        }
    return held


async def copied(dsn: str, folder: Path) -> dict[str, object]:
    """What a fresh copy holds."""
    fresh = Replica.open(folder / f"fresh-{time.monotonic_ns()}", KEY, writer=True, map_size=SMALL)
    try:
        async with following(dsn, fresh):
            return content(fresh)
    finally:
        fresh.close()


async def test_a_ban_holds_within_a_second_by_whatever_hand(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    async with following(database, replica) as feed, connected(database) as other:
        view = replica.snapshot()
        await c.execute(BAN, "+8613800000000")
        assert await until(lambda: banned(view, "+8613800000000")) < 1
        await other.execute(
            "INSERT INTO blacklist (number, is_prefix, reason, case_reference) "
            "VALUES ('1069', true, 'r', 'c')"
        )
        assert await until(lambda: banned(view, "10690001")) < 1
        await other.copy_records_to_table(
            "blacklist", columns=["number", "reason", "case_reference"], records=[("95588", "r", "c")]
        )
        assert await until(lambda: banned(view, "95588")) < 1
        await c.execute("SET session_replication_role = replica")
        await c.execute("DELETE FROM blacklist WHERE number = '95588'")
        assert await until(lambda: not banned(view, "95588")) < 1
        assert feed.version == view.version > 0
        assert feed.lag_seconds < 5


async def test_it_is_ready_with_what_it_had_before_the_database_answers(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    await c.execute(BAN, "1069")
    async with following(database, replica):
        pass
    feed = Feed(database.replace("host=", "host=/nowhere"), replica)
    assert not feed.ready
    task = asyncio.create_task(feed.run())
    await until(lambda: feed.ready)
    assert banned(replica.snapshot(), "1069")
    assert not feed.connected
    task.cancel()


async def test_late_commits_are_not_skipped(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    """Rows numbered first, committed last; some never; restarts in between."""
    async with connected(database) as late, connected(database) as later, connected(database) as never:
        transactions = [connection.transaction() for connection in (late, later, never)]
        for connection, transaction, number in zip(
            (late, later, never), transactions, ("1061", "1062", "1063"), strict=True
        ):
            await transaction.start()
            await connection.execute(BAN, number)
        async with following(database, replica):
            view = replica.snapshot()
            await c.execute(BAN, "1064")
            await until(lambda: banned(view, "1064"))
            await transactions[0].commit()
            await until(lambda: banned(view, "1061"))
            await c.execute(BAN, "1065")
            await until(lambda: banned(view, "1065"))
        await transactions[1].commit()
        await transactions[2].rollback()
        await c.execute(BAN, "1066")
        async with following(database, replica):
            assert all(banned(view, number) for number in ("1061", "1062", "1064", "1065", "1066"))
            assert not banned(view, "1063")
            assert content(replica) == await copied(database, tmp_path)


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
async def test_bans_hold_while_a_writer_stays_open(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path, seconds: int
) -> None:
    async with following(database, replica), connected(database) as slow:
        view = replica.snapshot()
        transaction = slow.transaction()
        await transaction.start()
        end = time.monotonic() + seconds
        slowest, tries = 0.0, 0
        while time.monotonic() < end:
            await slow.execute(
                """INSERT INTO blacklist (number, reason, case_reference)
                   SELECT '1068' || lpad(($1 + i)::text, 7, '0'), 'r', 'c' FROM generate_series(1, 1000) i""",
                tries * 1000,
            )
            tries += 1
            number = f"1069{tries:07}"
            await c.execute(BAN, number)
            slowest = max(slowest, await until(lambda number=number: banned(view, number)))  # type: ignore[misc]
            await asyncio.sleep(0.05)
        assert slowest < 1
        assert not banned(view, "10680000001")
        await transaction.commit()
        # What comes at once in thousands does not delay the next ban either.
        await c.execute(BAN, "95588")
        assert await until(lambda: banned(view, "95588")) < 1
        bulk = [f"1068{tries * 1000:07}", "10680000001"]
        await until(lambda: all(banned(view, number) for number in bulk), 120)
        assert content(replica) == await copied(database, tmp_path)


async def test_moved_deleted_and_truncated_rows(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    async with following(database, replica):
        view = replica.snapshot()
        for number in ("1061", "1062", "1063"):
            await c.execute(BAN, number)
        await until(lambda: banned(view, "1063"))
        await c.execute("UPDATE blacklist SET number = '1067' WHERE number = '1061'")
        await c.execute("DELETE FROM blacklist WHERE number = '1062'")
        await until(lambda: not banned(view, "1062"))
        assert (banned(view, "1061"), banned(view, "1067")) == (False, True)
        await c.execute("UPDATE blacklist SET id = DEFAULT WHERE number = '1063'")
        async with c.transaction():
            await c.execute("TRUNCATE blacklist")
            await c.execute(BAN, "1068")
        await until(lambda: banned(view, "1068"))
        await until(lambda: not banned(view, "1067"))
        assert content(replica) == await copied(database, tmp_path)


async def test_a_reload_of_the_blacklist_never_shows_it_empty(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    await c.execute(BAN, "1069")
    async with following(database, replica):
        view = replica.snapshot()
        async with c.transaction():
            await c.execute("TRUNCATE blacklist RESTART IDENTITY")
            await c.executemany(BAN, [(f"1068{i:07}",) for i in range(3000)])
            await c.execute(BAN, "1069")
        gaps: list[str] = []

        def done() -> bool:
            view.renew()
            gaps.extend(["gap"] if view.ban("1069") is None else [])
            return view.ban("10680002999") is not None and view.ban("10680000000") is not None

        await until(done)
        assert gaps == []


async def test_refusals_come_go_and_are_truncated(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    key_id = await store.register_key(c, KEY.fingerprint)
    await store.insert_refusals(c, key_id, [said_no(), said_no(message=b"2"), said_no("+8613800000009")])
    async with following(database, replica):
        view = replica.snapshot()
        assert len(view.refusals(SUBSCRIBER)) == 2
        await c.execute(
            "UPDATE refusals SET lifted_at = now(), lifted_by = 'x' WHERE event = $1", said_no().event
        )
        await until(lambda: len(refusals(view)) == 1)
        await c.execute(
            "UPDATE refusals SET subscriber_hash = $1 WHERE event = $2",
            KEY.hash("+8613800000007"),
            said_no(message=b"2").event,
        )
        await until(lambda: refused(view, "+8613800000007"))
        assert refusals(view) == ()
        assert content(replica) == await copied(database, tmp_path)
        await c.execute("TRUNCATE refusals")
        await until(lambda: not refused(view, "+8613800000009"))
        assert content(replica) == await copied(database, tmp_path)


def refusals(view: Snapshot) -> object:
    view.renew()
    return view.refusals(SUBSCRIBER)


@pytest.mark.parametrize("before", ["in pieces", "copied afresh, then in pieces"])
async def test_a_version_counts_what_the_registry_numbered_and_nothing_that_follows(
    before: str, database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    """It ran ahead once, and what a record was judged by could not be told from what came later."""
    add = "INSERT INTO blacklist (number, reason, case_reference)"
    if "afresh" in before:
        async with following(database, replica):
            pass
        await c.execute("TRUNCATE refusals")  # of which no change is told one by one
    async with following(database, replica):
        view = replica.snapshot()
        await c.execute(f"{add} SELECT (1069000000 + i)::text, 'r', 'c' FROM generate_series(1, 5000) i")
        await until(lambda: banned(view, "1069000001") and banned(view, "1069005000"))
        version = view.version
        assert version <= await c.fetchval("SELECT last_value FROM registry_seq")
        later = await c.fetchval(f"{add} VALUES ('95588', 'r', 'c') RETURNING row_version")
        await until(lambda: banned(view, "95588"))
        assert version < later <= view.version


async def test_drafts_stay_out_and_move_nothing(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    await c.execute("INSERT INTO institutions (code, name, kind) VALUES ('A', 'A', 'bank')")
    async with following(database, replica):
        view = replica.snapshot()
        version = view.version
        await c.execute(
            "INSERT INTO numbers (number, channels, purposes, institution_id) VALUES ('10690001', 1, 1, 1)"
        )
        await asyncio.sleep(0.3)
        view.renew()
        assert (list(view.numbers("10690001")), view.version) == ([], version)
        await c.execute(
            f"""UPDATE numbers SET status = 'approved', checked_by = 'a', approved_by = 'b',
                                   approved_at = now(), signatures = '{{示例银行}}',
                                   (run_id, checked_person, approved_person) = {BY_RUN}"""
        )
        await until(lambda: numbers(view, "10690001"))
        assert view.numbers("10690001")[0].signatures == ("示例银行",)
        assert view.version > version


def numbers(view: Snapshot, source: str) -> object:
    view.renew()
    return view.numbers(source)


async def test_what_a_node_learns_reaches_the_database_and_other_nodes(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    other = Replica.open(tmp_path / "other", KEY, writer=True, map_size=SMALL)
    async with following(database, replica), following(database, other):
        here, there = replica.snapshot(), other.snapshot()
        replica.add_local_refusals([said_no()])
        assert refused(here)
        assert await until(lambda: refused(there)) < 5
        await until(lambda: not replica.local.pending())
        assert refusals(here) == refusals(there) == (Refusal(0, "", 3, 3, 1_700_000_000_000),)

        replica.add_local_refusals([said_no()])  # redelivered
        other.add_local_refusals([said_no()])  # to another node
        await until(lambda: not other.local.pending())
        assert await c.fetchval("SELECT count(*) FROM refusals") == 1

        await c.execute("UPDATE refusals SET lifted_at = now(), lifted_by = 'reply'")
        await until(lambda: not refused(there) and not refused(here))
        replica.add_local_refusals([said_no()])  # an old refusal never undoes a later "accept again"
        assert not refused(here)
        assert content(replica) == content(other)
    other.close()


def word(
    kind: str, at: int, *, institution: int = 1, message: bytes | None = None, flags: tuple[str, ...] = ()
) -> LocalRefusal:
    """What a reply of SUBSCRIBER does; one without a `message` of its own is known by its instant."""
    covers = {"refuse": 3, "ambiguous": 1}.get(kind, 0)
    what = {"institution": institution, "number": "10690001", "purposes": covers, "channels": covers and 3}
    return learn(
        KEY, SUBSCRIBER, **what, at=at, flags=flags, node="n", account=ACCOUNT, kind=kind,
        message_id=message or b"%d" % at, record=at.to_bytes(16, "big"),
    )  # type: ignore[arg-type]  # fmt: skip


def refusing(view: Snapshot, institution: int = 1) -> list[Refusal]:
    """What stands between an institution and SUBSCRIBER."""
    view.renew()
    said = view.refusals(SUBSCRIBER)
    return [
        one
        for one in said
        if one.purposes and one.institution == institution and one.stands(said, institution)
    ]


BODY = "INSERT INTO institutions (code, name, kind) SELECT 'I' || i, 'n', 'bank' FROM generate_series(1, 2) i"


async def test_who_accepted_again_stays_so_whatever_is_lost(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    """An old no, delivered again to a node that never heard it, and a database restored from before."""
    await c.execute(BODY)
    no, again = word("refuse", 1000), word("accept", 2000)
    late = word("refuse", 9000, message=b"1000")  # the same reply once more
    async with following(database, replica):
        view = replica.snapshot()
        replica.add_local_refusals([no])
        assert refusing(view)
        replica.add_local_refusals([again])
        assert not refusing(view)
        assert view.consents(SUBSCRIBER, 1) == [Span(2000)]
        await until(lambda: not replica.local.pending())
        assert not refusing(view)
        assert view.consents(SUBSCRIBER, 1) == [Span(2000)]
    other = Replica.open(tmp_path / "other", KEY, writer=True, map_size=SMALL)
    async with following(database, other):
        there = other.snapshot()
        assert not refusing(there)
    other.add_local_refusals([late])  # with the database away
    other.add_local_refusals([word("accept", 9500, message=b"2000")])
    assert not refusing(there)
    other.add_local_refusals([word("refuse", 9100)])
    assert refusing(there)
    async with following(database, other):
        await until(lambda: not other.local.pending())
        assert [one.at for one in refusing(there)] == [9100]
    other.close()
    await c.execute("TRUNCATE refusals, replies, consents")
    async with following(database, replica):
        await until(lambda: not replica.local.pending())
        view.renew()
        assert not refusing(view)
        assert view.consents(SUBSCRIBER, 1) == [Span(2000)]
        assert await c.fetchval("SELECT lifted_by FROM refusals") == "reply"
        assert content(replica) == await copied(database, tmp_path)


async def test_a_hold_lapses_by_itself_and_a_stranger_is_one_at_once(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    await c.execute(BODY)
    perhaps, stranger = word("ambiguous", 1000, flags=("covers_collection",)), word("wrong_person", 2000)
    held = Refusal(1, "", 1, 3, 1000, 1000 + HELD)
    async with following(database, replica):
        view = replica.snapshot()
        for _ in range(2):  # as this node learnt it, and as the database gave it back
            replica.add_local_refusals([perhaps, stranger])
            assert refusing(view) == [held]
            assert view.recipients(SUBSCRIBER, 1) == [Recipient("stranger", Span(2000))]
            assert not view.recipients(SUBSCRIBER, 2)
            assert not view.lists_recipients(1)
            await until(lambda: not replica.local.pending())
        await c.execute(
            "UPDATE replies SET decision = 'refusal', decided_at = now() WHERE kind = 'ambiguous'"
        )
        await until(lambda: refusing(view) == [Refusal(1, "", 3, 3, 1000)])
        with pytest.raises(asyncpg.RaiseError, match="decided before"):
            await c.execute("UPDATE replies SET decision = 'no_refusal' WHERE kind = 'ambiguous'")
        replica.add_local_refusals([word("ambiguous", 3000, institution=2)])
        await until(lambda: not replica.local.pending())
        decided = """UPDATE replies SET decision = 'no_refusal', decided_at = now(), decided_by = my_user()
                      WHERE kind = 'ambiguous' AND decision IS NULL"""
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="by name"):
            await c.execute(decided)
        await c.execute(
            """WITH person AS (INSERT INTO persons (name) VALUES ('person C') RETURNING id),
                      made AS (INSERT INTO users (login, person_id, role, carrier)
                               SELECT 'person-c', id, 'carrier', 'mobile' FROM person RETURNING id)
               SELECT set_config('zhengming.user', id::text, false) FROM made"""
        )
        await c.execute(decided)
        await until(lambda: not refusing(view, 2))
        assert content(replica) == await copied(database, tmp_path)


WORDS = st.tuples(
    st.sampled_from(["refuse", "ambiguous", "accept"]), st.integers(1, 9), st.integers(1, 2), st.booleans()
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(WORDS, max_size=8, unique_by=lambda one: one[1]), again=st.permutations(range(8)))
def test_the_newest_word_holds_in_whatever_order_words_come(
    database: str, tmp_path: Path, words: list[tuple[str, int, int, bool]], again: list[int]
) -> None:
    """Each comes once, some are delivered again later; between them the database hears of it, or does not."""

    async def play() -> None:
        replica = Replica.open(tmp_path / f"r{time.monotonic_ns()}", KEY, writer=True, map_size=SMALL)
        async with connected(database) as c:
            await c.execute(UNGUARDED)
            await c.execute(f"TRUNCATE refusals, replies, consents; {BODY} ON CONFLICT DO NOTHING")
            feed = Feed(database, replica)
            await store.register_key(c, KEY.fingerprint)
            feed.open()
            await feed.catch_up(c)
            view = replica.snapshot()
            told: list[tuple[str, int, int]] = []

            def as_told() -> bool:
                for body in (1, 2):
                    accepted = max(
                        (at for kind, at, to in told if kind == "accept" and to == body), default=0
                    )
                    stand = {at for kind, at, to in told if kind != "accept" and to == body and at > accepted}
                    if {one.at for one in refusing(view, body)} != stand:
                        return False
                return True

            for kind, at, to, carried in words:
                replica.add_local_refusals([word(kind, at, institution=to)])
                told.append((kind, at, to))
                assert as_told()
                if carried:
                    await feed.catch_up(c)
                    assert as_told()
            for place in again:
                if place < len(words):
                    kind, at, to, _ = words[place]
                    replica.add_local_refusals([word(kind, at + 1000, institution=to, message=b"%d" % at)])
                    assert as_told()
            await feed.catch_up(c)
            await feed.catch_up(c)
            assert as_told()
            assert replica.local.pending() == []
            ended = {
                to for kind, at, to in told if kind != "accept"
                and any(k == "accept" and later > at and body == to for k, later, body in told)
            }  # fmt: skip
            agreed = await c.fetch("SELECT DISTINCT institution_id FROM consents WHERE source = 'reply'")
            assert {row[0] for row in agreed} == ended
        replica.close()

    asyncio.run(play())


async def test_a_refusal_learnt_after_local_was_lost_is_carried_whatever_its_count(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    """The count of changes begins anew in another `local`, and may stand where it stood in the lost one."""
    async with following(database, replica) as feed:
        for message in range(3):
            replica.add_local_refusals([said_no(message=b"%d" % message)])
            await until(lambda: not replica.local.pending())
        seen = replica.local.state()[1]
        await until(lambda: not feed._is_learnt())
        for path in (replica.directory / "local").iterdir():
            path.unlink()
        replica.check()
        while replica.local.state()[1] < seen - 1:
            replica.add_local_refusals([])
        replica.add_local_refusals([said_no("13800000009")])
        assert replica.local.state()[1] == seen
        await until(lambda: not replica.local.pending())
        assert await c.fetchval("SELECT count(*) FROM refusals") == 4


async def test_a_replica_of_another_version_serves_until_it_is_copied_afresh(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version keeps of the registry, an older one has never asked for."""
    await c.execute(BAN, "1069")
    with monkeypatch.context() as older:
        older.setattr(writer, "FORMAT", b"older")
        older.delitem(TABLES, "consents")
        async with following(database, replica):
            pass
    before = replica.local.state()[0]
    key_id = await store.register_key(c, KEY.fingerprint)
    await c.execute(
        "INSERT INTO institutions (code, name, kind, licence_scope, region)"
        " VALUES ('B', 'b', 'bank', 7, '330000')"
    )
    body = await c.fetchval("SELECT id FROM institutions")
    await c.execute(
        "INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at)"
        " VALUES ($1, $2, '', $3, 'web', '1970-01-01 00:00:01Z')",
        KEY.hash(SUBSCRIBER), key_id, body,
    )  # fmt: skip
    feed = Feed(database, replica)
    feed.open()
    assert banned(replica.snapshot(), "10690001")
    async with following(database, replica):
        await until(lambda: replica.local.state()[0] != before)
        view = replica.snapshot()
        assert banned(view, "10690001")
        assert [span.start for span in view.consents(SUBSCRIBER, body)] == [1000]
        assert content(replica) == await copied(database, tmp_path)


async def test_what_is_not_yet_returned_will_be_read_back(
    database: str, replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "HEARTBEAT_SECONDS", 0.05)
    (tmp_path / "journal").mkdir()
    recorded = Recorded(tmp_path / "journal", Keys(tmp_path / "keys"), KEY)
    stuck = structs.replace(said_no(institution=99), at=time.time_ns() // 1_000_000 - 3_600_000)
    feed = Feed(database, replica, recorded=recorded)
    task = asyncio.create_task(feed.run())
    try:
        await until(lambda: recorded.settled() > stuck.at)
        replica.add_local_refusals([stuck])
        await until(lambda: recorded.settled() == stuck.at - UNDER_WAY)
        replica.local.returned([stuck.event], [stuck.key], 1)
        await until(lambda: recorded.settled() > stuck.at)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refusal_that_the_database_does_not_take_stays_on_the_node(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    async with following(database, replica):
        view = replica.snapshot()
        bad = msgspec.structs.replace(said_no("+8613800000008"), number="no number")
        replica.add_local_refusals([said_no(institution=99), bad, said_no("+8613800000009")])
        await until(lambda: len(replica.local.pending()) == 2)
        assert refused(view)
        assert refused(view, "+8613800000008")
        assert await c.fetchval("SELECT count(*) FROM refusals") == 1


@pytest.mark.parametrize("how", ["deleted", "cut", "folder", "everything"])
async def test_a_replica_damaged_under_traffic_is_made_anew(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path, how: str
) -> None:
    await c.execute(BAN, "1069")
    async with following(database, replica):
        view = replica.snapshot()
        replica.add_local_refusals([said_no()])
        assert replica.current is not None
        path = replica.current.file.path
        if how == "deleted":
            path.unlink()
        elif how == "cut":
            os.truncate(path, 5000)
        elif how == "folder":
            shutil.rmtree(path.parent)
        else:
            shutil.rmtree(replica.directory)
        number = replica.current.number
        await until(lambda: replica.current is not None and replica.current.number > number)
        assert refused(view)
        await c.execute(BAN, "1068")
        await until(lambda: banned(view, "1068"))
        assert banned(view, "1069")
        await until(lambda: not replica.local.pending())
        assert refused(view)
        assert content(replica) == await copied(database, tmp_path)


async def test_a_pruned_log_means_a_fresh_copy(
    database: str, c: asyncpg.Connection, replica: Replica, tmp_path: Path
) -> None:
    copies: list[int] = []
    async with following(database, replica, copies):
        await c.execute(BAN, "1061")
        await until(lambda: banned(replica.snapshot(), "1061"))
    assert len(copies) == 1
    await c.execute(BAN, "1062")
    await c.execute(BAN, "1063")
    await c.execute("DELETE FROM change_log WHERE seq < (SELECT max(seq) FROM change_log)")
    async with following(database, replica, copies):
        assert len(copies) == 2
        assert banned(replica.snapshot(), "1062")
        assert content(replica) == await copied(database, tmp_path)


async def test_pruning_what_was_seen_disturbs_nobody(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    copies: list[int] = []
    async with following(database, replica, copies):
        view = replica.snapshot()
        for number in ("1061", "1062", "1063"):
            await c.execute(BAN, number)
        await until(lambda: banned(view, "1063"))
        await asyncio.sleep(1.2)  # a poll behind the last change
        await c.execute("DELETE FROM change_log WHERE seq < (SELECT max(seq) FROM change_log)")
        await c.execute(BAN, "1064")
        await until(lambda: banned(view, "1064"))
    assert len(copies) == 1


async def test_a_database_restored_from_a_dump(
    embedded: EmbeddedPostgres,
    database: str,
    replica: Replica,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Older than the replica, of the same cluster; refusals that came after the dump are told again, but not
    while the restore is still to make the triggers by which other nodes hear of them."""
    name = database.partition("?")[0].rpartition("/")[2]
    async with connected(database) as c:
        await c.execute(BAN, "1061")
    async with connected(embedded.dsn) as admin:
        await admin.execute(f"CREATE DATABASE {name}_backup TEMPLATE {name}")
        async with connected(sibling(embedded.dsn, f"{name}_backup")) as c:
            await c.execute("ALTER TABLE refusals DISABLE TRIGGER registry_inserted")
        async with following(database, replica) as feed:
            view = replica.snapshot()
            async with connected(database) as c:
                await c.execute(BAN, "1062")
            replica.add_local_refusals([said_no()])
            await until(lambda: banned(view, "1062") and not replica.local.pending())

            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await until(lambda: not feed.connected)
            replica.add_local_refusals([said_no("+8613800000009")])
            assert refused(view)
            assert refused(view, "+8613800000009")
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {name}_backup")

            await until(lambda: "refusals: triggers of the change log" in caplog.text)
            assert banned(view, "1062")
            async with connected(database) as c:
                assert await c.fetchval("SELECT count(*) FROM refusals") == 0
                await c.execute("ALTER TABLE refusals ENABLE ALWAYS TRIGGER registry_inserted")
            await until(lambda: not banned(view, "1062"))
            assert banned(view, "1061")
            assert refused(view)
            await until(lambda: not replica.local.pending())
            assert refused(view)
            assert refused(view, "+8613800000009")
            async with connected(database) as c:
                assert await c.fetchval("SELECT count(*) FROM refusals") == 2
            assert content(replica) == await copied(database, tmp_path)
        await admin.execute(f"DROP DATABASE {name}_backup")


@pytest.mark.long
async def test_a_server_stopped_and_restored_from_an_older_copy_of_its_files(
    replica: Replica, tmp_path: Path
) -> None:
    """Nothing tells the two apart but the log: same cluster, timeline, ids and sequence numbers."""
    folder = Path(tempfile.mkdtemp(prefix="zmf-"))
    server = EmbeddedPostgres(folder)
    await asyncio.to_thread(server.start)
    dsn = server.dsn
    await asyncio.to_thread(migrate.upgrade, dsn)
    try:
        async with connected(dsn) as c:
            await c.execute(BAN, "1061")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(shutil.copytree, server.data, folder / "backup", copy_function=shutil.copy2)
        owner = server.data.stat()
        for path in (folder / "backup", *(folder / "backup").rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        await asyncio.to_thread(server.start)
        async with following(dsn, replica) as feed:
            view = replica.snapshot()
            async with connected(dsn) as c:
                await c.execute(BAN, "1062")
            replica.add_local_refusals([said_no()])
            await until(lambda: banned(view, "1062") and not replica.local.pending())
            news_at = view.news_at

            await asyncio.to_thread(server.stop)
            await until(lambda: not feed.connected)
            replica.add_local_refusals([said_no("+8613800000009")])
            assert banned(view, "1062")
            shutil.rmtree(server.data)
            (folder / "backup").rename(server.data)
            await asyncio.to_thread(server.start)
            async with connected(dsn) as c:  # as many changes and transactions as were lost
                for _ in range(5):
                    await c.execute(BAN, f"107{_}")

            await until(lambda: not banned(view, "1062"))
            assert banned(view, "1061")
            await until(lambda: banned(view, "1074"))
            await until(lambda: not replica.local.pending())
            assert refused(view)
            assert refused(view, "+8613800000009")
            assert view.news_at > news_at
            async with connected(dsn) as c:
                assert await c.fetchval("SELECT count(*) FROM refusals") == 2
            assert content(replica) == await copied(dsn, tmp_path)
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(folder)


async def test_news_are_dated_although_nothing_changes(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    async with following(database, replica) as feed:
        view = replica.snapshot()
        first, version = view.news_at, view.version
        assert abs(first - time.time() * 1000) < 10_000

        def news() -> bool:
            view.renew()
            return view.news_at > first + 1000

        await until(news)
        assert view.version == feed.version == version


async def test_a_killed_keeper_loses_nothing(database: str, c: asyncpg.Connection, tmp_path: Path) -> None:
    """kill -9 at any instant, also while it copies; what workers learnt meanwhile stays."""
    program = """
import asyncio, sys
from pathlib import Path
from gateway.registry.feed import Feed
from gateway.registry.replica import Replica
from test_feed import KEY, SMALL
replica = Replica.open(Path(sys.argv[1]), KEY, writer=True, map_size=SMALL)
asyncio.run(Feed(sys.argv[2], replica).run())
"""
    directory = tmp_path / "registry"
    environment = os.environ | {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}"}
    worker = Replica.open(directory, KEY, map_size=SMALL)
    for round_ in range(6):
        keeper = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(directory), database, cwd=CHECKOUT, env=environment
        )
        await until((directory / "keeper").exists)
        end = time.monotonic() + 0.4 + 0.25 * round_
        i = 0
        while time.monotonic() < end:
            i += 1
            await c.execute(BAN, f"1069{round_}{i:06}")
            worker.add_local_refusals([said_no(f"+86138000{round_}{i % 1000:04}", message=b"%d" % i)])
            if i % 50 == 0:
                await c.execute("DELETE FROM blacklist WHERE id IN (SELECT id FROM blacklist LIMIT 20)")
        keeper.send_signal(signal.SIGKILL)
        await keeper.wait()
    kept = [refusal for refusal, _ in worker.local.kept()]
    learnt = {refusal.event for refusal in [*worker.local.pending(), *kept]}
    worker.close()

    replica = Replica.open(directory, KEY, writer=True, map_size=SMALL)
    async with following(database, replica):
        await until(lambda: not replica.local.pending())
        assert {row[0] for row in await c.fetch("SELECT event FROM refusals")} == learnt
        assert content(replica) == await copied(database, tmp_path)
    replica.close()


async def test_a_node_with_another_registry_key_does_not_run(
    database: str, c: asyncpg.Connection, replica: Replica
) -> None:
    await store.register_key(c, RegistryKey(b"1" * 32).fingerprint)
    with pytest.raises(UsageError, match="registry key"):
        await Feed(database, replica).run()


async def test_a_database_without_a_schema_is_waited_for(
    embedded: EmbeddedPostgres, replica: Replica
) -> None:
    dsn = sibling(embedded.dsn, "unmade")
    feed = Feed(dsn, replica)
    task = asyncio.create_task(feed.run())
    await asyncio.sleep(0.2)
    async with connected(embedded.dsn) as admin:
        await admin.execute("CREATE DATABASE unmade")
        await asyncio.sleep(0.2)
        assert not feed.ready
        await asyncio.to_thread(migrate.upgrade, dsn)
        await until(lambda: feed.connected)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await admin.execute("DROP DATABASE unmade WITH (FORCE)")


# Random operations, on two connections whose transactions interleave, against a replica that is brought
# up to date now and then: afterwards it must equal a fresh copy.
PLACE = st.integers(0, 3)
OPERATION = st.one_of(
    st.tuples(st.just("begin"), st.booleans()),
    st.tuples(st.just("end"), st.booleans(), st.booleans()),
    st.tuples(st.just("catch up")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("learn"), PLACE, st.sampled_from(REPLY_KINDS[:-1]), st.integers(1, 9)),
    *(
        st.tuples(st.just(what), st.booleans(), PLACE)
        for what in (
            *("ban", "unban", "move ban", "truncate bans", "file number", "revoke number", "hold", "lift"),
            *("account", "drop account", "allow", "mandate", "rename", "accept", "move refusal"),
            *("consent", "withdraw consent", "list recipient", "drop recipient"),
        )
    ),
    st.tuples(st.just("decide"), st.booleans(), PLACE),
    st.tuples(st.sampled_from(["truncate refusals", "truncate replies"]), st.booleans(), st.just(0)),
)
STATEMENTS = {
    "ban": """INSERT INTO blacklist (number, reason, case_reference) VALUES ('1069000{i}', 'r', 'c')
              ON CONFLICT DO NOTHING""",
    "unban": "DELETE FROM blacklist WHERE number = '1069000{i}'",
    "move ban": "UPDATE blacklist SET number = number || '0', id = DEFAULT WHERE number = '1069000{i}'",
    "truncate bans": "TRUNCATE blacklist",
    "file number": """INSERT INTO numbers (number, channels, purposes, institution_id, status, checked_by,
                                           approved_by, approved_at, run_id, checked_person, approved_person)
                      SELECT '1068000{i}', 1, 1, n.id, 'approved', 'a', 'b', now(), r.id, r.checker_id,
                             r.approver_id
                        FROM institutions n, import_runs r WHERE code = 'I{i}' ON CONFLICT DO NOTHING""",
    "revoke number": "UPDATE numbers SET status = 'revoked' WHERE number = '1068000{i}'",
    "hold": "INSERT INTO holds (cause, institution_id) SELECT 'c', id FROM institutions WHERE code = 'I{i}'",
    "lift": "DELETE FROM holds WHERE id % 4 = {i}",
    "account": """INSERT INTO accounts (carrier, protocol, account, holder_id)
                  SELECT 'mobile', 'cmpp', '{i}', id FROM institutions WHERE code = 'I{i}'
                  ON CONFLICT DO NOTHING""",
    "drop account": "DELETE FROM accounts WHERE account = '{i}'",
    "allow": """INSERT INTO account_numbers (account_id, number)
                SELECT id, '1068000{i}' FROM accounts ON CONFLICT DO NOTHING""",
    "mandate": """INSERT INTO mandates (institution_id, agency_id, channels, purposes)
                  SELECT a.id, b.id, 1, 1 FROM institutions a, institutions b
                   WHERE a.code = 'I{i}' AND b.code <> a.code ON CONFLICT DO NOTHING""",
    "consent": """INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source,
                                        given_at)
                  SELECT decode(md5('{i}'), 'hex'), k.id, '', n.id, 's', '2026-01-01'
                    FROM institutions n, registry_keys k WHERE code = 'I{i}' ON CONFLICT DO NOTHING""",
    "list recipient": """INSERT INTO recipients (subscriber_hash, key_id, subscriber_sealed, institution_id,
                                                 role, valid_from)
                         SELECT decode(md5('{i}'), 'hex'), k.id, '', n.id, 'debtor', '2026-01-01'
                           FROM institutions n, registry_keys k WHERE code = 'I{i}' ON CONFLICT DO NOTHING""",
    "drop recipient": "DELETE FROM recipients WHERE subscriber_hash = decode(md5('{i}'), 'hex')",
    "withdraw consent": "DELETE FROM consents WHERE subscriber_hash = decode(md5('{i}'), 'hex')",
    "rename": "UPDATE institutions SET name = name || 'x' WHERE code = 'I{i}'",
    "accept": """UPDATE refusals SET lifted_at = now(), lifted_by = 'r'
                  WHERE account = '{i}' AND lifted_at IS NULL""",
    "move refusal": "UPDATE refusals SET subscriber_hash = decode(md5('{i}'), 'hex') WHERE account = '{i}'",
    "truncate refusals": "TRUNCATE refusals",
    "decide": "UPDATE replies SET decision = 'refusal', decided_at = now() WHERE account = '{i}'",
    "truncate replies": "TRUNCATE replies",
}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(operations=st.lists(OPERATION, max_size=40))
def test_the_replica_equals_a_fresh_copy(
    database: str, tmp_path: Path, operations: list[tuple[Any, ...]]
) -> None:
    replica = Replica.open(tmp_path / "followed", KEY, writer=True, map_size=SMALL)
    try:
        asyncio.run(play(database, tmp_path, replica, operations))
    finally:
        replica.close()


async def play(dsn: str, folder: Path, replica: Replica, operations: list[tuple[Any, ...]]) -> None:
    """One database and one replica for all examples: each begins with what the last one left."""
    async with connected(dsn) as one, connected(dsn) as two, connected(dsn) as follower:
        await one.execute(UNGUARDED)
        if not await one.fetchval("SELECT count(*) FROM import_runs"):
            await one.execute(OPEN_RUN)
        await one.execute(
            """INSERT INTO institutions (code, name, kind) SELECT 'I' || i, 'n', 'bank'
                 FROM generate_series(0, 3) i ON CONFLICT DO NOTHING"""
        )
        for connection in (one, two, follower):
            await connection.execute("SET lock_timeout = '20ms'")
        key_id = await store.register_key(one, KEY.fingerprint)

        async def opened() -> Feed:
            feed = Feed(dsn, replica)
            feed._key_id = key_id
            feed.open()
            return feed

        feed = await opened()
        open_transactions: dict[bool, Any] = {}
        for what, *arguments in operations:
            if what == "catch up":
                with contextlib.suppress(asyncpg.LockNotAvailableError):  # an open TRUNCATE: it comes again
                    await feed.catch_up(follower)
            elif what == "restart":
                feed = await opened()
            elif what == "learn":
                place, kind, at = arguments
                account = ACCOUNT._replace(account=str(place))
                subscriber = f"+861380000000{place}"
                covers = int(kind in ("refuse", "ambiguous"))
                told = {"institution": 0, "purposes": covers, "channels": covers, "at": at, "kind": kind}
                told |= {"number": "10690001", "record": os.urandom(16)} if kind != "refuse" else {}
                message = os.urandom(8)
                replica.add_local_refusals(
                    [learn(KEY, subscriber, node="n", account=account, message_id=message, **told)]  # type: ignore[arg-type]
                )
            elif what == "begin":
                [side] = arguments
                if side not in open_transactions:
                    open_transactions[side] = (one if side else two).transaction()
                    await open_transactions[side].start()
            elif what == "end":
                side, good = arguments
                if side in open_transactions:
                    transaction = open_transactions.pop(side)
                    await (transaction.commit() if good else transaction.rollback())
            else:
                side, place = arguments
                connection = one if side else two
                with contextlib.suppress(asyncpg.PostgresError):  # the other side's lock, or a conflict
                    async with connection.transaction():
                        await connection.execute(STATEMENTS[what].format(i=place))
        for transaction in open_transactions.values():
            await transaction.commit()
        await feed.catch_up(follower)
        await feed.catch_up(follower)
        assert replica.local.pending() == []
        assert content(replica) == await copied(dsn, folder)
