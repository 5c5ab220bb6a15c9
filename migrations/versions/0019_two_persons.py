"""Two persons are two identity numbers; what nobody may ban or file; who answers an appeal against a verdict.

Revision 0019, after 0018. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
