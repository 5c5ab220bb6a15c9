"""The station between two sockets: submits become attempts, verdicts and durable records.

One `Screen` per worker. What comes on all connections while the disk is busy, or in one turn of the event
loop, is judged together (one snapshot, one instant, one call of each kind), per message only what differs.
It sends nothing: it tells each session, in its `Submit`s, what to do once they are durable.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from time import perf_counter, time_ns
from typing import NamedTuple

from gateway.counters import Counters, Reserved
from gateway.errors import NotReady
from gateway.evidence.journal import Item, Journal
from gateway.evidence.record import U64
from gateway.model import SMS, VOICE, Account, AccountKey, Attempt, Finding, Reason, Verdict
from gateway.policy.facts import MOST_TEXTS
from gateway.policy.judge import decide
from gateway.policy.numbers import canonical, opaque
from gateway.policy.profile import Profile
from gateway.policy.text_rules import FLAWS, NO_TEXT
from gateway.protocols.message import UNREAD, Calling
from gateway.protocols.schedule import deliver_at
from gateway.protocols.text import UCS2, decode, shown
from gateway.regions import Regions
from gateway.registry.in_force import InForce
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import Contacts, half_key, pair_key
from gateway.relay.counting import Counting, reduces, settle_masses
from gateway.relay.lines import attempts_of, with_others
from gateway.relay.memory import Batch
from gateway.relay.shares import Shared, Shares, count, counted
from gateway.telemetry import Telemetry

ENOUGH = 32
"""Submits that are judged at the end of the loop's turn; fewer wait for others until the disk is free."""

SHORT = 1 << 48
"""Sequence numbers below it need not be compared with 64 bits, which takes longer."""

MOST_CACHED = 20_000  # entries of a per-worker cache before it starts anew
_OF_TEXT = {(Reason.MALFORMED, flaw) for flaw in NO_TEXT}

FAULTS = {
    channel: Verdict(Reason.NOT_JUDGEABLE, "fault", (Finding(Reason.NOT_JUDGEABLE, "fault", True),))
    for channel in (SMS, VOICE)
}
"""One object a channel: what is shared by a sender's records is found again by the verdict's identity."""


class _Turn(NamedTuple):
    """Batches that are judged together."""

    batches: Sequence[Batch]
    attempts: list[Attempt]
    verdicts: list[Verdict]
    subscribers: list[int]  # what each attempt's gives to keys
    profile: Profile  # by which they were judged
    now: int  # ms
    version: int  # of the registry
    began: float


class Screen:
    """Judges and records for all sessions of a worker."""

    def __init__(
        self,
        node: str,
        view: Snapshot,
        profile: Profile,
        journal: Journal,
        counters: Counters,
        contacts: Contacts,
        regions: Regions,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._log = log
        self.view = view
        self.journal = journal
        self._counters = counters
        self._counting = Counting(view.hash, self.account)
        self._contacts = contacts
        self._regions = regions
        self._telemetry = telemetry
        self._sources: dict[bytes, str] = {}
        self._texts: dict[bytes | tuple[bytes, ...], tuple[str, str]] = {}  # of UCS-2 without a header
        self.shares = Shares(node, telemetry)
        self._waiting: list[Batch] = []
        self._submits = 0  # in `_waiting`
        self._reserving = False  # the counters have not answered yet: who comes meanwhile waits
        self._accounts: dict[AccountKey, Account | None] = {}
        self._accounts_of = 0  # the registry version that they were read from
        self.profile = profile
        self.in_force = InForce(profile)
        view.on_key = self._hash_anew
        counters.hashed_by(view.hashed_by, changed=False)

    def use(self, own: Profile) -> None:
        """The node's own profile is another one from the next batch on."""
        self.in_force.use(own)

    def _hash_anew(self) -> None:
        """The registry key has rotated: what was hashed and remembered is hashed again."""
        self._counting = Counting(self.view.hash, self.account)
        self.shares.by_verdict.clear()
        self._counters.hashed_by(self.view.hashed_by, changed=True)

    def follow(self, now: int) -> None:
        """Judge by the profile in force at `now`; before each batch, and once a second without any."""
        profile = self.in_force.at(self.view, now)
        if profile is not self.profile:
            self.profile = profile
            self.shares.by_verdict.clear()

    def account(self, key: AccountKey) -> Account | None:
        """How an account is filed at the instant of the snapshot: a connection outlives many changes."""
        if self._accounts_of != self.view.version:
            self._accounts.clear()
            self._accounts_of = self.view.version
        if key not in self._accounts:
            if len(self._accounts) >= MOST_CACHED:  # whoever calls is asked for by address and port
                self._accounts.clear()
            self._accounts[key] = self.view.account(key)
        return self._accounts[key]

    def foresees(self, batch: Batch) -> bool:
        """Whether all of it is refused whatever its text says: by its numbers, its subscribers, the hour.
        Nothing is recorded, and what only `put` can find out is not known here."""
        now = time_ns() // 1_000_000
        try:
            self.view.renew()
            self.follow(now)
            attempts = self._attempts([batch], now)
            for attempt in attempts:
                attempt.flaw = attempt.flaw or "text"
            verdicts = self._decide(attempts, now)
        except NotReady:
            return False
        refused = [
            any(finding.enforced and finding[:2] not in _OF_TEXT for finding in verdict.findings)
            for verdict in verdicts
        ]
        if any(reduces(submit, self.account(batch.key)) for submit in batch.submits):
            return all(refused)
        return any(refused)

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
        if not self._waiting or self._reserving:
            return
        batches, self._waiting, self._submits = self._waiting, [], 0
        try:
            self._judge(batches)
        except Exception as error:
            self._failed(batches, error)

    def _failed(self, batches: Sequence[Batch], error: Exception) -> None:
        if isinstance(error, NotReady):
            self._settle(batches, error)
            return
        self._log.error("a batch could not be judged", exc_info=error)
        for batch in batches:  # or they would wait for ever; nobody else notices
            batch.owner.abort()

    def _judge(self, batches: Sequence[Batch]) -> None:
        began = perf_counter()
        now = time_ns() // 1_000_000
        self.view.renew()
        self.follow(now)
        attempts = self._attempts(batches, now)
        verdicts = self._decide(attempts, now)
        if any([batch.channel == VOICE for batch in batches]):
            with_others(batches, attempts, verdicts, partial(self._decide, now=now))
        subscribers = [half_key(self.view.hash(attempt.destination)) for attempt in attempts]
        turn = _Turn(batches, attempts, verdicts, subscribers, self.profile, now, self.view.version, began)
        if not any([verdict.caps for verdict in verdicts]):
            self._record(turn, None)
            return
        entries, places = self._counting.entries(batches, attempts, verdicts, subscribers)
        if not entries:
            self._record(turn, None)
            return
        self._reserving = True
        try:
            self._counters.reserve(now, entries, partial(self._reserved, turn, places))
        except Exception:
            self._reserving = False
            raise

    def _reserved(self, turn: _Turn, places: Sequence[int], reserved: Reserved) -> None:
        """The counters have answered: what passed may be one too many."""
        self._reserving = False
        try:
            self._counting.tell(turn.verdicts, places, reserved)
            self._record(turn, reserved)
        except Exception as error:
            reserved.release()
            self._failed(turn.batches, error)
        if self._waiting:
            self.journal.when_free(self._turn)

    def _record(self, turn: _Turn, reserved: Reserved | None) -> None:
        batches, attempts, verdicts, subscribers, profile, now, version, began = turn
        if len(attempts) != sum(len(batch.submits) for batch in batches):
            settle_masses(batches, verdicts, self.account)
        self._telemetry.decision.observe(perf_counter() - began)
        shared, items = self._items(batches, attempts, verdicts, profile)
        counts = counted(batches, shared)

        def written(error: Exception | None) -> None:
            if error is not None and reserved is not None:
                reserved.release()
            self._settle(batches, error)
            if error is None:
                count(counts)

        ids = self.journal.attempts(now, version, items, written)
        self._tell(batches, attempts, subscribers, shared, ids, now)
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

    def _attempts(self, batches: Sequence[Batch], now: int) -> list[Attempt]:
        attempts: list[Attempt] = []
        add, sources = attempts.append, self._sources
        for batch in batches:
            key, channel = batch.key, batch.channel
            protocol = key.protocol
            if channel == VOICE and isinstance(batch.submits[0].submission, Calling):
                attempts += attempts_of(batch)
                continue
            for submit in batch.submits:
                submission = submit.submission
                if submission is None:
                    add(Attempt(key, channel, "", "", "", "frame"))
                    continue
                source = sources.get(submission.source)
                if source is None:
                    source = self._source(submission.source)
                fmt, udhi, content = submission.fmt, submission.udhi, submission.content
                if fmt == UCS2 and not udhi:
                    read = self._texts.get(content)
                    if read is None:
                        read = self._text(content)
                    text, note = read
                else:
                    text, note = shown(*decode(content, fmt, udhi, protocol))
                flaw = "" if source else "source"
                unfinished = False
                if note:
                    flaw = flaw or FLAWS.get(note, "")
                    unfinished = note == "unfinished"
                at = 0
                if submission.at_time:
                    try:
                        at = deliver_at(submission.at_time, now)
                    except ValueError:
                        flaw = flaw or "schedule"
                pseudo = submission.pseudo == 1
                for raw in submission.destinations:
                    destination = opaque(raw) if pseudo else canonical(raw)
                    add(
                        Attempt(
                            key,
                            channel,
                            source,
                            destination,
                            text,
                            flaw or ("" if destination else "destination"),
                            at,
                            unfinished,
                        )
                    )
        return attempts

    def _source(self, raw: bytes) -> str:
        if len(self._sources) >= MOST_CACHED:
            self._sources.clear()
        return self._sources.setdefault(raw, canonical(raw))

    def _text(self, content: bytes | tuple[bytes, ...]) -> tuple[str, str]:
        if len(self._texts) >= MOST_TEXTS:
            self._texts.clear()
        return self._texts.setdefault(content, shown(*decode(content, UCS2, False)))

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
        self,
        batches: Sequence[Batch],
        attempts: list[Attempt],
        verdicts: list[Verdict],
        profile: Profile,
    ) -> tuple[list[Shared], list[Item]]:
        """What each attempt shares with others of its sender, and what the journal wants to know of it."""
        items: list[Item] = []
        of_all: list[Shared] = []
        shared_by = self.shares.by_verdict
        index = 0
        for batch in batches:
            key, connection = batch.key, batch.connection
            for submit in batch.submits:
                said = submit.submission or UNREAD
                total, number, reference = said.pk_total, said.pk_number, said.reference
                fmt, udhi, content, sequence = said.fmt, int(said.udhi), said.content, submit.sequence
                for recipient in range(submit.width):
                    attempt, verdict = attempts[index], verdicts[index]
                    index += 1
                    source, destination = attempt.source, attempt.destination
                    shared = shared_by.get(id(verdict))
                    if shared is None or not shared.of(source, key):
                        shared = self.shares.make(key, attempt.channel, source, verdict, profile, self.view)
                    of_all.append(shared)
                    items.append(
                        (
                            shared.record,
                            attempt.deliver_at,
                            connection,
                            sequence if sequence < SHORT or sequence <= U64 else sequence.to_bytes(12, "big"),
                            recipient,
                            total,
                            number,
                            reference,
                            self._regions.region(destination),
                            destination,
                            fmt,
                            udhi,
                            content,
                        )
                    )
        return of_all, items

    def _tell(
        self,
        batches: Sequence[Batch],
        attempts: list[Attempt],
        subscribers: list[int],
        of_all: list[Shared],
        ids: list[bytes],
        now: int,
    ) -> None:
        """Tell each submit what became of it, and note who sent to whom, so that a reply finds its
        institution."""
        first = self.journal.index
        index = 0
        for batch in batches:
            channel = batch.channel
            for submit in batch.submits:
                end = index + submit.width
                if submit.width == 1:
                    submit.ids, submit.verdicts = (ids[index],), (of_all[index].verdict,)
                else:
                    submit.ids = tuple(ids[index:end])
                    submit.verdicts = [shared.verdict for shared in of_all[index:end]]
                while index < end:
                    shared = of_all[index]
                    attempt = attempts[index]
                    if not shared.passed:
                        submit.refused += 1
                    elif attempt.destination and channel == SMS:  # nobody replies to a call by SMS
                        pair = pair_key(shared.half, subscribers[index])
                        self._contacts.remember(pair, now, shared.institution, ids[index], first + index)
                    index += 1
