"""`zhengming demo`: a whole node on loopback with sample data, simulated peers and traffic of every verdict.

It runs the code that a carrier would run: the database comes from the wheel, the registry from files by
the ordinary import, the node from its supervisor, traffic over real sockets. What it starts, it stops.
"""

import asyncio
import contextlib
import csv
import errno
import itertools
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

import aiohttp

from gateway import app, config, handed, node, staff, status
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.loopback import free, is_free
from gateway.policy.profile import SHANGHAI
from gateway.process import run_dir
from gateway.protocols import CALLS
from gateway.protocols.sip_proxy import PORT
from gateway.ready import Ready
from gateway.registry import exchange, migrate
from gateway.registry.keys import load_key
from gateway.ringing import ring, voice_core
from gateway.scenes import OWN_HOURS, SCENES, TRUNKS, at_time, line_with_own_hours
from gateway.simulator.carrier import CarrierSim, Received
from gateway.simulator.peers import PEERS
from gateway.simulator.sender import LoginRefused, SenderSim
from gateway.supervisor import raise_descriptor_limit
from gateway.telemetry import LOG_VARIABLE
from gateway.values import endpoint

ORDER = ("institutions", "mandates", "numbers", "accounts", "blacklist", "refusals")
READY_SECONDS = 90.0
ACCOUNTS = ("900001", "900002", "900003", "900004", "900005", "900006")
ANSWERS = {0: "R", 16: "怎么退订？", 32: "这是新号", 48: "谢谢"}
"""What a subscriber answers to each 64th message: of every kind, but that nobody accepts again."""
CALLBACK_PORT = 8811
"""Where the simulated carrier of SGIP calls, if it is free."""
SIP = "sip"
OWN_TRUNK = "127.0.0.1"
"""Where calls of one's own come from, if from nowhere else: the sample bank's trunk."""


def carriers(options: Sequence[str]) -> dict[str, str]:
    """`["cmpp=10.0.0.5:7890"]` → {"cmpp": "10.0.0.5:7890"}. Raises UsageError."""
    found = {}
    for option in options:
        protocol, _, address = option.partition("=")
        try:
            endpoint(address)
        except ValueError as error:
            raise UsageError(f"--carrier {option!r}: right would be PROTOCOL={error}") from None
        if protocol not in (known := (*config.PROTOCOLS, SIP)):
            raise UsageError(f"--carrier {option!r}: right would be a protocol out of {', '.join(known)}")
        if protocol in found:
            raise UsageError(f"--carrier {option!r}: {protocol} stands there twice; right would be once")
        found[protocol] = address
    return found


def run(directory: Path, *, seconds: float, traffic: bool, carriers: dict[str, str], profile: str) -> int:
    """Run the demonstration until Ctrl-C, SIGTERM or `seconds` have passed."""
    demo = Demo(directory.resolve(), seconds, traffic, carriers, profile)
    return asyncio.run(demo.run())


class Demo:
    """One demonstration in one folder."""

    def __init__(
        self, directory: Path, seconds: float, traffic: bool, carriers: dict[str, str], profile: str
    ) -> None:
        self._directory = directory
        self._seconds = seconds
        self._traffic = traffic
        self._carriers = carriers
        self._profile = profile
        self._path = directory / "zhengming.toml"
        self._ready = Ready(directory / "ready.json")
        self._staff = staff.Staff({}, {})
        self._stop = asyncio.Event()
        self._at_terminal = False
        self._running: node.Node | None = None
        self._callbacks: dict[str, str] = {}  # by protocol: where its carrier calls
        self._listeners: dict[str, str] = {}  # by account of SGIP: where it is called

    async def run(self) -> int:
        """Whenever it is stopped, also on its way up: nothing that it has started stays."""
        raise_descriptor_limit()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._at_terminal = os.isatty(0)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        data_dir = self._directory / "var"
        async with contextlib.AsyncExitStack() as stack:
            self._make_folders(data_dir / "log")
            stack.enter_context(node.claimed(data_dir / "run"))
            self._ready.remove()
            secret = self._secret()
            upstreams = dict(self._carriers)
            self._callbacks = {call: f"127.0.0.1:{free(CALLBACK_PORT, stack)}" for call in CALLS}
            for protocol, port in config.PROTOCOLS.items():
                if protocol not in upstreams:
                    carrier = CarrierSim(
                        port=free(10_000 + port, stack),
                        protocol=protocol,
                        secret=secret,
                        reply=_reply,
                        report_after=0.2,
                        callback=self._callbacks.get(protocol),
                    )
                    await stack.enter_async_context(carrier)
                    upstreams[protocol] = f"127.0.0.1:{carrier.port}"
            if SIP not in upstreams:
                core = await stack.enter_async_context(voice_core(free(10_000 + PORT, stack)))
                upstreams[SIP] = f"127.0.0.1:{core.port}"
            settings = self._write_config(upstreams, stack)
            handed.profile_of(settings)  # a wrong one is told before anything is started
            server = await asyncio.to_thread(node.open_database, settings)
            if server is not None:
                stack.callback(server.stop)
            if not self._stop.is_set():
                dsn = server.dsn if server is not None else settings.database.dsn
                await self._fill_registry(settings, dsn, stack)
            return await self._serve(settings, upstreams, secret)

    def _hang_up(self) -> None:
        """SIGHUP: a terminal that was closed ends the demonstration, as Ctrl-C would; by hand it means what
        it means to every node."""
        if self._running is None or (self._at_terminal and not os.isatty(0)):
            self._stop.set()
        else:
            self._running.reload()

    def _make_folders(self, logs: Path) -> None:
        try:
            logs.mkdir(parents=True, exist_ok=True)
            if not os.access(self._directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable for this user")
        except OSError as error:
            raise UsageError(
                f"--dir {self._directory}: {error.strerror}; right would be a folder that this"
                " user may make or write to"
            ) from None
        os.environ[LOG_VARIABLE] = str(logs)

    async def _serve(self, settings: Config, upstreams: dict[str, str], secret: str) -> int:
        self._running = running = node.Node(settings, self._path, stop=self._stop, held=True)
        serving = asyncio.create_task(running.run())
        beside: list[asyncio.Task[None]] = []
        try:
            if await self._until_ready(settings, serving):
                self._write_ready(settings, running, upstreams, secret)
                self._greet(settings)
                beside.append(asyncio.create_task(self._ready.follow(settings, running)))
                if self._traffic:
                    beside.append(asyncio.create_task(self._talk(settings, secret)))
                    beside.append(asyncio.create_task(ring(*self._voice(settings), _subscribers(5_000))))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds or None):
                        await asyncio.shield(serving)
        finally:
            self._stop.set()
            for task in beside:
                task.cancel()
            self._ready.remove()
            code = await serving
        return code

    def _secret(self) -> str:
        """The shared secret of all sample accounts, made once."""
        path = self._directory / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(8), "ascii")
        return path.read_text("ascii")

    def _place_listeners(self, accounts: Path, stack: contextlib.AsyncExitStack) -> None:
        """Have the sample senders of SGIP listen at ports that are free."""
        text = accounts.read_text("utf-8")
        for line in csv.DictReader(text.splitlines()):
            if listener := line["listener"]:
                text = text.replace(listener, f"127.0.0.1:{free(endpoint(listener)[1], stack)}")
        accounts.write_text(text, "utf-8")

    def _write_config(self, upstreams: dict[str, str], stack: contextlib.AsyncExitStack) -> Config:
        profile = self._profile
        if profile not in config.shipped_profiles():
            profile = str(Path(profile).resolve())
        lines = "\n".join(
            f'[[sms]]\nprotocol = "{protocol}"\nlisten = "127.0.0.1:{free(port, stack)}"\n'
            f"upstream = [{json.dumps(upstreams[protocol])}]\n"
            + (f'callback_listen = "{self._callbacks[protocol]}"\n' if protocol in CALLS else "")
            for protocol, port in config.PROTOCOLS.items()
        )
        self._path.write_text(
            f"""# Written by `zhengming demo`; `zhengming config` explains each setting.
[node]
name = "demo"
carrier = "mobile"
data_dir = "var"

{lines}
[voice]
listen = ["udp://127.0.0.1:{(calls := free(PORT, stack))}", "tcp://127.0.0.1:{calls}"]
next_hop = "sip:{upstreams[SIP]}"
trusted = ["{TRUNKS.bank}"]
area = "571"

[web]
listen = "127.0.0.1:{free(8080, stack)}"

[metrics]
listen = "127.0.0.1:{free(9464, stack)}"

[policy]
profile = {json.dumps(profile)}
""",
            "utf-8",
        )
        return config.load(self._path)

    async def _fill_registry(self, settings: Config, dsn: str, stack: contextlib.AsyncExitStack) -> None:
        """Import the sample files, as an operator would, into an empty registry; and have people there."""
        samples = self._directory / "samples"
        shipped = resources.files("gateway") / "samples"
        with resources.as_file(shipped) as folder:
            shutil.copytree(folder, samples, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*"))
        await asyncio.to_thread(migrate.upgrade, dsn)
        key = load_key(app.registry_key(settings))
        fresh = False
        if not await staff.has_samples(dsn):  # later the registry is the users' own
            self._place_listeners(samples / "accounts.csv", stack)
            await staff.add_checkers(dsn, key)
            for kind in ORDER:
                result = await exchange.import_file(
                    kind, samples / f"{kind}.csv", dsn, key, approve=staff.CHECKERS
                )
                if result.rejected:
                    raise NotReady(f"sample rows were rejected: see {result.rejected_path}")
            fresh = True
        self._listeners = await staff.listeners(dsn, ACCOUNTS)
        self._staff = await staff.staffed(dsn, key, settings.node.carrier)
        if fresh:
            await staff.own_hours(dsn, handed.profile_of(settings), line_with_own_hours(), OWN_HOURS)

    async def _until_ready(self, settings: Config, serving: "asyncio.Task[int]") -> bool:
        """Wait until the node takes traffic; False when it was stopped before."""
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession() as client:
            why = "nothing answers"
            while time.monotonic() < deadline and not serving.done():
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(f"http://{settings.web.listen}/readyz") as answer:
                        why = await answer.text()
                        # our own parts have to say so too: another node may have been quicker to this address
                        if answer.status == 200 and all(said.ready for said in _said(settings)):
                            return True
                await asyncio.sleep(0.1)
        if self._stop.is_set():
            return False
        if serving.done():
            serving.result()
        raise NotReady(f"the node did not become ready: {why}; its log is in {settings.data_dir / 'log'}")

    def _write_ready(
        self, settings: Config, running: node.Node, upstreams: dict[str, str], secret: str
    ) -> None:
        self._ready.write(
            {
                "config": str(self._path),
                "console": f"http://{settings.web.listen}",
                "api": f"http://{settings.web.listen}/api/v1",
                "metrics": f"http://{settings.metrics.listen}/metrics",
                "database": running.dsn,
                "journal": str(settings.data_dir / "journal"),
                "listeners": {sms.protocol: sms.listen for sms in settings.sms}
                | {SIP: "{}:{}".format(*self._voice(settings))},
                "callbacks": self._callbacks,
                "carriers": upstreams,
                "accounts": {
                    protocol: {"account": ACCOUNTS[0], "secret": secret[: PEERS[protocol].secret_octets]}
                    for protocol in config.PROTOCOLS
                }
                | {SIP: {"account": OWN_TRUNK, "secret": ""}},
                "tokens": self._staff.tokens,
                "logins": self._staff.logins,
            },
            settings,
            running,
        )

    def _greet(self, settings: Config) -> None:
        senders = "\n".join(f"  {sms.protocol.upper()} senders  {sms.listen}" for sms in settings.sms)
        senders += "".join(f"\n  {name.upper()} carrier  {at}" for name, at in self._callbacks.items())
        host, port = self._voice(settings)
        senders += f"\n  SIP callers   {host}:{port}"
        print(
            f"""正名网关 Zhengming is running.
{senders}
  accounts      {", ".join(ACCOUNTS)}; calls come from {", ".join((OWN_TRUNK, *TRUNKS))}
  their secret  {self._directory / "secret"}
  console, API  http://{settings.web.listen}   http://{settings.web.listen}/api/v1/openapi.json
  sign-ins      {", ".join(staff.POSTS)}: passwords, codes and tokens in {self._ready.path}
  metrics       http://{settings.metrics.listen}/metrics
  readiness     http://{settings.web.listen}/readyz
  any command   .venv/bin/zhengming … -c {self._path}
Ctrl-C stops all of it.""",
            flush=True,
        )

    async def _talk(self, settings: Config, secret: str) -> None:
        """Send the scenes over and over from each account's own connection, protocol after protocol."""
        subscribers = _subscribers(1_000)
        while True:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    senders = {
                        (sms.protocol, account): await stack.enter_async_context(
                            SenderSim(
                                *(*endpoint(sms.listen), account, secret),
                                protocol=sms.protocol,
                                called_at=self._called_at(sms.protocol, account),
                            )
                        )
                        for sms in settings.sms
                        for account in ACCOUNTS
                    }
                    plays = itertools.product((sms.protocol for sms in settings.sms), SCENES)
                    for protocol, scene in itertools.cycle(plays):
                        sender = senders[protocol, scene.account]
                        if sender.cause is not None:
                            break
                        destinations = [known or next(subscribers) for known in scene.subscribers]
                        await sender.submit(
                            scene.source,
                            destinations,
                            scene.text,
                            report=True,
                            at_time=at_time(scene, datetime.now(SHANGHAI)),
                        )
                        await asyncio.sleep(0.1)
            except (OSError, LoginRefused):
                await asyncio.sleep(1.0)

    @staticmethod
    def _voice(settings: Config) -> tuple[str, int]:
        """Where calls come in."""
        return endpoint(settings.voice.listen[0].partition("://")[2])

    def _called_at(self, protocol: str, account: str) -> tuple[str, int] | None:
        """Where a sender listens; None where he takes deliveries on the connection that he sends on."""
        listener = self._listeners.get(account, "") if protocol in CALLS else ""
        return endpoint(listener) if listener and is_free(endpoint(listener)) else None


def _subscribers(first: int) -> Iterator[str]:
    """Made-up ones, round and round; messages and calls begin elsewhere, as both count towards caps."""
    return itertools.cycle(f"1380000{last}" for last in (*range(first, 10_000), *range(1_000, first)))


def _said(settings: Config) -> list[status.Said]:
    """The last word of each part."""
    folder = run_dir(settings)
    return [status.read(folder, role) for role in status.roles(settings.workers, relay=True)]


def _reply(received: Received) -> str | None:
    """What the sample subscribers answer: most nothing, one in 64 the plain word, as many something else."""
    return ANSWERS.get(received.sequence % 64)
