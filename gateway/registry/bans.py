"""The blacklist: what a ban would hit, and an entry's life. API and command line use these functions.

Rules: the guard stands in the database (migrations 0003, 0007, 0019), so SQL by hand and imports meet it as
well: nothing covers a protected number, a prefix that hits effective numbers or more than 0.1 % of
yesterday's traffic is in force only when a second person has confirmed it, an entry leaves by two persons,
or within 30 minutes by its author. Two persons are two identity numbers (0019): what nobody known by one
added is vouched for by a regulator before another one confirms it. Here its refusals get words. Every
function runs in its caller's transaction.
"""

from typing import TYPE_CHECKING

import asyncpg
from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.registry import numbering
from gateway.registry.acting import Actor, as_problem, record
from gateway.registry.fields import Body, Moment
from gateway.registry.kinds import KINDS
from gateway.registry.loading import BANNED, PROTECTED
from gateway.registry.reading import parse_row
from gateway.registry.rows import Bad

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

SHARE = 0.001
"""Of yesterday's attempts: a prefix that hits more than this needs a second person."""

_COLUMNS = """id, number, is_prefix, reason, case_reference, added_at,
    removed_at IS NULL AND (NOT needs_second OR confirmed_at IS NOT NULL) AS in_force,
    needs_second, hits_numbers, hits_share, confirmed_at,
    removal_proposed_at, coalesce(removal_reason, '') AS removal_reason, removed_at, row_version,
    authority(added_by) AS added_by, authority(vouched_by) AS vouched_by,
    authority(confirmed_by) AS confirmed_by,
    authority(removal_proposed_by) AS removal_proposed_by, authority(removed_by) AS removed_by"""


class NewBan(Body):
    """What is asked for: a number, or with `is_prefix` the beginning of numbers, in any spelling that an
    import takes."""

    number: str = Field(min_length=1, max_length=60, examples=["10690001"])
    is_prefix: bool = False
    reason: str = Field(min_length=1, max_length=1000, examples=["冒充银行诈骗"])
    case_reference: str = Field(min_length=1, max_length=200, examples=["浙通管案〔2026〕17号"])


class Hits(BaseModel):
    """What a ban would do: `number` as it would stand in the blacklist, how many effective numbers and what
    share (0 to 1) of yesterday's attempts it hits, whether it would wait for a second person, and the
    protected number that it would cover, for which it would be refused."""

    number: str
    is_prefix: bool
    hits_numbers: int
    hits_share: float
    needs_second: bool
    protected: str


class Ban(BaseModel):
    """One entry. Not `in_force`: it waits for a second person, or was removed. Holders are told that a
    regulator did it, not which."""

    id: int
    number: str
    is_prefix: bool
    reason: str
    case_reference: str
    added_by: str
    added_at: Moment
    in_force: bool
    needs_second: bool
    hits_numbers: int
    hits_share: float
    vouched_by: str | None = Field(
        description="the first of two regulators, where nobody known by identity number added it"
    )
    confirmed_by: str | None
    confirmed_at: Moment | None
    removal_proposed_by: str | None
    removal_proposed_at: Moment | None
    removal_reason: str
    removed_by: str | None
    removed_at: Moment | None
    row_version: int


def canonical(text: str, is_prefix: bool) -> str:
    """A number, or the beginning of numbers, as the blacklist has it. Raises `Bad`."""
    return numbering.prefix(text) if is_prefix else numbering.number(text)


async def look(c: "Connection", new: NewBan) -> Hits:
    """What this ban would hit; nothing is changed. Problem `invalid` when the number can't be read."""
    number = _checked(new)["number"]
    protected = await c.fetchval(
        "SELECT protected_in($1, CASE WHEN $2 THEN 20 ELSE 0 END)", number, new.is_prefix
    )
    hits, share = 0, 0.0
    if new.is_prefix:
        hits, share = await c.fetchrow("SELECT hits_numbers, hits_share FROM prefix_hits($1)", number) or (
            0,
            0,
        )
    return Hits(
        number=number,
        is_prefix=new.is_prefix,
        hits_numbers=hits,
        hits_share=share,
        needs_second=hits > 0 or share > SHARE,
        protected=protected or "",
    )


async def add(c: "Connection", actor: Actor | None, new: NewBan, by: str = "operator") -> tuple[Ban, bool]:
    """Ban; the entry, and whether it is new: one that stands already for this reason and case stays as it is.

    Without an actor (an operator at the command line) it is SQL by hand, signed `by`, and audited as that.
    Problems: `invalid`, `protected_number`, `exists` (for another reason or case, which nothing would keep).
    """
    values = _checked(new)
    try:
        identity = await c.fetchval(
            """INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (number, is_prefix) WHERE removed_at IS NULL DO NOTHING
               RETURNING id""",
            values["number"],
            new.is_prefix,
            values["reason"],
            values["case_reference"],
            by,
        )
    except asyncpg.PostgresError as error:
        if error.constraint_name != "blacklist_protected":
            raise as_problem(error) or error from None
        raise Problem(
            "protected_number",
            Words(f"{PROTECTED.cause_zh}：{error.detail}", f"{PROTECTED.cause}: {error.detail}"),
            field="number",
            value=new.number,
            expected=Words(PROTECTED.expected_zh, PROTECTED.expected),
        ) from None
    if identity is None:
        standing = await c.fetchrow(
            f"SELECT {_COLUMNS} FROM blacklist WHERE number = $1 AND is_prefix = $2 AND removed_at IS NULL",
            values["number"],
            new.is_prefix,
        )
        if standing is None:  # it was removed between the two statements
            return await add(c, actor, new, by)
        if (standing["reason"], standing["case_reference"]) != (values["reason"], values["case_reference"]):
            raise Problem(
                "exists",
                Words(BANNED.cause_zh, BANNED.cause),
                field="number",
                value=new.number,
                expected=Words(BANNED.expected_zh, BANNED.expected),
                facts={"id": standing["id"]},
            )
        return Ban(**standing), False
    ban = await get(c, identity)
    if actor is not None:
        await record(
            c,
            actor,
            "blacklist.add",
            f"blacklist/{identity}",
            reason=new.reason,
            number=ban.number,
            is_prefix=ban.is_prefix,
            case=new.case_reference,
            hits_numbers=ban.hits_numbers,
            hits_share=ban.hits_share,
            in_force=ban.in_force,
        )
    return ban, True


async def confirm(c: "Connection", actor: Actor, ban: int) -> Ban:
    """The second person agrees to what waits: that a wide prefix is banned, or that an entry is removed.

    Of an entry without an author who is known by identity number the first to agree vouches, and it waits on
    for another. Problems `same_person`, `no_identity`, `wrong_state`.
    """
    standing = await _standing(c, ban)
    if standing.removal_proposed_at is not None:
        return await confirm_removal(c, actor, ban)
    if standing.in_force:
        raise _wrong_state(standing)
    return await _change(
        c,
        actor,
        "blacklist.confirm",
        ban,
        "confirmed_by = $2, confirmed_at = now()",
        "needs_second AND confirmed_at IS NULL AND removal_proposed_at IS NULL",
    )


async def propose_removal(c: "Connection", actor: Actor, ban: int, reason: str) -> Ban:
    """The first of two persons wants an entry off the blacklist."""
    if not reason.strip():
        raise Problem(
            "invalid", Words("未说明理由", "no reason is given"), field="reason", value=reason,
            expected=Words("移出黑名单的理由", "why the entry is to be removed"),
        )  # fmt: skip
    return await _change(
        c,
        actor,
        "blacklist.propose_removal",
        ban,
        "removal_proposed_by = $2, removal_proposed_at = now(), removal_reason = $3",
        "removal_proposed_at IS NULL",
        reason,
    )


async def confirm_removal(c: "Connection", actor: Actor, ban: int) -> Ban:
    """The second person agrees: the entry is off the blacklist. Problem `same_person` for the first."""
    return await _change(
        c,
        actor,
        "blacklist.confirm_removal",
        ban,
        "removed_by = $2, removed_at = now()",
        "removal_proposed_at IS NOT NULL",
    )


async def withdraw(c: "Connection", actor: Actor, ban: int) -> Ban:
    """Its author takes an entry back. Problem `entry_kept` for others, and after 30 minutes."""
    try:
        return await _change(
            c, actor, "blacklist.withdraw", ban, "removed_by = $2, removed_at = now()",
            "removal_proposed_at IS NULL",
        )  # fmt: skip
    except Problem as problem:
        if problem.code != "same_person":
            raise
        raise Problem(
            "entry_kept",
            Words("只有添加人可在 30 分钟内撤回", "only its author may withdraw an entry, within 30 minutes"),
            expected=Words(
                "由一名监管人员提出移出，另一人确认",
                "removal proposed by one regulator, confirmed by another person",
            ),
        ) from None


async def get(c: "Connection", ban: int) -> Ban:
    """One entry, removed or not. Problem `not_found`."""
    row = await c.fetchrow(f"SELECT {_COLUMNS} FROM blacklist WHERE id = $1", ban)
    if row is None:
        raise Problem("not_found", Words("没有该黑名单条目", "there is no such blacklist entry"))
    return Ban(**row)


async def page(
    c: "Connection", *, after: int = 0, limit: int = 50, number: str = "", removed: bool = False
) -> list[Ban]:
    """Entries by id, beginning after the id `after`: those that stand, waiting ones too, or all with
    `removed`; with `number` those that cover it or begin with it."""
    rows = await c.fetch(
        f"""SELECT {_COLUMNS} FROM blacklist
             WHERE id > $1 AND ($4 OR removed_at IS NULL)
               AND (cardinality($3::text[]) = 0 OR EXISTS (
                        SELECT FROM unnest($3::text[]) AS asked
                         WHERE starts_with(ltrim(number, '+'), ltrim(asked, '+'))
                            OR is_prefix AND starts_with(ltrim(asked, '+'), ltrim(number, '+'))))
             ORDER BY id LIMIT $2""",
        after,
        limit,
        _spellings(number),
        removed,
    )
    return [Ban(**row) for row in rows]


def _spellings(text: str) -> list[str]:
    """What is looked for: as it was typed, and as the blacklist has it (0571…, 138…)."""
    typed = text.strip()
    try:
        return [typed, numbering.prefix(typed)] if typed else []
    except Bad:
        return [typed]


def _checked(new: NewBan) -> dict[str, str]:
    """The values of a row, by the same rules as an import's."""
    cells = {
        "number": new.number,
        "is_prefix": "true" if new.is_prefix else "false",
        "reason": new.reason,
        "case_reference": new.case_reference,
    }
    values, flaws = parse_row(KINDS["blacklist"], cells)
    for column, cell, flaw in flaws:
        raise Problem(
            "invalid",
            Words(flaw.cause_zh, flaw.cause),
            field=column,
            value=cell,
            expected=Words(flaw.expected_zh, flaw.expected),
        )
    return values


async def _standing(c: "Connection", ban: int) -> Ban:
    found = await get(c, ban)
    if found.removed_at is not None:
        raise _wrong_state(found)
    return found


async def _change(
    c: "Connection", actor: Actor, act: str, ban: int, setting: str, condition: str, reason: str | None = None
) -> Ban:
    more = (reason,) if reason is not None else ()
    try:
        done = await c.fetchval(
            f"""UPDATE blacklist SET {setting}
                 WHERE id = $1 AND removed_at IS NULL AND {condition} RETURNING id""",
            ban,
            actor.login,
            *more,
        )
    except asyncpg.PostgresError as error:
        raise as_problem(error) or error from None
    if done is None:
        raise _wrong_state(await get(c, ban))
    changed = await get(c, ban)
    if act == "blacklist.confirm" and not changed.in_force:
        act = "blacklist.vouch"
    await record(c, actor, act, f"blacklist/{ban}", reason=reason or "", number=changed.number)
    return changed


def _wrong_state(ban: Ban) -> Problem:
    if ban.removed_at is not None:
        said = Words("该条目已移出黑名单", "the entry was removed")
    elif ban.removal_proposed_at is not None:
        said = Words("移出申请待另一人确认", "its removal waits for another person")
    elif ban.in_force:
        said = Words("该条目已生效，无待确认事项", "the entry is in force, nothing waits for confirmation")
    else:
        said = Words("该条目待第二人确认", "the entry waits for a second person")
    return Problem("wrong_state", said, field="id", value=ban.id)
