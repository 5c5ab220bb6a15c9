"""Finding records in the journal of a node: passed attempts as well as intercepts, opened where keys exist.

Closed segments are narrowed by their index (`lookup.py`), others are scanned, block by block; at no time is
more than a block of each writer in memory. What matches is read from the records themselves, so an index
that is missing costs time, never an answer. A destroyed key hides subscriber and text, not the verdict, but
those that a case has kept (held.py); a subscriber can't be looked for under a destroyed key.
"""

import heapq
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice, pairwise
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.evidence import record as rec
from gateway.evidence.folder import segment_path, segments, writers
from gateway.evidence.found import (
    CLOCKS,
    FOLLOWS,
    Followed,
    Found,
    Shown,
    as_given,
    followed_by,
    is_followed,
    is_of,
    put_all_together,
    reported_as,
    ties,
    ties_of,
)
from gateway.evidence.half_read import following, reported
from gateway.evidence.held import Held
from gateway.evidence.lookup import Index
from gateway.evidence.seal import DataKey, KeyGone, Keys
from gateway.evidence.segment import Block, Segment, SegmentDamaged
from gateway.model import FOREVER

SLACK = 3_600_000
"""A record's time may lie this far (ms) outside the span of its segment's making."""
STRIDE = 16
"""Blocks from one whose time is looked at to the next."""
TWINS = 2 * 86_400_000
MOST_TWINS = 200
"""Attempts to the same subscriber, so long (ms) before one whose report has its id in another spelling, that
are looked at for one who has it as it was given."""

ANY_KIND = frozenset({rec.ATTEMPT, rec.REPORT, rec.REPLY})


class OutOfTime(Exception):
    """A search was not over by its deadline: there may be more than it has found."""


class Search:
    """Over the journal folder of a node, with the keys that are still there.

    Beyond `deadline` (of time.monotonic) it ends with OutOfTime, before the next block.
    """

    def __init__(self, journal: Path, keys: Keys, *, deadline: float = math.inf) -> None:
        self._journal = journal
        self._keys = keys
        self._held = Held(journal.with_name("cases"), keys)
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

    def _backwards(self, writer: str) -> Iterator[Segment]:
        """A writer's segments that can be read, the newest first."""
        for path in reversed(segments(self._journal / writer)):
            with suppress(SegmentDamaged, FileNotFoundError):
                yield Segment(path)

    def newest(self, writer: str, since: int) -> Iterator[Found]:
        """A writer's records since `since` (ms), newest first; what is older is not read."""
        for segment in self._backwards(writer):
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

    def latest(self, writer: str, span: int, holding: bytes) -> Iterator[Found]:
        """A writer's records with these octets, newest first, of the last `span` ms in which it wrote."""
        last = 0
        for segment in self._backwards(writer):
            with segment:
                for count, offset in enumerate(reversed(list(segment.offsets()))):
                    looked = count % STRIDE == 0
                    block = segment.block(offset, b"" if looked else holding)
                    if block is None:
                        continue
                    last = last or rec.decode(block.records[-1]).at
                    for place in range(len(block.records) - 1, -1, -1):
                        octets = block.records[place]
                        if holding in octets and (record := rec.decode(octets)).at >= last - span:
                            yield self._found(segment, block.first + place, octets, record)
                    if looked and rec.decode(block.records[0]).at < last - span:
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
        found = self._holding(identifier)
        if found is None or not isinstance(found.record, rec.Attempt):
            return None if found is None else Shown(found, (), ())
        shown = self.with_followers([found])[0]
        if all(as_given(report, shown) for report in shown.reports) or found.content is None:
            return shown
        twins = self.find(  # of whose ids this one may be the other spelling
            subscriber=found.content.subscriber,
            since=found.record.at - TWINS,
            until=max(report.record.at for report in shown.reports),
            verdict=rec.PASS,
        )
        among = [one for one in islice(twins, MOST_TWINS) if one.record != found.record]
        return self.with_followers([found, *among])[0]

    def opened(self, identifier: bytes) -> tuple[Found, bytes] | None:
        """The attempt or reply of this id and the key of its day's digests; None when it is not here, or its
        key is gone. Raises UsageError when the key can't be read."""
        found = self._holding(identifier)
        if found is None or not isinstance(found.record, rec.Attempt | rec.Reply):
            return None
        with Segment(segment_path(self._journal / found.writer, found.segment)) as segment:
            key = self._key(segment)
        return None if isinstance(key, str) or found.content is None else (found, key.text_key)

    def with_followers(self, found: Sequence[Found]) -> list[Shown]:
        """Each with what is here of what followed it."""
        wanted = [followed_by(Shown(one, (), ())) for one in found if is_followed(one)]
        return put_all_together(found, self.follow(wanted))

    def follow(self, wanted: Sequence[Followed]) -> list[Found]:
        """The outcomes and reports that are here of these attempts, which may lie elsewhere."""
        if not wanted:
            return []
        since = min(rec.time_of(one.id) for one in wanted) - CLOCKS
        until = max(one.until or rec.time_of(one.id) + FOLLOWS for one in wanted)
        ids = {one.id: one for one in wanted}
        answered = [*self._naming(ids, since, until)]
        keys: dict[bytes, list[Followed]] = {}
        known = {one.id: {*one.message_ids} for one in wanted}
        for said in answered:
            if isinstance(said.record, rec.Outcome):
                one = ids[said.record.attempt]
                known[one.id] |= reported_as(one.protocol, said.record.message_id, one.recipient)
        for one in wanted:
            whole = msgspec.structs.replace(one, message_ids=tuple(known[one.id]))
            for key in ties_of(whole):
                keys.setdefault(key, []).append(whole)
        return [*answered, *self._reporting(keys, since, until)]

    def _holding(self, identifier: bytes) -> Found | None:
        """The record of this id."""
        at = rec.time_of(identifier)
        for folder in writers(self._journal):
            for segment in self._segments(folder, at, at + 1):
                for block in self._blocks(segment, since=at, until=at + 1, holding=identifier):
                    for place, octets in enumerate(block.records):
                        if identifier in octets and rec.kind_of(octets) in {rec.ATTEMPT, rec.REPLY, rec.ACT}:
                            record = rec.decode(octets)
                            if getattr(record, "id", b"") == identifier:
                                return self._found(segment, block.first + place, octets, record)
        return None

    def _naming(self, ids: Mapping[bytes, Followed], since: int, until: int) -> Iterator[Found]:
        """The outcomes and reports that name one of these attempts."""
        only = next(iter(ids)) if len(ids) == 1 else b""
        keys = [identifier[8:] for identifier in ids]
        for folder in writers(self._journal):
            for segment in self._segments(folder, since, until):
                for block in self._blocks(segment, ties=keys, since=since, until=until, holding=only):
                    for place, octets in enumerate(block.records):
                        if (
                            rec.kind_of(octets) in {rec.OUTCOME, rec.REPORT}
                            and following(octets).attempt in ids
                        ):
                            yield self._found(segment, block.first + place, octets, rec.decode(octets))

    def _reporting(
        self, wanted: Mapping[bytes, Sequence[Followed]], since: int, until: int
    ) -> Iterator[Found]:
        """The reports that name no attempt, but have one of these ties."""
        if not wanted:
            return
        subscribers = {one.subscriber for several in wanted.values() for one in several}
        for folder in writers(self._journal):
            for segment in self._segments(folder, since, until):
                key, hashes = self._key(segment), {b""}
                if "" not in subscribers and not isinstance(key, str):
                    hashes |= {key.hash_subscriber(subscriber.encode()) for subscriber in subscribers}
                for block in self._blocks(segment, ties=wanted, since=since, until=until):
                    for place, octets in enumerate(block.records):
                        if rec.kind_of(octets) != rec.REPORT:
                            continue
                        said = reported(octets)
                        if said.attempt or (len(hashes) > 1 and said.subscriber not in hashes):
                            continue
                        candidates = [one for tie in ties(said) for one in wanted.get(tie, ())]
                        if candidates:
                            found = self._found(segment, block.first + place, octets, rec.decode(octets))
                            if any(is_of(found, one) for one in candidates):
                                yield found

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
        ties: Collection[bytes] = (),
        since: int,
        until: int,
        newest: bool = False,
        holding: bytes = b"",
    ) -> Iterator[Block]:
        """The blocks that may match, and hold these octets: by the index, or all where there is none."""
        try:
            with closing(Index(segment.path, segment.digest)) as index:
                offsets: Iterable[int] = index.offsets(
                    subscriber=subscriber, number=number, ties=ties, since=since, until=until
                )
        except (FileNotFoundError, ValueError):
            offsets = segment.offsets()
        holding = holding or subscriber or number.encode()
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
                content = self._held.content(octets, record)
                why = "" if content is not None else key
            else:
                last = self._cipher  # another thread may be at another segment
                if last is None or last[0] != segment.digest:
                    last = self._cipher = segment.digest, key.segment(segment.header.salt, segment.digest)
                try:
                    content = open_sealed(last[1], segment.digest, index, sealed)
                except (InvalidTag, rec.RecordError):
                    why = "the seal is broken"
        return Found(record, octets, segment.header.writer, segment.header.number, index, content, why)


def open_sealed(cipher: AESGCM, header_digest: bytes, index: int, sealed: bytes) -> rec.Content:
    """What a record's seal hides. Raises InvalidTag, RecordError."""
    return rec.decode_content(cipher.decrypt(index.to_bytes(12, "big"), sealed, header_digest))
