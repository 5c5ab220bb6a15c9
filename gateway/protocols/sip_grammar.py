"""The parts of SIP messages that are read: addresses, URIs, Via values, parameters (RFC 3261 §25.1).

Rules of this file: octets in, named parts out; None where they do not keep the grammar. Nothing is repaired,
as what two readers read differently is how a call gets past a gateway. Values have no folding left
(`sip.unfolded`). Each pattern is linear: its repeats are possessive or can't meet.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]++"
_QUOTED = rb'"(?:[^"\\\r\n]|\\[\x00-\x09\x0b\x0c\x0e-\x7f])*+"'
_HOST = (
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*\.?"
    rb"|\[[0-9A-Fa-f:.]{2,45}\])"
)
_V6 = rb"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40}+"
_VALUE = TOKEN + rb"|" + _QUOTED + rb"|\[[0-9A-Fa-f:.]{2,45}\]"
_NAMED = rb"[ \t]*;[ \t]*" + TOKEN + rb"(?:[ \t]*=[ \t]*(?:"
_PARAMETERS = rb"(?:" + _NAMED + _VALUE + rb"))?)*[ \t]*"
# "received" has an IPv6 address without brackets (§25.1 via-received)
_VIA_PARAMETERS = rb"(?:" + _NAMED + _VALUE + rb"|" + _V6 + rb"))?)*[ \t]*"
_EACH_PARAMETER = re.compile(rb";[ \t]*(" + TOKEN + rb")(?:[ \t]*=[ \t]*(" + _V6 + rb"|" + _VALUE + rb"))?")
# "," between values, but not inside quotes or <>
_ELEMENT = re.compile(rb'(?:[^",<]|"(?:[^"\\]|\\.)*+"|<[^>]*+>)++', re.DOTALL)
_NAME_ADDR = re.compile(
    rb"((?:" + TOKEN + rb"(?:[ \t]++|(?=<)))*+|" + _QUOTED + rb"[ \t]*)<([^<>\"\s]++)>(" + _PARAMETERS + rb")"
)
_ADDR_SPEC = re.compile(rb"([^<>\"\s;,?]++)(" + _PARAMETERS + rb")")
_VIA = re.compile(  # letters of both cases spelt out: to ignore case costs half as much again
    rb"[Ss][Ii][Pp][ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(" + TOKEN + rb")[ \t]+(" + _HOST + rb")"
    rb"(?:[ \t]*:[ \t]*(\d{1,5}))?(" + _VIA_PARAMETERS + rb")"
)
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*):")
_USER = (
    rb"(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/]|%[0-9A-Fa-f]{2})++"
    rb"(?::(?:[A-Za-z0-9\-_.!~*'()&=+$,]|%[0-9A-Fa-f]{2})*+)?"
)
_URI_CHARS = rb"(?:[A-Za-z0-9\-_.!~*'()\[\]/:&+$]|%[0-9A-Fa-f]{2})++"
_SIP = re.compile(  # "@" stands once at most, behind the user
    rb"(?:(" + _USER + rb")@)?(" + _HOST + rb")(?::(\d{1,5}))?"
    rb"((?:;" + _URI_CHARS + rb"(?:=" + _URI_CHARS + rb")?)*)(?:\?[A-Za-z0-9\-_.!~*'()\[\]/?:+$=&%]++)?"
)
_TEL = re.compile(rb"(\+?[0-9A-Fa-f*#\-.()]++)((?:;" + _URI_CHARS + rb"(?:=" + _URI_CHARS + rb")?)*)")
_EACH_URI_PARAMETER = re.compile(rb";([^;=]+)(?:=([^;]*))?")
_V4 = re.compile(rb"(\d{1,3})(?:\.\d{1,3}){3}")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class Uri(NamedTuple):
    """A sip, sips or tel URI. `user`: as it stands, escapes and all; for tel the number. `host` in lower
    case; `port` 0: none; `parameters`: from the first ";" on; those of a user part stay with the user."""

    scheme: bytes
    user: bytes
    host: bytes
    port: int
    parameters: bytes


class Address(NamedTuple):
    """name-addr or addr-spec (§20.10): without <> parameters belong to the header, not to the URI."""

    display: bytes
    uri: bytes
    parameters: bytes


class Via(NamedTuple):
    """One value of Via (§20.42); `transport` in upper case, `port` 0: none said."""

    transport: bytes
    host: bytes
    port: int
    parameters: bytes


def values(row: bytes) -> Iterator[bytes]:
    """The values of a comma-separated header, outside quotes and <> (§7.3.1)."""
    for found in _ELEMENT.findall(row):
        yield found.strip(b" \t\r\n")


def listed(row: bytes) -> list[bytes] | None:
    """The same, None where one of them is empty: between two commas, before the first, behind the last."""
    found = list(values(row))
    commas = _ELEMENT.sub(b"", row)
    return found if commas == b"," * (len(found) - 1) and b"" not in found else None


def first_value_end(row: bytes, start: int) -> int:
    """Where the first value of a list ends in row[start:], folding and all: at its comma or at the row's
    end."""
    found = _ELEMENT.match(row, start)
    return start if found is None else found.end()


def address(value: bytes) -> Address | None:
    """What From, To, Route, P-Asserted-Identity … hold."""
    found = _NAME_ADDR.fullmatch(value)
    if found is not None:
        return Address(found[1].strip(), found[2], found[3])
    found = _ADDR_SPEC.fullmatch(value)
    return None if found is None else Address(b"", found[1], found[2])


def via(value: bytes) -> Via | None:
    """One Via value."""
    found = _VIA.fullmatch(value)
    if found is None:
        return None
    port = int(found[3] or 0)
    return Via(found[1].upper(), found[2].lower(), port, found[4]) if port < 65536 else None


def parameter(parameters: bytes, name: bytes) -> bytes | None:
    """A header parameter's value; b"" where it has none, None where it is missing. `name` in lower case."""
    for found in _EACH_PARAMETER.finditer(parameters):
        if found[1].lower() == name:
            return found[2] or b""
    return None


def scheme(uri: bytes) -> bytes:
    """In lower case; b"" where there is none."""
    found = _SCHEME.match(uri)
    return b"" if found is None else found[1].lower()


def uri(text: bytes) -> Uri | None:
    """A sip, sips or tel URI; None for anything else. The last "@" ends the user part: a ";" before it is the
    user's (§25.1 userinfo, RFC 4475 §3.1.1.2)."""
    found = _SCHEME.match(text)
    if found is None:
        return None
    word = found[1].lower()
    if word == b"tel":
        number = _TEL.fullmatch(text, found.end())
        return None if number is None else Uri(word, number[1], b"", 0, number[2])
    if word not in (b"sip", b"sips"):
        return None
    parts = _SIP.fullmatch(text, found.end())
    if parts is None:
        return None
    user, host, port, parameters = parts.groups(b"")
    said = int(port or 0)
    return None if said > 65535 else Uri(word, user, host.lower(), said, parameters)


def uri_parameter(parameters: bytes, name: bytes) -> bytes | None:
    """A URI parameter's value, unescaped; b"" where it has none, None where it is missing."""
    for found in _EACH_URI_PARAMETER.finditer(parameters):
        if found[1].lower() == name:
            return unescaped(found[2] or b"")
    return None


def unescaped(text: bytes) -> bytes:
    """%HH, once (§19.1.2); only after the parts were split, never in a method or display name."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), text) if b"%" in text else text


def has_many(host: bytes) -> bool:
    """Whether it is an address that more than one hears, or none at all."""
    plain = _V4.fullmatch(host)
    if plain is not None and 0 < int(plain[1]) < 224:
        return False
    try:
        address = ip_address(host.decode("ascii"))
    except ValueError:
        return False
    return address.is_multicast or address.is_unspecified or host == b"255.255.255.255"
