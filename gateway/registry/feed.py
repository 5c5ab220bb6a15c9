"""The keeper's half of the registry: follows PostgreSQL's change log into the replica of this node.

Rules: what is visible is applied at once, by key, as the row is now: twice does no harm, and a long
transaction delays nobody else's change. The cursor is the snapshot up to which everything was applied (its
xmin is the horizon), so nothing that commits late is skipped. The newest change and what forbids come first.
Refusals that this node learnt are carried to PostgreSQL and wait in `local` until they came back.

A database that is not the one we knew, or a log that does not reach back to us, means a fresh copy.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import asyncpg
import lmdb
from asyncpg.connect_utils import SessionAttribute

from gateway.errors import NotReady
from gateway.model import Refusal
from gateway.registry import store
from gateway.registry.local import LocalRefusal
from gateway.registry.replica import Replica
from gateway.registry.store import Change, LogState, StoredRefusal
from gateway.registry.tables import TABLES, Row
from gateway.registry.writer import BUILD_COMMIT, COMMIT, Cursor, ReplicaWriter

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

POLL_SECONDS = 1.0
"""How often the log is read when nobody notifies."""

LOCAL_SECONDS = 0.2
"""How often refusals learnt by the workers are looked for."""

HEARTBEAT_SECONDS = 2.0
"""How often the replica is told that the registry was heard of, and how far we are."""

PRUNE_SECONDS = 3600.0
TIMEOUT_SECONDS = 20.0
LONGEST_BACKOFF_SECONDS = 5.0
LOG_KEPT = timedelta(days=30)
RETURNED_KEPT = timedelta(days=35)

REFUSALS = "refusals"
ORDER = ("blacklist", "holds", "institutions", "mandates", "accounts", "account_numbers", REFUSALS, "numbers")
"""Whose changes go first: each gets half of the room that a commit has left."""

LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, NotReady)
"""What ends a connection, to be tried again. TimeoutError is an OSError."""

log = logging.getLogger(__name__)


class StaleCursor(Exception):
    """The log can't be followed from where we are; the text says why. A fresh copy is due."""


class Feed:
    """Keeps `replica` (opened with `writer`) equal to the database at `dsn`.

    `on_changes` gets the rows of the change log as they are read, each at least once, and one with op
    `copy` when everything was copied afresh.
    """

    def __init__(
        self, dsn: str, replica: Replica, *, on_changes: Callable[[list[Change]], None] | None = None
    ) -> None:
        self._dsn = dsn
        self._replica = replica
        self._writer = ReplicaWriter(replica)
        self._on_changes = on_changes or (lambda changes: None)
        self._wake = asyncio.Event()
        self._cursor: Cursor | None = None
        self._waiting: dict[str, dict[int, None]] = {table: {} for table in ORDER}
        self._newest = 0
        self._key_id = 0
        self._local_changes = -1
        self._learnt: dict[bytes, bytes] = {}  # events pending in `local` → their subscribers' keys
        self._up_to_date_at = time.monotonic()
        self._told_at = 0.0
        self._pruned_at = 0.0
        self._opened = False
        self.connected = False

    @property
    def version(self) -> int:
        """Registry version of the replica."""
        return self._writer.version

    @property
    def ready(self) -> bool:
        """Whether there is a replica to judge by, however old."""
        return self._opened and self._replica.current is not None

    @property
    def lag_seconds(self) -> float:
        """Since when the replica may be behind the database."""
        return time.monotonic() - self._up_to_date_at

    async def run(self) -> None:
        """Follow until cancelled; tries again whenever the database goes away.

        Raises UsageError when the database belongs to another registry key.
        """
        self._cursor = self._writer.open()
        self._opened = True
        backoff = 0.1
        try:
            while True:
                try:
                    async with self._connected() as connection:
                        await self._follow(connection)
                except LOST as error:
                    log.warning("registry: %s: %s", type(error).__name__, error)
                except lmdb.Error as error:
                    log.error("registry: the replica can't be written (%s): copying afresh", error)
                    self._cursor = None
                backoff = 0.1 if self.connected else min(backoff * 2, LONGEST_BACKOFF_SECONDS)
                self.connected = False
                self._replica.check()
                await asyncio.sleep(backoff)
        finally:
            self.connected = False
            self._writer.abandon()

    @contextlib.asynccontextmanager
    async def _connected(self) -> "AsyncIterator[Connection]":
        connection = await asyncpg.connect(
            self._dsn,
            timeout=TIMEOUT_SECONDS,
            command_timeout=TIMEOUT_SECONDS,
            target_session_attrs=SessionAttribute.primary,
            server_settings={"application_name": "zhengming feed", "jit": "off"},
        )
        try:
            await connection.add_listener(store.CHANNEL, lambda *_: self._wake.set())
            self._key_id = await store.register_key(connection, self._replica.key.fingerprint)
            yield connection
        finally:
            with contextlib.suppress(*LOST):
                await connection.close(timeout=1)

    async def _follow(self, c: "Connection") -> None:
        while True:
            self._wake.clear()
            await self._catch_up(c)
            self.connected = True
            await self._prune(c)
            end = time.monotonic() + POLL_SECONDS
            while time.monotonic() < end and not self._wake.is_set() and not self._is_learnt():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOCAL_SECONDS)

    async def _catch_up(self, c: "Connection") -> None:
        """Bring the replica to what the database says now, newest first, and look again between commits."""
        while True:
            self._replica.check()
            if self._cursor is None or not self._writer.intact():
                await self._copy(c)
            try:
                await self._read_log(c)
            except StaleCursor as reason:
                log.warning("registry: %s: copying afresh", reason)
                self._cursor = None
                continue
            await self._carry(c)
            if not await self._apply(c):
                break
        now = time.monotonic()
        self._up_to_date_at = now
        if now - self._told_at >= HEARTBEAT_SECONDS:
            self._told_at = now
            self._writer.heard(_now(), self._cursor)

    async def _read_log(self, c: "Connection") -> None:
        """What became visible since the cursor waits to be applied; the cursor (in memory) moves."""
        cursor = self._cursor
        if cursor is None:
            raise StaleCursor("no cursor")
        async with c.transaction(isolation="repeatable_read", readonly=True):
            state = await store.log_state(c, _number(cursor.anchor))
            _compare(cursor, state)
            anchor = cursor.anchor
            truncated = set()
            if state.snapshot != cursor.snapshot:
                async for batch in store.changes(c, cursor.snapshot):
                    self._on_changes([change for change, _ in batch])
                    for change, name in batch:
                        if (_number(name) or 0) > (_number(anchor) or 0):
                            anchor = name
                        if change.key is None:
                            truncated.add(change.table)
                        elif change.table in self._waiting:
                            keys = self._waiting[change.table]
                            keys.pop(change.key, None)
                            keys[change.key] = None
            for table in truncated & self._waiting.keys():
                await self._look_through(c, table)
        self._newest = max(self._newest, _number(anchor) or 0)
        self._cursor = Cursor(state.database, state.snapshot, anchor, state.pruned)

    async def _look_through(self, c: "Connection", table: str) -> None:
        """A table was truncated: what is left goes first (taken from the end), what is gone after it."""
        if table == REFUSALS:
            raise StaleCursor("refusals were truncated")
        keys = self._waiting[table]
        keys |= dict.fromkeys(self._writer.ids(table))
        async for ids in store.all_ids(c, table):
            for identity in ids:
                keys.pop(identity, None)
                keys[identity] = None

    async def _apply(self, c: "Connection") -> bool:
        """Apply one commit's worth of what waits, the newest first; whether more waits."""
        taken: dict[str, list[int]] = {}
        room = COMMIT
        for table, waiting in self._waiting.items():
            share = min(len(waiting), (room + 1) // 2)
            room -= share
            taken[table] = [waiting.popitem()[0] for _ in range(share)]
        try:
            await self._apply_keys(c, taken)
        except BaseException:
            for table, keys in taken.items():
                self._waiting[table] |= dict.fromkeys(reversed(keys))
            raise
        return any(self._waiting.values())

    async def _apply_keys(self, c: "Connection", taken: dict[str, list[int]]) -> None:
        rows: dict[tuple[str, int], Row | None] = {}
        refusals: dict[int, Sequence[Refusal]] = {}
        returned: list[StoredRefusal] = []
        for table, keys in taken.items():
            if keys and table == REFUSALS:
                returned = await store.refusals_of(c, keys)
                refusals = {**dict.fromkeys(keys, ()), **_by_key(returned)}
            elif keys:
                rows |= dict.fromkeys((table, key) for key in keys)
                rows |= {(table, row[0]): row for row in await store.rows_of(c, table, keys)}
        if rows or refusals:
            self._writer.apply(rows, refusals, newest=self._newest, now=_now())
            self._return([refusal.event for refusal in returned])

    def _return(self, events: Sequence[bytes]) -> None:
        """The replica has these refusals: `local` need not show them any longer."""
        ours = [event for event in events if event in self._learnt]
        if ours:
            keys = {self._learnt.pop(event) for event in ours}
            self._replica.local.returned(set(ours), keys, _now())

    def _is_learnt(self) -> bool:
        """Whether a worker learnt a refusal since we last looked."""
        return self._replica.local.state()[1] != self._local_changes

    async def _carry(self, c: "Connection") -> None:
        """Bring what this node learnt to PostgreSQL, and have it come back through the log."""
        if not self._is_learnt():
            return
        seen = self._replica.local.state()[1]
        fresh = [refusal for refusal in self._replica.local.pending() if refusal.event not in self._learnt]
        for start in range(0, len(fresh), COMMIT):
            await self._insert(c, fresh[start : start + COMMIT])
        self._local_changes = seen

    async def _insert(self, c: "Connection", refusals: Sequence[LocalRefusal]) -> None:
        try:
            await store.insert_refusals(c, self._key_id, refusals)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(refusals) > 1:
                for refusal in refusals:
                    await self._insert(c, [refusal])
                return
            log.error("registry: a refusal of this node does not fit the database: %s", error)
        for refusal in refusals:
            self._learnt[refusal.event] = refusal.key
            self._waiting[REFUSALS][int.from_bytes(refusal.key, "big", signed=True)] = None

    async def _copy(self, c: "Connection") -> None:
        """Build a new generation out of everything, and switch to it."""
        began = time.monotonic()
        self._writer.begin()
        for keys in self._waiting.values():
            keys.clear()
        async with c.transaction(isolation="repeatable_read", readonly=True):
            state = await store.log_state(c, None)
            for table in TABLES:
                async for rows in store.all_rows(c, table):
                    self._writer.build_rows(table, rows)
            held: list[StoredRefusal] = []
            async for batch in store.all_refusals(c):
                held += batch
                if len(held) >= BUILD_COMMIT:
                    last = held[-1].key
                    self._writer.build_refusals(_by_key(r for r in held if r.key != last).items())
                    held = [r for r in held if r.key == last]
            self._writer.build_refusals(_by_key(held).items())
            await self._revive(c)
        self._newest = max(self._newest, _number(state.anchor) or 0)
        self._cursor = Cursor(state.database, state.snapshot, state.anchor, state.pruned)
        self._writer.finish(self._cursor, self._newest, _now())
        self._learnt.clear()
        self._local_changes = -1
        log.info("registry: copied afresh in %.1f s", time.monotonic() - began)
        self._on_changes([Change(self._newest, "", None, "copy", self.version, "", datetime.now(UTC))])

    async def _revive(self, c: "Connection") -> None:
        """What came back from the database once and is not there now (an older backup) is pending again."""
        local = self._replica.local
        kept = local.kept()
        while some := list(islice(kept, COMMIT)):
            missing = await store.missing_events(c, [refusal.event for refusal in some])
            if missing:
                local.revive([refusal for refusal in some if refusal.event in missing])

    async def _prune(self, c: "Connection") -> None:
        """Once an hour: drop what is old, and offer again what the database would not take."""
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = time.monotonic()
        await store.prune_changes(c, datetime.now(UTC) - LOG_KEPT)
        self._replica.local.forget(_now() - RETURNED_KEPT // timedelta(milliseconds=1))
        self._learnt.clear()
        self._local_changes = -1


def _compare(cursor: Cursor, state: LogState) -> None:
    """Raises StaleCursor when this log is not the one that the cursor stands in, or has lost what follows."""
    if state.database != cursor.database:
        raise StaleCursor(f"the database is another one ({cursor.database} → {state.database})")
    if state.anchor != cursor.anchor:
        raise StaleCursor("the newest change that we know is not in the log: an older backup, or pruned")
    horizon, end, *_ = cursor.snapshot.split(":")
    if int(end) > int(state.snapshot.split(":")[1]):
        raise StaleCursor("the database has seen fewer transactions than we: an older backup")
    if state.pruned != cursor.pruned and state.pruned_up_to >= int(horizon):
        raise StaleCursor("the log was pruned beyond us")


def _number(anchor: str) -> int | None:
    """The row number in an anchor; None of the anchor of an empty log."""
    return int(anchor.split(" ", 1)[0]) if anchor else None


def _by_key(refusals: Iterable[StoredRefusal]) -> dict[int, list[Refusal]]:
    """Those in force by subscriber, out of refusals in the order of their keys."""
    in_force = (refusal for refusal in refusals if refusal.in_force)
    return {
        key: [Refusal(r.institution, r.number, r.purposes, r.channels, r.at) for r in group]
        for key, group in groupby(in_force, key=lambda refusal: refusal.key)
    }


def _now() -> int:
    return time.time_ns() // 1_000_000
