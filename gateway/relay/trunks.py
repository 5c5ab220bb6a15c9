"""The two sides of a node that carries calls, as the settings have them."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip_place import PORTS, TCP, TLS, UDP, Place


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
        if asked is None or not is_address(host := asked.host.strip(b"[]").decode("ascii")):
            return None
        said = (grammar.uri_parameter(asked.parameters, b"transport") or b"udp").upper().decode("ascii")
        transport = TLS if asked.scheme == b"sips" else said
        section = self.way(host, transport) if transport in (UDP, TCP, TLS) else None
        return None if section is None else Place(host, asked.port or PORTS[transport], transport, section)


@lru_cache(maxsize=4_096)
def is_address(host: str) -> bool:
    """Names are not looked up: no call may wait for one."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False
