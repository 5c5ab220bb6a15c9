"""The two sides of a node that carries calls, as the settings have them."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_place import PORTS, TCP, TLS, UDP, Place

LONGEST_DATAGRAM = 65_507
OWN_ROWS = 1_024
"""Octets of a message that we add at most."""

MAY_BE_LONG = 40_000
"""Octets of a body; with a shorter one every message that is read fits into a datagram."""


class Trunks(NamedTuple):
    """What the settings say of the two sides: the addresses of the carrier's `hops`, and `hop`, which says
    where calls go now (`Hops.now`); `way`: the listener by which a host is reached over a transport, None: by
    none; `trusted` says by address whether a peer's P-Asserted-Identity counts; `deadline`: seconds until a
    verdict; `area`: of local numbers, without 0; `records`: stay on the path of calls that pass; `redirects`:
    callers take those to the carrier themselves."""

    carrier: str
    hops: frozenset[tuple[str, int, str]]
    hop: Callable[[int], Place | None]
    way: Callable[[str, str], int | None]
    trusted: Callable[[str], bool]
    deadline: float
    area: str = ""
    records: bool = False
    redirects: bool = False

    def place_of(self, uri: bytes) -> Place | None:
        """Where a URI leads to that a request from the carrier follows; None: where nobody gets from here."""
        asked = grammar.uri(uri)
        if asked is None:
            return None
        named = grammar.uri_parameter(asked.parameters, b"maddr") or asked.host  # (§19.1.1)
        host = named.strip(b"[]").decode("ascii", "replace")
        if not is_address(host) or grammar.has_many(named.strip(b"[]")):
            return None
        said = (grammar.uri_parameter(asked.parameters, b"transport") or b"udp").upper().decode("ascii")
        transport = TLS if asked.scheme == b"sips" else said
        section = self.way(host, transport) if transport in (UDP, TCP, TLS) else None
        return None if section is None else Place(host, asked.port or PORTS[transport], transport, section)

    def check(self, message: Message, scheme: bytes) -> None:
        """Raises SipError for an INVITE that the next hop can't be given, so that it is told before it counts
        as a pass: one that asks for TLS all the way (§26.2.2), and one that no datagram holds."""
        secured, long = scheme == b"sips", len(message.body) > MAY_BE_LONG
        hop = self.hop(0) if secured or long else None
        if hop is None:
            return
        if secured and hop.transport != TLS:
            raise SipError(416, "scheme", "sips, and the next hop is not reached by TLS", message)
        size, most = len(message.octets()), LONGEST_DATAGRAM - OWN_ROWS
        if size > most and hop.transport == UDP and not self.redirects:
            raise SipError(513, "too_long", f"{size} octets; to the next hop go at most {most}", message)


@lru_cache(maxsize=4_096)
def is_address(host: str) -> bool:
    """Names are not looked up: no call may wait for one."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False
