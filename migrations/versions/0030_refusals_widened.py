"""A person's "refusal" of an ambiguous reply covers what the profile's matrix says.

Revision 0030, after 0029. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
