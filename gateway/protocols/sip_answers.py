"""What a caller's peer is told of a refused call (RFC 3261 §21, RFC 3326, RFC 8688), reason by reason.

Rules of this file: a 6xx wherever a peer could take the answer for "try the next trunk", by which the call
would leave unjudged; the reason stands in words of the closed list (`model.Reason`), never a subscriber's
number.
"""

from typing import NamedTuple

from gateway.model import Reason
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message
from gateway.protocols.sip_place import UDP, Place, written

OK, MOVED, BAD_REQUEST, FORBIDDEN, NO_SUCH_CALL, TERMINATED = 200, 302, 400, 403, 481, 487
UNAVAILABLE, DECLINE, REJECTED = 503, 603, 608
PHRASES = {
    200: b"OK",
    302: b"Moved Temporarily",
    400: b"Bad Request",
    403: b"Forbidden",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    481: b"Call/Transaction Does Not Exist",
    482: b"Loop Detected",
    483: b"Too Many Hops",
    487: b"Request Terminated",
    503: b"Service Unavailable",
    505: b"Version Not Supported",
    513: b"Message Too Large",
    603: b"Decline",
    608: b"Rejected",
}

REFUSALS: dict[Reason, int] = {
    reason: {Reason.MALFORMED: BAD_REQUEST, Reason.REFUSED_BY_SUBSCRIBER: REJECTED}.get(reason, DECLINE)
    for reason in Reason
}
"""The status of each reason to a peer of whom nothing else is set; 608 where the peer takes it, else 603."""

CALL_REJECTED = 21
"""Q.850's cause of every refusal."""


class Peer(NamedTuple):
    """How a trunk's other end is told. `has_one_trunk`: it has no other way out, so that 403 is safe and says
    more; `takes_608`: set so, or announced in Feature-Caps; `explains`: the URL of the card that a 608 refers
    to."""

    has_one_trunk: bool = False
    takes_608: bool = False
    explains: bytes = b""


class Refusal(NamedTuple):
    """A status and the further header rows, each with its CRLF."""

    status: int
    rows: tuple[bytes, ...]

    @property
    def phrase(self) -> bytes:
        return PHRASES[self.status]


def refusal(reason: Reason, sub: str, peer: Peer, retry_seconds: int = 0) -> Refusal:
    """The answer to a refused INVITE. `retry_seconds`: when it may be tried again, 0: nobody can say."""
    status = REFUSALS[reason]
    if status == REJECTED and not (peer.takes_608 and peer.explains):
        status = DECLINE
    if status == DECLINE and peer.has_one_trunk:
        status = FORBIDDEN
    words = f"{reason.value} {sub}".rstrip().encode("ascii", "replace").translate(None, b'"\\\r\n')
    rows = [b'Reason: Q.850;cause=%d;text="%s"\r\n' % (CALL_REJECTED, words)]
    if status == REJECTED:
        rows.append(b"Call-Info: <%s>;purpose=jwscard\r\n" % peer.explains)
    if retry_seconds > 0:
        rows.append(b"Retry-After: %d\r\n" % retry_seconds)
    return Refusal(status, tuple(rows))


def contact(uri: bytes, hop: Place) -> bytes:
    """The same callee at the carrier's trunk (§19.1.1): whom the Request-URI asks for, by the hop's
    transport."""
    asked = grammar.uri(uri)
    user = b"" if asked is None else asked.user
    more = b""
    if asked is not None and asked.scheme == b"tel":  # (§19.1.6)
        user, more = user + asked.parameters, b";user=phone"
    host = written(hop.host)
    if asked is not None and asked.scheme == b"sips":  # which says the transport
        return b"sips:%s%s:%d" % (user + b"@" if user else b"", host, hop.port)
    if hop.transport != UDP:
        more = b";transport=" + hop.transport.lower().encode() + more
    return b"sip:%s%s:%d%s" % (user + b"@" if user else b"", host, hop.port, more)


def announces_608(message: Message) -> bool:
    """Whether an INVITE says that 608 is understood (RFC 8688 §4.2, RFC 6809)."""
    return any(
        grammar.parameter(b";" + value.partition(b";")[2], b"+sip.608") is not None
        for value in message.listed(b"feature-caps")
    )


def said_no(message: Message) -> bool:
    """Whether the called side's response or BYE says that a human wants no such calls: 607, or a Reason of it
    (RFC 8197 §4, RFC 3326)."""
    if message.status == 607:
        return True
    for value in message.listed(b"reason"):
        word, _, rest = value.partition(b";")
        if word.strip().upper() == b"SIP" and grammar.parameter(b";" + rest, b"cause") == b"607":
            return True
    return False
