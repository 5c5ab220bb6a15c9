"""When an account last had a session on this node by which replies reach it: a file each, whose time says it.

All processes of the node see it at once and it outlasts them; a power failure may lose the last seconds. An
account without a file was not seen within `KEPT`.
"""

import contextlib
import os
from hashlib import blake2b
from pathlib import Path

from gateway.model import AccountKey

KEPT = 2 * 86_400_000
"""ms; longer than any rule looks back."""


class Receiving:
    """The files in `directory`, made with the first note."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, key: AccountKey, at: int) -> None:
        """The account has such a session at `at` (ms). On a full disk it is not noted."""
        path = Path(self._path(key))
        with contextlib.suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(0o600)
            os.utime(path, ns=(at * 1_000_000, at * 1_000_000))

    def last(self, key: AccountKey) -> int:
        """When it had one last (ms); 0: not within `KEPT`."""
        try:
            return os.stat(self._path(key)).st_mtime_ns // 1_000_000  # noqa: PTH116  # on the path
        except OSError:
            return 0

    def expire(self, now: int) -> None:
        """Remove what is older than `KEPT`."""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                if path.stat().st_mtime_ns // 1_000_000 < now - KEPT:
                    path.unlink(missing_ok=True)

    def _path(self, key: AccountKey) -> str:
        name = blake2b("\0".join(key).encode("utf-8", "replace"), digest_size=16).hexdigest()
        return f"{self._directory}/{name}"
