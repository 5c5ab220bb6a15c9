"""The embedded PostgreSQL: it starts wherever it is put, keeps its data, and stops when nobody is left."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from gateway.errors import UsageError
from gateway.registry.embedded import EmbeddedPostgres

ROOT = os.geteuid() == 0
CHECKOUT = Path(__file__).parent.parent

USER = """
import sys
from pathlib import Path
from gateway.registry.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, server.dsn, flush=True)
sys.stdin.readline()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="zme-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder with a database that is not running; tests leave it so."""
    path = Path(tempfile.mkdtemp(prefix="zme-"))
    server = EmbeddedPostgres(path)
    server.start()
    server.stop()
    yield path
    shutil.rmtree(path)


def user_of(folder: Path, **options: object) -> "subprocess.Popen[str]":
    """Another process that uses the server until a line comes."""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        **options,
    )


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def alive(pid: int) -> bool:
    """A zombie is not: in a container nobody may be there to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_data_are_kept_between_starts(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    assert str(one(server.dsn, "SHOW server_version")).startswith("18.")
    with psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT '正名' AS word")
    pid = server.pid
    server.stop()
    assert not alive(pid)
    assert server.dsn == ""

    server.start()
    assert one(server.dsn, "SELECT word FROM kept") == "正名"
    assert one(server.dsn, "SHOW synchronous_commit") == "on"
    assert one(server.dsn, "SHOW listen_addresses") == ""
    server.stop()
    server.stop()


async def test_its_address_works_for_every_client_and_every_path(folder: Path) -> None:
    """Also where the path has spaces, Chinese, an ampersand, and is too long for a socket's address."""
    places = [folder / "正 名 & co=1%20", folder / ("x" * 90) / "y"]
    for place in places:
        server, expected = EmbeddedPostgres(place), EmbeddedPostgres(place).address
        await asyncio.to_thread(server.start)
        assert server.dsn == expected  # so the parts of a node that don't keep it find it
        connection = await asyncpg.connect(server.dsn)
        assert await connection.fetchval("SELECT current_database()") == "zhengming"
        await connection.close()
        assert one(server.dsn, "SELECT current_user") == "postgres"
        said = await asyncio.to_thread(subprocess.check_output, ["psql", server.dsn, "-Atc", "SELECT 7"])
        assert said == b"7\n"
        await asyncio.to_thread(server.stop)


def test_two_nodes_side_by_side(folder: Path) -> None:
    one_node, other = EmbeddedPostgres(folder / "1"), EmbeddedPostgres(folder / "2")
    one_node.start()
    other.start()
    assert one_node.pid != other.pid
    with psycopg.connect(one_node.dsn) as connection:
        connection.execute("CREATE TABLE mine ()")
    assert one(other.dsn, "SELECT to_regclass('mine')") is None
    one_node.stop()
    assert one(other.dsn, "SELECT 1") == 1
    other.stop()


def test_the_last_one_to_leave_stops_it(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    with user_of(made) as guest:
        assert guest.stdout
        assert guest.stdout.readline().split() == [str(server.pid), server.dsn]
        pid, dsn = server.pid, server.dsn
        server.stop()
        assert one(dsn, "SELECT 1") == 1
        guest.communicate("\n")
        assert guest.returncode == 0
    assert not alive(pid)


def test_concurrent_starts_share_one_server(folder: Path) -> None:
    guests = [user_of(folder / "new") for _ in range(3)]
    pids = {guest.stdout.readline().split()[0] for guest in guests if guest.stdout}
    assert len(pids) == 1
    for guest in guests:
        guest.communicate("\n")
        assert guest.returncode == 0
    assert not alive(int(pids.pop()))


def test_a_killed_server_starts_again(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE killed ()")
        os.kill(server.pid, signal.SIGKILL)
        again = EmbeddedPostgres(made)
        again.start()  # while the old one's children are still leaving
    assert again.pid != server.pid
    assert one(again.dsn, "SELECT to_regclass('killed') IS NOT NULL") is True
    again.stop()
    server.stop()


def test_who_uses_it_revives_it_when_it_was_killed_and_not_when_it_was_stopped(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    assert not server.revive()
    old = server.pid
    os.kill(old, signal.SIGKILL)
    eventually_true(server.revive)
    assert server.pid != old
    assert one(server.dsn, "SELECT 1") == 1
    assert not server.revive()
    os.kill(server.pid, signal.SIGINT)  # as pg_ctl stop does
    eventually_true(lambda: not alive(server.pid))
    assert not server.revive()
    server.stop()
    assert not server.revive()


def eventually_true(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stale_pid_file_that_names_a_living_process(made: Path) -> None:
    """After a container's restart the old number often is somebody else's."""
    server = EmbeddedPostgres(made)
    server.start()
    lines = (server.data / "postmaster.pid").read_text().splitlines()
    server.stop()
    for stranger in (os.getpid(), os.getppid(), 1):
        (server.data / "postmaster.pid").write_text("\n".join([str(stranger), *lines[1:]]) + "\n")
        server.start()
        assert server.pid != stranger
        assert one(server.dsn, "SELECT 1") == 1
        server.stop()


def test_a_user_that_was_killed_leaves_it_running_for_the_next(made: Path) -> None:
    with user_of(made) as first:
        assert first.stdout
        pid = int(first.stdout.readline().split()[0])
        first.kill()
    assert alive(pid)
    server = EmbeddedPostgres(made)
    server.start()
    assert server.pid == pid
    server.stop()
    assert not alive(pid)


def test_a_making_that_was_interrupted_begins_anew(folder: Path) -> None:
    (folder / "data.new").mkdir()
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(folder)
    server.start()
    assert one(server.dsn, "SELECT 1") == 1
    server.stop()


def test_another_version_s_folder_is_refused(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(UsageError, match="PostgreSQL 16"):
        EmbeddedPostgres(folder).start()


def test_what_hinders_it_is_said(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    server.stop()
    rules = (server.data / "pg_hba.conf").read_text()
    (server.data / "pg_hba.conf").write_text("nonsense\n")
    with pytest.raises(UsageError, match="pg_hba"):
        server.start()
    (server.data / "pg_hba.conf").write_text(rules)
    assert not list(made.glob("data/postmaster.pid"))


@pytest.mark.parametrize("name", ["x$HOME", "`id`", 'a"b', "a,b"])
def test_a_path_that_its_programs_can_not_quote_is_refused_before_anything_is_made(
    folder: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="right would be"):
        EmbeddedPostgres(folder / name).start()
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_a_normal_user_needs_nobody_s_help(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    child = os.fork()
    if child == 0:  # forked, as the interpreter's own folder may be closed to others
        code = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            server = EmbeddedPostgres(folder / "postgres")
            server.start()
            assert one(server.dsn, "SELECT 1") == 1
            assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid
            server.stop()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not ROOT, reason="speaks of root")
def test_root_s_server_is_not_everybody_s(made: Path) -> None:
    server = EmbeddedPostgres(made)
    server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid not in (0, pwd.getpwnam("nobody").pw_uid)
    tried = subprocess.run(
        ["psql", server.dsn, "-c", "SELECT 1"], check=False, capture_output=True, user="nobody"
    )
    assert tried.returncode == 2
    server.stop()


@pytest.mark.skipif(not ROOT, reason="speaks of root")
def test_it_stops_although_a_folder_above_was_closed_meanwhile(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "above" / "postgres")
    server.start()
    pid = server.pid
    (folder / "above").chmod(0o700)
    assert one(server.dsn, "SELECT 1") == 1
    server.stop()
    assert not alive(pid)
    (folder / "above").chmod(0o700)
    server.start()
    server.stop()
