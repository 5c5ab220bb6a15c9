"""The relay from outside: one sender connection is one carrier connection, octet for octet, in order.

One test per sentence of architecture.md "The relay, exactly" that concerns CMPP, against a running node.
"""

import asyncio
import contextlib
import ctypes
import os
import random
import re
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, BIND, GATEWAY_CODE, HOST, MARKETING, TEXT, House, eventually, refresh
from raw_ends import Raw, RawCarrier, answer_to, command_of, deliver, frame_of, sequence_of, submit

from gateway.protocols import cmpp_tables as tables
from gateway.protocols.cmpp import V20, V21, V30, Cmpp
from gateway.protocols.cmpp_tables import ANSWER
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import LoginRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_UPSTREAM, BAD_SOURCE, BAD_SECRET, TOO_HIGH, OTHER = 5, 2, 3, 4, 5
PASSING, REFUSED = MARKETING + "0001", BANNED + "0001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


# Login


@pytest.mark.parametrize("version", [V20, V21, V30])
async def test_each_version_is_relayed_on_one_port(house: House, version: int) -> None:
    async with house.sender(version=version) as sender:
        assert sender.version == version
        assert sender.digest_ok
        house.carrier.report_after = 0.0
        answer = await sender.submit(PASSING, [house.subscriber()], TEXT, report=True)
        assert answer.result == 0
        (received,) = house.carrier.submits
        assert received.end.link.wire.version == version
        assert received.message_id == answer.message_id
        assert (await sender.report_of(answer.message_id)).stat == b"DELIVRD"


async def test_the_version_is_the_lower_of_asked_and_answered(house: House) -> None:
    async with (
        CarrierSim(HOST, house.upstreams.second, version=V20) as carrier,
        house.sender("900010", V30) as sender,
    ):
        assert sender.version == V20
        assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert carrier.submits[0].text == TEXT


async def test_a_version_that_nobody_speaks_is_refused_here(house: House) -> None:
    with pytest.raises(LoginRefused) as caught:
        async with house.sender(version=0x40):
            pass
    assert caught.value.status == TOO_HIGH
    assert not house.carrier.counts["connections"]


async def test_the_carriers_no_passes_through(house: House) -> None:
    sender = house.sender()
    sender._secret = b"other"
    with pytest.raises(LoginRefused) as caught:
        async with sender:
            pass
    assert caught.value.status == BAD_SECRET
    assert house.carrier.counts["logins_refused"] == 1


async def test_the_login_and_its_answer_are_the_peers_own_octets(house: House) -> None:
    frame = house.sender("900014", V30).connect(0xFFFF_FFFE)
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.open(house.port) as raw:
        raw.send(frame)
        answer = await raw.frame()
        there = await carrier.session()
        assert answer == Cmpp.login_answer(Cmpp().login(frame), 0, 0xFFFF_FFFE, V30)
        assert there.login_frame == frame


async def test_a_dead_upstream_is_passed_over(house: House) -> None:
    async with (
        CarrierSim(HOST, house.upstreams.third) as carrier,
        house.sender("900010") as sender,
    ):
        assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert carrier.counts["submits"] == 1


async def test_a_late_upstream_is_closed_and_the_next_one_asked(house: House) -> None:
    async with (
        CarrierSim(HOST, house.upstreams.second) as late,
        CarrierSim(HOST, house.upstreams.third) as carrier,
    ):
        late.faults.login_after = 3.0
        began = time.monotonic()
        async with house.sender("900010") as sender:
            assert 2.0 < time.monotonic() - began < 5.0
            await late.until(lambda: not late.ends)
            assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert carrier.counts["submits"] == 1
        assert not late.counts["logins"]


async def test_an_upstream_that_talks_nonsense_is_passed_over(house: House) -> None:
    cut_answer = b"\0\0\0\x0c\x80\0\0\x01\0\0\0\0"
    nonsense = [b"SSH-2.0-OpenSSH_9.2\r\n", Cmpp.heartbeat(0), cut_answer]

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(nonsense.pop())
        await reader.read()
        writer.close()

    async with (
        CarrierSim(HOST, house.upstreams.third) as carrier,
        await asyncio.start_server(answers, HOST, house.upstreams.second),
    ):
        while nonsense:
            async with house.sender("900010") as sender:
                assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert carrier.counts["submits"] == 3


async def test_no_upstream_at_all_is_said_at_once(house: House) -> None:
    began = time.monotonic()
    with pytest.raises(LoginRefused) as caught:
        async with house.sender("900011"):
            pass
    assert caught.value.status == NO_UPSTREAM
    assert time.monotonic() - began < 4.0


async def test_a_silent_upstream_is_given_up_within_five_seconds(house: House) -> None:
    async with CarrierSim(HOST, house.upstreams.second) as silent:
        silent.faults.login_never = True
        began = time.monotonic()
        with pytest.raises(LoginRefused) as caught:
            async with house.sender("900011"):
                pass
        assert caught.value.status == NO_UPSTREAM
        assert 4.0 < time.monotonic() - began < 7.0


async def test_a_sender_who_leaves_while_the_carrier_is_asked_leaves_nothing_behind(house: House) -> None:
    async with CarrierSim(HOST, house.upstreams.second) as silent:
        silent.faults.login_after = 0.3
        async with Raw.open(house.port) as raw:
            raw.send(house.sender("900011").connect())
            await silent.until(lambda: silent.ends)
        await silent.until(lambda: silent.counts["logins"] == 1 and not silent.ends)


@pytest.mark.parametrize(("address", "enters"), [("127.0.0.2", True), ("127.0.1.77", True), (HOST, False)])
async def test_only_filed_addresses_may_enter(house: House, address: str, enters: bool) -> None:
    sender = house.sender("900008", local=(address, 0))
    if enters:
        async with sender:
            assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        return
    async with house.counted("connections_closed_total", protocol="cmpp", cause="address_not_allowed"):
        with pytest.raises(LoginRefused) as caught:
            async with sender:
                pass
    assert caught.value.status == BAD_SOURCE
    assert not house.carrier.counts["connections"]


async def test_a_listener_binds_and_names_the_senders_address(house: House) -> None:
    """PROXY protocol v2, section 2.2: the carrier, who can't see the sender any more, is told."""
    seen: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue()

    async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(28)
        frame = await reader.readexactly(39)
        seen.put_nowait((writer.get_extra_info("peername")[0], header, frame))
        writer.write(Cmpp.login_answer(Cmpp().login(frame), 0, sequence_of(frame), V20))
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(carrier, HOST, house.upstreams.raw),
        Raw.open(house.proxied_port, local_addr=("127.0.0.7", 0)) as raw,
    ):
        connect = house.sender().connect(3)
        raw.send(connect)
        assert (await raw.frame())[12] == 0
        peer, header, frame = await seen.get()
        port = raw.writer.get_extra_info("sockname")[1]
    assert (peer, frame) == (BIND, connect)
    signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    assert header[:20] == signature + bytes([127, 0, 0, 7])
    assert header[24:26] == port.to_bytes(2, "big")
    assert header[26:] == house.upstreams.raw.to_bytes(2, "big")


async def test_only_so_many_connections_may_stand(house: House) -> None:
    async with house.sender("900009"):
        with pytest.raises(LoginRefused) as caught:
            async with house.sender("900009"):
                pass
        assert caught.value.status == OTHER

    async def enters() -> bool:
        try:
            async with house.sender("900009"):
                return True
        except LoginRefused:
            return False

    await eventually(enters)


async def test_who_was_turned_away_takes_nobodys_place(house: House) -> None:
    """He may keep his end open, as those do who try again and again: he is no connection of the account."""
    async with Raw.open(house.port) as refused:
        async with house.sender("900009"):
            refused.send(house.sender("900009").connect())
            assert (await refused.frame())[12] == OTHER

        async def enters() -> bool:
            with contextlib.suppress(LoginRefused):
                async with house.sender("900009"):
                    return True
            return False

        await eventually(enters, 1.0)


async def test_frames_before_the_logins_answer_wait(house: House) -> None:
    house.carrier.faults.login_after = 0.3
    subscribers = [house.subscriber() for _ in range(3)]
    async with Raw.open(house.port) as raw:
        raw.send(house.sender().connect(1), submit(PASSING, subscribers[:1], TEXT, 2), Cmpp.heartbeat(3))
        await house.carrier.until(lambda: house.carrier.ends)
        raw.send(submit(REFUSED, subscribers[1:2], TEXT, 4), submit(PASSING, subscribers[2:], TEXT, 5))
        frames = [await raw.frame()]
        assert command_of(frames[0]) == tables.CONNECT | ANSWER
        frames += await raw.frames(4)
    assert sorted(map(sequence_of, frames[1:])) == [2, 3, 4, 5]
    assert [received.sequence for received in house.carrier.submits] == [2, 5]


async def test_a_second_login_is_refused_and_the_session_goes_on(house: House) -> None:
    async with Raw.login(house) as raw:
        raw.send(house.sender().connect(7))
        answer = await raw.frame()
        assert (command_of(answer), sequence_of(answer)) == (tables.CONNECT | ANSWER, 7)
        assert answer[12] == OTHER
        raw.send(submit(PASSING, [house.subscriber()], TEXT, 8))
        assert sequence_of(await raw.frame()) == 8
    assert house.carrier.counts["logins"] == 1


# What passes


async def test_what_passes_is_forwarded_octet_for_octet(house: House) -> None:
    subscriber = house.subscriber()
    frames = [
        submit(PASSING, [subscriber], TEXT, 0xFFFF_FFFF, registered_delivery=1, reserve=b"\1\2"),
        submit(PASSING, [subscriber, house.subscriber()], TEXT, 0, fee_code=b"000010", msg_level=9),
    ]
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(*frames)
        assert await there.frames(2) == frames
        answers = [answer_to(frames[1], 0x0102030405060708, 0), answer_to(frames[0], 0xFFFFFFFFFFFFFFFF, 77)]
        there.send(*answers)
        assert await raw.frames(2) == answers
    records = house.records(subscriber=subscriber)
    assert [found.record.judged.verdict for found in records] == ["pass", "pass"]


@pytest.mark.parametrize("octets", [60, 71])
async def test_status_reports_pass_untouched(house: House, octets: int) -> None:
    content = bytes(range(8)) + b"DELIVRD" + b"2611211200" * 2 + b"13800000001".ljust(octets - 39, b"\0")
    content += b"\0\0\0\7"
    assert len(content) == octets
    report = deliver(PASSING, house.subscriber(), content, 5, V30, registered_delivery=1, msg_fmt=4)
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014", V30) as raw,
    ):
        there = await carrier.session()
        there.send(report)
        assert await raw.frame() == report
        answer = answer_to(report, 1, 0, V30)
        raw.send(answer)
        assert await there.frame() == answer


async def test_queries_cancels_and_heartbeats_pass_both_ways(house: House) -> None:
    asked = [
        frame_of(tables.Query(time=b"20261121", query_type=1, query_code=b"RAW"), 1),
        frame_of(tables.Cancel(msg_id=5), 2),
        Cmpp.heartbeat(3),
    ]
    answers = [
        frame_of(tables.QueryResp(time=b"20261121", mt_scs=9), 1),
        frame_of(tables.CancelResp(), 2),
        Cmpp.heartbeat_answer(3),
    ]
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(*asked)
        assert await there.frames(3) == asked
        there.send(*answers, Cmpp.heartbeat(900), Cmpp.terminate(901))
        assert await raw.frames(5) == [*answers, Cmpp.heartbeat(900), Cmpp.terminate(901)]
        raw.send(Cmpp.heartbeat_answer(900), Cmpp.terminate_answer(901))
        assert await there.frames(2) == [Cmpp.heartbeat_answer(900), Cmpp.terminate_answer(901)]


async def test_terminate_passes_behind_what_waits_for_the_disk(house: House) -> None:
    frames = [submit(PASSING, [house.subscriber()], TEXT, 1), Cmpp.terminate(2)]
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(*frames)
        assert await there.frames(2) == frames
        there.send(answer_to(frames[0]), Cmpp.terminate_answer(2))
        assert await raw.frames(2) == [answer_to(frames[0]), Cmpp.terminate_answer(2)]
        await there.hang_up()
        assert await raw.rest() == []


async def test_what_a_sender_may_not_send_never_reaches_the_carrier(house: House) -> None:
    forwards = frame_of(tables.Fwd(dest_usr_tl=1, dest_id=[b"13800000001"], msg_content=b"hello"), 1)
    unknown = b"\0\0\0\x0e\0\0\0\x63\0\0\0\2hi"
    routes = [
        (12).to_bytes(4, "big") + command.to_bytes(4, "big") + (10 + n).to_bytes(4, "big")
        for n, command in enumerate((*tables.ROUTING, *(route | ANSWER for route in tables.ROUTING)))
    ]
    foreign = [deliver(PASSING, house.subscriber(), b"R", 4), answer_to(submit(PASSING, [], "", 5))]
    last = Cmpp.heartbeat(99)
    count = 2 + len(routes)  # the unknown one and an answer to nothing; FWD and DELIVER have answers
    async with (
        house.counted("requests_unanswerable_total", count, protocol="cmpp"),
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(forwards, unknown, *routes, *foreign, last)
        assert await there.frame() == last
        assert await raw.frame() == frame_of(tables.FwdResp(result=9), 1)
        assert command_of(await raw.frame()) == tables.DELIVER | ANSWER


async def test_order_is_kept(house: House) -> None:
    """A batch in one write and another cut into single octets; the refused ones are missing, nothing else."""
    frames = []
    for number in range(60):
        if number % 3 == 0:
            frames.append(Cmpp.heartbeat(number))
        else:
            source = REFUSED if number % 5 == 0 else PASSING
            frames.append(submit(source, [house.subscriber()], TEXT, number))
    refused = {number for number in range(60) if number % 5 == 0 and number % 3}
    passed = [frame for number, frame in enumerate(frames) if number not in refused]
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(*frames[:30])
        octets = b"".join(frames[30:])
        for at in range(0, len(octets), 101):
            raw.send(octets[at : at + 101])
            await raw.writer.drain()
            await asyncio.sleep(0)
        assert await there.frames(len(passed)) == passed
        answers = await raw.frames(len(refused))
        assert sorted(map(sequence_of, answers)) == sorted(refused)
        assert {answer[20] for answer in answers} == {103}


async def test_the_window_is_the_peers_business(house: House) -> None:
    house.carrier.faults.answer_after = 0.2
    async with house.sender(window=16) as sender:
        frames = [sender.frames(PASSING, [house.subscriber()], TEXT)[0] for _ in range(40)]
        futures = [sender.request(frame) for frame in frames]
        await house.carrier.until(lambda: len(house.carrier.submits) == 16)
        assert not any(future.done() for future in futures)
        assert {answer.result for answer in await asyncio.gather(*futures)} == {0}
    assert house.carrier.counts["submits"] == 40


async def test_a_wider_window_is_not_narrowed(house: House) -> None:
    house.carrier.faults.answer_after = 0.3
    async with house.sender(window=200) as sender:
        frames = [sender.frames(PASSING, [house.subscriber()], TEXT)[0] for _ in range(200)]
        futures = [sender.request(frame) for frame in frames]
        await house.carrier.until(lambda: len(house.carrier.submits) == 200)
        assert {answer.result for answer in await asyncio.gather(*futures)} == {0}


# What is broken

GARBAGE = {
    "8 MiB": (b"\0\x80\0\0\0\0\0\4\0\0\0\1", "length_too_large"),
    "8 KiB and one": (b"\0\0\x20\x01\0\0\0\4\0\0\0\1", "length_too_large"),
    "length 11": (b"\0\0\0\x0b\0\0\0\4\0\0\0\1", "length_too_short"),
    "length 0": (bytes(12), "length_too_short"),
    "noise": (bytes(range(100, 200)), "length_too_large"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "length_too_large"),
    "TLS": (bytes.fromhex("1603010200010001fc0303") + bytes(500), "length_too_large"),
}


@pytest.mark.parametrize(("octets", "cause"), GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("logged_in", [False, True], ids=["before login", "after login"])
async def test_garbage_ends_that_connection_only(
    house: House, octets: bytes, cause: str, logged_in: bool
) -> None:
    async with (
        house.counted("connections_closed_total", protocol="cmpp", cause=cause),
        house.sender() as other,
    ):
        before = len(house.log_lines(cause=cause))
        async with Raw.login(house) if logged_in else Raw.open(house.port) as raw:
            good = submit(PASSING, [house.subscriber()], TEXT, 4) if logged_in else b""
            raw.send(good, octets)
            await raw.rest()
        (line,) = await eventually(lambda: house.log_lines(cause=cause)[before:])
        assert line["what"].startswith("connection closed")
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert other.cause is None
        await house.carrier.until(lambda: len(house.carrier.ends) == 1)
    assert house.carrier.counts["submits"] == 1 + logged_in  # what came before the garbage was whole


async def test_a_carrier_that_sends_garbage_ends_that_session_only(house: House) -> None:
    async with (
        house.counted("connections_closed_total", protocol="cmpp", cause="length_too_large"),
        RawCarrier(house.upstreams.raw) as carrier,
        house.sender() as other,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        there.send(b"\xff" * 100)
        assert await raw.rest() == []
        assert await there.rest() == []
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0


async def test_half_a_frame_and_silence_disturb_nobody(house: House) -> None:
    frame = submit(PASSING, [house.subscriber()], TEXT, 1)
    async with Raw.login(house) as raw, house.sender() as other:
        raw.send(frame[:100])
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert house.carrier.counts["submits"] == 1
        raw.send(frame[100:])
        assert sequence_of(await raw.frame()) == 1
    assert house.carrier.submits[1].frame == frame


@pytest.mark.long
async def test_who_does_not_log_in_is_closed(house: House) -> None:
    login = house.sender().connect()
    async with (
        house.counted("connections_closed_total", 2, protocol="cmpp", cause="no_login"),
        Raw.open(house.port) as silent,
        Raw.open(house.port) as half,
    ):
        half.send(login[:20])
        began = time.monotonic()
        assert await asyncio.gather(silent.rest(), half.rest()) == [[], []]
        assert 9.0 < time.monotonic() - began < 15.0


async def test_another_frame_than_a_login_is_refused(house: House) -> None:
    async with (
        house.counted("connections_closed_total", protocol="cmpp", cause="login_expected"),
        Raw.open(house.port) as raw,
    ):
        raw.send(submit(PASSING, [house.subscriber()], TEXT, 1))
        await raw.rest()


async def test_a_submit_that_can_not_be_read_is_refused_and_recorded(house: House) -> None:
    """Result 101 is of the reason table; the structure's own Result says more: 1."""
    whole = submit(PASSING, [house.subscriber()], TEXT, 1)
    cut = (100).to_bytes(4, "big") + whole[4:100]
    async with house.counted("intercepts_total", reason="malformed"), Raw.login(house) as raw:
        raw.send(cut)
        answer = await raw.frame()
        assert command_of(answer) == tables.SUBMIT | ANSWER
        assert answer[20] == 1
        raw.send(Cmpp.heartbeat(2))
        await raw.frame()
    assert not house.carrier.submits


def mutated(frame: bytes, rng: random.Random) -> bytes:
    """Some octets changed, or the body cut or lengthened; the length always true, so that all is read."""
    body = bytearray(frame[4:])
    match rng.randrange(4):
        case 0:
            del body[rng.randrange(8, len(body)) :]
        case 1:
            body += rng.randbytes(rng.randrange(1, 40))
        case _:
            for _ in range(rng.randrange(1, 6)):
                body[rng.randrange(8, len(body))] = rng.randrange(256)
    return (len(body) + 4).to_bytes(4, "big") + bytes(body)


@pytest.mark.parametrize("version", [V20, V30])
async def test_mutated_frames_of_both_sides_break_nothing(house: House, version: int) -> None:
    rng = random.Random(version)
    to = ["18922220001", "18922220002"]  # far from others: a changed digit is another subscriber
    from_sender = [
        submit(PASSING, to[:1], TEXT, 1, version),
        submit(REFUSED, to, TEXT, 2, version, registered_delivery=1),
        frame_of(tables.Query(time=b"20261121"), 3, version),
        frame_of(tables.Cancel(msg_id=1), 4, version),
        frame_of(tables.Fwd(dest_usr_tl=1, dest_id=[b"13800000001"], msg_content=b"hello"), 5, version),
        frame_of(tables.DeliverResp(msg_id=7), 6, version),
        house.sender("900015", version).connect(7),
    ]
    from_carrier = [
        deliver(PASSING, to[0], b"R", 1, version),
        deliver(PASSING, to[0], bytes(8) + b"DELIVRD" + bytes(45), 2, version, registered_delivery=1),
        deliver(PASSING, to[0], "退订".encode("utf-16-be"), 3, version, msg_fmt=8, tp_udhi=1),
        frame_of(tables.SubmitResp(msg_id=1), 1, version),
        frame_of(tables.QueryResp(time=b"20261121"), 3, version),
    ]
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900015", version) as raw,
    ):
        there = await carrier.session()
        last = Cmpp.heartbeat(0xABCDEF)
        for _ in range(20):
            for here, peer, frames in ((raw, there, from_sender), (there, raw, from_carrier)):
                here.send(*(mutated(rng.choice(frames), rng) for _ in range(100)), last)
                while await peer.frame() != last:
                    pass
                here.send(last)
                while await peer.frame() != last:
                    pass


# Repeats


async def test_a_repeated_submit_is_the_same_attempt(house: House) -> None:
    passed, refused = house.subscriber(), house.subscriber()
    good, bad = submit(PASSING, [passed], TEXT, 1), submit(REFUSED, [refused], TEXT, 2)
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
    ):
        there = await carrier.session()
        raw.send(bad)
        first = await raw.frame()
        raw.send(bad, bad)
        assert await raw.frames(2) == [first, first]
        raw.send(good)
        assert await there.frame() == good
        raw.send(good)  # nobody answered: it goes to the carrier once more
        assert await there.frame() == good
        there.send(answer_to(good, 7))
        assert await raw.frame() == answer_to(good, 7)
    assert house.reasons(subscriber=passed) == [""]
    assert house.reasons(subscriber=refused) == ["blacklisted"]


async def test_two_alike_in_one_read_are_one_attempt(house: House) -> None:
    subscriber = house.subscriber()
    async with Raw.login(house) as raw:
        raw.send(*[submit(PASSING, [subscriber], TEXT, 1)] * 2, submit(PASSING, [subscriber], TEXT, 2))
        await raw.frames(2)
    assert len(house.records(subscriber=subscriber)) == 2
    assert house.carrier.counts["submits"] == 2


async def test_other_octets_or_another_connection_are_another_attempt(house: House) -> None:
    subscriber = house.subscriber()
    for _ in range(2):
        async with Raw.login(house) as raw:
            raw.send(submit(PASSING, [subscriber], TEXT, 1))
            await raw.frame()
            raw.send(submit(PASSING, [subscriber], TEXT + "。", 1))
            await raw.frame()
    assert house.reasons(subscriber=subscriber) == [""] * 4
    assert len({found.record.connection for found in house.records(subscriber=subscriber)}) == 2


# Several recipients


async def test_a_submit_to_several_passes_whole(house: House) -> None:
    subscribers = [house.subscriber() for _ in range(99)]
    async with house.sender() as sender:
        assert (await sender.submit(PASSING, subscribers, TEXT)).result == 0
    (received,) = house.carrier.submits
    assert [number.decode() for number in received.submission.destinations] == subscribers
    for place, subscriber in enumerate(subscribers):
        (found,) = house.records(subscriber=subscriber)
        assert found.record.recipient == place
        assert found.record.judged.verdict == "pass"


async def test_some_refused_means_the_whole_submit_is(house: House) -> None:
    """The first real reason answers; the innocent ones are recorded as refused along with it."""
    subscribers = [house.subscriber(), "13800009999", house.subscriber()]
    since = int(time.time() * 1000)
    async with (
        house.counted("intercepts_total", 2, reason="mass_refused"),
        house.counted("intercepts_total", 1, reason="refused_by_subscriber"),
        house.sender() as sender,
    ):
        assert (await sender.submit(PASSING, subscribers, TEXT)).result == 110
    assert not house.carrier.submits
    reasons = [house.reasons(subscriber=subscriber, since=since) for subscriber in subscribers]
    assert reasons == [["mass_refused"], ["refused_by_subscriber"], ["mass_refused"]]


@pytest.mark.parametrize("version", [V20, V30])
async def test_reduced_to_those_who_may_have_it(house: House, version: int) -> None:
    subscribers = [house.subscriber(), "13800009999", house.subscriber()]
    frame = submit(PASSING, subscribers, TEXT, 9, version)
    wanted = submit(PASSING, [subscribers[0], subscribers[2]], TEXT, 9, version)
    since = int(time.time() * 1000)
    async with Raw.login(house, "900007", version) as raw:
        raw.send(frame)
        answer = await raw.frame()
        assert answer[20:] in {b"\0", bytes(4)}
        (received,) = house.carrier.submits
        assert received.frame == wanted
        raw.send(frame)
        assert await raw.frame() == answer
    assert len(house.carrier.submits) == 1
    reasons = [house.reasons(subscriber=subscriber, since=since) for subscriber in subscribers]
    assert reasons == [[""], ["refused_by_subscriber"], [""]]


async def test_not_reduced_where_a_report_is_asked(house: House) -> None:
    async with house.sender("900007") as sender:
        subscribers = [house.subscriber(), "13800009999"]
        assert (await sender.submit(PASSING, subscribers, TEXT, report=True)).result == 110
    assert not house.carrier.submits


# Frames of our own


async def test_refused_by_report(house: House) -> None:
    async with house.sender("900003") as sender:
        answer = await sender.submit(REFUSED, [house.subscriber()], TEXT, report=True)
        assert answer.result == 0
        report = await sender.report_of(answer.message_id)
        assert report.stat == b"REJECTD"
        assert tables.message_id_parts(answer.message_id).gateway == GATEWAY_CODE
        assert re.fullmatch(rb"\d{10}", report.submit_time)
        two = await sender.submit(REFUSED, [house.subscriber(), house.subscriber()], TEXT, report=True)
        await sender.until(lambda: len(sender.reports) == 3)
        first = int.from_bytes(two.message_id, "big")
        assert {int.from_bytes(r.message_id, "big") for r in list(sender.reports)[1:]} == {first, first + 1}
        assert (await sender.submit(REFUSED, [house.subscriber()], TEXT)).result == 103  # no report asked
    assert not house.carrier.submits
    assert not house.carrier.counts["other"]


async def test_the_answer_to_our_report_is_absorbed_and_a_repeat_brings_no_second(house: House) -> None:
    frame = submit(REFUSED, [house.subscriber()], TEXT, 1, registered_delivery=1)
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900015") as raw,
    ):
        there = await carrier.session()
        raw.send(frame)
        said, report = await raw.frames(2)
        assert said[20] == 0
        assert command_of(report) == tables.DELIVER
        raw.send(frame)
        assert await raw.frame() == said
        raw.send(answer_to(report), Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)
        there.send(Cmpp.heartbeat_answer(2))
        assert await raw.frame() == Cmpp.heartbeat_answer(2)


async def test_a_carrier_that_uses_the_number_that_we_chose(house: House) -> None:
    frame = submit(REFUSED, [house.subscriber()], TEXT, 1, registered_delivery=1)
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900015") as raw,
    ):
        there = await carrier.session()
        raw.send(frame)
        _, ours = await raw.frames(2)
        number = sequence_of(ours)
        theirs = deliver(PASSING, house.subscriber(), b"hello", number)
        there.send(theirs)
        renamed = await raw.frame()
        assert sequence_of(renamed) != number
        assert Cmpp.with_sequence(renamed, number) == theirs
        raw.send(answer_to(ours), answer_to(renamed, 5))
        assert await there.frame() == answer_to(theirs, 5)
        there.send(theirs)  # ours is answered: the number is the carrier's again
        assert await raw.frame() == theirs
        raw.send(answer_to(theirs, 6))
        assert await there.frame() == answer_to(theirs, 6)


# Back-pressure, sockets


def anonymous(pid: int) -> int:
    """RssAnon of a process, octets."""
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def flood(raw: Raw, octets: bytes, most: int) -> int:
    """Write until the peer has read nothing for two seconds, or `most` octets: how many were taken."""
    sent = 0
    while sent < most:
        raw.send(octets)
        try:
            await asyncio.wait_for(raw.writer.drain(), 2.0)
        except TimeoutError:
            break
        sent += len(octets)
    return sent


MOST = 64 << 20


async def test_a_sender_that_does_not_read_stops_the_carrier(house: House) -> None:
    frame = (8000).to_bytes(4, "big") + (tables.QUERY | ANSWER).to_bytes(4, "big") + bytes(8000 - 8)
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014", narrow=True, limit=1024) as raw,
        house.sender() as other,
    ):
        there = await carrier.session()
        before = sum(anonymous(house.pid(f"worker-{n}")) for n in range(2))
        taken = await flood(there, frame * 20, MOST)
        assert taken < MOST
        assert sum(anonymous(house.pid(f"worker-{n}")) for n in range(2)) - before < 16 << 20
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        for _ in range(taken // len(frame)):  # it was held, not lost
            assert await raw.frame() == frame
        raw.abort()
        there.abort()


async def test_a_sender_that_reads_none_of_our_answers_is_no_longer_read(house: House) -> None:
    empty = (12).to_bytes(4, "big") + tables.FWD.to_bytes(4, "big") + bytes(4)
    async with Raw.login(house, narrow=True, limit=1024) as raw, house.sender() as other:
        before = sum(anonymous(house.pid(f"worker-{n}")) for n in range(2))
        taken = await flood(raw, empty * 2000, MOST)
        assert taken < MOST
        assert sum(anonymous(house.pid(f"worker-{n}")) for n in range(2)) - before < 16 << 20
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        for _ in range(100_000):
            assert command_of(await raw.frame()) == tables.FWD | ANSWER
        raw.abort()
    assert len(house.log_lines("request refused")) < 300


async def test_a_refused_login_is_answered_although_more_was_sent(house: House) -> None:
    """A reset must not overtake the answer, neither ours nor the carrier's."""
    wrong = house.sender()
    wrong._secret = b"other"
    for connect, status in ((house.sender("900008").connect(), BAD_SOURCE), (wrong.connect(), BAD_SECRET)):
        async with Raw.open(house.port) as raw:
            raw.send(connect, submit(PASSING, [house.subscriber()], TEXT, 1) * 500)
            await asyncio.sleep(0.2)
            assert (await raw.frame())[12] == status


async def test_a_carrier_that_does_not_read_stops_the_sender(house: House) -> None:
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as raw,
        house.sender() as other,
    ):
        there = await carrier.session()
        there.writer.transport.pause_reading()
        before = sum(anonymous(house.pid(f"worker-{n}")) for n in range(2))
        subscriber = house.subscriber()
        sent = 0
        while sent < 200_000:
            raw.send(*(submit(PASSING, [subscriber], TEXT, number) for number in range(sent, sent + 500)))
            try:
                await asyncio.wait_for(raw.writer.drain(), 1.0)
            except TimeoutError:
                break
            sent += 500
        assert sent < 200_000
        assert sum(anonymous(house.pid(f"worker-{n}")) for n in range(2)) - before < 32 << 20
        assert (await other.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        there.writer.transport.resume_reading()
        frames = [await there.frame() for _ in range(1000)]
        assert list(map(sequence_of, frames)) == list(range(1000))
        raw.abort()
        there.abort()


def options_of(pid: int, port: int) -> list[dict[str, int]]:
    """Options of a process's TCP connections to or at this port, read from duplicates of its sockets."""
    system = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    found = []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if not str(entry.readlink()).startswith("socket:"):
                continue
            descriptor = system.syscall(438, pidfd, int(entry.name), 0)  # pidfd_getfd
            if descriptor < 0:
                pytest.skip("the kernel does not let us look at another process's sockets")
            with socket.socket(fileno=descriptor) as sock:
                if sock.family != socket.AF_INET or port not in _ports(sock):
                    continue
                found.append(
                    {
                        "keepalive": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        "nodelay": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        "user_timeout": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                        "idle": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    }
                )
    finally:
        os.close(pidfd)
    return found


def _ports(sock: socket.socket) -> set[int]:
    try:
        return {sock.getsockname()[1], sock.getpeername()[1]}
    except OSError:
        return set()


async def test_both_legs_have_keep_alive_and_a_user_timeout(house: House) -> None:
    async with house.sender():
        wanted = {"keepalive": 1, "nodelay": 1, "user_timeout": 30_000, "idle": 60}
        for port in (house.port, house.carrier.port):
            found = [one for n in range(2) for one in options_of(house.pid(f"worker-{n}"), port)]
            assert found
            assert all(one == wanted for one in found)


# Ends


async def test_a_carrier_that_dies_ends_its_session(house: House) -> None:
    async with house.sender() as sender:
        frames = [sender.frames(PASSING, [house.subscriber()], TEXT)[0] for _ in range(10)]
        house.carrier.faults.drop_every = 3
        answers = await asyncio.gather(*(sender.request(frame) for frame in frames))
        assert sender.cause is not None
        assert [answer.result for answer in answers].count(None) >= 7
    assert not house.log_lines("a callback")
    async with house.sender() as sender:
        house.carrier.faults.drop_every = 0
        assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0


async def test_a_sender_that_dies_still_has_sent_what_was_recorded(house: House) -> None:
    subscribers = [house.subscriber() for _ in range(50)]
    async with RawCarrier(house.upstreams.raw) as carrier:
        async with Raw.login(house, "900014") as raw:
            there = await carrier.session()
            raw.send(*(submit(PASSING, [s], TEXT, n) for n, s in enumerate(subscribers)))
            await raw.writer.drain()
        frames = await there.rest()
    recorded = [house.reasons(subscriber=subscriber) for subscriber in subscribers]
    assert len(frames) <= recorded.count([""])
    assert all(reasons in ([], [""]) for reasons in recorded)


@pytest.mark.long
@pytest.mark.parametrize("source", [PASSING, REFUSED])
async def test_peers_that_vanish_with_submits_at_the_disk_leave_no_connection_behind(
    house: House, source: str
) -> None:
    async with RawCarrier(house.upstreams.raw) as carrier:
        for who in ("sender", "carrier", "both") * 5:
            async with Raw.login(house, "900014") as raw:
                there = await carrier.session()
                raw.send(*(submit(source, [house.subscriber()], TEXT, n) for n in range(20)))
                await raw.writer.drain()
                await asyncio.sleep(0.002)
                if who != "carrier":
                    raw.abort()
                if who != "sender":
                    there.abort()
                await asyncio.gather(raw.rest(), there.rest())

    async def nobody() -> bool:
        return await house.metric("sessions", protocol="cmpp") == 0

    await eventually(nobody)


SESSIONS = 2000
MOST_PER_SESSION = 32 << 10
"""Octets of anonymous memory of an idle session, both legs."""


@pytest.mark.long
async def test_two_thousand_idle_sessions_are_nothing_special(house: House) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * SESSIONS), hard))
    workers = [house.pid(f"worker-{n}") for n in range(2)]
    before = sum(map(anonymous, workers))
    accounts = ("900001", "900003", "900007", "900012")
    try:
        async with contextlib.AsyncExitStack() as stack:
            sessions = []
            for first in range(0, SESSIONS, 50):
                logins = (
                    stack.enter_async_context(Raw.login(house, accounts[n % len(accounts)]))
                    for n in range(first, first + 50)
                )
                sessions += await asyncio.gather(*logins)
            assert len(house.carrier.ends) == SESSIONS

            async def shown() -> bool:
                return await house.metric("sessions", protocol="cmpp", side="carrier") == SESSIONS

            await eventually(shown)
            assert (sum(map(anonymous, workers)) - before) / SESSIONS < MOST_PER_SESSION
            for raw in sessions[::100]:
                began = time.monotonic()
                raw.send(submit(PASSING, [house.subscriber()], TEXT, 1))
                assert (await raw.frame())[20] == 0
                assert time.monotonic() - began < 1.0
            for raw in sessions:
                raw.abort()

            async def nobody() -> bool:
                return await house.metric("sessions", protocol="cmpp") == 0

            await eventually(nobody)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_connection_is_left_behind(house: House) -> None:
    def left() -> list[dict[str, int]]:
        roles = ("acceptor", "worker-0", "worker-1")
        ports = (house.port, house.carrier.port, house.upstreams.raw, house.upstreams.second)
        return [one for role in roles for port in ports for one in options_of(house.pid(role), port)]

    await eventually(lambda: not left())


async def test_what_was_counted_is_what_was_recorded(house: House) -> None:
    await house.counts_are_true()


async def test_the_node_never_said_anything_worse_than_info(house: House) -> None:
    """Nothing that peers did above was an error of ours."""
    output = (house.directory / "output").read_text("utf-8", "replace")
    assert "Traceback" not in output, output
    assert [line for line in house.log_lines() if line["level"] != "info"] == []
