"""A text as a peer sends it: in one message or in several."""

from collections.abc import Sequence
from typing import NamedTuple


class Said(NamedTuple):
    """A text, or a part of one: `udhi`, its content begins with a header that says which."""

    content: bytes
    fmt: int
    udhi: bool
    total: int = 1
    number: int = 1


def said_in(contents: Sequence[bytes], fmt: int) -> list[Said]:
    """The parts of a text, from their contents."""
    total = len(contents)
    return [Said(one, fmt, total > 1, total, number) for number, one in enumerate(contents, 1)]
