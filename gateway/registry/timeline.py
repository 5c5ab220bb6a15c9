"""One subscriber's timeline: what he said and allowed, as the registry has it, for a complaint's case.

Refusals and their liftings, consents, complaints, what was refused on any node, and the mandates under which
agencies sent; what passed comes from the journals (web/finding.py).
The subscriber is looked up by his keyed hash and never shown. Rows are those that the actor may see.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from gateway.evidence.seal import keyed_hash
from gateway.model import CHANNELS, PURPOSES, names_of
from gateway.registry import keyed
from gateway.registry.fields import Moment
from gateway.registry.forms import SHANGHAI
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    from gateway.registry.acting import Connection


class Event(BaseModel):
    """One thing that happened; which fields say something depends on `kind`."""

    at: Moment
    kind: str = Field(
        description="attempt, reply, refusal, held, refusal_lifted, accepted, wrong_person, consent,"
        " released, complaint, mandate"
    )
    institution: str = Field("", description="code")
    agency: str = Field("", description="code")
    number: str = ""
    channel: str = ""
    verdict: str = ""
    reason: str = ""
    purpose: str = ""
    mandate: int = Field(0, description="id of the mandate that an attempt was judged by")
    outcome: str = Field("", description="what the carrier answered to a passed attempt; unknown: nothing")
    delivery: str = Field(
        "", description="of a passed attempt: unknown, not_accepted, accepted, delivered or failed"
    )
    delivery_at: str = Field("", description="since when it is so")
    record: str = Field("", description="id of the record, of an attempt or reply")
    source: str = Field("", description="where a refusal, consent or complaint came from")
    said: str = Field("", description="what it covers, or what was said")


_EVENTS = """
SELECT refused_at AS at, 'refusal' AS kind, coalesce(i.code, '') AS institution,
       coalesce(t.number, '') AS number, t.source, t.purposes, t.channels, '' AS said,
       coalesce(t.lifted_at, 'infinity') AS over
  FROM refusals t LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = ANY ($1) AND t.undecided_until IS NULL
   AND NOT EXISTS (SELECT FROM replies r WHERE r.event = t.event)
UNION ALL -- a hold, and when it became a refusal: undecided for too long, or decided, which may be later
SELECT said_at, CASE t.kind WHEN 'ambiguous' THEN 'held' WHEN 'accept' THEN 'accepted' ELSE t.kind END,
       coalesce(i.code, ''), t.number, 'reply', t.purposes, t.channels,
       coalesce(to_char(t.undecided_until AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI'), ''),
       CASE t.kind WHEN 'wrong_person' THEN 'infinity'
                   ELSE coalesce(least(t.decided_at, t.undecided_until), t.said_at) END
  FROM replies t LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = ANY ($1) AND (t.kind <> 'accept' OR EXISTS (
       SELECT FROM refusals r WHERE r.subscriber_key = t.subscriber_key AND r.lifted_at = t.said_at))
UNION ALL
SELECT t.undecided_until, 'refusal', coalesce(i.code, ''), t.number, 'undecided', t.purposes, t.channels, '',
       coalesce(r.lifted_at, 'infinity')
  FROM replies t JOIN refusals r USING (event) LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = ANY ($1) AND t.undecided_until < least(now(), r.lifted_at, t.decided_at)
UNION ALL
SELECT t.decided_at, 'refusal', coalesce(i.code, ''), t.number, 'decision', reply_covers(t), t.channels, '',
       coalesce(r.lifted_at, 'infinity')
  FROM replies t JOIN refusals r USING (event) LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = ANY ($1) AND t.decision = 'refusal'
UNION ALL
SELECT released_at, 'released', '', '', '', 0, 0, '', released_at
  FROM released WHERE subscriber_hash = ANY ($1)
UNION ALL
SELECT lifted_at, 'refusal_lifted', coalesce(i.code, ''), coalesce(t.number, ''), coalesce(t.lifted_by, ''),
       t.purposes, t.channels, t.lifted_reason, t.lifted_at
  FROM refusals t LEFT JOIN institutions i ON i.id = t.institution_id
 WHERE t.subscriber_hash = ANY ($1) AND t.lifted_at IS NOT NULL
UNION ALL
SELECT given_at, 'consent', coalesce(i.code, ''), '', t.source, 0, 0,
       coalesce(to_char(t.valid_until AT TIME ZONE 'Asia/Shanghai', 'YYYY-MM-DD HH24:MI'), ''),
       coalesce(t.valid_until, 'infinity')
  FROM consents t LEFT JOIN institutions i ON i.id = t.institution_id WHERE t.subscriber_hash = ANY ($1)
UNION ALL
SELECT happened_at, 'complaint', coalesce(i.code, ''), t.number, t.source, 0, t.channel, t.content,
       coalesce(t.answered_at, 'infinity')
  FROM complaints t LEFT JOIN institutions i ON i.id = t.institution_id WHERE t.subscriber_hash = ANY ($1)
"""


async def events(
    c: "Connection", key: RegistryKey, subscriber: str, since: datetime, until: datetime
) -> list[Event]:
    """What the registry knows of a subscriber (canonical number) in that time, oldest first, with older
    refusals and consents that stood in it, and complaints that were open."""
    rows = await c.fetch(
        f"""SELECT at, kind, institution, number, source, purposes, channels, said
              FROM ({_EVENTS}) t WHERE over >= $2 AND at < $3 ORDER BY at, kind""",
        await keyed.hashes(c, key, subscriber),
        since,
        until,
    )
    return [_event(dict(row)) for row in rows]


async def intercepts(
    c: "Connection", key: RegistryKey, subscriber: str, since: datetime, until: datetime, most: int
) -> list[Event]:
    """The newest attempts that any node refused, newest first; the keepers bring them within seconds."""
    rows = await c.fetch(
        """SELECT at, 'attempt' AS kind, institution, agency, number, 'refuse' AS verdict, reason, purpose,
                  replace(id::text, '-', '') AS record, '' AS said, 0 AS purposes, channel AS channels
             FROM intercepts WHERE subscriber_hash = ANY ($1) AND at >= $2 AND at < $3
            ORDER BY at DESC LIMIT $4""",
        [keyed_hash(one.lookup_key)(subscriber.encode()) for one in key.keys],
        since,
        until,
        most,
    )
    return [_event(dict(row)) for row in rows]


async def mandates(
    c: "Connection", pairs: Iterable[tuple[str, str]], since: datetime, until: datetime
) -> list[Event]:
    """The mandates between these institutions and agencies that stood in that time, at their beginnings; one
    without a beginning is as old as its filing."""
    wanted = sorted(pairs)
    rows = await c.fetch(
        """SELECT coalesce(m.valid_from, m.changed_at) AS at, 'mandate' AS kind, i.code AS institution,
                  a.code AS agency, m.id AS mandate, m.purposes, m.channels,
                  CASE m.status WHEN 'revoked' THEN 'revoked' ELSE '' END AS reason, '' AS said
             FROM mandates m JOIN institutions i ON i.id = m.institution_id
             JOIN institutions a ON a.id = m.agency_id
             JOIN unnest($1::text[], $2::text[]) AS pair (institution, agency)
               ON pair.institution = i.code AND pair.agency = a.code
            WHERE coalesce(m.valid_from < $4, true) AND coalesce(m.valid_until > $3, true)
            ORDER BY m.id""",
        [institution for institution, _ in wanted],
        [agency for _, agency in wanted],
        since,
        until,
    )
    return [_event(dict(row)) for row in rows]


def _event(row: dict[str, Any]) -> Event:
    purposes, channels = row.pop("purposes"), row.pop("channels")
    covers = "、".join(names_of(purposes, PURPOSES)) if purposes else ""
    return Event(
        **{**row, "at": row["at"].astimezone(SHANGHAI), "said": row["said"] or covers},
        channel="、".join(names_of(channels, CHANNELS)) if channels else "",
    )
