"""What several commands need: the configuration, the database, instants, numbers, printing."""

import argparse
import contextlib
import datetime
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from gateway import config as configuration
from gateway.config import LONGEST_SHOWN, Config, without_password
from gateway.errors import NotReady, UsageError
from gateway.policy.numbers import PSEUDO, canonical, opaque

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))


def load(options: argparse.Namespace) -> Config:
    return configuration.load(options.config)


@contextlib.contextmanager
def database(settings: Config, *, makes: bool = False) -> Iterator[str]:
    """The DSN of the node's database; the embedded server is joined, or started for this command.

    Only a command that `makes` what is missing begins an embedded database; else UsageError where there is
    none. Inside, what the database or the way to it says becomes NotReady.
    """
    # these bring PostgreSQL's clients and the server's modules
    import asyncpg  # noqa: PLC0415
    import psycopg  # noqa: PLC0415

    from gateway import app, node  # noqa: PLC0415

    if not makes and not node.has_database(settings):
        raise UsageError(
            f"node.data_dir = {str(settings.data_dir)!r}: no embedded database is there; right would be"
            " -c FILE with the configuration of a node that has run, or `zhengming migrate` to begin one here"
        )
    app.make_data_dir(settings)
    server = node.open_database(settings)
    try:
        yield server.dsn if server is not None else settings.database.dsn
    except (psycopg.errors.UndefinedTable, asyncpg.UndefinedTableError) as error:
        raise NotReady(
            f"{place(settings)}: {error}; right would be to run `zhengming migrate` first"
        ) from None
    except (
        *(psycopg.Error, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
        *(ConnectionError, TimeoutError, socket.gaierror),
    ) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise NotReady(f"{place(settings)}: {said}; `zhengming config --check` looks at it") from None
    finally:
        if server is not None:
            server.stop()


@contextlib.asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[Connection]":
    """A connection of its own to that database, whose acts are said to come from the command line."""
    from gateway.registry import primary  # noqa: PLC0415

    connection = await primary.connect(dsn, {"zhengming.door": "cli"}, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


def place(settings: Config) -> str:
    """The database as a message may name it: without its password."""
    return f"database.dsn = {without_password(settings.database.dsn)!r}"


def instant(option: str, text: str, otherwise: int) -> int:
    """ISO 8601 → ms; without an offset it is Asia/Shanghai."""
    if not text:
        return otherwise
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=SHANGHAI)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text!r}: not a time; right would be ISO 8601, such as 2026-03-01T09:30"
        ) from None


def number(option: str, text: str) -> str:
    found = canonical(text)
    if not found:
        raise UsageError(
            f"{option} {text[:LONGEST_SHOWN]!r}: not a telephone number; right would be one such as"
            " 13800000000 or 10690001"
        )
    return found


def subscriber(option: str, text: str) -> str:
    """A subscriber's number, or a pseudo-number as records write it."""
    if text.startswith(PSEUDO) and (found := opaque(text.removeprefix(PSEUDO).encode())):
        return found
    return number(option, text)


def print_first(rows: list[dict[str, Any]], limit: int, *, as_json: bool) -> None:
    """The first `limit` rows; that there are more is said beside the output."""
    if as_json:
        print(json.dumps(rows[:limit], ensure_ascii=False, default=str))
    else:
        for row in rows[:limit]:
            print(
                "  ".join(
                    f"{key}={_cell(value)}" for key, value in row.items() if value not in ("", None, [])
                )
            )
    if len(rows) > limit:
        print(f"zhengming: only the first {limit}; --limit N shows more", file=sys.stderr)


def print_all(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    print_first(rows, len(rows), as_json=as_json)


def _cell(value: Any) -> str:
    """A value as it may stand on a terminal between blanks: texts come from outside, and must neither end the
    line, nor pass for another cell, nor reach the terminal as a command."""
    said = str(value)
    if isinstance(value, list | dict) or "  " in said or said[:1] == '"' or _UNSEEN.search(said):
        said = json.dumps(value if isinstance(value, list | dict) else said, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], said)


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Control characters, line and paragraph separators, and what has no width or turns the reading direction."""
