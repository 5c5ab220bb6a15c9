"""Institutions (agencies, providers, authorities too) and the mandates between them.

Rules: a code is given once and stays; kind, region and being open again are a regulator's word; a mandate is
the institution's own, and revoked for good. Who else may is row security's business, and the endpoints'.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.registry import changing
from gateway.registry.acting import Actor, record
from gateway.registry.fields import (
    Body,
    Channels,
    Code,
    Instant,
    Line,
    Name,
    Purposes,
    Scope,
    Sha256,
    Until,
    channel_bits,
    channel_words,
    purpose_bits,
    purpose_words,
    said,
)
from gateway.registry.references import reference, unknown

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Kind = Literal[
    "bank", "consumer_finance", "micro_lender", "insurer", "broker", "agency", "provider", "authority",
    "other",
]  # fmt: skip

INSTITUTION = """
SELECT i.id, i.code, i.name, i.kind, i.licence_number, i.licence_scope, i.licence_until, i.verified_until,
       i.region, i.status, i.document_sha256, i.row_version FROM institutions i"""
MANDATE = """
SELECT m.id, code_of(m.institution_id) AS institution, code_of(m.agency_id) AS agency, m.channels, m.purposes,
       m.valid_from, m.valid_until, m.document_sha256, m.status, m.row_version FROM mandates m"""


class InstitutionChange(Body):
    """What may change of an institution; what is left out stays."""

    name: Name = ""
    kind: Kind = "other"
    licence_number: Line = ""
    licence_scope: Scope = Field(["marketing", "collection", "service"])
    licence_until: Until | None = None
    verified_until: Until | None = None
    region: Line = ""
    document_sha256: Sha256 | None = None
    status: Literal["active", "closed"] = "active"


class NewInstitution(InstitutionChange):
    """An institution, agency, provider or authority."""

    code: Code
    name: Name
    kind: Kind


class Institution(BaseModel):
    """As it is registered; `licence_until` empty: long-term."""

    id: int
    code: str
    name: str
    kind: str
    licence_number: str
    licence_scope: Scope
    licence_until: Instant | None
    verified_until: Instant | None
    region: str
    status: str
    document_sha256: Sha256 | None
    row_version: int


class MandateChange(Body):
    """What may change of a mandate; anything else is another mandate."""

    valid_until: Instant | None = None
    document_sha256: Sha256 | None = None


class NewMandate(MandateChange):
    """A letter of entrustment from one's own institution to an agency."""

    agency: Code
    institution: Code | None = None
    channels: Channels = Field(["sms", "voice"])
    purposes: Purposes
    valid_from: Instant | None = None


class Mandate(BaseModel):
    """As it is registered."""

    id: int
    institution: str
    agency: str
    channels: Channels
    purposes: Purposes
    valid_from: Instant | None
    valid_until: Instant | None
    document_sha256: Sha256 | None
    status: str
    row_version: int


async def institutions(c: "Connection", after: int, limit: int) -> list[Institution]:
    """A page by id."""
    return [_institution(row) for row in await changing.page(c, INSTITUTION, "i", after, limit)]


async def institution(c: "Connection", identity: int) -> Institution:
    """One. Problem `not_found`."""
    return _institution(await changing.one(c, INSTITUTION, "i", identity))


async def register(c: "Connection", actor: Actor, new: NewInstitution) -> Institution:
    """Add an institution. Problem `exists`; `forbidden` outside one's territory."""
    identity = await changing.insert(c, "institutions", _masked(new.model_dump()))
    await record(c, actor, "institution.add", f"institutions/{identity}", code=new.code)
    return await institution(c, identity)


async def change_institution(
    c: "Connection", actor: Actor, old: Institution, wanted: InstitutionChange
) -> Institution:
    """Change what is named. A licence that ends takes its numbers with it at once. Problem `forbidden` for
    what a regulator alone changes: kind, region, and that a closed one is open again."""
    values = _masked(wanted.model_dump(exclude_unset=True))
    if actor.role != "regulator":
        _leaves_to_regulators(old, values)
    await changing.update(c, "institutions", old.id, values)
    await record(c, actor, "institution.change", f"institutions/{old.id}", fields=sorted(values))
    return await institution(c, old.id)


async def mandates(c: "Connection", actor: Actor, after: int, limit: int) -> list[Mandate]:
    """A page by id."""
    own = {
        "institution": f"m.institution_id = {actor.institution}",
        "agency": f"m.agency_id = {actor.institution}",
    }.get(actor.role, "true")
    return [_mandate(row) for row in await changing.page(c, MANDATE, "m", after, limit, own)]


async def mandate(c: "Connection", identity: int) -> Mandate:
    """One. Problem `not_found`."""
    return _mandate(await changing.one(c, MANDATE, "m", identity))


async def entrust(c: "Connection", actor: Actor, new: NewMandate) -> Mandate:
    """A mandate of the actor's institution. Problem `invalid`, `exists`."""
    if new.institution not in (None, actor.institution_code):
        raise unknown("institution", new.institution)
    agency = await reference(c, "agency", new.agency)
    if agency == actor.institution:
        raise unknown("agency", new.agency)
    values = _masked(new.model_dump(exclude={"agency", "institution"}))
    values |= {"institution_id": actor.institution, "agency_id": agency}
    in_order(new.valid_from, new.valid_until, "valid_until")
    identity = await changing.insert(c, "mandates", values)
    await record(c, actor, "mandate.add", f"mandates/{identity}", agency=new.agency)
    return await mandate(c, identity)


async def change_mandate(c: "Connection", actor: Actor, old: Mandate, wanted: MandateChange) -> Mandate:
    """Change its end or document. Problem `wrong_state` when it was revoked."""
    _stands(old)
    values = wanted.model_dump(exclude_unset=True)
    in_order(old.valid_from, values.get("valid_until"), "valid_until")
    await changing.update(c, "mandates", old.id, values)
    await record(c, actor, "mandate.change", f"mandates/{old.id}", fields=sorted(values))
    return await mandate(c, old.id)


async def revoke_mandate(c: "Connection", actor: Actor, old: Mandate, reason: str) -> Mandate:
    """Revoke it for good. Problem `wrong_state` when it was already."""
    _stands(old)
    await changing.update(c, "mandates", old.id, {"status": "revoked"})
    await record(c, actor, "mandate.revoke", f"mandates/{old.id}", reason=reason)
    return await mandate(c, old.id)


def in_order(start: Any, end: Any, field: str) -> None:
    """Problem `invalid` unless `end` is after `start`, where both are given."""
    if start is not None and end is not None and end <= start:
        raise Problem(
            "invalid",
            Words("不晚于开始时间", "not later than the beginning"),
            field=field,
            value=said(end),
            expected=Words("晚于开始的时间，或留空", "a time after the beginning, or nothing"),
        )


def _leaves_to_regulators(old: Institution, values: Mapping[str, Any]) -> None:
    """Database: institutions_guarded (0028)."""
    for field in ("kind", "region", "status"):
        before, value = getattr(old, field), values.get(field)
        if value in (None, before, "closed"):
            continue
        raise Problem(
            "forbidden",
            Words("仅监管人员可变更此项", "only a regulator changes this"),
            field=field,
            value=value,
            expected=Words(
                f"{before or '留空'}，即现登记内容", f"{before or 'nothing'}, as it is registered"
            ),
        )


def _stands(old: Mandate) -> None:
    if old.status != "active":
        raise Problem(
            "wrong_state",
            Words("该委托已撤销", "this mandate was revoked"),
            field="status",
            value=old.status,
            expected=Words("另立新委托", "a new mandate"),
        )


def _masked(values: dict[str, Any]) -> dict[str, Any]:
    for name, bits in (
        ("licence_scope", purpose_bits),
        ("purposes", purpose_bits),
        ("channels", channel_bits),
    ):
        if name in values:
            values[name] = bits(values[name])
    return values


def _institution(row: Mapping[str, Any]) -> Institution:
    words: dict[str, Any] = {"licence_scope": purpose_words(row["licence_scope"])}
    return Institution.model_construct(**{**dict(row), **words})


def _mandate(row: Mapping[str, Any]) -> Mandate:
    words: dict[str, Sequence[str]] = {
        "channels": channel_words(row["channels"]),
        "purposes": purpose_words(row["purposes"]),
    }
    return Mandate.model_construct(**{**dict(row), **words})
