"""The steps of a filing and what no statement may do; documents, import runs, allocations, disputes.

Revision 0006, after 0005. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
