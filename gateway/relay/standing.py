"""Calls that passed and stand: which one a request or a response belongs to, and what an INVITE may change in
it without being judged.

A dialog is named by the Call-ID and the tags of both sides (RFC 3261 §12); out of the records the Call-ID
alone is known. Whoever has one call that passed must not have others by it: a further INVITE comes from the
same trunk, its Request-URI names nobody else, and a call that was hung up is over.
"""

from collections.abc import Callable

from gateway.protocols import sip
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message
from gateway.protocols.sip_identity import number
from gateway.protocols.sip_place import Place
from gateway.protocols.sip_proof import Proof, proof_of, proven, token_of
from gateway.protocols.sip_proxy import Named, Own, Request, named
from gateway.protocols.sip_route import is_strict, routed
from gateway.relay.recalled import Dialog

MOST_DIALOGS = 200_000
"""Calls that passed, so that a re-INVITE is known from a new call; beyond it it is judged as one."""

REFRESHES = (b"INVITE", b"UPDATE")
"""Methods by which a side may change its Contact (RFC 3261 §14, RFC 3311)."""

MOST_CONTACTS = 20_000
"""Those whose called side goes by another number than was called."""


class Standing:
    """Of one worker. `area`: of local numbers; `is_over`: whether the call of an attempt was hung up."""

    def __init__(self, own: Own, area: str, is_over: Callable[[bytes], bool]) -> None:
        self._own = own
        self._area = area
        self._is_over = is_over
        # by Call-ID, caller's tag and, where those name another call already, the called side's; no blank
        # stands in any; by the Call-ID alone out of the records
        self._calls: dict[bytes, Dialog] = {}
        self._contacts: dict[bytes, str] = {}  # by attempt

    def restore(self, call_id: bytes, call: Dialog) -> None:
        """A call that passed before a restart."""
        self._calls.setdefault(call_id, call)

    def passed(self, call_id: bytes, tag: bytes, call: Dialog) -> None:
        """`tag`: its caller's."""
        self._calls.setdefault(b"%b %b" % (call_id, tag), call)

    def answered(self, response: Message, known: Named, call: Dialog) -> None:
        """The called side has taken a call: from now on it goes by its Contact (§12.1.1)."""
        name = b"%b %b" % (known.call_id, known.from_tag)
        if self._calls.setdefault(name, call) is not call:  # a fork, or a second attempt by one name
            self._calls[b"%b %b" % (name, _to_tag(response))] = call
        self.goes_by(response, call)

    def goes_by(self, message: Message, call: object) -> None:
        """The called side says in a request or an answer under what Contact it goes from now on (§12.2)."""
        if not isinstance(call, Dialog):
            return
        said = message.value(b"contact") or b""
        contact = grammar.address(said) if b"@" in said else None
        other = "" if contact is None else number(contact.uri, self._area)
        if other and other != call.subscriber:
            if len(self._contacts) >= MOST_CONTACTS:
                del self._contacts[next(iter(self._contacts))]
            self._contacts[call.attempt] = other

    def over(self, call: Dialog | bytes) -> None:
        """A side has hung up, in this call or in that of this attempt: nobody goes by its Contact now."""
        self._contacts.pop(call if isinstance(call, bytes) else call.attempt, None)

    def failed(self, said: Named, call: Dialog) -> None:
        """A call came to nothing: nothing belongs to it any more."""
        for name in (b"%b %b" % (said.call_id, said.from_tag), said.call_id):
            if self._calls.get(name) is call:
                del self._calls[name]

    def expire(self) -> None:
        """Let the oldest go, where there are too many."""
        while len(self._calls) > MOST_DIALOGS:
            del self._calls[next(iter(self._calls))]

    def of_caller(self, request: Request) -> Dialog | bytes:
        """The call that a request of the caller's side says it belongs to, or the id of its attempt; b"" for
        none that is known."""
        return self._named(request.call_id, request.from_tag, request.to_tag) or self._proven(
            request, request.from_tag
        )

    def of_called(self, request: Request) -> Dialog | bytes:
        """The same of the called side."""
        return self._named(request.call_id, request.to_tag, request.from_tag) or self._proven(
            request, request.to_tag
        )

    def of_response(self, response: Message) -> Dialog | None:
        """The call in which the called side answers."""
        said = named(response)
        return self._named(said.call_id, said.from_tag, _to_tag(response))

    def known(self, request: Request) -> Dialog | None:
        """The call of a request of the caller's side, where it is remembered."""
        return self._named(request.call_id, request.from_tag, request.to_tag)

    def takes(self, request: Request, peer: Place, *, is_filed: bool) -> bool:
        """Whether an INVITE of the caller's side belongs to a call that stands and starts none (§14), so that
        it goes on unjudged; a To tag alone says nothing, as anybody can write one. `is_filed`: it came by a
        trunk's address."""
        if not request.to_tag:
            return False
        call, proof = self.known(request), None
        if call is not None:
            if call.account.account not in (peer.host, peer.filed):
                return False
            attempt = call.attempt
        else:
            proof = proven(request, request.from_tag, self._own) if is_filed else None
            if proof is None:
                return False
            attempt = proof.attempt
        if self._is_over(attempt):
            return False
        for uri in (request.message.uri, *routed(request.message)):
            called = number(uri, self._area)
            if not called or called == self._contacts.get(attempt):
                continue
            known = call.subscriber == called if call else proof and proof.is_of(called, self._own)
            if not known:
                return False
        return True

    def swaps(self, request: Request) -> bool:
        """Whether another than the Request-URI's user could be called by an INVITE: by a strict Route, or
        where the next element takes the Request-URI for its own and the last Route for whom to call."""
        message = request.message
        if b"route" not in message.first:
            return False
        return is_strict(message, self._own.is_at) or bool(
            request.to_tag and any(number(uri, self._area) for uri in routed(message))
        )

    def token(self, request: Request, call: object, *, of_caller: bool) -> bytes:
        """What Record-Route says of the call of an INVITE, b"" for none. `call`: where it is known."""
        tag, other = request.from_tag, request.to_tag
        if not of_caller:
            tag, other = other, tag
        known = call if isinstance(call, Dialog) else self._named(request.call_id, tag, other)
        if known is not None:
            proof: Proof | None = proof_of(known.attempt, known.subscriber, self._own)
        else:
            proof = proven(request, tag, self._own)
        return b"" if proof is None else token_of(proof, request.call_id, tag, self._own)

    def _named(self, call_id: bytes, tag: bytes, other: bytes) -> Dialog | None:
        """`tag`: the caller's, `other`: the called side's."""
        calls, name = self._calls, b"%b %b" % (call_id, tag)
        by_both = calls.get(b"%b %b" % (name, other)) if other else None
        return by_both or calls.get(name) or calls.get(call_id)

    def _proven(self, request: Request, tag: bytes) -> bytes:
        proof = proven(request, tag, self._own)
        return b"" if proof is None else proof.attempt


def _to_tag(response: Message) -> bytes:
    return grammar.parameter(sip.party(response, b"to").parameters, b"tag") or b""
