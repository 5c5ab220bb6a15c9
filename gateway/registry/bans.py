"""The blacklist by hand: `zhengming blacklist add|list` (contract.md "Command line").

Rules: the same guards as import and SQL have: protected numbers cannot be covered (the database refuses it by
whatever hand), reason and case are required. An entry that stands already stays as it is.
"""

import datetime
from typing import NamedTuple

import asyncpg

from gateway.config import LONGEST_SHOWN
from gateway.errors import UsageError
from gateway.registry import store
from gateway.registry.kinds import KINDS
from gateway.registry.loading import PROTECTED
from gateway.registry.reading import parse_row


class Entry(NamedTuple):
    """One blacklist entry in force."""

    id: int
    number: str
    is_prefix: bool
    reason: str
    case_reference: str
    added_by: str
    added_at: datetime.datetime
    removal_proposed_by: str | None


async def add_ban(
    dsn: str, number: str, is_prefix: bool, reason: str, case_reference: str, by: str
) -> tuple[str, bool]:
    """Ban a number, or all numbers that begin with it: as it is written down, and whether that is new.

    `number` in any spelling that an import takes. UsageError when it can't be read, would cover a protected
    number, or reason, case or person is missing.
    """
    cells = {
        "number": number,
        "is_prefix": "true" if is_prefix else "false",
        "reason": reason,
        "case_reference": case_reference,
    }
    values, flaws = parse_row(KINDS["blacklist"], cells)
    for column, cell, flaw in flaws:
        shown = cell if len(cell) <= LONGEST_SHOWN else cell[:LONGEST_SHOWN] + "…"
        raise UsageError(
            f"{column} {shown!r}: {flaw.cause} ({flaw.cause_zh}); right would be {flaw.expected}"
        )
    if not by.strip():
        raise UsageError("nobody is named as adding the entry; right would be a person's name")
    connection = await asyncpg.connect(dsn)
    try:
        identity = await store.add_ban(
            connection,
            values["number"],
            is_prefix=is_prefix,
            reason=values["reason"],
            case_reference=values["case_reference"],
            by=by.strip(),
        )
    except asyncpg.CheckViolationError as problem:
        if problem.constraint_name != "blacklist_protected":
            raise
        raise UsageError(
            f"number {number!r}: {PROTECTED.cause}: {problem.detail} ({PROTECTED.cause_zh});"
            f" right would be {PROTECTED.expected}"
        ) from None
    finally:
        await connection.close()
    return values["number"], identity is not None


async def list_bans(dsn: str, containing: str = "", most: int = 1_000) -> list[Entry]:
    """Entries in force, oldest first, up to `most`: those whose number, reason or case holds `containing`."""
    found: list[Entry] = []
    connection = await asyncpg.connect(dsn)
    try:
        after = 0
        while len(found) < most and (rows := await store.bans(connection, after=after)):
            entries = [Entry(*row) for row in rows]
            after = entries[-1].id
            found += [
                e
                for e in entries
                if any(containing in said for said in (e.number, e.reason, e.case_reference))
            ]
    finally:
        await connection.close()
    return found[:most]
