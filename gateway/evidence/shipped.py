"""How far each writer's journal is in PostgreSQL, as this node last heard: what it goes by while the database
is away, from its start on.

The database's own cursors (table `shipping`) are the truth and are asked whenever it answers. What stands
beside the journals, in `shipped`, may be older by one batch, so the file is not synced; without it nothing
counts as shipped until the database has said otherwise.
"""

import contextlib
import json
from pathlib import Path

from gateway.evidence.gather import Cursor

NOTHING = Cursor()


class Shipped:
    """Cursors by writer; `note` keeps one, over a restart of the node too."""

    def __init__(self, journal: Path) -> None:
        self._path = journal / "shipped"
        self._cursors = _read(self._path)

    def of(self, writer: str) -> Cursor:
        return self._cursors.get(writer, NOTHING)

    def note(self, writer: str, cursor: Cursor) -> None:
        """The database has the journal of this writer up to there."""
        if self._cursors.get(writer) == cursor:
            return
        self._cursors[writer] = cursor
        said = {
            name: [known.segment, known.offset, known.header.hex(), known.records]
            for name, known in self._cursors.items()
        }
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # no room: the older cursors stand
            draft.write_text(json.dumps(said), encoding="utf-8")
            draft.replace(self._path)


def _read(path: Path) -> dict[str, Cursor]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {
            writer: Cursor(int(segment), int(offset), bytes.fromhex(header), int(records))
            for writer, (segment, offset, header, records) in said.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
