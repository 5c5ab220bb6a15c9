"""The station between two sockets: submits become attempts, verdicts and durable records.

One `Screen` per worker. What comes on all connections while the disk is busy, or in one turn of the event
loop, is judged together (one snapshot, one instant, one call of each kind), per message only what differs.
It sends nothing: it tells each session, in its `Submit`s, what to do once they are durable.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter, time_ns
from typing import Any

from msgspec import Raw

from gateway.errors import NotReady
from gateway.evidence.journal import Item, Journal
from gateway.evidence.record import judged
from gateway.model import SMS, VOICE, Account, AccountKey, Attempt, Finding, Reason, Verdict
from gateway.policy import Profile, decide
from gateway.policy.numbers import canonical, opaque
from gateway.protocols.message import Submission
from gateway.protocols.schedule import deliver_at
from gateway.protocols.text import decode
from gateway.regions import Regions
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import Contacts, half_key, key_of
from gateway.relay.memory import Batch, Submit
from gateway.telemetry import Telemetry

ENOUGH = 32
"""Submits that are judged at the end of the loop's turn; fewer wait for others until the disk is free."""

MOST_CACHED = 20_000  # entries of a per-worker cache before it starts anew
UNREADABLE = {"binary", "undecodable", "odd_length", "udh_truncated"}
"""Notes of text.decode after which nobody can say what the subscriber would read. Not "wrong_fmt": it was
read; not "bad_concat": handsets ignore such a header element and show the rest (TS 23.040 §9.2.3.24.1)."""

UNREAD = Submission(b"", [], 0, False, b"", False, b"", 1, 1, 0)
"""What is recorded of a frame that can't be read."""

FAULTS = {
    channel: Verdict(Reason.NOT_JUDGEABLE, "fault", (Finding(Reason.NOT_JUDGEABLE, "fault", True),))
    for channel in (SMS, VOICE)
}
"""One object a channel: what is shared by a sender's records is found again by the verdict's identity."""

CHANNELS = {SMS: "sms", VOICE: "voice"}
_MASS = Finding(Reason.MASS_REFUSED, "", True)


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

    __slots__ = ("institution", "key", "passed", "record", "source", "tally", "verdict")

    def __init__(self, verdict: Verdict, key: AccountKey, source: str, record: Raw, tally: Tally) -> None:
        self.verdict = verdict
        self.passed = verdict.reason is None
        self.institution = verdict.institution
        self.key = key
        self.source = source
        self.record = record  # as each of their records holds it
        self.tally = tally


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
        self._shared: dict[int, Shared] = {}  # by the verdict's id
        self._tallies: dict[Any, Tally] = {}
        self._number_keys: dict[str, int] = {}
        self._waiting: list[Batch] = []
        self._submits = 0  # in `_waiting`
        self._accounts: dict[AccountKey, Account | None] = {}
        self._accounts_of = 0  # the registry version that they were read from
        self.profile = profile

    def use(self, profile: Profile) -> None:
        """Judge by another profile from the next batch on."""
        self.profile = profile
        self._shared.clear()

    def account(self, key: AccountKey) -> Account | None:
        """How an account is filed at the instant of the snapshot: a connection outlives many changes."""
        if self._accounts_of != self.view.version:
            self._accounts.clear()
            self._accounts_of = self.view.version
        if key not in self._accounts:
            self._accounts[key] = self.view.account(key)
        return self._accounts[key]

    def put(self, batch: Batch) -> None:
        """Judge and record it, with whatever else comes until then; its owner hears of it.

        When nothing was recorded (journal full or poisoned, replica not readable) `settled` gets the error.
        """
        self._waiting.append(batch)
        if len(self._waiting) == 1:
            self.journal.when_free(self._turn)
        before, self._submits = self._submits, self._submits + len(batch.submits)
        if before < ENOUGH <= self._submits:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        if not self._waiting:
            return
        batches, self._waiting, self._submits = self._waiting, [], 0
        try:
            self._judge(batches)
        except NotReady as error:
            self._settle(batches, error)
        except Exception:
            self._log.exception("a batch could not be judged")
            for batch in batches:  # or they would wait for ever; nobody else notices
                batch.owner.abort()

    def _judge(self, batches: Sequence[Batch]) -> None:
        began = perf_counter()
        now = time_ns() // 1_000_000
        self.view.renew()
        attempts = self._attempts(batches, now)
        verdicts = self._decide(attempts, now)
        if len(attempts) != sum(len(batch.submits) for batch in batches):
            _settle_masses(batches, verdicts, self.account)
        self._telemetry.decision.observe(perf_counter() - began)
        shared, items = self._items(batches, attempts, verdicts)
        ids = self.journal.attempts(now, self.view.version, items, partial(self._settle, batches))
        self._tell(batches, attempts, shared, ids, now)
        for batch in batches:
            try:
                batch.owner.judged(batch)
            except Exception:
                self._log.exception("a judged batch could not be made ready")
                batch.owner.abort()  # what is not ready must not leave; nobody else notices

    def _settle(self, batches: Sequence[Batch], error: Exception | None) -> None:
        for batch in batches:
            try:
                batch.owner.settled(batch, error)
            except Exception:
                self._log.exception("a recorded batch could not leave")
                batch.owner.abort()

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

    def _attempts(self, batches: Sequence[Batch], now: int) -> list[Attempt]:
        attempts: list[Attempt] = []
        add, sources = attempts.append, self._sources
        for batch in batches:
            key, channel = batch.key, batch.channel
            for submit in batch.submits:
                submission = submit.submission
                if submission is None:
                    add(Attempt(key, channel, "", "", "", "frame"))
                    continue
                source = sources.get(submission.source)
                if source is None:
                    source = self._source(submission.source)
                text, note = decode(submission.content, submission.fmt, submission.udhi)
                flaw = "" if source else "source"
                if note in UNREADABLE:
                    flaw = flaw or "text"
                at = 0
                if submission.at_time:
                    try:
                        at = deliver_at(submission.at_time, now)
                    except ValueError:
                        flaw = flaw or "schedule"
                spell = opaque if submission.pseudo == 1 else canonical
                for raw in submission.destinations:
                    destination = spell(raw)
                    add(
                        Attempt(
                            key,
                            channel,
                            source,
                            destination,
                            text,
                            flaw or ("" if destination else "destination"),
                            at,
                        )
                    )
        return attempts

    def _source(self, raw: bytes) -> str:
        if len(self._sources) >= MOST_CACHED:
            self._sources.clear()
        source = self._sources[raw] = canonical(raw)
        return source

    def _decide(self, attempts: Sequence[Attempt], now: int) -> list[Verdict]:
        try:
            return decide(attempts, self.view, self.profile, now)
        except NotReady:
            raise
        except Exception:  # a rule that breaks must stop neither the process nor the law: nothing passes
            if len(attempts) > 1:  # but the others don't pay for it
                return [self._decide([attempt], now)[0] for attempt in attempts]
            self._log.exception("judging failed")
            return [FAULTS[attempts[0].channel]]

    def _items(
        self, batches: Sequence[Batch], attempts: Sequence[Attempt], verdicts: Sequence[Verdict]
    ) -> tuple[list[Shared], list[Item]]:
        """What each attempt shares with others of its sender, and what the journal wants to know of it."""
        items: list[Item] = []
        of_all: list[Shared] = []
        add, region, shared_by = items.append, self._regions.region, self._shared.get
        index = 0
        for batch in batches:
            key, connection = batch.key, batch.connection
            for submit in batch.submits:
                _, _, fmt, udhi, content, _, _, total, number, _ = submit.submission or UNREAD
                for recipient in range(submit.width):
                    attempt, verdict = attempts[index], verdicts[index]
                    index += 1
                    source, destination = attempt.source, attempt.destination
                    shared = shared_by(id(verdict))
                    if shared is None or shared.source != source or shared.key != key:
                        shared = self._share(key, attempt.channel, source, verdict)
                    of_all.append(shared)
                    add(
                        (
                            shared.record,
                            attempt.deliver_at,
                            connection,
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
        return of_all, items

    def _tell(
        self,
        batches: Sequence[Batch],
        attempts: Sequence[Attempt],
        of_all: Sequence[Shared],
        ids: Sequence[bytes],
        now: int,
    ) -> None:
        """Tell each submit what became of it, count, and note who sent to whom, so that a reply finds its
        institution."""
        remember, hashed, numbers = self._contacts.remember, self.view.hash, self._number_keys
        first = self.journal.index
        index = 0
        for batch in batches:
            channel = batch.channel
            for submit in batch.submits:
                end = index + submit.width
                submit.ids = ids[index:end]
                submit.verdicts = [shared.verdict for shared in of_all[index:end]]
                while index < end:
                    shared = of_all[index]
                    shared.tally.count += 1
                    attempt = attempts[index]
                    if not shared.passed:
                        submit.refused += 1
                    elif attempt.destination and channel == SMS:  # nobody replies to a call by SMS
                        number = numbers.get(attempt.source) or self._number_key(attempt.source)
                        pair = key_of(number, hashed(attempt.destination))
                        remember(pair, now, shared.institution, ids[index], first + index)
                    index += 1

    def _share(self, key: AccountKey, channel: int, source: str, verdict: Verdict) -> Shared:
        """What this sender's attempts with this verdict share, kept as long as the verdict object is."""
        profile, view = self.profile, self.view
        mandates = view.mandates(verdict.institution, verdict.agency) if verdict.mandate else ()
        document = next((mandate.document for mandate in mandates if mandate.id == verdict.mandate), "")
        record = judged(
            key,
            self._node,
            channel,
            source,
            verdict,
            profile=profile.digest,
            lexicon=profile.lexicon_digest,
            mandate_document=document,
        )
        if len(self._shared) >= MOST_CACHED:
            self._shared.clear()
        told = channel, key.protocol, verdict.purpose, verdict.institution_code, verdict.findings
        tally = self._tallies.get(told)
        if tally is None:
            tally = self._tallies[told] = Tally(channel, key.protocol, verdict)
        shared = self._shared[id(verdict)] = Shared(verdict, key, source, record, tally)
        return shared

    def _number_key(self, number: str) -> int:
        if len(self._number_keys) >= MOST_CACHED:
            self._number_keys.clear()
        key = self._number_keys[number] = half_key(self.view.hash(number))
        return key


def _settle_masses(
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
