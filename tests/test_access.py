"""Tokens, sessions, passwords and codes, on a real registry."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pyotp
import pytest
from offices import KEY, actor, staffed

from gateway.errors import Problem, Words
from gateway.registry import access, people
from gateway.registry.access import Access, Cost
from gateway.registry.acting import Actor, Door

CHEAP = Cost(memory=64, passes=1, lanes=1)
PASSWORD = "correct horse battery"
NOW = time.time() // 30 * 30


class Office:
    """An `Access` whose time stands until it is moved."""

    def __init__(self, dsn: str, door: Door, c: Any) -> None:
        self.dsn, self.door, self.c = dsn, door, c
        self.now = NOW
        self.access = Access(door, KEY, cost=CHEAP, clock=lambda: self.now)

    async def enrolled(self, login: str) -> pyotp.TOTP:
        """Give a user the password and a code generator."""
        user = await people.user_id(self.c, login)
        await self.access.set_password(self.c, None, user, PASSWORD)
        return pyotp.TOTP(await self.access.enrol_totp(self.c, None, user))

    async def token(self, login: str, *scopes: str) -> tuple[int, str]:
        user = await people.user_id(self.c, login)
        token, secret = await people.create_token(self.c, None, user, "", list(scopes), 30)
        return token.id, secret

    async def refused(self, login: str, password: str = PASSWORD, code: str = "000000") -> str:
        with pytest.raises(Problem) as caught:
            await self.access.sign_in(login, password, code, "192.0.2.1")
        return caught.value.code

    def forget(self) -> None:
        """As if the cache's second had passed."""
        self.age(10)

    def age(self, seconds: float) -> None:
        """As if all had been looked up so long ago."""
        seen = time.monotonic() - seconds
        self.access._known = type(self.access._known)(
            (digest, known._replace(seen=seen)) for digest, known in self.access._known.items()
        )


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    await staffed(database)
    c = await asyncpg.connect(database, server_settings={"zhengming.door": "cli"})
    door = await Door.open(database)
    office = Office(database, door, c)
    yield office
    office.access.close()
    await door.close()
    await c.close()


async def test_a_session_takes_password_and_code(office: Office) -> None:
    totp = await office.enrolled("reg")
    assert await office.refused("reg", "wrong", totp.at(NOW)) == "sign_in_failed"
    assert await office.refused("reg", PASSWORD, totp.at(NOW + 90)) == "sign_in_failed"
    assert await office.c.fetchval("SELECT max(signed_in_at) FROM credentials") is None
    cookie, who = await office.access.sign_in("reg", PASSWORD, totp.at(NOW), "192.0.2.1")
    assert (who.login, who.role, who.door) == ("reg", "regulator", "console")
    assert await office.access.by_session(cookie) == who
    assert await office.c.fetchval("SELECT signed_in_at IS NOT NULL FROM credentials")
    assert await office.c.fetchval("SELECT hash FROM sessions") != cookie.encode()
    await office.access.sign_out(cookie)
    await office.access.sign_out(cookie)
    assert await office.access.by_session(cookie) is None
    acts = await office.c.fetch("SELECT act FROM audit WHERE user_id = $1 ORDER BY id", who.user)
    assert [row["act"] for row in acts] == ["session.begin", "session.end"]


async def test_a_code_works_once_and_a_step_around_now(office: Office) -> None:
    totp = await office.enrolled("reg")
    await office.access.sign_in("reg", PASSWORD, totp.at(NOW - 30), "")
    await office.access.sign_in("reg", PASSWORD, totp.at(NOW), "")
    for used in (NOW, NOW - 30):
        assert await office.refused("reg", PASSWORD, totp.at(used)) == "sign_in_failed"
    both = await asyncio.gather(
        *(office.access.sign_in("reg", PASSWORD, totp.at(NOW + 30), "") for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, Problem) for one in both) == [False, True]


async def test_five_failures_in_a_row_lock(office: Office) -> None:
    totp = await office.enrolled("bank")
    for _ in range(4):
        assert await office.refused("bank", "wrong") == "sign_in_failed"
    await office.access.sign_in("bank", PASSWORD, totp.at(NOW), "")  # a success begins the count anew
    for _ in range(5):
        assert await office.refused("bank", "wrong") == "sign_in_failed"
    assert await office.refused("bank", PASSWORD, totp.at(NOW + 30)) == "locked"
    alarm = await office.c.fetchrow("SELECT * FROM alarms")
    assert alarm is not None
    assert (alarm["kind"], alarm["user_id"]) == ("lock_out", await people.user_id(office.c, "bank"))
    for left in (290, 899):  # who waits is told how long
        await office.c.execute(
            "UPDATE credentials SET locked_until = now() + make_interval(secs => $1)", float(left)
        )
        with pytest.raises(Problem) as locked:
            await office.access.sign_in("bank", PASSWORD, totp.at(NOW + 30), "")
        assert left - 60 < locked.value.facts["retry_after"] <= left
    await office.c.execute("UPDATE credentials SET locked_until = now()")
    cookie, _ = await office.access.sign_in("bank", PASSWORD, totp.at(NOW + 30), "")
    # who is disabled is signed out everywhere, also if he is let in again before anybody has asked
    for status in ("disabled", "active"):
        await office.c.execute("UPDATE users SET status = $1 WHERE login = 'bank'", status)
    assert await office.access.by_session(cookie) is None


async def test_tries_at_once_are_no_way_round_the_lock(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.enrolled("bank")
    under_way: list[str] = []
    together: list[int] = []

    def watched(password: str, held: str) -> bool:
        under_way.append(held)
        time.sleep(0.001)  # a second thread would begin here
        together.append(len(under_way))
        under_way.pop()
        return False

    monkeypatch.setattr(access, "_is_password", watched)
    codes = await asyncio.gather(*(office.refused("bank", "wrong") for _ in range(20)))
    assert codes.count("sign_in_failed") == 5
    assert codes.count("locked") == 15
    assert together == [1] * 5  # two hashes of several lanes at once would wait for each other for ever


async def test_an_unknown_login_is_like_a_known_one(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    await office.enrolled("bank")
    hashed: list[str] = []
    checked = access._is_password

    def watched(password: str, held: str) -> bool:
        hashed.append(held)
        return checked(password, held)

    monkeypatch.setattr(access, "_is_password", watched)
    for login in ("bank", "nobody", "aud"):  # with a password, no user, a user without a password
        codes = [await office.refused(login, "wrong") for _ in range(6)]
        assert codes == ["sign_in_failed"] * 5 + ["locked"], login
        assert len(hashed) == 5, login
        assert all(held.startswith("$argon2id$v=19$m=64,t=1,p=1$") for held in hashed)
        hashed.clear()


async def test_passwords_are_argon2id_as_rfc_9106_has_it(office: Office) -> None:
    real = Access(office.door, KEY)
    user = await people.user_id(office.c, "aud")
    await real.set_password(office.c, None, user, PASSWORD)
    kept = await office.c.fetchval("SELECT password_hash FROM credentials")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    real.close()
    with pytest.raises(Problem) as caught:
        await real.set_password(office.c, None, user, "short")
    assert (caught.value.code, caught.value.field) == ("invalid", "password")


async def test_a_new_password_ends_all_sessions(office: Office) -> None:
    totp = await office.enrolled("reg")
    cookie, who = await office.access.sign_in("reg", PASSWORD, totp.at(NOW), "")
    async with office.door.acting(await actor(office.c, "adm")) as c, c.transaction():
        await office.access.set_password(c, await actor(office.c, "adm"), who.user, PASSWORD + "!")
    office.forget()
    assert await office.access.by_session(cookie) is None


async def test_whose_token_it_is(office: Office) -> None:
    token, secret = await office.token("bank", "read", "attempts")
    who = await office.access.by_token(secret)
    assert who is not None
    assert (who.login, who.role, who.institution_code, who.scopes, who.door) == (
        "bank", "institution", "A", frozenset({"read", "attempts"}), "api",
    )  # fmt: skip
    assert await office.access.by_token(secret + "x") is None
    assert await office.access.by_token("") is None
    assert await people.revoke_token(office.c, None, token) == who.user
    assert await office.access.by_token(secret) == who  # for a second at most, elsewhere
    office.access.forget(who.user)
    assert await office.access.by_token(secret) is None


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE tokens SET expires_at = now()",
        "UPDATE tokens SET revoked_at = now()",
        "UPDATE users SET status = 'disabled' WHERE login = 'bank'",
    ],
)
async def test_a_token_that_has_ended_is_nobodys(office: Office, end: str) -> None:
    _, secret = await office.token("bank", "read")
    assert await office.access.by_token(secret)
    await office.c.execute(end)
    office.forget()
    assert await office.access.by_token(secret) is None


async def test_a_cached_token_does_not_outlive_its_expiry(office: Office) -> None:
    _, secret = await office.token("bank", "read")
    assert await office.access.by_token(secret)
    await office.c.execute("UPDATE tokens SET expires_at = now()")
    office.now = time.time() + 31 * 86400
    assert await office.access.by_token(secret) is None


async def test_many_at_once_are_one_look_up_and_who_goes_on_asking_waits_for_none(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = await office.token("bank", "read")
    looked = 0
    look_up = office.door.looking_up

    def counted() -> Any:
        nonlocal looked
        looked += 1
        return look_up()

    monkeypatch.setattr(office.door, "looking_up", counted)
    found = await asyncio.gather(*(office.access.by_token(secret) for _ in range(20)))
    assert looked == 1
    assert {one.login for one in found if one} == {"bank"}

    office.age(0.7)  # still good, and soon not
    async with asyncio.timeout(0):  # told without waiting for anything
        assert await office.access.by_token(secret) == found[0]
        assert await office.access.by_token(secret) == found[0]
    async with asyncio.timeout(10):
        await asyncio.gather(*office.access._looking.values())
    assert looked == 2
    office.forget()
    assert await office.access.by_token(secret) == found[0]
    assert looked == 3


async def test_what_is_signed_out_is_not_remembered_by_a_look_up_under_way(office: Office) -> None:
    totp = await office.enrolled("bank")
    cookie, _ = await office.access.sign_in("bank", PASSWORD, totp.at(NOW), "192.0.2.1")
    assert await office.access.by_session(cookie)
    office.age(0.7)
    await asyncio.gather(
        office.access.by_session(cookie), office.access.sign_out(cookie), office.access.by_session(cookie)
    )
    assert await office.access.by_session(cookie) is None


async def test_known_tokens_bring_attempts_while_the_database_is_away(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sending = await office.token("bank", "read", "attempts")
    _, reading = await office.token("bank", "read")
    office.now = time.time()
    for secret in (sending, reading):
        assert await office.access.by_token(secret)
    await office.door.close()
    office.access._door = await Door.open("postgresql://nobody@127.0.0.1:1/none")
    office.forget()
    who = await office.access.by_token(sending)
    assert isinstance(who, Actor)
    assert who.scopes == {"attempts"}
    for secret in (reading, "zm_never_seen"):
        with pytest.raises(Problem) as caught:
            await office.access.by_token(secret)
        assert caught.value.code == "database_unavailable"
    answers = asyncio.Event()

    @contextlib.asynccontextmanager
    async def silent() -> AsyncIterator[None]:
        await answers.wait()
        raise Problem("database_unavailable", Words("", ""))
        yield

    monkeypatch.setattr(office.access, "_door", SimpleNamespace(looking_up=silent))
    async with asyncio.timeout(2):  # one that is silent holds no attempt for as long as others wait
        assert await office.access.by_token(sending) == who
    office.now += 31 * 86400
    answers.set()
    with pytest.raises(Problem):
        await office.access.by_token(sending)
