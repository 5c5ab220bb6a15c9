"""How many requests a user may make: token buckets, in this process's memory.

It knows no clock: `now` is in seconds, from any beginning.
"""

from collections.abc import Hashable, Mapping

MOST_BUCKETS = 20_000


class Limits:
    """`rates` are (requests, seconds) by kind, 0 requests for no limit; a bucket holds twice the requests."""

    def __init__(self, rates: Mapping[str, tuple[float, float]]) -> None:
        self._rates = {
            kind: (requests / seconds, max(2 * requests, 1.0)) for kind, (requests, seconds) in rates.items()
        }
        self._buckets: dict[tuple[str, Hashable], tuple[float, float]] = {}

    def take(self, kind: str, who: Hashable, now: float) -> float:
        """Take one from the bucket: 0.0 when there was one, else the seconds until there is."""
        rate, most = self._rates[kind]
        if not rate:
            return 0.0
        left, since = self._buckets.get((kind, who), (most, now))
        left = min(most, left + (now - since) * rate)
        if left < 1.0:
            return (1.0 - left) / rate
        if len(self._buckets) >= MOST_BUCKETS:
            self._forget(now)
        self._buckets[kind, who] = (left - 1.0, now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop the buckets that are full again: a new one would be the same."""
        for name, (left, since) in list(self._buckets.items()):
            rate, most = self._rates[name[0]]
            if left + (now - since) * rate >= most:
                del self._buckets[name]
        while len(self._buckets) >= MOST_BUCKETS:  # so many at once: the oldest begins anew
            del self._buckets[next(iter(self._buckets))]
