"""Recipient lists: whom an institution may ask for its money (domain.md "recipient list").

Revision 0012, after 0011. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
