"""Appeals: a holder objects to a verdict, a penalty, a blacklist entry, a hold or a decision on a filing.

Rules: what is attacked hits who appeals: its verdict, penalty, hold or filing, as far as it sees them, or a
blacklist entry that covers a number approved for it once; anything else is not there. The answer comes from a
regulator who is none of its authors, whom the database looks up (migrations 0007). Upholding an appeal undoes
nothing by itself: what it attacks is lifted or removed by its own steps. Every function runs in its caller's
transaction.
"""

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, as_problem, record
from gateway.registry.deadlines import Terms, day_of, due
from gateway.registry.fields import Body, Moment

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

AppealKind = Literal["verdict", "penalty", "ban", "hold", "number"]
Decision = Literal["upheld", "rejected"]

_SEEN: dict[str, str] = {"penalty": "penalties", "hold": "holds", "number": "numbers"}
_PROVIDERS = ("penalty", "ban", "hold")
"""What a provider can attack: it has no numbers and no verdicts of its own, but allocations."""
_HIT = """SELECT b.id FROM blacklist b WHERE b.id = $1 AND EXISTS (
    SELECT FROM {rows} WHERE b.is_prefix AND starts_with(n.number, b.number)
        OR starts_with(b.number, n.number) AND {within})"""
_HIT_NUMBERS = _HIT.format(
    rows="(SELECT * FROM numbers WHERE approved_at IS NOT NULL) n",
    within="length(b.number) <= length(n.number) + n.extension_digits",
)
_HIT_ALLOCATIONS = _HIT.format(rows="allocations n", within="true")
"""A blacklist entry that covers a number, or a part of its range, of those the actor sees: its own."""

_COLUMNS = """a.id, a.against_kind, a.against, code_of(a.institution_id) AS institution, a.grounds,
    encode(a.document_sha256, 'hex') AS document_sha256, filer.login AS filed_by, a.filed_at, a.due, a.status,
    assignee.login AS assigned_to, escalated.login AS escalated_to, a.escalated_at, a.answer,
    answerer.login AS answered_by, a.answered_at, a.row_version"""
_FROM = """appeals a LEFT JOIN users filer ON filer.id = a.filed_by
    LEFT JOIN users assignee ON assignee.id = a.assigned_to
    LEFT JOIN users escalated ON escalated.id = a.escalated_to
    LEFT JOIN users answerer ON answerer.id = a.answered_by"""


class NewAppeal(Body):
    """`against`: the attempt id of a refused attempt, else the id of the row."""

    against_kind: AppealKind
    against: str = Field(min_length=1, max_length=36, pattern=r"^[0-9A-Fa-f-]+$", examples=["17"])
    grounds: str = Field(min_length=1, max_length=4000, pattern=r"\S")
    document_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class Appeal(BaseModel):
    """One appeal. Logins of regulators are shown to regulators and auditors."""

    id: int
    against_kind: AppealKind
    against: str
    institution: str
    grounds: str
    document_sha256: str | None
    filed_by: str | None
    filed_at: Moment
    due: date
    provisional: bool
    overdue: bool
    status: Literal["open", "upheld", "rejected"]
    assigned_to: str | None
    escalated_to: str | None
    escalated_at: Moment | None
    answer: str
    answered_by: str | None
    answered_at: Moment | None
    row_version: int


async def file(c: "Connection", actor: Actor, new: NewAppeal, terms: Terms, now: datetime) -> Appeal:
    """File an appeal. Problems `invalid`: what it attacks is not there for this actor; `exists`: one against
    the same is open."""
    against = await _seen(c, actor, new)
    if against is None:
        raise Problem(
            "invalid",
            Words("没有这一项，或不归您所见", "there is no such thing for you"),
            field="against",
            value=new.against,
            expected=Words(
                "被拦截记录的编号，或本机构处罚、名单、暂停、号码的编号",
                "the id of one's refused attempt, penalty, entry, hold or number",
            ),
        )
    try:
        identity = await c.fetchval(
            """INSERT INTO appeals (against_kind, against, institution_id, grounds, document_sha256, due)
               VALUES ($1, $2, $3, $4, $5, $6) RETURNING id""",
            new.against_kind,
            against,
            actor.institution,
            new.grounds,
            bytes.fromhex(new.document_sha256) if new.document_sha256 else None,
            due(now, terms.appeal, terms.days).day,
        )
    except asyncpg.PostgresError as error:
        raise as_problem(error) or error from None
    await record(c, actor, "appeal.file", f"appeals/{identity}", kind=new.against_kind, against=against)
    return await get(c, identity, terms, now)


async def answer(
    c: "Connection", actor: Actor, appeal: int, decision: Decision, words: str, terms: Terms, now: datetime
) -> Appeal:
    """Decide an appeal. Problems `same_person`: the actor made what it attacks; `wrong_state`: decided."""
    try:
        done = await c.fetchval(
            """UPDATE appeals SET status = $2, answer = $3, answered_at = now()
                WHERE id = $1 AND status = 'open' RETURNING id""",
            appeal,
            decision,
            words,
        )
    except asyncpg.PostgresError as error:
        raise as_problem(error) or error from None
    found = await get(c, appeal, terms, now)
    if done is None:
        raise Problem("wrong_state", Words("该申诉已答复", "the appeal is decided"), field="id", value=appeal)
    await record(c, actor, "appeal.answer", f"appeals/{appeal}", reason=words, decision=decision)
    return found


async def get(c: "Connection", appeal: int, terms: Terms, now: datetime) -> Appeal:
    """One appeal. Problem `not_found`."""
    row = await c.fetchrow(f"SELECT {_COLUMNS} FROM {_FROM} WHERE a.id = $1", appeal)
    if row is None:
        raise Problem("not_found", Words("没有该申诉", "there is no such appeal"))
    return _shown(row, terms, now)


async def page(
    c: "Connection", terms: Terms, now: datetime, *, after: int = 0, limit: int = 50, overdue: bool = False
) -> list[Appeal]:
    """Appeals by id, beginning after the id `after`; only what is overdue with `overdue`."""
    rows = await c.fetch(
        f"""SELECT {_COLUMNS} FROM {_FROM}
             WHERE a.id > $1 AND (NOT $3 OR a.status = 'open' AND a.due < $4) ORDER BY a.id LIMIT $2""",
        after,
        limit,
        overdue,
        day_of(now),
    )
    return [_shown(row, terms, now) for row in rows]


async def _seen(c: "Connection", actor: Actor, new: NewAppeal) -> str | None:
    """The id of what is attacked as the database has it, if the actor sees it."""
    if actor.role == "provider" and new.against_kind not in _PROVIDERS:
        return None
    if new.against_kind == "verdict":
        digits = new.against.replace("-", "").lower()
        if not re.fullmatch(r"[0-9a-f]{32}", digits):
            return None
        return (
            digits
            if await c.fetchval("SELECT true FROM intercepts WHERE id = $1::text::uuid", digits)
            else None
        )
    if not re.fullmatch(r"[0-9]{1,18}", new.against):
        return None
    if new.against_kind == "ban":
        statement = _HIT_ALLOCATIONS if actor.role == "provider" else _HIT_NUMBERS
    else:
        statement = f"SELECT id FROM {_SEEN[new.against_kind]} WHERE id = $1"
    found = await c.fetchval(statement, int(new.against))
    return str(found) if found is not None else None


def _shown(row: "asyncpg.Record", terms: Terms, now: datetime) -> Appeal:
    values: dict[str, Any] = dict(row)
    return Appeal(
        **values,
        provisional=values["due"] > terms.days.last,
        overdue=values["status"] == "open" and values["due"] < day_of(now),
    )
