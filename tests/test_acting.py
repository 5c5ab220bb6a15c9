"""A connection works for one actor at a time, whatever breaks off."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest
from offices import actor, staffed

from gateway.errors import Problem, UsageError
from gateway.registry import acting, sessions, turns
from gateway.registry.acting import Actor, Door, actor_of, as_problem, record
from gateway.registry.primary import is_here

WHO = "SELECT current_user::text, my_user(), my_institution(), my_carrier(), my_territory(), pg_backend_pid()"


@pytest.fixture
async def c(database: str) -> AsyncIterator[asyncpg.Connection]:
    await staffed(database)
    connection = await asyncpg.connect(database, server_settings={"zhengming.door": "cli"})
    yield connection
    await connection.close()


@pytest.fixture
async def door(database: str, c: asyncpg.Connection) -> AsyncIterator[Door]:
    """With one connection for each role, so that all actors of a role share it."""
    opened = await Door.open(database, size=1)
    yield opened
    await opened.close()


async def test_one_connection_of_a_role_serves_each_as_himself(door: Door, c: asyncpg.Connection) -> None:
    bank, bank2, carrier, city = [await actor(c, login) for login in ("bank", "bank2", "car", "regcity")]
    pids: dict[str, set[int]] = {}
    for who, expected in (
        (bank, ("zhengming_institution", bank.user, bank.institution, None, "")),
        (carrier, ("zhengming_carrier", carrier.user, None, "mobile", "")),
        (carrier, ("zhengming_carrier", carrier.user, None, "mobile", "")),
        (bank2, ("zhengming_institution", bank2.user, bank2.institution, None, "")),
        (city, ("zhengming_regulator", city.user, None, None, "浙江省宁波市")),
        (bank, ("zhengming_institution", bank.user, bank.institution, None, "")),
    ):
        async with door.acting(who) as connection:
            *said, pid = await connection.fetchrow(WHO)
        assert tuple(said) == expected
        pids.setdefault(who.role, set()).add(pid)
    async with door.owner() as connection:
        name, user, *_ = await connection.fetchrow(WHO)
    assert (name, user) == ("postgres", None)
    assert [len(found) for found in pids.values()] == [1, 1, 1]
    assert len(set.union(*pids.values())) == 3


async def test_a_read_of_the_same_actor_is_one_round_trip(door: Door, c: asyncpg.Connection) -> None:
    bank = await actor(c, "bank")
    asked: list[str] = []
    async with door.acting(bank) as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
        await connection.fetchval("SELECT 1")
    async with door.acting(bank) as connection:
        await connection.fetchval("SELECT 2")
    await asyncio.sleep(0)  # loggers are called by the loop
    assert [query for query in asked if "SELECT" in query] == ["SELECT 1", "SELECT 2"]
    async with door.acting(await actor(c, "bank2")) as connection:
        await connection.fetchval("SELECT 3")
    await asyncio.sleep(0)
    assert len([query for query in asked if "set_config" in query]) == 1


async def test_a_short_read_gives_its_turn_back_however_it_ends(
    door: Door, c: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SLOW_SECONDS", 3600.0)
    bank = await actor(c, "bank")
    many = max(2, len(os.sched_getaffinity(0))) + 1
    for _ in range(many):
        with pytest.raises(ZeroDivisionError):
            async with door.acting(bank, short=True):
                raise ZeroDivisionError
    async with door.acting(bank):  # the only connection of the role
        monkeypatch.setattr(sessions, "TIMEOUT_SECONDS", 0.01)
        for _ in range(many):
            with pytest.raises(Problem) as told:
                async with door.acting(bank, short=True):
                    pass
            assert told.value.code == "busy"
    async with door.acting(bank, seconds=5, short=True) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_switch_that_breaks_off_ends_the_connection(
    door: Door, c: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between the server's taking on the role and our hearing of it."""
    bank, bank2 = await actor(c, "bank"), await actor(c, "bank2")
    async with door.acting(bank) as connection:
        first = await connection.fetchval("SELECT pg_backend_pid()")

    monkeypatch.setattr(acting, "_SWITCH", acting._SWITCH + ", pg_sleep(30)")

    async def serve() -> None:
        async with door.acting(bank2):
            raise AssertionError("served by a connection that was not switched")

    task = asyncio.create_task(serve())
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'"
    while not await c.fetchval(asleep, first):  # noqa: ASYNC110  # it happens in the server
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    async with door.acting(bank) as connection:
        name, user, *_, pid = await connection.fetchrow(WHO)
    assert (name, user) == ("zhengming_institution", bank.user)
    assert pid != first


async def test_connections_are_bounded_over_all_roles(
    database: str, c: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However roles take turns; and one at the bound still gets the gateway's own connection."""
    monkeypatch.setattr(sessions, "MOST", 3)
    opened = await Door.open(database, size=2)
    people = [await actor(c, login) for login in ("bank", "car", "reg", "agent", "aud")]
    mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'zhengming web' AND datname = $1"
    name = await c.fetchval("SELECT current_database()")
    most, served = 0, 0

    async def work(who: Actor) -> None:
        nonlocal most, served
        async with opened.acting(who) as connection, opened.owner():
            _, user, *_ = await connection.fetchrow(WHO)
            assert user == who.user
            most, served = max(most, len(opened._sessions._open)), served + 1

    try:
        for round_ in range(4):
            await asyncio.gather(*(work(who) for who in people[round_:] + people * 4))
        assert served == 4 * 20 + 5 + 4 + 3 + 2
        assert 3 < most <= 3 + 2, most
        while await c.fetchval(mine, name) > 3 + 2:  # noqa: ASYNC110 (PostgreSQL ends a session a moment later)
            await asyncio.sleep(0.01)
        async with contextlib.AsyncExitStack() as stack:
            for who in people[:3]:
                await stack.enter_async_context(opened.acting(who))
            monkeypatch.setattr(sessions, "TIMEOUT_SECONDS", 0.01)
            with pytest.raises(Problem) as caught:
                await stack.enter_async_context(opened.acting(people[3]))
            assert caught.value.code == "busy"
    finally:
        await opened.close()


async def test_an_idle_connection_is_closed(
    door: Door, c: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "IDLE_SECONDS", 0.01)
    bank = await actor(c, "bank")
    async with door.acting(bank) as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    while await c.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    async with door.acting(bank) as connection:
        assert await connection.fetchval("SELECT pg_backend_pid()") != pid


async def test_what_is_left_open_is_rolled_back_before_the_next(door: Door, c: asyncpg.Connection) -> None:
    regulator, other = await actor(c, "reg"), await actor(c, "reg2")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with door.acting(regulator) as connection, connection.transaction():
            await connection.execute("UPDATE institutions SET name = 'x'")
            raise ZeroDivisionError
    async with door.acting(other) as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SELECT count(*) FROM institutions WHERE name = 'x'") == 0


async def test_a_role_set_in_a_transaction_that_rolls_back_is_noticed(
    door: Door, c: asyncpg.Connection
) -> None:
    """The switch stands outside the transactions of whoever is served, so no rollback undoes it."""
    bank, bank2 = await actor(c, "bank"), await actor(c, "bank2")
    async with door.acting(bank):
        pass
    with pytest.raises(asyncpg.PostgresError):
        async with door.acting(bank2) as connection, connection.transaction():
            await connection.execute("SELECT 1 / 0")
    async with door.acting(bank2) as connection:
        name, user, *_ = await connection.fetchrow(WHO)
    assert (name, user) == ("zhengming_institution", bank2.user)


async def test_a_database_that_goes_and_comes_back(door: Door, c: asyncpg.Connection) -> None:
    bank = await actor(c, "bank")
    async with door.acting(bank) as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(Problem) as caught:  # noqa: PT012
        async with door.acting(bank) as connection:
            await c.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
            await connection.fetchval("SELECT 1")
    assert caught.value.code == "database_unavailable"
    async with door.acting(bank) as connection:
        assert await connection.fetchval("SELECT my_user()") == bank.user
    nowhere = await Door.open("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Problem) as caught:
        async with nowhere.owner():
            pass
    assert caught.value.code == "database_unavailable"


async def test_an_actor_is_an_active_user(c: asyncpg.Connection) -> None:
    who = await actor_of(c, "agent")
    assert (who.role, who.institution_code, who.door) == ("agency", "G", "cli")
    await c.execute("UPDATE users SET status = 'disabled' WHERE login = 'agent'")
    with pytest.raises(UsageError, match="right would be one of: reg, reg2"):
        await actor_of(c, "agent")


async def test_an_act_is_recorded_under_its_actor_alone(door: Door, c: asyncpg.Connection) -> None:
    bank = await actor(c, "bank")
    async with door.acting(bank) as connection:
        await record(connection, bank, "number.submit", "numbers/1", reason="r", count=2)
    row = await c.fetchrow("SELECT * FROM audit ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert (row["user_id"], row["person_id"], row["door"], row["reason"]) == (
        bank.user,
        bank.person,
        "api",
        "r",
    )
    forged = Actor(bank.user + 1, "x", 1, "institution")
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as caught:
        async with door.acting(bank) as connection:
            await record(connection, forged, "number.submit")
    problem = as_problem(caught.value)
    assert problem is not None
    assert problem.code == "forbidden"


async def test_no_detail_of_another_s_row_is_passed_on(c: asyncpg.Connection) -> None:
    insert = """INSERT INTO numbers (number, channels, purposes, institution_id, status)
                VALUES ('10690001', 1, 1, $1, 'submitted')"""
    await c.execute(insert, 1)
    with pytest.raises(asyncpg.ExclusionViolationError) as caught:
        await c.execute(insert, 2)
    assert "10690001" in str(caught.value.detail)
    problem = as_problem(caught.value)
    assert problem is not None
    assert problem.code == "already_filed"
    assert "10690001" not in str(problem) + repr(problem.facts)


@pytest.mark.parametrize(
    ("dsn", "here"),
    [
        ("postgresql://postgres@/zhengming?host=/srv/data", True),
        ("postgresql:///zhengming", True),
        ("postgresql://gateway@localhost/zhengming", True),
        ("postgresql://gateway@[::1]:5433/zhengming", True),
        ("host=/run/postgresql dbname=zhengming", True),
        ("postgresql://gateway@db1.example/zhengming", False),
        ("postgresql://gateway@localhost:5432,db2.example:5432/zhengming", False),
    ],
)
def test_a_server_is_here_by_a_socket_or_the_loopback(dsn: str, here: bool) -> None:
    assert is_here(dsn) is here
