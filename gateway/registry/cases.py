"""Cases: what ties complaints, records, penalties and appeals together, until it is closed or referred.

Rules: a case that is closed takes nothing more; a referral to the police is a record of its own, which nobody
changes. Every function runs in its caller's transaction and sees what its actor may see.
"""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, as_problem, record
from gateway.registry.deadlines import Terms, day_of, named_or_due
from gateway.registry.fields import Body, Moment

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

ItemKind = Literal["record", "complaint", "penalty", "appeal", "ban", "number", "document"]

_FORMS = {"record": re.compile(r"[0-9a-f]{32}"), "document": re.compile(r"[0-9a-f]{64}")}
_TABLES = {
    "complaint": "complaints",
    "penalty": "penalties",
    "appeal": "appeals",
    "ban": "blacklist",
    "number": "numbers",
}
"""Where an item that goes by id stands; a record lies in a journal, a document goes by its hash."""

_COLUMNS = """k.id, k.title, k.status, k.opened_at, k.due, k.escalated_at, k.closed_at, k.outcome,
    k.row_version,
    opener.login AS opened_by, assignee.login AS assigned_to, escalated.login AS escalated_to,
    closer.login AS closed_by"""
_FROM = """cases k
    LEFT JOIN users opener ON opener.id = k.opened_by
    LEFT JOIN users assignee ON assignee.id = k.assigned_to
    LEFT JOIN users escalated ON escalated.id = k.escalated_to
    LEFT JOIN users closer ON closer.id = k.closed_by"""


class NewCase(Body):
    """`due`: a workday; empty: as many workdays ahead as a complaint has."""

    title: str = Field(min_length=1, max_length=200, pattern=r"\S", examples=["示例催收公司无委托催收"])
    due: date | None = None


class CaseChange(Body):
    """What is given is changed; `assigned_to` is a regulator's login."""

    title: str | None = Field(None, min_length=1, max_length=200, pattern=r"\S")
    due: date | None = None
    assigned_to: str | None = Field(None, max_length=60)


class NewItem(Body):
    """What is tied to a case: a row by its id, a record by its attempt id, a document by its SHA-256."""

    kind: ItemKind
    reference: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z-]+$", examples=["17"])
    note: str = Field("", max_length=1000)


class Item(NewItem):
    added_at: Moment


class NewReferral(Body):
    """To whom a case goes and why; `reference` is the authority's own."""

    authority: str = Field(min_length=1, max_length=200, pattern=r"\S", examples=["示例市公安局"])
    reason: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    reference: str = Field("", max_length=200)
    document_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class Referral(NewReferral):
    id: int
    referred_by: str | None
    referred_at: Moment


class Case(BaseModel):
    """One case. `escalated_to`: the other person who has it because it is overdue."""

    id: int
    title: str
    status: Literal["open", "referred", "closed"]
    opened_by: str | None
    opened_at: Moment
    due: date
    overdue: bool
    assigned_to: str | None
    escalated_to: str | None
    escalated_at: Moment | None
    closed_by: str | None
    closed_at: Moment | None
    outcome: str
    row_version: int


class CaseFile(Case):
    """A case with all that is in it."""

    items: list[Item]
    referrals: list[Referral]


async def open_case(c: "Connection", actor: Actor, new: NewCase, terms: Terms, now: datetime) -> CaseFile:
    """A new case, assigned to its opener."""
    identity = await c.fetchval(
        "INSERT INTO cases (title, due, assigned_to) VALUES ($1, $2, $3) RETURNING id",
        new.title,
        named_or_due(new.due, now, terms.complaint, terms.days),
        actor.user,
    )
    found = await get(c, identity, now)
    await record(c, actor, "case.open", f"cases/{identity}", due=found.due.isoformat())
    return found


async def change(
    c: "Connection",
    actor: Actor,
    case: int,
    new: CaseChange,
    unchanged: Callable[[int], None],
    terms: Terms,
    now: datetime,
) -> CaseFile:
    """Change title, due date or assignee. `unchanged` is called with the row version that is to be changed,
    and raises when the caller has read another."""
    unchanged(await _open(c, case))
    if new.due is not None:
        named_or_due(new.due, now, terms.complaint, terms.days)
    assignee = None
    if new.assigned_to is not None:
        assignee = await c.fetchval(
            "SELECT id FROM users WHERE login = $1 AND role = 'regulator' AND status = 'active'",
            new.assigned_to,
        )
        if assignee is None:
            raise Problem(
                "invalid",
                Words("没有此监管用户", "no active regulator is called so"),
                field="assigned_to",
                value=new.assigned_to,
                expected=Words("在用监管人员的登录名", "the login of an active regulator"),
            )
    await _try(
        c.execute(
            """UPDATE cases SET title = coalesce($2, title), due = coalesce($3, due),
                      assigned_to = coalesce($4, assigned_to),
                      escalated_to = CASE WHEN $3 IS NULL AND $4 IS NULL THEN escalated_to END,
                      escalated_at = CASE WHEN $3 IS NULL AND $4 IS NULL THEN escalated_at END
                WHERE id = $1""",
            case,
            new.title,
            new.due,
            assignee,
        )
    )
    await record(c, actor, "case.change", f"cases/{case}", **new.model_dump(mode="json", exclude_none=True))
    return await get(c, case, now)


async def tie(c: "Connection", actor: Actor, case: int, new: NewItem, now: datetime) -> CaseFile:
    """Put something into a case, once. Problem `invalid`: there is no such thing."""
    await _open(c, case)
    reference = new.reference
    if new.kind in _FORMS:
        reference = reference.replace("-", "").lower()
        there = _FORMS[new.kind].fullmatch(reference) is not None
        if there and new.kind == "document":
            there = await c.fetchval(
                "SELECT EXISTS (SELECT FROM documents WHERE sha256 = decode($1, 'hex'))", reference
            )
    else:
        identity = int(new.reference) if re.fullmatch(r"[0-9]{1,18}", new.reference) else 0
        there = await c.fetchval(f"SELECT true FROM {_TABLES[new.kind]} WHERE id = $1", identity)
    if not there:
        raise Problem(
            "invalid",
            Words("没有此记录", "there is no such row"),
            field="reference",
            value=new.reference,
            expected=Words(
                "该类记录的编号，文件为其 SHA-256", "the id of one of that kind, of a document its SHA-256"
            ),
        )
    await put_item(c, case, new.kind, reference, new.note)
    await record(c, actor, "case.tie", f"cases/{case}", kind=new.kind, reference=reference)
    return await get(c, case, now)


async def put_item(c: "Connection", case: int, kind: ItemKind, reference: str, note: str = "") -> None:
    """Only the row; whoever calls has looked and writes the audit."""
    await c.execute(
        """INSERT INTO case_items (case_id, kind, reference, note) VALUES ($1, $2, $3, $4)
           ON CONFLICT (case_id, kind, reference) DO NOTHING""",
        case,
        kind,
        reference,
        note,
    )


async def refer(c: "Connection", actor: Actor, case: int, new: NewReferral, now: datetime) -> CaseFile:
    """To the police: a record of its own, and the case is `referred`."""
    await _open(c, case)
    identity = await c.fetchval(
        """INSERT INTO referrals (case_id, authority, reference, reason, document_sha256)
           VALUES ($1, $2, $3, $4, $5) RETURNING id""",
        case,
        new.authority,
        new.reference,
        new.reason,
        bytes.fromhex(new.document_sha256) if new.document_sha256 else None,
    )
    await c.execute("UPDATE cases SET status = 'referred' WHERE id = $1", case)
    await record(
        c, actor, "case.refer", f"cases/{case}", reason=new.reason, referral=identity, authority=new.authority
    )
    return await get(c, case, now)


async def close(c: "Connection", actor: Actor, case: int, outcome: str, now: datetime) -> CaseFile:
    """End a case, with what came of it."""
    await _open(c, case)
    await c.execute(
        "UPDATE cases SET status = 'closed', closed_by = $2, closed_at = now(), outcome = $3 WHERE id = $1",
        case,
        actor.user,
        outcome,
    )
    await record(c, actor, "case.close", f"cases/{case}", reason=outcome)
    return await get(c, case, now)


async def get(c: "Connection", case: int, now: datetime) -> CaseFile:
    """One case with all that is in it. Problem `not_found`."""
    row = await c.fetchrow(f"SELECT {_COLUMNS} FROM {_FROM} WHERE k.id = $1", case)
    if row is None:
        raise not_found()
    items = await c.fetch(
        "SELECT kind, reference, note, added_at FROM case_items WHERE case_id = $1 ORDER BY id", case
    )
    referrals = await c.fetch(
        """SELECT r.id, r.authority, r.reference, r.reason, encode(r.document_sha256, 'hex')
                  AS document_sha256, u.login AS referred_by, r.referred_at
             FROM referrals r LEFT JOIN users u ON u.id = r.referred_by WHERE r.case_id = $1 ORDER BY r.id""",
        case,
    )
    return CaseFile(
        **_shown(row, now),
        items=[Item(**item) for item in items],
        referrals=[Referral(**referral) for referral in referrals],
    )


async def page(
    c: "Connection",
    now: datetime,
    *,
    after: int = 0,
    limit: int = 50,
    overdue: bool = False,
    status: str = "",
) -> list[Case]:
    """Cases by id, beginning after the id `after`."""
    rows = await c.fetch(
        f"""SELECT {_COLUMNS} FROM {_FROM}
             WHERE k.id > $1 AND ($3 = '' OR k.status = $3)
               AND (NOT $4 OR k.status <> 'closed' AND k.due < $5) ORDER BY k.id LIMIT $2""",
        after,
        limit,
        status,
        overdue,
        day_of(now),
    )
    return [Case(**_shown(row, now)) for row in rows]


def not_found() -> Problem:
    return Problem("not_found", Words("没有该案件", "there is no such case"))


async def _open(c: "Connection", case: int) -> int:
    """Lock a case for a change; its row version. Problems `not_found`, `wrong_state` (closed)."""
    row = await c.fetchrow("SELECT status, row_version FROM cases WHERE id = $1 FOR UPDATE", case)
    if row is None:
        raise not_found()
    if row["status"] == "closed":
        raise Problem("wrong_state", Words("案件已结案", "the case is closed"), field="id", value=case)
    return int(row["row_version"])


def _shown(row: "asyncpg.Record", now: datetime) -> dict[str, Any]:
    return {**row, "overdue": row["status"] != "closed" and row["due"] < day_of(now)}


async def _try(doing: Any) -> Any:
    try:
        return await doing
    except asyncpg.PostgresError as error:
        raise as_problem(error) or error from None
