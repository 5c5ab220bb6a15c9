"""Holds: causes that suspend one number, institution (or agency) or account; several may stand at once.

Rules: a hold is placed and lifted, never changed; lifting one restores nothing while another stands, which
needs no code here: a filing is in force when none stands. A penalty's hold is lifted with its penalty
(`penalties`), not by hand.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, record
from gateway.registry.fields import Instant, said

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

TARGETS = {"numbers": "number_id", "institutions": "institution_id", "accounts": "account_id"}
"""What can be held: its table, and the column of `holds`."""

SAID = Words("一段说明", "a text that says something")

STANDING = "valid_from <= now() AND coalesce(now() < valid_until, true)"
_COLUMNS = "id, cause, case_reference, authority(held_by), valid_from, valid_until, penalty_id"


class Hold(BaseModel):
    """One cause; `until` empty: until it is lifted. `held_by`: who placed it; to holders `regulator`."""

    id: int
    cause: str
    case_reference: str
    held_by: str
    since: Instant
    until: Instant | None
    penalty: int | None


async def place(
    c: "Connection",
    actor: Actor,
    table: str,
    identity: int,
    cause: str,
    *,
    case: str = "",
    until: datetime | None = None,
) -> int:
    """Suspend a row of `table` (numbers, institutions, accounts) that the actor was seen to see; the hold's
    id. Problem `invalid` when it has no cause or is over before it begins."""
    if not cause:
        raise Problem(
            "invalid", Words("须说明事由", "a hold has a cause"), field="cause", value=cause, expected=SAID
        )
    hold: int | None = await c.fetchval(
        f"""INSERT INTO holds ({TARGETS[table]}, cause, case_reference, held_by, held_person, valid_until)
            SELECT $1, $2, $3, $4, $5, $6 WHERE coalesce($6::timestamptz > now(), true) RETURNING id""",
        identity,
        cause,
        case,
        actor.login,
        actor.person,
        until,
    )
    if hold is None:
        raise Problem(
            "invalid",
            Words("结束时间已过", "it would be over already"),
            field="until",
            value=said(until) if until else None,
            expected=Words("将来的时间，或留空", "a time to come, or nothing"),
        )
    await record(c, actor, f"{_word(table)}.suspend", f"{table}/{identity}", reason=cause, hold=hold)
    return hold


async def standing(c: "Connection", table: str, identity: int) -> list[Hold]:
    """What stands now on a row of `table`, oldest first; as far as the actor sees holds."""
    rows = await c.fetch(
        f"SELECT {_COLUMNS} FROM holds WHERE {TARGETS[table]} = $1 AND {STANDING} ORDER BY id", identity
    )
    return [hold_of(row) for row in rows]


async def lift(
    c: "Connection", actor: Actor, table: str, identity: int, reason: str, *, hold: int | None = None
) -> None:
    """End one hold on a row of `table` now. Problem `wrong_state` when none stands, `invalid` when no
    reason is given, when several stand and none is named, or when the one that is named does not."""
    if not reason:
        why = Words("须说明理由", "it takes a reason")
        raise Problem("invalid", why, field="reason", value="", expected=SAID)
    stand = [one for one in await standing(c, table, identity) if one.penalty is None]
    if not stand:
        raise Problem(
            "wrong_state",
            Words("没有可解除的暂停（处罚所致的暂停随处罚解除）",
                  "nothing suspends it that could be lifted here (a penalty's hold goes with the penalty)"),
        )  # fmt: skip
    ids = [one.id for one in stand]
    if hold is None and len(ids) == 1:
        hold = ids[0]
    if hold not in ids:
        raise Problem(
            "invalid",
            Words("须指明要解除的暂停", "which of its holds is to be lifted must be said"),
            field="hold",
            value=hold,
            expected=Words(*(", ".join(map(str, ids)),) * 2),
            facts={"holds": [one.model_dump(mode="json") for one in stand]},
        )
    await c.execute(
        """UPDATE holds SET valid_until = greatest(now(), valid_from + interval '1 microsecond'),
                            lifted_by = $2, lifted_reason = $3 WHERE id = $1""",
        hold,
        actor.login,
        reason,
    )
    await record(c, actor, f"{_word(table)}.resume", f"{table}/{identity}", reason=reason, hold=hold)


def hold_of(row: Sequence[Any]) -> Hold:
    """A row of `_COLUMNS`."""
    return Hold.model_construct(**dict(zip(Hold.model_fields, row, strict=True)))


def _word(table: str) -> str:
    return table.removesuffix("s")
