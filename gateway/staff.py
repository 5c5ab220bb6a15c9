"""The people of the demonstration: a user of each role, with a token and a way to sign in, new at each start.

Each is a person of his own with a made-up identity number, so that what takes two persons can be tried. The
persons who stand behind the sample files (`CHECKERS`) have no login.
"""

import contextlib
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from gateway.errors import Problem
from gateway.policy.profile import Profile
from gateway.registry import profiles
from gateway.registry.access import Access
from gateway.registry.acting import SCOPES, Door, actor_of
from gateway.registry.keys import RegistryKey
from gateway.registry.people import NewUser, add_person, add_user, create_token

CHECKERS = ("checker", "approver")
TOKEN_DAYS = 30
TOKEN_NAME = "demo"
OWN_RULES = "demo-own-hours"


class Post(NamedTuple):
    """Whom a login works for."""

    role: str
    institution: str = ""


POSTS = {
    "regulator": Post("regulator"),
    "regulator2": Post("regulator"),
    "carrier": Post("carrier"),
    "carrier2": Post("carrier"),
    "institution": Post("institution", "ZHSLYH"),
    "institution2": Post("institution", "QTXJ"),
    "agency": Post("agency", "YXCS"),
    "auditor": Post("auditor"),
    "admin": Post("admin"),
}


class Staff(NamedTuple):
    """What `ready.json` says of them: `tokens` by login, `logins` as user, password and totp_secret."""

    tokens: dict[str, str]
    logins: dict[str, dict[str, str]]


async def listeners(dsn: str, accounts: Sequence[str]) -> dict[str, str]:
    """Where these accounts of SGIP are called, those that are."""
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c:
            found = await c.fetch(
                "SELECT account, listener FROM accounts WHERE protocol = 'sgip' AND listener <> ''"
                " AND account = ANY($1)",
                list(accounts),
            )
            return {row["account"]: row["listener"] for row in found}
    finally:
        await door.close()


async def has_samples(dsn: str) -> bool:
    """Whether the sample files have come in: the last of them are the refusals."""
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c:
            return bool(await c.fetchval("SELECT EXISTS (SELECT FROM refusals)"))
    finally:
        await door.close()


async def add_checkers(dsn: str, key: RegistryKey) -> None:
    """The two persons who approve the sample files, before these come in."""
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c, c.transaction():
            for name in CHECKERS:
                await add_person(c, key, name, f"DEMO-{name.upper()}")
    finally:
        await door.close()


async def staffed(dsn: str, key: RegistryKey, carrier: str) -> Staff:
    """Everybody, with a fresh token, password and code generator; those of the last start are void."""
    door = await Door.open(dsn, size=2)
    access = Access(door, key)
    try:
        async with door.owner() as c, c.transaction():
            await c.execute(
                "UPDATE tokens SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL", TOKEN_NAME
            )
            users = {login: await _user(c, key, login, post, carrier) for login, post in POSTS.items()}
            tokens = {}
            for login, user in users.items():
                _, tokens[login] = await create_token(c, None, user, TOKEN_NAME, list(SCOPES), TOKEN_DAYS)
            logins = {}
            for login, user in users.items():  # a password costs the start a good part of a second
                password = secrets.token_urlsafe(12)
                await access.set_password(c, None, user, password)
                code = await access.enrol_totp(c, None, user)
                logins[login] = {"user": login, "password": password, "totp_secret": code}
    finally:
        await door.close()
    return Staff(tokens, logins)


async def own_hours(dsn: str, current: Profile, number: str, text: str) -> None:
    """Two regulators give a line stricter rules of its own, where `current` is not stricter yet."""
    door = await Door.open(dsn, size=2)
    try:
        async with door.owner() as c:
            first, second = [await actor_of(c, login) for login in ("regulator", "regulator2")]
        with contextlib.suppress(Problem):
            async with door.acting(first) as c, c.transaction():
                await profiles.add(c, first, profiles.NewVersion(name=OWN_RULES, text=text))
                wanted = profiles.Proposal(number=number, reason="示例：该号码自限时段")
                waits = await profiles.propose(c, first, OWN_RULES, wanted, current)
            async with door.acting(second) as c, c.transaction():
                await profiles.confirm(c, second, OWN_RULES, waits.id)
    finally:
        await door.close()


async def _user(c: Any, key: RegistryKey, login: str, post: Post, carrier: str) -> int:
    known = await c.fetchval("SELECT id FROM users WHERE login = $1", login)
    if known is not None:
        return int(known)
    new = NewUser(
        login,
        post.role,
        person=f"示例人员 {login}",
        identity=f"DEMO-{login.upper()}",
        carrier=carrier if post.role == "carrier" else "",
        institution=post.institution,
    )
    return (await add_user(c, None, key, new)).id
