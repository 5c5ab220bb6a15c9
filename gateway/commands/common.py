"""What several commands need: the configuration, the database, instants, numbers, printing."""

import argparse
import contextlib
import datetime
import json
from collections.abc import Iterator
from typing import Any

from gateway import config as configuration
from gateway.config import Config
from gateway.errors import UsageError
from gateway.policy.numbers import canonical

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))


def load(options: argparse.Namespace) -> Config:
    return configuration.load(options.config)


@contextlib.contextmanager
def database(settings: Config) -> Iterator[str]:
    """The DSN of the node's database; the embedded server is joined, or started for this command."""
    from gateway import node  # noqa: PLC0415  # brings the server's modules

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    server = node.open_database(settings)
    try:
        yield server.dsn if server is not None else settings.database.dsn
    finally:
        if server is not None:
            server.stop()


def instant(text: str, otherwise: int) -> int:
    """ISO 8601 → ms; without an offset it is Asia/Shanghai."""
    if not text:
        return otherwise
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"time {text!r}: expected ISO 8601, such as 2026-03-01T09:30") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=SHANGHAI)
    return int(moment.timestamp() * 1000)


def number(option: str, text: str) -> str:
    found = canonical(text)
    if not found:
        raise UsageError(f"{option} {text!r}: not a telephone number; such as 13800000000 or 10690001")
    return found


def print_all(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
        return
    for row in rows:
        print("  ".join(f"{key}={value}" for key, value in row.items() if value not in ("", None)))
