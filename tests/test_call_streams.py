"""Calls over TCP and TLS through a real node of two workers: a connection lands on either, a call on its own.

The carrier is reached by TLS, by TCP and by UDP, in this order.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import HOST, House, eventually, free_ports
from test_calls import LINE, NUMBERS, SMS_ALONE, UNFILED, End, Trunk
from test_card import read
from test_tls import NAME, Papers, papers, serving, trusting

from gateway.model import Reason
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message, SipError
from gateway.protocols.sip_stream import Stream

__all__ = ["papers"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSPORTS = ("UDP", "TCP", "TLS")
COLLECTING = "057188886667"


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
    port, tls_port, by_tcp, by_tls, card = free_ports(5)
    hops = [f"sips:{HOST}:{by_tls}", f"sip:{HOST}:{by_tcp};transport=tcp", f"sip:{HOST}:{udp.port}"]
    settings = f"""[card]
listen = "{HOST}:{card}"
tls_certificate = "{papers.gateway.certificate}"
tls_key = "{papers.gateway.key}"
organisation = "浙海示例银行"
email = "calls@bank.example"
[voice]
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
    filed = [
        f"mobile,sip,{HOST},BANK,financial,result,whole,,,0",
        "mobile,sip,127.0.0.3,BANK,financial,result,whole,,127.0.0.9,0",
        "mobile,sip,127.0.0.4,SHOP,other,result,whole,,,0",
        "mobile,sip,127.0.0.5,BANK,financial,result,whole,,,2",
    ]
    async with house_of(workers=2, settings=settings, filed=filed) as house:
        await house.bring("numbers", NUMBERS + f"{COLLECTING},0,voice,collection,BANK,,,2024-01-01,\n")
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
        recorded = [value.decode().partition(";zm=")[0] for value in call.listed(b"record-route")]
        by = {"UDP": f":{streams.port};lr", "TCP": f":{streams.port};transport=tcp;lr"}
        assert recorded == [
            f"<sip:{HOST}:{streams.tls_port};transport=tls;lr",
            *([f"<sip:{HOST}{by[transport]}"] if transport in by else []),
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


async def test_a_subscribers_refusal_is_told_608_with_a_card_to_who_takes_it(streams: Streams) -> None:
    to = streams.house.subscriber()
    await streams.house.bring(
        "refusals",
        f"subscriber,institution,purposes,channels,source,at\n{to},BANK,marketing,sms;voice,12321,2024-10-01",
    )
    end = await streams.call("TCP")

    async def refused() -> Message | None:
        end.transport.write(streams.over(end, to=to, Feature_Caps="*;+sip.608"))
        answer = asyncio.create_task(end.next())
        call = asyncio.create_task(streams.tls.next())
        await asyncio.wait((answer, call), return_when=asyncio.FIRST_COMPLETED)
        call.cancel()
        return answer.result() if answer.done() else answer.cancel() and None

    said = await eventually(refused, seconds=20)
    assert (said.status, said.start) == (608, b"SIP/2.0 608 Rejected")
    url, _, rest = said.value(b"call-info").decode().partition(">;")
    assert rest == "purpose=jwscard"
    async with aiohttp.ClientSession() as client:
        asked = {"ssl": trusting(streams.papers), "server_hostname": NAME}
        async with client.get(url.removeprefix("<"), **asked) as answer:
            jws = await answer.read()
        async with client.get(f"{url.removeprefix('<')}.pem", **asked) as answer:
            header, payload = read(jws, await answer.read())
    assert (header["x5u"], payload["jcard"][0]) == (f"{url.removeprefix('<')}.pem", "vcard")
    assert abs(payload["iat"] - time.time()) < 30
    end.transport.write(streams.over(end, to=to))
    said = await end.next()
    assert (said.status, said.value(b"call-info")) == (603, None)


@pytest.mark.long
async def test_redirected_callers_go_to_the_carrier_themselves_and_others_are_told_until_when(
    streams: Streams, house_of: HouseOf
) -> None:
    """A second node of the registry, with caps, hours that begin soon, and a peer without another trunk."""
    (port,) = free_ports(1)
    soon = int(time.time() // 60) + 9 * 60  # the minute in an hour, in Zhejiang
    later = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (soon % 1440, soon % 1440 + 1))
    settings = f"""[voice]
listen = ["udp://{HOST}:{port}", "tcp://{HOST}:{port}"]
next_hop = "sip:{HOST}:{streams.carrier.port};transport=tcp"
mode = "redirect"
deadline = "10s"
answers_403 = ["127.0.0.2"]
"""
    tcp = Carrier()
    await tcp.open(streams.carrier.port, None)
    profile = f"""[rules.over_frequency]
mode = {{ marketing = "enforce", collection = "enforce" }}
[rules.quiet_hours]
voice = {{ marketing = "00:00-24:00", collection = "{later}" }}
"""
    loop = asyncio.get_running_loop()
    _, alone = await loop.create_datagram_endpoint(End, ("127.0.0.2", 0))
    async with house_of(
        beside=streams.house, name="redirecting", settings=settings, profile=profile
    ) as house:
        node = Streams(house, (port, 0), (streams.caller, streams.carrier), (tcp, tcp), streams.papers)
        to = house.subscriber()

        async def redirects() -> Message | None:
            node.send(node.invite())
            said = await node.caller.next()
            return said if said.status == 302 else None

        await eventually(redirects, seconds=30)
        moved = []
        for _ in range(3):
            data = node.invite(to=to)
            node.send(data)
            moved.append(await node.caller.next())
            node.send(data.replace(b"INVITE", b"ACK").replace(b"cn>\r\nCall", b"cn>;tag=c\r\nCall"))
        node.send(data)
        assert (await node.caller.next()).octets() == moved[-1].octets()
        contact = f"<sip:{to}@{HOST}:{streams.carrier.port};transport=tcp>"
        assert [said.value(b"contact") for said in moved] == [contact.encode()] * 3
        assert len(node.attempt(moved[-1])) == 1
        node.send(node.invite(to=to))  # the fourth within five minutes
        said = await node.caller.next()
        assert (said.status, b"over_frequency 5_minutes" in (said.value(b"reason") or b"")) == (603, True)
        assert 200 < int(said.value(b"retry-after") or 0) <= 300
        node.send(node.invite(COLLECTING))
        said = await node.caller.next()
        assert (said.status, b"quiet_hours" in (said.value(b"reason") or b"")) == (603, True)
        assert 3_400 < int(said.value(b"retry-after") or 0) <= 3_600
        for method, status in (("BYE", 481), ("MESSAGE", 603)):
            node.send(node.invite(method=method))
            assert (await node.caller.next()).status == status
        alone.transport.sendto(node.invite(), (HOST, port))
        assert (await alone.next()).status == 403
        assert tcp.got.empty()
    alone.transport.close()
    await tcp.close()


@pytest.mark.parametrize(
    ("host", "source", "told"),
    [
        ("127.0.0.3", LINE, "account_mismatch unknown_account"),  # not from where its account may come
        ("127.0.0.4", "4008001234", "unregistered inbound_only"),
        ("127.0.0.4", SMS_ALONE, "unregistered channel"),  # filed, but not for calls
        ("127.0.0.4", UNFILED, ""),
    ],
)
async def test_trunks_call_from_where_they_may_and_by_numbers_that_call(
    streams: Streams, host: str, source: str, told: str
) -> None:
    _, end = await asyncio.get_running_loop().create_datagram_endpoint(End, (host, 0))
    end.transport.sendto(streams.invite(source), (HOST, streams.port))
    if told:
        said = await end.next()
        assert (said.status, said.value(b"reason")) == (603, f'Q.850;cause=21;text="{told}"'.encode())
    else:
        assert (await streams.tls.next())[0].method == b"INVITE"
    end.transport.close()


async def test_a_trunk_has_as_many_connections_as_it_is_filed_with_over_all_workers(streams: Streams) -> None:
    async def stands() -> StreamEnd | None:
        _, end = await asyncio.get_running_loop().create_connection(
            StreamEnd, HOST, streams.port, local_addr=("127.0.0.5", 0)
        )
        end.transport.write(b"\r\n\r\n")
        await eventually(lambda: end.raw or end.closed.is_set())
        return end if end.raw else None

    ends = [await stands() for _ in range(2)]
    assert None not in ends
    async with streams.house.counted(
        "connections_closed_total", protocol="sip", cause="too_many_connections"
    ):
        assert await stands() is None
    for end in ends:
        assert end is not None
        end.transport.close()
    (await eventually(stands)).transport.close()


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
        # what was written to a connection that ends just then comes nowhere
        await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED, timeout=2)
        found = next((name for name, task in waits.items() if task.done()), "")
        for task in waits.values():
            task.cancel()
        return found == transport

    await streams.tls.close()
    await eventually(lambda: leaves_by("TCP"))
    await streams.tcp.close()
    await eventually(lambda: leaves_by("UDP"))
    to = streams.house.subscriber()
    streams.send(streams.said(9900, LINE, to))

    async def came(method: bytes) -> None:
        """By UDP, behind what nobody waited for any more."""
        while True:
            message = await streams.carrier.next()
            if (message.method, message.value(b"call-id")) == (method, b"call-9900@cc.example.cn"):
                return

    await came(b"INVITE")
    await streams.tls.open(streams.tls.port, serving(papers, papers.carrier))
    await eventually(lambda: leaves_by("TLS"))
    streams.send(streams.said(9900, LINE, to, "BYE", To=f"<sip:{to}@gw.example.cn>;tag=c"))
    await came(b"BYE")  # the others don't know its call
