"""The blacklist: the same guard by API, command line, import and SQL; two persons; who withdraws."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from bureau import KEY, Bureau, bureau_of, file_number

from gateway.errors import Problem
from gateway.registry import bans
from gateway.registry.bans import Ban, NewBan
from gateway.registry.exchange import import_file

Connection = asyncpg.Connection
INSERT = """INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES ($1, $2, 'r', 'C-1')
            RETURNING id, needs_second, hits_numbers, hits_share, added_by"""


@pytest.fixture
async def bureau(database: str) -> AsyncIterator[Bureau]:
    async with bureau_of(database) as found:
        yield found


@pytest.fixture
async def sql(bureau: Bureau) -> AsyncIterator[Connection]:
    async with bureau.by_hand() as c:
        yield c


def new(number: str, is_prefix: bool = False) -> NewBan:
    return NewBan(number=number, is_prefix=is_prefix, reason="诈骗", case_reference="C-1")


async def ban(bureau: Bureau, login: str, number: str, is_prefix: bool = False) -> Ban:
    async with bureau.acting(login) as (c, actor):
        found, fresh = await bans.add(c, actor, new(number, is_prefix))
        assert fresh
        return found


async def in_force(sql: Connection) -> set[str]:
    return {row["number"] for row in await sql.fetch("SELECT number FROM blacklist_in_force")}


async def traffic(sql: Connection, number: str, count: int) -> None:
    """Attempts of yesterday."""
    await sql.execute("CREATE TABLE IF NOT EXISTS yesterday PARTITION OF traffic_minute DEFAULT")
    await sql.execute(
        """INSERT INTO traffic_minute (minute, carrier, node, protocol, channel, institution, agency, number,
                                       purpose, region, verdict, reason, count, parts)
           VALUES (date_trunc('day', now() AT TIME ZONE 'Asia/Shanghai') AT TIME ZONE 'Asia/Shanghai'
                   - interval '6 hours', 'mobile', 'n', 'cmpp', 1, '', '', $1, '', '', 'pass', '', $2, $2)""",
        number,
        count,
    )


async def test_a_number_is_banned_at_once_and_once(bureau: Bureau, sql: Connection) -> None:
    found = await ban(bureau, "r1", "0571-88886666")
    assert (found.number, found.in_force, found.added_by) == ("+8657188886666", True, "r1")
    async with bureau.acting("r2") as (c, actor):
        again, fresh = await bans.add(c, actor, new("+8657188886666"))
    assert (again.id, again.reason, fresh) == (found.id, "诈骗", False)
    for otherwise in ({"reason": "骚扰"}, {"case_reference": "C-2"}):  # which would be kept nowhere
        with pytest.raises(Problem) as refused:
            async with bureau.acting("r2") as (c, actor):
                await bans.add(c, actor, new("+8657188886666").model_copy(update=otherwise))
        assert (refused.value.code, refused.value.facts) == ("exists", {"id": found.id})
    assert await in_force(sql) == {"+8657188886666"}
    assert await bureau.acts(f"blacklist/{found.id}") == ["blacklist.add"]


@pytest.mark.parametrize(
    ("number", "is_prefix"),
    [
        *(("110", False), ("12321", False), ("1008", True), ("123", True), ("10086", True), ("100", True)),
        *(("1008611", False), ("1008611", True), ("8610086", False), ("12110571", False)),  # within one
        *(("0571-12345", False), ("+86571123", True), ("0571", True)),  # a city's line
    ],
)
async def test_protected_numbers_cannot_be_covered_by_any_hand(
    number: str, is_prefix: bool, bureau: Bureau, sql: Connection, tmp_path: Path
) -> None:
    async with bureau.acting("r1") as (c, _):
        assert (await bans.look(c, new(number, is_prefix))).protected
    with pytest.raises(Problem, match="12321 or a carrier's own") as refused:
        await ban(bureau, "r1", number, is_prefix)
    assert (refused.value.code, refused.value.field) == ("protected_number", "number")
    with pytest.raises(asyncpg.CheckViolationError, match="protected"):
        await sql.fetch(INSERT, bans.canonical(number, is_prefix), is_prefix)
    path = tmp_path / "bans.csv"
    path.write_text(f"number,is_prefix,reason,case_reference\n{number},{is_prefix},r,C-1\n", "utf-8")
    result = await import_file("blacklist", path, bureau.dsn, KEY, approve=("checker", "approver"))
    assert result.rejected == 1
    assert await in_force(sql) == set()


async def test_sql_covers_no_protected_number_that_the_other_doors_cannot_spell(sql: Connection) -> None:
    for number in ("10", "1", "+86", "+8610", "+861", "+86571", "+8657112345678", "11", "9611"):
        with pytest.raises(asyncpg.CheckViolationError):
            await sql.fetch(INSERT, number, True)


async def test_what_only_looks_like_a_protected_number_is_banned(bureau: Bureau) -> None:
    """What begins with three protected digits is another's, and so is what merely contains protected ones."""
    for number in ("1100001", "4001234567", "0571-88886666"):
        assert (await ban(bureau, "r1", number)).in_force
    for number in ("1190", "1069", "95588", "+86138", "+865718", "+85212345", "10200"):
        assert (await ban(bureau, "r1", number, is_prefix=True)).in_force


@pytest.mark.parametrize("number", ["x", "+", "1" * 40, "4e11"])
async def test_what_cannot_be_read_is_named(number: str, bureau: Bureau) -> None:
    async with bureau.acting("r1") as (c, _):
        with pytest.raises(Problem) as refused:
            await bans.look(c, new(number))
    assert (refused.value.code, refused.value.field, refused.value.value) == ("invalid", "number", number)
    assert refused.value.detail.zh
    assert refused.value.expected.en


async def test_a_prefix_that_hits_a_number_waits_for_another_person(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "BANK", extension_digits=4)
    await file_number(sql, "10690002", "FIN")
    async with bureau.acting("r1") as (c, _):
        seen = await bans.look(c, new("1069", True))
        inside = await bans.look(c, new("1069000123", True))
    assert (seen.hits_numbers, seen.needs_second) == (2, True)
    assert (inside.hits_numbers, inside.needs_second) == (1, True)
    found = await ban(bureau, "r1", "1069", True)
    assert (found.hits_numbers, found.needs_second, found.in_force) == (2, True, False)
    assert await in_force(sql) == set()
    for login in ("r1", "r1b"):  # another login of the same person is the same person
        with pytest.raises(Problem, match="another person") as refused:
            async with bureau.acting(login) as (c, actor):
                await bans.confirm(c, actor, found.id)
        assert refused.value.code == "same_person"
    async with bureau.acting("r2") as (c, actor):
        confirmed = await bans.confirm(c, actor, found.id)
    assert (confirmed.in_force, confirmed.confirmed_by) == (True, "r2")
    assert await in_force(sql) == {"1069"}
    with pytest.raises(Problem) as refused:
        async with bureau.acting("r3") as (c, actor):
            await bans.confirm(c, actor, found.id)
    assert refused.value.code == "wrong_state"


@pytest.mark.parametrize(("others", "waits"), [(999, False), (998, True)])
async def test_a_prefix_that_hits_over_a_thousandth_of_yesterday_waits(
    others: int, waits: bool, bureau: Bureau, sql: Connection
) -> None:
    """One attempt in 1,000 is 0.1 % and not more than that; one in 999 is."""
    await traffic(sql, "10670001", 1)
    await traffic(sql, "10680001", others)
    async with bureau.acting("r1") as (c, _):
        seen = await bans.look(c, new("1067", True))
    assert seen.hits_share == pytest.approx(1 / (others + 1))
    found = await ban(bureau, "r1", "1067", True)
    assert (found.hits_numbers, found.hits_share, found.needs_second) == (0, seen.hits_share, waits)
    assert seen.needs_second == waits
    assert found.in_force != waits


async def test_sql_and_imports_meet_the_same_guard(bureau: Bureau, sql: Connection, tmp_path: Path) -> None:
    await file_number(sql, "10690001", "BANK", extension_digits=4)
    row = await sql.fetchrow(INSERT, "1069", True)
    assert row is not None
    assert (row["needs_second"], row["hits_numbers"]) == (True, 1)
    path = tmp_path / "bans.csv"
    path.write_text("number,is_prefix,reason,case_reference\n10690,true,r,C-1\n10670009,,r,C-1\n", "utf-8")
    assert (await import_file("blacklist", path, bureau.dsn, KEY)).accepted == 2
    assert await in_force(sql) == {"10670009"}  # the prefix waits
    for statement in (
        "UPDATE blacklist SET confirmed_by = 'x', confirmed_at = now(), confirmed_person = 1",
        "UPDATE blacklist SET needs_second = false",
        "UPDATE blacklist SET removal_proposed_by = 'x', removal_proposed_at = now(), removal_reason = 'x'",
        "UPDATE blacklist SET removed_by = 'x', removed_at = now()",
        "UPDATE blacklist SET number = '10660000', is_prefix = false",
        "UPDATE blacklist SET added_at = now() - interval '1 day'",
        "DELETE FROM blacklist",
        "TRUNCATE blacklist",
    ):
        for role in ("origin", "replica"):
            await sql.execute(f"SET session_replication_role = {role}")
            with pytest.raises(asyncpg.PostgresError):
                await sql.execute(statement)
    await sql.execute("RESET session_replication_role")
    assert await in_force(sql) == {"10670009"}


async def test_an_operator_s_prefix_waits_for_two_regulators(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "BANK")
    found, fresh = await bans.add(sql, None, new("1069", True))
    assert (fresh, found.added_by, found.in_force) == (True, "operator", False)
    for login in ("r1", "r2"):
        async with bureau.acting(login) as (c, actor):
            assert (await bans.confirm(c, actor, found.id)).in_force == (login == "r2")
    assert await bureau.acts("blacklist") == ["sql.insert"]


async def test_an_entry_leaves_by_two_persons(bureau: Bureau, sql: Connection) -> None:
    found = await ban(bureau, "r1", "10690001")
    with pytest.raises(Problem) as refused:
        async with bureau.acting("r2") as (c, actor):
            await bans.confirm_removal(c, actor, found.id)
    assert refused.value.code == "wrong_state"
    with pytest.raises(Problem) as refused:
        async with bureau.acting("r2") as (c, actor):
            await bans.propose_removal(c, actor, found.id, " ")
    assert refused.value.field == "reason"
    async with bureau.acting("r1") as (c, actor):  # the author is one of the two, even within half an hour
        assert (await bans.propose_removal(c, actor, found.id, "误列")).in_force
    for login, code in (("r1", "same_person"), ("r1b", "same_person"), ("r3", "wrong_state")):
        with pytest.raises(Problem) as refused:
            async with bureau.acting(login) as (c, actor):
                await (
                    bans.confirm(c, actor, found.id)
                    if code == "same_person"
                    else bans.propose_removal(c, actor, found.id, "again")
                )
        assert refused.value.code == code
    assert await in_force(sql) == {"10690001"}
    async with bureau.acting("r2") as (c, actor):
        gone = await bans.confirm(c, actor, found.id)
    assert (gone.removed_by, gone.in_force) == ("r2", False)
    assert await in_force(sql) == set()
    assert await bureau.acts(f"blacklist/{found.id}") == [
        "blacklist.add",
        "blacklist.propose_removal",
        "blacklist.confirm_removal",
    ]
    fresh = await ban(bureau, "r1", "10690001")
    assert fresh.id != found.id


@pytest.mark.parametrize(
    ("age", "withdrawn"), [("29 minutes 58 seconds", True), ("30 minutes 1 second", False)]
)
async def test_its_author_withdraws_an_entry_within_half_an_hour(
    age: str, withdrawn: bool, bureau: Bureau, sql: Connection
) -> None:
    found = await ban(bureau, "r1", "10690001")
    await sql.execute("ALTER TABLE blacklist DISABLE TRIGGER blacklist_guarded")
    await sql.execute(f"UPDATE blacklist SET added_at = now() - interval '{age}'")
    await sql.execute("ALTER TABLE blacklist ENABLE ALWAYS TRIGGER blacklist_guarded")
    for login in ("r2", "r1"):
        if login == "r1" and withdrawn:
            async with bureau.acting(login) as (c, actor):
                assert not (await bans.withdraw(c, actor, found.id)).in_force
            break
        with pytest.raises(Problem) as refused:
            async with bureau.acting(login) as (c, actor):
                await bans.withdraw(c, actor, found.id)
        assert refused.value.code == "entry_kept"
    assert await in_force(sql) == (set() if withdrawn else {"10690001"})


async def test_others_see_what_is_in_force_and_change_nothing(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "BANK")
    await ban(bureau, "r1", "1069", True)
    plain = await ban(bureau, "r1", "10670001")
    for login in ("bank", "agent", "shop", "c1"):
        async with bureau.acting(login) as (c, _):
            assert [one.id for one in await bans.page(c)] == [plain.id]
        with pytest.raises(Problem):
            async with bureau.acting(login) as (c, actor):
                await bans.add(c, actor, new("10670002"))
        with pytest.raises(Problem):
            async with bureau.acting(login) as (c, actor):
                await bans.propose_removal(c, actor, plain.id, "please")
    async with bureau.acting("audit") as (c, _):
        assert len(await bans.page(c)) == 2
    assert await in_force(sql) == {"10670001"}


async def test_pages_go_on_where_the_last_one_ended(bureau: Bureau) -> None:
    numbers = [f"1067000{n}" for n in range(7)]
    for number in numbers:
        await ban(bureau, "r1", number)
    seen: list[Ban] = []
    async with bureau.acting("r2") as (c, _):
        while page := await bans.page(c, after=seen[-1].id if seen else 0, limit=3):
            seen += page
        assert [one.number for one in seen] == numbers
        assert [one.number for one in await bans.page(c, number="10670003")] == ["10670003"]
