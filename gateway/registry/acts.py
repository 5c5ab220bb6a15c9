"""Records what the registry did: each row of PostgreSQL's change log becomes an act in the keeper's journal.

Rules: it reads the log by itself, beside the feed: a disk without room delays acts and loses none, and what
nodes judge by waits for neither. How far the log is recorded stands beside the journals, in `acted`, and
moves on once the acts are durable; a fresh copy of the registry moves it only where the log can't be read
from it any more. A process that is killed between an act and `acted` records up to `STEP` changes again.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import NotReady
from gateway.evidence.journal import Journal
from gateway.registry import store
from gateway.registry.changelog import Cursor, Range, Snapshot, StaleCursor, between, compare
from gateway.registry.following import LOST, following
from gateway.registry.store import Change

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any]

STEP = 1000
"""Changes that are recorded together, at most."""

POLL_SECONDS = 1.0
RETRY_SECONDS = 1.0
"""Between two tries to record, while the disk has no room or the database is away."""

SAVE_SECONDS = 60.0
"""How old `acted` may be where nothing changes: a log that was pruned since is no loss then."""


log = logging.getLogger(__name__)


class Place(msgspec.Struct):
    """Up to where the log is recorded: all that `cursor` sees, but what is `unread`, the newest last."""

    cursor: Cursor
    unread: list[Range]


class Acts:
    """Keeps the acts in `journal` equal to the change log at `dsn`; `folder`: of the node's journals."""

    def __init__(self, dsn: str, journal: Journal, folder: Path) -> None:
        self._dsn = dsn
        self._journal = journal
        self._path = folder / "acted"
        self._place = _read(self._path)
        self._saved_at = time.monotonic()
        self._copies: list[Change] = []
        self._fed: Cursor | None = None  # from where the feed went on last
        self._wake = asyncio.Event()
        self._failing = False

    def follows(self, cursor: Cursor, version: int, copied: bool) -> None:
        """The feed follows the log from this cursor on, where its replica has this version; for that the
        registry was `copied` afresh, or it was on the disk."""
        self._fed = cursor
        if copied:
            self._copies.append(Change(version, "", None, "copy", version, "", datetime.now(UTC)))
        if self._place is None:
            self._place = Place(cursor, [])
            self._saved_at = -SAVE_SECONDS
        self._wake.set()

    async def run(self) -> None:
        """Record until cancelled; tries again whenever the database goes away."""
        while True:
            with contextlib.suppress(*LOST):  # said by the feed, which has the same database
                async with following(self._dsn, "acts", self._wake) as connection:
                    while True:
                        self._wake.clear()
                        await self.catch_up(connection)
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)

    async def catch_up(self, c: "Connection") -> None:
        """Record all that the log shows now; comes back when it is durable."""
        while self._copies:
            await self._record([self._copies[0]], None)
            del self._copies[0]
        place = self._place
        if place is None:
            return  # the feed has still to say from where
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            await asyncio.to_thread(self._save)
        state = await store.log_state(c, place.cursor.anchor_number, place.cursor.snapshot)
        try:
            compare(place.cursor, place.unread, state)
        except StaleCursor as reason:
            begun, now = Snapshot.parse(place.cursor.snapshot), Snapshot.parse(state.snapshot)
            if state.database == place.cursor.database and now.xmax >= begun.xmax:
                log.error("registry acts: %s: changes that the log has lost have no record", reason)
            elif self._fed is not None and self._fed.database == state.database:
                log.error("registry acts: %s: what changed before it was copied has no record", reason)
                place = Place(self._fed, [])
            else:
                return  # the feed has still to copy it
        unread = place.unread + between(place.cursor.snapshot, state.snapshot)
        self._place = Place(Cursor.at(state), unread)
        while unread:
            changes, left = await store.changes(c, unread[-1], STEP)
            unread = [*unread[:-1], *([left] if left else [])]
            await self._record(
                [change for change in changes if change.op != "rekey"], Place(self._place.cursor, unread)
            )

    async def _record(self, changes: Sequence[Change], then: Place | None) -> None:
        """Have acts of these changes, once each, and `then` be there; waits for room as long as it takes."""
        while True:
            trying = asyncio.create_task(self._try(changes, then))
            try:
                changes = await asyncio.shield(trying)
            except asyncio.CancelledError:
                await trying  # or what is durable a moment later would be recorded again
                raise
            if self._failing != bool(changes):
                self._failing = bool(changes)
                if changes:
                    log.error("registry acts wait for the journal: %s", self._journal.poisoned or "no room")
                else:
                    log.info("registry acts are recorded again")
            if not changes:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _try(self, changes: Sequence[Change], then: Place | None) -> list[Change]:
        """Those of them that could not be recorded."""
        at = time.time_ns() // 1_000_000
        left: list[Change] = []

        def done(change: Change, error: Exception | None) -> None:
            if error is not None:
                left.append(change)

        for number, change in enumerate(changes):
            what = change.table, change.subject, change.op, change.row_version
            try:
                self._journal.act(at, *what, change.by, change.case, partial(done, change))
            except NotReady:
                left += changes[number:]
                break
        with contextlib.suppress(NotReady):  # each has heard of it
            await self._journal.sync()
        if not left and then is not None:
            self._place = then
            if changes:
                await asyncio.to_thread(self._save)
        return left

    def _save(self) -> None:
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # no room: the older place stands
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                octets = msgspec.json.encode(self._place)
                if os.write(descriptor, octets) < len(octets):
                    return  # no room for all of it
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            draft.replace(self._path)
            self._saved_at = time.monotonic()


def _read(path: Path) -> Place | None:
    """None: the feed's cursor is where to begin."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Place)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.error("registry acts: %s: %s: recording from where the replica is", path, error)
        return None
