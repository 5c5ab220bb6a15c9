"""The registry key rotates: rows move to a newer key, and nothing else of them changes.

Revision 0026, after 0025. The SQL stands in the file of the same name.
"""

from pathlib import Path

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
