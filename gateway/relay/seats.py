"""Connections of calls that an account may have on this node, over all of its workers (`max_connections`).

Nobody logs in, by which one worker would get them all: each connection holds the lock of one of as many files
in data_dir/run, so that what a killed worker held is free again.
"""

import fcntl
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from gateway.model import AccountKey

Seat = AbstractContextManager[object]
"""To be left when the connection has ended."""


class Seats:
    """As one worker sees them."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "seats"

    def take(self, key: AccountKey, most: int) -> Seat | None:
        """One of `most`, 0: of any number; None: all are taken. Raises OSError."""
        if not most:
            return nullcontext()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for number in range(most):
            file = (self._folder / f"{key.carrier}-{key.account}-{number}").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                return file
        return None
