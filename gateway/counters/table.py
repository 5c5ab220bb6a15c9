"""A table of instants in a mapped file: for each key the newest few, newest first.

    header      magic, instants in a slot (u32), slots (u32, a power of two); 64 octets
    slots       key u64 (0: free), instants u32 in ms since an instant that is the reader's affair, 0: none

Open addressing, nothing is ever taken out. Room is allocated before it is mapped, so that a full disk is an
OSError here; whoever maps a file looks at its size before touching it, as a cut one would kill the process.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

MAGIC = b"ZMCOUNT1"
HEADER = Struct("<8sII")
START = 64
KEY = Struct("<Q")
NEWEST = KEY.size  # where the newest instant is in a slot
INSTANT = Struct("<I")
FRESH = Struct("<QI")  # a slot that was free: the others are 0
FULL = 0.6  # share of used slots at which a further table begins


class Damaged(Exception):
    """A file of the counters is not what it was when it was written."""


class Table:
    """The table at `path`. Raises OSError, and Damaged when it is none or is cut."""

    __slots__ = ("_descriptor", "end", "limit", "map", "mask", "none", "ring", "size", "slot")

    ring: int
    size: int
    mask: int
    end: int
    none: tuple[int, ...]

    def __init__(self, path: Path, *, write: bool) -> None:
        self._descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            magic, self.ring, slots = HEADER.unpack(
                os.pread(self._descriptor, HEADER.size, 0).ljust(HEADER.size)
            )
            self.slot = Struct(f"<Q{self.ring}I")
            self.size = self.slot.size
            self.none = (0,) * self.ring
            self.mask = slots - 1
            self.limit = int(slots * FULL)
            self.end = START + slots * self.size
            if magic != MAGIC or slots & self.mask or not self.whole():
                raise Damaged(f"{path}: not a whole table of counters")
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self.map = mmap.mmap(self._descriptor, self.end, access=access)
        except BaseException:
            os.close(self._descriptor)
            raise

    @classmethod
    def make(cls, path: Path, ring: int, slots: int) -> "Table":
        """A new, empty one for at least `ring` instants, in place of what stood there."""
        ring += ring & 1  # slots of whole eights
        draft = path.with_name(f".{path.name}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, START + slots * (8 + 4 * ring))
            os.pwrite(descriptor, HEADER.pack(MAGIC, ring, slots), 0)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return cls(path, write=True)

    def whole(self) -> bool:
        """Whether the file is still as long as it was."""
        return os.lseek(self._descriptor, 0, os.SEEK_END) == self.end

    def find(self, key: int) -> int:
        """Where the key's slot is, or, negative, minus where it would be. Raises Damaged."""
        octets, size = self.map, self.size
        first: int = START + (key & self.mask) * size
        at = first
        while True:
            (found,) = KEY.unpack_from(octets, at)
            if found == key:
                return at
            if not found:
                return -at
            at += size
            if at == self.end:
                at = START
            if at == first:
                raise Damaged("a table of counters without a free slot")

    def instants(self, at: int) -> Sequence[int]:
        return self.slot.unpack_from(self.map, at)[1:]

    def fitting(self, key: int, instants: Sequence[int]) -> tuple[int, ...]:
        """A slot of this table: what is too much is cut off, at the old end."""
        return (key, *instants[: self.ring], *self.none[len(instants) :])

    def put(self, at: int, key: int, instants: Sequence[int]) -> None:
        self.slot.pack_into(self.map, at, *self.fitting(key, instants))

    def close(self) -> None:
        self.map.close()
        os.close(self._descriptor)
