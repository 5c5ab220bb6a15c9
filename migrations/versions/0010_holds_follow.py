"""A hold on a filing is on all its versions: an amendment was a way round a regulator.

Revision 0010, after 0009. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
