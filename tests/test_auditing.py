"""The audit: a chain that shows any change, and that keeps nobody waiting."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
from offices import actor, staffed

from gateway.registry import auditing
from gateway.registry.acting import record

CLI = {"zhengming.door": "cli"}


@pytest.fixture
async def c(database: str) -> AsyncIterator[asyncpg.Connection]:
    await staffed(database)
    connection = await asyncpg.connect(database, server_settings=CLI)
    yield connection
    await connection.close()


async def some_acts(c: asyncpg.Connection) -> int:
    """Acts with all that JSON escapes; the place of the last one."""
    regulator = await actor(c, "reg")
    await record(c, regulator, "blacklist.add", "blacklist/1", reason='引用 "\\" \n\t\x01\x7f', n=1, yes=True)
    await record(c, None, "user.list")
    await record(c, regulator, "case.open", "cases/1", text="é\u2028", inner={"b": [1.5, None], "a": "/"})
    return int(await c.fetchval("SELECT max(seq) FROM audit_chain"))


async def test_the_chain_holds_and_so_says_the_database(c: asyncpg.Connection) -> None:
    last = await some_acts(c)
    assert await auditing.verify(c) is None
    assert await c.fetchval("SELECT audit_broken()") is None
    assert await c.fetchval("SELECT array_agg(seq ORDER BY seq) FROM audit_chain") == list(range(1, last + 1))
    assert await c.fetchval("SELECT count(*) FROM audit") == last


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET at = at + interval '1 microsecond' WHERE id = 3",
        "UPDATE audit SET user_id = coalesce(user_id, 0) + 1 WHERE id = 3",
        "UPDATE audit SET person_id = 77 WHERE id = 3",
        "UPDATE audit SET by_session = 'x' WHERE id = 3",
        "UPDATE audit SET door = 'api' WHERE id = 3",
        "UPDATE audit SET act = act || ' ' WHERE id = 3",
        "UPDATE audit SET subject = 'numbers/1' WHERE id = 3",
        "UPDATE audit SET reason = 'r' WHERE id = 3",
        "UPDATE audit SET detail = detail || '{\"z\": 0}' WHERE id = 3",
        "UPDATE audit_chain SET hash = sha256('x') WHERE seq = 3",
        "DELETE FROM audit_chain WHERE seq = 3",
        "UPDATE audit_chain SET audit_id = CASE audit_id WHEN 3 THEN 4 ELSE 3 END WHERE seq IN (3, 4)",
    ],
)
async def test_whatever_is_changed_is_named(c: asyncpg.Connection, change: str) -> None:
    await some_acts(c)
    with pytest.raises(asyncpg.RaiseError, match="keeps its rows"):
        await c.execute(change)
    for table in ("audit", "audit_chain"):  # as a superuser can
        await c.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    await c.execute("ALTER TABLE audit_chain DROP CONSTRAINT audit_chain_audit_id_key")
    await c.execute(change)
    assert await auditing.verify(c) == 3


async def test_what_is_cut_off_at_the_end_or_never_came_in_is_named(c: asyncpg.Connection) -> None:
    last = await some_acts(c)
    for table in ("audit", "audit_chain"):
        await c.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    await c.execute("DELETE FROM audit_chain WHERE seq = $1", last)
    assert await auditing.verify(c) == last
    await c.execute("DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    assert await auditing.verify(c) is None
    await c.execute("INSERT INTO audit (act) VALUES ('quietly')")
    assert await auditing.verify(c) == last


async def test_an_open_transaction_keeps_nobody_waiting(database: str, c: asyncpg.Connection) -> None:
    slow = await asyncpg.connect(database, server_settings=CLI)
    transaction = slow.transaction()
    await transaction.start()
    await record(slow, None, "slow.act")
    began = time.monotonic()
    await asyncio.wait_for(record(c, None, "quick.act"), 5)
    assert time.monotonic() - began < 5
    await transaction.commit()
    await slow.close()
    order = await c.fetch(
        "SELECT a.act FROM audit_chain k JOIN audit a ON a.id = k.audit_id ORDER BY k.seq DESC LIMIT 2"
    )
    assert [row["act"] for row in order] == ["slow.act", "quick.act"]  # by commit, not by beginning
    assert await auditing.verify(c) is None


async def test_acts_that_are_committed_at_once_form_one_chain(database: str, c: asyncpg.Connection) -> None:
    others = [await asyncpg.connect(database, server_settings=CLI) for _ in range(6)]

    async def act(connection: asyncpg.Connection) -> None:
        for n in range(20):
            async with connection.transaction():
                await record(connection, None, "one.act", n=n)
                await record(connection, None, "another.act", n=n)

    await asyncio.gather(*(act(connection) for connection in others))
    for connection in others:
        await connection.close()
    assert await auditing.verify(c) is None
    assert await c.fetchval("SELECT count(*) FROM audit_chain") == 240 + len(
        await c.fetch("SELECT FROM audit WHERE act = 'user.add'")
    )


async def test_sql_by_hand_is_in_the_chain(database: str, c: asyncpg.Connection) -> None:
    hand = await asyncpg.connect(database)
    await hand.execute("UPDATE institutions SET name = name || 'x' WHERE code IN ('A', 'B')")
    await hand.execute("UPDATE institutions SET name = 'y' WHERE code = 'none'")
    await hand.execute("SET session_replication_role = replica")
    await hand.execute("DELETE FROM tokens")
    await hand.execute("INSERT INTO holds (cause, institution_id) VALUES ('c', 1)")
    await hand.close()
    found = [act for act in await auditing.acts(c, limit=1000) if act.door == "sql"]
    assert [(act.act, act.subject, act.detail, act.user, act.session) for act in found] == [
        ("sql.update", "institutions", {"rows": 2}, "", "postgres"),
        ("sql.insert", "holds", {"rows": 1}, "", "postgres"),
    ]


async def test_acts_by_page_subject_and_user(c: asyncpg.Connection) -> None:
    await some_acts(c)
    everything = await auditing.acts(c, limit=1000)
    pages: list[auditing.Act] = []
    while page := await auditing.acts(c, pages[-1].id if pages else 0, 4):
        pages += page
    assert pages == everything
    [one] = await auditing.acts(c, subject="cases/1")
    assert (one.user, one.person, one.door, one.detail["inner"]) == (
        "reg",
        "R1",
        "api",
        {"a": "/", "b": [1.5, None]},
    )
    assert [act.act for act in await auditing.acts(c, user="reg")] == ["blacklist.add", "case.open"]
