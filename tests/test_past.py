"""The registry as it was: of each row one version, at every instant and at every version."""

import datetime

import asyncpg

from gateway.registry.past import Instant, _Reader

MILLISECOND = datetime.timedelta(milliseconds=1)


async def test_of_a_row_one_version_counts_even_while_a_statement_runs(database: str) -> None:
    c = await asyncpg.connect(database)
    try:
        await c.execute(
            "INSERT INTO institutions (code, name, kind, licence_scope, region)"
            " SELECT 'B' || n, 'first', 'bank', 7, '330000' FROM generate_series(1, 300) n"
        )
        await c.execute("UPDATE institutions SET name = 'second'")  # 300 rows take some milliseconds
        now = await c.fetchrow(
            "SELECT id, row_version, changed_at FROM institutions ORDER BY id DESC LIMIT 1"
        )
        then = await c.fetchrow(
            "SELECT row_version, superseded_version, superseded_at FROM institutions_history WHERE id = $1",
            now["id"],
        )
        assert (then["superseded_version"], then["superseded_at"]) > (now["row_version"], now["changed_at"])

        async def names(instant: Instant) -> list[str]:
            rows = await _Reader(c, instant).rows("institutions", "id = $1", now["id"])
            return [row[2] for row in rows]

        changed = (now["changed_at"] - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // MILLISECOND
        for later in (0, 1, 10**6):
            assert await names(Instant(changed + later)) == ["second"]
            assert await names(Instant(0, now["row_version"] + later)) == ["second"]
        assert await names(Instant(0, now["row_version"] - 1)) == ["first"]
        assert await names(Instant(0, then["row_version"] - 1)) == []
        assert await names(Instant(changed - 3_600_000)) == []
        await c.execute("DELETE FROM institutions WHERE id = $1", now["id"])
        gone = await c.fetchrow(
            "SELECT superseded_version, superseded_at FROM institutions_history"
            " WHERE id = $1 AND superseded_op = 'delete'", now["id"],
        )  # fmt: skip
        assert await names(Instant(0, gone["superseded_version"])) == []
        assert await names(Instant(0, gone["superseded_version"] - 1)) == ["second"]
    finally:
        await c.close()
