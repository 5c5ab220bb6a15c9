"""Segments: the journal's files, and how they are written, cut after a crash, and read. For ever, too.

    header  magic "ZMJSEG1\\n" · u32 length · msgpack of `Header` · SHA-256 of all that precedes
    block   u32 stored length · u32 raw length · u32 records · u64 index of the first · u32 CRC-32 · stored
            raw    = the records' lengths (u32 each), then the records
            stored = a zstd frame of raw; or raw itself, when the two lengths are equal
            CRC-32 covers the header's digest, the block's head but the CRC, and stored
    then octets of value 0: room that was reserved and not used

Integers are big-endian. A block is one group commit; indexes have no gaps. A segment is never written to
after a restart: the next one begins. It is *closed* once a later one exists or its writer has gone.
Only its last block can be torn, because each is durable before the next is begun.

This module knows neither what a record is nor keys.
"""

import errno
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from sys import byteorder
from typing import Self

import msgspec
import zstandard

from gateway.evidence.skim import split

MAGIC = b"ZMJSEG1\n"
CHUNK = 1 << 20
"""Octets of a segment reserved on disk at a time, filled with 0. Over blocks that are written already a write
with O_DSYNC changes no metadata: it needs no commit of the file system's journal, waits for no other file's,
and takes 0.6 of the time and CPU of one that grows the file or turns fallocated extents into written ones."""
MAX_RAW = 256 << 20
"""A block that claims more than this is not a block."""
SMALL = 512
"""Blocks below this many octets are stored as they are."""

_BLOCK = struct.Struct(">IIIQI")
_LENGTH = struct.Struct(">I")
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SegmentDamaged(Exception):
    """A segment has other octets than were written; the text says which file and where."""


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """What a segment says of itself."""

    version: int = 1
    node: str
    writer: str  # w0, w1, … keeper
    number: int
    created: int  # ms
    key_name: str  # of the data key: day.retention[.hold]
    key_check: bytes
    salt: bytes  # of the segment's key

    @property
    def day(self) -> str:
        return self.key_name.partition(".")[0]


def encode_header(header: Header) -> tuple[bytes, bytes]:
    """(the octets that begin the file, the digest that ends them)."""
    body = msgspec.msgpack.encode(header)
    octets = MAGIC + _LENGTH.pack(len(body)) + body
    digest = sha256(octets).digest()
    return octets + digest, digest


def pack_block(
    records: list[bytes], first: int, digest: bytes, compressor: zstandard.ZstdCompressor
) -> tuple[bytes, bytes]:
    """A block as (head, stored). Holds the interpreter's lock for about 0.1 µs a record."""
    lengths = array("I", map(len, records))
    if byteorder == "little":
        lengths.byteswap()
    raw = lengths.tobytes() + b"".join(records)
    stored = raw
    if len(raw) >= SMALL:
        packed = compressor.compress(raw)
        if len(packed) < len(raw):
            stored = packed
    head = _BLOCK.pack(len(stored), len(raw), len(records), first, 0)[:-4]
    return head + _LENGTH.pack(zlib.crc32(stored, zlib.crc32(digest + head))), stored


class Disk:
    """The system calls of a segment's writer; tests replace them to make a disk fail."""

    def reserve(self, descriptor: int, offset: int, length: int) -> None:
        """Have room there, which reads as octets 0."""
        os.posix_fallocate(descriptor, offset, length)

    def fill(self, descriptor: int, offset: int, length: int) -> int:
        """Write octets 0 there; how many."""
        return os.pwrite(descriptor, bytes(length), offset)

    def write(self, descriptor: int, octets: list[bytes], offset: int) -> int:
        """Durable when it returns, if the file was opened with O_DSYNC: fdatasync in the same call, so that
        the commit thread asks for the interpreter's lock once instead of twice."""
        return os.pwritev(descriptor, octets, offset)

    def truncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)


class SegmentFile:
    """A segment that is being written. Every method raises OSError as the disk does."""

    def __init__(self, path: Path, header: bytes, disk: Disk, *, durable: bool) -> None:
        self._disk = disk
        self._durable = durable
        self._can_reserve = True
        self.path = path
        self.end = 0
        self._reserved = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | (os.O_DSYNC if durable else 0)
        self._descriptor = os.open(path, flags, 0o600)
        try:
            self._write([header])
            if durable:
                disk.sync(self._descriptor)
                sync_folder(path.parent)
        except OSError:
            os.close(self._descriptor)
            path.unlink(missing_ok=True)
            raise

    def append(self, head: bytes, stored: bytes) -> None:
        self._write([head, stored])

    def reserve(self, length: int) -> None:
        """Have room for `length` more octets, so that the next write can't meet a full disk."""
        missing = self.end + length - self._reserved
        if missing <= 0:
            return
        more = (missing + CHUNK - 1) // CHUNK * CHUNK
        if self._durable:
            upto = self._reserved + more
            while self._reserved < upto:
                filled = self._disk.fill(self._descriptor, self._reserved, upto - self._reserved)
                if not filled:
                    raise OSError(errno.ENOSPC, "nothing more could be written", str(self.path))
                self._reserved += filled
        elif self._can_reserve:
            try:
                self._disk.reserve(self._descriptor, self._reserved, more)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                self._can_reserve = False
            else:
                self._reserved += more

    def _write(self, octets: list[bytes]) -> None:
        length = sum(map(len, octets))
        self.reserve(length)
        written = self._disk.write(self._descriptor, octets, self.end)
        while written < length:
            rest = memoryview(b"".join(octets))[written:]
            more = self._disk.write(self._descriptor, [bytes(rest)], self.end + written)
            if not more:
                raise OSError(errno.ENOSPC, "nothing more could be written", str(self.path))
            written += more
        self.end += length

    def cut(self) -> None:
        """Give back what was reserved, and whatever a failed write left."""
        self._disk.truncate(self._descriptor, self.end)
        self._reserved = self.end
        if self._durable:
            self._disk.sync(self._descriptor)

    def lost(self) -> str:
        """How somebody took what was written from under us; "" when nobody did. For any thread."""
        end = self.end
        found = os.fstat(self._descriptor)
        if not in_place(self.path, found):
            return f"{self.path}: removed while it was being written"
        if found.st_size < end:
            return f"{self.path}: cut to {found.st_size} octets, {end} were written"
        return ""

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Block:
    """One group of records. `offset`, `end`: where in the file; `first`: index of `records[0]`."""

    offset: int
    end: int
    first: int
    records: list[bytes]


class Segment:
    """A segment that is being read; it may still be growing.

    Raises SegmentDamaged when the header can't be that of a segment, FileNotFoundError when there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._decompressor = zstandard.ZstdDecompressor()
        try:
            self.header, self.digest, self.start = self._read_header()
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> tuple[Header, bytes, int]:
        head = os.pread(self._descriptor, 4096, 0)
        if head[:8] != MAGIC or len(head) < 12:
            raise SegmentDamaged(f"{self.path}: no segment begins so")
        end = 12 + _LENGTH.unpack_from(head, 8)[0]
        digest = head[end : end + 32]
        if sha256(head[:end]).digest() != digest:
            raise SegmentDamaged(f"{self.path}: header does not have its digest")
        try:
            return msgspec.msgpack.decode(head[12:end], type=Header), digest, end + 32
        except msgspec.DecodeError as error:
            raise SegmentDamaged(f"{self.path}: header of another version: {error}") from error

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def stored(self, offset: int) -> tuple[int, int, int, int, bytes] | None:
        """(end, raw length, records, first, stored) of a whole block there; None if there is none."""
        head = os.pread(self._descriptor, _BLOCK.size, offset)
        if len(head) < _BLOCK.size:
            return None
        length, raw, records, first, checksum = _BLOCK.unpack(head)
        end = offset + _BLOCK.size + length
        if not length or not length <= raw <= MAX_RAW or raw < 4 * records or end > self.size:
            return None
        stored = os.pread(self._descriptor, length, offset + _BLOCK.size)
        if zlib.crc32(stored, zlib.crc32(self.digest + head[:-4])) != checksum:
            return None
        return end, raw, records, first, stored

    def block(self, offset: int, holding: bytes = b"") -> Block | None:
        """The block at an offset; None where no whole one is (yet), or one without the octets `holding`."""
        found = self._raw(offset)
        if found is None:
            return None
        end, count, first, raw = found
        if holding not in raw:
            return None  # a hundredth of what it takes to read its records
        lengths = _lengths(raw, count)
        if 4 * count + sum(lengths) != len(raw):
            return None
        return Block(offset, end, first, split(raw, lengths, 4 * count))

    def record(self, offset: int, index: int) -> bytes | None:
        """The record of this index in the block at an offset, read alone; None where there is none."""
        found = self._raw(offset)
        if found is None or not found[2] <= index < found[2] + found[1]:
            return None
        _, count, first, raw = found
        lengths = _lengths(raw, count)
        at = 4 * count + sum(lengths[: index - first])
        return raw[at : at + lengths[index - first]]

    def _raw(self, offset: int) -> tuple[int, int, int, bytes] | None:
        """(end, records, first, their lengths and octets) of a whole block there; None if there is none."""
        found = self.stored(offset)
        if found is None:
            return None
        end, length, count, first, raw = found
        if len(raw) != length:
            try:
                raw = self._decompressor.decompress(raw, max_output_size=length)
            except zstandard.ZstdError:
                return None
        return (end, count, first, raw) if len(raw) == length else None

    def blocks(self, offset: int = 0, limit: int | None = None) -> Iterator[Block]:
        """The whole blocks from `offset` (0: the first) that end at `limit` or before, one at a time."""
        offset = offset or self.start
        while limit is None or offset < limit:
            block = self.block(offset)
            if block is None or (limit is not None and block.end > limit):
                return
            yield block
            offset = block.end

    def good_end(self, limit: int | None = None) -> tuple[int, int]:
        """(where the last whole block ends, the records up to there): each follows the one before."""
        offset, index = self.start, 0
        while (found := self.stored(offset)) is not None and found[3] == index:
            if limit is not None and found[0] > limit:
                break
            offset, index = found[0], index + found[2]
        return offset, index

    def count(self, offset: int = 0, limit: int | None = None) -> int:
        """The records from `offset` (0: the first) up to `limit`, by the blocks' heads alone."""
        return sum(records for _, _, records in self.heads(offset, limit))

    def offsets(self) -> Iterator[int]:
        """Where blocks begin, in file order, by their heads alone: `block` tells whether one is whole."""
        return (offset for offset, _, _ in self.heads())

    def heads(self, offset: int = 0, limit: int | None = None) -> Iterator[tuple[int, int, int]]:
        """(offset, index of the first record, records) of the blocks from `offset` (0: the first) up to
        `limit`, by their heads alone."""
        offset, limit = offset or self.start, self.size if limit is None else limit
        while offset < limit and len(head := os.pread(self._descriptor, _BLOCK.size, offset)) == _BLOCK.size:
            length, _, records, first, _ = _BLOCK.unpack(head)
            if not length:
                break
            yield offset, first, records
            offset += _BLOCK.size + length

    def clean_after(self, offset: int) -> bool:
        """Whether nothing but reserved room follows."""
        while octets := os.pread(self._descriptor, 1 << 20, offset):
            if octets.strip(b"\0"):
                return False
            offset += len(octets)
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lengths(raw: bytes, count: int) -> "array[int]":
    """How long the records of a block are."""
    lengths = array("I", raw[: 4 * count])
    if byteorder == "little":
        lengths.byteswap()
    return lengths


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def in_place(path: Path, known: os.stat_result) -> bool:
    """Whether this very file still stands at its path."""
    try:
        return os.path.samestat(path.stat(), known)
    except FileNotFoundError:
        return False


def recover(path: Path, limit: int | None = None, *, durable: int = 0) -> tuple[int, int]:
    """Cut a segment behind its last good block that ends by `limit`, make it durable: (size, records).

    What is cut off and not empty is kept beside it as `.torn`. A file that was torn while its header was
    being written becomes empty. Raises SegmentDamaged, and touches nothing, when the header of a filled
    segment is wrong, or less is good than the `durable` octets that were.
    """
    try:
        with Segment(path) as segment:
            end, index = segment.good_end(limit)
            clean = segment.clean_after(end)
    except SegmentDamaged:
        octets = path.read_bytes()
        if any(octets[4096:]):
            raise
        end, index, clean = 0, 0, not any(octets)
    if end < durable:
        raise SegmentDamaged(f"{path}: good up to octet {end}, but {durable} were durable: cut or damaged")
    path.with_suffix(".idx").unlink(missing_ok=True)  # made of what is perhaps cut off now
    with path.open("r+b") as file:
        if not clean:
            file.seek(end)
            path.with_suffix(".torn").write_bytes(file.read())
        file.truncate(end)
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return end, index
