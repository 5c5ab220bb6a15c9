"""A hold on a number with further digits is on what its holder files inside them.

Revision 0031, after 0030. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
