"""How what follows in a call proves that the call passed here (RFC 3261 §12, §16.6 item 4)."""

from hashlib import blake2b

from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip_proxy import Own, Request


def token_of(call_id: bytes, attempt: bytes, own: Own) -> bytes:
    """What our Record-Route says of a call that passed, and Route brings back with whatever follows in it
    (§12.1, §12.2.1.1): the id of its attempt (16 octets), and a proof that nobody else can give. So a call is
    known however long it lasts, after a restart, and on all nodes that share the key."""
    digest = blake2b(b"call\0" + attempt + call_id, key=own.key, digest_size=10)
    return f"{attempt.hex()}-{digest.hexdigest()}".encode("ascii")


def proven(request: Request, own: Own) -> bytes:
    """The id of the attempt whose call a request belongs to by its Route; b"" where it proves none."""
    for route in (b"<%s>" % request.message.uri, *request.message.listed(b"route")):
        found = grammar.address(route)
        place = None if found is None else grammar.uri(found.uri)
        if place is None or not own.is_at(place.host, place.port):
            continue
        token = grammar.uri_parameter(place.parameters, b"zm") or b""
        try:
            attempt = bytes.fromhex(token[:32].decode("latin-1"))
        except ValueError:
            continue
        if len(attempt) == 16 and token == token_of(request.call_id, attempt, own):
            return attempt
    return b""
