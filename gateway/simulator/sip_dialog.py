"""What a simulated caller says (RFC 3261 §8.1.1, §9.1, §12.2.1.1, §17.1.1.3), octet for octet; no socket, no
clock."""

from collections.abc import Iterable

from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import COMPACT, Message
from gateway.protocols.sip_proxy import COOKIE

BODY = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)
"""An offer of one audio stream: nobody listens there."""
BODY_TYPE = b"Content-Type: application/sdp\r\n"

_SHORT = {name: letter for letter, name in COMPACT.items()}
_END = b"Content-Length: 0\r\n\r\n"


class Dialog:
    """A call from the caller's side. `place`: host:port of its own socket; `transport`: UDP or TCP; `unique`:
    what its tags, branches and Call-ID are made of. What follows the INVITE takes the same way as it."""

    def __init__(
        self,
        source: str,
        to: str,
        place: str,
        transport: str,
        unique: str,
        rows: Iterable[str] = (),
        *,
        compact: bool = False,
        display: str = "",
    ) -> None:
        self.unique = unique
        self.call_id = f"{unique}@{place.rpartition(':')[0]}".encode()
        self._uri = self._target = f"sip:{to}@callee.invalid".encode()
        self._place, self._transport = place.encode(), transport.upper().encode()
        name = f'"{display}" ' if display else ""
        user = source if "@" in source else f"{source}@caller.invalid"
        self._from = f"{name}<sip:{user}>;tag=f{unique}".encode()
        self._to = b"<" + self._uri + b">"
        self._rows = [row.encode() for row in rows]
        self._routes: list[bytes] = []
        self._compact = compact
        self._number = 1
        self._branches = 0

    def branch(self, name: str = "i") -> bytes:
        """Of a transaction of this call; "i" is the INVITE's."""
        return COOKIE + f"{self.unique}{name}".encode()

    def invite(self) -> bytes:
        further = [*self._rows, BODY_TYPE.rstrip()]
        return self._said(b"INVITE", 1, self.branch(), self._uri, self._to, further, BODY)

    def cancel(self, branch: bytes = b"") -> bytes:
        """The INVITE's branch and Request-URI (§9.1); another branch is that of no call."""
        return self._said(b"CANCEL", 1, branch or self.branch(), self._uri, self._to)

    def answered(self, response: Message) -> None:
        """A final answer tells where the rest of the call goes (§12.1.2)."""
        self._to = response.value(b"to") or self._to
        contact = grammar.address(response.value(b"contact") or b"")
        if response.status < 300 and contact is not None:
            self._target = contact.uri
            self._routes = list(response.listed(b"record-route"))[::-1]

    def acknowledge(self, status: int) -> bytes:
        """Of a 2xx it is a request of its own, else part of the INVITE's transaction."""
        if status < 300:
            return self._said(b"ACK", 1, self._next_branch(), self._target, self._to, self._routed())
        return self._said(b"ACK", 1, self.branch(), self._uri, self._to)

    def later(self, method: bytes, rows: Iterable[bytes] = (), body: bytes = b"") -> bytes:
        """A request within the call: BYE, INFO, another INVITE."""
        self._number += 1
        branch = self._next_branch()
        return self._said(
            method, self._number, branch, self._target, self._to, [*self._routed(), *rows], body
        )

    def _routed(self) -> list[bytes]:
        return [b"Route: " + route for route in self._routes]

    def _next_branch(self) -> bytes:
        self._branches += 1
        return self.branch(f"n{self._branches}")

    def _said(
        self,
        method: bytes,
        number: int,
        branch: bytes,
        uri: bytes,
        to: bytes,
        rows: Iterable[bytes] = (),
        body: bytes = b"",
    ) -> bytes:
        contact = [b"Contact: <sip:%s;transport=%s>" % (self._place, self._transport.lower())]
        lines = [
            b"Via: SIP/2.0/%s %s;branch=%s;rport" % (self._transport, self._place, branch),
            b"Max-Forwards: 70",
            b"From: " + self._from,
            b"To: " + to,
            b"Call-ID: " + self.call_id,
            b"CSeq: %d %s" % (number, method),
            *(contact if method == b"INVITE" else ()),
            *rows,
            b"Content-Length: %d" % len(body),
        ]
        if self._compact:
            lines = [_shortened(line) for line in lines]
        return b"\r\n".join([b"%s %s SIP/2.0" % (method, uri), *lines, b"", body])


def with_body(answer: bytes, rows: Iterable[bytes] = (), body: bytes = BODY) -> bytes:
    """An answer of `sip_proxy.answer` with a body."""
    head = answer.removesuffix(_END)
    return b"".join((head, *rows, BODY_TYPE, b"Content-Length: %d\r\n\r\n" % len(body), body))


def _shortened(line: bytes) -> bytes:
    name, _, value = line.partition(b": ")
    short = _SHORT.get(name.lower())
    return line if short is None else short + b": " + value
