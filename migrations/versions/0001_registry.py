"""The tables of the registry, with everything about their contents that a database can enforce.

Revision 0001. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
