"""The front of the API, seen from outside: signing in, problems, paging, repetitions, versions, limits."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import quote

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import Office
from playbook import eventually
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel

from gateway.errors import Problem
from gateway.registry import acting
from gateway.web import dispatch
from gateway.web.api import Paging, cursor
from gateway.web.limits import Limits
from gateway.web.problems import english_only, in_chinese, shown
from gateway.web.resources import ENDPOINTS

DRAFT = {"number": "10690001", "channels": ["sms"], "purposes": ["service"], "carrier": "mobile"}


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


def test_no_field_of_a_body_is_passed_over():
    """Who misspells is_prefix or valid_until bans less, or for longer, than he meant."""
    for endpoint in ENDPOINTS:
        for model in models_of(endpoint.body):
            assert model.model_config.get("extra") == "forbid", (endpoint.label, model)


def models_of(kind):
    own = isinstance(kind, type) and issubclass(kind, BaseModel)
    inner = [field.annotation for field in kind.model_fields.values()] if own else get_args(kind)
    return [kind] * own + [model for one in inner for model in models_of(one)]


# Who asks


async def test_a_token_says_who_asks(office):
    said = await office.get("institution", "/session")
    assert (said.status, said.body["role"], said.body["institution"]) == (200, "institution", "BANK")


@pytest.mark.parametrize("header", ["Bearer zm_unknown", "Bearer", "Basic dTpw", "zm_unknown", "Bearer ÿ"])
async def test_what_is_no_token_is_nobody(office, header):
    said = await office.get("", "/session", headers={"Authorization": header})
    assert (said.status, said.body["code"]) == (401, "unauthenticated")
    assert said.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_covers_its_scopes_only(office):
    office.tokens["reader"] = office.token("institution", ("read",))
    assert (await office.get("reader", "/numbers")).status == 200
    said = await office.post("reader", "/numbers", DRAFT)
    assert (said.status, said.body["code"], said.body["expected"]) == (403, "scope_missing", "write")


async def test_an_expired_token_is_nobody(office):
    office.tokens["late"] = office.token("institution", days=-1)
    assert (await office.get("late", "/session")).status == 401


async def made_user(office: Office, **more: Any) -> tuple[str, str]:
    """A regulator who can sign in: password and TOTP secret."""
    password = "correct horse battery"
    body = {
        "login": "wang.wu",
        "role": "regulator",
        "person": "王五",
        "identity": "X-1",
        "password": password,
    }
    said = await office.post("admin", "/users", body | more)
    assert said.status == 201, said.body
    return password, said.body["totp_secret"]


async def test_the_console_signs_in_changes_with_its_own_origin_and_signs_out(office):
    password, secret = await made_user(office)
    asked = {"user": "wang.wu", "password": password, "totp": pyotp.TOTP(secret).now()}
    said = await office.post("", "/session", asked)
    assert (said.status, said.body["role"]) == (201, "regulator")
    cookie = said.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    sent = {"Cookie": cookie.partition(";")[0]}
    assert (await office.get("", "/session", headers=sent)).body["login"] == "wang.wu"
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        foreign = await office.ask("", "DELETE", "/session", headers=sent | origin)
        assert (foreign.status, foreign.body["field"]) == (403, "Origin")
    own = sent | {"Origin": f"http://{office.host}"}
    assert (await office.ask("", "DELETE", "/session", headers=own)).status == 204
    assert (await office.get("", "/session", headers=sent)).status == 401


async def test_who_has_lost_his_credentials_or_is_locked_out_gets_others(office):
    new = {"login": "wang.wu", "role": "auditor", "person": "王五", "password": "correct horse battery"}
    made = (await office.post("admin", "/users", new)).body
    place = f"/users/{made['id']}/credentials"
    for _ in range(5):
        asked = {"user": "wang.wu", "password": "forgotten", "totp": "000000"}
        assert (await office.post("", "/session", asked)).body["code"] == "sign_in_failed"
    right = {"password": "correct horse battery", "totp": pyotp.TOTP(made["totp_secret"]).now()}
    assert (await office.post("", "/session", asked | right)).body["code"] == "locked"
    for who in ("auditor", "regulator", "carrier"):
        assert (await office.post(who, place, {"totp": True})).status == 403
    for body, field in (({}, ""), ({"password": "short"}, "password")):
        said = await office.post("admin", place, body)
        assert (said.status, said.body["code"], said.body["field"]) == (422, "invalid", field)
    renewed = await office.post("admin", place, {"password": "another horse battery", "totp": True})
    assert (renewed.status, renewed.body["user"]) == (200, "wang.wu")
    assert renewed.body["totp_secret"] != made["totp_secret"]
    assert (await office.post("", "/session", asked | right)).body["code"] == "sign_in_failed"
    right = {
        "password": "another horse battery",
        "totp": pyotp.TOTP(renewed.body["totp_secret"]).now(),
    }
    said = await office.post("", "/session", asked | right)
    assert said.status == 201, said.body
    kept = await office.post("admin", place, {"password": "a third horse battery"})
    assert kept.body["totp_secret"] is None
    cookie = {"Cookie": said.headers["Set-Cookie"].split(";")[0]}
    assert (await office.get("", "/session", headers=cookie)).status == 401  # his sessions end
    assert office.sql(
        "SELECT act FROM audit WHERE subject = %s AND act LIKE 'user.%%' ORDER BY id", f"users/{made['id']}"
    )[3:] == [("user.password",), ("user.totp",), ("user.password",)]


async def test_a_wrong_sign_in_tells_nothing_about_the_login(office):
    await made_user(office)
    answers = [
        await office.post("", "/session", {"user": user, "password": "wrong", "totp": "000000"})
        for user in ("wang.wu", "nobody.at.all")
    ]
    assert [one.status for one in answers] == [401, 401]
    assert answers[0].body == answers[1].body


def counted(counter: Any) -> dict[str, float]:
    """What a counter of one label stands at, by that label, where it is not at zero."""
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return {
        next(iter(sample.labels.values())): sample.value
        for sample in samples
        if sample.name.endswith("_total") and sample.value
    }


async def test_tries_to_sign_in_are_counted_and_the_fifth_failure_is_an_alarm(office):
    password, secret = await made_user(office)
    asked = {"user": "wang.wu", "password": password, "totp": "000000"}
    assert (await office.post("", "/session", asked | {"totp": pyotp.TOTP(secret).now()})).status == 201
    for _ in range(6):
        await office.post("", "/session", asked)
    telemetry = office.site.telemetry
    assert counted(telemetry.sign_ins) == {"signed_in": 1, "sign_in_failed": 5, "locked": 1}
    assert counted(telemetry.alarms) == {"lock_out": 1}
    assert office.sql("SELECT kind FROM alarms") == [("lock_out",)]
    assert [one["kind"] for one in (await office.get("auditor", "/alarms")).body["items"]] == ["lock_out"]


async def test_an_import_that_broke_the_glass_is_counted_once(office):
    def bring(case: str) -> None:
        office.sql(
            """INSERT INTO import_runs (kind, checker_id, approver_id, case_reference)
               SELECT 'numbers', min(id), max(id), %s FROM persons""",
            case,
        )

    bring("C-1")  # before this process began to look
    await office.site.keep_up()
    bring("C-2")
    bring("")
    for _ in range(2):
        await office.site.keep_up()
    assert counted(office.site.telemetry.alarms) == {"break_glass": 1}


# Administration


async def test_users_and_tokens_are_made_changed_and_ended_and_all_of_it_is_on_record(office):
    said = await office.post("admin", "/users", {"login": "a", "role": "auditor", "person": "甲"})
    assert (said.status, said.body["proven"], said.body["totp_secret"]) == (201, False, None)
    where = said.headers["Location"].removeprefix("/api/v1")
    read = await office.get("regulator", where)
    tag = {"If-Match": read.headers["ETag"]}
    token = await office.post("admin", "/tokens", {"user": "a", "scopes": ["read"], "days": 1})
    office.tokens["a"] = token.body["secret"]
    assert (await office.get("a", "/session")).body["scopes"] == ["read"]
    gone = await office.ask("admin", "DELETE", f"/tokens/{token.body['id']}")
    assert gone.status == 204
    assert (await office.get("a", "/session")).status == 401  # at once, though it was known a moment ago
    again = await office.post("admin", "/tokens", {"user": "a", "scopes": ["read"], "days": 1})
    office.tokens["a"] = again.body["secret"]
    assert (await office.get("a", "/session")).status == 200
    changed = await office.ask("admin", "PATCH", where, {"status": "disabled"}, headers=tag)
    assert (changed.status, changed.body["status"]) == (200, "disabled")
    assert (await office.get("a", "/session")).status == 401
    stale = await office.ask("admin", "PATCH", where, {"status": "active"}, headers=tag)
    assert (stale.status, stale.body["code"]) == (412, "changed_meanwhile")
    acts = (await office.get("auditor", "/audit", params={"user": "admin"})).body["items"]
    tokens = ("token.create", "token.revoke", "token.create")
    assert [act["act"] for act in acts] == ["user.add", *tokens, "user.change"]
    assert [act["seq"] for act in acts] == sorted(act["seq"] for act in acts)
    assert all(len(act["hash"]) == 64 and act["door"] == "api" for act in acts)
    listed = (await office.get("admin", "/tokens", params={"limit": 1000})).body["items"]
    assert token.body["secret"] not in json.dumps(listed)
    assert next(one for one in listed if one["id"] == token.body["id"])["revoked_at"]


# Problems


async def test_every_bad_field_is_named_in_both_languages(office):
    body = {"login": "No Spaces", "role": "king", "person": "", "days": 3}
    english = await office.post("admin", "/users", body, headers={"Accept-Language": "en-GB"})
    chinese = await office.post("admin", "/users", body, headers={"Accept-Language": "zh-CN,en;q=0.5"})
    assert english.status == chinese.status == 422
    assert english.headers["Content-Type"].startswith("application/problem+json")
    fields = {"login", "role", "person", "days"}
    assert {one["field"] for one in english.body["errors"]} == fields
    assert {one["field"] for one in chinese.body["errors"]} == fields
    king = {one["field"]: one for one in english.body["errors"]}["role"]
    assert king["value"] == "king"
    assert "'regulator'" in king["expected"]
    words = {one["field"]: one for one in chinese.body["errors"]}
    assert words["days"]["detail"] == "没有这一项"
    assert words["days"]["expected"].startswith("以下各项：login, role, person")
    bare = (await office.post("admin", "/users", {"login": "x"})).body["errors"]
    assert {one["expected"] for one in bare} == {"a value, as it is required"}
    said = await office.get("admin", "/users?page=2")
    assert said.body["expected"] == "one of limit, after"
    large = {"step": "check", "ids": [1, 2**70]}
    said = await office.post("carrier", "/numbers/steps", large)
    assert (said.body["field"], said.body["detail"]) == ("ids.1", "too large")
    blank = {"institution": "BANK", "kind": "suspension", "cause": "  "}
    said = await office.post("regulator", "/penalties", blank)
    assert (said.body["field"], said.body["expected"]) == ("cause", "a text that says something")
    assert words["person"]["expected"] == "至少 1 个字符"
    nowhere = {"login": "x", "role": "carrier", "person": "X"}
    said = await office.post("admin", "/users", nowhere)
    assert (said.body["field"], said.body["expected"]) == ("carrier", "a code that is registered")


def bodies_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The models of a body: itself, those of a choice or list, those of its fields."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from bodies_in(field.annotation)
    for part in get_args(kind):
        yield from bodies_in(part)


def test_no_body_swallows_a_field_that_there_is_none_of():
    """A date under another name would be a date that nobody sees."""
    swallow = {
        (endpoint.label, model.__name__)
        for endpoint in ENDPOINTS
        for model in bodies_in(endpoint.body)
        if model.model_config.get("extra") != "forbid"
    }
    assert swallow == set()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 422, "invalid"),
        ({"data": b"\xff", "headers": {"Content-Type": "application/json"}}, 422, "invalid"),
        ({"data": b'{"login": "\\u0000"}', "headers": {"Content-Type": "application/json"}}, 422, "invalid"),
        ({"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 422, "invalid"),
        ({}, 422, "invalid"),
        ({"data": b"login=a"}, 415, "media_type"),
        (
            {"data": BytesIO(b" " * ((1 << 20) + 1)), "headers": {"Content-Type": "application/json"}},
            413,
            "too_large",
        ),
    ],
)
async def test_a_body_that_is_none_is_told_so(office, sent, status, code):
    said = await office.post("admin", "/users", **sent)
    assert (said.status, said.body["code"]) == (status, code)


async def test_a_text_with_nul_is_refused_by_place(office):
    said = await office.post("admin", "/users", {"login": "b", "role": "admin", "person": "x\0y"})
    assert (said.status, said.body["field"]) == (422, "person")


async def test_secrets_and_subscribers_are_not_said_back():
    assert shown("password", "hunter22") is None
    assert shown("identity", 330102) is None
    assert shown("items.0.subscriber", "13800001234") == "138****1234"
    assert "13800001" not in str(shown("subscribers.3", "1380000 1234 x"))
    assert shown("number", "10690001") == "10690001"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/users/x", 404, "not_found"),
        ("GET", "/users/9999999999999999999", 404, "not_found"),
        ("GET", "/users/9223372036854775807", 404, "not_found"),
        ("PUT", "/users", 405, "method_not_allowed"),
        ("GET", "/users?limit=0", 422, "invalid"),
        ("GET", "/users?limits=5", 422, "invalid"),
        ("GET", "/users?after=x", 400, "not_acceptable_page"),
        ("GET", "/users?after=%00", 422, "invalid"),
    ],
)
async def test_a_path_or_query_that_is_none_is_told_so(office, method, path, status, code):
    said = await office.ask("admin", method, path)
    assert (said.status, said.body["code"]) == (status, code)
    if status == 405:
        assert said.headers["Allow"] == "GET, POST"


async def test_head_is_not_answered(office):
    assert (await office.ask("admin", "HEAD", "/users")).status == 405


@pytest.mark.parametrize(
    ("header", "chinese", "on_pages"),
    [("", True, True), ("zh", True, True), ("en", False, False), ("en-US,zh;q=0.9", False, True),
     ("en;q=0.1, zh-TW;q=0.2", True, True), ("fr", True, True), ("en;q=0", True, True), ("*", True, True),
     ("en;q=x", True, True), ("zh;q=0, en", False, False), ("en-GB,en;q=0.9,fr;q=0.8", False, False)],
)  # fmt: skip
def test_the_language_is_the_one_preferred(header, chinese, on_pages):
    """Pages are Chinese first: English for who asks for nothing else, or has chosen it."""
    assert in_chinese(header) is chinese
    assert english_only(header) is not on_pages


# Paging


async def test_pages_give_each_row_once_while_rows_come_in(office):
    office.sql(
        """INSERT INTO users (login, person_id, role)
           SELECT 'user' || i, (SELECT min(id) FROM persons), 'auditor' FROM generate_series(1, 1000) i"""
    )
    seen: list[int] = []
    after = ""
    while True:
        said = await office.get("auditor", "/users", params={"limit": 90, "after": after})
        seen += [user["id"] for user in said.body["items"]]
        office.sql(
            "INSERT INTO users (login, person_id, role) SELECT 'late' || %s, min(id), 'auditor' FROM persons",
            len(seen),
        )
        after = said.body["next"]
        if after is None or len(seen) > 2000:
            break
    assert seen == sorted(set(seen))
    wanted = [row[0] for row in office.sql("SELECT id FROM users WHERE login NOT LIKE 'late%%' ORDER BY id")]
    assert set(wanted) <= set(seen)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3))
def test_a_cursor_reads_back(place):
    assert Paging(after=cursor(*place)).place(len(place)) == tuple(place)


@given(st.text(max_size=60))
def test_any_other_cursor_is_a_problem(text):
    if not text:
        assert Paging(after=text).place() == (0,)
        return
    with pytest.raises(Problem) as error:
        Paging(after=text).place(4)
    assert error.value.code == "not_acceptable_page"


# Repetitions


async def test_twenty_twins_make_one_row_and_hear_the_same(office):
    key = {"Idempotency-Key": "one"}
    answers = await asyncio.gather(
        *(office.post("institution", "/numbers", DRAFT, headers=key) for _ in range(20))
    )
    assert {one.status for one in answers} == {201}
    assert len({json.dumps(one.body) for one in answers}) == 1
    assert {one.headers["Location"] for one in answers} == {answers[0].headers["Location"]}
    assert office.sql("SELECT count(*) FROM numbers") == [(1,)]


async def test_a_key_is_one_request_s_and_one_user_s(office):
    key = {"Idempotency-Key": "one"}
    await office.post("institution", "/numbers", DRAFT, headers=key)
    other = await office.post("institution", "/numbers", DRAFT | {"number": "10690002"}, headers=key)
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    elsewhere = await office.post("institution2", "/numbers", DRAFT | {"number": "10690003"}, headers=key)
    assert elsewhere.status == 201


async def test_what_failed_is_not_kept(office):
    key = {"Idempotency-Key": "one"}
    wrong = await office.post("agency", "/numbers", DRAFT | {"institution": "NOBODY"}, headers=key)
    assert wrong.status == 422
    assert office.sql("SELECT count(*) FROM kept_answers") == [(0,)]
    for key in ("x" * 201, "", "a b", "é"):
        said = await office.post("institution", "/numbers", DRAFT, headers={"Idempotency-Key": key})
        assert (said.status, said.body["field"]) == (422, "Idempotency-Key"), key


# Limits and faults


class Way(NamedTuple):
    """A way to the database, by its DSN: it can be cut and restored, and holds all while not `open`."""

    dsn: str
    cut: Callable[[], Awaitable[None]]
    back: Callable[[], Awaitable[None]]
    open: asyncio.Event


@contextlib.asynccontextmanager
async def way(dsn: str, folder: Path) -> AsyncIterator[Way]:
    inside = conninfo_to_dict(dsn)
    path = f"{folder}/.s.PGSQL.5432"
    target = f"{inside['host']}/.s.PGSQL.{inside.get('port', 5432)}"
    flowing = asyncio.Event()
    flowing.set()
    servers: list[asyncio.Server] = []
    writers: set[asyncio.StreamWriter] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await flowing.wait()
                writer.write(data)
        writer.close()

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, out = await asyncio.open_unix_connection(target)
        await asyncio.gather(pipe(reader, out), pipe(far, writer))

    async def back() -> None:
        servers.append(await asyncio.start_unix_server(through, path))

    async def cut() -> None:
        servers.pop().close()
        Path(path).unlink(missing_ok=True)
        for writer in writers:
            writer.transport.abort()
        writers.clear()

    await back()
    yield Way(
        dsn.replace(quote(str(inside["host"]), safe=""), quote(str(folder), safe="")).replace(
            str(inside["host"]), str(folder)
        ),
        cut,
        back,
        flowing,
    )
    await cut()


async def test_requests_beyond_the_rate_are_told_when_to_come_again(database, tmp_path):
    async with Office(database, tmp_path, {"web": {"read_rate": 0.5}}) as office:
        assert (await office.get("auditor", "/users")).status == 200
        said = await office.get("auditor", "/users")
        assert (said.status, said.body["code"]) == (429, "rate_limited")
        assert 1 <= int(said.headers["Retry-After"]) <= 2
        assert (await office.get("admin", "/users")).status == 200, "another user's rate is his own"


@given(st.lists(st.floats(0, 3), max_size=60))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(gaps):
    limits, now, given_out = Limits({"read": (2.0, 1.0)}), 0.0, 0
    for gap in gaps:
        now += gap
        if limits.take("read", 1, now) == 0.0:
            given_out += 1
        assert given_out <= 4 + 2.0 * now + 1e-6


async def test_while_the_database_is_away_it_says_so_and_is_back_by_itself(database, tmp_path):
    async with (
        way(database, tmp_path) as (dsn, cut, back, _),
        Office(database, tmp_path, through=dsn) as office,
    ):
        assert (await office.get("auditor", "/users")).status == 200
        await cut()
        said = await office.get("auditor", "/users")
        assert (said.status, said.body["code"]) == (503, "database_unavailable")
        assert said.headers["Retry-After"]
        await back()
        assert (await office.get("auditor", "/users")).status == 200


async def test_a_database_that_stands_still_with_its_connections_open_holds_nobody(
    database, tmp_path, monkeypatch
):
    """As SIGSTOP leaves it: nothing is refused or cut, and nothing answers."""
    monkeypatch.setattr(acting, "LOOK_UP_SECONDS", 0.5)
    monkeypatch.setattr(dispatch, "READ_SECONDS", 1.0)
    async with way(database, tmp_path) as known, Office(database, tmp_path, through=known.dsn) as office:
        for who in ("auditor", "institution"):
            assert (await office.get(who, "/numbers")).status == 200
        known.open.clear()
        began = time.monotonic()
        many = [office.get("auditor", "/users") for _ in range(30)]
        many += [office.get("regulator", "/users") for _ in range(30)]  # not looked up before
        for said in await asyncio.gather(*many):
            assert (said.status, said.body["code"]) == (503, "database_unavailable")
            assert said.headers["Retry-After"]
        assert time.monotonic() - began < 5
        began = time.monotonic()
        assert (await office.get("carrier", "/numbers")).status == 503
        assert time.monotonic() - began < 0.4, "nobody waits for what is known to stand still"
        attempt = {"channel": "sms", "account": "none", "source": "10690001", "destination": "13800000000"}
        for who, code in (("institution", "busy"), ("institution2", "database_unavailable")):
            said = await office.post(who, "/attempts", attempt, headers={"Idempotency-Key": "k"})
            assert said.body["code"] == code, "known tokens reach the workers, of whom there are none"
        known.open.set()

        async def answers() -> bool:
            return (await office.get("regulator", "/users")).status == 200

        await eventually(answers)


async def test_upkeep_ends_what_has_lapsed(office):
    office.sql(
        """INSERT INTO kept_answers (user_id, key, request, at)
           VALUES (1, 'old', %s, now() - interval '25 hours'), (1, 'new', %s, now())""",
        b"x" * 32,
        b"x" * 32,
    )
    await office.site.keep_up()
    assert office.sql("SELECT key FROM kept_answers") == [("new",)]


async def test_a_node_says_where_it_is_and_of_another_by_its_name(office, caplog):
    office.log.propagate = True
    office.sql("INSERT INTO nodes (name, carrier, url) VALUES ('node-1', 'unicom', 'http://10.0.0.5:8080')")
    for _ in range(2):
        await office.site.be_found()
    rows = office.sql("SELECT name, carrier, url, seen_at > now() - interval '1 minute' FROM nodes")
    assert rows == [("node-1", "mobile", "http://127.0.0.1:8080", True)]
    assert [line.message for line in caplog.records] == [
        "another node has this one's name, or had a minute ago"
    ]
