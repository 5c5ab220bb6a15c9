"""Wire tables: a class body is the table of a specification, compiled once.

    @pdu(0x0000_0004, "Pk_total")                 # CMPP 2.0 §7.4.3
    class Submit(Pdu):
        msg_id: U64
        pk_total: U8
        fee_terminal_id: Annotated[bytes, Octets(21, 32)]
        link_id: Annotated[bytes, Octets(0, 20)]

A width may be given once, or once per *column*: a column is a version of the protocol, as in the
specification's own "2.0 | 3.0" tables; width 0 means that the field is not in that version. What is
compiled are readers (the full `decode` is the reader of all fields) and `encode`, both of bodies only:
the header belongs to the protocol.

Rules: every length and count is checked against what is left before anything is sliced; nothing is
allocated from a length in a frame. A peer's mistake is a WireError whose detail is the field's name in
the specification; our own mistake (a text that is too long, a count that is not the list's) a ValueError.
This file knows no protocol.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import get_annotations
from itertools import groupby
from struct import Struct
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, get_args, get_type_hints, overload

from gateway.errors import WireError
from gateway.protocols import kinds
from gateway.protocols.kinds import Int, Items, Kind, Many, Octets, Raw, Rest, Text, Tlvs

R = TypeVar("R")
Reader = Callable[[bytes, int, int], R]
"""(data, start, end of the body) → the values asked for, in the order asked for."""

Frame = tuple[int, int, int, int]
"""(start, end, command, sequence) of a whole frame within the data that it was found in."""


class Unframed(WireError):
    """The stream can't be cut into frames any further; those found before are in `frames`."""

    def __init__(self, cause: str, detail: str, frames: list[Frame]) -> None:
        super().__init__(cause, detail)
        self.frames = frames


_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_FIXED = (Int, Octets, Raw)


class Field(NamedTuple):
    name: str
    spec: str
    kind: Kind

    def format(self, column: int) -> str:
        width = self.kind.width(column)
        return _FORMATS[width] if isinstance(self.kind, Int) else f"{width}s"


class Pdu:
    """One PDU's body. Subclasses are made by `@pdu`: keyword arguments, unnamed fields are empty."""

    command: ClassVar[int] = 0
    fields: ClassVar[tuple[Field, ...]] = ()
    bodiless: ClassVar[bool] = False
    _readers: ClassVar[dict[int, Reader[tuple[Any, ...]]]]
    __slots__ = ()

    def __init__(self, **values: Any) -> None:
        raise TypeError("a PDU is declared with @pdu")

    @classmethod
    def decode(cls, data: bytes, start: int, end: int, column: int = 0) -> Self:
        """The body in data[start:end], which must be filled exactly; WireError otherwise."""
        if cls.bodiless and start == end:
            return cls(**{cls.fields[0].name: None})
        names = [f.name for f in cls.fields if f.kind.width(column)]
        read = cls._readers.get(column)
        if read is None:
            read = cls._readers[column] = reader(cls, " ".join(names), column)
        return cls(**dict(zip(names, read(data, start, end), strict=True)))

    def encode(self, column: int = 0) -> bytes:
        """The body's octets. Counts and lengths are those of the lists and texts themselves; what the column
        does not have is left out."""
        if self.bodiless and getattr(self, self.fields[0].name) is None:
            return b""
        sizes = {f.kind.by: len(getattr(self, f.name)) for f in self.fields if f.kind.by}
        parts: list[bytes] = []
        for name, spec, kind in self.fields:
            value, width = getattr(self, name), kind.width(column)
            if not width:
                continue
            if isinstance(kind, Int):
                count = sizes.get(name, value)
                if value not in (0, count) or count >> 8 * width:
                    raise ValueError(f"{spec} is {value} in {width} octets where {count} follow")
                parts.append(count.to_bytes(width, "big"))
            elif isinstance(kind, Text):
                parts.append(kinds.ended(spec, value, width))
            elif isinstance(kind, Many):
                parts += [kinds.padded(spec, v, width) for v in value]
            elif isinstance(kind, _FIXED):
                parts.append(kinds.padded(spec, value, width, raw=isinstance(kind, Raw)))
            elif isinstance(kind, Tlvs):
                parts.append(kinds.written(value))
            elif isinstance(kind, Items):
                parts.append(kind.write(spec, value))
            else:
                parts.append(value)
        return b"".join(parts)

    @classmethod
    def offset(cls, name: str, column: int = 0) -> int:
        """Where a field begins in the body; ValueError if a field of variable size stands before it."""
        at = 0
        for f in cls.fields:
            if f.name == name:
                return at
            if not isinstance(f.kind, _FIXED):
                break
            at += f.kind.width(column)
        raise ValueError(f"{cls.__name__} has no fixed place for {name}")


P = TypeVar("P", bound=Pdu)


def words(name: str) -> str:
    """msg_id → Msg_Id, as CMPP writes."""
    return "_".join(word.capitalize() for word in name.split("_"))


def joined(name: str) -> str:
    """msg_type → MsgType, as SGIP and SMGP write."""
    return "".join(word.capitalize() for word in name.split("_"))


def pdu(
    command: int = 0, spellings: str = "", spell: Callable[[str], str] = words, *, bodiless: bool = False
) -> Callable[[type[P]], type[P]]:
    """Make a class body the table of PDU `command`.

    A field's name in the specification is made of its Python name by `spell`; `spellings` lists, split by
    blanks, those that the specification spells in another way. With `bodiless` the PDU may also come with no
    body at all: then its first field is None.
    """
    other = {spec.lower().replace("_", ""): spec for spec in spellings.split()}

    def compiled(cls: type[P]) -> type[P]:
        hints = get_type_hints(cls, include_extras=True)
        fields = []
        for name in get_annotations(cls):
            kind = next(k for k in get_args(hints[name]) if isinstance(k, Kind))
            fields.append(Field(name, other.get(name.replace("_", ""), spell(name)), kind))
            many = isinstance(kind, Many | Items | Tlvs)
            setattr(cls, name, field(default_factory=list) if many else kind.empty)
        made = dataclass(kw_only=True, slots=True)(cls)
        made.command, made.fields, made.bodiless, made._readers = command, tuple(fields), bodiless, {}
        return made

    return compiled


def alike(table: type[P], command: int, name: str) -> type[P]:
    """The table of another PDU that has the same fields."""
    return type(name, (table,), {"__slots__": (), "__module__": table.__module__, "command": command})


@overload
def reader(table: type[Pdu], asked: str, column: int = 0) -> Reader[tuple[Any, ...]]: ...
@overload
def reader(table: type[Pdu], asked: str, column: int, into: type[R]) -> Reader[R]: ...
def reader(table: type[Pdu], asked: str, column: int = 0, into: type[Any] = tuple) -> Reader[Any]:
    """Compile a reader of the fields `asked` for, named in one string; others are skipped inside a struct.

    Behind a field's name there may be the rest of an expression, `tp_udhi&0x41!=0`; `into` may be a
    NamedTuple of as many members. A field that this column does not have reads as empty, so that the readers
    of all columns give alike. The frame is checked as in a full decode, to its last octet, whatever is asked
    for. WireError causes: "truncated_body" (detail: the first field that does not fit), "trailing_bytes"
    (detail: how many).
    """
    wishes = [re.fullmatch(r"(\w+)(.*)", wish) for wish in asked.split()]
    names = [wish[1] for wish in wishes if wish]
    rests = [wish[2] for wish in wishes if wish]
    fields = [f for f in table.fields if f.kind.width(column)]
    needed = {*names} | {f.kind.by for f in fields}
    known = {f.name: f for f in table.fields}
    scope: dict[str, Any] = {"WireError": WireError, "short": _short, "new": tuple.__new__, "into": into}
    scope |= {"unended": kinds.unended, "optional": kinds.tlvs}
    lines = ["def read(data, at, end):"]
    for number, (fixed, group) in enumerate(groupby(fields, lambda f: isinstance(f.kind, _FIXED))):
        run = list(group)
        if fixed:
            lines += _fixed_run(number, run, column, needed, scope)
        else:
            for f in run:
                lines += _variable(f, known, column, f.name in needed, scope)
    values = "".join(
        f"{_value(known[name], column)}{rest}, " for name, rest in zip(names, rests, strict=True)
    )
    lines += [
        " if at != end:",
        "  raise WireError('trailing_bytes', str(end - at))",
        # half of the time that a NamedTuple's own constructor takes
        f" return ({values})" if into is tuple else f" return new(into, ({values}))",
    ]
    exec("\n".join(lines), scope)
    read: Reader[Any] = scope["read"]
    return read


_CUT = ".partition(b'\\0')[0].strip()"


def _value(f: Field, column: int) -> str:
    if not f.kind.width(column):
        return repr(f.kind.empty)
    # Most texts of most frames are empty: looking at the first octet costs a tenth of cutting.
    return f"{f.name}{_CUT} if {f.name}[0] else b''" if isinstance(f.kind, Octets) else f.name


def _fixed_run(
    number: int, run: Sequence[Field], column: int, needed: set[str], scope: dict[str, Any]
) -> list[str]:
    """Source that takes neighbouring fields of fixed width by one struct."""
    layout = Struct(
        ">" + "".join(f.format(column) if f.name in needed else f"{f.kind.width(column)}x" for f in run)
    )
    scope[f"unpack{number}"] = layout.unpack_from
    scope[f"run{number}"] = [(f.spec, f.kind.width(column)) for f in run]
    targets = "".join(f"{f.name}, " for f in run if f.name in needed)
    lines = [f" if end - at < {layout.size}:", f"  raise short(run{number}, end - at)"]
    if targets:
        lines.append(f" {targets}= unpack{number}(data, at)")
    return [*lines, f" at += {layout.size}"]


def _variable(
    f: Field, known: Mapping[str, Field], column: int, needed: bool, scope: dict[str, Any]
) -> list[str]:
    """Source that takes a text, a list or the rest, after checking that it lies within the frame."""
    match f.kind:
        case Rest():
            return [f" {f.name} = data[at:end]", " at = end"]
        case Tlvs():
            return [f" {f.name} = optional(data, at, end) if at != end else []", " at = end"]
        case Text():
            width = f.kind.width(column)
            return [
                f" stop = data.find(b'\\0', at, at + {width})",
                " if not -1 < stop < end:",
                f"  raise unended({f.spec!r}, {width}, end - at)",
                *([f" {f.name} = data[at:stop]"] if needed else []),
                " at = stop + 1",
            ]
        case Items():
            scope[f"read_{f.name}"] = f.kind.read
            return [
                f" {f.name}, at = read_{f.name}(data, at, end, {f.kind.by}, {f.spec!r})",
            ]
        case Many():
            return _many(f, column, needed)
    return [
        f" stop = at + {f.kind.by}",
        " if stop > end:",
        f"  raise WireError('message_length_exceeds_pdu', {known[f.kind.by].spec!r})",
        *([f" {f.name} = data[at:stop]"] if needed else []),
        " at = stop",
    ]


def _many(f: Field, column: int, needed: bool) -> list[str]:
    width = f.kind.width(column)
    lines = [
        f" stop = at + {f.kind.by} * {width}",
        " if stop > end:",
        f"  raise WireError('truncated_body', {f.spec!r})",
    ]
    if needed:
        lines += [
            f" if {f.kind.by} == 1:",
            f"  {f.name} = [data[at:stop]{_CUT}]",
            " else:",
            f"  {f.name} = [data[i:i + {width}]{_CUT} for i in range(at, stop, {width})]",
        ]
    return [*lines, " at = stop"]


def _short(run: list[tuple[str, int]], left: int) -> WireError:
    """The error of a frame that ends inside a run of fixed fields: names the first that does not fit."""
    for spec, width in run:
        left -= width
        if left < 0:
            return WireError("truncated_body", spec)
    raise AssertionError("the run fits")
