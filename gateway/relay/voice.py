"""The sockets of calls: UDP listeners that all workers share, each call in the worker that its Call-ID names.

The kernel spreads datagrams by their four addresses, so all of one SBC land in one worker: what is not this
one's goes on to its owner as it came, over a socket in data_dir/run. Any worker answers, as all are bound to
one address.
"""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Sequence
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import monotonic

import msgspec

from gateway.config import Config
from gateway.direct import owner
from gateway.protocols import sip_proxy
from gateway.protocols.sip_proxy import Own
from gateway.relay.calls import Address, Calls, Send, Trunks
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.sockets import short_name
from gateway.telemetry import Telemetry
from gateway.values import endpoint, milliseconds

RECEIVE_BUFFER = 8 << 20
"""Octets that the kernel keeps for us: each datagram lost costs a caller 500 ms (reference/voice.md)."""

MOST_PEERS = 10_000
"""Addresses that are remembered, before all are forgotten."""

AT_ONCE = 64
"""Datagrams of one socket before others have their turn."""

TICK_SECONDS = 0.05
PROBE_SECONDS = 2.0
DEAD_SECONDS = 7.0
"""A next hop that has answered no OPTIONS for that long is passed over."""

_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:\s*([^\r\n]+)", re.IGNORECASE)
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, str, int, bytes]).decode


class Hops:
    """Where calls go on to: the first of the carrier's places that is alive, else the first."""

    def __init__(self, places: Sequence[Address]) -> None:
        self.places = list(places)
        self._heard = dict.fromkeys(self.places, monotonic())

    def now(self) -> Address | None:
        """None: there is none."""
        since = monotonic() - DEAD_SECONDS
        alive = (place for place in self.places if self._heard[place] >= since)
        return next(alive, self.places[0] if self.places else None)

    def heard(self, place: Address) -> None:
        if place in self._heard:
            self._heard[place] = monotonic()


def voice_of(
    config: Config,
    index: int,
    run_dir: Path,
    key: bytes,
    screen: Screen,
    returns: Returns,
    connection: Callable[[], int],
    telemetry: Telemetry,
    log: logging.Logger,
) -> "Voice":
    """The voice side of worker `index`, as the settings have it; nothing listens where they name nothing."""
    settings = config.voice
    hops = Hops(places_of(config, log))
    trunks, connection_of = trunks_of(config, frozenset(hops.places), hops.now, connection)

    def make(own: Own, send: Send) -> Calls:
        return Calls(trunks, own, screen, returns, send, connection_of, telemetry)

    listen = [address for address in settings.listen if address.startswith("udp://")]
    return Voice(listen, hops, index, config.workers, run_dir, make, key, log)


def trunks_of(
    config: Config,
    hops: frozenset[Address],
    hop: Callable[[], Address | None],
    connection: Callable[[], int],
) -> tuple[Trunks, Callable[[Address], int]]:
    """What the settings say of the two sides, and the number by which records name a peer."""
    settings = config.voice
    networks = [ip_network(network, strict=False) for network in settings.trusted]
    known: dict[str, bool] = {}
    connections: dict[Address, int] = {}

    def trusted(host: str) -> bool:
        if host not in known:
            if len(known) >= MOST_PEERS:
                known.clear()
            known[host] = any(ip_address(host) in network for network in networks)
        return known[host]

    def connection_of(peer: Address) -> int:
        if peer not in connections:
            if len(connections) >= MOST_PEERS:
                connections.clear()
            connections[peer] = connection()
        return connections[peer]

    trunks = Trunks(
        config.node.carrier,
        hops,
        hop,
        trusted,
        milliseconds(settings.deadline) / 1000,
        settings.area,
        settings.record_route,
    )
    return trunks, connection_of


def places_of(config: Config, log: logging.Logger) -> list[Address]:
    """The carrier's next hops, looked up."""
    return [found for place in config.voice.next_hop if (found := _found(place, log)) is not None]


def key_of_calls(key: bytes) -> bytes:
    """The key of tags and branches, out of the registry's."""
    return blake2b(key, digest_size=16, person=b"zhengming sip").digest()


def _found(hop: str, log: logging.Logger) -> Address | None:
    """A next hop's address, looked up once, as no call may wait for a name; None where nobody knows it."""
    host, port = endpoint(hop.partition(":")[2])
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
    except OSError as error:
        log.error("next hop not found", extra={"fields": {"hop": hop, "error": str(error)}})
        return None
    return str(found[0]), port


class Voice:
    """The voice side of one worker, from `open` to `close`."""

    def __init__(
        self,
        listen: Sequence[str],
        hops: Hops,
        index: int,
        workers: int,
        run_dir: Path,
        make: Callable[[Own, Send], Calls],
        key: bytes,
        log: logging.Logger,
    ) -> None:
        self._listen = [endpoint(address.partition("://")[2]) for address in listen]
        self._hops = hops
        self._index = index
        self._workers = workers
        self._run_dir = run_dir
        self._make = make
        self._key = key_of_calls(key)
        self._log = log
        self._sockets: list[socket.socket] = []
        self._calls: list[Calls] = []
        self._door: socket.socket | None = None
        self._out: socket.socket | None = None
        self._probes = 0

    def open(self) -> None:
        """Listen. Raises OSError, so that a taken port is told at once."""
        loop = asyncio.get_running_loop()
        for section, (host, port) in enumerate(self._listen):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            self._sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.setblocking(False)
            sock.bind((host, port))
            own = self._own(host, port, family)
            self._calls.append(self._make(own, self._sender(sock)))
            loop.add_reader(sock.fileno(), self._read, section, sock)
        if self._workers > 1:
            self._door = _door(self._run_dir / f"calls-{self._index}.sock")
            self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._out.setblocking(False)
            loop.add_reader(self._door.fileno(), self._handed, self._door)

    def tick(self) -> None:
        """A few times a second."""
        for calls in self._calls:
            calls.tick()

    async def serve(self) -> None:
        """Refuse what was not judged in time, and ask the next hops whether they are alive, until
        cancelled."""
        probed = 0.0
        while self._calls:
            self.tick()
            if monotonic() - probed >= PROBE_SECONDS and len(self._hops.places) > 1:  # one alone is not asked
                probed = monotonic()
                for sock, calls in zip(self._sockets, self._calls, strict=True):
                    self._probe(sock, calls.own)
            await asyncio.sleep(TICK_SECONDS)

    def _probe(self, sock: socket.socket, own: Own) -> None:
        for place in self._hops.places:
            self._probes += 1
            with contextlib.suppress(OSError):
                sock.sendto(sip_proxy.probe(own, place, self._index, self._probes), place)

    def drain(self) -> None:
        """New calls are refused; what belongs to calls that stand goes on."""
        for calls in self._calls:
            calls.draining = True

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in [*self._sockets, self._door]:
            if sock is not None:
                loop.remove_reader(sock.fileno())
                sock.close()
        if self._out is not None:
            self._out.close()

    def _read(self, section: int, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                data, source = sock.recvfrom(65_535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP message about something sent before
                self._log.info("call socket", extra={"fields": {"error": str(error)}})
                continue
            peer = source[0], source[1]
            self._hops.heard(peer)
            named = _CALL_ID.search(data)
            to = self._index
            if self._workers > 1 and named is not None:
                to = owner(named[1].strip().decode("latin-1"), self._workers)
            if to == self._index:
                self._take(section, data, peer)
            else:
                self._hand(to, section, data, peer)

    def _take(self, section: int, data: bytes, peer: Address) -> None:
        try:
            self._calls[section].take(data, peer)
        except Exception:  # nothing that one datagram does may reach the next
            self._log.exception("a datagram could not be handled")

    def _hand(self, to: int, section: int, data: bytes, peer: Address) -> None:
        assert self._out is not None
        with short_name(self._run_dir / f"calls-{to}.sock") as name:
            try:
                self._out.sendto(_pack((section, *peer, data)), name)
            except OSError:  # its owner is being started again, or is too busy: the caller repeats it
                self._log.info("call not handed over", extra={"fields": {"worker": to}})

    def _handed(self, door: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                octets = door.recv(70_000)
            except (BlockingIOError, InterruptedError):
                return
            section, host, port, data = _unpack(octets)
            self._take(section, data, (host, port))

    def _sender(self, sock: socket.socket) -> Send:
        def send(data: bytes, to: Address) -> None:
            try:
                sock.sendto(data, to)
            except OSError as error:  # as if it were lost on the way: who waits for it asks again
                self._log.info("call not sent", extra={"fields": {"to": to[0], "error": str(error)}})

        return send

    def _own(self, host: str, port: int, family: int) -> Own:
        """Where we say that we are: the address that the carrier sees."""
        shown = host
        if host in {"0.0.0.0", "::"}:
            with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
                probe.connect(self._hops.now() or (host, port))
                shown = probe.getsockname()[0]
        places = frozenset((name.encode("ascii"), port) for name in (host, shown))
        return Own((f"[{shown}]" if ":" in shown else shown).encode("ascii"), port, places, self._key)


def _door(path: Path) -> socket.socket:
    """A datagram socket for what other workers hand over."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.setblocking(False)
    with short_name(path) as name:
        door.bind(name)
    return door
