"""What an INVITE is judged by: its caller, who lends the line, and every other number that it names."""

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.model import VOICE, AccountKey, Attempt, Reason, Verdict
from gateway.protocols.message import Calling
from gateway.relay.lines import attempts_of, with_others
from gateway.relay.memory import Batch, Submit

KEY = AccountKey("mobile", "sip", "192.0.2.1")
GOOD, ALSO, BAD, CALLED = "+8657188886666", "+8657188887777", "+8657187654321", "+8613800000001"
NOBODY: Any = None


def told(calling: Calling) -> list[Verdict]:
    """The verdicts of one call, where `BAD` is the only number that does not pass."""

    def decide(attempts: Sequence[Attempt]) -> list[Verdict]:
        assert {one.destination for one in attempts} == {CALLED}
        return [Verdict(Reason.UNREGISTERED if one.source == BAD else None) for one in attempts]

    submit = Submit((0, 0, 0, 1), 0, calling)
    batches = [Batch(NOBODY, KEY, 1, [submit], b"", 0, [], NOBODY, 0.0, VOICE)]
    attempts = list(attempts_of(batches[0]))
    verdicts = decide(attempts)
    with_others(batches, attempts, verdicts, decide)
    return verdicts


@pytest.mark.parametrize(
    ("caller", "lender", "claims", "sub"),
    [
        (GOOD, ALSO, (ALSO, GOOD), None),
        (GOOD, BAD, (), "diverting"),
        (GOOD, ALSO, (ALSO, BAD), "claimed"),
        (GOOD, "", (BAD,), "claimed"),
        (GOOD, BAD, (BAD,), "diverting"),
        (BAD, "", (GOOD,), ""),  # a good one beside it helps nobody
    ],
)
def test_a_call_passes_when_every_number_that_it_names_does(
    caller: str, lender: str, claims: tuple[str, ...], sub: str | None
) -> None:
    [verdict] = told(Calling(caller, CALLED, b"call@cc", "", lender, claims))
    assert (verdict.passed, verdict.sub) == (sub is None, sub or "")
