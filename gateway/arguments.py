"""Numbers and texts of the command line that are checked before a command begins: argparse types.

Each says in its error what would be right; argparse adds the option's name and ends with exit code 2.
"""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date

from gateway.values import endpoint

MOST = 1_000_000_000


def whole(low: int, high: int = MOST) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not text.removeprefix("-").isdecimal() or not low <= int(text) <= high:
            raise ArgumentTypeError(f"{text!r}; right would be a whole number from {low} to {high}")
        return int(text)

    return parse


def amount(text: str) -> float:
    """Seconds, or a rate: not below 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST:
        raise ArgumentTypeError(f"{text!r}; right would be a number from 0 to {MOST}, such as 2.5")
    return value


def text(most: int) -> Callable[[str], str]:
    """Text with something in it, of up to `most` characters."""

    def parse(given: str) -> str:
        if not given.strip() or len(given) > most:
            raise ArgumentTypeError(f"{given[:40]!r}; right would be a text of 1 to {most} characters")
        return given

    return parse


def day(given: str) -> str:
    """A day as ISO 8601 writes it."""
    try:
        date.fromisoformat(given)
    except ValueError:
        raise ArgumentTypeError(f"{given[:40]!r}; right would be a day such as 2026-12-31") from None
    return given


def place(text: str) -> str:
    """Where to listen or to connect."""
    try:
        endpoint(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r}; right would be {error}") from None
    return text


def octets(limit: int, least: int = 0) -> Callable[[str], str]:
    """Text that has room in a field of a protocol: ASCII, `least` to `limit` octets."""

    def parse(text: str) -> str:
        if not text.isascii() or not least <= len(text) <= limit:
            raise ArgumentTypeError(
                f"{text!r}; right would be {least} to {limit} letters, digits or signs of ASCII"
            )
        return text

    return parse


port = whole(1, 65535)
