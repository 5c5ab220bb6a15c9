"""When an account last had a session on this node by which replies reach it: a file each, whose time says it.

All processes of the node see it at once and it outlasts them; a power failure may lose the last seconds. An
account without a file was not seen within `KEPT`. That one receives again which had not for `REPLY_PATH` is
told by an octet more in `CHANGES`, so that nobody has to look again and again at those that never do.
"""

import contextlib
import os
from hashlib import blake2b
from pathlib import Path

from gateway.model import AccountKey
from gateway.policy.facts import REPLY_PATH

KEPT = 2 * 86_400_000
"""ms; longer than any rule looks back."""
CHANGES = "changes"
"""Expires as the others do: who looks takes that for a change."""


class Receiving:
    """The files in `directory`, made with the first note."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, key: AccountKey, at: int) -> None:
        """The account has such a session at `at` (ms). On a full disk it is not noted."""
        path, again = Path(self._path(key)), self.last(key) + REPLY_PATH <= at
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            os.utime(path, ns=(at * 1_000_000, at * 1_000_000))
            if again:
                with (self._directory / CHANGES).open("ab") as changes:
                    changes.write(b".")

    def last(self, key: AccountKey) -> int:
        """When it had one last (ms); 0: not within `KEPT`."""
        try:
            return os.stat(self._path(key)).st_mtime_ns // 1_000_000  # noqa: PTH116  # on the path
        except OSError:
            return 0

    def changes(self) -> tuple[int, int]:
        """Another value when an account has begun to receive since."""
        try:
            found = (self._directory / CHANGES).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def expire(self, now: int) -> None:
        """Remove what is older than `KEPT`."""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                if path.stat().st_mtime_ns // 1_000_000 < now - KEPT:
                    path.unlink(missing_ok=True)

    def _path(self, key: AccountKey) -> str:
        name = blake2b("\0".join(key).encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{self._directory}/{name}"
