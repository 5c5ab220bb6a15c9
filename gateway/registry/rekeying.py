"""Moves the registry's rows to the newest registry key, once a rotation has begun, and retires the older one.

Rules: one keeper of all nodes does it at a time; a commit moves what `BATCH` rows say of their subscribers,
and how far it has come is in the same commit, so that a kill loses nothing and repeats nothing. What can't
be opened stays where it is, is said, and keeps the older key from being retired. Nodes follow by the change
log (feed.py); whoever adds a row meanwhile has moved his subscriber's before (keyed.py).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from gateway.errors import NotReady
from gateway.registry import keyed, primary
from gateway.registry.keyed import InUse, Keyed
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

BATCH = 500
"""Rows that a commit looks at. A subscriber has a few in all tables, and history: about 2,000 are moved."""
PAUSE_SECONDS = 0.02
"""Between two commits: others write, too, and every node has to follow."""
POLL_SECONDS = 2.0
AGAIN_SECONDS = 60.0
"""Until it is looked again whether nothing is under the older key any more, where something was."""
LOCK = 6510615555426900572
"""Of the database: whose keeper is at it."""
TIMEOUT_SECONDS = 20.0
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, NotReady)

log = logging.getLogger(__name__)


class Where(NamedTuple):
    """Columns of a table that holds numbers, and what stands before one when it is hashed."""

    hash: str = "subscriber_hash"
    sealed: str = "subscriber_sealed"
    prefix: str = ""


PLACES = dict.fromkeys(
    ("refusals", "replies", "consents", "recipients", "released", "complaints"), Where()
) | {"persons": Where("identity_hash", "identity_sealed", "identity ")}
"""By table. What is only in a table's history any more is found last, by the whole of it."""


class Rekeying:
    """The keeper's part in a rotation, over a connection of its own; `key` is the node's."""

    def __init__(self, dsn: str, key: RegistryKey) -> None:
        self._dsn = dsn
        self._key = key
        self._again_at = 0.0
        self._said: set[str] = set()
        self._hindrance = ""

    async def run(self) -> None:
        """Look for a rotation and carry it on, for ever; whatever goes away is waited for."""
        while True:
            try:
                async with self._connected() as connection:
                    while True:
                        await self.carry_on(connection)
                        self._hindrance = ""
                        await asyncio.sleep(POLL_SECONDS)
            except LOST as error:
                if (why := str(error) or type(error).__name__) != self._hindrance:
                    self._hindrance = why
                    log.warning("registry: rows wait to be moved to the newest registry key: %s", why)
            await asyncio.sleep(POLL_SECONDS)

    async def carry_on(self, c: "Connection") -> None:
        """All that there is to do, unless another node is at it. Raises NotReady without both keys."""
        if len(await keyed.fingerprints(c)) < 2 or time.monotonic() < self._again_at:
            return
        keys = await keyed.in_use(c, self._key)
        if not await c.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
            return
        try:
            for older in keys[:-1]:
                await self._move(c, older, keys[-1])
        finally:
            await c.execute("SELECT pg_advisory_unlock($1)", LOCK)

    async def _move(self, c: "Connection", older: InUse, newest: InUse) -> None:
        began, moved = time.monotonic(), 0
        for table, where in PLACES.items():
            while (some := await self._step(c, table, where, older, newest)) is not None:
                moved += some
                await asyncio.sleep(PAUSE_SECONDS)
        for table, where in PLACES.items():
            while some := await self._past(c, f"{table}_history", where, older, newest):
                moved += some
                await asyncio.sleep(PAUSE_SECONDS)
        moved += await self._code_generators(c, older, newest)
        if await _retire(c, older.key_id):
            log.info("registry key retired", extra={"fields": {"rows": moved}})
        else:
            self._again_at = time.monotonic() + AGAIN_SECONDS
            log.warning("registry key not retired: rows are left", extra={"fields": {"rows": moved}})
        log.info("rows moved to the newest registry key in %.1f s", time.monotonic() - began)

    async def _step(
        self, c: "Connection", table: str, where: Where, older: InUse, newest: InUse
    ) -> int | None:
        """Move what the next rows of a table say; how many rows that were, None behind the last."""
        async with c.transaction():
            rows = await c.fetch(
                f"""SELECT id, key_id, {where.hash}, {where.sealed} FROM {table}
                     WHERE id > coalesce((SELECT up_to FROM registry_rekeyed
                                           WHERE key_id = $1 AND table_name = $2), 0)
                     ORDER BY id LIMIT $3""",
                newest.key_id,
                table,
                BATCH,
            )
            if not rows:
                return None
            moved = await self._moved(c, table, where, rows, older, newest)
            await c.execute(
                """INSERT INTO registry_rekeyed (key_id, table_name, up_to) VALUES ($1, $2, $3)
                   ON CONFLICT (key_id, table_name) DO UPDATE SET up_to = excluded.up_to""",
                newest.key_id,
                table,
                rows[-1][0],
            )
        return moved

    async def _past(self, c: "Connection", table: str, where: Where, older: InUse, newest: InUse) -> int:
        """Move what is only history any more; how many rows that were."""
        async with c.transaction():
            rows = await c.fetch(
                f"SELECT id, key_id, {where.hash}, {where.sealed} FROM {table} WHERE key_id = $1 LIMIT $2",
                older.key_id,
                BATCH,
            )
            await self._moved(c, table, where, rows, older, newest)
            left = [row[2] for row in rows]
            query = f"SELECT count(*) FROM {table} WHERE {where.hash} = ANY ($1)"
            return len(rows) - int(await c.fetchval(query, left))

    async def _moved(
        self,
        c: "Connection",
        table: str,
        where: Where,
        rows: "list[asyncpg.Record]",
        older: InUse,
        newest: InUse,
    ) -> int:
        found: dict[bytes, Keyed] = {}
        for identity, key_id, hashed, sealed in rows:
            if key_id != older.key_id or hashed in found:
                continue
            try:
                number = self._key.open(sealed)
            except ValueError:
                number = ""
            if older.key.hash(where.prefix + number) != hashed:
                self._say(f"{table}/{identity}")
                continue
            key = newest.key
            found[hashed] = Keyed(newest.key_id, key.hash(where.prefix + number), key.seal(number))
        return await keyed.move(c, list(found), list(found.values()))

    def _say(self, row: str) -> None:
        if row not in self._said:
            self._said.add(row)
            log.error("registry: %s can't be opened by the key that it names, and stays under it", row)

    async def _code_generators(self, c: "Connection", older: InUse, newest: InUse) -> int:
        rows = await c.fetch("SELECT user_id, totp_sealed FROM credentials WHERE key_id = $1", older.key_id)
        for user, sealed in rows:
            try:
                fresh = newest.key.seal_totp(self._key.open_totp(sealed))
            except ValueError:
                self._say(f"credentials/{user}")
                continue
            await c.execute(
                """UPDATE credentials SET totp_sealed = $3, key_id = $4
                    WHERE user_id = $1 AND totp_sealed = $2""",
                user,
                sealed,
                fresh,
                newest.key_id,
            )
        return len(rows)

    @contextlib.asynccontextmanager
    async def _connected(self) -> "AsyncIterator[Connection]":
        connection = await primary.connect(
            self._dsn,
            {"application_name": "zhengming rekeying", "zhengming.door": "node"},
            timeout=TIMEOUT_SECONDS,
        )
        try:
            yield connection
        finally:
            connection.terminate()


async def left(c: "keyed.Connection", key_id: int) -> dict[str, int]:
    """How many rows are under a key, by table; those without are left out."""
    tables = [*PLACES, *(f"{table}_history" for table in PLACES), "credentials"]
    query = " UNION ALL ".join(
        f"SELECT '{table}', count(*) FROM {table} WHERE key_id = $1" for table in tables
    )
    return {table: count for table, count in await c.fetch(query, key_id) if count}


async def _retire(c: "Connection", key_id: int) -> bool:
    """Retire a key that no row is under; whether it is. Nothing comes in under it any more."""
    tables = [*PLACES, *(f"{table}_history" for table in PLACES), "credentials"]
    none = " AND ".join(f"NOT EXISTS (SELECT FROM {table} WHERE key_id = $1)" for table in tables)
    done = await c.execute(
        f"UPDATE registry_keys SET retired_at = now() WHERE key_id = $1 AND retired_at IS NULL AND {none}",
        key_id,
    )
    return str(done) == "UPDATE 1"
