"""The voice side of a worker: its sockets, and each call in the worker that its Call-ID names.

All workers listen at the same addresses. The kernel spreads datagrams by their four addresses, so all of one
SBC land in one worker, and connections to any: what is not this one's goes on to its owner. Over UDP any
worker answers; what goes back on a connection goes through the worker that holds it.
"""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from ipaddress import ip_network
from itertools import takewhile
from pathlib import Path
from time import monotonic, perf_counter
from typing import NamedTuple

from gateway.config import Config
from gateway.direct import owner
from gateway.errors import NotReady
from gateway.protocols import sip_proxy
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_place import TLS, UDP, Place
from gateway.protocols.sip_proxy import Own
from gateway.relay import hops as places
from gateway.relay.calls import Calls, Send
from gateway.relay.course import Course
from gateway.relay.flows import Flows, Takers
from gateway.relay.heard import Heard
from gateway.relay.hops import Hops, Ways
from gateway.relay.neighbours import AT_ONCE, Handed, Neighbours
from gateway.relay.recalled import Known, Recall, mark_of
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.relay.seats import Seat, Seats
from gateway.relay.told import Answers, Manners
from gateway.relay.trunks import Trunks
from gateway.secured import for_next_hops, for_senders
from gateway.telemetry import Telemetry
from gateway.values import milliseconds

RECEIVE_BUFFER = 8 << 20
"""Octets that the kernel keeps for us: each datagram lost costs a caller 500 ms (reference/voice.md)."""

MOST_PEERS = 10_000
"""Addresses that are remembered, before all are forgotten."""

TICK_SECONDS = 0.05
SWEEP_SECONDS = 1.0
PROBE_SECONDS = 2.0

_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:\s*([^\r\n]+)", re.IGNORECASE)

Make = Callable[[Callable[[int], Place | None], Callable[[str, str], int | None], Sequence[Own], Send], Calls]
"""The calls of one worker: where they go on to, by which listener, what we are at each, and how to send."""


class Station(NamedTuple):
    """What the calls of a worker stand on, whoever carries them. `key`: of tags and branches;
    `connection`: a number for a peer that is new."""

    config: Config
    worker: int
    run_dir: Path
    key: bytes
    screen: Screen
    returns: Returns
    connection: Callable[[], int]
    telemetry: Telemetry
    log: logging.Logger
    heard: Heard
    course: Course


def voice_of(station: Station) -> "Voice":
    """The voice side of a worker, as the settings have it; nothing listens where they name nothing."""
    settings, log = station.config.voice, station.log
    names = places.found(settings.next_hop, log)
    make = maker(Calls, station, list(names))

    def flows(takers: Takers) -> Flows:
        by_tls = any(place.transport == TLS for place in names) or settings.tls_certificate
        calling = for_next_hops(settings) if by_tls else None
        called = {place: settings.upstream_tls_name or name for place, name in names.items()}
        called_at = for_senders(settings)
        return Flows(station.worker, takers, called_at, calling, called, station.telemetry, log)

    return Voice(station, list(names), make, flows)


def maker(kind: type[Calls], station: Station, carrier: Sequence[Place]) -> Make:
    """Makes the calls of a worker, as the settings have the two sides."""
    config, settings = station.config, station.config.voice
    trusted = within(settings.trusted)
    explains = config.card.url_of_card.encode()
    manners = Manners(within(settings.answers_403), within(settings.answers_608), explains)
    connections: dict[tuple[str | int, ...], int] = {}

    def connection_of(peer: Place) -> int:
        known = (*peer.address, peer.section, peer.worker, peer.flow)
        if known not in connections:
            if len(connections) >= MOST_PEERS:
                connections.clear()
            connections[known] = station.connection()
        return connections[known]

    def make(
        hop: Callable[[int], Place | None],
        way: Callable[[str, str], int | None],
        owns: Sequence[Own],
        send: Send,
    ) -> Calls:
        trunks = Trunks(
            config.node.carrier,
            frozenset(place.address for place in carrier),
            hop,
            way,
            trusted,
            milliseconds(settings.deadline) / 1000,
            settings.area,
            settings.record_route,
            settings.mode == "redirect",
        )
        return kind(
            trunks,
            owns,
            station.screen,
            station.returns,
            send,
            connection_of,
            station.telemetry,
            station.heard,
            station.course,
            Answers(owns[0].key, manners, station.screen),
        )

    return make


def key_of_calls(key: bytes) -> bytes:
    """The key of tags and branches, out of the registry's."""
    return blake2b(key, digest_size=16, person=b"zhengming sip").digest()


def within(networks: Sequence[str]) -> Callable[[str], bool]:
    """Whether an address lies in one of them; asked for each call, so it remembers."""
    known: dict[str, bool] = {}
    all_of = [ip_network(network, strict=False) for network in networks]

    def holds(host: str) -> bool:
        if host not in known:
            if len(known) >= MOST_PEERS:
                known.clear()
            address = ip_network(host)
            known[host] = any(
                address.version == network.version and address.subnet_of(network)  # type: ignore[arg-type]
                for network in all_of
            )
        return known[host]

    return holds


class Voice:
    """The voice side of one worker, from `open` to `close`."""

    def __init__(
        self, station: Station, carrier: Sequence[Place], make: Make, flows: Callable[[Takers], Flows]
    ) -> None:
        self._listeners = places.listeners(station.config.voice.listen)
        self._ways = Ways(self._listeners)
        self._index = station.worker
        self._workers = station.config.workers
        self._make = make
        self._seats = Seats(station.run_dir)
        self._flows = flows(Takers(self._framed, self._broke, self._heard, self._admits, self._opens))
        by = ((place, self._ways.to(place.host, place.transport)) for place in carrier)
        self._hops = Hops(
            [place._replace(section=section) for place, section in by if section is not None],
            self._flows.connected,
        )
        self._key = station.key
        self._log = station.log
        self._sockets: dict[int, socket.socket] = {}
        self._owns: list[Own] = []
        self._calls: Calls | None = None
        self._neighbours = Neighbours(station.run_dir, station.worker, self._handed, self._lost, station.log)
        self._probes = 0
        self._closing = False

    def open(self) -> None:
        """Listen. Raises OSError, so that a taken port is told at once."""
        if not self._listeners:
            return
        carrier = self._hops.places
        self._owns = self._ways.owns(self._key, carrier[0].host if carrier else "")
        self._calls = self._make(self._hops.now, self._ways.to, self._owns, self._send)
        if self._workers > 1:
            self._neighbours.open()
        for section, (transport, host, port) in enumerate(self._listeners):
            if transport == UDP:
                self._listen(section, host, port)
            else:
                self._flows.listen(host, port, section, transport)
        self._flows.keep([place for place in carrier if place.transport != UDP])

    def _listen(self, section: int, host: str, port: int) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets[section] = sock
        if ":" in host:  # as streams: udp://0.0.0.0 stands beside udp://[::], and nobody has two spellings
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        sock.bind((host, port))
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read, section, sock)

    def restore(self, known: Iterable[Known]) -> None:
        """Take up what was decided before a restart and may be repeated; before the loop turns. `recall`
        takes up the rest."""
        if self._calls is not None:
            self._calls.recalling = True
            self._calls.restore(known, self._marked)

    async def recall(self, past: Recall) -> None:
        """Take up the calls that stand for longer, read beside the path."""
        calls = self._calls
        if calls is None:
            return

        def standing() -> list[Known]:
            return list(takewhile(lambda _: not self._closing, past.standing()))

        try:
            calls.restore(await asyncio.to_thread(standing), self._marked)
        except Exception:
            self._log.exception("calls that stand could not be read back")
        finally:
            calls.recalling = False

    def _marked(self, mark: int) -> Place | None:
        """The next hop that a record names, else the one that calls go to now."""
        marked = (place for place in self._hops.places if mark_of(*place.address) == mark)
        return next(marked, None) or self._hops.now()

    def tick(self) -> None:
        """A few times a second."""
        if self._calls is not None:
            self._calls.tick()

    async def serve(self) -> None:
        """Refuse what was not judged in time, and ask the next hops whether they are alive, until
        cancelled."""
        probed = swept = 0.0
        while self._calls is not None:
            self.tick()
            if monotonic() - swept >= SWEEP_SECONDS:
                swept = monotonic()
                self._flows.tick()
            if monotonic() - probed >= PROBE_SECONDS and len(self._hops.places) > 1:  # one alone is not asked
                probed = monotonic()
                self._probe()
            await asyncio.sleep(TICK_SECONDS)

    def _probe(self) -> None:
        for place in self._hops.places:
            if place.transport == UDP or self._flows.connected(place):
                self._send(self._own_probe(place), place)

    def _own_probe(self, place: Place) -> bytes:
        """One whose answer is this worker's by its Call-ID, whichever the kernel brings it to."""
        while True:
            self._probes += 1
            data = sip_proxy.probe(self._owns[place.section], place, self._index, self._probes)
            if self._owner(data) == self._index:
                return data

    def drain(self) -> None:
        """New calls are refused; what belongs to calls that stand goes on."""
        if self._calls is not None:
            self._calls.draining = True

    async def close(self) -> None:
        self._closing = True
        loop = asyncio.get_running_loop()
        for sock in self._sockets.values():
            loop.remove_reader(sock.fileno())
            sock.close()
        self._neighbours.close()
        await self._flows.close()

    # What comes

    def _read(self, section: int, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                data, source = sock.recvfrom(65_535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP message about something sent before
                self._log.info("call socket", extra={"fields": {"error": str(error)}})
                continue
            peer = Place(source[0], source[1], UDP, section)
            self._hops.heard(peer)
            to = self._owner(data)
            if to == self._index:
                self._take(data, peer)
            else:
                self._neighbours.hand(to, Handed(False, peer, data))

    def _framed(self, message: Message, peer: Place) -> None:
        """A message of a stream."""
        assert self._calls is not None
        if self._workers > 1:
            data = message.octets()
            if (to := self._owner(data)) != self._index:
                self._neighbours.hand(to, Handed(False, peer, data))
                return
        try:
            self._calls.take_message(message, peer, perf_counter())
        except Exception:  # nothing that one message does may reach the next
            self._log.exception("a message could not be handled")

    def _broke(self, error: SipError, peer: Place) -> None:
        """Of a stream, too: it is told where it was read, as its octets may not be read again alike."""
        assert self._calls is not None
        try:
            self._calls.take_error(error, peer, perf_counter())
        except Exception:
            self._log.exception("a broken message could not be handled")

    def _heard(self, peer: Place) -> None:
        self._hops.heard(peer)

    def _admits(self, peer: Place) -> Seat | None:
        assert self._calls is not None
        try:
            return self._seats.take(*self._calls.filed(peer))
        except (OSError, NotReady) as error:  # out of descriptors, or of disk; or nobody knows whose it is
            self._log.warning("connection not let in", extra={"fields": {"error": str(error)}})
            return None

    def _opens(self, place: Place) -> bool:
        assert self._calls is not None
        try:
            return self._calls.knows(place)
        except NotReady:  # nobody knows whose it is
            return False

    def _owner(self, data: bytes) -> int:
        """The worker whose call it is."""
        named = _CALL_ID.search(data) if self._workers > 1 else None
        return self._index if named is None else owner(named[1].strip().decode("latin-1"), self._workers)

    def _take(self, data: bytes, peer: Place) -> None:
        assert self._calls is not None
        try:
            self._calls.take(data, peer)
        except Exception:  # nothing that one datagram does may reach the next
            self._log.exception("a datagram could not be handled")

    def _handed(self, handed: Handed) -> None:
        if handed.back:
            self._send(handed.data, handed.place)
        else:
            self._hops.heard(handed.place)  # the kernel brings all of a hop's datagrams to one worker
            self._take(handed.data, handed.place)

    def _lost(self, handed: Handed) -> None:
        """Its worker takes nothing now. Over UDP it is repeated; over a stream nobody else would say."""
        assert self._calls is not None
        if not handed.place.flow:
            return
        if handed.back:
            with contextlib.suppress(SipError):
                self._flows.answer(handed.data)
        else:
            self._calls.unavailable(handed.data, handed.place)

    # What goes

    def _send(self, data: bytes, to: Place) -> None:
        if to.transport != UDP:
            if to.flow and to.worker != self._index:
                self._neighbours.hand(to.worker, Handed(True, to, data))
            else:
                self._flows.send(data, to)
            return
        sock = self._sockets.get(to.section) or next(iter(self._sockets.values()), None)
        if sock is None:
            return
        try:
            sock.sendto(data, (to.host, to.port))
        except OSError as error:  # as if it were lost on the way: who waits for it asks again
            self._log.info("call not sent", extra={"fields": {"to": to.host, "error": str(error)}})
