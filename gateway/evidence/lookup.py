"""The index of a closed segment: which blocks speak of a subscriber, a number, an attempt, a time.

`NNNNNNNN.idx` lies beside its segment and can be made again from it at any time:

    magic "ZMJIDX3\\n" · digest of the segment's header (32) · counts of the sections (4 × u32)
    blocks       u64 offset · u64 first time · u64 last time (ms)                  in file order
    subscribers  first 8 octets of the hash (keyed by the day) · u32 block         sorted
    ties         8 octets · u32 block                              sorted
                 the last ones of the attempt that an outcome or report names, or what `found.ties` says
    numbers      32 octets of text, filled with 0 · u32 block                      sorted
    pages        CRC-32 (u32) of each 4 KiB of all that precedes
    CRC-32 of these

A page is checked when it is first looked at: five months of segments are asked within seconds, and have tens
of GiB of index. An answer is blocks to read, never records: hashes and times only narrow the search.
"""

import mmap
import os
import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from gateway.evidence import half_read, skim
from gateway.evidence import record as rec
from gateway.evidence.folder import is_alive, segments
from gateway.evidence.found import ties
from gateway.evidence.segment import Segment, sync_folder

MAGIC = b"ZMJIDX3\n"
_HEAD = struct.Struct(">8s32s4I")
_BLOCK = struct.Struct(">QQQ")
_NUMBER = 32
_PAGE = 4096


def index_path(segment: Path) -> Path:
    return segment.with_suffix(".idx")


def is_closed(segment: Path) -> bool:
    """Whether nothing will be written to it any more."""
    return segments(segment.parent)[-1] != segment or not is_alive(segment.parent)


def build_index(path: Path) -> Path:
    """Make the index of a closed segment anew. Raises SegmentDamaged, RecordError, OSError."""
    blocks: list[bytes] = []
    subscribers: list[bytes] = []
    tied: list[bytes] = []
    numbers: list[bytes] = []
    shown: dict[bytes, tuple[str, str]] = {}
    with Segment(path) as segment:
        for place, block in enumerate(segment.blocks()):
            where = place.to_bytes(4, "big")
            seen = _Seen()
            seen.look(block.records)
            for judged in seen.judged:
                if judged not in shown:
                    shown[judged] = half_read.numbers(judged)
                seen.numbers.update(shown[judged])
            subscribers += [key[:8] + where for key in seen.subscribers if key]
            tied += [key + where for key in seen.ties]
            numbers += [_number(name) + where for name in seen.numbers if name]
            blocks.append(_BLOCK.pack(block.offset, min(seen.times), max(seen.times)))
        digest = segment.digest
    for rows in (subscribers, tied, numbers):
        rows.sort()
    octets = b"".join(
        [
            _HEAD.pack(MAGIC, digest, len(blocks), len(subscribers), len(tied), len(numbers)),
            *blocks,
            *subscribers,
            *tied,
            *numbers,
        ]
    )
    target = index_path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(octets)
        file.write(_page_sums(octets))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    sync_folder(path.parent)
    return target


def _page_sums(octets: bytes) -> bytes:
    pages = (octets[start : start + _PAGE] for start in range(0, len(octets), _PAGE))
    sums = b"".join(zlib.crc32(page).to_bytes(4, "big") for page in pages)
    return sums + zlib.crc32(sums).to_bytes(4, "big")


class _Seen:
    """What the records of one block speak of."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.subscribers: set[bytes] = set()
        self.ties: set[bytes] = set()  # of outcomes and reports
        self.judged: set[bytes] = set()
        self.numbers: set[str] = set()

    def look(self, records: list[bytes]) -> None:
        first, last, rest = skim.sort_out(records, self.subscribers, self.judged, self.ties)
        self.times += [at for at in (first, last) if at]
        times, subscribers = self.times.append, self.subscribers.add
        for octets in rest:
            kind = rec.kind_of(octets)
            if kind == rec.ATTEMPT:
                attempt = half_read.glance(octets)
                times(attempt.at)
                subscribers(attempt.subscriber)
                self.judged.add(bytes(attempt.judged))
            elif kind == rec.OUTCOME:
                outcome = half_read.following(octets)
                times(outcome.at)
                self.ties.add(outcome.attempt[8:])
            else:
                record = rec.decode(octets)
                times(record.at)
                if isinstance(record, rec.Report | rec.Reply):
                    subscribers(record.subscriber)
                    self.numbers.add(record.number)
                    if isinstance(record, rec.Report):
                        self.ties |= {record.attempt[8:]} if record.attempt else ties(record)


def _number(text: str) -> bytes:
    return text.encode()[:_NUMBER].ljust(_NUMBER, b"\0")


class _Rows:
    """Sorted rows of one width, for bisect. `read` gives octets of the file, if they are sound."""

    __slots__ = ("_count", "_read", "_start", "_width")

    def __init__(self, read: Callable[[int, int], bytes], start: int, count: int, width: int) -> None:
        self._read = read
        self._start = start
        self._count = count
        self._width = width

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> bytes:
        at = self._start + place * self._width
        return self._read(at, at + self._width)

    def blocks(self, key: bytes) -> set[int]:
        """The blocks of all rows that begin with a key."""
        found: set[int] = set()
        place = bisect_left(self, key)
        while place < self._count and (row := self[place]).startswith(key):
            found.add(int.from_bytes(row[-4:], "big"))
            place += 1
        return found


class Index:
    """The index of the segment at `path`, mapped. Raises FileNotFoundError when there is none; this and
    `offsets` raise ValueError when it is damaged, another segment's or another version's."""

    def __init__(self, path: Path, digest: bytes) -> None:
        self._path = index_path(path)
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEAD.size + 8:
                raise ValueError(f"{self._path}: cut")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, of, blocks, subscribers, tied, numbers = _HEAD.unpack_from(self._map)
        ends = _HEAD.size + 24 * blocks
        self._blocks = blocks
        self.subscribers = _Rows(self._read, ends, subscribers, 12)
        self.ties = _Rows(self._read, ends + 12 * subscribers, tied, 12)
        self.numbers = _Rows(self._read, ends + 12 * (subscribers + tied), numbers, _NUMBER + 4)
        self._end = ends + 12 * (subscribers + tied) + (_NUMBER + 4) * numbers
        pages = -(-self._end // _PAGE)
        if magic != MAGIC or of != digest or self._end + 4 * pages + 4 != size:
            self.close()
            raise ValueError(f"{self._path}: not the index of this segment")
        sums = self._map[self._end : size - 4]
        self._sums = struct.unpack(f">{pages}I", sums)
        self._sound = bytearray(pages)
        try:
            if zlib.crc32(sums).to_bytes(4, "big") != self._map[size - 4 :]:
                raise ValueError(f"{self._path}: damaged")
            self._read(0, _HEAD.size)
        except ValueError:
            self.close()
            raise

    def offsets(
        self,
        *,
        subscriber: bytes = b"",
        number: str = "",
        ties: Collection[bytes] = (),
        since: int = 0,
        until: int = 2**62,
    ) -> list[int]:
        """Where the blocks begin that may hold what matches all that is given (of `ties` one), in file
        order."""
        chosen: set[int] | None = None
        for rows, keys in (
            (self.subscribers, [subscriber[:8]] if subscriber else []),
            (self.ties, ties),
            (self.numbers, [_number(number)] if number else []),
        ):
            if keys:
                found = {block for key in keys for block in rows.blocks(key)}
                chosen = found if chosen is None else chosen & found
        offsets = []
        for place in range(self._blocks) if chosen is None else sorted(chosen):
            at = _HEAD.size + _BLOCK.size * place
            offset, first, last = _BLOCK.unpack(self._read(at, at + _BLOCK.size))
            if first < until and last >= since:
                offsets.append(offset)
        return offsets

    def _read(self, start: int, end: int) -> bytes:
        for page in range(start // _PAGE, (end - 1) // _PAGE + 1):
            if not self._sound[page]:
                at = page * _PAGE
                if zlib.crc32(self._map[at : min(at + _PAGE, self._end)]) != self._sums[page]:
                    raise ValueError(f"{self._path}: damaged at {at}")
                self._sound[page] = 1
        return self._map[start:end]

    def close(self) -> None:
        self._map.close()


def drop_outdated(directory: Path) -> None:
    """Remove the indexes of a writer's folder that another version made, so that they are made anew."""
    for path in map(index_path, segments(directory)):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                path.unlink()
