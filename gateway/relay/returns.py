"""What comes back from a carrier: outcomes are noted in passing, reports and replies wait for the disk, or a
carrier would not send again what a crash has lost.

One `Returns` per worker. A reply that does something is in the journal and in `local.mdb` before `done` is
called, so that the session passes it on only when it holds (domain.md "A reply (MO) means"). A long one is
read as one (joining.py).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter, time_ns
from typing import TypeAlias

from gateway.errors import WireError
from gateway.evidence.journal import Done, JournalFull, OutcomeItem
from gateway.evidence.search import Search
from gateway.model import MARKETING, SMS, AccountKey, Reply
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical, opaque
from gateway.policy.replies import classify, depends
from gateway.policy.reply_scope import covers_beyond
from gateway.protocols import Wire
from gateway.protocols.message import Delivery
from gateway.protocols.table import Frame
from gateway.protocols.text import decode, others
from gateway.registry.keys import RegistryKey
from gateway.registry.local import LocalRefusal, does_something, learn
from gateway.relay.confirming import Confirmations
from gateway.relay.contacts import Contact, Contacts, half_key, key_of
from gateway.relay.context import Context
from gateway.relay.joining import UNFINISHED, Joining, Read
from gateway.relay.lane import Place
from gateway.relay.memory import Cuts, Note, join
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry

SET_BACK = 100
"""ms: what was said that much later than now, was said before somebody set the clock back."""

_Asked: TypeAlias = tuple[Delivery, Done, Read | None]
"""What is to be read, who hears that it is in force, and of a long reply or its part, where it belongs."""


class Returns:
    """Records what carriers send back, for all sessions of a worker."""

    def __init__(
        self,
        node: str,
        screen: Screen,
        key: RegistryKey,
        contacts: Contacts,
        context: Context,
        confirmations: Confirmations,
        telemetry: Telemetry,
    ) -> None:
        self._node = node
        self._screen = screen
        self._key = key
        self._contacts = contacts
        self._context = context
        self._confirmations = confirmations
        self._telemetry = telemetry
        self._kinds: Counter[str] = Counter()
        self._newest = 0  # ms: when the reply came that came last
        self._answered: list[OutcomeItem] = []
        self._joining = Joining(self._late)

    def outcomes(self, answered: Sequence[OutcomeItem]) -> None:
        """The carrier's answers; those of one turn of the loop are recorded together."""
        if not self._answered:
            asyncio.get_running_loop().call_soon(self._record_outcomes)
        self._answered += answered

    def _record_outcomes(self) -> None:
        answered, self._answered = self._answered, []
        self._screen.journal.outcomes(time_ns() // 1_000_000, answered)

    def delivered(
        self,
        wire: Wire,
        account: AccountKey,
        data: bytes,
        frame: Frame,
        replies: list[tuple[Frame, Delivery]],
        reports: list[Frame],
        note: Note,
    ) -> None:
        """A frame that delivers something, for `hold`: a reply, or a report, which is noted."""
        try:
            delivery = wire.delivery(data, frame[0], frame[1])
        except WireError as error:  # passed all the same: the sender may know more than we do
            note("delivery not understood", error)
            return
        if delivery.report is not None:
            self.report(account, delivery)
            reports.append(frame)
        else:
            replies.append((frame, delivery))

    def report(self, account: AccountKey, delivery: Delivery) -> None:
        """A status report; the attempt is tied by its message id when records are read."""
        report = delivery.report
        assert report is not None
        self._screen.journal.report(
            time_ns() // 1_000_000,
            account,
            report.message_id,
            report.stat.decode("latin-1"),
            report.submit_time.decode("latin-1"),
            report.done_time.decode("latin-1"),
            canonical(delivery.number),
            _subscriber(delivery) or canonical(report.destination),
        )

    def hold(
        self,
        account: AccountKey,
        replies: Sequence[tuple[Frame, Delivery]],
        reports: Sequence[Frame],
        read: tuple[bytes, int, Cuts],
        place: Place,
        read_on: Callable[[bool], None],
        refused: Callable[[Frame, Exception], None],
    ) -> None:
        """Fill the place with what a read brought (data, octets of it, cuts) once its replies are in force
        and its reports, recorded before, are durable; and read on. What could not be recorded is `refused`
        and left out."""
        data, used, cuts = read
        left = len(replies) + bool(reports)
        journal = self._screen.journal
        if replies or journal.crowded:
            read_on(False)

        def done(frames: Sequence[Frame], error: Exception | None) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                for frame in frames:
                    refused(frame, error)
                    cuts[:] = [cut for cut in cuts if cut[0] != frame[0]]
                    cuts.append((frame[0], frame[1], b""))
            if not left:
                place.fill(join(data, used, cuts))
                read_on(True)

        def noted(error: Exception | None) -> None:
            done(reports, None if isinstance(error, JournalFull) else error)

        if reports:
            journal.noted(noted)
        if replies:
            self.replies(account, [(reply, partial(done, (frame,))) for frame, reply in replies])

    def replies(self, account: AccountKey, answers: Sequence[tuple[Delivery, Done]]) -> None:
        """What one read brought of subscribers' answers, in order; each is `done` when it is in force.

        The message that one answers is looked up where it can change what the answer means.
        """
        arrived, now = perf_counter(), time_ns() // 1_000_000
        asked: list[_Asked] = []
        for delivery, done in answers:
            read = self._joining.take(account, delivery, now)
            if read is None:
                asked.append((delivery, done, None))
            else:
                asked.append((read.delivery, partial(self._joining.done, read, done), read))
        self._ask(account, asked, arrived, now)

    def _ask(self, account: AccountKey, asked: Sequence["_Asked"], arrived: float, now: int) -> None:
        contacts = [
            self._answered_by(account, delivery, now) if read is None or read.whole else None
            for delivery, _, read in asked
        ]
        take = partial(self._take, account, asked, arrived)
        if any(contacts):
            self._context.texts(contacts, take)
        else:
            take([""] * len(asked))

    def _late(self, read: Read, done: Done) -> None:
        """A long reply of which parts have stayed out."""
        self._ask(read.account, [(read.delivery, done, read)], perf_counter(), time_ns() // 1_000_000)

    def finish(self) -> None:
        """Nothing more comes: read what waits for parts, by itself."""
        self._joining.finish(
            lambda read, done: self._take(read.account, [(read.delivery, done, read)], perf_counter(), [""])
        )

    def restore(self, search: Search, mine: Callable[[str], bool]) -> None:
        """Take up the parts of long replies that nobody has read, of accounts that are `mine`."""
        self._joining.restore(search, mine)

    def _answered_by(self, account: AccountKey, delivery: Delivery, now: int) -> Contact | None:
        """The attempt whose text has to be known to understand a reply; None when none has."""
        text, _ = _said(account, delivery)
        return self._last(canonical(delivery.number), _subscriber(delivery), now) if depends(text) else None

    def _take(
        self,
        account: AccountKey,
        asked: Sequence["_Asked"],
        arrived: float,
        outbound: Sequence[str],
    ) -> None:
        for (delivery, done, read), sent in zip(asked, outbound, strict=True):
            try:
                if read is not None and not read.whole:
                    self._part(read, done)
                else:
                    self.reply(account, delivery, done, sent, arrived, read)
            except Exception as error:  # it was not recorded, and its connection waits
                done(error)

    def _part(self, read: Read, done: Done) -> None:
        """A part of what will be read with the others: recorded."""
        delivery, view = read.delivery, self._screen.view
        number, subscriber = canonical(delivery.number), _subscriber(delivery)
        reply = Reply(
            read.account, number, subscriber, message_id=delivery.message_id, text="", flags=(read.flag,)
        )
        self._screen.journal.reply(
            read.at,
            reply,
            delivery.content,
            delivery.fmt,
            int(delivery.udhi),
            purposes=0,
            channels=0,
            registry_version=view.version,
            done=done,
        )

    def reply(
        self,
        account: AccountKey,
        delivery: Delivery,
        done: Done,
        outbound: str,
        arrived: float,
        read: Read | None = None,
    ) -> None:
        """A subscriber's answer to `outbound`: understood, recorded, and put into force before `done`.
        `arrived`: perf_counter; `read`: what its parts say together."""
        now = time_ns() // 1_000_000
        view = self._screen.view
        view.renew()
        text, note = _said(account, delivery)
        number, subscriber = canonical(delivery.number), _subscriber(delivery)
        contact = self._last(number, subscriber, now)
        institution = contact.institution if contact is not None else 0
        meaning = classify(text, outbound)
        kind = meaning.kind
        if kind == "other" and _may_refuse(delivery, "" if note == "packed" else text, outbound):
            kind = "ambiguous"
        if read is not None and not all(delivery.content):
            kind = UNFINISHED.get(kind, kind)
        now = self._moment(now, kind)
        filings = view.numbers(number) if number else ()
        filing = governing(filings, SMS, now)
        if not institution and filing is not None:
            institution = filing.institution
        owner = view.institution(institution) if institution else None
        held = kind == "ambiguous" and bool(subscriber and number)
        refuses = kind == "refuse" and bool(subscriber and number)
        purposes = channels = 0
        if refuses or held:
            # by what the number was filed for when the message came: it may be somebody else's since
            own = [one for one in filings if one.institution == institution]
            answered = governing(own, SMS, now if contact is None else contact.at)
            covered = self._screen.profile.covered(answered.purposes if answered is not None else 0)
            purposes = covered & meaning.purposes or covered  # narrowed, never to nothing
            channels = meaning.channels
        flags = () if contact is not None else ("no_attempt_here",)
        if held:  # and the rest by a person's decision
            flags, purposes = (*flags, *covers_beyond(purposes)), MARKETING
        does = does_something(kind, subscriber, number, institution, purposes)
        if read is not None:
            flags = (*flags, read.flag)
        code = owner.code if owner is not None else ""
        reply = Reply(account, number, subscriber, text, kind, delivery.message_id, institution, code, flags)

        def learnt(record: bytes) -> LocalRefusal:
            return learn(
                self._key,
                subscriber,
                institution=institution,
                number=number,
                purposes=purposes,
                channels=channels,
                at=now if read is None else read.at,
                flags=flags,
                node=self._node,
                account=account,
                message_id=delivery.message_id,
                kind=kind,
                record=record,
            )

        def durable(error: Exception | None) -> None:
            if error is None:
                self.count(kind)
            if error is None and purposes:
                self._telemetry.refusal_effective.observe(perf_counter() - arrived)
            done(error)
            if confirmed:
                self._confirmations.settle(reply, delivery, held=error is None)

        self._screen.journal.reply(
            now,
            reply,
            delivery.content,
            delivery.fmt,
            int(delivery.udhi),
            purposes=purposes,
            channels=channels,
            registry_version=view.version,
            attempt=contact.attempt if contact is not None else b"",
            local=learnt if does else None,
            done=durable,
        )
        confirmed = does and self._confirmations.wants(reply)

    def _moment(self, now: int, kind: str) -> int:
        """When a reply came, in ms: who accepts again does so after what came before it, if only in the same
        read, as of two of one moment the refusal stands."""
        if self._newest - now < SET_BACK:
            now = max(now, self._newest + (kind == "accept"))
        self._newest = now
        return now

    def count(self, kind: str) -> None:
        """One more reply of this kind was recorded."""
        self._kinds[kind] += 1

    def flush_metrics(self) -> None:
        for kind, count in self._kinds.items():
            self._telemetry.replies.labels(kind).inc(count)
        self._kinds.clear()

    def _last(self, number: str, subscriber: str, now: int) -> Contact | None:
        if not number or not subscriber:
            return None
        for key in reversed(self._key.keys):  # noted under the one that was the newest then
            noted = key_of(half_key(key.hash(number)), key.hash(subscriber))
            if (contact := self._contacts.last(noted, now)) is not None:
                return contact
        return None


def _may_refuse(delivery: Delivery, read: str, outbound: str) -> bool:
    """Whether its octets refuse in a coding other than that in which they were `read`."""
    readings = others(delivery.content, delivery.udhi, read)
    return any(classify(text, outbound).kind == "refuse" for text in readings)


def _subscriber(delivery: Delivery) -> str:
    return (opaque if delivery.pseudo else canonical)(delivery.subscriber)


def _said(account: AccountKey, delivery: Delivery) -> tuple[str, str]:
    return decode(delivery.content, delivery.fmt, delivery.udhi, account.protocol, reply=True)
