"""How a field lies on the wire: the kinds that wire tables (`table`) are made of.

Widths are in octets. Reading checks every length against what is left before anything is sliced; a peer's
mistake is a WireError that names the field, our own a ValueError. This file knows no protocol.
"""

from struct import Struct
from typing import Annotated, Any

from gateway.errors import WireError

Tlv = tuple[int, bytes]
"""An optional field: its tag and value."""

_TLV = Struct(">HH")


class Kind:
    """`widths`: one for each column, the last for all further; `by`: the field that counts this one."""

    empty: Any = b""
    by = ""

    def __init__(self, *widths: int) -> None:
        self.widths = widths

    def width(self, column: int) -> int:
        return self.widths[min(column, len(self.widths) - 1)]


class Int(Kind):
    """An unsigned integer, most significant octet first, of 1, 2, 4 or 8 octets."""

    empty = 0


class Octets(Kind):
    """Text of fixed width, padded right with 0x00; a reader cuts at the first 0x00 and trims blanks."""


class Raw(Kind):
    """Octets that are never cut: digests, ids."""


class Text(Kind):
    """Text that ends with its 0x00, of at most so many octets with it: SMPP's C-octet string."""


class Many(Kind):
    """As many `Octets` as the field named `by` says."""

    def __init__(self, *widths: int, by: str) -> None:
        super().__init__(*widths)
        self.by = by


class Var(Kind):
    """As many raw octets as the field named `by` says."""

    def __init__(self, *, by: str) -> None:
        super().__init__(1)
        self.by = by


class Rest(Kind):
    """All that is left of the frame."""

    def __init__(self) -> None:
        super().__init__(1)


class Tlvs(Kind):
    """All that is left of the frame, as (tag, value) in the order of the wire, known or not."""

    def __init__(self) -> None:
        super().__init__(1)


class Items(Kind):
    """As many structures as the field named `by` says: tuples of integers and texts.

    With `choices` each begins with an octet that says which of them it is; it comes first in the tuple.
    """

    def __init__(
        self, *shape: Int | Text, by: str, choices: dict[int, tuple[Int | Text, ...]] | None = None
    ) -> None:
        super().__init__(1)
        self.by = by
        self.shape, self.choices = shape, choices or {}

    def read(
        self, data: bytes, at: int, end: int, count: int, spec: str
    ) -> tuple[list[tuple[Any, ...]], int]:
        """The structures, and where the next field begins."""
        found: list[tuple[Any, ...]] = []
        for _ in range(count):
            values: list[Any] = []
            shape = self.shape
            if self.choices:
                if at >= end:
                    raise WireError("truncated_body", spec)
                if data[at] not in self.choices:
                    raise WireError("bad_value", spec)
                shape = self.choices[data[at]]
                values.append(data[at])
                at += 1
            for kind in shape:
                width = kind.width(0)
                if isinstance(kind, Text):
                    stop = data.find(b"\0", at, min(at + width, end))
                    if stop < 0:
                        raise unended(spec, width, end - at)
                    values.append(data[at:stop])
                    at = stop + 1
                else:
                    if end - at < width:
                        raise WireError("truncated_body", spec)
                    values.append(int.from_bytes(data[at : at + width], "big"))
                    at += width
            found.append(tuple(values))
        return found, at

    def write(self, spec: str, items: list[tuple[Any, ...]]) -> bytes:
        parts: list[bytes] = []
        for item in items:
            values, shape = list(item), self.shape
            if self.choices:
                shape = self.choices[values[0]]
                parts.append(bytes([values.pop(0)]))
            for kind, value in zip(shape, values, strict=True):
                width = kind.width(0)
                parts.append(
                    ended(spec, value, width) if isinstance(kind, Text) else value.to_bytes(width, "big")
                )
        return b"".join(parts)


U8 = Annotated[int, Int(1)]
U16 = Annotated[int, Int(2)]
U32 = Annotated[int, Int(4)]
U64 = Annotated[int, Int(8)]


def unended(spec: str, width: int, left: int) -> WireError:
    """The error of a text whose 0x00 is not where it may be at the latest."""
    return WireError("c_octet_string_too_long" if left >= width else "missing_nul", spec)


def ended(spec: str, value: bytes, width: int) -> bytes:
    """A text with its 0x00."""
    if len(value) >= width or b"\0" in value:
        raise ValueError(f"{spec} is a text of at most {width - 1} octets without 0x00, not {value!r}")
    return value + b"\0"


def padded(spec: str, value: bytes, width: int, *, raw: bool = False) -> bytes:
    """A field of fixed width; raw octets are all there, or none."""
    if len(value) > width or (raw and len(value) not in (0, width)):
        raise ValueError(f"{spec} has {width} octets, not {len(value)}")
    return value.ljust(width, b"\0")


def tlvs(data: bytes, at: int, end: int) -> list[Tlv]:
    """The optional fields in data[at:end]."""
    found: list[Tlv] = []
    while at != end:
        if end - at < 4:
            raise WireError("tlv_truncated_header")
        tag, size = _TLV.unpack_from(data, at)
        at += 4 + size
        if at > end:
            raise WireError("tlv_length_exceeds_pdu", f"0x{tag:04x}")
        found.append((tag, data[at - size : at]))
    return found


def written(optional: list[Tlv]) -> bytes:
    """The inverse of `tlvs`."""
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in optional)
