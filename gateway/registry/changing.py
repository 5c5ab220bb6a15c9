"""One row put in or changed for an actor, and what the database says to that, in words.

Rules: table and column names are the caller's own, never a user's; what row security hides can't be changed
and is missing. Transactions are the caller's.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from gateway.errors import Problem, Words
from gateway.registry.acting import as_problem

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

T = TypeVar("T")


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
