"""The life of a filing, by the functions that API and command line call, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from cast import Cast, cast_of
from pydantic import ValidationError

from gateway.errors import Problem
from gateway.registry import filings, holds
from gateway.registry.filings import FilingChange, FilingFilter, NewFiling
from gateway.registry.shown import Filing

DRAFT = {"number": "10690001", "extension_digits": 4, "channels": ["sms"], "purposes": ["marketing"],
         "signatures": ["【示例银行】"], "carrier": "mobile"}  # fmt: skip


@pytest.fixture
async def cast(database: str) -> AsyncIterator[Cast]:
    async with cast_of(database) as made:
        yield made


async def draft(cast: Cast, login: str = "bank", **changes: Any) -> Filing:
    async with cast.acting(login) as (c, actor):
        return await filings.create(c, actor, NewFiling.model_validate(DRAFT | changes))


async def step(cast: Cast, login: str, name: str, *ids: int, reason: str = "") -> list[tuple[int, str]]:
    async with cast.acting(login) as (c, actor):
        refused = await filings.step(c, actor, ids, name, reason)
        return [(one, problem.code) for one, problem in refused]


async def approved(cast: Cast, **changes: Any) -> Filing:
    made = await draft(cast, **changes)
    for login, name in (("bank", "submit"), ("checker", "check"), ("approver", "approve")):
        assert await step(cast, login, name, made.id) == []
    return await seen(cast, "bank", made.id)


async def seen(cast: Cast, login: str, identity: int) -> Filing:
    async with cast.acting(login) as (c, _):
        return await filings.get(c, identity)


async def refused(cast: Cast, login: str, call: Any, *arguments: Any) -> str:
    """The code of the problem that a call by this user ends with."""
    with pytest.raises(Problem) as caught:
        async with cast.acting(login) as (c, actor):
            await call(c, actor, *arguments)
    return caught.value.code


async def test_filing_takes_effect_by_two_persons(cast: Cast) -> None:
    made = await draft(cast)
    assert (made.status, made.standing, made.institution, made.signatures) == (
        "draft", "draft", "BANK", ["示例银行"],
    )  # fmt: skip
    assert await step(cast, "checker", "check", made.id) == [(made.id, "not_found")]  # drafts are the bank's
    assert await step(cast, "bank", "submit", made.id) == []
    assert await step(cast, "bank", "check", made.id) == [(made.id, "wrong_state")]
    async with cast.acting("checker") as (c, actor):
        [(_, problem)] = await filings.step(c, actor, [made.id], "approve")
    assert (problem.code, problem.field, problem.value, problem.expected.en) == (
        "wrong_state", "status", "submitted", "checked",
    )  # fmt: skip
    assert await step(cast, "unicom", "check", made.id) == [(made.id, "not_found")]
    assert await step(cast, "nameless", "check", made.id) == [(made.id, "no_identity")]
    assert await step(cast, "checker", "check", made.id) == []
    assert await step(cast, "checker", "approve", made.id) == [(made.id, "same_person")]
    assert await step(cast, "checker.again", "approve", made.id) == [(made.id, "same_person")]
    assert await step(cast, "approver", "approve", made.id) == []
    now = await seen(cast, "bank", made.id)
    assert (now.status, now.standing, now.checked_by, now.approved_by) == (
        "approved", "effective", "checker", "approver",
    )  # fmt: skip
    async with cast.acting("bank") as (c, _):
        taken = await filings.steps(c, made.id, 0, 10)
    assert [(one.step, one.role, one.by) for one in taken] == [
        ("submit", "institution", "bank"), ("check", "carrier", None), ("approve", "carrier", None),
    ]  # fmt: skip


async def test_return_needs_reasons_and_shows_them(cast: Cast) -> None:
    made = await draft(cast)
    await step(cast, "bank", "submit", made.id)
    assert await step(cast, "checker", "return", made.id) == [(made.id, "invalid")]
    assert await step(cast, "checker", "return", made.id, reason="缺授权书") == []
    back = await seen(cast, "bank", made.id)
    assert (back.status, back.returned_reason) == ("returned", "缺授权书")
    async with cast.acting("bank") as (c, actor):
        changed = await filings.change(c, actor, back, FilingChange(purposes=["collection"]))
    assert (changed.purposes, changed.channels, changed.extension_digits) == (["collection"], ["sms"], 4)
    assert await step(cast, "bank", "submit", made.id) == []
    assert (await seen(cast, "bank", made.id)).returned_reason == ""


async def test_foreign_id_is_a_missing_id(cast: Cast) -> None:
    made = await approved(cast)
    for login in ("other", "unicom", "ningbo"):
        assert await step(cast, login, "withdraw", made.id, 10**9) == [
            (made.id, "not_found"), (10**9, "not_found"),
        ]  # fmt: skip
        with pytest.raises(Problem) as caught:
            await seen(cast, login, made.id)
        assert caught.value.code == "not_found"
    assert (await seen(cast, "auditor", made.id)).number == "10690001"


async def test_overlap_says_already_filed_and_no_more(cast: Cast) -> None:
    await approved(cast)
    theirs = await draft(cast, "other", number="106900012", extension_digits=1)
    async with cast.acting("other") as (c, actor):
        ((identity, problem),) = await filings.step(c, actor, [theirs.id], "submit")
    assert (identity, problem.code) == (theirs.id, "already_filed")
    assert "BANK" not in str(problem)
    assert "10690001" not in str(problem).replace("106900012", "")
    own = await draft(cast, number="106900012", extension_digits=1)
    assert await step(cast, "bank", "submit", own.id) == []  # one holder may nest its own


async def test_five_thousand_in_one_morning(cast: Cast) -> None:
    ids = []
    async with cast.acting("bank") as (c, actor):
        for tail in range(60):
            new = NewFiling.model_validate(DRAFT | {"number": f"1069002{tail:03}", "extension_digits": 0})
            ids.append((await filings.create(c, actor, new)).id)
    foreign = await draft(cast, "other", number="10690099")
    assert await step(cast, "bank", "submit", *ids, foreign.id, ids[0]) == [(foreign.id, "not_found")]
    await step(cast, "bank", "withdraw", ids[7], ids[40])
    assert await step(cast, "checker", "check", *ids) == [
        (ids[7], "wrong_state"), (ids[40], "wrong_state"),
    ]  # fmt: skip
    assert len(await step(cast, "checker", "approve", *ids)) == 60
    assert len(await step(cast, "approver", "approve", *ids)) == 2
    async with cast.acting("regulator") as (c, actor):
        found = await filings.page(c, actor, 0, 100, FilingFilter(status="approved"))
        assert [one.id for one in found] == [one for one in ids if one not in (ids[7], ids[40])]
        acts = await c.fetch("SELECT act, detail FROM audit WHERE act LIKE 'number.a%'")
    assert len(acts) == 1


async def test_standing_says_why_it_does_not_stand(cast: Cast) -> None:
    made = await approved(cast, agency="AGENCY")
    assert (made.standing, made.causes) == ("effective", [])
    async with cast.acting("regulator") as (c, actor):
        first = await holds.place(c, actor, "numbers", made.id, "投诉集中", case="C-1")
        second = await holds.place(c, actor, "numbers", made.id, "核查", case="C-2")
    for login in ("bank", "agency", "checker", "auditor"):
        now = await seen(cast, login, made.id)
        assert (now.standing, now.causes, [one.id for one in now.holds]) == (
            "suspended", ["held"], [first, second],
        )  # fmt: skip
    assert await refused(cast, "regulator", holds.lift, "numbers", made.id, "done") == "invalid"
    async with cast.acting("regulator") as (c, actor):
        await holds.lift(c, actor, "numbers", made.id, "done", hold=first)
    assert (await seen(cast, "bank", made.id)).standing == "suspended"
    async with cast.acting("regulator") as (c, actor):
        await holds.lift(c, actor, "numbers", made.id, "done")
    assert (await seen(cast, "bank", made.id)).standing == "effective"
    assert await refused(cast, "regulator", holds.lift, "numbers", made.id, "done") == "wrong_state"
    async with cast.door.owner() as c:
        await c.execute("INSERT INTO holds (institution_id, cause) SELECT id, 'x' FROM institutions"
                        " WHERE code = 'AGENCY'")  # fmt: skip
        await c.execute("UPDATE institutions SET licence_until = now() WHERE code = 'BANK'")
    for login in ("bank", "agency", "checker", "auditor"):  # who doesn't see the hold sees that it counts
        now = await seen(cast, login, made.id)
        assert (now.standing, now.causes) == ("expired", ["institution_licence_lapsed", "agency_held"])
    async with cast.door.owner() as c:
        await c.execute("UPDATE mandates SET status = 'revoked'")
    assert "mandate_revoked" in (await seen(cast, "bank", made.id)).causes


async def test_amendment_stands_when_the_old_one_ends(cast: Cast) -> None:
    old = await approved(cast)
    begins = datetime.now(UTC) + timedelta(seconds=2)
    async with cast.acting("bank") as (c, actor):
        new = await filings.amend(
            c, actor, old, FilingChange(purposes=["collection"], effective_from=begins.isoformat())
        )
        assert (new.version, new.supersedes, new.status) == (2, old.id, "draft")
        assert (new.number, new.signatures, new.extension_digits) == (old.number, old.signatures, 4)
    assert await refused(cast, "bank", filings.amend, old, FilingChange()) == "exists"
    assert await refused(cast, "bank", filings.change, old, FilingChange()) == "wrong_state"
    for login, name in (("bank", "submit"), ("checker", "check"), ("approver", "approve")):
        assert await step(cast, login, name, new.id) == []
        both = [await seen(cast, "bank", one.id) for one in (old, new)]
        assert both[0].standing == "effective"
    assert both[1].standing == "not_yet"
    await asyncio.sleep((begins - datetime.now(UTC)).total_seconds() + 0.01)
    both = [await seen(cast, "bank", one.id) for one in (old, new)]
    assert [one.standing for one in both] == ["expired", "effective"]
    assert both[0].effective_until == both[1].effective_from


async def test_veto_and_revocation_end_a_filing(cast: Cast) -> None:
    made = await draft(cast)
    await step(cast, "bank", "submit", made.id)
    assert await step(cast, "regulator", "veto", made.id) == [(made.id, "invalid")]
    assert await step(cast, "regulator", "veto", made.id, reason="名称不符") == []
    assert (await seen(cast, "bank", made.id)).standing == "revoked"
    again = await approved(cast)
    assert await step(cast, "regulator", "revoke", again.id, reason="处罚") == []
    assert await step(cast, "bank", "withdraw", again.id) == [(again.id, "wrong_state")]


async def test_agency_drafts_for_whom_it_has_a_mandate(cast: Cast) -> None:
    made = await draft(cast, "agency", institution="BANK")
    assert (made.institution, made.agency) == ("BANK", "AGENCY")
    assert await step(cast, "agency", "submit", made.id) != []
    assert await step(cast, "bank", "submit", made.id) == []
    for code in ("OTHER", "NOBODY", None):
        with pytest.raises(Problem) as caught:
            await draft(cast, "agency", institution=code, number="10690005")
        assert (caught.value.code, caught.value.field) == ("invalid", "institution")
    with pytest.raises(Problem):
        await draft(cast, "bank", institution="OTHER")


async def test_page_follows_ids_while_rows_come_in(cast: Cast) -> None:
    mine = [(await draft(cast, number=f"1069003{tail}", carrier=carrier)).id
            for tail, carrier in enumerate(["mobile", None, "unicom", None, "mobile"])]  # fmt: skip
    for login, expected in (("bank", mine), ("checker", [mine[0], mine[1], mine[3], mine[4]])):
        if login == "checker":
            await step(cast, "bank", "submit", *mine)
        found: list[int] = []
        while True:
            async with cast.acting(login) as (c, actor):
                rows = await filings.page(c, actor, found[-1] if found else 0, 2)
            if not rows:
                break
            found += [row.id for row in rows]
        assert found == expected
    async with cast.acting("bank") as (c, actor):
        (one,) = await filings.page(c, actor, 0, 9, FilingFilter(number="10690031"))
    assert one.id == mine[1]


async def test_documents_where_they_are_demanded(cast: Cast) -> None:
    bare = await draft(cast)
    proved = await draft(cast, number="10690006", document_sha256="ab" * 32)
    made_up = await draft(cast, number="10690007", document_sha256="cd" * 32)
    async with cast.door.owner() as c:
        await c.execute(
            "INSERT INTO documents (sha256, media_type, size) VALUES ($1, 'application/pdf', 1)",
            bytes.fromhex("ab" * 32),
        )
    async with cast.acting("bank") as (c, actor):
        wanted = [bare.id, proved.id, made_up.id]
        refused = await filings.step(c, actor, wanted, "submit", documents=True)
    missing = [(bare.id, "document_sha256"), (made_up.id, "document_sha256")]
    assert [(one, problem.field) for one, problem in refused] == missing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "nonsense"),
        ("number", "1069" * 6),
        ("number", 1069),
        ("channels", []),
        ("channels", ["pigeon"]),
        ("purposes", None),
        ("extension_digits", 13),
        ("signatures", ["【】"]),
        ("effective_from", "yesterday"),
        ("document_sha256", "ab"),
        ("colour", "red"),
    ],
)
def test_bad_field_is_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        NewFiling.model_validate(DRAFT | {field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


async def test_statement_by_hand_lets_nobody_through(cast: Cast) -> None:
    made = await draft(cast)
    await step(cast, "bank", "submit", made.id)
    async with cast.door.owner() as c:
        with pytest.raises(asyncpg.CheckViolationError, match="workflow"):
            await c.execute("UPDATE numbers SET status = 'approved', checked_by = 'x', approved_by = 'y',"
                            " approved_at = now()")  # fmt: skip
