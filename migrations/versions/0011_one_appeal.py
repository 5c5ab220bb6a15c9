"""A holder has one open appeal against one thing: a second one only had the regulators answer twice.

Revision 0011, after 0010. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
