"""Where calls go on to, and by which of our listeners: the carrier's places, and which of them are alive."""

import logging
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from gateway.protocols.sip_place import TCP, TLS, UDP, Place, written
from gateway.protocols.sip_proxy import Own
from gateway.relay.recalled import mark_of
from gateway.values import endpoint, hop

DEAD_SECONDS = 7.0
"""A next hop that has answered no OPTIONS for that long is passed over."""

ANY = ("0.0.0.0", "::")
MOST_KNOWN = 10_000
"""Ways that are remembered, before all are forgotten."""


class Listener(NamedTuple):
    transport: str
    host: str
    port: int


def listeners(listen: Sequence[str]) -> list[Listener]:
    """Of the setting, such as udp://0.0.0.0:5060."""
    return [
        Listener(scheme.upper(), *endpoint(address))
        for scheme, _, address in (said.partition("://") for said in listen)
    ]


def found(places: Sequence[str], log: logging.Logger) -> dict[Place, str]:
    """The next hops of the setting with the name that each was written by, looked up once, as no call may
    wait for a name; one that nobody knows is left out."""
    known = {}
    for said in places:
        if not said:
            continue
        host, port, transport = hop(said)
        try:
            address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
        except OSError as error:
            log.error("next hop not found", extra={"fields": {"hop": said, "error": str(error)}})
            continue
        known[Place(str(address[0]), port, transport)] = host
    return known


class Ways:
    """By which listener one goes to a host. A stream needs none to be opened: where nobody listens by its
    transport, it names the first as ours."""

    def __init__(self, listening: Sequence[Listener]) -> None:
        self._known: dict[tuple[str, str], int | None] = {}
        self._all = list(listening)
        self._count = len(listening)
        if listening:
            spoken = {listener.transport for listener in listening}
            self._all += [listening[0]._replace(transport=more) for more in (TCP, TLS) if more not in spoken]

    def owns(self, key: bytes, seen_from: str) -> list[Own]:
        """What we say that we are, by listener: the address that `seen_from` sees. Names of all of them are
        ours in each."""
        shown = [self._shown(listener.host, seen_from) for listener in self._all]
        places = frozenset(
            (written(host), listener.port)
            for listener, seen in zip(self._all, shown, strict=True)
            for host in (listener.host, seen)
        )
        return [
            Own(written(seen), listener.port, places, key, listener.transport)
            for listener, seen in zip(self._all, shown, strict=True)
        ]

    def to(self, host: str, transport: str) -> int | None:
        """The place in `owns` of the one; None: there is none."""
        if (host, transport) not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[host, transport] = self._chosen(host, transport)
        return self._known[host, transport]

    def _chosen(self, host: str, transport: str) -> int | None:
        six, mine = ":" in host, _local(host)
        could = [
            section
            for section, listener in enumerate(self._all)
            if listener.transport == transport and (transport != UDP or (":" in listener.host) == six)
        ]
        by_route = (one for one in could if self._all[one].host == mine)
        anywhere = (one for one in could if self._all[one].host in ANY)
        return next(by_route, next(anywhere, could[0] if could else None))

    @staticmethod
    def _shown(host: str, seen_from: str) -> str:
        if host not in ANY:
            return host
        return _local(seen_from) or host if (":" in host) == (":" in seen_from) else host


class Hops:
    """The first of the carrier's places that is alive, else the first."""

    def __init__(self, places: Sequence[Place], connected: Callable[[Place], bool]) -> None:
        self.places = list(places)
        self._connected = connected
        self._heard = {place.address: monotonic() for place in self.places}

    def now(self, mark: int = 0) -> Place | None:
        """None: there is none. Behind a stream without a connection nobody is reached. `mark`: of the one
        that a call went on to (`recalled.mark_of`), which has it while it is alive."""
        since = monotonic() - DEAD_SECONDS
        there = [place for place in self.places if place.transport == UDP or self._connected(place)]
        alive = [place for place in there if len(self.places) == 1 or self._heard[place.address] >= since]
        own = (place for place in alive if mark_of(*place.address) == mark) if mark else iter(())
        return next(own, next(iter(alive or there), None))

    def heard(self, place: Place) -> None:
        if place.address in self._heard:
            self._heard[place.address] = monotonic()


def _local(host: str) -> str:
    """The address of this machine by which packets to a host leave; "" when none do."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
