"""What a writer's journal holds since a cursor, as rows for PostgreSQL: the reading half of the index.

Only durable blocks are read (`folder.Tail`), so nothing is indexed that a power failure could take back.
Attempts alone make rows: each one counts in its minute, and a refused one is an intercept; its subscriber is
opened from the seal to be masked and hashed for look-up. This file knows files and keys, no database.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import structs

from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence import skim as skimming
from gateway.evidence.folder import Tail, segments
from gateway.evidence.seal import KeyGone, Keys, keyed_hash
from gateway.evidence.segment import Block, Segment, SegmentDamaged
from gateway.policy.numbers import mask

SLICE = 5_000
"""Records read at a time, a block more or less: about 10 ms."""

MOST_KINDS = 10_000

INTERCEPT = (
    "id", "at", "carrier", "node", "protocol", "account", "channel", "number", "registration", "institution",
    "agency", "purpose", "region", "subscriber", "subscriber_hash", "reason", "sub", "findings", "profile",
    "registry_version", "writer", "segment", "offset", "place",
)  # fmt: skip
"""Columns of an intercept's row."""

_NO_NUL = "\N{REPLACEMENT CHARACTER}"
_MINUTE = 60_000
_OUTCOME = rec.HEADS[rec.OUTCOME]

Minute = tuple[int, str, str, str, int, str, str, str, str, str, str, str]
"""Members: those of the table traffic_minute, in its order; the minute in ms."""


class Cursor(NamedTuple):
    """Behind the last block that was shipped. `header`: the digest of that segment's header."""

    segment: int = 0
    offset: int = 0
    header: bytes = b""
    records: int = 0  # shipped in all


@dataclass(slots=True, eq=False)
class _Kind:
    """Attempts that have their `judged` in common, and what rows need of it."""

    judged: rec.Judged
    findings: str  # JSON


@dataclass(slots=True, eq=False)
class _Sum:
    """The attempts of one kind, one region and one minute."""

    kind: _Kind
    refused: bool
    attempts: int = 0
    parts: int = 0


_Sums = dict[tuple[bytes, bytes], _Sum]
"""By the octets of `judged`, and of the region."""


@dataclass(slots=True)
class Batch:
    """Rows of one writer, and the cursor behind them."""

    after: Cursor
    intercepts: list[tuple[object, ...]] = field(default_factory=list)
    _sums: dict[int, _Sums] = field(default_factory=dict)

    def days(self) -> set[int]:
        """The days (record.day_number) that its rows are of."""
        return {rec.day_number(minute) for minute in self._sums}

    def of(self, minute: int) -> _Sums:
        """What is counted in the minute that begins at this instant (ms)."""
        return self._sums.setdefault(minute, {})

    def minutes(self) -> dict[Minute, list[int]]:
        """Count and parts of each row of traffic_minute."""
        rows: dict[Minute, list[int]] = {}
        for minute, region, one in (
            (minute, region.decode(), one)
            for minute, sums in self._sums.items()
            for (_, region), one in sums.items()
        ):
            judged = one.kind.judged
            row = (
                minute,
                judged.carrier,
                judged.node,
                judged.protocol,
                judged.channel,
                judged.institution,
                judged.agency,
                judged.registration or judged.number,
                judged.purpose,
                region,
                judged.verdict,
                judged.reason,
            )
            known = rows.setdefault(row, [0, 0])
            known[0] += one.attempts
            known[1] += one.parts
        return rows


class Gatherer:
    """Reads the journal of one writer. Attempts of days before `oldest_day()` (record.day_number) make no
    rows. `on_damage` hears once of each segment that holds what can't be read; the rest goes on."""

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        lookup_key: bytes,
        *,
        oldest_day: Callable[[], int],
        on_damage: Callable[[str], None],
    ) -> None:
        self.writer = folder.name
        self._folder = folder
        self._keys = keys
        self.look_up_by(lookup_key)
        self._oldest_day = oldest_day
        self._on_damage = on_damage
        self._kinds: dict[bytes, _Kind] = {}
        self._findings: dict[tuple[tuple[str, str, bool], ...], str] = {}  # as JSON: many kinds share them
        self._counts: dict[str, int] = {}
        self._damaged: set[str] = set()

    def look_up_by(self, lookup_key: bytes) -> None:
        """Hash the subscribers of what is gathered from now on so."""
        self._hash = keyed_hash(lookup_key)

    def gather(self, batch: Batch) -> bool:
        """Read the next slice behind the batch's cursor into it; whether there may be more."""
        cursor = batch.after
        number, end, _, _ = self._tail()
        if (cursor.segment, cursor.offset) == (number, end) and not self._is_foreign(cursor):
            return False
        oldest = self._oldest_day()
        for path, offset in self._rest(cursor):
            if int(path.stem) > number:
                break
            limit = end if int(path.stem) == number else None
            try:
                segment = Segment(path)
            except FileNotFoundError:
                continue  # its time was over
            except SegmentDamaged as error:
                if path.stat().st_size:  # else its writer died beginning it
                    self._tell(path, str(error))
                continue
            with segment:
                opener = _Opener(self._keys, segment)
                behind = offset or segment.start
                for block in segment.blocks(offset, limit):
                    self._rows(segment, opener, block, oldest, batch)
                    behind = block.end
                    records = batch.after.records + len(block.records)
                    batch.after = Cursor(segment.header.number, behind, segment.digest, records)
                    if records - cursor.records >= SLICE:
                        return True
                if limit is None and not segment.clean_after(behind):
                    self._tell(path, f"{path}: no whole block at {behind}")
        return False

    def unshipped(self, cursor: Cursor) -> int:
        """How many durable records lie behind the cursor."""
        number, end, _, _ = self._tail()
        total = 0
        for path, offset in self._rest(cursor):
            if int(path.stem) <= number:
                limit = end if int(path.stem) == number else None
                total += self._count(path, offset, limit)
        return total

    def _rest(self, cursor: Cursor) -> list[tuple[Path, int]]:
        """The segments from the cursor on, and where to begin in each; all of them in another journal."""
        paths = segments(self._folder)
        if self._is_foreign(cursor):
            return [(path, 0) for path in paths]
        return [
            (path, cursor.offset if int(path.stem) == cursor.segment else 0)
            for path in paths
            if int(path.stem) >= cursor.segment
        ]

    def _is_foreign(self, cursor: Cursor) -> bool:
        """Whether the cursor is that of a journal which stood here before."""
        paths = segments(self._folder)
        if not cursor.segment or not paths or cursor.segment < int(paths[0].stem):
            return False
        try:
            with Segment(self._folder / f"{cursor.segment:08d}.seg") as segment:
                return segment.digest != cursor.header
        except FileNotFoundError:
            return True
        except SegmentDamaged:
            return False

    def _tail(self) -> tuple[int, int, int, str]:
        try:
            with closing(Tail(self._folder / "tail")) as tail:
                return tail.get()
        except (FileNotFoundError, ValueError):
            return 0, 0, 0, ""

    def _count(self, path: Path, offset: int, limit: int | None) -> int:
        known = f"{path.stem} {offset}"
        if limit is None and known in self._counts:
            return self._counts[known]
        try:
            with Segment(path) as segment:
                count = segment.count(offset, limit)
        except (SegmentDamaged, FileNotFoundError):
            return 0
        if limit is None:
            self._counts[known] = count
        return count

    def _tell(self, path: Path, why: str) -> None:
        if path.name not in self._damaged:
            self._damaged.add(path.name)
            self._on_damage(why)

    def _rows(self, segment: Segment, opener: "_Opener", block: Block, oldest: int, batch: Batch) -> None:
        skim = skimming.attempt
        sums: _Sums = {}
        since = until = 0  # the minute that they are of
        skipped = False
        for place, octets in enumerate(block.records, block.first):
            if octets[:3] == _OUTCOME:
                continue
            places = skim(octets)
            try:
                if places is None:
                    if rec.kind_of(octets) != rec.ATTEMPT:
                        continue
                    seen = half_read.glance(octets)
                    at, total, number = seen.at, seen.pk_total, seen.pk_number
                    key = bytes(seen.judged), seen.region.encode()
                else:
                    at, total, number, begin, end, judged = places
                    key = octets[judged:], octets[begin:end]
                if not since <= at < until:
                    since = at - at % _MINUTE
                    until = since + _MINUTE
                    skipped = rec.day_number(at) < oldest
                    sums = {} if skipped else batch.of(since)
                if skipped:
                    continue
                one = sums.get(key)
                if one is None:
                    kind = self._kinds.get(key[0]) or self._kind(key[0])
                    one = sums[key] = _Sum(kind, kind.judged.verdict == rec.REFUSE)
                if one.refused:
                    batch.intercepts.append(self._intercept(segment, opener, block, place, octets, one.kind))
                    one.attempts += 1
                elif not 2 <= number <= total:  # see half_read.continues
                    one.attempts += 1
                one.parts += 1 if number else max(total, 1)
            except rec.RecordError as error:
                self._tell(segment.path, f"{segment.path}: record {place}: {error}")

    def _kind(self, key: bytes) -> _Kind:
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
            self._findings.clear()
        judged = _storable(rec.decode_judged(key))
        findings = self._findings.get(judged.findings)
        if findings is None:
            findings = self._findings[judged.findings] = json.dumps(judged.findings, ensure_ascii=False)
        kind = self._kinds[key] = _Kind(judged, findings)
        return kind

    def _intercept(
        self,
        segment: Segment,
        opener: "_Opener",
        block: Block,
        place: int,
        octets: bytes,
        kind: _Kind,
    ) -> tuple[object, ...]:
        judged, seen = kind.judged, half_read.glance(octets)
        subscriber = opener.subscriber(place, seen.sealed)
        return (
            UUID(bytes=seen.id),
            datetime.fromtimestamp(seen.at / 1000, UTC),
            judged.carrier,
            judged.node,
            judged.protocol,
            judged.account,
            judged.channel,
            judged.number,
            judged.registration,
            judged.institution,
            judged.agency,
            judged.purpose,
            seen.region,
            mask(subscriber).replace("\0", _NO_NUL) if subscriber else "",
            self._hash(subscriber.encode()) if subscriber else None,
            judged.reason,
            judged.sub,
            kind.findings,
            judged.profile,
            seen.registry_version,
            self.writer,
            segment.header.number,
            block.offset,
            place,
        )


def _storable(judged: rec.Judged) -> rec.Judged:
    """Without the character that PostgreSQL's text can't hold, should a peer have sent one."""
    if "\0" not in "".join([word for word in structs.astuple(judged) if type(word) is str]):
        return judged
    words = structs.asdict(judged)
    clean = {
        name: word.replace("\0", _NO_NUL)
        for name, word in words.items()
        if isinstance(word, str) and "\0" in word
    }
    return structs.replace(judged, **clean)


class _Opener:
    """Opens the seals of one segment; the key is asked for when the first one has to be opened."""

    def __init__(self, keys: Keys, segment: Segment) -> None:
        self._keys = keys
        self._header = segment.header
        self._digest = segment.digest
        self._cipher: AESGCM | None = None
        self._tried = False

    def subscriber(self, index: int, sealed: bytes) -> str:
        """The subscriber's number; "" when the key is gone or the seal broken."""
        if not self._tried:
            self._tried = True
            try:
                key = self._keys.find(self._header.key_name, self._header.key_check)
            except KeyGone:
                return ""
            self._cipher = key.segment(self._header.salt, self._digest)
        if self._cipher is None:
            return ""
        try:
            plain = self._cipher.decrypt(index.to_bytes(12, "big"), sealed, self._digest)
            return rec.decode_content(plain).subscriber
        except (InvalidTag, rec.RecordError):
            return ""
