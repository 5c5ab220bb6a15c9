"""Connections of calls: what waits, lasts and piles up is bounded, and those to next hops come back."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from playbook import HOST, eventually, free_ports

from gateway.direct import owner
from gateway.errors import NotReady
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip_place import TCP, Place
from gateway.relay import flows, hops
from gateway.relay.flows import Flows, Takers
from gateway.relay.hops import Hops, Ways
from gateway.relay.recalled import mark_of
from gateway.relay.voice import Voice
from gateway.telemetry import Telemetry

LOG = logging.getLogger("flows")
RESPONSE = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP {at};branch=z9hG4bKa\r\nContent-Length: 0\r\n\r\n"


class Node:
    """One worker's connections, and what came by them."""

    def __init__(self) -> None:
        self.got: list[tuple[Any, Place]] = []
        self.port = free_ports(1)[0]
        self.counted: list[str] = []
        self.filed = True
        takers = Takers(self._take, self._take, lambda place: None, lambda place: nullcontext(), self._opens)
        self.flows = Flows(0, takers, None, None, {}, Telemetry(), LOG)
        self.callers: list[asyncio.StreamWriter] = []
        self.flows.count = self.counted.append  # type: ignore[method-assign]

    def _opens(self, place: Place) -> bool:
        return self.filed

    def _take(self, what: object, place: Place) -> None:
        self.got.append((what, place))


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    made.flows.listen(HOST, made.port, 0, TCP)
    yield made
    await made.flows.close()
    for caller in made.callers:
        caller.transport.abort()
        with contextlib.suppress(OSError):
            await caller.wait_closed()


async def called(node: Node, said: bytes) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection(HOST, node.port)
    node.callers.append(writer)
    writer.write(said)
    return reader


@pytest.mark.parametrize(
    ("said", "setting", "cause"),
    [
        (b"INVITE sip:a@b SIP/2.0\r\n", "WAIT_SECONDS", "half_message"),
        (b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 9\r\n\r\nv=0\r\n", "WAIT_SECONDS", ""),
        (b"\r\n\r\n", "IDLE_SECONDS", "idle"),
    ],
)
async def test_who_says_half_or_nothing_is_let_go(
    node: Node, monkeypatch: pytest.MonkeyPatch, said: bytes, setting: str, cause: str
) -> None:
    reader = await called(node, said)
    await eventually(lambda: any(flow.waits_since for flow in node.flows._open.values()) or cause == "idle")
    if cause == "idle":
        assert await reader.readexactly(2) == b"\r\n"
    node.flows.tick()
    assert not node.counted
    monkeypatch.setattr(flows, setting, -1.0)

    monkeypatch.setattr(flows, "LEAVE_SECONDS", 0.01)

    async def let_go() -> bool:
        node.flows.tick()
        return bool(node.counted or node.got)

    await eventually(let_go)
    if cause:
        assert node.counted[0] == cause
    else:  # a body that does not come is told, to who wrote its header
        ((error, _),) = node.got
        assert (error.status, error.closes, error.message.method) == (400, True, b"INVITE")
    assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_one_address_has_so_many_connections_and_no_more(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "MOST_OF_ONE", 1)
    first = await called(node, b"\r\n\r\n")
    assert await first.readexactly(2) == b"\r\n"
    second = await called(node, b"")
    assert await asyncio.wait_for(second.read(), 10) == b""
    assert node.counted == ["too_many_connections"]


async def test_who_does_not_read_is_dropped(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MOST_UNREAD", -1)
    reader = await called(node, b"\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert node.counted == ["unread"]


async def test_a_call_keeps_its_next_hop_while_that_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Place(HOST, port) for port in (5060, 5070))
    hop = Hops([first, second], lambda place: False)
    mark = mark_of(*second.address)
    assert (hop.now(), hop.now(mark), hop.now(mark + 1)) == (first, second, first)
    monkeypatch.setattr(hops, "DEAD_SECONDS", 0.0)
    assert hop.now(mark) == first  # nothing was heard of either


@pytest.fixture
def voice() -> Voice:
    """The voice side of the second of five workers, with nothing opened."""
    called = SimpleNamespace(listen=[f"udp://{HOST}:5060"])
    config = SimpleNamespace(voice=called, workers=5)
    station: Any = SimpleNamespace(config=config, worker=1, run_dir=Path("run"), key=b"k" * 16, log=LOG)
    nothing: Any = SimpleNamespace(connected=lambda place: False)
    made = Voice(station, [Place(HOST, port) for port in (5070, 5080)], nothing, lambda takers: nothing)
    made._owns = made._ways.owns(station.key, HOST)
    return made


def test_what_a_next_hop_answers_to_a_worker_is_brought_to_it(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel brings all of a hop's datagrams to one worker, which hands each to whose its Call-ID is."""
    sent: list[tuple[bytes, Place]] = []
    monkeypatch.setattr(voice, "_send", lambda data, to: sent.append((data, to)))
    for _ in range(4):
        voice._probe()
    names = [sip.call_id(message) for data, _ in sent if (message := sip.datagram(data)) is not None]
    assert len(set(names)) == 8
    assert {owner(name.decode(), 5) for name in names} == {1}
    assert [to.port for _, to in sent] == [5070, 5080] * 4


def test_nothing_is_opened_to_whom_nobody_knows_just_now(voice: Voice) -> None:
    """In a worker's tick, which would else end with it."""

    def unread(place: Place) -> bool:
        raise NotReady("the replica can't be read")

    calls: Any = SimpleNamespace(knows=unread)
    voice._calls = calls
    assert not voice._opens(Place(HOST, 5090, TCP))


async def test_a_next_hop_is_kept_and_gone_to_again(node: Node) -> None:
    other = Node()
    place = Place(HOST, other.port, TCP)
    hop = Hops([place], node.flows.connected)
    assert hop.now() is None
    node.flows.keep([place])
    other.flows.listen(HOST, other.port, 0, TCP)
    await eventually(lambda: hop.now() == place)
    for flow in list(other.flows._open.values()):
        flow.end("")
    await eventually(lambda: hop.now() is None)
    await eventually(lambda: hop.now() == place)
    await other.flows.close()


async def test_an_answer_to_a_connection_that_has_gone_opens_one_to_the_sent_by(node: Node) -> None:
    other = Node()
    other.flows.listen(HOST, other.port, 0, TCP)
    answer = RESPONSE.format(at=f"a.example:{other.port};received={HOST};rport=1").encode()
    for _ in range(2):
        node.flows.send(answer, Place(HOST, 1, TCP, flow=99))
    await eventually(lambda: len(other.got) == 2)
    assert {message.octets() for message, _ in other.got} == {answer}
    assert len({place.flow for _, place in other.got}) == 1
    node.filed = False  # whoever has sent it could have the node connect to where he likes
    node.flows.send(answer.replace(b":%d" % other.port, b":9"), Place(HOST, 1, TCP, flow=99))
    assert len(node.flows._to) == 1
    await other.flows.close()


async def test_so_many_connections_are_opened_and_no_more(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "MOST_OPENED_TO_ONE", 2)
    monkeypatch.setattr(flows, "MOST_OPENED", 3)
    hosts = ["127.0.0.2", "127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    for port, host in enumerate(hosts, 1):
        node.flows.send(b"said", Place(host, port, TCP))
    assert [port for _, port, _ in node.flows._to] == [1, 2, 4]
    assert node.counted == ["too_many_connections"] * 2


async def test_a_connection_that_rests_makes_room_for_another(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or who answers from many addresses would have what goes to others lost for as long as he stays."""
    monkeypatch.setattr(flows, "MOST_OPENED", 2)
    other, places = Node(), [Place(HOST, port, TCP) for port in free_ports(3)]
    for place in places:
        other.flows.listen(place.host, place.port, 0, TCP)

    def standing() -> set[int]:
        return {place.port for place in places if node.flows.connected(place)}

    first, second, third = (place.port for place in places)
    for place in places:
        node.flows.send(b"OPTIONS", place)
    await eventually(lambda: standing() == {first, second})
    assert node.counted == ["too_many_connections"]
    monkeypatch.setattr(flows, "RESTS_SECONDS", 0.0)
    node.flows.send(b"OPTIONS", places[0])
    node.flows.send(b"OPTIONS", places[2])
    await eventually(lambda: standing() == {first, third})
    assert len(node.flows._to) == 2
    await eventually(lambda: len(other.flows._open) == 2)
    await other.flows.close()


async def test_a_stream_that_brings_whole_messages_is_not_taken_for_one_that_waits(node: Node) -> None:
    """However often a read ends within the next one."""
    flow = flows.Flow(node.flows, Place(HOST, 1, TCP))
    half = b"INVITE sip:a@b SIP/2.0\r\n"
    flow.data_received(half)
    flow.waits_since -= 9.0
    since = flow.waits_since
    flow.data_received(b"X: y\r\n")
    assert flow.waits_since == since
    flow.data_received(b"Content-Length: 0\r\n\r\n" + half)
    assert flow.waits_since > since + 8.0


def test_each_side_is_told_the_address_that_it_sees() -> None:
    """Which listener leads to a host: the one whose address packets leave by, else one that has all."""
    ways = Ways(hops.listeners([f"udp://127.0.0.7:{5070}", f"udp://{HOST}:5060", "tcp://0.0.0.0:5060"]))
    assert [ways.to(HOST, transport) for transport in ("UDP", "TCP", "TLS")] == [1, 2, 3]
    assert ways.to("::1", "UDP") is None
    owns = ways.owns(b"k" * 16, HOST)
    assert [(own.host.decode(), own.port, own.transport) for own in owns] == [
        ("127.0.0.7", 5070, "UDP"),
        (HOST, 5060, "UDP"),
        (HOST, 5060, "TCP"),
        ("127.0.0.7", 5070, "TLS"),
    ]
    assert all(own.is_at(b"127.0.0.7", 5070) and own.is_at(HOST.encode(), 5060) for own in owns)


def test_the_way_back_is_in_our_via_and_nobody_else_can_make_one() -> None:
    own = sip_proxy.Own(b"10.0.0.1", 5060, frozenset(((b"10.0.0.1", 5060),)), b"k" * 16, "TCP")
    message = sip.datagram(
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS c.example;branch=z9hG4bKa\r\nMax-Forwards: 9\r\n"
        b"From: <sip:a@b>;tag=f\r\nTo: <sip:a@b>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
    assert message is not None
    peer = Place("192.0.2.7", 40_000, "TLS", 2, 3, 1 << 59)
    sent, _ = sip_proxy.forwarded(sip_proxy.checked(message, own), own, peer)
    arrived = sip.datagram(sent)
    assert arrived is not None
    said = sip_proxy.answer(arrived, 200, b"OK", b"other")

    def back(octets: bytes) -> Place:
        response = sip.datagram(octets)
        assert response is not None
        return sip_proxy.returned(response, sip.vias(response), own)[1]

    assert back(said) == Place("c.example", 5061, "TLS", 2, 3, 1 << 59)
    at = said.index(b";i=2-3-")
    assert back(said.replace(b";i=2-3-", b";i=2-4-")) == Place("c.example", 5061, "TLS")
    assert back(said[:at] + said[said.index(b"\r\n", at) :]) == Place("c.example", 5061, "TLS")
