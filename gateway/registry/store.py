"""The SQL of the registry, one function one query: what nodes follow, and what operators and nodes do.

Rules: plain SQL, no decisions; every function takes an open asyncpg connection and leaves transactions to
its caller. What a table looks like in a replica stands in tables.py; import and export in exchange.py.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import UsageError
from gateway.registry.local import LocalRefusal
from gateway.registry.tables import TABLES, Row

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

CHANNEL = "registry_changes"
"""LISTEN to this; it says no more than that something changed."""

PREFETCH = 5000
"""Rows that a cursor brings at once."""


class LogState(NamedTuple):
    """Where the change log stands.

    `database` differs when this is not the same database any more (another cluster, timeline or restore);
    `snapshot` is pg_snapshot as text; `anchor` names one row of the log ("" if it is not there); `pruned`
    and `pruned_up_to` tell how often rows were deleted, and up to which transaction.
    """

    database: str
    snapshot: str
    anchor: str
    pruned: int
    pruned_up_to: int


class Change(NamedTuple):
    """One row of the change log. `key` is the row's id, of a refusal its subscriber_key; None: truncate."""

    seq: int
    table: str
    key: int | None
    op: str  # insert | update | delete | truncate; copy: the node copied everything afresh
    row_version: int
    by: str
    at: datetime


class StoredRefusal(NamedTuple):
    """A refusal as nodes need it; `at` in ms."""

    key: int
    institution: int
    number: str
    purposes: int
    channels: int
    at: int
    event: bytes
    in_force: bool


_ANCHOR = "concat_ws(' ', seq, xid, extract(epoch FROM at))"
_REFUSAL = """SELECT subscriber_key, coalesce(institution_id, 0), coalesce(number, ''), purposes, channels,
                     millis(refused_at), event, lifted_at IS NULL FROM refusals"""


async def log_state(c: "Connection", anchor: int | None) -> LogState:
    """Where the log stands now; `anchor` is a row's number, None: the newest row's."""
    row = await c.fetchrow(
        f"""
        SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                         left(pg_walfile_name(pg_current_wal_lsn()), 8),
                         (SELECT oid FROM pg_database WHERE datname = current_database()),
                         'change_log'::regclass::oid),
               pg_current_snapshot()::text,
               coalesce((SELECT {_ANCHOR} FROM change_log
                          WHERE seq = coalesce($1, (SELECT max(seq) FROM change_log))), ''),
               times, up_to::text
          FROM change_log_pruned""",
        anchor,
    )
    if row is None:
        raise UsageError("the table change_log_pruned lost its row: insert it again (DEFAULT VALUES)")
    return LogState(row[0], row[1], row[2], row[3], int(row[4]))


async def changes(c: "Connection", since: str) -> AsyncIterator[list[tuple[Change, str]]]:
    """Changes that are visible now and were not in the snapshot `since`, each with its anchor; in batches.

    Needs an open transaction. By transaction, not by number: a row that was numbered early and committed
    late is found when it appears.
    """
    cursor = await c.cursor(
        f"""
        SELECT seq, table_name, key, op, row_version, by_user, at, {_ANCHOR}
          FROM change_log WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
        UNION ALL
        SELECT seq, table_name, key, op, row_version, by_user, at, {_ANCHOR}
          FROM change_log WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
        ORDER BY 1""",
        since,
    )
    while rows := await cursor.fetch(PREFETCH):
        yield [(Change(*row[:7]), row[7]) for row in rows]


async def rows_of(c: "Connection", table: str, ids: Sequence[int]) -> list[Row]:
    """Those of these rows that nodes need, as tables.py says."""
    return [list(row) for row in await c.fetch(TABLES[table].query("id = ANY ($1)"), ids)]


async def all_rows(c: "Connection", table: str) -> AsyncIterator[list[Row]]:
    """All rows that nodes need, by id, in batches. Needs an open transaction."""
    cursor = await c.cursor(TABLES[table].query("true") + " ORDER BY id")
    while rows := await cursor.fetch(PREFETCH):
        yield [list(row) for row in rows]


async def all_ids(c: "Connection", table: str) -> AsyncIterator[list[int]]:
    """The ids of all rows, in batches. Needs an open transaction."""
    cursor = await c.cursor(f"SELECT id FROM {table}")
    while rows := await cursor.fetch(PREFETCH):
        yield [row[0] for row in rows]


async def refusals_of(c: "Connection", keys: Sequence[int]) -> list[StoredRefusal]:
    """All refusals under these subscriber keys, lifted ones too."""
    rows = await c.fetch(f"{_REFUSAL} WHERE subscriber_key = ANY ($1) ORDER BY subscriber_key, id", keys)
    return [StoredRefusal(*row) for row in rows]


async def all_refusals(c: "Connection") -> AsyncIterator[list[StoredRefusal]]:
    """All refusals in force, in the order of the key's octets, in batches. Needs an open transaction."""
    for half in ("subscriber_key >= 0", "subscriber_key < 0"):
        cursor = await c.cursor(f"{_REFUSAL} WHERE {half} AND lifted_at IS NULL ORDER BY subscriber_key, id")
        while rows := await cursor.fetch(PREFETCH):
            yield [StoredRefusal(*row) for row in rows]


async def missing_events(c: "Connection", events: Sequence[bytes]) -> set[bytes]:
    """Those of these refusals that the database does not have."""
    rows = await c.fetch(
        """SELECT e FROM unnest($1::bytea[]) e
            WHERE NOT EXISTS (SELECT FROM refusals r WHERE r.event = e)""",
        events,
    )
    return {row[0] for row in rows}


async def insert_refusals(c: "Connection", key_id: int, refusals: Sequence[LocalRefusal]) -> None:
    """Refusals that a node learnt; without those that are there already, or whose institution is not."""
    await c.execute(
        """
        INSERT INTO refusals (event, subscriber_hash, subscriber_sealed, key_id, institution_id, number,
                              purposes, channels, refused_at, source, flags, node, carrier, protocol, account,
                              message_id)
        SELECT event, hash, sealed, $1, i.id, nullif(number, ''), purposes, channels,
               'epoch'::timestamptz + at * interval '1 millisecond', source, string_to_array(flags, ' '),
               node, carrier, protocol, account, message_id
          FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[], $6::text[], $7::smallint[],
                      $8::smallint[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[],
                      $14::text[], $15::text[], $16::bytea[])
               AS r (event, hash, sealed, institution, number, purposes, channels, at, source, flags, node,
                     carrier, protocol, account, message_id)
          LEFT JOIN institutions i ON i.id = r.institution
         WHERE r.institution = 0 OR i.id IS NOT NULL
        ON CONFLICT (event) DO NOTHING""",
        key_id,
        [r.event for r in refusals],
        [r.subscriber_hash for r in refusals],
        [r.subscriber_sealed for r in refusals],
        [r.institution for r in refusals],
        [r.number for r in refusals],
        [r.purposes for r in refusals],
        [r.channels for r in refusals],
        [r.at for r in refusals],
        [r.source for r in refusals],
        [" ".join(r.flags) for r in refusals],
        [r.node for r in refusals],
        [r.account.carrier for r in refusals],
        [r.account.protocol for r in refusals],
        [r.account.account for r in refusals],
        [r.message_id for r in refusals],
    )


async def register_key(c: "Connection", fingerprint: bytes) -> int:
    """The database's number for a registry key; the first key that comes becomes the database's own.

    Raises UsageError for a key that the database does not know.
    """
    await c.execute(
        """INSERT INTO registry_keys (key_id, fingerprint)
           SELECT 1, $1 WHERE NOT EXISTS (SELECT FROM registry_keys) ON CONFLICT DO NOTHING""",
        fingerprint,
    )
    known = await c.fetchval("SELECT key_id FROM registry_keys WHERE fingerprint = $1", fingerprint)
    if known is None:
        raise UsageError(
            "this node's registry key is not the database's: copy keys/registry.key from the data_dir of a "
            "node that uses this database"
        )
    return int(known)


async def prune_changes(c: "Connection", before: datetime, most: int = 10_000) -> int:
    """Delete log rows older than `before` that every transaction can see, but the newest; how many."""
    done = await c.execute(
        """DELETE FROM change_log WHERE seq = ANY (ARRAY(
               SELECT seq FROM change_log
                WHERE at < $1 AND xid < pg_snapshot_xmin(pg_current_snapshot())
                  AND seq < (SELECT max(seq) FROM change_log)
                ORDER BY seq LIMIT $2))""",
        before,
        most,
    )
    return int(done.rpartition(" ")[2])


async def add_ban(
    c: "Connection", number: str, *, is_prefix: bool, reason: str, case_reference: str, by: str
) -> int | None:
    """Ban a canonical number or prefix; its id, or None when it is banned already.

    Raises asyncpg.CheckViolationError for what is not canonical, or would cover a protected number.
    """
    identity: int | None = await c.fetchval(
        """INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)
           VALUES ($1, $2, $3, $4, $5) ON CONFLICT (number, is_prefix) WHERE removed_at IS NULL DO NOTHING
           RETURNING id""",
        number,
        is_prefix,
        reason,
        case_reference,
        by,
    )
    return identity


async def bans(c: "Connection", *, after: int = 0, most: int = 1000) -> "list[asyncpg.Record]":
    """Entries in force by id, beginning after the id `after`."""
    return await c.fetch(
        """SELECT id, number, is_prefix, reason, case_reference, added_by, added_at, removal_proposed_by
             FROM blacklist WHERE removed_at IS NULL AND id > $1 ORDER BY id LIMIT $2""",
        after,
        most,
    )


async def propose_removal(c: "Connection", ban: int, *, by: str, reason: str) -> bool:
    """The first of two persons wants an entry off the blacklist; whether there is such an entry."""
    done = await c.execute(
        """UPDATE blacklist SET removal_proposed_by = $2, removal_reason = $3, removal_proposed_at = now()
            WHERE id = $1 AND removed_at IS NULL""",
        ban,
        by,
        reason,
    )
    return done == "UPDATE 1"


async def confirm_removal(c: "Connection", ban: int, *, by: str) -> bool:
    """The second person agrees; whether a proposal stood. Raises CheckViolationError if it is the first."""
    done = await c.execute(
        """UPDATE blacklist SET removed_by = $2, removed_at = now()
            WHERE id = $1 AND removed_at IS NULL AND removal_proposed_by IS NOT NULL""",
        ban,
        by,
    )
    return done == "UPDATE 1"


async def place_hold(
    c: "Connection",
    *,
    cause: str,
    by: str,
    number: int | None = None,
    institution: int | None = None,
    account: int | None = None,
    until: datetime | None = None,
) -> int:
    """Suspend one number, institution (or agency) or account, by id; the hold's id."""
    identity: int = await c.fetchval(
        """INSERT INTO holds (number_id, institution_id, account_id, cause, held_by, valid_until)
           VALUES ($1, $2, $3, $4, $5, $6) RETURNING id""",
        number,
        institution,
        account,
        cause,
        by,
        until,
    )
    return identity


async def lift_hold(c: "Connection", hold: int, *, by: str) -> bool:
    """End a hold now; whether it stood."""
    done = await c.execute(
        """UPDATE holds SET valid_until = greatest(clock_timestamp(), valid_from + interval '1 microsecond'),
                            lifted_by = $2
            WHERE id = $1 AND (valid_until IS NULL OR valid_until > now())""",
        hold,
        by,
    )
    return done == "UPDATE 1"
