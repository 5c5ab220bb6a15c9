"""Persons, users and tokens: who has one identity number is one person, and secrets are kept by hash."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from offices import KEY, actor, staffed

from gateway.errors import Problem
from gateway.registry import people
from gateway.registry.people import NewUser

Connection = asyncpg.Connection


@pytest.fixture
async def c(database: str) -> AsyncIterator[Connection]:
    await staffed(database)
    connection = await asyncpg.connect(database, server_settings={"zhengming.door": "cli"})
    yield connection
    await connection.close()


async def problem(awaited: object) -> Problem:
    with pytest.raises(Problem) as caught:
        await awaited  # type: ignore[misc]
    return caught.value


async def test_one_identity_number_is_one_person(c: Connection) -> None:
    users = {user.login: user for user in await people.users(c)}
    assert users["car"].person_id == users["caragain"].person_id != users["car2"].person_id
    again = await people.add_person(c, KEY, " C1 ", "id - c1".replace(" - ", "-"))
    assert again == users["car"].person_id
    refused = await problem(people.add_person(c, KEY, "C9", "ID-C1"))
    assert (refused.code, refused.field, refused.value) == ("exists", "person", "C9")
    stored = await c.fetchrow("SELECT identity_hash, identity_sealed FROM persons WHERE name = 'C1'")
    assert stored is not None
    assert KEY.open(stored["identity_sealed"]) == "ID-C1"
    assert b"ID-C1" not in stored["identity_hash"] + stored["identity_sealed"]


async def test_persons_of_an_import_are_found_by_name(c: Connection) -> None:
    known = await people.person_by_name(c, "C1")
    assert known == await c.fetchval("SELECT person_id FROM users WHERE login = 'car'")
    assert [await people.person_by_name(c, login) for login in ("car", "caragain")] == [known, known]
    new = await people.person_by_name(c, "张三")
    assert new == await people.person_by_name(c, "张三")
    assert await c.fetchval("SELECT identity_hash IS NULL FROM persons WHERE id = $1", new)
    await people.add_person(c, KEY, "C1", "ID-ANOTHER")
    refused = await problem(people.person_by_name(c, "C1"))
    assert (refused.code, refused.field, refused.value) == ("invalid", "person", "C1")


RESIDENT = "11010519491231002X"  # the example of GB 11643


async def test_an_identity_number_has_one_way_of_writing(c: Connection) -> None:
    person = await people.add_person(c, KEY, "R9", RESIDENT)
    fullwidth = "".join(chr(ord(sign) + 0xFEE0) for sign in RESIDENT)
    for written in (RESIDENT.lower(), f" {RESIDENT[:6]} {RESIDENT[6:]} ", fullwidth, fullwidth.lower()):
        assert await people.add_person(c, KEY, "R9", written) == person, written
    for wrong in (
        "", " ", "123", "110105194912310021", RESIDENT[:-1], RESIDENT + "1", "9" * 18, "X", "护照1",
        "A\u200b1", "A_1", "１", "٣" * 18,
    ):  # fmt: skip
        refused = await problem(people.add_person(c, KEY, "R9", wrong))
        assert (refused.code, refused.field) == ("invalid", "identity"), wrong
        assert refused.value is None  # it is nobody's to read
    await people.add_person(c, KEY, "R10", "E12345678")  # a passport


@pytest.mark.parametrize(
    ("new", "code", "field"),
    [
        (NewUser("car", "carrier", "X", carrier="mobile"), "exists", "login"),
        (NewUser("Large", "auditor", "X"), "invalid", "login"),
        (NewUser("x", "king", "X"), "invalid", "role"),
        (NewUser("x", "institution", "X", institution="G"), "invalid", "institution"),
        (NewUser("x", "institution", "X", institution="P"), "invalid", "institution"),
        (NewUser("x", "agency", "X", institution="A"), "invalid", "institution"),
        (NewUser("x", "provider", "X", institution="G"), "invalid", "institution"),
        (NewUser("x", "carrier", "X"), "invalid", "carrier"),
        (NewUser("x", "carrier", "X", carrier="cable"), "invalid", "carrier"),
        (NewUser("x", "auditor", "X", carrier="mobile"), "invalid", "carrier"),
        (NewUser("x", "institution", "X"), "invalid", "institution"),
        (NewUser("x", "institution", "X", institution="NONE"), "invalid", "institution"),
        (NewUser("x", "regulator", "X", institution="A"), "invalid", "institution"),
        (NewUser("x", "regulator", ""), "invalid", "person"),
        (NewUser("x", "regulator", "X", territory="330100"), "invalid", "territory"),
        (NewUser("x", "regulator", "X", territory="宁波市"), "invalid", "territory"),
        (NewUser("x", "regulator", "X", "ID-C1"), "exists", "person"),
    ],
)
async def test_a_user_that_cannot_be_is_refused_by_field(
    c: Connection, new: NewUser, code: str, field: str
) -> None:
    refused = await problem(people.add_user(c, None, KEY, new))
    assert (refused.code, refused.field) == (code, field)
    assert refused.detail.zh
    assert refused.detail.en


async def test_a_user_is_changed_once_at_a_time(c: Connection) -> None:
    admin = await actor(c, "adm")
    [before] = [user for user in await people.users(c) if user.login == "aud"]
    after = await people.change_user(c, admin, before.id, status="disabled", version=before.row_version)
    assert (after.status, after.territory) == ("disabled", "")
    stale = await problem(people.change_user(c, admin, before.id, territory="x", version=before.row_version))
    assert stale.code == "changed_meanwhile"
    himself = await problem(people.change_user(c, admin, admin.user, status="disabled"))
    assert (himself.code, himself.field) == ("invalid", "status")
    nowhere = await problem(people.change_user(c, admin, after.id, territory="Hangzhou"))
    assert (nowhere.code, nowhere.field) == ("invalid", "territory")
    assert (await problem(people.change_user(c, admin, 999, status="active"))).code == "not_found"
    acts = await c.fetch(
        "SELECT act, user_id, person_id FROM audit WHERE subject = $1 ORDER BY id", f"users/{after.id}"
    )
    assert [tuple(act) for act in acts] == [
        ("user.add", None, None),
        ("user.change", admin.user, admin.person),
    ]


async def test_a_token_s_secret_is_told_once(c: Connection) -> None:
    admin = await actor(c, "adm")
    user = await people.user_id(c, "bank")
    token, secret = await people.create_token(c, admin, user, "til", ["read", "attempts", "read"], 30)
    assert (token.user, token.scopes, token.revoked_at) == ("bank", ["attempts", "read"], None)
    assert (token.expires_at - token.created_at).days == 30
    assert secret.startswith("zm_")
    assert len(secret) == 46
    everything = await c.fetchval("SELECT jsonb_agg(t)::text FROM (SELECT * FROM tokens) t")
    everything += await c.fetchval("SELECT jsonb_agg(a)::text FROM audit a")
    assert secret not in everything
    await people.revoke_token(c, admin, token.id)
    await people.revoke_token(c, admin, token.id)
    assert [t.revoked_at is None for t in await people.tokens(c)] == [False]
    assert await c.fetchval("SELECT count(*) FROM audit WHERE act = 'token.revoke'") == 1
    for scopes, days, field in ((["fly"], 30, "scopes"), ([], 30, "scopes"), (["read"], 401, "days")):
        refused = await problem(people.create_token(c, admin, user, "", scopes, days))
        assert (refused.code, refused.field) == ("invalid", field)
    assert (await problem(people.revoke_token(c, admin, 999))).code == "not_found"


async def test_the_oldest_user_of_a_role_stands_for_it(c: Connection) -> None:
    oldest = await people.user_id(c, "car")
    assert await people.user_for(c, KEY, "carrier") == oldest
    assert await people.user_for(c, KEY, "carrier", carrier="unicom") == await people.user_id(c, "other")
    made = await people.user_for(c, KEY, "carrier", carrier="telecom")
    user = await people.user_by(c, made)
    assert (user.login, user.carrier, user.proven) == ("carrier-telecom", "telecom", False)
    assert await people.user_for(c, KEY, "carrier", carrier="telecom") == made
