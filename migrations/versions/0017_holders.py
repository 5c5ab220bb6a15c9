"""What is an account holder's own; what an amendment that ends before it begins leaves; dates of penalties.

Revision 0017, after 0016. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
