"""Whose a delivery is that a carrier makes on a connection of its own (SGIP).

A report finds its account by the number of the submit that it names, and its subscriber; what a subscriber
sends by the number he sent it to: who sent last from there to him, else who sent last from there, else who
may show that number by the registry. What was passed on is in mapped files as contacts are (contacts.py):
seen by all workers of the node at once, whole after a kill, kept for 30 days; they name accounts by their id.
"""

from collections.abc import Sequence
from time import time_ns

from gateway.model import SMS, Account, AccountKey, AccountNumber, Number
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical
from gateway.registry.snapshot import Snapshot
from gateway.relay.contacts import Contacts, half_key
from gateway.relay.memory import Submit

MOST_SOURCES = 20_000  # of which it is remembered that they are noted today
DAY = 86_400_000
LISTED = 1000
"""What an account that a number is listed for counts beside one that only holds it: more."""


class Routes:
    """Of one carrier and protocol, in one worker."""

    def __init__(self, carrier: str, protocol: str, view: Snapshot, noted: Contacts) -> None:
        self._of = carrier, protocol
        self._view = view
        self._noted = noted
        self._sources: dict[str, tuple[int, int]] = {}  # by number: (account, day) as they were noted last
        self._accounts: list[tuple[Account, Sequence[AccountNumber]]] = []
        self._version = -1

    def passed(self, account: Account | None, submits: Sequence[Submit]) -> None:
        """These submits of an account go on to the carrier, but for those that were refused."""
        if account is None:
            return
        now, note = time_ns() // 1_000_000, self._noted.remember
        for submit in submits:
            if submit.submission is None or submit.octets == b"":
                continue
            source, identity = canonical(submit.submission.source), submit.ids[0]
            for raw, verdict in zip(submit.submission.destinations, submit.verdicts, strict=True):
                if verdict.reason is None:
                    subscriber = canonical(raw)
                    note(self._key(submit.sequence, subscriber), now, account.id, identity)
                    note(self._key(source, subscriber), now, account.id, identity)
            noted = account.id, now // DAY
            if self._sources.get(source) != noted:
                if len(self._sources) >= MOST_SOURCES:
                    self._sources.clear()
                self._sources[source] = noted
                note(self._key(source, ""), now, account.id, identity)

    def of_report(self, sequence: int, subscriber: str) -> Account | None:
        """Whose submit of this number to this subscriber is reported on. Raises NotReady."""
        return self._by(self._key(sequence, subscriber), time_ns() // 1_000_000)

    def of_number(self, number: str, subscriber: str) -> Account | None:
        """Who is to hear what this subscriber sends to this number (both canonical): one that listens, where
        there is one. Raises NotReady."""
        now = time_ns() // 1_000_000
        sent = [self._by(self._key(number, to), now) for to in (subscriber, "")] if number else []
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
        if self._version != view.version:
            filed = view.accounts(*self._of)
            self._accounts = [(account, view.account_numbers(account.key)) for account in filed]
            self._version = view.version
        return self._accounts

    def _by(self, key: int, now: int) -> Account | None:
        contact = self._noted.last(key, now)
        if contact is None:
            return None
        return next((one for one, _ in self.accounts() if one.id == contact.institution), None)

    def _key(self, what: int | str, subscriber: str) -> int:
        return half_key(self._view.hash(f"{what} {subscriber}")) or 1


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
