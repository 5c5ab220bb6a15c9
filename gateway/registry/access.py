"""Who asks: users by their tokens and sessions, of which only hashes are kept."""

import dataclasses
import hashlib

from gateway.registry.acting import Actor, Door, actor_where
from gateway.registry.keys import RegistryKey


class Access:
    """Looks up who a secret belongs to."""

    def __init__(self, door: Door, key: RegistryKey, *, session_hours: float = 8) -> None:
        self._door = door
        self._key = key
        self._session_hours = session_hours

    async def by_token(self, secret: str) -> Actor | None:
        """The user whose token this is, with its scopes; None when it is unknown, revoked or expired."""
        hashed = hashlib.sha256(secret.encode()).digest()
        async with self._door.owner() as c:
            row = await c.fetchrow(
                """SELECT user_id, scopes FROM tokens
                    WHERE hash = $1 AND revoked_at IS NULL AND expires_at > now()""",
                hashed,
            )
            actor = await actor_where(c, "u.id = $1", row["user_id"], door="api") if row else None
        if actor is None or row is None:
            return None
        return dataclasses.replace(actor, scopes=frozenset(row["scopes"]))

    async def by_session(self, cookie: str) -> Actor | None:
        """The user whose console session this is."""
        hashed = hashlib.sha256(cookie.encode()).digest()
        async with self._door.owner() as c:
            user = await c.fetchval(
                "SELECT user_id FROM sessions WHERE hash = $1 AND expires_at > now()", hashed
            )
            return await actor_where(c, "u.id = $1", user, door="console") if user else None
