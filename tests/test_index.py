"""Shipping: every record counts once in PostgreSQL, however often and wherever it is interrupted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from playbook import eventually

from gateway import model
from gateway.evidence import gather, index, plan
from gateway.evidence import record as rec
from gateway.evidence.folder import segment_path, segments
from gateway.evidence.index import Shipper, keep_indexed
from gateway.evidence.journal import Journal
from gateway.evidence.lookup import index_path
from gateway.evidence.seal import REGISTRY, Keys, keyed_hash
from gateway.evidence.search import Search

ACCOUNT = model.AccountKey("mobile", "cmpp", "900001")
NOON = 1_763_697_600_000  # 2025-11-21 12:00 in Shanghai
DAY = 86_400_000
LOOKUP = b"l" * 32
PASSED = model.Verdict(None, number="10690001", institution_code="B1", purpose="marketing")
REFUSED = model.Verdict(
    model.Reason.BLACKLISTED, "prefix", (model.Finding(model.Reason.BLACKLISTED, "prefix", True),)
)


def judged(number: str, verdict: model.Verdict) -> Any:
    return rec.judged(ACCOUNT, "n", model.SMS, number, verdict, profile="p", lexicon="l")


def subscriber(n: int) -> str:
    return f"+8613800{n:06d}"


class Node:
    """A journal that is written, and a shipper beside it."""

    def __init__(self, path: Path, dsn: str) -> None:
        self.path = path
        self.dsn = dsn
        self.keys = Keys(path / "keys")
        self.journal = self.open()

    def open(self, writer: str = "w0") -> Journal:
        return Journal(self.path / "journal", "n", writer, self.keys, clock=lambda: NOON)

    def shipper(self, now: int = NOON, database: int | None = None) -> Shipper:
        async def database_clock(_: Any) -> int:
            return now if database is None else database

        return Shipper(
            self.dsn,
            self.path / "journal",
            "n",
            self.keys,
            LOOKUP,
            kept_days=160,
            clock=lambda: now,
            database_clock=database_clock,
        )

    async def write(self, *numbers: int, at: int = NOON, journal: Journal | None = None) -> list[bytes]:
        """Attempt n: refused when it is a multiple of ten; a group of its own."""
        ids = []
        journal = journal or self.journal
        for n in numbers:
            shown = ("1069", REFUSED) if n % 10 == 0 else ("10690001", PASSED)
            item = (judged(*shown), 0, 1, n, 0, 1, 1, 0, "杭州", subscriber(n), 8, 0, b"text %d" % n)
            ids += journal.attempts(at + n, 5, [item], lambda error: None)
            await journal.sync()
        return ids


@pytest.fixture
async def node(tmp_path: Path, database: str) -> AsyncIterator[Node]:
    node = Node(tmp_path, database)
    node.journal.start()
    yield node
    await node.journal.close()


@pytest.fixture
async def c(database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def counts(c: Any) -> tuple[int, int, int]:
    """(passed, refused, intercepts) as the database has them."""
    row = await c.fetchrow(
        """
        SELECT (SELECT coalesce(sum(count), 0)::int FROM traffic_minute WHERE verdict = 'pass'),
               (SELECT coalesce(sum(count), 0)::int FROM traffic_minute WHERE verdict = 'refuse'),
               (SELECT count(*)::int FROM intercepts)"""
    )
    return tuple(row)  # type: ignore[return-value]


async def ship(shipper: Shipper, c: Any) -> int:
    total = 0
    while shipped := await shipper.step(c):
        total += shipped
    return total


async def test_an_intercept_carries_what_pages_ask_for(node: Node, c: Any) -> None:
    (id_,) = await node.write(10)
    node.journal.outcomes(NOON, [(id_, 0, b"", 0)])
    await node.journal.sync()
    assert await ship(node.shipper(), c) == 2
    row = dict(await c.fetchrow("SELECT * FROM intercepts"))
    assert row["id"].bytes == id_
    assert row["at"].timestamp() == (NOON + 10) / 1000
    assert (row["carrier"], row["node"], row["protocol"], row["account"]) == ("mobile", "n", "cmpp", "900001")
    assert (row["number"], row["registration"], row["institution"]) == ("1069", "", "")
    assert (row["reason"], row["sub"]) == ("blacklisted", "prefix")
    assert row["findings"] == '[["blacklisted", "prefix", true]]'
    assert row["subscriber"] == "138****0010"
    assert row["subscriber_hash"] == keyed_hash(LOOKUP)(subscriber(10).encode())
    assert (row["region"], row["registry_version"]) == ("杭州", 5)
    assert (row["writer"], row["segment"], row["place"]) == ("w0", 1, 0)
    assert await c.fetchval("SELECT tableoid::regclass::text FROM intercepts") == "intercepts_20251121"
    minute = dict(await c.fetchrow("SELECT * FROM traffic_minute"))
    assert (minute["count"], minute["parts"], minute["number"], minute["verdict"]) == (1, 1, "1069", "refuse")
    assert minute["minute"].timestamp() == NOON / 1000


async def test_batches_of_one_minute_add_up_and_parts_are_counted(node: Node, c: Any) -> None:
    shipper = node.shipper()
    await node.write(*range(1, 10))
    await ship(shipper, c)
    await node.write(11, 12)
    whole = (judged("10690001", PASSED), 0, 1, 1, 0, 3, 0, 7, "杭州", subscriber(1), 8, 0, (b"a", b"b", b"c"))
    odd = (*whole[:5], 0, 0, 0, *whole[8:12], b"alone")
    node.journal.attempts(NOON, 5, [whole, odd], lambda error: None)  # type: ignore[list-item]
    await node.journal.sync()
    await ship(shipper, c)
    rows = await c.fetch("SELECT count, parts, institution, purpose FROM traffic_minute")
    assert [tuple(row) for row in rows] == [(13, 15, "B1", "marketing")]


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_shipping_again_counts_nothing_twice(
    node: Node, c: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(gather, "SLICE", size)
    monkeypatch.setattr(index, "BATCH", 2 * size)
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 1500)
    await node.write(*range(40))
    other = node.open("w1")
    other.start()
    await node.write(*range(40, 60), journal=other)
    await other.close()
    one, two = node.shipper(), node.shipper()
    await one.step(c)
    await two.step(c)
    await one.step(c)
    await ship(one, c)
    await ship(two, c)
    last = node.shipper()
    await ship(last, c)
    assert len(segments(node.path / "journal" / "w0")) > 3
    assert await counts(c) == (54, 6, 6)
    assert await c.fetchval("SELECT sum(records) FROM shipping") == 60
    assert last.unshipped() == 0


async def test_a_crash_inside_a_batch_leaves_nothing_of_it(
    node: Node, c: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.write(*range(30))
    await node.shipper().step(c)
    await node.write(*range(30, 50))
    assert await counts(c) == (27, 3, 3)
    killed = await asyncpg.connect(node.dsn)
    shipper = node.shipper()
    whole = type(killed).copy_records_to_table

    async def half(self: Any, *args: Any, **how: Any) -> Any:
        await whole(self, *args, **how)
        self.terminate()
        raise ConnectionError("killed")

    monkeypatch.setattr(type(killed), "copy_records_to_table", half)
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await shipper.step(killed)
    monkeypatch.undo()
    assert await counts(c) == (27, 3, 3)
    assert shipper.unshipped() == 20
    assert node.shipper().unshipped() == 20  # also who has begun since, and not met the database
    await ship(node.shipper(), c)
    assert node.shipper().unshipped() == 0
    assert await counts(c) == (45, 5, 5)


async def test_a_database_that_was_away_or_restored_is_caught_up(node: Node, c: Any) -> None:
    away = Shipper(
        "postgresql://nobody@127.0.0.1:1/none",
        node.path / "journal",
        "n",
        node.keys,
        LOOKUP,
        kept_days=160,
        clock=lambda: NOON,
    )
    task = asyncio.create_task(away.run())
    await node.write(*range(20))
    await asyncio.sleep(0.25)
    assert not away.connected
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    shipper = node.shipper()
    running = asyncio.create_task(shipper.run())
    await until(lambda: shipper.connected)
    await node.write(*range(20, 40))
    await until_equal(lambda: counts(c), (36, 4, 4))
    await c.execute("CREATE TABLE saved AS TABLE shipping")
    await node.write(*range(40, 60))
    await until_equal(lambda: counts(c), (54, 6, 6))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    # a backup of when there were forty
    await c.execute("DELETE FROM intercepts WHERE place >= 40; DELETE FROM shipping")
    await c.execute("INSERT INTO shipping TABLE saved")
    await c.execute("UPDATE traffic_minute SET count = CASE verdict WHEN 'pass' THEN 36 ELSE 4 END")
    assert await counts(c) == (36, 4, 4)
    await ship(node.shipper(), c)
    assert await counts(c) == (54, 6, 6)


async def test_of_two_nodes_with_one_name_one_ships(
    node: Node, c: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.write(*range(20))
    first, second = node.shipper(), node.shipper()
    running = asyncio.create_task(first.run())
    await eventually(lambda: first.connected)
    waiting = asyncio.create_task(second.run())
    await eventually(lambda: second._hindered_at is not None)
    assert not second.connected
    assert second.hindered == ""  # perhaps it is our own earlier session
    monkeypatch.setattr(index, "HINDERED_SECONDS", 0.0)
    assert "node.name" in second.hindered
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await eventually(lambda: second.connected)
    assert second.hindered == ""
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_cursor_that_was_moved_by_another_is_read_again(node: Node, c: Any) -> None:
    await node.write(*range(10))
    shipper = node.shipper()
    await ship(shipper, c)
    await c.execute("DELETE FROM shipping; DELETE FROM intercepts; DELETE FROM traffic_minute")
    await node.write(*range(10, 20))
    assert await shipper.step(c) == 0
    assert await ship(shipper, c) == 20
    assert await counts(c) == (18, 2, 2)


async def test_a_journal_that_begins_anew_under_its_old_name_is_shipped(
    node: Node, c: Any, tmp_path: Path
) -> None:
    await node.write(*range(10))
    await ship(node.shipper(), c)
    fresh = Node(tmp_path / "fresh", node.dsn)
    fresh.journal.start()
    await fresh.write(*range(5))
    assert await ship(fresh.shipper(), c) == 5
    assert await counts(c) == (13, 2, 2)
    await fresh.journal.close()


async def test_only_what_is_durable_is_shipped(node: Node, c: Any) -> None:
    await node.write(1)
    path = segment_path(node.path / "journal" / "w0", 1)
    shipper = node.shipper()
    node.journal._tail.set(1, 0, 0)
    assert await ship(shipper, c) == 0
    await node.write(2)
    assert await ship(shipper, c) == 2
    assert path.exists()


async def test_damage_is_told_and_the_rest_is_shipped(
    node: Node, c: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 1500)
    await node.write(*range(30))
    path = segment_path(node.path / "journal" / "w0", 2)
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    shipper = node.shipper()
    await ship(shipper, c)
    await ship(shipper, c)
    assert [record.message for record in caplog.records] == ["segment damaged"]
    passed, refused, _ = await counts(c)
    assert 20 < passed + refused < 30
    assert await c.fetchval("SELECT segment FROM shipping") == len(segments(path.parent))


async def test_a_record_of_a_newer_program_is_told_and_left(
    node: Node, c: Any, caplog: pytest.LogCaptureFixture
) -> None:
    newer = msgspec.msgpack.encode((2, 1, "of the future"))
    node.journal._groups.note(NOON, 1, lambda group: [newer])
    await node.write(1)
    assert await ship(node.shipper(), c) == 2
    assert await counts(c) == (1, 0, 0)
    assert "version 2, kind 1" in str(caplog.records[0].__dict__["fields"])


async def test_partitions_come_ahead_and_go_when_their_time_is_over(node: Node, c: Any) -> None:
    await node.write(10, at=NOON)
    await ship(node.shipper(), c)
    assert await partitions(c) == ["20251121", "20251122", "20251123"]
    await ship(node.shipper(NOON + 160 * DAY), c)
    assert "20251121" in await partitions(c)
    late = node.shipper(NOON + 161 * DAY)
    await node.write(20, at=NOON)  # too old by now to be kept
    await node.write(30, at=NOON + 100 * DAY)
    await ship(late, c)
    assert await partitions(c) == [
        *("20251122", "20251123", "20260301"),
        *("20260430", "20260501", "20260502", "20260503"),
    ]
    assert await counts(c) == (0, 1, 1)
    assert late.unshipped() == 0


async def partitions(c: Any) -> list[str]:
    names = [
        row[0]
        for row in await c.fetch(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r' ORDER BY 1"
        )
    ]
    days = [name.removeprefix("intercepts_") for name in names if name.startswith("intercepts_")]
    assert [f"traffic_minute_{day}" for day in days] == [n for n in names if n.startswith("traffic_minute_")]
    return days


async def test_two_keepers_may_make_partitions_at_once(node: Node, database: str) -> None:
    connections = [await asyncpg.connect(database) for _ in range(4)]
    for day in (date(2026, 1, 1), date(2026, 1, 2)):
        await asyncio.gather(
            *(one.execute("SELECT make_traffic_partition('intercepts', $1)", day) for one in connections)
        )
    for one in connections:
        await one.close()


async def test_what_postgresql_cannot_hold_stops_nothing(node: Node, c: Any) -> None:
    odd = rec.judged(
        model.AccountKey("mobile", "cmpp", "90\0001"), "n", model.SMS, "10\0", REFUSED, profile="", lexicon=""
    )
    item = (odd, 0, 1, 1, 0, 1, 1, 0, "", "12\0345678", 8, 0, b"")
    node.journal.attempts(NOON, 5, [item], lambda error: None)
    await node.journal.sync()
    assert await ship(node.shipper(), c) == 1
    assert await c.fetchval("SELECT number FROM intercepts") == "10\ufffd"


async def test_closed_segments_get_their_index(node: Node, c: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 1500)
    monkeypatch.setattr(index, "INDEX_SECONDS", 0.01)
    await node.write(*range(10, 20))
    await node.write(*range(20, 30), at=NOON + DAY)
    folder = node.path / "journal" / "w0"
    task = asyncio.create_task(keep_indexed(node.path / "journal"))
    closed = segments(folder)[:-1]
    await until(lambda: all(index_path(path).exists() for path in closed))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not index_path(segments(folder)[-1]).exists()


async def test_what_is_older_than_kept_is_forgotten_and_verdicts_stay(node: Node, c: Any) -> None:
    passed, refused = await node.write(9, 10)
    await node.write(20, at=NOON + DAY)
    held = node.keys.data_key("2025-11-21", hold="CASE")
    acts = node.keys.data_key("2025-11-21", REGISTRY)
    journal = node.path / "journal"

    def text(identity: bytes) -> object:
        shown = Search(journal, node.keys).show(identity)
        assert shown is not None
        return shown.found.content and shown.found.content.octets

    await ship(node.shipper(NOON + 160 * DAY), c)
    assert await counts(c) == (1, 2, 2)
    assert (text(passed), text(refused)) == (b"text 9", b"text 10")
    for wrong in (node.shipper(NOON + 999 * DAY, NOON + 160 * DAY), node.shipper(NOON, NOON + 999 * DAY)):
        await ship(wrong, c)  # one of two clocks is ahead
        assert await counts(c) == (1, 2, 2)
        assert text(passed) == b"text 9"

    shipper = node.shipper(NOON + 161 * DAY)
    for _ in range(2):
        await ship(shipper, c)
        assert await counts(c) == (0, 1, 1)
        assert (text(passed), text(refused)) == (None, None)
    found = {one.record.id: one for one in Search(journal, node.keys).find()}  # type: ignore[union-attr]
    assert [found[one].record.judged.verdict for one in (passed, refused)] == ["pass", "refuse"]  # type: ignore[union-attr]
    assert "was forgotten" in found[passed].sealed_by
    assert len([one for one in found.values() if one.content is not None]) == 1
    assert node.keys.find(held.name, held.check).check == held.check
    assert node.keys.find(acts.name, acts.check).check == acts.check


async def test_what_is_shipped_after_its_key_went_is_counted_without_its_subscriber(
    node: Node, c: Any
) -> None:
    await node.write(10)
    node.keys.forget("2025-11-21", at=NOON)
    await ship(node.shipper(), c)
    assert await counts(c) == (0, 1, 1)
    assert tuple(await c.fetchrow("SELECT subscriber, subscriber_hash FROM intercepts")) == ("", None)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def until_equal(ask: Callable[[], Any], wanted: object) -> None:
    async with asyncio.timeout(10):
        while True:
            if await ask() == wanted:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kept", [None, b"", b"[1]", b'{"w0": [1]}', b'{"w0": [1, "x", "zz", 2]}'])
async def test_what_the_node_last_heard_of_the_database_may_be_lost(
    node: Node, c: Any, kept: bytes | None
) -> None:
    """Then everything counts as not shipped, until the database says otherwise."""
    await node.write(*range(5))
    await ship(node.shipper(), c)
    path = node.path / "journal" / "shipped"
    path.unlink() if kept is None else path.write_bytes(kept)
    shipper = node.shipper()
    assert shipper.unshipped() == 5
    await ship(shipper, c)
    assert (shipper.unshipped(), node.shipper().unshipped()) == (0, 0)


async def test_a_database_restored_from_an_older_backup_is_believed(node: Node, c: Any) -> None:
    await node.write(*range(5))
    await ship(node.shipper(), c)
    await c.execute("DELETE FROM shipping")
    shipper = node.shipper()
    assert shipper.unshipped() == 0  # as long as nobody could ask
    await c.execute("DELETE FROM traffic_minute; DELETE FROM intercepts")
    await shipper.step(c)
    assert await counts(c) == (4, 1, 1)
