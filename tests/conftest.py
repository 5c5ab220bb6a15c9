"""Fixtures that several modules share: a real PostgreSQL, and a fresh migrated database per test."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import plain  # noqa: F401
import psycopg
import pytest
import pytest_asyncio
from playbook import HOUSES, House, database_of
from traces import Traces, traces_of

from gateway import regions
from gateway.registry import migrate
from gateway.registry.embedded import DATABASE, EmbeddedPostgres

_numbers = count(1)

LINES = 40
"""Of the nodes' logs that are shown with a failure, the newest."""


COSTS = {"house": 4, "house_of": 4, "server": 2, "embedded": 1}
"""What a test takes, compared: with a node, with PostgreSQL; else next to nothing."""

FIRST = {"test_source.py"}
"""Files with one test that takes long by itself: mypy, where nothing is left of an earlier run."""


def pytest_configure() -> None:
    """For any hour of the machine, and any environment.

    Nodes and commands are hundreds of starts of Python: each would compile all that it imports anew. And an
    example of Hypothesis that had to wait for a processor is no failure; no test states how long one takes.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    hypothesis.settings.register_profile("any hour", deadline=None)
    hypothesis.settings.load_profile("any hour")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a test waits for processes, disks and timers half of its time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, or one process would be left alone with them in the end (loadfile)."""
    costs: Counter[Path] = Counter()
    for item in items:
        used = getattr(item, "fixturenames", ())
        costs[item.path] += max((cost for name, cost in COSTS.items() if name in used), default=0)
    items.sort(key=lambda item: (item.path.name not in FIRST, -costs[item.path]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A refused login says "5"; why stands in the node's log, and nobody can look there after CI."""
    report = yield
    if report.failed:
        for house in HOUSES:
            lines = sorted(house.log_lines(), key=lambda line: str(line["at"]))[-LINES:]
            report.sections.append((f"log of {house.name}", "\n".join(map(str, lines))))
    return report


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedPostgres]:
    """One embedded server for the whole run; its own database stays empty."""
    # Not below tmp_path: other pytest runs take the server's right to pass through that away.
    directory = Path(tempfile.mkdtemp(prefix="zhengming-test-"))
    server = EmbeddedPostgres(directory / "postgres")
    server.start()
    careless(server.dsn)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def careless(dsn: str) -> None:
    """Have a server, from now on, wait for no disk: it is thrown away. It outlives kill -9 all the same."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET full_page_writes = off")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def template(embedded: EmbeddedPostgres) -> str:
    """The name of a migrated database that others are copied from."""
    with psycopg.connect(embedded.dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    migrate.upgrade(sibling(embedded.dsn, "migrated"))
    return "migrated"


@pytest.fixture
def database(embedded: EmbeddedPostgres, template: str) -> Iterator[str]:
    """DSN of a fresh, migrated, empty database."""
    with database_of(embedded.dsn, template, f"test_{next(_numbers)}") as dsn:
        yield dsn


def sibling(dsn: str, name: str) -> str:
    """The DSN of another database of the same server."""
    return dsn.replace(f"/{DATABASE}?", f"/{name}?")


@pytest.fixture(scope="session")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's table of cities, which takes seconds to build: once for all processes of a run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "regions.bin"
    with (folder / "regions.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            subprocess.run(regions.build_command(path), check=True)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def traces(
    embedded: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Traces]:
    """One office with a subscriber's traces, for tests that look and leave it as it is."""
    with database_of(embedded.dsn, template, "traces") as dsn:
        async with traces_of(dsn, tmp_path_factory.mktemp("traces")) as traces:
            yield traces


HouseOf = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture(scope="session")
def house_of(
    embedded: EmbeddedPostgres, template: str, cities: Path, tmp_path_factory: pytest.TempPathFactory
) -> HouseOf:
    """`async with house_of(…) as house:` starts a node in a folder and a database of its own; with `beside`
    in that house's."""

    @contextlib.asynccontextmanager
    async def build(**options: Any) -> AsyncIterator[House]:
        if (beside := options.get("beside")) is not None:
            async with House(tmp_path_factory.mktemp("house"), beside.dsn, cities, **options) as house:
                yield house
            return
        number = next(_numbers)
        with database_of(embedded.dsn, template, f"house_{number}") as dsn:
            async with House(tmp_path_factory.mktemp("house"), dsn, cities, **options) as house:
                yield house

    return build
