"""A histogram that is added up in its process: several for each batch, so it is compiled."""

from bisect import bisect_left

from prometheus_client import Histogram


class Durations:
    """One histogram, added up in this process and handed over in one go by `flush`.

    An observation of prometheus-client in its multi-process mode costs 4 µs, and a batch makes several.
    """

    def __init__(self, child: Histogram) -> None:
        self._buckets = child._buckets  # there is no public way to add many observations at once
        self._sum = child._sum
        self._bounds = [float(bound) for bound in child._upper_bounds]
        self._counts = [0] * len(self._bounds)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def flush(self) -> None:
        """Hand over what was observed since the last call."""
        for place, count in enumerate(self._counts):
            if count:
                self._buckets[place].inc(count)
                self._counts[place] = 0
        if self._seconds:
            self._sum.inc(self._seconds)
            self._seconds = 0.0
