"""Reads of one row each that wait for the same turn, asked for in one statement.

Rules: a read is part of no statement that began before it, so it sees all that was said to be done before it;
and of none of another actor's, so row security holds as if it were alone. Alone it costs what it always did;
those that meet cost one round trip, so that a pause of some ms leaves no backlog.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.errors import Problem, Words
from gateway.registry.acting import READ_SECONDS, Actor, Door

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

T = TypeVar("T")

MOST = 200
"""Rows of one statement."""

Read = Callable[["Connection", Sequence[int]], Awaitable[Mapping[int, T]]]
"""The rows of these ids that can be seen, by id."""


class Gathered(Generic[T]):
    """Reads through one door."""

    def __init__(self, door: Door, read: Read[T]) -> None:
        self._door = door
        self._read = read
        self._open: dict[Actor, dict[int, list[asyncio.Future[T | None]]]] = {}  # not begun: who waits, by id

    async def one(self, actor: Actor, identity: int) -> T | None:
        """The row of this id, None where the actor sees none. Problems as of `Door.acting`."""
        waiting = self._open.get(actor)
        if waiting is not None and len(waiting) < MOST:
            future: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
            waiting.setdefault(identity, []).append(future)
            return await future
        waiting = self._open[actor] = {identity: []}
        try:
            async with self._door.acting(actor, seconds=READ_SECONDS, short=True) as c:
                self._begin(actor, waiting)
                found = await self._read(c, [*waiting])
        except BaseException as error:
            self._begin(actor, waiting)
            told = error if isinstance(error, Exception) else _left_alone()
            for future in (one for some in waiting.values() for one in some if not one.done()):
                future.set_exception(told)
            raise
        for other, some in waiting.items():
            for future in some:
                if not future.done():
                    future.set_result(found.get(other))
        return found.get(identity)

    def _begin(self, actor: Actor, waiting: dict[int, list[asyncio.Future[T | None]]]) -> None:
        """From now on nobody joins."""
        if self._open.get(actor) is waiting:
            del self._open[actor]


def _left_alone() -> Problem:
    return Problem("busy", Words("读取中断，请重试", "the read was broken off; try again"))
