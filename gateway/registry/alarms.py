"""What regulators are shown until one of them has seen it: alarms, and imports that broke the glass.

Every function runs in its caller's transaction and sees what its actor may see.
"""

import json
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, JsonValue

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, record
from gateway.registry.fields import Moment

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

AlarmKind = Literal["enumeration", "quota", "lock_out"]


class Alarm(BaseModel):
    """Somebody tries numbers out, has used a day's quota, or is locked out after wrong passwords."""

    id: int
    kind: AlarmKind
    institution: str | None
    user: str | None
    at: Moment
    detail: dict[str, JsonValue]
    acknowledged_by: str | None
    acknowledged_at: Moment | None


class ImportRun(BaseModel):
    """One import. With `checker` and `approver` its rows came in through all steps; with `case_reference`
    although regulators had signed in: the glass was broken."""

    id: int
    kind: str
    file_name: str
    user: str | None
    by_session: str
    checker: str | None
    approver: str | None
    case_reference: str
    opened_at: Moment
    closed_at: Moment | None
    rows: int | None
    accepted: int | None
    rejected: int | None
    acknowledged_by: str | None
    acknowledged_at: Moment | None


class OwnImport(BaseModel):
    """An import of one's own. Under way: `closed_at` is empty, and the counts are of what is done."""

    id: int
    kind: str
    file_name: str
    opened_at: Moment
    closed_at: Moment | None
    rows: int
    accepted: int
    rejected: int


_ALARMS = """SELECT a.id, a.kind, code_of(a.institution_id) AS institution, u.login AS "user", a.at,
           a.detail,
           seer.login AS acknowledged_by, a.acknowledged_at
      FROM alarms a LEFT JOIN users u ON u.id = a.user_id
      LEFT JOIN users seer ON seer.id = a.acknowledged_by"""
_RUNS = """SELECT r.id, r.kind, r.file_name, u.login AS "user", r.by_session, checker.name AS checker,
           approver.name AS approver, r.case_reference, r.opened_at, r.closed_at, r.rows, r.accepted,
           r.rejected, seer.login AS acknowledged_by, r.acknowledged_at
      FROM import_runs r LEFT JOIN users u ON u.id = r.user_id
      LEFT JOIN persons checker ON checker.id = r.checker_id
      LEFT JOIN persons approver ON approver.id = r.approver_id
      LEFT JOIN users seer ON seer.id = r.acknowledged_by"""


async def page(c: "Connection", *, after: int = 0, limit: int = 50, unseen: bool = False) -> list[Alarm]:
    """Alarms by id, beginning after the id `after`; only those that nobody has acknowledged with `unseen`."""
    rows = await c.fetch(
        f"{_ALARMS} WHERE a.id > $1 AND (NOT $3 OR a.acknowledged_at IS NULL) ORDER BY a.id LIMIT $2",
        after,
        limit,
        unseen,
    )
    return [Alarm(**dict(row) | {"detail": json.loads(row["detail"])}) for row in rows]


async def runs(
    c: "Connection", *, after: int = 0, limit: int = 50, broken_glass: bool = False, unseen: bool = False
) -> list[ImportRun]:
    """Imports by id, beginning after the id `after`; only those that broke the glass, or that of them nobody
    has acknowledged."""
    rows = await c.fetch(
        f"""{_RUNS} WHERE r.id > $1 AND (NOT $3 OR r.case_reference <> '' AND r.approver_id IS NOT NULL)
                          AND (NOT $4 OR r.acknowledged_at IS NULL) ORDER BY r.id LIMIT $2""",
        after,
        limit,
        broken_glass,
        unseen,
    )
    return [ImportRun(**row) for row in rows]


async def own_runs(c: "Connection", actor: Actor, *, before: int = 0, limit: int = 50) -> list[OwnImport]:
    """What the actor brought in, newest first, from below the id `before` on where one is given."""
    rows = await c.fetch(
        """SELECT id, kind, file_name, opened_at, closed_at, coalesce(rows, 0) AS rows,
                  coalesce(accepted, 0) AS accepted, coalesce(rejected, 0) AS rejected
             FROM import_runs WHERE user_id = $1 AND ($2 = 0 OR id < $2) ORDER BY id DESC LIMIT $3""",
        actor.user,
        before,
        limit,
    )
    return [OwnImport(**row) for row in rows]


async def acknowledge(
    c: "Connection", actor: Actor, table: Literal["alarms", "import_runs"], identity: int
) -> None:
    """A regulator has seen it. Problems `not_found`, `wrong_state` (another was first)."""
    there = await c.fetchrow(f"SELECT acknowledged_at FROM {table} WHERE id = $1 FOR UPDATE", identity)
    if there is None:
        raise Problem("not_found", Words("没有这一项", "there is no such thing"))
    if there["acknowledged_at"] is not None:
        raise Problem("wrong_state", Words("已确认", "it was acknowledged"), field="id", value=identity)
    await c.execute(
        f"UPDATE {table} SET acknowledged_by = $2, acknowledged_at = now() WHERE id = $1",
        identity,
        actor.user,
    )
    await record(c, actor, f"{table.removesuffix('s')}.acknowledge", f"{table}/{identity}")
