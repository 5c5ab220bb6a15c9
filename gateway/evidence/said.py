"""What one attempt said, opened by where its record lies: which writer, when, at which index of the segment.

For the context of replies (domain.md "A reply (MO) means"), of which a campaign brings thousands: one record
is read, out of an open segment as out of a closed one, without its index. Nothing secret is kept between two
calls, so that a key that is destroyed opens nothing from then on; only where blocks begin is remembered.
"""

from array import array
from bisect import bisect_right
from pathlib import Path

from cryptography.exceptions import InvalidTag

from gateway.errors import UsageError
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.folder import Tail, segment_path
from gateway.evidence.seal import KeyGone, Keys
from gateway.evidence.search import open_sealed
from gateway.evidence.segment import Segment, SegmentDamaged

STRIDE = 32
"""Blocks from one remembered offset to the next: up to so many heads are read to find a record."""
MOST_MARKED = 64
"""Segments whose blocks are remembered, each in at most 100 KiB."""
MOST_BEGUN = 1 << 12
"""Segments of which the time of their making is remembered."""

Said = tuple[rec.Octets, int, bool, str]
"""Content as on the wire, its data coding, whether it begins with a user data header, the protocol."""


class Sayings:
    """Over the journal folder of a node, with the keys that are still there. For one thread at a time."""

    def __init__(self, journal: Path, keys: Keys) -> None:
        self._journal = journal
        self._keys = keys
        self._begun: dict[Path, int] = {}
        self._marks: dict[bytes, _Marks] = {}

    def of(self, writer: str, identity: bytes, index: int) -> Said | None:
        """What the attempt of this id said; None when it is gone, or can't be opened."""
        folder = self._journal / writer
        try:
            tail = Tail(folder / "tail")
            newest, *_ = tail.get()
            tail.close()
            numbers = range(1, newest + 1)
            at = rec.time_of(identity)
            last = bisect_right(numbers, at, key=lambda number: self._created(segment_path(folder, number)))
            for number in (last, last + 1):  # a segment is made a moment after its first record's time
                if number in numbers:
                    said = self._in(segment_path(folder, number), identity, index)
                    if said is not None:
                        return said
        except (OSError, ValueError, KeyGone, SegmentDamaged, InvalidTag, UsageError):
            return None
        return None

    def _in(self, path: Path, identity: bytes, index: int) -> Said | None:
        with Segment(path) as segment:
            marks = self._marks.get(segment.digest)
            if marks is None:
                if len(self._marks) >= MOST_MARKED:
                    del self._marks[next(iter(self._marks))]
                marks = self._marks[segment.digest] = _Marks()
            offset = marks.find(segment, index)
            octets = None if offset is None else segment.record(offset, index)
            if octets is None or rec.kind_of(octets) != rec.ATTEMPT:
                return None
            attempt = half_read.glance(octets)
            if attempt.id != identity:
                return None
            header = segment.header
            key = self._keys.find(header.key_name, header.key_check)
            cipher = key.segment(header.salt, segment.digest)
            content = open_sealed(cipher, segment.digest, index, attempt.sealed)
            protocol = rec.decode_judged(bytes(attempt.judged)).protocol
            return content.octets, attempt.fmt, bool(attempt.udhi), protocol

    def _created(self, path: Path) -> int:
        """When a segment was made (ms); one that is gone is older than any that is asked for."""
        begun = self._begun.get(path)
        if begun is None:
            try:
                with Segment(path) as segment:
                    begun = segment.header.created
            except (FileNotFoundError, SegmentDamaged):
                return 0
            if len(self._begun) >= MOST_BEGUN:
                self._begun.clear()
            self._begun[path] = begun
        return begun


class _Marks:
    """Where every `STRIDE`th block of a segment begins, as far as somebody has looked."""

    __slots__ = ("_firsts", "_offsets")

    def __init__(self) -> None:
        self._firsts = array("Q", [0])
        self._offsets = array("Q", [0])

    def find(self, segment: Segment, index: int) -> int | None:
        """Where the block begins that has the record of this index; None when there is none yet."""
        mark = bisect_right(self._firsts, index) - 1
        for count, (offset, first, records) in enumerate(segment.heads(self._offsets[mark])):
            if count and count % STRIDE == 0 and first > self._firsts[-1]:
                self._firsts.append(first)
                self._offsets.append(offset)
            if first <= index < first + records:
                return offset
        return None
