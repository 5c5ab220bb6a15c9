"""A row is held still while a request that has read it changes it; protected numbers stay protected.

Revision 0025, after 0022. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0025"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
