"""The view `whitelist` agrees with judging; the change log says what was changed, by whom, under which case.

Revision 0020, after 0019. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
