"""The change log that nodes follow, and the history of every registry table.

Revision 0002, after 0001. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
