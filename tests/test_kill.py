"""The invariant of architecture.md "The life of one SMS", held against kill -9 of each part under load.

A carrier end keeps every submit that it got; the journal says what was judged. Whatever was killed, and
whenever: what the carrier got is recorded as passed, once; what was refused or forwarded has exactly one
attempt; what is recorded as passed and never came has no outcome; every "R" that was acknowledged to the
carrier is in force; every report that a sender got is on record, once, and says what became of its attempt.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, MARKETING, SECRET, TEXT, House, eventually

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.evidence.delivery import delivery_of
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.protocols import text as codings
from gateway.simulator.carrier import CarrierSim, Received
from gateway.simulator.sender import LoginRefused

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long, pytest.mark.timeout(900)]

KILLS = 100
NUMBER = MARKETING + "0001"
REPLY_EVERY = 25
ACCOUNTS = ("900001", "900016", "900017", "900018")
VICTIMS = ("worker-0", "keeper", "worker-1", "acceptor")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(house_of: HouseOf) -> AsyncIterator[House]:
    assert {owner(account, 2) for account in ACCOUNTS} == {0, 1}
    carrier = CarrierSim(secret=SECRET, report_after=0.0, keep=10**7, wait=5000)
    async with house_of(workers=2, extra=ACCOUNTS[1:], carrier=carrier) as house:
        yield house


class Load:
    """Submits on one account without a pause, each with a text of its own, connection after connection."""

    def __init__(self, house: House, account: str) -> None:
        self.house, self.account = house, account
        self.sent = 0
        self.answers: Counter[int | None] = Counter()
        self.refused: set[str] = set()  # texts that were answered as blacklisted
        self.passed: set[str] = set()  # texts that the carrier's answer came back for
        self.subscribers: set[str] = set()
        self.reported: set[bytes] = set()  # message ids of the reports that arrived

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, LoginRefused):
                async with self.house.sender(self.account, login_seconds=5.0) as sender:
                    try:
                        await asyncio.gather(*(self._submit(sender) for _ in range(8)))
                    finally:
                        self.reported |= {report.message_id for report in sender.reports}
            await asyncio.sleep(0.02)

    async def _submit(self, sender: Any) -> None:
        while sender.cause is None:
            self.sent += 1
            text = f"{TEXT}#{self.account}-{self.sent}#"
            subscriber = f"138{self.account[-2:]}{self.sent % 1_000_000:06d}"
            banned = self.sent % 10 == 0
            answer = await sender.submit(BANNED if banned else NUMBER, [subscriber], text, report=True)
            self.answers[answer.result] += 1
            if answer.result == 103:
                self.refused.add(text)
            elif answer.result == 0:
                self.passed.add(text)
            await asyncio.sleep(0)


class Replies:
    """Lets every n-th recipient refuse, or answer so that it is held, and knows which of those answers were
    acknowledged."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.acknowledged: set[str] = set()
        self.sent = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, received: Received) -> None:
        if self.house.carrier.counts["submits"] % REPLY_EVERY == 0 and received.end.cause is None:
            task = asyncio.create_task(self._reply(received))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reply(self, received: Received) -> None:
        subscriber = received.submission.destinations[0].decode()
        with contextlib.suppress(LookupError):
            self.sent += 1
            text = ("R", "怎么退订？")[self.sent % 2]
            result = await self.house.carrier.deliver(NUMBER, subscriber, text, account=received.end.account)
            if result == 0:
                self.acknowledged.add(subscriber)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def loads(house: House) -> AsyncIterator[list[Load]]:
    running = [Load(house, account) for account in ACCOUNTS]
    tasks = [asyncio.create_task(load.run()) for load in running]
    try:
        yield running
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def texts_of(house: House) -> dict[str, list[rec.Attempt]]:
    """Every attempt in the journal, by its text."""
    found: dict[str, list[rec.Attempt]] = {}
    for one in house.records():
        assert isinstance(one.record, rec.Attempt)
        assert one.content is not None
        assert isinstance(one.content.octets, bytes)
        text, _ = codings.decode(one.content.octets, one.record.fmt, bool(one.record.udhi))
        found.setdefault(text, []).append(one.record)
    return found


async def test_a_hundred_kills(house: House) -> None:
    rng = random.Random(20261121)
    replies = Replies(house)
    house.carrier.reply = replies
    killed: Counter[str] = Counter()
    async with loads(house) as running:
        for turn in range(KILLS):
            victim = VICTIMS[turn % len(VICTIMS)]
            so_far = house.carrier.counts["submits"]
            await eventually(more_than(house, so_far + 30), 60.0)
            await asyncio.sleep(rng.random() * 0.2)
            old: int = await eventually(lambda victim=victim: house.pid(victim), 60.0)
            os.kill(old, signal.SIGKILL)
            killed[victim] += 1
            await eventually(lambda old=old: not Path(f"/proc/{old}").exists(), 60.0)
        await house.ready()
        await eventually(more_than(house, house.carrier.counts["submits"] + 200), 60.0)
    await replies.finish()
    assert sum(killed.values()) == KILLS

    await eventually(lambda: not house.carrier.ends)
    got = Counter(received.text for received in house.carrier.submits)
    recorded = texts_of(house)
    sent = sum(load.sent for load in running)
    assert len(got) > KILLS * 30

    # What the carrier got is recorded as passed, and it got nothing twice.
    assert max(got.values()) == 1
    for text in got:
        assert [attempt.judged.verdict for attempt in recorded[text]] == ["pass"], text

    # No submit has more than one attempt; those that were answered have one, with that verdict.
    assert all(len(attempts) == 1 for attempts in recorded.values())
    assert len(recorded) <= sent
    for load in running:
        for text in load.refused:
            assert recorded[text][0].judged.reason == "blacklisted"
        for text in load.passed:
            assert recorded[text][0].judged.verdict == "pass"
            assert text in got
        assert set(load.answers) <= {0, 103, 110, 8, None}

    # What is recorded as passed and did not arrive has no outcome.
    outcomes = {
        found.record.attempt  # type: ignore[union-attr]
        for found in house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))
    }
    surplus = [
        text for text, (attempt,) in recorded.items() if attempt.judged.verdict == "pass" and text not in got
    ]
    assert not [text for text in surplus if recorded[text][0].id in outcomes]
    assert len(outcomes) > 0

    # Every "R" and every hold that was acknowledged is in force, on both workers, and in the database.
    assert len(replies.acknowledged) > KILLS // 2
    async with house.sender(ACCOUNTS[0]) as one, house.sender(ACCOUNTS[1]) as two:
        for subscriber in replies.acknowledged:
            for sender in (one, two):
                assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 110, subscriber
    events = {found.record.message_id for found in house.records(rec.Reply)}  # type: ignore[union-attr]
    assert len(events) >= len(replies.acknowledged)

    def carried() -> bool:
        count = house.sql("SELECT count(*) FROM refusals WHERE source = 'reply'")[0][0]
        return bool(count >= len(replies.acknowledged))

    await eventually(carried, 60.0)

    # Every report that a sender got is on record, none twice, and its attempt was delivered.
    reported = set().union(*(load.reported for load in running))
    said = Counter(found.record.message_id for found in house.records(rec.Report))  # type: ignore[union-attr]
    assert len(reported) > KILLS * 30
    assert reported <= said.keys()
    assert max(said.values()) == 1
    assert said.total() <= house.carrier.counts["reports"]
    search = Search(house.data_dir / "journal", Keys(house.data_dir / "keys"))
    passed = [*search.find(verdict="pass")]
    for start in range(0, len(passed), 5000):
        for shown in search.with_followers(passed[start : start + 5000]):
            delivery = delivery_of(shown)
            assert delivery is not None
            ids = {outcome.message_id for outcome in shown.outcomes}
            assert len(delivery.reports) == (1 if ids & said.keys() else 0)
            assert delivery.state == ("delivered" if delivery.reports else "accepted" if ids else "unknown")

    # The index in the database counts every attempt once.
    def indexed() -> bool:
        count = house.sql("SELECT coalesce(sum(count), 0) FROM traffic_minute")[0][0]
        return bool(count == len(house.records()))

    await eventually(indexed, 60.0, every=1.0)
    refused = {found.record.id.hex() for found in house.records(verdict="refuse")}  # type: ignore[union-attr]
    assert {row[0].hex for row in house.sql("SELECT id FROM intercepts")} == refused


def more_than(house: House, count: int) -> Callable[[], bool]:
    return lambda: house.carrier.counts["submits"] > count
