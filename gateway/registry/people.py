"""Persons, their users, and users' tokens.

Rules: a person is known by identity number: whoever has the same is the same, so that two logins are never
two persons. An import may name persons who are known by name only; they can neither check nor approve by
steps (migrations 0006). Of a token only the hash is kept. Every function takes an open connection and leaves
transactions to its caller; `actor` is who does it, None for an operator at the command line.
"""

import re
import secrets
import unicodedata
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from gateway.errors import Problem, Words
from gateway.registry import keyed
from gateway.registry.acting import ROLES, SCOPES, Actor, as_problem, record
from gateway.registry.territories import watched

if TYPE_CHECKING:
    from gateway.registry.keys import RegistryKey

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

TOKEN_OCTETS = 32
MOST_DAYS = 400
HELD_BY_INSTITUTION = ("institution", "agency", "provider")


class NewUser(NamedTuple):
    """A user to be. `person` and `identity` (identity number; empty: known by name only, and can't check or
    approve) say who; `institution` is a code; `territory` the beginning of a region such as 浙江省杭州市."""

    login: str
    role: str
    person: str
    identity: str = ""
    carrier: str = ""
    institution: str = ""
    territory: str = ""


class User(NamedTuple):
    """A user as administrators, regulators and auditors see him."""

    id: int
    login: str
    role: str
    person_id: int
    person: str
    proven: bool  # bound to an identity number
    carrier: str
    institution: str
    territory: str
    status: str  # active | disabled
    row_version: int
    changed_at: datetime


class Token(NamedTuple):
    """A token without its secret."""

    id: int
    user: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


async def person_by_name(c: "Connection", name: str) -> int:
    """The person of this name, for an import that names two, or whose login it is, as two logins may be one
    person's; made without identity number when nobody has it.

    Problem `invalid` when several have it.
    """
    found = await c.fetch("SELECT id, identity_hash IS NULL AS unproven FROM persons WHERE name = $1", name)
    proven = [int(row["id"]) for row in found if not row["unproven"]]
    if len(proven) > 1:
        raise Problem(
            "invalid",
            Words(f"有 {len(proven)} 人同名", f"{len(proven)} persons are called so"),
            field="person",
            value=name,
            expected=Words(
                "附身份证件号码，或唯一的姓名", "an identity number too, or a name that one person has"
            ),
        )
    if proven:
        return proven[0]
    if (owner := await c.fetchval("SELECT person_id FROM users WHERE login = $1", name)) is not None:
        return int(owner)
    if found:
        return int(found[0]["id"])
    identity: int = await c.fetchval(
        """INSERT INTO persons (name) VALUES ($1)
           ON CONFLICT (name) WHERE identity_hash IS NULL DO UPDATE SET name = excluded.name RETURNING id""",
        name,
    )
    return identity


async def add_person(c: "Connection", key: "RegistryKey", name: str, identity: str) -> int:
    """The person with this identity number, who is added if nobody has it.

    Problem `exists` when he is known under another name; `invalid` when one of the two is empty, or it is no
    identity number.
    """
    name, identity = " ".join(name.split()), _identity(identity)
    if not name:
        raise Problem("invalid", Words("不能为空", "missing"), field="person")
    await keyed.meet(c, key)
    key_id, digest, sealed = await keyed.enter(c, key, identity, "identity " + identity)
    await c.execute(
        """INSERT INTO persons (name, identity_hash, identity_sealed, key_id) VALUES ($1, $2, $3, $4)
           ON CONFLICT (identity_hash) DO NOTHING""",
        name,
        digest,
        sealed,
        key_id,
    )
    row = await c.fetchrow("SELECT id, name FROM persons WHERE identity_hash = $1", digest)
    if row is None or row["name"] != name:
        raise Problem(
            "exists",
            Words("该身份证件号码已属另一姓名", "this identity number belongs to another name"),
            field="person",
            value=name,
            expected=Words("该人员已登记的姓名", "the name that the person is known by"),
        )
    return int(row["id"])


async def add_user(c: "Connection", actor: Actor | None, key: "RegistryKey", new: NewUser) -> User:
    """Add a user, bound to his person. Problem `exists` for a login that is taken, `invalid`."""
    institution = None
    _one_of("role", new.role, ROLES)
    if (new.role == "carrier") != bool(new.carrier):
        raise _misplaced("carrier", new.carrier, "carrier", new.role == "carrier")
    if (new.role in HELD_BY_INSTITUTION) != bool(new.institution):
        needed = new.role in HELD_BY_INSTITUTION
        raise _misplaced("institution", new.institution, "institution, agency, provider", needed)
    if new.institution:
        institution = await c.fetchval("SELECT institution_of($1)", new.institution)
        if institution is None:
            raise Problem(
                "invalid",
                Words("没有此代码的机构", "no institution has this code"),
                field="institution",
                value=new.institution,
            )
        kind = await c.fetchval("SELECT kind_of($1)", new.institution)
        if new.role != (kind if kind in ("agency", "provider") else "institution"):
            raise Problem(
                "invalid",
                Words(f"该机构不适用角色 {new.role}", f"its users are not of the role {new.role}"),
                field="institution",
                value=new.institution,
            )
    if new.identity:
        person = await add_person(c, key, new.person, new.identity)
    elif new.person.strip():
        person = await person_by_name(c, " ".join(new.person.split()))
    else:
        raise Problem("invalid", Words("不能为空", "missing"), field="person")
    try:
        user = await c.fetchval(
            """INSERT INTO users (login, person_id, role, carrier, institution_id, territory)
               VALUES ($1, $2, $3, nullif($4, ''), $5, $6) RETURNING id""",
            new.login,
            person,
            new.role,
            new.carrier,
            institution,
            watched(new.territory),
        )
    except asyncpg.UniqueViolationError:
        raise Problem(
            "exists", Words("登录名已被使用", "this login is taken"), field="login", value=new.login
        ) from None
    except asyncpg.PostgresError as error:
        raise _said_of(error, new) from error
    await record(c, actor, "user.add", f"users/{user}", login=new.login, role=new.role)
    return await user_by(c, user)


async def change_user(
    c: "Connection",
    actor: Actor | None,
    user: int,
    *,
    status: str | None = None,
    territory: str | None = None,
    version: int | None = None,
) -> User:
    """Disable or enable a user, or give him another territory; `version`: only if the row is still that one.

    Who is disabled is signed out at once, and his tokens serve no more. Problem `not_found`,
    `changed_meanwhile`, `invalid` (also for who would disable himself).
    """
    if status is not None:
        _one_of("status", status, ("active", "disabled"))
    row = await c.fetchrow("SELECT row_version FROM users WHERE id = $1 FOR UPDATE", user)
    if row is None:
        raise _missing("users")
    if version is not None and version != row["row_version"]:
        raise Problem("changed_meanwhile", Words("记录已被他人修改", "somebody changed it meanwhile"))
    if status == "disabled" and actor is not None and actor.user == user:
        detail = Words("不能停用自己的登录", "nobody disables himself: the last admin would shut all out")
        expected = Words("由另一名管理员停用", "another admin who does it")
        raise Problem("invalid", detail, field="status", value=status, expected=expected)
    await c.execute(
        """UPDATE users SET status = coalesce($2, status), territory = coalesce($3, territory)
            WHERE id = $1""",
        user,
        status,
        territory and watched(territory),
    )
    await record(c, actor, "user.change", f"users/{user}", status=status, territory=territory)
    return await user_by(c, user)


async def users(c: "Connection", after: int = 0, limit: int = 50) -> list[User]:
    """Users by id, beginning after the id `after`."""
    rows = await c.fetch(_USERS + " WHERE u.id > $1 ORDER BY u.id LIMIT $2", after, limit)
    return [User(*row) for row in rows]


async def user_by(c: "Connection", user: int) -> User:
    """One user by id. Problem `not_found`."""
    row = await c.fetchrow(_USERS + " WHERE u.id = $1", user)
    if row is None:
        raise _missing("users")
    return User(*row)


async def user_id(c: "Connection", login: str) -> int:
    """The id of a login, active or not. Problem `not_found`."""
    found = await c.fetchval("SELECT id FROM users WHERE login = $1", login)
    if found is None:
        raise Problem("not_found", Words("没有此用户", "there is no such user"), field="user", value=login)
    return int(found)


async def user_for(
    c: "Connection", key: "RegistryKey", role: str, *, institution: str = "", carrier: str = ""
) -> int:
    """The oldest active user of a role, of this institution or carrier; one is made if there is none.

    He is bound to a person without identity number, and can do all but check and approve.
    """
    found = await c.fetchval(
        """SELECT min(u.id) FROM users u LEFT JOIN institutions i ON i.id = u.institution_id
            WHERE u.role = $1 AND u.status = 'active' AND ($2 = '' OR i.code = $2)
              AND ($3 = '' OR u.carrier = $3)""",
        role,
        institution,
        carrier,
    )
    if found is not None:
        return int(found)
    place = f"-{institution or carrier}".lower() if institution or carrier else ""
    login = f"{role}{place}"
    new = NewUser(login, role, login, carrier=carrier, institution=institution)
    return (await add_user(c, None, key, new)).id


async def create_token(
    c: "Connection", actor: Actor | None, user: int, name: str, scopes: list[str], days: int
) -> tuple[Token, str]:
    """A new token of a user, and its secret, which is never shown again. `days` until it expires.

    Problem `invalid`, `not_found`.
    """
    for scope in scopes:
        _one_of("scopes", scope, SCOPES)
    if not scopes:
        raise Problem("invalid", Words("不能为空", "missing"), field="scopes", expected=_words(SCOPES))
    if not 1 <= days <= MOST_DAYS:
        expected = Words(f"1 至 {MOST_DAYS}", f"1 to {MOST_DAYS}")
        raise Problem(
            "invalid", Words("超出范围", "out of range"), field="days", value=days, expected=expected
        )
    if await c.fetchval("SELECT status FROM users WHERE id = $1", user) != "active":
        raise Problem("not_found", Words("没有此在用用户", "there is no such active user"), field="user")
    secret = "zm_" + secrets.token_urlsafe(TOKEN_OCTETS)
    token = await c.fetchval(
        """INSERT INTO tokens (hash, user_id, name, scopes, expires_at)
           VALUES ($1, $2, $3, $4, now() + make_interval(days => $5)) RETURNING id""",
        token_hash(secret),
        user,
        name,
        sorted(set(scopes)),
        days,
    )
    await record(
        c, actor, "token.create", f"tokens/{token}", user=user, scopes=sorted(set(scopes)), days=days
    )
    row = await c.fetchrow(_TOKENS + " WHERE t.id = $1", token)
    return Token(*row), secret  # type: ignore[misc]  # it was just added


async def revoke_token(c: "Connection", actor: Actor | None, token: int) -> int:
    """End a token now, and say whose it was; one that has ended stays as it is. Problem `not_found`."""
    found = await c.fetchrow("SELECT user_id, revoked_at FROM tokens WHERE id = $1 FOR UPDATE", token)
    if found is None:
        raise _missing("tokens")
    if found["revoked_at"] is None:
        await c.execute("UPDATE tokens SET revoked_at = now() WHERE id = $1", token)
        await record(c, actor, "token.revoke", f"tokens/{token}")
    return int(found["user_id"])


async def tokens(c: "Connection", after: int = 0, limit: int = 50) -> list[Token]:
    """Tokens by id, beginning after the id `after`; ended ones too."""
    rows = await c.fetch(_TOKENS + " WHERE t.id > $1 ORDER BY t.id LIMIT $2", after, limit)
    return [Token(*row) for row in rows]


def _identity(text: str) -> str:
    """An identity number in the one way it is kept, so that no other way of writing makes another person:
    a resident's (GB 11643) with its check digit, or the letters and digits of a passport or the like."""
    identity = "".join(unicodedata.normalize("NFKC", text).split()).upper()
    if not identity:
        raise Problem("invalid", Words("不能为空", "missing"), field="identity")
    if identity.removesuffix("X").isdecimal():
        good = re.fullmatch(r"[0-9]{17}[0-9X]", identity) is not None
        rest = sum(int(digit) << 17 - place for place, digit in enumerate(identity[:17]) if good) % 11
        good = good and identity[17] == "10X98765432"[rest]
    else:
        good = re.fullmatch(r"(?![0-9]{15})[A-Z0-9()/-]{3,}", identity) is not None
    if not good:
        raise Problem(
            "invalid",
            Words("不是证件号码", "not an identity number"),
            field="identity",
            expected=Words(
                "18 位居民身份证号（含校验位），或护照等证件号",
                "a resident's 18 digits with their check digit, or that of a passport",
            ),
        )
    return identity


def token_hash(secret: str) -> bytes:
    """What a token or a session's cookie is kept as: they have 256 random bits, so SHA-256 is enough."""
    return sha256(secret.encode()).digest()


_USERS = """SELECT u.id, u.login, u.role, u.person_id, p.name, p.identity_hash IS NOT NULL,
                   coalesce(u.carrier, ''), coalesce(code_of(u.institution_id), ''), u.territory, u.status,
                   u.row_version, u.changed_at
              FROM users u JOIN persons p ON p.id = u.person_id"""
_TOKENS = """SELECT t.id, u.login, t.name, t.scopes, t.created_at, t.expires_at, t.revoked_at
               FROM tokens t JOIN users u ON u.id = t.user_id"""


def _words(allowed: tuple[str, ...]) -> Words:
    return Words("、".join(allowed) + " 之一", "one of " + ", ".join(allowed))


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        detail = Words("不是允许的取值", "not one of the words that are allowed")
        raise Problem("invalid", detail, field=field, value=value, expected=_words(allowed))


def _misplaced(field: str, value: str, roles: str, needed: bool) -> Problem:
    if needed:
        detail, code = Words("该角色必须填写", "this role needs it"), "a code that is registered"
        return Problem("invalid", detail, field=field, expected=Words("已登记的代码", code))
    expected = Words(f"仅用于角色 {roles}", f"for the roles {roles} only")
    return Problem(
        "invalid", Words("该角色不应填写", "not for this role"), field=field, value=value, expected=expected
    )


def _missing(table: str) -> Problem:
    return Problem("not_found", Words("没有此记录", "there is no such row"), facts={"table": table})


def _said_of(error: asyncpg.PostgresError, new: NewUser) -> Exception:
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        detail = Words("没有此代码的电信企业", "no carrier has this code")
        return Problem("invalid", detail, field="carrier", value=new.carrier)
    if isinstance(error, asyncpg.CheckViolationError):
        expected = Words(
            "小写字母、数字和 . _ @ -，最多 60 个", "up to 60 of lower-case letters, digits and . _ @ -"
        )
        detail = Words("登录名不符合要求", "not a login")
        return Problem("invalid", detail, field="login", value=new.login, expected=expected)
    return as_problem(error) or error
