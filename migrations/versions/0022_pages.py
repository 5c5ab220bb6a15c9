"""Pages of one holder or carrier by id are read from an index, for every table that is shown in pages.

Revision 0022, after 0021. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
