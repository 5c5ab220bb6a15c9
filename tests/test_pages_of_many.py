"""Lists by id: a page costs the same wherever it begins, and however many of the rows are others'."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from cast import Cast, cast_of
from playbook import database_of

from gateway.registry import auditing, filings, replies, wishes
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.keys import RegistryKey, load_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY, LIMIT = 6_000, 11
"""Rows of each table, of which nearly all are BANK's; OTHER has the first, one amid and the last."""
HOLDERS = 40
"""Institutions of each of the two cities."""
MOST = 4 * (HOLDERS + 2) * LIMIT
"""Rows and index entries that a page may touch: the first of each institution, and twice what is shown."""

FILL = f"""
INSERT INTO institutions (code, name, kind, licence_scope, region)
SELECT 'C' || substr(md5(city), 1, 4) || i, 'x', 'bank', 7, '浙江省' || city
  FROM generate_series(1, {HOLDERS}) i, unnest(ARRAY['杭州市', '宁波市']) city;
CREATE TEMP TABLE held AS
SELECT place, i.id AS holder, CASE i.code WHEN 'OTHER' THEN 'unicom' ELSE 'mobile' END AS carrier,
       decode(lpad(to_hex(place), 32, '0'), 'hex') AS hash
  FROM generate_series(1, {MANY}) place JOIN institutions i
       ON i.code = CASE WHEN place IN (1, {MANY} / 2, {MANY}) THEN 'OTHER' ELSE 'BANK' END;
SET session_replication_role = replica;  -- what follows a row is not asked here
INSERT INTO numbers (number, institution_id, channels, purposes, status, carrier)
SELECT '10690' || lpad(place::text, 6, '0'), holder, 1, 4, 'submitted', carrier FROM held ORDER BY place;
INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, purposes, channels, source,
                      refused_at, carrier)
SELECT hash, 100, $1, holder, 7, 3, 'x', now(), carrier FROM held ORDER BY place;
INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at)
SELECT hash, 100, $1, holder, 'x', now() FROM held ORDER BY place;
INSERT INTO replies (event, record, kind, subscriber_hash, key_id, subscriber_sealed, institution_id, number,
                     purposes, channels, said_at, carrier)
SELECT hash, gen_random_uuid(), 'accept', hash, 100, $1, holder, '10690', 0, 0, now(), carrier
  FROM held ORDER BY place;
INSERT INTO audit (user_id, person_id, door, act)
SELECT u.id, u.person_id, 'api', 'x' FROM held JOIN users u
       ON u.login = CASE held.carrier WHEN 'unicom' THEN 'other' ELSE 'bank' END ORDER BY place;
RESET session_replication_role;
DROP TABLE held;
"""

LISTS = {
    "numbers": lambda c, actor, key, after: filings.page(c, actor, after, LIMIT),
    "refusals": lambda c, actor, key, after: wishes.refusals(c, actor, key, after, LIMIT),
    "consents": lambda c, actor, key, after: wishes.consents(c, actor, key, after, LIMIT),
    "replies": lambda c, actor, key, after: replies.replies(c, actor, key, after, LIMIT),
    "audit": lambda c, actor, key, after: auditing.acts(c, after, LIMIT, actor=actor),
}
SEERS = {
    "numbers": ("regulator", "ningbo", "other", "bank", "unicom", "checker"),
    "refusals": ("regulator", "ningbo", "other", "bank", "unicom", "checker"),
    "consents": ("regulator", "ningbo", "other", "bank"),
    "replies": ("regulator", "ningbo", "other", "bank", "unicom", "checker"),
    "audit": ("regulator", "ningbo"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(tmp_path_factory: pytest.TempPathFactory) -> RegistryKey:
    return load_key(tmp_path_factory.mktemp("keys") / "registry.key")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(embedded: EmbeddedPostgres, template: str, key: RegistryKey) -> AsyncIterator[Cast]:
    with database_of(embedded.dsn, template, "many") as dsn:
        async with cast_of(dsn) as cast:
            async with cast.door.owner() as c:
                for statement in FILL.split(";\n"):
                    if statement.strip():
                        sealed = [key.seal("+8613800000001")] if "$1" in statement else []
                        await c.execute(statement, *sealed)
                await c.execute("ANALYZE")
            yield cast


@pytest.mark.parametrize(("table", "who"), [(table, who) for table, seers in SEERS.items() for who in seers])
async def test_page_touches_what_it_shows(cast: Cast, key: RegistryKey, table: str, who: str) -> None:
    few = who in {"ningbo", "other", "unicom"}
    asked: list[Any] = []
    async with cast.door.owner() as c:
        base = await c.fetchval(
            f"SELECT max(id) - {MANY} FROM {table}"
        )  # who made all this stands in the audit
    for after in (0, MANY // 2, MANY - LIMIT):
        async with cast.acting(who) as (c, actor):
            with c.query_logger(asked.append):
                found = [row.id - base for row in await LISTS[table](c, actor, key, base + after)]
            rows = range(after + 1, MANY + 1)
            mine = [row for row in rows if (row in {1, MANY // 2, MANY}) is few or who == "regulator"]
            assert found == mine[:LIMIT]
            touched = 0
            for one in asked:
                touched += await touched_by(c, one.query, one.args)
            asked.clear()
        assert touched <= MOST, f"a page after {after} of {table} reads {touched} rows for {who}"


async def touched_by(c: "asyncpg.Connection[Any]", query: str, values: Any) -> int:
    """Rows that a statement's scans gave or passed over."""
    explained = json.loads(await c.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values))
    return sum(map(scanned, explained))


def scanned(node: dict[str, Any]) -> int:
    inner = [node["Plan"]] if "Plan" in node else node.get("Plans", [])
    mine = 0
    if "Scan" in node.get("Node Type", "") and "Relation Name" in node:
        passed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        mine = round((node["Actual Rows"] + passed) * node["Actual Loops"])
    return mine + sum(map(scanned, inner))
