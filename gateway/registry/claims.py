"""Who claims which digits: base ports that carriers allocate to providers (号段分配), and disputes of
institutions over numbers that are filed already.

Rules: an allocation passes nothing, numbers are filed inside it; who files a dispute learns nothing of the
other holder. A dispute that is upheld revokes nothing by itself: the regulator revokes by its own step.
"""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from gateway.errors import Problem, Words
from gateway.registry import changing
from gateway.registry.acting import Actor, record
from gateway.registry.bodies import in_order
from gateway.registry.deadlines import Terms, day_of, due
from gateway.registry.fields import Body, Code, Instant, PrefixText, Sha256
from gateway.registry.fields import Words as Text
from gateway.registry.references import reference

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.registry.acting import Connection

ALLOCATION = """
SELECT a.id, a.carrier, a.number, code_of(a.provider_id) AS provider, a.valid_from, a.valid_until,
       a.row_version FROM allocations a"""
DISPUTE = """
SELECT d.id, d.number, code_of(d.institution_id) AS institution, d.grounds, d.document_sha256, d.filed_at,
       d.due, d.status, e.login AS escalated_to, d.escalated_at, d.decided_at, d.decision, d.row_version
  FROM disputes d LEFT JOIN users e ON e.id = d.escalated_to"""


class AllocationChange(Body):
    """When an allocation ends."""

    valid_until: Instant | None = None


class NewAllocation(AllocationChange):
    """A base port of one's own that goes to a provider."""

    number: PrefixText
    provider: Code
    valid_from: Instant | None = None


class Allocation(BaseModel):
    """As it stands."""

    id: int
    carrier: str
    number: str
    provider: str
    valid_from: Instant | None
    valid_until: Instant | None
    row_version: int


class NewDispute(Body):
    """Why the number, or the numbers that begin so, are one's own."""

    number: PrefixText
    grounds: Text
    document_sha256: Sha256 | None = None


class Decision(Body):
    """What the regulator decides, and why."""

    decision: Literal["upheld", "rejected"]
    reason: Text


class Dispute(BaseModel):
    """As it stands: open, upheld or rejected. `decision`: the reason given; `escalated_to`: the regulator who
    has it because it is overdue."""

    id: int
    number: str
    institution: str
    grounds: str
    document_sha256: Sha256 | None
    filed_at: Instant
    due: date
    overdue: bool
    status: str
    escalated_to: str | None
    escalated_at: Instant | None
    decided_at: Instant | None
    decision: str
    row_version: int


async def allocations(c: "Connection", after: int, limit: int) -> list[Allocation]:
    """A page by id."""
    rows = await changing.page(c, ALLOCATION, "a", after, limit)
    return [Allocation.model_construct(**dict(row)) for row in rows]


async def allocation(c: "Connection", identity: int) -> Allocation:
    """One. Problem `not_found`."""
    return Allocation.model_construct(**dict(await changing.one(c, ALLOCATION, "a", identity)))


async def allocate(c: "Connection", actor: Actor, new: NewAllocation) -> Allocation:
    """Give a base port of the actor's carrier to a provider. Problem `already_filed`, `invalid`."""
    in_order(new.valid_from, new.valid_until, "valid_until")
    values = new.model_dump(exclude={"provider"})
    values |= {"carrier": actor.carrier, "provider_id": await reference(c, "provider", new.provider)}
    identity = await changing.insert(c, "allocations", values)
    await record(c, actor, "allocation.add", f"allocations/{identity}", number=new.number)
    return await allocation(c, identity)


async def change_allocation(
    c: "Connection", actor: Actor, old: Allocation, wanted: AllocationChange
) -> Allocation:
    """Change its end. Problem `already_filed`, `invalid`."""
    values = wanted.model_dump(exclude_unset=True)
    in_order(old.valid_from, values.get("valid_until"), "valid_until")
    await changing.update(c, "allocations", old.id, values)
    await record(c, actor, "allocation.change", f"allocations/{old.id}", fields=sorted(values))
    return await allocation(c, old.id)


async def disputes(
    c: "Connection", actor: Actor, after: int, limit: int, now: "datetime", *, overdue: bool = False
) -> list[Dispute]:
    """A page by id; only what is overdue with `overdue`."""
    own = f"d.institution_id = {actor.institution}" if actor.role == "institution" else "true"
    if overdue:
        own += f" AND d.status = 'open' AND d.due < '{day_of(now).isoformat()}'"
    return [_dispute(row, now) for row in await changing.page(c, DISPUTE, "d", after, limit, own)]


async def dispute(c: "Connection", identity: int, now: "datetime") -> Dispute:
    """One. Problem `not_found`."""
    return _dispute(await changing.one(c, DISPUTE, "d", identity), now)


async def file(c: "Connection", actor: Actor, new: NewDispute, terms: Terms, now: "datetime") -> Dispute:
    """Dispute a number; it is to be decided as an appeal is. Problem `invalid` without grounds."""
    _given(new.grounds, "grounds")
    values = new.model_dump()
    values |= {
        "institution_id": actor.institution,
        "filed_by": actor.user,
        "filed_at": now,
        "due": due(now, terms.appeal, terms.days).day,
    }
    identity = await changing.insert(c, "disputes", values)
    await record(c, actor, "dispute.file", f"disputes/{identity}", number=new.number)
    return await dispute(c, identity, now)


async def decide(c: "Connection", actor: Actor, old: Dispute, wanted: Decision, now: "datetime") -> Dispute:
    """Decide a dispute. Problem `wrong_state` when it was decided before, `invalid` without a reason."""
    if old.status != "open":
        raise Problem(
            "wrong_state", Words("争议已裁定", "it was decided before"), field="status", value=old.status
        )
    _given(wanted.reason, "reason")
    values = {
        "status": wanted.decision,
        "decision": wanted.reason,
        "decided_by": actor.user,
        "decided_at": now,
    }
    await changing.update(c, "disputes", old.id, values)
    await record(c, actor, f"dispute.{wanted.decision}", f"disputes/{old.id}", reason=wanted.reason)
    return await dispute(c, old.id, now)


def _given(text: str, field: str) -> None:
    if not text:
        raise Problem("invalid", Words("不能为空", "must say something"), field=field, value=text)


def _dispute(row: Mapping[str, Any], now: "datetime") -> Dispute:
    overdue = row["status"] == "open" and day_of(now) > row["due"]
    return Dispute.model_construct(**dict(row), overdue=overdue)
