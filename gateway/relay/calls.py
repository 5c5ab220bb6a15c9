"""Calls on the wire: a stateless proxy (RFC 3261 §16.11) with a memo of its verdicts, between trunks and the
carrier.

One INVITE is one attempt, one count and one record, however often it is repeated; it goes on only when its
pass is durable. What belongs to a call that passed goes on as it comes; what could start one, or put words
before a subscriber, is judged or refused. It opens no socket: `send` is given, datagrams come to `take`, and
what streams bring to `take_message` and `take_error`; records tell what was decided before (`restore`).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter, time_ns

from gateway.errors import NotReady
from gateway.model import VOICE
from gateway.protocols import sip, sip_proxy
from gateway.protocols.message import Calling
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_answers import DECLINE, NO_SUCH_CALL, TERMINATED, UNAVAILABLE
from gateway.protocols.sip_answers import OK as OK_STATUS
from gateway.protocols.sip_identity import OK, Identity
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_place import Place
from gateway.protocols.sip_proxy import Own, Request
from gateway.relay.callers import Callers
from gateway.relay.course import Course
from gateway.relay.heard import Heard
from gateway.relay.inviting import Came, Judging, verdict_of
from gateway.relay.lane import nowhere
from gateway.relay.memory import Batch
from gateway.relay.outcomes import Outcomes
from gateway.relay.recalled import REDIRECTS, Known, went_of
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen
from gateway.relay.standing import REFRESHES, Standing
from gateway.relay.told import Answers
from gateway.relay.trunks import Trunks, is_address
from gateway.telemetry import Telemetry

MOST_CALLS = 100_000
"""INVITEs that are remembered at a time; more are refused with 503. One that passed takes some 500 octets, a
refused one some 1,000: its answer is kept, with up to 16 KiB of its caller's rows, so no more are."""

MOST_OF_STRANGERS = 10_000
"""Of these, INVITEs from where no trunk is filed: else anybody could have all trunks refused."""

STARTS = frozenset((b"MESSAGE", b"REFER", b"PUBLISH", b"REGISTER", b"SUBSCRIBE"))
"""What could put words before a subscriber or start a call where nobody judges it: none of it passes outside
a call, and in one SUBSCRIBE alone, which asks for the keys that are pressed (RFC 4730): by REFER the called
side would call whom nobody has judged."""

Send = Callable[[bytes, Place], None]


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
        course: Course,
        answers: Answers,
    ) -> None:
        self.draining = False
        self.recalling = False  # not all calls that stand are known yet
        self._trunks = trunks
        self.owns = owns  # by listener
        self.own = owns[0]
        self._callers = Callers(trunks, screen)
        self.filed = self._callers.filed
        self.knows = self._callers.knows
        self._screen = screen
        self._send = send
        self._connection = connection
        self._closed = telemetry.closed
        self._heard = heard
        self._course = course
        self._answers = answers
        self._relayed = telemetry.relay("sip", "to_carrier")
        self._memo = Memo(MOST_CALLS, MOST_OF_STRANGERS)
        self._judging: dict[int, Judging] = {}  # by its verdict's identity
        self._standing = Standing(self.own, trunks.area, course.is_over)
        self._outcomes = Outcomes(self.own, self._memo, self._standing, returns, course, heard)
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
                self._back(message, peer)
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
            verdict = verdict_of(one, None if self._trunks.redirects else marked(one.dialog.hop))
            if verdict.hop is not None and one.result < REDIRECTS:
                self._standing.restore(one.call_id, one.dialog)
            if verdict.until > now:
                self._memo.restore(one.key, verdict)

    def tick(self) -> None:
        """A few times a second: refuse what was not judged in time, forget what is over."""
        late = perf_counter() - self._trunks.deadline
        for judging in [one for one in self._judging.values() if one.came.at < late]:
            self.decided(judging, NotReady("not judged in time"))
        self._memo.expire(_now())
        self._standing.expire()

    # Requests

    def _request(self, message: Message, peer: Place, at: float) -> None:
        method, known, verdict = message.method, None, None
        if method == b"ACK" and not self._callers.are_carrier(peer):
            known = sip_proxy.named(message)
            verdict = self._memo.get(sip_proxy.key_of(known, sip.vias(message)[0], self.own), now := _now())
            if verdict is not None:
                Memo.confirm(verdict, now)
                if verdict.hop is None:  # it ends here, and the rest of it is not read
                    return
        top = sip_proxy.stamp(message, peer.host.encode("ascii"), peer.port)
        request = sip_proxy.checked(message, self.own, known, top)
        if method == b"OPTIONS" and self.own.is_at(request.asked.host, request.asked.port):
            self._answer(message, peer, OK_STATUS)
        elif method == b"ACK" and sip_proxy.is_told(request):
            pass  # of an answer of our own that is not remembered, or never was
        elif self._callers.are_carrier(peer):
            self._from_carrier(request, peer)
        elif method == b"CANCEL":
            self._cancel(request, peer)
        elif method == b"ACK":  # of what the carrier answered
            self._acknowledged(request, peer, verdict)
        elif method == b"INVITE" and not (request.to_tag and self._stands(request, peer)):
            if not (request.to_tag and self.recalling):
                self._invite(Came(message, peer, at, request.key(), request), request)
            elif peer.flow:
                self._answer(message, peer, UNAVAILABLE)
            # else it comes again, and the call is known by then
        else:
            self._within(request, peer)

    def _acknowledged(self, request: Request, peer: Place, verdict: Verdict | None) -> None:
        """The ACK of the carrier's answer goes on where its call, or who sends it, is known."""
        if verdict is None and not self._callers.account(peer) and not self._standing.of_caller(request):
            return
        hop = self._onward(request) if verdict is None else verdict.hop
        if hop is not None:
            self._forward(request, peer, hop)

    def _within(self, request: Request, peer: Place) -> None:
        """A request of the caller's side that starts no call, or says so."""
        message, method = request.message, request.message.method
        call = self._standing.of_caller(request) if request.to_tag else b""
        declined = method in STARTS and (not call or method != b"SUBSCRIBE")
        if declined or (not call and self._callers.account(peer) is None):
            self._answer(message, peer, DECLINE)
        elif (hop := self._onward(request)) is None:
            self._answer(message, peer, NO_SUCH_CALL if self._trunks.redirects else UNAVAILABLE)
        else:
            if method == b"BYE":
                self._outcomes.hung_up(message, call, "caller")
            self._forward(request, peer, hop)

    def _from_carrier(self, request: Request, peer: Place) -> None:
        """What belongs to a call that passed. A node is put before callers: who is called from outside, and
        how, is not its business."""
        if self._trunks.redirects:
            if request.message.method != b"ACK":
                self._answer(request.message, peer, NO_SUCH_CALL)
        elif request.to_tag or request.message.method in (b"ACK", b"CANCEL"):
            call = partial(self._standing.of_called, request)
            if request.message.method == b"BYE":
                self._outcomes.hung_up(request.message, call(), "called")
            elif request.message.method in REFRESHES:
                self._standing.goes_by(request.message, call())
            go_on = partial(self._forward, request, peer, None)
            self._heard.pass_on(request.message, request.call_id, call, go_on)
        else:
            self._answer(request.message, peer, DECLINE)

    def _onward(self, request: Request) -> Place | None:
        """Where a request of the caller's side goes on to: in a call that stands to the hop that has it, as
        no other may know it, while that is alive. None: nowhere, or without us."""
        call = self._standing.known(request)
        return None if self._trunks.redirects else self._trunks.hop(0 if call is None else call.hop)

    def _stands(self, request: Request, peer: Place) -> bool:
        """Whether an INVITE goes on in a call that passed."""
        return self._standing.takes(request, peer, is_filed=self._callers.account(peer) is not None)

    def _invite(self, came: Came, request: Request) -> None:
        self._trunks.check(came.message, request.asked.scheme)
        if self._standing.swaps(request):
            raise sip.wrong(came.message, "route", "a Route that could put another callee in the URI's place")
        now, target = _now(), request.target()
        verdict = self._memo.get(came.key, now)
        who = self._callers.identity(request, came.peer)
        if verdict is None:
            verdict = self._begin(came, now)
            if verdict is None or self.draining or self._screen.journal.crowded:
                self._memo.forget(came.key)
                self._answer(came.message, came.peer, UNAVAILABLE)
                return
            verdict.numbers, verdict.asked = who.numbers, target
            self._judge(came, verdict, who)
        elif not verdict.is_of(who, target):
            # of another call than the one that was judged: or one verdict would let any number of calls pass
            raise sip.wrong(
                came.message, "changed", "an INVITE that repeats another's and names other parties"
            )
        elif verdict.hop is not None:
            verdict.asked = target
            if verdict.goes_on(now) and not self._course.is_over(verdict.attempt):
                self._forward(request, came.peer, verdict.hop, verdict.call)
        else:
            self._tell(came, verdict)

    def _begin(self, came: Came, now: int) -> Verdict | None:
        return self._memo.begin(came.key, now, stranger=self._callers.are_strangers(came.peer))

    def _tell(self, came: Came, verdict: Verdict) -> None:
        """The answer of a call that did not pass, once more."""
        if not verdict.answer:
            hop = self._trunks.hop(0) if self._trunks.redirects else None
            verdict.answer = self._answers.recalled(came, verdict, hop)
        if verdict.answer:
            self._say(verdict.answer, came.message, came.peer)

    def _judge(self, came: Came, verdict: Verdict, who: Identity | None) -> None:
        judging = self._judging[id(verdict)] = Judging(came, verdict, self.decided)
        key = judging.key = self._callers.account(came.peer) or self._callers.unfiled(came.peer)
        if who is None or came.request is None:  # its Call-ID is on record, so that a repeat is known by it
            named = came.message.value(b"call-id") or b""
            judging.submit.submission = Calling("", "", named, "frame", "")
        else:
            flaw = "" if who.verdict == OK else "identity"
            hop = judging.hop = self._trunks.hop(0)
            judging.submit.submission = Calling(
                who.caller, who.called, came.request.call_id, flaw, who.diverting, who.claims,
                went_of(hop, who.others),
            )  # fmt: skip
        connection = self._connection(came.peer)
        self._screen.put(
            Batch(judging, key, connection, [judging.submit], b"", 0, [], self._nowhere, came.at, VOICE)
        )

    def decided(self, judging: Judging, error: Exception | None) -> None:
        """The verdict of an INVITE is durable; or, with an error, there is none, and it does not pass."""
        verdict, came = judging.verdict, judging.came
        if self._judging.pop(id(verdict), None) is None:  # too late: the caller has his answer
            if error is None:
                self._outcomes.took_back(judging, UNAVAILABLE)
            return
        request, hop = came.request, judging.hop
        verdict.pending = False
        if error is not None:
            said = self._answers.refused(came, "", "")
        else:
            (found,), (verdict.attempt,) = judging.submit.verdicts, judging.submit.ids
            if judging.cancelled:
                self._outcomes.took_back(judging, TERMINATED)
                said = self._answers.plain(came.message, TERMINATED)
            elif not found.passed or request is None or hop is None:
                reason = "" if found.reason is None else found.reason.value
                seconds = self._answers.wait(judging, found, _now())
                said = self._answers.refused(came, reason, found.sub, seconds)
            elif self._trunks.redirects:
                said = self._answers.redirected(came.message, hop)
            else:
                verdict.hop, call = hop, judging.dialog(found)
                verdict.call = call
                self._standing.passed(request.call_id, request.from_tag, call)
                self._forward(request, came.peer, hop, call)
                self._relayed.observe(perf_counter() - came.at)
                return
        verdict.answer = said
        Memo.settle(verdict, _now())
        self._say(said, came.message, came.peer)

    def _cancel(self, request: Request, peer: Place) -> None:
        verdict = self._memo.get(request.key(), _now())
        if verdict is None:
            # it may have rung for so long that its INVITE is forgotten (§16.10)
            hop = self._onward(request) if self._standing.known(request) is not None else None
            if hop is not None:
                self._forward(request, peer, hop)
            else:
                self._answer(request.message, peer, NO_SUCH_CALL)
        elif verdict.hop is not None:
            self._forward(request, peer, verdict.hop)
        else:
            self._answer(request.message, peer, OK_STATUS)
            judging = self._judging.get(id(verdict))
            if judging is not None:
                judging.cancelled = True

    def _forward(self, request: Request, peer: Place, hop: Place | None, call: object = None) -> None:
        """Send it to the carrier's `hop`, whatever its Route says further: that is for the hop to follow.
        None: from the carrier, to where its Route says, else its Request-URI. `call`: where it is known."""
        to = self._trunks.place_of(sip_proxy.follows(request, self.own)) if hop is None else hop
        if to is not None:
            records = self._trunks.records and request.message.method == b"INVITE"
            record = self.owns[peer.section] if records else None
            token = self._standing.token(request, call, of_caller=hop is not None) if records else b""
            octets, _ = sip_proxy.forwarded(request, self.owns[to.section], peer, record=record, token=token)
            self._send(octets, to)

    # Responses

    def _back(self, message: Message, peer: Place) -> None:
        """The carrier's goes back to its caller; a caller's to the carrier alone, and says nothing of a call:
        nobody answers himself."""
        (_, method), vias = sip.sequence(message), sip.vias(message)
        if method == b"OPTIONS" and len(vias) == 1:
            return  # of a probe: whom it came from is alive
        octets, back = sip_proxy.returned(message, vias, self.own)
        go_on = partial(self._send, octets, back) if is_address(back.host) else _drop
        if self._callers.answers(peer):
            self._outcomes.said(message, method, vias[1], go_on)
        elif self._callers.leads_to_carrier(back):
            go_on()
        else:
            self._closed.labels("sip", "not_carrier").inc()

    # Answers of our own

    def _broken(self, error: SipError, data: bytes, peer: Place, at: float) -> None:
        """It breaks SIP: told so; an INVITE is an attempt all the same."""
        self._closed.labels("sip", error.cause).inc()
        message = error.message
        if message is None or not error.status:
            return
        if message.method != b"INVITE" or self._callers.are_carrier(peer):
            self._say(self._told(error, message), message, peer)
            return
        now, came = _now(), Came(message, peer, at, sip_proxy.key_of_broken(data, self.own), None, error)
        verdict = self._memo.get(came.key, now)
        if verdict is not None:
            self._tell(came, verdict)
            return
        verdict = self._begin(came, now)
        if verdict is None:
            self._say(self._told(error, message), message, peer)
        else:
            self._judge(came, verdict, None)

    def _told(self, error: SipError, message: Message) -> bytes:
        return self._answers.plain(message, error.status, (error.rows,))

    def _answer(self, message: Message, peer: Place, status: int) -> None:
        self._say(self._answers.plain(message, status), message, peer)

    def _say(self, octets: bytes, message: Message, peer: Place) -> None:
        """Answer a message by octets."""
        self._send(octets, sip_proxy.way_back(message, peer))


def _drop() -> None:
    """What leads to a name goes nowhere."""


def _now() -> int:
    return time_ns() // 1_000_000
