"""The database's schema: migrate."""

import argparse

from gateway.commands import common
from gateway.registry import migrate as migration


def migrate(options: argparse.Namespace) -> int:
    if options.sql:
        print(migration.sql())
        return 0
    with common.database(common.load(options), makes=True) as dsn:
        migration.upgrade(dsn)
        print(f"schema is at revision {migration.current(dsn)}")
    return 0
