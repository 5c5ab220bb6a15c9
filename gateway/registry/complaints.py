"""Complaints: what a subscriber, or 12321 for one, reports about a number at a time.

Rules: the holder is who held the number then (database: holder_at), and a complaint opens a case or joins the
open one about the same holder and number. One from 12321 is a refusal of marketing, too (database:
complaint_refuses). The subscriber stands in the database sealed, is shown masked to regulators and auditors,
and not at all to the holder. Due dates are workdays. Every function runs in its caller's transaction and sees
what its actor may see.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.model import CHANNELS
from gateway.policy.numbers import mask
from gateway.registry import cases, keyed
from gateway.registry.acting import Actor, as_problem, record
from gateway.registry.deadlines import Terms, day_of, due
from gateway.registry.fields import Body, Instant, Moment, NumberText, SubscriberText, said
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Channel = Literal["sms", "voice"]
Status = Literal["open", "forwarded", "answered"]
_CHANNELS: dict[int, Channel] = {CHANNELS["sms"]: "sms", CHANNELS["voice"]: "voice"}

_COLUMNS = """t.id, t.source, t.reference, t.number, t.channel, t.happened_at, t.content,
    code_of(t.institution_id) AS institution, code_of(t.agency_id) AS agency, t.case_id, t.received_at,
    t.forward_due, t.due, t.status,
    t.forwarded_at, assignee.login AS assigned_to, escalated.login AS escalated_to, t.escalated_at, t.answer,
    answerer.login AS answered_by, t.answered_at, t.row_version, t.subscriber_sealed"""
_FROM = """complaints t LEFT JOIN users assignee ON assignee.id = t.assigned_to
    LEFT JOIN users escalated ON escalated.id = t.escalated_to
    LEFT JOIN users answerer ON answerer.id = t.answered_by"""


class NewComplaint(Body):
    """Who got what from which number, and when; `reference` is the number that the source gave it."""

    subscriber: SubscriberText
    number: NumberText
    channel: Channel
    at: Instant
    content: str = Field("", max_length=2000)
    source: Literal["own", "12321"] = "own"
    reference: str | None = Field(None, min_length=1, max_length=60, pattern=r"\S")


class Complaint(BaseModel):
    """One complaint. `subscriber` is masked, and null for the holder; `case` is null for the holder;
    `institution` and `agency` held the number then; `provisional`: the calendar of the due date is not
    published yet."""

    id: int
    source: Literal["own", "12321"]
    reference: str | None
    subscriber: str | None
    number: str
    channel: Channel
    at: Moment
    content: str
    institution: str | None
    agency: str | None
    case: int | None
    received_at: Moment
    forward_due: date
    due: date
    provisional: bool
    overdue: bool
    status: Status
    forwarded_at: Moment | None
    assigned_to: str | None
    escalated_to: str | None
    escalated_at: Moment | None
    answer: str
    answered_by: str | None
    answered_at: Moment | None
    row_version: int


class Complaints:
    """The complaints of one registry: what they need to be read and dated by."""

    def __init__(self, key: RegistryKey, terms: Terms) -> None:
        self._key = key
        self._terms = terms

    async def receive(self, c: "Connection", actor: Actor, new: NewComplaint, now: datetime) -> Complaint:
        """Take a complaint in, with its case. Problem `exists`: one of this source and reference is there."""
        if new.at > now:
            raise Problem(
                "invalid",
                Words("投诉事项的时间在将来", "it has not happened yet"),
                field="at",
                value=said(new.at),
                expected=Words("过去的时间", "a time that is past"),
            )
        holder, agency = await c.fetchrow(  # type: ignore[misc]  # a function of one row
            "SELECT institution_id, agency_id FROM holder_at($1, $2, $3)",
            new.number,
            CHANNELS[new.channel],
            new.at,
        )
        forward = due(now, self._terms.forward, self._terms.days).day
        answer = due(now, self._terms.complaint, self._terms.days).day
        case = await self._case(c, actor, new, holder, answer)
        key_id, hashed, sealed = await keyed.enter(c, self._key, new.subscriber)
        try:
            identity = await c.fetchval(
                """INSERT INTO complaints (source, reference, subscriber_hash, key_id, subscriber_sealed,
                                           number, channel, happened_at, content, institution_id,
                                           agency_id, case_id, forward_due, due, assigned_to)
                   VALUES ($1, $2, $3, $15, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                   RETURNING id""",
                new.source,
                new.reference,
                hashed,
                sealed,
                new.number,
                CHANNELS[new.channel],
                new.at,
                new.content,
                holder,
                agency,
                case,
                forward,
                answer,
                actor.user,
                key_id,
            )
        except asyncpg.PostgresError as error:
            raise as_problem(error) or error from None
        await cases.put_item(c, case, "complaint", str(identity))
        await record(
            c,
            actor,
            "complaint.receive",
            f"complaints/{identity}",
            source=new.source,
            number=new.number,
            subscriber=mask(new.subscriber),
            case=case,
        )
        return await self.get(c, actor, identity, now)

    async def forward(self, c: "Connection", actor: Actor, complaint: int, now: datetime) -> Complaint:
        """To the holder, who sees it from now on as to be answered. Problem `wrong_state`: it was before."""
        return await self._step(
            c,
            actor,
            "complaint.forward",
            complaint,
            now,
            "status = 'forwarded', forwarded_at = now()",
            ("open",),
        )

    async def answer(
        self, c: "Connection", actor: Actor, complaint: int, answer: str, now: datetime
    ) -> Complaint:
        """The end of a complaint: what its subscriber is told."""
        return await self._step(
            c,
            actor,
            "complaint.answer",
            complaint,
            now,
            "status = 'answered', answered_at = now(), answered_by = my_user(), answer = $3",
            ("open", "forwarded"),
            answer,
        )

    async def get(self, c: "Connection", actor: Actor, complaint: int, now: datetime) -> Complaint:
        """One complaint. Problem `not_found`."""
        row = await c.fetchrow(f"SELECT {_COLUMNS} FROM {_FROM} WHERE t.id = $1", complaint)
        if row is None:
            raise _not_found()
        return self._shown(row, actor, now)

    async def page(
        self,
        c: "Connection",
        actor: Actor,
        now: datetime,
        *,
        after: int = 0,
        limit: int = 50,
        overdue: bool = False,
    ) -> list[Complaint]:
        """Complaints by id, beginning after the id `after`; only what is overdue with `overdue`."""
        rows = await c.fetch(
            f"""SELECT {_COLUMNS} FROM {_FROM}
                 WHERE t.id > $1 AND (NOT $3 OR t.status <> 'answered'
                       AND (t.due < $4 OR t.status = 'open' AND t.forward_due < $4))
                 ORDER BY t.id LIMIT $2""",
            after,
            limit,
            overdue,
            day_of(now),
        )
        return [self._shown(row, actor, now) for row in rows]

    async def about(self, c: "Connection", complaint: int) -> tuple[str, datetime]:
        """Whose complaint it is, in full, and when what it names happened: for the subscriber's timeline,
        which is audited. Problem `not_found`."""
        row = await c.fetchrow(
            "SELECT subscriber_sealed, happened_at FROM complaints WHERE id = $1", complaint
        )
        if row is None:
            raise _not_found()
        return self._key.open(row["subscriber_sealed"]), row["happened_at"]

    async def _case(
        self, c: "Connection", actor: Actor, new: NewComplaint, holder: int | None, answer: date
    ) -> int:
        """The open case about this number of this holder, or a new one."""
        await c.execute(  # one by one for a number, and not while a file of complaints comes in
            """SELECT pg_advisory_xact_lock_shared(hashtextextended('complaints', 20)),
                      pg_advisory_xact_lock(hashtextextended($1, 20))""",
            new.number,
        )
        case = await c.fetchval(
            """SELECT t.case_id FROM complaints t JOIN cases k ON k.id = t.case_id
                WHERE t.number = $1 AND t.institution_id IS NOT DISTINCT FROM $2 AND k.status = 'open'
                ORDER BY t.id LIMIT 1""",
            new.number,
            holder,
        )
        if case is None:
            name = await c.fetchval("SELECT coalesce(code_of($1), '未登记')", holder)
            case = await c.fetchval(
                "INSERT INTO cases (title, due, assigned_to) VALUES ($1, $2, $3) RETURNING id",
                f"投诉 {new.number} {name}",
                answer,
                actor.user,
            )
        return int(case)

    async def _step(
        self,
        c: "Connection",
        actor: Actor,
        act: str,
        complaint: int,
        now: datetime,
        setting: str,
        sources: tuple[Status, ...],
        *more: str,
    ) -> Complaint:
        done = await c.fetchval(
            f"UPDATE complaints SET {setting} WHERE id = $1 AND status = ANY ($2::text[]) RETURNING id",
            complaint,
            sources,
            *more,
        )
        found = await self.get(c, actor, complaint, now)
        if done is None:
            said = {
                "open": Words("投诉尚未转办", "it was not forwarded yet"),
                "forwarded": Words("投诉已转办", "it was forwarded already"),
                "answered": Words("投诉已答复", "it was answered already"),
            }
            raise Problem("wrong_state", said[found.status], field="id", value=complaint)
        await record(c, actor, act, f"complaints/{complaint}", reason="".join(more))
        return found

    def _shown(self, row: "asyncpg.Record", actor: Actor, now: datetime) -> Complaint:
        values: dict[str, Any] = dict(row)
        sealed, case, today = values.pop("subscriber_sealed"), values.pop("case_id"), day_of(now)
        values["at"] = values.pop("happened_at")
        theirs = actor.role in ("regulator", "auditor")
        return Complaint(
            **values
            | {
                "channel": _CHANNELS[values["channel"]],
                "subscriber": mask(self._key.open(sealed)) if theirs else None,
                "case": case if theirs else None,
                "provisional": values["due"] > self._terms.days.last,
                "overdue": values["status"] != "answered"
                and (values["due"] < today or (values["status"] == "open" and values["forward_due"] < today)),
            }
        )


def _not_found() -> Problem:
    return Problem("not_found", Words("没有该投诉", "there is no such complaint"))
