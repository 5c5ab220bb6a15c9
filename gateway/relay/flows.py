"""Connections of calls: TCP and TLS, those that callers open, and those to next hops, which are kept open.

An answer goes back on the connection that its request came on; when that has gone, to where its Via says that
new ones are taken (RFC 3261 §18.2.2). What waits, what lasts and how many there are is bounded. It knows no
calls: what was framed goes to `took`, what breaks the framing to `broke`.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic, time_ns
from typing import Any, NamedTuple

from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_place import TCP, TLS, Place
from gateway.protocols.sip_stream import PONG, Stream
from gateway.relay.accepting import accepted
from gateway.relay.dial import set_options
from gateway.relay.seats import Seat
from gateway.secured import Renewed
from gateway.telemetry import Telemetry

BACKLOG = 1024
MOST = 4_096
"""Connections of a worker; a further one is closed."""

MOST_OF_ONE = 512
"""Connections from one address."""

WAIT_SECONDS = 10.0
"""A message that has not come whole by then ends its connection."""

IDLE_SECONDS = 900.0
"""A connection on which nothing came that long is closed; who wants to keep it sends CRLF CRLF (RFC 5626)."""

LEAVE_SECONDS = 1.0
"""How long the answer to what broke a stream may take; as any INVITE, it is recorded first."""

CONNECT_SECONDS = 5.0
AGAIN_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Between two tries to reach a next hop; the last from there on."""

MOST_UNREAD = 1 << 20
"""Octets that a peer may leave unread, before it is taken for dead."""

MOST_HELD = 64
"""Messages that wait until a connection which is opened for them stands."""

MOST_OPENED = 256
"""Connections of a worker to where something goes. For a further one that which rests for longest is closed;
where none does, nothing goes there."""

MOST_OPENED_TO_ONE = 8
"""Of these to one address."""

RESTS_SECONDS = 32.0
"""A connection that we opened rests when nothing went or came by it for so long: no answer is awaited there
(RFC 3261 §17.1.2.2, timer F)."""


class Takers(NamedTuple):
    """Who gets what was framed, and what breaks SIP, each with where it came from; who hears from whom
    anything came at all; who says whether a connection may stand, None: it may not; and whether one may be
    opened to where an answer's Via says, as whoever asks can write one."""

    took: Callable[[Message, Place], None]
    broke: Callable[[SipError, Place], None]
    heard: Callable[[Place], None]
    admits: Callable[[Place], Seat | None]
    opens: Callable[[Place], bool]


class Flow(asyncio.Protocol):
    """One connection."""

    def __init__(self, flows: "Flows", place: Place, *, kept: bool = False) -> None:
        self.place = place
        self.kept = kept
        self.transport: asyncio.Transport | None = None
        self.heard = self.told = monotonic()
        self.waits_since = 0.0
        self.closed = asyncio.Event()
        self.held: list[bytes] = []
        self._flows = flows
        self._stream = Stream()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's transport is a Transport
        self._flows.opened(self)
        held, self.held = self.held, []
        for data in held:
            self.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.closed.set()
        self._flows.ended(self)

    def send(self, data: bytes) -> None:
        self.told = monotonic()
        if self.transport is None:
            self.held.append(data)
        elif self.transport.get_write_buffer_size() > MOST_UNREAD:
            self.end("unread")
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.heard = now = monotonic()
        takers = self._flows.takers
        takers.heard(self.place)
        whole = False
        for found in self._stream.feed(data):
            whole = True
            if found is None:
                self.send(PONG)
            elif isinstance(found, Message):
                takers.took(found, self.place)
            else:
                takers.broke(found, self.place)
                if found.closes:
                    self._leave()
                    return
        if not self._stream.waits:
            self.waits_since = 0.0
        elif whole or not self.waits_since:  # what waits now is the next message
            self.waits_since = now

    def give_up(self) -> None:
        """The rest of a message does not come: told so, where there is somebody to tell."""
        error, self.waits_since = self._stream.given_up(), 0.0
        if error is None:
            self.end("half_message")
        else:
            self._flows.takers.broke(error, self.place)
            self._leave()

    def _leave(self) -> None:
        """Read nothing further, and close when the answer has had its time."""
        if self.transport is not None:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self.end, "")

    def end(self, cause: str) -> None:
        """Close it, with a cause that is counted. What was written is still sent, but for who does not
        read."""
        if self.transport is None:
            return
        if cause:
            self._flows.count(cause)
        if cause == "unread":
            self.transport.abort()
        else:
            self.transport.close()


class Flows:
    """All connections of worker `index`. `serving`, `calling`: by what callers are let in by TLS, and next
    hops gone to; `names`: what the certificates of these say."""

    def __init__(
        self,
        index: int,
        takers: Takers,
        serving: Renewed | None,
        calling: Renewed | None,
        names: dict[Place, str],
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self.takers = takers
        self._index = index
        self._serving = serving
        self._calling = calling
        self._names = names
        self._telemetry = telemetry
        self._log = log
        self._numbers = itertools.count((time_ns() // 1000 << 8) & (1 << 60) - 1)  # of no other life of ours
        self._open: dict[int, Flow] = {}
        self._to: dict[tuple[str, int, str], Flow] = {}  # opened by us, or under way
        self._from: Counter[str] = Counter()
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, host: str, port: int, section: int, transport: str) -> None:
        """Take connections there, as the other workers do. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
        sock.setblocking(False)
        self._listeners.append(sock)
        self._begin(self._accept(sock, section, transport))

    def keep(self, places: Sequence[Place]) -> None:
        """Have a connection to each of them, always."""
        for place in places:
            self._begin(self._kept(place))

    def connected(self, place: Place) -> bool:
        """Whether a connection that we opened stands there now."""
        flow = self._to.get(place.address)
        return flow is not None and flow.transport is not None

    def send(self, data: bytes, to: Place) -> None:
        """On its connection where that stands; else on one to its address, which is opened where there is
        none."""
        flow = self._open.get(to.flow) if to.flow else self._to.get(to.address)
        if flow is not None and flow.transport is not None and flow.transport.is_closing():
            flow = None
        if flow is None and to.flow:
            with contextlib.suppress(SipError):
                self.answer(data)
            return
        if flow is None:
            if not self._has_room(to):
                self.count("too_many_connections")
                return
            flow = self._to[to.address] = Flow(self, to)
            self._begin(self._reach(flow))
        if len(flow.held) < MOST_HELD:
            flow.send(data)

    def _has_room(self, to: Place) -> bool:
        """Whether a connection there may be opened; one that rests makes room for it."""
        for host, most in ((to.host, MOST_OPENED_TO_ONE), ("", MOST_OPENED)):
            some = [one for one in self._to.values() if host in ("", one.place.host)]
            if len(some) < most:
                continue
            late = monotonic() - RESTS_SECONDS
            rests = [
                one for one in some if one.transport and not one.kept and max(one.heard, one.told) < late
            ]
            if not rests:
                return False
            rested = min(rests, key=lambda one: max(one.heard, one.told))
            del self._to[rested.place.address]
            rested.end("")
        return True

    def answer(self, data: bytes) -> None:
        """Send a response whose connection has gone to where its Via says. Raises SipError."""
        response = sip.datagram(data)
        if response is None or not response.status:
            return
        place = sip_proxy.sent_by(sip.vias(response)[0])
        if place.transport in (TCP, TLS) and self.takers.opens(place):
            self.send(data, place)

    def tick(self) -> None:
        """Once a second: end what waits or is silent for too long."""
        now = monotonic()
        for flow in list(self._open.values()):
            if flow.waits_since and now - flow.waits_since > WAIT_SECONDS:
                flow.give_up()
            elif not flow.kept and now - flow.heard > IDLE_SECONDS:
                flow.end("idle")
        for side, count in (("sender", self._from.total()), ("carrier", len(self._to))):
            self._telemetry.sessions.labels("sip", side).set(count)

    async def close(self) -> None:
        for sock in self._listeners:
            sock.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for flow in list(self._open.values()):
            flow.end("")

    def count(self, cause: str) -> None:
        self._telemetry.closed.labels("sip", cause).inc()

    def opened(self, flow: Flow) -> None:
        flow.place = flow.place._replace(worker=self._index, flow=next(self._numbers))
        self._open[flow.place.flow] = flow

    def ended(self, flow: Flow) -> None:
        self._open.pop(flow.place.flow, None)
        if self._to.get(flow.place.address) is flow:
            del self._to[flow.place.address]

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket, section: int, transport: str) -> None:
        async for connection, address in accepted(sock, self._log):
            place = Place(address[0], address[1], transport, section)
            too_many = self._from.total() >= MOST or self._from[place.host] >= MOST_OF_ONE
            seat = None if too_many else self.takers.admits(place)
            if seat is None:
                self.count("too_many_connections")
                connection.close()
                continue
            self._from[place.host] += 1
            self._begin(self._seated(connection, place, seat))

    async def _seated(self, connection: socket.socket, place: Place, seat: Seat) -> None:
        with seat:
            await self._serve(connection, place)

    async def _serve(self, connection: socket.socket, place: Place) -> None:
        """One connection that a peer has opened, to its end."""
        loop, flow = asyncio.get_running_loop(), Flow(self, place)
        context: ssl.SSLContext | None = None
        try:
            set_options(connection)
            if place.transport == TLS and self._serving is not None:
                context = self._serving.newest()
            await loop.connect_accepted_socket(
                lambda: flow,
                connection,
                ssl=context,
                ssl_handshake_timeout=CONNECT_SECONDS if context is not None else None,
            )
            await flow.closed.wait()
        except OSError as error:  # ssl.SSLError is one
            connection.close()
            self.count("no_tls" if context is not None else "reset")
            self._log.info(
                "call connection failed", extra={"fields": {"peer": place.host, "error": str(error)}}
            )
        finally:
            self._from[place.host] -= 1
            if not self._from[place.host]:
                del self._from[place.host]

    async def _kept(self, place: Place) -> None:
        """A connection to a next hop, again and again."""
        tries = 0
        while True:
            if (flow := self._to.get(place.address)) is not None:  # opened before, for a message
                await flow.closed.wait()
            flow = self._to[place.address] = Flow(self, place, kept=True)
            stood = await self._reach(flow, quiet=tries > 0)
            tries = 0 if stood else min(tries + 1, len(AGAIN_SECONDS) - 1)
            await asyncio.sleep(AGAIN_SECONDS[tries])

    async def _reach(self, flow: Flow, *, quiet: bool = False) -> bool:
        """Open a connection and wait for its end; whether it stood. `quiet`: that it does not was said
        before."""
        place, loop = flow.place, asyncio.get_running_loop()
        secured = self._calling.newest() if place.transport == TLS and self._calling is not None else None
        try:
            if place.transport == TLS and secured is None:
                raise OSError("no TLS without a tls:// in listen or a next hop by TLS")
            async with asyncio.timeout(CONNECT_SECONDS):
                transport, _ = await loop.create_connection(
                    lambda: flow,
                    place.host,
                    place.port,
                    ssl=secured,
                    server_hostname=self._name(place) if secured is not None else None,
                )
            set_options(transport.get_extra_info("socket"))
            await flow.closed.wait()
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one
            if not quiet:
                fields = {"peer": place.host, "port": place.port, "error": str(error)}
                self._log.warning("call peer not reached", extra={"fields": fields})
            return False
        else:
            return True
        finally:
            flow.closed.set()
            self.ended(flow)

    def _name(self, place: Place) -> str:
        found = (name for known, name in self._names.items() if known.address == place.address)
        return next(found, place.host)
