"""What the API finds, by hand: `zhengming scrub`, `intercepts`, `stats`, `records timeline` and `export`."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from tqdm import tqdm

from gateway import app, handed
from gateway.commands import common, evidence
from gateway.commands.working import acting, read
from gateway.config import Config
from gateway.errors import Problem, UsageError
from gateway.evidence import everywhere
from gateway.evidence.between import Scope, Wanted
from gateway.evidence.everywhere import Missing, Nodes
from gateway.evidence.found import Found, Shown
from gateway.evidence.plain import plain
from gateway.model import CHANNELS
from gateway.registry import quotas
from gateway.registry.acting import Actor, Door
from gateway.registry.in_force import InForce
from gateway.registry.keys import RegistryKey, load_key
from gateway.registry.sheets import CsvSink, WholeFile
from gateway.registry.timeline import Event
from gateway.web.api import Page
from gateway.web.finding import KEPT, NotAsked
from gateway.web.resources import finding, judging
from gateway.web.resources.finding import InterceptFilter, TimelineWanted

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

MOST_SCRUBBED = 1000
PAGE = 1000
"""Records that are found at once: what followed them is asked of all nodes."""
COLUMNS = (
    *("kind", "id", "at", "carrier", "node", "protocol", "account", "channel", "number", "subscriber"),
    *("verdict", "reason", "sub", "institution", "agency", "purpose", "region", "profile"),
    *("registry_version", "delivery", "delivery_at", "delivery_stat", "text"),
)
"""Of a CSV file; JSON Lines say all."""


def scrub(options: argparse.Namespace) -> int:
    """Each by his place; asked for more than a day's quota nobody is told."""
    loaded = common.load(options)
    subscribers = [*options.subscribers, *_listed(options.file)]
    if not subscribers:
        raise UsageError("scrub: nobody to look for; right would be SUBSCRIBER …, or --file FILE")
    lists = [
        read(
            judging.Scrub,
            number=options.number,
            channel=options.channel,
            subscribers=subscribers[at : at + MOST_SCRUBBED],
        )
        for at in range(0, len(subscribers), MOST_SCRUBBED)
    ]
    view = evidence.replica_of(loaded).snapshot()
    in_force = InForce(handed.profile_of(loaded))

    async def may(dsn: str) -> None:
        every = [one for asked in lists for one in asked.subscribers]
        try:
            async with acting(dsn, options.by, judging.HOLDERS) as (c, actor):
                channel = CHANNELS[options.channel]
                await judging.only_own(c, actor, view, lists[0].number, channel, evidence.now())
                await quotas.use(c, actor, "scrub", len(every), loaded.web.scrub_per_day)
            alarm = "enumeration" if quotas.counted_up(every) else ""
        except Problem as problem:
            if problem.code != "quota_used":
                raise
            await _alarm(dsn, actor, "quota", asked="scrub")
            raise
        if alarm:
            await _alarm(dsn, actor, alarm, subscribers=len(every))

    with common.database(loaded) as dsn:
        asyncio.run(may(dsn))
    found = [
        one.model_copy(update={"place": turn * MOST_SCRUBBED + one.place})
        for turn, asked in enumerate(lists)
        for one in judging.reached(asked, view, in_force, loaded.node.carrier).results
    ]
    common.print_all([one.model_dump() for one in found], as_json=options.json)
    return 0


def _listed(file: Path | None) -> list[str]:
    """The lines of a file; nothing for none."""
    try:
        text = file.read_text("utf-8-sig") if file is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file}: {error}; right would be a text file with one subscriber on each line"
        ) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


async def _alarm(dsn: str, actor: Actor, kind: str, **detail: int | str) -> None:
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c:
            await quotas.alarm(c, actor, kind, **detail)
    finally:
        await door.close()


def intercepts(options: argparse.Namespace) -> int:
    names = ("number", "institution", "reason", "since", "until", "limit")
    wanted = read(InterceptFilter, **{name: getattr(options, name) for name in names})

    async def work(dsn: str) -> Page[finding.Intercept]:
        async with acting(dsn, options.by, finding.READERS) as (c, actor):
            return await finding.intercepts_of(c, actor, wanted)

    with common.database(common.load(options)) as dsn:
        found = asyncio.run(work(dsn))
    rows = [one.model_dump(mode="json") for one in found.items]
    common.print_first(rows + [{}] * (found.next is not None), len(rows), as_json=options.json)
    return 0


def stats(options: argparse.Namespace) -> int:
    async def work(dsn: str) -> finding.Stats:
        async with acting(dsn, options.by, finding.READERS) as (c, actor):
            return await finding.stats_of(c, actor)

    with common.database(common.load(options)) as dsn:
        found = asyncio.run(work(dsn)).model_dump()
    common.print_all([found], as_json=options.json)
    return 0


class Knowing(NamedTuple):
    """What a timeline is found by (web/finding.py)."""

    door: Door
    nodes: Nodes
    key: RegistryKey


def timeline(options: argparse.Namespace) -> int:
    async def whose(c: "Connection", actor: Actor) -> dict[str, object]:
        span = {"since": options.since or None, "until": options.until or None}
        return {"subscriber": options.subscriber, **span}

    return told_of(common.load(options), options, whose, "subscribers")


def told_of(
    loaded: Config,
    options: argparse.Namespace,
    whose: "Callable[[Connection, Actor], Awaitable[Mapping[str, object]]]",
    subject: str,
) -> int:
    """Print the timeline of whom `whose` names; it goes on the audit under `subject`."""

    async def work(dsn: str) -> tuple[list[Event], list[NotAsked]]:
        async with acting(dsn, options.by, finding.WATCHERS) as (c, actor):
            wanted = read(TimelineWanted, **await whose(c, actor), reason=options.reason)
        door = await Door.open(dsn, size=1)
        try:
            async with evidence.all_nodes(loaded) as nodes:
                knowing = Knowing(door, nodes, load_key(app.registry_key(loaded)))
                return await finding.timeline_of(knowing, actor, wanted, subject)
        finally:
            await door.close()

    with common.database(loaded) as dsn:
        events, incomplete = asyncio.run(work(dsn))
    evidence.say_missing([Missing(one.node, one.why) for one in incomplete])
    common.print_all([event.model_dump(mode="json") for event in events], as_json=options.json)
    return 0


def records_export(options: argparse.Namespace) -> int:
    """What `records find` finds, all of it; full numbers and texts for a reason, on the audit before the file
    is there."""
    loaded = common.load(options)
    wanted = evidence.wanted_of(loaded, options, PAGE)
    if options.reveal:
        evidence.audited(loaded, options, [], wanted)
    sink = sink_of(options.file)
    try:
        count = asyncio.run(_write(loaded, wanted, options, sink))
        sink.close()
    except BaseException:
        sink.discard()
        raise
    print(f"records: {count} written to {options.file}")
    return 0


async def _write(loaded: Config, wanted: Wanted, options: argparse.Namespace, sink: "Sink") -> int:
    count = 0
    with tqdm(desc=f"records → {options.file.name}", disable=None, unit_scale=True) as bar:
        async for page in pages(loaded, wanted, here=options.here):
            for one in page:
                sink.write(plain(one, revealed=options.reveal, alone=True))
            count += len(page)
            bar.update(len(page))
    return count


async def pages(loaded: Config, wanted: Wanted, *, here: bool) -> AsyncIterator[list[Shown]]:
    """All that is wanted, oldest first, some hundreds at once. This node's own are read as they stand; where
    others are asked as well, all are asked for one stretch of time after the other."""
    others = [] if here else await evidence.others_of(loaded, wanted.since)
    if not others:
        own = evidence.search_of(loaded)
        found = everywhere.matching(own, Scope(), msgspec.structs.replace(wanted, limit=0))
        while page := await asyncio.to_thread(lambda: list(islice(found, PAGE))):
            yield await asyncio.to_thread(own.with_followers, page)
        return
    missing: dict[str, Missing] = {}
    async with evidence.all_nodes(loaded) as nodes:

        async def ask(since: int, until: int, limit: int) -> list[Found] | None:
            asked = msgspec.structs.replace(wanted, since=since, until=until, limit=limit)
            answering = [one for one in others if one.name not in missing]
            there, silent = await nodes.find(answering, Scope(), asked)
            if until - since > 1 and any(one.why == "slow" for one in silent):
                return None
            missing.update((one.node, one) for one in silent)
            return there

        since = max(wanted.since, wanted.until - KEPT // timedelta(milliseconds=1))
        async for found_there in stretches(ask, since, wanted.until):
            answering = [one for one in others if one.name not in missing]
            shown, silent = await nodes.follow_all(found_there, answering)
            missing.update((one.node, one) for one in silent)
            yield shown
    evidence.say_missing([*missing.values()])


async def stretches(
    ask: Callable[[int, int, int], Awaitable[list[Found] | None]], since: int, until: int
) -> AsyncIterator[list[Found]]:
    """What `ask` gives of one stretch of time (ms) after the other: each so long that it holds at most `PAGE`
    records, as far as 1 ms allows. `ask` takes beginning, end and how many; None: it took too long."""
    length = until - since
    while since < until:
        end = min(since + length, until)
        found = await ask(since, end, PAGE + 1)
        if found is None or len(found) > PAGE:
            if length > 1:
                length //= 2
                continue
            found = await ask(since, end, everywhere.MOST) or []
        if found:
            yield found
        since = end
        if len(found) < PAGE // 4:
            length *= 2


class JsonLines(WholeFile):
    """A file of JSON values, one on each line."""

    def write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class Table:
    """The `COLUMNS` as CSV; formulas are disarmed."""

    def __init__(self, path: Path) -> None:
        self._sink = CsvSink(path)
        self._sink.write([*COLUMNS])

    def write(self, row: Mapping[str, Any]) -> None:
        self._sink.write([str(row.get(name, "")) for name in COLUMNS])

    def close(self) -> None:
        self._sink.close()

    def discard(self) -> None:
        self._sink.discard()


Sink = JsonLines | Table


def sink_of(path: Path) -> Sink:
    """By its extension. UsageError for any other."""
    match path.suffix.lower():
        case ".csv":
            return Table(path)
        case ".jsonl":
            return JsonLines(path)
        case other:
            raise UsageError(f"{path}: extension {other!r}; right would be .csv or .jsonl")
