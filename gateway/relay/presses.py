"""Refusals by key press, as a call platform tells them (contract.md `POST /voice/refusals`).

The same record as that of a reply that refuses, with the flag `voice_key`, and in force in the same way: in
the journal and in `local.mdb` before it is told; confirmed by SMS where the number and a session of the
account may send one. Whose refusal it is: the institution's that the number is filed for, or the number's
own, until somebody files it.
"""

from collections.abc import Callable
from time import perf_counter, time_ns

from gateway.direct import Press, Refused
from gateway.model import SMS, VOICE, AccountKey, Reply
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical
from gateway.protocols.message import Delivery
from gateway.registry.keys import RegistryKey
from gateway.registry.local import VOICE_KEY, learn
from gateway.relay.confirming import Confirmations
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry

BOTH = SMS | VOICE

Recorded = Callable[[Refused, Exception | None], None]
"""On the loop: the refusal is in force; or, with an error, it is not."""


class Presses:
    """Takes the key presses of one worker's accounts."""

    def __init__(
        self,
        node: str,
        screen: Screen,
        key: RegistryKey,
        returns: Returns,
        confirmations: Confirmations,
        telemetry: Telemetry,
    ) -> None:
        self._node = node
        self._screen = screen
        self._key = key
        self._returns = returns
        self._confirmations = confirmations
        self._telemetry = telemetry

    def take(self, press: Press, told_by: bytes, recorded: Recorded) -> bytes:
        """Put the refusal into force; the id of its record. `told_by` names the press: the same again
        changes nothing. Raises NotReady when nothing was taken."""
        arrived, now = perf_counter(), time_ns() // 1_000_000
        view = self._screen.view
        view.renew()
        number, subscriber = canonical(press.source), canonical(press.subscriber)
        filings = view.numbers(number)
        filing = governing(filings, VOICE, now) or governing(filings, SMS, now)
        owner = view.institution(filing.institution) if filing is not None else None
        institution = filing.institution if filing is not None else 0
        code = owner.code if owner is not None else ""
        purposes = self._screen.profile.covered(filing.purposes if filing is not None else 0)
        account, flags = AccountKey(press.carrier, press.protocol, press.account), (VOICE_KEY,)
        refusal = learn(
            self._key,
            subscriber,
            institution=institution,
            number="" if institution else number,
            purposes=purposes,
            channels=BOTH,
            at=press.at or now,
            source=VOICE_KEY,
            flags=flags,
            node=self._node,
            account=account,
            message_id=told_by,
        )

        def durable(error: Exception | None) -> None:
            if error is None:
                self._returns.count("refuse")
                self._telemetry.refusal_effective.observe(perf_counter() - arrived)
            recorded(Refused(identity, press.at or now, code, purposes, BOTH), error)
            if confirmed:
                self._confirmations.settle(reply, answered, held=error is None)

        reply = Reply(account, number, subscriber, press.key, "refuse", told_by, institution, code, flags)
        bare = subscriber.removeprefix("+86").encode()
        answered = Delivery(told_by, bare, number.encode(), 0, False, press.key.encode(), None)
        identity = self._screen.journal.reply(
            now,
            reply,
            press.key.encode(),
            0,
            0,
            purposes=purposes,
            channels=BOTH,
            registry_version=view.version,
            local=lambda _: refusal,
            done=durable,
        )
        confirmed = bool(purposes) and self._confirmations.wants(reply)
        return identity
