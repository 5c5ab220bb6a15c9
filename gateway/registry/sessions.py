"""The connections of one process to the registry, each lent to one at a time.

A connection stays with the role of the database that it took on first, as PostgreSQL plans a statement anew
for another role; which roles are busy changes, so all roles share one bound, and the connection that has been
idle longest makes room. Whoever works for a user may need the gateway's own connection meanwhile: that role
has a bound of its own, so that no two wait for each other. A connection that has lain idle is closed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.registry import primary

if TYPE_CHECKING:
    _Base = asyncpg.Connection[Any]
else:  # generic in the stubs alone
    _Base = asyncpg.Connection

OWN = "none"
"""The role that no policy binds."""
MOST = 24
"""Connections of all other roles together."""
TIMEOUT_SECONDS = 10.0
IDLE_SECONDS = 60.0


class Session(_Base):
    """A connection of a role. `serves` is what it was switched to last, None while nobody knows."""

    serves: tuple[str, ...] | None = None
    role = ""
    idle_since = 0.0


class Sessions:
    """Up to `each` connections for a role and `MOST` for all but OWN, made when they are needed."""

    def __init__(self, dsn: str, each: int) -> None:
        self._dsn = dsn
        self._each = each
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._all_turns = asyncio.Semaphore(MOST)
        self._idle: list[Session] = []  # longest idle first
        self._open: set[Session] = set()
        self._opening = 0
        self._sweeper: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def lent(self, role: str) -> AsyncIterator[Session]:
        """A connection for the role. TimeoutError when none was free in time; else what connecting raises."""
        turns = self._turns.setdefault(role, asyncio.Semaphore(self._each))
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await stack.enter_async_context(turns)
                if role != OWN:
                    await stack.enter_async_context(self._all_turns)
            session = self._last_used(role) or await self._opened(role)
            try:
                yield session
            except asyncio.CancelledError:  # its statement may still be under way
                session.terminate()
                raise
            finally:
                self._take_back(session)

    def close(self) -> None:
        """End all of them at once."""
        for session in self._open:
            session.terminate()
        self._open.clear()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _last_used(self, role: str) -> Session | None:
        """The idle one of the role that was used last."""
        for place in reversed(range(len(self._idle))):
            session = self._idle[place]
            if session.role == role:
                del self._idle[place]
                if not session.is_closed():
                    return session
                self._open.discard(session)
        return None

    async def _opened(self, role: str) -> Session:
        if role != OWN:
            self._make_room()
            self._opening += 1
        try:
            session = await primary.connect(
                self._dsn,
                {"application_name": "zhengming web", "zhengming.door": "node"},
                connection_class=Session,
                timeout=TIMEOUT_SECONDS,
                command_timeout=60,
            )
        finally:
            if role != OWN:
                self._opening -= 1
        assert isinstance(session, Session)
        session.role = role
        self._open.add(session)
        return session

    def _make_room(self) -> None:
        """Whoever opens has a turn, so at the bound there is one that nobody uses."""
        others = sum(session.role != OWN for session in self._open) + self._opening
        if others >= MOST:
            self._end(next(session for session in self._idle if session.role != OWN))

    def _take_back(self, session: Session) -> None:
        if session.is_closed() or session.is_in_transaction() or session not in self._open:
            session.terminate()
            self._open.discard(session)
            return
        loop = asyncio.get_running_loop()
        session.idle_since = loop.time()
        self._idle.append(session)
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what has lain idle, and look again when the next one will have."""
        now = asyncio.get_running_loop().time()
        while self._idle and (wait := self._idle[0].idle_since + IDLE_SECONDS - now) <= 0:
            self._end(self._idle[0])
        self._sweeper = asyncio.get_running_loop().call_later(wait, self._sweep) if self._idle else None

    def _end(self, session: Session) -> None:
        self._idle.remove(session)
        self._open.discard(session)
        session.terminate()
