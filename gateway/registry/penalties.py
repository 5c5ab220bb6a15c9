"""Penalties: a fine, or a suspension that stops all numbers of an institution or agency, at every holder.

Rules: a suspension is a hold that the database places and lifts with the penalty (migrations 0007), so it is
in force on every node within a second, and lifting it ends that hold and no other. Each has a day by which
it is to be settled: lifted, as the fine is paid or what it punishes is mended. Every function runs in its
caller's transaction and sees what its actor may see.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from gateway.errors import Problem, Words
from gateway.registry import cases
from gateway.registry.acting import Actor, as_problem, record
from gateway.registry.deadlines import Terms, day_of, named_or_due
from gateway.registry.fields import Body, Instant, Misread, Moment
from gateway.registry.rows import Flaw

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

PenaltyKind = Literal["fine", "suspension", "fine_and_suspension"]

_COLUMNS = """p.id, i.code AS institution, p.kind, p.amount, p.cause, p.legal_basis,
    encode(p.document_sha256, 'hex') AS document_sha256, p.case_id AS "case", p.valid_from, p.valid_until,
    imposer.login AS imposed_by, p.imposed_at, lifter.login AS lifted_by, p.lifted_at, p.lifted_reason,
    p.kind <> 'fine' AND p.lifted_at IS NULL AND p.valid_from <= now()
        AND coalesce(now() < p.valid_until, true) AS suspends,
    p.due, p.lifted_at IS NULL AND coalesce(now() < p.valid_until, true) AS stands,
    escalated.login AS escalated_to, p.escalated_at, p.row_version"""
_FROM = """penalties p JOIN institutions i ON i.id = p.institution_id
    LEFT JOIN users imposer ON imposer.id = p.imposed_by LEFT JOIN users lifter ON lifter.id = p.lifted_by
    LEFT JOIN users escalated ON escalated.id = p.escalated_to"""


class NewPenalty(Body):
    """`institution` is the code of an institution, agency or provider; `amount` in yuan, of a fine;
    `valid_from` empty: at once; `valid_until` empty: until it is lifted; `due`, by when it is to be settled,
    empty: as many workdays ahead as the configuration says."""

    institution: str = Field(min_length=1, max_length=40, examples=["YXCS"])
    kind: PenaltyKind
    amount: Decimal | None = Field(None, gt=0, max_digits=14, decimal_places=2, validate_default=True)
    cause: str = Field(min_length=1, max_length=1000, pattern=r"\S", examples=["无委托催收"])
    legal_basis: str = Field("", max_length=1000)
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    document_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    case: int | None = Field(None, ge=1, lt=2**63)
    due: date | None = None

    @field_validator("amount")
    @classmethod
    def _of_a_fine(cls, amount: Decimal | None, info: ValidationInfo) -> Decimal | None:
        kind = info.data.get("kind", "suspension" if amount is None else "fine")
        if (kind == "suspension") != (amount is None):
            raise Misread(
                Flaw("is missing", "缺少此项", "yuan, of a fine", "罚款金额（元）")
                if amount is None
                else Flaw("a suspension has none", "停用不含金额", "nothing, or a fine", "留空，或改为罚款")
            )
        return amount

    @field_validator("valid_until")
    @classmethod
    def _after_it_began(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("valid_from")
        if since and until and until <= since:
            raise Misread(Flaw("not later than valid_from", "不晚于生效时间", "a later time", "更晚的时间"))
        return until


class Penalty(BaseModel):
    """One penalty. `suspends`: it stops the holder's numbers now. Names of regulators are shown to
    regulators and auditors."""

    id: int
    institution: str
    kind: PenaltyKind
    amount: Decimal | None
    cause: str
    legal_basis: str
    document_sha256: str | None
    case: int | None
    valid_from: Moment
    valid_until: Moment | None
    suspends: bool
    imposed_by: str | None
    imposed_at: Moment
    lifted_by: str | None
    lifted_at: Moment | None
    lifted_reason: str
    due: date = Field(description="by when it is to be settled")
    provisional: bool = Field(description="the calendar of the due date is not published yet")
    overdue: bool = Field(description="it stands, and that day is over")
    escalated_to: str | None = Field(description="the other regulator who has it because it is overdue")
    escalated_at: Moment | None
    row_version: int


async def impose(c: "Connection", actor: Actor, new: NewPenalty, terms: Terms, now: datetime) -> Penalty:
    """Impose a penalty, tied to its case if one is named. Problem `invalid` names what is not there."""
    settled_by = named_or_due(new.due, now, terms.penalty, terms.days)
    institution = await c.fetchval("SELECT id FROM institutions WHERE code = $1", new.institution)
    if institution is None:
        raise Problem(
            "invalid",
            Words("没有此代码的机构", "no institution has this code"),
            field="institution",
            value=new.institution,
            expected=Words("已登记机构的代码", "the code of an institution, agency or provider"),
        )
    if new.case is not None and not await c.fetchval("SELECT true FROM cases WHERE id = $1", new.case):
        raise Problem("invalid", Words("没有该案件", "there is no such case"), field="case", value=new.case)
    try:
        identity = await c.fetchval(
            """INSERT INTO penalties (institution_id, kind, amount, cause, legal_basis, document_sha256,
                                      case_id, valid_from, valid_until, due)
               VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, now()), $9, $10) RETURNING id""",
            institution,
            new.kind,
            new.amount,
            new.cause,
            new.legal_basis,
            bytes.fromhex(new.document_sha256) if new.document_sha256 else None,
            new.case,
            new.valid_from,
            new.valid_until,
            settled_by,
        )
    except asyncpg.CheckViolationError as error:
        raise Problem(
            "invalid",
            Words("失效时间已过，或金额与类型不符", "it ends before it begins, or amount and kind don't fit"),
            field="valid_until",
            value=str(new.valid_until),
            expected=Words(
                "晚于生效时间的时间；空表示直至解除", "a later time, or empty: until it is lifted"
            ),
        ) from error
    except asyncpg.PostgresError as error:
        raise as_problem(error) or error from None
    if new.case is not None:
        await cases.put_item(c, new.case, "penalty", str(identity))
    await record(
        c,
        actor,
        "penalty.impose",
        f"penalties/{identity}",
        reason=new.cause,
        institution=new.institution,
        kind=new.kind,
    )
    return await get(c, identity, terms, now)


async def lift(
    c: "Connection", actor: Actor, penalty: int, reason: str, terms: Terms, now: datetime
) -> Penalty:
    """End a penalty now: it is settled, or was wrong. Problem `wrong_state`: it was lifted before."""
    if not reason.strip():
        raise Problem(
            "invalid", Words("未说明理由", "no reason is given"), field="reason", value=reason,
            expected=Words("解除处罚的理由", "why the penalty is lifted"),
        )  # fmt: skip
    done = await c.fetchval(
        """UPDATE penalties SET lifted_by = $2, lifted_at = now(), lifted_reason = $3
            WHERE id = $1 AND lifted_at IS NULL RETURNING id""",
        penalty,
        actor.user,
        reason,
    )
    found = await get(c, penalty, terms, now)
    if done is None:
        raise Problem(
            "wrong_state", Words("该处罚已解除", "the penalty was lifted"), field="id", value=penalty
        )
    await record(c, actor, "penalty.lift", f"penalties/{penalty}", reason=reason)
    return found


async def get(c: "Connection", penalty: int, terms: Terms, now: datetime) -> Penalty:
    """One penalty. Problem `not_found`."""
    row = await c.fetchrow(f"SELECT {_COLUMNS} FROM {_FROM} WHERE p.id = $1", penalty)
    if row is None:
        raise Problem("not_found", Words("没有该处罚", "there is no such penalty"))
    return _shown(row, terms, now)


async def page(
    c: "Connection",
    terms: Terms,
    now: datetime,
    *,
    after: int = 0,
    limit: int = 50,
    institution: str = "",
    overdue: bool = False,
) -> list[Penalty]:
    """Penalties by id, beginning after the id `after`; of one institution by its code; only what is overdue
    with `overdue`."""
    rows = await c.fetch(
        f"""SELECT {_COLUMNS} FROM {_FROM}
             WHERE p.id > $1 AND ($3 = '' OR i.code = $3)
               AND (NOT $4 OR p.due < $5 AND p.lifted_at IS NULL AND coalesce(now() < p.valid_until, true))
             ORDER BY p.id LIMIT $2""",
        after,
        limit,
        institution,
        overdue,
        day_of(now),
    )
    return [_shown(row, terms, now) for row in rows]


def _shown(row: "asyncpg.Record", terms: Terms, now: datetime) -> Penalty:
    values: dict[str, Any] = dict(row)
    stands = values.pop("stands")
    return Penalty(
        **values,
        provisional=values["due"] > terms.days.last,
        overdue=stands and values["due"] < day_of(now),
    )
