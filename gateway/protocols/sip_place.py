"""Where SIP messages come from and go to: an address, a transport and, of a stream, the connection.

Rules of this file: plain values; a connection is a number, as nothing here knows sockets.
"""

from typing import NamedTuple

UDP, TCP, TLS = "UDP", "TCP", "TLS"
"""As Via spells them (RFC 3261 §20.42)."""

PORTS = {UDP: 5060, TCP: 5060, TLS: 5061}
"""Where nobody names one (§19.1.2)."""


def written(host: str) -> bytes:
    """An address as URIs and Via have it (§25.1 IPv6reference)."""
    return (f"[{host}]" if ":" in host else host).encode("ascii")


class Place(NamedTuple):
    """`section`: the listener that it came in by, or that it goes out by; `flow`: the connection that it came
    on, 0: none, held by `worker`."""

    host: str
    port: int
    transport: str = UDP
    section: int = 0
    worker: int = 0
    flow: int = 0

    @property
    def address(self) -> tuple[str, int, str]:
        """The same for whatever goes there, by whichever connection."""
        return self.host, self.port, self.transport

    @property
    def filed(self) -> str:
        """As an account of this address and port is written."""
        return (b"%b:%d" % (written(self.host), self.port)).decode("ascii")
