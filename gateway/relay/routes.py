"""Whose a delivery is that a carrier makes on a connection of its own (SGIP).

A report finds its account by the number of the submit that it names, and its subscriber. What a subscriber
sends finds it by the number he sent it to: who sent last from there to him, where several accounts send from
there; else who was the first to send from there; else who may show the number by the registry. What was
passed on is in mapped files as contacts are (contacts.py): seen by all workers of the node at once, whole
after a kill, kept for 30 days; they name accounts by their id.

It costs one entry a message. That a second account sends from a number is known to the first within a minute.
"""

from collections.abc import Callable, Sequence
from time import time_ns

from gateway.errors import NotReady
from gateway.model import SMS, Account, AccountKey, AccountNumber, Number
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import Contact, Contacts, half_key, pair_key
from gateway.relay.memory import Submit

MOST_SOURCES = 20_000  # of which it is remembered who sends from there
AGAIN = 60_000  # ms until that is looked up again
DAY = 86_400_000
ANYBODY, SHARED = "", "*"
"""In place of a subscriber: who sends from a number, and who does beside him."""
DIGITS = 11  # of a mobile number
PRIME = 2**61 - 1
"""By which numbers of 96 bits are brought below 64."""
Hash = Callable[[str], bytes]
_UNKNOWN = (0, False, 0)
LISTED = 1000
"""What an account that a number is listed for counts beside one that only holds it: more."""


class Routes:
    """Of one carrier and protocol, in one worker. `older`: the hashes by which something may be noted still
    from before the registry key rotated."""

    def __init__(
        self,
        carrier: str,
        protocol: str,
        view: Snapshot,
        noted: Contacts,
        older: Callable[[], Sequence[Hash]] = tuple,
    ) -> None:
        self._of = carrier, protocol
        self._view = view
        self._noted = noted
        self._older = older
        self._sources: dict[tuple[bytes, int], tuple[int, bool, int]] = {}
        """By number and account: its half of keys, whether others send from it, till when that is known."""
        self._hashed_by = view.hashed_by
        self._accounts: list[tuple[Account, Sequence[AccountNumber]]] = []
        self._known: dict[int, Account | None] = {}  # by id
        self._changes = self._known_of = -1  # the changes of the registry that they were read after

    def passed(self, account: Account | None, submits: Sequence[Submit]) -> None:
        """These submits of an account go on to the carrier, but for those that were refused."""
        if account is None:
            return
        now, mine = time_ns() // 1_000_000, account.id
        if self._hashed_by != self._view.hashed_by:
            self._sources.clear()
            self._hashed_by = self._view.hashed_by
        for submit in submits:
            submission, verdicts = submit.submission, submit.verdicts
            if submission is None or submit.octets == b"":
                continue
            source, identity = submission.source, submit.ids[0]
            number, shared, until = self._sources.get((source, mine), _UNKNOWN)
            if now >= until:
                try:
                    number, shared = self._sends(source, mine, now, identity)
                except NotReady:  # nobody can say now who else sends from there
                    number, shared = self._half(canonical(source)), True
            for place, raw in enumerate(submission.destinations):
                if verdicts[place].reason is None:
                    whom = self._whom(raw)
                    self._noted.remember(pair_key(submit.sequence % PRIME, whom), now, mine, identity)
                    if shared:
                        self._noted.remember(pair_key(number, whom), now, mine, identity)

    def _sends(self, source: bytes, account: int, now: int, identity: bytes) -> tuple[int, bool]:
        """(The number's half of keys, whether other accounts send from it, too); that this one does, all may
        see."""
        number = canonical(source)
        first, other = self._key(number, ANYBODY), self._key(number, SHARED)
        known = self._noted.last(first, now)
        holder = self._by(number, ANYBODY, now)
        if holder is None or holder.id == account:
            if holder is None or known is None or known.at < now - DAY:
                self._noted.remember(first, now, account, identity)
            shared = self._by(number, SHARED, now) not in (None, holder)
        else:
            self._noted.remember(other, now, account, identity)
            shared = True
        if len(self._sources) >= MOST_SOURCES:
            self._sources.clear()
        half = self._half(number)
        self._sources[source, account] = half, shared, now + AGAIN
        return half, shared

    def of_report(self, sequence: int, subscriber: bytes) -> Account | None:
        """Whose submit of this number to this subscriber (as on the wire) is reported on. Raises NotReady."""
        self._view.renew()
        now, said, number = time_ns() // 1_000_000, _said(subscriber), sequence % PRIME
        keys = [pair_key(number, half_key(hashed(said))) for hashed in (self._view.hash, *self._older())]
        return self._of_contact(next(filter(None, (self._noted.last(key, now) for key in keys)), None))

    def of_number(self, number: str, subscriber: str) -> Account | None:
        """Who is to hear what this subscriber sends to this number (both canonical): one that listens, where
        there is one. Raises NotReady."""
        now = time_ns() // 1_000_000
        self._view.renew()
        sent = [self._by(number, to, now) for to in (subscriber, ANYBODY)] if number else []
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

    def _by(self, number: str, to: str, now: int) -> Account | None:
        for hashed in (self._view.hash, *self._older()):
            key = pair_key(half_key(hashed(number)), half_key(hashed(to)))
            if (contact := self._noted.last(key, now)) is not None:
                return self._of_contact(contact)
        return None

    def _of_contact(self, contact: Contact | None) -> Account | None:
        if contact is None:
            return None
        if self._known_of != self._view.changes:
            self._known.clear()
            self._known_of = self._view.changes
        if contact.institution not in self._known:
            self._known[contact.institution] = self._view.account_of(contact.institution)
        return self._known[contact.institution]

    def _key(self, number: str, subscriber: str) -> int:
        return pair_key(self._half(number), self._half(subscriber))

    def _half(self, said: str) -> int:
        return half_key(self._view.hash(said))

    def _whom(self, subscriber: bytes) -> int:
        """A subscriber's half of keys; his hash is known since he was judged. One who can't be read is told
        apart by his last octets: 86 stands before them in one frame and not in another."""
        return self._half(_said(subscriber))


def _said(subscriber: bytes) -> str:
    return canonical(subscriber) or repr(subscriber[-DIGITS:])


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
