"""Who is it: tokens, console sessions, passwords and codes.

Rules: secrets are kept as hashes (tokens, cookies: SHA-256 of 256 random bits; passwords: Argon2id) or sealed
(code generators). A try to sign in is counted before its password is looked at, so tries at once are no way
round the lock; an unknown login costs and locks as a known one does. While the database is away, a token that
was known before still brings attempts in (README "API").
"""

import asyncio
import hmac
import math
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import asyncpg
import pyotp
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from gateway.errors import Problem, Words
from gateway.registry import keyed
from gateway.registry.acting import Actor, Door, actor_where, record
from gateway.registry.keys import RegistryKey
from gateway.registry.people import token_hash

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

T = TypeVar("T")
TRIES = 5
LOCKED_MINUTES = 15
STEP_SECONDS = 30
CACHE_SECONDS = 1.0
AHEAD_SECONDS = 0.5
"""A look-up that is older is done again for the next, while the old one still holds."""
PATIENCE_SECONDS = 0.25
"""An attempt of a token seen before waits for its look-up so long: a sender's call rings meanwhile."""
REMEMBERED = 10_000
SHORTEST_PASSWORD = 12


class Cost(NamedTuple):
    """What a password's hash takes: RFC 9106 section 4, the second recommendation (memory in KiB)."""

    memory: int = 64 * 1024
    passes: int = 3
    lanes: int = 4


class _Known(NamedTuple):
    actor: Actor
    expires_at: float
    seen: float  # monotonic seconds

    def brings_attempts(self, now: float) -> bool:
        return "attempts" in self.actor.scopes and self.expires_at > now


_Found = tuple[Actor, datetime] | None
_Look = Callable[["Connection", bytes], Awaitable[_Found]]
"""Whose secret it is and until when, by its hash."""


class Access:
    """Tells who asks, and lets users sign in and out."""

    def __init__(
        self,
        door: Door,
        key: RegistryKey,
        *,
        cost: Cost = Cost(),  # noqa: B008  # a value
        session_hours: float = 8,
        on_lock_out: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._door = door
        self._key = key
        self._cost = cost
        self._hours = session_hours
        self._on_lock_out = on_lock_out
        self._clock = clock
        # one at a time: `cryptography` sets OpenSSL's number of threads for the whole process, and takes it
        # back to none when a hash is done; another that is under way then waits for its lanes for ever
        self._hashing = ThreadPoolExecutor(1, "argon2")  # 64 MiB each
        self._nobody = _of_nobody(cost)
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._looking: dict[bytes, asyncio.Task[Actor | None]] = {}
        self._unknown: OrderedDict[str, tuple[int, float]] = OrderedDict()  # login: failures, locked until

    def close(self) -> None:
        """Let the hashing thread go."""
        self._hashing.shutdown(wait=False)

    async def by_token(self, secret: str, scope: str = "attempts") -> Actor | None:
        """Whose token it is, with its scopes; None for one that is unknown, expired, revoked or of a disabled
        user. While the database is away, or silent: a token seen before, for the `scope` attempts alone, or
        Problem."""
        digest = token_hash(secret)
        old = self._known.get(digest)
        if old is None or not old.brings_attempts(self._clock()) or scope != "attempts":
            return await self._who(digest, self._token)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._who(digest, self._token)
        except (Problem, TimeoutError):
            return _with(old.actor, frozenset({"attempts"}))

    async def by_session(self, cookie: str) -> Actor | None:
        """Whose console session it is; None for one that has ended."""
        return await self._who(token_hash(cookie), self._session)

    async def sign_in(self, login: str, password: str, code: str, address: str) -> tuple[str, Actor]:
        """Begin a console session: its cookie, and who it is.

        Password and code (TOTP, RFC 6238) are both asked for, and no code is taken twice. Problem
        `sign_in_failed`, or `locked` after five failures in a row.
        """
        async with self._door.owner() as c:
            actor = await actor_where(c, "u.login = $1", login, door="console")
            kept = None if actor is None else await self._charge(c, actor.user)
        if kept is None:
            self._charge_unknown(login)
        held = (kept["password_hash"] if kept else "") or self._nobody
        good = await self._loop_run(_is_password, password, held)
        if actor is None or kept is None:
            raise _failed()
        step = self._step_of(kept["totp_sealed"], code) if good and kept["password_hash"] else None
        async with self._door.owner() as c, c.transaction():
            # no code twice: of two sessions that bring the same one, the second finds the step taken
            accepted = step is not None and await c.fetchval(
                """UPDATE credentials
                      SET failed = 0, locked_until = NULL, totp_step = $2, signed_in_at = now()
                    WHERE user_id = $1 AND totp_step < $2 RETURNING true""",
                actor.user,
                step,
            )
            if accepted:
                cookie = secrets.token_urlsafe(32)
                await c.execute(
                    """INSERT INTO sessions (hash, user_id, expires_at, address)
                       VALUES ($1, $2, now() + $3 * interval '1 hour', $4)""",
                    token_hash(cookie),
                    actor.user,
                    self._hours,
                    address,
                )
                await record(c, actor, "session.begin", f"users/{actor.user}", address=address)
                return cookie, actor
            if kept["failed"] >= TRIES:
                await c.execute(
                    """INSERT INTO alarms (kind, user_id, institution_id, detail)
                       VALUES ('lock_out', $1, nullif($2, 0), jsonb_build_object('address', $3::text))""",
                    actor.user,
                    actor.institution,
                    address,
                )
                await record(c, actor, "session.lock", f"users/{actor.user}", address=address)
                self._on_lock_out()
        raise _failed()

    async def sign_out(self, cookie: str) -> None:
        """End a console session; one that has ended already is no error."""
        digest = token_hash(cookie)
        self._forget(digest)
        async with self._door.owner() as c, c.transaction():
            user = await c.fetchval("DELETE FROM sessions WHERE hash = $1 RETURNING user_id", digest)
            actor = await actor_where(c, "u.id = $1", user, door="console") if user else None
            if actor is not None:
                await record(c, actor, "session.end", f"users/{actor.user}")
        self._forget(digest)  # what was being looked up meanwhile may have seen it

    def forget(self, user: int) -> None:
        """Look a user up again at his next request, here: his rights, tokens or sessions have changed, and
        whoever changed them need not wait for the second to pass. Look-ups under way are not remembered."""
        for digest in [digest for digest, known in self._known.items() if known.actor.user == user]:
            del self._known[digest]
        self._looking.clear()

    async def set_password(self, c: "Connection", actor: Actor | None, user: int, password: str) -> None:
        """Give a user a password; his sessions end. Problem `invalid` for a short one."""
        if len(password) < SHORTEST_PASSWORD:
            expected = Words(f"至少 {SHORTEST_PASSWORD} 个字符", f"{SHORTEST_PASSWORD} characters or more")
            raise Problem("invalid", Words("密码太短", "too short"), field="password", expected=expected)
        digest = await self._loop_run(_hashed, password, self._cost)
        await c.execute(
            """INSERT INTO credentials (user_id, password_hash) VALUES ($1, $2)
               ON CONFLICT (user_id) DO UPDATE SET password_hash = $2, failed = 0, locked_until = NULL""",
            user,
            digest,
        )
        await record(c, actor, "user.password", f"users/{user}")

    async def enrol_totp(self, c: "Connection", actor: Actor | None, user: int) -> str:
        """Give a user a new code generator; its secret (base32), which is never shown again."""
        secret = pyotp.random_base32()
        await keyed.meet(c, self._key)
        key_id, newest = (await keyed.in_use(c, self._key))[-1]
        await c.execute(
            """INSERT INTO credentials (user_id, totp_sealed, key_id) VALUES ($1, $2, $3)
               ON CONFLICT (user_id) DO UPDATE SET totp_sealed = $2, key_id = $3, totp_step = 0""",
            user,
            newest.seal_totp(secret),
            key_id,
        )
        await record(c, actor, "user.totp", f"users/{user}")
        return secret

    async def renew(
        self, c: "Connection", actor: Actor | None, user: int, password: str, *, totp: bool
    ) -> str | None:
        """Give a user another password ("": none), or with `totp` another code generator, whose secret comes
        back, for one who has lost his or is locked out. Problem `invalid` when neither is wanted."""
        if not password and not totp:
            expected = Words("password、totp 至少一项", "a password, or totp")
            raise Problem("invalid", Words("没有要重设的内容", "nothing to renew"), expected=expected)
        if password:
            await self.set_password(c, actor, user, password)
        return await self.enrol_totp(c, actor, user) if totp else None

    async def _charge(self, c: "Connection", user: int) -> "asyncpg.Record | None":
        """Count a try, and lock with the fifth; None for a user without a password. Problem `locked`."""
        row = await c.fetchrow(
            """UPDATE credentials
                  SET failed = CASE WHEN locked_until IS NULL THEN failed + 1 ELSE 1 END,
                      locked_until = CASE WHEN locked_until IS NULL AND failed + 1 >= $2
                                          THEN now() + make_interval(mins => $3) END
                WHERE user_id = $1 AND coalesce(locked_until <= now(), true)
            RETURNING password_hash, totp_sealed, failed""",
            user,
            TRIES,
            LOCKED_MINUTES,
        )
        if row is None:
            left = """SELECT ceil(extract(epoch FROM locked_until - now()))::integer FROM credentials
                       WHERE user_id = $1 AND locked_until > now()"""
            if (seconds := await c.fetchval(left, user)) is not None:
                raise _locked(seconds)
        return row

    def _charge_unknown(self, login: str) -> None:
        """The same for a login that nobody has: that there is none is not to be learnt by trying."""
        now = time.monotonic()
        failed, until = self._unknown.pop(login, (0, 0.0))
        if until > now:
            self._unknown[login] = (failed, until)
            raise _locked(math.ceil(until - now))
        failed = failed + 1 if failed < TRIES else 1
        self._unknown[login] = (failed, now + LOCKED_MINUTES * 60 if failed >= TRIES else 0.0)
        if len(self._unknown) > REMEMBERED:
            self._unknown.popitem(last=False)

    def _step_of(self, sealed: bytes | None, code: str) -> int | None:
        """The time step that a code is of: this one, the one before or the next; None for a wrong code."""
        if sealed is None:
            return None
        totp = pyotp.TOTP(self._key.open_totp(sealed))
        now = int(self._clock()) // STEP_SECONDS
        for step in (now, now - 1, now + 1):
            if hmac.compare_digest(totp.at(step * STEP_SECONDS).encode(), code.strip().encode()):
                return step
        return None

    async def _who(self, digest: bytes, look: "_Look") -> Actor | None:
        """Whose secret this is, as `look` said a second ago at most. One look-up serves all who ask
        meanwhile; while somebody keeps asking it is begun before it is needed, and nobody waits."""
        known = self._known.get(digest)
        if known is not None and known.expires_at > self._clock():
            age = time.monotonic() - known.seen
            if age <= CACHE_SECONDS:
                if age > AHEAD_SECONDS and digest not in self._looking:
                    self._begin(digest, look)
                return known.actor
        looking = self._looking.get(digest) or self._begin(digest, look)
        return await asyncio.shield(looking)

    def _begin(self, digest: bytes, look: "_Look") -> "asyncio.Task[Actor | None]":
        def ended(task: "asyncio.Task[Actor | None]") -> None:
            if self._looking.get(digest) is task:
                del self._looking[digest]
            if not task.cancelled():
                task.exception()  # told to who waits, and to nobody else

        task = asyncio.create_task(self._look(digest, look))
        self._looking[digest] = task
        task.add_done_callback(ended)
        return task

    async def _look(self, digest: bytes, look: "_Look") -> Actor | None:
        began, mine = time.monotonic(), asyncio.current_task()
        async with self._door.looking_up() as c:
            found = await look(c, digest)
        if self._looking.get(digest) is mine:  # else it was signed out meanwhile
            if found is None:
                self._known.pop(digest, None)
            else:
                self._known[digest] = _Known(found[0], found[1].timestamp(), began)
                self._known.move_to_end(digest)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        return found[0] if found is not None else None

    async def _token(self, c: "Connection", digest: bytes) -> "_Found":
        row = await c.fetchrow(
            """SELECT user_id, scopes, expires_at FROM tokens
                WHERE hash = $1 AND revoked_at IS NULL AND expires_at > now()""",
            digest,
        )
        actor = await actor_where(c, "u.id = $1", row["user_id"], door="api") if row else None
        return (_with(actor, frozenset(row["scopes"])), row["expires_at"]) if row and actor else None

    async def _session(self, c: "Connection", digest: bytes) -> "_Found":
        row = await c.fetchrow(
            "SELECT user_id, expires_at FROM sessions WHERE hash = $1 AND expires_at > now()", digest
        )
        actor = await actor_where(c, "u.id = $1", row["user_id"], door="console") if row else None
        return (actor, row["expires_at"]) if row and actor else None

    def _forget(self, digest: bytes) -> None:
        self._known.pop(digest, None)
        self._looking.pop(digest, None)

    async def _loop_run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._hashing, work, *arguments)


@cache
def _of_nobody(cost: Cost) -> str:
    """What a password is compared with where there is none: to look costs the same."""
    return _hashed(os.urandom(8).hex(), cost)


def _hashed(password: str, cost: Cost) -> str:
    hasher = Argon2id(
        salt=os.urandom(16), length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory
    )
    return hasher.derive_phc_encoded(password.encode())


def _is_password(password: str, held: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password.encode(), held)
    except InvalidKey:
        return False
    return True


def _with(actor: Actor, scopes: frozenset[str]) -> Actor:
    return replace(actor, scopes=scopes)


def _failed() -> Problem:
    words = Words("登录名、密码或动态口令不正确", "login, password or code is wrong")
    return Problem("sign_in_failed", words)


def _locked(seconds: int) -> Problem:
    minutes = math.ceil(seconds / 60)
    words = Words(f"失败次数过多，{minutes} 分钟后再试", f"too many failures: {minutes} minutes' wait")
    return Problem("locked", words, facts={"retry_after": seconds})
