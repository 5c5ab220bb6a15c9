"""Kamailio never lets a call go on by itself: with a worker that is not there, silent, late or wrong, with a
script that fails, and without one. The worker is the test's own; Kamailio is Debian's."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter

import pytest
import pytest_asyncio
from kamailio import DEPLOYED, TREE, Kamailio
from playbook import HOST, eventually
from test_calls import End

from gateway.asking import MOST, Ask, Kind, Told, What, pack_told, socket_of, unpack_ask
from gateway.protocols import sip, sip_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE = 300
WRONG = """
import KSR
RESULTS = {"none": None, "true": True, "word": "allow", "one": 1, "ten": 10}
def mod_init():
    return Screening()
class Screening:
    def child_init(self, rank):
        return 0
    def asked(self, msg):
        return RESULTS[KSR.pv.get("$rU")]
    def returned(self, msg):
        raise ValueError
    passed_by = returned
"""
Q850, NO = b"Reason: Q.850;cause=16\r\n", b'Reason: SIP\r\n ;cause=607;text="no"\r\n'
Say = Callable[[Ask], bytes | None]


def forward(hop: str) -> Say:
    return lambda ask: pack_told(Told(ask.number, What.FORWARD, hop=hop))


class Worker:
    """Where Kamailio asks: it was asked `asked`, and answers what `say` gives."""

    def __init__(self, run_dir: Path) -> None:
        self.path = socket_of(run_dir, 0, 1)
        self.asked: list[Ask] = []
        self.say: Say = lambda ask: None
        self._door: socket.socket | None = None
        self._ends: list[socket.socket] = []

    def open(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(str(self.path))
        self._door.listen(16)
        asyncio.get_running_loop().add_reader(self._door.fileno(), self._accept)

    def close(self) -> None:
        """As a kill does: the file stays."""
        for end in [self._door, *self._ends]:
            if end is not None:
                asyncio.get_running_loop().remove_reader(end.fileno())
                end.close()
        self._door, self._ends = None, []

    def _accept(self) -> None:
        assert self._door is not None
        end, _ = self._door.accept()
        self._ends.append(end)
        asyncio.get_running_loop().add_reader(end.fileno(), self._read, end)

    def _read(self, end: socket.socket) -> None:
        octets = end.recv(MOST)
        if not octets:
            asyncio.get_running_loop().remove_reader(end.fileno())
            return
        ask = unpack_ask(octets)
        self.asked.append(ask)
        said = self.say(ask)
        if said is not None:
            end.send(said)

    def late(self, hop: str) -> None:
        """Says at last what it should have said."""
        for end in self._ends:
            end.send(forward(hop)(self.asked[0]) or b"")


class Front:
    """Kamailio, a caller before it, the carrier behind it, and who is asked."""

    def __init__(self, kamailio: Kamailio, caller: End, carrier: End, worker: Worker) -> None:
        self.kamailio = kamailio
        self.caller = caller
        self.carrier = carrier
        self.worker = worker
        self.hop = f"{HOST}:{carrier.port}"
        self._calls = itertools.count(1)

    def made(
        self,
        method: str = "INVITE",
        user: str = "13800000001",
        body: bytes = b"",
        tag: str = "",
        by: str = "UDP",
    ) -> bytes:
        number = next(self._calls)
        head = (
            f"{method} sip:{user}@gw.example.cn SIP/2.0\r\nVia: SIP/2.0/{by} {HOST}:{self.caller.port};"
            f"branch=z9hG4bK{number};rport\r\nMax-Forwards: 70\r\nFrom: <sip:95533@a.cn>;tag=1\r\n"
            f"To: <sip:{user}@a.cn>{tag}\r\nCall-ID: {number}@a.cn\r\nCSeq: 1 {method}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send(self, *words: str, body: bytes = b"", tag: str = "") -> None:
        self.caller.transport.sendto(self.made(*words, body=body, tag=tag), (HOST, self.kamailio.port))

    async def refused(self) -> None:
        assert (await self.caller.next()).status == 503
        assert self.carrier.got.empty()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends() -> AsyncIterator[list[End]]:
    loop = asyncio.get_running_loop()
    found = [(await loop.create_datagram_endpoint(End, (HOST, 0)))[1] for _ in range(2)]
    yield found
    for end in found:
        end.transport.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(ends: list[End], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """One process, so that what one call does to it meets the next."""
    folder = tmp_path_factory.mktemp("kamailio")
    run_dir = folder / "run"
    run_dir.mkdir()
    caller, carrier = ends
    worker = Worker(run_dir)
    async with Kamailio(folder, run_dir, carrier.port, deadline=DEADLINE, processes=1) as kamailio:
        yield Front(kamailio, caller, carrier, worker)
        worker.close()


@pytest_asyncio.fixture(loop_scope="module")
async def alone(front: Front) -> AsyncIterator[Front]:
    """Nobody is asked."""
    front.worker.close()
    yield front
    assert front.caller.got.empty()
    assert front.carrier.got.empty()


@pytest_asyncio.fixture(loop_scope="module")
async def asking(front: Front) -> AsyncIterator[Front]:
    """The worker is asked, and lets pass."""
    front.worker.open()
    front.worker.say = forward(front.hop)

    async def passes() -> bool:
        front.send()
        ends = [asyncio.create_task(end.next()) for end in (front.caller, front.carrier)]
        done, late = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        return ends[1] in done

    await eventually(passes, every=0.1)
    del front.worker.asked[:]
    yield front
    assert front.caller.got.empty()
    assert front.carrier.got.empty()


async def test_nobody_to_ask_is_503_and_what_ends_a_call_goes_on(alone: Front) -> None:
    alone.send()
    await alone.refused()
    for method in ("BYE", "PRACK", "CANCEL", "ACK"):
        alone.send(method, tag=";tag=2")
        assert (await alone.carrier.next()).method == method.encode()
    for method in ("INVITE", "INFO", "UPDATE", "MESSAGE"):
        alone.send(method, tag=";tag=2")
        await alone.refused()
    for reasons, goes_on in ((Q850,), True), ((Q850, NO), False):  # a no has to be in force first
        bye = alone.made("BYE", tag=";tag=2")
        said = b"".join((*reasons, b"Content-Length"))
        alone.caller.transport.sendto(bye.replace(b"Content-Length", said), (HOST, alone.kamailio.port))
        if goes_on:
            assert (await alone.carrier.next()).method == b"BYE"
        else:
            await alone.refused()


async def test_who_is_asked_is_told_all_octets_and_what_he_says_is_done(asking: Front) -> None:
    worker, body = asking.worker, bytes(range(256)) * 20
    worker.say = forward(asking.hop)
    asking.send(body=body)
    call = await asking.carrier.next()
    assert (call.body, call.value(b"max-forwards")) == (body, b"69")
    ask = worker.asked[-1]
    assert (ask.kind, ask.host, ask.port) == (Kind.REQUEST, HOST, asking.caller.port)
    message = sip.datagram(ask.message)
    assert message is not None
    assert message.body == body
    rows = 'Reason: Q.850;cause=21;text="unregistered"\r\nRetry-After: 60\r\n'
    worker.say = lambda ask: pack_told(Told(ask.number, What.ANSWER, status=603, phrase="Decline", rows=rows))
    asking.send()
    said = await asking.caller.next()
    assert (said.status, said.value(b"reason"), said.value(b"retry-after")) == (
        603,
        b'Q.850;cause=21;text="unregistered"',
        b"60",
    )
    worker.say = lambda ask: pack_told(Told(ask.number, What.NOTHING))
    asking.send()
    await eventually(lambda: len(worker.asked) == 3)
    worker.say = lambda ask: pack_told(Told(ask.number, What.FORWARD, True, hop=asking.hop))
    asking.send("INVITE", "13800000002")
    call = await asking.carrier.next()
    assert call.uri == b"sip:13800000002@gw.example.cn"
    assert call.value(b"record-route") == b"<sip:%s:%d;lr=on>" % (HOST.encode(), asking.kamailio.port)


async def test_no_route_puts_another_in_the_place_of_who_was_judged(asking: Front) -> None:
    """Also where our own address stands in the Request-URI, as a strict router leaves it (RFC 3261 §16.4)."""
    own = f"{HOST}:{asking.kamailio.port}".encode()
    for uri, route in (
        (own, b"<sip:13900000002@gw.example.cn;lr>"),
        (b"gw.example.cn", b"<sip:%s;lr>, <sip:13900000002@gw.example.cn>" % own),
    ):
        data = asking.made(tag=";tag=2").replace(b"@gw.example.cn", b"@" + uri, 1)
        data = data.replace(b"Max-Forwards", b"Route: %s\r\nMax-Forwards" % route)
        asking.caller.transport.sendto(data, (HOST, asking.kamailio.port))
        await asking.refused()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0",
        b"ALLOW",
        b"\xff" * 40,
        pack_told(Told(0, What.FORWARD, hop="10.0.0.9:5060"))[8:],
    ],
    ids=["nothing", "short", "word", "nonsense", "elsewhere"],
)
async def test_what_is_no_pass_is_503(asking: Front, said: bytes) -> None:
    asking.worker.say = lambda ask: ask.number.to_bytes(8, "big") + said
    asking.send()
    await asking.refused()


async def test_a_worker_that_hangs_is_waited_for_once_and_told(asking: Front) -> None:
    asking.worker.say = lambda ask: None
    del asking.worker.asked[:]
    began = perf_counter()
    asking.send()
    await asking.refused()
    assert DEADLINE / 1000 <= perf_counter() - began < 10
    asking.send()  # who was silent a moment ago is not asked: no queue grows behind a worker that hangs
    await asking.refused()
    await eventually(lambda: [ask.kind for ask in asking.worker.asked] == [Kind.REQUEST, Kind.WITHDRAWN])
    assert asking.worker.asked[0].number == asking.worker.asked[1].number


async def test_a_pass_that_comes_late_is_nobodys(asking: Front) -> None:
    worker = asking.worker
    worker.say = lambda ask: None
    asking.send()
    await asking.refused()
    worker.late(asking.hop)
    worker.say = lambda ask: pack_told(Told(ask.number, What.ANSWER, status=603, phrase="Decline"))

    async def asked_again() -> bool:
        asking.send()
        said = await asking.caller.next()
        return said.status == 603

    await eventually(asked_again)
    assert asking.carrier.got.empty()
    worker.say = forward(asking.hop)
    asking.send()
    assert (await asking.carrier.next()).method == b"INVITE"


async def test_a_worker_that_was_killed_is_found_again(asking: Front) -> None:
    asking.worker.close()
    asking.send()
    await asking.refused()
    asking.worker.open()
    asking.send()
    assert (await asking.carrier.next()).method == b"INVITE"


async def test_responses_go_to_callers_from_the_carrier_alone(asking: Front) -> None:
    worker = asking.worker
    asking.send()
    call = await asking.carrier.next()
    del worker.asked[:]
    for status in (180, 486):
        said = sip_proxy.answer(call, status, b"said so", b"carrier")
        asking.carrier.transport.sendto(said, (HOST, asking.kamailio.port))
        back = await asking.caller.next()
        assert (back.status, len(list(back.listed(b"via")))) == (status, 1)
    await eventually(lambda: [ask.kind for ask in worker.asked] == [Kind.PASSED_BY])
    said_no = sip_proxy.answer(call, 480, b"said so", b"carrier", (Q850, NO))
    asking.carrier.transport.sendto(said_no, (HOST, asking.kamailio.port))
    assert (await asking.caller.next()).status == 480
    assert worker.asked.pop().kind == Kind.RESPONSE  # a subscriber's no, in whichever row
    worker.say = lambda ask: pack_told(Told(ask.number, What.NOTHING))
    asking.caller.transport.sendto(said, (HOST, asking.kamailio.port))
    await eventually(lambda: worker.asked[-1].kind == Kind.RESPONSE)
    worker.say = forward(asking.hop)
    asking.send()
    await asking.carrier.next()
    assert asking.caller.got.empty()


async def test_a_call_over_tcp_goes_on_over_udp_and_is_answered_where_it_came_in(asking: Front) -> None:
    reader, writer = await asyncio.open_connection(HOST, asking.kamailio.port)
    try:
        writer.write(asking.made(by="TCP"))
        call = await asking.carrier.next()
        said = sip_proxy.answer(call, 486, b"Busy Here", b"carrier")
        asking.carrier.transport.sendto(said, (HOST, asking.kamailio.port))
        back = sip.datagram(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10))
        assert back is not None
        assert (back.status, len(list(back.listed(b"via")))) == (486, 1)
    finally:
        writer.close()


async def test_a_script_that_fails_or_says_anything_else_is_503(
    ends: list[End], tmp_path: Path, front: Front
) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(WRONG)
    caller, carrier = ends
    async with Kamailio(tmp_path, tmp_path, carrier.port, processes=1, script=script) as kamailio:
        wrong = Front(kamailio, caller, carrier, front.worker)
        for user in ("none", "true", "word", "one", "ten", "raises"):
            wrong.send("INVITE", user)
            await wrong.refused()


@pytest.mark.parametrize("lacking", ["script", "package"])
async def test_without_its_script_it_does_not_start(tmp_path: Path, lacking: str) -> None:
    script = tmp_path / "none.py" if lacking == "script" else DEPLOYED / "zhengming.py"
    kamailio = Kamailio(
        tmp_path, tmp_path, 9, script=script, package=tmp_path if lacking == "package" else TREE
    )
    kamailio.launch()
    assert kamailio.process is not None
    try:
        assert await asyncio.to_thread(kamailio.process.wait, 15) != 0
    finally:
        await kamailio.__aexit__()
