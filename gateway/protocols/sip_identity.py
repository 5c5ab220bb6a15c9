"""Who calls, and whom (RFC 3261 §20.20, 3323, 3325, 3966, 5806, 7044): the numbers that a call is judged by.

Rules of this file: P-Asserted-Identity counts from a trusted peer alone, else From. P-Preferred-Identity
never decides; Remote-Party-ID only where a trusted peer says that it screened it and From is anonymous.
Whoever lends a line (Diversion, History-Info) is judged as well, and so is every other number that the
message names as its caller: it goes on as it came, and a core that trusts us may show any of them. What could
be two callers is nobody: the call does not pass.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from gateway.policy.numbers import as_called, canonical
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message

OK, UNIDENTIFIED, AMBIGUOUS, MALFORMED = "ok", "unidentified", "ambiguous", "malformed"

_DIALLED = re.compile(rb"\+?[0-9\-.()]+")
_LOCAL = re.compile(r"(?!10|11|95|96)\d{7,8}")
_CITY_CODE = re.compile(r"\+86(?:10|2\d|[3-9]\d\d)(9[56]\d{3,4}|100\d\d|123\d\d)")
MOST_CLAIMS = 16
"""Further numbers of a call; one that names more has nobody's."""

_NO_NUMBERS: tuple[str, ...] = ()
_FURTHER = frozenset(
    (
        b"p-asserted-identity",
        b"p-preferred-identity",
        b"remote-party-id",
        b"diversion",
        b"history-info",
        b"privacy",
    )
)
"""What else than From is read of who calls; most calls have none of it."""


class Identity(NamedTuple):
    """`verdict`: ok, unidentified, ambiguous, malformed; numbers canonical (domain.md), "": not made out.

    `unidentified` is also a call whose line is lent by who can't be made out. `source`: pai, rpid, from,
    none. `diverting`: who forwarded the call to us, "": nobody; `claims`: further numbers that the message
    names as its caller, or as who forwarded it. `restricted`: the caller asks that his number be not shown.
    """

    verdict: str
    caller: str
    source: str
    called: str
    diverting: str = ""
    claims: tuple[str, ...] = _NO_NUMBERS
    restricted: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """All that a call is judged by, so that one verdict is for one call."""
        return self.caller, self.called, self.diverting, " ".join(self.claims)

    @property
    def others(self) -> int:
        """A mark (32 bits) of those beside caller and called, as a record keeps it; 0: there are none."""
        if not self.diverting and not self.claims:
            return 0
        return crc32(" ".join((self.diverting, *self.claims)).encode()) or 1


def identity(message: Message, *, trusted: bool, area: str = "") -> Identity:
    """Who calls by an INVITE. `area`: the trunk's area code without its 0, for local numbers; "": they can't
    be read."""
    froms = [grammar.address(value) for value in message.values(b"from")]
    sender = froms[0] if len(froms) == 1 else None
    return identity_of(message, grammar.uri(message.uri), sender, trusted, area)


def identity_of(
    message: Message, asked: grammar.Uri | None, sender: grammar.Address | None, trusted: bool, area: str
) -> Identity:
    """The same where Request-URI and From have been read already; None: they break the grammar."""
    called = as_called(_named(asked, area))
    if sender is None:
        return Identity(MALFORMED, "", "none", called)
    spoken = grammar.uri(sender.uri)
    anonymous = spoken is not None and (
        spoken.user.lower() == b"anonymous" or spoken.host.endswith(b"anonymous.invalid")
    )
    shown = "" if anonymous else _named(spoken, area)
    if not anonymous and message.first.keys().isdisjoint(_FURTHER):
        return Identity(OK if shown else UNIDENTIFIED, shown, "from", called)
    try:
        asserted = _addresses(message, b"p-asserted-identity")
        preferred = _addresses(message, b"p-preferred-identity")
        party = _addresses(message, b"remote-party-id")
        diverted = _addresses(message, b"diversion")
        history = _addresses(message, b"history-info")
    except ValueError:
        return Identity(MALFORMED, "", "none", called)
    if trusted and len(asserted) > 2:  # RFC 3325 §9.1
        return Identity(MALFORMED, "", "pai", called)
    lenders = _numbers(diverted, area)
    past = [found for found in _numbers(history, area) if found != called]
    diverting = lenders[0] if lenders else past[-1] if past else ""
    # by numbers that are known; History-Info has other targets, too: lines outside, groups of a PBX
    hidden_ones = [one for one in history if b"anonymous" in one.uri.lower()]
    lent = all(number(one.uri, area) for one in (*diverted, *hidden_ones))
    hidden = _asks_privacy(message)
    calling = [
        one
        for one in party
        if (grammar.parameter(one.parameters, b"party") or b"calling").lower() == b"calling"
    ]
    named = _numbers(asserted, area)
    claims = _Claims(diverting)
    if trusted and asserted:
        if len(named) > 1:
            claims.add(named)
            return Identity(AMBIGUOUS, "", "pai", called, diverting, claims.all(), hidden)
        caller, source = (named[0] if named else ""), "pai"
        claims.add([shown])
    elif shown or not anonymous:
        caller, source = shown, "from"
        claims.add(named)
    else:
        screened = [
            one for one in calling if (grammar.parameter(one.parameters, b"screen") or b"").lower() == b"yes"
        ]
        found = _numbers(screened, area) if trusted else []
        if len(found) > 1:
            claims.add(found)
            return Identity(AMBIGUOUS, "", "rpid", called, diverting, claims.all(), hidden)
        caller, source = (found[0], "rpid") if found else ("", "none")
        hidden = hidden or not found or _hides(screened)
        claims.add(named)
    claims.add(_numbers(preferred, area))
    claims.add(_numbers(calling, area))
    claims.add(lenders[1:])
    claims.add(past)
    others = claims.all(but=caller)
    verdict = OK if caller and lent else UNIDENTIFIED
    if len(others) > MOST_CLAIMS:
        verdict, others = AMBIGUOUS, others[:MOST_CLAIMS]
    return Identity(verdict, caller, source, called, diverting, others, hidden)


def number(uri: bytes, area: str = "") -> str:
    """The telephone number of a sip, sips or tel URI in its canonical spelling; "" where it names none.

    Octets outside ASCII are no digits, whatever they look like. An area code before a national short code is
    dropped.
    """
    return _named(grammar.uri(uri), area)


def _named(parts: grammar.Uri | None, area: str) -> str:
    if parts is None:
        return ""
    user, _, inner = parts.user.partition(b";")
    further = parts.parameters if parts.scheme == b"tel" else b";" + inner if inner else b""
    context = grammar.uri_parameter(further, b"phone-context") if further else None
    dialled = grammar.unescaped(user.partition(b":")[0])
    if _DIALLED.fullmatch(dialled) is None:
        return ""
    text = dialled.translate(None, b"-.()").decode("ascii")
    if context is not None and context.startswith(b"+") and not text.startswith("+"):
        if _DIALLED.fullmatch(context) is None:
            return ""
        text = context.translate(None, b"-.()").decode("ascii") + text
    elif _LOCAL.fullmatch(text):
        if not area:
            return ""
        text = "0" + area + text
    found = canonical(text)
    city = _CITY_CODE.fullmatch(found)
    return found if city is None else city[1]


class _Claims:
    """Further numbers in the order in which they were met, each once."""

    def __init__(self, diverting: str) -> None:
        self._diverting = diverting
        self._found: dict[str, None] = {}

    def add(self, numbers: Iterable[str]) -> None:
        for one in numbers:
            if one and one != self._diverting:
                self._found[one] = None

    def all(self, but: str = "") -> tuple[str, ...]:
        return tuple(one for one in self._found if one != but)


def _addresses(message: Message, name: bytes) -> list[grammar.Address]:
    found: list[grammar.Address] = []
    if name not in message.first:
        return found
    for value in message.listed(name):
        one = grammar.address(value)
        if one is None:
            raise ValueError(value)
        found.append(one)
    return found


def _numbers(addresses: Iterable[grammar.Address], area: str) -> list[str]:
    """Different ones, in order."""
    return list(dict.fromkeys(found for one in addresses if (found := number(one.uri, area))))


def _asks_privacy(message: Message) -> bool:
    """Privacy of any kind but "none" (RFC 3323 §4.2)."""
    asked = {word.strip().lower() for value in message.values(b"privacy") for word in value.split(b";")}
    return bool(asked - {b"none", b""})


def _hides(addresses: Iterable[grammar.Address]) -> bool:
    return any(
        (grammar.parameter(one.parameters, b"privacy") or b"off").lower() != b"off" for one in addresses
    )
