"""The wire protocols that this node carries, by name. A new protocol is a file here and a line below."""

from typing import TypeAlias

from gateway.protocols.cmpp import Cmpp
from gateway.protocols.smgp import Smgp
from gateway.protocols.smpp import Smpp

Wire: TypeAlias = Cmpp | Smgp | Smpp
"""A protocol on one connection. What the relay calls of it, all of them have."""

WIRES: dict[str, type[Wire]] = {wire.name: wire for wire in (Cmpp, Smgp, Smpp)}
