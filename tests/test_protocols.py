"""SMPP, SMGP and SGIP through a running node: the same relay, rules and records as CMPP, from two lines of
configuration each. Octets and codes are the protocol's own; what holds for all is asked of all alike. SGIP is
here with peers that have one connection for both ways; see test_callback.py for those that have two."""

import asyncio
import contextlib
import dataclasses
import importlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, HOST, MARKETING, SECRET, TEXT, House, eventually, free_ports, refresh

from gateway.evidence import record as rec
from gateway.model import Reason
from gateway.protocols import sgip, smgp, smpp_status
from gateway.protocols import smpp_tables as tables
from gateway.protocols.smpp import Smpp
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import LoginRefused, SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSING, REFUSED = MARKETING + "0001", BANNED + "0001"
REFUSALS = {"smpp": smpp_status.REFUSALS, "smgp": smgp.REFUSALS, "sgip": sgip.REFUSALS}
ACCOUNTS = [
    f"mobile,{protocol},{account},BANK,financial,{manner},{mass},,,0"
    for protocol in REFUSALS
    for account, manner, mass in (
        ("bank", "result", "whole"),
        ("later", "report", "whole"),
        ("fewer", "result", "reduce"),
    )
]


@dataclasses.dataclass(frozen=True)
class Line:
    """One protocol's way through the node."""

    house: House
    protocol: str
    port: int
    carrier: CarrierSim

    def sender(self, account: str = "bank", version: int | None = None, **settings: Any) -> SenderSim:
        return SenderSim(HOST, self.port, account, SECRET, version, protocol=self.protocol, **settings)

    def code(self, reason: Reason) -> int:
        return REFUSALS[self.protocol][reason]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(house_of: HouseOf) -> AsyncIterator[dict[str, Line]]:
    async with contextlib.AsyncExitStack() as stack:
        carriers, ports = {}, dict(zip(REFUSALS, free_ports(len(REFUSALS)), strict=True))
        for protocol in REFUSALS:
            carriers[protocol] = await stack.enter_async_context(
                CarrierSim(HOST, protocol=protocol, secret=SECRET, report_after=None)
            )
        settings = "\n".join(
            f'[[sms]]\nprotocol = "{protocol}"\nlisten = "{HOST}:{ports[protocol]}"\n'
            f'upstream = ["{HOST}:{carrier.port}"]'
            for protocol, carrier in carriers.items()
        )
        house = await stack.enter_async_context(house_of(settings=settings, filed=ACCOUNTS))
        yield {p: Line(house, p, ports[p], carriers[p]) for p in REFUSALS}


@pytest.fixture(params=REFUSALS)
def line(lines: dict[str, Line], request: pytest.FixtureRequest) -> Line:
    found = lines[request.param]
    refresh(found.carrier)
    return found


@pytest.fixture
def smpp(lines: dict[str, Line]) -> Line:
    refresh(lines["smpp"].carrier)
    return lines["smpp"]


# All


async def test_each_version_is_relayed_octet_for_octet_and_tied_to_its_record(line: Line) -> None:
    line.carrier.report_after = 0.0
    for version in line.carrier.peer.versions.values():
        subscriber = line.house.subscriber()
        async with line.sender(version=version) as sender:
            assert (sender.version, sender.digest_ok) == (version, True)
            (frame,) = sender.frames(PASSING, [subscriber], TEXT, report=True)
            answer = await sender.request(frame)
            received = line.carrier.submits[-1]
            assert received.frame == sender.peer.wire.with_sequence(frame, answer.sequence)
            assert (answer.result, answer.message_id) == (0, received.message_id)
            assert (await sender.report_of(answer.message_id)).stat == b"DELIVRD"
            (attempt,) = line.house.records(subscriber=subscriber)
            judged = attempt.record.judged  # type: ignore[union-attr]
            assert (judged.protocol, judged.account, judged.reason) == (line.protocol, "bank", "")
    code, out, _ = await line.house.cli("records", "show", attempt.record.id.hex(), "--json")  # type: ignore[union-attr]
    assert code == 0
    assert "DELIVRD" in out


async def test_a_long_text_arrives_in_its_parts(line: Line) -> None:
    text = TEXT + "，更多内容请见网点公告" * 12
    async with line.sender() as sender:
        frames = sender.frames(PASSING, [line.house.subscriber()], text)
        assert len(frames) == 3
        answers = await asyncio.gather(*(sender.request(frame) for frame in frames))
        assert answers[0].result == 0


async def test_what_is_refused_gets_the_protocols_code_and_goes_nowhere(line: Line) -> None:
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        answer = await sender.submit(REFUSED, [subscriber], TEXT)
        assert answer.result == line.code(Reason.BLACKLISTED)
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
    assert line.carrier.counts["submits"] == 1
    assert line.house.reasons(subscriber=subscriber) == ["blacklisted", ""]


async def test_a_refusal_may_be_told_by_a_report(line: Line) -> None:
    async with line.sender("later") as sender:
        answer = await sender.submit(REFUSED, [line.house.subscriber()], TEXT, report=True)
        assert answer.result == 0
        said = b"UNDELIV" if line.protocol == "sgip" else b"REJECTD"  # SGIP has no word for it
        assert (await sender.report_of(answer.message_id)).stat == said
        plain = await sender.submit(REFUSED, [line.house.subscriber()], TEXT)
        assert plain.result == line.code(Reason.BLACKLISTED)
    assert not line.carrier.counts["submits"]


async def test_of_several_recipients_the_others_may_have_it(line: Line) -> None:
    await_refusal = line.house.subscriber()
    others = [line.house.subscriber() for _ in range(2)]
    async with line.sender() as sender:
        await sender.submit(PASSING, [await_refusal], TEXT)
        assert await line.carrier.deliver(PASSING, await_refusal, "退订", account="bank") == 0
        await sender.until(lambda: sender.replies)
        assert sender.replies[0][:3] == (PASSING, await_refusal, "退订")
        everybody = [others[0], await_refusal, others[1]]
        answer = await sender.submit(PASSING, everybody, TEXT)
        assert answer.result == line.code(Reason.REFUSED_BY_SUBSCRIBER)
    async with line.sender("fewer") as sender:
        assert (await sender.submit(PASSING, everybody, TEXT)).result == 0
    assert [one.decode() for one in line.carrier.submits[-1].submission.destinations] == others
    assert line.house.reasons(subscriber=await_refusal)[1:] == ["refused_by_subscriber"] * 2


async def test_heartbeats_and_goodbyes_pass_from_end_to_end(line: Line) -> None:
    wire = line.carrier.peer.wire
    async with line.sender() as sender:
        if line.protocol != "sgip":  # it has none
            assert await sender.ask(wire.heartbeat(0), 77) == wire.heartbeat_answer(77)
    await line.carrier.until(lambda: not line.carrier.ends)
    assert line.carrier.counts["closed_terminated"] == 1


async def test_a_wrong_secret_is_the_carriers_to_refuse(line: Line) -> None:
    sender = line.sender()
    sender._secret = b"other"
    with pytest.raises(LoginRefused) as caught:
        async with sender:
            pass
    assert caught.value.status == line.carrier.peer.wire.BAD_SECRET


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\3\3"]
)
async def test_who_speaks_another_language_is_hung_up_on_and_counted(line: Line, octets: bytes) -> None:
    async with line.house.counted(
        "connections_closed_total", protocol=line.protocol, cause="length_too_large"
    ):
        reader, writer = await asyncio.open_connection(HOST, line.port)
        writer.write(octets)
        assert await reader.read() == b""
        writer.close()


async def test_what_can_not_be_read_is_answered_recorded_and_the_line_goes_on(line: Line) -> None:
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        (frame,) = sender.frames(PASSING, [subscriber], TEXT)
        cut = frame[:60]
        answer = await sender.request(len(cut).to_bytes(4, "big") + cut[4:])
        assert answer.result not in (0, None)
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
    assert line.carrier.counts["submits"] == 1


async def test_the_ports_are_found_by_scanners_and_nothing_stays(line: Line) -> None:
    with socket.create_connection((HOST, line.port)):
        pass
    async with line.sender() as sender:
        assert (await sender.submit(PASSING, [line.house.subscriber()], TEXT)).result == 0


# SMPP


async def test_a_peer_of_5_0_is_told_the_reason_in_words(smpp: Line) -> None:
    async with smpp.sender(version=0x50) as sender:
        (frame,) = sender.frames(REFUSED, [smpp.house.subscriber()], TEXT)
        octets = await sender.ask(frame)
        assert octets is not None
        assert sender.end.link.wire.result(octets, 0, len(octets))[0] == smpp_status.PROHIBITED
        assert b"blacklisted\0" in octets


def bind(table: Any, account: bytes) -> bytes:
    return Smpp().encode(table(system_id=account, password=SECRET.encode(), interface_version=0x34), 1)


@contextlib.asynccontextmanager
async def bound(smpp: Line, table: Any, account: bytes = b"bank") -> AsyncIterator[Any]:
    """A bare connection that is bound: `ask(body, sequence)` gives the next frame that comes."""
    reader, writer = await asyncio.open_connection(HOST, smpp.port)

    async def frame() -> bytes:
        async with asyncio.timeout(20):
            head = await reader.readexactly(4)
            return head + await reader.readexactly(int.from_bytes(head, "big") - 4)

    async def ask(body: Any, sequence: int) -> bytes:
        if body is not None:
            writer.write(body if isinstance(body, bytes) else Smpp().encode(body, sequence))
        return await frame()

    answer = await ask(bind(table, account), 1)
    assert answer[4:12] == (table.command | tables.ANSWER).to_bytes(4, "big") + bytes(4)
    try:
        yield ask
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_one_account_may_send_on_one_connection_and_receive_on_another(smpp: Line) -> None:
    subscriber = smpp.house.subscriber()
    async with bound(smpp, tables.BindReceiver) as receiver:
        over = smpp.carrier.connection("bank")
        async with bound(smpp, tables.BindTransmitter) as transmitter:
            message = tables.SubmitSm(
                source_addr=PASSING.encode(), destination_addr=subscriber.encode(), short_message=b""
            )
            message.tlvs, message.data_coding = [(tables.MESSAGE_PAYLOAD, TEXT.encode("utf-16-be"))], 8
            answer = await transmitter(message, 5)
            assert answer[8:16] == bytes(4) + (5).to_bytes(4, "big")
            assert smpp.carrier.submits[-1].submission.content == TEXT.encode("utf-16-be")
            reply = tables.DeliverSm(
                source_addr=subscriber.encode(), destination_addr=PASSING.encode(), short_message=b"TD"
            )
            over.write(Smpp().encode(reply, 77))
            delivered = await receiver(None, 0)
            assert Smpp().delivery(delivered, 0, len(delivered)).content == b"TD"
            refused = await transmitter(message, 6)
            assert int.from_bytes(refused[8:12], "big") == smpp.code(Reason.REFUSED_BY_SUBSCRIBER)


async def test_a_refusal_is_reported_to_the_connection_that_receives(smpp: Line) -> None:
    message = tables.SubmitSm(
        source_addr=REFUSED.encode(), destination_addr=smpp.house.subscriber().encode(), registered_delivery=1
    )
    async with bound(smpp, tables.BindTransmitter, b"later") as transmitter:
        alone = await transmitter(message, 5)
        assert int.from_bytes(alone[8:12], "big") == smpp.code(Reason.BLACKLISTED)
        async with bound(smpp, tables.BindReceiver, b"later") as receiver:
            answer = await transmitter(message, 6)
            result, identity = Smpp().result(answer, 0, len(answer))
            octets = await receiver(None, 0)
            report = Smpp().delivery(octets, 0, len(octets)).report
            assert report is not None
            assert (result, report.message_id, report.stat) == (0, identity, b"REJECTD")


async def test_whatever_may_carry_a_text_is_judged_or_refused(smpp: Line) -> None:
    async with bound(smpp, tables.BindTransceiver) as ask:
        to, text = smpp.house.subscriber().encode(), TEXT.encode("utf-16-be")
        data = tables.DataSm(destination_addr=to, data_coding=8, tlvs=[(tables.MESSAGE_PAYLOAD, text)])

        async def status(body: Any, sequence: int) -> tuple[int, int]:
            answer = await ask(body, sequence)
            assert int.from_bytes(answer[12:16], "big") == sequence
            return int.from_bytes(answer[4:8], "big") & ~tables.ANSWER, int.from_bytes(answer[8:12], "big")

        data.source_addr = REFUSED.encode()
        assert await status(data, 2) == (tables.DATA_SM, smpp.code(Reason.BLACKLISTED))
        data.source_addr = PASSING.encode()
        assert await status(data, 3) == (tables.DATA_SM, 0)
        assert await status(tables.ReplaceSm(message_id=b"1", short_message=b"x"), 4) == (
            tables.REPLACE_SM,
            0x13,
        )
        listed = tables.SubmitMulti(source_addr=PASSING.encode(), dest_address=[(2, b"ALL")])
        assert await status(listed, 5) == (tables.SUBMIT_MULTI, 0x34)
        broadcast = (16).to_bytes(4, "big") + (0x111).to_bytes(4, "big") + bytes(4) + (6).to_bytes(4, "big")
        assert await status(broadcast, 6) == (0, 3)
        assert await status(tables.QuerySm(message_id=b"1"), 7) == (tables.QUERY_SM, 0)
        assert await status(tables.CancelSm(message_id=b"1"), 8) == (tables.CANCEL_SM, 0)
        assert await status(tables.EnquireLink(), 9) == (tables.ENQUIRE_LINK, 0)
    assert smpp.carrier.counts["submits"] == 1


async def test_what_the_carrier_did_not_understand_is_an_outcome(smpp: Line) -> None:
    subscriber = smpp.house.subscriber()
    smpp.carrier.faults.silent_every = 1
    async with bound(smpp, tables.BindTransceiver) as ask:
        message = tables.SubmitSm(
            source_addr=PASSING.encode(),
            destination_addr=subscriber.encode(),
            data_coding=8,
            short_message=TEXT.encode("utf-16-be"),
        )
        alert = Smpp().encode(tables.AlertNotification(source_addr=b"1"), 3)
        asked = asyncio.create_task(ask(message, 5))
        await smpp.carrier.until(lambda: smpp.carrier.submits)
        nack = Smpp().encode(tables.GenericNack(), 5, 3)
        smpp.carrier.connection("bank").write(nack + alert)
        assert await asked == nack
        assert await ask(None, 0) == alert
    (attempt,) = smpp.house.records(subscriber=subscriber)

    def outcomes() -> list[Any]:
        found = smpp.house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))
        return [one.record for one in found if one.record.attempt == attempt.record.id]  # type: ignore[union-attr]

    (outcome,) = await eventually(outcomes)
    assert (outcome.result, outcome.message_id) == (3, b"")


async def test_a_foreign_client_counts_what_we_count(smpp: Line) -> None:
    """python-smpplib sends: a third refused, reports, a reply, a heartbeat, a goodbye."""
    client_of = pytest.importorskip("smpplib.client").Client
    smpp.carrier.report_after = 0.0
    subscribers = [smpp.house.subscriber() for _ in range(30)]
    seen: Counter[str] = Counter()
    texts: list[bytes] = []

    def talk() -> None:
        client = client_of(HOST, smpp.port, timeout=20, allow_unknown_opt_params=True)
        client.set_message_sent_handler(lambda pdu: seen.update(["accepted"] * (pdu.status == 0)))
        client.set_error_pdu_handler(lambda pdu: seen.update([f"refused {pdu.status:#x}"]))
        client.set_message_received_handler(lambda pdu: texts.append(pdu.short_message or b""))
        client.connect()
        client.bind_transceiver(system_id="bank", password=SECRET)
        for number, subscriber in enumerate(subscribers):
            source = REFUSED if number % 3 == 0 else PASSING
            client.send_message(
                source_addr=source,
                destination_addr=subscriber,
                short_message=TEXT.encode("utf-16-be"),
                data_coding=8,
                registered_delivery=True,
            )
        client.send_pdu(make_pdu("enquire_link", client=client))
        while sum(seen.values()) < len(subscribers) or len(texts) < seen["accepted"]:
            client.read_once()
        asyncio.run_coroutine_threadsafe(reply(), loop).result(20)
        while texts[-1] != "退订".encode("utf-16-be"):
            client.read_once()
        client.unbind()
        client.disconnect()

    async def reply() -> None:
        delivered = smpp.carrier.deliver(PASSING, subscribers[1], "退订", account="bank")
        answered.append(asyncio.create_task(delivered))

    loop = asyncio.get_running_loop()
    answered: list[asyncio.Task[int | None]] = []
    make_pdu = importlib.import_module("smpplib.smpp").make_pdu
    await asyncio.to_thread(talk)
    assert await answered[0] == 0
    refused = f"refused {smpp.code(Reason.BLACKLISTED):#x}"
    assert seen[refused] == 10
    assert smpp.carrier.counts["submits"] == seen["accepted"]
    reasons = [reason for one in subscribers for reason in smpp.house.reasons(subscriber=one)]
    assert reasons.count("blacklisted") == 10
    assert reasons.count("") == seen["accepted"]
    assert sum(text.startswith(b"id:") for text in texts) == seen["accepted"]
