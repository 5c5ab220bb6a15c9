"""A confirmation to a subscriber who has refused, or accepts again: once, from the number that he answered.

An attempt of its own, of purpose service, with `confirmation` as its verdict's sub-code: on record before it
leaves, no context of a later reply, counted by no cap. It goes through a connection of the account that is
up; where there is none, or the number may not send at all (banned, not filed, suspended …), it is on record
as `confirmation_unsent`. Where neither could be recorded, it is owed: the subscriber's next reply of the same
kind is confirmed in its place.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time_ns
from typing import Protocol

from gateway.errors import NotReady
from gateway.evidence.journal import Done
from gateway.evidence.record import U64
from gateway.evidence.record import judged as encoded
from gateway.model import SMS, AccountKey, Reply, Verdict
from gateway.policy.facts import gather
from gateway.policy.judge import judged
from gateway.protocols.message import Delivery
from gateway.protocols.text import UCS2, encode
from gateway.regions import Regions
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry

MOST_OCTETS = 140
"""Of the text of one short message."""

MOST_OWED = 10_000
"""Confirmations of which a full disk took no record; the oldest are forgotten."""

MOST_HEARD = 100_000
"""Replies of which it is known that they were confirmed; what is told again comes within hours."""

SENT, UNSENT = "confirmation", "confirmation_unsent"


class Transmitter(Protocol):
    """A connection to the carrier: a session."""

    connection: int
    retired: bool  # no submit of ours may go on it, because a side says goodbye to the carrier

    def confirmation(self, reply: Delivery, content: bytes) -> tuple[int, bytes]:
        """The number and octets of a submit of ours. Raises ValueError where a field can't hold what it
        should."""

    def transmit(self, number: int, octets: bytes, identity: bytes) -> None:
        """Send it, unless `retired`: it is on record."""

    def withdraw(self, number: int) -> None:
        """It is not sent."""


class Confirmations:
    """For all sessions of a worker. `texts`: by what was replied what is said to it; "" or none: nothing."""

    def __init__(
        self,
        node: str,
        screen: Screen,
        regions: Regions,
        telemetry: Telemetry,
        log: logging.Logger,
        texts: Mapping[str, str],
    ) -> None:
        self.texts = texts
        self._node = node
        self._screen = screen
        self._regions = regions
        self._telemetry = telemetry
        self._log = log
        self._open: dict[AccountKey, dict[Transmitter, None]] = {}
        self._waiting: set[tuple[str, int]] = set()  # (subscriber, institution), until their reply holds
        self._heard: dict[tuple[AccountKey, bytes, str], None] = {}  # confirmed, or owed it
        self._owed: dict[tuple[str, int], str] = {}  # and the kind of reply that nobody has confirmed

    def join(self, key: AccountKey, session: Transmitter) -> None:
        """This session may send for the account from now on."""
        self._open.setdefault(key, {})[session] = None

    def leave(self, key: AccountKey, session: Transmitter) -> None:
        """It sends nothing more, nor what is on record and has not left."""
        session.retired = True
        sessions = self._open.get(key, {})
        sessions.pop(session, None)
        if not sessions:
            self._open.pop(key, None)

    def wants(self, reply: Reply) -> bool:
        """Whether a reply is to be confirmed, to be asked before it is in force: it is the first one that
        refuses, or accepts again what was refused, and was not told before: an answer since may have ended
        it. Then `settle` has to follow."""
        pair, heard = (reply.subscriber, reply.institution), _named(reply)
        if not self.texts.get(reply.kind) or not reply.institution or pair in self._waiting:
            return False
        owed = self._owed.get(pair) == reply.kind
        if owed:
            del self._owed[pair]
        elif (reply.message_id and heard in self._heard) or self._settled(reply):
            return False
        self._heard[heard] = None
        if len(self._heard) > MOST_HEARD:
            del self._heard[next(iter(self._heard))]
        self._waiting.add(pair)
        return True

    def _settled(self, reply: Reply) -> bool:
        """Whether what he says stands already; where that can't be read, he is told nothing."""
        try:
            return self._refused(reply) is (reply.kind == "refuse")
        except NotReady:
            return True

    def _refused(self, reply: Reply) -> bool:
        """Whether a plain refusal stands already; or, for one that accepts again, any that it ends."""
        said, institution = self._screen.view.refusals(reply.subscriber), reply.institution
        ends = reply.kind == "accept"
        return any(
            (one.institution == institution or (ends and not one.institution and one.number == reply.number))
            and one.purposes
            and (ends or not one.undecided_until)
            and one.stands(said, institution)
            for one in said
        )

    def settle(self, reply: Reply, delivery: Delivery, *, held: bool) -> None:
        """The reply is in force, or, with `held` false, is not."""
        self._waiting.discard((reply.subscriber, reply.institution))
        if not held:
            self._heard.pop(_named(reply), None)
        else:
            try:
                self._send(reply, delivery)
            except NotReady as error:
                self._owe(reply, error)

    def _owe(self, reply: Reply, error: Exception) -> None:
        self._log.warning("confirmation not recorded", extra={"fields": {"error": str(error)}})
        self._owed[reply.subscriber, reply.institution] = reply.kind
        if len(self._owed) > MOST_OWED:
            del self._owed[next(iter(self._owed))]

    def _send(self, reply: Reply, delivery: Delivery) -> None:
        screen, now = self._screen, time_ns() // 1_000_000
        view, key = screen.view, reply.account
        view.renew()
        facts = gather((key, reply.number, SMS), view, screen.profile, now, stale=False)
        verdict = judged(facts, view.texts).clean
        filing, account, owner = facts.filing, facts.account, facts.institution
        text = self.texts.get(reply.kind, "")
        if (account is None or account.signature == "in_text") and filing is not None and owner is not None:
            text = f"【{filing.signatures[0] if filing.signatures else owner.name}】{text}"
        content = encode(text, UCS2)[:MOST_OCTETS]
        session = next(reversed(self._open.get(key, {})), None)
        made: tuple[int, bytes] | None = None
        if session is not None and verdict.reason is None and filing is not None:
            with suppress(ValueError):  # he wrote from an address that no submit can go to
                made = session.confirmation(delivery, content)
        if session is None or made is None:
            self._record(reply, verdict, UNSENT, content, 0, 0, lambda error: None)
            return
        number, octets = made
        try:
            ids: list[bytes] = []
            ids += self._record(
                reply, verdict, SENT, content, session.connection, number,
                partial(self._durable, session, number, octets, ids),
            )  # fmt: skip
        except NotReady:
            session.withdraw(number)
            raise

    def _durable(
        self, session: Transmitter, number: int, octets: bytes, ids: list[bytes], error: Exception | None
    ) -> None:
        if error is None:
            session.transmit(number, octets, ids[0])
        else:
            session.withdraw(number)

    def _record(
        self,
        reply: Reply,
        verdict: Verdict,
        sub: str,
        content: bytes,
        connection: int,
        number: int,
        done: Done,
    ) -> list[bytes]:
        screen = self._screen
        profile, view, key = screen.profile, screen.view, reply.account
        mandates = view.mandates(verdict.institution, verdict.agency) if verdict.mandate else ()
        raw = encoded(
            key,
            self._node,
            SMS,
            reply.number,
            replace(verdict, reason=None, sub=sub, findings=(), purpose="service"),
            profile=profile.digest,
            lexicon=profile.lexicon_digest,
            mandate_document=next((one.document for one in mandates if one.id == verdict.mandate), ""),
        )
        region = self._regions.region(reply.subscriber)
        sequence = number if number <= U64 else number.to_bytes(12, "big")
        item = (raw, 0, connection, sequence, 0, 1, 1, 0, region, reply.subscriber, UCS2, 0, content)

        def durable(error: Exception | None) -> None:
            if error is None:
                self._telemetry.attempts.labels("sms", key.protocol, "service", "pass").inc()
            else:
                self._owe(reply, error)
            done(error)

        return screen.journal.attempts(time_ns() // 1_000_000, view.version, [item], durable)


def _named(reply: Reply) -> tuple[AccountKey, bytes, str]:
    """What a reply that is told again has in common with what it was told first."""
    return reply.account, reply.message_id, reply.subscriber
