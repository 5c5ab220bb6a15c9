"""Calls on the wire: a stateless proxy (RFC 3261 §16.11) with a memo of its verdicts, between trunks and the
carrier.

One INVITE is one attempt, one count and one record, however often it is repeated; it goes on only when its
pass is durable. What belongs to a call that passed goes on as it comes; what could start one, or put words
before a subscriber, is judged or refused. It opens no socket: `send` is given, datagrams come to `take`, and
what streams bring to `take_message` and `take_error`. What was decided before a restart is told by the
records (`restore`).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
from gateway.protocols.sip_identity import OK, Identity, identity
from gateway.protocols.sip_memo import LIFE, LONGEST, Memo, Verdict
from gateway.protocols.sip_place import PORTS, TCP, TLS, UDP, Place
from gateway.protocols.sip_proxy import Own, Request
from gateway.relay.asked import Came, Judging
from gateway.relay.heard import Heard
from gateway.relay.lane import nowhere
from gateway.relay.memory import Batch
from gateway.relay.recalled import FINAL, Dialog, Known, mark_of
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
        heard: Heard,
    ) -> None:
        self.draining = False
        self.recalling = False  # not all calls that stand are known yet
        self._trunks = trunks
        self.owns = owns  # by listener
        self.own = owns[0]
        self._hosts = frozenset(host for host, _, _ in trunks.hops)
        self._screen = screen
        self._returns = returns
        self._send = send
        self._connection = connection
        self._telemetry = telemetry
        self._heard = heard
        self._memo = Memo(MOST_CALLS)
        self._judging: dict[int, Judging] = {}  # by its verdict's identity
        self._dialogs: dict[bytes, Dialog] = {}
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

    def restore(self, known: Iterable[Known], marked: Callable[[int], Place | None]) -> None:
        """What was decided before a restart: repeats get the same answers, and calls that passed stand.
        `marked`: the next hop of a mark."""
        now = _now()
        for one in known:
            passed = not one.reason and bool(one.hop)
            verdict = Verdict(one.dialog.attempt, False, (one.dialog.number, one.dialog.subscriber))
            if passed:
                self._dialogs.setdefault(one.call_id, one.dialog)
                verdict.hop = marked(one.hop)
            else:
                verdict.found = one.reason, one.sub
            verdict.answered = not passed or bool(one.result)
            verdict.until = (one.ended or one.at) + (LIFE if verdict.answered else LONGEST)
            if verdict.until > now:
                self._memo.restore(one.key, verdict)

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
        came = Came(message, peer, at, request.key(), request)
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
            if not (request.to_tag and self.recalling):  # it comes again, and the call is known by then
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
            go_on = partial(self._forward, request, peer, None)
            self._heard.pass_on(request.message, request.call_id, partial(self._call_of, request), go_on)
        else:
            self._answer(request.message, peer, DECLINE)

    def _stands(self, request: Request) -> bool:
        """Whether it belongs to a call that passed here; a To tag alone says nothing, as anybody can write
        one."""
        return bool(request.to_tag) and bool(self._call_of(request))

    def _call_of(self, request: Request) -> Dialog | bytes:
        """The call that it says it belongs to, or the id of its attempt; b"" for none that is known."""
        return self._dialogs.get(request.call_id) or sip_proxy.proven(request, self.own)

    def _trunk(self, peer: Place) -> AccountKey | None:
        """The account that is filed under the peer's address and port, or under its address."""
        named = AccountKey(self._trunks.carrier, "sip", f"{peer.host}:{peer.port}")
        for key in (named, named._replace(account=peer.host)):
            if self._screen.account(key) is not None:
                return key
        return None

    def _invite(self, came: Came, request: Request) -> None:
        now = _now()
        verdict = self._memo.get(came.key, now)
        who = self._identity(came)
        if verdict is None:
            verdict = self._memo.begin(came.key, now)
            if verdict is None or self.draining:
                self._memo.forget(came.key)
                self._answer(came.message, came.peer, UNAVAILABLE)
                return
            verdict.numbers = who.caller, who.called, who.diverting
            self._judge(came, verdict, who)
        elif verdict.numbers != (who.caller, who.called, who.diverting)[: len(verdict.numbers)]:
            # of another call than the one that was judged: or one verdict would let any number of calls pass
            raise sip.wrong(came.message, "changed", "an INVITE that repeats another's, with other numbers")
        elif verdict.hop is not None:
            self._forward(request, came.peer, verdict.hop)
        else:
            self._tell(came, verdict)

    def _tell(self, came: Came, verdict: Verdict) -> None:
        """The answer of a call that did not pass, once more."""
        if verdict.found is not None and not verdict.answer:
            verdict.answer = self._refusal(came, *verdict.found)
        if verdict.answer:
            self._send(verdict.answer, came.peer)

    def _identity(self, came: Came) -> Identity:
        return identity(came.message, trusted=self._trunks.trusted(came.peer.host), area=self._trunks.area)

    def _judge(self, came: Came, verdict: Verdict, who: Identity | None) -> None:
        judging = self._judging[id(verdict)] = Judging(came, verdict, self.decided)
        host = came.peer.host
        key = judging.key = self._trunk(came.peer) or AccountKey(self._trunks.carrier, "sip", host)
        if who is not None and came.request is not None:
            flaw = "" if who.verdict == OK else "identity"
            hop = judging.hop = self._trunks.hop()
            judging.submit.submission = Calling(
                who.caller, who.called, came.request.call_id, flaw, who.diverting,
                0 if hop is None else mark_of(*hop.address),
            )  # fmt: skip
        connection = self._connection(came.peer)
        self._screen.put(
            Batch(judging, key, connection, [judging.submit], b"", 0, [], self._nowhere, came.at, VOICE)
        )

    def decided(self, judging: Judging, error: Exception | None) -> None:
        """The verdict of an INVITE is durable; or, with an error, there is none, and it does not pass."""
        verdict, came = judging.verdict, judging.came
        if self._judging.pop(id(verdict), None) is None:
            return  # it was too late, and the caller has his answer
        request, hop = came.request, judging.hop
        verdict.pending = False
        if error is not None:
            said = self._refusal(came, "", "")
        else:
            (found,), (verdict.attempt,) = judging.submit.verdicts, judging.submit.ids
            if found.passed and request is not None and not judging.cancelled and hop is not None:
                verdict.hop = hop
                self._dialogs[request.call_id] = judging.dialog(found)
                self._forward(request, came.peer, hop)
                return
            if judging.cancelled:
                said = sip_proxy.answer(came.message, TERMINATED, PHRASES[TERMINATED], self.own.key)
            else:
                said = self._refusal(came, "" if found.reason is None else found.reason.value, found.sub)
        verdict.answer = said
        Memo.settle(verdict, _now())
        self._send(said, came.peer)

    def _refusal(self, came: Came, reason: str, sub: str) -> bytes:
        """The answer to a call that does not pass for a reason; "": it was not judged, or leads nowhere."""
        message, fault = came.message, came.fault
        if not reason:
            return sip_proxy.answer(message, UNAVAILABLE, PHRASES[UNAVAILABLE], self.own.key)
        if fault is not None:
            return self._told(fault, message)
        peer = Peer(takes_608=sip_answers.announces_608(message))
        told = refusal(Reason(reason), sub, peer)
        return sip_proxy.answer(message, told.status, told.phrase, self.own.key, told.rows)

    def _cancel(self, came: Came, request: Request) -> None:
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

    def _acknowledge(self, came: Came, request: Request) -> None:
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
            call = self._call_of(request) if records else b""
            attempt = call if isinstance(call, bytes) else call.attempt
            token = sip_proxy.token_of(request.call_id, attempt, self.own) if attempt else b""
            octets, _ = sip_proxy.forwarded(request, self.owns[to.section], peer, record=record, token=token)
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
        if method == b"INVITE" and message.status >= FINAL:
            self._ended(octets, message.status)
        if _is_address(back.host):
            call_id, go_on = sip.call_id(message), partial(self._send, octets, back)
            self._heard.pass_on(message, call_id, partial(self._dialogs.get, call_id), go_on)

    def _ended(self, octets: bytes, status: int) -> None:
        """The call was answered or came to nothing: an outcome, once."""
        response = sip.datagram(octets)
        if response is None:
            return
        verdict = self._memo.get(sip_proxy.key_of(response, self.own), _now())
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
        now, came = _now(), Came(message, peer, at, sip_proxy.key_of_broken(data, self.own), None, error)
        verdict = self._memo.get(came.key, now)
        if verdict is not None:
            self._tell(came, verdict)
            return
        verdict = self._memo.begin(came.key, now)
        if verdict is None:
            self._send(self._told(error, message), peer)
        else:
            self._judge(came, verdict, None)

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
