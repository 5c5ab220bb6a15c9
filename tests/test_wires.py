"""What holds for every protocol: vectors, PDUs, any split of the stream, hostile octets, our own answers."""

import gc
import random
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import ALL, CMPP, SGIP, SMGP, SMPP, VECTORS, Speech, column_of, spoken, values_of

from gateway.config import PROTOCOLS
from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import (
    WIRES,
    cmpp,
    cmpp_tables,
    sgip,
    sgip_tables,
    smgp,
    smgp_tables,
    smpp,
    smpp_status,
    smpp_tables,
    support,
)
from gateway.protocols.message import Delivery
from gateway.protocols.sgip_tables import SequenceNumber
from gateway.protocols.table import Pdu, Unframed
from gateway.protocols.text import decode
from gateway.simulator.peers import PEERS

ANSWER = 0x8000_0000
of_each = pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.wire.name)
of_dated = pytest.mark.parametrize("speech", [CMPP, SMGP, SMPP], ids=lambda speech: speech.wire.name)
"""Whose reports say when, and name the number that sent."""


def vectors(wanted: Any) -> Any:
    return pytest.mark.parametrize(
        ("speech", "v"),
        [pytest.param(speech, v, id=v["id"]) for speech in ALL for v in speech.vectors if wanted(v)],
    )


# Vectors


def test_all_vectors_of_the_four_protocols_are_looked_at() -> None:
    assert {speech.wire.name: len(speech.vectors) for speech in ALL} == {
        "cmpp": 53,
        "sgip": 24,
        "smgp": 29,
        "smpp": 48,
    }


@vectors(lambda v: "decoded" in v and "_pdu" in v["decoded"])
def test_a_valid_vector_is_decoded_as_said_and_encoded_back_to_its_octets(
    speech: Speech, v: dict[str, Any]
) -> None:
    data, said = bytes.fromhex(v["hex"]), dict(v["decoded"])
    protocol = speech.speaks(v["version"])
    (frame,), used = protocol.frames(data)
    assert used == len(data) == said.pop("_length")
    sequence = said.pop("_sequence")
    if isinstance(sequence, list):
        sequence = SequenceNumber(*sequence).number
    assert frame == (0, used, int(said.pop("_command_id"), 16), sequence)
    pdu = protocol.decode(data, frame)
    name = said.pop("_pdu")
    assert type(pdu).__name__.lower() == name.replace("_", "")
    if "tlvs" in spoken(pdu, column_of(protocol)):  # those of 3.4 leave them out where only 5.0 has any
        tlvs = said.get("tlvs", [])
        said |= {"tlvs": [{k: w for k, w in tlv.items() if k != "name"} for tlv in tlvs]}
    status = [int(said.pop("_command_status"), 16)] if "_command_status" in said else []
    if "_body_hex" in said:
        assert said.pop("_body_hex") == data[protocol.HEADER :].hex()
    else:
        assert spoken(pdu, column_of(protocol)) == said
    assert protocol.encode(pdu, sequence, *status) == data
    if "msg_id_fields" in v:
        parts = cmpp_tables.message_id_parts(pdu.msg_id.to_bytes(8, "big"))
        assert [*parts] == [*v["msg_id_fields"].values()]


READ = [v for v in VECTORS if v["kind"] in ("valid", "deviation") and "text" in v.get("message", {})]


@vectors(lambda v: v in READ)
def test_what_a_message_says_is_read_as_said(speech: Speech, v: dict[str, Any]) -> None:
    data, protocol = bytes.fromhex(v["hex"]), speech.speaks(v["version"])
    command = int(v["decoded"]["_command_id"], 16)
    read = protocol.submission if protocol.SENDER_MAY.get(command) == "judge" else protocol.delivery
    said = read(data, 0, len(data))
    wanted = v["message"]["text"] or said.content.decode("utf-16-be")  # too long for the file
    assert decode(said.content, said.fmt, said.udhi, protocol.name) == (wanted, "")


def acted(protocol: Any, data: bytes) -> str:
    """What a gateway does with the first frame of `data`: the action, in the words of the vectors."""
    try:
        frames, _ = protocol.frames(data)
    except Unframed as error:
        return "close connection without reply" if not error.frames else "frames before it"
    if not frames:
        return "keep buffering (time out the half PDU)"
    (start, end, command, sequence) = frames[0]
    frame = data[start:end]
    if command == cmpp_tables.CONNECT | ANSWER:
        status, version = protocol.read_login_answer(frame)
        return f"status {status} version {version:#x}"
    if protocol.SENDER_MAY.get(command) == "login":
        try:
            login = protocol.login(frame)
        except WireError as error:
            answer = protocol.malformed(command, sequence, error)
        else:
            assert protocol.too_high(login)
            answer = protocol.login_answer(login, protocol.VERSION_TOO_HIGH, sequence)
        assert answer is not None
        return f"status {protocol.read_login_answer(answer)[0]} version {answer[-1]:#x}"
    if protocol.CARRIER_SENDS.get(command) == "delivery" and command not in protocol.SENDER_MAY:
        return f"delivered, {protocol.delivery(data, start, end).report!r}"[:17]
    if command not in protocol.SENDER_MAY:
        return f"answer {protocol.unknown(data, frames[0])!r}"
    if protocol.SENDER_MAY[command] == "pass":
        return f"passed as {sequence:#x}"
    try:
        submission = protocol.submission(data, start, end)
    except WireError as error:
        answer = protocol.malformed(command, sequence, error)
        assert answer is not None
        return f"result {protocol.result(answer, 0, len(answer))[0]}"
    return f"accepted, udhi {int(submission.udhi)}"


ACCEPTED = {"accepted, udhi 0", "accepted, udhi 1"}
ACTIONS = {
    "submit_resp Result 1 (structure) or 4 (length)": {"result 1", "result 4"},
    "submit_resp Result 1/13": {"result 1", "result 13"},
    "submit_resp Result 4": {"result 4"},
    "no response id exists: log, count, keep or close after N": {"answer None"},
    "accept in lenient mode (some gateways pad); strict: Result 4": ACCEPTED,
    "connect_resp Status 1 then close": {"status 1 version 0x30"},
    "connect_resp Status 4, Version 0x30": {"status 4 version 0x30"},
    "client: a 30-octet response means the peer speaks 2.0; re-read with the 1-octet Status": {
        "status 0 version 0x20"
    },
    "submit_resp Result 5 then close (spec 3.7.2.4.2: close on a syntax error)": {"result 5"},
    "submit_resp Result 5": {"result 5"},
    "accept in lenient mode; strict: Result 8": ACCEPTED,
    "accept in lenient mode, answer report_resp 0": {"delivered, Report"},
    "log, count, keep or close after N": {"answer None"},
    "Status 10 (broken TLV)": {"result 10"},
    "submit_resp Status 10": {"result 10"},
    "submit_resp Status 36": {"result 36"},
    "submit_resp Status 47": {"result 47"},
    "accept, ignore the tag": {"accepted, udhi 1"},
    "accept, first value counts": {"accepted, udhi 1"},
    "submit_resp Status 10 or treat as 0": {"accepted, udhi 0"},
    "submit_sm_resp ESME_RINVCMDLEN 0x02 or generic_nack": {"result 2"},
    "ESME_RINVOPTPARSTREAM 0xC0 or accept": {"result 192"},
    "submit_sm_resp 0xC0/0xC2": {"result 192"},
    "submit_sm_resp 0xC0": {"result 192"},
    "submit_sm_resp 0x01": {"result 1"},
    "submit_sm_resp 0x0A": {"result 10"},
    "accept and carry through": {"accepted, udhi 0"},
    "answer with the same sequence": {"passed as 0xffffffff"},
}


@vectors(lambda v: "expected_error" in v)
def test_a_malformed_vector_is_named_and_treated_as_said(speech: Speech, v: dict[str, Any]) -> None:
    data, protocol = bytes.fromhex(v["hex"]), speech.speaks(v["version"])
    error = None
    try:
        frames, _ = protocol.frames(data)
        if not frames:
            error = "need_more_data"
        for frame in frames:
            protocol.decode(data, frame)
    except Unframed as caught:
        error = caught.cause
    except WireError as caught:
        error = f"{caught.cause}:{caught.detail}".removesuffix(":")
    assert error == v["expected_error"]
    if "expected_action" in v:
        action = v["expected_action"]
        assert acted(protocol, data) in ACTIONS.get(action, {action})


# Every PDU


TABLES = [
    pytest.param(speech, version, table, id=f"{speech.wire.name}-{word}-{table.__name__}")
    for speech in ALL
    for word, version in speech.versions.items()
    if word in ("2.0", "3.0", "1.3", "1.2", "3.4")
    for table in speech.tables.PDUS.values()
]


@pytest.mark.parametrize(("speech", "version", "table"), TABLES)
def test_every_pdu_is_read_back_as_written(speech: Speech, version: int, table: type[Pdu]) -> None:
    protocol = speech.wire(version)
    most = 2 ** (96 if speech is SGIP else 32) - 1

    @given(values=values_of(table, column_of(protocol)), sequence=st.integers(0, most))
    def check(values: dict[str, Any], sequence: int) -> None:
        frame = protocol.encode(table(**values), sequence)
        if len(frame) > protocol.CAP:
            return
        (found,), used = protocol.frames(frame)
        assert found == (0, used, table.command, sequence)
        got = protocol.decode(frame, found)
        assert {name: getattr(got, name) for name in values} == values
        assert protocol.encode(got, sequence) == frame
        changed = protocol.with_sequence(frame, most - sequence)
        assert protocol.frames(changed)[0] == [(0, used, table.command, most - sequence)]
        assert protocol.with_sequence(changed, sequence) == frame

    check()


@of_each
def test_nothing_that_carries_text_is_passed_from_a_sender_unjudged(speech: Speech) -> None:
    texts = {"msg_content", "message_content", "short_message", "tlvs"}
    carries = {
        command
        for command, table in speech.tables.PDUS.items()
        if not command & ANSWER and any(f.name in texts for f in table.fields)
    }
    assert carries
    assert {c for c in carries if speech.wire.SENDER_MAY.get(c) not in (None, "judge")} == set()


# Frames


def stream(speech: Speech) -> bytes:
    newest = list(speech.versions)[1 if speech is CMPP else 0]
    return b"".join(
        bytes.fromhex(v["hex"]) for v in speech.vectors if v["kind"] == "valid" and v["version"] == newest
    )


@of_each
def test_any_split_of_the_stream_gives_the_same_frames(speech: Speech) -> None:
    protocol, whole_stream = speech.wire(), stream(speech)
    whole, _ = protocol.frames(whole_stream)
    assert len(whole) > 5

    def split(cuts: list[int]) -> None:
        rest, found = b"", []
        edges = [0, *sorted(cuts), len(whole_stream)]
        for start, end in pairwise(edges):
            data = rest + whole_stream[start:end]
            frames, used = protocol.frames(data)
            found += [(data[a:b], command, sequence) for a, b, command, sequence in frames]
            rest = data[used:]
        assert rest == b""
        assert found == [(whole_stream[a:b], command, sequence) for a, b, command, sequence in whole]

    given(cuts=st.lists(st.integers(0, len(whole_stream)), max_size=30))(split)()
    split(list(range(len(whole_stream))))


@of_each
@pytest.mark.parametrize("length", [0, -1, 1, 2**32 - 1], ids=["none", "below", "above", "huge"])
def test_a_wrong_length_is_known_from_its_four_octets_and_keeps_the_frames_before_it(
    speech: Speech, length: int
) -> None:
    protocol = speech.wire()
    good = protocol.encode(speech.tables.PDUS[protocol.TERMINATE](), 3)
    said = {-1: protocol.HEADER - 1, 1: protocol.CAP + 1}.get(length, length)
    cause = "length_too_short" if said < protocol.HEADER else "length_too_large"
    for more in (b"", b"\0\0", b"\0" * 40):
        with pytest.raises(Unframed) as caught:
            protocol.frames(good + said.to_bytes(4, "big") + more)
        assert (caught.value.cause, caught.value.detail) == (cause, str(said))
        assert caught.value.frames == [(0, protocol.HEADER, protocol.TERMINATE, 3)]


@of_each
def test_a_frame_of_the_cap_passes_and_nothing_is_kept_of_it(speech: Speech) -> None:
    protocol = speech.wire()
    data = protocol.CAP.to_bytes(4, "big") + b"\0\0\0\x04" + bytes(protocol.CAP - 8)
    assert protocol.frames(data) == ([(0, protocol.CAP, 4, 0)], protocol.CAP)
    assert protocol.frames(data[:-1]) == ([], 0)


# Our own


def only(protocol: Any, octets: bytes | None) -> tuple[int, int]:
    """Command and sequence of a frame that is all of `octets`."""
    assert octets is not None
    ((start, end, command, sequence),), used = protocol.frames(octets)
    assert (start, end) == (0, used) == (0, len(octets))
    protocol.decode(octets, (start, end, command, sequence))
    return command, sequence


@of_each
def test_every_reason_has_an_answer_in_every_version_and_to_every_request(speech: Speech) -> None:
    assert set(speech.refusals) == set(Reason)
    judged = [c for c, doing in speech.wire.SENDER_MAY.items() if doing == "judge"]
    for version in speech.versions.values():
        protocol = speech.wire(version)
        for command in judged:
            for reason, number in speech.refusals.items():
                octets = protocol.refusal(5, reason, command)
                assert only(protocol, octets) == (command | ANSWER, 5)
                result, _ = protocol.result(octets, 0, len(octets))
                assert result == (smpp_status.PROHIBITED if version == smpp.V50 else number)
                if version == smpp.V50 and command != smpp_tables.REPLACE_SM:
                    assert reason.value.encode() in octets


def test_a_reason_can_be_told_from_the_number_where_the_protocol_has_room() -> None:
    for speech in (CMPP, SMGP, SMPP):
        assert len(set(speech.refusals.values())) == len(Reason)
    assert all(100 <= result <= 199 for result in cmpp.REFUSALS.values())
    own = {s for r, s in smgp.REFUSALS.items() if r not in (Reason.QUIET_HOURS, Reason.OVER_FREQUENCY)}
    assert all(128 <= status <= 255 for status in own)
    assert (smgp.REFUSALS[Reason.QUIET_HOURS], smgp.REFUSALS[Reason.OVER_FREQUENCY]) == (74, 75)
    assert all(0x400 <= status <= 0x4FF for status in smpp_status.REFUSALS.values())
    assert set(sgip.REFUSALS.values()) == {5, 6, 8}


@of_each
def test_what_may_come_again_is_told_so_by_the_protocols_own_code(speech: Speech) -> None:
    protocol = speech.wire()
    octets = protocol.busy(protocol.SUBMIT, 7)
    assert only(protocol, octets) == (protocol.SUBMIT | ANSWER, 7)
    temporary = {"cmpp": 8, "sgip": 11, "smgp": 1, "smpp": 0x58}[protocol.name]
    assert protocol.result(octets, 0, len(octets))[0] == temporary
    for command, doing in protocol.CARRIER_SENDS.items():
        if doing == "delivery":
            assert only(protocol, protocol.busy(command, 7)) == (command | ANSWER, 7)


@of_each
def test_what_a_sender_may_not_send_is_refused_or_can_not_be_answered(speech: Speech) -> None:
    protocol = speech.wire()
    for command in (*speech.tables.PDUS, 0xBEEF, 0x8000BEEF):
        if command in protocol.SENDER_MAY:
            continue
        octets = protocol.unknown(bytes(protocol.HEADER), (0, protocol.HEADER, command, 3))
        if octets is not None:
            assert not command & ANSWER
            assert only(protocol, octets) in ((command | ANSWER, 3), (getattr(protocol, "NACK", 0), 3))


SAMPLES = {
    "cmpp": cmpp_tables.Submit(
        src_id=b"10690001", dest_terminal_id=[b"13800000000", b"13800000001"], registered_delivery=1
    ),
    "sgip": sgip_tables.Submit(
        sp_number=b"10690001", user_number=[b"13800000000", b"13800000001"], report_flag=1
    ),
    "smgp": smgp_tables.Submit(
        src_term_id=b"10690001", dest_term_id=[b"13800000000", b"13800000001"], need_report=1
    ),
    "smpp": smpp_tables.SubmitMulti(
        source_addr=b"10690001",
        dest_address=[(1, 1, 1, b"13800000000"), (1, 1, 1, b"13800000001")],
        registered_delivery=1,
    ),
}


@of_dated
def test_a_message_that_we_accept_and_report_rejected_is_read_by_ourselves(speech: Speech) -> None:
    for version in speech.versions.values():
        protocol = speech.wire(version)
        frame = protocol.encode(SAMPLES[protocol.name], 9)
        submission = protocol.submission(frame, 0, len(frame))
        assert submission.wants_report
        (_, _, command, _), *_ = protocol.frames(frame)[0]
        ids = protocol.message_ids((11, 21, 9, 30, 59), 4242, 65_534, 2)
        octets = protocol.acceptance(9, ids[0], command)
        assert only(protocol, octets) == (command | ANSWER, 9)
        assert protocol.result(octets, 0, len(octets)) == (0, ids[0])
        for index, destination in enumerate(submission.destinations):
            octets = protocol.rejected_report(submission, index, ids[index], 42, "2611210930", "2611210931")
            _, sequence = only(protocol, octets)
            if protocol.name == "smgp":
                assert b" stat:REJECTD err:999 Text:000" in octets
            delivery = protocol.delivery(octets, 0, len(octets))
            report = delivery.report
            assert report is not None
            assert sequence == 42
            assert (delivery.number, delivery.subscriber) == (b"10690001", destination)
            assert (report.stat, report.submit_time, report.done_time, report.destination) == (
                *(b"REJECTD", b"2611210930", b"2611210931", destination),
            )
            assert report.message_id in protocol.reported_as(ids[0], index)


@of_each
def test_a_confirmation_is_a_submit_to_whom_a_reply_came_from(speech: Speech) -> None:
    reply = Delivery(b"", b"13800000007", b"1069000101", 0, False, b"T", None)
    for version in speech.versions.values():
        protocol = speech.wire(version)
        for specimen in (b"", protocol.encode(SAMPLES[protocol.name], 9)):
            octets = protocol.confirmation(specimen, "900001", reply, "好".encode("utf-16-be"), 77)
            assert only(protocol, octets) == (protocol.SUBMIT, 77)
            said = protocol.submission(octets, 0, len(octets))
            assert (said.source, said.destinations) == (b"1069000101", [b"13800000007"])
            assert decode(said.content, said.fmt, said.udhi) == ("好", "")
            assert not said.wants_report


@of_each
def test_a_reduced_message_differs_only_in_its_recipients(speech: Speech) -> None:
    protocol = speech.wire()
    frame = protocol.encode(SAMPLES[protocol.name], 9)
    whole = protocol.submission(frame, 0, len(frame))
    assert protocol.reduced(b"##" + frame + b"##", 2, 2 + len(frame), [0, 1]) == frame
    octets = protocol.reduced(b"##" + frame + b"##", 2, 2 + len(frame), [1])
    assert only(protocol, octets) == (protocol.frames(frame)[0][0][2], 9)
    said = protocol.submission(octets, 0, len(octets))
    assert said == replace(whole, destinations=[b"13800000001"])


# Broken and hostile peers


def mutations(speech: Speech, seed: int, count: int) -> None:
    """`count` mutated frames: nothing but WireError comes of any of them, in any version."""
    chance = random.Random(seed)
    samples, protocols = speech.samples, [speech.wire(version) for version in speech.versions.values()]
    for _ in range(count):
        data = bytearray(chance.choice(samples))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if chance.random() < 0.4:
            data = data[: chance.randrange(len(data) + 1)] + chance.randbytes(chance.randrange(30))
        if chance.random() < 0.6:
            data[:4] = len(data).to_bytes(4, "big")
        read(chance.choice(protocols), bytes(data))


def read(protocol: Any, data: bytes) -> None:
    try:
        frames, used = protocol.frames(data)
    except Unframed as error:
        frames, used = error.frames, 0
    assert 0 <= used <= len(data)
    for frame in frames:
        start, end, command, sequence = frame
        assert used == 0 or protocol.HEADER <= end - start <= protocol.CAP
        for act in (
            lambda frame=frame: protocol.decode(data, frame),
            lambda start=start, end=end: protocol.login(data[start:end]),
            lambda start=start, end=end: protocol.result(data, start, end),
            lambda start=start, end=end: protocol.delivery(data, start, end),
            lambda frame=frame: protocol.unknown(data, frame),
        ):
            with suppress(WireError):
                act()
        with suppress(WireError):
            protocol.read_login_answer(data[start:end])
        try:
            submission = protocol.submission(data, start, end)
        except WireError as error:
            protocol.malformed(command, sequence, error)
        else:
            decode(submission.content, submission.fmt, submission.udhi)
            keep = range(0, len(submission.destinations), 2)
            reduced = protocol.reduced(data, start, end, keep)
            again = protocol.submission(reduced, 0, len(reduced))
            assert again == replace(submission, destinations=submission.destinations[::2])


@of_each
def test_mutated_frames_raise_nothing_but_the_declared_error(speech: Speech) -> None:
    mutations(speech, 1, 10_000)


@pytest.mark.long
@pytest.mark.timeout(900)
@of_each
def test_a_million_mutated_frames_do_not_grow_memory(speech: Speech) -> None:
    mutations(speech, 2, 100_000)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for seed in range(10, 110):
        mutations(speech, seed, 10_000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
    tracemalloc.start()  # slows all down tenfold: the peak is looked at in a part only
    mutations(speech, 3, 2_000)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    mutations(speech, 4, 20_000)
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 64 * 1024
    assert peak - before < 192 * 1024 + 4 * speech.wire.CAP  # some copies of a frame, whatever came before


@of_each
def test_garbage_raises_nothing_but_the_declared_error(speech: Speech) -> None:
    @given(data=st.binary(max_size=300), version=st.sampled_from([*speech.versions.values()]))
    def check(data: bytes, version: int) -> None:
        read(speech.wire(version), data)

    check()


def test_the_readme_says_what_becomes_of_each_request() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert support.table() in readme
    assert {*support.SPOKEN} == {*WIRES} == {*PROTOCOLS} == {*PEERS}
    assert {name: wire.port for name, wire in WIRES.items()} == PROTOCOLS
