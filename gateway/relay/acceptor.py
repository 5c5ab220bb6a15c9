"""The front door: reads the login frame of each new connection and hands the socket to its worker.

All connections of one account meet in one worker (`direct.owner`), so the acceptor knows nothing of
registry, rules or records. What does not log in within `LOGIN_SECONDS`, or is not the protocol, is closed
and counted. Where too many wait, the one that has waited longest makes room: who means to log in does so at
once, and silent connections, however many, keep nobody out.
"""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

from gateway.config import Sms
from gateway.direct import owner
from gateway.errors import WireError
from gateway.protocols import WIRES
from gateway.relay import handoff
from gateway.relay.dial import set_options
from gateway.relay.login import turn_away
from gateway.telemetry import Telemetry
from gateway.values import endpoint

LOGIN_SECONDS = 10
MOST_LOGIN_OCTETS = 4096
MOST_WAITING = 4096  # connections between accept and login
WORKER_SECONDS = 5  # a worker that is being restarted gets this long to come back
BACKLOG = 1024


class Acceptor:
    """Serves the `[[sms]]` listeners of a node until it is stopped."""

    def __init__(
        self,
        listeners: tuple[Sms, ...],
        run_dir: Path,
        workers: int,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._listeners = listeners
        self._run_dir = run_dir
        self._workers = workers
        self._telemetry = telemetry
        self._log = log
        self._channels: dict[int, socket.socket] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # oldest first
        self._sockets: list[socket.socket] = []

    def listen(self) -> None:
        """Bind every listener. Raises OSError, so that a taken port is told at once."""
        for sms in self._listeners:
            host, port = endpoint(sms.listen)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
            sock.setblocking(False)
            self._sockets.append(sock)

    async def serve(self) -> None:
        """Accept until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for index, sock in enumerate(self._sockets):
                    group.create_task(self._accept(index, sock))
        finally:
            for sock in self._sockets:
                sock.close()
            for task in self._tasks:
                task.cancel("draining")

    async def _accept(self, index: int, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(sock)
            except OSError as error:  # out of descriptors: wait until some are given back
                self._log.warning("accept failed", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(0.1)
                continue
            if len(self._tasks) >= MOST_WAITING:
                oldest = next(iter(self._tasks))
                del self._tasks[oldest]
                oldest.cancel("too_many_logins")
            task = asyncio.create_task(self._admit(index, connection, address))
            self._tasks[task] = None
            task.add_done_callback(lambda task: self._tasks.pop(task, None))

    async def _admit(self, index: int, connection: socket.socket, address: Any) -> None:
        wire = WIRES[self._listeners[index].protocol]()
        try:
            set_options(connection)
            async with asyncio.timeout(LOGIN_SECONDS):
                first = await self._first_octets(wire, connection)
            frames, _ = wire.frames(first)
            start, end, command, sequence = frames[0]
            try:
                account = wire.login(first[start:end]).account
                await self._hand_over(index, connection, address, first, account)
            except WireError as error:
                answer = wire.malformed(command, sequence, error)
                if error.cause == "no_worker":
                    answer = wire.login_refused(first[start:end], sequence)
                if answer:
                    await turn_away(connection, answer)
                raise
        except WireError as error:
            self._end(index, connection, address, error.cause, error.detail)
        except asyncio.CancelledError as cancelled:
            self._end(index, connection, address, str(cancelled))
        except TimeoutError:
            self._end(index, connection, address, "no_login")
        except OSError as error:
            self._end(index, connection, address, "login_interrupted", str(error))

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
        self, index: int, connection: socket.socket, address: Any, first: bytes, account: str
    ) -> None:
        number = owner(account, self._workers)
        arrival = handoff.Arrival(connection, index, (address[0], address[1]), first)
        deadline = asyncio.get_running_loop().time() + WORKER_SECONDS
        while True:
            try:
                channel = self._channels.get(number)
                if channel is None:
                    channel = handoff.connect(self._run_dir / f"worker-{number}.sock")
                    self._channels[number] = channel
                handoff.send(channel, arrival)
            except OSError as error:
                if not isinstance(error, BlockingIOError) and (old := self._channels.pop(number, None)):
                    old.close()
                if asyncio.get_running_loop().time() > deadline:
                    raise WireError("no_worker", str(error)) from error
                await asyncio.sleep(0.05)
            else:
                connection.close()  # the worker holds its own descriptor now
                return

    def _end(self, index: int, connection: socket.socket, address: Any, cause: str, detail: str = "") -> None:
        connection.close()
        protocol = self._listeners[index].protocol
        self._telemetry.closed.labels(protocol, cause).inc()
        fields = {"protocol": protocol, "cause": cause, "peer": address[0], "detail": detail}
        self._log.info("connection closed before login", extra={"fields": fields})
