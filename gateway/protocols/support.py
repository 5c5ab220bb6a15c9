"""What becomes of each request of each protocol: the README's table, made of the tables that run."""

import re
from collections.abc import Callable

from gateway.protocols import WIRES, Wire, cmpp_tables, sgip_tables, smgp_tables, smpp_tables
from gateway.protocols.table import Pdu

SPOKEN: dict[str, tuple[str, dict[int, type[Pdu]], dict[int, str], Callable[[str], str]]] = {
    "cmpp": ("CMPP 2.0, 2.1, 3.0", cmpp_tables.PDUS, cmpp_tables.ROUTING, str.upper),
    "sgip": (
        "SGIP 1.2",
        sgip_tables.PDUS,
        {sgip_tables.CHECKUSER: "CHECKUSER"} | sgip_tables.ROUTING,
        lambda word: word.upper().replace("USER_", "USER"),
    ),
    "smgp": (
        "SMGP 1.3, 3.0",
        smgp_tables.PDUS,
        {smgp_tables.FORWARD: "Forward"} | smgp_tables.ROUTING,
        str.title,
    ),
    "smpp": ("SMPP 3.3, 3.4, 5.0", smpp_tables.PDUS, smpp_tables.BROADCAST, str),
}
"""Title, PDUs, those that are known by name only, and how the specification writes names."""

HEAD = (
    "| | judged | relayed | refused by its answer | dropped, logged | from the carrier, recorded |\n|"
    + "---|" * 6
)


def table() -> str:
    """Markdown: one row a protocol. All that a carrier sends is relayed."""
    return "\n".join([HEAD, *(_row(wire()) for wire in WIRES.values())])


def _row(wire: Wire) -> str:
    title, pdus, named, spell = SPOKEN[wire.name]
    words = {c: spell(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", p.__name__).lower()) for c, p in pdus.items()}
    words |= named
    columns: dict[str, list[str]] = {"judge": [], "pass": [], "refuse": [], "drop": []}
    for command, word in sorted(words.items()):
        if command & wire.ANSWER:
            continue
        doing = wire.SENDER_MAY.get(command)
        if doing is None:
            octets = wire.unknown(bytes(wire.HEADER), (0, wire.HEADER, command, 1))
            doing = "drop" if octets is None else "refuse"
        columns["judge" if doing == "judge" else doing if doing in columns else "pass"].append(word)
    recorded = [words[command] for command in sorted(wire.CARRIER_SENDS) if command in words]
    cells = [title, *(", ".join(found) for found in columns.values()), ", ".join(recorded)]
    return f"| {' | '.join(cells)} |"
