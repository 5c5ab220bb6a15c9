"""The protocols as tests look at them: their vectors, and values and words of any PDU."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from gateway.model import Reason
from gateway.protocols import (
    cmpp,
    cmpp_tables,
    sgip,
    sgip_tables,
    smgp,
    smgp_tables,
    smpp,
    smpp_status,
    smpp_tables,
)
from gateway.protocols.kinds import Int, Items, Many, Octets, Raw, Rest, Text, Tlvs, Var
from gateway.protocols.sgip_tables import SequenceNumber
from gateway.protocols.table import Pdu

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "sms.json").read_text())[
    "vectors"
]


@dataclass(frozen=True)
class Speech:
    """A protocol under test: its class, tables and versions, and what it refuses with."""

    wire: Any
    tables: ModuleType
    versions: dict[str, int]  # by the word that the vectors use
    refusals: dict[Reason, int]

    @property
    def vectors(self) -> list[dict[str, Any]]:
        return [v for v in VECTORS if v["protocol"] == self.wire.name]

    def speaks(self, word: str) -> Any:
        return self.wire(self.versions[word])

    @property
    def samples(self) -> list[bytes]:
        return [bytes.fromhex(v["hex"]) for v in self.vectors if v["kind"] in ("valid", "deviation")]


CMPP = Speech(
    *(cmpp.Cmpp, cmpp_tables, {"2.0": 0x20, "3.0": 0x30, "*": 0x20, "private": 0x7F}, cmpp.REFUSALS),
)
SGIP = Speech(sgip.Sgip, sgip_tables, {"1.2": 0x12}, sgip.REFUSALS)
SMGP = Speech(smgp.Smgp, smgp_tables, {"3.0": 0x30, "1.3": 0x13}, smgp.REFUSALS)
SMPP = Speech(smpp.Smpp, smpp_tables, {"3.4": 0x34, "3.3": 0x33, "5.0": 0x50}, smpp_status.REFUSALS)
ALL = [CMPP, SGIP, SMGP, SMPP]


def column_of(protocol: Any) -> int:
    return getattr(protocol, "_column", 0)


def spoken(pdu: Pdu, column: int) -> dict[str, Any]:
    """A PDU in the words of the vectors."""
    words: dict[str, Any] = {}
    for name, word, kind in pdu.fields:
        value, spec = getattr(pdu, name), word
        if not kind.width(column):
            continue
        if isinstance(kind, Octets | Text):
            value = value if value is None else value.decode("latin-1")
        elif isinstance(kind, Many):
            value = [item.decode() for item in value]
        elif isinstance(kind, Tlvs):
            spec = "tlvs"
            value = [{"tag": f"0x{t:04x}", "length": len(v), "value_hex": v.hex()} for t, v in value]
        elif spec == "SubmitSequence":
            value = [*SequenceNumber.of(int.from_bytes(value, "big"))]
        elif isinstance(kind, Raw | Var):
            value, spec = value.hex(), spec + "_hex" * isinstance(kind, Var)
        words[spec] = value
    return words


def values_of(table: type[Pdu], column: int) -> st.SearchStrategy[dict[str, Any]]:
    def text(width: int) -> st.SearchStrategy[bytes]:
        return st.binary(max_size=width).map(lambda b: b.replace(b"\0", b"0").strip())

    def one(kind: Any) -> st.SearchStrategy[Any]:
        width = kind.width(column)
        if isinstance(kind, Int):
            return st.integers(0, 256**width - 1)
        return text(width - 1 if isinstance(kind, Text) else width)

    fields: dict[str, Any] = {}
    counts = {f.kind.by for f in table.fields}
    for name, _, kind in table.fields:
        width = kind.width(column)
        if not width or name in counts:
            continue
        if isinstance(kind, Int | Octets | Text):
            fields[name] = one(kind)
        elif isinstance(kind, Raw):
            fields[name] = st.binary(min_size=width, max_size=width)
        elif isinstance(kind, Many):
            fields[name] = st.lists(text(width), max_size=99)
        elif isinstance(kind, Tlvs):
            fields[name] = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=5)
        elif isinstance(kind, Items):
            shapes = [st.tuples(*(one(k) for k in kind.shape))]
            if kind.choices:
                shapes = [
                    st.tuples(st.just(flag), *(one(k) for k in shape)) for flag, shape in kind.choices.items()
                ]
            fields[name] = st.lists(st.one_of(shapes), max_size=9)
        else:
            assert isinstance(kind, Var | Rest)
            fields[name] = st.binary(max_size=255)
    return st.fixed_dictionaries(fields)
