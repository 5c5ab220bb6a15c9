"""A hold on a filing is on all its versions: an amendment was a way round a regulator.

Revision 0011, after 0008. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
