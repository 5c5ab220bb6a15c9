"""An amendment as a node judges it: the old version by the replica until the new one's hour, and no way round
a regulator."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import any_hour
import asyncpg
import pytest
from bureau import file_number
from cast import Cast, cast_of
from test_feed import KEY, SMALL, following, until
from test_filings import approved, seen, step

from gateway.model import SMS, AccountKey, Attempt, Reason, Verdict
from gateway.policy.judge import decide
from gateway.policy.profile_text import parse_profile
from gateway.registry import filings
from gateway.registry.filings import FilingChange
from gateway.registry.replica import Replica
from gateway.registry.shown import Filing

PROFILE = parse_profile(any_hour.read, any_hour.NAME)
ATTEMPT = Attempt(
    AccountKey("mobile", "cmpp", "900001"), SMS, "106900011", "+8613800000001", "【示例银行】拒收请回复R"
)
HOUR = timedelta(hours=1)


class Node:
    """A replica that follows the registry, and what is judged by it."""

    def __init__(self, cast: Cast, replica: Replica) -> None:
        self.cast = cast
        self._replica = replica

    async def judges(self, after: timedelta = timedelta()) -> Verdict:
        """The verdict on ATTEMPT so long from now, by all that is in the registry."""
        async with self.cast.door.owner() as c:
            newest = await c.fetchval(  # what nodes do follow, after all the rest
                "UPDATE accounts SET max_connections = max_connections + 1 RETURNING row_version"
            )
        view = self._replica.snapshot()
        await until(lambda: view.renew() or view.version >= newest)
        now = datetime.now(UTC) + after
        [verdict] = decide([ATTEMPT], view, PROFILE, int(now.timestamp() * 1000))
        return verdict

    async def says(self, after: timedelta = timedelta()) -> tuple[str, str]:
        """(purpose, reason): the purpose tells the versions apart."""
        verdict = await self.judges(after)
        return verdict.purpose, verdict.reason.value if verdict.reason else ""


@pytest.fixture
async def node(database: str, tmp_path: Path) -> AsyncIterator[Node]:
    async with cast_of(database) as cast:
        async with cast.door.owner() as c:
            await c.execute("UPDATE registry_keys SET fingerprint = $1", KEY.fingerprint)
            await c.execute(
                """INSERT INTO accounts (carrier, protocol, account, holder_id, scope)
                   SELECT 'mobile', 'cmpp', '900001', id, 'financial' FROM institutions WHERE code = 'BANK'"""
            )
        replica = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=SMALL)
        try:
            async with following(database, replica):
                yield Node(cast, replica)
        finally:
            replica.close()


async def amended(cast: Cast, old: Filing, begins: datetime | None = None) -> Filing:
    """A version for collection, as a draft."""
    change = FilingChange(purposes=["collection"], effective_from=begins.isoformat() if begins else None)
    async with cast.acting("bank") as (c, actor):
        return await filings.amend(c, actor, old, change)


OLD, NEW, HELD = ("marketing", ""), ("collection", ""), Reason.NOT_EFFECTIVE.value


async def test_the_old_version_governs_until_the_new_ones_hour(node: Node) -> None:
    cast = node.cast
    old = await approved(cast)
    assert await node.says() == OLD
    new = await amended(cast, old, datetime.now(UTC) + HOUR)
    assert [await node.says(), await node.says(2 * HOUR)] == [OLD, OLD]  # filed is nothing
    for login, name in (("bank", "submit"), ("checker", "check")):
        assert await step(cast, login, name, new.id) == []
        assert [await node.says(), await node.says(2 * HOUR)] == [OLD, OLD]
    assert await step(cast, "approver", "approve", new.id) == []
    assert [await node.says(), await node.says(2 * HOUR)] == [OLD, NEW]


async def approve(cast: Cast, old: Filing, begins: datetime) -> Filing:
    new = await amended(cast, old, begins)
    for login, name in (("bank", "submit"), ("checker", "check"), ("approver", "approve")):
        assert await step(cast, login, name, new.id) == []
    return new


@pytest.mark.parametrize(("login", "ends"), [("bank", "withdraw"), ("regulator", "revoke")])
async def test_an_amendment_that_ends_before_its_hour_leaves_the_old_version(
    node: Node, login: str, ends: str
) -> None:
    cast = node.cast
    end = datetime.now(UTC).replace(microsecond=0) + 9 * HOUR
    old = await approved(cast, effective_until=end.isoformat())
    second = await approve(cast, old, datetime.now(UTC) + 2 * HOUR)
    third = await approve(cast, await seen(cast, "bank", second.id), datetime.now(UTC) + HOUR)
    # an earlier hour takes the place of the later one, and ends what stood before it
    assert (await seen(cast, "bank", second.id)).status == "withdrawn"
    assert (await seen(cast, "bank", old.id)).effective_until == third.effective_from
    assert [await node.says(), await node.says(1.5 * HOUR)] == [OLD, NEW]
    assert await step(cast, login, ends, third.id, reason="误办") == []
    assert (await seen(cast, "bank", old.id)).effective_until == end
    assert [await node.says(), await node.says(8 * HOUR)] == [OLD, OLD]
    assert (await node.says(10 * HOUR))[1] == HELD
    async with cast.door.owner() as c:  # the step gives back its own end, and no longer one
        with pytest.raises(asyncpg.CheckViolationError):
            await c.execute("UPDATE numbers SET effective_until = NULL WHERE id = $1", old.id)


async def test_what_is_revoked_is_revoked_with_the_versions_that_amend_it(node: Node) -> None:
    """The number would be back on the day on which its amendment begins."""
    cast = node.cast
    old = await approved(cast)
    second = await approve(cast, old, datetime.now(UTC) + 2 * HOUR)
    third = await approve(cast, await seen(cast, "bank", second.id), datetime.now(UTC) + HOUR)
    waits = await amended(cast, await seen(cast, "bank", third.id))
    await step(cast, "bank", "submit", waits.id)
    assert await step(cast, "regulator", "revoke", old.id, reason="冒用") == []
    versions = (old, second, third, waits)
    statuses = [(await seen(cast, "bank", one.id)).status for one in versions]
    assert statuses == ["revoked", "withdrawn", "revoked", "revoked"]
    assert [(await node.says(after))[1] for after in (timedelta(), 3 * HOUR)] == [HELD] * 2
    async with cast.door.owner() as c:
        steps = await c.fetch(
            "SELECT number_id, step, reason FROM number_steps WHERE step IN ('revoke', 'veto') ORDER BY id"
        )
    assert [tuple(row) for row in steps] == [
        (old.id, "revoke", "冒用"), (third.id, "revoke", "冒用"), (waits.id, "veto", "冒用")
    ]  # fmt: skip


async def test_an_amendment_that_has_begun_ends_for_itself(node: Node) -> None:
    cast = node.cast
    old = await approved(cast)
    new = await approve(cast, old, datetime.now(UTC))
    assert await node.says() == NEW
    assert await step(cast, "bank", "withdraw", new.id) == []
    assert (await node.says())[1] == HELD


async def test_an_amendment_that_is_sent_back_or_vetoed_changes_nothing(node: Node) -> None:
    cast = node.cast
    old = await approved(cast)
    new = await amended(cast, old)
    await step(cast, "bank", "submit", new.id)
    await step(cast, "checker", "return", new.id, reason="缺授权书")
    assert await node.says() == OLD
    await step(cast, "bank", "submit", new.id)
    await step(cast, "regulator", "veto", new.id, reason="用途不符")
    assert await node.says(2 * HOUR) == OLD


async def test_without_an_hour_it_begins_when_it_is_approved(node: Node) -> None:
    cast = node.cast
    new = await amended(cast, await approved(cast))
    for login, name in (("bank", "submit"), ("checker", "check")):
        await step(cast, login, name, new.id)
    assert await node.says() == OLD
    await step(cast, "approver", "approve", new.id)
    assert await node.says() == NEW


@pytest.mark.parametrize("held", ["before", "between"])
async def test_a_hold_is_on_every_version_until_it_is_lifted(node: Node, held: str) -> None:
    """An amendment is no way round a regulator, whether he held the number before it or before its hour."""
    cast = node.cast
    old = await approved(cast)

    async def suspend() -> None:
        async with cast.acting("regulator") as (c, actor):
            await filings.suspend(c, actor, old.id, "投诉集中")

    if held == "before":
        await suspend()
    new = await amended(cast, old, datetime.now(UTC) + HOUR)
    for login, name in (("bank", "submit"), ("checker", "check"), ("approver", "approve")):
        assert await step(cast, login, name, new.id) == []
    if held == "between":
        assert [await node.says(), await node.says(2 * HOUR)] == [OLD, NEW]
        await suspend()
    assert [(await node.says(after))[1] for after in (timedelta(), 2 * HOUR)] == [HELD, HELD]
    third = await amended(cast, await seen(cast, "bank", new.id), datetime.now(UTC) + 3 * HOUR)
    for login, name in (("bank", "submit"), ("checker", "check"), ("approver", "approve")):
        assert await step(cast, login, name, third.id) == []
    assert (await node.says(4 * HOUR))[1] == HELD
    async with cast.acting("regulator") as (c, actor):  # which version is named is the same
        await filings.resume(c, actor, new.id, "已整改")
    assert [await node.says(), await node.says(2 * HOUR)] == [OLD, NEW]
    async with cast.door.owner() as c:
        lifted = await c.fetch("SELECT lifted_by, lifted_reason FROM holds")
    assert [tuple(row) for row in lifted] == [("regulator", "已整改")] * 3


async def test_a_hold_is_on_what_its_holder_files_of_that_number_anew(node: Node) -> None:
    """Beside it or after its end, by steps or by file: withdrawing is no way round a regulator either."""
    cast = node.cast
    old = await approved(cast)
    async with cast.acting("regulator") as (c, actor):
        await filings.suspend(c, actor, old.id, "投诉集中", case="C-1")
    beside = await approved(cast, effective_from="2026-01-01")
    assert await step(cast, "bank", "withdraw", old.id, beside.id) == []
    anew = await approved(cast)
    assert (await node.says())[1] == HELD
    [hold] = (await seen(cast, "bank", anew.id)).holds
    assert (hold.cause, hold.case_reference, hold.held_by) == ("投诉集中", "C-1", "regulator")
    await approved(cast, number="10690077")
    assert await step(cast, "bank", "withdraw", anew.id) == []
    async with cast.door.owner() as c:
        await file_number(c, "10690001", "BANK", extension_digits=4)  # type: ignore[arg-type]
        ((imported,),) = await c.fetch("SELECT max(id) FROM numbers")
        held = await c.fetch(
            "SELECT n.number, count(*) FROM holds h JOIN numbers n ON n.id = number_id GROUP BY 1"
        )
    assert [tuple(row) for row in held] == [("10690001", 4)]
    assert (await node.says())[1] == HELD
    async with cast.acting("regulator") as (c, actor):
        await filings.resume(c, actor, imported, "已整改")
    assert await node.says() == NEW
    async with cast.door.owner() as c:
        assert await c.fetchval("SELECT count(*) FROM holds WHERE lifted_by IS NULL") == 0
    async with cast.acting("regulator") as (c, actor):  # lifted for good
        await filings.suspend(c, actor, imported, "再次投诉")
        await filings.resume(c, actor, imported, "已整改")
    assert await step(cast, "bank", "withdraw", imported) == []
    await approved(cast)
    assert await node.says() == OLD


async def test_a_hold_is_on_what_its_holder_files_inside_that_number(node: Node) -> None:
    """A number is itself and its further digits; whoever holds it holds those, filed before or after."""
    cast = node.cast
    wide = await approved(cast, extension_digits=2)
    before = await approved(cast, number="106900011", extension_digits=0)
    assert await node.says() == OLD
    async with cast.acting("regulator") as (c, actor):
        await filings.suspend(c, actor, wide.id, "投诉集中")
    assert (await node.says())[1] == HELD
    assert (await seen(cast, "bank", before.id)).standing == "suspended"
    assert await step(cast, "bank", "withdraw", wide.id, before.id) == []
    after = await approved(cast, number="106900011", extension_digits=0)
    longer = await approved(cast, number="10690001123", extension_digits=0)  # beyond what was held
    assert (await node.says())[1] == HELD
    standing = [(await seen(cast, "bank", one.id)).standing for one in (after, longer)]
    assert standing == ["suspended", "effective"]
    async with cast.acting("regulator") as (c, actor):
        await filings.resume(c, actor, wide.id, "已整改")
    assert await node.says() == OLD


async def test_a_hold_on_what_is_filed_inside_a_number_outlives_it(node: Node) -> None:
    """Withdrawing the narrower filing gives its digits to the wider one no more than revoking it does."""
    cast = node.cast
    narrow = await approved(cast, number="106900011", extension_digits=0)
    async with cast.acting("regulator") as (c, actor):
        await filings.suspend(c, actor, narrow.id, "投诉集中")
    assert await step(cast, "bank", "withdraw", narrow.id) == []
    wide = await approved(cast, extension_digits=2)
    assert (await seen(cast, "bank", wide.id)).standing == "effective"
    assert (await node.says())[1] == HELD
    async with cast.acting("regulator") as (c, actor):
        await filings.resume(c, actor, narrow.id, "已整改")
    assert await node.says() == OLD
