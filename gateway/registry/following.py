"""A connection on which PostgreSQL's change log is followed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.errors import NotReady
from gateway.registry import primary, store

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

TIMEOUT_SECONDS = 20.0
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, NotReady)
"""What ends a connection, to be tried again. TimeoutError is an OSError; by an InternalClientError asyncpg
says that the server ended the session between two messages of one query."""


@contextlib.asynccontextmanager
async def following(dsn: str, who: str, news: asyncio.Event) -> "AsyncIterator[Connection]":
    """To the database that takes writes, of which `who` follows the log; each change sets `news`."""
    connection = await primary.connect(
        dsn,
        {"application_name": f"zhengming {who}", "zhengming.door": "node"} | store.BY_INDEX,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
    )
    try:
        await connection.add_listener(store.CHANNEL, lambda *_: news.set())
        yield connection
    finally:
        with contextlib.suppress(asyncpg.InternalClientError):  # in the middle of a query
            connection.terminate()
