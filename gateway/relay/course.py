"""The course of calls that passed: that somebody took one, and that a side has hung up.

Calls that somebody took count for themselves (a profile's `over_frequency.answered`), from the carrier's
answer on the wire or from what a call platform says of its call afterwards. The answer is on record, so that
the counts can be made again. Rules of this file: who calls it has made sure that a call is told once.
"""

from collections.abc import Callable
from time import time_ns

from gateway.counters import ALWAYS, Counters, key_of
from gateway.counters.recount import answered_under
from gateway.errors import NotReady
from gateway.evidence.lasting import ENDED
from gateway.protocols.sip import Message
from gateway.relay.recalled import Dialog
from gateway.relay.screen import Screen

MOST_OVER = 20_000
"""Calls of which it is known that they have ended."""
MOST_STAT = 60
"""Characters of what is on record of an end."""


class Course:
    """Counts those of one worker, and records their ends; `hashed`: a number as subscribers are looked up."""

    def __init__(self, screen: Screen, counters: Counters, hashed: Callable[[str], bytes]) -> None:
        self._screen = screen
        self._counters = counters
        self._hash = hashed
        self._over: dict[bytes, None] = {}  # attempts

    def is_over(self, attempt: bytes) -> bool:
        """Whether a side has hung up."""
        return attempt in self._over

    def hung_up(self, message: Message, call: Dialog | bytes, by: str) -> None:
        """A BYE in a call, if it is known, or the id of its attempt: a repeated one says nothing new."""
        attempt = call if isinstance(call, bytes) else call.attempt
        if not attempt or attempt in self._over:
            return
        if len(self._over) >= MOST_OVER:
            del self._over[next(iter(self._over))]
        self._over[attempt] = None
        if isinstance(call, bytes):
            return  # whose it was stands in its record alone
        said = (message.value(b"reason") or b"").decode("ascii", "replace")
        stat = f"{ENDED} {by} {said}"[:MOST_STAT].rstrip()
        what = b"", stat, "", "", call.number, call.subscriber, call.attempt
        self._screen.journal.report(time_ns() // 1_000_000, call.account, *what)

    def taken(self, call: Dialog) -> None:
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
