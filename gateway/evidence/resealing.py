"""Before the keys of a day are destroyed: what of its records is tied to a case that is not closed, or to an
appeal that is not answered, is sealed anew under a key of that case or appeal (held.py). What was kept so
goes as long after their end as traffic is kept.

Rules: a record that could not be sealed anew, though it is here and can be read, keeps the keys of all days.
What lies on another node is that node's to keep.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from gateway.errors import UsageError
from gateway.evidence import record as rec
from gateway.evidence.held import Held
from gateway.evidence.seal import KeyGone, Keys
from gateway.evidence.search import Search
from gateway.evidence.segment import SegmentDamaged

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any]

log = logging.getLogger(__name__)

TIED = """
SELECT 'case-' || k.id AS hold, i.reference
  FROM cases k JOIN case_items i ON i.case_id = k.id AND i.kind = 'record'
 WHERE k.status <> 'closed'
UNION
SELECT 'case-' || k.id, a.against
  FROM cases k JOIN case_items i ON i.case_id = k.id AND i.kind = 'appeal'
  JOIN appeals a ON a.id::text = i.reference AND a.against_kind = 'verdict'
 WHERE k.status <> 'closed'
UNION
SELECT 'appeal-' || id, against FROM appeals WHERE against_kind = 'verdict' AND status = 'open'"""

ENDED = """
SELECT 'case-' || id FROM cases WHERE closed_at < now() - make_interval(days => $1)
UNION
SELECT 'appeal-' || id FROM appeals WHERE answered_at < now() - make_interval(days => $1)"""


class Tie(NamedTuple):
    """A record that is held, by its id."""

    hold: str
    id: bytes


async def ties(connection: "Connection") -> list[Tie]:
    """All records that are tied to something that is under way."""
    found = []
    for hold, reference in await connection.fetch(TIED):
        try:
            found.append(Tie(hold, UUID(reference).bytes))
        except ValueError:
            continue  # a reference that names no record
    return found


async def ended(connection: "Connection", kept_days: int) -> set[str]:
    """The holds of what ended longer ago than traffic is kept."""
    return {hold for (hold,) in await connection.fetch(ENDED, kept_days)}


def reseal(journal: Path, keys: Keys, held: Held, tied: Iterable[Tie], before: int) -> bool:
    """Keep what records of the days before `before` (record.day_number) hide that are tied to something.

    Whether all could be kept that is here and can still be read.
    """
    kept = True
    search = Search(journal, keys)
    for hold, identifier in sorted(set(tied)):
        # a key is named by when its segment was begun, which may be the day before the record's
        if rec.day_number(rec.time_of(identifier)) > before or held.has(hold, identifier):
            continue
        try:
            opened = search.opened(identifier)
            if opened is not None:
                held.keep(hold, *opened)
                log.info("record kept for a case", extra={"fields": {"id": identifier.hex(), "hold": hold}})
        except (OSError, KeyGone, UsageError, SegmentDamaged, rec.RecordError) as error:
            kept = False
            fields = {"id": identifier.hex(), "hold": hold, "error": repr(error)}
            log.error("record not kept for a case, no keys destroyed", extra={"fields": fields})
    return kept


def let_go(keys: Keys, held: Held, holds: set[str], at: int) -> list[str]:
    """Destroy the keys of what has ended, with what they sealed; their names. `at`: ms, for tombstones."""
    gone = [name for name in keys.names() if name.count(".") == 2 and name.split(".")[2] in holds]
    for name in gone:
        held.forget(name, at=at)
    return gone
