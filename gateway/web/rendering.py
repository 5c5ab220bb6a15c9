"""How a page is made of a template, in the language that was chosen; and how a form of ours is read.

Rules of this file: it knows no page. Templates get the words of wording.py under the names of its tables.
"""

import datetime
import hmac
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.errors import Problem, Words
from gateway.registry import replies
from gateway.registry.acting import Actor
from gateway.web import finding, problems
from gateway.web.resources import finding as found
from gateway.web.wording import TABLES, modes_of, named, quantities_of

LANGUAGE = "zm_lang"
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


class Renderer:
    """Makes the answers of all pages."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.web"),
            autoescape=True,
            undefined=StrictUndefined,
            enable_async=False,
        )
        self._environment.filters |= {"count": "{:,}".format, "moment": moment}

    def said(
        self, request: web.Request, words: Words, status: int, actor: Actor | None = None
    ) -> web.Response:
        """A page that says this and nothing else."""
        return self.answer(
            request, "said.html", actor, page="", status=status, said=self.words(request, words)
        )

    def answer(
        self, request: web.Request, template: str, actor: Actor | None, *, status: int = 200, **facts: Any
    ) -> web.Response:
        """The template with these facts."""
        zh = in_chinese(request)
        text = self._environment.get_template(template).render(
            zh=zh,
            actor=actor,
            watchers=found.WATCHERS,
            readers=found.READERS,
            repliers=replies.READERS,
            switched={**request.query, "lang": "en" if zh else "zh"},
            modes=partial(modes_of, zh=zh),
            quantities=partial(quantities_of, zh=zh),
            t=lambda chinese, english: chinese if zh else english,
            **{table: partial(named, table, zh=zh) for table in TABLES},
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

    def words(self, request: web.Request, words: Words) -> str:
        return words.zh if in_chinese(request) else words.en


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of a form. Problem `invalid` for a body that is none."""
    try:
        fields = await request.post()
    except (ValueError, LookupError, HttpProcessingError):
        fields = None
    if fields is None or any("\0" in str(part) for field in fields.items() for part in field):
        raise Problem("invalid", Words("表单无法读取", "the form can't be read"))
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def status_of(problem: Problem) -> int:
    return problems.CODES[problem.code].status if problem.code in problems.CODES else 500


def in_chinese(request: web.Request) -> bool:
    """Chinese, unless English was chosen, or nothing was and the browser asks for English only."""
    chosen = request.query.get("lang") or request.cookies.get(LANGUAGE, "")
    if chosen in ("zh", "en"):
        return chosen == "zh"
    return not problems.english_only(request.headers.get("Accept-Language", ""))


def of_same_site(request: web.Request) -> bool:
    """Whether a form was sent by one of our own pages."""
    origin = request.headers.get("Origin", "")
    return hmac.compare_digest(urlsplit(origin).netloc, request.host)


def moment(at: Any) -> str:
    if at is None:
        return "–"
    if isinstance(at, str):
        at = datetime.datetime.fromisoformat(at)
    return f"{at.astimezone(finding.SHANGHAI):%Y-%m-%d %H:%M:%S}"
