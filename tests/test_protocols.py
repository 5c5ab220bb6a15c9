"""SMPP, SMGP and SGIP through a running node: the same relay, rules and records as CMPP, from two lines of
configuration each. Octets and codes are the protocol's own; what holds for all is asked of all alike. SGIP is
here with peers that have one connection for both ways; see test_callback.py for those that have two."""

import asyncio
import contextlib
import dataclasses
import importlib
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, HOST, MARKETING, SECRET, TEXT, House, eventually, free_ports, listening, refresh
from raw_ends import Raw, RawCarrier

from gateway.evidence import record as rec
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search, Shown
from gateway.model import AccountKey, Reason
from gateway.protocols import WIRES, cmpp, sgip, smgp, smgp_tables, smpp_status
from gateway.protocols import smpp_tables as tables
from gateway.protocols.smpp import Smpp
from gateway.registry.replica import Replica
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.said import Said
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
        return (REFUSALS | {"cmpp": cmpp.REFUSALS})[self.protocol][reason]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(house_of: HouseOf) -> AsyncIterator[dict[str, Line]]:
    async with contextlib.AsyncExitStack() as stack:
        carriers, ports = {}, dict(zip(REFUSALS, free_ports(len(REFUSALS)), strict=True))
        for protocol in REFUSALS:
            carriers[protocol] = await stack.enter_async_context(
                CarrierSim(HOST, protocol=protocol, secret=SECRET, report_after=None)
            )
        settings = listening(ports, carriers)
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


async def answered(line: Line, subscriber: str, times: int) -> Shown:
    """The only attempt to a subscriber, once the carrier has answered it so often."""

    def found() -> Shown | None:
        shown = attempt_of(line.house, subscriber)
        return shown if len(shown.outcomes) == times else None

    return await eventually(found)  # type: ignore[no-any-return]


async def test_a_long_text_arrives_in_its_parts(line: Line) -> None:
    text = TEXT + "，更多内容请见网点公告" * 12
    async with line.sender() as sender:
        frames = sender.frames(PASSING, [line.house.subscriber()], text)
        assert len(frames) == 3
        answers = await asyncio.gather(*(sender.request(frame) for frame in frames))
        assert answers[0].result == 0
        both = [line.house.subscriber() for _ in range(2)]
        assert (await sender.submit(PASSING, both, text)).result == 0
    for subscriber in both:
        assert [one.part for one in (await answered(line, subscriber, 3)).outcomes] == [1, 2, 3]


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


async def test_what_can_not_be_read_is_answered_and_the_line_goes_on_but_where_a_protocol_ends_it(
    line: Line,
) -> None:
    subscriber, ends = line.house.subscriber(), bool(WIRES[line.protocol].ENDS)
    count = line.house.counted(
        "connections_closed_total", ends, protocol=line.protocol, cause="truncated_body"
    )
    async with count, line.sender() as sender:
        (frame,) = sender.frames(PASSING, [subscriber], TEXT)
        cut = frame[:60]
        answer = await sender.request(len(cut).to_bytes(4, "big") + cut[4:])
        assert answer.result not in (0, None)
        if ends:  # SGIP 1.2 §3.7.2.4.2
            await sender.until(lambda: sender.cause is not None)
        else:
            assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
    assert line.carrier.counts["submits"] == (not ends)


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


async def test_a_text_that_replaces_another_is_judged_as_sent_to_whom_that_went(smpp: Line) -> None:
    """It names no recipient and no coding: both are those of the message that the carrier has taken."""
    subscriber, other = (smpp.house.subscriber() for _ in range(2))
    new = "【示例银行】改期通知，详询网点。拒收请回复R"

    def message(to: str = subscriber, source: str = PASSING, **more: Any) -> Any:
        return tables.SubmitSm(
            source_addr=source.encode(),
            destination_addr=to.encode(),
            data_coding=8,
            short_message=TEXT.encode("utf-16-be"),
            **more,
        )

    def replacing(identity: bytes, text: str = new, source: str = PASSING, **more: Any) -> Any:
        said = text.encode("utf-16-be")
        return tables.ReplaceSm(message_id=identity, source_addr=source.encode(), short_message=said, **more)

    async with bound(smpp, tables.BindTransmitter) as sends, bound(smpp, tables.BindTransceiver) as ask:
        numbers = itertools.count(10)

        async def taken(body: Any) -> bytes:
            answer = await sends(body, next(numbers))
            result, identity = Smpp().result(answer, 0, len(answer))
            assert result == 0
            return identity

        async def status(body: Any) -> int:
            return int.from_bytes((await ask(body, next(numbers)))[8:12], "big")

        identity = await taken(message())
        smpp.carrier.counts.clear()
        assert await status(replacing(identity)) == 0  # on another connection of the account
        assert smpp.carrier.counts["other"] == 1
        payload = [(tables.MESSAGE_PAYLOAD, new.encode("utf-16-be"))]
        assert await status(replacing(identity, "", tlvs=payload)) == 0
        assert await status(replacing(identity, "【示例银行】改期通知")) == smpp.code(
            Reason.OPTOUT_HINT_MISSING
        )
        assert await status(replacing(b"unknown")) == 0x13
        assert await status(replacing(identity, source=MARKETING + "0002")) == 0x13
        several = tables.SubmitMulti(
            source_addr=PASSING.encode(),
            dest_address=[(1, 1, 1, subscriber.encode()), (1, 1, 1, other.encode())],
            data_coding=8,
            short_message=TEXT.encode("utf-16-be"),
        )
        assert await status(replacing(await taken(several))) == 0x13
        part = message(esm_class=0x40)
        part.short_message = bytes((5, 0, 3, 7, 1, 1)) + part.short_message
        assert await status(replacing(await taken(part))) == 0x13
        assert smpp.carrier.counts["other"] == 2

        reply = tables.DeliverSm(
            source_addr=subscriber.encode(), destination_addr=PASSING.encode(), short_message=b"TD"
        )
        smpp.carrier.connection("bank").write(Smpp().encode(reply, 77))
        delivered = await ask(None, 0)
        assert Smpp().delivery(delivered, 0, len(delivered)).content == b"TD"
        assert await status(replacing(identity)) == smpp.code(Reason.REFUSED_BY_SUBSCRIBER)
    async with bound(smpp, tables.BindTransceiver, b"fewer") as ask:
        assert await status(replacing(identity)) == 0x13  # another account's
    reasons = smpp.house.reasons(subscriber=subscriber)
    assert reasons[:4] == ["", "", "", "optout_hint_missing"]
    assert reasons[-1] == "refused_by_subscriber"


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


# Bare ends: what passes, octet for octet, and what is read of it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare_port(lines: dict[str, Line]) -> int:
    """Where the carrier of the accounts `bare` listens, once a test does."""
    house = lines["smpp"].house
    (port,) = free_ports(1)
    rows = [f"mobile,{p},bare,BANK,financial,result,whole,{HOST}:{port},,0" for p in ("smpp", "smgp")]
    header = "carrier,protocol,account,holder,scope,refusal_manner,mass_manner,upstream,allowed_ips"
    await house.bring("accounts", "\n".join((f"{header},max_connections", *rows)))
    replica = Replica.open(house.data_dir / "registry", house.key)
    view = replica.snapshot()

    def known() -> bool:  # an account that nobody filed goes to the listener's upstream
        view.renew()
        return all(view.account(AccountKey("mobile", p, "bare")) is not None for p in ("smpp", "smgp"))

    await eventually(known)
    replica.close()
    return port


@contextlib.asynccontextmanager
async def bare(line: Line, login: bytes) -> AsyncIterator[Raw]:
    """A sender's bare connection, let in with this frame."""
    async with Raw.open(line.port) as raw:
        raw.wire = line.carrier.peer.wire()
        raw.send(login)
        answer = await raw.frame()
        assert raw.wire.read_login_answer(answer)[0] == 0, answer
        yield raw


async def one_by_one(here: Raw, there: Raw, frames: list[bytes]) -> None:
    """Each that `here` sends arrives as it is."""
    here.send(*frames)
    assert await there.frames(len(frames)) == frames


def attempt_of(house: House, subscriber: str) -> Shown:
    (found,) = house.records(subscriber=subscriber)
    shown = Search(house.data_dir / "journal", Keys(house.data_dir / "keys")).show(found.record.id)  # type: ignore[union-attr]
    assert shown is not None
    return shown


async def test_smpp_passes_octet_for_octet_whatever_the_relay_need_not_know(
    smpp: Line, bare_port: int
) -> None:
    wire, to = Smpp(), smpp.house.subscriber().encode()
    vendors = [(0x1400, b"vendor"), (0x0428, b"\x63"), (0x3FFF, b""), (0x0204, b"\0\1")]
    message = {"source_addr": PASSING.encode(), "data_coding": 8, "short_message": TEXT.encode("utf-16-be")}
    own = [
        tables.SubmitSm(**message, destination_addr=to, tlvs=vendors, esm_class=0x80, protocol_id=1),
        tables.SubmitMulti(**message, dest_address=[(1, 1, 1, to), (1, 0, 8, b"13800009996")]),
        tables.QuerySm(message_id=b"1f", source_addr=PASSING.encode()),
        tables.CancelSm(message_id=b"1f", source_addr=PASSING.encode(), destination_addr=to),
        tables.EnquireLink(),
        tables.GenericNack(),
    ]
    answers = [
        tables.DeliverSmResp(message_id=b""),
        tables.DeliverSmResp(message_id=None),  # no body at all
        tables.DataSmResp(message_id=b"x", tlvs=vendors),
        tables.EnquireLinkResp(),
    ]
    busy = [(0x0428, b"\x5a")]  # congestion_state
    carriers = [
        (tables.SubmitSmResp(message_id=None), 0),
        (tables.SubmitMultiResp(message_id=b"7", unsuccess_sme=[(1, 0, b"13800009996", 11)], tlvs=busy), 0),
        (tables.QuerySmResp(message_id=b"1f", message_state=2), 0),
        (tables.CancelSmResp(), 0x11),
        (tables.EnquireLinkResp(), 0),
        (tables.SubmitSmResp(message_id=b"1f", tlvs=busy + vendors), 0),
        (tables.AlertNotification(source_addr=to, esme_addr=PASSING.encode(), tlvs=vendors), 0),
        (tables.Outbind(system_id=b"smsc"), 0),
        (tables.EnquireLink(), 0),
        (tables.GenericNack(), 3),
    ]
    async with RawCarrier(bare_port, 0x34, Smpp) as carrier:
        login = bind(tables.BindTransceiver, b"bare")
        async with bare(smpp, login) as raw:
            there = await carrier.session()
            assert there.login_frame == login
            await one_by_one(raw, there, [wire.encode(body, n) for n, body in enumerate(own, 0x7FFF_FF00)])
            back = [wire.encode(body, 0x7FFF_FF00 + n, status) for n, (body, status) in enumerate(carriers)]
            unknown = (20).to_bytes(4, "big") + (0x111).to_bytes(4, "big") + bytes(12)
            await one_by_one(there, raw, [*back, unknown])

            async def told() -> bool:
                return await smpp.house.metric("congestion_state", protocol="smpp") == 0x5A

            await eventually(told, every=0.1)
            await one_by_one(raw, there, [wire.encode(body, n) for n, body in enumerate(answers)])

            dropped = wire.encode(tables.AlertNotification(), 5)
            raw.send(wire.encode(tables.Outbind(system_id=b"x"), 4), dropped, wire.heartbeat(6))
            assert await there.frame() == wire.heartbeat(6)
            assert await raw.frame() == wire.answer(tables.OUTBIND, 4, 3)
            raw.send(login)
            assert await raw.frame() == bytes.fromhex("00000010 80000009 00000005") + login[12:16]
    async with (
        smpp.house.counted("connections_closed_total", protocol="smpp", cause="login_expected"),
        Raw.open(smpp.port) as stranger,
    ):
        stranger.wire = wire
        stranger.send(wire.encode(tables.Outbind(system_id=b"smsc", password=b"x"), 9))
        assert await stranger.rest() == [wire.answer(tables.OUTBIND, 9, 4)]


async def test_a_carrier_that_lets_in_without_a_body_speaks_3_3_and_is_told_nothing_newer(
    smpp: Line, bare_port: int
) -> None:
    async with RawCarrier(bare_port, 0x34, Smpp) as carrier:
        carrier.bodiless = True
        bind_50 = tables.BindTransceiver(system_id=b"bare", password=b"x", interface_version=0x50)
        async with Raw.open(smpp.port) as raw:
            raw.wire = Smpp()
            raw.send(Smpp().encode(bind_50, 3))
            assert await raw.frame() == bytes.fromhex("0000001080000009") + bytes(4) + b"\0\0\0\3"
            message = tables.SubmitSm(
                source_addr=REFUSED.encode(), destination_addr=smpp.house.subscriber().encode()
            )
            raw.send(Smpp().encode(message, 4))
            refused = await raw.frame()
            assert len(refused) == 16  # of 5.0 it would say why in a body
            assert int.from_bytes(refused[8:12], "big") == smpp.code(Reason.BLACKLISTED)


async def test_receipts_and_replies_on_the_receiver_belong_to_what_the_transmitter_sent(
    smpp: Line, bare_port: int
) -> None:
    """By optional fields and by text, in hex, decimal and with zeros, in two kinds of PDU."""
    wire, subscriber = Smpp(), smpp.house.subscriber()
    ends = {"source_addr": subscriber.encode(), "destination_addr": PASSING.encode()}
    told = [(tables.RECEIPTED_MESSAGE_ID, b"1f\0"), (tables.MESSAGE_STATE, b"\2")]
    text = b"id:%b sub:001 dlvrd:001 submit date:2611221200 done date:2611221201 stat:DELIVRD err:000 text:"
    receipts = [
        tables.DeliverSm(**ends, esm_class=4, tlvs=told),
        tables.DeliverSm(**ends, esm_class=4, short_message=text % b"1f"),
        tables.DeliverSm(**ends, esm_class=4, short_message=text % b"31"),
        tables.DeliverSm(**ends, esm_class=4, short_message=(text % b"0000001F").upper()),
        tables.DeliverSm(**ends, esm_class=4, tlvs=[(tables.MESSAGE_PAYLOAD, text % b"1f")]),
        tables.DataSm(**ends, esm_class=4, tlvs=told),
    ]
    async with (
        RawCarrier(bare_port, 0x34, Smpp) as carrier,
        bare(smpp, bind(tables.BindReceiver, b"bare")) as receiver,
    ):
        to_receiver = await carrier.session()
        async with bare(smpp, bind(tables.BindTransmitter, b"bare")) as transmitter:
            to_transmitter = await carrier.session()
            message = tables.SubmitSm(
                source_addr=PASSING.encode(),
                destination_addr=subscriber.encode(),
                data_coding=8,
                tlvs=[(tables.MESSAGE_PAYLOAD, TEXT.encode("utf-16-be"))],
                registered_delivery=1,
            )
            early = wire.encode(receipts[0], 90)
            await one_by_one(transmitter, to_transmitter, [wire.encode(message, 5)])
            await one_by_one(to_receiver, receiver, [early])
            answered = wire.encode(tables.SubmitSmResp(message_id=b"1f"), 5)
            await one_by_one(to_transmitter, transmitter, [answered])
            frames = [wire.encode(body, n) for n, body in enumerate(receipts)]
            await one_by_one(to_receiver, receiver, frames)
            reply = tables.DataSm(**ends, tlvs=[(tables.MESSAGE_PAYLOAD, b"TD")])
            await one_by_one(to_receiver, receiver, [wire.encode(reply, 91)])
            transmitter.send(wire.encode(message, 6))
            refused = await transmitter.frame()
            assert int.from_bytes(refused[8:12], "big") == smpp.code(Reason.REFUSED_BY_SUBSCRIBER)

    def tied() -> Any:
        first = smpp.house.records(subscriber=subscriber)[0]
        search = Search(smpp.house.data_dir / "journal", Keys(smpp.house.data_dir / "keys"))
        shown = search.show(first.record.id)  # type: ignore[union-attr]
        return shown is not None and len(shown.reports) == 1 + len(receipts) and shown.reports

    reports = await eventually(tied)
    assert {one.record.stat for one in reports} == {"DELIVRD"}


async def test_smgp_passes_octet_for_octet_and_ties_receipts_in_all_spellings(
    lines: dict[str, Line], bare_port: int
) -> None:
    """A MsgID is ten raw octets, whatever they are; a heartbeat's answer has 12 octets or 13."""
    line, wire = lines["smgp"], smgp.Smgp()
    subscriber, identity = line.house.subscriber(), b"\x01\0: \xd7\0s\x20\0b"
    thirteen = b"\0\0\0\x0d" + wire.heartbeat_answer(7)[4:] + b"\0"
    message = smgp_tables.Submit(
        msg_type=6,
        need_report=1,
        msg_format=8,
        src_term_id=PASSING.encode(),
        dest_term_id=[subscriber.encode()],
        msg_content=TEXT.encode("utf-16-be"),
        tlvs=[(0x0014, b"\1"), (0x0010, b"SP"), (0x1400, b"unknown")],
    )
    usual = smgp_tables.report_text(identity, b"DELIVRD", b"2611221200", b"2611221201")
    tail = usual[13:]
    spellings = [
        usual,
        usual[:3] + identity + tail.lower().replace(b"delivrd", b"DELIVRD"),
        usual[:13] + tail.replace(b"Submit date", b"submit_date").replace(b"done date", b"done_date"),
        usual[:13] + tail.replace(b"Text:", b"txt:").lstrip(),
        usual[:13] + b"s" + tail[1:],
        usual[:13] + tail[:-20] + "025退订回复".encode("gb18030"),
    ]
    sender = line.sender("bare")
    async with RawCarrier(bare_port, 0x30, smgp.Smgp) as carrier:
        login = sender.connect(1)
        async with bare(line, login) as raw:
            there = await carrier.session()
            assert there.login_frame == login
            await one_by_one(raw, there, [wire.encode(message, 5), wire.heartbeat(6), thirteen])
            answer = wire.encode(smgp_tables.SubmitResp(msg_id=identity), 5)
            delivers = [
                wire.encode(
                    smgp_tables.Deliver(
                        msg_id=b"\0" * 9 + bytes([n]),
                        is_report=1,
                        src_term_id=subscriber.encode(),
                        dest_term_id=PASSING.encode(),
                        msg_content=content,
                        tlvs=[(0x0014, b"\1")],
                    ),
                    n,
                )
                for n, content in enumerate(spellings)
            ]
            await one_by_one(there, raw, [answer, thirteen, wire.heartbeat_answer(8), *delivers])
            query = wire.encode(smgp_tables.Query(query_time=b"20261122"), 9)
            await one_by_one(raw, there, [query, wire.heartbeat_answer(8)])
    tied = await eventually(
        lambda: (
            (found := attempt_of(line.house, subscriber)).outcomes
            and len(found.reports) == len(spellings)
            and found
        )
    )
    assert {one.record.stat for one in tied.reports} == {"DELIVRD"}
    assert tied.outcomes[0].message_id == identity


async def test_for_whom_of_several_a_carrier_says_no_stands_in_his_own_record(
    smpp: Line, bare_port: int
) -> None:
    """Addresses may come back in another form; with a status of its own the answer is for all."""
    wire, subscribers = Smpp(), [smpp.house.subscriber() for _ in range(3)]
    message = tables.SubmitMulti(
        source_addr=PASSING.encode(),
        dest_address=[(1, 1, 1, one.encode()) for one in subscribers],
        data_coding=8,
        short_message=TEXT.encode("utf-16-be"),
    )
    failed = [(1, 1, subscribers[1].encode(), 0x0B), (1, 1, b"86" + subscribers[2].encode(), 0x14)]
    part = wire.encode(tables.SubmitMultiResp(message_id=b"7", unsuccess_sme=failed), 5)
    none = wire.encode(tables.SubmitMultiResp(message_id=None), 6, 0x58)
    async with (
        RawCarrier(bare_port, 0x34, Smpp) as carrier,
        bare(smpp, bind(tables.BindTransceiver, b"bare")) as raw,
    ):
        there = await carrier.session()
        for sequence, answer in ((5, part), (6, none)):
            await one_by_one(raw, there, [wire.encode(message, sequence)])
            await one_by_one(there, raw, [answer])

    def outcomes() -> Any:
        search = Search(smpp.house.data_dir / "journal", Keys(smpp.house.data_dir / "keys"))
        said = []
        for one in subscribers:
            ids = [found.record.id for found in smpp.house.records(subscriber=one)]  # type: ignore[union-attr]
            both = [shown.outcomes for identity in ids if (shown := search.show(identity)) is not None]
            said.append([(each[0].result, each[0].message_id) for each in both if each])
        return all(len(one) == 2 for one in said) and said

    assert await eventually(outcomes) == [
        [(0, b"7"), (0x58, b"")],
        [(0x0B, b""), (0x58, b"")],
        [(0x14, b""), (0x58, b"")],
    ]


# What is read, over every protocol


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def every_line(lines: dict[str, Line]) -> dict[str, Line]:
    """And that of CMPP."""
    house = lines["smpp"].house
    header = "carrier,protocol,account,holder,scope,refusal_manner,mass_manner,upstream,allowed_ips"
    row = "mobile,cmpp,bank,BANK,financial,result,whole,,,0"
    await house.bring("accounts", f"{header},max_connections\n{row}")
    return lines | {"cmpp": Line(house, "cmpp", house.port, house.carrier)}


@pytest.fixture(params=[*REFUSALS, "cmpp"])
def any_line(every_line: dict[str, Line], request: pytest.FixtureRequest) -> Line:
    found = every_line[request.param]
    refresh(found.carrier)
    return found


READABLE = [
    (8, "【示例银行】😀理财，拒收请回复R".encode("utf-16-be"), "【示例银行】😀理财，拒收请回复R", ""),
    (15, "【示例银行】㐀𠀀，拒收请回复R".encode("gb18030"), "【示例银行】㐀𠀀，拒收请回复R", ""),
    (0, b"Code \x1b(1234\x1b) \x1be5", "Code {1234} €5", ""),
    (1, b"Code 1234", "Code 1234", ""),
    (0, TEXT.encode("gb18030"), TEXT, "wrong_fmt"),
    (15, TEXT.encode("utf-16-be"), TEXT, "wrong_fmt"),
    (0x7F, TEXT.encode("utf-16-be"), TEXT, "wrong_fmt"),
    (9, TEXT.encode("gb18030"), TEXT, "wrong_fmt"),
]
UNREADABLE = [(8, b"\xd8\x3d\0A", "text"), (15, b"\xff\xff\xff", "text"), (4, b"\1\2\3", "binary")]


def content_of(line: Line, sender: SenderSim, to: str, fmt: int, content: bytes) -> bytes:
    """A message's frame with these octets in this coding."""
    body: Any = line.carrier.peer.message(
        b"bank", PASSING.encode(), [to.encode()], Said(content, fmt, udhi=False), report=False, at=b""
    )
    if line.protocol == "smpp":
        body.data_coding = fmt  # a simulator says 1 instead of 0
    return sender.end.link.wire.encode(body, 0)  # type: ignore[no-any-return]


async def test_a_text_is_judged_by_its_best_reading_and_what_was_odd_is_noted(any_line: Line) -> None:
    line = any_line
    cases = [*READABLE, (3, "déjà".encode("latin-1"), "déjà", "")] if line.protocol == "smpp" else READABLE
    async with line.sender() as sender:
        for fmt, content, text, note in cases:
            to = line.house.subscriber()
            answer = await sender.request(content_of(line, sender, to, fmt, content))
            said = plain(attempt_of(line.house, to), revealed=True)
            assert (said["text"], said.get("text_note", "")) == (text, note), (fmt, content)
            assert (answer.result == 0) is ("拒收请回复R" in text), (fmt, content)


async def test_marketing_that_nobody_can_read_is_malformed(any_line: Line) -> None:
    line = any_line
    async with line.sender() as sender:
        for fmt, content, flaw in UNREADABLE:
            to = line.house.subscriber()
            answer = await sender.request(content_of(line, sender, to, fmt, content))
            assert answer.result == line.code(Reason.MALFORMED)
            judged = attempt_of(line.house, to).found.record.judged  # type: ignore[union-attr]
            assert (judged.reason, judged.sub) == ("malformed", flaw)
    assert not line.carrier.counts["submits"]


async def test_an_answer_in_any_coding_shields(any_line: Line) -> None:
    line = any_line
    async with line.sender() as sender:
        for text, fmt in (("ＴＤ", 8), ("退 订", 15), ("T", 0), ("T", 4)):  # 4: said to be binary
            to = line.house.subscriber()
            assert (await sender.submit(PASSING, [to], TEXT)).result == 0
            assert await line.carrier.deliver(PASSING, to, text, fmt=fmt, account="bank") == 0
            answer = await sender.submit(PASSING, [to], TEXT)
            assert answer.result == line.code(Reason.REFUSED_BY_SUBSCRIBER)
