"""Calls at the screen: what an INVITE asks for as an attempt, and whose line it came by.

Whoever lends a line (Diversion, History-Info) is judged as its caller is: an agency would else forward its
calls by a number that nobody filed. So is every other number that a call names as its caller, as any of them
may be shown to who is called. One record tells all: the verdict is the caller's unless another's refuses.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gateway.model import VOICE, Attempt, Verdict
from gateway.policy.numbers import canonical
from gateway.protocols.message import Calling
from gateway.relay.memory import Batch

LENDER, CLAIM = "diverting", "claimed"
"""Sub-codes of a refusal that the lent line earned, or another number that the call names."""


def attempts_of(batch: Batch) -> Iterator[Attempt]:
    """The attempts of a batch of INVITEs."""
    for submit in batch.submits:
        said = submit.submission
        assert isinstance(said, Calling)
        called = canonical(said.destinations[0])
        flaw = said.flaw or ("" if called else "destination")
        yield Attempt(batch.key, VOICE, canonical(said.source), called, "", flaw)


def with_others(
    batches: Sequence[Batch],
    attempts: Sequence[Attempt],
    verdicts: list[Verdict],
    decide: Callable[[Sequence[Attempt]], list[Verdict]],
) -> None:
    """Puts the refusal of another number that a call names in the place of a pass."""
    index = 0
    for batch in batches:
        for submit in batch.submits:
            said = submit.submission
            if isinstance(said, Calling) and verdicts[index].passed:
                called = attempts[index].destination
                for source, sub in others_of(said):
                    (found,) = decide([Attempt(batch.key, VOICE, source, called)])
                    if not found.passed:
                        verdicts[index] = replace(
                            verdicts[index], reason=found.reason, sub=sub, findings=found.findings
                        )
                        break
            index += submit.width


def others_of(said: Calling) -> Iterator[tuple[str, str]]:
    """The numbers beside its caller's that a call is judged by, each with the sub-code of its refusal."""
    if said.lender:
        yield said.lender, LENDER
    for claim in said.claims:
        yield claim, CLAIM
