"""Caps over two nodes of one registry that count by one real server: exact together, in order, and alone."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from conftest import HouseOf
from counting_servers import counting_server
from playbook import MARKETING, TEXT, House, eventually
from raw_ends import Raw, submit
from test_frequency import CAPS, OVER, judged, sent

pytestmark = pytest.mark.long


async def test_two_nodes_count_together_and_each_alone_when_the_server_is_away(
    house_of: HouseOf, tmp_path: Path
) -> None:
    with counting_server(tmp_path) as server:
        settings = f'[counters]\nurl = "{server.url}"\ndeadline = "300ms"\n'
        async with (
            house_of(workers=2, profile=CAPS, settings=settings) as one,
            house_of(workers=1, profile=CAPS, settings=settings, beside=one, name="other") as other,
        ):
            houses = (one, other)
            await eventually(lambda: all(each.log_lines("counting over all nodes") for each in houses))
            subscriber = one.subscriber()
            assert [await sent(house, subscriber) for house in (one, other, one, other)] == [0, 0, OVER, OVER]
            both = one.subscriber()
            results = await asyncio.gather(*(sent(houses[n % 2], both) for n in range(12)))
            assert results.count(0) == 2
            asked = f"--channel sms --from {MARKETING} --to {both} --account 900001".split()
            code, out, _ = await other.cli("judge", *asked, "--text", TEXT, "--json")
            assert (code, json.loads(out)["reason"]) == (3, "over_frequency")  # whichever node has sent
            await in_order(one)

            server.signal(signal.SIGSTOP)
            alone = one.subscriber()
            assert [await sent(house, alone) for house in (one, one, one)] == [0, 0, OVER]
            assert await sent(other, alone) == 0
            (first, *_) = [found.record for found in one.records(subscriber=alone)]
            assert ("not_judgeable", "counted_here", False) in first.judged.findings  # type: ignore[union-attr]
            back = len(one.log_lines("counting over all nodes"))
            server.signal(signal.SIGCONT)
            await eventually(lambda: len(one.log_lines("counting over all nodes")) > back)
            assert judged(one, alone)[-1] == ("over_frequency", "minute")
            fresh = one.subscriber()
            assert [await sent(one, fresh) for _ in range(3)] == [0, 0, OVER]


async def in_order(house: House) -> None:
    """What waits for the counters leaves in the order in which it came."""
    house.carrier.submits.clear()
    to = [f"1380001{n:04d}" for n in range(200)]
    async with Raw.login(house) as raw:
        for number, subscriber in enumerate(to, 1):
            raw.send(submit(MARKETING, [subscriber], TEXT, number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: len(house.carrier.submits) == len(to))
    got = [received.submission.destinations[0].decode() for received in house.carrier.submits]
    assert got == to
