"""A node's start and end: one per folder, on ports that are free, stopped cleanly at any time; its parts one
by one."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from conftest import HouseOf
from playbook import HOST, MARKETING, TEXT, eventually, free_ports, run_cli

from gateway import config, node, regions, status, supervisor
from gateway.errors import NotReady, UsageError
from gateway.evidence.segment import Header, encode_header
from gateway.registry import store
from gateway.registry.embedded import EmbeddedPostgres

WRONG = 2


def settings(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "zhengming.toml"
    path.write_text(text, "utf-8")
    return config.load(path, {})


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below tmp_path: other pytest runs take the database server's right to pass through that away."""
    path = Path(tempfile.mkdtemp(prefix="zhengming-node-"))
    yield path
    shutil.rmtree(path)


def started(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """A command in a process group of its own; what it says goes to `output` of the folder."""
    with (folder / "output").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments], stdout=said, stderr=said, start_new_session=True
        )


# one node in a folder


@pytest.mark.parametrize(
    ("first", "second", "meets"),
    [
        ("", "", True),
        ("", "web", True),
        ("relay", "", True),
        ("relay", "relay", True),
        ("relay", "web", False),
    ],
)
def test_a_folder_has_one_node_or_each_part_once(
    tmp_path: Path, first: str, second: str, meets: bool
) -> None:
    with node.claimed(tmp_path / "run", first):
        if meets:
            with pytest.raises(UsageError) as error, node.claimed(tmp_path / "run", second):
                pass
            for words in (str(tmp_path), str(os.getpid()), "right would be"):
                assert words in str(error.value)
        else:
            with node.claimed(tmp_path / "run", second):
                pass
    with node.claimed(tmp_path / "run", second):
        pass


def test_parts_that_start_at_once_do_not_take_each_other_for_themselves(tmp_path: Path) -> None:
    """To see whether others run, each looks at their locks: nobody may start in that instant."""
    barrier = threading.Barrier(len(node.PARTS))

    def start(part: str) -> None:
        try:
            for _ in range(200):
                barrier.wait(20)
                with node.claimed(tmp_path, part):
                    barrier.wait(20)
        except UsageError:
            barrier.abort()
            raise

    with ThreadPoolExecutor(len(node.PARTS)) as pool:
        ends = [pool.submit(start, part).exception for part in node.PARTS]
    assert not [error for end in ends if isinstance(error := end(), UsageError)]


def test_only_who_finds_nobody_there_begins_the_counters_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with node.claimed(run) as alone:
        assert alone
    with node.claimed(run, "keeper") as alone:
        assert alone
        with node.claimed(run, "web") as second:
            assert not second
    folder = supervisor.metrics_folder(run, fresh=True)
    (folder / "counter_1.db").touch()
    supervisor.metrics_folder(run, fresh=False)
    assert (folder / "counter_1.db").exists()
    supervisor.metrics_folder(run, fresh=True)
    assert not (folder / "counter_1.db").exists()


async def test_a_second_node_is_refused_and_the_first_unharmed(house_of: HouseOf) -> None:
    async with house_of() as house:
        code, out, err = await house.cli("serve")
        assert (code, out) == (WRONG, "")
        assert f"node.data_dir = '{house.data_dir}'" in err
        assert "right would be" in err
        assert (await house.readyz())[0] == 200
        async with house.sender() as sender:
            assert (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == 0


@pytest.mark.long
async def test_a_file_under_the_editor_keeps_no_part_from_coming_back(house_of: HouseOf) -> None:
    """Neither one that can't be read, nor one that a restart of the whole node is meant for."""
    async with house_of() as house:
        kept, profile = house.path.read_text("utf-8"), house.profile_path.read_text("utf-8")
        for text, rules, role in (
            ("[node", profile, "worker-0"),
            (kept, "[rules", "worker-0"),
            (kept.replace(f"workers = {house.workers}", "workers = 7"), profile, "acceptor"),
        ):
            house.path.write_text(text, "utf-8")
            house.profile_path.write_text(rules, "utf-8")
            await house.back(role, house.signal(role))
            async with house.sender() as sender:
                assert (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == 0
        await house.reload()
        (line,) = house.log_lines("settings wait for a restart")
        assert line["settings"] == ["node.workers"]


async def test_a_node_that_was_renamed_is_refused_before_it_counts_its_journals_once_more(
    tmp_path: Path,
) -> None:
    loaded = settings(tmp_path, '[node]\nname = "new"\n')
    folder = tmp_path / "var" / "journal" / "w0"
    folder.mkdir(parents=True)
    node.check_name(loaded)
    head = Header(
        node="old", writer="w0", number=1, created=0, key_name="2026-11-22.t", key_check=b"", salt=bytes(16)
    )
    (folder / "00000001.seg").write_bytes(encode_header(head)[0])
    (folder / "00000002.seg").touch()  # its writer died beginning it
    with pytest.raises(UsageError) as error:
        await node.Node(loaded, None).run()
    for words in ("node.name = 'new'", "node 'old'", "right would be", str(folder.parent)):
        assert words in str(error.value)


# ports


def test_ports_that_are_taken_are_named(tmp_path: Path) -> None:
    free, other = free_ports(2)
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        text = f"""
            [web]
            listen = "{HOST}:{port}"
            [metrics]
            listen = "{HOST}:{free}"
            [[sms]]
            protocol = "cmpp"
            listen = "{HOST}:{other}"
            [[sms]]
            protocol = "cmpp"
            listen = "0.0.0.0:{other}"
            [[sms]]
            protocol = "cmpp"
            listen = "192.0.2.1:{other}"
        """
        wrong = list(node.taken(settings(tmp_path, text)))
        assert [line.partition(" = ")[0] for line in wrong] == ["sms.1.listen", "sms.2.listen", "web.listen"]
        assert all("right would be" in line for line in wrong)
        assert f"'{HOST}:{port}': cannot listen there: Address already in use" in wrong[2]
        assert "Cannot assign requested address" in wrong[1]
        assert [line[:3] for line in node.taken(settings(tmp_path, text), "relay")] == ["sms", "sms"]
        assert list(node.taken(settings(tmp_path, text), "keeper")) == []
        assert len(list(node.taken(settings(tmp_path, text), "web"))) == 1


async def test_a_node_waits_for_ports_and_then_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "PORT_SECONDS", 0.3)
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        loaded = settings(tmp_path, f'[metrics]\nlisten = "{HOST}:{port}"\n')
        path = tmp_path / "zhengming.toml"
        waiting = asyncio.create_task(node.Node(loaded, path, "web").run())
        heard: list[int] = []
        before = signal.signal(signal.SIGHUP, lambda number, _: heard.append(number))
        await eventually((tmp_path / "var" / "run").exists)
        os.kill(os.getpid(), signal.SIGHUP)  # a reload this early ends no node
        with pytest.raises(UsageError) as error:
            await waiting
        signal.signal(signal.SIGHUP, before)
        assert heard == []
        assert f"{path}: metrics.listen = '{HOST}:{port}'" in str(error.value)


# descriptors

LIMITED = """
import os, resource, sys
from gateway.errors import UsageError
from gateway.supervisor import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
except UsageError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"), [(1000, 9000, "9000 9000\n"), (9000, 9000, "9000 9000\n"), (1000, 1000, None)]
)
def test_the_descriptor_limit_is_raised_or_refused(soft: int, hard: int, said: str | None) -> None:
    """Also where soft and hard are the same, as after `ulimit -n 1000`."""
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == (said or "")
    if said is None:
        assert f"the hard limit is {hard}" in run.stderr
        assert "right would be" in run.stderr


# the table of cities


@pytest.mark.parametrize("octets", [None, b"", b"ZMREGION1\n\x00\x00"])
async def test_a_table_of_cities_that_is_missing_or_cut_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cities: Path, octets: bytes | None
) -> None:
    path = tmp_path / "regions.bin"
    if octets is not None:
        path.write_bytes(octets)
    monkeypatch.setattr(regions, "build_command", lambda place: ["cp", str(cities), str(place)])
    made = node.Node(settings(tmp_path, ""), None)
    await made._make_regions(path)
    assert regions.Regions(path).region("+8613800000000")
    monkeypatch.setattr(regions, "build_command", lambda place: ["false"])
    await made._make_regions(path)  # is there
    path.unlink()
    with pytest.raises(NotReady, match="table of cities"):
        await made._make_regions(path)


# parts one by one


@pytest.mark.long
async def test_parts_served_one_by_one_are_a_node_whose_metrics_are_together(
    house_of: HouseOf, folder: Path
) -> None:
    async with house_of() as house:
        await house.stop()
        parts = [started(folder, "serve", part, "-c", str(house.path)) for part in node.PARTS]
        try:
            await house.ready()
            async with house.sender() as sender:
                assert (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == 0

            async def together() -> bool:
                there = {name for name, _ in await house.metrics()}
                return await house.metric("attempts_total") == 1 and "zhengming_registry_lag_seconds" in there

            await eventually(together)
        finally:
            for part in parts:
                part.send_signal(signal.SIGTERM)
            assert [await asyncio.to_thread(part.wait, 30) for part in parts] == [0, 0, 0]


async def test_a_part_finds_the_embedded_database_that_the_keeper_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is started first."""
    served: list[str] = []

    async def serve(part: node.Node, _: bool) -> None:
        served.append(part.dsn)

    monkeypatch.setattr(node.Node, "_serve", serve)
    web, metrics = free_ports(2)
    text = f'[web]\nlisten = "{HOST}:{web}"\n[metrics]\nlisten = "{HOST}:{metrics}"\n'
    await node.Node(settings(tmp_path, text), tmp_path / "zhengming.toml", "web").run()
    assert served == [EmbeddedPostgres(tmp_path / "var" / "postgres").address]


# keys


async def test_a_node_with_another_key_than_its_database_s_says_so(folder: Path, database: str) -> None:
    connection = await asyncpg.connect(database)
    await store.register_key(connection, bytes(16))
    await connection.close()
    path = folder / "zhengming.toml"
    path.write_text(f'[database]\ndsn = "{database}"\n', "utf-8")
    keeper = started(folder, "serve", "keeper", "-c", str(path))
    try:
        told = "this node's registry key is not the database's"
        await eventually(lambda: told in status.read(folder / "var" / "run", "keeper").why)
    finally:
        keeper.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(keeper.wait, 30) == 0
    assert "Traceback" not in (folder / "output").read_text("utf-8", "replace")


# stopped on the way up


def processes(folder: Path) -> list[str]:
    """Commands that run with this folder among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in words:
            found.append(words)
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("reached", "number"),
    [
        ("var/postgres/starting", signal.SIGINT),
        ("var/postgres/starting", signal.SIGHUP),
        ("var/postgres/data/postmaster.pid", signal.SIGINT),
        ("var/regions.bin", signal.SIGTERM),
    ],
)
async def test_a_demo_stopped_on_its_way_up_leaves_nothing_running(
    folder: Path, reached: str, number: signal.Signals
) -> None:
    """Whatever it has come to; Ctrl-C in a terminal goes to all processes of its group."""
    demo = started(folder, "demo", "--dir", str(folder / "demo"), "--no-traffic")
    await eventually((folder / "demo" / reached).exists, 60.0)
    os.killpg(demo.pid, number)
    assert await asyncio.to_thread(demo.wait, 60) == 0
    assert processes(folder) == []
    assert not (folder / "demo" / "ready.json").exists()
    assert "Traceback" not in (folder / "output").read_text("utf-8", "replace")


@pytest.mark.long
async def test_a_demo_ends_with_its_terminal(folder: Path, cities: Path) -> None:
    """Closed as one closes a window; SIGHUP by hand means a reload, as to every node."""
    (folder / "var").mkdir()
    shutil.copy(cities, folder / "var" / "regions.bin")
    there, here = os.openpty()
    words = (
        "setsid",
        "--ctty",
        sys.executable,
        "-m",
        "gateway",
        "demo",
        "--dir",
        str(folder),
        "--no-traffic",
    )
    demo = await asyncio.create_subprocess_exec(*words, stdin=here, stdout=here, stderr=here)
    os.close(here)
    await eventually((folder / "ready.json").exists, 60.0)
    demo.send_signal(signal.SIGHUP)
    log = folder / "var" / "log" / "web.log"
    await eventually(lambda: "configuration reloaded" in log.read_text("utf-8", "replace"))
    assert (folder / "ready.json").exists()
    os.close(there)
    assert await asyncio.wait_for(demo.wait(), 60) == 0
    assert processes(folder) == []


@pytest.mark.long
async def test_a_second_demo_in_the_folder_leaves_the_first_as_it_is(folder: Path, cities: Path) -> None:
    (folder / "var").mkdir()
    shutil.copy(cities, folder / "var" / "regions.bin")
    first = started(folder, "demo", "--dir", str(folder), "--no-traffic")
    ready = folder / "ready.json"
    try:
        await eventually(ready.exists, 60.0)
        assert ready.stat().st_mode & 0o077 == 0, "it holds secrets"
        before = ready.read_bytes(), (folder / "zhengming.toml").read_bytes()
        code, _, err = await run_cli("demo", "--dir", str(folder))
        assert code == WRONG
        assert str(folder) in err
        assert (ready.read_bytes(), (folder / "zhengming.toml").read_bytes()) == before
    finally:
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 60) == 0


@pytest.mark.long
async def test_a_node_starts_its_database_again_when_it_was_killed(folder: Path, cities: Path) -> None:
    (folder / "var").mkdir()
    shutil.copy(cities, folder / "var" / "regions.bin")
    demo = started(folder, "demo", "--dir", str(folder), "--no-traffic")
    try:
        await eventually((folder / "ready.json").exists, 90.0)
        ready = json.loads((folder / "ready.json").read_text("utf-8"))
        os.kill(ready["pids"]["database"], signal.SIGKILL)
        log = folder / "var" / "log" / "supervisor.log"
        await eventually(lambda: "database died, started again" in log.read_text("utf-8", "replace"), 30.0)
        connection = await asyncpg.connect(ready["database"])
        assert await connection.fetchval("SELECT count(*) > 0 FROM numbers")
        await connection.close()
    finally:
        demo.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(demo.wait, 60) == 0
    assert processes(folder) == []


@pytest.mark.long
async def test_demos_that_start_at_once_take_different_ports(folder: Path, cities: Path) -> None:
    """Each chooses its ports long before it listens there: while its database comes up."""
    demos, found = [], []
    try:
        for name in ("one", "two"):
            (folder / name / "var").mkdir(parents=True)
            shutil.copy(cities, folder / name / "var" / "regions.bin")
            demos.append(started(folder / name, "demo", "--dir", str(folder / name), "--no-traffic"))
        for name in ("one", "two"):
            ready = folder / name / "ready.json"
            await eventually(ready.exists, 90.0)
            found.append(json.loads(ready.read_text("utf-8")))
        ports = [
            (one["console"], one["metrics"], *one["listeners"].values(), *one["carriers"].values())
            for one in found
        ]
        assert not set(ports[0]) & set(ports[1])
        for one in found:
            folder_of = Path(one["journal"]).parent / "run"
            assert status.read(folder_of, "acceptor").pid == one["pids"]["acceptor"]
    finally:
        for demo in demos:
            demo.send_signal(signal.SIGTERM)
        for demo in demos:
            assert await asyncio.to_thread(demo.wait, 60) == 0
