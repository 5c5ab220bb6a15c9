"""The change log says what was changed, by whom and under which case: what the evidence keeps for good."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from bureau import Bureau, bureau_of, file_number
from test_supervision import complain, impose

from gateway.registry import bans, holds, store
from gateway.registry.bans import NewBan
from gateway.registry.changelog import between
from gateway.registry.store import Change

SUBSCRIBER_COLUMNS = ("subscriber_hash", "subscriber_key", "subscriber_sealed", "event", "identity")


@pytest.fixture
async def bureau(database: str) -> AsyncIterator[Bureau]:
    async with bureau_of(database) as found:
        yield found


async def done(bureau: Bureau, table: str) -> list[tuple[str, str, str, str]]:
    """As a node reads it: what was done, to what, by whom, under which case."""
    async with bureau.by_hand() as c:
        state = await store.log_state(c, None)
        [everything] = between("3:3:", state.snapshot)
        changes, _ = await store.changes(c, everything, 1000)
    ordered = sorted(changes, key=lambda change: change.seq)
    return [_words(change) for change in ordered if change.table == table]


def _words(change: Change) -> tuple[str, str, str, str]:
    return change.op, change.subject, change.by, change.case


async def test_of_every_table_it_can_be_said_without_its_subscribers(bureau: Bureau) -> None:
    async with bureau.by_hand() as c:
        tables = await c.fetch(
            "SELECT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname = 'registry_inserted'"
        )
        assert len(tables) > 20
        for table in tables:
            words = await c.fetchrow("SELECT * FROM act_words($1)", table["name"])
            assert words is not None
            assert not any(column in word for word in words for column in SUBSCRIBER_COLUMNS), table
            assert (words["subject"].strip() == "NULL") == (table["name"] == "released"), table
            await c.execute(f"SELECT {words['subject']}, {words['case_reference']} FROM {table['name']} r")


async def test_a_person_is_named_and_so_is_the_case(bureau: Bureau) -> None:
    async with bureau.by_hand() as c:
        number = await file_number(c, "10690001", "BANK")
        await c.execute(
            """INSERT INTO mandates (institution_id, agency_id, channels, purposes)
               SELECT b.id, a.id, 3, 2 FROM institutions b, institutions a
                WHERE b.code = 'BANK' AND a.code = 'AGENT'"""
        )
    async with bureau.acting("r1") as (c, actor):
        await bans.add(c, actor, NewBan(number="10690077", is_prefix=True, reason="r", case_reference="C-7"))
        await holds.place(c, actor, "numbers", number, "投诉集中")
    complaint = await complain(bureau)
    case = f"cases/{complaint.case}"
    await impose(bureau, "r2", "BANK", case=complaint.case)
    one, two = "r1 (甲监管)", "r2 (乙监管)"
    assert await done(bureau, "numbers") == [("insert", "10690001", "sql postgres", "")]
    assert await done(bureau, "mandates") == [("insert", "BANK/AGENT", "sql postgres", "")]
    assert await done(bureau, "blacklist") == [("insert", "10690077…", one, "C-7")]
    assert await done(bureau, "complaints") == [("insert", "own", one, case)]
    assert await done(bureau, "penalties") == [("insert", "BANK", two, case)]
    assert await done(bureau, "holds") == [("insert", "10690001", one, ""), ("insert", "BANK", two, case)]
    assert await done(bureau, "cases") == [("insert", case, one, case)]


async def test_an_import_is_of_its_two_persons_under_its_case(bureau: Bureau) -> None:
    async with bureau.by_hand() as c:
        await file_number(c, "10690001", "BANK")
        run = await c.fetchval("SELECT max(id) FROM import_runs")
        await c.execute("SELECT set_config('zhengming.run', $1, false)", str(run))
        await c.execute("SELECT set_config('zhengming.door', 'import', false)")
        await c.execute("UPDATE numbers SET effective_until = $1", datetime(2999, 1, 1, tzinfo=UTC))
        await c.execute("UPDATE import_runs SET closed_at = now()")
        await c.execute("UPDATE institutions SET name = 'x' WHERE code = 'FIN'")
    assert (await done(bureau, "numbers"))[-1] == ("update", "10690001", "checker, approver", "test")
    assert (await done(bureau, "institutions"))[-1] == ("update", "FIN", "import postgres", "")


async def test_what_a_subscriber_said_is_of_the_institution(bureau: Bureau) -> None:
    async with bureau.by_hand() as c:
        for institution, number in (("BANK", None), (None, "10690001"), (None, None)):
            await c.execute(
                """INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, number,
                                         purposes, channels, source, refused_at)
                   SELECT decode(repeat('ab', 16), 'hex'), 1, 'x',
                          (SELECT id FROM institutions WHERE code = $1), $2, 3, 3, 'import', now()""",
                institution,
                number,
            )
    assert [subject for _, subject, _, _ in await done(bureau, "refusals")] == ["BANK", "10690001", ""]
