"""How what follows in a call proves that the call passed here (RFC 3261 §12, §16.6 item 4)."""

from hashlib import blake2b
from typing import NamedTuple

from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip_proxy import Own, Request


class Proof(NamedTuple):
    """`attempt`: the id (16 octets) of the call that passed, `called`: a mark of the number that it was
    judged for."""

    attempt: bytes
    called: bytes

    def is_of(self, number: str, own: Own) -> bool:
        return self.called == proof_of(self.attempt, number, own).called


def proof_of(attempt: bytes, number: str, own: Own) -> Proof:
    """Of a call to a number (canonical)."""
    digest = blake2b(b"called\0" + attempt + number.encode(), key=own.key, digest_size=6)
    return Proof(attempt, digest.hexdigest().encode("ascii"))


def token_of(proof: Proof, call_id: bytes, tag: bytes, own: Own) -> bytes:
    """What our Record-Route says of a call that passed, and Route brings back with whatever follows in it
    (§12.1, §12.2.1.1): what is proven, and that nobody else has said it, of this Call-ID and `tag`, the
    caller's. So a call is known however long it lasts, after a restart, and on all nodes that share the
    key."""
    named = b"%d:%b%b" % (len(call_id), call_id, tag)
    digest = blake2b(b"call\0" + proof.attempt + proof.called + named, key=own.key, digest_size=10)
    return b"%b-%b-%b" % (proof.attempt.hex().encode(), proof.called, digest.hexdigest().encode())


def proven(request: Request, tag: bytes, own: Own) -> Proof | None:
    """The call that a request belongs to by its Route; None where it proves none. `tag`: the caller's, of
    From or To, by who says it."""
    for route in (b"<%s>" % request.message.uri, *request.message.listed(b"route")):
        found = grammar.address(route)
        place = None if found is None else grammar.uri(found.uri)
        if place is None or not own.is_at(place.host, place.port):
            continue
        token = grammar.uri_parameter(place.parameters, b"zm") or b""
        attempt, _, rest = token.partition(b"-")
        try:
            proof = Proof(bytes.fromhex(attempt.decode("latin-1")), rest.partition(b"-")[0])
        except ValueError:
            continue
        if len(proof.attempt) == 16 and token == token_of(proof, request.call_id, tag, own):
            return proof
    return None
