"""A complaint that came from 12321 refuses marketing.

Revision 0016, after 0015. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
