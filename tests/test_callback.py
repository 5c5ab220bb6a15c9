"""SGIP's carriers deliver on connections of their own: through a running node of two workers to senders that
listen, by the number a subscriber wrote to, or by the submit that is reported on."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import (
    BANNED,
    COLLECTING,
    COLLECTION,
    HOST,
    MARKETING,
    SECRET,
    TEXT,
    House,
    eventually,
    free_ports,
    refresh,
)

from gateway.evidence import record as rec
from gateway.protocols import sgip
from gateway.protocols import sgip_tables as tables
from gateway.protocols.sgip import Sgip
from gateway.relay.callback import MOST_SILENT, SILENT
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSING, COLLECTS, REFUSED = MARKETING + "0001", COLLECTION + "0001", BANNED + "0001"
PATIENCE, IDLE = 2.0, 0.5
CONFIRMED = "您已退订，我们不再向您发送营销信息"
HEAD = "carrier,protocol,account,holder,scope,refusal_manner,listener,callback"


@dataclasses.dataclass
class Scene:
    """A node before one carrier. Accounts: `bank` and `agent` share a callback port, `own` has its own,
    `late` wants refusals by report, `both` has one connection for both ways."""

    house: House
    carrier: CarrierSim
    port: int
    shared: str
    own: str
    listeners: dict[str, tuple[str, int]]

    @contextlib.asynccontextmanager
    async def sender(self, account: str = "bank", **settings: Any) -> AsyncIterator[SenderSim]:
        settings = {"called_at": self.listeners.get(account)} | settings
        async with SenderSim(HOST, self.port, account, SECRET, protocol="sgip", **settings) as sender:
            yield sender

    def replies(self, subscriber: str) -> list[Any]:
        return [one.record for one in self.house.records(rec.Reply, subscriber=subscriber)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(house_of: HouseOf) -> AsyncIterator[Scene]:
    port, shared, own, *listening = free_ports(7)
    listeners = dict(zip(("bank", "agent", "own", "late"), [(HOST, p) for p in listening], strict=True))
    async with CarrierSim(HOST, protocol="sgip", secret=SECRET, report_after=None, wait=5_000) as carrier:
        settings = (
            f'confirmation = "{CONFIRMED}"\n'
            f'[[sms]]\nprotocol = "sgip"\nlisten = "{HOST}:{port}"\nupstream = ["{HOST}:{carrier.port}"]\n'
            f'callback_listen = "{HOST}:{shared}"\ncallback_patience = "{PATIENCE:.0f}s"\n'
            f'callback_idle = "{1000 * IDLE:.0f}ms"\n'
        )
        async with house_of(settings=settings, workers=2) as house:
            rows = [HEAD]
            for account, holder, manner in (
                ("bank", "BANK", "result"),
                ("agent", "AGENT", "result"),
                ("own", "BANK", "result"),
                ("late", "BANK", "report"),
                ("both", "BANK", "result"),
            ):
                listener = "{}:{}".format(*listeners[account]) if account in listeners else ""
                callback = f"{HOST}:{own}" if account == "own" else ""
                rows.append(f"mobile,sgip,{account},{holder},financial,{manner},{listener},{callback}")
            await house.bring("accounts", "\n".join(rows))

            async def is_open() -> bool:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, own)
                    writer.close()
                    return True
                return False

            await eventually(is_open)  # so the registry has arrived
            yield Scene(house, carrier, port, f"{HOST}:{shared}", f"{HOST}:{own}", listeners)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(made: Scene) -> AsyncIterator[Scene]:
    refresh(made.carrier)
    made.carrier.callback = made.shared
    yield made
    await made.carrier.hang_up()


async def test_a_reply_reaches_its_sender_octet_for_octet_and_its_answer_the_carrier(scene: Scene) -> None:
    subscriber = scene.house.subscriber()
    async with scene.sender() as sender:
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
        number = (1_057_155_555 << 64) | 77
        assert await scene.carrier.deliver(PASSING, subscriber, "退订", sequence=number) == 0
        assert [tuple(one)[:3] for one in sender.replies] == [(PASSING, subscriber, "退订")]
        assert [one for one, _ in sender.deliveries] == [number]
        (reply,) = scene.replies(subscriber)
        assert (reply.account, reply.meaning, reply.institution) == ("bank", "refuse", "BANK")
        assert reply.message_id == number.to_bytes(12, "big")
        refused = await sender.submit(PASSING, [subscriber], TEXT)
        assert refused.result == sgip.REFUSALS["refused_by_subscriber"]  # type: ignore[index]
        await scene.carrier.until(lambda: scene.carrier.counts["answered"] == 2)
        sent, confirmation = scene.carrier.submits
        assert confirmation.text == f"【示例银行】{CONFIRMED}"
        assert confirmation.sequence >> 64 == sent.sequence >> 64  # of the sender's own node
        assert confirmation.sequence & 0xFFFF_FFFF > 0xF000_0000


async def test_reports_go_to_whom_they_are_about_and_replies_by_their_number(scene: Scene) -> None:
    scene.carrier.report_after = 0.0
    subscriber = scene.house.subscriber()
    async with scene.sender("bank") as bank, scene.sender("agent") as agent:
        sold = await bank.submit(PASSING, [subscriber], TEXT, report=True)
        asked = await agent.submit(COLLECTS, [subscriber], COLLECTING, report=True)
        assert (sold.result, asked.result) == (0, 0)
        assert (await bank.report_of(sold.message_id)).stat == b"DELIVRD"
        assert (await agent.report_of(asked.message_id)).stat == b"DELIVRD"
        assert (bank.counts["reports"], agent.counts["reports"]) == (1, 1)
        assert await scene.carrier.deliver(COLLECTS, subscriber, "我会还的") == 0
        assert (len(bank.replies), len(agent.replies)) == (0, 1)
    (attempt,) = (
        one.record
        for one in scene.house.records(subscriber=subscriber)
        if one.record.judged.account == "agent"  # type: ignore[union-attr]
    )
    code, out, _ = await scene.house.cli("records", "show", attempt.id.hex(), "--json")
    assert code == 0
    assert "DELIVRD" in out


async def test_each_part_of_a_long_message_and_each_recipient_has_its_report(scene: Scene) -> None:
    scene.carrier.report_after = 0.0
    everybody = [scene.house.subscriber() for _ in range(3)]
    async with scene.sender("bank") as bank:
        parts = bank.frames(PASSING, everybody, TEXT + "，更多内容请见网点公告" * 12, report=True)
        answers = await asyncio.gather(*(bank.request(frame) for frame in parts))
        assert [answer.result for answer in answers] == [0, 0, 0]
        await bank.until(lambda: bank.counts["reports"] == 9)
        told = {(report.message_id, report.destination.decode()) for report in bank.reports}
        assert told == {(answer.message_id, one) for answer in answers for one in everybody}


async def test_an_account_may_have_a_callback_port_of_its_own(scene: Scene) -> None:
    scene.carrier.callback = scene.own
    subscriber = scene.house.subscriber()
    async with scene.sender("own") as sender:
        assert await scene.carrier.deliver("1065599999", subscriber, "你好") == 0  # whatever the number
        assert [tuple(one)[:2] for one in sender.replies] == [("1065599999", subscriber)]
        report = tables.Report(submit_sequence=bytes(12), user_number=subscriber.encode())
        assert await scene.carrier.deliver_body(report) == 0
        assert sender.counts["reports"] == 1


async def test_a_change_of_a_users_condition_goes_by_his_number(scene: Scene) -> None:
    async with scene.sender() as sender:
        assert (await sender.submit(PASSING, [scene.house.subscriber()], TEXT)).result == 0
        told = tables.UserRpt(sp_number=PASSING.encode(), user_number=b"8613800000001", user_condition=1)
        assert await scene.carrier.deliver_body(told) == 0
        assert sender.counts["user_reports"] == 1


async def test_what_a_number_never_sent_goes_to_whom_the_registry_says(scene: Scene) -> None:
    """10690004 was filed by FIN for AGENT; nobody has sent from it."""
    async with scene.sender("agent") as agent:
        assert await scene.carrier.deliver("106900040007", scene.house.subscriber(), "你好") == 0
        assert len(agent.replies) == 1


async def test_the_senders_error_is_the_carriers_answer(scene: Scene) -> None:
    async with scene.sender() as sender:
        sender.deliver_result = 11
        assert await scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好") == 11


async def test_what_finds_nobody_is_recorded_and_in_force_and_answered_with_an_error(scene: Scene) -> None:
    subscriber = scene.house.subscriber()
    async with scene.house.counted("callback_deliveries_total", 3, protocol="sgip", outcome="astray"):
        assert await scene.carrier.deliver("106900050009", subscriber, "退订") == sgip.NUMBER
        (reply,) = scene.replies(subscriber)
        assert (reply.account, reply.meaning, reply.institution) == ("", "refuse", "FIN")
        report = tables.Report(submit_sequence=bytes(11) + b"9", user_number=subscriber.encode())
        assert await scene.carrier.deliver_body(report) == sgip.MESSAGE_ID
        told = tables.UserRpt(sp_number=b"106900050009", user_number=subscriber.encode())
        assert await scene.carrier.deliver_body(told) == sgip.NUMBER


async def test_a_listener_that_is_down_is_tried_until_it_is_up_and_the_refusal_holds_meanwhile(
    scene: Scene,
) -> None:
    subscriber, deaf = scene.house.subscriber(), {"called_at": None}
    async with scene.sender("bank", **deaf) as sender:
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
        answered = asyncio.create_task(scene.carrier.deliver(PASSING, subscriber, "TD"))
        await eventually(lambda: scene.replies(subscriber))
        refused = await sender.submit(PASSING, [subscriber], TEXT)
        assert refused.result == sgip.NUMBER
        assert not answered.done()
        sender.called_at = scene.listeners["bank"]
        await sender.hear()
        assert await answered == 0
        assert {heard.text for heard in sender.replies} == {"TD"}


async def test_what_was_not_delivered_in_time_is_not_answered_and_may_come_again(scene: Scene) -> None:
    subscriber, number = scene.house.subscriber(), (1_057_155_555 << 64) | 4711
    async with scene.sender("bank", called_at=None) as sender:
        counted = scene.house.counted
        async with (
            counted("connections_closed_total", protocol="sgip", cause="listener_down"),
            counted("callback_deliveries_total", protocol="sgip", outcome="unanswered"),
        ):
            waiting = asyncio.create_task(scene.carrier.deliver(PASSING, subscriber, "你好", sequence=number))
        assert not waiting.done()
        sender.called_at = scene.listeners["bank"]
        await sender.hear()
        call = scene.carrier.call
        assert call is not None
        call.write(call.link._outstanding[number].frame)  # as a carrier repeats it
        assert await waiting == 0
        assert len(sender.replies) == 1


async def test_a_silent_sender_holds_few_places_of_the_carriers_window(scene: Scene) -> None:
    async with scene.sender() as bank, scene.sender("agent") as agent:
        bank.deliver_result = None
        held = [
            asyncio.create_task(scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好"))
            for _ in range(MOST_SILENT)
        ]
        await bank.until(lambda: len(bank.replies) == MOST_SILENT)
        call = scene.carrier.call
        assert call is not None
        call.link.window = 2 * MOST_SILENT

        due = asyncio.get_running_loop().time() + 1.5 * SILENT * PATIENCE
        await eventually(lambda: asyncio.get_running_loop().time() > due)
        subscriber = scene.house.subscriber()
        assert await scene.carrier.deliver(PASSING, subscriber, "TD") == sgip.BUSY
        assert [reply.meaning for reply in scene.replies(subscriber)] == ["refuse"]
        assert await scene.carrier.deliver(COLLECTS, scene.house.subscriber(), "你好") == 0
        assert len(agent.replies) == 1
        await scene.carrier.hang_up()
        await asyncio.gather(*held)


async def test_a_listener_that_does_not_let_the_carrier_in_has_been_told_nothing(scene: Scene) -> None:
    async with scene.sender() as sender:
        sender.call_result = 1
        async with scene.house.counted("connections_closed_total", protocol="sgip", cause="listener_down"):
            waiting = asyncio.create_task(scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好"))
        assert not waiting.done()
        assert not sender.replies
        (line,) = scene.house.log_lines("listener not reached", detail="login refused: 1")
        assert line["account"] == "bank"
        await scene.carrier.hang_up()
        assert await waiting is None


async def test_the_same_again_while_under_way_is_dropped_and_another_content_refused(scene: Scene) -> None:
    number = (1_057_155_555 << 64) | 4712
    async with scene.sender() as sender:
        sender.deliver_result = None
        waiting = asyncio.create_task(
            scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好", sequence=number)
        )
        await sender.until(lambda: sender.replies)
        call = scene.carrier.call
        assert call is not None
        frame = call.link._outstanding[number].frame
        async with scene.house.counted("callback_deliveries_total", protocol="sgip", outcome="repeated"):
            call.write(frame)
        call.write(frame.replace(frame[-8:], b"otherone"))
        assert await waiting == sgip.SEQUENCE
        assert len(sender.replies) == 1


async def test_an_idle_connection_to_a_sender_is_unbound_and_made_again(scene: Scene) -> None:
    async with scene.sender() as sender:
        for calls in (1, 2):
            assert await scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好") == 0
            assert sender.counts["calls"] == calls
            await sender.until(lambda: not sender.calls)
            assert sender.counts["call_terminated"] == calls


async def test_the_carriers_goodbye_is_answered_and_passed_on(scene: Scene) -> None:
    async with scene.sender() as sender:
        assert await scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好") == 0
        await scene.carrier.hang_up()
        assert scene.carrier.counts["closed_terminated"] == 1
        await sender.until(lambda: not sender.calls)
        assert sender.counts["call_terminated"] == 1


async def test_a_refusal_is_reported_where_the_carriers_connection_is_passed_on(scene: Scene) -> None:
    async with scene.sender("late") as sender:
        subscriber = scene.house.subscriber()
        alone = await sender.submit(REFUSED, [subscriber], TEXT, report=True)
        assert alone.result == sgip.NUMBER  # nobody's Bind could be shown to its listener
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
        assert await scene.carrier.deliver(PASSING, subscriber, "你好") == 0
        answer = await sender.submit(REFUSED, [subscriber], TEXT, report=True)
        assert answer.result == 0
        assert (await sender.report_of(answer.message_id)).stat == b"UNDELIV"
        assert not [one for one in scene.carrier.submits if one.submission.source == REFUSED.encode()]


async def test_a_peer_with_one_connection_for_both_ways_is_served_beside_the_others(scene: Scene) -> None:
    subscriber, other = scene.house.subscriber(), scene.house.subscriber()
    async with scene.sender("both", called_at=None) as both, scene.sender("bank") as bank:
        assert (await both.submit(PASSING, [subscriber], TEXT)).result == 0
        assert (await bank.submit(PASSING, [other], TEXT)).result == 0
        assert await scene.carrier.deliver(PASSING, other, "你好") == 0
        scene.carrier.callback = None
        assert await scene.carrier.deliver(PASSING, subscriber, "TD", account="both") == 0
        assert (len(both.replies), len(bank.replies)) == (1, 1)
        assert (await both.submit(PASSING, [subscriber], TEXT)).result == sgip.NUMBER


async def test_routes_outlive_a_kill_of_the_worker_between_submit_and_report(scene: Scene) -> None:
    house, carrier = scene.house, scene.carrier
    subscriber = house.subscriber()
    async with scene.sender() as sender:
        sent = await sender.submit(PASSING, [subscriber], TEXT, report=True)
        assert sent.result == 0
    (received,) = (one for one in carrier.submits if one.message_id == sent.message_id)
    olds = {role: house.signal(role) for role in ("worker-0", "worker-1")}
    for role, old in olds.items():
        await house.back(role, old)
    async with scene.sender() as sender:
        assert await carrier.report(received) == 0
        assert (await sender.report_of(sent.message_id)).stat == b"DELIVRD"


# Hostile and mistaken peers


async def answered(scene: Scene, first: bytes, *more: bytes, local: str = HOST) -> bytes:
    """What comes back on the shared port until it closes: after `first`, and `more` once that is answered."""
    host, _, port = scene.shared.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(local, 0))
    try:
        writer.write(first)
        async with asyncio.timeout(20):
            answer = await reader.readexactly(29) if more else b""
            writer.write(b"".join(more))
            return answer + await reader.read(-1)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def bind(kind: int, sequence: int = 5) -> bytes:
    return Sgip().encode(tables.Bind(login_type=kind, login_name=b"smg", login_password=b"x"), sequence)


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "length_too_large"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\3\3", "length_too_large"),
        (Sgip().encode(tables.Unbind(), 1), "login_expected"),
        (bytes(200), "length_too_short"),
    ],
)
async def test_who_speaks_another_language_there_is_hung_up_on(
    scene: Scene, octets: bytes, cause: str
) -> None:
    async with scene.house.counted("connections_closed_total", protocol="sgip", cause=cause):
        assert await answered(scene, octets) == b""


async def test_who_logs_in_to_submit_there_is_told_that_it_is_the_wrong_type(scene: Scene) -> None:
    async with scene.house.counted("connections_closed_total", protocol="sgip", cause="login_type"):
        answer = await answered(scene, bind(1))
    assert Sgip.read_login_answer(answer) == (sgip.LOGIN_TYPE, 0x12)


async def test_nobody_but_the_carrier_may_call(scene: Scene) -> None:
    async with scene.house.counted("connections_closed_total", protocol="sgip", cause="address_not_allowed"):
        answer = await answered(scene, bind(2), local="127.0.0.77")
    assert Sgip.read_login_answer(answer) == (sgip.BAD_LOGIN, 0x12)


async def test_mistakes_of_a_carrier_are_answered_one_by_one_and_garbage_ends_its_connection(
    scene: Scene,
) -> None:
    wire, whole = Sgip(), Sgip().encode(tables.Deliver(sp_number=PASSING.encode()), 7)
    cut = (len(whole) - 9).to_bytes(4, "big") + whole[4:-9]
    submit = wire.encode(tables.Submit(user_number=[b"13800000000"]), 8)
    stray = wire.encode(tables.SubmitResp(), 9)
    async with scene.house.counted("connections_closed_total", protocol="sgip", cause="length_too_short"):
        octets = await answered(scene, bind(2), bind(2, 6), cut, submit, stray, bytes(30))
    frames, used = wire.frames(octets)
    assert used == len(octets)
    said = [(command & 0xFF, sequence, octets[start + 20]) for start, _, command, sequence in frames]
    assert said == [
        (tables.BIND, 5, 0),
        (tables.BIND, 6, sgip.LOGIN_TWICE),
        (tables.DELIVER, 7, sgip.PARAMETER),
        (tables.SUBMIT, 8, sgip.PARAMETER),
    ]


async def test_a_called_sender_can_not_submit_there(scene: Scene) -> None:
    subscriber = scene.house.subscriber()
    async with scene.sender() as sender:
        assert await scene.carrier.deliver(PASSING, subscriber, "你好") == 0
        (call,) = sender.calls
        (frame,) = sender.frames(PASSING, [subscriber], TEXT)
        asked: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        call.ask(frame, asked.set_result)
        octets = await asked
        assert octets is not None
        assert Sgip().result(octets, 0, len(octets))[0] == sgip.PARAMETER
    assert not scene.carrier.submits


# The end of a port, and of a node


async def test_a_callback_port_goes_with_its_filing(scene: Scene) -> None:
    listener = "{}:{}".format(*scene.listeners["own"])
    await scene.house.bring("accounts", f"{HEAD}\nmobile,sgip,own,BANK,financial,result,{listener},")

    async def is_shut() -> bool:
        try:
            _, writer = await asyncio.open_connection(*scene.own.split(":"))
        except OSError:
            return True
        writer.close()
        return False

    await eventually(is_shut)


async def test_a_drain_unbinds_both_sides_and_answers_nothing_that_was_not_delivered(scene: Scene) -> None:
    async with scene.sender() as sender:
        assert await scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好") == 0
        sender.deliver_result = None
        waiting = asyncio.create_task(scene.carrier.deliver(PASSING, scene.house.subscriber(), "你好"))
        await sender.until(lambda: len(sender.replies) == 2)
        assert await scene.house.stop() == 0
        assert await waiting is None
        assert sender.counts["call_terminated"] == 1
        assert scene.carrier.counts["closed_terminated"] == 2  # the sender's connection, and the call
