"""Brings a database to the schema of this version.

Rules: only upwards, all or nothing, once however many nodes start together. The revisions themselves are
the files of the `migrations` package; this module only finds and runs them. Alembic is
imported when there is something to apply: it takes longer than all else at the start of a node.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

import migrations
from gateway.registry import primary

if TYPE_CHECKING:
    from alembic.config import Config


def upgrade(dsn: str) -> None:
    """Apply what is missing. Waits for another node that is at it.

    Raises psycopg.Error when the database can't be reached or refuses.
    """
    if current(dsn) != newest():
        from alembic import command  # noqa: PLC0415

        command.upgrade(_config(dsn=dsn), "head")


def sql() -> str:
    """All revisions as one script, for a DBA who applies them by hand to an empty database."""
    from alembic import command  # noqa: PLC0415

    printed = io.StringIO()
    command.upgrade(_config(printed), "head", sql=True)
    return printed.getvalue()


def current(dsn: str) -> str | None:
    """The revision that the database is at; None if it has none."""
    with primary.connect_blocking(dsn) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return str(row[0]) if row is not None else None


def newest() -> str:
    """The revision that this version of the gateway needs: the files are named after theirs, in order."""
    names = (path.name for path in (Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))
    return max(names).partition("_")[0]


def _config(output: io.StringIO | None = None, **attributes: str) -> "Config":
    from alembic.config import Config  # noqa: PLC0415

    config = Config(output_buffer=output) if output is not None else Config()
    folder = str(Path(migrations.__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config
