"""Calls over TCP and TLS through a real node of two workers: a connection lands on either, a call on its own.

The carrier is reached by TLS, by TCP and by UDP, in this order.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import HOST, House, eventually, free_ports
from test_calls import LINE, NUMBERS, UNFILED, End, Trunk
from test_tls import NAME, Papers, papers, serving, trusting

from gateway.model import Reason
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_stream import Stream

__all__ = ["papers"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSPORTS = ("UDP", "TCP", "TLS")


class StreamEnd(asyncio.Protocol):
    """One connection, or what all that a carrier's port takes bring: messages in order."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Message | None] = asyncio.Queue()
        self.raw = bytearray()
        self.closed = asyncio.Event()
        self.transport: asyncio.Transport
        self._stream = Stream()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self.raw += data
        for message in self._stream.feed(data):
            assert not isinstance(message, SipError), message
            if message is not None and message.method == b"OPTIONS":  # a probe
                self.transport.write(sip_proxy.answer(message, 200, b"OK", b"carrier"))
            else:
                self.got.put_nowait(message)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    async def next(self) -> Message:
        message = await asyncio.wait_for(self.got.get(), 10)
        assert message is not None
        return message


class ProbedEnd(End):
    """The carrier's UDP port: answers probes."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = sip.datagram(data)
        assert message is not None
        if message.method == b"OPTIONS":
            self.transport.sendto(sip_proxy.answer(message, 200, b"OK", b"carrier"), addr)
        else:
            self.got.put_nowait(message)


class Carrier:
    """The carrier's port for streams; what comes on any connection, and the connection that it came on."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[Message, StreamEnd]] = asyncio.Queue()
        self.ends: set[StreamEnd] = set()
        self.server: asyncio.Server
        self.port = 0

    async def open(self, port: int, secured: ssl.SSLContext | None) -> None:
        self.port = port
        self.server = await asyncio.get_running_loop().create_server(self._end, HOST, port, ssl=secured)

    async def close(self) -> None:
        self.server.close()
        for end in list(self.ends):
            end.transport.abort()
            await end.closed.wait()
        self.ends.clear()

    async def next(self) -> tuple[Message, StreamEnd]:
        return await asyncio.wait_for(self.got.get(), 10)

    def _end(self) -> StreamEnd:
        end = StreamEnd()
        self.ends.add(end)
        end.got = _Onward(self.got, end)
        return end


class _Onward(asyncio.Queue):  # type: ignore[type-arg]
    def __init__(self, to: "asyncio.Queue[tuple[Message, StreamEnd]]", end: StreamEnd) -> None:
        super().__init__()
        self._to, self._end = to, end

    def put_nowait(self, item: Message) -> None:
        self._to.put_nowait((item, self._end))


class Streams(Trunk):
    """A `Trunk` whose callers come by any transport and whose carrier is reached by each."""

    def __init__(
        self,
        house: House,
        ports: tuple[int, int],
        ends: tuple[End, End],
        carriers: tuple[Carrier, Carrier],
        papers: Papers,
    ) -> None:
        super().__init__(house, ports[0], *ends)
        self.tls_port = ports[1]
        self.papers = papers
        self.tcp, self.tls = carriers
        self._open: list[StreamEnd] = []

    async def call(self, transport: str) -> StreamEnd:
        """A connection to the node."""
        port, secured = (self.tls_port, trusting(self.papers)) if transport == "TLS" else (self.port, None)
        _, end = await asyncio.get_running_loop().create_connection(
            StreamEnd, HOST, port, ssl=secured, server_hostname=NAME if secured else None
        )
        self._open.append(end)
        return end

    def over(self, end: StreamEnd, transport: str = "TCP", source: str = LINE, **more: str) -> bytes:
        number = next(self._calls)
        via = f"SIP/2.0/{transport} {HOST}:{end.port};branch=z9hG4bK{number};rport"
        to = more.pop("to", "") or self.house.subscriber()
        return self.said(number, source, to, **({"Via": via} | more))

    def close(self) -> None:
        for end in self._open:
            end.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def streams(house_of: HouseOf, papers: Papers) -> AsyncIterator[Streams]:
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_datagram_endpoint(End, (HOST, 0))
    _, udp = await loop.create_datagram_endpoint(ProbedEnd, (HOST, 0))
    port, tls_port, by_tcp, by_tls = free_ports(4)
    hops = [f"sips:{HOST}:{by_tls}", f"sip:{HOST}:{by_tcp};transport=tcp", f"sip:{HOST}:{udp.port}"]
    settings = f"""[voice]
listen = ["udp://{HOST}:{port}", "tcp://{HOST}:{port}", "tls://{HOST}:{tls_port}"]
next_hop = {hops}
deadline = "10s"
record_route = true
tls_certificate = "{papers.gateway.certificate}"
tls_key = "{papers.gateway.key}"
upstream_tls_ca = "{papers.authority}"
upstream_tls_name = "carrier.example"
upstream_tls_certificate = "{papers.gateway.certificate}"
upstream_tls_key = "{papers.gateway.key}"
"""
    tcp, tls = Carrier(), Carrier()
    await tls.open(by_tls, serving(papers, papers.carrier))
    await tcp.open(by_tcp, None)
    filed = [f"mobile,sip,{HOST},BANK,financial,result,whole,,,0"]
    async with house_of(workers=2, settings=settings, filed=filed) as house:
        await house.bring("numbers", NUMBERS)
        found = Streams(house, (port, tls_port), (caller, udp), (tcp, tls), papers)
        end = await found.call("TCP")

        async def passes() -> bool:
            end.transport.write(found.over(end))
            answer = asyncio.create_task(end.next())
            call = asyncio.create_task(found.tls.next())
            await asyncio.wait((answer, call), return_when=asyncio.FIRST_COMPLETED)
            answer.cancel()
            call.cancel()
            return call.done() and not call.cancelled()

        await eventually(passes, seconds=30)
        await eventually(lambda: len(found.tls.ends) == len(found.tcp.ends) == 2)  # of both workers
        yield found
        found.close()
        await found.tls.close()
        await found.tcp.close()
    for one in (caller, udp):
        one.transport.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_comes_by_any_transport_and_its_answer_goes_back_by_it(
    streams: Streams, transport: str
) -> None:
    """To the carrier by TLS; on one connection calls of both workers."""
    end = None if transport == "UDP" else await streams.call(transport)
    for _ in range(4):
        if end is None:
            streams.send(streams.invite())
        else:
            end.transport.write(streams.over(end, transport))
        call, way = await streams.tls.next()
        ours, callers = sip.vias(call)
        assert (ours.transport, callers.transport) == (b"TLS", transport.encode())
        recorded = [value.decode() for value in call.listed(b"record-route")]
        by = {"UDP": f":{streams.port};lr", "TCP": f":{streams.port};transport=tcp;lr"}
        assert recorded == [
            f"<sip:{HOST}:{streams.tls_port};transport=tls;lr>",
            *([f"<sip:{HOST}{by[transport]}>"] if transport in by else []),
        ]
        for status in (180, 200):
            way.transport.write(sip_proxy.answer(call, status, b"said so", b"carrier"))
            back = await (streams.caller if end is None else end).next()
            assert (back.status, len(sip.vias(back))) == (status, 1)
        (attempt,) = streams.attempt(call)
        await eventually(lambda attempt=attempt: streams.outcomes(attempt) == [200])


async def test_the_callee_hangs_up_by_its_route(streams: Streams) -> None:
    """A BYE from the carrier goes to the caller by the transport of his Contact, on a connection of its own;
    what the caller sends by the reversed route goes to the carrier, with neither of our two Routes."""
    caller = Carrier()
    (port,) = free_ports(1)
    await caller.open(port, None)
    end = await streams.call("TCP")
    invite = streams.over(end)
    end.transport.write(invite)
    call, way = await streams.tls.next()
    routes = list(call.listed(b"record-route"))
    row = b"Route: " + b", ".join(routes)
    plain = invite.replace(b";rport\r\n", b"bye;rport\r\n" + row + b"\r\n").replace(b" INVITE", b" BYE")
    named = b"BYE sip:x@%s:%d;transport=tcp SIP/2.0" % (HOST.encode(), port)
    tagged = plain.replace(b"@gw.example.cn>\r\n", b"@gw.example.cn>;tag=c\r\n")
    way.transport.write(named + tagged[tagged.index(b"\r\n") :])
    bye, back = await caller.next()
    assert (bye.method, list(bye.listed(b"route"))) == (b"BYE", [])
    assert [via.transport for via in sip.vias(bye)] == [b"TCP", b"TCP"]
    back.transport.write(sip_proxy.answer(bye, 200, b"OK", b"caller"))
    answer, _ = await streams.tls.next()
    assert answer.status == 200
    row = b"Route: " + b", ".join(reversed(routes))
    tagged = tagged.replace(b"bye;rport", b"bye2;rport").replace(b"Route: " + b", ".join(routes), row)
    end.transport.write(tagged.replace(b"INVITE", b"BYE", 1))
    bye, _ = await streams.tls.next()
    assert (bye.method, list(bye.listed(b"route"))) == (b"BYE", [])
    await caller.close()


async def test_a_repeat_on_another_connection_is_the_same_attempt(streams: Streams) -> None:
    ends = [await streams.call("TCP") for _ in range(6)]  # of both workers
    refused, passed = streams.over(ends[0], source=UNFILED), streams.over(ends[0])
    answers = []
    for end in ends:
        end.transport.write(refused)
        answers.append(await end.next())
    assert [said.octets() for said in answers[1:]] == [answers[0].octets()] * 5
    assert answers[0].status == 603
    (attempt,) = streams.attempt(answers[0])
    assert attempt.judged.reason == Reason.UNREGISTERED
    ack = refused.replace(b"INVITE", b"ACK").replace(b"@gw.example.cn>\r\n", b"@gw.example.cn>;tag=c\r\n")
    ends[1].transport.write(ack)
    branches = set()
    for end in ends:
        end.transport.write(passed)
        call, _ = await streams.tls.next()
        assert call.method == b"INVITE"  # and no ACK before it
        branches.add(sip_proxy._branch(sip.vias(call)[0]))
    assert len(branches) == len(streams.attempt(call)) == 1


async def test_an_answer_whose_connection_is_gone_goes_to_the_sent_by(streams: Streams) -> None:
    caller = Carrier()
    (port,) = free_ports(1)
    await caller.open(port, None)
    end = await streams.call("TCP")
    end.transport.write(
        streams.over(end).replace(b"%s:%d;" % (HOST.encode(), end.port), b"%s:%d;" % (HOST.encode(), port))
    )
    call, way = await streams.tls.next()
    end.transport.close()
    await end.closed.wait()
    way.transport.write(sip_proxy.answer(call, 200, b"OK", b"carrier"))
    back, _ = await caller.next()
    assert (back.status, back.value(b"call-id")) == (200, call.value(b"call-id"))
    await caller.close()


async def test_a_keep_alive_is_answered_and_what_can_not_be_followed_is_told_and_closed(
    streams: Streams,
) -> None:
    end = await streams.call("TCP")
    end.transport.write(b"\r\n\r\n")
    await eventually(lambda: end.raw == b"\r\n")
    async with streams.house.counted("connections_closed_total", protocol="sip", cause="length"):
        broken = streams.over(end).replace(b"Content-Length: 0", b"Content-Length: -1")
        end.transport.write(streams.over(end) + broken)
        said = await end.next()
        assert (await streams.tls.next())[0].method == b"INVITE"  # what stood before it is a call
    assert (said.status, said.value(b"call-id")) == (400, broken.partition(b"Call-ID: ")[2].split(b"\r\n")[0])
    await asyncio.wait_for(end.closed.wait(), 10)
    (attempt,) = [one for one in streams.calls() if one.judged.reason == Reason.MALFORMED]
    assert attempt.judged.sub == "frame"
    async with streams.house.counted("connections_closed_total", protocol="sip", cause="start_line"):
        end = await streams.call("TCP")
        end.transport.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(end.closed.wait(), 10)


async def test_who_does_not_speak_tls_is_counted(streams: Streams) -> None:
    async with streams.house.counted("connections_closed_total", protocol="sip", cause="no_tls"):
        _, end = await asyncio.get_running_loop().create_connection(StreamEnd, HOST, streams.tls_port)
        end.transport.write(streams.over(end))
        await asyncio.wait_for(end.closed.wait(), 10)


async def test_calls_go_on_by_the_next_hop_that_is_alive_and_back_when_the_first_is_there_again(
    streams: Streams, papers: Papers
) -> None:
    end = await streams.call("TCP")

    async def leaves_by(transport: str) -> bool:
        end.transport.write(streams.over(end))
        waits = {
            "TLS": asyncio.create_task(streams.tls.got.get()),
            "TCP": asyncio.create_task(streams.tcp.got.get()),
            "UDP": asyncio.create_task(streams.carrier.got.get()),
            "": asyncio.create_task(end.got.get()),
        }
        await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
        found = next(name for name, task in waits.items() if task.done())
        for task in waits.values():
            task.cancel()
        return found == transport

    await streams.tls.close()
    await eventually(lambda: leaves_by("TCP"))
    await streams.tcp.close()
    await eventually(lambda: leaves_by("UDP"))
    await streams.tls.open(streams.tls.port, serving(papers, papers.carrier))
    await eventually(lambda: leaves_by("TLS"))
