"""Which segment comes next: its number, header and keys, known before its file exists.

The event loop needs a segment's key to seal with; the file itself is made by the commit thread with the
segment's first group. A plan whose file never came to be gives its number back, so numbers have no gaps.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import UsageError
from gateway.evidence import record as rec
from gateway.evidence.folder import segment_path
from gateway.evidence.seal import DataKey, KeyGone, Keys
from gateway.evidence.segment import Header, SegmentFile, encode_header

SEGMENT_OCTETS = 64 << 20
DAY = 86_400_000


class Plan:
    """One segment to be. `next` is the index of its next record: an index seals once."""

    __slots__ = ("cipher", "day_end", "digest", "file", "header", "key", "next", "number", "path")

    def __init__(self, header: Header, path: Path, key: DataKey, day_end: int) -> None:
        self.number = header.number
        self.path = path
        self.header, self.digest = encode_header(header)
        self.key = key
        self.cipher: AESGCM = key.segment(header.salt, self.digest)
        self.day_end = day_end
        self.next = 0
        self.file: SegmentFile | None = None

    def is_over(self, at: int) -> bool:
        """Whether a record of that time belongs to a later segment."""
        return at >= self.day_end or (self.file is not None and self.file.end >= SEGMENT_OCTETS)

    def seal(self, plain: bytes) -> bytes:
        """Sealed for the index `next`: the record must be the next one that is added."""
        return self.cipher.encrypt(self.next.to_bytes(12, "big"), plain, self.digest)


class Planner:
    """Makes the plans of one writer; `number` is that of its last segment so far."""

    def __init__(
        self,
        folder: Path,
        node: str,
        writer: str,
        keys: Keys,
        retention: str,
        number: int,
        clock: Callable[[], int],
    ) -> None:
        self.folder = folder
        self._node = node
        self._writer = writer
        self._keys = keys
        self._retention = retention
        self._number = number
        self._clock = clock

    def now(self) -> int:
        return self._clock()

    def next(self, at: int) -> Plan:
        """The segment for records of that time.

        Raises OSError, KeyGone or UsageError when a new day's key can't be made, or read.
        """
        key = self._keys.data_key(rec.day_of(at), self._retention)
        header = Header(
            node=self._node,
            writer=self._writer,
            number=self._number + 1,
            created=self._clock(),
            key_name=key.name,
            key_check=key.check,
            salt=secrets.token_bytes(32),
        )
        self._number += 1
        return Plan(header, segment_path(self.folder, header.number), key, rec.day_start(at) + DAY)

    def give_back(self, plan: Plan) -> None:
        """The latest plan won't be used."""
        if plan.file is None and plan.number == self._number:
            self._number -= 1

    def prepare(self) -> None:
        """Have tomorrow's key ready, so that nobody waits for it at midnight; called off the loop."""
        try:
            self._keys.data_key(rec.day_of(self._clock() + DAY), self._retention)
        except (OSError, KeyGone, UsageError):
            return  # midnight will try again, where the error has an answer
