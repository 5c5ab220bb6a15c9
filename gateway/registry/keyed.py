"""Subscribers in the database: by which keys they are looked up, and under which one they are put in.

Rules: all rows of a subscriber are under one key (migrations 0026). Who adds one under the newest key first
moves those that are there to it; whoever looks asks by the hashes of all keys that are in use. A node whose
key file has not come does neither: it says so. Functions take an open connection.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import NotReady
from gateway.registry import store
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]


class InUse(NamedTuple):
    """A key that rows may be under: its number in the database, and what the node has of it."""

    key_id: int
    key: RegistryKey


class Keyed(NamedTuple):
    """What stands for a number in a row."""

    key_id: int
    hash: bytes
    sealed: bytes


async def fingerprints(c: "Connection") -> list[tuple[int, bytes]]:
    """The keys that rows may be under, by number, oldest first."""
    rows = await c.fetch(
        "SELECT key_id, fingerprint FROM registry_keys WHERE retired_at IS NULL ORDER BY key_id"
    )
    return [(row[0], row[1]) for row in rows]


async def in_use(c: "Connection", key: RegistryKey) -> list[InUse]:
    """The same as this node has them. Raises NotReady when the file of one is not there, or nobody has told
    the database of any."""
    found = await fingerprints(c)
    if not found:
        raise NotReady("the registry has not met this node's key yet")
    keys = key.use([fingerprint for _, fingerprint in found])
    return [InUse(key_id, one) for (key_id, _), one in zip(found, keys, strict=True)]


async def meet(c: "Connection", key: RegistryKey) -> None:
    """Make the node's key the database's own where it has none; later it is asked by who may not add keys."""
    if not await fingerprints(c):
        await store.register_key(c, key.fingerprint)


async def register(c: "Connection", key: RegistryKey) -> int:
    """The number of the key that new rows come under; the first key that comes becomes the database's own.

    Raises UsageError for a node whose key the database does not know, NotReady when it lacks the newest.
    """
    await store.register_key(c, key.fingerprint)
    return (await in_use(c, key))[-1].key_id


async def hashes(c: "Connection", key: RegistryKey, number: str) -> list[bytes]:
    """What rows of this subscriber may be found by. Raises NotReady."""
    return [one.key.hash(number) for one in await in_use(c, key)]


async def enter(c: "Connection", key: RegistryKey, number: str, hashed: str = "") -> Keyed:
    """What to put in for a number, in the same transaction; `hashed` where something else is hashed than
    sealed. Raises NotReady."""
    keys = await in_use(c, key)
    key_id, newest = keys[-1]
    entered = Keyed(key_id, newest.hash(hashed or number), newest.seal(number))
    for older in keys[:-1]:
        await _move_as_owner(c, [older.key.hash(hashed or number)], [entered])
    return entered


async def enter_all(c: "Connection", key: RegistryKey, numbers: Sequence[str]) -> list[Keyed]:
    """The same of many, over a connection of the owner; in a transaction of its own. Raises NotReady."""
    keys = await in_use(c, key)
    key_id, newest = keys[-1]
    entered = [Keyed(key_id, newest.hash(number), newest.seal(number)) for number in numbers]
    for older in keys[:-1]:
        known = {older.key.hash(number): one for number, one in zip(numbers, entered, strict=True)}
        await move(c, list(known), list(known.values()))
    return entered


async def move(c: "Connection", old_hashes: Sequence[bytes], to: Sequence[Keyed]) -> int:
    """Put all rows of these subscribers under the newest key; how many there were. Over a connection of the
    owner; to do it again does nothing."""
    if not to:
        return 0
    hashes, sealed = [one.hash for one in to], [one.sealed for one in to]
    moved = await c.fetchval(
        "SELECT rekey($1::bytea[], $2::bytea[], $3::bytea[], $4)", old_hashes, hashes, sealed, to[0].key_id
    )
    return int(moved)


async def _move_as_owner(c: "Connection", old_hashes: Sequence[bytes], to: Sequence[Keyed]) -> None:
    """No tenant may move rows; the session that works for one may."""
    async with c.transaction():
        role = await c.fetchval("SELECT current_setting('role')")
        await c.execute("SET LOCAL ROLE NONE")
        await move(c, old_hashes, to)
        await c.execute("SELECT set_config('role', $1, true)", role)
