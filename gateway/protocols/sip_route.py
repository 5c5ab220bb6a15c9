"""Where Route sends a request (RFC 3261 §16.4, §16.6 item 6, §16.12).

Rules of this file: nothing is changed here; what a Route would put into the Request-URI's place, here or at
an element behind us, is told, as whoever is called must be who was judged.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.protocols import sip
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message
from gateway.protocols.sip_place import PORTS, TLS, UDP

IsOurs = Callable[[bytes, int], bool]
"""Whether a host and port are this proxy's (`Own.is_at`)."""


class Way(NamedTuple):
    """`target`: replaces the Request-URI, `routes`: replace the Route rows; None: as they came. `following`:
    the URI to which the Route sends the request, None: it is used up."""

    target: bytes | None
    routes: list[bytes] | None
    following: bytes | None


def way(message: Message, is_ours: IsOurs) -> Way:
    """What Route asks for."""
    came = list(message.listed(b"route"))
    routes, target = came, None
    asked = grammar.uri(message.uri) if routes else None
    if asked is not None and not asked.user and is_ours(asked.host, _port(asked)):
        # a strict router has put our Record-Route into the Request-URI, and what stood there last into Route
        target, routes = _place(message, routes[-1])[0], routes[:-1]
    while routes:  # one for each side of ours
        _, place = _place(message, routes[0])
        if not is_ours(place.host, _port(place)):
            break
        routes = routes[1:]
    following = None
    if routes:
        following, place = _place(message, routes[0])
        if not _is_loose(place):
            routes = [*routes[1:], b"<%s>" % (message.uri if target is None else target)]
            target = following
    return Way(target, None if len(routes) == len(came) and target is None else routes, following)


def is_strict(message: Message, is_ours: IsOurs) -> bool:
    """Whether Route has an element, this one or a further one, put another URI into the Request-URI's place:
    a strict router stands in it, or sent it (§16.12.1.2)."""
    if b"route" not in message.first:
        return False
    found = way(message, is_ours)
    if found.target is not None:
        return True
    left = message.listed(b"route") if found.routes is None else found.routes  # without our own
    return not all(_is_loose(_place(message, route)[1]) for route in left)


def routed(message: Message) -> Iterator[bytes]:
    """The URIs of Route: an element that takes the Request-URI for its own puts the last one there (§16.4),
    and a strict router the next."""
    if b"route" in message.first:
        for route in message.listed(b"route"):
            yield _place(message, route)[0]


def _port(place: grammar.Uri) -> int:
    """Where none is said, its transport's (§19.1.2)."""
    by_tls = (grammar.uri_parameter(place.parameters, b"transport") or b"").lower() == b"tls"
    return place.port or PORTS[TLS if by_tls or place.scheme == b"sips" else UDP]


def _is_loose(place: grammar.Uri) -> bool:
    return grammar.uri_parameter(place.parameters, b"lr") is not None


def _place(message: Message, route: bytes) -> tuple[bytes, grammar.Uri]:
    """A Route value's URI, whole and in parts."""
    found = grammar.address(route)
    place = None if found is None else grammar.uri(found.uri)
    if found is None or place is None:
        raise sip.wrong(message, "route", "a Route that is none")
    return found.uri, place
