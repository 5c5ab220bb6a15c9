"""Reads that wait together are one statement, and nobody's but the actor's own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest
from cast import Cast, cast_of

from gateway.errors import Problem
from gateway.registry.gathered import Gathered

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

MANY = 50


@pytest.fixture
async def cast(database: str) -> AsyncIterator[Cast]:
    async with cast_of(database) as made:
        yield made


class Reads:
    """Institutions by id, as the actor sees them; every statement waits until it may end."""

    def __init__(self, cast: Cast) -> None:
        self.asked: list[list[int]] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.fails = False
        self.gathered = Gathered(cast.door, self.read)

    async def read(self, c: "Connection", ids: Sequence[int]) -> Mapping[int, str]:
        self.asked.append(sorted(ids))
        self.begun.set()
        await self.may_end.wait()
        if self.fails:
            raise LookupError
        rows = await c.fetch("SELECT id, code FROM institutions WHERE id = ANY ($1)", ids)
        return {row["id"]: row["code"] for row in rows}


async def test_those_that_wait_are_one_statement(cast: Cast) -> None:
    reads, regulator, bank = Reads(cast), await cast.actor("regulator"), await cast.actor("bank")
    async with cast.door.owner() as c:
        ids = {row["code"]: row["id"] for row in await c.fetch("SELECT id, code FROM institutions")}
    first = [asyncio.create_task(reads.gathered.one(regulator, -place)) for place in range(MANY)]
    seen = [asyncio.create_task(reads.gathered.one(regulator, ids[code])) for code in ("BANK", "OTHER")]

    own = [asyncio.create_task(reads.gathered.one(bank, ids[code])) for code in ("BANK", "OTHER", "AGENCY")]
    reads.may_end.set()
    assert await asyncio.gather(*first) == [None] * MANY
    assert await asyncio.gather(*seen) == ["BANK", "OTHER"]
    assert await asyncio.gather(*own) == ["BANK", None, "AGENCY"], "the agency has this bank's mandate"
    assert len(reads.asked) < MANY / 2, "they met"
    assert sum(map(len, reads.asked)) <= MANY + 5, "and none was asked twice"


async def test_what_comes_later_sees_what_was_done_before(cast: Cast) -> None:
    reads, regulator = Reads(cast), await cast.actor("regulator")
    async with cast.door.owner() as c:
        bank = await c.fetchval("SELECT id FROM institutions WHERE code = 'BANK'")
    early = asyncio.create_task(reads.gathered.one(regulator, bank))
    await reads.begun.wait()
    late = asyncio.create_task(reads.gathered.one(regulator, bank))
    reads.may_end.set()
    assert await asyncio.gather(early, late) == ["BANK", "BANK"]
    assert reads.asked == [[bank], [bank]], "no statement takes in what came after it began"


async def test_a_failure_and_an_end_are_told_to_all(cast: Cast) -> None:
    reads, regulator = Reads(cast), await cast.actor("regulator")
    reads.fails = True
    asks = [asyncio.create_task(reads.gathered.one(regulator, place)) for place in range(MANY)]
    reads.may_end.set()
    said = await asyncio.gather(*asks, return_exceptions=True)
    assert {type(one) for one in said} == {LookupError}

    reads.may_end.clear()
    reads.fails = False
    reads.asked.clear()
    asks = [asyncio.create_task(reads.gathered.one(regulator, place)) for place in range(MANY)]
    while sum(map(len, reads.asked)) < MANY:
        reads.begun.clear()
        await reads.begun.wait()
    leaders = {ids[0] for ids in reads.asked}
    for place in leaders:
        asks[place].cancel()
    said = await asyncio.gather(*asks, return_exceptions=True)
    told = [one for place, one in enumerate(said) if place not in leaders]
    assert told
    assert {one.code for one in told if isinstance(one, Problem)} == {"busy"}
    assert all(isinstance(one, Problem) for one in told)
    reads.may_end.set()
    assert await reads.gathered.one(regulator, -1) is None, "nothing is left behind"
