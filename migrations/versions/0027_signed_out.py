"""Who is disabled is signed out everywhere, for good.

Revision 0027, after 0026. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
