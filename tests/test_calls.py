"""Calls through a real node: a trunk on one UDP socket, the carrier on another, and what the records say."""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import HOST, House, eventually, free_ports

from gateway.evidence import record as rec
from gateway.model import VOICE
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINE, UNFILED, BANNED, SMS_ALONE = "057188886666", "057187654321", "95533", "10690001"
DUNNING = "057188887777"
NUMBERS = f"""
number,extension_digits,channels,purposes,institution,agency,signatures,effective_from,effective_until
{LINE},0,voice,marketing,BANK,,,2024-01-01,
{BANNED},0,voice,marketing,BANK,,,2024-01-01,
{DUNNING},0,voice,collection,BANK,,,2024-01-01,
"""
OTHER = ("carrier", "callers")


class End(asyncio.DatagramProtocol):
    """One UDP socket: what it was sent, in order."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Message] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a datagram endpoint's

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = sip.datagram(data)
        assert message is not None
        self.got.put_nowait(message)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    async def next(self) -> Message:
        return await asyncio.wait_for(self.got.get(), 10)


class Trunk:
    """A node, the caller before it and the carrier behind it."""

    def __init__(self, house: House, port: int, caller: End, carrier: End) -> None:
        self.house = house
        self.port = port
        self.caller = caller
        self.carrier = carrier
        self._calls = itertools.count(1)

    def invite(self, source: str = LINE, to: str = "", method: str = "INVITE", **more: str) -> bytes:
        number = next(self._calls)
        return self.said(number, source, to or self.house.subscriber(), method, **more)

    def said(self, number: int, source: str, to: str, method: str = "INVITE", **more: str) -> bytes:
        rows = {
            "Via": f"SIP/2.0/UDP {HOST}:{self.caller.port};branch=z9hG4bK{number};rport",
            "Max-Forwards": "70",
            "From": f"<sip:{source}@cc.example.cn>;tag=f{number}",
            "To": f"<sip:{to}@gw.example.cn>",
            "Call-ID": f"call-{number}@cc.example.cn",
            "CSeq": f"1 {method}",
            "Content-Length": "0",
        } | {name.replace("_", "-"): value for name, value in more.items()}
        head = f"{method} sip:{to}@gw.example.cn SIP/2.0\r\n"
        return (head + "".join(f"{name}: {value}\r\n" for name, value in rows.items()) + "\r\n").encode()

    def send(self, data: bytes) -> None:
        self.caller.transport.sendto(data, (HOST, self.port))

    async def told(self, data: bytes) -> str:
        """What becomes of it: its method at the carrier, or the Reason of its refusal."""
        self.send(data)
        ends = [asyncio.create_task(end.next()) for end in (self.caller, self.carrier)]
        done, late = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        message = done.pop().result()
        return (message.method or message.start + (message.value(b"reason") or b"")).decode()

    def answer(self, request: Message, status: int) -> None:
        said = sip_proxy.answer(request, status, b"said so", b"carrier")
        self.carrier.transport.sendto(said, (HOST, self.port))

    def calls(self) -> list[rec.Attempt]:
        """All records of calls."""
        records = [found.record for found in self.house.records()]
        return [one for one in records if isinstance(one, rec.Attempt) and one.judged.channel == VOICE]

    def attempt(self, call: Message) -> list[rec.Attempt]:
        """The records of a call, by its Call-ID."""
        name = (call.value(b"call-id") or b"").decode()
        return [
            found.record
            for found in self.house.records()
            if isinstance(found.record, rec.Attempt)
            and found.record.judged.channel == VOICE
            and found.content is not None
            and isinstance(found.content.octets, bytes)
            and found.content.octets.decode("utf-16-be") == name
        ]

    async def kill(self) -> None:
        """All workers, until they are back."""
        roles = [role for role in self.house.roles if role.startswith("worker")]
        for role, pid in [(role, self.house.signal(role)) for role in roles]:
            await self.house.back(role, pid)

    def outcomes(self, attempt: rec.Attempt) -> list[int]:
        return [
            found.record.result
            for found in self.house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))
            if isinstance(found.record, rec.Outcome) and found.record.attempt == attempt.id
        ]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[pytest.param(1, marks=pytest.mark.long), 2],
    ids="workers-{}".format,
)
async def trunk(house_of: HouseOf, request: pytest.FixtureRequest) -> AsyncIterator[Trunk]:
    loop = asyncio.get_running_loop()
    ends = []
    for _ in OTHER:
        _, end = await loop.create_datagram_endpoint(End, (HOST, 0))
        ends.append(end)
    carrier, caller = ends
    (port,) = free_ports(1)
    settings = f"""[voice]
listen = ["udp://{HOST}:{port}"]
next_hop = "sip:{HOST}:{carrier.port}"
deadline = "10s"
record_route = true
"""
    filed = [f"mobile,sip,{HOST},BANK,financial,result,whole,,,0"]
    async with house_of(workers=request.param, settings=settings, filed=filed) as house:
        await house.bring("numbers", NUMBERS)
        await house.bring("blacklist", f"number,is_prefix,reason,case_reference\n{BANNED},false,test,CASE-2")
        found = Trunk(house, port, caller, carrier)

        async def passes() -> bool:
            return await found.told(found.invite()) == "INVITE"

        await eventually(passes, seconds=30)
        yield found
    for end in ends:
        end.transport.close()


async def test_a_registered_line_rings_and_its_answer_comes_back(trunk: Trunk) -> None:
    counted = trunk.house.counted
    async with (
        counted("attempts_total", channel="voice", protocol="sip", purpose="marketing", verdict="pass"),
        counted("relay_seconds_count", protocol="sip", direction="to_carrier"),
    ):
        trunk.send(trunk.invite(X_Own="kept  as it came"))
        call = await trunk.carrier.next()
    assert call.value(b"x-own") == b"kept  as it came"
    assert call.value(b"max-forwards") == b"69"
    (attempt,) = trunk.attempt(call)
    assert attempt.judged.verdict == rec.PASS
    assert attempt.judged.number == "+8657188886666"
    for status in (180, 200):
        trunk.answer(call, status)
        back = await trunk.caller.next()
        assert back.status == status
        assert len(list(back.listed(b"via"))) == 1
    await eventually(lambda: trunk.outcomes(attempt) == [200])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (UNFILED, "unregistered"),
        (BANNED, "blacklisted"),
        (SMS_ALONE, "unregistered"),
        ("alice", "not_judgeable"),
    ],
)
async def test_anything_else_is_refused_and_recorded(trunk: Trunk, source: str, reason: str) -> None:
    trunk.send(trunk.invite(source))
    said = await trunk.caller.next()
    assert said.status == 603
    assert said.value(b"reason").startswith(b'Q.850;cause=21;text="%s' % reason.encode())  # type: ignore[union-attr]
    (attempt,) = trunk.attempt(said)
    assert (attempt.judged.verdict, attempt.judged.reason) == (rec.REFUSE, reason)
    assert trunk.carrier.got.empty()


async def test_a_repeat_is_the_same_attempt_and_the_same_octets(trunk: Trunk) -> None:
    passed, refused = trunk.invite(), trunk.invite(UNFILED)
    for _ in range(3):
        trunk.send(passed)
        trunk.send(refused)
    calls = [await trunk.carrier.next()]
    answers = [await trunk.caller.next()]
    trunk.send(passed)
    trunk.send(refused)
    calls.append(await trunk.carrier.next())
    answers.append(await trunk.caller.next())
    assert calls[0].octets() == calls[1].octets()
    assert answers[0].octets() == answers[1].octets()
    assert len(trunk.attempt(calls[0])) == len(trunk.attempt(answers[0])) == 1
    trunk.carrier.got = asyncio.Queue()  # of the first three more may have come
    trunk.caller.got = asyncio.Queue()


async def test_cancel_follows_its_invite_and_the_ack_of_a_refusal_ends_here(trunk: Trunk) -> None:
    to = trunk.house.subscriber()
    trunk.send(trunk.said(9001, LINE, to))
    call = await trunk.carrier.next()
    trunk.send(trunk.said(9001, LINE, to, "CANCEL"))
    cancel = await trunk.carrier.next()
    assert cancel.method == b"CANCEL"
    assert next(cancel.listed(b"via")) == next(call.listed(b"via"))
    trunk.answer(call, 487)
    assert (await trunk.caller.next()).status == 487
    trunk.send(trunk.said(9001, LINE, to, "ACK", To=f"<sip:{to}@gw.example.cn>;tag=c"))
    assert (await trunk.carrier.next()).method == b"ACK"
    trunk.send(trunk.said(9002, UNFILED, to))
    said = await trunk.caller.next()
    assert said.status == 603
    trunk.send(trunk.said(9002, UNFILED, to, "ACK", To=(said.value(b"to") or b"").decode()))
    trunk.send(trunk.said(9002, UNFILED, to))  # late in the network: told the same, and not judged again
    assert (await trunk.caller.next()).octets() == said.octets()
    assert len(trunk.attempt(said)) == 1
    trunk.send(trunk.said(9003, LINE, to))
    assert (await trunk.carrier.next()).value(b"call-id") == b"call-9003@cc.example.cn"  # no ACK before it


async def test_what_follows_in_a_call_goes_on_and_a_made_up_dialog_is_judged(trunk: Trunk) -> None:
    to = trunk.house.subscriber()
    trunk.send(trunk.said(9101, LINE, to))
    call = await trunk.carrier.next()
    trunk.answer(call, 200)
    assert (await trunk.caller.next()).status == 200
    tagged = f"<sip:{to}@gw.example.cn>;tag=c"
    for method in ("ACK", "INVITE", "BYE"):
        via = f"SIP/2.0/UDP {HOST}:{trunk.caller.port};branch=z9hG4bK{method};rport"
        trunk.send(trunk.said(9101, LINE, to, method, To=tagged, Via=via, CSeq=f"2 {method}"))
        assert (await trunk.carrier.next()).method == method.encode()
    assert len(trunk.attempt(call)) == 1
    trunk.send(trunk.said(9102, UNFILED, to, To=tagged))
    said = await trunk.caller.next()
    assert said.status == 603
    assert [one.judged.reason for one in trunk.attempt(said)] == ["unregistered"]


async def test_a_killed_worker_comes_back_with_what_it_has_decided(trunk: Trunk) -> None:
    """Repeats get the same octets and no second record; calls that stand don't notice."""
    to = trunk.house.subscriber()
    sent = {number: trunk.said(number, source, to) for number, source in ((9201, LINE), (9202, UNFILED))}
    trunk.send(sent[9201])
    call = await trunk.carrier.next()
    trunk.send(sent[9202])
    refused = await trunk.caller.next()
    trunk.send(trunk.said(9203, LINE, to))
    standing = await trunk.carrier.next()
    trunk.answer(standing, 200)
    assert (await trunk.caller.next()).status == 200
    (stands,) = trunk.attempt(standing)
    await eventually(lambda: trunk.outcomes(stands) == [200])
    await trunk.kill()

    async def repeated() -> Message | None:
        trunk.send(sent[9201])
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(trunk.carrier.got.get(), 0.5)
        return None

    assert (await eventually(repeated)).octets() == call.octets()
    trunk.send(sent[9202])
    assert (await trunk.caller.next()).octets() == refused.octets()
    trunk.send(trunk.said(9202, UNFILED, to, "ACK", To=(refused.value(b"to") or b"").decode()))
    trunk.send(trunk.said(9201, LINE, to, "CANCEL"))
    cancel = await trunk.carrier.next()  # no ACK before it
    assert (cancel.method, next(cancel.listed(b"via"))) == (b"CANCEL", next(call.listed(b"via")))
    trunk.answer(standing, 200)  # the caller's ACK was lost
    assert (await trunk.caller.next()).status == 200
    more = {
        "To": f"<sip:{to}@gw.example.cn>;tag=c",
        "Route": (standing.value(b"record-route") or b"").decode(),
    }
    for number, method in enumerate(("INVITE", "INFO", "BYE"), 2):
        via = f"SIP/2.0/UDP {HOST}:{trunk.caller.port};branch=z9hG4bK{method}-9203;rport"
        trunk.send(trunk.said(9203, LINE, to, method, Via=via, CSeq=f"{number} {method}", **more))
        assert (await trunk.carrier.next()).method == method.encode()
    trunk.send(sent[9201].replace(to.encode(), trunk.house.subscriber().encode()))  # another call's INVITE
    assert (await trunk.caller.next()).status == 400
    recorded = [[said.judged.reason for said in trunk.attempt(one)] for one in (call, refused, standing)]
    assert recorded == [["", "malformed"], ["unregistered"], [""]]
    assert trunk.outcomes(stands) == [200]


async def settled(trunk: Trunk, seconds: float = 0.5) -> None:
    """Nothing more comes of what was sent for so long."""

    async def quiet() -> bool:
        had = not (trunk.caller.got.empty() and trunk.carrier.got.empty())
        trunk.caller.got, trunk.carrier.got = asyncio.Queue(), asyncio.Queue()
        return not had

    await eventually(quiet, every=seconds)


@pytest.mark.long
async def test_a_kill_under_load_judges_no_call_twice(trunk: Trunk) -> None:
    """Whatever was on its way: each call has one record, and all its repeats one branch or one To tag."""
    sent = {}
    for number in range(20_000, 20_600):
        source = LINE if number % 3 else UNFILED
        sent[f"call-{number}@cc.example.cn"] = trunk.said(number, source, trunk.house.subscriber())
    told: dict[str, set[bytes]] = {name: set() for name in sent}

    def hear() -> None:
        for end, row in ((trunk.carrier, b"via"), (trunk.caller, b"to")):
            while not end.got.empty():
                message = end.got.get_nowait()
                name = (message.value(b"call-id") or b"").decode()
                if name in told:
                    told[name].add(next(message.listed(row)))

    roles = [role for role in trunk.house.roles if role.startswith("worker")]
    killed: list[tuple[str, int]] = []

    async def all_told() -> bool:
        for place, data in enumerate(sent.values()):
            trunk.send(data)
            if place % 20 == 19:
                await asyncio.sleep(0)  # no more than the socket holds
            if place == 300 and not killed:
                killed.extend((role, trunk.house.signal(role)) for role in roles)
        await asyncio.sleep(0.5)  # T1, after which a caller repeats
        hear()
        return all(told.values())

    await eventually(all_told, seconds=60)
    for role, pid in killed:
        await trunk.house.back(role, pid)
    await all_told()
    await settled(trunk, 2.0)  # what waits in a worker's socket comes late where others have the machine
    assert {name: len(said) for name, said in told.items() if len(said) != 1} == {}
    recorded = Counter(
        found.content.octets.decode("utf-16-be")
        for found in trunk.house.records()
        if found.content is not None and isinstance(found.content.octets, bytes)
    )
    assert {name: recorded[name] for name in sent if recorded[name] != 1} == {}


class Standing(NamedTuple):
    """A call that was answered: its number and callee, and how the called side may speak in it."""

    number: int
    to: str
    call: Message
    say: Callable[..., None]


async def standing(trunk: Trunk, number: int) -> Standing:
    to = trunk.house.subscriber()
    trunk.send(trunk.said(number, LINE, to))
    call = await trunk.carrier.next()
    trunk.answer(call, 200)
    assert (await trunk.caller.next()).status == 200
    numbers = itertools.count(1)

    def say(method: str, body: str = "", **more: str) -> None:
        place = next(numbers)
        rows = {
            "Via": f"SIP/2.0/UDP {HOST}:{trunk.carrier.port};branch=z9hG4bKc{number}-{place};rport",
            "From": f"<sip:{to}@gw.example.cn>;tag=c",
            "To": (call.value(b"from") or b"").decode(),
            "Route": (call.value(b"record-route") or b"").decode(),
            "CSeq": f"{place} {method}",
            "Content-Length": str(len(body)),
        } | more
        octets = trunk.said(number, LINE, to, method, **rows) + body.encode()
        line = f"{method} sip:cc@{HOST}:{trunk.caller.port} SIP/2.0".encode()
        trunk.carrier.transport.sendto(line + octets[octets.index(b"\r\n") :], (HOST, trunk.port))

    return Standing(number, to, call, say)


async def test_three_answered_calls_a_day_are_enough(trunk: Trunk) -> None:
    """Of one institution to one subscriber, for collection (GB/T 45251-2025); also after the counts were
    lost. What nobody takes counts for itself: six such tries a day, however many were taken."""
    trunk.house.write_profile('[rules.over_frequency]\nmode = { collection = "enforce" }')
    await trunk.house.reload()
    to, other = trunk.house.subscriber(), trunk.house.subscriber()
    for number in range(9401, 9404):
        trunk.send(trunk.said(number, DUNNING, to))
        trunk.answer(await trunk.carrier.next(), 200)
        assert (await trunk.caller.next()).status == 200
    for number, status in enumerate([486, 200, 486, 486, 200, 486, 486], 9411):
        trunk.send(trunk.said(number, DUNNING, other))
        trunk.answer(await trunk.carrier.next(), status)
        assert (await trunk.caller.next()).status == status
    assert "over_frequency day" in await trunk.told(trunk.invite(DUNNING, to))
    await eventually(lambda: len([one for one in trunk.calls() if trunk.outcomes(one)]) >= 10)
    await trunk.house.lose_counts(lambda: trunk.told(trunk.invite(DUNNING, to)))
    assert "over_frequency day" in await trunk.told(trunk.invite(DUNNING, to))
    assert await trunk.told(trunk.invite(DUNNING, other)) == "INVITE"
    assert "over_frequency day" in await trunk.told(trunk.invite(DUNNING, other))


@pytest.mark.long
async def test_an_answer_that_is_repeated_after_a_kill_counts_once(trunk: Trunk) -> None:
    trunk.house.write_profile('[rules.over_frequency]\nmode = { collection = "enforce" }')
    await trunk.house.reload()
    to = trunk.house.subscriber()
    calls = []
    for number in (9421, 9422):
        trunk.send(trunk.said(number, DUNNING, to))
        calls.append(await trunk.carrier.next())
        trunk.answer(calls[-1], 200)
        assert (await trunk.caller.next()).status == 200
    attempts = [attempt for call in calls for attempt in trunk.attempt(call)]
    await eventually(lambda: [trunk.outcomes(attempt) for attempt in attempts] == [[200]] * 2)
    await trunk.kill()
    for call in calls:

        async def back(call: Message = call) -> bool:
            trunk.answer(call, 200)
            with contextlib.suppress(TimeoutError):
                return (await asyncio.wait_for(trunk.caller.got.get(), 0.5)).status == 200
            return False

        await eventually(back)
    assert await trunk.told(trunk.invite(DUNNING, to)) == "INVITE"


async def test_who_presses_the_key_in_a_call_gets_no_more_calls_and_sms(trunk: Trunk) -> None:
    """It is in force before the press is passed on; another key says nothing; a repeat changes nothing."""
    one = await standing(trunk, 9301)
    relay, plain = {"Content-Type": "application/dtmf-relay"}, {"Content-Type": "application/dtmf"}
    one.say("INFO", "Signal=5\r\nDuration=160\r\n", **relay)
    assert (await trunk.caller.next()).method == b"INFO"
    assert trunk.house.records(rec.Reply, subscriber=one.to) == []
    for _ in range(2):
        one.say("INFO", "Signal= 9\r\nDuration=160\r\n", **relay)
        assert (await trunk.caller.next()).method == b"INFO"
        (found,) = trunk.house.records(rec.Reply, subscriber=one.to)
    reply = found.record
    assert isinstance(reply, rec.Reply)
    (attempt,) = trunk.attempt(one.call)
    assert (reply.meaning, reply.flags, reply.attempt) == ("refuse", ("voice_key",), attempt.id)
    assert (reply.institution, reply.channels) == ("BANK", 3)
    assert "refused_by_subscriber" in await trunk.told(trunk.invite(to=one.to))
    two = await standing(trunk, 9302)
    two.say("INFO", "9", **plain)
    assert (await trunk.caller.next()).method == b"INFO"
    assert "refused_by_subscriber" in await trunk.told(trunk.invite(to=two.to))


async def test_a_human_no_of_the_called_side_is_a_refusal(trunk: Trunk) -> None:
    """As the answer 607, and as the Reason of a BYE (RFC 8197)."""
    to = trunk.house.subscriber()
    trunk.send(trunk.said(9303, LINE, to))
    trunk.answer(await trunk.carrier.next(), 607)
    assert (await trunk.caller.next()).status == 607
    assert "refused_by_subscriber" in await trunk.told(trunk.invite(to=to))
    one = await standing(trunk, 9304)
    one.say("BYE", Reason='SIP;cause=607;text="Unwanted"')
    assert (await trunk.caller.next()).method == b"BYE"
    assert "refused_by_subscriber" in await trunk.told(trunk.invite(to=one.to))
    (attempt,) = trunk.attempt(one.call)

    async def ended() -> Any:
        shown = json.loads((await trunk.house.cli("records", "show", attempt.id.hex()))[1])
        return shown["reports"] and shown

    shown = await eventually(ended)
    assert (shown["delivery"], shown["delivery_stat"]) == ("delivered", "200")
    assert shown["ended_by"] == 'called SIP;cause=607;text="Unwanted"'
    assert shown["answered_at"]
    assert shown["ended_at"]


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "REGISTER"])
async def test_nothing_else_reaches_a_subscriber(trunk: Trunk, method: str) -> None:
    for to in ("", "<sip:13800000001@gw.example.cn>;tag=made-up"):
        trunk.send(trunk.invite(method=method, **({"To": to} if to else {})))
        assert (await trunk.caller.next()).status == 603
    assert trunk.carrier.got.empty()


async def test_a_route_of_the_callers_leads_nowhere_but_to_the_carrier(trunk: Trunk) -> None:
    elsewhere = f"<sip:{HOST}:{trunk.caller.port};lr>"
    trunk.send(trunk.invite(Route=elsewhere))
    call = await trunk.carrier.next()
    assert (call.method, list(call.listed(b"route"))) == (b"INVITE", [elsewhere.encode()])


async def test_who_lends_the_line_is_judged_too(trunk: Trunk) -> None:
    trunk.send(trunk.invite(Diversion=f"<sip:{UNFILED}@ims.example.cn>;reason=unconditional"))
    said = await trunk.caller.next()
    (attempt,) = trunk.attempt(said)
    assert (attempt.judged.reason, attempt.judged.sub) == ("unregistered", "diverting")
    trunk.send(trunk.invite(P_Preferred_Identity=f"<sip:{UNFILED}@ims.example.cn>"))
    said = await trunk.caller.next()
    (attempt,) = trunk.attempt(said)
    assert (attempt.judged.reason, attempt.judged.sub) == ("unregistered", "claimed")
    passes = trunk.invite(Diversion=f"<sip:{LINE}@ims.example.cn>")
    trunk.send(passes)
    assert (await trunk.carrier.next()).method == b"INVITE"
    another = f"P-Preferred-Identity: <sip:{UNFILED}@ims.example.cn>\r\nCSeq:".encode()
    assert "400" in await trunk.told(passes.replace(b"CSeq:", another))  # is not the call that was judged


async def test_nobody_is_called_by_a_dialling_prefix(trunk: Trunk) -> None:
    trunk.send(trunk.invite(to=f"12593{trunk.house.subscriber()}"))
    said = await trunk.caller.next()
    (attempt,) = trunk.attempt(said)
    assert (attempt.judged.reason, attempt.judged.sub) == ("malformed", "destination")


async def test_a_broken_invite_is_an_attempt_and_garbage_is_counted(trunk: Trunk) -> None:
    before = [one.judged.reason for one in trunk.calls()].count("malformed")
    broken = trunk.invite(From="Bell, A <sip:a@b>;tag=1")
    trunk.send(broken)
    said = await trunk.caller.next()
    assert said.status == 400
    trunk.send(broken)
    assert (await trunk.caller.next()).octets() == said.octets()
    assert [one.judged.reason for one in trunk.calls()].count("malformed") == before + 1
    async with trunk.house.counted("connections_closed_total", protocol="sip", cause="start_line"):
        trunk.send(b"GET / HTTP/1.1\r\n\r\n")


async def test_options_to_us_are_answered(trunk: Trunk) -> None:
    trunk.send(
        trunk.invite(method="OPTIONS").replace(
            b"OPTIONS sip:", b"OPTIONS sip:%s:%d SIP/2.0\r\nX: " % (HOST.encode(), trunk.port), 1
        )
    )
    assert (await trunk.caller.next()).status == 200


async def test_a_refusal_of_calls_stops_them(trunk: Trunk) -> None:
    to = trunk.house.subscriber()
    await trunk.house.bring(
        "refusals",
        f"subscriber,institution,purposes,channels,source,at\n{to},BANK,marketing,sms;voice,12321,2024-10-01",
    )

    async def refused() -> bool:
        return "refused_by_subscriber" in await trunk.told(trunk.invite(to=to))

    await eventually(refused, seconds=20)
