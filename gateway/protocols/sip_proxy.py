"""What a stateless screening proxy makes of SIP messages (RFC 3261 §16.3 to §16.7, §16.11, §8.2.6; RFC 3581).

Rules of this file: only the top Via, Route, Record-Route and Max-Forwards are ever touched; every other row
and the body leave as they came. The same request gives the same octets, so a repeated one is the same
transaction to the next element.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from gateway.protocols import sip
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_place import PORTS, UDP, Place, written
from gateway.protocols.sip_route import way

COOKIE = b"z9hG4bK"
COPIED = frozenset((b"via", b"from", b"to", b"call-id", b"cseq"))
"""What an answer repeats of its request (§8.2.6.2)."""
PORT = 5060
MAX_FORWARDS = 70
METHODS = frozenset(
    b"ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE".split()
)
SCHEMES = frozenset((b"sip", b"sips", b"tel"))

_RPORT = re.compile(rb";[ \t\r\n]*[Rr][Pp][Oo][Rr][Tt][ \t]*(?=[;,\r]|$)")
_RECEIVED = re.compile(rb";[ \t\r\n]*[Rr][Ee][Cc][Ee][Ii][Vv][Ee][Dd][ \t]*=[ \t]*[0-9A-Fa-f.:\[\]]+")


class Own(NamedTuple):
    """This proxy: the place that its Via and Record-Route name, all places (host, port) under which it is
    reached, and the key of its tags and branches: the same on all nodes that share an address. With several
    listeners it is one of them by `host`, `port` and `transport`; `places` and `key` are the same in all."""

    host: bytes
    port: int
    places: frozenset[tuple[bytes, int]]
    key: bytes
    transport: str = UDP

    def is_at(self, host: bytes, port: int) -> bool:
        return (host, port or PORT) in self.places


Key = int
"""CSeq's number, then 64 bits of a keyed hash of the rest: sent-by and branch of the top Via, Call-ID, tag
of From. Records of calls have it as their `sequence`, so that a repeat is known after a restart."""


class Named(NamedTuple):
    """What tells a transaction from others, beside its top Via. `sender`: From; `from_tag`: b"" for none."""

    number: int
    call_id: bytes
    sender: grammar.Address
    from_tag: bytes


class Request(NamedTuple):
    """A request that keeps the grammar, with what is used of it. `from_tag`, `to_tag`: b"" where there is
    none; `top`: the first Via; `branch`: its branch, b"" where it has none of RFC 3261; `secret`: see
    `Own.key`; `asked`: the Request-URI; `sender`: From."""

    message: Message
    top: grammar.Via
    branch: bytes
    call_id: bytes
    number: int
    from_tag: bytes
    to_tag: bytes
    hops: int
    secret: bytes
    asked: grammar.Uri
    sender: grammar.Address

    def key(self) -> Key:
        """The same for a request however often it is repeated, for its CANCEL and for the ACK of a
        refusal."""
        branch = self.branch or _said_branch(self.top)
        return _key(self.secret, self.number, self.top, branch, self.call_id, self.from_tag)

    def target(self) -> bytes:
        """What `branch_of` depends on beside `key`: Request-URI and Route, which a repeat has alike."""
        message = self.message
        if b"route" not in message.first:
            return message.uri
        return b"\n".join((message.uri, *message.values(b"route")))


def named(message: Message) -> Named:
    """What names its transaction, of a request or a response."""
    number, _ = sip.sequence(message)
    call_id = sip.call_id(message)
    sender = sip.party(message, b"from")
    return Named(number, call_id, sender, grammar.parameter(sender.parameters, b"tag") or b"")


def checked(
    message: Message, own: Own, known: Named | None = None, top: grammar.Via | None = None
) -> Request:
    """The request, when a proxy may look at it further (§16.3); `SipError` with the answer otherwise.
    `known`, `top`: where they have been read already."""
    vias = sip.vias(message, top)
    method = message.method
    if method not in METHODS and method.upper() in METHODS:  # §7.1 tells cases apart, and not everybody does
        raise sip.wrong(message, "method", f"the method {method.decode('ascii')}; right would be upper case")
    number, call_id, sender, from_tag = known or named(message)
    to_tag = grammar.parameter(sip.party(message, b"to").parameters, b"tag") or b""
    hops = sip.max_forwards(message)
    asked = grammar.uri(message.uri)
    if asked is None:
        word = grammar.scheme(message.uri)
        if word not in SCHEMES:
            raise _refused(message, 416, "scheme", f"the Request-URI's scheme is {word.decode('ascii')!r}")
        raise sip.wrong(message, "uri", "a Request-URI that is none")
    if hops == 0:
        raise _refused(message, 483, "hops", "Max-Forwards is 0")
    branch = _branch(vias[0])
    message.names = call_id, from_tag, branch
    left = MAX_FORWARDS if hops is None else hops
    request = Request(
        message, vias[0], branch, call_id, number, from_tag, to_tag, left, own.key, asked, sender
    )
    for via in vias:
        if own.is_at(via.host, via.port) and (grammar.parameter(via.parameters, b"branch") or b"").endswith(
            _loop_part(request, own.key)
        ):
            raise _refused(message, 482, "loop", "this request was here before")
    if b"proxy-require" in message.first and message.method not in (b"CANCEL", b"ACK"):  # §16.3 item 5
        unknown = b", ".join(option for option in message.listed(b"proxy-require") if option)
        if unknown:  # §8.2.2.3
            what = "Proxy-Require names what is not known here"
            raise _refused(message, 420, "extension", what, b"Unsupported: %s\r\n" % unknown)
    return request


def key_of(known: Named, top: grammar.Via, own: Own) -> Key:
    """`Request.key` of a request whose top Via is `top`, or of the response to it."""
    return _key(own.key, known.number, top, _said_branch(top), known.call_id, known.from_tag)


def key_of_broken(data: bytes, own: Own) -> Key:
    """Of a datagram that breaks SIP, however often it is repeated; its CSeq counts as 0."""
    return _key_hash(own.key, b"broken", data)


def _key(secret: bytes, number: int, top: grammar.Via, branch: bytes, call_id: bytes, from_tag: bytes) -> Key:
    return number << 64 | _key_hash(secret, top.host, b"%d" % top.port, branch, call_id, from_tag)


def _key_hash(secret: bytes, *parts: bytes) -> int:
    octets = b"\0".join((b"key", *parts))  # of which no part but the last one may have a NUL
    return int.from_bytes(blake2b(octets, key=secret, digest_size=8).digest(), "big")


def stamp(message: Message, host: bytes, port: int) -> grammar.Via | None:
    """Notes where the request came from in its top Via (§18.2.1, RFC 3581 §4), which comes back as its sender
    wrote it; None for one that breaks the grammar. `host`: an IP address."""
    place = message.first.get(b"via")
    if place is None:
        return None
    name, row = message.rows[place]
    start = row.index(b":") + 1
    end = grammar.first_value_end(row, start)
    value, rest = row[start:end].rstrip(b" \t\r\n"), row[end:]
    top = grammar.via(sip.unfolded(value))
    if top is None:
        return None
    asked = grammar.parameter(top.parameters, b"rport") is not None
    value = _RECEIVED.sub(b"", value)
    if asked:
        value = _RPORT.sub(b";rport=%d" % port, value)
    if asked or top.host.strip(b"[]") != host:
        value += b";received=" + host
    message.rows[place] = name, row[:start] + value + (rest if rest.startswith(b",") else b"\r\n")
    return top


def way_back(message: Message, peer: Place) -> Place:
    """Where an answer of our own goes: back to where its request came from; over UDP without `rport` to the
    port that its Via names (§18.2.2), as some send from a port at which they don't listen."""
    place = message.first.get(b"via")
    if peer.transport != UDP or place is None:
        return peer
    row = message.rows[place][1]
    if b";rport=" in row and b"," not in row:  # as `stamp` leaves most of them
        return peer
    start = row.index(b":") + 1
    top = grammar.via(sip.unfolded(row[start : grammar.first_value_end(row, start)].rstrip(b" \t\r\n")))
    if top is None or grammar.parameter(top.parameters, b"rport") is not None:
        return peer
    return peer._replace(port=top.port or PORT)


def answer(message: Message, status: int, phrase: bytes, key: bytes, rows: Iterable[bytes] = ()) -> bytes:
    """A final answer of our own (§8.2.6): all Via in order, From, To with a tag, Call-ID, CSeq, then `rows`,
    each with its CRLF. A request that lacks some of them gets what it has back."""
    copied = []
    for name, row in message.rows:
        if name not in COPIED:
            continue
        if name == b"to" and not _is_tagged(row):
            copied.append(row[:-2].rstrip(b" \t") + b";tag=" + _tag(message, key) + b"\r\n")
        else:
            copied.append(row)
    return b"".join((b"SIP/2.0 %d %s\r\n" % (status, phrase), *copied, *rows, b"Content-Length: 0\r\n\r\n"))


def forwarded(
    request: Request, own: Own, peer: Place, *, record: Own | None = None, token: bytes = b""
) -> tuple[bytes, bytes | None]:
    """The request with our Via on top and one hop less (§16.6), and the URI of the Route that it must follow,
    None: none is left. `own`: by which it leaves; `peer`: where it came from. `record`: stay on the dialog's
    path, as the one that it came in by; `token`: see `sip_proof`."""
    message = request.message
    target, routes, following = way(message, own.is_at)
    start = message.start if target is None else b"%s %s SIP/2.0" % (message.method, target)
    branch = branch_of(request, own.key)
    rows = [
        start,
        b"\r\nVia: SIP/2.0/%s %s:%d;branch=%s" % (own.transport.encode(), own.host, own.port, branch),
        _mark(own.key, branch, peer),
        b"\r\n",
    ]
    if record is not None:
        rows.append(b"Record-Route: %s\r\n" % _recorded(own, token))
        if record.transport != own.transport or record[:2] != own[:2]:  # both sides find us (RFC 5658 §3)
            rows.append(b"Record-Route: %s\r\n" % _recorded(record, token))
    if b"max-forwards" not in message.first:
        rows.append(b"Max-Forwards: %d\r\n" % MAX_FORWARDS)
    if routes is not None:
        rows += [b"Route: %s\r\n" % route for route in routes]
    for name, row in message.rows:
        if name == b"max-forwards":
            rows.append(b"Max-Forwards: %d\r\n" % (request.hops - 1))
        elif name != b"route" or routes is None:
            rows.append(row)
    if own.transport != UDP and b"content-length" not in message.first:  # §20.14
        rows.append(b"Content-Length: %d\r\n" % len(message.body))
    rows += [b"\r\n", message.body]
    return b"".join(rows), following


def follows(request: Request, own: Own) -> bytes:
    """The URI to which Route sends a request, else its Request-URI (§16.6 item 7)."""
    following = way(request.message, own.is_at).following
    return request.message.uri if following is None else following


def probe(own: Own, place: Place, index: int, number: int) -> bytes:
    """An OPTIONS of our own, by which a next hop shows that it is alive (§11)."""
    at = b"%s:%d" % (written(place.host), place.port)
    unique = _hash(own.key, b"probe", at, b"%d" % index, b"%d" % number)
    return (
        b"OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/%s %s:%d;branch=z9hG4bK%s\r\nMax-Forwards: 0\r\n"
        b"From: <sip:%s:%d>;tag=%s\r\nTo: <sip:%s>\r\nCall-ID: %s\r\nCSeq: 1 OPTIONS\r\n"
        b"Content-Length: 0\r\n\r\n"
        % (at, own.transport.encode(), own.host, own.port, unique, own.host, own.port, unique, at, unique)
    )


def returned(message: Message, vias: Sequence[grammar.Via], own: Own) -> tuple[bytes, Place]:
    """A response without our Via, and the place that it goes back to: the connection that its request came
    on, else what its next Via names (§16.7, §18.2.2). Nothing is sent to where more than one would hear it
    (RFC 4475 §3.3.10). `vias`: all of the message."""
    if not own.is_at(vias[0].host, vias[0].port):
        raise SipError(0, "not_ours", "the top Via of a response is not ours")
    if len(vias) < 2:
        raise SipError(0, "not_ours", "a response to nobody")
    following = vias[1]
    place = sent_by(following)
    branch, came = _branch(vias[0]), _branch(following)
    first = _of_branch(own.key, came, following) if came else _of_old(own.key, following, named(message))
    if not branch.startswith(COOKIE + first):
        raise SipError(0, "not_ours", "a response to a request that did not come through here")
    mark = grammar.parameter(vias[0].parameters, b"i") or b""
    back = _marked(own.key, branch, mark, place)
    return sip.without_top(message, framed=back.transport != UDP), back


def sent_by(via: grammar.Via) -> Place:
    """Where a response goes by its Via alone: over UDP to where its request came from; over a stream, whose
    connection has gone, to where new ones are taken (§18.2.2, RFC 3581 §4)."""
    transport = via.transport.decode("ascii")
    host = grammar.parameter(via.parameters, b"received") or via.host
    host = host.strip(b"[]")
    if grammar.has_many(host):
        raise SipError(0, "broadcast", "a response to a broadcast or multicast address")
    said = grammar.parameter(via.parameters, b"rport") or b""
    if transport != UDP or not said.isdigit() or not 0 < int(said[:6]) < 65536:
        said = b"%d" % (via.port or PORTS.get(transport, PORT))
    return Place(host.decode("ascii"), int(said), transport)


def branch_of(request: Request, key: bytes) -> bytes:
    """The branch of our own Via (§16.11): the same for each repeat, for the CANCEL and for the ACK of a
    refusal."""
    if request.branch:
        first = _of_branch(key, request.branch, request.top)
    else:  # an element of RFC 2543
        first = _of_old(key, request.top, request)
    return COOKIE + first + _loop_part(request, key)


def _branch(top: grammar.Via) -> bytes:
    """As RFC 3261 has it; b"" where there is none (§8.1.1.7, RFC 4475 §3.2.1)."""
    branch = _said_branch(top)
    return branch if branch.startswith(COOKIE) and len(branch) > len(COOKIE) else b""


def _said_branch(top: grammar.Via) -> bytes:
    return grammar.parameter(top.parameters, b"branch") or b""


def _of_branch(key: bytes, branch: bytes, top: grammar.Via) -> bytes:
    """The part of our branch by which a response shows that its request came through here: else anybody could
    have us send what he likes to where he likes."""
    return _hash(key, branch, top.host, b"%d" % top.port)


def _of_old(key: bytes, top: grammar.Via, said: Named | Request) -> bytes:
    """The same for an element of RFC 2543, of what a response repeats as well: its Request-URI is in
    `_loop_part`."""
    place = b"%s:%d" % (top.host, top.port)
    return _hash(key, b"old", _said_branch(top), place, said.from_tag, said.call_id, b"%d" % said.number)


def _loop_part(request: Request, key: bytes) -> bytes:
    """Ends our branch: equal when the same request comes by unchanged (§16.6 item 8)."""
    routes = b",".join(request.message.values(b"route"))
    uri = request.message.uri
    return b"." + _hash(key, b"loop", uri, request.from_tag, request.call_id, b"%d" % request.number, routes)


def _recorded(own: Own, token: bytes) -> bytes:
    way = b"" if own.transport == UDP else b";transport=" + own.transport.lower().encode()
    call = b";zm=" + token if token else b""
    return b"<sip:%s:%d%s;lr%s>" % (own.host, own.port, way, call)


def _mark(key: bytes, branch: bytes, peer: Place) -> bytes:
    """The parameter of our Via that finds the connection, or the listener, which a request came by; nobody
    else can make one. None is needed for the first listener's datagrams."""
    if not peer.section and not peer.flow:
        return b""
    way = b"%x-%x-%x" % (peer.section, peer.worker, peer.flow)
    return b";i=%s-%s" % (way, _hash(key, b"flow", branch, way))


def _marked(key: bytes, branch: bytes, mark: bytes, place: Place) -> Place:
    """The place with what `_mark` said of it."""
    way, _, proof = mark.rpartition(b"-")
    if not way or proof != _hash(key, b"flow", branch, way):
        return place
    section, worker, flow = (int(part, 16) for part in way.split(b"-"))
    return place._replace(section=section, worker=worker, flow=flow)


def is_told(request: Request) -> bool:
    """Whether the other side's tag is one that an answer of our own gave it: an ACK that has it ends here."""
    return request.to_tag == _hash(request.secret, b"tag", request.call_id, request.from_tag, request.branch)


def _tag(message: Message, key: bytes) -> bytes:
    """The same for each repeat of a request, and for its ACK (§8.2.7): reference/voice.md "Answering"."""
    return _hash(key, b"tag", *(message.names or _names(message)))


def _names(message: Message) -> tuple[bytes, bytes, bytes]:
    """`Message.names` as far as a message that breaks SIP has them."""
    sender = grammar.address(message.value(b"from") or b"")
    top = grammar.via(next(message.listed(b"via"), b""))
    return (
        message.value(b"call-id") or b"",
        b"" if sender is None else grammar.parameter(sender.parameters, b"tag") or b"",
        b"" if top is None else _branch(top),
    )


def _is_tagged(row: bytes) -> bool:
    if b"tag" not in row.lower():
        return False
    found = grammar.address(sip.unfolded(row[row.index(b":") + 1 : -2]))
    return found is not None and grammar.parameter(found.parameters, b"tag") is not None


def _hash(key: bytes, *parts: bytes) -> bytes:
    octets = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return blake2b(octets, key=key, digest_size=10).hexdigest().encode("ascii")


def _refused(message: Message, status: int, cause: str, detail: str, rows: bytes = b"") -> SipError:
    answered = sip.answerable(message)
    return SipError(0 if answered is None else status, cause, detail, answered, rows=rows)
