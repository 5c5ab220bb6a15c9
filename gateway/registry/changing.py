"""One row put in or changed for an actor, and what the database says to that, in words.

Rules: table and column names are the caller's own, never a user's; what row security hides can't be changed
and is missing. Transactions are the caller's.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, as_problem

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

T = TypeVar("T")
MOST_ID = (1 << 63) - 1


def missing() -> Problem:
    """There is no such row for this actor."""
    return Problem("not_found", Words("没有这一项", "there is no such thing"))


async def refusable(statement: Awaitable[T]) -> T:
    """What a statement gives; what the database refuses for what it says becomes a Problem."""
    try:
        return await statement
    except asyncpg.PostgresError as error:
        problem = as_problem(error)
        if problem is None:
            raise
        raise problem from None


async def insert(c: "Connection", table: str, values: Mapping[str, Any]) -> int:
    """Put a row in; its id."""
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING id"
    identity: int = await refusable(c.fetchval(statement, *values.values()))
    return identity


async def update(c: "Connection", table: str, identity: int, values: Mapping[str, Any]) -> None:
    """Change columns of a row. Problem `not_found` when it is not the actor's to change."""
    if not values:
        return
    assigned = ", ".join(f"{name} = ${place}" for place, name in enumerate(values, 2))
    statement = f"UPDATE {table} SET {assigned} WHERE id = $1"
    if await refusable(c.execute(statement, identity, *values.values())) != "UPDATE 1":
        raise missing()


async def one(c: "Connection", select: str, alias: str, identity: int) -> Mapping[str, Any]:
    """The row of `select` with this id. Problem `not_found`."""
    row = await c.fetchrow(f"{select} WHERE {alias}.id = $1", identity)
    if row is None:
        raise missing()
    found: Mapping[str, Any] = row
    return found


async def page(
    c: "Connection", select: str, alias: str, after: int, limit: int, own: str = "true"
) -> Sequence[Mapping[str, Any]]:
    """Up to `limit` rows of `select` with an id above `after`; `own`: the condition an index is read by."""
    rows: Sequence[Mapping[str, Any]] = await c.fetch(
        f"{select} WHERE {alias}.id > $1 AND {own} ORDER BY {alias}.id LIMIT $2", after, limit
    )
    return rows


async def listed(
    c: "Connection", actor: Actor, select: str, table: str, after: int, limit: int, *conditions: str
) -> Sequence[Mapping[str, Any]]:
    """`page` of a table whose rows are institutions', or came in through a carrier. `select` calls it t."""
    others = {"carrier": ["t.carrier = my_carrier() AND t.carrier <> ''"]}
    ids = reached(actor, table, conditions, others)
    rows: Sequence[Mapping[str, Any]] = await c.fetch(
        f"{select} WHERE t.id = ANY (ARRAY({ids})) ORDER BY t.id", after, limit
    )
    return rows


def reached(actor: Actor, table: str, conditions: Sequence[str], others: Mapping[str, Sequence[str]]) -> str:
    """A query for the first $2 ids above $1 of the actor's rows (t) for which the conditions hold.

    Row security says whose they are; here it is said so that an index of (whose, id) is read and left: as
    fast on the last page as on the first, however many rows are others'. `others`: whose rows are for
    further roles; of several each is one read.
    """
    if actor.role == "institution":
        return first_of(f"(VALUES ({actor.institution})) AS i (id)", table, "institution_id", conditions)
    if has_territory(actor):
        return first_of("institutions i", table, "institution_id", conditions)
    first = " UNION ALL ".join(
        f"(SELECT t.id FROM {table} t WHERE {' AND '.join(['t.id > $1', whose, *conditions])}"
        " ORDER BY t.id LIMIT $2)"
        for whose in others.get(actor.role, ["true"])
    )
    return f"SELECT mine.id FROM ({first}) mine ORDER BY mine.id LIMIT $2"


def has_territory(actor: Actor) -> bool:
    """Whether row security shows him what belongs to a territory, not everybody's."""
    return actor.role == "regulator" and bool(actor.territory)


def first_of(holders: str, table: str, column: str, conditions: Sequence[str]) -> str:
    """A query for the first $2 ids above $1 among the rows (t) of those holders (i): each one's own first are
    read from an index of (column, id). As a range, for which the primary key gives no order: it would pass
    the rows of all others over."""
    place = f"(t.{column}, t.id)"
    whose = [f"{place} > (i.id, $1)", f"{place} <= (i.id, {MOST_ID})", *conditions]
    return (
        f"SELECT mine.id FROM {holders} CROSS JOIN LATERAL (SELECT t.id FROM {table} t"
        f" WHERE {' AND '.join(whose)} ORDER BY t.{column}, t.id LIMIT $2) mine ORDER BY mine.id LIMIT $2"
    )
