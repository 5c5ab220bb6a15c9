"""Messages that a carrier has taken, so that a text which is to replace one of theirs (SMPP's replace_sm) can
be judged: it names a message by its id, and says neither to whom nor in which coding.

It is an attempt of its own, to who the message went to, in its coding and at its hour. One `Taken` for all
connections of an account that stand; the newest `MOST` are known. What is not known, has another source, was
a part or went to several is refused: nobody could say what a subscriber would read.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from gateway.model import AccountKey
from gateway.protocols.message import Replaces, Submission

MOST = 4096


class Sent(NamedTuple):
    """A message without its text."""

    source: bytes
    destinations: Sequence[bytes]
    fmt: int
    at_time: bytes


class Taken:
    """Those of one account, by the ids that the carrier gave them."""

    def __init__(self) -> None:
        self._sent: dict[bytes, Sent] = {}

    def awaits(self, submission: Submission | None) -> Callable[[bytes], None] | None:
        """A message passes: whom to tell the id under which the carrier takes it; None: nobody can replace
        it."""
        if submission is None or submission.udhi or submission.pk_total > 1:
            return None
        source, destinations, fmt, _, _, _, at_time, *_ = submission
        if len(destinations) > 1:
            return None
        return partial(self._add, Sent(source, destinations, fmt, at_time))

    def _add(self, sent: Sent, message_id: bytes) -> None:
        if not message_id:  # the answer to what replaces has none
            return
        known = self._sent
        known[message_id] = sent
        if len(known) > MOST:
            del known[next(iter(known))]

    def completed(self, asked: Replaces) -> Submission:
        """The new message, with what stands in the earlier one; raises what was asked: refuse it."""
        sent, submission = self._sent.get(asked.message_id), asked.submission
        if sent is None or submission.pk_total > 1 or submission.source != sent.source:
            raise asked
        at_time = submission.at_time or sent.at_time
        return submission._replace(destinations=list(sent.destinations), fmt=sent.fmt, at_time=at_time)


class AllTaken:
    """Those of a worker; an account's are forgotten with its last connection."""

    def __init__(self) -> None:
        self._accounts: WeakValueDictionary[AccountKey, Taken] = WeakValueDictionary()

    def of(self, key: AccountKey) -> Taken:
        return self._accounts.setdefault(key, Taken())
