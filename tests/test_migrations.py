"""The schema: it comes up once, everywhere the same, and enforces what it says."""

import asyncio
import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import psycopg
import pytest
from conftest import sibling
from debian import debian_server
from playbook import OPEN_RUN, UNGUARDED
from psycopg.conninfo import make_conninfo

from gateway.errors import NotReady, UsageError
from gateway.registry import migrate
from gateway.registry.embedded import EmbeddedPostgres

DEBIAN = Path("/usr/lib/postgresql/15/bin")
TABLES = [
    *("carriers", "institutions", "mandates", "accounts", "account_numbers"),
    *("numbers", "blacklist", "refusals", "consents", "holds", "persons", "users", "tokens"),
    *(
        "allocations",
        "disputes",
        "penalties",
        "cases",
        "complaints",
        "appeals",
        "recipients",
        "replies",
        "released",
    ),
    *("profiles", "profile_activations"),
]
NUMBERS = "INSERT INTO numbers (channels, purposes, institution_id, number"
BANS = "INSERT INTO blacklist (reason, case_reference, number"

_numbers = count(1)


@pytest.fixture(scope="session")
def debian() -> Iterator[str]:
    """DSN of a PostgreSQL 15 as Debian ships it."""
    with debian_server() as server:
        yield server.dsn


@pytest.fixture(params=["18", "15"])
def server(request: pytest.FixtureRequest) -> str:
    """DSN of a server of each version that is supported."""
    if request.param == "18":
        embedded: EmbeddedPostgres = request.getfixturevalue("embedded")
        return embedded.dsn
    dsn: str = request.getfixturevalue("debian")
    return dsn


@pytest.fixture
def empty(server: str) -> Iterator[str]:
    """DSN of a fresh database without a schema."""
    with fresh(server) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def migrated() -> dict[str, str]:
    """By server: a database to copy, migrated and with the institutions A and B."""
    return {}


@pytest.fixture
def schema(server: str, migrated: dict[str, str]) -> Iterator[psycopg.Connection]:
    """A connection to a migrated database; each statement is its own transaction."""
    if server not in migrated:
        name = make(server)
        migrate.upgrade(sibling(server, name))
        with psycopg.connect(sibling(server, name)) as connection:
            connection.execute(
                "INSERT INTO institutions (code, name, kind, licence_scope)"
                " VALUES ('A', 'A', 'bank', 7), ('B', 'B', 'bank', 7)"
            )
        migrated[server] = name
    with fresh(server, migrated[server]) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def make(server: str, template: str = "template1") -> str:
    """The name of a new database, a copy of `template`."""
    name = f"fresh_{next(_numbers)}"
    with psycopg.connect(sibling(server, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


@contextmanager
def fresh(server: str, template: str = "template1") -> Iterator[str]:
    """DSN of a database that exists within `with`."""
    name = make(server, template)
    yield sibling(server, name)
    with psycopg.connect(sibling(server, "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def dump(dsn: str) -> str:
    newest = shutil.which("pg_dump")
    programs = [Path(p) for p in ([newest] if newest else [])]
    with psycopg.connect(dsn) as connection:
        major = connection.info.server_version // 10000
    if major == 18:
        programs = [EmbeddedPostgres(Path("unused"))._bin / "pg_dump"]
    text = subprocess.run([programs[0], "--no-owner", dsn], check=True, capture_output=True, text=True).stdout
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", text)


def test_nodes_that_start_at_once_apply_each_revision_once(empty: str) -> None:
    assert migrate.current(empty) is None
    program = "import sys; from gateway.registry import migrate; migrate.upgrade(sys.argv[1])"
    nodes = [subprocess.Popen([sys.executable, "-c", program, empty]) for _ in range(3)]
    assert [node.wait() for node in nodes] == [0, 0, 0]
    assert migrate.current(empty) == migrate.newest()
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM carriers").fetchone() == (4,)


def test_a_failed_upgrade_leaves_nothing(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE change_log ()")
        with pytest.raises(Exception, match="change_log"):
            migrate.upgrade(empty)
        assert connection.execute("SELECT to_regclass('carriers')").fetchone() == (None,)


def test_who_may_not_upgrade_is_told_what_it_takes(server: str) -> None:
    """In a few words, not with all statements of a revision; `config --check` knows it before."""
    with fresh(server) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"CREATE ROLE of_{name} LOGIN")
        try:
            connection.execute(f"ALTER DATABASE {name} OWNER TO of_{name}")
            theirs = make_conninfo(dsn, user=f"of_{name}")
            with psycopg.connect(theirs) as plain:
                assert "CREATEROLE" in migrate.hindrance(plain)
            with pytest.raises(NotReady, match="CREATEROLE") as told:
                migrate.upgrade(theirs)
            assert len(str(told.value)) < 300
            connection.execute(f"ALTER ROLE of_{name} CREATEROLE")
            with psycopg.connect(theirs) as plain:
                assert migrate.hindrance(plain) == ""
        finally:
            connection.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")
            connection.execute(f"DROP ROLE of_{name}")


def test_the_schema_of_a_later_version_is_told_as_such(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT '9999' AS version_num")
        assert "9999" in migrate.hindrance(connection)
    with pytest.raises(UsageError, match="9999"):
        migrate.upgrade(empty)


def test_the_printed_script_makes_the_same_schema(server: str) -> None:
    with fresh(server) as by_us, fresh(server) as by_hand:
        migrate.upgrade(by_us)
        with psycopg.connect(by_hand, autocommit=True) as connection:
            connection.execute(migrate.sql())
        assert migrate.current(by_hand) == migrate.newest()
        # Rows that carry the instant of their making differ; the schema and all else does not.
        assert schema_of(by_hand) == schema_of(by_us)


def schema_of(dsn: str) -> str:
    return re.sub(r"(?ms)^COPY .*?^\\\.$", "", dump(dsn))


def test_the_schema_survives_dump_and_restore(server: str) -> None:
    with fresh(server) as original, fresh(server) as restored:
        migrate.upgrade(original)
        with psycopg.connect(original) as connection:
            connection.execute("INSERT INTO institutions (code, name, kind) VALUES ('A', 'a', 'bank')")
            file_number(connection, "A", "10690001", extension=2)
        text = dump(original)
        subprocess.run(
            ["psql", "-qX", "-v", "ON_ERROR_STOP=1", restored],
            input=text,
            check=True,
            text=True,
            stdout=subprocess.DEVNULL,
        )
        assert dump(restored) == text


def file_number(
    connection: psycopg.Connection,
    holder: str,
    number: str,
    *,
    extension: int = 0,
    channels: int = 1,
    start: str | None = None,
    end: str | None = None,
    status: str = "approved",
) -> int:
    if connection.execute("SELECT count(*) FROM import_runs").fetchone() == (0,):
        connection.execute(OPEN_RUN)
    row = connection.execute(
        """INSERT INTO numbers (number, extension_digits, channels, purposes, institution_id, effective_from,
                                effective_until, status, checked_by, approved_by, approved_at,
                                run_id, checked_person, approved_person)
           SELECT %s, %s, %s, 1, i.id, %s, %s, %s, 'p', 'q', now(), r.id, r.checker_id, r.approver_id
             FROM institutions i, import_runs r WHERE code = %s RETURNING id""",
        (number, extension, channels, start, end, status, holder),
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_no_two_holders_overlap(schema: psycopg.Connection) -> None:
    file_number(schema, "A", "10690001", extension=4, start="2025-01-01", end="2026-01-01")

    file_number(schema, "A", "1069000122", start="2025-01-01")  # one's own may nest
    file_number(schema, "A", "9558812345", start="2025-01-01")
    file_number(schema, "B", "10690001", extension=4, channels=2)  # another channel
    file_number(schema, "B", "106900012", start="2026-01-01")  # the period after
    file_number(schema, "B", "10690001", end="2025-01-01")  # the period before
    file_number(schema, "B", "10690002", extension=4)  # another number
    file_number(schema, "B", "1069000133333")  # five further digits: beyond the range
    file_number(schema, "B", "10690001", start="2025-03-01", status="draft")  # does not stand yet

    for number, extension in [
        ("10690001", 0),
        ("106900012", 0),
        ("106900019999", 0),
        ("95588", 5),
        ("955881", 12),
    ]:
        with pytest.raises(psycopg.errors.ExclusionViolation):
            file_number(schema, "B", number, extension=extension, start="2025-03-02", end="2025-04-01")
    with pytest.raises(psycopg.errors.ExclusionViolation):
        schema.execute("UPDATE numbers SET status = 'submitted' WHERE status = 'draft'")
    schema.execute(
        "UPDATE numbers SET status = 'revoked' WHERE number = '10690001' AND effective_from = '2025-01-01'"
    )
    schema.execute("UPDATE numbers SET status = 'submitted' WHERE status = 'draft'")


def test_rectangles_overlap_exactly_when_one_number_could_be_both(schema: psycopg.Connection) -> None:
    random = Random(7)

    def number() -> tuple[str, int]:
        head = random.choice(["1069000", "10690001111111111", "+8657188", "95588"])
        text = head + "".join(random.choice("01") for _ in range(random.randint(0, 5)))
        return text[:20], random.randint(0, min(4, 21 - len(text[:20])))

    pairs = [(*number(), *number()) for _ in range(4000)]
    with schema.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE pairs (i serial, a text, m int, b text, n int)")
        cursor.executemany("INSERT INTO pairs (a, m, b, n) VALUES (%s, %s, %s, %s)", pairs)
        found = cursor.execute(
            "SELECT digits(a) && digits(b) AND reach(a, m, 1) && reach(b, n, 3) FROM pairs ORDER BY i"
        ).fetchall()
    for (a, m, b, n), (overlap,) in zip(pairs, found, strict=True):
        (short, room, long) = (a, m, b) if len(a) <= len(b) else (b, n, a)
        assert overlap == (long.startswith(short) and len(long) <= len(short) + room), (a, m, b, n)


@pytest.mark.parametrize(
    "statement",
    [
        f"{BANS}) VALUES ('r', 'c', '13800000001')",
        f"{BANS}) VALUES ('r', 'c', '+8613800000001 ')",
        f"{BANS}) VALUES ('r', 'c', '+861380000000１')",
        f"{BANS}) VALUES ('', 'c', '10690001')",
        f"{BANS}, is_prefix) VALUES ('r', 'c', '', true)",
        f"{BANS}, removed_by, removed_at) VALUES ('r', 'c', '95588', 'a', now())",
        f"{NUMBERS}) VALUES (4, 1, 1, '95588')",
        f"{NUMBERS}) VALUES (1, 0, 1, '95588')",
        f"{NUMBERS}, agency_id) VALUES (1, 1, 1, '95588', 1)",
        f"{NUMBERS}, status) VALUES (1, 1, 1, '95588', 'approved')",
        f"{NUMBERS}, status, checked_by, approved_by, approved_at)"
        " VALUES (1, 1, 1, '95588', 'approved', 'p', 'p', now())",
        f"{NUMBERS}, extension_digits) VALUES (1, 1, 1, '10690001111111111111', 3)",
        f"{NUMBERS}, effective_from, effective_until) VALUES (1, 1, 1, '95588', '2025-01-02', '2025-01-01')",
        f"{NUMBERS}, effective_until) VALUES (1, 1, 1, '95588', 'infinity')",
        "INSERT INTO mandates (institution_id, agency_id, channels, purposes) VALUES (1, 1, 1, 1)",
        "INSERT INTO holds (cause) VALUES ('penalty')",
        "INSERT INTO holds (cause, institution_id, account_id) VALUES ('penalty', 1, 1)",
        "UPDATE institutions SET kind = 'shop'",
        "INSERT INTO accounts (carrier, protocol, account, holder_id, scope)"
        " VALUES ('mobile', 'cmpp', '900002', 1, 'authority')",
        "UPDATE change_log SET op = 'insert'",
        "TRUNCATE change_log",
        "DELETE FROM institutions_history",
        "TRUNCATE institutions_history",
    ],
)
def test_the_database_refuses(schema: psycopg.Connection, statement: str) -> None:
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.RaiseException)):
        schema.execute(statement)


def test_every_change_is_logged_and_every_old_row_kept(schema: psycopg.Connection) -> None:
    schema.execute("SET session_replication_role = replica")  # what a restore or a clever session sets
    schema.execute(UNGUARDED)
    schema.execute("UPDATE institutions SET name = 'x' WHERE code IN ('A', 'none')")
    schema.execute("UPDATE institutions SET name = 'y' WHERE code = 'none'")
    schema.execute(
        """INSERT INTO institutions (code, name, kind) VALUES ('A', 'z', 'bank')
           ON CONFLICT (code) DO UPDATE SET name = excluded.name"""
    )
    schema.execute("DELETE FROM institutions WHERE code = 'B'")
    schema.execute("TRUNCATE institutions CASCADE")
    log = schema.execute(
        "SELECT key, op FROM change_log WHERE table_name = 'institutions' ORDER BY seq"
    ).fetchall()
    assert log == [
        (1, "insert"),
        (2, "insert"),
        (1, "update"),
        (1, "update"),
        (2, "delete"),
        (None, "truncate"),
    ]
    kept = schema.execute(
        "SELECT code, name, superseded_op FROM institutions_history ORDER BY superseded_version"
    ).fetchall()
    assert kept == [("A", "A", "update"), ("A", "x", "update"), ("B", "B", "delete"), ("A", "z", "truncate")]
    cascaded = schema.execute(
        "SELECT count(DISTINCT table_name) FROM change_log WHERE op = 'truncate'"
    ).fetchone()
    assert cascaded == (18,)


def test_versions_are_not_for_users_to_choose(schema: psycopg.Connection) -> None:
    schema.execute(
        """INSERT INTO institutions (code, name, kind, row_version, row_xid)
           VALUES ('C', 'c', 'bank', 7000000, '7')"""
    )
    assert schema.execute(
        "SELECT row_version < 7000000, row_xid > '7' FROM institutions WHERE code = 'C'"
    ).fetchone() == (True, True)
    log = schema.execute("SELECT row_version FROM change_log ORDER BY seq DESC LIMIT 1").fetchone()
    assert log == schema.execute("SELECT row_version FROM institutions WHERE code = 'C'").fetchone()


def test_a_refusal_is_logged_by_its_subscriber(schema: psycopg.Connection) -> None:
    schema.execute("INSERT INTO registry_keys (key_id, fingerprint) VALUES (1, %s)", [bytes(16)])
    schema.execute(
        """INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, purposes, channels, source,
                                 refused_at) VALUES (%s, 1, '', 1, 1, 'reply', now())""",
        [b"\xff\x01\x02\x03\x04\x05\x06\x07" * 2],
    )
    schema.execute(UNGUARDED)
    schema.execute("UPDATE refusals SET subscriber_hash = %s", [bytes(7) + b"\x05" + bytes(8)])
    first = int.from_bytes(b"\xff\x01\x02\x03\x04\x05\x06\x07", "big", signed=True)
    log = schema.execute(
        "SELECT key, op FROM change_log WHERE table_name = 'refusals' ORDER BY seq"
    ).fetchall()
    assert log == [(first, "insert"), (5, "update"), (first, "delete")]


def test_history_has_all_columns_of_its_table(schema: psycopg.Connection) -> None:
    """In order, behind its own four: the trigger copies rows as they are."""
    columns = schema.execute(
        """SELECT table_name, array_agg(column_name::text || ' ' || udt_name ORDER BY ordinal_position)
             FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1"""
    ).fetchall()
    by_table: dict[str, list[str]] = dict(columns)
    for table in TABLES:
        assert by_table[f"{table}_history"][4:] == by_table[table]


def test_the_whitelist_is_what_is_in_force_now(schema: psycopg.Connection) -> None:
    number = file_number(schema, "A", "10690001", end="2999-01-01")
    file_number(schema, "A", "10690002", end="2001-01-01")
    file_number(schema, "A", "10690003", status="submitted")

    def whitelist() -> list[str]:
        return [row[0] for row in schema.execute("SELECT number FROM whitelist ORDER BY 1")]

    assert whitelist() == ["10690001"]
    schema.execute("INSERT INTO holds (cause, number_id) VALUES ('complaints', %s)", [number])
    schema.execute("INSERT INTO holds (cause, institution_id) VALUES ('penalty', 1)")
    schema.execute(UNGUARDED)
    schema.execute("DELETE FROM holds WHERE cause = 'penalty'")
    assert whitelist() == []
    schema.execute("DELETE FROM holds")
    assert whitelist() == ["10690001"]
    schema.execute("UPDATE institutions SET licence_until = now()")
    assert whitelist() == []


APPROVE = "checked_by = 'x', approved_by = 'y', approved_at = now(), checked_person = 1, approved_person = 2"
FILED = "number, channels, purposes, institution_id, status, checked_by, approved_by, approved_at"
NUMBER_GUARDS = [
    # a filing is checked and approved by steps, or by an import that is open
    (f"UPDATE numbers SET status = 'approved', {APPROVE} WHERE id = 2", "numbers_steps"),
    (f"UPDATE numbers SET status = 'approved', {APPROVE}, run_id = 1 WHERE id = 2", "numbers_steps"),
    ("UPDATE numbers SET status = 'checked', checked_person = 1 WHERE id = 2", "numbers_steps"),
    ("UPDATE numbers SET status = 'draft' WHERE id = 2", "numbers_steps"),
    ("UPDATE numbers SET status = 'draft' WHERE id = 1", "numbers_steps"),
    (f"INSERT INTO numbers ({FILED}) VALUES ('9558', 1, 1, 1, 'approved', 'p', 'q', now())", "numbers_steps"),
    (
        f"INSERT INTO numbers ({FILED}, checked_person, approved_person, run_id)"
        " VALUES ('95588', 1, 1, 1, 'approved', 'p', 'q', now(), 1, 2, 1)",
        "numbers_steps",
    ),
    (f"{NUMBERS}, status) VALUES (1, 1, 1, '95588', 'returned')", "numbers_steps"),
    # what was approved is rewritten or lengthened by a new version only
    ("UPDATE numbers SET purposes = 7 WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET number = '10690003' WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET institution_id = 2 WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET effective_until = NULL WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET effective_until = '2999-01-02' WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET effective_from = '2000-01-01' WHERE id = 1", "numbers_versions"),
    ("UPDATE numbers SET checked_person = 3 WHERE id = 1", "numbers_versions"),
    # steps are taken by users, whom the row cannot name
    ("INSERT INTO number_steps (number_id, step) VALUES (2, 'check')", "number_step_own"),
    ("INSERT INTO number_steps (number_id, step, user_id, person_id, from_status, to_status)"
     " VALUES (2, 'check', 1, 1, 'submitted', 'approved')", "number_step_own"),
    # imports
    ("INSERT INTO import_runs (kind, checker_id, approver_id) VALUES ('numbers', 1, 2)", "import_run_glass"),
    ("UPDATE import_runs SET closed_at = NULL WHERE id = 1", "import_run_kept"),
    ("UPDATE import_runs SET approver_id = 3 WHERE id = 1", "import_run_kept"),
]  # fmt: skip
PROPOSED = "removal_proposed_by = 'x', removal_proposed_at = now(), removal_reason = 'r'"
BAN_GUARDS = [
    ("UPDATE blacklist SET confirmed_by = 'x', confirmed_at = now() WHERE id = 1", "blacklist_regulator"),
    (f"UPDATE blacklist SET {PROPOSED} WHERE id = 2", "blacklist_regulator"),
    ("UPDATE blacklist SET removed_by = 'x', removed_at = now() WHERE id = 2", "blacklist_regulator"),
    ("UPDATE blacklist SET number = '10691' WHERE id = 2", "blacklist_kept"),
    ("UPDATE blacklist SET needs_second = false WHERE id = 1", "blacklist_kept"),
    ("UPDATE blacklist SET added_at = now() - interval '1 day' WHERE id = 2", "blacklist_kept"),
    (f"{BANS}, removal_proposed_by, removal_proposed_at) VALUES ('r', 'c', '10697', 'x', now())",
     "blacklist_kept"),
    (f"{BANS}, is_prefix) VALUES ('r', 'c', '11', true)", "blacklist_protected"),
]  # fmt: skip
MERCY_GUARDS = [
    # hold 1 is by hand, 2 is penalty 1's
    ("UPDATE holds SET valid_until = now() + interval '1 second' WHERE id = 1", "holds_regulator"),
    (
        "UPDATE holds SET valid_until = now() + interval '1 s', lifted_by = 'x' WHERE id = 1",
        "holds_regulator",
    ),
    ("UPDATE holds SET valid_until = now() + interval '1 s', lifted_by = 'x' WHERE id = 2", "holds_penalty"),
    ("UPDATE holds SET institution_id = 1 WHERE id = 1", "holds_kept"),
    ("UPDATE holds SET valid_from = now() + interval '1 day' WHERE id = 1", "holds_kept"),
    ("UPDATE holds SET penalty_id = NULL WHERE id = 2", "holds_kept"),
    ("UPDATE penalties SET lifted_at = now(), lifted_by = 2, lifted_reason = 'x'", "penalties_regulator"),
    ("UPDATE penalties SET valid_until = now() + interval '1 second'", "penalties_kept"),
    ("UPDATE penalties SET kind = 'fine', amount = 1", "penalties_kept"),
    ("UPDATE refusals SET lifted_at = now(), lifted_by = 'x'", "refusals_regulator"),
    ("UPDATE refusals SET subscriber_hash = decode(repeat('00', 16), 'hex')", "refusals_kept"),
    ("UPDATE refusals SET institution_id = 1", "refusals_kept"),
    ("UPDATE refusals SET purposes = 2", "refusals_kept"),
    ("UPDATE refusals SET refused_at = now()", "refusals_kept"),
    ("UPDATE mandates SET valid_until = NULL WHERE id = 1", "mandates_document"),
    ("UPDATE mandates SET valid_until = '2999-01-02' WHERE id = 1", "mandates_document"),
    ("UPDATE mandates SET purposes = 3 WHERE id = 1", "mandates_kept"),
    ("UPDATE mandates SET agency_id = 3 WHERE id = 1", "mandates_kept"),
    ("UPDATE mandates SET status = 'active' WHERE id = 2", "mandates_kept"),
]
KEPT = [
    *(f"{how} {table}" for how in ("DELETE FROM", "TRUNCATE") for table in ("holds", "refusals")),
    *("DELETE FROM penalties", "TRUNCATE penalties CASCADE"),
    *("UPDATE audit SET act = 'x'", "DELETE FROM audit", "TRUNCATE audit CASCADE", "DELETE FROM audit_chain"),
    *("DELETE FROM number_steps", "TRUNCATE import_runs", "DELETE FROM import_runs", "DELETE FROM blacklist"),
    *("TRUNCATE blacklist", "UPDATE number_transitions SET role = 'agency'"),
    *(f"DELETE FROM {table}" for table in ("cases", "complaints", "appeals", "disputes")),
    *(f"{how} {table}" for how in ("DELETE FROM", "TRUNCATE") for table in ("referrals", "case_items")),
    *("UPDATE referrals SET reason = 'x'", "UPDATE case_items SET note = 'x'", "TRUNCATE cases CASCADE"),
    "INSERT INTO number_transitions (step, from_status, to_status, role) VALUES ('x', 'a', 'b', 'c')",
]
GUARDED = """
INSERT INTO registry_keys VALUES (1, decode(repeat('00', 16), 'hex'));
INSERT INTO numbers (number, channels, purposes, institution_id, status)
     VALUES ('10690002', 1, 1, 1, 'submitted');
INSERT INTO blacklist (number, is_prefix, reason, case_reference)
     VALUES ('1069000', true, 'hits a number', 'c'), ('1067', true, 'hits none', 'c');
UPDATE import_runs SET closed_at = now();
INSERT INTO persons (name, identity_hash, identity_sealed, key_id)
     VALUES ('C', decode(md5('c'), 'hex'), 'x', 1);
INSERT INTO users (login, person_id, role, carrier)
     SELECT 'car', id, 'carrier', 'mobile' FROM persons WHERE name = 'C';
INSERT INTO users (login, person_id, role) SELECT 'reg', id, 'regulator' FROM persons WHERE name = 'C';
INSERT INTO credentials (user_id, signed_in_at) VALUES (2, now());
INSERT INTO institutions (code, name, kind) VALUES ('C', 'C', 'agency');
INSERT INTO holds (institution_id, cause) VALUES (2, 'by hand');
INSERT INTO penalties (institution_id, kind, cause, imposed_by) VALUES (2, 'suspension', 'p', 2);
INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, purposes, channels, source, refused_at)
     VALUES (decode(repeat('01', 16), 'hex'), 1, '', 1, 1, 'reply', '2026-01-01');
INSERT INTO mandates (institution_id, agency_id, channels, purposes, valid_until, status)
     VALUES (1, 2, 1, 2, '2999-01-01', 'active'), (2, 3, 1, 2, '2999-01-01', 'revoked');
"""


@pytest.fixture
def guarded(schema: psycopg.Connection) -> psycopg.Connection:
    """Number 1 is approved until 2999, 2 is submitted; ban 1 waits for a second person, 2 stands; import 1 is
    closed, and a regulator has signed in. B is held and penalised; somebody refused everybody's marketing;
    mandate 1 stands until 2999, 2 was revoked."""
    file_number(schema, "A", "10690001", start="2025-01-01", end="2999-01-01")
    schema.execute(GUARDED)
    return schema


@pytest.mark.parametrize("replica", [False, True])
def test_by_sql_alone_nobody_lets_more_through(guarded: psycopg.Connection, replica: bool) -> None:
    if replica:  # what a clever session sets
        guarded.execute("SET session_replication_role = replica")
    for statement, constraint in NUMBER_GUARDS + BAN_GUARDS + MERCY_GUARDS:
        with pytest.raises(psycopg.Error) as caught:
            guarded.execute(statement)
        assert (statement, caught.value.diag.constraint_name) == (statement, constraint)
    for statement in KEPT:
        with pytest.raises(psycopg.errors.RaiseException, match="keeps its rows"):
            guarded.execute(statement)
    assert guarded.execute("SELECT array_agg(number) FROM whitelist").fetchone() == (["10690001"],)
    assert guarded.execute("SELECT array_agg(number) FROM blacklist_in_force").fetchone() == (["1067"],)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE numbers SET status = 'revoked' WHERE id = 1",
        "UPDATE numbers SET effective_until = now() WHERE id = 1",
        "UPDATE institutions SET status = 'closed'",
        "INSERT INTO holds (cause, number_id) VALUES ('c', 1)",
        "INSERT INTO holds (cause, institution_id) VALUES ('c', 1)",
    ],
)
def test_tightening_is_free_and_in_the_audit(guarded: psycopg.Connection, statement: str) -> None:
    guarded.execute(statement)
    assert guarded.execute("SELECT count(*) FROM whitelist").fetchone() == (0,)
    act = guarded.execute("SELECT door, act FROM audit ORDER BY id DESC LIMIT 1").fetchone()
    assert act == ("sql", f"sql.{statement.partition(' ')[0].lower()}")
    assert guarded.execute("SELECT audit_broken()").fetchone() == (None,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE holds SET valid_until = NULL",
        "UPDATE refusals SET purposes = 3, channels = 3, flags = '{seen}'",
        "UPDATE mandates SET valid_until = '2027-01-01' WHERE id = 1",
        "UPDATE mandates SET valid_until = NULL, document_sha256 = sha256('') WHERE id = 1",
        "UPDATE mandates SET status = 'revoked'",
        """WITH regulator AS MATERIALIZED (SELECT set_config('zhengming.user', '2', true))
           UPDATE penalties SET lifted_at = now(), lifted_by = 1, lifted_reason = 'over' FROM regulator""",
        """WITH regulator AS MATERIALIZED (SELECT set_config('zhengming.user', '2', true))
           UPDATE holds SET valid_until = now() + interval '1 s', lifted_by = 'reg' FROM regulator
            WHERE penalty_id IS NULL""",
        """WITH regulator AS MATERIALIZED (SELECT set_config('zhengming.user', '2', true))
           UPDATE refusals SET lifted_at = now(), lifted_by = 'x', lifted_reason = 'r', lifted_case = 'C-1'
             FROM regulator""",
    ],
)
def test_what_protects_subscribers_ends_by_those_who_may(guarded: psycopg.Connection, statement: str) -> None:
    assert guarded.execute(statement).rowcount > 0
    lifters = guarded.execute("SELECT lifted_by FROM penalties WHERE lifted_at IS NOT NULL").fetchall()
    assert lifters == ([(2,)] if "penalties" in statement else [])  # who it was is looked up
    assert guarded.execute(
        "SELECT count(*) FROM holds WHERE penalty_id IS NOT NULL AND lifted_by = 'reg'"
    ).fetchone() == (len(lifters),)


def test_what_another_row_says_of_a_subscriber_may_end_a_refusal(guarded: psycopg.Connection) -> None:
    """As a reply that accepts again does, by its trigger."""
    guarded.execute(
        """CREATE TABLE accepted (at timestamptz);
           CREATE FUNCTION accepts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               UPDATE refusals SET lifted_at = NEW.at, lifted_by = 'reply';
               RETURN NULL;
           END $$;
           CREATE TRIGGER accepts AFTER INSERT ON accepted FOR EACH ROW EXECUTE FUNCTION accepts();
           INSERT INTO accepted VALUES (now())"""
    )
    assert guarded.execute("SELECT lifted_by FROM refusals").fetchall() == [("reply",)]


def test_a_case_breaks_the_glass_and_is_seen(guarded: psycopg.Connection) -> None:
    guarded.execute(
        "INSERT INTO import_runs (kind, checker_id, approver_id, case_reference)"
        " VALUES ('numbers', 1, 2, 'C-1')"
    )
    open_runs = guarded.execute("SELECT case_reference FROM import_runs WHERE closed_at IS NULL").fetchall()
    assert open_runs == [("C-1",)]
    assert guarded.execute("SELECT act FROM audit ORDER BY id DESC LIMIT 1").fetchone() == ("sql.insert",)


def test_a_registry_of_before_is_brought_up(empty: str) -> None:
    """Rows that were filed under 0004 stand as they were; what was approved then stays approved. An account
    that could not be today holds the upgrade up until somebody has put it right."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(migrate._config(dsn=empty), "0004")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO institutions (code, name, kind, licence_scope) VALUES ('A', 'A', 'bank', 7);
               INSERT INTO numbers (number, channels, purposes, institution_id, status, checked_by,
                                    approved_by, approved_at)
                    VALUES ('10690001', 1, 1, 1, 'approved', 'p', 'q', now()),
                           ('10690002', 1, 1, 1, 'checked', 'p', NULL, NULL),
                           ('10690003', 1, 1, 1, 'submitted', NULL, NULL, NULL);
               UPDATE numbers SET signatures = '{x}' WHERE number = '10690001';
               INSERT INTO blacklist (number, is_prefix, reason, case_reference)
                    VALUES ('1069', true, 'r', 'c');
               INSERT INTO holds (cause, institution_id) VALUES ('c', 1);
               DELETE FROM holds;
               INSERT INTO accounts (carrier, protocol, account, holder_id, scope)
                    VALUES ('mobile', 'cmpp', '900001', 1, 'authority')"""
        )
        # which a bank's account can't be: whoever filed it so says what he meant
        with pytest.raises(psycopg.errors.CheckViolation, match="mobile cmpp 900001 of A; right would be"):
            migrate.upgrade(empty)
        connection.execute("UPDATE accounts SET scope = 'other'")
        migrate.upgrade(empty)
        assert connection.execute("SELECT number, version FROM whitelist").fetchall() == [("10690001", 1)]
        assert connection.execute("SELECT number FROM blacklist_in_force").fetchall() == [("1069",)]
        connection.execute("UPDATE numbers SET status = 'revoked' WHERE number = '10690001'")
        connection.execute("UPDATE institutions SET name = 'B'")
        kept = connection.execute(
            "SELECT status, version FROM numbers_history ORDER BY superseded_version"
        ).fetchall()
        assert kept == [("approved", None), ("approved", 1)]
        assert connection.execute("SELECT count(*) FROM holds_history").fetchone() == (1,)
        assert connection.execute("SELECT audit_broken()").fetchone() == (None,)


PROPOSED = """UPDATE blacklist
                 SET removal_proposed_by = 'x', removal_proposed_at = now(), removal_reason = 'x'"""
BEGUN = f"""
INSERT INTO registry_keys (key_id, fingerprint) VALUES (1, decode(md5('f'), 'hex'));
INSERT INTO institutions (code, name, kind, licence_scope) VALUES ('A', 'A', 'bank', 7);
INSERT INTO persons (name) VALUES ('name');
INSERT INTO persons (name, identity_hash, identity_sealed, key_id)
SELECT n, decode(md5(n), 'hex'), decode('00', 'hex'), 1 FROM unnest(ARRAY['one', 'two']) n;
INSERT INTO users (login, person_id, role)
SELECT name, id, 'regulator' FROM persons ORDER BY id;
INSERT INTO users (login, person_id, role, institution_id) VALUES ('bank', 3, 'institution', 1);
INSERT INTO numbers (number, extension_digits, channels, purposes, institution_id, status)
VALUES ('106', 12, 1, 1, 1, 'submitted');
SELECT set_config('zhengming.user', '2', false);
INSERT INTO blacklist (number, reason, case_reference) VALUES ('1008611', 'r', 'c');
SELECT set_config('zhengming.user', '1', false);
{PROPOSED};
SELECT set_config('zhengming.user', '4', false);
CREATE TABLE all_intercepts PARTITION OF intercepts DEFAULT;
INSERT INTO intercepts (id, at, carrier, node, protocol, account, channel, number, registration, institution,
                        agency, purpose, region, subscriber, reason, sub, findings, profile,
                        registry_version, writer, segment, "offset", place)
VALUES (repeat('ab', 16)::uuid, now(), 'mobile', 'n', 'cmpp', '9', 1, '1008611', '', 'A',
        '', '', '', '', 'blacklisted', '', '[]', '', 1, 'w', 1, 1, 1);
INSERT INTO appeals (against_kind, against, institution_id, grounds, due)
VALUES ('verdict', repeat('ab', 16), 1, 'g', '2026-12-14');
"""


def test_what_one_known_by_name_only_had_begun_is_begun_anew(empty: str) -> None:
    """Under 0018: a removal proposed by a name, an open appeal without authors, and a filing and a ban that
    are too wide now: these two stand, and can be taken away."""
    from alembic import command  # noqa: PLC0415

    command.upgrade(migrate._config(dsn=empty), "0018")
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(BEGUN)
        migrate.upgrade(empty)
        proposed = "SELECT removal_proposed_by, removal_reason FROM blacklist_in_force"
        assert connection.execute(proposed).fetchall() == [(None, "x")]
        assert connection.execute("SELECT author_persons FROM appeals").fetchall() == [([2],)]
        for user, statement in (
            ("2", "INSERT INTO number_steps (number_id, step, reason) VALUES (1, 'veto', 'too wide')"),
            ("2", PROPOSED),
            ("3", "UPDATE blacklist SET removed_by = 'x', removed_at = now()"),
        ):
            connection.execute("SELECT set_config('zhengming.user', %s, false)", (user,))
            connection.execute(statement)
        assert connection.execute("SELECT status FROM numbers").fetchall() == [("revoked",)]
        assert connection.execute("SELECT count(*) FROM blacklist_in_force").fetchone() == (0,)


@pytest.mark.parametrize(
    ("at", "fails", "waits"), [(None, False, True), ("0001", False, False), (None, True, False)]
)
async def test_a_keeper_waits_for_a_schema_that_is_being_made(
    monkeypatch: pytest.MonkeyPatch, at: str | None, fails: bool, waits: bool
) -> None:
    """Not for a database that is away, nor for an old schema whose upgrade waits for somebody's lock."""
    going_on, done = threading.Event(), threading.Event()

    def upgrade(_: str) -> None:
        if fails and not going_on.is_set():
            raise psycopg.OperationalError("away")
        going_on.wait(10)
        done.set()

    monkeypatch.setattr(migrate, "current", lambda _: at)
    monkeypatch.setattr(migrate, "upgrade", upgrade)
    monkeypatch.setattr(migrate, "AGAIN_SECONDS", 0.01)
    async with asyncio.TaskGroup() as group:
        log = logging.getLogger("migrating")
        waiting = asyncio.create_task(migrate.brought_up("", group, log, patience=0.05))
        ended, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert bool(ended) is not waits
        going_on.set()
        await waiting
    assert done.is_set()
