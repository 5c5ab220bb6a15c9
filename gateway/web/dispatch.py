"""One request of the API from its first octet to its answer; the only place that knows the order of checks.

Signed in → not too fast → the role may (403 before any id is looked at) → the token's scopes cover it → path,
query, headers and body are right → a connection for the actor; what changes anything runs in a transaction,
behind its Idempotency-Key. A twin of a request under way waits for it and gets its answer.
"""

import asyncio
import json
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit

import asyncpg
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from pydantic import TypeAdapter

from gateway.errors import NotReady, Problem, Words
from gateway.registry.acting import BROKEN, READ_SECONDS, as_problem
from gateway.telemetry import NOBODY_WAITED
from gateway.web import problems, reading
from gateway.web.api import PREFIX, Answer, Call, Endpoint, Octets, not_found
from gateway.web.cookies import COOKIE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.registry.acting import Actor, Connection
    from gateway.web.site import Site


JSON = "application/json; charset=utf-8"
CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.QueryCanceledError)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Made(NamedTuple):
    """An answer as it leaves, and as it is kept under an Idempotency-Key."""

    status: int
    headers: dict[str, str]
    body: "bytes | Path"
    passes: bool = False


class Passing(web.FileResponse):
    """A file that was made for one answer, with the folder that it is alone in: both go with it."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            return await super().prepare(request)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._path.parent, ignore_errors=True)


class Route:
    """An endpoint with its types compiled."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        takes = endpoint.body is not None and not isinstance(endpoint.body, Octets)
        self.body: TypeAdapter[Any] | None = TypeAdapter(endpoint.body) if takes else None
        gives = endpoint.answer is not None and endpoint.answer is not bytes
        self.answer: TypeAdapter[Any] | None = TypeAdapter(endpoint.answer) if gives else None
        self.rate = endpoint.rate or ("read" if endpoint.safe else "write")
        required = any(field.is_required() for field in endpoint.query.model_fields.values())
        self.unasked = None if required else endpoint.query()  # what a request without a query asks


class Dispatch:
    """Answers for a table of endpoints."""

    def __init__(self, site: "Site", endpoints: Iterable[Endpoint], log: logging.Logger) -> None:
        self._site = site
        self._log = log
        self._routes: dict[str, dict[str, Route]] = {}
        for endpoint in endpoints:
            self._routes.setdefault(endpoint.path, {})[endpoint.method] = Route(endpoint)

    def mount(self, application: web.Application) -> None:
        """Add every path below /api/v1; what is no path there is a problem, too."""
        for path, methods in self._routes.items():
            pattern = PREFIX + path.replace("{id}", r"{id:\d{1,19}}")
            application.router.add_route("*", pattern, self._handler(path, methods))
        for path in (PREFIX, PREFIX + r"/{tail:[\s\S]*}"):
            application.router.add_route("*", path, self._handler("", {}))

    def _handler(self, path: str, methods: dict[str, Route]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            began, status = time.perf_counter(), NOBODY_WAITED
            route = methods.get(request.method)
            try:
                number = os.urandom(8).hex()
                zh = problems.in_chinese(request.headers.get("Accept-Language", ""))
                try:
                    if route is None:
                        raise not_found() if not methods else _not_allowed(request.method, methods)
                    response = await self._answer(route, request, zh)
                except Exception as error:
                    problem = self._problem(error, number)
                    response = problems.answer(problem, zh=zh, headers=_headers_of(problem, methods))
                status = response.status
                headers = response.headers
                headers["X-Request-Id"] = number
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
                return response
            finally:
                label = route.endpoint.label if route else "none"
                self._site.telemetry.answered(label, status, time.perf_counter() - began)

        return handle

    async def _answer(self, route: Route, request: web.Request, zh: bool) -> web.StreamResponse:
        endpoint, site = route.endpoint, self._site
        address = request.remote or ""
        cookie = request.cookies.get(COOKIE, "") if "Cookie" in request.headers else ""
        actor: Actor | None = None
        if endpoint.roles:
            actor = await self._actor(request, cookie, endpoint.scope)
            site.limited(route.rate, actor.user)
            if actor.role not in endpoint.roles:
                raise Problem(
                    "forbidden",
                    Words("本角色无权使用此接口", "this is not for your role"),
                    field="role",
                    value=actor.role,
                    expected=Words(*["、".join(sorted(endpoint.roles)), ", ".join(sorted(endpoint.roles))]),
                )
            if endpoint.scope not in actor.scopes:
                raise Problem(
                    "scope_missing",
                    Words("令牌的权限不包含此项", "the token's scopes don't include this"),
                    field="scope",
                    value=" ".join(sorted(actor.scopes)),
                    expected=Words(endpoint.scope, endpoint.scope),
                )
        elif endpoint.rate:
            site.limited(endpoint.rate, address)
        path = reading.path(request.match_info)
        query = route.unasked if not request.query_string else None
        if query is None:
            query = reading.query(endpoint, request.query)
        key, version = reading.key(endpoint, request.headers), reading.version(endpoint, request.headers)
        body, digest = await reading.body(endpoint, route.body, request)
        who = cast("Actor", actor)
        nobody = cast("Connection", None)
        call = Call(who, nobody, site, path, query, body, zh, version, key, address, cookie, digest)
        if not (endpoint.connected and endpoint.roles):
            return _response(_made(route, await endpoint.handle(call)), request)
        if endpoint.safe:
            seconds, short = endpoint.seconds or READ_SECONDS, endpoint.seconds is None
            async with site.door.acting(who, seconds=seconds, short=short) as call.c:
                made = await self._made(route, call)
            return _response(made, request)
        async with site.door.acting(who) as call.c, call.c.transaction():
            if endpoint.looks_at_versions:  # what is read from here on is what will be changed
                held = f"SELECT held_still($2, t.id) FROM {endpoint.table} t WHERE t.id = $1"
                await call.c.execute(held, path["id"], endpoint.table)
            made = await (self._once(route, call) if call.key else self._made(route, call))
        if call.ended:
            site.access.forget(call.ended)
        return _response(made, request)

    async def _made(self, route: Route, call: Call) -> Made:
        return _made(route, await route.endpoint.handle(call))

    async def _once(self, route: Route, call: Call) -> Made:
        """Do it, unless this user's key has been used: then say again what was said."""
        c = call.c
        new = await c.fetchval(
            """INSERT INTO kept_answers (user_id, key, request) VALUES ($1, $2, $3)
               ON CONFLICT DO NOTHING RETURNING true""",
            call.actor.user,
            call.key,
            call.digest,
        )
        if not new:
            return await _kept(call)
        made = await self._made(route, call)
        assert isinstance(made.body, bytes)
        await c.execute(
            """UPDATE kept_answers SET status = $3, headers = $4::text::jsonb, body = $5
                WHERE user_id = $1 AND key = $2""",
            call.actor.user,
            call.key,
            made.status,
            json.dumps(made.headers),
            made.body,
        )
        return made

    async def _actor(self, request: web.Request, cookie: str, needed: str) -> "Actor":
        """Who asks: by Bearer token, else by the console's cookie. Problem `unauthenticated`, `forbidden`."""
        access = self._site.access
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme:
            bearer = scheme.lower() == "bearer"
            actor = await access.by_token(secret.strip(), needed) if bearer else None
        else:
            actor = await access.by_session(cookie) if cookie else None
            if actor is not None and request.method != "GET":
                origin = request.headers.get("Origin", "")
                if urlsplit(origin).netloc != request.host:
                    raise Problem(
                        "forbidden",
                        Words("请求来自其他站点", "the request comes from another site"),
                        field="Origin",
                        value=origin,
                        expected=Words(request.host, request.host),
                    )
        if actor is None:
            raise Problem(
                "unauthenticated",
                Words("须登录，或带有效令牌", "sign in, or give a valid token"),
                field="Authorization",
                expected=Words("Bearer 令牌", "Bearer and a token"),
            )
        return actor

    def _problem(self, error: Exception, number: str) -> Problem:
        """What the caller is told of an error; ours is logged with the request's number."""
        if isinstance(error, Problem):
            if error.code in problems.CODES and error.code != "internal":
                return error
        elif isinstance(error, CONFLICTS):
            return Problem("busy", Words("与其他操作冲突，请重试", "it met another change; try again"))
        elif isinstance(error, NotReady):
            return Problem("busy", Words(f"尚未就绪：{error}", f"not ready: {error}"))
        elif isinstance(error, BROKEN):
            return Problem("database_unavailable", Words("数据库暂不可用", "the database is away"))
        elif isinstance(error, asyncpg.PostgresError) and (problem := as_problem(error)) is not None:
            return problem
        self._log.error("request failed", exc_info=error, extra={"fields": {"request": number}})
        return Problem(
            "internal",
            Words(f"内部错误，请求编号 {number}", f"an internal error; the request was {number}"),
            facts={"request": number},
        )


async def _kept(call: Call) -> Made:
    """The answer that this key was given."""
    row = await call.c.fetchrow(
        "SELECT request, status, headers, body FROM kept_answers WHERE user_id = $1 AND key = $2",
        call.actor.user,
        call.key,
    )
    if row is None or row["status"] is None:
        raise Problem("in_progress", Words("相同请求正在处理", "the same request is under way"))
    if row["request"] != call.digest:
        raise Problem(
            "idempotency_key_reused",
            Words("此 Idempotency-Key 已用于另一请求", "this key was used for another request"),
            field="Idempotency-Key",
            value=call.key,
            expected=Words("每个请求使用新的值", "a new one for each request"),
        )
    return Made(row["status"], json.loads(row["headers"]), row["body"])


def _made(route: Route, answer: Answer) -> Made:
    endpoint = route.endpoint
    headers = dict(answer.headers)
    if answer.version is not None:
        headers["ETag"] = f'"{answer.version}"'
    body = answer.body
    if route.answer is not None and not isinstance(body, bytes):
        body = route.answer.dump_json(body)
    elif body is None:
        body = b""
    if route.answer is not None:
        headers.setdefault("Content-Type", JSON)
    return Made(answer.status or endpoint.status, headers, cast("bytes | Path", body), answer.passes)


def _response(made: Made, request: web.Request) -> web.StreamResponse:
    if isinstance(made.body, bytes):
        return web.Response(status=made.status, headers=made.headers, body=made.body)
    kind = Passing if made.passes else web.FileResponse
    return kind(made.body, status=made.status, headers=made.headers)


def _not_allowed(method: str, methods: dict[str, Route]) -> Problem:
    allowed = ", ".join(sorted(methods))
    return Problem(
        "method_not_allowed",
        Words("此路径不支持该方法", "this path has no such method"),
        field="method",
        value=method,
        expected=Words(allowed, allowed),
    )


def _headers_of(problem: Problem, methods: dict[str, Route]) -> dict[str, str]:
    """What belongs to a problem's status: when to come again, how to sign in, what is allowed."""
    status = problems.CODES[problem.code].status
    if status in {429, 503}:
        return {"Retry-After": str(problem.facts.get("retry_after", 1))}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if status == 405:
        return {"Allow": ", ".join(sorted(methods))}
    return {}
