"""Complaints, appeals and cases by hand, by the functions that the API calls and for the same roles."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel

from gateway import app
from gateway.commands import common
from gateway.commands.working import acting, read, whichever
from gateway.config import Config
from gateway.errors import UsageError
from gateway.registry import appeals, cases
from gateway.registry.acting import Actor
from gateway.registry.complaints import Complaints, NewComplaint
from gateway.registry.deadlines import Terms, terms_of
from gateway.registry.keys import load_key

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

    Do = Callable[["Work", argparse.Namespace], Awaitable[Sequence[BaseModel]]]

REGULATOR = frozenset({"regulator"})
WATCHERS = REGULATOR | {"auditor"}
HOLDERS = frozenset({"institution", "agency", "provider"})
SEES = {
    "complaint": WATCHERS | {"institution"},
    "appeal": WATCHERS | HOLDERS,
    "case": WATCHERS,
}
"""Who may list and show; all else is a regulator's, but for the filing of an appeal."""


def roles_of(kind: str, act: str) -> frozenset[str]:
    """Who may do this: `complaint`, `appeal` or `case`, and what is done."""
    if act in ("list", "show"):
        return SEES[kind]
    if act == "timeline":
        return WATCHERS
    return HOLDERS if (kind, act) == ("appeal", "file") else REGULATOR


class Work:
    """One command at work."""

    def __init__(self, c: "Connection", actor: Actor, loaded: Config) -> None:
        self.c = c
        self.actor = actor
        self.loaded = loaded
        self.now = datetime.now(UTC)

    @property
    def terms(self) -> Terms:
        return terms_of(self.loaded.cases)

    @property
    def complaints(self) -> Complaints:
        return Complaints(load_key(app.registry_key(self.loaded)), self.terms)


def complaint(options: argparse.Namespace) -> int:
    if options.doing == "timeline":
        return _timeline(options)
    return _do("complaint", options, _complaint)


def appeal(options: argparse.Namespace) -> int:
    return _do("appeal", options, _appeal)


def case(options: argparse.Namespace) -> int:
    return _do("case", options, _case)


def _do(kind: str, options: argparse.Namespace, does: "Do") -> int:
    loaded = common.load(options)

    async def work(dsn: str) -> Sequence[BaseModel]:
        async with acting(dsn, options.by, roles_of(kind, options.doing)) as (c, actor):
            return await does(Work(c, actor, loaded), options)

    with common.database(loaded) as dsn:
        found = asyncio.run(work(dsn))
    limit = options.limit if options.doing == "list" else len(found)
    common.print_first([one.model_dump(mode="json") for one in found], limit, as_json=options.json)
    return 0


def _timeline(options: argparse.Namespace) -> int:
    # these bring the web's modules, which no other command here needs
    from gateway.commands.looking import told_of  # noqa: PLC0415
    from gateway.web.finding import before  # noqa: PLC0415

    loaded = common.load(options)

    async def whose(c: "Connection", actor: Actor) -> dict[str, object]:
        subscriber, happened = await Work(c, actor, loaded).complaints.about(c, options.id)
        return {"subscriber": subscriber, "since": before(happened)}

    return told_of(loaded, options, whose, f"complaints/{options.id}")


async def _complaint(work: Work, options: argparse.Namespace) -> Sequence[BaseModel]:
    c, actor, now, known = work.c, work.actor, work.now, work.complaints
    match options.doing:
        case "receive":
            new = read(
                NewComplaint,
                subscriber=options.subscriber,
                number=options.number,
                channel=options.channel,
                at=options.at,
                content=options.content,
                source=options.source,
                reference=options.reference or None,
            )
            return [await known.receive(c, actor, new, now)]
        case "list":
            return await known.page(c, actor, now, limit=options.limit + 1, overdue=options.overdue)
        case "show":
            return [await known.get(c, actor, options.id, now)]
        case "forward":
            return [await known.forward(c, actor, options.id, now)]
        case _:
            return [await known.answer(c, actor, options.id, options.answer, now)]


async def _appeal(work: Work, options: argparse.Namespace) -> Sequence[BaseModel]:
    c, actor, now, terms = work.c, work.actor, work.now, work.terms
    match options.doing:
        case "file":
            new = read(
                appeals.NewAppeal,
                against_kind=options.kind,
                against=options.against,
                grounds=options.grounds,
                document_sha256=options.document or None,
            )
            return [await appeals.file(c, actor, new, terms, now)]
        case "list":
            return await appeals.page(c, terms, now, limit=options.limit + 1, overdue=options.overdue)
        case "show":
            return [await appeals.get(c, options.id, terms, now)]
        case _:
            return [await appeals.answer(c, actor, options.id, options.decision, options.answer, terms, now)]


async def _case(work: Work, options: argparse.Namespace) -> Sequence[BaseModel]:
    c, actor, now = work.c, work.actor, work.now
    match options.doing:
        case "open":
            new = read(cases.NewCase, title=options.title, due=options.due or None)
            return [await cases.open_case(c, actor, new, work.terms, now)]
        case "list":
            return await cases.page(
                c, now, limit=options.limit + 1, overdue=options.overdue, status=options.status
            )
        case "show":
            return [await cases.get(c, options.id, now)]
        case "change":
            given = {"title": options.title, "due": options.due, "assigned_to": options.assign}
            change = read(cases.CaseChange, **{name: value for name, value in given.items() if value})
            if not change.model_fields_set:
                raise UsageError("case change: nothing to change; right would be --title, --due or --assign")
            return [await cases.change(c, actor, options.id, change, whichever, work.terms, now)]
        case "tie":
            item = read(cases.NewItem, kind=options.kind, reference=options.reference, note=options.note)
            return [await cases.tie(c, actor, options.id, item, now)]
        case "refer":
            referral = read(
                cases.NewReferral,
                authority=options.authority,
                reason=options.reason,
                reference=options.reference,
                document_sha256=options.document or None,
            )
            return [await cases.refer(c, actor, options.id, referral, now)]
        case _:
            return [await cases.close(c, actor, options.id, options.outcome, now)]
