"""Which registry keys this node looks up by: the keeper's part in a rotation (begun anywhere: rekeying.py).

Rules: a key that came is looked up by before any row under it is applied; one that was retired, until nothing
under it can be anywhere on this node any more. Both stand in the replica, so that a worker without one of the
files says so and judges nothing (snapshot.py).
"""

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.errors import NotReady
from gateway.registry import keyed, store
from gateway.registry.local import LocalRefusal, rekeyed
from gateway.registry.replica import Replica
from gateway.registry.writer import ReplicaWriter

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any]

SAID_AGAIN = 60.0
"""Seconds until it is said again that a key is missing."""
STILL_USED = 60.0
"""Seconds for which a key that is retired is looked up by still: a reply may be on its way to `local` under
it, and a worker between two looks."""

log = logging.getLogger(__name__)


class KeysInUse:
    """`hindered`: why nothing can be judged here whatever the replica holds, as a key has not come; or ""."""

    def __init__(self, replica: Replica, writer: ReplicaWriter) -> None:
        self._replica = replica
        self._writer = writer
        self._standing: tuple[bytes, ...] = ()  # fingerprints, as PostgreSQL says
        self._retired_at = 0.0  # monotonic; when all was applied that was before
        self._said_at = -SAID_AGAIN
        self.hindered = ""

    def begin(self) -> None:
        """Go on by what stands in the replica, until PostgreSQL answers; what somebody read back of a lost
        `local` is found by it."""
        if not self._writer.keys:
            return
        with contextlib.suppress(NotReady, ValueError):  # nobody judges without the key, and it is said
            newest = self._replica.key.use(self._writer.keys)[-1]
            if len(self._replica.key.keys) > 1:
                self._replica.local.rekey(lambda refusal: rekeyed(newest, refusal))

    async def look(self, c: "Connection") -> None:
        """Ask PostgreSQL; a key that came since is looked up by from now on."""
        standing = self._standing = tuple(found for _, found in await keyed.fingerprints(c))
        known = self._writer.keys
        if set(standing) - set(known):
            self._retired_at = 0.0
            await self._mark(c, (*(key for key in known if key not in standing), *standing))
        self.hindered = ""
        try:
            if standing:
                self._replica.key.use(standing)
        except NotReady as error:
            self.hindered = str(error)
            if time.monotonic() - self._said_at >= SAID_AGAIN:
                self._said_at = time.monotonic()
                log.error("registry: %s; until then nothing is judged here", error)

    async def drop_retired(self, c: "Connection") -> bool:
        """All that PostgreSQL had when it was asked last is applied: look no longer by a key that is retired,
        after a while. Whether something in `local` came under another one."""
        standing = self._standing
        if not standing or standing == self._writer.keys or self.hindered:
            return False
        if not self._retired_at:
            self._retired_at = time.monotonic()
        if time.monotonic() - self._retired_at < STILL_USED:
            return False
        local, newest = self._replica.local, self._replica.key.of(standing[-1])
        if local.rekey(lambda refusal: rekeyed(newest, refusal)):
            self._retired_at = time.monotonic()  # once more when every worker has seen it
            return True
        local.bind(newest.fingerprint)
        await self._mark(c, standing)
        return False

    async def insert(self, c: "Connection", refusals: Sequence[LocalRefusal]) -> Sequence[LocalRefusal]:
        """Put refusals of this node in under the newest key, to which all that their subscribers said before
        is moved, too: as they stand there now. Raises NotReady, asyncpg's errors."""
        key = self._replica.key
        if len(key.keys) == 1:
            await store.insert_refusals(c, (await keyed.in_use(c, key))[-1].key_id, refusals)
            return refusals
        async with c.transaction():  # perhaps they were learnt under an older one
            numbers = [key.open(refusal.subscriber_sealed) for refusal in refusals]
            entered = [
                structs.replace(refusal, subscriber_hash=one.hash, subscriber_sealed=one.sealed)
                for refusal, one in zip(refusals, await keyed.enter_all(c, key, numbers), strict=True)
            ]
            await store.insert_refusals(c, (await keyed.in_use(c, key))[-1].key_id, entered)
        return entered

    async def _mark(self, c: "Connection", keys: tuple[bytes, ...]) -> None:
        newest = await store.number_above(c, 0, self._writer.version)
        self._writer.apply({}, {}, newest=newest, now=time.time_ns() // 1_000_000, keys=keys)
