"""`zhengming number`: the life of filings by hand, by the functions that the API calls."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.commands import common
from gateway.commands.working import acting
from gateway.config import Config
from gateway.registry import filings
from gateway.registry.acting import ROLES, Actor
from gateway.registry.filings import FilingFilter
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
    does: Do = {"list": _list, "show": _show, "suspend": _suspend, "resume": _resume}.get(
        options.doing, _step
    )
    async with acting(dsn, options.by, ROLES) as (c, actor):
        return await does(c, actor, loaded, options)


async def _list(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> int:
    wanted = FilingFilter(status=options.status)
    found = await filings.page(c, actor, 0, options.limit, wanted)
    common.print_all([_row(filing) for filing in found], as_json=options.json)
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
