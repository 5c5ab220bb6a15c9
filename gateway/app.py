"""Builds each process of a node out of its configuration. This file alone knows everything.

`acceptor`, `worker`, `keeper` and `web` are the bodies of those processes; each runs until SIGTERM or
SIGINT, says once a second how it is (`status`), and takes SIGHUP as "take over what the supervisor handed
down anew" (`handed`).
"""

import asyncio
import errno
import gc
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import direct, regions, slices, status
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.handed import Handed
from gateway.process import Process, run_dir, when_ready
from gateway.telemetry import Telemetry
from gateway.values import endpoint

if TYPE_CHECKING:
    from gateway.evidence.journal import Journal

KEEPER = "keeper"
"""The writer of registry acts; workers are w0, w1, …"""

GC_THRESHOLD = (10_000, 20, 100)
"""A message makes no cycles; the default would walk all that is remembered many times a second. To walk so
many new objects takes 5 ms, during which nothing else runs."""

FULL = 0.8
"""Share of the replica's fixed size at which an alarm is raised."""

SOON = 50  # times 20 ms that a worker waits for its counters; until they are whole, what has caps is refused


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
    """The key of the registry's look-ups, which all nodes of one database share; of two the older."""
    from gateway.registry.keys import key_files  # noqa: PLC0415

    folder = config.data_dir / "keys"
    return next(iter(key_files(folder)), folder / "registry.key")


async def acceptor(process: Process) -> None:
    """Listens for senders; its listeners close first in a drain."""
    from gateway.relay.acceptor import Acceptor  # noqa: PLC0415  # a part imports what it runs only

    slices.ask_for_short()
    config = process.config
    door = Acceptor(config.sms, run_dir(config), config.workers, process.telemetry, process.log)
    door.listen()
    serving = asyncio.create_task(door.serve())
    await process.say_until_stopped(lambda: "" if not serving.done() else "stopped listening")
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await door.emptied()


async def worker(process: Process, index: int) -> None:
    """Relays and judges for the accounts that are its own."""
    from gateway.counters.local import looker  # noqa: PLC0415
    from gateway.counters.made import counters_of  # noqa: PLC0415
    from gateway.counters.recount import recounted  # noqa: PLC0415
    from gateway.evidence.journal import Journal  # noqa: PLC0415
    from gateway.evidence.said import Sayings  # noqa: PLC0415
    from gateway.evidence.seal import Keys  # noqa: PLC0415
    from gateway.evidence.search import Search  # noqa: PLC0415
    from gateway.protocols import CALLS  # noqa: PLC0415
    from gateway.registry.keys import load_key  # noqa: PLC0415
    from gateway.registry.replica import Replica  # noqa: PLC0415
    from gateway.relay import handoff  # noqa: PLC0415
    from gateway.relay.asked import door_of  # noqa: PLC0415
    from gateway.relay.confirming import Confirmations  # noqa: PLC0415
    from gateway.relay.contacts import Contacts  # noqa: PLC0415
    from gateway.relay.context import Context  # noqa: PLC0415
    from gateway.relay.course import Course  # noqa: PLC0415
    from gateway.relay.direct import Direct  # noqa: PLC0415
    from gateway.relay.endings import Endings  # noqa: PLC0415
    from gateway.relay.heard import Heard  # noqa: PLC0415
    from gateway.relay.past_calls import dialog_of  # noqa: PLC0415
    from gateway.relay.presses import Presses  # noqa: PLC0415
    from gateway.relay.recalled import Recall  # noqa: PLC0415
    from gateway.relay.returns import Returns  # noqa: PLC0415
    from gateway.relay.routes import Routes  # noqa: PLC0415
    from gateway.relay.screen import Screen  # noqa: PLC0415
    from gateway.relay.standing import MOST_DIALOGS  # noqa: PLC0415
    from gateway.relay.voice import Station, key_of_calls, voice_of  # noqa: PLC0415
    from gateway.relay.worker import Worker  # noqa: PLC0415

    slices.ask_for_short()
    config, log, telemetry = process.config, process.log, process.telemetry
    data_dir, node = config.data_dir, config.node.name
    profile = process.handed.profile
    writer = f"w{index}"
    keys, key = Keys(data_dir / "keys"), load_key(registry_key(config))
    replica = Replica.open(data_dir / "registry", key)
    view = await when_ready(process, replica.snapshot)
    if view is None:
        return
    drains: list[asyncio.Task[None]] = []

    def on_poisoned(why: str) -> None:
        log.error("journal poisoned", extra={"fields": {"error": why}})
        drains.append(asyncio.create_task(relay.drain("journal_poisoned")))

    journal = Journal(
        data_dir / "journal",
        node=node,
        writer=writer,
        keys=keys,
        durability=config.evidence.durability,
        apply=replica.add_local_refusals,
        on_full=lambda full: log.warning("journal", extra={"fields": {"full": full}}),
        on_poisoned=on_poisoned,
        on_commit=telemetry.committed,
        on_dropped=telemetry.journal_dropped.inc,
    )

    def recount(since: int) -> Iterator[tuple[int, int]]:
        filed = replica.snapshot()
        return recounted(Search(data_dir / "journal", keys), filed, filed.hash, since, screen.profile)

    view.counted = looker(data_dir / "counters", view.hash)
    contacts = Contacts(data_dir / "contacts", writer)
    cities = regions.Regions(data_dir / "regions.bin")
    counters = counters_of(
        config.counters,
        data_dir / "counters",
        recount,
        log,
    )
    screen = Screen(node, view, profile, journal, counters, contacts, cities, telemetry, log)
    past = Search(data_dir / "journal", keys)
    context = Context(Sayings(data_dir / "journal", keys))
    confirmations = Confirmations(node, screen, cities, telemetry, log, _confirmations(config))
    returns = Returns(node, screen, key, contacts, context, confirmations, telemetry)
    presses = Presses(node, screen, key, returns, confirmations, telemetry)
    course = Course(screen, counters, view.hash)
    endings = Endings(journal, past, course)
    asked = Direct(screen, presses, endings, data_dir / "asked", writer, past, log)
    calling = CALLS.keys() & {sms.protocol for sms in config.sms}
    noted = Contacts(data_dir / "routes", writer)

    def older() -> list[Callable[[str], bytes]]:
        return [one.hash for one in key.keys if one is not key.current]

    routes = {protocol: Routes(config.node.carrier, protocol, view, noted, older) for protocol in calling}
    relay = Worker(
        config.sms,
        config.node.carrier,
        index,
        config.workers,
        screen,
        returns,
        confirmations,
        replica.receiving,
        routes,
        run_dir(config),
        telemetry,
        log,
    )

    heard = Heard(presses, partial(dialog_of, past), log, config.voice.refusal_keys)
    judging = (screen, returns, relay.connection, telemetry, log, heard, course)
    station = Station(config, index, run_dir(config), key_of_calls(key.lookup_key), *judging)
    voice, elsewhere = voice_of(station), door_of(station)

    def mine(name: str) -> bool:
        return direct.owner(name, config.workers) == index

    def reload(fresh: Handed) -> None:
        screen.use(fresh.profile)
        confirmations.texts = _confirmations(fresh.config)
        relay.listeners = fresh.config.sms

    def missing() -> str:
        if why := journal_missing(journal, writer, telemetry):
            return why
        try:
            replica.check()
            view.renew()
            screen.follow(now())
        except NotReady as error:
            return str(error)
        counters.check()
        return screen.in_force.why or (f"counters: {counters.ailing}" if counters.ailing else "")

    process.on_reload = reload
    journal.start()
    await _soon(counters.check)
    asked.expire(now())
    returns.restore(past, mine)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    door = handoff.listen(run_dir(config) / f"worker-{index}.sock")
    questions = await direct.serve(run_dir(config), index, asked.take)
    voice.open()
    elsewhere.open()
    bodies = [relay.serve(door), voice.serve(), elsewhere.serve()]
    if config.voice.listen or config.voice.next_hop:
        recall = Recall(data_dir / "journal", keys, mine, MOST_DIALOGS)
        known = recall.repeatable()
        voice.restore(known)
        elsewhere.restore(known)
        del known
        bodies.append(voice.recall(recall))
    serving = [asyncio.create_task(one) for one in bodies]
    await process.say_until_stopped(missing)
    asked.draining = True
    voice.drain()
    elsewhere.drain()
    await relay.drain()
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    elsewhere.close()
    await voice.close()
    door.close()
    await journal.close()
    questions.close()
    asked.close()
    context.close()
    await counters.close()
    contacts.close()
    noted.close()
    replica.close()


def _confirmations(config: Config) -> dict[str, str]:
    """What is said to a reply, by its kind."""
    return {"refuse": config.policy.confirmation, "accept": config.policy.confirmation_accepted}


def journal_missing(journal: "Journal", writer: str, telemetry: Telemetry) -> str:
    """Why a journal takes nothing, "" when it does; said in /metrics too."""
    journal.check()
    telemetry.journal_stopped.labels("poisoned").set(bool(journal.poisoned))
    telemetry.journal_stopped.labels("full").set(journal.full)
    if journal.poisoned:
        heal = f"see to the disk, then `zhengming journal clear {writer}`"
        return f"journal poisoned; {heal}: {journal.poisoned}"
    return f"journal {writer} full: no room on the disk" if journal.full else ""


async def _soon(holds: Callable[[], bool]) -> None:
    """Wait a moment for what will mostly be so at once."""
    for _ in range(SOON):
        if holds():
            return
        await asyncio.sleep(0.02)


async def keeper(process: Process) -> None:
    """Feeds the replica from PostgreSQL, and PostgreSQL from the journal; records what the registry did."""
    from gateway.evidence.index import Shipper, keep_indexed  # noqa: PLC0415
    from gateway.evidence.journal import Journal  # noqa: PLC0415
    from gateway.evidence.seal import REGISTRY, Keys  # noqa: PLC0415
    from gateway.registry import migrate  # noqa: PLC0415
    from gateway.registry.acts import Acts  # noqa: PLC0415
    from gateway.registry.feed import Feed  # noqa: PLC0415
    from gateway.registry.keys import load_key  # noqa: PLC0415
    from gateway.registry.recorded import Recorded  # noqa: PLC0415
    from gateway.registry.rekeying import Rekeying  # noqa: PLC0415
    from gateway.registry.replica import Replica  # noqa: PLC0415

    config, log = process.config, process.log
    dsn, directory = config.database.dsn, config.data_dir / "journal"
    keys, key = Keys(config.data_dir / "keys"), load_key(registry_key(config))
    replica = Replica.open(config.data_dir / "registry", key, writer=True)
    durability = config.evidence.durability

    acts = Journal(
        directory,
        config.node.name,
        KEEPER,
        keys,
        durability=durability,
        retention=REGISTRY,
        on_commit=process.telemetry.committed,
    )

    def held(where: str, at: int) -> None:
        if where != config.node.name:  # workers say so of their own
            process.telemetry.refusal_effective.observe(max(0, now() - at) / 1000)

    recorded = Recorded(directory, keys, key)
    rekeying = Rekeying(dsn, key)
    acting = Acts(dsn, acts, directory)
    feed = Feed(dsn, replica, on_cursor=acting.follows, recorded=recorded, on_refusal=held)
    kept = config.evidence.kept_days
    shipper = Shipper(dsn, directory, config.node.name, keys, key.lookup_key, kept_days=kept)

    async def follow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(feed.keep_local())
            await migrate.brought_up(dsn, group, log)
            group.create_task(feed.run())
            group.create_task(acting.run())
            group.create_task(rekeying.run())
            group.create_task(shipper.run())
            group.create_task(keep_indexed(directory))

    def missing() -> str:
        process.telemetry.registry_lag.set(feed.lag_seconds)
        process.telemetry.journal_unshipped.set(shipper.unshipped())
        if following.done() and (error := following.exception()) is not None:
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        for name, used in replica.used().items():
            process.telemetry.map_used.labels(name).set(used)
            if used > FULL:
                log.error("map nearly full", extra={"fields": {"map": name, "used": round(used, 3)}})
        shipper.look_up_by(key.current.lookup_key)
        why = journal_missing(acts, KEEPER, process.telemetry)
        why = why or feed.hindered
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
    from gateway.secured import for_readers  # noqa: PLC0415
    from gateway.web import card, server  # noqa: PLC0415
    from gateway.web.site import Site  # noqa: PLC0415

    slices.ask_for_short()
    config = process.config
    key, door = load_key(registry_key(config)), await Door.open(config.database.dsn)
    site = Site(config, process.handed.profile, key, door, process.telemetry, process.log)

    def reload(fresh: Handed) -> None:
        site.in_force.use(fresh.profile)

    process.on_reload = reload
    roles = status.roles(config.workers, relay=bool(config.sms))
    runners = [
        await server.listen(server.console(run_dir(config), roles, site), *endpoint(config.web.listen)),
        await server.listen(server.metrics(), *endpoint(config.metrics.listen)),
    ]
    if config.card.listen:
        read_by = for_readers(config.card.tls_certificate, config.card.tls_key)
        signer = card.Signer(config.card, config.data_dir / "keys" / "card")
        address = endpoint(config.card.listen)
        runners.append(await server.listen(card.application(signer), *address, card.newest(read_by)))
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
