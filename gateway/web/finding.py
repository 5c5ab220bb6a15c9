"""Records of this node's journals, for the API and the pages: who may see which, and in what words.

Journals are read in a thread. A record belongs to the carrier, institution and agency that it names; what
belongs to somebody else is missing. Subscribers are masked, and texts left out, unless a reveal is asked for,
which takes a reason and is audited by who asks (resources/finding.py).
"""

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.evidence.search import Found, Search, Shown, plain
from gateway.registry.acting import Actor
from gateway.registry.timeline import Event
from gateway.web.site import Site

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
KEPT = datetime.timedelta(days=150)
"""How far back a search goes when it says nothing else (domain.md "Kept")."""

HIDDEN = ("text",)
"""Of a record, what only a reveal shows."""


def search_of(site: Site) -> Search:
    return Search(site.data_dir / "journal", Keys(site.data_dir / "keys"))


def may_see(actor: Actor) -> Callable[[rec.Record], bool]:
    """Whether a record is one that this actor may see."""
    code = actor.institution_code
    if actor.role in {"regulator", "auditor"}:
        return lambda record: isinstance(record, rec.Attempt | rec.Reply)
    if actor.role == "carrier":
        return lambda record: (
            record.judged.carrier == actor.carrier
            if isinstance(record, rec.Attempt)
            else isinstance(record, rec.Reply) and record.carrier == actor.carrier
        )
    if actor.role == "agency":
        return lambda record: isinstance(record, rec.Attempt) and record.judged.agency == code
    return lambda record: (
        record.judged.institution == code
        if isinstance(record, rec.Attempt)
        else isinstance(record, rec.Reply) and record.institution == code
    )


async def show(site: Site, actor: Actor, identity: bytes) -> Shown | None:
    """A record and what followed it; None when there is none for this actor."""
    shown = await asyncio.to_thread(search_of(site).show, identity)
    return shown if shown is not None and may_see(actor)(shown.found.record) else None


async def find(
    site: Site,
    actor: Actor,
    *,
    number: str = "",
    subscriber: str = "",
    since: int = 0,
    until: int = 1 << 62,
    verdict: str = "",
    limit: int = 100,
) -> list[Found]:
    """The newest `limit` records that match, oldest of them first."""

    def look() -> list[Found]:
        seen = may_see(actor)
        found = search_of(site).find(
            number=number, subscriber=subscriber, since=since, until=until, verdict=verdict
        )
        newest: list[Found] = []
        for one in found:
            if seen(one.record):
                newest.append(one)
                if len(newest) >= 2 * limit:
                    del newest[:limit]
        return newest[-limit:]

    return await asyncio.to_thread(look)


def masked(what: Found | Shown) -> dict[str, Any]:
    """As JSON may say it to anybody who may see it."""
    said = plain(what)
    for name in HIDDEN:
        said.pop(name, None)
    said.pop("sealed_by", None)
    for report in said.get("reports", ()):
        report.pop("sealed_by", None)
    return said


def event_of(found: Found) -> Event:
    """An attempt or reply as an event of a subscriber's timeline."""
    said = plain(found)
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
        record=said.get("id", ""),
    )


def instants(since: datetime.datetime | None, until: datetime.datetime | None) -> tuple[Any, Any]:
    """A span in which nothing was said about one end: the time that records are kept, until now."""
    now = datetime.datetime.now(SHANGHAI)
    return since or now - KEPT, until or now + datetime.timedelta(seconds=1)


def milliseconds(at: datetime.datetime) -> int:
    return int(at.timestamp() * 1000)
