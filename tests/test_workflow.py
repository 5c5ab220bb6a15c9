"""The table of steps: in code, in the database, in the README, and against a model of itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cast import Cast, cast_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.registry import filings, workflow
from gateway.registry.filings import NewFiling

PERSON = {"checker": "甲", "checker.again": "甲", "approver": "乙"}
LOGINS = ["bank", "other", "agency", "checker", "checker.again", "approver", "nameless", "unicom",
          "regulator", "ningbo"]  # fmt: skip
ROLE = {"bank": "institution", "checker": "carrier", "checker.again": "carrier", "approver": "carrier",
        "nameless": "carrier", "regulator": "regulator"}  # fmt: skip


@pytest.fixture
async def cast(database: str) -> AsyncIterator[Cast]:
    async with cast_of(database) as made:
        yield made


async def test_database_has_the_same_table(cast: Cast) -> None:
    async with cast.door.owner() as c:
        rows = await c.fetch("SELECT step, from_status, to_status, role, reasons, four_eyes"
                             "  FROM number_transitions")  # fmt: skip
    assert {tuple(row) for row in rows} == {
        (step.name, source, step.target, step.role, step.reasons, step.four_eyes)
        for step in workflow.STEPS
        for source in step.sources
    }


def test_every_state_is_reached_and_every_end_is_an_end() -> None:
    assert {step.target for step in workflow.STEPS} | {"draft"} == set(workflow.STATES)
    assert workflow.diagram().endswith("revoked --> [*]\n    withdrawn --> [*]")


def wanted(status: str, checked_by: str, login: str, name: str, reason: str) -> str:
    """What the model says that a step ends with: the new state, or the problem's code."""
    role = ROLE.get(login)
    if role is None or (role == "carrier" and status == "draft"):
        return "not_found"
    step = next((one for one in workflow.STEPS if one.name == name), None)
    assert step is not None
    if step.role != role or status not in step.sources:
        return "wrong_state"
    if step.reasons and not reason:
        return "invalid"
    if name in ("check", "approve") and login == "nameless":
        return "no_identity"
    if step.four_eyes and PERSON[checked_by] == PERSON[login]:
        return "same_person"
    return step.target


ACTS = st.lists(
    st.tuples(
        st.sampled_from(LOGINS), st.sampled_from([step.name for step in workflow.STEPS]),
        st.sampled_from(["", "理由"]),
    ),
    max_size=14,
)  # fmt: skip
LIFE = [("bank", "submit", ""), ("checker", "check", ""), ("approver", "approve", "")]


async def test_only_the_tables_moves_happen(cast: Cast) -> None:
    numbers = iter(range(10**6))
    loop = asyncio.get_running_loop()

    async def live(acts: list[tuple[str, str, str]]) -> None:
        async with cast.acting("bank") as (c, actor):
            new = NewFiling(
                number=f"10690{next(numbers):06}", channels=["sms"], purposes=["service"], carrier="mobile"
            )
            identity = (await filings.create(c, actor, new)).id
        status, checked_by = "draft", ""
        for login, name, reason in acts:
            expected = wanted(status, checked_by, login, name, reason)
            async with cast.acting(login) as (c, actor):
                refused = await filings.step(c, actor, [identity], name, reason)
            if expected in workflow.STATES:
                assert refused == []
                status = expected
                checked_by = login if name == "check" else checked_by
            else:
                assert [problem.code for _, problem in refused] == [expected], (status, login, name)
            async with cast.acting("bank") as (c, _):
                assert (await filings.get(c, identity)).status == status

    @settings(
        max_examples=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )
    @given(ACTS, st.integers(0, 3), st.randoms(use_true_random=False))
    def lives(acts: list[tuple[str, str, str]], lived: int, chance: random.Random) -> None:
        mixed = LIFE[:lived]  # so that the later states are reached often
        for act in acts:
            mixed.insert(chance.randint(0, len(mixed)), act)
        asyncio.run_coroutine_threadsafe(live(mixed), loop).result(60)

    await asyncio.to_thread(lives)


def test_diagram_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert workflow.diagram() in readme
