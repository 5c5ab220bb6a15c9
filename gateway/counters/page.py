"""A mapped page whose lock lets one process in at a time, and which a kill gives back.

It may be removed or cut under us at any time: who comes in has the file that stands at the path now, whole.
"""

import fcntl
import mmap
import os
import time
from contextlib import suppress
from pathlib import Path

OCTETS = 4096
PATIENCE = 0.05
"""Seconds that one waits for the lock. Who has it is done within a millisecond, unless he was stopped."""

SURE = 0.05
"""Seconds for which a file that stood at its path is taken to stand there still."""


class Unavailable(Exception):
    """Nothing can be counted now, for this reason."""


class Page:
    """The page at `path`, made with `write` if it is missing, else only read; `octets` is for who is in."""

    octets: mmap.mmap

    def __init__(self, path: Path, *, write: bool) -> None:
        self._name = str(path)
        self._write = write
        self._descriptor = -1
        self._identity = (0, 0)
        self._mapped = False
        self._patience = PATIENCE
        self._sure_until = 0.0

    def lock(self) -> None:
        """Come in. Raises Unavailable."""
        try:
            for _ in range(3):
                if self._descriptor < 0:
                    flags = os.O_RDWR | os.O_CREAT if self._write else os.O_RDONLY
                    self._descriptor = os.open(self._name, flags | os.O_CLOEXEC, 0o600)
                    opened = os.fstat(self._descriptor)
                    self._identity = opened.st_ino, opened.st_dev
                self._wait()
                if self._in_place():
                    size = os.lseek(self._descriptor, 0, os.SEEK_END)
                    if size < OCTETS or not self._mapped:
                        self._map(size)
                    return
                self.close()  # somebody has removed it, or put another there
        except OSError as error:
            self.close()
            raise Unavailable(f"{self._name}: {error.strerror or error}") from None
        raise Unavailable(f"{self._name} comes and goes")

    def _in_place(self) -> bool:
        """Whether this file stands at its path, or did so a moment ago."""
        now = time.monotonic()
        if now < self._sure_until:
            return True
        with suppress(FileNotFoundError):
            found = os.stat(self._name)  # noqa: PTH116  # asked for each batch
            if (found.st_ino, found.st_dev) == self._identity:
                self._sure_until = now + SURE
                return True
        return False

    def unlock(self) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._mapped:
            self.octets.close()
            self._mapped = False
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._sure_until = 0.0

    def _map(self, size: int) -> None:
        if size < OCTETS:
            if not self._write:
                self.unlock()
                raise Unavailable(f"{self._name} is cut")
            os.posix_fallocate(self._descriptor, 0, OCTETS)
        if not self._mapped:
            access = mmap.ACCESS_WRITE if self._write else mmap.ACCESS_READ
            self.octets = mmap.mmap(self._descriptor, OCTETS, access=access)
            self._mapped = True

    def _wait(self) -> None:
        """Raises Unavailable when another process stays inside; the next ones then don't wait for it."""
        manner = (fcntl.LOCK_EX if self._write else fcntl.LOCK_SH) | fcntl.LOCK_NB
        until = 0.0
        while True:
            try:
                fcntl.flock(self._descriptor, manner)
            except BlockingIOError:
                until = until or time.monotonic() + self._patience
                if time.monotonic() >= until:
                    self._patience = 0.0
                    raise Unavailable(f"{self._name}: another process does not let go") from None
                time.sleep(0.0001)
            else:
                self._patience = PATIENCE
                return
