"""What has passed lately, out of the journals of this node: for counters that were lost.

Nobody is judged by caps meanwhile, so each attempt costs no more than its seal and its hash: what many have
in common is read once.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.counters import count_key, key_of
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.lasting import ANSWERED as TAKEN
from gateway.evidence.lasting import is_taken
from gateway.evidence.search import Search, open_sealed
from gateway.model import COLLECTION, VOICE, Limit, Reason
from gateway.policy.caps import ANSWERED, CAPPED, JOINT
from gateway.policy.facts import View, governing
from gateway.policy.profile import Profile

MOST_KNOWN = 20_000
"""Of what attempts have in common, kept at most: senders may show as many numbers as they like."""

RINGS = 240_000
"""A call is answered within so long (ms) after it was judged; those of that span are remembered."""

Keys = tuple[int, ...]

_NOT_RINGING: tuple[int, Keys] = (0, ())
_TAKEN = TAKEN.encode()
_OUTCOME = rec.HEADS[rec.OUTCOME]
_PASSED = msgspec.msgpack.encode(rec.PASS)  # as it stands in a record


def recounted(
    search: Search, view: View, hashed: Callable[[str], bytes], since: int, profile: Profile
) -> Iterator[tuple[int, int]]:
    """(instant in ms, key) of all that counts, oldest first.

    `hashed` is `RegistryKey.hash`. What a number was filed for besides its strictest purpose is read in
    `view`, as records name the strictest alone; `profile` says what is counted jointly. A
    long message counts by its first record; a call that was answered once more, by the carrier's answer.
    Who is behind a destroyed key can't be counted: the key of a day lives for months.
    """
    counts: dict[bytes, tuple[Keys, Keys]] = {}
    answers = bool(profile.option(Reason.OVER_FREQUENCY, "answered"))

    def of_writer(folder: Path) -> Iterator[tuple[int, int]]:
        ringing: dict[bytes, tuple[int, Keys]] = {}  # by attempt: since when, and what it will count under
        for cipher, digest, block in search.scan(folder, since, b"" if answers else _PASSED):
            for index, octets in enumerate(block.records, block.first):
                if ringing and octets.startswith(_OUTCOME):
                    said = half_read.following(octets)
                    _, awaited = ringing.get(said.attempt, _NOT_RINGING)
                    outcome = rec.decode(octets) if awaited else None
                    if isinstance(outcome, rec.Outcome) and is_taken(outcome):
                        del ringing[said.attempt]
                        yield from ((said.at, key) for key in awaited)
                    continue
                if answers and _TAKEN in octets and rec.kind_of(octets) == rec.REPORT:
                    report = rec.decode(octets)
                    assert isinstance(report, rec.Report)
                    content = _opened(cipher, digest, index, report.sealed)
                    if report.at >= since and content is not None:
                        subscriber = hashed(content.subscriber)
                        for key in _told(report, view, hashed, profile):
                            yield report.at, key_of(key, subscriber)
                    continue
                if _PASSED not in octets or rec.kind_of(octets) != rec.ATTEMPT:
                    continue
                seen = half_read.glance(octets)
                if seen.at < since:
                    continue
                judged = bytes(seen.judged)
                both = counts.get(judged)
                if both is None:
                    if len(counts) >= MOST_KNOWN:
                        counts.clear()
                    both = counts[judged] = _counts(rec.decode_judged(judged), view, hashed, profile)
                keys, later = both
                if not (keys or later) or half_read.continues(seen):
                    continue
                content = _opened(cipher, digest, index, seen.sealed)
                if content is not None and content.subscriber:
                    subscriber = hashed(content.subscriber)
                    for key in keys:
                        yield seen.at, key_of(key, subscriber)
                    if later:
                        ringing[seen.id] = seen.at, tuple(key_of(key, subscriber) for key in later)
                        while (first := next(iter(ringing))) and ringing[first][0] < seen.at - RINGS:
                            del ringing[first]

    return heapq.merge(*map(of_writer, search.folders()))


def _opened(cipher: AESGCM, digest: bytes, index: int, sealed: bytes) -> rec.Content | None:
    try:
        return open_sealed(cipher, digest, index, sealed)
    except (InvalidTag, rec.RecordError):
        return None


def _told(
    report: rec.Record, view: View, hashed: Callable[[str], bytes], profile: Profile
) -> Mapping[int, tuple[Limit, ...]]:
    """What a call counts under of which its platform told that it was answered: by the filing of today."""
    if not isinstance(report, rec.Report) or report.stat.partition(" ")[0] != TAKEN:
        return {}
    filing = governing(view.numbers(report.number), VOICE, report.at)
    owner = None if filing is None else view.institution(filing.institution)
    if filing is None or owner is None:
        return {}
    purpose = "collection" if filing.purposes & COLLECTION else "marketing"
    return answered_under(filing.number, owner.code, purpose, view, hashed, profile)


def answered_under(
    registration: str,
    institution: str,
    purpose: str,
    view: View,
    hashed: Callable[[str], bytes],
    profile: Profile,
) -> Mapping[int, tuple[Limit, ...]]:
    """The `count_key`s that an answered call counts under, with their limits: by the filing, institution
    (code) and purpose that it was judged by; none where nothing caps it."""
    filed, mine = _filed(registration, VOICE, purpose, view, profile)
    table = mine.option(Reason.OVER_FREQUENCY, "answered")
    return {
        count_key(hashed, institution, ANSWERED, bit): limits
        for bit, limits in table.items()
        if bit & filed and limits
    }


def _counts(
    judged: rec.Judged, view: View, hashed: Callable[[str], bytes], profile: Profile
) -> tuple[Keys, Keys]:
    """The `count_key`s of what was judged so, and those that it counts under once it is answered; none where
    it counts for nothing."""
    if judged.verdict != rec.PASS or judged.purpose not in CAPPED:
        return (), ()
    filed, mine = _filed(judged.registration, judged.channel, judged.purpose, view, profile)
    joint = mine.option(Reason.OVER_FREQUENCY, "joint")
    keys = tuple(
        count_key(hashed, judged.institution, channels, bit)
        for bit in CAPPED.values()
        if bit & filed
        for channels in ((judged.channel, JOINT) if joint.get(bit) else (judged.channel,))
    )
    if judged.channel != VOICE:
        return keys, ()
    who = judged.registration, judged.institution, judged.purpose
    return keys, tuple(answered_under(*who, view, hashed, profile))


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
