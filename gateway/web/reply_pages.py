"""The page of replies that a person has to understand: what waits, how it was decided, and deciding it.

What may be seen and decided by whom is registry/replies.py's to say; the text of a reply stands on the page
of its record, for those who may see it there.
"""

from typing import Literal

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from gateway.errors import Problem, Words
from gateway.registry import replies
from gateway.registry.acting import READ_SECONDS, Actor
from gateway.registry.replies import Decision
from gateway.web.api import Paging, page_of
from gateway.web.rendering import Renderer, form_of, status_of
from gateway.web.site import Site

PLACE = "/replies"
ALL = "all"
MOST = 20
"""Replies of one page."""


class Which(BaseModel):
    """What the form says."""

    reply: int = Field(ge=1, lt=1 << 63)
    decision: Literal["refusal", "no_refusal"]
    reason: str = ""


class ReplyPages:
    """Of one site."""

    def __init__(self, site: Site, renderer: Renderer) -> None:
        self._site = site
        self._renderer = renderer

    async def listed(
        self, request: web.Request, actor: Actor, status: int = 200, wrong: str = ""
    ) -> web.StreamResponse:
        """What is still to be decided; with `?show=all` every reply that did something."""
        everything, rows, following = request.query.get("show") == ALL, [], None
        try:
            query = Paging(limit=MOST, after=request.query.get("after", ""))
        except ValidationError:
            words = Words("查询条件不符合要求", "that is nothing to look for")
            wrong = wrong or self._renderer.words(request, words)
        else:
            async with self._site.door.acting(actor, seconds=READ_SECONDS) as c:
                found = await replies.replies(
                    c, actor, self._site.key, query.last, MOST + 1, undecided=not everything
                )
            page = page_of(found, MOST, lambda row: (row.id,))
            rows, following = list(page.items), page.next
        may_decide = actor.role in replies.DECIDERS
        return self._renderer.answer(
            request, "replies.html", actor, status=status, page="replies", replies=rows, next=following,
            all=everything, wrong=wrong, may_decide=may_decide,
            may_deny=may_decide and actor.role != "institution",
        )  # fmt: skip

    async def decide(self, request: web.Request, actor: Actor) -> web.StreamResponse:
        """A form of that page."""
        form = await form_of(request)
        try:
            which = Which.model_validate(form)
            said = Decision(decision=which.decision, reason=which.reason.strip())
        except ValidationError:
            words = Words("须填写理由并作出认定", "it takes a reason and a decision")
            return await self.listed(request, actor, 422, self._renderer.words(request, words))
        try:
            async with self._site.door.acting(actor) as c, c.transaction():
                old = await replies.reply(c, self._site.key, which.reply)
                await replies.decide(c, actor, self._site.key, old, said)
        except Problem as problem:
            if problem.code not in ("wrong_state", "forbidden"):
                raise
            words = problem.detail
            return await self.listed(request, actor, status_of(problem), self._renderer.words(request, words))
        return web.Response(status=303, headers={"Location": PLACE})
