"""A PostgreSQL 15 as Debian ships it, in a folder of its own: what carriers run beside the embedded 18."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


class Server:
    """PostgreSQL's programs, run in `folder` by a user who may run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self._identity = (
            {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        )
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/zhengming?host={self.folder}"

    def run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [PROGRAMS / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            **self._identity,
        )

    def make(self) -> None:
        self.run(
            "initdb",
            "-D",
            self.data,
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -c fsync=off -k {self.folder}"
        self.run("pg_ctl", "-D", self.data, "-o", options, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")


@contextlib.contextmanager
def debian_server(standby_of: Server | None = None) -> Iterator[Server]:
    """A running server; with `standby_of` one that follows that one and takes no writes."""
    if not (PROGRAMS / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="zm15-"))
    server = Server(folder)
    if standby_of is None:
        server.make()
    else:
        host = str(standby_of.folder)
        server.run("pg_basebackup", "-h", host, "-U", "postgres", "-D", server.data, "-R", "-c", "fast", "-N")
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
