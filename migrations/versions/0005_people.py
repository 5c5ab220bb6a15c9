"""Persons, users, credentials, sessions and tokens; the audit and its chain.

Revision 0005, after 0004. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
