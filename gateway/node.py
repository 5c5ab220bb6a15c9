"""`zhengming serve`: the parts of a node under one supervisor, with its database if that is the embedded one.

`serve relay`, `serve keeper` and `serve web` run one part of a node, each with a supervisor of its own where
it has several processes, so that each can live in a container of its own (one data_dir, one PID namespace).
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway import app, handed, regions, secured, signalling, supervisor
from gateway import config as configuration
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.evidence.folder import node_of
from gateway.process import PARENT_VARIABLE, run_dir
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.keys import load_key
from gateway.registry.replica import Replica
from gateway.telemetry import FOLDER_VARIABLE, logger
from gateway.unserved import unserved
from gateway.values import endpoint

PORT_SECONDS = 5.0
"""How long a node waits at its start for ports that one before it may still hold."""

DATABASE_SECONDS = 1.0
"""How often a node looks whether its embedded database was killed."""

EMBEDDED = "embedded"
UDP = "udp://"


def parts(config: Config, only: str = "") -> list[supervisor.Part]:
    """The processes of a node, or of one of its parts."""
    workers = [supervisor.Part(f"worker-{n}", 1) for n in range(config.workers)]
    lasting = any(sms.tls_certificate or (sms.upstream_tls and sms.callback_listen) for sms in config.sms)
    relay = [supervisor.Part("acceptor", 0, lasting), *workers] if config.sms else workers
    keeper, web = [supervisor.Part("keeper", 2)], [supervisor.Part("web", 3)]
    return {"relay": relay, "keeper": keeper, "web": web, "": relay + keeper + web}[only]


def open_database(config: Config) -> EmbeddedPostgres | None:
    """The embedded server, running; None when the configuration names another. Raises UsageError."""
    if config.database.dsn != EMBEDDED:
        return None
    server = EmbeddedPostgres(config.data_dir / "postgres")
    server.start()
    return server


def has_database(config: Config) -> bool:
    """Whether the embedded server has been made; one that the configuration names is taken to be there."""
    return config.database.dsn != EMBEDDED or EmbeddedPostgres(config.data_dir / "postgres").is_made


@contextlib.contextmanager
def claimed(run_dir: Path, only: str = "") -> Iterator[bool]:
    """Holds a node's folder, or that of one of its parts, against a second one.

    Gives whether no other part of the node runs in this folder. Raises UsageError when it is held.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with _one_at_a_time(run_dir):
            for part in [only] if only else PARTS:
                _lock(run_dir, part, held)
            alone = True
            with contextlib.ExitStack() as probed:
                for part in PARTS if only else ():
                    if part != only:
                        with contextlib.suppress(UsageError):
                            _lock(run_dir, part, probed)
                            continue
                        alone = False
        yield alone


def check_name(config: Config) -> None:
    """Raises UsageError when another node's journals lie in this one's folder: under a new name they would
    be counted once more."""
    journal = config.data_dir / "journal"
    name = node_of(journal)
    if name not in {"", config.node.name}:
        raise UsageError(
            f"node.name = {config.node.name!r}: the journals in {journal} are those of node {name!r};"
            " right would be that name, or another data_dir"
        )


@contextlib.contextmanager
def _one_at_a_time(run_dir: Path) -> Iterator[None]:
    """Who looks whether a part runs holds its lock meanwhile, and that part would find it taken."""
    descriptor = os.open(run_dir / "claim.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(run_dir: Path, part: str, held: contextlib.ExitStack) -> None:
    descriptor = os.open(run_dir / f"{part}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    held.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode("ascii", "replace")
        raise UsageError(
            f"node.data_dir = {str(run_dir.parent)!r}: a node has its {part} running there, process {holder};"
            " right would be another folder, or to stop that one first"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


def taken(config: Config, only: str = "") -> Iterator[str]:
    """The addresses that a node, or one of its parts, could not listen on now: setting, value and why."""
    relay = [
        (f"sms.{number}.{name}", address)
        for number, sms in enumerate(config.sms)
        for name, address in (("listen", sms.listen), ("callback_listen", sms.callback_listen))
        if address
    ]
    relay += [("voice.listen", listen) for listen in config.voice.listen]
    web = [("web.listen", config.web.listen), ("metrics.listen", config.metrics.listen)]
    web += [("card.listen", config.card.listen)] if config.card.listen else []
    wanted = {"relay": relay, "keeper": [], "web": web, "": relay + web}[only]
    with contextlib.ExitStack() as sockets:
        for key, address in wanted:
            host, port = endpoint(address.rpartition("://")[2])
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                if address.startswith(UDP):
                    sockets.enter_context(socket.socket(family, socket.SOCK_DGRAM)).bind((host, port))
                else:
                    sockets.enter_context(socket.create_server((host, port), family=family))
            except OSError as error:
                yield (
                    f"{key} = {address!r}: cannot listen there: {_why(error)};"
                    " right would be an address of this machine, with a free port"
                )


def _why(error: OSError) -> str:
    """In the system's words; a resolver's errors have numbers below 0 and words of their own."""
    if (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error.strerror or error).partition(" (while")[0]


class Node:
    """A running node: `run` until `stop` is set. `held`: the caller has `claimed` its folder, and takes the
    signals."""

    def __init__(
        self,
        config: Config,
        path: Path | None,
        only: str = "",
        *,
        stop: asyncio.Event | None = None,
        held: bool = False,
    ) -> None:
        self.config = config
        self._path = path
        self._only = only
        self._held = held
        self._log = logger("supervisor")
        self.stop = stop if stop is not None else asyncio.Event()
        self.database: EmbeddedPostgres | None = None
        self.dsn = config.database.dsn
        self._handed: handed.Handed | None = None
        self._crew: supervisor.Supervisor | None = None

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT or `stop`; 0 when everything has stopped cleanly. Raises UsageError."""
        supervisor.raise_descriptor_limit()
        config, loop = self.config, asyncio.get_running_loop()
        app.make_data_dir(config)
        if not self._held:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop.set)
            loop.add_signal_handler(signal.SIGHUP, self.reload)
        with contextlib.ExitStack() as stack:
            alone = self._held or stack.enter_context(claimed(run_dir(config), self._only))
            check_name(config)
            for words in unserved(config.evidence):
                self._log.warning("not served", extra={"fields": {"setting": words}})
            for problem in (*secured.problems(config.sms), *signalling.problems(config.voice, config.card)):
                raise UsageError(f"{self._path}: {problem}")
            await self._ports()
            if self._only in {"", "keeper"} and not self.stop.is_set():
                self.database = await asyncio.to_thread(open_database, config)
            if self.database is not None:
                self.dsn = self.database.dsn
                stack.callback(self.database.stop)
            elif self.dsn == EMBEDDED:  # the keeper's supervisor has it, or will
                self.dsn = EmbeddedPostgres(config.data_dir / "postgres").address
            if self._only in {"", "relay"} and not self.stop.is_set():
                await self._make_regions(config.data_dir / "regions.bin")
            if not self.stop.is_set():
                await self._serve(alone)
        return 0

    async def _serve(self, alone: bool) -> None:
        metrics = supervisor.metrics_folder(run_dir(self.config), fresh=alone)
        os.environ[FOLDER_VARIABLE] = str(metrics)
        self._hand_down(handed.of(self.config))
        self._crew = supervisor.Supervisor(
            parts(self.config, self._only),
            [str(self._settings_path)],
            dict(os.environ) | {PARENT_VARIABLE: str(os.getpid())},
            self._log,
            self._clear_dead_readers,
        )
        keeping = asyncio.create_task(self._keep_database())
        try:
            await self._crew.run(self.stop)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_database(self) -> None:
        """Start the embedded database again whenever it was killed: bans and registrations wait for it."""
        while (database := self.database) is not None:
            await asyncio.sleep(DATABASE_SECONDS)
            try:
                if await asyncio.to_thread(database.revive):
                    fields = {"pid": database.pid}
                    self._log.error("the embedded database died, started again", extra={"fields": fields})
            except (UsageError, OSError) as error:
                self._log.error("the embedded database died", extra={"fields": {"error": str(error)}})
                await asyncio.sleep(PORT_SECONDS)

    def reload(self) -> None:
        """SIGHUP: read the configuration again, and hand down what may change under way. Before the parts are
        there it waits for a restart like the rest."""
        if self._handed is None or self._crew is None:
            return
        try:
            config, waiting = handed.reloaded(self._handed.config, configuration.load(self._path))
            self._hand_down(handed.of(config))
        except (UsageError, OSError) as error:
            self._log.error("configuration not reloaded", extra={"fields": {"error": str(error)}})
            return
        if waiting:
            self._log.warning("settings wait for a restart", extra={"fields": {"settings": waiting}})
        self._crew.reload()

    def _hand_down(self, settings: handed.Handed) -> None:
        if rules := handed.unnamed(settings.profile):
            self._log.warning("the profile names no such rules: off", extra={"fields": {"rules": rules}})
        settings.write(self._settings_path, self.dsn)
        self._handed = settings

    @property
    def _settings_path(self) -> Path:
        return run_dir(self.config) / f"{self._only or 'node'}.json"

    async def _ports(self) -> None:
        """Wait for ports that a node before this one still holds; what stays taken is a mistake."""
        deadline = time.monotonic() + PORT_SECONDS
        while (wrong := list(taken(self.config, self._only))) and not self.stop.is_set():
            if time.monotonic() > deadline:
                place = str(self._path) if self._path else "the built-in defaults"
                raise UsageError("\n".join(f"{place}: {problem}" for problem in wrong))
            await asyncio.sleep(0.1)

    def _clear_dead_readers(self) -> None:
        """A dead process must not keep old pages of the replica from being used again."""
        replica = Replica.open(self.config.data_dir / "registry", load_key(app.registry_key(self.config)))
        replica.clear_dead_readers()
        replica.close()

    async def _make_regions(self, path: Path) -> None:
        """Build the table of cities where there is none that can be read, in a process of its own, as its
        source is large. Raises NotReady when that fails."""
        with contextlib.suppress(OSError, ValueError):
            regions.Regions(path)
            return
        process = await asyncio.create_subprocess_exec(*regions.build_command(path), process_group=0)
        if await process.wait():
            raise NotReady(f"{path}: the table of cities could not be made; standard error says why")


def serve(config: Config, path: Path | None, only: str = "") -> int:
    """Run a node, or one part of it, in this process."""
    return asyncio.run(Node(config, path, only).run())


PARTS: Sequence[str] = ("relay", "keeper", "web")
