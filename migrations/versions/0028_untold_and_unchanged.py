"""Who complained is not told to whom it is about; what a regulator says of an institution stays.

Revision 0028, after 0027. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
