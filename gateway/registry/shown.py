"""A filing as it is shown: its row, whose it is, what suspends it, and its standing at this instant.

Rules: one query, whoever looks: what row security hides of institution and agency (a hold on the agency, a
licence that lapsed) counts all the same, by `body_of`; causes and authors of holds are shown to those who
may see them.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gateway.model import ALWAYS, FOREVER, Hold, Institution, Mandate, Number, Span
from gateway.registry import holds, workflow
from gateway.registry.fields import Channels, Instant, Purposes, Sha256, channel_words, purpose_words

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

FILING = """
SELECT n.id, n.number, n.extension_digits, n.channels, n.purposes, i.code AS institution, a.code AS agency,
       n.signatures, n.carrier, n.effective_from, n.effective_until, n.document_sha256, n.status, n.version,
       n.supersedes, n.checked_by, n.approved_by, n.approved_at, n.returned_reason, n.row_version,
       i.status AS i_status, i.licence_scope AS i_scope, i.licence_until AS i_licence,
       i.verified_until AS i_verified, i.held AS i_held,
       a.status AS a_status, a.licence_until AS a_licence, a.verified_until AS a_verified, a.held AS a_held,
       EXISTS (SELECT FROM holds h WHERE h.number_id = n.id AND h.valid_from <= now()
                                     AND coalesce(now() < h.valid_until, true)) AS held,
       (SELECT jsonb_agg(jsonb_build_array(h.id, h.cause, h.case_reference, authority(h.held_by),
                                           h.valid_from, h.valid_until, h.penalty_id) ORDER BY h.id)::text
          FROM holds h WHERE (h.number_id = n.id OR h.institution_id IN (n.institution_id, n.agency_id))
                         AND h.valid_from <= now() AND coalesce(now() < h.valid_until, true)) AS holds,
       (SELECT jsonb_agg(jsonb_build_array(m.channels, m.purposes, m.status,
                                           coalesce(millis(m.valid_from), 0),
                                           coalesce(millis(m.valid_until), 4611686018427387904)))::text
          FROM mandates m WHERE m.institution_id = n.institution_id AND m.agency_id = n.agency_id) AS mandates
  FROM numbers n CROSS JOIN LATERAL body_of(n.institution_id) i
       LEFT JOIN LATERAL (
           SELECT b.* FROM body_of(n.agency_id) b WHERE n.agency_id IS NOT NULL OFFSET 0) a ON true
"""
"""OFFSET 0 keeps PostgreSQL from asking for the agency of a filing that has none."""

ONE = f"{FILING} WHERE n.id = $1"
_SOME = f"{FILING} WHERE n.id = ANY ($1)"


class Filing(BaseModel):
    """A filing. `status` is what is stored; `standing` what it is worth now: of an approved one effective,
    not_yet, suspended or expired, with every cause."""

    id: int
    number: str
    extension_digits: int
    channels: Channels
    purposes: Purposes
    institution: str
    agency: str | None
    signatures: list[str]
    carrier: str | None
    effective_from: Instant | None
    effective_until: Instant | None
    document_sha256: Sha256 | None
    status: str
    standing: str
    causes: list[str]
    version: int
    supersedes: int | None
    checked_by: str | None
    approved_by: str | None
    approved_at: Instant | None
    returned_reason: str
    holds: list[holds.Hold]
    row_version: int


_FIELDS = set(Filing.model_fields)
_AS_STORED = sorted(_FIELDS - {"channels", "purposes", "standing", "causes", "holds"})


async def some(c: "Connection", ids: Sequence[int]) -> Mapping[int, Filing]:
    """Those of these filings that are there, by id."""
    rows = await c.fetch(_SOME, ids) if len(ids) > 1 else await c.fetch(ONE, ids[0])
    return {row["id"]: filing_of(row) for row in rows}


def filing_of(row: Mapping[str, Any]) -> Filing:
    """A row of `FILING`, judged now."""
    standing = _standing(row, int(time.time() * 1000))
    values = {name: row[name] for name in _AS_STORED}
    values["channels"] = channel_words(row["channels"])
    values["purposes"] = purpose_words(row["purposes"])
    values["standing"], values["causes"] = standing.state, list(standing.causes)
    values["holds"] = [_hold(one) for one in json.loads(row["holds"])] if row["holds"] else []
    return Filing.model_construct(_FIELDS, **values)


def _standing(row: Mapping[str, Any], now: int) -> workflow.Standing:
    number = Number(
        row["id"], row["number"], row["extension_digits"], row["channels"], row["purposes"], 1,
        2 if row["agency"] else 0, status=row["status"],
        span=Span(_ms(row["effective_from"], 0), _ms(row["effective_until"], FOREVER)),
        holds=_held(row["held"]),
    )  # fmt: skip
    mandates = [
        Mandate(0, 1, 2, channels, purposes, Span(start, end), status=status)
        for channels, purposes, status, start, end in json.loads(row["mandates"] or "[]")
    ] if row["agency"] else []  # fmt: skip
    agency = _body(row, "agency", "a", 0) if row["agency"] else None
    return workflow.standing(number, _body(row, "institution", "i", row["i_scope"]), agency, mandates, now)


def _body(row: Mapping[str, Any], name: str, alias: str, scope: int) -> Institution:
    return Institution(
        0, row[name], "", "", scope,
        Span(0, _ms(row[f"{alias}_licence"], FOREVER)), Span(0, _ms(row[f"{alias}_verified"], FOREVER)),
        row[f"{alias}_status"], _held(row[f"{alias}_held"]),
    )  # fmt: skip


def _held(is_held: bool) -> tuple[Hold, ...]:
    return (Hold("", ALWAYS),) if is_held else ()


def _hold(one: list[Any]) -> holds.Hold:
    since, until = (datetime.fromisoformat(part) if part else None for part in one[4:6])
    return holds.hold_of([*one[:4], since, until, one[6]])


def _ms(instant: datetime | None, otherwise: int) -> int:
    return int(instant.timestamp() * 1000) if instant is not None else otherwise
