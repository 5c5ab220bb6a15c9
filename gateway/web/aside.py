"""Long work beside the requests: whole tables in and out, on an event loop and in a folder of their own.

Rules: the work makes its own connections, as it shares no loop with who waits for it; who stops waiting ends
it. What a killed process left in the folder goes at the next start, as it may hold subscribers' numbers.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

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
