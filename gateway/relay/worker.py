"""A relay worker: owns the connections of its accounts, from the hand-over to the drain.

It reads the replica and writes its own journal; it has no database connection. Its only listeners are the
callback ports of its accounts' own (SGIP), which come and go with the registry.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Sms
from gateway.errors import NotReady
from gateway.model import Account, AccountKey
from gateway.protocols import CALLS, WIRES, Wire
from gateway.registry.receiving import Receiving
from gateway.relay import handoff, refusing
from gateway.relay.callback import Callback, Front
from gateway.relay.callback_ports import CallbackPorts, may_call
from gateway.relay.confirming import Confirmations
from gateway.relay.desk import Desk
from gateway.relay.leg import Leg
from gateway.relay.login import LoginRefused, Logins, Route, ask_carrier, may_enter, take_over
from gateway.relay.memory import SWEEP_SECONDS
from gateway.relay.outward import Outward
from gateway.relay.parts import Parts
from gateway.relay.refusing import Receivers
from gateway.relay.replacing import AllTaken
from gateway.relay.returns import Returns
from gateway.relay.routes import Routes
from gateway.relay.screen import Screen
from gateway.relay.session import Session
from gateway.secured import for_carrier, for_listeners
from gateway.telemetry import Telemetry
from gateway.values import endpoint, milliseconds

DRAIN_SECONDS = 8.0  # with the goodbye behind it a drain takes 10
TICK_SECONDS = 0.25


class Worker:
    """Serves the connections that the acceptor hands over."""

    def __init__(
        self,
        listeners: tuple[Sms, ...],
        carrier: str,
        index: int,
        workers: int,
        screen: Screen,
        returns: Returns,
        confirmations: Confirmations,
        receiving: Receiving,
        routes: Mapping[str, Routes],
        run_dir: Path,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._tls = [for_carrier(sms) for sms in listeners]
        self._tls_outward = [for_listeners(sms) for sms in listeners]
        self.listeners = listeners
        self._carrier = carrier
        self._screen = screen
        self._receiving = receiving
        self._telemetry = telemetry
        self._log = log
        self._returns = returns
        receivers, parts, taken = Receivers(), Parts(screen), AllTaken()
        codes = [(sms.protocol, sms.gateway_code) for sms in listeners]
        made_up = refusing.of_listeners(codes, index, workers)
        self._desks = [
            Desk(
                screen,
                self._returns,
                confirmations,
                parts,
                telemetry,
                log,
                make_ids,
                receivers,
                taken,
                routes.get(sms.protocol),
            )
            for sms, make_ids in zip(listeners, made_up, strict=True)
        ]
        self._routes = routes  # by protocol, of those whose carriers call
        self._front = Front(carrier, workers, returns, handoff.Channels(run_dir), telemetry, log)
        self._ports = CallbackPorts(listeners, routes, run_dir, index, workers, telemetry, log)
        self._callbacks: set[Callback] = set()
        self._deaf: set[AccountKey] = set()  # whose listener was down when something was to be delivered
        self._sessions: dict[int, Session] = {}
        self._connections: Counter[AccountKey] = Counter()
        self._asking: set[Route] = set()
        self._logins = Logins()
        self._connection_ids = itertools.count((time.time_ns() // 1000 << 12 | index) & (1 << 62) - 1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels: set[socket.socket] = set()
        self._draining = asyncio.Event()
        self._cause = ""
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        receiving.expire(_now())

    async def serve(self, door: socket.socket) -> None:
        """Take connections over until cancelled; `door` is the socket of `handoff.listen`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(door.fileno(), self._open_channel, door)
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                self.tick()
        finally:
            loop.remove_reader(door.fileno())
            self._front.channels.close()

    def tick(self) -> None:
        """What is done a few times a second rather than per batch."""
        with contextlib.suppress(NotReady):  # said by `ready`; here it only lets old pages go
            self._screen.view.renew()
        self._screen.shares.flush_metrics()
        self._returns.flush_metrics()
        self._telemetry.flush()
        sessions = Counter(session.key.protocol for session in self._sessions.values())
        calls = Counter(callback.protocol for callback in self._callbacks)
        for sms in self.listeners:
            for side, more in (("sender", 0), ("carrier", calls[sms.protocol])):
                self._telemetry.sessions.labels(sms.protocol, side).set(sessions[sms.protocol] + more)
            said = (one.wire.congestion for one in self._sessions.values() if one.wire.name == sms.protocol)
            self._telemetry.congestion.labels(sms.protocol).set(max(said, default=0))
        for callback in self._callbacks:
            callback.tick()
        self._telemetry.window_used.set(sum(session.memory.waiting for session in self._sessions.values()))
        self._telemetry.registry_version.set(self._screen.view.version)
        if (clock := time.monotonic()) >= self._sweep_at:
            self._sweep_at = clock + SWEEP_SECONDS  # after a pause of the machine not several in a row
            with contextlib.suppress(NotReady):
                for key in {session.key for session in self._sessions.values() if self._hears(session)}:
                    self._receiving.note(key, _now())
            for session in list(self._sessions.values()):
                session.sweep()
            for callback in list(self._callbacks):
                callback.sweep()
        if not self._draining.is_set():
            self._ports.follow()

    async def drain(self, cause: str = "draining") -> None:
        """Refuse logins, answer submits with the busy code, let the carrier answer, unbind, close."""
        self._cause = cause
        self._draining.set()
        self._ports.close()
        await asyncio.gather(
            *(session.drain(DRAIN_SECONDS) for session in list(self._sessions.values())),
            *(callback.drain() for callback in list(self._callbacks)),
        )
        await self._ports.emptied()
        self._returns.finish()
        self.tick()

    # Taking connections over

    def _open_channel(self, door: socket.socket) -> None:
        channel, _ = door.accept()
        channel.setblocking(False)
        self._channels.add(channel)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._arrivals, channel)

    def _arrivals(self, channel: socket.socket) -> None:
        try:
            arrival = handoff.receive(channel)
        except BlockingIOError:
            return
        except handoff.Lost as lost:
            protocol = self.listeners[lost.listener].protocol
            self._telemetry.closed.labels(protocol, "no_descriptor").inc()
            fields = {"protocol": protocol, "peer": lost.peer, "cause": "no_descriptor", "detail": str(lost)}
            self._log.warning("connection not taken over", extra={"fields": fields})
            return
        if arrival is None:
            asyncio.get_running_loop().remove_reader(channel.fileno())
            self._channels.discard(channel)
            channel.close()
            return
        task = asyncio.create_task(self._carry(arrival))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, arrival: handoff.Arrival) -> None:
        """One connection from its login to its end."""
        doors = {handoff.CALLBACK: self._take_call, handoff.DELIVERY: self._deliver}
        no = await doors.get(arrival.door, self._relay)(arrival)
        if no:
            await self._logins.turn_away(arrival.connection, no)

    async def _relay(self, arrival: handoff.Arrival) -> bytes:
        """Let it in and relay until it ends; or the answer that turns it away, when it counts no more."""
        sms = self.listeners[arrival.listener]
        wire = WIRES[sms.protocol]()
        frames, _ = wire.frames(arrival.first)
        start, end, _, sequence = frames[0]
        login_frame = arrival.first[start:end]
        login = wire.login(login_frame)
        key = AccountKey(self._carrier, sms.protocol, login.account)
        self._connections[key] += 1
        legs: list[Leg] = []
        try:
            account = self._filed(key, wire)
            if self._draining.is_set():
                raise LoginRefused(wire.OTHER, self._cause)
            if wire.too_high(login):
                raise LoginRefused(wire.VERSION_TOO_HIGH, "version_too_high")
            may_enter(account, arrival.peer[0], self._connections[key] - 1, type(wire))
            secured = self._tls[arrival.listener]
            with self._logins.under_way(arrival.peer[0], type(wire)):
                carrier, answer = await ask_carrier(
                    wire, login_frame, sms, account, arrival.peer, self._asking, secured
                )
            legs.append(carrier)
            if self._draining.is_set():
                carrier.transport.close()
                raise LoginRefused(wire.OTHER, self._cause)
            status, version = wire.read_login_answer(answer)
            if status:
                self._note("login refused by the carrier", key, arrival, str(status))
                carrier.transport.close()
                return answer
            if sms.protocol in CALLS:  # who has no listener is told things where he sends
                login = login._replace(receives=account is None or not account.listener)
            sender = await take_over(arrival.connection)
            legs.append(sender)
            sender.transport.write(answer)
            wire.version = min(login.version, version)
            sender.early = arrival.first[end:] + sender.early
            number = self.connection()
            session = Session(self._desks[arrival.listener], wire, key, number, sender, carrier, login)
            self._sessions[number] = session
            if self._hears(session):
                self._receiving.note(key, _now())
            try:
                session.draining = self._draining.is_set()
                session.start()
                await session.closed.wait()
            finally:
                del self._sessions[number]
        except LoginRefused as refused:
            self._telemetry.closed.labels(sms.protocol, refused.cause).inc()
            self._note("login refused", key, arrival, refused.cause, refused.detail)
            return wire.login_refused(login_frame, sequence, refused.status)
        except Exception as error:  # nothing that one connection does may leave it open or reach another
            if not isinstance(error, OSError):
                self._log.exception("connection failed")
            self._telemetry.closed.labels(sms.protocol, "login_interrupted").inc()
            self._note("login interrupted", key, arrival, "login_interrupted", str(error))
            arrival.connection.close()
            for leg in legs:
                leg.transport.abort()
        finally:
            self._connections[key] -= 1
            if not self._connections[key]:
                del self._connections[key]
        return b""

    def connection(self) -> int:
        """A number that no other connection of this node has, of whatever kind."""
        return next(self._connection_ids)

    def _hears(self, session: Session) -> bool:
        """Whether subscribers' replies reach this account: on this connection, or at its listener."""
        key = session.key
        if session.receives or key.protocol not in CALLS or key in self._deaf:
            return session.receives
        account = self._screen.account(key)
        shared = any(sms.callback_listen for sms in self.listeners if sms.protocol == key.protocol)
        return account is not None and bool(account.listener) and (shared or bool(account.callback))

    async def _take_call(self, arrival: handoff.Arrival) -> bytes:
        """A carrier calls: let it in, and deliver what it sends until it ends; or what turns it away."""
        sms = self.listeners[arrival.listener]
        wire, routes = CALLS[sms.protocol](), self._routes[sms.protocol]
        frames, _ = wire.frames(arrival.first)
        start, end, _, sequence = frames[0]
        bind = arrival.first[start:end]
        login = wire.login(bind)
        key = AccountKey(self._carrier, sms.protocol, arrival.account or login.account)
        try:
            if self._draining.is_set():
                raise LoginRefused(wire.OTHER, self._cause)
            filed = [account for account, _ in routes.accounts()]
            upstreams = [place for one in filed for place in one.upstream]
            if not await may_call(arrival.peer[0], sms, [*sms.upstream, *upstreams]):
                raise LoginRefused(wire.BAD_SOURCE, "address_not_allowed")
            if login.sends:
                raise LoginRefused(wire.LOGIN_TYPE, "login_type")
            leg = await take_over(arrival.connection)
        except LoginRefused as refused:
            self._telemetry.closed.labels(sms.protocol, refused.cause).inc()
            self._note("callback refused", key, arrival, refused.cause, refused.detail)
            return wire.login_refused(bind, sequence, refused.status)
        except (OSError, NotReady) as error:
            self._telemetry.closed.labels(sms.protocol, "login_interrupted").inc()
            self._note("callback interrupted", key, arrival, "login_interrupted", str(error))
            arrival.connection.close()
            return b""
        leg.transport.write(wire.login_answer(login, 0, sequence))
        leg.early = arrival.first[end:] + leg.early
        section = arrival.listener
        callback = Callback(
            *(self._front, routes, wire, lambda: self.listeners[section], section, leg),
            *(arrival.peer, bind, arrival.account),
        )
        self._callbacks.add(callback)
        try:
            callback.start()
            await callback.closed.wait()
        finally:
            self._callbacks.discard(callback)
        return b""

    async def _deliver(self, arrival: handoff.Arrival) -> bytes:
        """A carrier's deliveries for one of our accounts: judge, record and pass them on to its listener."""
        sms = self.listeners[arrival.listener]
        wire = CALLS[sms.protocol]()
        key = AccountKey(self._carrier, sms.protocol, arrival.account)
        login = wire.login(arrival.first)._replace(receives=False)  # not before its listener answers
        session: Session | None = None
        carrier: Leg | None = None
        try:
            carrier = await take_over(arrival.connection)
            account = self._filed(key, wire)
            if account is None or not account.listener or self._draining.is_set() or self._is_ours(account):
                carrier.transport.abort()  # nothing is answered: the carrier comes again
                return b""
            sender = Leg()
            outward = Outward(sender)
            number = self.connection()
            session = Session(self._desks[arrival.listener], wire, key, number, sender, carrier, login)
            self._sessions[number] = session
            try:
                session.start()
                address, patience = endpoint(account.listener), milliseconds(sms.callback_patience) / 1000
                secured = self._tls_outward[arrival.listener]
                why = await outward.reach(wire, arrival.first, address, patience, secured)
                if outward.connected:
                    self._deaf.discard(key)
                    session.reached()
                    self._receiving.note(key, _now())
                elif why:
                    self._deaf.add(key)
                    self._telemetry.closed.labels(sms.protocol, "listener_down").inc()
                    self._note("listener not reached", key, arrival, "listener_down", why)
                await session.closed.wait()
            finally:
                del self._sessions[number]
        except Exception as error:  # nothing that one connection does may leave it open or reach another
            if not isinstance(error, OSError | LoginRefused):
                self._log.exception("delivery failed")
            arrival.connection.close()
            if session is not None:
                session.abort()
            elif carrier is not None:  # it holds the socket: closed there alone, nobody would hear of it
                carrier.transport.abort()
        return b""

    def _is_ours(self, account: Account) -> bool:
        """Whether its listener is a port of this node: it would call itself round and round."""
        ports = {place for sms in self.listeners for place in (sms.listen, sms.callback_listen)}
        return account.listener in ports | {account.callback}

    def _filed(self, key: AccountKey, wire: Wire) -> Account | None:
        """How the account is filed now; LoginRefused while the registry can't be read."""
        view = self._screen.view
        try:
            view.renew()
            return view.account(key)
        except NotReady as error:
            raise LoginRefused(wire.OTHER, "not_ready", str(error)) from error

    def _note(
        self, what: str, key: AccountKey, arrival: handoff.Arrival, cause: str, detail: str = ""
    ) -> None:
        fields = {"protocol": key.protocol, "account": key.account, "peer": arrival.peer[0], "cause": cause}
        self._log.info(what, extra={"fields": fields | {"detail": detail, "pid": os.getpid()}})


def _now() -> int:
    return time.time_ns() // 1_000_000
