"""Finding records in the journal of a node: passed attempts as well as intercepts, opened where keys exist.

Closed segments are narrowed by their index (`lookup.py`), others are scanned, block by block; at no time is
more than a block of each writer in memory. What matches is read from the records themselves, so an index
that is missing costs time, never an answer. A destroyed key hides subscriber and text, not the verdict; a
subscriber can't be looked for under a destroyed key.
"""

import heapq
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence import record as rec
from gateway.evidence.folder import segments, writers
from gateway.evidence.lookup import Index
from gateway.evidence.seal import DataKey, KeyGone, Keys
from gateway.evidence.segment import Block, Segment, SegmentDamaged
from gateway.model import FOREVER
from gateway.protocols import WIRES

SLACK = 3_600_000
"""A record's time may lie this far (ms) outside the span of its segment's making."""
FOLLOWS = 7 * 86_400_000
"""Outcomes and reports are looked for up to this long (ms) after their attempt."""

ANY_KIND = frozenset({rec.ATTEMPT, rec.REPORT, rec.REPLY})


@dataclass(frozen=True, slots=True)
class Found:
    """A record, where it lies, and what its seal hides: None with the cause in `sealed_by` when it can't
    be opened, or when it has no seal."""

    record: rec.Record
    octets: bytes
    writer: str
    segment: int
    index: int
    content: rec.Content | None
    sealed_by: str = ""


class Followed(msgspec.Struct, array_like=True, frozen=True):
    """By what reports are known to be those of an attempt: its id, or, where who took them in knew none, the
    account, the subscriber ("" when it can't be read; then the number) and one of the ids under which the
    carrier may report."""

    id: bytes
    carrier: str
    protocol: str
    account: str
    number: str
    subscriber: str
    message_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One attempt (or reply, or act) and all that was recorded of it, in time order."""

    found: Found
    outcomes: tuple[rec.Outcome, ...]
    reports: tuple[Found, ...]


class OutOfTime(Exception):
    """A search was not over by its deadline: there may be more than it has found."""


class Search:
    """Over the journal folder of a node, with the keys that are still there.

    Beyond `deadline` (of time.monotonic) it ends with OutOfTime, before the next block.
    """

    def __init__(self, journal: Path, keys: Keys, *, deadline: float = math.inf) -> None:
        self._journal = journal
        self._keys = keys
        self._deadline = deadline
        self._begun: dict[Path, int] = {}  # when segments were made
        self._known: dict[tuple[str, bytes], DataKey | str] = {}
        self._cipher: tuple[bytes, AESGCM] | None = None

    def find(
        self,
        *,
        number: str = "",
        subscriber: str = "",
        since: int = 0,
        until: int = FOREVER,
        verdict: str = "",
        kinds: frozenset[int] = ANY_KIND,
        newest: bool = False,
    ) -> Iterator[Found]:
        """Records of `kinds` from `since` until before `until` (ms), oldest first, or `newest` first.

        `number`: as shown or as registered, canonical. `subscriber`: canonical. `verdict`: pass or refuse,
        and then attempts only.
        """
        if verdict:
            kinds &= {rec.ATTEMPT}

        def matches(record: rec.Record, subscriber_hash: bytes) -> bool:
            if not since <= record.at < until:
                return False
            if subscriber_hash and getattr(record, "subscriber", b"") != subscriber_hash:
                return False
            if isinstance(record, rec.Attempt):
                judged = record.judged
                return (not verdict or judged.verdict == verdict) and (
                    not number or number in (judged.number, judged.registration)
                )
            return not number or getattr(record, "number", "") == number

        said = msgspec.msgpack.encode(verdict) if verdict else b""  # as it stands in a record

        def of_writer(folder: Path) -> Iterator[Found]:
            for segment in self._segments(folder, since, until, newest=newest):
                hashed = b""
                if subscriber:
                    key = self._key(segment)
                    if isinstance(key, str):
                        continue
                    hashed = key.hash_subscriber(subscriber.encode())
                needle = hashed or number.encode() or said
                for block in self._blocks(
                    segment,
                    subscriber=hashed,
                    number=number,
                    since=since,
                    until=until,
                    newest=newest,
                    holding=needle,
                ):
                    found = [
                        self._found(segment, block.first + place, octets, record)
                        for place, octets in enumerate(block.records)
                        if needle in octets
                        and rec.kind_of(octets) in kinds
                        and matches(record := rec.decode(octets), hashed)
                    ]
                    yield from reversed(found) if newest else found

        return heapq.merge(
            *map(of_writer, writers(self._journal)), key=lambda found: found.record.at, reverse=newest
        )

    def newest(self, writer: str, since: int) -> Iterator[Found]:
        """A writer's records since `since` (ms), newest first; what is older is not read."""
        for path in reversed(segments(self._journal / writer)):
            try:
                segment = Segment(path)
            except (SegmentDamaged, FileNotFoundError):
                continue
            with segment:
                for offset in reversed(list(segment.offsets())):
                    block = segment.block(offset)
                    if block is None:
                        continue
                    try:
                        records = [rec.decode(octets) for octets in block.records]
                    except rec.RecordError:
                        continue  # written by a newer version: older ones may still be read
                    for place in range(len(records) - 1, -1, -1):
                        if records[place].at >= since:
                            octets = block.records[place]
                            yield self._found(segment, block.first + place, octets, records[place])
                    if all(record.at < since for record in records):
                        return

    def folders(self) -> list[Path]:
        """Of the writers whose journals are here."""
        return list(writers(self._journal))

    def scan(self, folder: Path, since: int, holding: bytes) -> Iterator[tuple[AESGCM, bytes, Block]]:
        """A writer's blocks that may have records since `since` (ms) and hold these octets, each with the
        cipher of its segment and the digest of that one's header; without those whose key is gone."""
        for segment in self._segments(folder, since, FOREVER):
            key = self._key(segment)
            if not isinstance(key, str):
                cipher = key.segment(segment.header.salt, segment.digest)
                for block in self._blocks(segment, since=since, until=FOREVER, holding=holding):
                    yield cipher, segment.digest, block

    def show(self, identifier: bytes) -> Shown | None:
        """The attempt, reply or act of an id, with its outcomes and reports; None if it is not here."""
        at = rec.time_of(identifier)
        found = next(self._holding(identifier, at, at + 1, follows=False), None)
        if found is None:
            return None
        if not isinstance(found.record, rec.Attempt):
            return Shown(found, (), ())
        tied = list(self._holding(identifier, at, at + FOLLOWS, follows=True))
        shown = put_together(found, tied)
        return put_together(found, [*tied, *self._reports_of(followed_by(shown))])

    def follow(self, followed: Followed) -> Iterator[Found]:
        """The outcomes and reports that are here of an attempt which may lie elsewhere."""
        at = rec.time_of(followed.id)
        yield from self._holding(followed.id, at, at + FOLLOWS, follows=True)
        yield from self._reports_of(followed)

    def _holding(self, identifier: bytes, since: int, until: int, *, follows: bool) -> Iterator[Found]:
        """Records of this id; or those that follow it."""
        member, kinds = (
            ("attempt", {rec.OUTCOME, rec.REPORT}) if follows else ("id", {rec.ATTEMPT, rec.REPLY, rec.ACT})
        )
        for folder in writers(self._journal):
            for segment in self._segments(folder, since, until):
                wanted = identifier if follows else b""
                for block in self._blocks(segment, attempt=wanted, since=since, until=until):
                    for place, octets in enumerate(block.records):
                        if identifier in octets and rec.kind_of(octets) in kinds:
                            record = rec.decode(octets)
                            if getattr(record, member) == identifier:
                                yield self._found(segment, block.first + place, octets, record)

    def _reports_of(self, followed: Followed) -> Iterator[Found]:
        """Reports that name no attempt, but the message id with which the carrier accepted this one."""
        if not followed.message_ids:
            return
        account = (followed.carrier, followed.protocol, followed.account)
        at = rec.time_of(followed.id)
        span = at, at + FOLLOWS
        for folder in writers(self._journal):
            for segment in self._segments(folder, *span):
                hashed, key = b"", self._key(segment)
                if followed.subscriber and not isinstance(key, str):
                    hashed = key.hash_subscriber(followed.subscriber.encode())
                number = "" if hashed else followed.number
                for block in self._blocks(
                    segment, subscriber=hashed, number=number, since=span[0], until=span[1]
                ):
                    for place, octets in enumerate(block.records):
                        if rec.kind_of(octets) != rec.REPORT:
                            continue
                        report = rec.decode(octets)
                        if (
                            isinstance(report, rec.Report)
                            and not report.attempt
                            and report.message_id in followed.message_ids
                            and (report.carrier, report.protocol, report.account) == account
                            and (not hashed or report.subscriber == hashed)
                        ):
                            yield self._found(segment, block.first + place, octets, report)

    def _segments(self, folder: Path, since: int, until: int, *, newest: bool = False) -> Iterator[Segment]:
        """A writer's segments that may hold records of that time, oldest or newest first, each closed after
        use."""
        paths = segments(folder)
        ends: dict[Path, Path] = dict(pairwise(paths))  # a segment ends where the next begins
        for path in reversed(paths) if newest else paths:
            self._in_time()
            later = ends.get(path) if since > 0 else None
            if later is not None and (ended := self._created(later)) is not None and ended + SLACK < since:
                if newest:
                    return
                continue
            try:
                segment = Segment(path)
            except (SegmentDamaged, FileNotFoundError):
                continue  # empty since its writer died beginning it, or removed meanwhile
            self._begun[path] = segment.header.created
            with segment:
                if segment.header.created - SLACK <= until:
                    yield segment
                elif not newest:
                    return

    def _blocks(
        self,
        segment: Segment,
        *,
        subscriber: bytes = b"",
        number: str = "",
        attempt: bytes = b"",
        since: int,
        until: int,
        newest: bool = False,
        holding: bytes = b"",
    ) -> Iterator[Block]:
        """The blocks that may match, and hold these octets: by the index, or all where there is none."""
        try:
            with closing(Index(segment.path, segment.digest)) as index:
                offsets: Iterable[int] = index.offsets(
                    subscriber=subscriber, number=number, attempt=attempt, since=since, until=until
                )
        except (FileNotFoundError, ValueError):
            offsets = segment.offsets()
        holding = holding or subscriber or attempt or number.encode()
        for offset in reversed(list(offsets)) if newest else offsets:
            self._in_time()
            block = segment.block(offset, holding=holding)
            if block is not None:
                yield block

    def _created(self, path: Path) -> int | None:
        """When a segment was made; from memory where it is the one that was just looked into."""
        if path not in self._begun:
            try:
                with Segment(path) as segment:
                    self._begun[path] = segment.header.created
            except (SegmentDamaged, FileNotFoundError):
                return None
        return self._begun[path]

    def _in_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime

    def _key(self, segment: Segment) -> DataKey | str:
        """The data key of a segment, or why it can't be had."""
        name = (segment.header.key_name, segment.header.key_check)
        if name not in self._known:
            try:
                self._known[name] = self._keys.find(*name)
            except KeyGone as error:
                self._known[name] = str(error)
        return self._known[name]

    def _found(self, segment: Segment, index: int, octets: bytes, record: rec.Record) -> Found:
        content, why = None, ""
        sealed: bytes = getattr(record, "sealed", b"")
        if sealed:
            key = self._key(segment)
            if isinstance(key, str):
                why = key
            else:
                if self._cipher is None or self._cipher[0] != segment.digest:
                    self._cipher = segment.digest, key.segment(segment.header.salt, segment.digest)
                try:
                    content = open_sealed(self._cipher[1], segment.digest, index, sealed)
                except (InvalidTag, rec.RecordError):
                    why = "the seal is broken"
        return Found(record, octets, segment.header.writer, segment.header.number, index, content, why)


def put_together(found: Found, followers: Iterable[Found]) -> Shown:
    """A record with the outcomes and reports among what followed it, in time order."""
    rest = sorted(followers, key=lambda one: one.record.at)
    outcomes = tuple(one.record for one in rest if isinstance(one.record, rec.Outcome))
    return Shown(found, outcomes, tuple(one for one in rest if isinstance(one.record, rec.Report)))


def followed_by(shown: Shown) -> Followed:
    """What ties reports to a shown attempt."""
    attempt = shown.found.record
    assert isinstance(attempt, rec.Attempt)
    judged, content = attempt.judged, shown.found.content
    return Followed(
        attempt.id,
        judged.carrier,
        judged.protocol,
        judged.account,
        judged.number,
        content.subscriber if content is not None else "",
        tuple(sorted(_message_ids(attempt, shown.outcomes))),
    )


def _message_ids(attempt: rec.Attempt, outcomes: Sequence[rec.Outcome]) -> set[bytes]:
    """Under which ids the carrier may report."""
    ids = {outcome.message_id for outcome in outcomes if outcome.message_id}
    wire = WIRES.get(attempt.judged.protocol)
    if wire is None:
        return ids
    return {spelt for one in ids for spelt in wire.reported_as(one, attempt.recipient)}


def open_sealed(cipher: AESGCM, header_digest: bytes, index: int, sealed: bytes) -> rec.Content:
    """What a record's seal hides. Raises InvalidTag, RecordError."""
    return rec.decode_content(cipher.decrypt(index.to_bytes(12, "big"), sealed, header_digest))
