"""SIP messages (RFC 3261 §7, §18.3, §20): octets in, a message out that keeps its raw rows.

Rules of this file: strict, and nothing repaired; rows stay the octets that came, so what is passed on is what
was sent; sizes are bounded before anything is built. What is wrong is a `SipError` with the answer that it
deserves.
"""

import re
from collections.abc import Iterator

from gateway.errors import WireError
from gateway.protocols import sip_grammar as grammar

LONGEST_HEAD = 16_384
"""Octets of start line and header rows together."""
MOST_ROWS = 200
LONGEST_BODY = 65_535

COMPACT = {
    b"i": b"call-id",
    b"m": b"contact",
    b"e": b"content-encoding",
    b"l": b"content-length",
    b"c": b"content-type",
    b"f": b"from",
    b"s": b"subject",
    b"k": b"supported",
    b"t": b"to",
    b"v": b"via",
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"d": b"request-disposition",
    b"j": b"reject-contact",
    b"o": b"event",
    b"r": b"refer-to",
    b"u": b"allow-events",
    b"x": b"session-expires",
    b"y": b"identity",
}
"""Compact names (§7.3.3 and the registry of header fields)."""

SINGLE = frozenset(
    b"call-id content-disposition content-length content-type cseq date event expires from identity-info "
    b"max-forwards mime-version min-expires min-se organization priority refer-to referred-by reply-to "
    b"retry-after rseq server session-expires subject timestamp to user-agent".split()
)
"""Header fields that stand at most once; a second one is refused (RFC 4475 §3.3.8)."""

_REQUEST = re.compile(rb"(" + grammar.TOKEN + rb") ([^ \r\n\t]++) [Ss][Ii][Pp]/(\d++)\.(\d++)")
_NEARLY = re.compile(rb"(" + grammar.TOKEN + rb")[ \t][^\r\n]*[ \t]SIP/\d++\.\d++[ \t]*", re.IGNORECASE)
"""What can be answered, as it means to be a request."""
_STATUS = re.compile(rb"[Ss][Ii][Pp]/(\d++)\.(\d++) (\d{3}) ([^\r\n]*)")
_NAME = re.compile(rb"(" + grammar.TOKEN + rb")[ \t]*:")
_BLANKS = (b" ", b"\t")
_FOLD = re.compile(rb"[ \t]*\r\n[ \t]+")
_CSEQ = re.compile(rb"(\d{1,20})[ \t]+(" + grammar.TOKEN + rb")")
_CALL_ID = re.compile(rb"[!-?A-~]++(?:@[!-?A-~]++)?")
"""ASCII, whose octets are the same name to whoever reads them; what §25.1 leaves out of it, some send."""
_MAX_CSEQ = 1 << 31


class SipError(WireError):
    """What came breaks SIP. `status`: the answer it deserves, 0: none (drop it); `message`: what could be
    read of the request that is to be answered; `rows`: what the answer says further; `closes`: a stream can't
    be followed any more."""

    def __init__(
        self,
        status: int,
        cause: str,
        detail: str = "",
        message: "Message | None" = None,
        *,
        closes: bool = False,
        rows: bytes = b"",
    ) -> None:
        super().__init__(cause, detail)
        self.status = status
        self.rows = rows
        self.message = message
        self.closes = closes


class Message:
    """A request or a response. `method` as it came, b"" in a response; `status` 0 in a request; `rows`: (name
    in lower case and written out, the row's octets with its CRLF and folding), in order; `first`: where each
    name stands first; `start` without CRLF; `names`: Call-ID, tag of From and branch of the top Via, where
    they have been read."""

    __slots__ = ("body", "first", "method", "names", "rows", "start", "status", "uri")

    def __init__(self, start: bytes, method: bytes, uri: bytes, status: int) -> None:
        self.start = start
        self.method = method
        self.uri = uri
        self.status = status
        self.rows: list[tuple[bytes, bytes]] = []
        self.first: dict[bytes, int] = {}
        self.body = b""
        self.names: tuple[bytes, bytes, bytes] | None = None

    def values(self, name: bytes) -> Iterator[bytes]:
        """The unfolded values of a header field, row by row; lists are not split. `name`: long, lower
        case."""
        start = self.first.get(name)
        if start is None:
            return
        for found, row in self.rows[start:] if start else self.rows:
            if found == name:
                yield unfolded(row[row.index(b":") + 1 : -2])

    def value(self, name: bytes) -> bytes | None:
        """The first such value."""
        start = self.first.get(name)
        if start is None:
            return None
        row = self.rows[start][1]
        return unfolded(row[row.index(b":") + 1 : -2])

    def listed(self, name: bytes) -> Iterator[bytes]:
        """The values of a comma-separated header field; rows and commas count alike (§7.3.1)."""
        for value in self.values(name):
            yield from grammar.values(value)

    def octets(self) -> bytes:
        """The message as it came, less what stood behind its body."""
        return b"".join((self.start, b"\r\n", *(row for _, row in self.rows), b"\r\n", self.body))


def unfolded(value: bytes) -> bytes:
    """Continuation lines joined by one SP, without blanks around (§7.3.1)."""
    return (_FOLD.sub(b" ", value) if b"\r\n" in value else value).strip(b" \t")


def datagram(data: bytes) -> Message | None:
    """The message in a UDP datagram (§18.3); None for a keep-alive, which is nothing but CRLF or NUL.

    Octets behind Content-Length are dropped; without one the body is the rest.
    """
    if not data.strip(b"\r\n\0"):
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0:
        whole = head(data if data.endswith(b"\r\n") else data + b"\r\n")
        raise wrong(whole, "no_end", "no empty line ends the header")
    message = head(data[: end + 2])
    size, rest = length(message), len(data) - end - 4
    if size is None:
        size = rest
    elif size > rest:
        raise SipError(
            400, "length", f"Content-Length is {size}, and {rest} octets follow", answerable(message)
        )
    message.body = data[end + 4 : end + 4 + size]
    return message


def head(octets: bytes) -> Message:
    """Start line and header rows; `octets` end with the last row's CRLF. The first fault is raised when all
    rows are read: its answer needs them."""
    if len(octets) > LONGEST_HEAD:
        raise SipError(0, "too_long", f"a header of {len(octets)} octets; at most {LONGEST_HEAD} are read")
    lines = octets.split(b"\r\n")
    if len(lines) > MOST_ROWS:
        raise SipError(0, "too_many", f"a header of {len(lines)} lines; at most {MOST_ROWS} are read")
    message, status, fault = _started(lines[0])
    rows, first = message.rows, message.first
    ends = octets.count(b"\r\n")
    lone = octets.count(b"\r") != ends or octets.count(b"\n") != ends
    for line in lines[1:-1]:
        named = _NAME.match(line)
        if lone and (b"\n" in line or b"\r" in line):
            fault = fault or "a CR or LF of its own in a header row"
        elif named is None:
            if line.startswith(_BLANKS) and rows:
                name, row = rows[-1]
                rows[-1] = name, row + line + b"\r\n"
            else:
                fault = fault or f"{_shown(line)} is no header row"
        else:
            name = named[1].lower()
            if len(name) == 1:
                name = COMPACT.get(name, name)
            if name not in first:
                first[name] = len(rows)
            elif name in SINGLE:
                fault = fault or f"{_shown(name)} stands twice"
            rows.append((name, line + b"\r\n"))
    if fault:
        answered = answerable(message)
        raise SipError(0 if answered is None else status, "header", fault, answered)
    return message


def length(message: Message) -> int | None:
    """Content-Length; None where it is missing."""
    value = message.value(b"content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 10 or int(value) > LONGEST_BODY:
        raise SipError(
            400,
            "length",
            f"Content-Length is {_shown(value)}; right would be 0 to {LONGEST_BODY}",
            answerable(message),
            closes=True,
        )
    return int(value)


def answerable(message: Message) -> Message | None:
    """The request itself, where an answer finds its way; None for responses and ACK, which have none."""
    return message if message.method not in (b"", b"ACK") else None


def sequence(message: Message) -> tuple[int, bytes]:
    """CSeq: number and method (§20.16)."""
    value = message.value(b"cseq") or b""
    found = _CSEQ.fullmatch(value)
    if found is None or int(found[1]) >= _MAX_CSEQ:
        raise wrong(
            message, "cseq", f"CSeq is {_shown(value)}; right would be a number below 2^31 and a method"
        )
    if message.method and found[2] != message.method:
        raise wrong(
            message, "cseq", f"CSeq is of {_shown(found[2])}, the request is {_shown(message.method)}"
        )
    return int(found[1]), found[2]


def call_id(message: Message) -> bytes:
    """Call-ID, compared octet by octet (§20.8)."""
    value = message.value(b"call-id") or b""
    if _CALL_ID.fullmatch(value) is None:
        raise wrong(message, "call_id", f"Call-ID is {_shown(value)}")
    return value


def party(message: Message, name: bytes) -> grammar.Address:
    """From or To."""
    value = message.value(name) or b""
    found = grammar.address(value)
    if found is None or not grammar.scheme(found.uri):
        raise wrong(message, "address", f"{_shown(name)} is {_shown(value)}")
    return found


def vias(message: Message, top: grammar.Via | None = None) -> list[grammar.Via]:
    """All of Via, top first; at least one. `top`: where it has been read already."""
    found: list[grammar.Via] = []
    for row in message.values(b"via"):
        listed = grammar.listed(row) if b"," in row else [row]
        if listed is None:
            raise wrong(message, "via", f"Via is {_shown(row)}, with an empty value")
        for value in listed:
            one = grammar.via(value) if top is None or found else top
            if one is None:
                raise wrong(message, "via", f"Via is {_shown(value)}")
            found.append(one)
    if not found:
        raise wrong(message, "via", "no Via")
    return found


def without_top(message: Message, *, framed: bool) -> bytes:
    """A response less its first Via (§16.7 item 3). `framed`: it needs Content-Length, as it leaves by a
    stream (§20.14)."""
    rows, left = [], True
    for name, row in message.rows:
        if name == b"via" and left:
            left = False
            end = grammar.first_value_end(row, row.index(b":") + 1)
            if row[end : end + 1] == b",":
                rows.append(b"Via: " + row[end + 1 :].lstrip(b" \t\r\n"))
        else:
            rows.append(row)
    if framed and b"content-length" not in message.first:
        rows.append(b"Content-Length: %d\r\n" % len(message.body))
    return b"".join((message.start, b"\r\n", *rows, b"\r\n", message.body))


def max_forwards(message: Message) -> int | None:
    """Max-Forwards, 0 to 255 (§20.22); None where it is missing."""
    value = message.value(b"max-forwards")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 10 or int(value) > 255:
        raise wrong(message, "max_forwards", f"Max-Forwards is {_shown(value)}; right would be 0 to 255")
    return int(value)


def wrong(message: Message, cause: str, detail: str) -> SipError:
    """A message that breaks the grammar: 400 for a request, silence for a response and ACK (§16.3, §18.3)."""
    answered = answerable(message)
    return SipError(0 if answered is None else 400, cause, detail, answered)


def _started(line: bytes) -> tuple[Message, int, str]:
    """A message of its start line (§7.1, §7.2); the answer that a fault deserves; the fault of a request
    line, "": none."""
    found = _REQUEST.fullmatch(line)
    if found is not None:
        if (found[3], found[4]) == (b"2", b"0"):
            return Message(line, found[1], found[2], 0), 400, ""
        return Message(line, found[1], found[2], 0), 505, f"SIP/{_shown(found[3])}.{_shown(found[4])}"
    found = _STATUS.fullmatch(line)
    if found is not None and (found[1], found[2]) == (b"2", b"0") and b"100" <= found[3] <= b"699":
        return Message(line, b"", b"", int(found[3])), 0, ""
    found = _NEARLY.fullmatch(line)
    if found is None:
        raise SipError(0, "start_line", _shown(line))
    return Message(line, found[1], b"", 0), 400, f"the request line {_shown(line)}"


def _shown(octets: bytes) -> str:
    return octets[:80].decode("ascii", "backslashreplace")
