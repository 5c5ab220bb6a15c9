"""From a stream of octets to frames, for every protocol whose frames begin with their length and command.

Lengths are checked before anything waits for them; nothing is copied. This file knows no protocol.
"""

from collections.abc import Callable

from gateway.protocols.table import Frame, Unframed

Head = Callable[[bytes, int], tuple[int, int, int]]
"""`unpack_from` of a header: (length, command, sequence)."""


def cut(data: bytes, head: Head, size: int, cap: int) -> tuple[list[Frame], int]:
    """All whole frames of `data`, and how many octets they take; the rest is to be kept for next time.

    Unframed (with the frames before it) when a length is below the header's `size` or above `cap`: it is
    known from the first 4 octets, before anything waits for it.
    """
    found: list[Frame] = []
    add = found.append
    at, end = 0, len(data)
    while end - at >= size:
        length, command, sequence = head(data, at)
        if not size <= length <= cap:
            break
        stop = at + length
        if stop > end:
            return found, at
        add((at, stop, command, sequence))
        at = stop
    if end - at >= 4:
        length = int.from_bytes(data[at : at + 4], "big")
        if length < size:
            raise Unframed("length_too_short", str(length), found)
        if length > cap:
            raise Unframed("length_too_large", str(length), found)
    return found, at
