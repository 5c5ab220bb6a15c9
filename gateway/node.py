"""`zhengming serve`: the parts of a node under one supervisor, with its database if that is the embedded one.

`serve relay`, `serve keeper` and `serve web` run one part of a node, each with a supervisor of its own where
it has several processes, so that each can live in a container of its own (one data_dir, one PID namespace).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from gateway import app, regions, supervisor
from gateway.config import ENVIRONMENT_PREFIX, Config
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.keys import load_key
from gateway.registry.replica import Replica
from gateway.telemetry import FOLDER_VARIABLE, logger

EMBEDDED = "embedded"


def parts(config: Config, only: str = "") -> list[supervisor.Part]:
    """The processes of a node, or of one of its parts."""
    workers = [supervisor.Part(f"worker-{n}", 1) for n in range(config.workers)]
    relay = [supervisor.Part("acceptor", 0), *workers] if config.sms else workers
    keeper, web = [supervisor.Part("keeper", 2)], [supervisor.Part("web", 3)]
    return {"relay": relay, "keeper": keeper, "web": web, "": relay + keeper + web}[only]


def open_database(config: Config) -> EmbeddedPostgres | None:
    """The embedded server, running; None when the configuration names another. Raises UsageError."""
    if config.database.dsn != EMBEDDED:
        return None
    server = EmbeddedPostgres(config.data_dir / "postgres")
    server.start()
    return server


class Node:
    """A running node: `start`, then `wait` until it is stopped."""

    def __init__(self, config: Config, path: Path | None, only: str = "") -> None:
        self.config = config
        self._path = path
        self._only = only
        self._log = logger("supervisor")
        self.stop = asyncio.Event()
        self.database: EmbeddedPostgres | None = None
        self.dsn = config.database.dsn

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; 0 when everything has stopped cleanly."""
        supervisor.raise_descriptor_limit()
        config = self.config
        app.make_data_dir(config)
        loop = asyncio.get_running_loop()
        if self._only in {"", "keeper"}:
            self.database = await asyncio.to_thread(open_database, config)
            if self.database is not None:
                self.dsn = self.database.dsn
        await self._make_regions(config.data_dir / "regions.bin")
        metrics = supervisor.metrics_folder(app.run_dir(config))
        os.environ[FOLDER_VARIABLE] = str(metrics)
        environment = dict(os.environ) | {
            app.PARENT_VARIABLE: str(os.getpid()),
            f"{ENVIRONMENT_PREFIX}DATABASE__DSN": self.dsn,
        }
        crew = supervisor.Supervisor(
            parts(config, self._only),
            [str(self._path)] if self._path else [],
            environment,
            self._log,
            self._clear_dead_readers,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, crew.reload)
        try:
            await crew.run(self.stop)
        finally:
            if self.database is not None:
                await asyncio.to_thread(self.database.stop)
        return 0

    def _clear_dead_readers(self) -> None:
        """A dead process must not keep old pages of the replica from being used again."""
        replica = Replica.open(self.config.data_dir / "registry", load_key(app.registry_key(self.config)))
        replica.clear_dead_readers()
        replica.close()

    async def _make_regions(self, path: Path) -> None:
        """Build the table of cities once, in a process of its own: its source is large."""
        if path.exists():
            return
        process = await asyncio.create_subprocess_exec(*regions.build_command(path))
        with contextlib.suppress(asyncio.CancelledError):
            await process.wait()


def serve(config: Config, path: Path | None, only: str = "") -> int:
    """Run a node, or one part of it, in this process."""
    return asyncio.run(Node(config, path, only).run())


PARTS: Sequence[str] = ("relay", "keeper", "web")
