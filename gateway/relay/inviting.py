"""An INVITE on its way to a verdict."""

from collections.abc import Callable
from typing import NamedTuple

from gateway.errors import NotReady
from gateway.model import AccountKey
from gateway.model import Verdict as Judged
from gateway.policy.numbers import canonical
from gateway.protocols.message import Calling
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_memo import LIFE, LONGEST, Verdict
from gateway.protocols.sip_place import Place
from gateway.protocols.sip_proxy import Key, Request
from gateway.relay.memory import Batch, Submit
from gateway.relay.recalled import REDIRECTS, Dialog, Known


def verdict_of(known: Known, hop: Place | None) -> Verdict:
    """What was decided of a call, out of its records; `hop`: where it goes on to if it has passed, None:
    nowhere, or without us."""
    verdict = Verdict(known.dialog.attempt, False, (known.dialog.number, known.dialog.subscriber))
    verdict.others = known.others
    if known.ours:
        verdict.told, verdict.answered = known.result, True
    elif known.reason or not known.dialog.hop or hop is None:
        verdict.found, verdict.answered = (known.reason, known.sub), True
    else:
        verdict.hop, verdict.call, verdict.answered = hop, known.dialog, bool(known.result)
        if verdict.answered:
            verdict.over = known.ended + (LIFE if known.result >= REDIRECTS else 0)
    verdict.until = (known.ended or known.at) + (LIFE if verdict.answered else LONGEST)
    return verdict


class Came(NamedTuple):
    """A request, from where, and what is known of it; `key`: of its memo; `fault`: it breaks SIP."""

    message: Message
    peer: Place
    at: float
    key: Key
    request: Request | None
    fault: SipError | None = None


class Judging:
    """The `Owner` of an INVITE's batch; `decided` hears what became of it."""

    def __init__(
        self, came: Came, verdict: Verdict, decided: Callable[["Judging", Exception | None], None]
    ) -> None:
        self.came = came
        self.verdict = verdict
        self.key = AccountKey("", "", "")  # of its trunk
        self.cancelled = False  # the caller has hung up meanwhile
        self.hop: Place | None = None  # where it goes on to if it passes
        self.submit = Submit((0, 0, 0, came.key), 0, None)
        self._decided = decided

    def judged(self, batch: Batch) -> None:
        """See `Owner`."""

    def settled(self, batch: Batch, error: Exception | None) -> None:
        """See `Owner`."""
        self._decided(self, error)

    def abort(self) -> None:
        """See `Owner`."""
        self._decided(self, NotReady("the call could not be judged"))

    def dialog(self, found: Judged) -> Dialog:
        """The call that has passed."""
        said = self.submit.submission
        assert isinstance(said, Calling)
        numbers = canonical(said.source), canonical(said.destinations[0])
        filed = found.number, found.institution_code, found.purpose
        return Dialog(self.verdict.attempt, self.key, *numbers, *filed, said.reference & 0xFFFF)
