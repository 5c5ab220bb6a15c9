"""Runs the revisions on the database of `config.attributes["dsn"]` (or `alembic -x dsn=…`).

All revisions of one run are one transaction under an advisory lock, so that nodes which start at once
apply each revision once. Without a database ("offline") they are printed.
"""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from gateway.registry.primary import connect_blocking

LOCK = 0x5A68_656E_676D_696E
"""Key of the advisory lock: "Zhengmin" in ASCII."""


def run() -> None:
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    dsn = context.config.attributes.get("dsn") or context.get_x_argument(as_dictionary=True)["dsn"]
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect_blocking(dsn), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.configure(connection=connection)
        context.run_migrations()


run()
