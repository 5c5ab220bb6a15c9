"""Administration: signing in, users, tokens, and the audit of what everybody did."""

import asyncio
import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from gateway.errors import Words
from gateway.registry import auditing, people
from gateway.registry.acting import ROLES, SCOPES
from gateway.registry.fields import Moment
from gateway.web.api import EVERYBODY, PREFIX, Answer, Call, Endpoint, Page, Paging, page_of
from gateway.web.cookies import COOKIE, cookie_of

ADMIN = frozenset({"admin"})
READERS = frozenset({"admin", "regulator", "auditor"})
Role = Literal["regulator", "carrier", "institution", "agency", "provider", "auditor", "admin"]
Scope = Literal["read", "write", "attempts", "judge", "reveal", "admin"]
Login = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]{0,59}$")]
Line = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
assert set(Role.__args__) == set(ROLES)  # type: ignore[attr-defined]
assert set(Scope.__args__) == set(SCOPES)  # type: ignore[attr-defined]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Me(BaseModel):
    """Who is asking, as the gateway knows it."""

    login: str
    role: str
    carrier: str = ""
    institution: str = Field("", description="code")
    territory: str = ""
    scopes: list[str]


class SignIn(Body):
    user: Annotated[str, StringConstraints(max_length=60)]
    password: Annotated[str, StringConstraints(max_length=200)]
    totp: Annotated[str, StringConstraints(max_length=12)] = Field(
        "", description="the code of this half minute"
    )


class SignedIn(Me):
    expires_at: Moment


class NewUser(Body):
    """A user, bound to a person; only whoever is bound by identity number can check and approve."""

    login: Login
    role: Role
    person: Annotated[Line, StringConstraints(min_length=1)] = Field(description="name")
    identity: Annotated[str, StringConstraints(max_length=40)] = Field("", description="identity number")
    carrier: Line = Field("", description="for the role carrier")
    institution: Line = Field("", description="code; for institutions, agencies and providers")
    territory: Line = Field("", description="beginning of the regions that a regulator sees; empty: all")
    password: Annotated[str, StringConstraints(max_length=200)] = Field(
        "", description="12 characters or more; empty: no sign-in on the console"
    )


class UserChange(Body):
    """What is left out stays as it is."""

    status: Literal["active", "disabled"] | None = None
    territory: Line | None = None


class User(BaseModel):
    id: int
    login: str
    role: str
    person_id: int
    person: str
    proven: bool = Field(description="bound by identity number")
    carrier: str
    institution: str
    territory: str
    status: str
    row_version: int
    changed_at: Moment


class UserMade(User):
    totp_secret: str | None = Field(None, description="for an authenticator; shown once")


class NewCredentials(Body):
    """For somebody who has lost his, or is locked out; his sessions end."""

    password: Annotated[str, StringConstraints(max_length=200)] = Field(
        "", description="12 characters or more; empty: the old one stays"
    )
    totp: bool = Field(False, description="a new secret for an authenticator; the old one is void")


class Credentials(BaseModel):
    user: str
    totp_secret: str | None = Field(None, description="for an authenticator; shown once")


class NewToken(Body):
    user: Login | None = Field(None, description="login; empty: one's own")
    name: Line = ""
    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES))
    days: int = Field(90, ge=1, le=people.MOST_DAYS)


class Token(BaseModel):
    id: int
    user: str
    name: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment
    revoked_at: Moment | None


class TokenMade(Token):
    secret: str = Field(description="shown once; only its hash is kept")


class Act(BaseModel):
    """An act, and its place in the chain of hashes."""

    id: int
    seq: int
    hash: str
    at: Moment
    user: str
    person: str
    session: str = Field(description="user of the database")
    door: str
    act: str
    subject: str
    reason: str
    detail: dict[str, JsonValue]


class AuditQuery(Paging):
    subject: Annotated[str, StringConstraints(max_length=200)] = Field("", description="such as numbers/17")
    user: Annotated[str, StringConstraints(max_length=60)] = Field("", description="login")


def _me(call: Call) -> dict[str, Any]:
    actor = call.actor
    return {
        "login": actor.login,
        "role": actor.role,
        "carrier": actor.carrier,
        "institution": actor.institution_code,
        "territory": actor.territory,
        "scopes": sorted(actor.scopes),
    }


async def who_am_i(call: Call) -> Answer:
    return Answer(Me(**_me(call)))


async def sign_in(call: Call) -> Answer:
    site, asked = call.site, call.body
    cookie, call.actor = await site.sign_in(asked.user, asked.password, asked.totp, call.address)
    lasts = datetime.timedelta(hours=site.config.web.session_hours)
    expires = datetime.datetime.now(datetime.UTC) + lasts
    header = cookie_of(cookie, lasts, secure=site.config.web_url.startswith("https:"))
    return Answer(SignedIn(**_me(call), expires_at=expires), headers={"Set-Cookie": header})


async def sign_out(call: Call) -> Answer:
    if call.cookie:
        await call.site.access.sign_out(call.cookie)
    return Answer(headers={"Set-Cookie": f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"})


async def openapi(call: Call) -> Answer:
    return Answer(await asyncio.to_thread(call.site.openapi))


def _user(user: people.User) -> User:
    return User(**user._asdict())


async def list_users(call: Call) -> Answer:
    limit = call.query.limit
    rows = await people.users(call.c, call.query.last, limit + 1)
    return Answer(page_of([_user(row) for row in rows], limit, lambda user: (user.id,)))


async def get_user(call: Call) -> Answer:
    user = await people.user_by(call.c, call.path["id"])
    return Answer(_user(user), version=user.row_version)


async def add_user(call: Call) -> Answer:
    asked = call.body.model_dump(exclude={"password"})
    user = await people.add_user(call.c, call.actor, call.site.key, people.NewUser(**asked))
    secret = None
    if call.body.password:
        access = call.site.access
        await access.set_password(call.c, call.actor, user.id, call.body.password)
        secret = await access.enrol_totp(call.c, call.actor, user.id)
    made = UserMade(**user._asdict(), totp_secret=secret)
    return Answer(made, version=user.row_version, headers={"Location": f"{PREFIX}/users/{user.id}"})


async def change_user(call: Call) -> Answer:
    call.ended = call.path["id"]
    user = await people.change_user(
        call.c,
        call.actor,
        call.path["id"],
        status=call.body.status,
        territory=call.body.territory,
        version=call.version,
    )
    return Answer(_user(user), version=user.row_version)


async def renew_credentials(call: Call) -> Answer:
    asked, access = call.body, call.site.access
    user = await people.user_by(call.c, call.path["id"])
    call.ended = user.id
    secret = await access.renew(call.c, call.actor, user.id, asked.password, totp=asked.totp)
    return Answer(Credentials(user=user.login, totp_secret=secret))


async def list_tokens(call: Call) -> Answer:
    limit = call.query.limit
    rows = await people.tokens(call.c, call.query.last, limit + 1)
    return Answer(page_of([Token(**row._asdict()) for row in rows], limit, lambda token: (token.id,)))


async def add_token(call: Call) -> Answer:
    asked = call.body
    user = await people.user_id(call.c, asked.user) if asked.user else call.actor.user
    token, secret = await people.create_token(call.c, call.actor, user, asked.name, asked.scopes, asked.days)
    return Answer(
        TokenMade(**token._asdict(), secret=secret), headers={"Location": f"{PREFIX}/tokens/{token.id}"}
    )


async def revoke_token(call: Call) -> Answer:
    call.ended = await people.revoke_token(call.c, call.actor, call.path["id"])
    return Answer()


async def list_acts(call: Call) -> Answer:
    asked = call.query
    rows = await auditing.acts(
        call.c, asked.last, asked.limit + 1, subject=asked.subject, user=asked.user, actor=call.actor
    )
    acts = [Act(**row._asdict() | {"hash": row.hash.hex()}) for row in rows]
    return Answer(page_of(acts, asked.limit, lambda act: (act.id,)))


ENDPOINTS = (
    Endpoint(
        "GET", "/openapi.json", frozenset(), "",
        Words("接口说明（OpenAPI 3.1）", "this description, OpenAPI 3.1"), openapi,
        answer=dict[str, object], connected=False,
    ),
    Endpoint(
        "POST", "/session", frozenset(), "", Words("登录", "sign in"), sign_in, body=SignIn,
        answer=SignedIn, status=201, problems=frozenset({"sign_in_failed", "locked"}), rate="sign_in",
        connected=False,
        example={"user": "nobody", "password": "correct horse battery", "totp": "000000"},
    ),
    Endpoint(
        "GET", "/session", EVERYBODY, "read", Words("当前用户", "who is asking"), who_am_i, answer=Me,
        connected=False,
    ),
    Endpoint(
        "DELETE", "/session", EVERYBODY, "read", Words("退出登录", "sign out"), sign_out, status=204,
        connected=False,
    ),
    Endpoint(
        "GET", "/users", READERS, "read", Words("用户列表", "users"), list_users, query=Paging,
        answer=Page[User],
    ),
    Endpoint(
        "POST", "/users", ADMIN, "admin", Words("新增用户", "add a user"), add_user, body=NewUser,
        answer=UserMade, status=201, problems=frozenset({"exists"}),
        example={"login": "li.si", "role": "auditor", "person": "李四", "identity": "EXAMPLE-0001"},
    ),
    Endpoint(
        "GET", "/users/{id}", READERS, "read", Words("用户", "a user"), get_user, answer=User,
        versioned=True,
    ),
    Endpoint(
        "PATCH", "/users/{id}", ADMIN, "admin",
        Words("停用、启用或变更辖区", "disable or enable a user, or change the territory"), change_user,
        body=UserChange, answer=User, versioned=True, example={"territory": "浙江省杭州市"},
    ),
    Endpoint(
        "POST", "/users/{id}/credentials", ADMIN, "admin",
        Words("重设密码或动态口令（解除锁定）", "a new password or code generator; ends a lock-out"),
        renew_credentials, body=NewCredentials, answer=Credentials,
        example={"password": "correct horse battery", "totp": True},
    ),
    Endpoint(
        "GET", "/tokens", ADMIN | {"auditor"}, "read", Words("令牌列表", "tokens, without their secrets"),
        list_tokens, query=Paging, answer=Page[Token],
    ),
    Endpoint(
        "POST", "/tokens", ADMIN, "admin", Words("签发令牌", "issue a token"), add_token, body=NewToken,
        answer=TokenMade, status=201, problems=frozenset({"not_found"}),
        example={"name": "call platform", "scopes": ["read", "attempts"], "days": 30},
    ),
    Endpoint(
        "DELETE", "/tokens/{id}", ADMIN, "admin", Words("注销令牌", "end a token"), revoke_token,
        status=204,
    ),
    Endpoint(
        "GET", "/audit", READERS, "read", Words("操作审计", "what everybody did, chained by hashes"),
        list_acts, query=AuditQuery, answer=Page[Act],
    ),
)  # fmt: skip
