"""Calls that somebody took: they count for themselves (a profile's `over_frequency.answered`), from the
carrier's answer on the wire or from what a call platform says of its call afterwards.

The answer is on record, so that the counts can be made again. Rules of this file: who calls it has made sure
that a call is told once.
"""

from collections.abc import Callable
from time import time_ns

from gateway.counters import ALWAYS, Counters, key_of
from gateway.counters.recount import answered_under
from gateway.errors import NotReady
from gateway.relay.recalled import Dialog
from gateway.relay.screen import Screen


class Answers:
    """Counts those of one worker; `hashed` is `RegistryKey.hash`."""

    def __init__(self, screen: Screen, counters: Counters, hashed: Callable[[str], bytes]) -> None:
        self._screen = screen
        self._counters = counters
        self._hash = hashed

    def count(self, call: Dialog) -> None:
        """A call was answered. It has taken place: no cap refuses it, and nothing waits for it."""
        who = call.registration, call.institution, call.purpose
        try:
            self._screen.view.renew()
            under = answered_under(*who, self._screen.view, self._hash, self._screen.profile)
        except NotReady:
            return  # nothing is judged now; the record tells
        subscriber = self._hash(call.subscriber) if under else b""
        entries = [
            (key_of(key, subscriber), limits, max(limit.most for limit in limits), ALWAYS, 0)
            for key, limits in under.items()
        ]
        if entries:
            self._counters.reserve(time_ns() // 1_000_000, entries, lambda _: None)
