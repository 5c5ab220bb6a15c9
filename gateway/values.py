"""What the value of a setting may be, each kind with the words for who writes another: "right would be …"."""

import math
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

RIGHT_ENDPOINT = "host:port, such as 10.0.0.5:7890"
RIGHT_HOP = "sip:host:port, such as sip:10.0.0.6:5060, with ;transport=tcp behind it, or sips:, or empty"
RIGHT_DURATION = "a whole number above 0 and a unit out of ms, s, m, h, d, such as 72h"
DAY = 86_400_000  # ms
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY}


class Section(BaseModel):
    """A table of the configuration: what it does not name is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def milliseconds(text: str) -> int:
    """`"72h"` → 259 200 000. Units: ms, s, m, h, d.

    Raises ValueError when the text is not a whole number above 0 and a unit.
    """
    found = re.fullmatch(r"0*([1-9]\d{0,11})\s*(ms|s|m|h|d)", text.strip(), re.ASCII)
    if found is None:
        raise ValueError(RIGHT_DURATION)
    return int(found[1]) * _UNITS[found[2]]


def endpoint(text: str) -> tuple[str, int]:
    """`"10.0.0.5:7890"` or `"[::1]:7890"` → (host, port). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    six = re.fullmatch(r"\[(.*)\]", host, re.ASCII)
    host = six[1] if six else host
    if not colon or not host or not re.fullmatch(r"\d{1,5}", port, re.ASCII):
        raise ValueError(RIGHT_ENDPOINT)
    if re.search(r"[\s\0\[\]]", host) or (":" in host) != bool(six):
        raise ValueError(f"{RIGHT_ENDPOINT}, or [::1]:7890")
    if not 0 < int(port) < 65536:
        raise ValueError(f"{RIGHT_ENDPOINT}, with a port from 1 to 65535")
    return host, int(port)


def right(words: str, fits: Callable[[Any], object], *kinds: type) -> BeforeValidator:
    """A setting whose value is of one of `kinds` (a text if there are none), in `words` for when it is not;
    `fits` raises ValueError, or is false, for a value that is wrong all the same."""

    def check(value: object) -> object:
        if type(value) not in (kinds or (str,)) or not fits(value):
            raise ValueError(words)
        return value

    return BeforeValidator(check)


def whole(low: int, high: int) -> BeforeValidator:
    words = f"a whole number from {low} to {high}, without quotes"
    return right(words, lambda value: low <= value <= high, int)


def number(words: str, fits: Callable[[float], bool]) -> BeforeValidator:
    return right(f"{words}, without quotes", lambda value: fits(value) and value < math.inf, int, float)


def one_of(*words: str) -> BeforeValidator:
    return right(f"one of {', '.join(words)}", lambda value: value in words)


def _is_address(text: str) -> bool:
    try:
        return not text or bool(ip_address(text))
    except ValueError:
        return False


def _is_url(text: str) -> bool:
    found = re.fullmatch(r"https?://([^/\s?#@]+)", text, re.ASCII)
    return not text or (found is not None and _is_host(found[1]))


def _is_host(text: str) -> bool:
    try:
        host, _ = endpoint(text if re.search(r":\d+$", text) else f"{text}:80")
    except ValueError:
        return False
    return host not in {"0.0.0.0", "::"}


def _is_path(text: str) -> bool:
    return bool(text) and "\0" not in text


Endpoint = Annotated[str, right(RIGHT_ENDPOINT, endpoint)]
MaybeEndpoint = Annotated[str, right(f"{RIGHT_ENDPOINT}, or empty", lambda text: not text or endpoint(text))]


def _is_network(text: str) -> bool:
    try:
        return bool(ip_network(text, strict=False))
    except ValueError:
        return False


Network = Annotated[str, right("an IP address or network in quotes, such as 10.0.0.0/24", _is_network)]
Duration = Annotated[str, right(RIGHT_DURATION, milliseconds)]
Folder = Annotated[Path, right("the path of a folder, in quotes", _is_path)]
File = Annotated[str, right("a shipped name or the path of a file, in quotes", _is_path)]
Address = Annotated[str, right("an IP address in quotes, or empty for any", _is_address)]
Url = Annotated[
    str,
    right("http:// or https:// and a host that other nodes reach, such as http://10.0.0.5:8080", _is_url),
]


def _is_signalling(text: str) -> bool:
    found = re.fullmatch(r"(?:udp|tcp|tls)://(.*)", text, re.ASCII)
    return found is not None and bool(endpoint(found[1]))


_HOP = re.compile(
    r"(sips?):([^@;?\s]+?)(?::(\d{1,5}))?(?:;transport=(udp|tcp|tls))?", re.ASCII | re.IGNORECASE
)


def hop(text: str) -> tuple[str, int, str]:
    """`"sip:10.0.0.6:5060;transport=tcp"` → (host, port, one of UDP, TCP and TLS). Raises ValueError."""
    found = _HOP.fullmatch(text)
    if found is None or (found[1].lower() == "sips" and (found[4] or "tls").lower() == "udp"):
        raise ValueError(RIGHT_HOP)
    transport = "TLS" if found[1].lower() == "sips" else (found[4] or "udp").upper()
    return *endpoint(f"{found[2]}:{found[3] or (5061 if transport == 'TLS' else 5060)}"), transport


def _is_hop(text: str) -> bool:
    return not text or hop(text)[0] not in {"0.0.0.0", "::"}


Signalling = Annotated[
    str, right("udp://, tcp:// or tls:// and host:port, such as udp://0.0.0.0:5060", _is_signalling)
]
Hop = Annotated[str, right(RIGHT_HOP, _is_hop)]


def _is_shared_counter(text: str) -> bool:
    found = re.fullmatch(r"rediss?://(?:[^@/\s]*@)?([^@/?#\s]+)(?:/\d*)?(?:\?[^#\s]*)?", text, re.ASCII)
    return text == "local" or (found is not None and _is_host(found[1]))


SharedCounter = Annotated[
    str,
    right(
        "local, or where a Redis or Valkey server is, in quotes, such as redis://10.0.0.7:6379/0 or"
        " rediss://counters.example",
        _is_shared_counter,
    ),
]
Rate = Annotated[float, number("a number of 0 or more", lambda value: value >= 0)]
Workdays = Annotated[int, whole(1, 250)]
PerDay = Annotated[int, whole(0, 10**9)]
Flag = Annotated[bool, right("true or false, without quotes", lambda value: True, bool)]
Text50 = Annotated[
    str,
    right(
        "at most 50 characters on one line, none of them an emoji, in quotes",
        lambda text: re.fullmatch(r"[\x20-\ud7ff\ue000-\uffff]{0,50}", text),
    ),
]
Code = Annotated[
    str,
    right(
        "at most 40 letters, digits and . _ -, in quotes",
        lambda text: re.fullmatch(r"[A-Za-z0-9._-]{1,40}", text),
    ),
]
Telephone = Annotated[
    str,
    right(
        "a number with its country code in quotes, such as +86-571-8765-4321, or empty",
        lambda text: re.fullmatch(r"(\+[0-9-]{5,24})?", text, re.ASCII),
    ),
]
Dsn = Annotated[
    str,
    right(
        "embedded, or postgresql://user@host/database, in quotes",
        lambda text: text == "embedded" or text.startswith(("postgresql://", "postgres://")),
    ),
]
LEAST_KEPT = 155
"""Days: five months are 153 at most, and a day is kept to its end (domain.md "Kept")."""


def _is_kept_long_enough(text: str) -> bool:
    return milliseconds(text) >= LEAST_KEPT * DAY


Kept = Annotated[
    str, right(f"at least {LEAST_KEPT}d, as five months have to be kept, in quotes", _is_kept_long_enough)
]
