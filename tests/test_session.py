"""A session at its edges, from outside: logins that can't be served, repeats, halves, goodbyes.

`test_relay.py` has the sentences of the design; here stands what was found wrong beside them once.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, HOST, MARKETING, SECRET, SERVICE, TEXT, House, eventually, refresh
from raw_ends import Raw, RawCarrier, answer_to, command_of, deliver, sequence_of, submit

from gateway.config import Sms
from gateway.evidence import record as rec
from gateway.model import AccountKey
from gateway.protocols.cmpp import V20, V30, Cmpp
from gateway.protocols.cmpp_tables import ANSWER, SUBMIT, TERMINATE
from gateway.protocols.message import Login
from gateway.relay import handoff
from gateway.relay import login as relay_login
from gateway.relay.acceptor import MOST_WAITING
from gateway.relay.lane import FIRST_OWN, MOST_IN_LANE
from gateway.relay.leg import Leg
from gateway.relay.memory import UNANSWERED_SWEEPS, Submit
from gateway.relay.session import Session
from gateway.relay.worker import Worker
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import LoginRefused, SenderSim
from gateway.telemetry import Telemetry

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = 5
PASSING = MARKETING + "0001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(extra=("900016",)) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


async def change(house: House, query: str, *values: Any) -> None:
    """A statement on the registry, and the wait until workers judge by it."""
    before = await house.metric("registry_version")
    house.sql(query, *values)
    ((newest,),) = house.sql("SELECT max(seq) FROM change_log")  # or an earlier change would be taken for it

    async def seen() -> bool:
        return await house.metric("registry_version") >= max(newest, before + 1)

    await eventually(seen)


def alone() -> tuple[Session, Leg, Leg]:
    """A session without a node, its sender's leg and its carrier's; what it writes goes nowhere."""
    sender, carrier = Leg(), Leg()
    for leg in (sender, carrier):
        leg.connection_made(transport := Mock())
        transport.is_closing.return_value, transport.get_write_buffer_size.return_value = False, 0
        transport.write.return_value = None  # as what is compiled wants it
    desk = SimpleNamespace(telemetry=Telemetry(), log=logging.getLogger("alone"), parts=None)
    login = Login("900001", V20, b"", 0)
    key = AccountKey("T", "cmpp", "900001")
    return Session(cast("Any", desk), Cmpp(), key, 1, sender, carrier, login), sender, carrier


# Login


async def test_an_upstream_that_is_no_address_is_passed_over_and_named_in_the_log(house: House) -> None:
    """What stands in the registry by somebody's SQL must not hang a login, nor hide the next upstream."""
    second = f"{HOST}:{house.upstreams.second}"
    file = "UPDATE accounts SET upstream = %s WHERE account = '900016'"
    async with CarrierSim(HOST, house.upstreams.second) as carrier:
        await change(house, file, ["10.0.0.5", f"{'x' * 70}:80", "[::1:22]", second])
        async with house.sender("900016", V30) as sender:
            assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        assert carrier.counts["submits"] == 1
    await change(house, file, ["10.0.0.5", second])
    async with house.counted("connections_closed_total", cause="no_upstream"):
        with pytest.raises(LoginRefused) as caught:
            async with house.sender("900016", V30):
                pass
    await change(house, file, [])
    assert caught.value.status == OTHER
    (line,) = house.log_lines("login refused", account="900016")
    assert line["detail"].startswith("10.0.0.5: host:port, such as")
    assert second in line["detail"]


async def test_an_upstream_that_is_this_node_is_refused_and_named(house: House) -> None:
    """Each login would ask the next one, until no descriptor is left for anybody."""
    file = "UPDATE accounts SET upstream = %s WHERE account = '900016'"
    await change(house, file, [f"{HOST}:{house.port}"])
    async with house.counted("connections_closed_total", cause="upstream_is_ourselves"):
        with pytest.raises(LoginRefused) as caught:
            async with house.sender("900016"):
                pass
    await change(house, file, [])
    assert caught.value.status == OTHER


@pytest.mark.parametrize(("port", "cause"), [(7890, "upstream_is_ourselves"), (7891, "no_upstream")])
async def test_who_comes_from_the_port_of_a_connection_of_ours_is_not_always_we(
    port: int, cause: str
) -> None:
    """A kernel gives the same port to two connections of one machine, as long as their other ends differ."""
    end = (HOST, 40_000)
    sms = Sms.model_validate({"listen": f"{HOST}:7890", "protocol": "cmpp"})
    with pytest.raises(relay_login.LoginRefused) as caught:
        await relay_login.ask_carrier(Cmpp(), b"", sms, None, end, {(end, (HOST, port))}, None)
    assert caught.value.cause == cause


async def test_logins_under_way_are_bounded_for_an_address_and_for_a_worker() -> None:
    """Each is a connection to a carrier, and whoever can connect can begin one."""
    logins = relay_login.Logins()
    with contextlib.ExitStack() as stack:
        for number in range(relay_login.MOST_LOGINS):
            address = f"192.0.2.{number // relay_login.MOST_LOGINS_OF_ONE}"
            stack.enter_context(logins.under_way(address, Cmpp))
        for address, whose in (("192.0.2.0", "this address"), ("192.0.2.200", "this worker")):
            with pytest.raises(relay_login.LoginRefused, match="too_many_logins") as caught:
                stack.enter_context(logins.under_way(address, Cmpp))
            assert (caught.value.status, caught.value.detail.endswith(whose)) == (OTHER, True)
    with logins.under_way("192.0.2.0", Cmpp):
        assert logins._from == {"192.0.2.0": 1}


async def test_very_many_who_are_turned_away_get_their_answer_and_are_not_waited_for() -> None:
    logins = relay_login.Logins()
    logins._turned_away = relay_login.MOST_TURNED_AWAY
    here, there = socket.socketpair()
    here.setblocking(False)
    with there:
        async with asyncio.timeout(relay_login.TURN_AWAY_SECONDS / 2):
            await logins.turn_away(here, b"no")
        assert (there.recv(9), there.recv(9)) == (b"no", b"")
    assert logins._turned_away == relay_login.MOST_TURNED_AWAY


async def test_one_login_too_many_gets_its_answer_and_asks_no_carrier() -> None:
    sms = Sms.model_validate({"listen": f"{HOST}:7890", "protocol": "cmpp", "upstream": [f"{HOST}:1"]})
    said: list[str] = []
    full = Mock()
    full.under_way.side_effect = relay_login.LoginRefused(OTHER, "too_many_logins")
    worker = SimpleNamespace(
        **{"listeners": (sms,), "_carrier": "T", "_connections": Counter(), "_filed": lambda *_: None},
        **{"_draining": asyncio.Event(), "_tls": [None], "_asking": set(), "_logins": full},
        **{"_telemetry": Telemetry(), "_note": lambda *words: said.append(words[3])},
    )
    frame = SenderSim(HOST, 1, "900001", SECRET).connect()
    arrival = handoff.Arrival(Mock(), 0, ("192.0.2.1", 4000), frame)
    answer = await Worker._relay(cast("Any", worker), arrival)
    assert (answer[4:8], answer[12], said) == (bytes.fromhex("80000001"), OTHER, ["too_many_logins"])
    full.under_way.assert_called_once_with("192.0.2.1", Cmpp)
    assert not worker._connections


async def test_a_connection_whose_descriptor_did_not_come_is_counted_and_the_next_one_is_taken() -> None:
    """So it is at the limit of open files: the kernel delivers the message and drops what it carried."""
    acceptor, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with acceptor, channel, socket.socket() as connection:
        handoff.send(acceptor, handoff.Arrival(connection, 0, ("192.0.2.1", 4000), b"login"))
        message, descriptors, _, _ = socket.recv_fds(channel, handoff.MOST, 1)
        socket.close(descriptors[0])
        acceptor.send(message)
        worker = Mock(listeners=[SimpleNamespace(protocol="cmpp")])
        Worker._arrivals(worker, channel)
        worker._telemetry.closed.labels.assert_called_once_with("cmpp", "no_descriptor")
        ((_, logged),) = worker._log.warning.call_args_list
        assert logged["extra"]["fields"]["peer"] == "192.0.2.1"
        handoff.send(acceptor, handoff.Arrival(connection, 0, ("192.0.2.1", 4001), b"login"))
        arrival = handoff.receive(channel)
        assert arrival is not None
        assert (arrival.peer[1], arrival.first) == (4001, b"login")
        arrival.connection.close()


async def test_a_login_that_can_not_be_read_is_answered_although_more_was_sent(house: House) -> None:
    cut = house.sender().connect()[:38]
    async with Raw.open(house.port) as raw:
        raw.send(b"\0\0\0\x26" + cut[4:], Cmpp.heartbeat(2) * 10_000)
        answer = await raw.frame()
        assert (len(answer), answer[12]) == (30, 1)
        assert await raw.rest() == []
    (line,) = await eventually(lambda: house.log_lines("before login", cause="truncated_body"))
    assert line["detail"] == "Timestamp"


@pytest.mark.long
async def test_silent_connections_keep_nobody_out(house: House) -> None:
    """However many: the one that has waited longest makes room."""
    async with contextlib.AsyncExitStack() as stack:
        async with house.counted("connections_closed_total", 20, cause="too_many_logins"):
            for _ in range(MOST_WAITING + 20):
                silent = stack.enter_context(socket.create_connection((HOST, house.port)))
            async with house.sender() as sender:
                assert (await sender.submit(PASSING, [house.subscriber()], TEXT)).result == 0
        silent.sendall(house.sender().connect(1))
        assert silent.recv(64)[:12] == bytes.fromhex("0000001e8000000100000001")


# Repeats


@pytest.mark.parametrize("version", [V20, V30])
async def test_a_repeat_after_the_answer_gets_it_again_and_reaches_nobody(house: House, version: int) -> None:
    """Otherwise who has sent once could go on sending to a subscriber who has refused since, unjudged."""
    subscriber = house.subscriber()
    frame, other = (submit(PASSING, [subscriber], TEXT, number, version) for number in (1, 2))
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014", version) as raw,
    ):
        there = await carrier.session()
        raw.send(frame)
        assert await there.frame() == frame
        accepted = answer_to(frame, 77, 0, version)
        there.send(accepted)
        assert await raw.frame() == accepted
        there.send(reply := deliver(PASSING, subscriber, b"R", 9, version))
        assert await raw.frame() == reply
        raw.send(frame, frame, Cmpp.heartbeat(3))
        assert await raw.frames(2) == [accepted, accepted]
        assert await there.frame() == Cmpp.heartbeat(3)
        raw.send(other)
        assert int.from_bytes((await raw.frame())[20:], "big") == 110
    assert house.reasons(subscriber=subscriber) == ["", "refused_by_subscriber"]


async def test_what_the_carrier_did_not_accept_is_judged_anew_when_it_comes_again(house: House) -> None:
    """Result 8 asks for a new number; senders that keep the old one are served too."""
    subscriber = house.subscriber()
    frame = submit(PASSING, [subscriber], TEXT, 1)
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        for result in (8, 0):
            raw.send(frame)
            assert await there.frame() == frame
            there.send(answer := answer_to(frame, 77, result))
            assert await raw.frame() == answer
    assert house.reasons(subscriber=subscriber) == ["", ""]


async def test_who_waits_for_nothing_but_what_is_never_answered_is_read_on() -> None:
    """A confirmation of ours that the carrier leaves unanswered keeps no drain waiting either."""
    session, sender, _ = alone()
    session._own.transmit(session._own.choose(SUBMIT), b"ours", b"id")
    lost = Submit((0, 9, SUBMIT, 1), 7, None)
    lost.durable = True
    session.memory.add(lost, None)
    session._stops.stop("window")
    for _ in range(UNANSWERED_SWEEPS):
        session.sweep()
    assert (session.memory.waiting, session._own.awaits) == (1, True)
    session.sweep()
    assert (session.memory.waiting, session._own.awaits) == (0, False)
    cast("Mock", sender.transport).resume_reading.assert_called_once()
    assert session._own.answer(SUBMIT | ANSWER, FIRST_OWN) is None  # late, it still reaches nobody


async def test_who_fills_a_lane_is_not_read_until_it_drains() -> None:
    """The disk stalls, and behind one submit, or reply, queries and heartbeats come without end."""
    session, sender, carrier = alone()
    for lane, filling, other in (
        (session._to_carrier, sender, carrier),
        (session._to_sender, carrier, sender),
    ):
        place = lane.hold()
        lane.send(bytes(MOST_IN_LANE))
        assert (filling._causes, other._causes) == ({"lane"}, set())
        place.fill(b"")
        assert filling._causes == set()
    place = session._to_sender.hold()
    session._to_sender.send(bytes(MOST_IN_LANE))
    session._answer([b"no"])
    assert sender._causes == {"unread"}
    place.fill(b"")
    assert sender._causes == set()


# Replies


async def test_a_reply_is_read_as_an_answer_to_the_message_before_it(house: House) -> None:
    """回D退订 makes a refusal of D, and a question with Y and N none of N; so does nothing that another node
    sent."""
    offered, asked, strange = (house.subscriber() for _ in range(3))
    texts = {
        offered: "【示例银行】您的权益已到账，回D退订",
        asked: "【示例银行】是否本人办理？确认回Y，否则回N",
    }
    frames = [
        submit(SERVICE + "0001", [to], text, number)
        for number, (to, text) in enumerate(texts.items(), 1)
    ]  # fmt: skip
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(*frames)
        assert await there.frames(2) == frames
        said = [
            (offered, "D"),
            (offered, "恢复订阅"),
            (asked, "N"),
            (strange, "D"),
            (strange, "N"),
            (asked, "退订"),
        ]
        replies = [
            deliver(SERVICE + "0001", who, text.encode("utf-16-be"), number, msg_fmt=8)
            for number, (who, text) in enumerate(said, 11)
        ]
        there.send(*replies, Cmpp.heartbeat(20))
        assert await raw.frames(len(replies) + 1) == [*replies, Cmpp.heartbeat(20)]  # none overtook another
    found = [one for who in texts.keys() | {strange} for one in house.records(rec.Reply, subscriber=who)]
    found.sort(key=lambda one: one.index)
    meanings = [one.record.meaning for one in found]  # type: ignore[union-attr]
    assert meanings == ["refuse", "accept", "other", "ambiguous", "refuse", "refuse"]


async def test_a_campaign_brings_its_replies_in_order_and_fast(house: House) -> None:
    """Each looks its message up: 300 replies in one write, no session waits for them."""
    people = [house.subscriber() for _ in range(300)]
    frames = [submit(PASSING, people[at : at + 50], TEXT, at + 1) for at in range(0, 300, 50)]
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(*frames)
        assert await there.frames(len(frames)) == frames
        replies = [deliver(PASSING, who, b"R", number) for number, who in enumerate(people, 1000)]
        began = time.monotonic()
        there.send(*replies)
        assert await raw.frames(len(replies)) == replies
        assert time.monotonic() - began < 5.0
    refused = house.records(rec.Reply, since=house.records(subscriber=people[0])[0].record.at)  # type: ignore[union-attr]
    assert [one.record.meaning for one in refused] == ["refuse"] * 300  # type: ignore[union-attr]


# Filing


async def test_a_changed_filing_of_the_account_holds_on_connections_that_stand(house: House) -> None:
    """They stand for weeks; how a refusal is said, and what becomes of several recipients, is not theirs."""
    refused = "13800009999"
    async with house.sender("900016") as sender:
        assert (await sender.submit(BANNED, [house.subscriber()], TEXT, report=True)).result == 103
        assert (await sender.submit(PASSING, [house.subscriber(), refused], TEXT)).result == 110
        manners = "UPDATE accounts SET refusal_manner = %s, mass_manner = %s WHERE account = '900016'"
        await change(house, manners, "report", "reduce")
        accepted = await sender.submit(BANNED, [house.subscriber()], TEXT, report=True)
        assert accepted.result == 0
        assert (await sender.report_of(accepted.message_id)).stat == b"REJECTD"
        assert (await sender.submit(PASSING, [house.subscriber(), refused], TEXT)).result == 0
    assert len(house.carrier.submits) == 1


# Halves


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_a_frame_that_does_not_go_on_ends_its_connection_within_a_minute(house: House) -> None:
    """One of each side; a frame that comes slowly, and a reader that is slow, are left in peace."""
    frame = submit(PASSING, [house.subscriber()], TEXT, 1)
    slow = deliver(PASSING, house.subscriber(), bytes(100), 9)
    async with (
        house.counted("connections_closed_total", 2, protocol="cmpp", cause="half_frame"),
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as half,
        Raw.login(house, "900014") as other,
        Raw.login(house, "900014") as dripping,
    ):
        halves, others, drips = [await carrier.session() for _ in range(3)]
        half.send(frame[:100])
        others.send(slow[:11])
        began = time.monotonic()
        ends = asyncio.gather(half.rest(90), halves.rest(90), other.rest(90), others.rest(90))
        place = 0
        while not ends.done():
            dripping.send(frame[place : place + 1])
            drips.send(slow[place : place + 1])
            place += 1
            await asyncio.wait({ends}, timeout=2.0)
        assert await ends == [[], [], [], []]
        assert 29 < time.monotonic() - began < 65
        dripping.send(frame[place:])
        assert await drips.frame() == frame
        drips.send(slow[place:])
        assert await dripping.frame() == slow


# Goodbyes


async def test_a_sender_that_only_reads_any_more_gets_its_answers(house: House) -> None:
    """And so the outcome of what it sent last is known."""
    passed, refused = house.subscriber(), house.subscriber()
    frames = [submit(PASSING, [passed], TEXT, 1), submit(BANNED, [refused], TEXT, 2)]
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(*frames)
        raw.writer.write_eof()
        assert await there.frame() == frames[0]
        assert (await raw.frame())[20] == 103
        there.send(answer := answer_to(frames[0], 7))
        assert await raw.rest() == [answer]
        assert await there.rest() == []
    (found,) = house.records(subscriber=passed)

    def results() -> list[int]:
        outcomes = house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))
        return [one.record.result for one in outcomes if one.record.attempt == found.record.id]  # type: ignore[union-attr]

    assert await eventually(results) == [0]


@pytest.mark.parametrize("carrier_closes", [True, False])
async def test_a_sender_that_leaves_with_its_goodbye_hears_the_carriers(
    house: House, carrier_closes: bool
) -> None:
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(submit(PASSING, [house.subscriber()], TEXT, 1), Cmpp.terminate(2))
        raw.writer.write_eof()
        first, second = await there.frames(2)
        there.send(answer_to(first, 7), Cmpp.terminate_answer(2))
        if carrier_closes:
            await there.hang_up()
        assert await raw.rest() == [answer_to(first, 7), Cmpp.terminate_answer(2)]
        assert second == Cmpp.terminate(2)


@pytest.mark.long
async def test_our_goodbye_takes_no_number_of_the_senders(house: House) -> None:
    """And a sender who says goodbye too, under the number that we chose, gets his own answer."""
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        stopping = asyncio.create_task(house.stop())
        ours, to_sender = await there.frame(), await raw.frame()
        assert command_of(ours) == command_of(to_sender) == TERMINATE
        raw.send(ours)
        theirs = await there.frame()
        assert command_of(theirs) == TERMINATE
        assert theirs != ours
        there.send(*(Cmpp.terminate_answer(sequence_of(frame)) for frame in (ours, theirs)))
        assert await raw.frame() == Cmpp.terminate_answer(sequence_of(ours))
        raw.send(Cmpp.terminate_answer(sequence_of(to_sender)))
        assert await asyncio.gather(raw.rest(), there.rest()) == [[], []]
        assert await stopping == 0
    await house.start()
