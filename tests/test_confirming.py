"""Who refuses, or accepts again, is told so once; the sender by whose connection that goes sees nothing."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio
import world
from asker import Asker
from conftest import HouseOf
from playbook import BANNED, MARKETING, TEXT, House, eventually, refresh
from raw_ends import Raw, RawCarrier, answer_to, command_of, deliver, sequence_of, submit
from test_journal import Failing, make
from test_rules import PROFILE

from gateway.evidence import record as rec
from gateway.model import Reply
from gateway.protocols import cmpp_tables as tables
from gateway.protocols.cmpp import V20, V30, Cmpp
from gateway.protocols.message import Delivery
from gateway.relay.confirming import Confirmations
from gateway.relay.lane import FIRST_OWN
from gateway.telemetry import Telemetry

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = "您已退订，我们不再向您发送营销信息"
AGAIN = "您已恢复接收，如需退订请回复R"
PASSING = MARKETING + "0001"
SPOKEN = "9551112"
"""A number for SMS and for calls."""
NUMBERS = f"""
number,extension_digits,channels,purposes,institution,agency,signatures,effective_from,effective_until
{SPOKEN},0,sms;voice,marketing,BANK,,示例银行,2024-01-01,
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    environment = {
        "ZHENGMING__POLICY__CONFIRMATION": WORDS,
        "ZHENGMING__POLICY__CONFIRMATION_ACCEPTED": AGAIN,
    }
    async with house_of(environment=environment) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


def attempts(house: House, subscriber: str) -> list[tuple[str, str]]:
    """(verdict's sub-code, purpose) of what is on record to a subscriber, in order."""
    records = [one.record for one in house.records(subscriber=subscriber)]
    return [(one.judged.sub, one.judged.purpose) for one in records if isinstance(one, rec.Attempt)]


def outcomes(house: House, identity: bytes) -> list[int]:
    found = [one.record for one in house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))]
    return [one.result for one in found if isinstance(one, rec.Outcome) and one.attempt == identity]


def accepting(subscriber: str, number: int) -> bytes:
    """The subscriber's "accept again"."""
    return deliver(PASSING, subscriber, "恢复订阅".encode("utf-16-be"), number, msg_fmt=8)


async def accept(raw: Raw, there: Raw, subscriber: str, number: int) -> bytes:
    """As `refuse`, with an "accept again"."""
    reply = accepting(subscriber, number)
    there.send(reply)
    assert await raw.frame() == reply
    return await there.frame()


def text_of(octets: bytes) -> str:
    """Of a SUBMIT of CMPP 2.0."""
    return tables.Submit.decode(octets, 12, len(octets), 0).msg_content.decode("utf-16-be")


async def refuse(raw: Raw, there: Raw, subscriber: str, number: int, version: int = V20) -> bytes:
    """The subscriber says R; the sender gets it, the carrier our confirmation, which is the value."""
    reply = deliver(PASSING, subscriber, b"R", number, version)
    there.send(reply)
    assert await raw.frame() == reply
    return await there.frame()


@pytest.mark.parametrize("version", [V20, V30])
async def test_who_refuses_is_told_once_from_the_number_that_he_answered(house: House, version: int) -> None:
    subscriber = house.subscriber()
    first = submit(PASSING, [subscriber], TEXT, 1, version, fee_code=b"000010")
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014", version) as raw:
        there = await carrier.session()
        raw.send(first)
        assert await there.frame() == first
        there.send(answer_to(first, 7, 0, version))
        await raw.frame()
        octets = await refuse(raw, there, subscriber, 5, version)
        assert (command_of(octets), sequence_of(octets)) == (tables.SUBMIT, FIRST_OWN)
        told = tables.Submit.decode(octets, 12, len(octets), int(version == V30))
        assert (told.src_id, told.dest_terminal_id) == (PASSING.encode(), [subscriber.encode()])
        assert (told.registered_delivery, told.pk_total, told.pk_number, told.msg_fmt) == (0, 1, 1, 8)
        assert told.msg_content.decode("utf-16-be") == f"【示例银行】{WORDS}"
        assert (told.service_id, told.fee_code) == (b"RAW", b"000010")  # as the sender's own
        there.send(answer_to(octets, 8, 0, version), Cmpp.heartbeat(6))
        assert await raw.frame() == Cmpp.heartbeat(6)  # the answer was to us
        there.send(again := deliver(PASSING, subscriber, b"R", 7, version))
        assert await raw.frame() == again
        raw.send(Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)  # nothing else: told already
    assert attempts(house, subscriber) == [("", "marketing"), ("confirmation", "service")]
    marketing, ours = house.records(subscriber=subscriber)
    assert await eventually(lambda: outcomes(house, ours.record.id)) == [0]  # type: ignore[union-attr]
    assert ours.content is not None
    assert ours.content.octets == told.msg_content
    replies: list[Any] = [one.record for one in house.records(rec.Reply, subscriber=subscriber)]
    assert [one.attempt for one in replies] == [marketing.record.id] * 2  # type: ignore[union-attr]
    await house.counts_are_true()


async def test_the_sender_may_use_the_number_that_ours_has(house: House) -> None:
    """Its frames go on under others, and are answered under its own; afterwards nothing is touched."""
    subscriber, other, third = (house.subscriber() for _ in range(3))
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        octets = await refuse(raw, there, subscriber, 5)
        number = sequence_of(octets)
        theirs = submit(PASSING, [other], TEXT, number)
        raw.send(submit(BANNED, [third], TEXT, number))
        refused = await raw.frame()
        assert (sequence_of(refused), refused[20]) == (number, 103)
        raw.send(theirs, Cmpp.heartbeat(number))
        passed, beat = await there.frames(2)
        raw.send(theirs)
        repeated = await there.frame()
        assert (passed[:8], passed[12:]) == (theirs[:8], theirs[12:])
        assert repeated == passed
        assert len({number, sequence_of(passed), sequence_of(beat)}) == 3
        there.send(answer_to(octets, 8), answer_to(passed, 9), Cmpp.heartbeat_answer(sequence_of(beat)))
        assert await raw.frames(2) == [answer_to(theirs, 9), Cmpp.heartbeat_answer(number)]
        raw.send(theirs)
        assert await raw.frame() == answer_to(theirs, 9)  # known, and answered as before
        raw.send(fresh := submit(PASSING, [other], TEXT + "！", number))
        assert await there.frame() == fresh
    (ours,) = house.records(subscriber=subscriber)
    passed_on = house.records(subscriber=other)
    for found in (ours, passed_on[0]):
        assert await eventually(lambda found=found: outcomes(house, found.record.id)) == [0]


async def test_an_answer_to_what_the_sender_asked_before_is_the_senders(house: House) -> None:
    """Its heartbeat was under way by the number that ours then took."""
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(Cmpp.heartbeat(FIRST_OWN))
        assert await there.frame() == Cmpp.heartbeat(FIRST_OWN)
        octets = await refuse(raw, there, house.subscriber(), 5)
        assert sequence_of(octets) == FIRST_OWN
        there.send(Cmpp.heartbeat_answer(FIRST_OWN), answer_to(octets, 8), Cmpp.heartbeat(9))
        assert await raw.frames(2) == [Cmpp.heartbeat_answer(FIRST_OWN), Cmpp.heartbeat(9)]


async def test_a_number_that_may_not_send_does_not_confirm(house: House) -> None:
    """It is on record that the subscriber was not told."""
    subscriber = house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        there.send(reply := deliver(BANNED, subscriber, b"R", 5))
        assert await raw.frame() == reply
        raw.send(Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)
    await eventually(lambda: attempts(house, subscriber) == [("confirmation_unsent", "service")])


async def test_nothing_of_ours_follows_the_senders_goodbye(house: House) -> None:
    """Replies that the carrier still has come through; that nobody confirmed them is on record."""
    subscriber = house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(goodbye := Cmpp.terminate(1))
        assert await there.frame() == goodbye
        there.send(reply := deliver(PASSING, subscriber, b"R", 5))
        assert await raw.frame() == reply
        assert await eventually(lambda: attempts(house, subscriber)) == [("confirmation_unsent", "service")]
        there.send(thanks := Cmpp.terminate_answer(1))
        assert await raw.frame() == thanks
        raw.send(Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)
    (ours,) = house.records(subscriber=subscriber)
    assert not outcomes(house, ours.record.id)  # type: ignore[union-attr]


async def test_another_connection_of_the_account_confirms(house: House) -> None:
    """Where that on which the reply came has said goodbye."""
    subscriber = house.subscriber()
    async with (
        RawCarrier(house.upstreams.raw) as carrier,
        Raw.login(house, "900014") as staying,
        Raw.login(house, "900014") as going,
    ):
        there, over_there = await carrier.session(), await carrier.session()
        going.send(goodbye := Cmpp.terminate(1))
        assert await over_there.frame() == goodbye
        over_there.send(reply := deliver(PASSING, subscriber, b"R", 5))
        assert await going.frame() == reply
        ours = await there.frame()
        assert (command_of(ours), sequence_of(ours)) == (tables.SUBMIT, FIRST_OWN)
        there.send(answer_to(ours, 8), Cmpp.heartbeat(6))
        assert await staying.frame() == Cmpp.heartbeat(6)
    assert attempts(house, subscriber) == [("confirmation", "service")]


async def test_who_accepted_again_and_refuses_again_is_told_again(house: House) -> None:
    subscriber = house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        first = await refuse(raw, there, subscriber, 5)
        there.send(answer_to(first, 8))
        accepted = await accept(raw, there, subscriber, 6)
        assert (command_of(accepted), text_of(accepted)) == (tables.SUBMIT, f"【示例银行】{AGAIN}")
        there.send(answer_to(accepted, 9), again := accepting(subscriber, 7))
        assert await raw.frame() == again
        raw.send(Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)  # nothing else: he was not refused any more
        second = await refuse(raw, there, subscriber, 8)
        assert (command_of(second), text_of(second)) == (tables.SUBMIT, f"【示例银行】{WORDS}")
        there.send(answer_to(second, 10), old := accepting(subscriber, 6))  # delivered again, and long over
        assert await raw.frame() == old
        raw.send(Cmpp.heartbeat(3))
        assert await there.frame() == Cmpp.heartbeat(3)
        marked = house.records(subscriber=subscriber)
        await eventually(lambda: [told(house, one) for one in marked] == [[0], [0], [0]])


async def test_who_had_refused_nothing_is_not_told_that_he_accepted(house: House) -> None:
    subscriber = house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        there.send(accepts := accepting(subscriber, 5))
        assert await raw.frame() == accepts
        raw.send(Cmpp.heartbeat(2))
        assert await there.frame() == Cmpp.heartbeat(2)
    assert attempts(house, subscriber) == []


async def test_one_who_accepts_after_the_senders_goodbye_is_on_record_as_untold(house: House) -> None:
    subscriber = house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        there.send(answer_to(await refuse(raw, there, subscriber, 5), 8))
        raw.send(goodbye := Cmpp.terminate(1))
        assert await there.frame() == goodbye
        there.send(accepts := accepting(subscriber, 6))
        assert await raw.frame() == accepts
        untold = [("confirmation", "service"), ("confirmation_unsent", "service")]
        assert await eventually(lambda: attempts(house, subscriber) == untold)


async def test_a_key_press_is_confirmed_where_the_number_may_send(house: House) -> None:
    """Once; by a number that is for calls alone, or without a session, it is on record as unsent."""
    subscriber, other = house.subscriber(), house.subscriber()
    async with RawCarrier(house.upstreams.raw) as carrier, aiohttp.ClientSession() as client:
        ask = Asker(house, client)

        async def call(to: str) -> dict[str, Any]:
            body = {"channel": "voice", "account": "900014", "source": SPOKEN, "destination": to}
            found: dict[str, Any] = (await ask("bank", "/attempts", body)).body
            return found

        async def passes() -> bool:
            return (await call(house.subscriber()))["verdict"] == "pass"

        called: dict[str, str] = {}

        async def press(to: str) -> None:
            called[to] = called.get(to) or (await call(to))["id"]
            body = {"account": "900014", "source": SPOKEN, "subscriber": to, "key": "9", "call": called[to]}
            said = await ask("bank", "/voice/refusals", body)
            assert (said.status, said.body["verified"]) == (201, True)

        await house.bring("numbers", NUMBERS)
        await eventually(passes)

        async with Raw.login(house, "900014") as raw:
            there = await carrier.session()
            await press(subscriber)
            octets = await there.frame()
            told = tables.Submit.decode(octets, 12, len(octets), 0)
            assert (told.src_id, told.dest_terminal_id) == (SPOKEN.encode(), [subscriber.encode()])
            assert text_of(octets) == f"【示例银行】{WORDS}"
            there.send(answer_to(octets, 8))
            await press(subscriber)
            raw.send(Cmpp.heartbeat(2))
            assert await there.frame() == Cmpp.heartbeat(2)
        await press(other)
    calls = [("", "marketing")]
    assert attempts(house, subscriber) == [*calls, ("confirmation", "service")]
    assert await eventually(lambda: attempts(house, other) == [*calls, ("confirmation_unsent", "service")])


def told(house: House, found: Any) -> list[int]:
    return outcomes(house, found.record.id)


class Line:
    """A connection to a carrier that keeps what it is given."""

    connection, retired = 7, False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.withdrawn = 0
        self.holds = 21  # octets of an address

    def confirmation(self, reply: Delivery, content: bytes) -> tuple[int, bytes]:
        if len(reply.subscriber) > self.holds:
            raise ValueError("too long")
        return 41, content

    def transmit(self, number: int, octets: bytes, identity: bytes) -> None:
        self.sent.append(octets)

    def withdraw(self, number: int) -> None:
        self.withdrawn += 1


class Known(world.World):
    """What a worker's view has besides."""

    def renew(self) -> None: ...


async def test_what_a_full_disk_took_no_record_of_is_owed(tmp_path: Path) -> None:
    """Neither sent nor forgotten: the number is free again, and the next refusal is confirmed, once."""
    disk, line, good = Failing(), Line(), world.good()
    view = Known(
        good.accounts, good.filings, [], good.institutions, refused={world.SUBSCRIBER: [world.REFUSAL]}
    )
    journal = make(tmp_path, disk=disk)
    screen = SimpleNamespace(view=view, profile=PROFILE, journal=journal)
    regions, log = SimpleNamespace(region=lambda subscriber: ""), logging.getLogger(__name__)
    desk = Confirmations("n", cast(Any, screen), cast(Any, regions), Telemetry(), log, {"refuse": WORDS})
    desk.join(world.KEY, line)
    reply = Reply(world.KEY, world.SOURCE, world.SUBSCRIBER, "R", "refuse", institution=world.BANK)
    delivery = Delivery(b"m", b"13800000001", world.SOURCE.encode(), 0, False, b"R", None)
    journal.start()
    view.refused.clear()
    assert desk.wants(reply)
    assert not desk.wants(reply)  # it waits for the first
    view.refused[world.SUBSCRIBER] = [world.REFUSAL]
    disk.fail = lambda call: OSError(errno.ENOSPC, "full") if call == "write" else None
    desk.settle(reply, delivery, held=True)
    await eventually(lambda: line.withdrawn == 1)  # found full when it was written
    assert desk.wants(reply)
    desk.settle(reply, delivery, held=True)
    assert line.withdrawn == 2  # known to be full
    assert not line.sent
    disk.fail = lambda call: None
    await eventually(lambda: not journal.full)
    assert desk.wants(reply)
    desk.settle(reply, delivery, held=True)
    await eventually(lambda: line.sent)
    assert not desk.wants(reply)
    line.holds = 3
    desk.settle(replace(reply, subscriber="+8613800000002"), delivery, held=True)  # it is on record as unsent
    assert len(line.sent) == 1
    desk.leave(world.KEY, line)
    assert line.retired
    await journal.close()


@pytest.mark.long
async def test_a_drain_waits_for_the_answer_to_ours_and_makes_no_more(house: House) -> None:
    first, second, third = (house.subscriber() for _ in range(3))
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        ours = await refuse(raw, there, first, 5)
        stopping = asyncio.create_task(house.stop())
        refused = [103]
        while refused[-1] == 103:  # until it says busy, as it drains
            raw.send(submit(BANNED, [third], TEXT, len(refused)))
            refused.append((await raw.frame())[20])
        assert refused[-1] == 8
        there.send(reply := deliver(PASSING, second, b"R", 6))
        assert await raw.frame() == reply
        raw.send(Cmpp.heartbeat(900))
        assert await there.frame() == Cmpp.heartbeat(900)  # neither a goodbye nor a submit before it
        there.send(answer_to(ours, 8))
        goodbye = await there.frame()
        assert command_of(goodbye) == command_of(await raw.frame()) == tables.TERMINATE
        there.send(Cmpp.terminate_answer(sequence_of(goodbye)))
        await raw.hang_up()
        assert await stopping == 0
    assert attempts(house, second) == [("confirmation_unsent", "service")]
    (told_first,) = house.records(subscriber=first)
    assert told(house, told_first) == [0]
    await house.start()
