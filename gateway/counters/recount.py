"""What has passed lately, out of the journals of this node: for counters that were lost."""

from collections.abc import Callable, Iterator

from gateway.counters import count_key, key_of
from gateway.evidence import record as rec
from gateway.evidence.search import Search
from gateway.policy.caps import CAPPED
from gateway.policy.facts import View


def recounted(
    search: Search, view: View, hashed: Callable[[str], bytes], since: int
) -> Iterator[tuple[int, int]]:
    """(instant in ms, key) of all that counts, oldest first.

    `hashed` is `RegistryKey.hash`. What a number was filed for besides its strictest purpose is read in
    `view`, as records name the strictest alone. A long message counts by its first record. Who is behind a
    destroyed key can't be counted: the key of a day lives for months.
    """
    counts: dict[tuple[str, str, int, str], list[int]] = {}
    for found in search.find(since=since, verdict="pass"):
        record, content = found.record, found.content
        if not isinstance(record, rec.Attempt) or content is None or not content.subscriber:
            continue
        judged = record.judged
        if judged.purpose not in CAPPED or rec.continues(record):
            continue
        of = (judged.institution, judged.registration, judged.channel, judged.purpose)
        keys = counts.get(of)
        if keys is None:
            filed = CAPPED[judged.purpose]
            for number in view.numbers(judged.registration):
                if number.number == judged.registration and number.channels & judged.channel:
                    filed |= number.purposes
            keys = counts[of] = [
                count_key(hashed, judged.institution, judged.channel, bit)
                for bit in CAPPED.values()
                if bit & filed
            ]
        subscriber = hashed(content.subscriber)
        for key in keys:
            yield record.at, key_of(key, subscriber)
