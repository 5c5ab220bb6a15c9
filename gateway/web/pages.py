"""Pages for people: overview, numbers, replies to be decided, rules, one record, one subscriber's timeline;
and signing in.

Rendered here, without script. They use what the API uses, as the same actor, so they show nothing that the
API would not. A subscriber's number is never in an address. Chinese first, English by a switch.
"""

import datetime
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from gateway.errors import NotReady, Problem, Words
from gateway.evidence.everywhere import WHY
from gateway.evidence.plain import plain
from gateway.policy.numbers import mask
from gateway.registry import alarms, filings, replies, workflow
from gateway.registry.acting import BROKEN, READ_SECONDS, Actor, record
from gateway.registry.filings import FilingFilter
from gateway.registry.timeline import Event
from gateway.web import finding
from gateway.web.api import EVERYBODY, Call, Paging, page_of
from gateway.web.cookies import COOKIE, cookie_of
from gateway.web.finding import NotAsked
from gateway.web.rendering import Renderer, form_of, in_chinese, moment, of_same_site, status_of
from gateway.web.reply_pages import PLACE, ReplyPages
from gateway.web.resources import finding as found
from gateway.web.resources import profiles as rules
from gateway.web.resources.finding import InterceptFilter, TimelineWanted, Why
from gateway.web.site import Site
from gateway.web.wording import CALL_FIELDS, FIELDS, STATES, TABLES, named

ELSEWHERE = Words("请求来自其他站点", "the request comes from another site")
NOT_YOURS = Words("本角色无权使用此页", "this page is not for your role")
AWAY = Words("数据库暂不可用，请稍后再试", "the database is away; try later")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Page = Callable[[web.Request, Actor], Awaitable[web.StreamResponse]]


class Pages:
    """The pages of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        renderer = Renderer()
        self._answer, self._said, self._words = renderer.answer, renderer.said, renderer.words
        self._replies = ReplyPages(site, renderer)
        self._style = (resources.files("gateway.web") / "static" / "zhengming.css").read_bytes()

    def mount(self, application: web.Application) -> None:
        add = application.router.add_route
        add("GET", "/static/zhengming.css", self._stylesheet)
        add("GET", "/sign-in", self._guarded(self._home))
        add("POST", "/sign-in", self._sign_in)
        add("POST", "/sign-out", self._sign_out)
        add("GET", "/", self._guarded(self._overview))
        add("GET", "/numbers", self._guarded(self._numbers, found.READERS))
        add("GET", PLACE, self._guarded(self._replies.listed, replies.READERS))
        add("POST", PLACE, self._guarded(self._replies.decide, replies.DECIDERS))
        add("GET", "/rules", self._guarded(self._rules))
        add("GET", "/records/{record}", self._guarded(self._record))
        add("POST", "/records/{record}", self._guarded(self._record))
        add("GET", "/timeline", self._guarded(self._timeline, found.WATCHERS))
        add("POST", "/timeline", self._guarded(self._timeline, found.WATCHERS))

    @web.middleware
    async def no_page(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Says in words that there is no page of this address, or none that takes this method."""
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            answer = self._said(request, Words("此页不支持该操作", "this page has no such method"), 405)
            answer.headers["Allow"] = error.headers["Allow"]
            return answer
        except web.HTTPNotFound:
            return self._said(request, Words("没有此页", "there is no such page"), 404)

    # Signing in

    def _guarded(self, page: Page, roles: frozenset[str] = EVERYBODY) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                if request.method == "POST" and not of_same_site(request):
                    return self._said(request, ELSEWHERE, 403)
                cookie = request.cookies.get(COOKIE, "")
                actor = await self._site.access.by_session(cookie) if cookie else None
                if actor is None:
                    return self._answer(request, "login.html", None, wrong="")
                self._site.limited("judge" if request.method == "POST" else "read", actor.user)
                if actor.role not in roles:
                    return self._said(request, NOT_YOURS, 403, actor)
                return await page(request, actor)
            except Problem as problem:
                return self._said(request, problem.detail, status_of(problem))
            except NotReady as error:
                return self._said(request, Words(f"尚未就绪：{error}", f"not ready: {error}"), 503)
            except BROKEN:
                return self._said(request, AWAY, 503)
            except web.HTTPException:
                raise
            except Exception as error:
                self._site.log.error("page failed", exc_info=error)
                return self._said(request, Words("内部错误", "an internal error"), 500)

        return handle

    async def _home(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        return web.Response(status=303, headers={"Location": "/"})

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        if not of_same_site(request):
            return self._said(request, ELSEWHERE, 403)
        try:
            self._site.limited("sign_in", request.remote or "")
            form = await form_of(request)
            user, password, code = (form.get(name, "")[:200] for name in ("user", "password", "totp"))
            cookie, _ = await self._site.sign_in(user, password, code, request.remote or "")
        except Problem as problem:
            wrong = self._words(request, problem.detail)
            return self._answer(request, "login.html", None, status=status_of(problem), wrong=wrong)
        except BROKEN:
            return self._said(request, AWAY, 503)
        config = self._site.config
        lasts = datetime.timedelta(hours=config.web.session_hours)
        secure = config.web_url.startswith("https:")
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.headers.add("Set-Cookie", cookie_of(cookie, lasts, secure=secure))
        return answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        if not of_same_site(request):
            return self._said(request, ELSEWHERE, 403)
        try:
            await self._site.access.sign_out(request.cookies.get(COOKIE, ""))
        except (Problem, *BROKEN):
            return self._said(request, AWAY, 503)
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.del_cookie(COOKIE, path="/")
        return answer

    # The pages

    async def _overview(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        async with self._site.door.acting(actor, seconds=READ_SECONDS) as c:
            call = self._call(request, actor, c, InterceptFilter(limit=10))
            holding = await rules.holding_of(call)
            held: dict[str, Any] = {
                "holding": holding,
                "coming": [line for line in holding.rules if line.since],
            }
            if actor.role not in found.READERS:
                return self._answer(request, "overview.html", actor, page="overview", stats=None, **held)
            stats = await found.stats_of(c, actor)
            latest = await found.intercepts_of(c, actor, call.query)
            glass = await alarms.runs(c, broken_glass=True, unseen=True) if stats.broken_glass else []
        reasons = sorted(
            ((name, count) for name, count in stats.today.items() if name != "pass"), key=lambda one: -one[1]
        )
        return self._answer(
            request,
            "overview.html",
            actor,
            page="overview",
            stats=stats,
            glass=glass,
            passed=stats.today.get("pass", 0),
            refused=sum(count for _, count in reasons),
            reasons=reasons,
            numbers=[(state, stats.numbers[state]) for state in STATES if state in stats.numbers],
            intercepts=latest.items,
            **held,
        )

    async def _rules(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        async with self._site.door.acting(actor) as c:
            holding = await rules.holding_of(self._call(request, actor, c, None))
        return self._answer(request, "rules.html", actor, page="rules", holding=holding)

    async def _numbers(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        asked = {name: request.query.get(name, "").strip() for name in ("status", "number", "after")}
        wrong, rows, following = "", [], None
        try:
            query = Paging(limit=50, after=asked["after"])
            wanted = FilingFilter(status=asked["status"], number=asked["number"] or None)
        except ValidationError:
            wrong = self._words(request, Words("查询条件不符合要求", "that is nothing to look for"))
        else:
            async with self._site.door.acting(actor, seconds=READ_SECONDS) as c:
                rows = await filings.page(c, actor, query.last, query.limit + 1, wanted)
            page = page_of(rows, query.limit, lambda row: (row.id,))
            rows, following = page.items, page.next
        return self._answer(
            request, "numbers.html", actor, page="numbers", filings=rows, next=following, wrong=wrong,
            states=workflow.STATES, chosen=asked["status"], number=asked["number"],
        )  # fmt: skip

    async def _record(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        try:
            identity = bytes.fromhex(request.match_info["record"])
        except ValueError:
            identity = b""
        texts = request.method == "POST"
        readable = len(identity) == 16 and actor.role in found.READERS
        known = await finding.show(self._site, actor, identity, texts=texts) if readable else None
        if known is None:
            return self._said(request, Words("没有这条记录", "there is no such record"), 404, actor)
        shown, incomplete = known
        revealed, wrong = None, ""
        said = finding.masked(shown)
        may_reveal = shown.found.content is not None and "reveal" in actor.scopes
        if request.method == "POST" and may_reveal and shown.found.content is not None:
            try:
                why = Why(reason=(await form_of(request)).get("reason", "").strip())
            except ValidationError:
                wrong = self._words(request, Words("须填写事由", "it takes a reason"))
            else:
                async with self._site.door.acting(actor) as c, c.transaction():
                    await record(c, actor, "record.reveal", f"records/{said['id']}", reason=why.reason)
                full = plain(shown, revealed=True)
                revealed = {"subscriber": full["subscriber"], "text": full.get("text", "")}
        zh = in_chinese(request)
        follows = [
            (one["at"], f"{named('field', 'outcome', zh=zh)} {self._value('outcome', one['result'], zh)}")
            for one in said.get("outcomes", [])
        ]
        follows += [(one["at"], _report(one, zh=zh)) for one in said.get("reports", [])]
        parts = [
            (one["part"], named("delivery", one["state"], zh=zh), one["stat"], one["at"])
            for one in said.get("parts", [])
        ]
        return self._answer(
            request,
            "record.html",
            actor,
            page="",
            identity=identity.hex(),
            rows=[
                (_field(name, said, zh=zh), self._value(_table(name, said), said[name], zh))
                for name in FIELDS
                if said.get(name)
            ],
            findings=said.get("findings", []),
            follows=follows,
            parts=parts,
            incomplete=self._incomplete(request, incomplete),
            may_reveal=may_reveal,
            revealed=revealed,
            wrong=wrong,
        )

    async def _timeline(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        facts: dict[str, Any] = {"subscriber": "", "events": [], "incomplete": [], "wrong": "", "why": ""}
        if request.method == "POST":
            form = await form_of(request)
            facts["why"] = form.get("reason", "").strip()
            try:
                wanted = TimelineWanted(subscriber=form.get("subscriber", ""), reason=facts["why"])
            except ValidationError:
                facts["wrong"] = self._words(
                    request, Words("须填写用户号码和事由", "it takes a subscriber's number and a reason")
                )
            else:
                events, incomplete = await found.timeline_of(self._site, actor, wanted)
                facts["events"] = [(event, _came_of(event, zh=in_chinese(request))) for event in events]
                facts["incomplete"] = self._incomplete(request, incomplete)
                facts["subscriber"] = mask(wanted.subscriber)
        return self._answer(request, "timeline.html", actor, page="timeline", **facts)

    # Inside

    def _call(self, request: web.Request, actor: Actor, c: Any, query: Any) -> Call:
        return Call(
            actor,
            c,
            self._site,
            {},
            query,
            None,
            in_chinese(request),
            None,
            "",
            request.remote or "",
            "",
            b"",
        )

    def _incomplete(self, request: web.Request, nodes: list[NotAsked]) -> list[tuple[str, str]]:
        """Whose records may be missing, and why."""
        return [(one.node, self._words(request, WHY[one.why])) for one in nodes]

    async def _stylesheet(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=self._style, content_type="text/css", headers={"Cache-Control": "max-age=3600"}
        )

    def _value(self, name: str, value: Any, zh: bool) -> str:
        """A field of a record, as a person reads it."""
        if name in {"at", "delivery_at", "answered_at", "ended_at"}:
            return moment(value)
        table = {"kind": "event"}.get(name, name)
        return named(table, value, zh=zh) if table in TABLES and isinstance(value, str) else str(value)


def _table(name: str, said: dict[str, Any]) -> str:
    """Where a field's words stand."""
    return "call" if name == "delivery" and said.get("channel") == "voice" else name


def _field(name: str, said: dict[str, Any], *, zh: bool) -> str:
    """What a field of this record is called."""
    of_call = said.get("channel") == "voice" and name in CALL_FIELDS
    return named("call_field" if of_call else "field", name, zh=zh)


def _report(said: dict[str, Any], *, zh: bool) -> str:
    """A status report, as a person reads it."""
    words = [named("field", "delivery_stat", zh=zh) + " " + said["stat"]]
    if said["parts"]:
        numbers = "、".join(map(str, said["parts"]))
        words.append(f"第 {numbers} 部分" if zh else f"part {numbers}")
    if said["repeated"]:
        words.append("重复" if zh else "repeated")
    return " · ".join(words)


def _came_of(event: Event, *, zh: bool) -> str:
    """What an event of a timeline says in its last column."""
    match event.kind:
        case "attempt" if event.verdict == "pass":
            table = "call" if event.channel == "voice" else "delivery"
            came = named(table, event.delivery, zh=zh) if event.delivery else ""
            since = moment(event.delivery_at) if event.delivery_at else ""
            return " · ".join(filter(None, (named("verdict", event.verdict, zh=zh), came, since)))
        case "attempt":
            return named("reason", event.reason, zh=zh)
        case "reply":
            return named("meaning", event.reason, zh=zh)
        case "complaint":
            return event.said or named("source", event.source, zh=zh)
        case "consent" | "held":
            until = ("至 " if zh else "until ") + event.said if event.said else ""
            return " · ".join(filter(None, (named("source", event.source, zh=zh), until)))
        case _:
            how = named("source", event.source, zh=zh) or named("cause", event.reason, zh=zh)
            return " · ".join(filter(None, (named("purpose", event.said, zh=zh), how)))
