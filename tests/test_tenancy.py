"""Whose rows are whose: by SELECT, UPDATE, DELETE and INSERT a foreign row is like one that is not there.

Each table has one row of the bank A (region 杭州, carrier mobile) and its agency G; whoever has nothing to do
with them must be told the same of these rows as of rows that do not exist, by every statement.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import asyncpg
import pytest
import pytest_asyncio
from offices import actor, staffed
from playbook import OPEN_RUN, database_of

from gateway.registry.acting import ROLES, Door
from gateway.registry.embedded import EmbeddedPostgres

FILL = f"""
INSERT INTO registry_keys (key_id, fingerprint) VALUES (7, decode('ff', 'hex') || substr(sha256('x'), 1, 15));
INSERT INTO mandates (institution_id, agency_id, channels, purposes) VALUES (1, 3, 3, 7);
INSERT INTO accounts (carrier, protocol, account, holder_id) VALUES ('mobile', 'cmpp', '900001', 1);
INSERT INTO account_numbers (account_id, number) VALUES (1, '10690001');
{OPEN_RUN};
INSERT INTO numbers (number, channels, purposes, institution_id, agency_id, carrier, status)
     VALUES ('10690001', 1, 1, 1, 3, 'mobile', 'draft');
INSERT INTO numbers (number, channels, purposes, institution_id, agency_id, carrier, status)
     VALUES ('10690002', 1, 1, 1, 3, 'mobile', 'submitted');
INSERT INTO allocations (carrier, number, provider_id) VALUES ('mobile', '1069', 4);
INSERT INTO disputes (number, institution_id, grounds, filed_by, due)
     VALUES ('10690003', 1, 'g', 9, '2027-01-01');
INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, carrier, purposes, channels,
                      source, refused_at)
     VALUES (decode(md5('s'), 'hex'), 7, 'x', 1, 'mobile', 1, 1, 'reply', now());
INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at)
     VALUES (decode(md5('s'), 'hex'), 7, 'x', 1, 'contract', now());
INSERT INTO recipients (subscriber_hash, key_id, subscriber_sealed, institution_id, role, valid_from)
     VALUES (decode(md5('s'), 'hex'), 7, 'x', 1, 'debtor', now());
INSERT INTO replies (event, record, kind, subscriber_hash, key_id, subscriber_sealed, institution_id, carrier,
                     number, purposes, channels, said_at, undecided_until)
     VALUES (decode(md5('e'), 'hex'), gen_random_uuid(), 'ambiguous', decode(md5('s'), 'hex'), 7, 'x', 1,
             'mobile', '10690001', 1, 3, now(), now() + interval '72 hours');
INSERT INTO released (subscriber_hash, key_id, subscriber_sealed, released_at)
     VALUES (decode(md5('s'), 'hex'), 7, 'x', '2020-01-01');
INSERT INTO holds (cause, institution_id) VALUES ('c', 1);
INSERT INTO profiles (name, text, content, digest, added_by)
     VALUES ('p', '', '{{}}', left(encode(sha256('{{}}'), 'hex'), 16), 'x');
SELECT set_config('zhengming.user', id::text, false) FROM users WHERE login = 'reg';
INSERT INTO profile_activations (profile_id, valid_from, reason) VALUES (1, now(), 'r');
SELECT set_config('zhengming.user', '', false);
INSERT INTO cases (title, due) VALUES ('t', '2027-01-01');
INSERT INTO penalties (institution_id, kind, amount, cause, imposed_by) VALUES (1, 'fine', 1, 'c', 1);
INSERT INTO case_items (case_id, kind, reference) VALUES (1, 'number', '1');
INSERT INTO referrals (case_id, authority, reason, referred_by) VALUES (1, 'a', 'r', 1);
INSERT INTO complaints (source, subscriber_hash, key_id, subscriber_sealed, number, channel, happened_at,
                        institution_id, case_id, forward_due, due)
     VALUES ('own', decode(md5('s'), 'hex'), 7, 'x', '10690001', 1, now(), 1, 1, '2027-01-01', '2027-01-01');
INSERT INTO appeals (against_kind, against, institution_id, grounds, filed_by, due)
     VALUES ('verdict', 'x', 1, 'g', 9, '2027-01-01');
INSERT INTO documents (sha256, media_type, size) VALUES (sha256('x'), 'application/pdf', 1);
INSERT INTO document_uses (sha256, kind, user_id, institution_id) VALUES (sha256('x'), 'licence', 9, 1);
INSERT INTO alarms (kind, institution_id) VALUES ('quota', 1);
INSERT INTO quota_uses (day, institution_id, kind, used) VALUES ('2026-01-01', 1, 'judge', 1);
INSERT INTO kept_answers (user_id, key, request) VALUES (9, 'k', sha256('x'));
INSERT INTO credentials (user_id, password_hash) VALUES (9, 'secret');
INSERT INTO sessions (hash, user_id, expires_at) VALUES (sha256('x'), 9, '2100-01-01');
INSERT INTO tokens (hash, user_id, scopes, expires_at) VALUES (sha256('x'), 9, '{{read}}', '2100-01-01');
SELECT make_traffic_partition('traffic_minute', '2026-01-01');
SELECT make_traffic_partition('intercepts', '2026-01-01');
INSERT INTO traffic_minute (minute, carrier, node, protocol, channel, institution, agency, number, purpose,
                            region, verdict, reason, count, parts)
     VALUES ('2026-01-01 12:00+08', 'mobile', 'n', 'cmpp', 1, 'A', 'G', '1', 'p', 'r', 'pass', '', 1, 1);
INSERT INTO intercepts (id, at, carrier, node, protocol, account, channel, number, registration, institution,
                        agency, purpose, region, subscriber, reason, sub, findings, profile,
                        registry_version, writer, segment, "offset", place)
     VALUES (gen_random_uuid(), '2026-01-01 12:00+08', 'mobile', 'n', 'cmpp', 'a', 1, '1', '1', 'A', 'G', 'p',
             'r', '138****0000', 'x', '', '[]', 'p', 1, 'w0', 1, 0, 0);
"""

EVERYBODY = "reg regcity car other bank bank2 agent prov aud adm"


class Rule(NamedTuple):
    """Who sees the rows of a table that `FILL` made; users whose role has no right at all are in `denied`."""

    sees: str
    blind: str = ""


# What FILL makes is A's, handled by G, over mobile. bank2, other (unicom) and regcity (宁波) have no part.
TABLES = {
    "institutions": Rule("reg car other bank agent prov aud bank2 regcity"),
    "mandates": Rule("reg regcity car other bank agent aud", "bank2"),
    "accounts": Rule("reg car bank aud", "regcity other bank2 agent prov"),
    "account_numbers": Rule("reg car bank aud", "regcity other bank2 agent prov"),
    "numbers": Rule("reg car bank agent aud", "regcity other bank2"),
    "number_steps": Rule("", "reg regcity car other bank bank2 agent aud"),
    "allocations": Rule("reg car prov aud", "regcity other"),
    "disputes": Rule("reg bank aud", "regcity bank2"),
    "refusals": Rule("reg car bank aud", "regcity other bank2"),
    "consents": Rule("reg bank aud", "regcity bank2"),
    "recipients": Rule("reg bank aud", "regcity bank2"),
    "replies": Rule("reg car bank aud", "regcity other bank2"),
    "released": Rule("reg regcity aud"),
    "holds": Rule("reg bank aud", "regcity car other bank2 agent prov"),
    "penalties": Rule("reg bank aud", "regcity bank2 agent prov"),
    "cases": Rule("reg aud", "regcity"),
    "case_items": Rule("reg aud", "regcity"),
    "referrals": Rule("reg aud", "regcity"),
    "complaints": Rule("reg bank aud", "regcity bank2"),
    "appeals": Rule("reg bank aud", "regcity bank2 agent prov"),
    "documents": Rule("reg regcity car other bank bank2 agent prov aud"),
    "document_uses": Rule("bank aud", "reg regcity car other bank2 agent prov"),
    "alarms": Rule("reg aud adm", "regcity"),
    "import_runs": Rule("reg aud adm", "regcity car other bank bank2"),
    "quota_uses": Rule("bank", "bank2 agent prov"),
    "kept_answers": Rule("bank", "reg regcity car other bank2 agent prov aud adm"),
    "credentials": Rule("adm"),  # of whom there are any, no more
    "sessions": Rule(""),
    "tokens": Rule("aud adm"),
    "persons": Rule("reg regcity aud adm"),
    "users": Rule("reg regcity car other bank bank2 agent prov aud adm"),
    "audit": Rule("reg aud adm", "regcity"),
    "audit_chain": Rule("reg regcity aud adm"),
    "traffic_minute": Rule("reg car bank agent aud", "regcity other bank2"),
    "intercepts": Rule("reg car bank agent aud", "regcity other bank2"),
    "blacklist": Rule("", "reg regcity car other bank bank2 agent prov aud"),
    "profiles": Rule(EVERYBODY),
    "profile_activations": Rule(EVERYBODY),
    "nodes": Rule("", "reg regcity car other bank bank2 agent prov aud"),
    "carriers": Rule(EVERYBODY),
    "number_transitions": Rule(EVERYBODY),
    "protected_numbers": Rule(EVERYBODY),
    "registry_keys": Rule(EVERYBODY),
}
OWNERS = {"alembic_version", "change_log", "change_log_pruned", "registry_rekeyed", "shipping"}
"""What only the gateway's own work and migrations touch, besides every history."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def untouched(embedded: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    """DSN of a database filled so, for tests that look, or roll back what they do."""
    with database_of(embedded.dsn, template, "tenancy") as dsn:
        async with filled(dsn):
            pass
        yield dsn


@pytest.fixture
async def c(untouched: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(untouched, server_settings={"zhengming.door": "cli"})
    yield connection
    await connection.close()


@pytest.fixture
async def door(untouched: str) -> AsyncIterator[Door]:
    opened = await Door.open(untouched, size=2)
    yield opened
    await opened.close()


class Own(NamedTuple):
    """A database of the test's own, to change."""

    c: asyncpg.Connection
    door: Door


@pytest.fixture
async def own(database: str) -> AsyncIterator[Own]:
    async with filled(database) as connection:
        opened = await Door.open(database, size=2)
        yield Own(connection, opened)
        await opened.close()


@contextlib.asynccontextmanager
async def filled(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Fill an empty registry; the connection that did."""
    await staffed(dsn)
    connection = await asyncpg.connect(dsn, server_settings={"zhengming.door": "cli"})
    try:
        await connection.execute(FILL)
        yield connection
    finally:
        await connection.close()


async def tables_of(c: asyncpg.Connection) -> set[str]:
    rows = await c.fetch(
        """SELECT relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"""
    )
    return {row["relname"] for row in rows}


async def test_no_table_is_without_a_rule(c: asyncpg.Connection) -> None:
    found = {table for table in await tables_of(c) if not table.endswith("_history")}
    assert found == set(TABLES) | OWNERS


async def test_histories_and_bookkeeping_are_the_owners_alone(c: asyncpg.Connection) -> None:
    kept = {table for table in await tables_of(c) if table.endswith("_history")} | OWNERS | {"sessions"}
    for role in ROLES:
        granted = await c.fetch(
            """SELECT table_name FROM information_schema.role_table_grants WHERE grantee = $1
                UNION SELECT table_name FROM information_schema.column_privileges WHERE grantee = $1""",
            f"zhengming_{role}",
        )
        assert kept & {row["table_name"] for row in granted} == set(), role


async def test_who_sees_which_rows(door: Door, c: asyncpg.Connection) -> None:
    for table, rule in TABLES.items():
        seen: dict[str, set[str]] = {"sees": set(), "blind": set(), "denied": set()}
        for login in EVERYBODY.split():
            async with door.acting(await actor(c, login)) as connection:
                try:
                    count = await connection.fetchval(f"SELECT count(*) FROM {table}")
                    seen["sees" if count else "blind"].add(login)
                except asyncpg.InsufficientPrivilegeError:
                    seen["denied"].add(login)
        assert (table, seen["sees"]) == (table, set(rule.sees.split()))
        assert (table, seen["blind"]) == (table, set(rule.blind.split()))


async def test_which_institutions_each_sees(door: Door, c: asyncpg.Connection) -> None:
    for login, codes in {
        "reg": "ABGP", "regcity": "BG", "car": "ABGP", "aud": "ABGP", "bank": "AG", "bank2": "B",
        "agent": "AG", "prov": "P",
    }.items():  # fmt: skip
        async with door.acting(await actor(c, login)) as connection:
            rows = await connection.fetch("SELECT code FROM institutions ORDER BY code")
        assert (login, "".join(row["code"] for row in rows)) == (login, codes)


async def test_what_lies_in_a_territory_is_its_regulators_to_see(own: Own) -> None:
    """A and P move to the city, and with them all that is theirs; `reg` has the whole province."""
    await own.c.execute("UPDATE institutions SET region = '浙江省宁波市鄞州区' WHERE code IN ('A', 'P')")
    for table, rule in TABLES.items():
        if "reg" not in rule.sees.split():
            continue
        async with own.door.acting(await actor(own.c, "regcity")) as connection:
            count = await connection.fetchval(f"SELECT count(*) FROM {table}")
        assert (table, bool(count)) == (table, table not in {"audit", "import_runs"})  # of nobody there


@pytest.mark.parametrize(
    ("opener", "given", "sees"),
    [
        ("reg", "NULL", ""),
        ("reg", "(SELECT id FROM users WHERE login = 'regcity')", "regcity"),
        ("regcity", "NULL", "regcity"),
    ],
)
async def test_a_case_is_of_the_territory_that_opened_it_and_of_who_was_given_it(
    own: Own, opener: str, given: str, sees: str
) -> None:
    await own.c.execute(
        f"""INSERT INTO cases (title, due, opened_by, assigned_to)
            SELECT 'u', '2027-01-01', id, {given} FROM users WHERE login = $1""",
        opener,
    )
    async with own.door.acting(await actor(own.c, "regcity")) as connection:
        assert await connection.fetchval("SELECT count(*) FROM cases") == bool(sees)
    async with own.door.acting(await actor(own.c, "reg")) as connection:
        assert await connection.fetchval("SELECT count(*) FROM cases") == 2


async def test_a_complaint_is_seen_where_it_was_taken_in(own: Own) -> None:
    """Whoever is complained of; the case comes with it, and what others did about A does not."""
    await own.c.execute("UPDATE complaints SET received_by = (SELECT id FROM users WHERE login = 'regcity')")
    async with own.door.acting(await actor(own.c, "regcity")) as connection:
        for table, count in {
            "complaints": 1,
            "cases": 1,
            "case_items": 1,
            "refusals": 0,
            "penalties": 0,
        }.items():
            assert (table, await connection.fetchval(f"SELECT count(*) FROM {table}")) == (table, count)


async def test_a_territory_has_the_acts_and_users_of_its_own(own: Own) -> None:
    for login in ("bank", "bank2", "car", "reg", "regcity"):
        who = await actor(own.c, login)
        async with own.door.acting(who) as connection:
            await connection.execute("INSERT INTO audit (act, subject, door) VALUES ('x', $1, 'api')", login)
    async with own.door.acting(await actor(own.c, "regcity")) as connection:
        acts = {row[0] for row in await connection.fetch("SELECT subject FROM audit")}
        assert acts == {"bank2", "regcity"}
        seen = {row[0] for row in await connection.fetch("SELECT login FROM users")}
        names = {row[0] for row in await connection.fetch("SELECT name FROM persons")}
    assert {"bank2", "agent", "car", "reg", "adm"} <= seen
    assert not {"bank", "prov"} & seen
    assert "B2" in names
    assert "B1" not in names


@pytest.mark.parametrize("login", EVERYBODY.split())
async def test_a_foreign_row_is_like_a_missing_one(door: Door, c: asyncpg.Connection, login: str) -> None:
    """What UPDATE and DELETE say of each row one does not see is what they say of an id that is not there."""
    who = await actor(c, login)
    for table in TABLES:
        named = "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0"
        columns = {row["attname"] for row in await c.fetch(named, table)}
        if "id" not in columns or table == "intercepts":
            continue
        async with door.acting(who) as connection:
            try:
                visible = {row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")}
            except asyncpg.InsufficientPrivilegeError:
                visible = set()
            foreign = [
                row["id"] for row in await c.fetch(f"SELECT id FROM {table}") if row["id"] not in visible
            ]
            column = next(
                iter(sorted(columns & {"cause", "reason", "name", "note", "status", "number"})), "id"
            )
            for statement in (
                f"SELECT * FROM {table} WHERE id = $1",
                f"UPDATE {table} SET {column} = {column} WHERE id = $1",
                f"SELECT id FROM {table} WHERE id = $1 FOR UPDATE",
                f"DELETE FROM {table} WHERE id = $1",
            ):
                missing = await said(connection, statement, 999_999)
                for identity in foreign:
                    assert await said(connection, statement, identity) == missing, (
                        table,
                        statement,
                        identity,
                    )


async def said(c: Any, statement: str, *values: object) -> tuple[str, str]:
    """Status or SQLSTATE, and words, of a statement that is rolled back."""
    transaction = c.transaction()
    await transaction.start()
    try:
        return await c.execute(statement, *values), ""
    except asyncpg.PostgresError as error:
        return error.sqlstate or "", str(error.message)
    finally:
        await transaction.rollback()


NUMBER = (
    "INSERT INTO numbers (number, channels, purposes, institution_id, agency_id, carrier, status) VALUES "
)


@pytest.mark.parametrize(
    ("login", "statement"),
    [
        ("bank", NUMBER + "('10691', 1, 1, 2, NULL, 'mobile', 'draft')"),  # another's
        ("bank", NUMBER + "('10691', 1, 1, 1, NULL, 'mobile', 'submitted')"),  # past its first step
        ("agent", NUMBER + "('10691', 1, 1, 2, 3, 'mobile', 'draft')"),  # without that bank's mandate
        ("agent", NUMBER + "('10691', 1, 1, 1, NULL, 'mobile', 'draft')"),  # not its own
        ("car", NUMBER + "('10691', 1, 1, 1, NULL, 'mobile', 'draft')"),
        ("prov", NUMBER + "('10691', 1, 1, 4, NULL, 'mobile', 'draft')"),
        ("bank", "UPDATE numbers SET institution_id = 2"),
        ("bank", "UPDATE numbers SET status = 'submitted' WHERE status = 'draft'"),
        ("bank", "INSERT INTO mandates (institution_id, agency_id, channels, purposes) VALUES (2, 3, 1, 1)"),
        ("agent", "INSERT INTO mandates (institution_id, agency_id, channels, purposes) VALUES (1, 3, 1, 1)"),
        (
            "car",
            "INSERT INTO accounts (carrier, protocol, account, holder_id) VALUES ('unicom', 'cmpp', 'x', 1)",
        ),
        ("car", "UPDATE accounts SET carrier = 'unicom'"),
        ("other", "INSERT INTO account_numbers (account_id, number) VALUES (1, '10691')"),
        ("car", "INSERT INTO allocations (carrier, number, provider_id) VALUES ('unicom', '1067', 4)"),
        ("bank", "INSERT INTO blacklist (number, reason, case_reference) VALUES ('10691', 'r', 'c')"),
        ("aud", "INSERT INTO blacklist (number, reason, case_reference) VALUES ('10691', 'r', 'c')"),
        ("bank", "INSERT INTO holds (cause, institution_id) VALUES ('c', 2)"),
        ("bank", "INSERT INTO penalties (institution_id, kind, cause) VALUES (2, 'suspension', 'c')"),
        ("regcity", "INSERT INTO penalties (institution_id, kind, cause) VALUES (1, 'suspension', 'c')"),
        (
            "regcity",
            "INSERT INTO institutions (code, name, kind, region) VALUES ('X', 'x', 'bank', '浙江省杭州市')",
        ),
        ("car", "UPDATE institutions SET region = region || 'x'"),
        ("car", "UPDATE institutions SET kind = 'other'"),
        ("regcity", "INSERT INTO holds (cause, institution_id) VALUES ('c', 1)"),
        (
            "regcity",
            "INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, purposes, channels, source,"
            " refused_at) VALUES (decode(md5('t'), 'hex'), 7, 'x', 1, 1, 'operator', now())",
        ),  # of all institutions
        (
            "regcity",
            "INSERT INTO profile_activations (profile_id, valid_from, reason) VALUES (1, now(), 'r')",
        ),
        ("regcity", "UPDATE profile_activations SET confirmed_at = now()"),
        ("regcity", "INSERT INTO case_items (case_id, kind, reference) VALUES (1, 'number', '2')"),
        ("bank", "UPDATE complaints SET status = 'open'"),
        ("bank", "UPDATE appeals SET status = 'upheld'"),
        ("bank", "INSERT INTO number_steps (number_id, step) VALUES (999999, 'submit')"),
        ("bank2", "INSERT INTO number_steps (number_id, step) VALUES (1, 'submit')"),
        ("other", "INSERT INTO number_steps (number_id, step) VALUES (2, 'check')"),
        ("agent", "INSERT INTO number_steps (number_id, step) VALUES (1, 'submit')"),
        ("aud", "INSERT INTO number_steps (number_id, step) VALUES (2, 'check')"),
        ("adm", "INSERT INTO number_steps (number_id, step) VALUES (2, 'check')"),
        ("reg", "INSERT INTO users (login, person_id, role) VALUES ('x', 1, 'admin')"),
        (
            "bank",
            "INSERT INTO tokens (hash, user_id, scopes, expires_at)"
            " VALUES (sha256('y'), 9, '{}', '2100-01-01')",
        ),
        ("adm", "INSERT INTO profiles (name, text, content, digest) VALUES ('q', '', '{}', '')"),
        ("car", "INSERT INTO profile_activations (profile_id, valid_from, reason) VALUES (1, now(), 'r')"),
        ("aud", "UPDATE profile_activations SET confirmed_at = now()"),
        ("reg", "UPDATE profile_activations SET confirmed_at = now()"),  # who proposed it
        ("regagain", "UPDATE profile_activations SET confirmed_at = now()"),  # the same person
        ("reg", "UPDATE profiles SET note = 'x'"),
        ("adm", "SELECT password_hash FROM credentials"),
        ("adm", "SELECT count(*) FROM sessions"),
        ("reg", "INSERT INTO import_runs (kind, checker_id, approver_id) VALUES ('numbers', 1, 2)"),
        ("bank", "INSERT INTO audit (act, user_id, door) VALUES ('x', 1, 'api')"),
        ("reg", "DELETE FROM audit"),
        ("bank", "SET session_replication_role = replica"),
        ("adm", "ALTER TABLE audit DISABLE TRIGGER ALL"),
        ("adm", "CREATE TABLE mine ()"),
    ],
)
async def test_what_is_not_ones_own_to_do(
    door: Door, c: asyncpg.Connection, login: str, statement: str
) -> None:
    async with door.acting(await actor(c, login)) as connection:
        code, words = await said(connection, statement)
    assert code == "42501", words


async def test_a_deeper_look_leads_nowhere(door: Door, c: asyncpg.Connection) -> None:
    """A setting that a statement changes by itself would change the actor: statements come from the gateway
    alone and are parametrised, and functions that run as the owner give no row away."""
    async with door.acting(await actor(c, "bank2")) as connection:
        assert await connection.fetchval("SELECT count(*) FROM whitelist") == 0
        assert await connection.fetchval("SELECT institution_of('A')") == 1  # codes are public
        assert await connection.fetchval("SELECT code_of(1)") == "A"
