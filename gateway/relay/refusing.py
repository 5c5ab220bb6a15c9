"""How a refused submit is answered: at once with an error, or accepted and then reported REJECTD.

Domain.md "How a refusal is said to the sender": the manner `report` is used only where the account has it
and a final report was asked for; the connection itself is the receiving session. The message ids that we
make up carry the gateway code that the operator configured.
"""

import time
from collections.abc import Callable

from gateway.model import Account, Reason
from gateway.protocols import Wire
from gateway.relay.lane import Numbering
from gateway.relay.memory import Submit

SHANGHAI = 8 * 3600  # seconds; status reports carry local time
IDS = 1 << 16  # the sequence part of a message id

MakeIds = Callable[[time.struct_time, int], list[bytes]]
"""(now, count) → that many message ids, each one above the last: the first stands for all in an answer."""


def made_up_ids(wire: type[Wire], gateway_code: int, worker: int, workers: int) -> MakeIds:
    """Message ids that no other worker of this node makes up in the same second."""
    share = IDS // workers
    used = 0

    def make(now: time.struct_time, count: int) -> list[bytes]:
        nonlocal used
        if used + count > share:
            used = 0
        first = worker * share + used
        used += count
        date = now.tm_mon, now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec
        return wire.message_ids(date, gateway_code, first, count)

    return make


def answer(
    wire: Wire,
    submit: Submit,
    account: Account | None,
    numbering: Numbering | None,
    make_ids: MakeIds,
) -> list[bytes]:
    """What tells the sender about a refused submit: its answer, and the reports that follow if any do.

    `numbering` None: this connection does not receive.
    """
    submission = submit.submission
    if submission is None:
        return [submit.answer]
    manner = account.refusal_manner if account is not None else "result"
    if numbering is None or manner != "report" or not submission.wants_report:
        return [wire.refusal(submit.sequence, first_reason(submit), submit.command)]
    now = time.gmtime(time.time() + SHANGHAI)
    stamp = time.strftime("%y%m%d%H%M", now)
    ids = make_ids(now, len(submission.destinations))
    reports = (
        wire.rejected_report(submission, index, identity, numbering.choose(), stamp, stamp)
        for index, identity in enumerate(ids)
    )
    return [wire.acceptance(submit.sequence, ids[0], submit.command), *reports]


def first_reason(submit: Submit) -> Reason:
    """The reason of the first recipient who was refused for his own sake."""
    reasons = [verdict.reason for verdict in submit.verdicts if verdict.reason is not None]
    return next((reason for reason in reasons if reason is not Reason.MASS_REFUSED), reasons[0])
