"""Group commit, the event loop's half: batches gather in a group until the disk is free for it.

One group is at the disk, later ones gather; callbacks are called in the order of adding, one wake-up per
group. A full disk refuses all that waits, keeps notes (records that nobody waits for) up to `MAX_KEPT`,
and looks for room by itself, in a new segment: an index that sealed once never seals again. A poisoned
journal refuses all that waits, and takes nothing more. This file knows no record's fields.
"""

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Callable, Iterable

from gateway.errors import NotReady, UsageError
from gateway.evidence.commit import CommitThread, Done, Group, JournalFull, JournalPoisoned
from gateway.evidence.plan import Plan, Planner
from gateway.evidence.seal import KeyGone
from gateway.evidence.segment import NO_ROOM

GROUP_OCTETS = 4 << 20
LINGER = 0.02
"""Seconds that a note waits for company: reports on what a kill takes with it can't be tied."""
RETRY = 0.25
"""Seconds between two looks for room on a full disk."""
MAX_KEPT = 100_000
"""Notes kept in memory while the disk is full."""

log = logging.getLogger(__name__)

Note = tuple[int, Callable[[], None]]
"""How many records, and how to add them again."""


class Groups:
    """The groups of one journal. The callbacks in the constructor run on the loop."""

    def __init__(
        self,
        planner: Planner,
        thread: CommitThread,
        poisoned: str,
        *,
        on_full: Callable[[bool], None] | None,
        on_poisoned: Callable[[str], None] | None,
        on_commit: Callable[[int, int, float], None] | None,
        on_dropped: Callable[[int], None] | None,
    ) -> None:
        self.full = False
        self.poisoned = poisoned
        self.backlog = 0
        self._dropping = False
        self._planner = planner
        self._thread = thread
        self._on_full = on_full
        self._on_poisoned = on_poisoned
        self._on_commit = on_commit
        self._on_dropped = on_dropped
        self._plan: Plan | None = None
        self._gathering: deque[Group] = deque()
        self._inflight: Group | None = None
        self._finishing: Group | None = None
        self._comers: list[Callable[[], None]] = []
        self._pressed = False
        self._timer: asyncio.TimerHandle | None = None
        self._kept: list[Note] = []
        self._kept_records = 0
        self._closing = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start(self._loop, self._finished)
        if self.poisoned and self._on_poisoned is not None:
            self._on_poisoned(self.poisoned)

    def open(self, at: int) -> Group:
        """The group that gathers, of the segment for `at`. Raises JournalFull, JournalPoisoned."""
        if self.poisoned:
            raise JournalPoisoned(self.poisoned)
        if self.full:
            raise JournalFull(f"{self._planner.folder}: no room")
        plan = self._plan
        if plan is None or plan.is_over(at):
            plan = self._turn(at)
        if self._gathering:
            group = self._gathering[-1]
            if group.plan is plan and group.octets < GROUP_OCTETS:
                return group
        group = Group(plan)
        self._gathering.append(group)
        return group

    def add(self, group: Group, records: list[bytes], done: Done) -> None:
        """Records of the open group, sealed for its next indexes; `done` when they are durable."""
        self._add(group, records)
        group.dones.append(done)
        self._press()

    def note(self, at: int, count: int, encode: Callable[[Group], list[bytes]]) -> None:
        """`count` records that nobody waits for; encoded now, and again if the disk turns out full."""

        def again() -> None:
            self.note(at, count, encode)

        try:
            group = self.open(at)
        except NotReady:
            self._keep([(count, again)])
            return
        self._add(group, encode(group))
        group.notes.append((count, again))
        if self._inflight is None and not self._pressed:
            self._linger()

    def noted(self, done: Done) -> None:
        """Call `done` when what was noted last is durable; with JournalFull when it is kept in memory until
        there is room."""
        if self._gathering:
            self._gathering[-1].dones.append(done)
            self._press()
        else:
            done(JournalPoisoned(self.poisoned) if self.poisoned else JournalFull("no room"))

    def when_free(self, come: Callable[[], None]) -> None:
        """Call `come` when the disk can take a group: in time to add to that very group.

        What is added earlier waits for the disk all the same; what is prepared later, in one go, costs less.
        """
        if self._inflight is None:
            self._loop.call_soon(come)
        else:
            self._comers.append(come)

    def after(self, done: Done) -> None:
        """Call `done` when all that waits now was answered; at once when nothing waits."""
        for group in reversed(self._gathering):
            if group.dones:
                group.dones.append(done)
                return
        for earlier in (self._inflight, self._finishing):
            if earlier is not None and earlier.dones:
                earlier.dones.append(done)
                return
        done(None)

    @property
    def waiting(self) -> int:
        """Callbacks that are still to come."""
        groups = [*self._gathering, *filter(None, (self._inflight, self._finishing))]
        return sum(len(group.dones) for group in groups)

    def check(self, why: str) -> None:
        """Poison the journal for this cause, or because the segment is not on the disk any more."""
        plan = self._plan
        if self.poisoned or plan is None or plan.file is None or not (why := why or plan.file.lost()):
            return
        self._thread.fail(OSError(errno.EIO, why))
        if self._inflight is None:
            self._inflight = Group(plan)
            self._thread.put(self._inflight)

    async def sync(self) -> None:
        """All that was added is durable. Raises JournalFull, JournalPoisoned."""
        if self.poisoned:
            raise JournalPoisoned(self.poisoned)
        last = self._gathering[-1] if self._gathering else self._inflight
        if last is None:
            return
        future: asyncio.Future[None] = self._loop.create_future()

        def done(error: Exception | None) -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        last.dones.append(done)
        self._press()
        await future

    async def close(self) -> None:
        """Sync if that is possible, end the thread."""
        self._closing = True
        try:
            await self.sync()
        except NotReady:
            self._drop(self._kept_records)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._thread.stop()

    def _add(self, group: Group, records: list[bytes]) -> None:
        octets = sum(map(len, records))
        group.records += records
        group.octets += octets
        group.plan.next += len(records)
        self.backlog += octets

    def _turn(self, at: int) -> Plan:
        try:
            plan = self._plan = self._planner.next(at)
        except (OSError, KeyGone, UsageError) as error:
            why = f"{self._planner.folder}: {error}"
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                self._no_room()
                raise JournalFull(why) from error
            poisoned = JournalPoisoned(why)
            self._poison(poisoned)
            raise poisoned from error
        return plan

    def _press(self) -> None:
        """Have the groups go as soon as the disk is free, after the loop's present round."""
        if not self._pressed and self._inflight is None:
            self._pressed = True
            self._loop.call_soon(self._go)

    def _linger(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(LINGER, self._press)

    def _go(self) -> None:
        self._pressed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inflight is None and self._gathering:
            self._inflight = self._gathering.popleft()
            self._thread.put(self._inflight)

    def _finished(self, group: Group, error: Exception | None, octets: int, seconds: float) -> None:
        self._inflight = None
        self.backlog -= group.octets
        if isinstance(error, JournalFull):
            self._refuse(group, error)
            self._let_come()
        elif error is not None:
            self._poison(error, group)
            self._let_come()
        else:
            if self.full and group.plan is self._plan:
                self._room_again()
            if self._on_commit is not None and group.records:
                self._on_commit(len(group.records), octets, seconds)
            self._let_come()
            if len(self._gathering) > 1 or (self._gathering and self._gathering[0].dones):
                self._go()  # the disk works while the callbacks run
            elif self._gathering:
                self._linger()
            self._answer(group, None)

    def _let_come(self) -> None:
        comers, self._comers = self._comers, []
        for come in comers:
            come()

    def _answer(self, group: Group, error: Exception | None) -> None:
        self._finishing = group
        for done in group.dones:
            try:
                done(error)
            except Exception as cause:
                self._loop.call_exception_handler(
                    {"message": "a callback of the journal failed", "exception": cause}
                )
        group.dones = []
        self._finishing = None

    def _poison(self, error: Exception, *failed: Group) -> None:
        self.poisoned = str(error)
        refused = [*failed, *self._gathering]
        self.backlog -= sum(later.octets for later in self._gathering)
        self._gathering.clear()
        for one in refused:  # what reached the disk of it lies behind the tail, where nobody reads
            self._keep(one.notes)
            self._answer(one, error)
        if self._on_poisoned is not None:
            self._on_poisoned(self.poisoned)

    def _refuse(self, group: Group, error: JournalFull) -> None:
        refused = [group, *self._gathering]
        self.backlog -= sum(later.octets for later in self._gathering)
        self._gathering.clear()
        for one in refused:
            self._keep(one.notes)
        self._no_room()
        for one in refused:
            self._answer(one, error)

    def _keep(self, notes: Iterable[Note]) -> None:
        for note in notes:
            if self.poisoned or self._kept_records + note[0] > MAX_KEPT:
                self._drop(note[0])
            else:
                self._kept.append(note)
                self._kept_records += note[0]

    def _drop(self, records: int) -> None:
        """Notes that will never be recorded: said once until there is room again, counted all."""
        if not records:
            return
        if not self._dropping:
            self._dropping = True
            why = self.poisoned or f"no room, and {self._kept_records} wait for it"
            log.error("%s: outcomes and reports are dropped: %s", self._planner.folder, why)
        if self._on_dropped is not None:
            self._on_dropped(records)

    def _no_room(self) -> None:
        if not self.full:
            self.full = True
            if self._plan is not None:
                self._planner.give_back(self._plan)
                self._plan = None
            if self._on_full is not None:
                self._on_full(True)
        if not self._closing:
            self._loop.call_later(RETRY, self._look_for_room)

    def _look_for_room(self) -> None:
        if self._closing or not self.full or self.poisoned:
            return
        if self._inflight is None and not self._gathering:  # their segment is closed when the next one begins
            try:
                self._plan = self._plan or self._planner.next(self._planner.now())
            except (OSError, KeyGone, UsageError):
                self._plan = None
            else:
                self._inflight = Group(self._plan)
                self._thread.put(self._inflight)
                return
        self._loop.call_later(RETRY, self._look_for_room)

    def _room_again(self) -> None:
        self.full = self._dropping = False
        kept, self._kept, self._kept_records = self._kept, [], 0
        for _, again in kept:
            again()
        if self._on_full is not None:
            self._on_full(False)
