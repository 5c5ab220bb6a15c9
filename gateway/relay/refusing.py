"""How a refused submit is answered: at once with an error, or accepted and then reported REJECTD.

Domain.md "How a refusal is said to the sender": the manner `report` is used only where the account has it
and a final report was asked for; the connection itself is the receiving session, or, where it only sends,
another of the account. The message ids that we make up carry the gateway code that the operator configured.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.model import Account, AccountKey, Reason
from gateway.protocols import WIRES, Wire
from gateway.relay.lane import Numbering
from gateway.relay.memory import Batch, Submit, Tell

SHANGHAI = 8 * 3600  # seconds; status reports carry local time
IDS = 1 << 16  # the sequence part of a message id

MakeIds = Callable[[time.struct_time, int], list[bytes]]
"""(now, count) → that many message ids, each one above the last: the first stands for all in an answer."""


class Receiver(NamedTuple):
    """A connection on which a sender receives: the numbers of requests to him, and how to send him frames."""

    numbering: Numbering
    tell: Tell


class Receivers:
    """Those of a worker: an account may send on one connection and receive on another."""

    def __init__(self) -> None:
        self._open: dict[AccountKey, dict[Receiver, None]] = {}

    def join(self, key: AccountKey, receiver: Receiver | None) -> None:
        """`None`: nobody receives there."""
        if receiver is not None:
            self._open.setdefault(key, {})[receiver] = None

    def leave(self, key: AccountKey, receiver: Receiver | None) -> None:
        receivers = self._open.get(key, {})
        if receiver is not None:
            receivers.pop(receiver, None)
        if not receivers:
            self._open.pop(key, None)

    def of(self, key: AccountKey) -> Receiver | None:
        """The newest of an account; None where there is none."""
        return next(reversed(self._open.get(key, {})), None)


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


def of_listeners(listeners: Sequence[tuple[str, int]], worker: int, workers: int) -> list[MakeIds]:
    """Of each listener, by its protocol and gateway code: those that have the same also share the numbers."""
    made = {said: made_up_ids(WIRES[said[0]], said[1], worker, workers) for said in listeners}
    return [made[said] for said in listeners]


def refuse(
    wire: Wire,
    submit: Submit,
    batch: Batch,
    account: Account | None,
    receiver: Receiver | None,
    make_ids: MakeIds,
    *,
    here: bool,
) -> None:
    """Put into the batch what tells the sender about a refused submit; `receiver` is who gets its reports:
    `here`, the connection of the submit itself."""
    said = answer(wire, submit, account, None if receiver is None else receiver.numbering, make_ids)
    submit.answer = said[0]
    if here or receiver is None:
        batch.refusals += said
    else:
        batch.refusals.append(said[0])
        batch.elsewhere.append((receiver.tell, said[1:]))


def answer(
    wire: Wire,
    submit: Submit,
    account: Account | None,
    numbering: Numbering | None,
    make_ids: MakeIds,
) -> list[bytes]:
    """What tells the sender about a refused submit: its answer, and the reports that follow if any do.

    `numbering` is that of the connection which they go to; None: the sender receives on none.
    """
    submission = submit.submission
    if submission is None:
        return [submit.answer]
    manner = account.refusal_manner if account is not None else "result"
    if numbering is None or manner != "report" or not submission.wants_report:
        return [wire.refusal(submit.sequence, first_reason(submit), submit.command)]
    now = time.gmtime(time.time() + SHANGHAI)
    stamp = time.strftime("%y%m%d%H%M", now)
    count = len(submission.destinations)
    its = [submit.sequence.to_bytes(12, "big")] * count if wire.SEQUENCE_IS_ID else []
    ids = its or make_ids(now, count)
    reports = (
        wire.rejected_report(submission, index, identity, numbering.choose(), stamp, stamp)
        for index, identity in enumerate(ids)
    )
    return [wire.acceptance(submit.sequence, ids[0], submit.command), *reports]


def first_reason(submit: Submit) -> Reason:
    """The reason of the first recipient who was refused for his own sake."""
    reasons = [verdict.reason for verdict in submit.verdicts if verdict.reason is not None]
    return next((reason for reason in reasons if reason is not Reason.MASS_REFUSED), reasons[0])
