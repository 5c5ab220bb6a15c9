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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from gateway.config import Config
from gateway.counters import Look
from gateway.counters.made import LOCAL, looker_of
from gateway.direct import Workers
from gateway.errors import NotReady, Problem, Words
from gateway.evidence.everywhere import Nodes
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.policy.profile import Profile
from gateway.registry import quotas, runs, shown
from gateway.registry.access import Access
from gateway.registry.acting import Actor, Door
from gateway.registry.alarms import AlarmKind
from gateway.registry.deadlines import Terms, terms_of
from gateway.registry.gathered import Gathered
from gateway.registry.in_force import InForce
from gateway.registry.keys import RegistryKey
from gateway.registry.past import PastView
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot
from gateway.telemetry import Telemetry
from gateway.web.aside import Passing, again_and_again
from gateway.web.limits import Limits

FLUSH_SECONDS = 0.5
KEPT = datetime.timedelta(days=1)
"""How long the answer to an Idempotency-Key is said again."""

RENEW_SECONDS = 1.0

SIGN_INS = ("signed_in", "sign_in_failed", "locked")
"""Results of a try to sign in: the codes of its problems, and one for none."""

BROKEN_GLASS = "break_glass"
"""An alarm that is counted beside those of the table of alarms: an import that broke the glass."""

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))


MOST_EXPORTS = MOST_IMPORTS = 2
"""Under way at once; each has connections of its own and one of the process's threads (CPUs + 4), the rest
wait. Together they leave some of those threads to who looks for records or hands a document in."""


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
        self.in_force = InForce(profile)
        self.key = key
        self.door = door
        self.telemetry = telemetry
        self.log = log
        for kind in (*get_args(AlarmKind), BROKEN_GLASS):  # there from the start, for Prometheus
            telemetry.alarms.labels(kind)
        for result in SIGN_INS:
            telemetry.sign_ins.labels(result)
        self.access = Access(
            door,
            key,
            session_hours=config.web.session_hours,
            on_lock_out=telemetry.alarms.labels("lock_out").inc,
        )
        self.filings = Gathered(door, shown.some)
        self.workers = Workers(config.data_dir / "run", config.workers)
        self.nodes = Nodes(config.node.name, key.nodes_key, self.searching)
        self.asked = quotas.Asked()
        self.exporting = asyncio.Semaphore(MOST_EXPORTS)
        self.importing = asyncio.Semaphore(MOST_IMPORTS)
        self.passing = Passing(config.data_dir / "passing")
        self.openapi: Callable[[], bytes] = bytes  # the document; web/server.py makes it of all tables
        self._replica: Replica | None = None
        self._view: Snapshot | None = None
        self._look: Look | None = None
        self._seen_run: int | None = None  # the newest import that was looked at
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

    @property
    def terms(self) -> Terms:
        """When cases are due, by the workdays that the node has read."""
        return terms_of(self.config.cases, self.in_force.own.days)

    async def start(self) -> None:
        self.passing.begin()
        works = (
            again_and_again(self.keep_up, "upkeep not done", self.log),
            again_and_again(self.be_found, "other nodes not told of this one", self.log),
            self._hand_over(),
            self._renew(),
        )
        self._tasks = [asyncio.create_task(work) for work in works]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.nodes.close()
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
            self._look = looker_of(self.config.counters, self.data_dir / "counters", self._view.hash)
            if self.config.counters.url == LOCAL:  # else each look is a round trip: see `counting`
                self._view.counted = self._look
        else:
            self._view.renew()
        return self._view

    @contextlib.contextmanager
    def counting(self, view: Snapshot | PastView) -> Iterator[None]:
        """Meanwhile this view of today also knows what is counted together with other nodes."""
        if not isinstance(view, Snapshot):
            yield
            return
        before, view.counted = view.counted, self._look
        try:
            yield
        finally:
            view.counted = before

    def searching(self, deadline: float) -> Search:
        """A search of this node's own journals that ends at a deadline of time.monotonic."""
        return Search(self.data_dir / "journal", Keys(self.data_dir / "keys"), deadline=deadline)

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

    async def sign_in(self, login: str, password: str, code: str, address: str) -> tuple[str, Actor]:
        """`Access.sign_in`, counted."""
        try:
            signed_in = await self.access.sign_in(login, password, code, address)
        except Problem as problem:
            if problem.code in SIGN_INS:
                self.telemetry.sign_ins.labels(problem.code).inc()
            raise
        self.telemetry.sign_ins.labels("signed_in").inc()
        return signed_in

    async def alarm(self, actor: Actor, kind: AlarmKind, **detail: int | str) -> None:
        """Tell the regulators, and count it if they are told: `quotas.alarm`."""
        async with self.door.owner() as c:
            if await quotas.alarm(c, actor, kind, **detail):
                self.telemetry.alarms.labels(kind).inc()

    async def _hand_over(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.telemetry.flush()
            with contextlib.suppress(NotReady):
                if self._view is not None:
                    self._view.renew()  # an old snapshot keeps pages from being used again

    async def be_found(self) -> None:
        """This node's row of the table `nodes`. Two nodes of one name would not find each other: told in the
        log."""
        config = self.config
        name, url = config.node.name, config.web_url
        async with self.door.owner() as c:
            other = await c.fetchval(
                "SELECT url FROM nodes WHERE name = $1 AND url <> $2 AND seen_at > now() - $3::interval",
                name,
                url,
                datetime.timedelta(minutes=1),
            )
            await c.execute(
                """INSERT INTO nodes (name, carrier, url) VALUES ($1, $2, $3)
                   ON CONFLICT (name) DO UPDATE SET carrier = $2, url = $3, seen_at = now()""",
                name,
                config.node.carrier,
                url,
            )
        if other:
            self.log.error(
                "another node has this one's name, or had a minute ago",
                extra={"fields": {"node.name": name, "here": url, "there": other}},
            )

    async def keep_up(self) -> None:
        """What is due by the clock: overdue matters, ended sessions, kept answers; and imports that broke the
        glass, of which no process of the node knows."""
        async with self.door.owner() as c:
            await c.execute("SELECT escalate_overdue($1)", datetime.datetime.now(SHANGHAI).date())
            await runs.close_killed(c, KEPT)
            broken, self._seen_run = await runs.broken_since(c, self._seen_run)
            self.telemetry.alarms.labels(BROKEN_GLASS).inc(broken)
            await c.execute("DELETE FROM sessions WHERE expires_at < now()")
            await c.execute("DELETE FROM kept_answers WHERE at < now() - $1::interval", KEPT)
