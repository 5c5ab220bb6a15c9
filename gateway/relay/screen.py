"""The station between two sockets: a batch of submits becomes attempts, verdicts and durable records.

One `Screen` per worker. It does per batch what can be done per batch (one snapshot, one instant, one call
of each kind) and per message only what differs. It sends nothing: it tells the session, in each `Submit`,
what to do once the batch is durable.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter, time_ns
from typing import Any

from gateway.errors import NotReady
from gateway.evidence.journal import Done, Item, Journal
from gateway.evidence.record import judged
from gateway.model import SMS, Account, AccountKey, Attempt, Finding, Reason, Verdict
from gateway.policy import Profile, decide
from gateway.policy.numbers import canonical, opaque
from gateway.protocols.message import Submission
from gateway.protocols.text import decode
from gateway.regions import Regions
from gateway.registry.replica import Snapshot
from gateway.relay.contacts import Contacts, key_of
from gateway.relay.memory import Submit
from gateway.telemetry import Telemetry

MOST_CACHED = 20_000  # entries of a per-worker cache before it starts anew
UNREADABLE = {"binary", "undecodable"}  # notes of text.decode after which there is no text to judge
UNREAD = Submission(b"", [], 0, False, b"", False, b"", b"", 1, 1, b"", 0)
"""What is recorded of a frame that can't be read."""

FAULT = Verdict(Reason.NOT_JUDGEABLE, "fault", (Finding(Reason.NOT_JUDGEABLE, "fault", True),))
_MASS = Finding(Reason.MASS_REFUSED, "", True)


class Screen:
    """Judges and records for all sessions of a worker."""

    def __init__(
        self,
        node: str,
        view: Snapshot,
        profile: Profile,
        journal: Journal,
        contacts: Contacts,
        regions: Regions,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._log = log
        self.view = view
        self.journal = journal
        self._node = node
        self._contacts = contacts
        self._regions = regions
        self._telemetry = telemetry
        self._sources: dict[bytes, str] = {}
        self._judged: dict[tuple[int, str, AccountKey], tuple[Verdict, Any]] = {}
        self._passed: Counter[str] = Counter()
        self._number_keys: dict[str, bytes] = {}
        self._tally: Counter[tuple[str, str, bool]] = Counter()
        self._refused: Counter[tuple[str, Reason]] = Counter()
        self._observed: Counter[Reason] = Counter()
        self.profile = profile

    def use(self, profile: Profile) -> None:
        """Judge by another profile from the next batch on."""
        self.profile = profile
        self._judged.clear()

    def judge(
        self, key: AccountKey, account: Account | None, connection: int, submits: Sequence[Submit], done: Done
    ) -> None:
        """Judge a batch and put it into the journal; `done` is called when it is durable.

        Raises NotReady (journal full or poisoned, replica not readable); then nothing was recorded and the
        sender has to be told to come again.
        """
        began = perf_counter()
        now = time_ns() // 1_000_000
        self.view.renew()
        attempts = self._attempts(key, submits)
        verdicts = self._decide(attempts, now)
        if len(attempts) != len(submits):
            self._settle_masses(account, submits, verdicts)
        self._telemetry.decision.observe(perf_counter() - began)
        items = self._items(key, submits, attempts, verdicts)
        ids = self.journal.attempts(now, connection, self.view.version, items, done)
        self._tell(submits, verdicts, ids)
        self._remember(attempts, verdicts, ids, now)

    def flush_metrics(self) -> None:
        """Add what was counted since the last call to the metrics; called a few times a second."""
        telemetry = self._telemetry
        for (protocol, purpose, passed), count in self._tally.items():
            telemetry.attempts.labels("sms", protocol, purpose, "pass" if passed else "refuse").inc(count)
        for (institution, reason), count in self._refused.items():
            telemetry.intercepts.labels("sms", institution, reason.value).inc(count)
        for reason, count in self._observed.items():
            telemetry.observed.labels(reason.value).inc(count)
        for counter in (self._tally, self._refused, self._observed):
            counter.clear()

    def _attempts(self, key: AccountKey, submits: Sequence[Submit]) -> list[Attempt]:
        attempts = []
        sources = self._sources
        for submit in submits:
            submission = submit.submission
            if submission is None:
                attempts.append(Attempt(key, SMS, "", "", "", "frame"))
                continue
            source = sources.get(submission.source)
            if source is None:
                source = self._source(submission.source)
            text, note = decode(submission.content, submission.fmt, submission.udhi)
            flaw = "" if source else "source"
            if note in UNREADABLE:
                flaw = flaw or "text"
            spell = canonical if submission.pseudo != 1 else opaque
            for raw in submission.destinations:
                destination = spell(raw)
                attempts.append(
                    Attempt(
                        key, SMS, source, destination, text, flaw or ("" if destination else "destination")
                    )
                )
        return attempts

    def _source(self, raw: bytes) -> str:
        if len(self._sources) >= MOST_CACHED:
            self._sources.clear()
        source = self._sources[raw] = canonical(raw)
        return source

    def _settle_masses(
        self, account: Account | None, submits: Sequence[Submit], verdicts: list[Verdict]
    ) -> None:
        """Submits to several recipients of whom some are refused (domain.md `mass_refused`)."""
        reduces = account is not None and account.mass_manner == "reduce"
        index = 0
        for submit in submits:
            count = submit.width
            if count > 1:
                mine = verdicts[index : index + count]
                refused = sum(verdict.reason is not None for verdict in mine)
                wants_report = submit.submission is not None and submit.submission.wants_report
                if 0 < refused < count and not (reduces and not wants_report):
                    verdicts[index : index + count] = [
                        verdict if verdict.reason is not None else _with_mass_refused(verdict)
                        for verdict in mine
                    ]
            index += count

    def _decide(self, attempts: Sequence[Attempt], now: int) -> list[Verdict]:
        try:
            return decide(attempts, self.view, self.profile, now)
        except NotReady:
            raise
        except Exception:  # a rule that breaks must stop neither the process nor the law: nothing passes
            self._log.exception("judging failed")
            return [FAULT] * len(attempts)

    def _items(
        self,
        key: AccountKey,
        submits: Sequence[Submit],
        attempts: Sequence[Attempt],
        verdicts: Sequence[Verdict],
    ) -> list[Item]:
        """What the journal wants to know of each attempt; counts them on the way."""
        items: list[Item] = []
        add, region, judged_of = items.append, self._regions.region, self._judged.get
        passed = self._passed
        index = 0
        for submit in submits:
            _, _, fmt, udhi, content, _, _, _, total, number, _, _ = submit.submission or UNREAD
            for recipient in range(submit.width):
                attempt, verdict = attempts[index], verdicts[index]
                index += 1
                source, destination = attempt.source, attempt.destination
                found = judged_of((id(verdict), source, key))
                raw = found[1] if found is not None else self._encode(key, source, verdict)
                add(
                    (
                        raw,
                        attempt.deliver_at,
                        submit.sequence,
                        recipient,
                        total,
                        number,
                        0,
                        region(destination),
                        destination,
                        fmt,
                        1 if udhi else 0,
                        content,
                    )
                )
                if verdict.findings:
                    self._count_findings(key.protocol, verdict)
                else:
                    passed[verdict.purpose] += 1
        self._tally.update({(key.protocol, purpose, True): count for purpose, count in passed.items()})
        passed.clear()
        return items

    def _tell(self, submits: Sequence[Submit], verdicts: Sequence[Verdict], ids: Sequence[bytes]) -> None:
        index = 0
        for submit in submits:
            end = index + submit.width
            submit.ids = ids[index:end]
            submit.verdicts = mine = verdicts[index:end]
            for verdict in mine:
                if verdict.reason is not None:
                    submit.refused += 1
            index = end

    def _count_findings(self, protocol: str, verdict: Verdict) -> None:
        self._tally[protocol, verdict.purpose, verdict.reason is None] += 1
        if verdict.reason is not None:
            self._refused[verdict.institution_code, verdict.reason] += 1
        for finding in verdict.findings:
            if not finding.enforced:
                self._observed[finding.reason] += 1

    def _encode(self, key: AccountKey, source: str, verdict: Verdict) -> Any:
        """The part of a record that a sender's attempts share, kept as long as the verdict object is."""
        profile, view = self.profile, self.view
        mandates = view.mandates(verdict.institution, verdict.agency) if verdict.mandate else ()
        document = next((mandate.document for mandate in mandates if mandate.id == verdict.mandate), "")
        raw = judged(
            key,
            self._node,
            SMS,
            source,
            verdict,
            profile=profile.digest,
            lexicon=profile.lexicon_digest,
            mandate_document=document,
        )
        if len(self._judged) >= MOST_CACHED:
            self._judged.clear()
        self._judged[id(verdict), source, key] = (
            verdict,
            raw,
        )  # the reference keeps the id from being reused
        return raw

    def _remember(
        self, attempts: Sequence[Attempt], verdicts: Sequence[Verdict], ids: Sequence[bytes], now: int
    ) -> None:
        """Note who sent to whom, so that a reply finds its institution."""
        remember, hashed = self._contacts.remember, self.view.hash
        numbers = self._number_keys
        for attempt, verdict, identity in zip(attempts, verdicts, ids, strict=True):
            if verdict.reason is None and attempt.destination:
                number_key = numbers.get(attempt.source)
                if number_key is None:
                    if len(numbers) >= MOST_CACHED:
                        numbers.clear()
                    number_key = numbers[attempt.source] = hashed(attempt.source)
                remember(key_of(number_key, hashed(attempt.destination)), now, verdict.institution, identity)


def _with_mass_refused(verdict: Verdict) -> Verdict:
    return replace(verdict, reason=Reason.MASS_REFUSED, findings=(*verdict.findings, _MASS))
