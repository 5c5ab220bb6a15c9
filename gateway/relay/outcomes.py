"""What became of calls that passed, as the carrier answers them; and those that did not go on after all."""

from collections.abc import Callable
from functools import partial
from time import time_ns

from gateway.protocols import sip, sip_proxy
from gateway.protocols import sip_grammar as grammar
from gateway.protocols.sip import Message
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_proxy import Named, Own
from gateway.relay.course import Course
from gateway.relay.heard import GoOn, Heard
from gateway.relay.inviting import Judging
from gateway.relay.recalled import FINAL, OURS, REDIRECTS, Dialog
from gateway.relay.returns import Returns
from gateway.relay.standing import Standing

TRYING = 100
"""The one provisional answer that says nothing of the call (§16.7 item 2)."""


class Outcomes:
    """Of one worker's calls."""

    def __init__(
        self, own: Own, memo: Memo, standing: Standing, returns: Returns, course: Course, heard: Heard
    ) -> None:
        self._own = own
        self._memo = memo
        self._standing = standing
        self._returns = returns
        self._course = course
        self._heard = heard

    def said(self, response: Message, method: bytes, via: grammar.Via, go_on: GoOn) -> None:
        """The carrier's response: what it tells of its call, then it goes on. `method` and `via`: of its
        request, as that came to us."""
        call: Callable[[], Dialog | None] = partial(self._standing.of_response, response)
        now = time_ns() // 1_000_000
        if method == b"INVITE" and (response.status >= FINAL or self._memo.rings_long(now)):
            said = sip_proxy.named(response)
            verdict = self._memo.get(sip_proxy.key_of(said, via, self._own), now)
            if verdict is not None and verdict.hop is not None:
                self._note(response, said, verdict, now)
                call = partial(_call_of, verdict)
            elif verdict is None and response.status < REDIRECTS:
                self._standing.goes_by(response, call())
        elif method == b"UPDATE" and FINAL <= response.status < REDIRECTS:
            self._standing.goes_by(response, call())
        self._heard.pass_on(response, sip.call_id(response), call, go_on)

    def hung_up(self, message: Message, call: Dialog | bytes, by: str) -> None:
        """A BYE of a side; `call`: see `Course.hung_up`."""
        self._course.hung_up(message, call, by)
        self._standing.over(call)

    def took_back(self, judging: Judging, status: int) -> None:
        """The caller was told something else than the pass that stands on record: so does that, or a repeat
        would go on after a restart."""
        (found,), (attempt,) = judging.submit.verdicts, judging.submit.ids
        if found.passed:
            self._returns.outcomes([(attempt, status, OURS, 0)])

    def withdrawn(self, invite: Message, verdict: Verdict, status: int) -> None:
        """An INVITE that passed did not go on, and its caller was told that."""
        self._returns.outcomes([(verdict.attempt, status, OURS, 0)])
        call = _call_of(verdict)
        if call is not None:
            self._standing.failed(sip_proxy.named(invite), call)

    def _note(self, response: Message, said: Named, verdict: Verdict, now: int) -> None:
        """It rings, or was answered, or came to nothing: an outcome, once."""
        if response.status < FINAL:
            if response.status > TRYING:
                Memo.ring(verdict, now)
            return
        if not verdict.answered:
            self._returns.outcomes([(verdict.attempt, response.status, b"", 0)])
            call = _call_of(verdict)
            if call is not None and response.status < REDIRECTS:
                self._course.taken(call)
                self._standing.answered(response, said, call)
            elif call is not None:
                self._standing.failed(said, call)
        Memo.settle(verdict, now)


def _call_of(verdict: Verdict) -> Dialog | None:
    return verdict.call if isinstance(verdict.call, Dialog) else None
