"""Messages that a carrier has taken, so that a text which is to replace one of theirs (SMPP's replace_sm) can
be judged: it names a message by its id, and says neither to whom nor in which coding.

It is an attempt of its own, to who the message went to, in its coding and at its hour. One `Taken` for all
connections of an account that stand; the newest `KNOWN` are known, and up to as many before them. What is not
known, has another source, was a part or went to several is refused: nobody could say what a subscriber would
read.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from gateway.model import AccountKey
from gateway.protocols.message import Replaces, Submission

KNOWN = 2048


Sent = tuple[bytes, Sequence[bytes], int, bytes]
"""A message without its text: source, recipient, coding, schedule. A plain tuple, as one is made for each."""


class Taken:
    """Those of one account, by the ids that the carrier gave them."""

    def __init__(self) -> None:
        self._sent: dict[bytes, Sent] = {}
        self._before: dict[bytes, Sent] = {}  # an older generation: to forget one by one costs more

    def awaits(self, submission: Submission | None) -> Callable[[bytes], None] | None:
        """A message passes: whom to tell the id under which the carrier takes it; None: nobody can replace
        it."""
        if submission is None or submission.udhi or submission.pk_total > 1:
            return None
        destinations = submission.destinations
        if len(destinations) > 1:
            return None
        return partial(self._add, (submission.source, destinations, submission.fmt, submission.at_time))

    def _add(self, sent: Sent, message_id: bytes) -> None:
        if not message_id:  # the answer to what replaces has none
            return
        if len(self._sent) >= KNOWN:
            self._before, self._sent = self._sent, {}
        self._sent[message_id] = sent

    def completed(self, asked: Replaces) -> Submission:
        """The new message, with what stands in the earlier one; raises what was asked: refuse it."""
        submission, identity = asked.submission, asked.message_id
        sent = self._sent.get(identity) or self._before.get(identity)
        if sent is None:
            raise asked
        source, destinations, fmt, at_time = sent
        if submission.pk_total > 1 or submission.source != source:
            raise asked
        at_time = submission.at_time or at_time
        return replace(submission, destinations=list(destinations), fmt=fmt, at_time=at_time)


class AllTaken:
    """Those of a worker; an account's are forgotten with its last connection."""

    def __init__(self) -> None:
        self._accounts: WeakValueDictionary[AccountKey, Taken] = WeakValueDictionary()

    def of(self, key: AccountKey) -> Taken:
        return self._accounts.setdefault(key, Taken())
