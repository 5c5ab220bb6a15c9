"""LMDB files, and how to notice that one was cut before touching a page that is no longer there.

A read beyond the end of a mapped file kills the process (SIGBUS), and no exception handler helps. LMDB
itself may leave the last pages of a commit unwritten, so the file alone does not tell. Therefore every
write transaction first makes the file longer than it will need (a hole, not disk), and from then on a file
shorter than its last commit says was cut. It knows nothing of what is stored.
"""

import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path

import lmdb

MAX_READERS = 1024
HEADER = 16
"""Octets before the magic number of LMDB's first two pages."""
MAGIC = (0xBEEFC0DE).to_bytes(4, sys.byteorder)
ROOM = 32_768
"""Pages that one transaction may add; 2,000 rows at any place of three trees take fewer."""


class Mapped:
    """The LMDB environment `path`'s folder, made if `writer` and missing. `descriptor` is of the data file.

    Raises lmdb.Error or OSError when it can't be opened, or was cut.
    """

    def __init__(self, path: Path, *, map_size: int, writer: bool, sync: bool = True) -> None:
        self.path = path
        self.env = lmdb.open(
            str(path.parent),
            map_size=map_size,
            max_dbs=4,
            max_readers=MAX_READERS,
            max_spare_txns=4,
            readonly=not writer,
            create=writer,
            sync=sync,
            readahead=False,
            mode=0o600,
        )
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, (os.O_RDWR if writer else os.O_RDONLY) | os.O_CLOEXEC)
            self._lock = path.with_name("lock.mdb").stat()
            if not self.whole():
                raise lmdb.CorruptedError(f"{path} was cut")
        except BaseException:
            self.close()  # else it is open in this process for as long as the error is looked at
            raise

    def size(self) -> int:
        """Octets of the data file; it never becomes smaller unless somebody cuts it. 0: closed."""
        return os.lseek(self.descriptor, 0, os.SEEK_END) if self.descriptor >= 0 else 0

    def whole(self) -> bool:
        """Whether the file has all the pages that its last commit speaks of."""
        if self.size() < 2 * PAGESIZE:  # the two pages that say so
            return False
        if any(os.pread(self.descriptor, len(MAGIC), page + HEADER) != MAGIC for page in (0, PAGESIZE)):
            return False  # overwritten in place: LMDB looks at this only when it opens a file
        needed = (self.env.info()["last_pgno"] + 1) * PAGESIZE
        return self.size() >= needed

    def in_place(self) -> bool:
        """Whether this very file still stands at its path, and that by which its users keep out of each
        other's way: a reader that has another one sees nothing of what is written."""
        try:
            lock = self.path.with_name("lock.mdb").stat()
        except OSError:
            return False
        return self.is_there() and os.path.samestat(lock, self._lock)

    def is_there(self) -> bool:
        """Whether this very file still stands at its path."""
        return is_at(self.path, self.descriptor)

    def filled(self) -> float:
        """Share of the map that is in use; 0 of one that was cut."""
        if not self.whole():
            return 0.0
        info = self.env.info()
        return (info["last_pgno"] + 1) * PAGESIZE / info["map_size"]

    @contextmanager
    def writing(self) -> "Iterator[lmdb.Transaction[bytes]]":
        """A write transaction: committed at the end, aborted by an exception.

        Raises lmdb.CorruptedError when the file was cut: made longer again, nobody would see that it was.
        """
        with self.env.begin(write=True) as txn:
            if not self.whole():
                raise lmdb.CorruptedError(f"{self.path} was cut")
            pages = self.env.info()["last_pgno"] + 1
            if self.size() < (pages + ROOM // 2) * PAGESIZE:
                os.ftruncate(self.descriptor, (pages + ROOM) * PAGESIZE)
            yield txn

    def close(self) -> None:
        self.env.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def is_at(path: Path, descriptor: int) -> bool:
    """Whether what stands at this path is what is open here."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def make_folder(folder: Path, map_size: int) -> None:
    """An empty environment, whole from the instant at which it is there; nothing when another was first."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        Mapped(draft / "data.mdb", map_size=map_size, writer=True).close()
        draft.rename(folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def set_aside(folder: Path, held: int) -> None:
    """Out of the way with the folder that is `held` open, unless another process has done it."""
    fcntl.flock(held, fcntl.LOCK_EX)
    if is_at(folder, held):
        if not (folder / "data.mdb").exists():
            shutil.rmtree(folder)
            return
        aside = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
