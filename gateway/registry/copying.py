"""A fresh copy of the registry: a new generation of the replica, out of one snapshot of the database.

Rules: the old generation serves until the new one is whole. Refusals that this node once told the database
and that are not there now (it was restored from an older backup) are pending again before the new one serves.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from gateway.registry import keyed, store
from gateway.registry.changelog import Cursor, number_of
from gateway.registry.local import LocalRefusals
from gateway.registry.tables import TABLES
from gateway.registry.writer import BUILD_COMMIT, ReplicaWriter

if TYPE_CHECKING:
    import asyncpg

KEPT_BATCH = 5_000


async def copy_afresh(
    c: "asyncpg.Connection[Any]", writer: ReplicaWriter, local: LocalRefusals, now: int
) -> Cursor:
    """Build a generation and switch to it; the cursor from which to follow."""
    writer.begin()
    async with c.transaction(isolation="repeatable_read", readonly=True):
        await store.plan_freely(c)
        cursor = Cursor.at(await store.log_state(c, None))
        keys = tuple(fingerprint for _, fingerprint in await keyed.fingerprints(c))
        known = [key.fingerprint for key in writer.replica.key.keys]  # `local` may hold something under them
        keys = (*(key for key in known if key not in keys), *keys)
        for table in TABLES:
            async for rows in store.all_rows(c, table):
                writer.build_rows(table, rows)
        held: list[asyncpg.Record] = []
        async for batch in store.all_refusals(c):
            held += batch
            if len(held) >= BUILD_COMMIT:
                last = held[-1][0]  # perhaps there are more of this subscriber
                end = next((i for i in range(len(held), 0, -1) if held[i - 1][0] != last), 0)
                writer.build_refusals(_by_key(held[:end]))
                held = held[end:]
        writer.build_refusals(_by_key(held))
        kept = (refusal for refusal, _ in local.kept())
        while some := list(islice(kept, KEPT_BATCH)):
            missing = await store.missing_events(c, [refusal.event for refusal in some])
            if missing:
                local.revive([refusal for refusal in some if refusal.event in missing])
    newest = await store.number_above(c, number_of(cursor.anchor) or 0, writer.version)
    writer.finish(cursor, newest, now, keys)
    return cursor


def _by_key(rows: "Iterable[asyncpg.Record]") -> "Iterator[tuple[int, list[tuple[Any, ...]]]]":
    for key, group in groupby(rows, key=itemgetter(0)):
        yield key, [row[1:] for row in group]
