"""What other nodes ask of this one: its own records, out of its own journals (evidence/everywhere.py).

Whoever has no registry key learns nothing here, whatever he sends: an answer without a body says only that
his question can't be opened, or has been asked before. What a node that has the key did wrong, it is told
under seal. Bounded: in octets by between.py, in seconds by the question, in searches at once by
`MOST_AT_ONCE`.
"""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from gateway.evidence import between
from gateway.evidence.between import OtherVersion, Part, Question, Sealer, Unsealed
from gateway.evidence.everywhere import MEDIA_TYPE, MOST, PATH, SEARCH_SECONDS, matching, parts
from gateway.telemetry import NOBODY_WAITED

if TYPE_CHECKING:
    from gateway.web.site import Site

CLOCKS_SECONDS = 60.0
"""By how much two nodes' clocks may differ; as long a question may be under way."""
MOST_AT_ONCE = 8
READ_SECONDS = 2.0
SEND_SECONDS = 1.0
"""How much longer than its search an answer may take on its way."""


class Asked:
    """The one path below /internal."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._known: dict[bytes, float] = {}  # salts of questions, oldest first, and until when
        self._under_way = 0

    def mount(self, application: web.Application) -> None:
        application.router.add_post(PATH, self._measured)

    async def _measured(self, request: web.Request) -> web.StreamResponse:
        began, status = time.perf_counter(), NOBODY_WAITED
        try:
            response = await self._answer(request)
            status = response.status
            return response
        finally:
            self._site.telemetry.answered(f"POST {PATH}", status, time.perf_counter() - began)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.content_length is None or request.content_length > between.MOST_QUESTION:
            return web.Response(status=413)
        try:
            async with asyncio.timeout(READ_SECONDS):
                question, salt, key = self._opened(await request.read())
        except TimeoutError:
            return web.Response(status=408)
        except OtherVersion:
            return web.Response(status=400)
        except Unsealed:
            return web.Response(status=401)
        if not self._is_new(salt):
            return web.Response(status=401)
        response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})
        sealer = Sealer(key, salt)
        seconds = min(max(question.seconds, 0.0), SEARCH_SECONDS)
        try:
            async with asyncio.timeout(seconds + SEND_SECONDS):
                await response.prepare(request)
                await response.write(sealer.head)
                await self._tell(question, seconds, response, sealer)
                await response.write_eof()
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()  # whoever asked has stopped listening
        return response

    def _opened(self, octets: bytes) -> tuple[Question, bytes, bytes]:
        """A question, its salt, and the key that it was sealed by: while keys rotate nodes ask by either."""
        *others, last = (key.nodes_key for key in self._site.key.keys)
        for key in others:
            with suppress(Unsealed):
                return *between.open_question(key, octets), key
        return *between.open_question(last, octets), last

    async def _tell(
        self, question: Question, seconds: float, response: web.StreamResponse, sealer: Sealer
    ) -> None:
        why = self._why_not(question)
        if why:
            await response.write(sealer.frame(Part([], last=True, why=why)))
            return
        self._under_way += 1
        try:
            wanted = msgspec.structs.replace(question.wanted, limit=min(question.wanted.limit, MOST))
            search = self._site.searching(time.monotonic() + seconds)
            found = parts(matching(search, question.scope, wanted), texts=wanted.texts)
            while part := await asyncio.to_thread(next, found, None):
                await response.write(sealer.frame(part))
        except (TimeoutError, ConnectionError):
            raise
        except Exception as error:
            self._site.log.error("another node's search failed", exc_info=error)
            await response.write(sealer.frame(Part([], last=True, why="failed")))
        finally:
            self._under_way -= 1

    def _why_not(self, question: Question) -> str:
        if question.asked != self._site.config.node.name:
            return "other_node"
        if abs(time.time() - question.at / 1000) > CLOCKS_SECONDS:
            return "clock"
        return "busy" if self._under_way >= MOST_AT_ONCE else ""

    def _is_new(self, salt: bytes) -> bool:
        """Whether this question was not asked before; remembered for as long as its time may be right."""
        now = time.monotonic()
        while self._known and self._known[oldest := next(iter(self._known))] < now:
            del self._known[oldest]
        if salt in self._known:
            return False
        self._known[salt] = now + 2 * CLOCKS_SECONDS
        return True
