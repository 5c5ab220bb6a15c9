"""The keeper's half of the registry: follows PostgreSQL's change log into the replica of this node.

Rules: what is visible is applied at once, by key, as the row is now: twice does no harm, and a long
transaction delays nobody else's change. Between any two commits the log is looked at again, and what is
newest goes first. The cursor is the snapshot up to which everything was applied (its xmin is the horizon),
so nothing that commits late is skipped (changelog.py). Refusals that this node learnt are carried to
PostgreSQL and wait in `local` until they came back.

A database that is not the one we knew, or a log that does not reach back to us, means a fresh copy.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import asyncpg
import lmdb

from gateway.errors import NotReady
from gateway.model import Refusal
from gateway.registry import store
from gateway.registry.changelog import Cursor, Range, StaleCursor, between, compare, number_of
from gateway.registry.copying import copy_afresh
from gateway.registry.following import LOST, following
from gateway.registry.keys_in_use import KeysInUse
from gateway.registry.local import LocalRefusal, LocalRefusals
from gateway.registry.recorded import Recorded
from gateway.registry.replica import Replica
from gateway.registry.store import StoredRefusal
from gateway.registry.tables import TABLES, Row
from gateway.registry.writer import COMMIT, ReplicaWriter

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

POLL_SECONDS = 1.0
"""How often the log is read when nobody notifies."""

LOCAL_SECONDS = 0.2
"""How often refusals learnt by the workers are looked for."""

HEARTBEAT_SECONDS = 2.0
"""How often the replica is told that the registry was heard of, and how far we are."""

STEP = 1000
"""Rows between two looks at the log: how long the newest change may have to wait."""

HEAL_SECONDS = 1.0
PRUNE_SECONDS = 3600.0
LONGEST_BACKOFF_SECONDS = 5.0
LOG_KEPT = timedelta(days=30)
RETURNED_KEPT = timedelta(days=35)

REFUSALS, REPLIES = "refusals", "replies"
"""Tables of subscribers' words, which are applied by subscriber."""

KEYED = {REFUSALS, "consents", "recipients"}
"""What is looked up by a registry key's hash."""

MOST_TOLD = 20_000
"""Refusals of which it is remembered that they were said to hold."""

log = logging.getLogger(__name__)


class Feed:
    """Keeps `replica` (opened with `writer`) equal to the database at `dsn`.

    `on_cursor` gets from where the log is followed, the version of the replica there, and whether everything
    was copied afresh for it. From `recorded` comes back what a lost `local` held.
    `on_refusal` gets the node where a reply arrived and when (ms), once the replica has the refusal that it
    is; of what arrived while this feed ran.
    """

    def __init__(
        self,
        dsn: str,
        replica: Replica,
        *,
        on_cursor: Callable[[Cursor, int, bool], None] | None = None,
        recorded: Recorded | None = None,
        on_refusal: Callable[[str, int], None] | None = None,
    ) -> None:
        self._dsn = dsn
        self._replica = replica
        self._writer = ReplicaWriter(replica)
        self._on_cursor = on_cursor or (lambda cursor, version, copied: None)
        self._recorded = recorded
        self._on_refusal = on_refusal or (lambda node, at: None)
        self._told_of: dict[bytes, None] = {}  # events of refusals, the newest `MOST_TOLD`
        self._began_at = _now()
        self._healing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._cursor: Cursor | None = None
        self._unread: list[Range] = []  # of the log up to the cursor, the newest last
        self._waiting: deque[tuple[str, int]] = deque()  # keys to be applied, found elsewhere than in the log
        self._newest = 0
        self._keys = KeysInUse(replica, self._writer)
        self._carried: tuple[LocalRefusals | None, int] = (None, 0)  # `local`, and the count of its changes
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

    @property
    def hindered(self) -> str:
        """Why nothing can be judged here whatever the replica holds: a registry key that has not come."""
        return self._keys.hindered

    def open(self) -> None:
        """Go on with the replica that is on the disk, if it can be."""
        self._cursor = self._writer.open()
        self._unread.clear()
        self._waiting.clear()
        self._opened = True
        self._keys.begin()
        if self._cursor is not None:  # what is on the disk is as old as its news, not as this process
            self._up_to_date_at = time.monotonic() - max(0.0, (_now() - self._writer.news_at) / 1000)
            self._on_cursor(self._cursor, self.version, False)

    async def run(self) -> None:
        """Follow until cancelled; tries again whenever the database goes away.

        Raises UsageError when the database belongs to another registry key.
        """
        self.open()
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
                await asyncio.sleep(backoff)
        finally:
            self.connected = False
            self._writer.abandon()

    async def keep_local(self) -> None:
        """See once a second that there is a `local` and that it lacks nothing, database or not; for ever."""
        while True:
            try:
                await self._heal()
            except (NotReady, lmdb.Error) as error:
                log.error("registry: %s", error)
            await asyncio.sleep(HEAL_SECONDS)

    async def _heal(self) -> None:
        async with self._healing:
            self._replica.check()
            local = self._replica.local
            if not local.is_complete():
                if self._recorded is not None:
                    found = await asyncio.to_thread(list, self._recorded.refusals())
                    for start in range(0, len(found), COMMIT):
                        local.add(found[start : start + COMMIT])
                    if found:
                        log.warning("registry: %d refusals read back from the journal", len(found))
                local.complete()
            if not local.state()[0]:
                self._writer.use()

    @contextlib.asynccontextmanager
    async def _connected(self) -> "AsyncIterator[Connection]":
        async with following(self._dsn, "feed", self._wake) as connection:
            await store.check_followed(connection)
            await store.register_key(connection, self._replica.key.fingerprint)
            yield connection

    async def _follow(self, c: "Connection") -> None:
        while True:
            self._wake.clear()
            await self.catch_up(c)
            self.connected = True
            await self._prune(c)
            end = time.monotonic() + POLL_SECONDS
            while time.monotonic() < end and not self._wake.is_set() and not self._is_learnt():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOCAL_SECONDS)

    async def catch_up(self, c: "Connection") -> None:
        """Bring the replica to what the database says, one commit after the other."""
        while True:
            await self._heal()
            if self._cursor is None or not self._writer.intact():
                await self._copy(c)
            try:
                await self._look(c)
                await self._carry(c)
                busy = await self._step(c)
            except StaleCursor as reason:
                log.warning("registry: %s: copying afresh", reason)
                self._cursor = None
                continue
            if not self._unread and not self._waiting:
                if await self._keys.drop_retired(c):  # what is pending is to be brought under the other
                    self._learnt.clear()
                    self._carried = None, 0
                self._tell()
            if not busy:
                return

    def _tell(self) -> None:
        """All that was visible when we last looked is applied."""
        now = time.monotonic()
        self._up_to_date_at = now
        if now - self._told_at >= HEARTBEAT_SECONDS:
            self._told_at = now
            self._writer.heard(_now(), self._cursor)
            if self._recorded is not None and self._replica.local.is_complete():
                self._recorded.settle(self._replica.local.oldest() or _now())

    async def _look(self, c: "Connection") -> None:
        """What became visible since the cursor is now to be read; the cursor (in memory) moves."""
        cursor = self._cursor
        if cursor is None:
            raise StaleCursor("there is no cursor")
        await self._keys.look(c)
        state = await store.log_state(c, cursor.anchor_number, cursor.snapshot)
        compare(cursor, self._unread, state)
        self._unread += between(cursor.snapshot, state.snapshot)
        self._newest = max(self._newest, number_of(state.newest) or 0)
        self._cursor = Cursor.at(state)

    async def _step(self, c: "Connection") -> bool:
        """Apply one commit's worth of what is to be done, the newest first; whether anything was."""
        taken = list(islice(self._waiting, STEP // 2))
        keys = dict.fromkeys(taken)
        unread = list(self._unread)
        found = False
        while unread and len(keys) < STEP:
            changes, left = await store.changes(c, unread[-1], STEP - len(keys))
            unread[-1:] = [left] if left else []
            if changes:
                found = True
            for change in changes:
                if change.key is None:
                    await self._look_through(c, change.table)
                elif change.table in TABLES:
                    keys[(change.table, change.key)] = None
                elif change.table in (REFUSALS, REPLIES):
                    keys[(REFUSALS, change.key)] = None
        if keys:
            await self._apply(c, keys)
        self._unread = unread
        for _ in taken:
            self._waiting.popleft()
        return found or bool(taken)

    async def _look_through(self, c: "Connection", table: str) -> None:
        """A table was truncated: what is there is looked at first, and then what we have."""
        if table in (REFUSALS, REPLIES):
            raise StaleCursor(f"{table} were truncated")
        if table in TABLES:
            async with c.transaction():
                async for ids in store.all_ids(c, table):
                    self._waiting += [(table, identity) for identity in ids]
            self._waiting += [(table, identity) for identity in self._writer.ids(table)]

    async def _apply(self, c: "Connection", keys: dict[tuple[str, int], None]) -> None:
        by_table: dict[str, list[int]] = {}
        for table, key in keys:
            by_table.setdefault(table, []).append(key)
        rows: dict[tuple[str, int], Row | None] = {}
        for table in by_table.keys() - {REFUSALS}:
            rows |= dict.fromkeys((table, key) for key in by_table[table])
            rows |= {(table, row[0]): row for row in await store.rows_of(c, table, by_table[table])}
        subscribers = by_table.get(REFUSALS, [])
        found = await store.refusals_of(c, subscribers) if subscribers else []
        if by_table.keys() & KEYED:  # after they were read, and before they can be found
            await self._keys.look(c)
        if len(self._writer.keys) > 1 and subscribers:
            # whose rows are not here any more has them elsewhere: he is never without
            elsewhere = sorted(set(await store.moved(c, subscribers)) - set(subscribers))
            found += await store.refusals_of(c, elsewhere) if elsewhere else []
            subscribers = [*subscribers, *elsewhere]
        if found:  # and no later than they are returned, what they brought
            rows |= await store.brought(c, subscribers)
        refusals: dict[int, list[Refusal]] = {key: [] for key in subscribers}
        for stored in found:
            if stored.in_force:
                refusals[stored.key].append(stored.refusal)
        self._newest = await store.number_above(c, self._newest, self._writer.version)
        self._writer.apply(rows, refusals, newest=self._newest, now=_now())
        self._say_held(found)
        returned = {refusal.event for refusal in found} & self._learnt.keys()
        if returned:
            owners = {self._learnt.pop(event) for event in returned}
            self._replica.local.returned(returned, owners, _now())

    def _say_held(self, found: Sequence[StoredRefusal]) -> None:
        for refusal in found:
            if refusal.node and refusal.refusal.at >= self._began_at and refusal.event not in self._told_of:
                self._told_of[refusal.event] = None
                self._on_refusal(refusal.node, refusal.refusal.at)
        while len(self._told_of) > MOST_TOLD:
            del self._told_of[next(iter(self._told_of))]

    def _is_learnt(self) -> bool:
        """Whether a worker learnt a refusal since we last looked."""
        local = self._replica.local
        return self._carried != (local, local.state()[1])

    async def _carry(self, c: "Connection") -> None:
        """Bring what this node learnt to PostgreSQL, and have it come back through the log."""
        if self._keys.hindered or not self._is_learnt():
            return
        local = self._replica.local
        seen = local.state()[1]
        fresh = [refusal for refusal in local.pending() if refusal.event not in self._learnt]
        for start in range(0, len(fresh), COMMIT):
            await self._insert(c, fresh[start : start + COMMIT])
        self._carried = local, seen

    async def _insert(self, c: "Connection", refusals: Sequence[LocalRefusal]) -> None:
        try:
            entered = await self._keys.insert(c, refusals)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(refusals) > 1:
                for refusal in refusals:
                    await self._insert(c, [refusal])
                return
            log.error("registry: a refusal of this node does not fit the database: %s", error)
            entered = refusals
        for refusal, stored in zip(refusals, entered, strict=True):
            self._learnt[refusal.event] = refusal.key
            self._waiting.append((REFUSALS, int.from_bytes(stored.key, "big", signed=True)))

    async def _copy(self, c: "Connection") -> None:
        began = time.monotonic()
        self._unread.clear()
        self._waiting.clear()
        self._cursor = await copy_afresh(c, self._writer, self._replica.local, _now())
        self._learnt.clear()
        self._carried = None, 0
        log.info("registry: copied afresh in %.1f s", time.monotonic() - began)
        self._on_cursor(self._cursor, self.version, True)

    async def _prune(self, c: "Connection") -> None:
        """Once an hour: drop what is old, and offer again what the database would not take."""
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        if await store.prune_changes(c, datetime.now(UTC) - LOG_KEPT) == store.PRUNE_BATCH:
            return  # more next time: the log is looked at in between
        self._pruned_at = time.monotonic()
        self._replica.local.forget(_now() - RETURNED_KEPT // timedelta(milliseconds=1))
        self._learnt.clear()
        self._carried = None, 0


def _now() -> int:
    return time.time_ns() // 1_000_000
