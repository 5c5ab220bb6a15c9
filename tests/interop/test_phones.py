"""Foreign callers, callees and phones work unchanged through the gateway, and all sides count the same."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from node import Node, standing
from phones import HOST, Counted, Sipp, phone
from playbook import free_ports

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LINE, UNFILED = "057188886666", "057187654321"
TRANSPORTS = ("udp", "tcp")
MANY = 1000


FILED = ["number", "channels", "purposes", "institution"], [[LINE, "voice", "marketing", "ZHSLYH"]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with standing(tmp_path_factory.mktemp("calls")) as node:
        node.fill("numbers", *FILED)
        yield node


@pytest.fixture(params=TRANSPORTS)
def sipp(request: pytest.FixtureRequest, tmp_path: Path) -> Sipp:
    return Sipp(tmp_path, request.param)


def numbers(count: int, refused_every: int = 3, first: int = 0) -> list[tuple[str, str]]:
    """Who calls whom; every so manieth by a line that nobody filed."""
    lines = [UNFILED if refused_every and n % refused_every == 0 else LINE for n in range(1, count + 1)]
    return [(line, f"1380000{first + n:04d}") for n, line in enumerate(lines)]


def attempts(node: Node, *lines: str) -> Counter[str]:
    """What the journal has of calls by these lines, by verdict or reason."""
    return Counter(
        record["reason"] or "pass"
        for line in lines
        for record in node.records(line)
        if record["kind"] == "attempt" and record["channel"] == "voice"
    )


def gained(node: Node, before: Counter[str]) -> Counter[str]:
    return attempts(node, LINE, UNFILED) - before


def test_a_third_is_refused_and_all_sides_count_the_same(node: Node, sipp: Sipp) -> None:
    before, counted = attempts(node, LINE, UNFILED), node.counters()
    with sipp.called(node.carriers["sip"]) as callee:
        caller = sipp.call(node.port("sip"), numbers(MANY))
    assert caller == Counted(MANY, MANY, 0, caller.repeats, (333, 667, 667))
    assert callee == [Counted(667, 667, 0, callee[0].repeats, (667, 667))]
    expected = {"pass": 667, "refuse": 333}
    assert node.gained(counted, expected) == expected
    assert gained(node, before) == {"pass": 667, "unregistered": 333}
    last = next(one for one in reversed(node.records(LINE)) if one["kind"] == "attempt")
    assert last["delivery_stat"] == "200"


def test_what_is_lost_is_repeated_and_counted_once(node: Node, tmp_path: Path) -> None:
    """Every tenth datagram in each direction, at both ends."""
    sipp, before = Sipp(tmp_path), attempts(node, LINE, UNFILED)
    with sipp.called(node.carriers["sip"], lost=10) as callee:
        caller = sipp.call(node.port("sip"), numbers(90, first=2000), lost=10, rate=30)
    assert caller.repeats > 0
    assert callee[0].calls == 60
    assert gained(node, before) == {"pass": 60, "unregistered": 30}


def test_who_gives_up_is_heard(node: Node, sipp: Sipp) -> None:
    before = attempts(node, LINE)
    with sipp.called(node.carriers["sip"], "ringing") as callee:
        caller = sipp.call(node.port("sip"), numbers(60, 0, 3000), scenario="cancelling")
    assert caller == Counted(60, 60, 0, caller.repeats, (60,))
    assert callee == [Counted(60, 60, 0, callee[0].repeats, (60,))]
    assert attempts(node, LINE) - before == {"pass": 60}


def test_compact_names_are_read(node: Node, sipp: Sipp) -> None:
    before = attempts(node, LINE, UNFILED)
    with sipp.called(node.carriers["sip"]) as callee:
        caller = sipp.call(node.port("sip"), numbers(60, first=4000), compact=True)
    assert caller.counters == (20, 40, 40)
    assert callee[0].counters == (40, 40)
    assert gained(node, before) == {"pass": 40, "unregistered": 20}


def test_a_phone_calls_a_phone_and_an_unfiled_one_is_refused(node: Node, tmp_path: Path) -> None:
    caller, unfiled = free_ports(2)
    called, way = "13800005001", node.port("sip")
    before = attempts(node, LINE, UNFILED)
    with phone(tmp_path / "called", called, node.carriers["sip"]) as answering:
        dial = f"/dial sip:{called}@{HOST}"
        with phone(tmp_path / "caller", LINE, caller, outbound=way, commands=[dial]) as calling:
            assert calling.says("Call established"), calling.output.read_text()
            assert answering.says("Call established"), answering.output.read_text()
        with phone(tmp_path / "unfiled", UNFILED, unfiled, outbound=way, commands=[dial]) as refused:
            assert refused.says("603 Decline"), refused.output.read_text()
    assert gained(node, before) == {"pass": 1, "unregistered": 1}


def test_who_asks_where_to_call_is_told(tmp_path: Path) -> None:
    """By a node that redirects: it forwards nothing, and counts the same."""
    (tmp_path / "node").mkdir()
    with standing(tmp_path / "node", ZHENGMING__VOICE__MODE="redirect") as node:
        node.fill("numbers", *FILED)
        for transport in TRANSPORTS:
            before = attempts(node, LINE, UNFILED)
            caller = Sipp(tmp_path, transport).call(node.port("sip"), numbers(60), scenario="redirected")
            assert caller == Counted(60, 60, 0, caller.repeats, (20, 40))
            assert gained(node, before) == {"pass": 40, "unregistered": 20}
