"""What regulators do by hand: blacklist, penalty, hold."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from gateway.commands import common
from gateway.commands.working import acting, plain, read
from gateway.config import Config
from gateway.errors import UsageError
from gateway.registry import bans, holds, penalties
from gateway.registry.deadlines import terms_of
from gateway.registry.rows import Bad

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

REGULATOR = ("regulator",)
SEERS = ("regulator", "auditor", "institution", "agency", "provider")
OPERATOR = "operator"
"""Who bans at the command line without `--by`: it counts as SQL by hand, which may tighten and no more."""


def blacklist(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    with common.database(loaded) as dsn:
        found = asyncio.run(_blacklist(dsn, options))
    if options.json or options.doing == "list":
        common.print_all([one.model_dump(mode="json") for one in found], as_json=options.json)
    else:
        for one in found:
            print(_words(one))
    return 0


def penalty(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    with common.database(loaded) as dsn:
        found = asyncio.run(_penalty(dsn, loaded, options))
    rows = [one.model_dump(mode="json") for one in found]
    if options.doing == "list":
        common.print_first(rows, options.limit, as_json=options.json)
    elif options.json:
        common.print_all(rows, as_json=True)
    else:
        for one in found:
            stands = "suspends all its numbers" if one.suspends else "suspends nothing"
            settled = "" if one.lifted_at else f"; to be settled by {one.due}"
            print(f"penalty {one.id}: {one.kind} on {one.institution}, {stands}{settled}")
    return 0


def hold(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    with common.database(loaded) as dsn:
        found = asyncio.run(_hold(dsn, options))
    common.print_all([one.model_dump(mode="json") for one in found], as_json=options.json)
    return 0


async def _blacklist(dsn: str, options: argparse.Namespace) -> list[Any]:
    doing, number = options.doing, options.number
    if doing == "list":
        async with plain(dsn) as c:
            return [ban async for ban in _every(c, number)]
    if doing == "add":
        new = read(
            bans.NewBan,
            number=number,
            is_prefix=options.prefix,
            reason=options.reason,
            case_reference=options.case,
        )
        if options.dry_run:
            async with plain(dsn) as c:
                return [await bans.look(c, new)]
        if options.by == OPERATOR:
            async with plain(dsn) as c:
                ban, fresh = await bans.add(c, None, new, OPERATOR)
        else:
            async with acting(dsn, options.by, REGULATOR) as (c, actor):
                ban, fresh = await bans.add(c, actor, new)
        if not fresh and not options.json:
            print("as it was before: ", end="")
        return [ban]
    async with acting(dsn, options.by, REGULATOR) as (c, actor):
        entry = await _entry(c, number, options.prefix)
        match doing:
            case "confirm":
                return [await bans.confirm(c, actor, entry)]
            case "withdraw":
                return [await bans.withdraw(c, actor, entry)]
            case "propose-removal":
                return [await bans.propose_removal(c, actor, entry, options.reason)]
            case _:
                return [await bans.confirm_removal(c, actor, entry)]


async def _penalty(dsn: str, loaded: Config, options: argparse.Namespace) -> list[penalties.Penalty]:
    terms, now = terms_of(loaded.cases), datetime.now(UTC)
    async with acting(dsn, options.by, SEERS if options.doing in ("list", "show") else REGULATOR) as (
        c,
        actor,
    ):
        if options.doing == "list":
            return await penalties.page(c, terms, now, limit=options.limit + 1, overdue=options.overdue)
        if options.doing == "show":
            return [await penalties.get(c, options.subject, terms, now)]
        if options.doing == "lift":
            return [await penalties.lift(c, actor, options.subject, options.reason, terms, now)]
        try:
            amount = Decimal(options.amount) if options.amount else None
        except InvalidOperation:
            raise UsageError(f"--amount {options.amount!r}: right would be yuan such as 50000.00") from None
        new = read(
            penalties.NewPenalty,
            institution=options.subject,
            kind=options.kind,
            amount=amount,
            cause=options.cause,
            due=options.due,
        )
        return [await penalties.impose(c, actor, new, terms, now)]


async def _hold(dsn: str, options: argparse.Namespace) -> list[holds.Hold]:
    """What stands on the institution afterwards."""
    async with acting(dsn, options.by, SEERS if options.doing == "list" else REGULATOR) as (c, actor):
        identity = await c.fetchval("SELECT id FROM institutions WHERE code = $1", options.code)
        if identity is None:
            raise UsageError(
                f"institution {options.code!r}: right would be the code of one that is registered"
            )
        if options.doing == "place":
            end = common.instant("--until", options.until, 0)
            until = datetime.fromtimestamp(end / 1000, UTC) if end else None
            cause, case = options.cause.strip(), options.case
            await holds.place(c, actor, "institutions", identity, cause, case=case, until=until)
        elif options.doing == "lift":
            await holds.lift(c, actor, "institutions", identity, options.reason, hold=options.hold)
        return await holds.standing(c, "institutions", identity)


async def _entry(c: "Connection", text: str, is_prefix: bool) -> int:
    """The id of the standing entry that is meant: by its number, else by its id."""
    try:
        number = bans.canonical(text, is_prefix)
    except Bad:
        number = ""
    identity = int(text) if text.isdecimal() and len(text) <= 18 else 0
    rows = await c.fetch(
        """SELECT id FROM blacklist
            WHERE removed_at IS NULL AND (number = $1 AND (is_prefix OR NOT $2) OR id = $3) ORDER BY id""",
        number,
        is_prefix,
        identity,
    )
    if len(rows) != 1:
        standing = " or ".join(str(row["id"]) for row in rows)
        raise UsageError(
            f"blacklist entry {text!r}: "
            + (f"could be {standing}; right would be one id" if rows else "no such entry stands")
        )
    return int(rows[0]["id"])


async def _every(c: "Connection", containing: str) -> AsyncIterator[bans.Ban]:
    after = 0
    while found := await bans.page(c, after=after, limit=1000):
        for ban in found:
            if any(containing in said for said in (ban.number, ban.reason, ban.case_reference)):
                yield ban
        after = found[-1].id


def _words(one: BaseModel) -> str:
    if isinstance(one, bans.Hits):
        second = "; needs a second person" if one.needs_second else ""
        refused = f"; refused: it would cover {one.protected}" if one.protected else ""
        return (
            f"{one.number} would hit {one.hits_numbers} effective numbers and {one.hits_share:.2%} of"
            f" yesterday's traffic{second}{refused}"
        )
    assert isinstance(one, bans.Ban)
    if one.removed_at is not None:
        state = "is off the blacklist"
    elif one.removal_proposed_at is not None:
        state = "is blacklisted; its removal waits for another person"
    elif one.in_force:
        state = "is blacklisted"
    else:
        whom = "another regulator" if one.vouched_by else "a second person"
        state = (
            f"waits for {whom}: it hits {one.hits_numbers} effective numbers and"
            f" {one.hits_share:.2%} of yesterday's traffic"
        )
    return f"{one.number} {state} (entry {one.id})"
