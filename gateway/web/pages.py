"""Four pages for people: overview, numbers, one record, one subscriber's timeline; and signing in.

Rendered here, without script. They use what the API uses, as the same actor, so they show nothing that the
API would not. A subscriber's number is never in an address. Chinese first, English by a switch.
"""

import datetime
import hmac
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from gateway.errors import NotReady, Problem, Words
from gateway.evidence.everywhere import WHY
from gateway.evidence.plain import plain
from gateway.model import Reason
from gateway.policy.numbers import mask
from gateway.policy.words import REASONS
from gateway.registry import filings, workflow
from gateway.registry.acting import BROKEN, Actor, record
from gateway.registry.filings import FilingFilter
from gateway.web import finding, problems
from gateway.web.api import Call, Paging, page_of
from gateway.web.cookies import COOKIE, cookie_of
from gateway.web.resources import finding as found
from gateway.web.resources.finding import InterceptFilter, TimelineWanted
from gateway.web.site import Site
from gateway.web.wording import CHANNELS, EVENTS, FIELDS, PURPOSES, ROLES, STATES

LANGUAGE = "zm_lang"
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
Page = Callable[[web.Request, Actor], Awaitable[web.StreamResponse]]


class Pages:
    """The pages of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._environment = Environment(
            loader=PackageLoader("gateway.web"),
            autoescape=True,
            undefined=StrictUndefined,
            enable_async=False,
        )
        self._environment.filters |= {"count": "{:,}".format, "moment": _moment}
        self._style = (resources.files("gateway.web") / "static" / "zhengming.css").read_bytes()

    def mount(self, application: web.Application) -> None:
        add = application.router.add_route
        add("GET", "/static/zhengming.css", self._stylesheet)
        add("POST", "/sign-in", self._sign_in)
        add("POST", "/sign-out", self._sign_out)
        add("GET", "/", self._guarded(self._overview))
        add("GET", "/numbers", self._guarded(self._numbers))
        add("GET", "/records/{record}", self._guarded(self._record))
        add("POST", "/records/{record}", self._guarded(self._record))
        add("GET", "/timeline", self._guarded(self._timeline))
        add("POST", "/timeline", self._guarded(self._timeline))

    # Signing in

    def _guarded(self, page: Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                if request.method == "POST" and not _same_site(request):
                    raise web.HTTPForbidden(text="the request comes from another site")
                cookie = request.cookies.get(COOKIE, "")
                actor = await self._site.access.by_session(cookie) if cookie else None
                if actor is None:
                    return self._answer(request, "login.html", None, wrong="")
                self._site.limited("read", actor.user)
                return await page(request, actor)
            except Problem as problem:
                status = problems.CODES[problem.code].status if problem.code in problems.CODES else 500
                return self._said(request, problem.detail, status)
            except NotReady as error:
                return self._said(request, Words(f"尚未就绪：{error}", f"not ready: {error}"), 503)
            except BROKEN:
                return self._said(
                    request, Words("数据库暂不可用，请稍后再试", "the database is away; try later"), 503
                )
            except web.HTTPException:
                raise
            except Exception as error:
                self._site.log.error("page failed", exc_info=error)
                return self._said(request, Words("内部错误", "an internal error"), 500)

        return handle

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        if not _same_site(request):
            raise web.HTTPForbidden(text="the request comes from another site")
        form = await request.post()
        user, password, code = (str(form.get(name, ""))[:200] for name in ("user", "password", "totp"))
        try:
            self._site.limited("sign_in", request.remote or "")
            cookie, _ = await self._site.access.sign_in(user, password, code, request.remote or "")
        except Problem as problem:
            wrong = problem.detail.zh if _zh(request) else problem.detail.en
            return self._answer(request, "login.html", None, status=401, wrong=wrong)
        except BROKEN:
            return self._said(
                request, Words("数据库暂不可用，请稍后再试", "the database is away; try later"), 503
            )
        config = self._site.config
        lasts = datetime.timedelta(hours=config.web.session_hours)
        secure = config.web_url.startswith("https:")
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.headers.add("Set-Cookie", cookie_of(cookie, lasts, secure=secure))
        return answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        if not _same_site(request):
            raise web.HTTPForbidden(text="the request comes from another site")
        await self._site.access.sign_out(request.cookies.get(COOKIE, ""))
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.del_cookie(COOKIE, path="/")
        return answer

    # The four pages

    async def _overview(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        async with self._site.door.acting(actor) as c:
            call = self._call(request, actor, c, InterceptFilter(limit=10))
            readable = actor.role in found.READERS
            stats = (await found.stats(call)).body
            latest = (await found.intercepts(call)).body.items if readable else []  # type: ignore[union-attr]
        today: dict[str, int] = stats.today  # type: ignore[union-attr]
        reasons = sorted(((k, v) for k, v in today.items() if k != "pass"), key=lambda one: -one[1])
        numbers = [(state, stats.numbers[state]) for state in STATES if state in stats.numbers]  # type: ignore[union-attr]
        return self._answer(
            request,
            "overview.html",
            actor,
            page="overview",
            stats=stats,
            passed=today.get("pass", 0),
            refused=sum(number for _, number in reasons),
            reasons=reasons,
            numbers=numbers,
            intercepts=latest,
        )

    async def _numbers(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        asked = {name: request.query.get(name, "").strip() for name in ("status", "number", "after")}
        wrong, rows, following = "", [], None
        try:
            query = Paging(limit=50, after=asked["after"])
            wanted = FilingFilter(status=asked["status"], number=asked["number"] or None)
        except ValidationError:
            wrong = self._words(request, Words("查询条件不符合要求", "that is nothing to look for"))
        else:
            async with self._site.door.acting(actor) as c:
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
        shown = await finding.show(self._site, actor, identity, texts=texts) if readable else None
        if shown is None:
            return self._said(request, Words("没有这条记录", "there is no such record"), 404, actor)
        revealed = None
        said = finding.masked(shown)
        if request.method == "POST" and shown.found.content is not None:
            why = str((await request.post()).get("reason", "")).strip()[:200]
            if why:
                async with self._site.door.acting(actor) as c, c.transaction():
                    await record(c, actor, "record.reveal", f"records/{said['id']}", reason=why)
                text = plain(shown).get("text", "")
                revealed = {"subscriber": shown.found.content.subscriber, "text": text}
        zh = _zh(request)
        follows = [
            (one["at"], f"{self._word(FIELDS['outcome'], zh)} {one['result']}")
            for one in said.get("outcomes", [])
        ]
        follows += [(one["at"], one["stat"]) for one in said.get("reports", [])]
        return self._answer(
            request,
            "record.html",
            actor,
            page="",
            identity=identity.hex(),
            rows=[
                (self._word(FIELDS[name], zh), self._value(name, said[name], zh))
                for name in FIELDS
                if said.get(name)
            ],
            findings=said.get("findings", []),
            follows=follows,
            may_reveal=shown.found.content is not None and "reveal" in actor.scopes,
            revealed=revealed,
        )

    async def _timeline(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        if actor.role not in found.WATCHERS:
            return self._said(
                request, Words("本角色无权使用此页", "this page is not for your role"), 403, actor
            )
        facts: dict[str, Any] = {"subscriber": "", "events": [], "incomplete": [], "wrong": "", "why": ""}
        if request.method == "POST":
            form = await request.post()
            facts["why"] = str(form.get("reason", ""))[:200]
            try:
                wanted = TimelineWanted(subscriber=str(form.get("subscriber", "")), reason=facts["why"])
            except ValidationError:
                facts["wrong"] = self._words(
                    request, Words("须填写用户号码和事由", "it takes a subscriber's number and a reason")
                )
            else:
                facts["events"], incomplete = await found.timeline_of(self._site, actor, wanted)
                facts["incomplete"] = [
                    f"{one.node}（{self._words(request, WHY[one.why])}）" for one in incomplete
                ]
                facts["subscriber"] = mask(wanted.subscriber)
        return self._answer(request, "timeline.html", actor, page="timeline", **facts)

    # Inside

    def _call(self, request: web.Request, actor: Actor, c: Any, query: Any) -> Call:
        return Call(
            actor, c, self._site, {}, query, None, _zh(request), None, "", request.remote or "", "", b""
        )

    async def _stylesheet(self, request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=self._style, content_type="text/css", headers={"Cache-Control": "max-age=3600"}
        )

    def _said(
        self, request: web.Request, words: Words, status: int, actor: Actor | None = None
    ) -> web.Response:
        return self._answer(
            request, "said.html", actor, page="", status=status, said=self._words(request, words)
        )

    def _answer(
        self, request: web.Request, template: str, actor: Actor | None, *, status: int = 200, **facts: Any
    ) -> web.Response:
        zh = _zh(request)
        text = self._environment.get_template(template).render(
            zh=zh,
            actor=actor,
            watchers=found.WATCHERS,
            t=lambda chinese, english: chinese if zh else english,
            role=lambda name: self._word(ROLES[name], zh),
            state=lambda name: self._word(STATES.get(name, Words(name, name)), zh),
            purpose=lambda name: self._word(PURPOSES.get(name, Words(name, name)), zh),
            channel=lambda name: self._word(CHANNELS.get(name, Words(name, name)), zh),
            event=lambda name: self._word(EVENTS.get(name, Words(name, name)), zh),
            reason=lambda name: self._reason(name, zh),
            **{"page": "", **facts},
        )
        answer = web.Response(text=text, content_type="text/html", status=status)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if (chosen := request.query.get("lang")) in {"zh", "en"}:
            answer.set_cookie(LANGUAGE, chosen, max_age=31_536_000, httponly=True, samesite="Strict")
        return answer

    def _words(self, request: web.Request, words: Words) -> str:
        return self._word(words, _zh(request))

    @staticmethod
    def _word(words: Words, zh: bool) -> str:
        return words.zh if zh else words.en

    def _reason(self, name: str, zh: bool) -> str:
        try:
            return self._word(REASONS[Reason(name)], zh)
        except ValueError:
            return name

    def _value(self, name: str, value: Any, zh: bool) -> str:
        words = {"purpose": PURPOSES, "channel": CHANNELS, "kind": EVENTS}.get(name, {})
        if value in words:
            return self._word(words[value], zh)
        if name == "verdict":
            return self._word(Words("放行", "passed") if value == "pass" else Words("拦截", "refused"), zh)
        if name == "reason":
            return self._reason(value, zh)
        return _moment(value) if name == "at" else str(value)


def _zh(request: web.Request) -> bool:
    chosen = request.query.get("lang") or request.cookies.get(LANGUAGE, "")
    return chosen != "en"


def _same_site(request: web.Request) -> bool:
    """Whether a form was sent by one of our own pages."""
    origin = request.headers.get("Origin", "")
    return hmac.compare_digest(urlsplit(origin).netloc, request.host)


def _moment(at: Any) -> str:
    if at is None:
        return "–"
    if isinstance(at, str):
        at = datetime.datetime.fromisoformat(at)
    return f"{at.astimezone(finding.SHANGHAI):%Y-%m-%d %H:%M:%S}"
