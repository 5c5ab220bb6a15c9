"""Work beside the requests: every minute, and long (whole tables in and out, on an event loop and in a folder
of their own).

Rules: long work makes its own connections, as it shares no loop with who waits for it; who stops waiting ends
it. What a killed process left in the folder goes at the next start, as it may hold subscribers' numbers.
"""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

UPKEEP_SECONDS = 60.0
AGAIN_SECONDS = 1.0
UNMADE = "this version's schema is not there yet; the keeper or `zhengming migrate` makes it"

T = TypeVar("T")


async def aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `work()` gives, done in a thread, so that requests are answered while it forms its rows."""
    under_way: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []
    ended = False

    async def main() -> T:
        task = asyncio.create_task(work())
        under_way.append((asyncio.get_running_loop(), task))
        if ended:
            task.cancel()
        return await task

    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(main())))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        ended = True
        for loop, task in under_way:
            loop.call_soon_threadsafe(task.cancel)
        await asyncio.wait([thread])
        raise


class Passing:
    """Folders for one answer each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self) -> None:
        """Remove what a process left that was killed."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def folder(self) -> Path:
        """A fresh folder; whoever asks for it removes it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._folder))


async def again_and_again(
    work: Callable[[], Awaitable[None]], failed: str, log: logging.Logger, *, soon: float = AGAIN_SECONDS
) -> None:
    """Do it every minute, and `soon` (s) again where it failed, as the database is away or being made: maybe
    for a day, so each cause is told once."""
    told = ""
    while True:
        why, level = "", logging.WARNING
        try:
            await work()
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError):
            why, level = UNMADE, logging.INFO
        except Exception as error:
            why = str(error)
        if why not in {"", told}:
            log.log(level, failed, extra={"fields": {"why": why}})
        told = why
        await asyncio.sleep(soon if why else UPKEEP_SECONDS)
