"""CMPP: digests, ids, logins, what is judged of a SUBMIT, deliveries and reports as met in the field.

What holds for every protocol is in test_wires.py."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import CMPP, spoken, values_of

from gateway.errors import WireError
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.cmpp import PRIVATE, REFUSALS, V20, V21, V30, Cmpp, result_of
from gateway.protocols.message import Login, Report, Submission
from gateway.protocols.table import Pdu

VERSIONS = {"2.0": V20, "3.0": V30, "*": V20}


def named(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in CMPP.vectors if v["kind"] == kind]


def vector(name: str) -> tuple[Cmpp, bytes]:
    found = next(v for v in CMPP.vectors if v["id"] == name)
    return Cmpp(VERSIONS[found["version"]]), bytes.fromhex(found["hex"])


def submit(version: int = V20, **values: Any) -> bytes:
    plain = {"registered_delivery": 1, "src_id": b"10690001", "dest_terminal_id": [b"13800000000"]}
    return Cmpp(version).encode(wire.Submit(**plain | {"msg_content": b"hi"} | values), 7)


# Vectors


@pytest.mark.parametrize("v", named("report_content"))
def test_a_report_content_is_decoded_and_encoded_back(v: dict[str, Any]) -> None:
    data = bytes.fromhex(v["hex"])
    report = wire.StatusReport.decode(data, 0, len(data))
    assert spoken(report, 0) == v["decoded"]
    assert report.encode() == data


@pytest.mark.parametrize("v", named("digest"))
def test_digests(v: dict[str, Any]) -> None:
    said = v["input"]
    secret = said["shared_secret"].encode()
    if "timestamp" in said:
        got = wire.authenticator_source(said["source_addr"].encode(), secret, said["timestamp"])
    else:
        source = bytes.fromhex(said["authenticator_source"])
        got = wire.authenticator_ismg(said["status"], said["status_octets"], source, secret)
    assert got.hex() == v["md5"]


def test_the_timestamp_is_hashed_with_its_leading_zero() -> None:
    protocol, data = vector("cmpp-3.0-connect_ts_leading_zero")
    login = protocol.login(data)
    assert (login.account, login.version, login.timestamp) == ("123456", 0x30, 301000000)
    assert wire.authenticator_source(b"123456", b"shared_Secret#1", login.timestamp) == login.authenticator


@pytest.mark.parametrize("v", named("msgid"))
def test_message_ids(v: dict[str, Any]) -> None:
    octets = bytes.fromhex(v["hex"])
    assert int.from_bytes(octets, "big") == v["value"]
    assert [*wire.message_id_parts(octets)] == [*v["decoded"].values()]
    assert wire.message_id(*v["decoded"].values()) == octets


def test_every_request_has_its_answer_in_the_tables() -> None:
    requests = {command for command in wire.PDUS if not command & wire.ANSWER}
    assert requests == {1, 2, 4, 5, 6, 7, 8, 9}
    assert {command | wire.ANSWER for command in requests} == {c for c in wire.PDUS if c & wire.ANSWER}
    assert not set(wire.ROUTING) & set(wire.PDUS)


@pytest.mark.parametrize("version", [V20, V21, V30])
def test_the_readers_of_the_hot_path_say_what_a_full_decode_says(version: int) -> None:
    protocol = Cmpp(version)
    column = version >= V30

    @given(values=values_of(wire.Submit, column))
    def submits(values: dict[str, Any]) -> None:
        frame = protocol.encode(wire.Submit(**values), 1)
        if not values["dest_terminal_id"]:
            with pytest.raises(WireError, match="bad_count"):
                protocol.submission(frame, 0, len(frame))
            return
        pdu = wire.Submit.decode(frame, 12, len(frame), column)
        assert protocol.submission(b"--" + frame + b"--", 2, 2 + len(frame)) == Submission(
            source=pdu.src_id,
            destinations=pdu.dest_terminal_id,
            fmt=pdu.msg_fmt,
            udhi=pdu.tp_udhi & 0x41 != 0,
            content=pdu.msg_content,
            wants_report=pdu.registered_delivery == 1,
            at_time=pdu.at_time,
            pk_total=pdu.pk_total,
            pk_number=pdu.pk_number,
            pseudo=pdu.dest_terminal_type,
        )

    @given(values=values_of(wire.Deliver, column))
    def delivers(values: dict[str, Any]) -> None:
        frame = protocol.encode(wire.Deliver(**values), 1)
        pdu = wire.Deliver.decode(frame, 12, len(frame), column)
        got = protocol.delivery(frame, 0, len(frame))
        assert got[:6] == (
            *(
                pdu.msg_id.to_bytes(8, "big") if pdu.msg_id else b"",
                pdu.src_terminal_id,
                pdu.dest_id,
                pdu.msg_fmt,
            ),
            *(pdu.tp_udhi & 0x41 != 0, pdu.msg_content),
        )
        assert (got.report is not None) == (pdu.registered_delivery == 1)

    @given(identity=st.binary(min_size=8, max_size=8), result=st.integers(0, 255))
    def results(identity: bytes, result: int) -> None:
        body = wire.SubmitResp(msg_id=int.from_bytes(identity, "big"), result=result)
        frame = protocol.encode(body, 1)
        assert protocol.result(frame, 0, len(frame)) == (result, identity)

    submits()
    delivers()
    results()


# Login


def login_of(version: int) -> Login:
    return Login("900001", version, bytes(16), 0)


@pytest.mark.parametrize(
    ("asked", "highest", "length"),
    [(V20, V30, 30), (V21, V30, 30), (V30, V30, 33), (0x40, V30, 33), (PRIVATE, V30, 33), (V30, V20, 30)],
)
def test_the_login_answer_has_the_layout_of_the_lower_version(asked: int, highest: int, length: int) -> None:
    answer = Cmpp.login_answer(login_of(asked), 5, 9, highest)
    assert len(answer) == length
    assert answer[-17:-1] == bytes(16)
    assert answer[-1] == highest
    status, version = Cmpp.read_login_answer(answer)
    assert status == 5
    assert (version >= V30) == (length == 33)


def test_a_30_octet_answer_means_2_0_whatever_its_version_says() -> None:
    assert Cmpp.read_login_answer(Cmpp.login_answer(login_of(V20), 0, 1, V30)) == (0, V21)


def test_only_versions_above_those_spoken_are_too_high() -> None:
    spoken_versions = (0x12, V20, V21, V30, PRIVATE)
    assert not any(Cmpp.too_high(login_of(version)) for version in spoken_versions)
    assert all(Cmpp.too_high(login_of(version)) for version in (0x40, 0x50, 0x7E, 0x80, 0xFF))


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (submit(), "login_expected"),
        (Cmpp.heartbeat(1), "login_expected"),
        (Cmpp().encode(wire.Connect(source_addr=b"\xff"), 1), "bad_text"),
        (Cmpp().encode(wire.Connect(), 1)[:-1], "truncated_body"),
        (Cmpp().encode(wire.Connect(), 1) + b"\0", "trailing_bytes"),
    ],
)
def test_a_login_that_can_not_be_read_says_why(frame: bytes, cause: str) -> None:
    with pytest.raises(WireError) as caught:
        Cmpp().login(frame)
    assert caught.value.cause == cause


def test_login_answers_that_are_none() -> None:
    for frame in (
        submit(),
        Cmpp.login_answer(None, 0, 1)[:-1],
        Cmpp.login_answer(login_of(V30), 0, 1) + b"\0",
    ):
        with pytest.raises(WireError):
            Cmpp.read_login_answer(frame)


def test_a_login_is_refused_in_its_own_layout_if_it_can_be_read() -> None:
    for version, length in ((V20, 30), (V30, 33)):
        frame = Cmpp().encode(wire.Connect(source_addr=b"900001", version=version), 9)
        answer = Cmpp().login_refused(frame, 9, 3)
        assert (len(answer), Cmpp.read_login_answer(answer)[0]) == (length, 3)
        assert Cmpp.read_login_answer(Cmpp().login_refused(frame[:-1], 9))[0] == 1


# Submits


def test_version_2_1_has_the_layout_of_2_0_and_the_version_may_change() -> None:
    protocol = Cmpp(V21)
    assert protocol.submission(submit(V20), 0, len(submit(V20))).content == b"hi"
    protocol.version = V30
    assert protocol.submission(submit(V30), 0, len(submit(V30))).content == b"hi"


@pytest.mark.parametrize("count", [0, 100, 200])
def test_a_count_of_recipients_beyond_1_to_99_is_refused(count: int) -> None:
    for version in (V20, V30):
        frame = submit(version, dest_terminal_id=[b"13800000000"] * count)
        with pytest.raises(WireError) as caught:
            Cmpp(version).submission(frame, 0, len(frame))
        assert caught.value.cause == "bad_count"
        assert result_of(caught.value) == 13
    frame = submit(dest_terminal_id=[b"13800000000"] * 99)
    assert len(Cmpp().submission(frame, 0, len(frame)).destinations) == 99


@pytest.mark.parametrize("version", [V20, V30])
def test_zeros_behind_the_last_field_are_padding(version: int) -> None:
    frame, protocol = submit(version), Cmpp(version)
    for pad in (1, 3, 8):
        assert protocol.submission(frame + bytes(pad), 0, len(frame) + pad).content == b"hi"
    with pytest.raises(WireError, match="trailing_bytes"):
        protocol.submission(frame + b"\0x", 0, len(frame) + 2)
    linked = submit(V30, link_id=b"L" * 20)
    assert Cmpp(V30).submission(linked + b"\0", 0, len(linked) + 1).content == b"hi"


@pytest.mark.parametrize("text", ["hello", "您好", "一"])
@pytest.mark.parametrize("version", [V20, V30])
def test_a_length_that_is_too_short_is_not_taken_for_padding(version: int, text: str) -> None:
    fmt = 0 if text.isascii() else 8
    content = text.encode("ascii" if text.isascii() else "utf-16-be")
    frame = bytearray(submit(version, msg_fmt=fmt, msg_content=content))
    at = len(frame) - len(content) - (20 if version == V30 else 8) - 1
    assert frame[at] == len(content)
    frame[at] -= 1
    with pytest.raises(WireError) as caught:
        Cmpp(version).submission(bytes(frame), 0, len(frame))
    assert result_of(caught.value) == 4


def test_the_private_version_may_carry_an_attachment() -> None:
    frame, attachment = submit(PRIVATE), b"\0\0\0\x03abc"
    private, plain = Cmpp(PRIVATE), Cmpp(V30)
    for tail in (b"", bytes(4), attachment):
        assert private.submission(frame + tail, 0, len(frame) + len(tail)).content == b"hi"
    for protocol in (private, plain):
        with pytest.raises(WireError):
            protocol.submission(frame + b"\0\0\0\x04abc", 0, len(frame) + 7)
    with pytest.raises(WireError):
        plain.submission(frame + attachment, 0, len(frame) + 7)


@pytest.mark.parametrize(
    ("octet", "udhi"), [(0, False), (1, True), (0x40, True), (0x41, True), (0x80, False)]
)
def test_the_header_bit_is_seen_in_both_places(octet: int, udhi: bool) -> None:
    frame = submit(tp_udhi=octet)
    assert Cmpp().submission(frame, 0, len(frame)).udhi is udhi


def test_only_1_asks_for_a_report() -> None:
    for registered, wanted in ((0, False), (1, True), (2, False)):
        frame = submit(registered_delivery=registered)
        assert Cmpp().submission(frame, 0, len(frame)).wants_report is wanted


@pytest.mark.parametrize("version", [V20, V30])
def test_a_reduced_submit_differs_only_in_its_recipients(version: int) -> None:
    everybody = [b"1380000000%d" % i for i in range(5)]
    protocol = Cmpp(version)
    frame = submit(version, dest_terminal_id=everybody, service_id=b"S", at_time=b"x", msg_content=bytes(140))
    got = protocol.reduced(b"##" + frame + b"##", 2, 2 + len(frame), [1, 4])
    wanted = submit(
        version,
        dest_terminal_id=[everybody[1], everybody[4]],
        service_id=b"S",
        at_time=b"x",
        msg_content=bytes(140),
    )
    assert got == wanted
    assert protocol.reduced(frame, 0, len(frame), range(5)) == frame


@pytest.mark.parametrize("version", [V20, V30])
def test_our_answers(version: int) -> None:
    protocol = Cmpp(version)

    def result(octets: bytes | None) -> tuple[int, int, int, bytes]:
        assert octets is not None
        ((start, end, command, sequence),), _ = protocol.frames(octets)
        assert end == (24 if version == V30 else 21)
        return command, sequence, *protocol.result(octets, start, end)

    answer = wire.SUBMIT | wire.ANSWER
    for reason, number in REFUSALS.items():
        assert result(protocol.refusal(5, reason)) == (answer, 5, number, bytes(8))
    assert result(protocol.acceptance(6, b"\xff" * 8)) == (answer, 6, 0, b"\xff" * 8)
    assert result(protocol.busy(wire.SUBMIT, 7)) == (answer, 7, 8, bytes(8))
    assert result(protocol.busy(wire.DELIVER, 7)) == (wire.DELIVER | wire.ANSWER, 7, 8, bytes(8))
    assert result(protocol.delivery_answer(8, b"12345678", 9)) == (
        *(wire.DELIVER | wire.ANSWER, 8, 9, b"12345678"),
    )


def answered(protocol: Cmpp, command: int) -> Pdu | None:
    frame = (0, 12, command, 3)
    octets = protocol.unknown(bytes(12), frame)
    if octets is None:
        return None
    ((start, end, got, sequence),), _ = protocol.frames(octets)
    assert (got, sequence) == (command | wire.ANSWER, 3)
    return protocol.decode(octets, (start, end, got, sequence))


@pytest.mark.parametrize("version", [V20, V30])
def test_what_a_sender_may_not_send_is_refused_by_the_protocols_answer(version: int) -> None:
    protocol = Cmpp(version)
    assert answered(protocol, wire.FWD) == wire.FwdResp(result=9)
    assert answered(protocol, wire.DELIVER) == wire.DeliverResp(result=2)
    for command in (*wire.ROUTING, 3, 0xBEEF, wire.SUBMIT | wire.ANSWER, 0x8000BEEF):
        assert command not in protocol.SENDER_MAY
        assert answered(protocol, command) is None
    for command in (wire.FWD, wire.DELIVER):
        assert command not in protocol.SENDER_MAY


# Deliveries


@pytest.mark.parametrize("version", [V20, V30])
def test_a_rejected_report_is_a_whole_deliver_that_we_read_ourselves(version: int) -> None:
    protocol = Cmpp(version)
    destination = b"13800000001" if version == V20 else b"p" * 32
    frame = submit(version, dest_terminal_id=[b"13800000000", destination], dest_terminal_type=1)
    submission = protocol.submission(frame, 0, len(frame))
    octets = protocol.rejected_report(submission, 1, b"\x80234567z", 42, "2611210930", "2611210931")
    ((start, end, command, sequence),), _ = protocol.frames(octets)
    assert (command, sequence) == (wire.DELIVER, 42)
    assert end == 12 + (97 if version == V30 else 73) + 60
    delivery = protocol.delivery(octets, start, end)
    assert (delivery.number, delivery.subscriber) == (b"10690001", destination)
    assert delivery.report == Report(
        b"\x80234567z", b"REJECTD", b"2611210930", b"2611210931", destination[:21]
    )


@pytest.mark.parametrize(
    "name", ["2.0-deliver_report", "3.0-deliver_report_60byte_content", "3.0-deliver_report_71byte_content"]
)
def test_reports_of_60_and_71_octets_say_the_same(name: str) -> None:
    protocol, data = vector(f"cmpp-{name}")
    report = protocol.delivery(data, 0, len(data)).report
    assert report is not None
    assert report.message_id == bytes.fromhex("b2b9da8000010000")
    assert report.stat in (b"DELIVRD", b"UNDELIV")
    assert (report.submit_time, report.done_time) == (b"1511050921", b"1511050922")
    assert report.destination == b"13412340000"


def test_a_deliver_that_is_11_octets_short_is_read() -> None:
    protocol, data = vector("cmpp-3.0-deliver_report_60byte_content")
    length_at = 12 + wire.Deliver.offset("msg_length", 1)
    for octets in (
        data[:length_at] + bytes([71]) + data[length_at + 1 :],  # it says 71 and has the room of 60
        data[:-11],
    ):
        frame = len(octets).to_bytes(4, "big") + octets[4:]
        report = protocol.delivery(frame, 0, len(frame)).report
        assert report is not None
        assert (report.stat, report.destination) == (b"UNDELIV", b"13412340000")


@given(content=st.binary(max_size=255), version=st.sampled_from([V20, V30]), lost=st.integers(0, 400))
def test_no_report_content_fails_the_deliver(content: bytes, version: int, lost: int) -> None:
    protocol = Cmpp(version)
    whole = protocol.encode(wire.Deliver(registered_delivery=1, msg_content=content), 1)
    fixed = 12 + wire.Deliver.offset("msg_length", version >= V30) + 1
    end = max(fixed, len(whole) - lost)
    delivery = protocol.delivery(whole + b"next frame", 0, end)
    assert delivery.report is not None
    assert delivery.content == whole[fixed:end][: len(content)]
    assert len(delivery.report.message_id) == 8


def test_a_deliver_without_its_fixed_part_is_an_error() -> None:
    with pytest.raises(WireError):
        Cmpp().delivery(bytes(40), 0, 40)
