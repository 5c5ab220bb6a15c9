"""Calls on the wire: a stateless proxy (RFC 3261 §16.11) with a memo of its verdicts, between trunks and the
carrier.

One INVITE is one attempt, one count and one record, however often it is repeated; it goes on only when its
pass is durable. What belongs to a call that passed goes on as it comes; what could start one, or put words
before a subscriber, is judged or refused. It opens no socket: `send` is given, datagrams come to `take`, and
what streams bring to `take_message` and `take_error`.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from ipaddress import ip_address
from time import perf_counter, time_ns
from typing import NamedTuple

from gateway.errors import NotReady
from gateway.model import VOICE, AccountKey, Reason
from gateway.protocols import sip, sip_answers, sip_proxy
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.message import Calling
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_answers import (
    DECLINE,
    NO_SUCH_CALL,
    PHRASES,
    TERMINATED,
    UNAVAILABLE,
    Peer,
    refusal,
)
from gateway.protocols.sip_answers import OK as OK_STATUS
from gateway.protocols.sip_identity import OK, identity
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_place import PORTS, TCP, TLS, UDP, Place
from gateway.protocols.sip_proxy import Own, Request
from gateway.relay.lane import nowhere
from gateway.relay.memory import Batch, Submit
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry

MOST_CALLS = 100_000
"""INVITEs that are remembered at a time; more are refused with 503."""

MOST_DIALOGS = 200_000
"""Calls that passed, by Call-ID, so that a re-INVITE is known from a new call; beyond it it is judged as
one."""

STARTS = frozenset((b"MESSAGE", b"REFER", b"PUBLISH", b"REGISTER", b"SUBSCRIBE"))
"""What could put words before a subscriber or start a call where nobody judges it: none of it passes outside
a call."""

Send = Callable[[bytes, Place], None]


class Trunks(NamedTuple):
    """What the settings say of the two sides: the addresses of the carrier's `hops`, and `hop`, which says
    where calls go now; `way`: the listener by which a host is reached over a transport, None: by none;
    `trusted` says by address whether a peer's P-Asserted-Identity counts; `deadline`: seconds until a
    verdict; `area`: of local numbers, without 0; `records`: stay on the path of calls that pass."""

    carrier: str
    hops: frozenset[tuple[str, int, str]]
    hop: Callable[[], Place | None]
    way: Callable[[str, str], int | None]
    trusted: Callable[[str], bool]
    deadline: float
    area: str = ""
    records: bool = False


class _Judging:
    """One INVITE on its way to a verdict: the `Owner` of its batch."""

    def __init__(self, calls: "Calls", came: "_Came", verdict: Verdict) -> None:
        self.calls = calls
        self.came = came
        self.verdict = verdict
        self.cancelled = False  # the caller has hung up meanwhile
        self.submit = Submit((0, 0, 0, came.number), 0, None)

    def judged(self, batch: Batch) -> None:
        """See `Owner`."""

    def settled(self, batch: Batch, error: Exception | None) -> None:
        """See `Owner`."""
        self.calls.decided(self, error)

    def abort(self) -> None:
        """See `Owner`."""
        self.calls.decided(self, NotReady("the call could not be judged"))


class _Came(NamedTuple):
    """A request, from where, and what is known of it; `fault`: it breaks SIP."""

    message: Message
    peer: Place
    at: float
    request: Request | None
    fault: SipError | None = None

    @property
    def number(self) -> int:
        return 0 if self.request is None else self.request.number


class Calls:
    """The calls of one worker: those whose Call-ID is its own."""

    def __init__(
        self,
        trunks: Trunks,
        owns: Sequence[Own],
        screen: Screen,
        returns: Returns,
        send: Send,
        connection: Callable[[Place], int],
        telemetry: Telemetry,
    ) -> None:
        self.draining = False
        self._trunks = trunks
        self.owns = owns  # by listener
        self.own = owns[0]
        self._hosts = frozenset(host for host, _, _ in trunks.hops)
        self._screen = screen
        self._returns = returns
        self._send = send
        self._connection = connection
        self._telemetry = telemetry
        self._memo = Memo(MOST_CALLS)
        self._judging: dict[int, _Judging] = {}  # by its verdict's identity
        self._dialogs: dict[bytes, None] = {}
        self._nowhere = nowhere()

    def take(self, data: bytes, peer: Place) -> None:
        """What one datagram brought."""
        came = perf_counter()
        try:
            message = sip.datagram(data)
        except SipError as error:
            self._broken(error, data, peer, came)
            return
        if message is not None:
            self.take_message(message, peer, came, data)

    def take_message(self, message: Message, peer: Place, came: float, data: bytes = b"") -> None:
        """A message that came whole at `came`, and its octets where they are at hand."""
        try:
            if message.status:
                self._back(message)
            else:
                self._request(message, peer, came)
        except SipError as error:
            self._broken(error, data or message.octets(), peer, came)

    def take_error(self, error: SipError, peer: Place, came: float) -> None:
        """What a stream brought and breaks SIP."""
        message = error.message
        self._broken(error, b"" if message is None else message.octets(), peer, came)

    def unavailable(self, data: bytes, peer: Place) -> None:
        """Answer a request that the worker to which its call belongs can't take now."""
        try:
            message = sip.datagram(data)
        except SipError:
            return
        if message is not None and message.method not in (b"", b"ACK"):
            self._answer(message, peer, UNAVAILABLE)

    def tick(self) -> None:
        """A few times a second: refuse what was not judged in time, forget what is over."""
        late = perf_counter() - self._trunks.deadline
        for judging in [one for one in self._judging.values() if one.came.at < late]:
            self.decided(judging, NotReady("not judged in time"))
        self._memo.expire(_now())
        while len(self._dialogs) > MOST_DIALOGS:
            del self._dialogs[next(iter(self._dialogs))]

    # Requests

    def _request(self, message: Message, peer: Place, at: float) -> None:
        sip_proxy.stamp(message, peer.host.encode("ascii"), peer.port)
        request = sip_proxy.checked(message, self.own)
        came = _Came(message, peer, at, request)
        method = message.method
        if method == b"OPTIONS" and self._is_for_us(message):
            self._answer(message, peer, OK_STATUS)
        elif self._is_carrier(peer):
            self._from_carrier(request, peer)
        elif method == b"CANCEL":
            self._cancel(came, request)
        elif method == b"ACK":
            self._acknowledge(came, request)
        elif method == b"INVITE" and not self._stands(request):
            self._invite(came, request)
        elif not self._stands(request) and (method in STARTS or self._trunk(peer) is None):
            self._answer(message, peer, DECLINE)
        elif (hop := self._trunks.hop()) is None:
            self._answer(message, peer, UNAVAILABLE)
        else:
            self._forward(request, peer, hop)

    def _from_carrier(self, request: Request, peer: Place) -> None:
        """What belongs to a call that passed. A node is put before callers: who is called from outside, and
        how, is not its business."""
        if request.to_tag or request.message.method in (b"ACK", b"CANCEL"):
            self._forward(request, peer, None)
        else:
            self._answer(request.message, peer, DECLINE)

    def _stands(self, request: Request) -> bool:
        """Whether it belongs to a call that passed here; a To tag alone says nothing, as anybody can write
        one."""
        return bool(request.to_tag) and request.call_id in self._dialogs

    def _trunk(self, peer: Place) -> AccountKey | None:
        """The account that is filed under the peer's address and port, or under its address."""
        named = AccountKey(self._trunks.carrier, "sip", f"{peer.host}:{peer.port}")
        for key in (named, named._replace(account=peer.host)):
            if self._screen.account(key) is not None:
                return key
        return None

    def _invite(self, came: _Came, request: Request) -> None:
        now, key = _now(), request.key()
        verdict = self._memo.get(key, now)
        if verdict is None:
            verdict = self._memo.begin(key, now)
            if verdict is None or self.draining:
                self._memo.forget(key)
                self._answer(came.message, came.peer, UNAVAILABLE)
                return
            self._judge(came, verdict)
        elif verdict.hop is not None:
            self._forward(request, came.peer, verdict.hop)
        elif verdict.answer:
            self._send(verdict.answer, came.peer)

    def _judge(self, came: _Came, verdict: Verdict) -> None:
        judging = self._judging[id(verdict)] = _Judging(self, came, verdict)
        host = came.peer.host
        key = self._trunk(came.peer) or AccountKey(self._trunks.carrier, "sip", host)
        if came.fault is None and came.request is not None:
            who = identity(came.message, trusted=self._trunks.trusted(host), area=self._trunks.area)
            flaw = "" if who.verdict == OK else "identity"
            judging.submit.submission = Calling(
                who.caller, who.called, came.request.call_id, flaw, who.diverting
            )
        connection = self._connection(came.peer)
        self._screen.put(
            Batch(judging, key, connection, [judging.submit], b"", 0, [], self._nowhere, came.at, VOICE)
        )

    def decided(self, judging: _Judging, error: Exception | None) -> None:
        """The verdict of an INVITE is durable; or, with an error, there is none, and it does not pass."""
        verdict, came = judging.verdict, judging.came
        if self._judging.pop(id(verdict), None) is None:
            return  # it was too late, and the caller has his answer
        request, message = came.request, came.message
        verdict.pending = False
        if error is not None:
            said = sip_proxy.answer(message, UNAVAILABLE, PHRASES[UNAVAILABLE], self.own.key)
        else:
            (found,), (verdict.attempt,) = judging.submit.verdicts, judging.submit.ids
            hop = self._trunks.hop()
            if found.passed and request is not None and not judging.cancelled and hop is not None:
                verdict.hop = hop
                self._dialogs[request.call_id] = None
                self._forward(request, came.peer, verdict.hop)
                return
            peer = Peer(takes_608=sip_answers.announces_608(message))
            told = refusal(found.reason or Reason.NOT_JUDGEABLE, found.sub, peer)
            status, phrase, rows = told.status, told.phrase, told.rows
            if judging.cancelled:
                status, phrase, rows = TERMINATED, PHRASES[TERMINATED], ()
            elif found.passed:
                status, phrase, rows = UNAVAILABLE, PHRASES[UNAVAILABLE], ()
            elif came.fault is not None:
                status, phrase, rows = came.fault.status, PHRASES[came.fault.status], (came.fault.rows,)
            said = sip_proxy.answer(message, status, phrase, self.own.key, rows)
        verdict.answer = said
        Memo.settle(verdict, _now())
        self._send(said, came.peer)

    def _cancel(self, came: _Came, request: Request) -> None:
        verdict = self._memo.get(request.key(), _now())
        if verdict is None:
            self._answer(came.message, came.peer, NO_SUCH_CALL)
        elif verdict.hop is not None:
            self._forward(request, came.peer, verdict.hop)
        else:
            self._answer(came.message, came.peer, OK_STATUS)
            judging = self._judging.get(id(verdict))
            if judging is not None:
                judging.cancelled = True

    def _acknowledge(self, came: _Came, request: Request) -> None:
        """An ACK of what we refused ends here; of what the carrier answered it goes on."""
        verdict = self._memo.get(request.key(), _now())
        hop = self._trunks.hop() if verdict is None else verdict.hop
        if hop is not None:
            self._forward(request, came.peer, hop)

    def _forward(self, request: Request, peer: Place, hop: Place | None) -> None:
        """Send it to the carrier's `hop`, whatever its Route says further: that is for the hop to follow.
        None: from the carrier, to where its Route says, else its Request-URI."""
        to = self._followed(request) if hop is None else hop
        if to is not None:
            records = self._trunks.records and request.message.method == b"INVITE"
            record = self.owns[peer.section] if records else None
            octets, _ = sip_proxy.forwarded(request, self.owns[to.section], peer, record=record)
            self._send(octets, to)

    def _followed(self, request: Request) -> Place | None:
        """Where a request from the carrier goes; None: where nobody gets from here."""
        asked = grammar.uri(sip_proxy.follows(request, self.own))
        if asked is None or not _is_address(host := asked.host.strip(b"[]").decode("ascii")):
            return None
        said = (grammar.uri_parameter(asked.parameters, b"transport") or b"udp").upper().decode("ascii")
        transport = TLS if asked.scheme == b"sips" else said
        section = self._trunks.way(host, transport) if transport in (UDP, TCP, TLS) else None
        return None if section is None else Place(host, asked.port or PORTS[transport], transport, section)

    # Responses

    def _back(self, message: Message) -> None:
        _, method = sip.sequence(message)
        if method == b"OPTIONS" and len(sip.vias(message)) == 1:
            return  # of a probe: whom it came from is alive
        octets, back = sip_proxy.returned(message, self.own)
        if _is_address(back.host):
            self._send(octets, back)
        if method == b"INVITE" and message.status >= 200:
            self._ended(octets, message.status)

    def _ended(self, octets: bytes, status: int) -> None:
        """The call was answered or came to nothing: an outcome, once."""
        response = sip.datagram(octets)
        if response is None:
            return
        verdict = self._memo.get(sip_proxy.key_of(response), _now())
        if verdict is None or verdict.hop is None:
            return
        if not verdict.answered:
            self._returns.outcomes([(verdict.attempt, status, b"", 0)])
        Memo.settle(verdict, _now())

    # Answers of our own

    def _broken(self, error: SipError, data: bytes, peer: Place, at: float) -> None:
        """It breaks SIP: told so; an INVITE is an attempt all the same."""
        self._telemetry.closed.labels("sip", error.cause).inc()
        message = error.message
        if message is None or not error.status:
            return
        if message.method != b"INVITE" or self._is_carrier(peer):
            self._send(self._told(error, message), peer)
            return
        now, key = _now(), blake2b(data, digest_size=16).digest()
        verdict = self._memo.get(key, now)
        if verdict is not None:
            if verdict.answer:
                self._send(verdict.answer, peer)
            return
        verdict = self._memo.begin(key, now)
        if verdict is None:
            self._send(self._told(error, message), peer)
        else:
            self._judge(_Came(message, peer, at, None, error), verdict)

    def _told(self, error: SipError, message: Message) -> bytes:
        return sip_proxy.answer(message, error.status, PHRASES[error.status], self.own.key, (error.rows,))

    def _answer(self, message: Message, peer: Place, status: int) -> None:
        self._send(sip_proxy.answer(message, status, PHRASES[status], self.own.key), peer)

    def _is_for_us(self, message: Message) -> bool:
        asked = grammar.uri(message.uri)
        return asked is not None and self.own.is_at(asked.host, asked.port)

    def _is_carrier(self, peer: Place) -> bool:
        """A connection that it opened has a port that nobody knows before."""
        if peer.address in self._trunks.hops:
            return True
        return bool(peer.flow) and peer.host in self._hosts and self._trunk(peer) is None


def _is_address(host: str) -> bool:
    """Names are not looked up: no call may wait for one."""
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _now() -> int:
    return time_ns() // 1_000_000
