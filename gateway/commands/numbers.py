"""`zhengming number`: the life of filings by hand, by the functions that the API calls."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.commands import common
from gateway.commands.registry_arguments import FILED, LISTS
from gateway.commands.working import acting, plain, read
from gateway.config import Config
from gateway.registry import filings
from gateway.registry.acting import Actor
from gateway.registry.filings import FilingChange, FilingFilter, NewFiling
from gateway.registry.shown import Filing

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

    Do = Callable[[Connection, Actor, Config, argparse.Namespace], Awaitable[int]]


def number(options: argparse.Namespace) -> int:
    """1 when a step was refused to any of the numbers."""
    loaded = common.load(options)
    with common.database(loaded) as dsn:
        return asyncio.run(_do(dsn, loaded, options))


async def _do(dsn: str, loaded: Config, options: argparse.Namespace) -> int:
    roles, does = ACTS.get(options.doing, (SEERS, _step))
    async with acting(dsn, options.by, roles) as (c, actor):
        done = await does(c, actor, loaded, options)
    if options.doing == "history":
        async with plain(dsn) as c:  # of a filing that he sees, all that it was
            found = await filings.history(c, options.id)
        common.print_all([one.model_dump(mode="json") for one in found], as_json=options.json)
    return done


async def _seen(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    await filings.get(c, options.id)
    return 0


async def _draft(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    filed = _filed(options)
    if options.institution:
        filed["institution"] = options.institution
    made = await filings.create(c, actor, read(NewFiling, number=options.number, **filed))
    common.print_all([_row(made)], as_json=options.json)
    return 0


async def _change(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    filing = await filings.get(c, options.id)
    does = filings.amend if options.doing == "amend" else filings.change
    made = await does(c, actor, filing, read(FilingChange, **_filed(options)))
    common.print_all([_row(made)], as_json=options.json)
    return 0


def _filed(options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of a filing; an empty one says that there is none."""
    given: dict[str, Any] = {}
    for name in FILED:
        if hasattr(options, name):
            said = getattr(options, name)
            given[name] = [one for one in said if one] if name in LISTS else None if said == "" else said
    if "document" in given:
        given["document_sha256"] = given.pop("document")
    return given


async def _list(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    wanted = FilingFilter(status=options.status)
    found = await filings.page(c, actor, 0, options.limit + 1, wanted)
    common.print_first([_row(filing) for filing in found], options.limit, as_json=options.json)
    return 0


async def _show(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    found = [await filings.get(c, identity) for identity in options.ids]
    rows = []
    for filing in found:
        taken = await filings.steps(c, filing.id, 0, 1_000)
        said = [
            " ".join(filter(None, (_moment(one.at), one.step, one.by or one.role, one.reason)))
            for one in taken
        ]
        rows.append(filing.model_dump(mode="json") | {"steps": said})
    common.print_all(rows, as_json=options.json)
    return 0


async def _step(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    documents = loaded.registry.require_documents
    refused = await filings.step(c, actor, options.ids, options.doing, options.reason, documents=documents)
    why = {identity: str(problem) for identity, problem in refused}
    rows: list[dict[str, Any]] = [
        {"id": identity, "refused": why[identity]}
        if identity in why
        else _row(await filings.get(c, identity))
        for identity in options.ids
    ]
    common.print_all(rows, as_json=options.json)
    return 1 if refused else 0


async def _suspend(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    end = common.instant("--until", options.until, 0)
    until = datetime.fromtimestamp(end / 1000, UTC) if end else None
    for identity in options.ids:
        await filings.suspend(c, actor, identity, options.cause, case=options.case, until=until)
    return await _shown(c, options)


async def _resume(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    for identity in options.ids:
        await filings.resume(c, actor, identity, options.reason, hold=options.hold)
    return await _shown(c, options)


async def _shown(c: "Connection", options: argparse.Namespace) -> int:
    rows = [_row(await filings.get(c, identity)) for identity in options.ids]
    common.print_all(rows, as_json=options.json)
    return 0


def _moment(at: datetime) -> str:
    return at.astimezone(common.SHANGHAI).isoformat()


def _row(filing: Filing) -> dict[str, Any]:
    row = filing.model_dump(
        mode="json",
        include={"id", "number", "institution", "agency", "carrier", "purposes", "status", "standing"},
    )
    return row | {"causes": " ".join(filing.causes)}


FILERS = ("agency", "institution")
SEERS = ("agency", "auditor", "carrier", "institution", "regulator")
ACTS: "dict[str, tuple[Sequence[str], Do]]" = {
    "draft": (FILERS, _draft),
    "change": (FILERS, _change),
    "amend": (("institution",), _change),
    "list": (SEERS, _list),
    "history": (SEERS, _seen),
    "show": (SEERS, _show),
    "suspend": (("regulator",), _suspend),
    "resume": (("regulator",), _resume),
}
"""Who may do what, and how it is done; everything else is a step, which has its own roles."""
