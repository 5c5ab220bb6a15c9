"""A refusal that was entered by mistake is ended by a regulator, by name and with a reason.

Revision 0021, after 0020. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
