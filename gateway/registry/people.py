"""Persons: who stands behind the users of the registry, told apart by identity number."""

from typing import TYPE_CHECKING, Any

from gateway.errors import UsageError

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]


async def person_by_name(c: "Connection", name: str) -> int:
    """The person of this name, for an import that names two; made without identity number when nobody has it.

    UsageError when several have it.
    """
    found = await c.fetch("SELECT id, identity_hash IS NULL AS unproven FROM persons WHERE name = $1", name)
    proven = [int(row["id"]) for row in found if not row["unproven"]]
    if len(proven) > 1:
        raise UsageError(
            f"{len(proven)} persons are called {name!r}; right would be a name that one person has"
        )
    if proven or found:
        return proven[0] if proven else int(found[0]["id"])
    identity: int = await c.fetchval(
        """INSERT INTO persons (name) VALUES ($1)
           ON CONFLICT (name) WHERE identity_hash IS NULL DO UPDATE SET name = excluded.name RETURNING id""",
        name,
    )
    return identity
