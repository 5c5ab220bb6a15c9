"""What a batch asks of the counters, and what follows from their answer; submits that are refused in part.

Rules of this file: it counts nothing itself and knows no clock. Senders without caps are not looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.counters import ALWAYS, GATE, LOOK, TAKE, Entry, Reserved, count_key
from gateway.model import Account, AccountKey, Attempt, Finding, Limit, Reason, Verdict
from gateway.policy.caps import ANSWERED
from gateway.policy.judge import PARTIAL, counted
from gateway.relay.memory import Batch, Submit

MOST_CACHED = 20_000  # verdicts that are remembered before it starts anew

_MASS = Finding(Reason.MASS_REFUSED, "", True)

_Counts = list[tuple[int, tuple[Limit, ...], int, bool]]
"""What a sender gives to the entries of its attempts: a half of the key, limits, the largest of them, and
whether they are of answered calls, which count once they are."""


class Counting:
    """`hashed` is the snapshot's `hash`; `filed` says how an account is filed."""

    def __init__(self, hashed: Callable[[str], bytes], filed: Callable[[AccountKey], Account | None]) -> None:
        self._hash = hashed
        self._filed = filed
        self._counts: dict[int, tuple[Verdict, _Counts]] = {}  # by the verdict's id
        self._found: dict[tuple[int, Reason, str], tuple[Verdict, Verdict]] = {}  # and by what was found

    def entries(
        self,
        batches: Sequence[Batch],
        attempts: list[Attempt],
        verdicts: list[Verdict],
        subscribers: list[int],
    ) -> tuple[list[Entry], list[int]]:
        """What is to be counted, and the place of the attempt that each entry is of. `subscribers`: a half of
        the key for each attempt, out of its subscriber's hash (see `key_of`).

        What is refused already is only looked at. A submit whose recipients share one fate counts for all of
        them or for none. A long message that is judged again was counted the first time.
        """
        entries: list[Entry] = []
        places: list[int] = []
        index = 0
        for batch in batches:
            if batch.again:
                index += sum(submit.width for submit in batch.submits)
                continue
            for submit in batch.submits:
                end = index + submit.width
                shared = refused = False
                if submit.width > 1 and not reduces(submit, self._filed(batch.key)):
                    shared = True
                    refused = any(verdict.reason is not None for verdict in verdicts[index:end])
                group = end
                while index < end:
                    attempt, verdict = attempts[index], verdicts[index]
                    caps = verdict.caps
                    if caps is not None and attempt.destination:
                        manner = TAKE if caps.enforced else ALWAYS
                        if refused or verdict.reason is not None:
                            manner = LOOK
                        known = self._counts.get(id(verdict))
                        counts = known[1] if known is not None else self._counts_of(verdict)
                        if not shared:
                            group = index + 1 if len(counts) > 1 else 0
                        for half, limits, most, later in counts:
                            how = (GATE if manner == TAKE else LOOK) if later else manner
                            entries.append((half ^ subscribers[index] or 1, limits, most, how, group))
                            places.append(index)
                    index += 1
        return entries, places

    def _counts_of(self, verdict: Verdict) -> _Counts:
        if len(self._counts) >= MOST_CACHED:
            self._counts.clear()
        caps = verdict.caps
        counts = [
            (
                count_key(self._hash, verdict.institution_code, count.channels, count.purpose),
                count.limits,
                max(limit.most for limit in count.limits),
                count.channels == ANSWERED,
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
        for place, word in found.items():
            if word is None:
                verdicts[place] = self._with(verdicts[place], Reason.NOT_JUDGEABLE, "counters")
            else:
                verdicts[place] = self._with(verdicts[place], Reason.OVER_FREQUENCY, word)
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
                if 0 < refused < count and not reduces(submit, filed(batch.key)):
                    verdicts[index : index + count] = [
                        verdict if verdict.reason is not None else _with_mass_refused(verdict)
                        for verdict in mine
                    ]
            index += count


def reduces(submit: Submit, account: Account | None) -> bool:
    """Whether a submit goes on to those who may have it, when others may not."""
    wants_report = submit.submission is not None and submit.submission.wants_report
    return account is not None and account.mass_manner == "reduce" and not wants_report


def _with_mass_refused(verdict: Verdict) -> Verdict:
    return replace(verdict, reason=Reason.MASS_REFUSED, findings=(*verdict.findings, _MASS))
