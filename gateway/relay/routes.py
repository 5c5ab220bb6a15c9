"""Whose a delivery is that a carrier makes on a connection of its own (SGIP).

A report finds its account by the number of the submit that it names, and its subscriber. What a subscriber
sends finds it by the number he sent it to: who sent last from there to him, where several accounts send from
there; else who was the first to send from there; else who may show the number by the registry. What was
passed on is in mapped files as contacts are (contacts.py): seen by all workers of the node at once, whole
after a kill, kept for 30 days; they name accounts by their id.

It costs one entry a message. That a second account sends from a number is known to the first within a minute.
"""

from collections.abc import Sequence
from time import time_ns

from gateway.errors import NotReady
from gateway.model import SMS, Account, AccountKey, AccountNumber, Number
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import Contacts, half_key, pair_key
from gateway.relay.memory import Submit

MOST_SOURCES = 20_000  # of which it is remembered who sends from there
AGAIN = 60_000  # ms until that is looked up again
DAY = 86_400_000
ANYBODY, SHARED = "", "*"
"""In place of a subscriber: who sends from a number, and who does beside him."""
DIGITS = 11  # of a mobile number
ODD, BITS = 0x9E37_79B9_7F4A_7C15, 2**64 - 1
"""By which the words of a number above 64 bits are spread over those below."""
LISTED = 1000
"""What an account that a number is listed for counts beside one that only holds it: more."""


class Routes:
    """Of one carrier and protocol, in one worker."""

    def __init__(self, carrier: str, protocol: str, view: Snapshot, noted: Contacts) -> None:
        self._of = carrier, protocol
        self._view = view
        self._noted = noted
        self._sources: dict[tuple[bytes, int], tuple[str, bool, int]] = {}
        """By number and account: the number as text, whether others send from it, till when that is known."""
        self._accounts: list[tuple[Account, Sequence[AccountNumber]]] = []
        self._known: dict[int, Account | None] = {}  # by id
        self._changes = self._known_of = -1  # the changes of the registry that they were read after

    def passed(self, account: Account | None, submits: Sequence[Submit]) -> None:
        """These submits of an account go on to the carrier, but for those that were refused."""
        if account is None:
            return
        now, note, sources = time_ns() // 1_000_000, self._noted, self._sources
        for submit in submits:
            if submit.submission is None or submit.octets == b"":
                continue
            source, identity = submit.submission.source, submit.ids[0]
            number, shared, until = sources.get((source, account.id), ("", False, 0))
            if now >= until:
                try:
                    number, shared = self._sends(source, account.id, now, identity)
                except NotReady:  # nobody can say now who else sends from there
                    number, shared = canonical(source), True
            for raw, verdict in zip(submit.submission.destinations, submit.verdicts, strict=True):
                if verdict.reason is None:
                    note.remember(self._report_key(submit.sequence, raw), now, account.id, identity)
                    if shared:
                        note.remember(self._key(number, canonical(raw)), now, account.id, identity)

    def _sends(self, source: bytes, account: int, now: int, identity: bytes) -> tuple[str, bool]:
        """(The number as text, whether other accounts send from it, too); that this one does, all may see."""
        number = canonical(source)
        first, other = self._key(number, ANYBODY), self._key(number, SHARED)
        known, holder = self._noted.last(first, now), self._by(first, now)
        if holder is None or holder.id == account:
            if holder is None or known is None or known.at < now - DAY:
                self._noted.remember(first, now, account, identity)
            shared = self._by(other, now) not in (None, holder)
        else:
            self._noted.remember(other, now, account, identity)
            shared = True
        if len(self._sources) >= MOST_SOURCES:
            self._sources.clear()
        self._sources[source, account] = number, shared, now + AGAIN
        return number, shared

    def of_report(self, sequence: int, subscriber: bytes) -> Account | None:
        """Whose submit of this number to this subscriber (as on the wire) is reported on. Raises NotReady."""
        self._view.renew()
        return self._by(self._report_key(sequence, subscriber), time_ns() // 1_000_000)

    def of_number(self, number: str, subscriber: str) -> Account | None:
        """Who is to hear what this subscriber sends to this number (both canonical): one that listens, where
        there is one. Raises NotReady."""
        now = time_ns() // 1_000_000
        self._view.renew()
        sent = [self._by(self._key(number, to), now) for to in (subscriber, ANYBODY)] if number else []
        for account in sent:
            if account is not None and account.listener:
                return account
        filing = governing(self._view.numbers(number), SMS, now) if number else None
        ranked = [(_rank(*one, number, filing, now), one[0]) for one in self.accounts() if one[0].listener]
        rank, account = max(ranked, key=lambda one: one[0], default=(0, None))
        return account if rank else next((one for one in sent if one is not None), None)

    def named(self, account: str) -> Account | None:
        """The account of this name. Raises NotReady."""
        self._view.renew()
        return self._view.account(AccountKey(*self._of, account))

    def accounts(self) -> Sequence[tuple[Account, Sequence[AccountNumber]]]:
        """All that are filed, and the numbers that each may show. Raises NotReady."""
        view = self._view
        view.renew()
        if self._changes != view.changes:
            filed = view.accounts(*self._of)
            self._accounts = [(account, view.account_numbers(account.key)) for account in filed]
            self._changes = view.changes
        return self._accounts

    def _by(self, key: int, now: int) -> Account | None:
        contact = self._noted.last(key, now)
        if contact is None:
            return None
        if self._known_of != self._view.changes:
            self._known.clear()
            self._known_of = self._view.changes
        if contact.institution not in self._known:
            self._known[contact.institution] = self._view.account_of(contact.institution)
        return self._known[contact.institution]

    def _key(self, number: str, subscriber: str) -> int:
        view = self._view
        return pair_key(half_key(view.hash(number)), half_key(view.hash(subscriber)))

    def _report_key(self, sequence: int, subscriber: bytes) -> int:
        """Of a submit's number and one of its subscribers, whose hash is known since he was judged. One who
        can't be read is told apart by his last octets: 86 stands before in one frame and not in another."""
        whom = canonical(subscriber) or repr(subscriber[-DIGITS:])
        number = sequence if sequence <= BITS else (sequence ^ (sequence >> 64) * ODD) & BITS
        return pair_key(number, half_key(self._view.hash(whom)))


def _rank(
    account: Account, listed: Sequence[AccountNumber], number: str, filing: Number | None, now: int
) -> int:
    """How good a claim an account has to a number, above 0 if any: by a list that names it, the longest
    first; else, without a list, as its user or its owner."""
    lengths = [
        len(one.number)
        for one in listed
        if one.span.holds(now) and (number == one.number or (one.is_prefix and number.startswith(one.number)))
    ]
    if lengths or listed or filing is None:
        return LISTED + max(lengths) if lengths else 0
    user = filing.agency or filing.institution
    return 2 * (account.holder == user) or int(account.holder == filing.institution)
