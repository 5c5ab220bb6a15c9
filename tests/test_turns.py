"""As many at once as there are turns, in the order of coming; nobody waits for what is slow."""

import asyncio
import contextlib

import pytest

from gateway.registry import turns
from gateway.registry.turns import Turns


async def waiting(given: Turns, order: list[int], number: int) -> object:
    turn = await given.begin()
    order.append(number)
    return turn


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as slow."""
    monkeypatch.setattr(turns, "SLOW_SECONDS", 3600.0)


@pytest.mark.usefixtures("patient")
async def test_no_more_than_there_are_turns_and_in_order() -> None:
    given, order = Turns(2), list[int]()
    tasks = [asyncio.create_task(waiting(given, order, number)) for number in range(6)]
    await settle()
    assert order == [0, 1]
    given.end(tasks[1].result())
    late = asyncio.create_task(waiting(given, order, 6))  # comes when one is free, but others came before
    await settle()
    assert order == [0, 1, 2]
    for task in [tasks[0], tasks[2], *tasks[3:]]:
        given.end(await task)
    given.end(await late)
    assert order == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("patient")
async def test_who_goes_away_takes_nobody_s_turn() -> None:
    given, order = Turns(1), list[int]()
    first = await given.begin()
    tasks = [asyncio.create_task(waiting(given, order, number)) for number in range(3)]
    await settle()
    tasks[0].cancel()
    given.end(first)  # its turn, if it had not been cancelled in this very instant
    tasks[1].cancel()
    await settle()
    assert order == [2]
    given.end(await tasks[2])
    for task in tasks[:2]:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await given.begin()


async def test_nobody_waits_for_what_is_slow() -> None:
    given = Turns(1)
    slow = await given.begin()
    async with asyncio.timeout(5):
        second = await given.begin()
        third = await given.begin()
    given.end(slow)  # is no turn any more: nobody gets one by it
    given.end(third)
    given.end(second)
    async with asyncio.timeout(5):
        await given.begin()
