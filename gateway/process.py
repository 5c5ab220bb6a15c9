"""One process of a node, whatever its part: its settings, log, metrics and status, from its start to its end.

It knows no part; what they do is the business of `app`.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import uvloop

from gateway import status
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.handed import Handed, handed
from gateway.supervisor import die_with_parent, takes_reloads
from gateway.telemetry import Telemetry, logger

T = TypeVar("T")

PARENT_VARIABLE = "ZHENGMING_SUPERVISOR"
"""Process id of the supervisor, in the environment of the parts that it starts."""

SWITCH_SECONDS = 0.0005
"""How long one thread keeps the interpreter: the journal's thread must not wait the default 5 ms."""


STARTING_SECONDS = 0.1


def run_dir(config: Config) -> Path:
    return config.data_dir / "run"


@dataclasses.dataclass
class Process:
    """What every part has: its settings, log, metrics, status, and the wish to stop or reload."""

    path: Path
    handed: Handed
    log: logging.Logger
    telemetry: Telemetry
    status: status.Status
    stop: asyncio.Event
    on_reload: Callable[[Handed], None] | None = None

    @property
    def config(self) -> Config:
        return self.handed.config

    def reload(self) -> None:
        self.handed = handed(self.path)
        if self.on_reload is not None:
            self.on_reload(self.handed)
        self.log.info("configuration reloaded")

    async def say_until_stopped(self, ready: Callable[[], str]) -> None:
        """Say once a second whether this part is ready (`ready` gives what is missing, or ""); while it
        starts more often, as the node waits for the last one to say so."""
        seconds = STARTING_SECONDS
        while not self.stop.is_set():
            why = ready()
            self.status.say(ready=not why, why=why)
            seconds = seconds if why else 1.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), seconds)
        self.status.say(ready=False, why="stopping")


def run(role: str, path: Path, body: Callable[[Process], Awaitable[None]]) -> int:
    """Run one part by what stands in `path` until it is told to stop; its exit code."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent:
        die_with_parent(int(parent))
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvloop.run(_run(role, path, handed(path), body))


async def _run(role: str, path: Path, settings: Handed, body: Callable[[Process], Awaitable[None]]) -> int:
    log, said = logger(role), status.Status(run_dir(settings.config), role)
    try:
        telemetry = Telemetry()
    except OSError as error:
        said.say(ready=False, why=f"no room for metrics: {error}")
        log.error("part ended", extra={"fields": {"error": str(error)}})
        return 1
    process = Process(path, settings, log, telemetry, said, asyncio.Event())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stop.set)
    loop.add_signal_handler(signal.SIGHUP, process.reload)
    takes_reloads()
    try:
        await body(process)
    except (NotReady, UsageError, OSError) as error:
        process.status.say(ready=False, why=str(error))
        log.error("part ended", extra={"fields": {"error": str(error)}})
        return 1
    except Exception as error:
        process.status.say(ready=False, why=repr(error))
        log.exception("part failed")
        return 1
    process.status.leave()
    return 0


async def when_ready(process: Process, make: Callable[[], T]) -> T | None:
    """What `make` gives as soon as it is not NotReady any more; None when told to stop before."""
    while not process.stop.is_set():
        try:
            return make()
        except NotReady as error:
            process.status.say(ready=False, why=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.stop.wait(), 0.1)
    return None
