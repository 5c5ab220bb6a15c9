"""Numbers that no blacklist entry may cover: emergency, public and carriers' own.

Revision 0003, after 0002. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
