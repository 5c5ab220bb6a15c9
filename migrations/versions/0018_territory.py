"""A regulator with a territory sees what belongs to institutions there, and nothing else of theirs elsewhere.

Revision 0018, after 0017. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
