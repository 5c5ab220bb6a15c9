"""The wire protocols that this node carries, by name. A new protocol is a file here and a line below."""

from gateway.protocols.cmpp import Cmpp

WIRES = {Cmpp.name: Cmpp}
