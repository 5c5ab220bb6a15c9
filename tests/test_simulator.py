"""The two simulators against each other: what they say they did is what happened, also when it goes wrong."""

import asyncio
import json
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest

from gateway.protocols import cmpp_tables as wire
from gateway.protocols.cmpp import PRIVATE, V20, V21, V30, Cmpp
from gateway.simulator.arguments import VERSIONS
from gateway.simulator.carrier import CarrierSim, Received
from gateway.simulator.end import End
from gateway.simulator.faults import CARRIER, SENDER, Faults, faults_of, misbehaviour
from gateway.simulator.peers import PEERS
from gateway.simulator.sender import LoginRefused, SenderSim

HOST, NUMBER, SUBSCRIBER, SECRET = "127.0.0.1", "10690001", "13800000000", "s3cret"


def sender_to(carrier: CarrierSim, version: int = V20, **settings: Any) -> SenderSim:
    return SenderSim(HOST, carrier.port, "900001", SECRET, version, **settings)


@pytest.mark.parametrize("version", [V20, V21, V30, PRIVATE])
async def test_submit_report_and_reply(version: int) -> None:
    def reply(received: Received) -> str | None:
        return "退订" if "验证" not in received.text else None

    async with CarrierSim(secret=SECRET, reply=reply) as carrier, sender_to(carrier, version) as sender:
        assert sender.version == min(version, V30)
        assert sender.digest_ok
        answer = await sender.submit(NUMBER, [SUBSCRIBER, "13800000001"], "您好，回T退订", report=True)
        assert answer.result == 0
        first = int.from_bytes(answer.message_id, "big")
        for index, destination in enumerate((SUBSCRIBER, "13800000001")):
            report = await sender.report_of((first + index).to_bytes(8, "big"))
            assert (report.stat, report.destination) == (b"DELIVRD", destination.encode())
        await sender.until(lambda: sender.replies)
        assert sender.replies[0][:3] == (NUMBER, SUBSCRIBER, "退订")
        (received,) = carrier.submits
        assert received.text == "您好，回T退订"
        assert received.submission.destinations == [SUBSCRIBER.encode(), b"13800000001"]
        await carrier.until(lambda: carrier.counts["replies_answered"] == 1)
    assert carrier.counts["reports_answered"] == 2
    assert sender.cause is not None
    assert sender.cause.cause == "terminated"


async def test_a_long_text_goes_in_parts() -> None:
    text = "您好，账单已出，请于到期日前还款。😀" * 10
    async with CarrierSim() as carrier, sender_to(carrier) as sender:
        await sender.submit(NUMBER, [SUBSCRIBER], text)
        assert len(carrier.submits) == 3
        assert "".join(received.text for received in carrier.submits) == text
        assert {(r.submission.pk_total, r.submission.udhi) for r in carrier.submits} == {(3, True)}


async def test_a_long_reply_comes_in_parts() -> None:
    said = "您好，我已经还清了全部欠款，请核实以后再联系我。" * 5
    async with CarrierSim(reply=lambda _: said) as carrier, sender_to(carrier) as sender:
        await sender.submit(NUMBER, [SUBSCRIBER], "hello")
        await carrier.deliver(NUMBER, SUBSCRIBER, said)
        await sender.until(lambda: len(sender.replies) == 4)
        assert "".join(reply.text for reply in sender.replies) == said * 2
        assert {delivery.udhi for _, delivery in sender.deliveries} == {True}


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"secret": "other"}, 3), ({"account": "900002"}, 2), ({"version": V30}, 4)],
)
async def test_a_login_is_refused_with_its_status(settings: dict[str, Any], status: int) -> None:
    async with CarrierSim(**settings) as carrier:
        with pytest.raises(LoginRefused) as caught:
            async with sender_to(carrier, 0x40 if status == 4 else V30):
                pass
        assert caught.value.status == status
        await carrier.until(lambda: not carrier.ends)
        assert carrier.counts["logins_refused"] == 1


async def test_a_carrier_of_2_0_answers_a_sender_of_3_0_in_its_own_layout() -> None:
    async with CarrierSim(secret=SECRET, version=V20) as carrier, sender_to(carrier, V30) as sender:
        assert sender.version == V20
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "hello")).result == 0
        assert carrier.submits[0].text == "hello"


async def test_a_carrier_that_never_answers_the_login() -> None:
    async with CarrierSim() as carrier:
        carrier.faults.login_never = True
        with pytest.raises(LoginRefused) as caught:
            async with sender_to(carrier, login_seconds=0.05):
                pass
        assert caught.value.status is None


async def test_a_wrong_digest_is_noticed_and_not_held_against_the_carrier() -> None:
    async with CarrierSim() as carrier:
        carrier.faults.wrong_digest = True
        async with sender_to(carrier) as sender:
            assert sender.digest_ok is False
            assert (await sender.submit(NUMBER, [SUBSCRIBER], "hello")).result == 0


async def test_misbehaviour_on_demand() -> None:
    async with CarrierSim() as carrier, sender_to(carrier, wait=50) as sender:
        carrier.faults = Faults(refuse_every=2, refuse_with=8)
        results = [(await sender.submit(NUMBER, [SUBSCRIBER], str(i))).result for i in range(4)]
        assert results == [0, 8, 0, 8]

        carrier.faults = Faults(twice_every=1)
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "twice")).result == 0
        await sender.until(lambda: sender.counts["stray"] == 1)

        carrier.faults = Faults(answer_after=0.01)
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "late")).result == 0

        carrier.faults = Faults(silent_every=1)
        before = carrier.counts["submits"]
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "nothing")).result is None
        assert carrier.counts["submits"] - before == 3
        assert len({received.frame for received in list(carrier.submits)[-3:]}) == 1

        carrier.faults = Faults(wrong_length_every=1)
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "broken")).result is None
        assert sender.cause is not None
        assert sender.cause.cause == "length_too_short"


async def test_a_carrier_that_drops_leaves_nothing_hanging() -> None:
    async with CarrierSim() as carrier, sender_to(carrier) as sender:
        carrier.faults.drop_every = 3
        frames = [frame for i in range(5) for frame in sender.frames(NUMBER, [SUBSCRIBER], str(i))]
        answers = await asyncio.gather(*(sender.request(frame) for frame in frames))
        assert [answer.result is None for answer in answers][-3:] == [True] * 3
        assert sender.cause is not None
        assert sender.cause.cause == "lost"
        assert (await sender.submit(NUMBER, [SUBSCRIBER], "after")).result is None


async def test_a_chosen_sequence_number_and_a_redelivered_reply() -> None:
    async with CarrierSim() as carrier, sender_to(carrier) as sender:
        identity = bytes.fromhex("b2b9da8000010000")
        assert await carrier.deliver(NUMBER, SUBSCRIBER, "R", sequence=4711, identity=identity) == 0
        assert await carrier.deliver(NUMBER, SUBSCRIBER, "R", identity=identity) == 0
        assert [sequence for sequence, _ in sender.deliveries] == [4711, 1]
        assert {reply.message_id for reply in sender.replies} == {identity}
        sender.deliver_result = 9
        assert await carrier.deliver(NUMBER, SUBSCRIBER, "退订") == 9


async def test_a_sender_that_does_not_answer_gets_a_deliver_three_times() -> None:
    async with CarrierSim(wait=30) as carrier, sender_to(carrier) as sender:
        sender.deliver_result = None
        assert await carrier.deliver(NUMBER, SUBSCRIBER, "R") is None
        assert len(sender.deliveries) == 3


async def test_hearts_beat_both_ways() -> None:
    async with CarrierSim(idle=20) as carrier, sender_to(carrier, idle=20) as sender:
        beats: list[Any] = []
        for end in (sender.end, carrier.connection("900001")):

            def beat(number: int, end: End = end) -> bytes:
                beats.append(end)
                sender.changed()
                return Cmpp.heartbeat(number)

            end.link.wire.heartbeat = beat
        await sender.until(lambda: len(beats) >= 6 and len(set(beats)) == 2)
        assert await sender.ask(Cmpp.heartbeat(0)) is not None
        assert sender.cause is None
        with pytest.raises(LookupError):
            carrier.connection("900002")


async def test_other_requests_are_answered() -> None:
    async with CarrierSim() as carrier, sender_to(carrier, V30) as sender:
        protocol = sender.end.link.wire
        for body, answer in (
            (wire.Query(time=b"20261121"), wire.QueryResp(time=b"20261121")),
            (wire.Cancel(msg_id=5), wire.CancelResp()),
            (wire.Fwd(), wire.FwdResp(result=9)),
        ):
            octets = await sender.ask(protocol.encode(body, 0))
            assert octets is not None
            assert protocol.decode(octets, protocol.frames(octets)[0][0]) == answer
        assert carrier.counts["other"] == 3


async def test_a_submit_that_can_not_be_read_is_answered() -> None:
    async with CarrierSim() as carrier, sender_to(carrier) as sender:
        cut = bytearray(sender.frames(NUMBER, [SUBSCRIBER], "hello")[0][:60])
        cut[:4] = (60).to_bytes(4, "big")
        assert (await sender.request(bytes(cut))).result == 1
        assert carrier.counts["malformed"] == 1


async def test_the_window_is_kept() -> None:
    async with CarrierSim() as carrier, sender_to(carrier, window=4) as sender:
        carrier.faults.answer_after = 0.02
        frame = sender.frames(NUMBER, [SUBSCRIBER], "hello")[0]
        futures = [sender.request(frame) for _ in range(10)]
        await carrier.until(lambda: len(carrier.submits) == 4)
        assert sum(future.done() for future in futures) == 0
        assert all(answer.result == 0 for answer in await asyncio.gather(*futures))


async def test_two_thousand_submits() -> None:
    async with CarrierSim() as carrier, sender_to(carrier, window=100) as sender:
        frame = sender.frames(NUMBER, [SUBSCRIBER], "您好", report=True)[0]
        answers = await asyncio.gather(*(sender.request(frame) for _ in range(2000)))
        assert len({answer.message_id for answer in answers}) == 2000
        await sender.until(lambda: sender.counts["reports"] == 2000)
        assert {report.message_id for report in sender.reports} == {answer.message_id for answer in answers}


PROGRAM = """
import argparse, sys
from gateway.simulator.arguments import add_carrier_arguments, add_sender_arguments
from gateway.simulator.commands import run_carrier, run_sender
parser = argparse.ArgumentParser()
sides = parser.add_subparsers(dest="side")
add_sender_arguments(sides.add_parser("sender"))
add_carrier_arguments(sides.add_parser("carrier"))
args = parser.parse_args()
sys.exit((run_sender if args.side == "sender" else run_carrier)(args))
"""


def test_the_words_of_the_command_line_are_the_peers_own_and_cost_no_other_command() -> None:
    assert {name: tuple(peer.versions) for name, peer in PEERS.items()} == VERSIONS
    code = "import sys, gateway.cli as c; c.parser(); print(*[m for m in sys.modules if 'protocols' in m])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []


def test_each_word_of_the_command_line_is_a_fault_that_is_driven_through_a_node() -> None:
    source = (Path(__file__).parent / "test_bad_peers.py").read_text("utf-8")
    of_carriers, of_senders = source.split("# The sender misbehaves")
    for side, tests in ((CARRIER, of_carriers), (SENDER, of_senders)):
        for word, one in side.items():
            assert f"{one.field}=" in tests or f"faults.{one.field} =" in tests, word


def test_a_misbehaviour_is_read_from_the_command_line_and_a_wrong_one_is_told_what_would_be_right() -> None:
    read = misbehaviour(CARRIER)
    assert faults_of(map(read, ("drop:3", "slow", "overflow")), CARRIER) == Faults(
        drop_every=3, answer_after=1.0, overflow=True
    )
    assert faults_of([misbehaviour(SENDER)("slow:20")], SENDER).answer_after == 20.0
    for given, right in (
        ("late", "one of slow, silent"),
        ("drop:0", "drop:N with N from 1 to 1000000"),
        ("drop:x", "drop:N with N from 1 to 1000000"),
        ("overflow:2", "right would be overflow"),
    ):
        with pytest.raises(ArgumentTypeError, match=right):
            read(given)
    with pytest.raises(ArgumentTypeError, match="right would be one of"):
        misbehaviour(SENDER)("early-report")


async def test_the_commands_print_one_line_of_counts(tmp_path: Path, unused_tcp_port: int) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    common = ["--port", str(unused_tcp_port), "--secret-file", str(tmp_path / "secret")]
    carrier = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "carrier", *common, "--reply-every", "5", "--refuse-every", "10"),
        stdout=subprocess.PIPE,
    )
    try:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection(HOST, unused_tcp_port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        load = ["--account", "900001", "--messages", "100", "--connections", "3", "--report", "--wait", "0.2"]
        sender = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, "sender", *common, *load), stdout=subprocess.PIPE
        )
        out, _ = await sender.communicate()
        counts = json.loads(out)
        assert sender.returncode == 0
        assert counts["submits"] == 100
        assert counts["results"] == {"0": 90, "9": 10}
        assert (counts["reports"], counts["replies"], counts["unanswered"]) == (90, 18, 0)
        assert counts["version"] == "3.0"
    finally:
        carrier.send_signal(signal.SIGTERM)
        out, _ = await carrier.communicate()
    assert json.loads(out)["submits"] == 100


async def test_a_sender_whom_nobody_answers_fails_with_one_line(unused_tcp_port: int) -> None:
    sender = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "sender", "--account", "1", "--port", str(unused_tcp_port)),
        stdout=subprocess.PIPE,
    )
    out, _ = await sender.communicate()
    assert sender.returncode == 1
    assert json.loads(out)["error"] == f"127.0.0.1:{unused_tcp_port}: Connection refused"
