"""Filings of sending numbers: drafting, changing, amending, and taking them through their steps.

Rules: what an actor sees is row security's business, a foreign id is a missing id; a draft is changed, an
approved filing only amended: a new version waits beside the old one, which stands until it does. Steps are
`workflow`'s, verdict words `policy.standing`'s. Every function works inside its caller's transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.errors import Problem, Words
from gateway.registry import changing, forms, holds, numbering, workflow
from gateway.registry.acting import Actor, record
from gateway.registry.fields import (
    Body,
    Channels,
    Code,
    Instant,
    NumberText,
    Purposes,
    Sha256,
    Signature,
    channel_bits,
    channel_words,
    purpose_bits,
    purpose_words,
    reading,
    said,
)
from gateway.registry.loading import RESERVED
from gateway.registry.references import known_carrier, reference, unknown
from gateway.registry.rows import Bad
from gateway.registry.shown import FILING, ONE, Filing, filing_of

if TYPE_CHECKING:
    from gateway.registry.acting import Connection


class FilingChange(Body):
    """What may change in a draft, or be otherwise in a new version; what is left out stays as it is."""

    extension_digits: int = Field(0, ge=0, le=12, strict=True)
    channels: Channels = Field(["sms", "voice"])
    purposes: Purposes = Field(["service"])
    agency: Code | None = Field(None, description="code of the agency that uses the number")
    signatures: list[Signature] = Field([], max_length=50)
    carrier: Code | None = Field(None, description="empty: any carrier's to check")
    effective_from: Instant | None = None
    effective_until: Instant | None = None
    document_sha256: Sha256 | None = None


class NewFiling(FilingChange):
    """A draft. `institution` is one's own for institutions, and has to be named by agencies."""

    number: str = Field(json_schema_extra={"examples": ["10690001"]}, max_length=40)
    purposes: Purposes
    institution: Code | None = None

    @field_validator("number")
    @classmethod
    def _registrable(cls, value: str, info: ValidationInfo) -> str:
        extension = info.data.get("extension_digits", 0)
        return reading(lambda text: numbering.registrable(text, extension), forms.NUMBER)(value)


class FilingFilter(Body):
    """Which filings: all, those of a stored `status`, of one number, institution or agency (by code)."""

    status: Literal["", "draft", "submitted", "returned", "checked", "approved", "revoked", "withdrawn"] = ""
    number: NumberText | None = None
    institution: str = Field("", max_length=40)
    agency: str = Field("", max_length=40)


class StepTaken(BaseModel):
    """One step of a filing's life. `by` is empty where the actor does not see that user."""

    id: int
    step: str
    from_status: str
    to_status: str
    role: str
    by: str | None
    reason: str
    at: Instant


class Version(BaseModel):
    """What stood of a filing from one change to the next; `until` empty: now."""

    since: Instant
    until: Instant | None
    row_version: int
    status: str
    extension_digits: int
    channels: Channels
    purposes: Purposes
    agency: str | None
    signatures: list[str]
    carrier: str | None
    effective_from: Instant | None
    effective_until: Instant | None
    document_sha256: Sha256 | None


async def create(c: "Connection", actor: Actor, new: NewFiling) -> Filing:
    """File a draft. Problem `invalid` (a reference that is none), `exists`."""
    values = await _values(c, actor, new.model_dump(exclude={"number", "institution"}))
    values["number"] = new.number
    values["institution_id"] = await _institution(c, actor, new.institution)
    _in_order(new.effective_from, new.effective_until)
    await _fits(c, new.number, new.extension_digits, values["institution_id"])
    if actor.role == "agency":
        values["agency_id"] = actor.institution
    identity = await changing.insert(c, "numbers", values)
    await record(c, actor, "number.draft", f"numbers/{identity}", number=new.number)
    return await get(c, identity)


async def get(c: "Connection", identity: int) -> Filing:
    """One filing, with its standing now. Problem `not_found`."""
    row = await c.fetchrow(ONE, identity)
    if row is None:
        raise missing(identity)
    return filing_of(row)


def missing(identity: int) -> Problem:
    """There is no such filing for this actor."""
    return Problem("not_found", Words("没有此号码", "there is no such number"), value=identity)


async def page(
    c: "Connection", actor: Actor, after: int, limit: int, wanted: FilingFilter | None = None
) -> list[Filing]:
    """Up to `limit` filings with an id above `after`, by id."""
    conditions: list[str] = []
    values: list[Any] = [after, limit]
    named: Mapping[str, Any] = wanted.model_dump() if wanted is not None else {}
    for name, column in (("status", "t.status"), ("number", "t.number")):
        if named.get(name):
            values.append(named[name])
            conditions.append(f"{column} = ${len(values)}")
    for name, column in (("institution", "t.institution_id"), ("agency", "t.agency_id")):
        if named.get(name):
            values.append(named[name])
            conditions.append(f"{column} = institution_of(${len(values)})")
    others = {
        "agency": [f"t.agency_id = {actor.institution}"],
        "carrier": ["t.carrier = my_carrier()", "t.carrier IS NULL"],
    }
    ids = changing.reached(actor, "numbers", conditions, others)
    rows = await c.fetch(f"{FILING} WHERE n.id = ANY (ARRAY({ids})) ORDER BY n.id", *values)
    return [filing_of(row) for row in rows]


async def change(c: "Connection", actor: Actor, filing: Filing, wanted: FilingChange) -> Filing:
    """Change a draft, or a filing that came back. Problem `wrong_state` for any other."""
    if filing.status not in ("draft", "returned"):
        raise Problem(
            "wrong_state",
            Words("只能修改草稿或被退回的登记", "only a draft, or what was returned, is changed"),
            field="status",
            value=filing.status,
            expected=Words("另立变更版本：POST …/amend", "an amendment: POST …/amend"),
        )
    values = await _amended(c, actor, filing, wanted, filing.effective_from)
    if values:
        await changing.update(c, "numbers", filing.id, values)
        await record(c, actor, "number.change", f"numbers/{filing.id}", fields=sorted(values))
    return await get(c, filing.id)


async def amend(c: "Connection", actor: Actor, filing: Filing, wanted: FilingChange) -> Filing:
    """A new version of an approved filing, as a draft. Problem `wrong_state`, `exists` (one is under way).

    Its beginning is what the change says; without one it begins when it is approved, but not before the
    version that it amends.
    """
    if filing.status != "approved":
        raise Problem(
            "wrong_state",
            Words("只有已审批的登记可另立变更版本", "only an approved filing is amended"),
            field="status",
            value=filing.status,
            expected=Words("approved", "approved"),
        )
    kept = ("extension_digits", "channels", "purposes", "agency_id", "signatures", "carrier",
            "effective_until", "document_sha256")  # fmt: skip
    old = await c.fetchrow(
        f"""SELECT number, institution_id, version + 1 AS version, id AS supersedes, {", ".join(kept)},
                   CASE WHEN effective_from > now() THEN effective_from END AS effective_from
              FROM numbers WHERE id = $1""",
        filing.id,
    )
    if old is None:
        raise missing(filing.id)
    values = await _amended(c, actor, filing, wanted, old["effective_from"])
    identity = await changing.insert(c, "numbers", {**dict(old), **values})
    await record(c, actor, "number.amend", f"numbers/{identity}", supersedes=filing.id)
    return await get(c, identity)


async def step(
    c: "Connection",
    actor: Actor,
    ids: Sequence[int],
    name: str,
    reason: str = "",
    *,
    documents: bool = False,
) -> list[tuple[int, Problem]]:
    """Take a step with each of these filings; those that could not take it, and why. `documents`: submitting
    takes one. One act in the audit."""
    wanted = sorted(set(ids))
    rows = await c.fetch(
        """SELECT id, status,
                  EXISTS (SELECT FROM documents d WHERE d.sha256 = n.document_sha256) AS documented
             FROM numbers n WHERE id = ANY ($1)""",
        wanted,
    )
    seen = {row["id"]: row["documented"] for row in rows}
    states = {row["id"]: row["status"] for row in rows}
    missing = Words("没有此号码", "there is no such number")
    refused = [(one, Problem("not_found", missing, value=one)) for one in wanted if one not in seen]
    if documents and name == "submit":
        bare = Words("须附文件", "submitting takes a document")
        for one in [one for one, documented in seen.items() if not documented]:
            refused.append((one, Problem("invalid", bare, field="document_sha256")))
            del seen[one]
    able = sorted(seen)
    refused += [
        (one, workflow.out_of_order(problem, name, states[one]))
        for one, problem in await workflow.take_many(c, able, name, reason)
    ]
    if done := sorted(set(able) - {one for one, _ in refused}):
        subject = f"numbers/{done[0]}" if len(ids) == 1 else "numbers"
        await record(c, actor, f"number.{name}", subject, reason=reason, ids=[*done])
    return sorted(refused, key=lambda one: one[0])


async def suspend(
    c: "Connection", actor: Actor, identity: int, cause: str, *, case: str = "", until: datetime | None = None
) -> Filing:
    """Place a hold on an approved filing. Problem `wrong_state`, `invalid` (no cause, over already)."""
    filing = await get(c, identity)
    _may_hold(actor)
    if filing.status != "approved":
        raise Problem(
            "wrong_state",
            Words("只有已审批的登记可暂停", "only an approved filing is suspended"),
            field="status",
            value=filing.status,
        )
    await holds.place(c, actor, "numbers", identity, cause, case=case, until=until)
    return await get(c, identity)


async def resume(
    c: "Connection", actor: Actor, identity: int, reason: str, *, hold: int | None = None
) -> Filing:
    """Lift one hold of a filing's own. Problem `wrong_state`, `invalid` (no reason, not said which)."""
    await get(c, identity)
    _may_hold(actor)
    await holds.lift(c, actor, "numbers", identity, reason, hold=hold)
    return await get(c, identity)


def _may_hold(actor: Actor) -> None:
    if actor.role != "regulator":
        raise Problem("forbidden", Words("须由监管人员办理", "this is a regulator's"))


async def steps(c: "Connection", identity: int, after: int, limit: int) -> list[StepTaken]:
    """The steps that a filing has taken, oldest first."""
    rows = await c.fetch(
        """SELECT s.id, s.step, s.from_status, s.to_status, t.role, u.login AS by, s.reason, s.at
             FROM number_steps s JOIN number_transitions t USING (step, from_status)
             LEFT JOIN users u ON u.id = s.user_id
            WHERE s.number_id = $1 AND s.id > $2 ORDER BY s.id LIMIT $3""",
        identity,
        after,
        limit,
    )
    return [StepTaken.model_construct(**dict(row)) for row in rows]


async def history(c: "Connection", identity: int) -> list[Version]:
    """All that a filing has been, oldest first. `c` is the owner's: whether it may be seen was asked."""
    rows = await c.fetch(
        """SELECT changed_at AS since, superseded_at AS until, row_version, status, extension_digits,
                  channels, purposes, code_of(agency_id) AS agency, signatures, carrier, effective_from,
                  effective_until, document_sha256
             FROM (SELECT superseded_at, id, changed_at, row_version, status, extension_digits, channels,
                          purposes, agency_id, signatures, carrier, effective_from, effective_until,
                          document_sha256 FROM numbers_history
                    UNION ALL
                   SELECT NULL, id, changed_at, row_version, status, extension_digits, channels, purposes,
                          agency_id, signatures, carrier, effective_from, effective_until, document_sha256
                     FROM numbers) n WHERE id = $1 ORDER BY row_version""",
        identity,
    )
    return [
        Version.model_construct(
            **{
                **dict(row),
                "channels": channel_words(row["channels"]),
                "purposes": purpose_words(row["purposes"]),
            }
        )
        for row in rows
    ]


async def _institution(c: "Connection", actor: Actor, code: str | None) -> int:
    if actor.role == "institution" and code in (None, actor.institution_code):
        return actor.institution
    # an agency sees those that gave it a mandate; of nobody else is said whether they exist
    if actor.role == "agency" and code is not None:
        identity: int | None = await c.fetchval(
            """SELECT id FROM institutions
                WHERE code = $1 AND id IN (SELECT institution_id FROM mandates)""",
            code,
        )
        if identity is not None:
            return identity
    raise unknown("institution", code)


async def _values(c: "Connection", actor: Actor, given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and values of what a model holds."""
    values = dict(given)
    if "channels" in values:
        values["channels"] = channel_bits(values["channels"])
    if "purposes" in values:
        values["purposes"] = purpose_bits(values["purposes"])
    if values.get("carrier") is not None:
        await known_carrier(c, values["carrier"])
    if "agency" in values:
        code = values.pop("agency")
        if actor.role == "agency" and code not in (None, actor.institution_code):
            raise unknown("agency", code)
        if actor.role != "agency":
            values["agency_id"] = await reference(c, "agency", code) if code is not None else None
    return values


async def _amended(
    c: "Connection", actor: Actor, filing: Filing, wanted: FilingChange, since: datetime | None
) -> dict[str, Any]:
    """Columns and values of a change of a filing, which begins at `since` if it does not say when."""
    given = wanted.model_dump(exclude_unset=True)
    _in_order(given.get("effective_from", since), given.get("effective_until", filing.effective_until))
    if "extension_digits" in given:
        holder = await reference(c, "institution", filing.institution)
        await _fits(c, filing.number, given["extension_digits"], holder)
    return await _values(c, actor, given)


def _in_order(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and until <= since:
        raise Problem(
            "invalid",
            Words("不晚于生效时间", "not later than effective_from"),
            field="effective_until",
            value=said(until),
            expected=Words(f"晚于 {said(since)}", f"later than {said(since)}"),
        )


async def _fits(c: "Connection", number: str, extension_digits: int, holder: int) -> None:
    """Whether the holder may file the number with so many further digits. Problem `invalid`."""
    try:
        numbering.be_fit(number, extension_digits)
    except Bad as bad:
        raise Problem(
            "invalid",
            Words(bad.flaw.cause_zh, bad.flaw.cause),
            field="extension_digits",
            value=extension_digits,
            expected=Words(bad.flaw.expected_zh, bad.flaw.expected),
        ) from None
    if covered := await c.fetchval("SELECT reserved($1, $2, $3)", number, extension_digits, holder):
        cause, cause_zh, expected, expected_zh = RESERVED
        raise Problem(
            "invalid",
            Words(f"{cause_zh}：{covered}", f"{cause}: {covered}"),
            field="number",
            value=number,
            expected=Words(expected_zh, expected),
        )
