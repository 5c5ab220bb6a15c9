"""One subscriber's timeline: what he said and allowed, as the registry has it, for a complaint's case.

Refusals and their liftings, consents and complaints; the attempts come from the journals (web/finding.py).
The subscriber is looked up by his keyed hash and never shown. Rows are those that the actor may see.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from gateway.model import CHANNELS, PURPOSES, names_of
from gateway.registry.fields import Instant
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    from gateway.registry.acting import Connection


class Event(BaseModel):
    """One thing that happened; which fields say something depends on `kind`."""

    at: Instant
    kind: str = Field(description="attempt, reply, refusal, refusal_lifted, consent, complaint")
    institution: str = Field("", description="code")
    agency: str = Field("", description="code")
    number: str = ""
    channel: str = ""
    verdict: str = ""
    reason: str = ""
    purpose: str = ""
    mandate: int = Field(0, description="id of the mandate that an attempt was judged by")
    outcome: str = ""
    record: str = Field("", description="id of the record, of an attempt or reply")
    source: str = Field("", description="where a refusal, consent or complaint came from")
    said: str = Field("", description="what it covers, or what was said")


_EVENTS = """
SELECT refused_at AS at, 'refusal' AS kind, coalesce(i.code, '') AS institution,
       coalesce(t.number, '') AS number, t.source, t.purposes, t.channels, '' AS said
  FROM refusals t LEFT JOIN institutions i ON i.id = t.institution_id WHERE t.subscriber_hash = $1
UNION ALL
SELECT lifted_at, 'refusal_lifted', coalesce(i.code, ''), coalesce(t.number, ''), coalesce(t.lifted_by, ''),
       t.purposes, t.channels, ''
  FROM refusals t LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = $1 AND t.lifted_at IS NOT NULL
UNION ALL
SELECT given_at, 'consent', coalesce(i.code, ''), '', t.source, 0, 0,
       coalesce(to_char(t.valid_until AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI'), '')
  FROM consents t LEFT JOIN institutions i ON i.id = t.institution_id WHERE t.subscriber_hash = $1
UNION ALL
SELECT happened_at, 'complaint', coalesce(i.code, ''), t.number, t.source, 0, t.channel, t.content
  FROM complaints t LEFT JOIN institutions i ON i.id = t.institution_id WHERE t.subscriber_hash = $1
"""


async def events(
    c: "Connection", key: RegistryKey, subscriber: str, since: datetime, until: datetime
) -> list[Event]:
    """What the registry knows of a subscriber (canonical number) in that time, oldest first."""
    rows = await c.fetch(
        f"SELECT * FROM ({_EVENTS}) t WHERE at >= $2 AND at < $3 ORDER BY at",
        key.hash(subscriber),
        since,
        until,
    )
    return [_event(dict(row)) for row in rows]


def _event(row: dict[str, Any]) -> Event:
    purposes, channels = row.pop("purposes"), row.pop("channels")
    covers = "、".join(names_of(purposes, PURPOSES)) if purposes else ""
    return Event.model_construct(
        **{**row, "said": row["said"] or covers},
        channel="、".join(names_of(channels, CHANNELS)) if channels else "",
    )
