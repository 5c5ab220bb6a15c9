"""Calls that another element carries (Kamailio, deploy/kamailio): judged, counted and recorded here, by the
rules and with the memo of `Calls`; what becomes of each message is told to who asked, who then does it.

One memo and one set of counters, however many processes ask. What is told is durable. Who asked and waited
for too long has refused it: then it is refused here too, so that a repeat does not pass.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns, time_ns

from gateway.asking import MOST, Ask, Kind, Told, What, pack_told, socket_of, unpack_ask
from gateway.config import Config
from gateway.errors import NotReady
from gateway.protocols import sip, sip_proxy
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message
from gateway.protocols.sip_answers import PHRASES, UNAVAILABLE
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_proxy import Own, Request
from gateway.relay.calls import Address, Calls, Trunks, _Came, _Judging
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.relay.voice import TICK_SECONDS, key_of_calls, places_of, trunks_of
from gateway.sockets import short_name
from gateway.telemetry import Telemetry

ROOM = 4 << 20
"""Octets that the kernel keeps for who asks while this worker is busy."""

_ANSWERED = sip_proxy.COPIED | {b"content-length"}
"""Rows of an answer that its sender writes by himself."""


class Asking:
    """One thing that was asked, until it is told. `verdict`: of the INVITE that it was."""

    __slots__ = ("_tell", "ask", "told", "verdict")

    def __init__(self, ask: Ask, tell: Callable[[Told], None]) -> None:
        self.ask = ask
        self._tell = tell
        self.told = ask.kind == Kind.PASSED_BY
        self.verdict: Verdict | None = None

    @property
    def peer(self) -> Address:
        return self.ask.host, self.ask.port

    def tell(self, what: What, **more: object) -> None:
        """Once; what comes later is nobody's business."""
        if not self.told:
            self.told = True
            self._tell(Told(self.ask.number, what, **more))  # type: ignore[arg-type]  # by the names of Told


class Asked(Calls):
    """The calls of one worker that others carry. It sends nothing."""

    def __init__(
        self,
        trunks: Trunks,
        own: Own,
        screen: Screen,
        returns: Returns,
        connection: Callable[[Address], int],
        telemetry: Telemetry,
    ) -> None:
        super().__init__(trunks, own, screen, returns, self._answered, connection, telemetry)
        self._deadline_ns = int(trunks.deadline * 1_000_000_000)
        self._now: Asking | None = None  # whatever happens, happens for it
        self._waiting: dict[int, Asking] = {}  # by the identity of the verdict that they wait for

    def asked(self, asking: Asking) -> None:
        """One message. Who has given up by now asked for nothing: it is not judged, nor recorded."""
        if monotonic_ns() - asking.ask.at > self._deadline_ns and not asking.told:
            asking.tell(What.ANSWER, status=UNAVAILABLE, phrase=PHRASES[UNAVAILABLE].decode("ascii"))
            return
        self._now = asking
        try:
            self.take(asking.ask.message, asking.peer)
        finally:
            self._now = None
        if asking.verdict is None:
            asking.tell(What.NOTHING)

    def withdraw(self, asking: Asking) -> None:
        """Who asked has refused it, and the caller has his answer."""
        verdict = asking.verdict
        if verdict is None:
            return
        judging = self._judging.get(id(verdict))
        if judging is not None:
            self.decided(judging, NotReady("who asked has given up"))
        elif verdict.hop is not None and not verdict.answered:
            message = sip.datagram(asking.ask.message)
            assert message is not None
            verdict.hop = None
            verdict.answer = sip_proxy.answer(message, UNAVAILABLE, PHRASES[UNAVAILABLE], self.own.key)
            Memo.settle(verdict, time_ns() // 1_000_000)

    def decided(self, judging: _Judging, error: Exception | None) -> None:
        """See `Calls`."""
        before, self._now = self._now, self._waiting.pop(id(judging.verdict), None)
        try:
            super().decided(judging, error)
        finally:
            self._now = before

    def _judge(self, came: _Came, verdict: Verdict) -> None:
        if self._now is not None:
            self._now.verdict = verdict
            self._waiting[id(verdict)] = self._now
        super()._judge(came, verdict)

    def _forward(self, request: Request, hop: Address | None) -> None:
        if self._now is not None:
            place = "" if hop is None else f"{hop[0]}:{hop[1]}"
            self._now.tell(What.FORWARD, hop=place, records=self._records(request))

    def _answered(self, octets: bytes, _to: Address) -> None:
        if self._now is None:
            return
        answer = sip.datagram(octets)
        assert answer is not None
        phrase = answer.start.split(b" ", 2)[2].decode("latin-1")
        rows = b"".join(row for name, row in answer.rows if name not in _ANSWERED).decode("latin-1")
        self._now.tell(What.ANSWER, status=answer.status, phrase=phrase, rows=rows)

    def _back(self, message: Message) -> None:
        """The Via on top is of who asked. What the carrier says goes back, and what callers say to it;
        nothing else is relayed, or anybody could have us send what he likes to where he likes."""
        now, vias = self._now, sip.vias(message)
        assert now is not None
        if len(vias) < 2:
            return
        if not self._is_carrier(now.peer):
            via = vias[1]
            host = (grammar.parameter(via.parameters, b"received") or via.host).decode("ascii")
            port = grammar.parameter(via.parameters, b"rport") or b"%d" % (via.port or sip_proxy.PORT)
            if port.isdigit() and self._is_carrier((host, int(port))):
                now.tell(What.FORWARD)
            return
        now.tell(What.FORWARD)
        if message.status >= 200 and sip.sequence(message)[1] == b"INVITE":
            self._ended(sip_proxy.without_top(message), message.status)


class _Asker:
    """One process that asks; it asks one thing at a time."""

    def __init__(self, end: socket.socket, log: logging.Logger) -> None:
        self.end = end
        self.last: Asking | None = None
        self._log = log

    def tell(self, told: Told) -> None:
        try:
            self.end.send(pack_told(told))
        except OSError as error:  # it has refused the call by now, or will
            self._log.info("not told", extra={"fields": {"error": error.strerror}})


class Door:
    """Where worker `index` is asked, from `open` to `close`."""

    def __init__(self, calls: Asked, run_dir: Path, index: int, workers: int, log: logging.Logger) -> None:
        self._calls = calls
        self._path = socket_of(run_dir, index, workers)
        self._workers = workers
        self._log = log
        self._door: socket.socket | None = None
        self._askers: dict[int, _Asker] = {}

    def open(self) -> None:
        """Listen; files of earlier lives go, whatever count of workers they were of."""
        for old in self._path.parent.glob("calls-*-of-*.sock"):
            if old == self._path or not old.name.endswith(f"-of-{self._workers}.sock"):
                old.unlink(missing_ok=True)
        self._door = door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        door.setblocking(False)
        with short_name(self._path) as name:
            door.bind(name)
        self._path.chmod(0o600)
        door.listen(1024)
        asyncio.get_running_loop().add_reader(door.fileno(), self._accept, door)

    async def serve(self) -> None:
        """Refuse what was not judged in time, until cancelled."""
        while True:
            self._calls.tick()
            await asyncio.sleep(TICK_SECONDS)

    def drain(self) -> None:
        """New calls are refused."""
        self._calls.draining = True

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._door is not None:
            loop.remove_reader(self._door.fileno())
            self._door.close()
            self._path.unlink(missing_ok=True)
        for asker in list(self._askers.values()):
            self._gone(asker)

    def _accept(self, door: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            end, _ = door.accept()
            end.setblocking(False)
            for room in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, room, ROOM)
            asker = self._askers[end.fileno()] = _Asker(end, self._log)
            asyncio.get_running_loop().add_reader(end.fileno(), self._read, asker)

    def _read(self, asker: _Asker) -> None:
        try:
            octets = asker.end.recv(MOST)
            ask = unpack_ask(octets) if octets else None
        except BlockingIOError:
            return
        except (OSError, struct.error, ValueError) as error:
            self._log.error("who asks for calls", extra={"fields": {"error": str(error)}})
            ask = None
        if ask is None:
            self._gone(asker)
            return
        try:
            self._take(asker, ask)
        except Exception:  # nothing that one message does may reach the next; who asks refuses it
            self._log.exception("a call could not be handled")

    def _take(self, asker: _Asker, ask: Ask) -> None:
        last = asker.last
        if ask.kind == Kind.WITHDRAWN:
            if last is not None and last.ask.number == ask.number:
                self._calls.withdraw(last)
            return
        asking = Asking(ask, asker.tell)
        if not asking.told:
            asker.last = asking
        self._calls.asked(asking)

    def _gone(self, asker: _Asker) -> None:
        """What it still waited for it can't do any more."""
        asyncio.get_running_loop().remove_reader(asker.end.fileno())
        self._askers.pop(asker.end.fileno(), None)
        asker.end.close()
        if asker.last is not None and not asker.last.told:
            self._calls.withdraw(asker.last)


def door_of(
    config: Config,
    index: int,
    run_dir: Path,
    key: bytes,
    screen: Screen,
    returns: Returns,
    connection: Callable[[], int],
    telemetry: Telemetry,
    log: logging.Logger,
) -> Door:
    """The door of worker `index`, as the settings have it. Calls go on to the first next hop alone: who
    carries them chooses between several."""
    places = places_of(config, log)
    first = places[0] if places else None
    trunks, connection_of = trunks_of(config, frozenset(places), lambda: first, connection)
    own = Own(b"", 0, frozenset(), key_of_calls(key))
    calls = Asked(trunks, own, screen, returns, connection_of, telemetry)
    return Door(calls, run_dir, index, config.workers, log)
