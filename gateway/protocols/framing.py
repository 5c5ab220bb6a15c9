"""From a stream of octets to frames, for every protocol whose frames begin with their length and command.

Lengths are checked before anything waits for them; nothing is copied. This file knows no protocol.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import WireError
from gateway.protocols.table import Frame, Unframed

if TYPE_CHECKING:
    from mypy_extensions import i64  # compiled, what is annotated so is a machine word


def word(data: bytes, at: "i64") -> "i64":
    """The unsigned integer in four octets."""
    first: i64 = data[at]
    second: i64 = data[at + 1]
    third: i64 = data[at + 2]
    last: i64 = data[at + 3]
    return first << 24 | second << 16 | third << 8 | last


def cut(data: bytes, size: int, cap: int, numbers: int = 4) -> tuple[list[Frame], int]:
    """All whole frames of `data`, and how many octets they take; the rest is to be kept for next time.

    A header has `size` octets: length and command are its first eight, the sequence number its last
    `numbers`. Unframed (with the frames before it) when a length is below `size` or above `cap`: it is known
    from the first 4 octets, before anything waits for it.
    """
    found: list[Frame] = []
    at: i64 = 0
    end: i64 = len(data)
    least: i64 = size
    most: i64 = cap
    while end - at >= least:
        length = word(data, at)
        if length < least or length > most:
            break
        stop = at + length
        if stop > end:
            return found, at
        command, first = word(data, at + 4), at + least - 4
        if numbers == 4:
            found.append((at, stop, command, word(data, first)))
        else:
            long = int.from_bytes(data[first + 4 - numbers : first + 4], "big")
            found.append((at, stop, command, long))
        at = stop
    if end - at >= 4:
        length = word(data, at)
        if length < least:
            raise Unframed("length_too_short", str(length), found)
        if length > most:
            raise Unframed("length_too_large", str(length), found)
    return found, at


class Stream:
    """What one peer sends; the beginning of a frame whose rest has not come yet is its `tail`."""

    __slots__ = ("tail",)

    def __init__(self) -> None:
        self.tail = b""

    def frames(
        self, cut: Callable[[bytes], tuple[list[Frame], int]], data: bytes
    ) -> tuple[bytes, list[Frame], WireError | None]:
        """What a read brought, by the protocol's `cut`: (octets, the whole frames in them, why no more can be
        read)."""
        if self.tail:
            data = self.tail + data
        error: WireError | None = None
        try:
            frames, used = cut(data)
        except Unframed as broken:
            error, frames, used = broken, broken.frames, len(data)
        self.tail = data[used:] if used < len(data) else b""
        return data, frames, error
