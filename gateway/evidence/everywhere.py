"""Finding over all nodes of a registry: each searches its own journals, who asks puts the answers together.

The database says which nodes there are and where each is asked (table `nodes`); between.py says how. All are
asked at once, and all have the same few seconds: a node that is away, slow or of another key delays nobody,
and is named with why beside what it said in time. No node reads another's journals, and nothing is copied.
"""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec

from gateway.errors import Words
from gateway.evidence import between
from gateway.evidence import record as rec
from gateway.evidence.between import Opener, OtherVersion, Part, Piece, Question, Scope, Unsealed, Wanted
from gateway.evidence.found import Found, Shown, followed_by, is_followed, put_all_together, put_together
from gateway.evidence.search import ANY_KIND, OutOfTime, Search

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

PATH = "/internal/find"
MEDIA_TYPE = "application/octet-stream"
SECONDS = 4.5
"""Until when an answer has to be there; a search itself has `SEARCH_SECONDS`."""
SEARCH_SECONDS = 4.0
CONNECT_SECONDS = 2.0
AT_ONCE_SECONDS = 0.3
MOST = 10_000
"""Records that a node tells of at once."""
BATCH = 200
"""Records of one frame."""
MOST_FOLLOWED = 1000
"""Attempts of which it is asked at once what followed them."""
UNSEEN = datetime.timedelta(days=7)
"""A node writes records for some days while it can't reach the database to say that it is there."""

LAST = 253_402_214_400_000
"""The beginning of the last day that a calendar has, 9999-12-31, in ms."""

WHY = {
    "away": Words("无法连接", "can't be reached"),
    "slow": Words("未能及时查完", "was not through in time"),
    "busy": Words("查询过多", "is busy with other searches"),
    "more": Words("结果过多，只列出一部分", "has more than are told"),
    "other_key": Words("登记密钥不同", "has another registry key"),
    "other_version": Words("软件版本不同", "runs another version"),
    "other_node": Words("该地址上是另一节点", "is not what answers at its address"),
    "clock": Words("时钟不一致", "has another time"),
    "failed": Words("查询出错", "failed at it"),
}
"""Why a node's records may be missing."""

_STATUSES = {
    400: "other_version",
    401: "other_key",
    404: "other_version",
    405: "other_version",
    502: "away",
    503: "away",
    504: "away",
}


class Peer(NamedTuple):
    """Another node, and the address of its web process."""

    name: str
    url: str


class Missing(NamedTuple):
    """A node whose records may be missing from an answer; `why` is a key of WHY."""

    node: str
    why: str


class Told(NamedTuple):
    """What one node said."""

    found: Sequence[Found]
    missing: Missing | None = None


async def peers(c: "Connection", own: str, since: int) -> list[Peer]:
    """The other nodes that may have records since then (ms), by name; for the database role of any reader."""
    # an id that nobody gave may be of a time that no calendar has
    first = datetime.datetime.fromtimestamp(min(max(since, 0), LAST) / 1000, datetime.UTC) - UNSEEN
    rows = await c.fetch(
        "SELECT name, url FROM nodes WHERE name <> $1 AND seen_at > $2 ORDER BY name", own, first
    )
    return [Peer(*row) for row in rows]


def visible(scope: Scope) -> Callable[[rec.Record], bool]:
    """Whether a record is one that this scope may see: it belongs to the carrier, institution and agency that
    it names, and to who held the account that sent it. It is of the territory of its institution, or, when it
    names none, of that account's holder."""
    role, code = scope.role, scope.code
    held = {(one.carrier, one.protocol, one.account): one.since for one in scope.accounts}
    codes = frozenset(scope.codes)

    def over_theirs(record: rec.Attempt) -> bool:
        judged = record.judged
        since = held.get((judged.carrier, judged.protocol, judged.account))
        return since is not None and record.at >= since

    def there(record: rec.Record) -> bool:
        if isinstance(record, rec.Attempt):
            named = record.judged.institution
            return named in codes if named else over_theirs(record)
        return isinstance(record, rec.Reply) and record.institution in codes

    def theirs(record: rec.Record) -> bool:
        if isinstance(record, rec.Attempt):
            judged = record.judged
            if over_theirs(record):
                return True
            owner = {"carrier": judged.carrier, "institution": judged.institution, "agency": judged.agency}
        elif isinstance(record, rec.Reply):
            owner = {"carrier": record.carrier, "institution": record.institution}
        else:
            return False
        return bool(code) and owner.get(role) == code

    match role:
        case "":
            return lambda record: True
        case "regulator" | "auditor":
            return lambda record: isinstance(record, rec.Attempt | rec.Reply)
        case "territory":
            return there
    return theirs


def matching(search: Search, scope: Scope, wanted: Wanted) -> Iterator[Found]:
    """What is wanted of this node's own journals. Raises OutOfTime, even in the midst."""
    seen = visible(scope)
    if wanted.followed:
        yield from search.follow(wanted.followed)
        return
    if wanted.identity:
        shown = search.show(wanted.identity)
        if shown is not None and seen(shown.found.record):
            yield from pieces_of(shown)
        return
    kinds = ANY_KIND if not scope.role else ANY_KIND - {rec.REPORT}
    left = wanted.limit
    for found in search.find(
        number=wanted.number,
        subscriber=wanted.subscriber,
        since=wanted.since,
        until=wanted.until,
        verdict=wanted.verdict,
        kinds=kinds,
        newest=wanted.newest,
    ):
        if seen(found.record):
            yield found
            left -= 1
            if not left:
                return


def pieces_of(shown: Shown) -> Iterator[Found]:
    """The record, then what followed it."""
    yield shown.found
    for outcome in shown.outcomes:
        yield Found(outcome, rec.encode(outcome), "", 0, 0, None)
    yield from shown.reports


def shown_of(pieces: Sequence[Found]) -> Shown | None:
    """What `pieces_of` was made of; None when there are none."""
    if not pieces:
        return None
    found, *rest = pieces
    return put_together(found, rest)


def parts(found: Iterator[Found], *, texts: bool) -> Iterator[Part]:
    """A node's answer, each part as soon as it is full."""
    pieces: list[Piece] = []
    try:
        for one in found:
            pieces.append(Piece.of(one, texts=texts))
            if len(pieces) == BATCH:
                yield Part(pieces)
                pieces = []
    except OutOfTime:
        yield Part(pieces, last=True, why="slow")
    else:
        yield Part(pieces, last=True)


class Nodes:
    """One node's way to all of them: `searching` makes a search of its own journals that ends at a deadline.

    Used within one event loop; `close` it there.
    """

    def __init__(self, own: str, key: bytes, searching: Callable[[float], Search]) -> None:
        self.own = own
        self._key = key
        self._searching = searching
        self._session: aiohttp.ClientSession | None = None

    async def find(
        self, others: Sequence[Peer], scope: Scope, wanted: Wanted
    ) -> tuple[list[Found], list[Missing]]:
        """The `limit` newest records that match, or the oldest ones, in the order of time in both cases; and
        the nodes that may have more."""
        asked = msgspec.structs.replace(wanted, limit=min(wanted.limit, MOST))
        told = await asyncio.gather(
            self._search(scope, asked), *(self._ask(peer, scope, asked) for peer in others)
        )
        found = sorted((one for each in told for one in each.found), key=lambda one: one.record.at)
        missing = [each.missing for each in told if each.missing is not None]
        if asked.limit < wanted.limit:
            names = (self.own, *(peer.name for peer in others))
            missing += [
                Missing(name, "more")
                for name, each in zip(names, told, strict=True)
                if each.missing is None and len(each.found) == asked.limit
            ]
        return (found[-wanted.limit :] if wanted.newest else found[: wanted.limit]), missing

    async def show(
        self, others: Callable[[], Awaitable[Sequence[Peer]]], scope: Scope, wanted: Wanted
    ) -> tuple[Shown | None, list[Missing]]:
        """The record of an id and what followed it, wherever that is; and the nodes that may have more, or
        the record itself where nobody has it.

        The `others` are asked when it is not here, or not at once, and for what followed a passed attempt.
        """
        here = asyncio.create_task(self._search(scope, wanted))
        try:
            await asyncio.wait({here}, timeout=AT_ONCE_SECONDS)
            if here.done() and (found := shown_of(here.result().found)):
                peers = await others() if is_followed(found.found) else ()
                return await self.follow(found, peers, wanted)
            peers = await others()
            there = asyncio.create_task(self.show_there(peers, scope, wanted))
            own, (shown, missing) = await asyncio.gather(here, there)
        finally:
            here.cancel()
        if found := shown_of(own.found):
            return await self.follow(found, peers, wanted)
        if own.missing is not None:
            missing = [own.missing, *missing]
        return shown, missing

    async def show_there(
        self, others: Sequence[Peer], scope: Scope, wanted: Wanted
    ) -> tuple[Shown | None, list[Missing]]:
        """The same of a record that is not here; what followed it may be."""
        told = await asyncio.gather(*(self._ask(peer, scope, wanted) for peer in others))
        for peer, each in zip(others, told, strict=True):
            if shown := shown_of(each.found):
                rest = [other for other in others if other is not peer]
                return await self.follow(shown, rest, wanted, here=True)
        return None, [each.missing for each in told if each.missing is not None]

    async def follow(
        self, shown: Shown, others: Sequence[Peer], wanted: Wanted, *, here: bool = False
    ) -> tuple[Shown, list[Missing]]:
        """With what followed it at the `others`, and `here`; and the nodes that may have more of that."""
        if not is_followed(shown.found):
            return shown, []
        asked = msgspec.structs.replace(wanted, followed=(followed_by(shown),))
        asking = [self._ask(peer, Scope(), asked) for peer in others]
        told = await asyncio.gather(*asking, *([self._search(Scope(), asked)] if here else []))
        further = [*pieces_of(shown)][1:] + [one for each in told for one in each.found]
        missing = [each.missing for each in told if each.missing]
        return put_all_together([shown.found], further)[0], missing

    async def follow_all(
        self, found: Sequence[Found], others: Sequence[Peer]
    ) -> tuple[list[Shown], list[Missing]]:
        """Each of these, from whatever node, with what followed it anywhere; and the nodes that may have more
        of that.

        What the carrier answered stands where the attempt does, and with it the message ids; a carrier
        reports to any of the sender's sessions, on whatever node: several nodes are asked twice.
        """
        followers: dict[tuple[object, ...], Found] = {}
        missing: dict[str, Missing] = {}
        shown = [Shown(one, (), ()) for one in found]
        for _ in range(2 if others else 1):
            wanted = [followed_by(one) for one in shown if is_followed(one.found)]
            for start in range(0, len(wanted), MOST_FOLLOWED):
                asked = Wanted(followed=tuple(wanted[start : start + MOST_FOLLOWED]))
                asking = [self._ask(peer, Scope(), asked) for peer in others if peer.name not in missing]
                for each in await asyncio.gather(self._search(Scope(), asked), *asking):
                    if each.missing is not None:
                        missing[each.missing.node] = each.missing
                    for one in each.found:
                        followers[one.octets, one.writer, one.segment, one.index] = one
            shown = put_all_together(found, list(followers.values()))
        return shown, list(missing.values())

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _search(self, scope: Scope, wanted: Wanted) -> Told:
        """This node's own part, in a thread."""
        found: list[Found] = []
        deadline = time.monotonic() + SEARCH_SECONDS  # a wait for a thread counts, too

        def look() -> str:
            search = self._searching(deadline)
            try:
                found.extend(matching(search, scope, wanted))
            except OutOfTime:
                return "slow"
            return ""

        why = await asyncio.to_thread(look)
        return Told(found, Missing(self.own, why) if why else None)

    async def _ask(self, peer: Peer, scope: Scope, wanted: Wanted) -> Told:
        """Another node's part: what it said in time, and why that may not be all."""
        now = time.time_ns() // 1_000_000
        question, salt = between.seal_question(
            self._key, Question(peer.name, now, SEARCH_SECONDS, scope, wanted)
        )
        found: list[Found] = []
        try:
            async with asyncio.timeout(SECONDS):
                why = await self._told(peer, question, Opener(self._key, salt), found)
        except (OtherVersion, rec.NewerRecord):
            why = "other_version"
        except (Unsealed, rec.RecordError):
            why = "failed"
        except (aiohttp.ClientError, OSError) as error:
            late = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError)
            why = "slow" if late else "away"
        return Told(found, Missing(peer.name, why) if why else None)

    async def _told(self, peer: Peer, question: bytes, opener: Opener, found: list[Found]) -> str:
        """Put what a node says into `found`; why there may be more, or "". Raises what `_ask` catches."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            # what is sent is sealed for those who hold the key, so a certificate has nothing to add
            connector = aiohttp.TCPConnector(ssl=False, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        async with self._session.post(
            peer.url + PATH,
            data=question,
            headers={"Content-Type": MEDIA_TYPE},
            allow_redirects=False,
        ) as answer:
            if answer.status != 200:
                return _STATUSES.get(answer.status, "failed")
            if answer.content_type != MEDIA_TYPE:
                return "other_version"
            async for octets in answer.content.iter_any():
                for part in opener.feed(octets):
                    found.extend(piece.found() for piece in part.pieces)
                    if part.last:
                        return part.why if part.why in WHY or not part.why else "other_version"
            return "away"  # it went in the midst of its answer
