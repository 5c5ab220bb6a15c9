"""Calls at the screen: what an INVITE asks for as an attempt, and whose line it came by.

Whoever lends a line (Diversion, History-Info) is judged as its caller is: an agency would else forward its
calls by a number that nobody filed. One record tells both: the verdict is the caller's unless the lender's
refuses.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gateway.model import VOICE, Attempt, Verdict
from gateway.policy.numbers import canonical
from gateway.protocols.message import Calling
from gateway.relay.memory import Batch

LENDER = "diverting"
"""Sub-code of a refusal that the lent line earned."""


def attempts_of(batch: Batch) -> Iterator[Attempt]:
    """The attempts of a batch of INVITEs."""
    for submit in batch.submits:
        said = submit.submission
        assert isinstance(said, Calling)
        called = canonical(said.destinations[0])
        flaw = said.flaw or ("" if called else "destination")
        yield Attempt(batch.key, VOICE, canonical(said.source), called, "", flaw)


def with_lenders(
    batches: Sequence[Batch],
    attempts: Sequence[Attempt],
    verdicts: list[Verdict],
    decide: Callable[[Sequence[Attempt]], list[Verdict]],
) -> None:
    """Puts the lender's refusal in the place of a pass."""
    index = 0
    for batch in batches:
        for submit in batch.submits:
            said = submit.submission
            if isinstance(said, Calling) and said.lender and verdicts[index].passed:
                (found,) = decide([Attempt(batch.key, VOICE, said.lender, attempts[index].destination)])
                if not found.passed:
                    verdicts[index] = replace(
                        verdicts[index], reason=found.reason, sub=LENDER, findings=found.findings
                    )
            index += submit.width
