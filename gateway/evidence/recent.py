"""The newest records of a writer, read backwards as they stand: for who has to know after a restart what was
decided just before it. Nothing older is read, however long the segments are."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence import record as rec
from gateway.evidence.folder import segments
from gateway.evidence.seal import KeyGone, Keys
from gateway.evidence.segment import Block, Segment, SegmentDamaged

STRIDE = 16
"""Blocks from one whose time is looked at to the next."""


def recent(
    folder: Path, keys: Keys, since: int, holding: bytes = b""
) -> Iterator[tuple[AESGCM, bytes, Block]]:
    """The blocks with records since `since` (ms) that hold these octets, and a few older ones, the newest
    first, each with the cipher of its segment and the digest of that one's header. Ends where a segment's key
    is gone. Raises UsageError when a key can't be read."""
    for path in reversed(segments(folder)):
        with suppress(SegmentDamaged, FileNotFoundError), Segment(path) as segment:
            try:
                key = keys.find(segment.header.key_name, segment.header.key_check)
            except KeyGone:
                return
            cipher = key.segment(segment.header.salt, segment.digest)
            for count, offset in enumerate(reversed(list(segment.offsets()))):
                looked = count % STRIDE == 0
                block = segment.block(offset, b"" if looked else holding)
                if block is None:
                    continue
                with suppress(rec.RecordError):  # written by a newer version: what is older may be read
                    if looked and rec.decode(block.records[-1]).at < since:
                        return
                yield cipher, segment.digest, block
