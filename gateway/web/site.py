"""What the web process holds for its handlers, and what it does every minute by itself.

Built by app.py out of the configuration; everything here is this process's own. The database may be away at
any time: requests are told so, upkeep is tried again.
"""

import asyncio
import contextlib
import datetime
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.config import Config
from gateway.direct import Workers
from gateway.errors import NotReady, Problem, Words
from gateway.policy.profile import Profile
from gateway.registry.access import Access
from gateway.registry.acting import Door
from gateway.registry.keys import RegistryKey
from gateway.registry.replica import Replica, Snapshot
from gateway.telemetry import Telemetry
from gateway.web.limits import Limits

UPKEEP_SECONDS = 60.0
FLUSH_SECONDS = 0.5
KEPT = datetime.timedelta(days=1)
"""How long the answer to an Idempotency-Key is said again."""

RENEW_SECONDS = 1.0

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))


class Site:
    """One web process: `start`, then `stop`."""

    def __init__(
        self,
        config: Config,
        profile: Profile,
        key: RegistryKey,
        door: Door,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self.config = config
        self.profile = profile
        self.key = key
        self.door = door
        self.telemetry = telemetry
        self.log = log
        self.access = Access(door, key, session_hours=config.web.session_hours)
        self.workers = Workers(config.data_dir / "run", config.workers)
        self.openapi = b""  # the document; web/server.py makes it of all tables
        self._replica: Replica | None = None
        self._view: Snapshot | None = None
        self._tasks: list[asyncio.Task[None]] = []
        web = config.web
        self._limits = Limits(
            {
                "read": (web.read_rate, 1.0),
                "write": (web.write_rate, 1.0),
                "judge": (web.judge_rate, 1.0),
                "attempt": (web.attempt_rate, 1.0),
                "sign_in": (web.sign_in_rate, 60.0),
            }
        )

    @property
    def data_dir(self) -> Path:
        return self.config.data_dir

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(work) for work in (self._keep_up(), self._hand_over(), self._renew())
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.access.close()
        self.workers.close()
        await self.door.close()
        if self._replica is not None:
            self._view = None
            self._replica.close()
        self.telemetry.flush()

    def view(self) -> Snapshot:
        """The registry as this node's replica has it now. Raises NotReady as long as there is none.

        It is valid until the caller awaits: others renew it.
        """
        if self._replica is None:
            self._replica = Replica.open(self.data_dir / "registry", self.key)
        if self._view is None:
            self._view = self._replica.snapshot()
        else:
            self._view.renew()
        return self._view

    async def _renew(self) -> None:
        """Once a second: an old view keeps the pages of its time, and `local` may have been lost."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self._replica is not None:
                with contextlib.suppress(NotReady):
                    self._replica.check()
                    self.view()

    def limited(self, kind: str, who: int | str) -> None:
        """Count one request of this kind. Problem `rate_limited` when it is one too many."""
        seconds = self._limits.take(kind, who, time.monotonic())
        if seconds:
            self.telemetry.api_limited.labels(kind).inc()
            wait = math.ceil(seconds)
            raise Problem(
                "rate_limited",
                Words("请求过于频繁", "too many requests"),
                expected=Words(f"{wait} 秒后重试", f"the next one in {wait} s"),
                facts={"retry_after": wait},
            )

    @contextlib.contextmanager
    def measured(self, route: str) -> Iterator[list[int]]:
        """Count and time one request; the caller appends its status."""
        began = time.perf_counter()
        status: list[int] = []
        try:
            yield status
        finally:
            self.telemetry.api(route).observe(time.perf_counter() - began)
            self.telemetry.api_requests.labels(route, str(status[0]) if status else "499").inc()

    async def _hand_over(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.telemetry.flush()
            with contextlib.suppress(NotReady):
                if self._view is not None:
                    self._view.renew()  # an old snapshot keeps pages from being used again

    async def _keep_up(self) -> None:
        while True:
            try:
                await self.keep_up()
            except Exception as error:  # the database is away: in a minute again
                self.log.warning("upkeep not done", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(UPKEEP_SECONDS)

    async def keep_up(self) -> None:
        """What is due by the clock: overdue matters, ended sessions, kept answers, this node's address."""
        config = self.config
        async with self.door.owner() as c:
            await c.execute("SELECT escalate_overdue($1)", datetime.datetime.now(SHANGHAI).date())
            # an import that was killed left its run open, and with it what two persons allowed it
            await c.execute(
                """UPDATE import_runs SET closed_at = now()
                    WHERE closed_at IS NULL AND opened_at < now() - $1::interval""",
                KEPT,
            )
            await c.execute("DELETE FROM sessions WHERE expires_at < now()")
            await c.execute("DELETE FROM kept_answers WHERE at < now() - $1::interval", KEPT)
            await c.execute(
                """INSERT INTO nodes (name, carrier, url) VALUES ($1, $2, $3)
                   ON CONFLICT (name) DO UPDATE SET carrier = $2, url = $3, seen_at = now()""",
                config.node.name,
                config.node.carrier,
                config.web_url,
            )
