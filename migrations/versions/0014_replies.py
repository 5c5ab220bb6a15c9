"""What replies do beyond a plain refusal, and numbers that were released (domain.md "A reply (MO) means").

Revision 0014, after 0013. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
