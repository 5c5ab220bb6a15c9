"""The index of traffic: intercepts, counts by minute, and how far each journal was shipped.

Revision 0004, after 0003. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
