"""Brings a database to the schema of this version.

Rules: only upwards, all or nothing, once however many nodes start together. The revisions themselves are
the files of the `migrations` package; this module only finds and runs them.
"""

import io
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import migrations


def upgrade(dsn: str) -> None:
    """Apply what is missing. Waits for another node that is at it.

    Raises psycopg.Error when the database can't be reached or refuses.
    """
    command.upgrade(_config(dsn=dsn), "head")


def sql() -> str:
    """All revisions as one script, for a DBA who applies them by hand to an empty database."""
    printed = io.StringIO()
    command.upgrade(_config(printed), "head", sql=True)
    return printed.getvalue()


def current(dsn: str) -> str | None:
    """The revision that the database is at; None if it has none."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    """The revision that this version of the gateway needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("the migrations package is empty")
    return head


def _config(output: io.StringIO | None = None, **attributes: str) -> Config:
    config = Config(output_buffer=output) if output is not None else Config()
    folder = str(Path(migrations.__file__).parent)
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config
