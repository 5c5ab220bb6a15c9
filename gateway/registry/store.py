"""The SQL of the registry, one function one query: what nodes follow, and what operators and nodes do.

Rules: plain SQL, no decisions; every function takes an open asyncpg connection and leaves transactions to
its caller. What a table looks like in a replica stands in tables.py; import and export in exchange.py.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import NotReady, UsageError
from gateway.model import Refusal
from gateway.registry.changelog import LogState, Range
from gateway.registry.local import LocalRefusal
from gateway.registry.tables import TABLES, Row

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

CHANNEL = "registry_changes"
"""LISTEN to this; it says no more than that something changed."""

PREFETCH = 10_000
"""Rows that a cursor brings at once."""


PRUNE_BATCH = 10_000

BY_INDEX = dict.fromkeys(("enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"), "off")
"""Settings of a connection that follows the log: after a great import the planner knows nothing of the log
yet and would sort all of it for each of a thousand small steps."""


class Change(NamedTuple):
    """One row of the change log. `key` is the row's id, of a refusal its subscriber_key; None: truncate.
    `subject` is the row's business key, with nothing of a subscriber; `case` the case reference, if any."""

    seq: int
    table: str
    key: int | None
    op: str  # insert | update | delete | truncate | rekey; copy: the node copied everything afresh
    row_version: int
    by: str
    at: datetime
    subject: str = ""
    case: str = ""
    moved_to: int | None = None  # of a subscriber_key that was moved to another registry key


class StoredRefusal(NamedTuple):
    """A refusal or an acceptance as nodes need it; of another reply, its event alone. `node`: where the
    reply arrived that a refusal is; "" for others."""

    key: int
    refusal: Refusal
    event: bytes
    in_force: bool
    node: str


_ANCHOR = "concat_ws(' ', seq, xid, extract(epoch FROM at))"
_REFUSED = """subscriber_key, coalesce(institution_id, 0) AS institution, coalesce(number, '') AS number,
              purposes, channels, millis(refused_at) AS at, coalesce(millis(undecided_until), 0) AS until,
              NULL::bytea[] AS events, id"""
_ACCEPTED = """subscriber_key, coalesce(institution_id, 0), number, 0::smallint, 0::smallint,
               millis(said_at), 0,
               event || ARRAY(SELECT r.event FROM refusals r
                               WHERE r.subscriber_key = a.subscriber_key
                                 AND r.subscriber_hash = a.subscriber_hash
                                 AND r.lifted_by = 'reply' AND r.lifted_at = a.said_at ORDER BY r.id),
               id"""
"""Columns by which a refusal, and an acceptance, becomes a `model.Refusal`: key, its fields, id."""


async def plan_freely(c: "Connection") -> None:
    """Undo `BY_INDEX` for the rest of the transaction."""
    for setting in BY_INDEX.keys() - {"jit"}:
        await c.execute(f"SET LOCAL {setting} = on")


async def log_state(c: "Connection", anchor: int | None, seen: str | None = None) -> LogState:
    """Where the log stands now, and what its row with the number `anchor` is: the newest that the snapshot
    `seen` showed."""
    row = await c.fetchrow(
        f"""
        SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()),
                         left(pg_walfile_name(pg_current_wal_lsn()), 8),
                         (SELECT oid FROM pg_database WHERE datname = current_database()),
                         'change_log'::regclass::oid),
               pg_current_snapshot()::text,
               coalesce((SELECT {_ANCHOR} FROM change_log ORDER BY seq DESC LIMIT 1), ''),
               coalesce((SELECT {_ANCHOR} FROM change_log WHERE seq = $1), ''),
               times, up_to::text,
               EXISTS (SELECT FROM change_log
                        WHERE seq > coalesce($1, 0) AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot))
          FROM change_log_pruned""",
        anchor,
        seen,
    )
    if row is None:
        raise UsageError("the table change_log_pruned lost its row: insert it again (DEFAULT VALUES)")
    return LogState(row[0], row[1], row[2], row[3], row[4], int(row[5]), row[6])


async def number_above(c: "Connection", newest: int, version: int) -> int:
    """`newest`, or where a replica's `version` has come that far, a number of the log's own above both.

    No later change will have it: states of what is applied in pieces, or again, are told from what follows.
    """
    if newest > version:
        return newest
    missing = "greatest($1 - (SELECT last_value FROM registry_seq), 0)"
    above = await c.fetchval(
        f"SELECT max(nextval('registry_seq')) FROM generate_series(0, {missing})", max(version, newest)
    )
    return int(above)


async def changes(c: "Connection", some: Range, most: int) -> tuple[list[Change], Range | None]:
    """The newest rows of a range, at most so many, and the range that is left (None: nothing)."""
    rows = await c.fetch(
        """
        SELECT seq, table_name, key, op, row_version, by_user, at, subject, case_reference, moved_to,
               xid::text
          FROM change_log
         WHERE (xid, seq) < ($1::text::xid8, $2::bigint) AND xid >= $3::text::xid8
           AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot)
         ORDER BY change_log.xid DESC, seq DESC LIMIT $5""",
        str(some.xid),
        some.seq,
        str(some.first),
        some.snapshot,
        most,
    )
    left = some._replace(xid=int(rows[-1][10]), seq=rows[-1][0]) if len(rows) == most else None
    return [Change(*row[:10]) for row in rows], left


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
    """All refusals under these subscriber keys, lifted ones too, and then all other replies."""
    rows = await c.fetch(
        f"""SELECT *
              FROM (SELECT 0 AS part, {_REFUSED}, event, lifted_at IS NULL AS in_force,
                            CASE WHEN source = 'reply' THEN node ELSE '' END AS node
                       FROM refusals
                     WHERE subscriber_key = ANY ($1)
                     UNION ALL
                    SELECT 1, {_ACCEPTED}, event, kind = 'accept', '' FROM replies a
                     WHERE subscriber_key = ANY ($1)) t
             ORDER BY subscriber_key, part, id""",
        keys,
    )
    return [
        StoredRefusal(
            row[1],
            Refusal._make((*row[2:8], row["events"] and tuple(row["events"]))),
            row["event"],
            row["in_force"],
            row["node"],
        )
        for row in rows
    ]


async def moved(c: "Connection", keys: Sequence[int]) -> list[int]:
    """Where those of these subscriber keys are now that were moved to another registry key."""
    rows = await c.fetch(
        "SELECT DISTINCT moved_to FROM change_log WHERE key = ANY ($1) AND moved_to IS NOT NULL", keys
    )
    return [row[0] for row in rows]


async def brought(c: "Connection", keys: Sequence[int]) -> dict[tuple[str, int], Row]:
    """The rows of other tables that replies of these subscribers brought: consents and strangers."""
    found: dict[tuple[str, int], Row] = {}
    for table, kind, named in (
        ("consents", "accept", "(subscriber_hash, institution_id, source, given_at)"),
        ("recipients", "wrong_person", "(subscriber_hash, institution_id, role, valid_from)"),
    ):
        word = "reply" if table == "consents" else "stranger"
        condition = f"""{named} IN (SELECT subscriber_hash, institution_id, '{word}', said_at FROM replies
                                     WHERE subscriber_key = ANY ($1) AND kind = '{kind}')"""
        rows = await c.fetch(TABLES[table].query(condition), keys)
        found |= {(table, row[0]): list(row) for row in rows}
    return found


async def all_refusals(c: "Connection") -> "AsyncIterator[list[asyncpg.Record]]":
    """All refusals in force, and acceptances after them, in batches: subscriber_key, then the fields of
    `model.Refusal`; in the order of the key's octets. Needs an open transaction."""
    for half in ("subscriber_key >= 0", "subscriber_key < 0"):
        cursor = await c.cursor(
            f"""SELECT subscriber_key, institution, number, purposes, channels, at, until, events
                  FROM (SELECT 0 AS part, {_REFUSED} FROM refusals WHERE {half} AND lifted_at IS NULL
                         UNION ALL
                        SELECT 1, {_ACCEPTED} FROM replies a WHERE {half} AND kind = 'accept') t
                 ORDER BY subscriber_key, part, id"""
        )
        while rows := await cursor.fetch(PREFETCH):
            yield rows


async def missing_events(c: "Connection", events: Sequence[bytes]) -> set[bytes]:
    """Those of these refusals and other replies that the database does not have."""
    rows = await c.fetch(
        """SELECT e FROM unnest($1::bytea[]) e
            WHERE NOT EXISTS (SELECT FROM refusals r WHERE r.event = e)
              AND NOT EXISTS (SELECT FROM replies r WHERE r.event = e)""",
        events,
    )
    return {row[0] for row in rows}


async def insert_refusals(c: "Connection", key_id: int, learnt: Sequence[LocalRefusal]) -> None:
    """Refusals, and other replies, that a node learnt; without those that are there already, or whose
    institution is not."""
    await _insert(c, key_id, _REFUSALS, [one for one in learnt if one.kind == "refuse"])
    await _insert(c, key_id, _REPLIES, [one for one in learnt if one.kind != "refuse"])


_LEARNT = """
  FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[], $6::text[], $7::smallint[], $8::smallint[],
              $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
              $16::bytea[], $17::text[], $18::bytea[], $19::bigint[])
       AS r (event, hash, sealed, institution, number, purposes, channels, at, source, flags, node, carrier,
             protocol, account, message_id, kind, record, until)
  LEFT JOIN institutions i ON i.id = r.institution
 WHERE r.institution = 0 OR i.id IS NOT NULL
ON CONFLICT (event) DO NOTHING"""
_INSTANT = "'epoch'::timestamptz + {} * interval '1 millisecond'"
_REFUSALS = f"""
INSERT INTO refusals (event, subscriber_hash, subscriber_sealed, key_id, institution_id, number, purposes,
                      channels, refused_at, source, flags, node, carrier, protocol, account, message_id)
SELECT event, hash, sealed, $1, i.id, nullif(number, ''), purposes, channels, {_INSTANT.format("at")}, source,
       string_to_array(flags, ' '), node, carrier, protocol, account, message_id{_LEARNT}"""
_REPLIES = f"""
INSERT INTO replies (event, record, kind, subscriber_hash, subscriber_sealed, key_id, institution_id, number,
                     purposes, channels, said_at, undecided_until, flags, node, carrier, protocol, account,
                     message_id)
SELECT event, encode(record, 'hex')::uuid, r.kind, hash, sealed, $1, i.id, number, purposes, channels,
       {_INSTANT.format("at")}, {_INSTANT.format("nullif(until, 0)")}, string_to_array(flags, ' '), node,
       carrier, protocol, account, message_id{_LEARNT}"""


async def _insert(c: "Connection", key_id: int, statement: str, learnt: Sequence[LocalRefusal]) -> None:
    if not learnt:
        return
    fields = [
        (
            *(one.event, one.subscriber_hash, one.subscriber_sealed, one.institution, one.number),
            *(one.purposes, one.channels, one.at, one.source, " ".join(one.flags), one.node),
            *(one.account.carrier, one.account.protocol, one.account.account, one.message_id),
            *(one.kind, one.record, one.undecided_until),
        )
        for one in learnt
    ]
    await c.execute(statement, key_id, *zip(*fields, strict=True))


_FOLLOW = [
    "registry_stamp",
    "registry_inserted",
    "registry_updated",
    "registry_deleted",
    "registry_truncated",
]
_UNFOLLOWED = """
SELECT t.relname
  FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'row_xid'
 WHERE t.oid = to_regclass(t.relname) AND t.relkind = 'r' AND t.relname NOT LIKE '%_history'
   AND (SELECT count(*) FROM pg_trigger g
         WHERE g.tgrelid = t.oid AND g.tgenabled = 'A' AND g.tgname = ANY ($1)) < cardinality($1)
 ORDER BY t.relname"""


async def check_followed(c: "Connection") -> None:
    """Raises NotReady while a table of the registry is without the triggers of `registry_follow`.

    pg_restore makes them last. Before that a copy may lack rows that come without a line of the log, and
    what is written reaches no node.
    """
    if names := [row[0] for row in await c.fetch(_UNFOLLOWED, _FOLLOW)]:
        raise NotReady(
            f"{', '.join(names)}: triggers of the change log are missing or off; right would be to wait for a"
            " restore that is under way, or to enable them ALWAYS"
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


async def prune_changes(c: "Connection", before: datetime, most: int = PRUNE_BATCH) -> int:
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
