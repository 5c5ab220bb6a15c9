"""The wire protocols that this node carries, by name. A new protocol is a file here and a line below."""

from typing import TypeAlias

from gateway.protocols.cmpp import Cmpp
from gateway.protocols.sgip import Sgip, SgipCall
from gateway.protocols.smgp import Smgp
from gateway.protocols.smpp import Smpp

Wire: TypeAlias = Cmpp | Sgip | Smgp | Smpp
"""A protocol on one connection. What the relay calls of it, all of them have."""

WIRES: dict[str, type[Wire]] = {wire.name: wire for wire in (Cmpp, Sgip, Smgp, Smpp)}

Call: TypeAlias = SgipCall
"""A protocol on a connection that a carrier has made."""

CALLS: dict[str, type[Call]] = {SgipCall.name: SgipCall}
"""Those whose carriers deliver on connections of their own."""
