"""Scope `authority` is an authority's; holds follow a number; who made what an appeal attacks.

Revision 0029, after 0028. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
