"""Connections to the server that takes writes.

A DSN may name several servers, and the first that answers may be a standby: it would let a feed, an import
or a ban begin and refuse its first change. Whoever writes, or must not read what is old, connects here.
"""

from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from asyncpg.connect_utils import SessionAttribute
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

PRIMARY: dict[str, Any] = {"target_session_attrs": SessionAttribute.primary}
"""For who makes a pool of connections."""

HERE = ("", "localhost", "127.0.0.1", "::1")


def is_here(dsn: str) -> bool:
    """Whether every server that a DSN names is on this machine, by a socket or the loopback address."""
    hosts = str(conninfo_to_dict(dsn).get("host") or "").split(",")
    return all(host in HERE or host.startswith("/") for host in hosts)


CONNECT_SECONDS = 10
"""A server that takes a connection and says nothing is given up after so long."""


async def connect(dsn: str, settings: dict[str, str] | None = None, **options: Any) -> "Connection":
    """As `asyncpg.connect`; `settings` are those of the session. Raises what that raises."""
    options = {"timeout": CONNECT_SECONDS} | options
    try:
        connection: Connection = await asyncpg.connect(dsn, server_settings=settings, **PRIMARY, **options)
    except TimeoutError:
        raise TimeoutError(f"no answer within {options['timeout']:g} s") from None
    return connection


def connect_blocking(dsn: str, **options: Any) -> psycopg.Connection:
    """As `psycopg.connect`, for who runs outside an event loop. Raises psycopg.OperationalError."""
    options = {"connect_timeout": CONNECT_SECONDS} | options
    return psycopg.connect(dsn, target_session_attrs="primary", **options)
