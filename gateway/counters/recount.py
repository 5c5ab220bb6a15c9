"""What has passed lately, out of the journals of this node: for counters that were lost.

Nobody is judged by caps meanwhile, so each attempt costs no more than its seal and its hash: what many have
in common is read once.
"""

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag

from gateway.counters import count_key, key_of
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.search import Search
from gateway.model import Reason
from gateway.policy.caps import CAPPED, JOINT
from gateway.policy.facts import View
from gateway.policy.profile import Profile

MOST_KNOWN = 20_000
"""Of what attempts have in common, kept at most: senders may show as many numbers as they like."""

_PASSED = msgspec.msgpack.encode(rec.PASS)  # as it stands in a record


def recounted(
    search: Search, view: View, hashed: Callable[[str], bytes], since: int, profile: Profile
) -> Iterator[tuple[int, int]]:
    """(instant in ms, key) of all that counts, oldest first.

    `hashed` is `RegistryKey.hash`. What a number was filed for besides its strictest purpose is read in
    `view`, as records name the strictest alone; `profile` says what is counted jointly. A
    long message counts by its first record. Who is behind a destroyed key can't be counted: the key of a day
    lives for months.
    """
    counts: dict[bytes, tuple[int, ...]] = {}

    def of_writer(folder: Path) -> Iterator[tuple[int, int]]:
        for cipher, digest, block in search.scan(folder, since, _PASSED):
            for index, octets in enumerate(block.records, block.first):
                if _PASSED not in octets or rec.kind_of(octets) != rec.ATTEMPT:
                    continue
                seen = half_read.glance(octets)
                if seen.at < since:
                    continue
                judged = bytes(seen.judged)
                keys = counts.get(judged)
                if keys is None:
                    if len(counts) >= MOST_KNOWN:
                        counts.clear()
                    keys = counts[judged] = _counts(rec.decode_judged(judged), view, hashed, profile)
                if not keys or half_read.continues(seen):
                    continue
                try:
                    content = rec.decode_content(
                        cipher.decrypt(index.to_bytes(12, "big"), seen.sealed, digest)
                    )
                except (InvalidTag, rec.RecordError):
                    continue
                if content.subscriber:
                    subscriber = hashed(content.subscriber)
                    for key in keys:
                        yield seen.at, key_of(key, subscriber)

    return heapq.merge(*map(of_writer, search.folders()))


def _counts(
    judged: rec.Judged, view: View, hashed: Callable[[str], bytes], profile: Profile
) -> tuple[int, ...]:
    """The `count_key`s of what was judged so; none where it counts for nothing."""
    if judged.verdict != rec.PASS or judged.purpose not in CAPPED:
        return ()
    filed, mine = CAPPED[judged.purpose], profile
    for number in view.numbers(judged.registration):
        if number.number == judged.registration and number.channels & judged.channel:
            filed |= number.purposes
            mine = profile.of(number.institution, number.number)
    joint = mine.option(Reason.OVER_FREQUENCY, "joint")
    return tuple(
        count_key(hashed, judged.institution, channels, bit)
        for bit in CAPPED.values()
        if bit & filed
        for channels in ((judged.channel, JOINT) if joint.get(bit) else (judged.channel,))
    )
