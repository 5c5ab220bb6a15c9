"""What no statement may do to holds, penalties, refusals and mandates, by whatever hand.

Revision 0015, after 0014. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
