"""Brings a database to the schema of this version.

Rules: only upwards, all or nothing, once however many nodes start together. The revisions themselves are
the files of the `migrations` package; this module only finds and runs them. Alembic is
imported when there is something to apply: it takes longer than all else at the start of a node.
"""

import asyncio
import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

import migrations
from gateway.errors import NotReady, UsageError
from gateway.registry import primary

if TYPE_CHECKING:
    from typing import Any

    from alembic.config import Config

PATIENCE = 3.0
"""How long (s) a keeper waits for a schema to be brought up before it serves the replica that is there."""

AGAIN_SECONDS = 1.0

MAY_UPGRADE = (
    "right would be the owner of the database with CREATEROLE, or that a DBA grants it the roles"
    " zhengming_*, or applies `zhengming migrate --sql`"
)
MISSING_RIGHTS = """
SELECT 'may not create tables in the schema ' || coalesce(current_schema(), 'public')
 WHERE NOT has_schema_privilege(coalesce(current_schema(), 'public'), 'CREATE')
 UNION ALL
SELECT 'may not create roles, and does not have zhengming_' || name
  FROM pg_roles me,
       unnest(ARRAY['regulator', 'carrier', 'institution', 'agency', 'provider', 'auditor', 'admin']) name
 WHERE me.rolname = current_user AND NOT (me.rolsuper OR me.rolcreaterole)
   AND CASE WHEN to_regrole('zhengming_' || name) IS NULL THEN true
            ELSE NOT pg_has_role('zhengming_' || name, 'MEMBER') END
 LIMIT 1"""
"""What an upgrade would fail at, of a user of the database."""


def upgrade(dsn: str) -> None:
    """Apply what is missing. Waits for another node that is at it.

    Raises psycopg.Error when the database can't be reached or refuses, NotReady when its user may not do it,
    UsageError when the schema is a later version's.
    """
    at = current(dsn)
    _known(at)
    if at != newest():
        from alembic import command  # noqa: PLC0415
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

        try:
            command.upgrade(_config(dsn=dsn), "head")
        except DBAPIError as error:  # its own words hold all statements of a revision
            if not isinstance(error.orig, psycopg.Error):
                raise
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise error.orig from None
            raise NotReady(f"{error.orig.diag.message_primary}; {MAY_UPGRADE}") from None


async def brought_up(
    dsn: str, group: asyncio.TaskGroup, log: logging.Logger, *, patience: float = PATIENCE
) -> None:
    """Have `upgrade` tried in `group` until it is done; returns when it is, or when there is no sense in
    waiting: it fails, as the database is away; or it takes longer than `patience` and there is a schema to
    go on with. Each cause of failure is told once."""
    empty, failed = asyncio.Event(), asyncio.Event()

    async def trying() -> None:
        told = ""
        while True:
            try:
                if await asyncio.to_thread(current, dsn) is None:
                    empty.set()
                await asyncio.to_thread(upgrade, dsn)
            except Exception as error:
                failed.set()
                if str(error) != told:
                    log.warning("schema not checked", extra={"fields": {"error": str(error)}})
                told = str(error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    upgrading = group.create_task(trying())
    hopeless = group.create_task(failed.wait())
    try:
        await asyncio.wait({upgrading, hopeless}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if empty.is_set():
            await asyncio.wait({upgrading, hopeless}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hopeless.cancel()


def hindrance(connection: "psycopg.Connection[Any]") -> str:
    """Why `upgrade` would fail, or ""."""
    at = _revision(connection)
    try:
        _known(at)
    except UsageError as error:
        return str(error)
    row = connection.execute(MISSING_RIGHTS).fetchone() if at != newest() else None
    return f"its user {row[0]}; {MAY_UPGRADE}" if row is not None else ""


def _known(at: str | None) -> None:
    if at is not None and at > newest():
        raise UsageError(
            f"the schema is at revision {at}, and this version of zhengming knows those up to {newest()};"
            " right would be the version that made it, or a later one"
        )


def sql() -> str:
    """All revisions as one script, for a DBA who applies them by hand to an empty database."""
    from alembic import command  # noqa: PLC0415

    printed = io.StringIO()
    command.upgrade(_config(printed), "head", sql=True)
    return printed.getvalue()


def current(dsn: str) -> str | None:
    """The revision that the database is at; None if it has none."""
    with primary.connect_blocking(dsn) as connection:
        return _revision(connection)


def _revision(connection: "psycopg.Connection[Any]") -> str | None:
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
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
