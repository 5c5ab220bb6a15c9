"""A writer's folder in the journal: its segments, who writes there, and up to where records are durable.

data_dir/journal/WRITER/NNNNNNNN.seg   segments, numbered from 1 without gaps
                        NNNNNNNN.idx   indexes of closed ones (lookup.py)
                        lock           held while the writer lives
                        tail           `Tail`
"""

import contextlib
import fcntl
import mmap
import os
import struct
from pathlib import Path

from gateway.errors import UsageError
from gateway.evidence.segment import NO_ROOM, Segment, SegmentDamaged, in_place, recover

_TAIL = struct.Struct(">QQQB200p")
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of a 64-bit Linux; locks of open file descriptions want pid 0."""


class Tail:
    """Up to where a writer's records are durable, in mapped memory: readers of the node see it at once.

    It lives in the page cache, as does what a failed fsync may have left there: so the word `poisoned`
    outlasts the process, and a machine that lost its memory has forgotten both.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            self._known = os.fstat(descriptor)
            if write and os.fstat(descriptor).st_size < _TAIL.size:
                os.truncate(descriptor, _TAIL.size)
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self._map = mmap.mmap(descriptor, _TAIL.size, access=access)
        finally:
            os.close(descriptor)

    def set(self, number: int, end: int, index: int, poisoned: str = "") -> None:
        _TAIL.pack_into(
            self._map, 0, number, end, index, bool(poisoned), poisoned.encode()[-199:]
        )  # of a long path the end tells

    def get(self) -> tuple[int, int, int, str]:
        """(segment, end of its last durable block, its records, why it is poisoned or "")."""
        number, end, index, poisoned, why = _TAIL.unpack_from(self._map, 0)
        return number, end, index, why.decode("utf-8", "ignore") or "unknown" if poisoned else ""

    def lost(self) -> str:
        """Whether somebody removed the file from under us, in words; "" when nobody did."""
        return "" if in_place(self._path, self._known) else f"{self._path}: removed while in use"

    def close(self) -> None:
        self._map.close()


class WriterLock:
    """One process writes a writer's folder at a time. Raises UsageError when another one does."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        except (BlockingIOError, PermissionError):
            os.close(self._descriptor)
            raise UsageError(f"{folder}: another process writes this journal: stop the node first") from None

    def lost(self) -> str:
        """As `Tail.lost`."""
        known = os.fstat(self._descriptor)
        return "" if in_place(self._path, known) else f"{self._path}: removed while in use"

    def release(self) -> None:
        os.close(self._descriptor)


def is_alive(folder: Path) -> bool:
    """Whether a process writes there now; asks without taking the lock, so no writer is turned away."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def _whole_file(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def resume(folder: Path, tail: Tail, *, durable: bool) -> tuple[int, str]:
    """Go on after an earlier life: (the number of the last segment that there ever was, why not or "").

    Cuts the last segment behind its last good block. With `durable` (a write that returned is on the disk)
    a segment that has less than was durable poisons the journal: it was removed, cut or damaged. So does an
    error of the disk, because the next try might find in memory what is not on it. Raises OSError when
    there is no room.
    """
    number, end, index, poisoned = tail.get()
    paths = segments(folder)
    last = int(paths[-1].stem) if paths else 0
    if not poisoned:
        try:
            if last >= number and paths:
                tail.set(last, *recover(paths[-1], durable=end if durable and last == number else 0))
            elif durable and end:
                path = segment_path(folder, number)
                raise SegmentDamaged(f"{path}: missing, {end} octets of it were durable")
        except (SegmentDamaged, OSError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            poisoned = str(error)
            tail.set(number, end, index, poisoned)
    return max(last, number), poisoned


def clear(directory: Path, writer: str) -> int | None:
    """An operator's word that the disk is well again: take the poison off, and cut the segment that was
    written last behind what was durable for certain; its size then. None when nothing was poisoned.

    Run it while the writer is down. Raises UsageError when the writer is alive, or there is none.
    """
    folder = directory / writer
    if not folder.is_dir():
        known = ", ".join(path.name for path in writers(directory))
        raise UsageError(f"{folder}: no such writer; there are {known or 'none'}")
    lock = WriterLock(folder)
    tail = Tail(folder / "tail", write=True)
    try:
        number, end, _, poisoned = tail.get()
        if not poisoned:
            return None
        size = index = 0
        for path in segments(folder):
            if int(path.stem) >= number:
                try:
                    size, index = recover(path, end if int(path.stem) == number else 0)
                except SegmentDamaged:  # its header is gone: nothing in it can be read
                    path.rename(path.with_suffix(".damaged"))
                    size, index = 0, 0
        tail.set(number, size, index)
        return size
    finally:
        tail.close()
        lock.release()


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.seg"


def segments(folder: Path) -> list[Path]:
    """A writer's segments, oldest first."""
    return sorted(folder.glob("[0-9]" * 8 + ".seg"))


def node_of(directory: Path) -> str:
    """The node whose journals lie there, by the newest segment that says so; "" while there is none."""
    for folder in writers(directory):
        for path in reversed(segments(folder)):
            with contextlib.suppress(SegmentDamaged, FileNotFoundError), Segment(path) as segment:
                return segment.header.node
    return ""


def writers(directory: Path) -> list[Path]:
    """The folders of all writers of the node."""
    return sorted(path for path in directory.glob("*") if path.is_dir())
