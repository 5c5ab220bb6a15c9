"""What callers are told by the node itself: that a call does not pass and why, when it may be tried again, or
where it is to go.

The same message gives the same answer, as it is kept beside the verdict and said again. It sends nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from gateway.model import VOICE, Reason
from gateway.model import Verdict as Judged
from gateway.policy import caps
from gateway.policy.numbers import canonical
from gateway.protocols import sip_answers, sip_proxy
from gateway.protocols.message import Calling
from gateway.protocols.sip import Message
from gateway.protocols.sip_answers import PHRASES, UNAVAILABLE, Peer
from gateway.protocols.sip_memo import Verdict
from gateway.protocols.sip_place import Place
from gateway.relay.inviting import Came, Judging
from gateway.relay.lines import others_of
from gateway.relay.screen import Screen


class Manners(NamedTuple):
    """What the settings say of how peers are told, by address: who has no other trunk, and who takes 608;
    `explains`: the URL of the card that a 608 refers to, b"": none is there."""

    has_one_trunk: Callable[[str], bool]
    takes_608: Callable[[str], bool]
    explains: bytes


class Answers:
    """Of one worker. `key`: of the tags (`Own.key`)."""

    def __init__(self, key: bytes, manners: Manners, screen: Screen) -> None:
        self._key = key
        self._manners = manners
        self._screen = screen

    def plain(self, message: Message, status: int, rows: tuple[bytes, ...] = ()) -> bytes:
        return sip_proxy.answer(message, status, PHRASES[status], self._key, rows)

    def refused(self, came: Came, reason: str, sub: str, seconds: int = 0) -> bytes:
        """To a call that does not pass for a reason; "": it was not judged, or leads nowhere. `seconds`: then
        it may be tried again, 0: nobody can say."""
        message, host = came.message, came.peer.host
        if not reason:
            return self.plain(message, UNAVAILABLE)
        if came.fault is not None:
            return self.plain(message, came.fault.status, (came.fault.rows,))
        manners = self._manners
        takes_608 = sip_answers.announces_608(message) or manners.takes_608(host)
        peer = Peer(manners.has_one_trunk(host), takes_608, manners.explains)
        told = sip_answers.refusal(Reason(reason), sub, peer, seconds)
        return self.plain(message, told.status, told.rows)

    def recalled(self, came: Came, verdict: Verdict, hop: Place | None) -> bytes:
        """To a call that was judged before a restart and did not pass, or, where callers go to the carrier's
        `hop` themselves, did; b"" where it is being judged."""
        if verdict.told:
            return self.plain(came.message, verdict.told)
        if verdict.found is None:
            return b""
        if hop is not None and not verdict.found[0]:
            return self.redirected(came.message, hop)
        return self.refused(came, *verdict.found)

    def redirected(self, message: Message, hop: Place) -> bytes:
        """To a call that passes where the caller takes it on himself (§8.3, §21.3.3)."""
        contact = sip_answers.contact(message.uri, hop)
        return self.plain(message, sip_answers.MOVED, (b"Contact: <%s>\r\n" % contact,))

    def wait(self, judging: Judging, found: Judged, now: int) -> int:
        """Seconds until a call that came at the wrong hour, or once too often, may be tried again; 0: nobody
        can say, or never."""
        said = judging.submit.submission
        at = 0
        if not isinstance(said, Calling):
            return 0
        others = [source for source, sub in others_of(said) if sub == found.sub]
        if found.reason == Reason.QUIET_HOURS or others:
            senders = self._screen.view.senders.get((judging.key, VOICE), {})
            for source in others or [canonical(said.source)]:
                sender = senders.get(source)
                if found.reason == Reason.QUIET_HOURS and sender is not None:
                    at = max(at, sender.hours.next(now, sender.profile.days))
        elif found.reason == Reason.OVER_FREQUENCY and found.caps is not None:
            called = canonical(said.destinations[0])
            for count in found.caps.counts:
                sent = self._screen.view.sent(called, found.institution_code, count.channels, count.purpose)
                at = max(at, caps.free_at(count.limits, sent or (), now))
            at = at or now + caps.WINDOWS.get(found.sub, 0)
        return max(0, -((now - at) // 1000))
