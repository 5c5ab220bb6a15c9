"""A carrier's voice core for tests, demo and acceptance: it rings, answers, is busy, misbehaves on demand.

What came is kept and counted, so that tests can say what must have arrived. UDP and TCP on one port.
"""

import asyncio
from collections import Counter, deque
from typing import NamedTuple, Self

from gateway.protocols import sip, sip_proxy
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message, SipError
from gateway.simulator.end import Watched
from gateway.simulator.faults import Faults, hits
from gateway.simulator.sip_dialog import with_body
from gateway.simulator.sip_socket import GIVE_UP, T1, Connection, Datagrams, Send

PHRASES = {
    180: b"Ringing",
    200: b"OK",
    404: b"Not Found",
    480: b"Temporarily Unavailable",
    481: b"Call/Transaction Does Not Exist",
    486: b"Busy Here",
    487: b"Request Terminated",
    503: b"Service Unavailable",
    600: b"Busy Everywhere",
    603: b"Decline",
    607: b"Unwanted",
}
BUSY = 486
MOST_KNOWN = 20_000
"""Calls of which the last answer is remembered, for their repeats."""


class Rung(NamedTuple):
    """A call that arrived."""

    caller: str
    called: str
    call_id: bytes
    message: Message


class _Call:
    """`answer`: what was said last of the INVITE; `final`: a final answer was said; `number`: which call it
    is."""

    __slots__ = ("acknowledged", "answer", "answering", "final", "invite", "number", "send")

    def __init__(self, invite: Message, send: Send, number: int) -> None:
        self.invite = invite
        self.send = send
        self.number = number
        self.answer = b""
        self.final = self.acknowledged = False
        self.answering: asyncio.TimerHandle | None = None


class CalleeSim(Watched):
    """`async with CalleeSim() as carrier:` takes calls at `carrier.port`. `answer_after`: seconds that it
    rings; `keep` bounds what is remembered of calls, not what is counted. `faults.refuse_every`: the N-th is
    refused with `refuse_with`, else `BUSY`."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, answer_after: float = 0.0, keep: int = 100_000
    ) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.faults = Faults()
        self.answer_after = answer_after
        self.counts: Counter[str] = Counter()
        self.calls: deque[Rung] = deque(maxlen=keep)
        self._known: dict[tuple[bytes, bytes], _Call] = {}  # by Call-ID and From
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._socket: Datagrams

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for attempt in range(10):
            _, self._socket = await loop.create_datagram_endpoint(
                lambda: Datagrams(self._came, self._broken), (self.host, self.port)
            )
            port = self._socket.transport.get_extra_info("sockname")[1]
            try:
                self._server = await loop.create_server(self._accepted, self.host, port)
            except OSError:  # of a port that was chosen for us, the other half may be taken
                self._socket.close()
                if self.port or attempt == 9:
                    raise
                continue
            break
        self.port = port
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cancel()
        self._socket.close()
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()

    def hang_up(self, call_id: bytes, *rows: bytes) -> None:
        """End a call that was answered, from our side: BYE on the way that its INVITE came. `rows`: each with
        its CRLF, such as a Reason. LookupError when there is no such call."""
        call = next(one for (known, _), one in self._known.items() if known == call_id)
        answer = sip.datagram(call.answer)
        contact = grammar.address(call.invite.value(b"contact") or b"")
        if answer is None or answer.status != 200 or contact is None:
            raise LookupError("no such call was answered")
        route = list(call.invite.listed(b"record-route"))
        self.counts["hung_up"] += 1
        call.send(
            b"BYE %s SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;branch=z9hG4bKbye%d\r\nMax-Forwards: 70\r\n%s"
            b"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: 1 BYE\r\n%sContent-Length: 0\r\n\r\n"
            % (
                contact.uri,
                self.host.encode(),
                self.port,
                call.number,
                b"".join(b"Route: %s\r\n" % one for one in route),
                answer.value(b"to"),
                answer.value(b"from"),
                call_id,
                b"".join(rows),
            )
        )

    def _accepted(self) -> Connection:
        connection = Connection(self._came, self._broken, self._connections.discard)
        self._connections.add(connection)
        self.counts["connections"] += 1
        return connection

    def _broken(self, error: SipError) -> None:
        self.counts["broken"] += 1

    def _came(self, message: Message, send: Send) -> None:
        if message.status:
            self.counts["stray" if (message.value(b"cseq") or b"").split()[-1:] != [b"BYE"] else "ended"] += 1
            self.changed()
            return
        key = message.value(b"call-id") or b"", message.value(b"from") or b""
        known = self._known.get(key)
        if message.method == b"INVITE" and b";tag=" not in (message.value(b"to") or b""):
            self._rings(message, send, key, known)
        elif message.method == b"ACK":
            self._acknowledged(known)
        elif message.method == b"CANCEL":
            self._cancelled(message, send, known)
        else:
            if message.method == b"INVITE":
                self.counts["again"] += 1  # a re-INVITE: nothing changes
            else:
                self.counts[message.method.decode().lower()] += 1
            send(self._answer(message, 200))
        self.changed()

    def _rings(self, message: Message, send: Send, key: tuple[bytes, bytes], known: _Call | None) -> None:
        if known is not None:
            self.counts["repeats"] += 1
            if known.answer:
                send(known.answer)
            return
        self.counts["calls"] += 1
        number = self.counts["calls"]
        call = self._known[key] = _Call(message, send, number)
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        spoken = grammar.address(message.value(b"from") or b"")
        who = None if spoken is None else grammar.uri(spoken.uri)
        whom = grammar.uri(message.uri)
        caller, called = ("" if one is None else one.user.decode("latin-1") for one in (who, whom))
        self.calls.append(Rung(caller, called, key[0], message))
        faults = self.faults
        if hits(faults.silent_every, number):
            self.counts["silent"] += 1
            return
        if hits(faults.refuse_every, number):
            self.counts["refused"] += 1
            self._finally(call, faults.refuse_with or BUSY)
            return
        call.answer = self._answer(message, 180)
        send(call.answer)
        if hits(faults.ring_every, number):
            self.counts["not answered"] += 1
            return
        self._after(self.answer_after + faults.answer_after, lambda: self._picks_up(call))

    def _picks_up(self, call: _Call) -> None:
        if call.final:
            return
        self.counts["answered"] += 1
        self._finally(call, 200)
        if hits(self.faults.twice_every, call.number):
            self.counts["two answers"] += 1
            call.send(self._answer(call.invite, 200, b"another"))

    def _finally(self, call: _Call, status: int) -> None:
        """The final answer, repeated until it is acknowledged (§13.3.1.4, §17.2.1)."""
        call.final = True
        call.answer = self._answer(call.invite, status)
        self._repeat(call, 0.0, T1)

    def _repeat(self, call: _Call, spent: float, wait: float) -> None:
        if call.acknowledged or spent > GIVE_UP:
            return
        if spent:
            self.counts["answers again"] += 1
            self.changed()
        call.send(call.answer)
        self._after(wait, lambda: self._repeat(call, spent + wait, min(2 * wait, 8 * T1)))

    def _acknowledged(self, call: _Call | None) -> None:
        if call is None:
            self.counts["stray"] += 1
            return
        self.counts["acks"] += not call.acknowledged
        call.acknowledged = True

    def _cancelled(self, message: Message, send: Send, call: _Call | None) -> None:
        self.counts["cancels"] += 1
        same = call is not None and (
            next(call.invite.listed(b"via"), b"") == next(message.listed(b"via"), b"")
        )
        send(self._answer(message, 200 if same else 481))
        if call is not None and same and not call.final:
            self.counts["cancelled"] += 1
            self._finally(call, 487)

    def _answer(self, message: Message, status: int, key: bytes = b"callee") -> bytes:
        contact = b"Contact: <sip:%s:%d>\r\n" % (self.host.encode(), self.port)
        rows = [b"Record-Route: %s\r\n" % route for route in message.listed(b"record-route")]
        if status < 300:
            rows.append(contact)
        said = sip_proxy.answer(message, status, PHRASES.get(status, b"Refused"), key, rows)
        if status == 200 and message.method == b"INVITE":
            said = with_body(said)
        if (
            message.method == b"INVITE"
            and status >= 200
            and hits(self.faults.wrong_branch_every, self.counts["calls"])
        ):
            self.counts["wrong branches"] += 1
            said = said.replace(b"branch=z9hG4bK", b"branch=z9hG4bKother", 1)
        return said
