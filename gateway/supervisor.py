"""Keeps the processes of a node alive: starts them, starts again what dies, and stops them in order.

Parts are exec'ed, never forked with an open environment. When one dies, its slots in the replica's reader
table and its gauges are cleared and it is started again; only its TCP connections are lost. It never
touches traffic, records or the database's content.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway import telemetry
from gateway.errors import UsageError

NEEDED_DESCRIPTORS = 8192  # 2,000 sessions are 4,000 sockets; the rest is room
WANTED_DESCRIPTORS = 1 << 20
STOP_SECONDS = 15.0  # a drain takes at most 10
RETRY_SECONDS = 1.0
QUICK_DEATH = 2.0  # a part that lived shorter is started again only after a pause
PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """One process: `name` as in its status file; lower ranks stop first. One that is `lasting` is told to
    stop with its rank, and waited for at the end: it serves what others still drain."""

    name: str
    rank: int
    lasting: bool = False
    process: asyncio.subprocess.Process | None = None
    deaths: int = field(default=0)


class Supervisor:
    """Runs `parts` until asked to stop. `clear` is called after a death, before the new start."""

    def __init__(
        self,
        parts: Sequence[Part],
        arguments: Sequence[str],
        environment: dict[str, str],
        log: logging.Logger,
        clear: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._arguments = arguments
        self._environment = environment
        self._log = log
        self._clear = clear
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, keep it running until `stop` is set, then stop it by rank."""
        self._stop = stop
        keepers = [asyncio.create_task(self._keep(part)) for part in self._parts]
        await stop.wait()
        lasting = []
        for rank in sorted({part.rank for part in self._parts}):
            ending = [
                (part.lasting, asyncio.create_task(self._end(part)))
                for part in self._parts
                if part.rank == rank
            ]
            lasting += [task for lasts, task in ending if lasts]
            await asyncio.gather(*(task for lasts, task in ending if not lasts))
        await asyncio.gather(*lasting)
        for task in keepers:
            task.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    def reload(self) -> None:
        """Pass SIGHUP on."""
        for part in self._parts:
            if part.process is not None:
                _signal(part.process, signal.SIGHUP)

    async def _keep(self, part: Part) -> None:
        while not self._stop.is_set():
            born = time.monotonic()
            try:
                with reloads_waiting():
                    part.process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "gateway.part", part.name, *self._arguments),
                        env=self._environment,
                        process_group=0,  # a terminal's Ctrl-C is for us, who stop the parts in order
                    )
            except OSError as error:  # no process, no memory: both come back
                self._log.error(
                    "part not started", extra={"fields": {"part": part.name, "error": str(error)}}
                )
                await asyncio.sleep(RETRY_SECONDS)
                continue
            pid = part.process.pid
            code = await part.process.wait()
            if self._stop.is_set():
                return
            part.deaths += 1
            fields = {"part": part.name, "pid": pid, "code": code}
            self._log.error("part died, starting it again", extra={"fields": fields})
            try:
                telemetry.forget_process(pid)
                self._clear()
            except Exception:  # its slots stay taken until the next time; the part is needed all the same
                self._log.exception("clearing up after a part failed")
            if time.monotonic() - born < QUICK_DEATH:
                await asyncio.sleep(min(5.0, 0.2 * part.deaths))

    async def _end(self, part: Part) -> None:
        process = part.process
        if process is None or process.returncode is not None:
            return
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._log.error("part did not stop, killed", extra={"fields": {"part": part.name}})
            with contextlib.suppress(ProcessLookupError):
                process.kill()


@contextlib.contextmanager
def reloads_waiting() -> Iterator[None]:
    """What is started inside gets a SIGHUP only when it has a handler for it and `takes_reloads`; it would
    die of an earlier one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        yield
    finally:
        takes_reloads()


def takes_reloads() -> None:
    """Let those SIGHUPs in that have waited."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when the supervisor `parent` ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        raise SystemExit(1)


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE as far as it goes; returns what holds now.

    Raises UsageError when that is not enough for a node, with what an operator has to set.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < NEEDED_DESCRIPTORS:
        with contextlib.suppress(OSError, ValueError):  # a privileged user may
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, NEEDED_DESCRIPTORS))
            hard = NEEDED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < NEEDED_DESCRIPTORS:
        raise UsageError(
            f"RLIMIT_NOFILE: the hard limit is {hard}; right would be {NEEDED_DESCRIPTORS} or more:"
            " set LimitNOFILE= in the systemd unit, or `ulimit -Hn` before the start"
        )
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def metrics_folder(run_dir: Path, *, fresh: bool) -> Path:
    """The folder for the counters of all processes of a node; `fresh`: they begin at 0.

    Parts that are served one by one share it, and only the first one finds nobody there.
    """
    folder = run_dir / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db") if fresh else ():
        old.unlink()
    return folder
