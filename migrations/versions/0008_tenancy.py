"""Who may see and do what, by row: policies for the database role of each domain role.

Revision 0008, after 0007. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
