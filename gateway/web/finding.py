"""Records of all nodes' journals, for the API and the pages: who may see which, and in what words.

A search holds no connection of the database while nodes look (evidence/everywhere.py). A record belongs to
the carrier, institution and agency that it names, and to the holder of the account that sent it; what belongs
to somebody else, or to another territory than a regulator's, is missing. Subscribers are masked, and texts
left out, unless a reveal is asked for, which takes a reason and is audited by who asks
(resources/finding.py).
"""

import datetime
from typing import Any, Protocol

from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.between import Held, Scope, Wanted
from gateway.evidence.everywhere import WHY, Missing, Nodes, Peer, peers
from gateway.evidence.found import Shown
from gateway.evidence.plain import plain
from gateway.registry.acting import READ_SECONDS, Actor, Door
from gateway.registry.bodies import in_order
from gateway.registry.keys import RegistryKey
from gateway.registry.timeline import Event
from gateway.web.site import Site

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
KEPT = datetime.timedelta(days=150)
"""How far back a search goes when it says nothing else (domain.md "Kept")."""


class Knowing(Protocol):
    """What finding takes: the way to the database, to all nodes' journals, and the registry's key."""

    @property
    def door(self) -> Door: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def key(self) -> RegistryKey: ...


class NotAsked(BaseModel):
    """A node whose records may be missing, in whole or in part."""

    node: str
    why: str = Field(json_schema_extra={"enum": list(WHY)})


MOST_ACCOUNTS = 1000
"""Of one holder or territory, whose attempts are looked for."""
MOST_CODES = 10_000
"""Of the institutions of one territory."""

_HELD = "SELECT carrier, protocol, account, since FROM my_accounts() ORDER BY account LIMIT $1"
_THEIRS = """SELECT carrier, protocol, account, held_since(id) AS since FROM accounts
              ORDER BY account LIMIT $1"""


async def scope_of(site: "Knowing", actor: Actor) -> Scope:
    """Whose records this actor may see."""
    territorial = actor.role == "regulator" and actor.territory
    if actor.role in {"regulator", "auditor"} and not territorial:
        return Scope(actor.role)
    if actor.role == "carrier":
        return Scope(actor.role, actor.carrier)
    codes: tuple[str, ...] = ()
    async with site.door.acting(actor, seconds=READ_SECONDS) as c:
        if territorial:
            rows = await c.fetch("SELECT code FROM institutions ORDER BY code LIMIT $1", MOST_CODES)
            codes = tuple(code for (code,) in rows)
        rows = await c.fetch(_THEIRS if territorial else _HELD, MOST_ACCOUNTS)
    held = tuple(
        Held(carrier, protocol, account, milliseconds(since) if since is not None else 0)
        for carrier, protocol, account, since in rows
    )
    if territorial:
        return Scope("territory", "", held, codes)
    return Scope(actor.role, actor.institution_code, held)


async def show(
    site: Site, actor: Actor, identity: bytes, *, texts: bool = False
) -> tuple[Shown, list[NotAsked]] | None:
    """A record and what followed it, and the nodes that may know of more that did; None when there is none
    for this actor. Problem `busy` when a node that may have it did not answer."""

    async def others() -> list[Peer]:
        return await _others(site, actor, rec.time_of(identity))

    wanted = Wanted(identity=identity, texts=texts)
    shown, missing = await site.nodes.show(others, await scope_of(site, actor), wanted)
    if shown is None and missing:
        node, why = missing[0]
        raise Problem(
            "busy",
            Words(f"节点 {node} {WHY[why].zh}，稍后重试", f"node {node} {WHY[why].en}; try again later"),
            facts={"incomplete": [one.node for one in missing]},
        )
    return (shown, _not_asked(missing)) if shown is not None else None


async def find(site: Knowing, actor: Actor, wanted: Wanted) -> tuple[list[Shown], list[NotAsked]]:
    """The newest that match, oldest of them first, of all nodes, with what followed them; and the nodes that
    may have more of either."""
    others = await _others(site, actor, wanted.since)
    found, missing = await site.nodes.find(others, await scope_of(site, actor), wanted)
    silent = {one.node for one in missing}
    shown, further = await site.nodes.follow_all(found, [one for one in others if one.name not in silent])
    return shown, _not_asked([*missing, *(one for one in further if one.node not in silent)])


def _not_asked(missing: list[Missing]) -> list[NotAsked]:
    return [NotAsked(node=one.node, why=one.why) for one in missing]


def more_than(oldest: Shown) -> NotAsked:
    """What is said when this one, the oldest, is left out for want of room."""
    return NotAsked(node=plain(oldest)["node"], why="more")


async def _others(site: Knowing, actor: Actor, since: int) -> list[Peer]:
    async with site.door.acting(actor, seconds=READ_SECONDS) as c:
        return await peers(c, site.nodes.own, since)


def masked(what: Shown, *, alone: bool = False) -> dict[str, Any]:
    """As JSON may say it to anybody who may see it; `alone` as in `plain`."""
    said = plain(what, alone=alone)
    said.pop("sealed_by", None)
    for report in said.get("reports", ()):
        report.pop("sealed_by", None)
    return said


def is_told_elsewhere(shown: Shown) -> bool:
    """Whether it is a part of a long reply, which another record says as a whole."""
    record = shown.found.record
    return isinstance(record, rec.Reply) and half_read.is_part(record)


def event_of(shown: Shown) -> Event:
    """An attempt or reply as an event of a subscriber's timeline."""
    found, said = shown.found, plain(shown)
    return Event.model_construct(
        at=datetime.datetime.fromtimestamp(found.record.at / 1000, SHANGHAI),
        kind=said["kind"],
        institution=said.get("institution", ""),
        agency=said.get("agency", ""),
        number=said.get("number", ""),
        channel=said.get("channel", "sms"),
        verdict=said.get("verdict", ""),
        reason=said.get("reason", "") or said.get("meaning", ""),
        purpose=said.get("purpose", ""),
        mandate=said.get("mandate", 0),
        outcome=str(said.get("outcome", "")),
        delivery=said.get("delivery", ""),
        delivery_at=said.get("delivery_at", ""),
        record=said.get("id", ""),
    )


def instants(since: datetime.datetime | None, until: datetime.datetime | None) -> tuple[Any, Any]:
    """A span in which nothing was said about one end: the time that records are kept, until now. Problem
    `invalid` when it ends before it begins."""
    in_order(since, until, "until")
    now = datetime.datetime.now(SHANGHAI)
    return since or now - KEPT, until or now + datetime.timedelta(seconds=1)


def before(happened: datetime.datetime) -> datetime.datetime:
    """Where the timeline of a complaint begins: as any other, or a day before what it complains of."""
    return min(datetime.datetime.now(SHANGHAI) - KEPT, happened - datetime.timedelta(days=1))


def milliseconds(at: datetime.datetime) -> int:
    return int(at.timestamp() * 1000)
