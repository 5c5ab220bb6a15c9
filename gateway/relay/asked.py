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
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic_ns, time_ns

from gateway.asking import MOST, Ask, Kind, Told, What, pack_told, socket_of, unpack_ask
from gateway.errors import NotReady
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_answers import PHRASES, UNAVAILABLE
from gateway.protocols.sip_identity import Identity
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_place import Place
from gateway.protocols.sip_proxy import Own, Request
from gateway.relay import hops as places
from gateway.relay.calls import Calls
from gateway.relay.inviting import Came
from gateway.relay.recalled import Known
from gateway.relay.voice import TICK_SECONDS, Station, maker
from gateway.sockets import short_name

ROOM = 4 << 20
"""Octets that the kernel keeps for who asks while this worker is busy."""

_ANSWERED = sip_proxy.COPIED | {b"content-length"}
"""Rows of an answer that its sender writes by himself."""


class Asking:
    """One thing that was asked, until it is told. `verdict`: of the INVITE that it was; `waits`: it is told
    later."""

    __slots__ = ("_tell", "ask", "told", "verdict", "waits")

    def __init__(self, ask: Ask, tell: Callable[[Told], None]) -> None:
        self.ask = ask
        self._tell = tell
        self.told = ask.kind == Kind.PASSED_BY
        self.waits = False
        self.verdict: Verdict | None = None

    def tell(self, what: What, **more: object) -> None:
        """Once; what comes later is nobody's business."""
        if not self.told:
            self.told = True
            self._tell(Told(self.ask.number, what, **more))  # type: ignore[arg-type]  # by the names of Told

    def refuse(self) -> None:
        self.tell(What.ANSWER, status=UNAVAILABLE, phrase=PHRASES[UNAVAILABLE].decode("ascii"))


class Asker(Place):
    """Where a message came from, and who asks about it."""

    asking: Asking


class Asked(Calls):
    """The calls of one worker that others carry. All that it is given comes from an `Asker`."""

    def asked(self, asking: Asking) -> None:
        """One message. Who has given up by now asked for nothing: it is not judged, nor recorded, but a call
        that he has refused stays so."""
        late = monotonic_ns() - asking.ask.at > self._trunks.deadline * 1e9
        peer = Asker(asking.ask.host, asking.ask.port)
        peer.asking = asking
        if late and not asking.told:
            with contextlib.suppress(SipError):
                self._late(asking.ask.message, peer)
            asking.refuse()
            return
        self.take(asking.ask.message, peer)
        if not asking.waits:
            asking.tell(What.NOTHING)

    def take_message(self, message: Message, peer: Place, came: float, data: bytes = b"") -> None:
        """See `Calls`."""
        assert isinstance(peer, Asker)
        if message.status:
            try:
                self._response(message, peer)
            except SipError:  # it goes nowhere, and who asks hears so at once
                peer.asking.waits = False
        else:
            super().take_message(message, peer, came, data)

    def withdraw(self, asking: Asking) -> None:
        """Who asked has refused it, and the caller has his answer."""
        verdict = asking.verdict
        judging = self._judging.get(id(verdict))
        if judging is not None:
            self.decided(judging, NotReady("who asked has given up"))
        elif verdict is not None and verdict.hop is not None and not verdict.answered:
            message = sip.datagram(asking.ask.message)
            assert message is not None
            self._outcomes.withdrawn(message, verdict, UNAVAILABLE)
            self._refuse(message, verdict)

    def _late(self, octets: bytes, peer: Place) -> None:
        """A message that nobody waits for any more: if it begins a call, the next repeat is refused, too."""
        message = sip.datagram(octets)
        if message is None or message.method != b"INVITE":
            return
        request, now = sip_proxy.checked(message, self.own), time_ns() // 1_000_000
        if self._memo.get(request.key(), now) is None and not self._stands(request, peer):
            verdict = self._memo.begin(request.key(), now)
            if verdict is not None:
                self._refuse(message, verdict)

    def _refuse(self, message: Message, verdict: Verdict) -> None:
        """Whoever asks again hears what the caller has heard."""
        verdict.pending, verdict.hop = False, None
        verdict.answer = self._answers.plain(message, UNAVAILABLE)
        Memo.settle(verdict, time_ns() // 1_000_000)

    def _judge(self, came: Came, verdict: Verdict, who: Identity | None) -> None:
        assert isinstance(came.peer, Asker)
        came.peer.asking.verdict, came.peer.asking.waits = verdict, True
        super()._judge(came, verdict, who)

    def _from_carrier(self, request: Request, peer: Place) -> None:
        assert isinstance(peer, Asker)
        peer.asking.waits = True  # what says no goes on once that is in force
        super()._from_carrier(request, peer)

    def _forward(self, request: Request, peer: Place, hop: Place | None, call: object = None) -> None:
        assert isinstance(peer, Asker)
        place = "" if hop is None else f"{hop.host}:{hop.port}"
        records = self._trunks.records and request.message.method == b"INVITE"
        peer.asking.tell(What.FORWARD, hop=place, records=records)

    def _say(self, octets: bytes, message: Message, peer: Place) -> None:
        """Its sender knows the way back by himself."""
        self._send(octets, peer)

    def _response(self, message: Message, peer: Asker) -> None:
        """The Via on top is of who asked. What the carrier says goes back, and what callers say to it;
        nothing else is relayed, or anybody could have us send what he likes to where he likes."""
        asking, vias = peer.asking, sip.vias(message)
        if len(vias) < 2:
            return
        if not self._callers.answers(peer):
            if self._callers.are_carrier(sip_proxy.sent_by(vias[1])):
                asking.tell(What.FORWARD)
            return
        asking.waits = True
        method = sip.sequence(message)[1]
        self._outcomes.said(message, method, vias[1], partial(asking.tell, What.FORWARD))


def answered(octets: bytes, to: Place) -> None:
    """Tell who asked what his caller is to be answered, less what it repeats of its request: that may break
    SIP, or be longer than what is read."""
    assert isinstance(to, Asker)
    start, *lines = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    _, status, phrase = start.split(b" ", 2)
    rows, is_ours = b"", False
    for line in lines:
        if not line.startswith((b" ", b"\t")):
            name = line.partition(b":")[0].strip(b" \t").lower()
            is_ours = sip.COMPACT.get(name, name) not in _ANSWERED
        if is_ours:
            rows += line + b"\r\n"
    more = {"phrase": phrase.decode("latin-1"), "rows": rows.decode("latin-1")}
    to.asking.tell(What.ANSWER, status=int(status), **more)


class _End:
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

    def __init__(self, calls: Asked, hop: Place | None, station: Station) -> None:
        self._calls = calls
        self._hop = hop
        self._workers = station.config.workers
        self._path = socket_of(station.run_dir, station.worker, self._workers)
        self._log = station.log
        self._door: socket.socket | None = None
        self._askers: dict[int, _End] = {}

    def restore(self, known: Iterable[Known]) -> None:
        """Take up what was decided before a restart and may be repeated; before the loop turns."""
        self._calls.restore(known, lambda mark: self._hop)

    def open(self) -> None:
        """Listen, unless calls lead nowhere: where nobody answers they are refused. Files of earlier lives
        go, whatever count of workers they were of."""
        if self._hop is None:
            return
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
        while self._door is not None:
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
            asker = self._askers[end.fileno()] = _End(end, self._log)
            asyncio.get_running_loop().add_reader(end.fileno(), self._read, asker)

    def _read(self, asker: _End) -> None:
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

    def _take(self, asker: _End, ask: Ask) -> None:
        last = asker.last
        if ask.kind == Kind.WITHDRAWN:
            if last is not None and last.ask.number == ask.number:
                self._calls.withdraw(last)
            return
        asking = Asking(ask, asker.tell)
        if not asking.told:
            asker.last = asking
        self._calls.asked(asking)

    def _gone(self, asker: _End) -> None:
        """What it still waited for it can't do any more."""
        asyncio.get_running_loop().remove_reader(asker.end.fileno())
        self._askers.pop(asker.end.fileno(), None)
        asker.end.close()
        if asker.last is not None and not asker.last.told:
            self._calls.withdraw(asker.last)


def door_of(station: Station) -> Door:
    """The door of a worker, as the settings have it. Calls go on to the first next hop alone: who carries
    them chooses between several."""
    names = list(places.found(station.config.voice.next_hop, station.log))
    first = names[0] if names else None
    make = maker(Asked, station, names)
    own = Own(b"", 0, frozenset(), station.key)
    calls = make(lambda mark: first, lambda host, transport: 0, [own], answered)
    assert isinstance(calls, Asked)
    return Door(calls, first, station)
