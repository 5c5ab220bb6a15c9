"""The blacklist's guard; penalties, cases, complaints, appeals; alarms, quotas, kept answers, nodes.

Revision 0007, after 0006. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
