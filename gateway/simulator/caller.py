"""A trunk that calls, for tests, demo and acceptance: each call from its INVITE to its end, over UDP or TCP.

It is a plain user agent with one way out: all that belongs to a call goes to the node, which it takes for its
outbound proxy.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from secrets import token_hex
from time import monotonic
from typing import NamedTuple, Self

from gateway.protocols import sip, sip_proxy
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message, SipError
from gateway.simulator.faults import Faults, hits
from gateway.simulator.sip_dialog import Dialog
from gateway.simulator.sip_socket import GIVE_UP, T1, Connection, Datagrams, Send
from gateway.values import endpoint

RINGS_FOR = 180.0
"""Seconds that a call may ring without an answer."""


class Called(NamedTuple):
    """What became of a call. `status`: of its final answer, None: none came; `reason`: the text of its Reason
    row; `first_seconds`: until the first answer of any kind; `rang`: somebody said 18x."""

    call_id: bytes
    status: int | None
    reason: str = ""
    first_seconds: float = 0.0
    rang: bool = False


class CallerSim:
    """`async with CallerSim(host, port, "127.0.0.11") as caller:` calls from that address; "" takes any, and
    host:port names the port, too. OSError where the node is not reached or the address is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        account: str = "",
        *,
        transport: str = "udp",
        faults: Faults | None = None,
        patience: float = GIVE_UP,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.faults = faults or Faults()
        self._address = host, port
        if not account:
            self._local = ("0.0.0.0", 0)
        else:
            self._local = endpoint(account) if ":" in account else (account, 0)
        self._transport = transport
        self._patience = patience
        self._calls: dict[bytes, asyncio.Queue[Message]] = {}
        self._unique = token_hex(4)
        self._socket: Datagrams | Connection

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._transport == "udp":
            _, self._socket = await loop.create_datagram_endpoint(
                lambda: Datagrams(self._came, self._broken),
                local_addr=self._local,
                remote_addr=self._address,
            )
        else:
            _, self._socket = await loop.create_connection(
                lambda: Connection(self._came, self._broken, lambda _: self._lost()),
                *self._address,
                local_addr=self._local,
            )
        host, port = self._socket.transport.get_extra_info("sockname")[:2]
        self._place = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def call(
        self,
        source: str,
        to: str,
        *,
        rows: Sequence[str] = (),
        talk: float = 0.0,
        cancel: bool = False,
        compact: bool = False,
        display: str = "",
    ) -> Called:
        """One call, and its end: BYE after `talk` seconds, or CANCEL as soon as it rings. `source`: a number,
        or user@host; `rows`: further header rows."""
        self.counts["calls"] += 1
        number = self.counts["calls"]
        unique = f"{self._unique}{number}"
        dialog = Dialog(
            source, to, self._place, self._transport, unique, rows, compact=compact, display=display
        )
        heard = self._calls[dialog.call_id] = asyncio.Queue()
        try:
            return await self._call(dialog, heard, number, talk=talk, cancel=cancel)
        finally:
            del self._calls[dialog.call_id]

    async def _call(
        self, dialog: Dialog, heard: asyncio.Queue[Message], number: int, *, talk: float, cancel: bool
    ) -> Called:
        faults = self.faults
        began = monotonic()
        invite = dialog.invite()
        if hits(faults.wrong_length_every, number):
            invite = invite.replace(b"Content-Length: ", b"Content-Length: 9", 1)
        self._say(invite)
        if hits(faults.duplicate_every, number):
            self.counts["duplicates"] += 1
            self._say(invite)
        if hits(faults.drop_every, number):
            self._drop()
            return Called(dialog.call_id, None)
        if hits(faults.wrong_branch_every, number):
            self._say(dialog.cancel(dialog.branch("other")))
        first, rang, cancelled = 0.0, False, False
        deadline, wait, repeats = began + self._patience, T1, self._transport == "udp"
        while True:
            try:
                left = deadline - monotonic()
                message = await asyncio.wait_for(heard.get(), min(wait, left) if repeats else left)
            except TimeoutError:
                if monotonic() >= deadline:
                    self.counts["unanswered"] += 1
                    return Called(dialog.call_id, None, "", first, rang)
                self.counts["repeats"] += 1
                self._say(invite)
                wait *= 2
                continue
            said, method = sip.sequence(message)
            if (said, method) != (1, b"INVITE"):
                self.counts[f"{method.decode()} {message.status}"] += 1
                continue
            first = first or monotonic() - began
            if message.status < 200:
                rang = rang or message.status > 100
                repeats, deadline = False, began + max(RINGS_FOR, self._patience)
                if cancel and not cancelled:
                    cancelled = True
                    self._say(dialog.cancel())
                continue
            break
        status = message.status
        dialog.answered(message)
        if hits(faults.late_cancel_every, number):
            self._say(dialog.cancel())
        if not hits(faults.silent_every, number):
            self._say(dialog.acknowledge(status))
        if status < 300:
            await asyncio.sleep(talk)
            await self._end(dialog, heard)
        return Called(dialog.call_id, status, _reason(message), first, rang)

    async def _end(self, dialog: Dialog, heard: asyncio.Queue[Message]) -> None:
        """BYE until it is answered; a 200 that comes again is acknowledged again (§13.2.2.4)."""
        bye = dialog.later(b"BYE")
        self._say(bye)
        deadline, wait = monotonic() + self._patience, T1
        while monotonic() < deadline:
            try:
                message = await asyncio.wait_for(heard.get(), wait)
            except TimeoutError:
                if self._transport == "udp":
                    self.counts["repeats"] += 1
                    self._say(bye)
                wait *= 2
                continue
            _, method = sip.sequence(message)
            if method == b"BYE" and message.status >= 200:
                self.counts["ended"] += 1
                return
            if method == b"INVITE" and message.status >= 200:
                self.counts["answers again"] += 1
                dialog.answered(message)
                self._say(dialog.acknowledge(message.status))
            else:
                self.counts[f"{method.decode()} {message.status}"] += 1

    def _came(self, message: Message, send: Send) -> None:
        """An answer to one of our calls; or a request of the called side: its BYE is answered."""
        if not message.status:
            self.counts[message.method.decode()] += 1
            if message.method != b"ACK":
                send(sip_proxy.answer(message, 200, b"OK", b"caller"))
            return
        heard = self._calls.get(message.value(b"call-id") or b"")
        if heard is None:
            self.counts["stray"] += 1
        else:
            heard.put_nowait(message)

    def _broken(self, error: SipError) -> None:
        self.counts["broken"] += 1

    def _lost(self) -> None:
        self.counts["connections lost"] += 1

    def _say(self, octets: bytes) -> None:
        self._socket.send(octets)

    def _drop(self) -> None:
        """As a crash would: over TCP the connection is cut, over UDP nothing more is said of this call."""
        self.counts["dropped"] += 1
        if isinstance(self._socket, Connection):
            self._socket.abort()


def _reason(message: Message) -> str:
    """The text of the Reason row."""
    for value in message.listed(b"reason"):
        text = grammar.parameter(b";" + value.partition(b";")[2], b"text")
        if text is not None:
            return text.strip(b'"').decode("utf-8", "replace")
    return ""
