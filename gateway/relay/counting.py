"""What a batch asks of the counters, and what follows from their answer; submits that are refused in part.

Rules of this file: it counts nothing itself and knows no clock. Senders without caps are not looked at.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from gateway.counters import ALWAYS, LOOK, TAKE, Entry, Reserved, count_key, key_of
from gateway.model import Account, AccountKey, Attempt, Finding, Limit, Reason, Verdict
from gateway.policy import PARTIAL, counted
from gateway.protocols.message import Submission
from gateway.protocols.text import udh
from gateway.relay.memory import Batch, Submit

MOST_CACHED = 20_000  # verdicts that are remembered before it starts anew

_MASS = Finding(Reason.MASS_REFUSED, "", True)

_Counts = list[tuple[int, tuple[Limit, ...], int]]
"""What a sender gives to the entries of its attempts: a half of the key, limits, the largest of them."""


_Message = tuple[AccountKey, str, str, int, int]
"""A long message to one recipient: account, source, destination, parts, reference of the concatenation."""

SETTLED = -1


class Parts:
    """Which parts of long messages came: one message counts once, by the part that comes first. A part that
    comes again begins another message."""

    def __init__(self) -> None:
        self._seen: dict[_Message, tuple[int, int]] = {}  # the parts as bits, and where the first one stands
        self._begun: list[_Message] = []  # in this turn

    def first(self, message: _Message, part: int, place: int) -> int:
        """The place in this turn of the part that counts for the part at `place`; SETTLED: it was counted."""
        bits, first = self._seen.get(message, (0, place))
        if not bits or bits >> part & 1:
            if len(self._seen) >= MOST_CACHED:
                self._seen.clear()
            bits, first = 0, place
            self._begun.append(message)
        self._seen[message] = bits | 1 << part, first
        return first

    def begin(self) -> None:
        """A turn begins; of one that broke off nothing was counted."""
        for message in self._begun:
            self._seen.pop(message, None)
        self._begun.clear()

    def settle(self, refused: Set[int]) -> None:
        """The turn is over: messages whose first part was refused were not counted."""
        for message in self._begun:
            bits, first = self._seen.get(message, (0, SETTLED))
            if first in refused:
                del self._seen[message]
            elif bits:
                self._seen[message] = bits, SETTLED
        self._begun.clear()


class Counting:
    """`hashed` is the snapshot's `hash`; `filed` says how an account is filed."""

    def __init__(self, hashed: Callable[[str], bytes], filed: Callable[[AccountKey], Account | None]) -> None:
        self._hash = hashed
        self._filed = filed
        self._counts: dict[int, tuple[Verdict, _Counts]] = {}  # by the verdict's id
        self._found: dict[tuple[int, Reason, str], tuple[Verdict, Verdict]] = {}  # and by what was found
        self._parts = Parts()
        self._followers: list[tuple[int, int]] = []  # places of later parts in this turn, and of their first

    def entries(
        self, batches: Sequence[Batch], attempts: Sequence[Attempt], verdicts: Sequence[Verdict]
    ) -> tuple[list[Entry], list[int]]:
        """What is to be counted, and the place of the attempt that each entry is of.

        What is refused already is only looked at. A submit whose recipients share one fate counts for all of
        them or for none. Later parts of a long message have the fate of the first.
        """
        entries: list[Entry] = []
        places: list[int] = []
        hashed, followers = self._hash, self._followers
        followers.clear()
        self._parts.begin()
        index = 0
        for batch in batches:
            for submit in batch.submits:
                end = index + submit.width
                shared = refused = False
                if submit.width > 1 and not _reduces(submit, self._filed(batch.key)):
                    shared = True
                    refused = any(verdict.reason is not None for verdict in verdicts[index:end])
                group = end
                submission = submit.submission
                total = part = reference = 0
                if submission is not None and (submission.udhi or submission.pk_total > 1):
                    total, part, reference = _place_of(submission)
                while index < end:
                    attempt, verdict = attempts[index], verdicts[index]
                    caps = verdict.caps
                    if caps is not None and attempt.destination:
                        manner = TAKE if caps.enforced else ALWAYS
                        if refused or verdict.reason is not None:
                            manner = LOOK
                        elif total > 1:
                            message = (batch.key, attempt.source, attempt.destination, total, reference)
                            first = self._parts.first(message, part, index)
                            if first != index:
                                followers.append((index, first))
                                index += 1
                                continue
                        known = self._counts.get(id(verdict))
                        counts = known[1] if known is not None else self._counts_of(verdict, attempt.channel)
                        subscriber = hashed(attempt.destination)
                        if not shared:
                            group = index + 1 if len(counts) > 1 else 0
                        for half, limits, most in counts:
                            entries.append((key_of(half, subscriber), limits, most, manner, group))
                            places.append(index)
                    index += 1
        return entries, places

    def _counts_of(self, verdict: Verdict, channel: int) -> _Counts:
        if len(self._counts) >= MOST_CACHED:
            self._counts.clear()
        caps = verdict.caps
        counts = [
            (
                count_key(self._hash, verdict.institution_code, channel, count.purpose),
                count.limits,
                max(limit.most for limit in count.limits),
            )
            for count in (caps.counts if caps is not None else ())
        ]
        self._counts[id(verdict)] = verdict, counts  # it keeps the id from being reused
        return counts

    def tell(self, verdicts: list[Verdict], places: Sequence[int], reserved: Reserved) -> None:
        """Put what the counters said of entries into the verdicts of their attempts."""
        found: dict[int, str | None] = {}
        for place, word in zip(places, reserved.words, strict=True):
            if word != "":
                found.setdefault(place, word)
        for place, first in self._followers:
            if first in found:
                found[place] = found[first]
        for place, word in found.items():
            if word is None:
                verdicts[place] = self._with(verdicts[place], Reason.NOT_JUDGEABLE, "counters")
            else:
                verdicts[place] = self._with(verdicts[place], Reason.OVER_FREQUENCY, word)
        self._parts.settle({place for place in found if verdicts[place].reason is not None})
        if reserved.partial:
            for place in dict.fromkeys(places):
                verdicts[place] = self._with(verdicts[place], Reason.NOT_JUDGEABLE, PARTIAL)

    def _with(self, verdict: Verdict, reason: Reason, sub: str) -> Verdict:
        """The verdict with what the counters found."""
        known = self._found.get((id(verdict), reason, sub))
        if known is not None:
            return known[1]
        if len(self._found) >= MOST_CACHED:
            self._found.clear()
        found = counted(verdict, reason, sub)
        self._found[id(verdict), reason, sub] = verdict, found
        return found


def _place_of(submission: Submission) -> tuple[int, int, int]:
    """How many parts its message has, which one it is, and the reference that they share."""
    if submission.udhi:
        header = udh(submission.content)
        if header.width:
            return header.total, header.part, header.ref
    return submission.pk_total, submission.pk_number, 0


def settle_masses(
    batches: Sequence[Batch], verdicts: list[Verdict], filed: Callable[[AccountKey], Account | None]
) -> None:
    """Submits to several recipients of whom some are refused (domain.md `mass_refused`)."""
    index = 0
    for batch in batches:
        for submit in batch.submits:
            count = submit.width
            if count > 1:
                mine = verdicts[index : index + count]
                refused = sum(verdict.reason is not None for verdict in mine)
                if 0 < refused < count and not _reduces(submit, filed(batch.key)):
                    verdicts[index : index + count] = [
                        verdict if verdict.reason is not None else _with_mass_refused(verdict)
                        for verdict in mine
                    ]
            index += count


def _reduces(submit: Submit, account: Account | None) -> bool:
    wants_report = submit.submission is not None and submit.submission.wants_report
    return account is not None and account.mass_manner == "reduce" and not wants_report


def _with_mass_refused(verdict: Verdict) -> Verdict:
    return replace(verdict, reason=Reason.MASS_REFUSED, findings=(*verdict.findings, _MASS))
