"""What breaks and what goes on: database, processes, files and disk, each taken away from a running node."""

import asyncio
import contextlib
import itertools
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from playbook import (
    BANNED,
    COLLECTING,
    COLLECTION,
    MARKETING,
    SERVICE,
    TEXT,
    House,
    database_of,
    eventually,
    refresh,
)
from raw_ends import Raw, RawCarrier, submit

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.protocols.cmpp import Cmpp
from gateway.registry import migrate
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.replica import Replica
from gateway.simulator.sender import LoginRefused, SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER, OTHER_NUMBER = MARKETING + "0001", "106900100001"
CODE = "您的验证码是000000"
BUSY = 8
ACCOUNTS = ("900001", "900016", "900017", "900018", "900019")
MINE = "900001"
OTHER = next(account for account in ACCOUNTS if owner(account, 2) != owner(MINE, 2))
THIRD = next(account for account in ACCOUNTS if account not in (MINE, OTHER))
"""Accounts of BANK; different workers carry the first two."""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A database server that tests may stop."""
    directory = Path(tempfile.mkdtemp(prefix="zhengming-faults-"))
    postgres = EmbeddedPostgres(directory / "postgres")
    postgres.start()
    try:
        migrate.upgrade(postgres.dsn)
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    server: EmbeddedPostgres, cities: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house")
    async with House(folder, server.dsn, cities, workers=2, extra=ACCOUNTS[1:]) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(node: House, server: EmbeddedPostgres) -> AsyncIterator[House]:
    refresh(node.carrier)
    config = node.path.read_text("utf-8")
    yield node
    await asyncio.to_thread(server.start)
    if not node.started:  # by a test that failed: the next ones shall not
        await node.start()
    if node.path.read_text("utf-8") != config:
        node.path.write_text(config, "utf-8")
        await node.reload()
    await node.ready()


async def result(sender: SenderSim, house: House, source: str, text: str = TEXT, to: str = "") -> int | None:
    return (await sender.submit(source, [to or house.subscriber()], text)).result


class Traffic:
    """Submits without a pause on one account: passing, banned and so on in turn; reconnects for ever."""

    def __init__(self, house: House, account: str, text: str = TEXT) -> None:
        self.house, self.account, self.text = house, account, text
        self.results: dict[str, list[int | None]] = {NUMBER: [], BANNED: []}
        # its own: a house has 10,000 that nobody else sends to, and this may go on for long
        self._subscribers = itertools.cycle(f"1380001{number:04d}" for number in range(1000))

    async def __aenter__(self) -> "Traffic":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            try:
                async with self.house.sender(self.account, login_seconds=3.0, wait=3000) as sender:
                    while sender.cause is None:
                        for source, results in self.results.items():
                            to = next(self._subscribers)
                            results.append(await result(sender, self.house, source, self.text, to))
                            await asyncio.sleep(0.002)
            except (OSError, LoginRefused):
                await asyncio.sleep(0.05)

    async def more(self, count: int = 20, answer: int = 0) -> None:
        """Wait until so many more passed (or got another answer)."""
        have = self.results[NUMBER].count(answer)
        await eventually(lambda: self.results[NUMBER].count(answer) >= have + count)

    def assert_nothing_unjudged_passed(self) -> None:
        assert set(self.results[NUMBER]) <= {0, BUSY, None}
        assert set(self.results[BANNED]) <= {103, BUSY, None}
        assert not [r for r in self.house.carrier.submits if r.submission.source.decode() == BANNED]


# The database


async def test_without_the_database_traffic_goes_on_and_nothing_is_lost(
    house: House, server: EmbeddedPostgres
) -> None:
    subscribers = [house.subscriber() for _ in range(3)]
    async with house.sender() as sender, house.sender(OTHER) as other:
        await asyncio.to_thread(server.stop)
        for subscriber in subscribers:
            assert await result(sender, house, NUMBER, to=subscriber) == 0
            assert await house.carrier.deliver(NUMBER, subscriber, "R", account=MINE) == 0
            assert await result(other, house, OTHER_NUMBER, to=subscriber) == 110
        assert await result(sender, house, BANNED) == 103
        # neither the keeper nor a worker may forget them, database or not
        keeper = house.signal("keeper")
        await house.back("keeper", keeper)
        worker = house.signal(f"worker-{owner(MINE, 2)}")
        await house.back(f"worker-{owner(MINE, 2)}", worker)
        assert (await house.readyz())[0] == 200
    async with house.sender() as sender, house.sender(OTHER) as other:
        for subscriber in subscribers:
            for one in (sender, other):
                assert await result(one, house, OTHER_NUMBER, to=subscriber) == 110
        await asyncio.to_thread(server.start)
        replies = len(house.records(rec.Reply))
        await eventually(
            lambda: house.sql("SELECT count(*) FROM refusals WHERE source = 'reply'")[0][0] == replies
        )
        for subscriber in subscribers:
            assert await result(other, house, OTHER_NUMBER, to=subscriber) == 110

    def shipped() -> bool:
        refused = {found.record.id.hex() for found in house.records(verdict="refuse")}
        rows = {row[0].hex for row in house.sql("SELECT id FROM intercepts")}
        assert rows <= refused
        counted = house.sql("SELECT coalesce(sum(count), 0) FROM traffic_minute")[0][0]
        return rows == refused and counted == len(house.records())

    await eventually(shipped)


async def test_news_that_is_too_old_stops_marketing_and_collection_but_no_service(
    house: House, server: EmbeddedPostgres
) -> None:
    text = house.path.read_text("utf-8")
    house.path.write_text(f'{text}\n[registry]\nmax_age = "4s"\n', "utf-8")
    await house.reload()
    async with house.sender() as sender, house.sender("900002") as agency:
        assert await result(sender, house, NUMBER) == 0
        await asyncio.to_thread(server.stop)
        assert await result(sender, house, NUMBER) == 0

        async def stale() -> bool:
            return await result(sender, house, NUMBER) == 102

        await eventually(stale)
        subscriber = house.subscriber()
        assert await result(agency, house, COLLECTION, COLLECTING, subscriber) == 102
        assert await result(sender, house, SERVICE, CODE) == 0
        assert await result(sender, house, BANNED) == 102
        (found,) = house.records(subscriber=subscriber)
        assert found.record.judged.sub == "stale"
        await asyncio.to_thread(server.start)

        async def fresh() -> bool:
            return await result(sender, house, NUMBER) == 0

        await eventually(fresh)


@pytest.mark.parametrize("way", ["sql", "cli", "import"])
async def test_a_ban_holds_on_all_workers_within_a_second(house: House, way: str) -> None:
    """While another writer's transaction stays open, begun before and writing all the time."""
    number = {"sql": "106900100011", "cli": "106900100012", "import": "106900100013"}[way]
    with psycopg.connect(house.dsn) as slow:
        slow.execute("INSERT INTO institutions (code, name, kind) VALUES ('SLOW', '示例慢', 'bank')")
        async with house.sender() as sender, house.sender(OTHER) as other:
            for one in (sender, other):
                assert await result(one, house, number) == 0
            match way:
                case "sql":
                    house.sql(
                        "INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)"
                        " VALUES (%s, false, 'test', 'CASE-2', 'tester')",
                        number,
                    )
                case "cli":
                    arguments = ("blacklist", "add", number, "--reason", "test", "--case", "CASE-3")
                    code, out, err = await house.cli(*arguments)
                    assert code == 0, err
                    assert number in out
                case "import":
                    await house.bring(
                        "blacklist",
                        f"number,is_prefix,reason,case_reference\n{number},false,test,CASE-4",
                    )
            began = time.monotonic()
            for one in (sender, other):
                while await result(one, house, number) != 103:
                    assert time.monotonic() - began < 1.0
            slow.execute("SELECT 1")
        slow.rollback()


@pytest.mark.long
async def test_a_ban_holds_while_a_writer_stays_open_for_a_minute(house: House) -> None:
    with psycopg.connect(house.dsn) as slow:
        slow.execute("INSERT INTO institutions (code, name, kind) VALUES ('SLOW2', '示例慢', 'bank')")
        async with house.sender() as sender, house.sender(OTHER) as other:
            for turn in range(12):
                number = f"1069001002{turn:02d}"
                await asyncio.sleep(5)
                house.sql(
                    "INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)"
                    " VALUES (%s, false, 'test', 'CASE-2', 'tester')",
                    number,
                )
                began = time.monotonic()
                for one in (sender, other):
                    while await result(one, house, number) != 103:
                        assert time.monotonic() - began < 1.0
        slow.commit()


# Processes


async def test_a_dead_keeper_comes_back_and_bans_hold_again(house: House) -> None:
    number = "106900100021"
    async with Traffic(house, MINE) as traffic, house.sender() as sender:
        await traffic.more()
        old = house.signal("keeper")
        await traffic.more()
        new = await house.back("keeper", old)
        assert new != old
        house.sql(
            "INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)"
            " VALUES (%s, false, 'test', 'CASE-5', 'tester')",
            number,
        )
        began = time.monotonic()
        while await result(sender, house, number) != 103:
            assert time.monotonic() - began < 3.0
        assert sender.cause is None
    assert None not in traffic.results[NUMBER]
    traffic.assert_nothing_unjudged_passed()


async def test_a_dead_worker_comes_back_and_nobody_else_notices(house: House) -> None:
    mine = f"worker-{owner(MINE, 2)}"
    async with Traffic(house, OTHER) as others, Traffic(house, MINE) as traffic:
        await traffic.more()
        old = house.signal(mine)
        await house.back(mine, old)
        await traffic.more()
        await others.more()
    assert None not in others.results[NUMBER]
    for one in (traffic, others):
        one.assert_nothing_unjudged_passed()
    assert house.log_lines("part died", part=mine, pid=old)


async def test_a_dead_acceptor_comes_back_and_sessions_stand(house: House) -> None:
    async with Traffic(house, MINE) as traffic:
        await traffic.more()
        old = house.signal("acceptor")
        await traffic.more()
        await house.back("acceptor", old)
        async with house.sender() as sender:
            assert await result(sender, house, NUMBER) == 0
    assert None not in traffic.results[NUMBER]


async def test_a_dead_web_comes_back_with_the_counts_of_all(house: House) -> None:
    before = await house.metric("attempts_total")
    old = house.signal("web")
    await house.back("web", old)

    async def answers() -> bool:
        return (await house.readyz())[0] == 200

    await eventually(answers)
    assert await house.metric("attempts_total") >= before


async def test_readyz_says_what_is_missing(house: House) -> None:
    old = house.pid("keeper")
    os.kill(old, signal.SIGSTOP)
    try:

        async def silent() -> bool:
            code, why = await house.readyz()
            return code == 503 and "keeper" in why and "silent" in why

        await eventually(silent)
    finally:
        os.kill(old, signal.SIGCONT)
    await house.ready()


async def test_all_parts_end_with_the_supervisor(house: House) -> None:
    pids = house.pids()
    assert all(pids.values())
    async with house.sender() as sender:
        os.kill(house.supervisor, signal.SIGKILL)
        house.forget_supervisor()
        await sender.until(lambda: sender.cause is not None)
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids.values()))
    await house.start()
    async with house.sender() as sender:
        assert await result(sender, house, NUMBER) == 0


# Drain


async def test_a_drain_lets_the_carrier_answer_and_says_goodbye_to_both_sides(house: House) -> None:
    house.carrier.faults.answer_after = 3.0  # longer than all that is tried meanwhile
    async with house.sender() as sender:
        frames = [sender.frames(NUMBER, [house.subscriber()], TEXT)[0] for _ in range(5)]
        waiting = [sender.request(frame) for frame in frames]
        await house.carrier.until(lambda: len(house.carrier.submits) == 5)
        began = time.monotonic()
        refused = house.subscriber()
        beginning = sender.request(sender.frames(NUMBER, [refused], TEXT * 4)[0])  # of a long message
        stopping = asyncio.create_task(house.stop())
        house.carrier.faults.answer_after = 0.0

        async def busy() -> bool:
            return await result(sender, house, NUMBER) == BUSY

        await eventually(busy)
        assert (await beginning).result == BUSY
        assert await result(sender, house, BANNED, to=refused) == BUSY
        with pytest.raises((OSError, LoginRefused)):
            async with house.sender(login_seconds=2.0):
                pass
        assert {answer.result for answer in await asyncio.gather(*waiting)} == {0}
        await sender.until(lambda: sender.cause is not None)
        assert sender.cause is not None
        assert sender.cause.cause == "terminated"
        assert await stopping == 0
        assert time.monotonic() - began < 10.0
    assert house.carrier.counts["closed_terminated"] == 1
    assert not house.records(subscriber=refused)
    assert [line for line in house.log_lines() if line["what"] == "part did not stop, killed"] == []
    await house.start()


@pytest.mark.long
async def test_a_drain_waits_for_a_silent_carrier_no_longer_than_ten_seconds(house: House) -> None:
    house.carrier.faults.silent_every = 1
    async with house.sender() as sender:
        waiting = sender.request(sender.frames(NUMBER, [house.subscriber()], TEXT)[0])
        await house.carrier.until(lambda: house.carrier.submits)
        began = time.monotonic()
        assert await house.stop() == 0
        assert 5.0 < time.monotonic() - began < 13.0
        assert (await waiting).result is None
    await house.start()


@pytest.mark.long
async def test_peers_that_ignore_the_goodbye_are_cut(house: House) -> None:
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        began = time.monotonic()
        stopping = asyncio.create_task(house.stop())
        assert (await raw.frame())[4:8] == (await there.frame())[4:8] == b"\0\0\0\2"
        assert await asyncio.gather(raw.rest(), there.rest()) == [[], []]
        assert await stopping == 0
        assert time.monotonic() - began < 10.0
    await house.start()


# Files and disk


@contextlib.contextmanager
def no_room(house: House) -> Iterator[None]:
    """The workers' files can't grow any more: EFBIG, which is what ENOSPC is to the journal."""
    pids = [house.pid(f"worker-{number}") for number in range(2)]
    before = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids]
    for pid, (_, hard) in zip(pids, before, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        for pid, limits in zip(pids, before, strict=True):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


async def test_a_full_disk_is_said_as_busy_until_there_is_room(house: House) -> None:
    subscriber, late = house.subscriber(), house.subscriber()
    async with Traffic(house, MINE) as traffic, house.sender(OTHER) as sender:
        await traffic.more()
        assert await result(sender, house, NUMBER, to=late) == 0
        with no_room(house):
            await traffic.more(answer=BUSY)

            async def busy() -> bool:
                return await result(sender, house, NUMBER, to=subscriber) == BUSY

            await eventually(busy)
            counted = len(house.records(subscriber=subscriber))
            got = house.carrier.counts["submits"]
            assert await result(sender, house, NUMBER, to=subscriber) == BUSY
            assert await result(sender, house, BANNED, to=subscriber) == BUSY
            assert len(house.records(subscriber=subscriber)) == counted
            assert house.carrier.counts["submits"] == got
            async with Raw.login(house, THIRD) as raw:  # what is no submit goes on
                raw.send(submit(NUMBER, [subscriber], TEXT, 1), Cmpp.heartbeat(2))
                frames = await raw.frames(2)
                assert sorted((frame[3], frame[11]) for frame in frames) == [(13, 2), (21, 1)]
            # a reply that can't be kept is not acknowledged, and the session stands
            assert await house.carrier.deliver(NUMBER, late, "R", account=OTHER) == BUSY
            assert not sender.replies
            assert sender.cause is None

            async def unready() -> bool:
                code, why = await house.readyz()
                return code == 503 and "no room" in why

            await eventually(unready)
        await traffic.more()
        assert await house.carrier.deliver(NUMBER, late, "R", account=OTHER) == 0

        async def shielded() -> bool:
            return await result(sender, house, NUMBER, to=late) == 110

        await eventually(shielded)
    traffic.assert_nothing_unjudged_passed()
    await house.ready()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, of 64 MiB."""
    path = Path(tempfile.mkdtemp(prefix="zhengming-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", path], capture_output=True, check=False
    )
    if mounted.returncode:
        path.rmdir()
        pytest.skip(f"a file system can't be mounted here: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)
    path.rmdir()


@pytest.mark.long
async def test_a_node_whose_whole_disk_is_full_stands_and_goes_on_when_there_is_room(
    small_disk: Path, embedded: EmbeddedPostgres, template: str, cities: Path
) -> None:
    """Not the journal alone: status files, metrics, replica and contacts have no room either."""
    folder = small_disk / "house"
    folder.mkdir()
    with database_of(embedded.dsn, template, "full_disk") as dsn:
        async with House(folder, dsn, cities, workers=2, extra=ACCOUNTS[1:]) as house:
            pids = house.pids()
            async with Traffic(house, MINE) as traffic, Traffic(house, OTHER) as others:
                await traffic.more()
                await others.more()
                fill_up(small_disk / "ballast")
                crowd = [house.subscriber() for _ in range(99)]
                for account in (MINE, OTHER):  # until the room that the journal had reserved is used up
                    async with house.sender(account) as sender:
                        while (await sender.submit(NUMBER, crowd, TEXT)).result != BUSY:
                            pass
                await traffic.more(answer=BUSY)
                await others.more(answer=BUSY)

                async def unready() -> bool:
                    code, why = await house.readyz()
                    return code == 503 and why.count("no room") == 2

                await eventually(unready)
                (small_disk / "ballast").unlink()
                await traffic.more()
                await others.more()
                await house.ready()
            assert house.pids() == pids
            for one in (traffic, others):
                assert None not in one.results[NUMBER]
                one.assert_nothing_unjudged_passed()


def fill_up(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for octets in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(octets))
    finally:
        os.close(descriptor)


def replica_files(house: House) -> list[Path]:
    found = sorted((house.data_dir / "registry").glob("replica-*/data.mdb"))
    assert found
    return found


@pytest.mark.parametrize("damage", ["cut", "emptied", "deleted", "folder deleted", "all deleted"])
async def test_a_damaged_replica_lets_nothing_unjudged_pass(house: House, damage: str) -> None:
    subscriber = house.subscriber()
    async with Traffic(house, MINE) as traffic, Traffic(house, OTHER) as others:
        await traffic.more()
        async with house.sender() as sender:
            assert await result(sender, house, NUMBER, to=subscriber) == 0
            assert await house.carrier.deliver(NUMBER, subscriber, "R", account=MINE) == 0
        match damage:
            case "cut":
                for path in replica_files(house):
                    os.truncate(path, path.stat().st_size // 2)
            case "emptied":
                for path in replica_files(house):
                    os.truncate(path, 0)
            case "deleted":
                for path in replica_files(house):
                    path.unlink()
            case "folder deleted":
                for path in replica_files(house):
                    shutil.rmtree(path.parent)
            case "all deleted":
                shutil.rmtree(house.data_dir / "registry")
        await traffic.more()
        await others.more()
        await house.ready()
        async with house.sender() as sender:

            async def shielded() -> bool:
                return await result(sender, house, NUMBER, to=subscriber) == 110

            if damage == "all deleted":  # with `local` gone too it is known again when the database says so
                await eventually(shielded)
            else:
                assert await shielded()
    for one in (traffic, others):
        one.assert_nothing_unjudged_passed()


@pytest.mark.parametrize(
    ("damage", "restart"),
    [
        ("cut", False),
        ("cut", True),
        *(
            pytest.param(how, False, marks=pytest.mark.long)
            for how in ("emptied", "deleted", "folder deleted")
        ),
        *(pytest.param(how, True, marks=pytest.mark.long) for how in ("overwritten", "folder deleted")),
    ],
)
async def test_refusals_of_a_lost_local_come_back_from_the_journal(
    house: House, server: EmbeddedPostgres, damage: str, restart: bool
) -> None:
    """What only this node knows, as the database is away: under traffic, or found at the next start."""
    subscribers = [house.subscriber() for _ in range(3)]
    await asyncio.to_thread(server.stop)
    async with Traffic(house, MINE) as traffic, Traffic(house, OTHER) as others:
        await traffic.more()
        async with house.sender() as sender:
            for subscriber in subscribers:
                assert await result(sender, house, NUMBER, to=subscriber) == 0
                assert await house.carrier.deliver(NUMBER, subscriber, "R", account=MINE) == 0
        if restart:
            os.kill(house.supervisor, signal.SIGKILL)
            house.forget_supervisor()
            await eventually(lambda: not any(map(house.running, house.roles)))
        local = house.data_dir / "registry" / "local"
        file = local / "data.mdb"
        match damage:
            case "cut":
                os.truncate(file, 3 * 4096)
            case "emptied":
                os.truncate(file, 0)
            case "overwritten":
                file.write_bytes(b"garbage" * 10_000)
            case "deleted":
                file.unlink()
            case "folder deleted":
                shutil.rmtree(local)
        if restart:
            await house.start()
        await traffic.more()
        await others.more()
        await house.ready()
        async with house.sender() as sender, house.sender(OTHER) as other:
            for subscriber in subscribers:
                for one in (sender, other):
                    assert await result(one, house, OTHER_NUMBER, to=subscriber) == 110
        await asyncio.to_thread(server.start)
        events = [
            found.record.message_id
            for subscriber in subscribers
            for found in house.records(rec.Reply, subscriber=subscriber)
        ]
        await eventually(
            lambda: len(house.sql("SELECT id FROM refusals WHERE message_id = ANY (%s)", events)) == 3
        )
        async with house.sender() as sender:
            got = await result(sender, house, NUMBER, to=subscribers[0])
            assert got == 110, [known_of(house, subscriber) for subscriber in subscribers]
    for one in (traffic, others):
        one.assert_nothing_unjudged_passed()


def known_of(house: House, subscriber: str) -> str:
    """What any process of the node can read of a subscriber's refusals now."""
    replica = Replica.open(house.data_dir / "registry", house.key)
    try:
        view = replica.snapshot()
        generation, changes, pending = replica.local.state()
        return f"{view.refusals(subscriber)}; {generation=} {changes=} {pending=} {view.version=}"
    finally:
        replica.close()


async def test_what_was_counted_by_the_database_is_what_the_journals_hold(house: House) -> None:
    def same() -> Any:
        counted = house.sql("SELECT coalesce(sum(count), 0) FROM traffic_minute")[0][0]
        return counted == len(house.records())

    await eventually(same)
