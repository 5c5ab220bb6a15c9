"""The life of a filing: one table of steps, from which the README's diagram is drawn and which the database
holds as `number_transitions`; and what a filing's standing is at an instant.

Rules: a step is taken by INSERT INTO number_steps and by nothing else; who may take it, and from where, is
the database's to refuse (migrations/versions/0006_filing.sql), so that SQL by hand meets the same table.
Effective, suspended and expired are never stored: they are computed from the same words that verdicts use.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from gateway.errors import Problem, Words
from gateway.model import CHANNELS, Institution, Mandate, Number
from gateway.policy.standing import allowed, bars, endings, unmandated
from gateway.registry.acting import as_problem

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

STATES = ("draft", "submitted", "returned", "checked", "approved", "revoked", "withdrawn")
"""As stored (domain.md "Life of a registered number")."""


class Step(NamedTuple):
    """One step: from any of `sources` to `target`, by users of one role. `reasons`: they must be given;
    `four_eyes`: by another person than the one who checked."""

    name: str
    sources: tuple[str, ...]
    target: str
    role: str
    reasons: bool = False
    four_eyes: bool = False


STEPS = (
    Step("submit", ("draft", "returned"), "submitted", "institution"),
    Step("return", ("submitted", "checked"), "returned", "carrier", reasons=True),
    Step("check", ("submitted",), "checked", "carrier"),
    Step("approve", ("checked",), "approved", "carrier", four_eyes=True),
    Step("veto", ("submitted", "checked"), "revoked", "regulator", reasons=True),
    Step("revoke", ("approved",), "revoked", "regulator", reasons=True),
    Step("withdraw", ("draft", "returned", "submitted", "checked", "approved"), "withdrawn", "institution"),
)


class Standing(NamedTuple):
    """What a filing is worth at an instant: its stored state, or of an approved one `effective`, `not_yet`,
    `suspended` or `expired`; and every cause: a verdict's sub-code, with whose it is before it."""

    state: str
    causes: tuple[str, ...] = ()


def diagram() -> str:
    """The table as a Mermaid state diagram; it stands in the README word for word."""
    lines = ["stateDiagram-v2", "    [*] --> draft: institution, agency"]
    for step in STEPS:
        eyes = ", another person" if step.four_eyes else ""
        lines += [
            f"    {source} --> {step.target}: {step.name} ({step.role}{eyes})" for source in step.sources
        ]
    ends = {step.target for step in STEPS} - {source for step in STEPS for source in step.sources}
    lines += [f"    {state} --> [*]" for state in STATES if state in ends]
    return "\n".join(lines)


def standing(
    filing: Number,
    institution: Institution,
    agency: Institution | None,
    mandates: Sequence[Mandate],
    now: int,
) -> Standing:
    """The standing of a filing at `now` (ms). `mandates`: all that institution and agency have."""
    if filing.status != "approved":
        return Standing(filing.status)
    causes = tuple(dict.fromkeys(_causes(filing, institution, agency, mandates, now)))
    if "expired" in causes or any(cause.endswith("lapsed") for cause in causes):
        return Standing("expired", causes)
    if "not_yet" in causes:
        return Standing("not_yet", causes)
    return Standing("suspended" if causes else "effective", causes)


def _causes(
    filing: Number,
    institution: Institution,
    agency: Institution | None,
    mandates: Sequence[Mandate],
    now: int,
) -> Iterator[str]:
    yield from endings(filing, now)
    yield from bars(institution, now, "institution_")
    if filing.purposes & ~institution.scope:
        yield "institution_out_of_scope"
    if agency is not None:
        yield from bars(agency, now, "agency_")
        for channel in CHANNELS.values():
            if filing.channels & channel:
                sub = unmandated(mandates, allowed(mandates, channel, now), filing.purposes, now)
                if sub:
                    yield f"mandate_{sub}"


def out_of_order(problem: Problem, name: str, state: str) -> Problem:
    """A refused step's problem; one that does not follow from its filing's state says from which it would."""
    sources = next((step.sources for step in STEPS if step.name == name), ())
    if problem.code != "wrong_state" or state in sources:
        return problem
    expected = Words("、".join(sources), " or ".join(sources))
    return Problem(problem.code, problem.detail, field="status", value=state, expected=expected)


async def take(c: "Connection", number: int, step: str, reason: str = "") -> None:
    """Take one step with a filing, as whom the connection acts for. Problem when the table forbids it."""
    await _insert(c, [number], step, reason)


async def take_many(
    c: "Connection", numbers: Sequence[int], step: str, reason: str = ""
) -> list[tuple[int, Problem]]:
    """Take a step with each of `numbers` that can take it; those that can't, and why. In a transaction.

    All at once; when one is refused each half by itself, so that a bad one costs a dozen statements.
    """
    if not numbers:
        return []
    try:
        async with c.transaction():
            await _insert(c, numbers, step, reason)
    except Problem as problem:
        if len(numbers) == 1:
            return [(numbers[0], problem)]
        middle = len(numbers) // 2
        refused = await take_many(c, numbers[:middle], step, reason)
        return refused + await take_many(c, numbers[middle:], step, reason)
    return []


async def _insert(c: "Connection", numbers: Sequence[int], step: str, reason: str) -> None:
    try:
        await c.execute(
            "INSERT INTO number_steps (number_id, step, reason) SELECT unnest($1::bigint[]), $2, $3",
            numbers,
            step,
            reason,
        )
    except asyncpg.PostgresError as error:
        problem = as_problem(error)
        if problem is None:
            raise
        raise problem from None
