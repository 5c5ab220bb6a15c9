"""Callers and callees that misbehave on demand, through the gateway: nobody else notices, nothing is counted
twice, and what a carrier says of no call of ours goes nowhere."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from node import Node, standing
from phones import HOST

from gateway.simulator import caller as calling
from gateway.simulator.callee import CalleeSim
from gateway.simulator.caller import Called, CallerSim
from gateway.simulator.faults import CALLEE, CALLER, Faults

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

LINE, OTHER = "057188880001", "057188880002"  # of the samples
EACH = 10
PATIENCE = 3.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with standing(tmp_path_factory.mktemp("calls")) as node:
        yield node


async def calls(node: Node, line: str, faults: Faults | None = None) -> tuple[list[Called], Counter[str]]:
    async with CallerSim(HOST, node.port("sip"), HOST, faults=faults, patience=PATIENCE) as caller:
        made = [caller.call(line, f"1380000{n:04d}", talk=0.2) for n in range(EACH)]
        return list(await asyncio.gather(*made)), caller.counts


def counted(node: Node) -> Counter[str]:
    return Counter(
        record["reason"] or "pass"
        for line in (LINE, OTHER)
        for record in node.records(line)
        if record["kind"] == "attempt"
    )


def results(called: list[Called]) -> Counter[int | None]:
    return Counter(one.status for one in called)


@pytest.mark.parametrize("word", CALLER)
async def test_of_a_caller_nobody_else_notices(node: Node, word: str) -> None:
    before, faults = counted(node), Faults()
    setattr(faults, CALLER[word].field, 2)
    async with CalleeSim(port=node.carriers["sip"]) as carrier:
        (bad, counts), (good, _) = await asyncio.gather(calls(node, LINE, faults), calls(node, OTHER))
        assert results(good) == {200: EACH}
        half = EACH // 2
        if word == "drop":
            assert results(bad) == {200: half, None: half}
        elif word == "wrong-length":
            assert results(bad) == {200: half, 400: half}
        else:
            assert results(bad) == {200: EACH}
        if word == "wrong-branch":
            assert counts["CANCEL 481"] == half
        passed = 2 * EACH - (half if word == "wrong-length" else 0)
        assert carrier.counts["calls"] == passed
    broken = {"malformed": half} if word == "wrong-length" else {}
    gained = counted(node) - before
    assert gained["pass"] == passed
    assert not gained.keys() - {"pass", *broken}


@pytest.mark.parametrize("word", CALLEE)
async def test_of_a_callee_only_its_own_calls_suffer(
    node: Node, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "RINGS_FOR", PATIENCE)
    before = counted(node)
    async with CalleeSim(port=node.carriers["sip"]) as carrier:
        setattr(carrier.faults, CALLEE[word].field, 0.5 if word == "slow" else 2)
        called, counts = await calls(node, OTHER)
    half = EACH // 2
    if word in ("slow", "two-answers"):
        assert results(called) == {200: EACH}
    else:
        assert results(called) == {200: half, None: half}
    if word == "two-answers":
        assert counts["answers again"] >= half
    assert counted(node) - before == {"pass": EACH}
