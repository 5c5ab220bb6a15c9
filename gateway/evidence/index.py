"""The keeper's half of the evidence: the journals of this node, indexed in PostgreSQL and beside themselves.

Shipping is idempotent: the rows of a batch and the cursor behind it come in one transaction, which holds
only if the cursor still is where the batch began. So it may be killed at any instant, run twice, or meet a
database that was restored from an older backup, and every record counts once. Of two nodes that by mistake
have one name one ships: each would take the other's cursor for its own, and count again. When the database
is away nothing is lost: the journal waits. Subscribers' refusals come another way, the registry's feed, and
first.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.evidence import record as rec
from gateway.evidence.folder import segments, writers
from gateway.evidence.gather import INTERCEPT, Batch, Cursor, Gatherer
from gateway.evidence.held import Held
from gateway.evidence.lookup import build_index, drop_outdated, index_path, is_closed
from gateway.evidence.resealing import ended, let_go, reseal, ties
from gateway.evidence.seal import TRAFFIC, Keys
from gateway.evidence.segment import SegmentDamaged
from gateway.evidence.shipped import Shipped
from gateway.registry import primary

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

TABLES = ("intercepts", "traffic_minute")
"""Tables with a partition a day."""
AHEAD_DAYS = 2
BATCH = 50_000
"""Records of a writer that go in one transaction, when there are so many."""
POLL_SECONDS = 1.0
"""Between two rounds: what comes in a second is one row for each kind of traffic, not one for each group."""
UPKEEP_SECONDS = 3600.0
INDEX_SECONDS = 5.0
TIMEOUT_SECONDS = 20.0
LONGEST_BACKOFF_SECONDS = 5.0

HINDERED_SECONDS = 30.0
"""For how long somebody else may ship under our name before we say so: an earlier keeper's session may end
later than the keeper."""
ENDED_SOON = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Settings of a session: a host that has crashed lets go of the name within 25 s."""
CLAIM = "SELECT pg_try_advisory_lock(hashtextextended('shipping of ' || $1, 20))"

LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What ends a connection, to be tried again. TimeoutError is an OSError."""

log = logging.getLogger(__name__)


class Shipper:
    """Ships the journals below `journal` to the database at `dsn`.

    `lookup_key`: 32 octets, of the hash by which intercepts are found by subscriber; all nodes of one
    database need the same. What is older than `kept_days` is forgotten once an hour: partitions go, keys are
    destroyed. That can't be undone, so a day is over when the database's clock says so, too.
    """

    def __init__(
        self,
        dsn: str,
        journal: Path,
        node: str,
        keys: Keys,
        lookup_key: bytes,
        *,
        kept_days: int,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        database_clock: "Callable[[Connection], Awaitable[int]] | None" = None,
    ) -> None:
        self._dsn = dsn
        self._journal = journal
        self._node = node
        self._keys = keys
        self._lookup_key = lookup_key
        self._kept_days = kept_days
        self._clock = clock
        self._database_clock = database_clock or _now
        self._oldest = 0
        self._gatherers: dict[str, Gatherer] = {}
        self._cursors: dict[str, Cursor] = {}
        self._shipped = Shipped(journal)
        self._held = Held(journal.with_name("cases"), keys)
        self._days: set[int] = set()
        self._upkept_at = float("-inf")
        self._hindered_at: float | None = None  # since when another ships under our name
        self.connected = False

    @property
    def hindered(self) -> str:
        """Why nothing is shipped though the database answers; "" when it is."""
        if self._hindered_at is None or time.monotonic() - self._hindered_at < HINDERED_SECONDS:
            return ""
        return f"another node ships as {self._node!r}; right would be a node.name that no other has"

    async def run(self) -> None:
        """Ship until cancelled; connects again for ever."""
        backoff = 0.1
        while True:
            try:
                connection = await primary.connect(
                    self._dsn,
                    {"zhengming.door": "node"} | ENDED_SOON,
                    timeout=TIMEOUT_SECONDS,
                    command_timeout=TIMEOUT_SECONDS,
                )
                try:
                    self._cursors.clear()
                    self.connected = await self._claim(connection)
                    while self.connected:
                        shipped = await self.step(connection)
                        backoff = 0.1
                        if shipped < BATCH:
                            await asyncio.sleep(POLL_SECONDS)
                finally:
                    self.connected = False
                    connection.terminate()
            except LOST as error:
                log.warning("traffic not shipped", extra={"fields": {"error": repr(error)}})
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _claim(self, connection: "Connection") -> bool:
        """Whether it is ours to ship under this node's name, for as long as the session lasts."""
        if await connection.fetchval(CLAIM, self._node):
            self._hindered_at = None
            return True
        if self._hindered_at is None:
            self._hindered_at = time.monotonic()
            log.warning(
                "traffic not shipped: another ships as this node", extra={"fields": {"node": self._node}}
            )
        return False

    async def step(self, connection: "Connection") -> int:
        """Ship a batch of each writer; how many records went."""
        if time.monotonic() - self._upkept_at > UPKEEP_SECONDS:
            await self._upkeep(connection)
        shipped = 0
        for folder in writers(self._journal):
            gatherer = self._gatherer(folder)
            cursor = self._cursors.get(folder.name)
            if cursor is None:
                cursor = self._cursors[folder.name] = await _cursor(connection, self._node, folder.name)
                self._shipped.note(folder.name, cursor)
            batch = Batch(cursor)
            more = True
            while more and batch.after.records - cursor.records < BATCH:
                more = gatherer.gather(batch)
                await asyncio.sleep(0)  # what else the keeper does goes on
            if batch.after == cursor:
                continue
            await self._make_days(connection, batch.days())
            if await _ship(connection, self._node, folder.name, cursor, batch):
                self._cursors[folder.name] = batch.after
                self._shipped.note(folder.name, batch.after)
                shipped += batch.after.records - cursor.records
            else:  # the cursor stands elsewhere by now: another keeper, or a restored database
                del self._cursors[folder.name]
        return shipped

    def look_up_by(self, lookup_key: bytes) -> None:
        """The key has rotated: intercepts of now on are found by this one, older ones by theirs."""
        if lookup_key != self._lookup_key:
            self._lookup_key = lookup_key
            for gatherer in self._gatherers.values():
                gatherer.look_up_by(lookup_key)

    def unshipped(self) -> int:
        """Durable records that are not in the database yet, as far as it was last heard of."""
        return sum(
            self._gatherer(folder).unshipped(self._shipped.of(folder.name))
            for folder in writers(self._journal)
        )

    def _gatherer(self, folder: Path) -> Gatherer:
        if folder.name not in self._gatherers:
            self._gatherers[folder.name] = Gatherer(
                folder,
                self._keys,
                self._lookup_key,
                oldest_day=lambda: self._oldest,
                on_damage=lambda why: log.error("segment damaged", extra={"fields": {"error": why}}),
            )
        return self._gatherers[folder.name]

    async def _upkeep(self, connection: "Connection") -> None:
        """Partitions of the days to come; neither rows nor keys of days whose time is over."""
        now = min(self._clock(), await self._database_clock(connection))
        today = rec.day_number(now)
        self._oldest = today - self._kept_days
        self._days.clear()
        await self._make_days(connection, set(range(today, today + AHEAD_DAYS + 1)))
        with contextlib.suppress(asyncpg.LockNotAvailableError):  # behind a long report; later, then
            for table in TABLES:
                oldest = _date(self._oldest)
                while await connection.fetchval("SELECT drop_traffic_partition($1, $2)", table, oldest):
                    log.info("traffic dropped", extra={"fields": {"table": table, "before": str(oldest)}})
        tied, over = await ties(connection), await ended(connection, self._kept_days)
        kept = await asyncio.to_thread(reseal, self._journal, self._keys, self._held, tied, self._oldest)
        meanwhile = set(await ties(connection)) - {*tied}  # they are kept first, next time
        if kept and not meanwhile:
            destroyed = await asyncio.to_thread(self._destroy, over, now)
            if destroyed:
                log.info("keys destroyed", extra={"fields": {"keys": destroyed}})
        self._upkept_at = time.monotonic()

    def _destroy(self, over: set[str], now: int) -> list[str]:
        """Keys of days and cases whose time is over."""
        return [*destroy_keys(self._keys, self._oldest, now), *let_go(self._keys, self._held, over, now)]

    async def _make_days(self, connection: "Connection", days: set[int]) -> None:
        for day in sorted(days - self._days):
            for table in TABLES:
                await connection.execute("SELECT make_traffic_partition($1, $2)", table, _date(day))
            self._days.add(day)


async def _now(connection: "Connection") -> int:
    """The database's clock, ms."""
    return int(await connection.fetchval("SELECT millis(clock_timestamp())"))


def _date(day: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day)


async def _cursor(connection: "Connection", node: str, writer: str) -> Cursor:
    row = await connection.fetchrow(
        'SELECT segment, "offset", header, records FROM shipping WHERE node = $1 AND writer = $2',
        node,
        writer,
    )
    return Cursor() if row is None else Cursor(*row)


async def _ship(connection: "Connection", node: str, writer: str, before: Cursor, batch: Batch) -> bool:
    """All rows of a batch and its cursor, or nothing: False when the cursor is not where it was."""
    async with connection.transaction():
        after = batch.after
        if before.segment:
            moved = await connection.fetchval(
                """
                UPDATE shipping SET segment = $3, "offset" = $4, header = $5, records = $6, shipped_at = now()
                 WHERE node = $1 AND writer = $2 AND segment = $7 AND "offset" = $8 AND header = $9
                RETURNING true""",
                node,
                writer,
                *after,
                *before[:3],
            )
        else:
            moved = await connection.fetchval(
                """
                INSERT INTO shipping (node, writer, segment, "offset", header, records, shipped_at)
                VALUES ($1, $2, $3, $4, $5, $6, now())
                ON CONFLICT (node, writer) DO NOTHING
                RETURNING true""",
                node,
                writer,
                *after,
            )
        if not moved:
            return False
        if batch.intercepts:
            await connection.copy_records_to_table("intercepts", records=batch.intercepts, columns=INTERCEPT)
        if minutes := sorted(batch.minutes().items()):  # sorted: two keepers meet rows in one order
            columns = list(zip(*(key for key, _ in minutes), strict=True))
            await connection.execute(
                """
                INSERT INTO traffic_minute AS t
                SELECT 'epoch'::timestamptz + minute * interval '1 millisecond', carrier, node, protocol,
                       channel, institution, agency, number, purpose, region, verdict, reason, count, parts
                  FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[],
                              $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                              $13::bigint[], $14::bigint[])
                       AS r (minute, carrier, node, protocol, channel, institution, agency, number, purpose,
                             region, verdict, reason, count, parts)
                ON CONFLICT (minute, institution, number, region, verdict, reason, purpose, agency, carrier,
                             node, protocol, channel)
                   DO UPDATE SET count = t.count + excluded.count, parts = t.parts + excluded.parts""",
                *columns,
                [count for _, (count, _) in minutes],
                [parts for _, (_, parts) in minutes],
            )
        return True


async def keep_indexed(journal: Path) -> None:
    """Give each closed segment its index file, until cancelled; a damaged one is told of and left."""
    left: set[Path] = set()
    for folder in writers(journal):
        await asyncio.to_thread(drop_outdated, folder)
    while True:
        for folder in writers(journal):
            for path in segments(folder):
                if path not in left and not index_path(path).exists() and is_closed(path):
                    try:
                        await asyncio.to_thread(build_index, path)
                    except (OSError, SegmentDamaged, rec.RecordError) as error:
                        left.add(path)
                        log.error("segment not indexed", extra={"fields": {"error": repr(error)}})
        await asyncio.sleep(INDEX_SECONDS)


def destroy_keys(keys: Keys, before: int, at: int) -> list[str]:
    """Destroy the data keys of traffic of the days before `before` (record.day_number); their names.

    Texts and subscribers of those days can't be read any more; verdicts, numbers and times stay readable, and
    segments stay. Keys under a legal hold and those of registry acts are not touched. `at`: ms, for the
    tombstones.
    """
    destroyed = []
    for name in keys.names():
        day, retention, *hold = name.split(".")
        over = not hold and retention == TRAFFIC and day < _date(before).isoformat()
        if over and keys.forget(day, retention, at=at):
            destroyed.append(name)
    return destroyed
