"""Refusals by key press, as a call platform tells them (contract.md `POST /voice/refusals`) or the called
side of a call on the wire (heard.py).

The same record as that of a reply that refuses, with the flag `voice_key`, and in force in the same way: in
the journal and in `local.mdb` before it is told; confirmed by SMS where the number and a session of the
account may send one. Whose refusal it is: the institution's that the number is filed for, or the number's
own, until somebody files it.

It names the call that passed here, in which it was pressed. One of which no such call is on record may be
anybody's: it is `unverified`, holds marketing as an ambiguous reply does, and waits in the same queue for a
person who confirms or drops it.
"""

from collections.abc import Callable
from time import perf_counter, time_ns

from gateway.direct import Press, Refused
from gateway.model import MARKETING, SMS, VOICE, AccountKey, Reply
from gateway.policy.facts import governing
from gateway.policy.numbers import canonical
from gateway.policy.reply_scope import covers_beyond
from gateway.protocols.message import Delivery
from gateway.registry.keys import RegistryKey
from gateway.registry.local import VOICE_KEY, LocalRefusal, learn
from gateway.relay.confirming import Confirmations
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry

BOTH = SMS | VOICE
UNVERIFIED = "unverified"
"""Flag of a key press that belongs to no call on record."""

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

    def take(self, press: Press, told_by: bytes, attempt: bytes, recorded: Recorded) -> bytes:
        """Put the refusal into force; the id of its record. `told_by` names the press: the same again
        changes nothing. `attempt`: the id of its call, b"" where none is known. Raises NotReady when nothing
        was taken."""
        arrived, now = perf_counter(), time_ns() // 1_000_000
        view = self._screen.view
        view.renew()
        number, subscriber = canonical(press.source), canonical(press.subscriber)
        filings = view.numbers(number)
        at = press.at or now  # told late, the number may be in other hands by now
        filing = governing(filings, VOICE, at) or governing(filings, SMS, at)
        owner = view.institution(filing.institution) if filing is not None else None
        institution = filing.institution if filing is not None else 0
        code = owner.code if owner is not None else ""
        purposes = self._screen.profile.covered(filing.purposes if filing is not None else 0)
        account = AccountKey(press.carrier, press.protocol, press.account)
        kind = "refuse"
        flags: tuple[str, ...] = (VOICE_KEY,)
        if not attempt:
            kind, flags = "ambiguous", (VOICE_KEY, UNVERIFIED, *covers_beyond(purposes))
            purposes = MARKETING
            told_by += b"?"  # once verified it is another event

        def learnt(record: bytes) -> LocalRefusal:
            return learn(
                self._key,
                subscriber,
                institution=institution,
                number=number,
                purposes=purposes,
                channels=BOTH,
                at=at,
                source=VOICE_KEY,
                flags=flags,
                node=self._node,
                account=account,
                message_id=told_by,
                kind=kind,
                record=record,
            )

        def durable(error: Exception | None) -> None:
            if error is None:
                self._returns.count(kind)
                self._telemetry.refusal_effective.observe(perf_counter() - arrived)
            recorded(Refused(identity, at, code, purposes, BOTH, attempt), error)
            if confirmed:
                self._confirmations.settle(reply, answered, held=error is None)

        said = f"{press.key} {press.recording}".rstrip().encode()
        reply = Reply(account, number, subscriber, press.key, kind, told_by, institution, code, flags)
        bare = subscriber.removeprefix("+86").encode()
        answered = Delivery(told_by, bare, number.encode(), 0, False, said, None)
        identity = self._screen.journal.reply(
            now,
            reply,
            said,
            0,
            0,
            purposes=purposes,
            channels=BOTH,
            registry_version=view.version,
            attempt=attempt,
            local=learnt,
            done=durable,
        )
        confirmed = bool(purposes) and self._confirmations.wants(reply)
        return identity
