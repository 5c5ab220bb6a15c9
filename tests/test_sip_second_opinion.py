"""Our reading of SIP beside another's (sipmessage 0.7, of PyPI): where both accept a message, they have found
the same in it. Where one refuses what the other takes, the message is named here, with the reason.
"""

from random import Random
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
import sipmessage
from test_sip import CALLERS, TORTURE, octets

from gateway.protocols import sip
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message

GENERATED = 1_500


class Party(NamedTuple):
    """`tag`: "" for none."""

    scheme: str
    user: str
    host: str
    port: int
    tag: str


class Fields(NamedTuple):
    """What a proxy looks at. `vias`: transport, host, port, branch."""

    start: tuple[str, str] | int
    asked: Party | None
    caller: Party
    called: Party
    call_id: str
    cseq: tuple[int, str]
    vias: tuple[tuple[str, str, int, str], ...]
    hops: int | None


def ours(data: bytes) -> Fields | None:
    try:
        message = sip.datagram(data)
        assert message is not None
        asked = None
        if not message.status:
            asked = _party(message.uri, b"")
            if asked is None:
                return None
        caller, called = (_ours(message, name) for name in (b"from", b"to"))
        if caller is None or called is None:
            return None
        number, method = sip.sequence(message)
        return Fields(
            message.status or (message.method.decode(), ""),
            asked,
            caller,
            called,
            sip.call_id(message).decode(),
            (number, method.decode()),
            tuple(
                (via.transport.decode(), via.host.decode(), via.port, _text(via.parameters, b"branch"))
                for via in sip.vias(message)
            ),
            sip.max_forwards(message),
        )
    except (sip.SipError, UnicodeDecodeError):
        return None


def _ours(message: Message, name: bytes) -> Party | None:
    party = sip.party(message, name)
    return _party(party.uri, party.parameters)


def _party(uri: bytes, parameters: bytes) -> Party | None:
    found = grammar.uri(uri)
    if found is None:
        return None
    user = grammar.unescaped(found.user.partition(b":")[0]).decode()
    return Party(found.scheme.decode(), user, found.host.decode(), found.port, _text(parameters, b"tag"))


def _text(parameters: bytes, name: bytes) -> str:
    """As they read it: they unescape %HH in parameters of headers, which are tokens and have no escapes
    (RFC 3261 §25.1, RFC 4475 §3.1.1.2): the one thing that both read, and otherwise."""
    return unquote((grammar.parameter(parameters, name) or b"").decode())


def theirs(data: bytes) -> Fields | None:
    try:
        message: Any = sipmessage.Message.parse(data)
        request = isinstance(message, sipmessage.Request)
        return Fields(
            (message.method, "") if request else message.code,
            _their_party(message.uri, {}) if request else None,
            _their_party(message.from_address.uri, message.from_address.parameters),
            _their_party(message.to_address.uri, message.to_address.parameters),
            message.call_id,
            (message.cseq.sequence, message.cseq.method),
            tuple(
                (via.transport.upper(), via.host.lower(), via.port or 0, via.parameters.get("branch") or "")
                for via in message.via
            ),
            message.max_forwards,
        )
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None


def _their_party(uri: Any, parameters: Any) -> Party:
    return Party(
        uri.scheme, uri.user or "", (uri.host or "").lower(), uri.port or 0, parameters.get("tag") or ""
    )


def compared(data: bytes) -> str:
    """both, ours, theirs or neither took it; AssertionError where they read it differently."""
    mine, other = ours(data), theirs(data)
    if mine is not None and other is not None:
        assert mine == other, data
        return "both"
    return "ours" if mine is not None else "theirs" if other is not None else "neither"


THEIRS_ALONE = {
    "bigcode": "a status of more than three digits",
    "clerr": "a Content-Length beyond the datagram (§18.3)",
    "mcl01": "two Content-Length",
    "mismatch01": "a CSeq of another method",
    "ncl": "a Content-Length below 0",
    "scalarlg": "numbers beyond their bounds",
    "two-from": "two From: who calls?",
}
OURS_ALONE = {
    "wsinv": "they know no continuation lines (§7.3.1)",
    "compact-folded": "likewise",
}


def messages() -> dict[str, bytes]:
    """RFC 4475's and the cases of identity, by name."""
    return {name: octets(name) for name in TORTURE} | {
        case["id"]: case["message"].encode() for case in CALLERS
    }


@pytest.mark.parametrize("name", sorted({*TORTURE, *(case["id"] for case in CALLERS)}))
def test_what_both_accept_both_read_alike(name: str) -> None:
    wanted = "theirs" if name in THEIRS_ALONE else "ours" if name in OURS_ALONE else None
    found = compared(messages()[name])
    assert found == wanted if wanted else found in ("both", "neither")


def test_a_semicolon_in_quotes_begins_no_parameter() -> None:
    """They take it for one (§25.1 gen-value)."""
    first, _, rest = octets("dblreq").partition(b"\r\nFrom: ")
    assert b";tag" in rest.partition(b"\r\n")[0]
    data = first + b'\r\nFrom: <sip:j.user@example.com>;q="a;tag=no"\r\n' + rest.partition(b"\r\n")[2]
    mine, other = ours(data), theirs(data)
    assert mine is not None
    assert other is not None
    assert (mine.caller.tag, other.caller.tag) == ("", 'no"')


HOSTS = ("example.com", "192.0.2.1", "[2001:db8::1]", "GW.Example.COM", "a-b.c")
USERS = ("13800000000", "+8613800000000", "a%20b", "alice;day=tuesday", "anonymous", "x:pw", "0571-8888-6666")
DISPLAYS = ("", '"A, B; <C>" ', "Bell ", '"\\"q\\" \\\\" ', "A B  ", '"" ')
TAGS = ("", ";tag=1", " ; tag = a-b", ";x=y;tag=Z", ';q="a, <>";tag=yes')


def generated(chance: Random) -> bytes:
    """A well-formed request or response in spellings that few senders use; a blank before the comma of a list
    (§25.1 COMMA) is the one that they refuse."""
    pick = chance.choice
    method = pick(["INVITE", "ACK", "BYE", "OPTIONS", "Foo", "CANCEL"])

    def uri() -> str:
        user = pick(["", pick(USERS) + "@"])
        port = pick(["", ":5060", ":65535"])
        parameters = pick(["", ";lr", ";transport=udp", ";a=%41"])
        return f"{pick(['sip', 'sips'])}:{user}{pick(HOSTS)}{port}{parameters}"

    def party() -> str:
        if chance.random() < 0.2:
            return f"sip:{pick(USERS[:2])}@{pick(HOSTS)}{pick(TAGS)}"
        return f"{pick(DISPLAYS)}<{uri()}>{pick(TAGS)}"

    def via() -> str:
        port = pick(["", ":5061"])
        more = pick(["", ";rport", ";received=192.0.2.9", ";maddr=192.0.2.8;ttl=16"])
        branch = f"z9hG4bK{chance.randrange(9999)}"
        return f"SIP/2.0/{pick(['UDP', 'TCP', 'tls'])} {pick(HOSTS)}{port};branch={branch}{more}"

    def name(long: str, short: str) -> str:
        return pick([long, long, short, long.lower(), long.upper()]) + pick([":", ": ", ":  ", ":\t"])

    response = chance.random() < 0.3
    start = f"SIP/2.0 {chance.randrange(100, 700)} Any Words" if response else f"{method} {uri()} SIP/2.0"
    vias = [via() for _ in range(chance.randrange(1, 4))]
    rows = [name("Via", "v") + one for one in vias]
    if chance.random() < 0.3:
        rows = [name("Via", "v") + pick([",", ", ", " , "]).join(vias)]
    rest = [
        name("From", "f") + party(),
        name("To", "t") + party(),
        name("Call-ID", "i") + pick(["a@b", "1", "x-y.z@192.0.2.3"]),
        name("CSeq", "CSeq") + f"{chance.randrange(1 << 31)} {method}",
    ]
    rest += [f"Max-Forwards: {chance.randrange(256)}"] if chance.random() < 0.8 else []
    rest += [name("Subject", "s") + "a: b, <c>"] if chance.random() < 0.3 else []
    chance.shuffle(rest)
    body = pick(["", "v=0\r\n"])
    return "\r\n".join([start, *rows, *rest, f"l: {len(body)}", "", body]).encode()


def test_what_is_generated_both_read_alike() -> None:
    chance = Random(4475)
    found = [compared(generated(chance)) for _ in range(GENERATED)]
    assert found.count("both") > GENERATED / 2
    for _ in range(GENERATED):  # and with an octet that does not belong there
        data = bytearray(generated(chance))
        data[chance.randrange(len(data))] = chance.choice(b' ;,<>@:"\\%\r\na0\xff')
        compared(bytes(data))
