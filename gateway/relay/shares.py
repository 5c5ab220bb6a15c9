"""What attempts have in common: the part of their records, and how the metrics count them.

Made once for each verdict object, as a sender's attempts share theirs (policy/judge.py); so a message costs a
look-up and an addition.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from gateway.evidence.record import judged
from gateway.model import SMS, VOICE, AccountKey, Verdict
from gateway.policy.profile import Profile
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import half_key
from gateway.relay.memory import Batch
from gateway.telemetry import Telemetry

MOST_CACHED = 20_000  # then it starts anew

CHANNELS = {SMS: "sms", VOICE: "voice"}


class Tally:
    """How many attempts are not in the metrics yet, of those that the metrics don't tell apart."""

    __slots__ = ("channel", "count", "protocol", "verdict")

    def __init__(self, channel: int, protocol: str, verdict: Verdict) -> None:
        self.channel = CHANNELS[channel]
        self.protocol = protocol
        self.verdict = verdict  # of one of them
        self.count = 0


class Shared:
    """What the attempts of one sender with one verdict share; it keeps the verdict's id from being reused."""

    __slots__ = ("half", "institution", "key", "passed", "record", "source", "tally", "verdict")

    def __init__(
        self, verdict: Verdict, key: AccountKey, source: str, half: int, record: Raw, tally: Tally
    ) -> None:
        self.verdict = verdict
        self.passed = verdict.reason is None
        self.institution = verdict.institution
        self.key = key
        self.source = source
        self.half = half  # what the number gives to the key of each pair that it is in
        self.record = record  # as each of their records holds it
        self.tally = tally

    def of(self, source: str, key: AccountKey) -> bool:
        """Whether it is this sender's."""
        mine = self.key
        return (source is self.source or source == self.source) and (key is mine or key == mine)


def counted(batches: Sequence[Batch], of_all: list[Shared]) -> list[Shared]:
    """What the metrics count once it is durable: all attempts of these batches, but those that pass on, which
    were counted when they began."""
    if not any([batch.again for batch in batches]):
        return of_all
    found: list[Shared] = []
    end = 0
    for batch in batches:
        start, end = end, end + sum([submit.width for submit in batch.submits])
        its = of_all[start:end]
        found += [shared for shared in its if not shared.passed] if batch.again else its
    return found


def count(counts: list[Shared]) -> None:
    """They are durable."""
    for shared in counts:
        shared.tally.count += 1


class Shares:
    """Those of one worker; `by_verdict` has them by the verdict's id."""

    def __init__(self, node: str, telemetry: Telemetry) -> None:
        self._node = node
        self._telemetry = telemetry
        self.by_verdict: dict[int, Shared] = {}
        self._tallies: dict[Any, Tally] = {}

    def make(
        self, key: AccountKey, channel: int, source: str, verdict: Verdict, profile: Profile, view: Snapshot
    ) -> Shared:
        """What this sender's attempts with this verdict share, kept as long as the verdict object is."""
        mandates = view.mandates(verdict.institution, verdict.agency) if verdict.mandate else ()
        document = next((mandate.document for mandate in mandates if mandate.id == verdict.mandate), "")
        record = judged(
            key,
            self._node,
            channel,
            source,
            verdict,
            profile=verdict.profile or profile.digest,
            lexicon=profile.lexicon_digest,
            mandate_document=document,
        )
        if len(self.by_verdict) >= MOST_CACHED:
            self.by_verdict.clear()
        told = channel, key.protocol, verdict.purpose, verdict.institution_code, verdict.findings
        tally = self._tallies.get(told)
        if tally is None:
            tally = self._tallies[told] = Tally(channel, key.protocol, verdict)
        shared = self.by_verdict[id(verdict)] = Shared(
            verdict, key, source, half_key(view.hash(source)), record, tally
        )
        return shared

    def flush_metrics(self) -> None:
        """Add what was counted since the last call to the metrics; called a few times a second."""
        telemetry = self._telemetry
        for tally in self._tallies.values():
            if tally.count:
                count, verdict, channel = tally.count, tally.verdict, tally.channel
                said = "pass" if verdict.reason is None else "refuse"
                telemetry.attempts.labels(channel, tally.protocol, verdict.purpose, said).inc(count)
                if verdict.reason is not None:
                    labels = channel, verdict.institution_code, verdict.reason.value
                    telemetry.intercepts.labels(*labels).inc(count)
                for finding in verdict.findings:
                    if not finding.enforced:
                        telemetry.observed.labels(finding.reason.value).inc(count)
                tally.count = 0
