"""What has passed lately, out of the journals of this node: for counters that were lost.

Nobody is judged by caps meanwhile, so each attempt costs no more than its seal and its hash: what many have
in common is read once.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.counters import Noted, count_key, key_of
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.lasting import ANSWERED as TAKEN
from gateway.evidence.lasting import is_taken
from gateway.evidence.search import Search, open_sealed
from gateway.model import COLLECTION, VOICE, Limit, Reason
from gateway.policy.caps import ANSWERED, CAPPED, COURSES, JOINT, UNANSWERED
from gateway.policy.facts import View, governing
from gateway.policy.profile import Profile

MOST_KNOWN = 20_000
"""Of what attempts have in common, kept at most: senders may show as many numbers as they like."""

RINGS = 240_000
"""A call is answered within so long (ms) after it was judged; those of that span are remembered."""

Keys = tuple[int, ...]


class _Counts(NamedTuple):
    """Under what an attempt counts: at once, from its answer on, and until then."""

    at_once: Keys
    answered: Keys
    unanswered: Keys


_NOTHING = _Counts((), (), ())
_TAKEN = TAKEN.encode()
_OUTCOME = rec.HEADS[rec.OUTCOME]
_PASSED = msgspec.msgpack.encode(rec.PASS)  # as it stands in a record


def recounted(
    search: Search, view: View, hashed: Callable[[str], bytes], since: int, profile: Profile
) -> Iterator[Noted]:
    """All that counts, oldest first.

    `hashed` is `RegistryKey.hash`. What a number was filed for besides its strictest purpose is read in
    `view`, as records name the strictest alone; `profile` says what is counted jointly. A
    long message counts by its first record; a call that was answered once more, by the carrier's answer.
    Who is behind a destroyed key can't be counted: the key of a day lives for months.
    """
    counts: dict[bytes, _Counts] = {}
    answers = any(profile.option(Reason.OVER_FREQUENCY, word) for word in COURSES.values())

    def of_writer(folder: Path) -> Iterator[Noted]:
        ringing: dict[bytes, tuple[int, _Counts]] = {}  # by attempt: since when, and keys of its subscriber
        for cipher, digest, block in search.scan(folder, since, b"" if answers else _PASSED):
            for index, octets in enumerate(block.records, block.first):
                if ringing and octets.startswith(_OUTCOME):
                    said = half_read.following(octets)
                    outcome = rec.decode(octets) if said.attempt in ringing else None
                    if isinstance(outcome, rec.Outcome) and is_taken(outcome):
                        began, mine = ringing.pop(said.attempt)
                        yield from ((said.at, key, 0) for key in mine.answered)
                        yield from ((said.at, key, began) for key in mine.unanswered)
                    continue
                if answers and _TAKEN in octets and rec.kind_of(octets) == rec.REPORT:
                    report = rec.decode(octets)
                    assert isinstance(report, rec.Report)
                    content = _opened(cipher, digest, index, report.sealed)
                    if report.at >= since and content is not None:
                        began = rec.time_of(report.attempt)
                        mine = _of(_told(report, view, hashed, profile), hashed(content.subscriber))
                        yield from ((report.at, key, 0) for key in mine.answered)
                        yield from ((report.at, key, began) for key in mine.unanswered)
                    continue
                if _PASSED not in octets or rec.kind_of(octets) != rec.ATTEMPT:
                    continue
                seen = half_read.glance(octets)
                if seen.at < since:
                    continue
                judged = bytes(seen.judged)
                under = counts.get(judged)
                if under is None:
                    if len(counts) >= MOST_KNOWN:
                        counts.clear()
                    under = counts[judged] = _counts(rec.decode_judged(judged), view, hashed, profile)
                if under == _NOTHING or half_read.continues(seen):
                    continue
                content = _opened(cipher, digest, index, seen.sealed)
                if content is not None and content.subscriber:
                    mine = _of(under, hashed(content.subscriber))
                    yield from ((seen.at, key, 0) for key in mine.at_once)
                    yield from ((seen.at, key, 0) for key in mine.unanswered)
                    if mine.answered or mine.unanswered:
                        ringing[seen.id] = seen.at, mine
                        while (first := next(iter(ringing))) and ringing[first][0] < seen.at - RINGS:
                            del ringing[first]

    return heapq.merge(*map(of_writer, search.folders()))


def _opened(cipher: AESGCM, digest: bytes, index: int, sealed: bytes) -> rec.Content | None:
    try:
        return open_sealed(cipher, digest, index, sealed)
    except (InvalidTag, rec.RecordError):
        return None


def _of(under: _Counts, subscriber: bytes) -> _Counts:
    """The keys of a subscriber's."""
    return _Counts(*(tuple(key_of(key, subscriber) for key in keys) for keys in under))


def _told(report: rec.Report, view: View, hashed: Callable[[str], bytes], profile: Profile) -> _Counts:
    """What a call counts under of which its platform told that it was answered: by the filing of today."""
    if report.stat.partition(" ")[0] != TAKEN or not report.attempt:
        return _NOTHING
    filing = governing(view.numbers(report.number), VOICE, report.at)
    owner = None if filing is None else view.institution(filing.institution)
    if filing is None or owner is None:
        return _NOTHING
    purpose = "collection" if filing.purposes & COLLECTION else "marketing"
    who = filing.number, owner.code, purpose, view, hashed, profile
    return _Counts((), tuple(course_under(ANSWERED, *who)), tuple(course_under(UNANSWERED, *who)))


def course_under(
    course: int,
    registration: str,
    institution: str,
    purpose: str,
    view: View,
    hashed: Callable[[str], bytes],
    profile: Profile,
) -> Mapping[int, tuple[Limit, ...]]:
    """The `count_key`s that a call counts under by its course (one of `COURSES`), with their limits: by the
    filing, institution (code) and purpose that it was judged by; none where nothing caps it."""
    filed, mine = _filed(registration, VOICE, purpose, view, profile)
    table = mine.option(Reason.OVER_FREQUENCY, COURSES[course])
    return {
        count_key(hashed, institution, course, bit): limits
        for bit, limits in table.items()
        if bit & filed and limits
    }


def _counts(judged: rec.Judged, view: View, hashed: Callable[[str], bytes], profile: Profile) -> _Counts:
    """The `count_key`s of what was judged so; none where it counts for nothing."""
    if judged.verdict != rec.PASS or judged.purpose not in CAPPED:
        return _NOTHING
    filed, mine = _filed(judged.registration, judged.channel, judged.purpose, view, profile)
    joint = mine.option(Reason.OVER_FREQUENCY, "joint")
    keys = tuple(
        count_key(hashed, judged.institution, channels, bit)
        for bit in CAPPED.values()
        if bit & filed
        for channels in ((judged.channel, JOINT) if joint.get(bit) else (judged.channel,))
    )
    if judged.channel != VOICE:
        return _Counts(keys, (), ())
    who = judged.registration, judged.institution, judged.purpose, view, hashed, profile
    return _Counts(keys, tuple(course_under(ANSWERED, *who)), tuple(course_under(UNANSWERED, *who)))


def _filed(
    registration: str, channel: int, purpose: str, view: View, profile: Profile
) -> tuple[int, Profile]:
    """The purposes that may have caps of the number that it was judged by, and the profile for it."""
    filed, mine = CAPPED.get(purpose, 0), profile
    for number in view.numbers(registration):
        if filed and number.number == registration and number.channels & channel:
            filed |= number.purposes
            mine = profile.of(number.institution, number.number)
    return filed, mine
