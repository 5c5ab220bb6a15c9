"""Builds each process of a node out of its configuration. This file alone knows everything.

`acceptor`, `worker`, `keeper` and `web` are the bodies of those processes; each runs until SIGTERM or
SIGINT, says once a second how it is (`status`), and takes SIGHUP as "take over what the supervisor handed
down anew" (`handed`).
"""

import asyncio
import contextlib
import dataclasses
import errno
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import uvloop

from gateway import direct, regions, status
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.handed import Handed, handed
from gateway.supervisor import die_with_parent, takes_reloads
from gateway.telemetry import Telemetry, logger
from gateway.values import endpoint

if TYPE_CHECKING:
    from gateway.evidence.journal import Journal

T = TypeVar("T")

KEEPER = "keeper"
"""The writer of registry acts; workers are w0, w1, …"""

SCHEMA_SECONDS = 3.0
"""How long the keeper waits for the database's schema before it serves the replica that is there."""

GC_THRESHOLD = (50_000, 20, 100)
"""A message makes no cycles; the default would walk all that is remembered many times a second."""

PARENT_VARIABLE = "ZHENGMING_SUPERVISOR"
"""Process id of the supervisor, in the environment of the parts that it starts."""

FULL = 0.8
"""Share of the replica's fixed size at which an alarm is raised."""

SWITCH_SECONDS = 0.0005
"""How long one thread keeps the interpreter: the journal's thread must not wait the default 5 ms."""


def run_dir(config: Config) -> Path:
    return config.data_dir / "run"


def make_data_dir(config: Config) -> None:
    """Make the node's folder if it is missing. Raises UsageError when that fails, or it can't be written."""
    folder = config.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "not writable for this user")
    except OSError as error:
        raise UsageError(
            f"node.data_dir = {str(folder)!r}: {error.strerror}; right would be a folder that"
            " this user may make or write to"
        ) from None


def registry_key(config: Config) -> Path:
    """The key of the registry's look-ups, which all nodes of one database share."""
    return config.data_dir / "keys" / "registry.key"


@dataclasses.dataclass
class Process:
    """What every part has: its settings, log, metrics, status, and the wish to stop or reload."""

    path: Path
    handed: Handed
    log: logging.Logger
    telemetry: Telemetry
    status: status.Status
    stop: asyncio.Event
    on_reload: Callable[[Handed], None] | None = None

    @property
    def config(self) -> Config:
        return self.handed.config

    def reload(self) -> None:
        self.handed = handed(self.path)
        if self.on_reload is not None:
            self.on_reload(self.handed)
        self.log.info("configuration reloaded")

    async def say_until_stopped(self, ready: Callable[[], str]) -> None:
        """Say once a second whether this part is ready (`ready` gives what is missing, or "")."""
        while not self.stop.is_set():
            why = ready()
            self.status.say(ready=not why, why=why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), 1.0)
        self.status.say(ready=False, why="stopping")


def run(role: str, path: Path, body: Callable[[Process], Awaitable[None]]) -> int:
    """Run one part by what stands in `path` until it is told to stop; its exit code."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent:
        die_with_parent(int(parent))
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvloop.run(_run(role, path, handed(path), body))


async def _run(role: str, path: Path, settings: Handed, body: Callable[[Process], Awaitable[None]]) -> int:
    log, said = logger(role), status.Status(run_dir(settings.config), role)
    try:
        telemetry = Telemetry()
    except OSError as error:
        said.say(ready=False, why=f"no room for metrics: {error}")
        log.error("part ended", extra={"fields": {"error": str(error)}})
        return 1
    process = Process(path, settings, log, telemetry, said, asyncio.Event())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop.set)
    loop.add_signal_handler(signal.SIGHUP, process.reload)
    takes_reloads()
    try:
        await body(process)
    except (NotReady, UsageError, OSError) as error:
        process.status.say(ready=False, why=str(error))
        log.error("part ended", extra={"fields": {"error": str(error)}})
        return 1
    except Exception as error:
        process.status.say(ready=False, why=repr(error))
        log.exception("part failed")
        return 1
    process.status.leave()
    return 0


async def acceptor(process: Process) -> None:
    """Listens for senders; its listeners close first in a drain."""
    from gateway.relay.acceptor import Acceptor  # noqa: PLC0415  # a part imports what it runs only

    config = process.config
    door = Acceptor(config.sms, run_dir(config), config.workers, process.telemetry, process.log)
    door.listen()
    serving = asyncio.create_task(door.serve())
    await process.say_until_stopped(lambda: "" if not serving.done() else "stopped listening")
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def worker(process: Process, index: int) -> None:
    """Relays and judges for the accounts that are its own."""
    from gateway.evidence.journal import Journal  # noqa: PLC0415
    from gateway.evidence.said import Sayings  # noqa: PLC0415
    from gateway.evidence.seal import Keys  # noqa: PLC0415
    from gateway.evidence.search import Search  # noqa: PLC0415
    from gateway.registry.keys import load_key  # noqa: PLC0415
    from gateway.registry.replica import Replica  # noqa: PLC0415
    from gateway.relay import handoff  # noqa: PLC0415
    from gateway.relay.confirming import Confirmations  # noqa: PLC0415
    from gateway.relay.contacts import Contacts  # noqa: PLC0415
    from gateway.relay.context import Context  # noqa: PLC0415
    from gateway.relay.direct import Direct  # noqa: PLC0415
    from gateway.relay.presses import Presses  # noqa: PLC0415
    from gateway.relay.returns import Returns  # noqa: PLC0415
    from gateway.relay.screen import Screen  # noqa: PLC0415
    from gateway.relay.worker import Worker  # noqa: PLC0415

    config, log, telemetry = process.config, process.log, process.telemetry
    data_dir, node = config.data_dir, config.node.name
    profile = process.handed.profile
    writer = f"w{index}"
    keys, key = Keys(data_dir / "keys"), load_key(registry_key(config))
    replica = Replica.open(data_dir / "registry", key)
    view = await _when_ready(process, replica.snapshot)
    if view is None:
        return
    drains: list[asyncio.Task[None]] = []

    def on_poisoned(why: str) -> None:
        log.error("journal poisoned", extra={"fields": {"error": why}})
        drains.append(asyncio.create_task(relay.drain("journal_poisoned")))

    def on_commit(_: int, octets: int, seconds: float) -> None:
        telemetry.written += octets
        telemetry.journal_sync.observe(seconds)

    journal = Journal(
        data_dir / "journal",
        node=node,
        writer=writer,
        keys=keys,
        durability=config.evidence.durability,
        apply=replica.add_local_refusals,
        on_full=lambda full: log.warning("journal", extra={"fields": {"full": full}}),
        on_poisoned=on_poisoned,
        on_commit=on_commit,
    )
    contacts = Contacts(data_dir / "contacts", writer)
    cities = regions.Regions(data_dir / "regions.bin")
    screen = Screen(node, view, profile, journal, contacts, cities, telemetry, log)
    context = Context(Sayings(data_dir / "journal", keys))
    confirmation = config.policy.confirmation
    confirmations = Confirmations(node, screen, cities, telemetry, log, confirmation)
    returns = Returns(node, screen, key, contacts, context, confirmations, telemetry)
    presses = Presses(node, screen, key, returns, telemetry)
    asked = Direct(screen, presses, data_dir / "asked", writer, Search(data_dir / "journal", keys), log)
    relay = Worker(
        config.sms,
        config.node.carrier,
        index,
        config.workers,
        screen,
        returns,
        confirmations,
        replica.receiving,
        telemetry,
        log,
    )

    def reload(fresh: Handed) -> None:
        screen.use(fresh.profile)
        confirmations.text = fresh.config.policy.confirmation
        relay.listeners = fresh.config.sms

    def missing() -> str:
        if why := journal_missing(journal, writer, telemetry):
            return why
        try:
            replica.check()
            view.renew()
        except NotReady as error:
            return str(error)
        return ""

    process.on_reload = reload
    journal.start()
    asked.expire(now())
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    door = handoff.listen(run_dir(config) / f"worker-{index}.sock")
    questions = await direct.serve(run_dir(config), index, asked.take)
    serving = asyncio.create_task(relay.serve(door))
    await process.say_until_stopped(missing)
    asked.draining = True
    await relay.drain()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    door.close()
    await journal.close()
    questions.close()
    asked.close()
    context.close()
    contacts.close()
    replica.close()


def journal_missing(journal: "Journal", writer: str, telemetry: Telemetry) -> str:
    """Why a journal takes nothing, "" when it does; said in /metrics too."""
    journal.check()
    telemetry.journal_stopped.labels("poisoned").set(bool(journal.poisoned))
    telemetry.journal_stopped.labels("full").set(journal.full)
    if journal.poisoned:
        heal = f"see to the disk, then `zhengming journal clear {writer}`"
        return f"journal poisoned; {heal}: {journal.poisoned}"
    return f"journal {writer} full: no room on the disk" if journal.full else ""


async def _when_ready(process: Process, make: Callable[[], T]) -> T | None:
    """What `make` gives as soon as it is not NotReady any more; None when told to stop before."""
    while not process.stop.is_set():
        try:
            return make()
        except NotReady as error:
            process.status.say(ready=False, why=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.stop.wait(), 0.1)
    return None


async def keeper(process: Process) -> None:
    """Feeds the replica from PostgreSQL, and PostgreSQL from the journal; records what the registry did."""
    from gateway.evidence.index import Shipper, keep_indexed  # noqa: PLC0415
    from gateway.evidence.journal import Journal  # noqa: PLC0415
    from gateway.evidence.seal import REGISTRY, Keys  # noqa: PLC0415
    from gateway.registry import migrate  # noqa: PLC0415
    from gateway.registry.feed import Feed  # noqa: PLC0415
    from gateway.registry.keys import load_key  # noqa: PLC0415
    from gateway.registry.recorded import Recorded  # noqa: PLC0415
    from gateway.registry.replica import Replica  # noqa: PLC0415
    from gateway.registry.store import Change  # noqa: PLC0415

    config, log = process.config, process.log
    dsn, directory = config.database.dsn, config.data_dir / "journal"
    keys, key = Keys(config.data_dir / "keys"), load_key(registry_key(config))
    replica = Replica.open(config.data_dir / "registry", key, writer=True)
    durability = config.evidence.durability
    acts = Journal(directory, config.node.name, KEEPER, keys, durability=durability, retention=REGISTRY)

    def record(changes: list[Change]) -> None:
        at = now()
        try:
            for change in changes:
                row = "" if change.key is None else str(change.key)
                acts.act(at, change.table, row, change.op, change.row_version, change.by, "", lambda _: None)
        except NotReady as error:
            log.error("registry acts not recorded", extra={"fields": {"error": str(error)}})

    def held(where: str, at: int) -> None:
        if where != config.node.name:  # workers say so of their own
            process.telemetry.refusal_effective.observe(max(0, now() - at) / 1000)

    recorded = Recorded(directory, keys, key)
    feed = Feed(dsn, replica, on_changes=record, recorded=recorded, on_refusal=held)
    kept = config.evidence.kept_days
    shipper = Shipper(dsn, directory, config.node.name, keys, key.lookup_key, kept_days=kept)

    async def upgrade() -> None:
        while True:
            try:
                await asyncio.to_thread(migrate.upgrade, dsn)
                return
            except Exception as error:  # the database is away: the node goes on by its replica
                log.warning("schema not checked", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(1.0)

    async def follow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed.keep_local())
            await asyncio.wait({group.create_task(upgrade())}, timeout=SCHEMA_SECONDS)
            group.create_task(feed.run())
            group.create_task(shipper.run())
            group.create_task(keep_indexed(directory))

    def missing() -> str:
        process.telemetry.registry_lag.set(feed.lag_seconds)
        process.telemetry.journal_unshipped.set(shipper.unshipped())
        if following.done() and (error := following.exception()) is not None:
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        if replica.used() > FULL:
            log.error("replica nearly full", extra={"fields": {"used": round(replica.used(), 3)}})
        why = journal_missing(acts, KEEPER, process.telemetry)
        return why or ("" if feed.ready else "no replica of the registry yet") or shipper.hindered

    acts.start()
    following = asyncio.create_task(follow())
    await process.say_until_stopped(missing)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await acts.close()
    replica.close()


async def web(process: Process) -> None:
    """The API, health and metrics."""
    from gateway.registry.acting import Door  # noqa: PLC0415
    from gateway.registry.keys import load_key  # noqa: PLC0415
    from gateway.web import server  # noqa: PLC0415
    from gateway.web.site import Site  # noqa: PLC0415

    config = process.config
    key, door = load_key(registry_key(config)), await Door.open(config.database.dsn)
    site = Site(config, process.handed.profile, key, door, process.telemetry, process.log)

    def reload(fresh: Handed) -> None:
        site.profile = fresh.profile

    process.on_reload = reload
    roles = status.roles(config.workers, relay=bool(config.sms))
    runners = [
        await server.listen(server.console(run_dir(config), roles, site), *endpoint(config.web.listen)),
        await server.listen(server.metrics(), *endpoint(config.metrics.listen)),
    ]
    await site.start()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    await process.say_until_stopped(lambda: "")
    for runner in runners:
        await runner.cleanup()
    await site.stop()


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
