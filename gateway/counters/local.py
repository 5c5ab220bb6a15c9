"""Counting on this node alone: what `reserve` and `release` do is done at once, in the tables of `shared`.

After a loss (a file that is missing or cut, a crash of the machine) the counts of the longest window are read
out of the journals, by one worker and in a thread. Until then nobody can say how much there was.
"""

import asyncio
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from gateway.counters import Entry, Look, Noted, Reserved, count_key, key_of
from gateway.counters.page import Unavailable
from gateway.counters.shared import Counted, Shared
from gateway.policy.caps import LONGEST

AT_ONCE = 200
"""Recounted in one go, with the lock: others only find out meanwhile that the counts are not whole."""
AGAIN = 1.0
"""Seconds between two tries to recount; another worker may be at it."""
UNDER_WAY = 0.5
"""Seconds for what was counted before a loss to become durable, so that the recount finds it."""

Recount = Callable[[int], Iterable[Noted]]
"""All that has passed since an instant (ms), oldest first."""


class Local:
    """The counters of one worker; `directory` is that of all workers of the node."""

    def __init__(self, directory: Path, recount: Recount, log: logging.Logger) -> None:
        self.ailing = ""
        self._directory = directory
        self._recount = recount
        self._log = log
        self._shared = Shared(directory)
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self._was_well = False
        self._closing = False

    def reserve(self, now: int, entries: Sequence[Entry], done: Callable[[Reserved], None]) -> None:
        """See `Counters`."""
        counted = self.count(now, entries)
        keys = [entries[position][0] for position in counted.taken]
        done(Reserved(counted.words, False, partial(self.release, keys, counted.at)))

    def count(self, now: int, entries: Sequence[Entry]) -> Counted:
        """What `reserve` does, and how it went."""
        try:
            counted = self._shared.reserve(now, entries)
        except Unavailable as error:
            self._ail(str(error))
            return Counted([None] * len(entries), (), now)
        self._was_well = True
        if self.ailing:
            self.ailing = ""
            self._log.info("counting again")
        return counted

    def release(self, keys: Sequence[int], at: int) -> None:
        """They count no longer, which did from this instant (ms) on."""
        if keys:
            with suppress(Unavailable):  # lost with all the others, or found in the journal anew
                self._shared.release(keys, at)

    def forget(self, keys: Sequence[int], at: int) -> None:
        """See `Counters`."""
        if keys:
            with suppress(Unavailable):  # made again from the journal, which has it
                self._shared.forget(keys, at)

    def check(self) -> bool:
        """See `Counters`."""
        try:
            whole = self._shared.is_whole()
        except Unavailable as error:
            self._ail(str(error))
            return False
        if whole:
            self.ailing = ""
        else:
            self._ail("being recounted")
        return whole

    def hashed_by(self, fingerprint: bytes, *, changed: bool) -> None:
        """See `Counters`."""
        marker = self._directory / "key"
        before = marker.read_bytes() if marker.exists() else fingerprint
        if changed or before != fingerprint:
            with suppress(Unavailable):
                self._shared.begin_anew()
        with suppress(OSError):  # no room: the next start begins anew once more
            marker.write_bytes(fingerprint)

    async def close(self) -> None:
        """See `Counters`."""
        self._closing = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        with suppress(Unavailable):  # recounted when they are needed
            await asyncio.to_thread(self._shared.leave)
        self._shared.close()

    def _ail(self, why: str) -> None:
        if not self.ailing:
            level = logging.WARNING if self._was_well else logging.INFO
            self._log.log(level, "not counting", extra={"fields": {"why": why}})
        self.ailing = why
        now = time.monotonic()
        if (self._thread is None or not self._thread.is_alive()) and now >= self._next:
            self._next = now + AGAIN
            self._thread = threading.Thread(target=self._heal, name="recount", daemon=True)
            self._thread.start()

    def _heal(self) -> None:
        """Recount, unless another worker is at it or the counts are whole."""
        try:
            descriptor = os.open(self._directory / "recount", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        shared = Shared(self._directory)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not shared.is_whole():
                self._count_anew(shared)
        except (BlockingIOError, Unavailable):
            pass  # tried again
        except Exception:
            self._log.exception("could not recount")
        finally:
            shared.close()
            os.close(descriptor)

    def _count_anew(self, shared: Shared) -> None:
        began = time.monotonic()
        epoch = shared.begin_anew()
        if self._was_well:
            time.sleep(UNDER_WAY)
        counted = 0
        passed = iter(self._recount(_now() - LONGEST))
        while (some := list(islice(passed, AT_ONCE))) and not self._closing:
            shared.add(_now(), some)
            counted += len(some)
        if not self._closing:
            shared.finish(epoch)
            seconds = round(time.monotonic() - began, 3)
            self._log.info("recounted", extra={"fields": {"attempts": counted, "seconds": seconds}})


def looker(directory: Path, hashed: Callable[[str], bytes]) -> Look:
    """The instants counted here, read only. `hashed` is `RegistryKey.hash`."""
    shared = Shared(directory, write=False)

    def sent(subscriber: str, institution: str, channels: int, purpose: int) -> list[int] | None:
        key = key_of(count_key(hashed, institution, channels, purpose), hashed(subscriber))
        try:
            return shared.sent(key, _now())
        except Unavailable:
            return None

    return sent


def _now() -> int:
    return time.time_ns() // 1_000_000
