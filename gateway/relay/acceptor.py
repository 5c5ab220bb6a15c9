"""The front door: reads the login frame of each new connection and hands the socket to its worker.

All connections of one account meet in one worker (`direct.owner`), so the acceptor knows nothing of
registry, rules or records. Where carriers call senders (SGIP) it is the same: any worker takes them in. What
does not log in within `LOGIN_SECONDS`, or is not the protocol, is closed
and counted. Where too many wait, the one that has waited longest makes room: who means to log in does so at
once, and silent connections, however many, keep nobody out.
"""

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from gateway.config import Sms
from gateway.direct import owner
from gateway.errors import WireError
from gateway.protocols import WIRES
from gateway.relay import handoff, tls
from gateway.relay.accepting import accepted
from gateway.relay.dial import set_options
from gateway.relay.login import turn_away
from gateway.secured import for_callers, for_senders
from gateway.telemetry import Telemetry
from gateway.values import endpoint

LOGIN_SECONDS = 10
MOST_LOGIN_OCTETS = 4096
MOST_WAITING = 4096  # connections between accept and login
WORKER_SECONDS = 5  # a worker that is being restarted gets this long to come back
BACKLOG = 1024


class Door(NamedTuple):
    """Where connections come in: by which section of the settings, at which address, which door of
    `handoff`, and, where it is one account's own, whose."""

    section: int
    listen: str
    kind: str = handoff.SENDER
    account: str = ""


class Acceptor:
    """Serves the `[[sms]]` listeners of a node, and what is opened beside them, until it is stopped."""

    def __init__(
        self,
        listeners: tuple[Sms, ...],
        run_dir: Path,
        workers: int,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._listeners = listeners
        self._workers = workers
        self._telemetry = telemetry
        self._log = log
        self._channels = handoff.Channels(run_dir)
        self._tls = {
            handoff.SENDER: [for_senders(sms) for sms in listeners],
            handoff.CALLBACK: [for_callers(sms) for sms in listeners],
        }
        self._secured: set[object] = set()
        """A mark for each connection by TLS, as it ends here: as long as they last, so does this process."""
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._tasks: dict[asyncio.Task[None], None] = {}  # oldest first
        self._sockets: dict[Door, socket.socket] = {}
        self._accepting: dict[Door, asyncio.Task[None]] = {}

    @property
    def doors(self) -> set[Door]:
        """Those that are open."""
        return {*self._sockets}

    def listen(self) -> None:
        """Bind every listener. Raises OSError, so that a taken port is told at once."""
        for section, sms in enumerate(self._listeners):
            self.open(Door(section, sms.listen))
            if sms.callback_listen:
                self.open(Door(section, sms.callback_listen, handoff.CALLBACK))

    def open(self, door: Door) -> None:
        """Listen there; who connects is let in from `begin` on. Raises OSError."""
        host, port = endpoint(door.listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        sock.setblocking(False)
        self._sockets[door] = sock

    def begin(self, door: Door) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._accept(door, self._sockets[door]))
        self._accepting[door] = task
        return task

    def shut(self, door: Door) -> None:
        """Listen there no more."""
        task = self._accepting.pop(door, None)
        if task is not None:
            task.cancel()
        self._sockets.pop(door).close()

    def close(self) -> None:
        """Shut all doors, and whoever has not been let in."""
        for door in self.doors:
            self.shut(door)
        for task in self._tasks:
            task.cancel("draining")

    async def emptied(self) -> None:
        """Wait until no connection by TLS is left."""
        await self._emptied.wait()

    async def serve(self) -> None:
        """Accept until cancelled."""
        try:
            await asyncio.gather(*(self.begin(door) for door in self.doors))
        finally:
            self.close()

    async def _accept(self, door: Door, sock: socket.socket) -> None:
        async for connection, address in accepted(sock, self._log):
            if len(self._tasks) >= MOST_WAITING:
                oldest = next(iter(self._tasks))
                del self._tasks[oldest]
                oldest.cancel("too_many_logins")
            task = asyncio.create_task(self._admit(door, connection, address))
            self._tasks[task] = None
            task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _admit(self, door: Door, connection: socket.socket, address: Any) -> None:
        wire = WIRES[self._listeners[door.section].protocol]()
        try:
            set_options(connection)
            async with asyncio.timeout(LOGIN_SECONDS):
                if secured := self._tls[door.kind][door.section]:
                    connection = await self._secure(connection, secured.newest())
                first = await self._first_octets(wire, connection)
            frames, _ = wire.frames(first)
            start, end, command, sequence = frames[0]
            try:
                account = wire.login(first[start:end]).account
                await self._hand_over(door, connection, address, first, account)
            except WireError as error:
                answer = wire.malformed(command, sequence, error)
                if error.cause == "no_worker":
                    answer = wire.login_refused(first[start:end], sequence)
                if answer:
                    await turn_away(connection, answer)
                raise
        except WireError as error:
            self._end(door, connection, address, error.cause, error.detail)
        except asyncio.CancelledError as cancelled:
            self._end(door, connection, address, str(cancelled))
        except TimeoutError:
            self._end(door, connection, address, "no_login")
        except OSError as error:
            self._end(door, connection, address, "login_interrupted", str(error))

    async def _secure(self, connection: socket.socket, context: ssl.SSLContext) -> socket.socket:
        """The plain end of a connection by TLS."""
        mark = object()
        self._secured.add(mark)
        self._emptied.clear()
        try:
            return await tls.accept(connection, context, LOGIN_SECONDS, lambda: self._ended(mark))
        except BaseException as error:
            self._ended(mark)
            if isinstance(error, OSError):
                raise WireError("no_tls", str(error)) from error
            raise

    def _ended(self, mark: object) -> None:
        self._secured.discard(mark)
        if not self._secured:
            self._emptied.set()

    async def _first_octets(self, wire: Any, connection: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        octets = b""
        while True:
            more = await loop.sock_recv(connection, MOST_LOGIN_OCTETS - len(octets))
            if not more:
                raise WireError("closed_before_login")
            octets += more
            frames, _ = wire.frames(octets)
            if frames:
                return octets
            if len(octets) >= MOST_LOGIN_OCTETS:
                raise WireError("length_too_large", "the first frame is not a login")

    async def _hand_over(
        self, door: Door, connection: socket.socket, address: Any, first: bytes, account: str
    ) -> None:
        peer = address[0], address[1]
        meets = account if door.kind == handoff.SENDER else door.account or f"{peer[0]}:{peer[1]}"
        arrival = handoff.Arrival(connection, door.section, peer, first, door.kind, door.account)
        await self._channels.hand(owner(meets, self._workers), arrival, WORKER_SECONDS)

    def _end(self, door: Door, connection: socket.socket, address: Any, cause: str, detail: str = "") -> None:
        connection.close()
        protocol = self._listeners[door.section].protocol
        self._telemetry.closed.labels(protocol, cause).inc()
        fields = {"protocol": protocol, "cause": cause, "peer": address[0], "detail": detail}
        self._log.info("connection closed before login", extra={"fields": fields})
