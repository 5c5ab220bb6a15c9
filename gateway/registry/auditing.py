"""The audit: acts in the order of their places in the chain, and the chain's proof.

Rules: `verify` works out the chain by itself from the columns of the audit (migrations 0005 audit_text says
how), with no function of the database's: who changes those can't change this.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from gateway.registry.acting import Actor
from gateway.registry.changing import first_of, has_territory

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH = 10_000


class Act(NamedTuple):
    """One act. `seq` and `hash` are its place in the chain; `session` is the database user it came by."""

    id: int
    seq: int
    hash: bytes
    at: datetime
    user: str
    person: str
    session: str
    door: str
    act: str
    subject: str
    reason: str
    detail: dict[str, Any]


async def acts(
    c: "Connection",
    after: int = 0,
    limit: int = 50,
    *,
    subject: str = "",
    user: str = "",
    actor: Actor | None = None,
) -> list[Act]:
    """Acts by id, beginning after the id `after`: all, or those on one subject, or of one login, of those
    that the actor may see."""
    wanted = (
        "($3 = '' OR t.subject = $3) AND ($4 = '' OR t.user_id = (SELECT id FROM users WHERE login = $4))"
    )
    ids = f"SELECT t.id FROM audit t WHERE t.id > $1 AND {wanted} ORDER BY t.id LIMIT $2"
    if actor is not None and has_territory(actor) and not subject and not user:
        ids = first_of("territory_users() AS i (id)", "audit", "user_id", [wanted])
    rows = await c.fetch(
        f"""SELECT a.id, k.seq, k.hash, a.at, coalesce(u.login, ''), coalesce(p.name, ''), a.by_session,
                  a.door, a.act, a.subject, a.reason, a.detail::text
             FROM audit a JOIN audit_chain k ON k.audit_id = a.id
             LEFT JOIN users u ON u.id = a.user_id LEFT JOIN persons p ON p.id = a.person_id
            WHERE a.id = ANY (ARRAY({ids})) ORDER BY a.id""",
        after,
        limit,
        subject,
        user,
    )
    return [Act._make((*known, json.loads(detail))) for *known, detail in rows]


async def verify(c: "Connection") -> int | None:
    """The first place of the chain that does not hold; None when all do.

    When an act has no place at all it is the one after the last.
    """
    before, expected = b"", 1
    while rows := await c.fetch(
        """SELECT k.seq, k.hash, a.id, a.at, a.user_id, a.person_id, a.by_session, a.door, a.act, a.subject,
                  a.reason, a.detail::text
             FROM audit_chain k LEFT JOIN audit a ON a.id = k.audit_id
            WHERE k.seq >= $1 ORDER BY k.seq LIMIT $2""",
        expected,
        BATCH,
    ):
        for seq, digest, *act in rows:
            if seq != expected or act[0] is None:
                return expected
            if hashlib.sha256(before + _text(act)).digest() != digest:
                return expected
            before, expected = digest, expected + 1
    lost = "SELECT count(*) FROM audit WHERE id NOT IN (SELECT audit_id FROM audit_chain)"
    return expected if await c.fetchval(lost) else None


def _text(act: list[Any]) -> bytes:
    """An act as it is hashed: PostgreSQL's text of a JSON array."""
    identity, at, *rest, detail = act
    micros = (at - EPOCH) // timedelta(microseconds=1)
    members = [json.dumps(value, ensure_ascii=False) for value in (identity, micros, *rest)]
    return f"[{', '.join([*members, detail])}]".encode()
