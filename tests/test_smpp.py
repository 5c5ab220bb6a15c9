"""SMPP: binds, what is judged of each message that may carry a text, receipts in all spellings, answers."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import SMPP, values_of

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import smpp_submit
from gateway.protocols import smpp_tables as wire
from gateway.protocols.message import Replaces, Report, Submission
from gateway.protocols.smpp import V33, V34, V50, Smpp
from gateway.protocols.smpp_status import status_of
from gateway.protocols.table import Pdu

BINDS = [
    (wire.BindReceiver, False, True),
    (wire.BindTransmitter, True, False),
    (wire.BindTransceiver, True, True),
]


def frame(body: Pdu, version: int = V34, sequence: int = 7) -> bytes:
    return Smpp(version).encode(body, sequence)


def submit(**values: Any) -> bytes:
    plain = {"source_addr": b"10690001", "destination_addr": b"13800000000", "short_message": b"hi"}
    return frame(wire.SubmitSm(**plain | values))


def read(octets: bytes) -> Submission:
    return Smpp().submission(octets, 0, len(octets))


def status(octets: bytes | None) -> int:
    assert octets is not None
    return int.from_bytes(octets[8:12], "big")


def refused(octets: bytes) -> int:
    """The command_status that a message which can't be read is answered with."""
    with pytest.raises(WireError) as caught:
        read(octets)
    command = int.from_bytes(octets[4:8], "big")
    answer = Smpp().malformed(command, 7, caught.value)
    assert status(answer) == status_of(caught.value)
    return status(answer)


# Binds


@pytest.mark.parametrize(("table", "sends", "receives"), BINDS)
def test_a_bind_says_who_asks_and_what_for(table: Any, sends: bool, receives: bool) -> None:
    asked = frame(table(system_id=b"bank", password=b"secret", interface_version=0x34))
    login = Smpp().login(asked)
    assert (login.account, login.version, login.sends, login.receives) == ("bank", V34, sends, receives)
    yes, no = Smpp.login_answer(login, 0, 9, V50, b"SMSC"), Smpp().login_refused(asked, 9)
    for octets in (yes, no):
        assert octets[4:8] == (table.command | wire.ANSWER).to_bytes(4, "big")
        assert octets[12:16] == (9).to_bytes(4, "big")
    assert Smpp.read_login_answer(yes) == (0, V50)
    assert Smpp.read_login_answer(no) == (0x0D, V33)


def test_an_answer_without_a_version_is_from_3_3_and_one_without_a_body_may_be_yes() -> None:
    plain = frame(wire.BindTransceiverResp(system_id=b"SMSC"))
    assert Smpp.read_login_answer(plain) == (0, V33)
    assert Smpp.read_login_answer(plain[:3] + b"\x10" + plain[4:16]) == (0, V33)
    old = Smpp().login(frame(wire.BindTransmitter(system_id=b"bank", interface_version=0x33)))
    assert len(Smpp.login_answer(old, 0, 1)) == 17  # no optional field to who can't read one


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (submit(), "login_expected"),
        (Smpp.heartbeat(1), "login_expected"),
        (frame(wire.BindTransmitter(system_id=b"\xff")), "bad_text"),
        (frame(wire.BindTransmitter())[:-1], "missing_nul"),
    ],
)
def test_a_bind_that_can_not_be_read_says_why(octets: bytes, cause: str) -> None:
    with pytest.raises(WireError) as caught:
        Smpp().login(octets)
    assert caught.value.cause == cause
    assert not Smpp.too_high(Smpp().login(frame(wire.BindTransmitter(interface_version=0xFF))))
    with pytest.raises(WireError, match="login_answer_expected"):
        Smpp.read_login_answer(octets)


# Messages


@given(values=values_of(wire.SubmitSm, 0))
def test_what_is_judged_is_what_a_full_decode_says(values: dict[str, Any]) -> None:
    values |= {"tlvs": [], "sm_default_msg_id": 0, "short_message": values["short_message"][:254]}
    octets = frame(wire.SubmitSm(**values))
    assert Smpp().submission(b"--" + octets + b"--", 2, 2 + len(octets)) == Submission(
        source=values["source_addr"],
        destinations=[values["destination_addr"]],
        fmt=values["data_coding"],
        udhi=values["esm_class"] & 0x40 != 0,
        content=values["short_message"],
        wants_report=values["registered_delivery"] & 3 in (1, 2),
        at_time=values["schedule_delivery_time"],
        pk_total=1,
        pk_number=1,
        pseudo=0,
    )


@given(
    values=values_of(wire.SubmitSm, 0),
    plain=st.booleans(),
    spoilt=st.none() | st.tuples(st.integers(16, 400), st.integers(0, 255)),
    cut=st.integers(0, 3),
)
def test_what_is_read_in_place_is_what_the_table_reads(
    values: dict[str, Any], plain: bool, spoilt: tuple[int, int] | None, cut: int
) -> None:
    """Whatever stands around it in the buffer, and whatever is wrong with it."""
    if plain:
        values |= {"tlvs": [], "sm_default_msg_id": 0}
    octets = bytearray(frame(wire.SubmitSm(**values)))
    if spoilt is not None and spoilt[0] < len(octets):
        octets[spoilt[0]] = spoilt[1]
    whole = bytes(octets[: len(octets) - cut])
    said = smpp_submit.in_place(b"\1\0" + whole + b"\0\0\1" * 9, 2, 2 + len(whole))
    if said is None:
        assert not (plain and spoilt is None and not cut)
        return
    told = wire.SubmitSm.decode(whole, 16, len(whole))
    assert (told.tlvs, told.sm_default_msg_id) == ([], 0)
    assert (said.source, said.destinations) == (told.source_addr, [told.destination_addr])
    assert (said.fmt, said.content) == (told.data_coding, told.short_message)
    assert (said.udhi, said.wants_report) == (told.esm_class & 64 > 0, told.registered_delivery & 3 in (1, 2))
    assert (said.at_time, said.pk_total, said.pk_number) == (told.schedule_delivery_time, 1, 1)


def test_a_long_text_comes_as_an_optional_field_in_two_kinds_of_message() -> None:
    payload = [(0x1505, b"zz"), (wire.MESSAGE_PAYLOAD, "长".encode("utf-16-be") * 300)]
    addresses = {"source_addr": b"10690001", "destination_addr": b"13800000000"}
    for octets in (
        submit(short_message=b"", tlvs=payload, data_coding=8),
        frame(wire.DataSm(**addresses, tlvs=payload, data_coding=8)),
    ):
        said = read(octets)
        assert (said.content, said.fmt) == ("长".encode("utf-16-be") * 300, 8)


def test_of_two_texts_nobody_knows_which_one_is_shown() -> None:
    payload = (wire.MESSAGE_PAYLOAD, b"other")
    assert refused(submit(tlvs=[payload])) == 0xC1
    assert refused(submit(short_message=b"", tlvs=[payload, (wire.MESSAGE_PAYLOAD, b"x")])) == 0xC1
    assert read(submit(short_message=b"other", tlvs=[payload, payload])).content == b"other"


def test_parts_are_told_by_optional_fields_unless_the_text_has_a_header() -> None:
    parts = [(0x020C, b"\1\2"), (wire.SAR_TOTAL_SEGMENTS, b"\3"), (wire.SAR_SEGMENT_SEQNUM, b"\2")]
    again = [(wire.SAR_SEGMENT_SEQNUM, b"\3"), (wire.SAR_TOTAL_SEGMENTS, b"")]
    said = read(submit(tlvs=parts + again[:1]))
    assert (said.pk_total, said.pk_number, said.reference) == (3, 2, 258)
    said = read(submit(tlvs=parts, esm_class=0x40))
    assert (said.udhi, said.pk_total, said.pk_number) == (True, 1, 1)
    for missing, without in ((0, []), (0, [(0x020C, b"\1")]), (1, []), (2, [])):
        said = read(submit(tlvs=[*parts[:missing], *parts[missing + 1 :], *without]))
        assert (said.pk_total, said.pk_number, said.reference) == (1, 1, 0)


def test_a_text_that_stands_elsewhere_can_not_be_judged() -> None:
    assert refused(submit(short_message=b"", sm_default_msg_id=3)) == 0x63
    lists = [(1, 1, 1, b"13800000000"), (2, b"ALL")]
    assert refused(frame(wire.SubmitMulti(source_addr=b"1", dest_address=lists))) == 0x34
    assert refused(frame(wire.SubmitMulti(source_addr=b"1"))) == 0x33
    assert refused(frame(wire.ReplaceSm(message_id=b"1f", short_message=b"new"))) == 0x13
    assert refused(frame(wire.ReplaceSm(message_id=b"1f", sm_default_msg_id=3))) == 0x63


def test_a_text_that_replaces_another_names_it_and_nobody_it_goes_to() -> None:
    for body in (
        wire.ReplaceSm(message_id=b"1f", source_addr=b"1069", short_message=b"new", registered_delivery=1),
        wire.ReplaceSm(message_id=b"1f", source_addr=b"1069", tlvs=[(wire.MESSAGE_PAYLOAD, b"new")]),
    ):
        with pytest.raises(Replaces) as caught:
            read(frame(body))
        said = caught.value.submission
        assert caught.value.message_id == b"1f"
        assert (said.source, said.destinations, said.content, said.wants_report) == (
            b"1069",
            [],
            b"new",
            False,
        )


def test_a_message_to_several_is_one_to_each() -> None:
    everybody = [(1, 1, 1, b"1380000000%d" % i) for i in range(5)]
    octets = frame(wire.SubmitMulti(source_addr=b"10690001", dest_address=everybody, short_message=b"hi"))
    assert read(octets).destinations == [one[3] for one in everybody]


@pytest.mark.parametrize(
    ("registered", "wanted"), [(0, False), (1, True), (2, True), (0x11, True), (0x12, True), (3, False)]
)
def test_a_final_report_is_asked_for_by_1_and_for_failures_by_2(registered: int, wanted: bool) -> None:
    assert read(submit(registered_delivery=registered)).wants_report is wanted


@pytest.mark.parametrize(
    ("field", "length", "wanted"),
    [("source_addr", 21, 0x0A), ("destination_addr", 21, 0x0B), ("schedule_delivery_time", 17, 0x61)],
)
def test_what_is_too_long_is_named_by_its_status(field: str, length: int, wanted: int) -> None:
    octets = submit(**{field: b"9" * (length - 1)})
    at = octets.index(b"9" * (length - 1)) + length - 1
    longer = octets[:at] + b"9" + octets[at:]
    assert refused(len(longer).to_bytes(4, "big") + longer[4:]) == wanted


# Answers


def test_what_was_not_understood_is_nacked_and_what_needs_no_answer_gets_none() -> None:
    protocol = Smpp()

    def unknown(command: int) -> tuple[bytes, int] | None:
        octets = protocol.unknown(b"", (0, 16, command, 3))
        return None if octets is None else (octets[4:8], status(octets))

    nack = wire.GENERIC_NACK.to_bytes(4, "big")
    assert unknown(0xBEEF) == (nack, 3)
    assert {unknown(command) for command in wire.BROADCAST} == {(nack, 3)}
    assert unknown(wire.DELIVER_SM) == ((wire.DELIVER_SM | wire.ANSWER).to_bytes(4, "big"), 3)
    assert unknown(wire.OUTBIND) == (nack, 3)
    for command in (wire.ALERT_NOTIFICATION, wire.SUBMIT_SM | wire.ANSWER, 0x8000BEEF):
        assert unknown(command) is None


def test_a_refusal_has_no_body_before_5_0_and_says_why_from_then_on() -> None:
    plain = Smpp(V34).refusal(5, Reason.BLACKLISTED)
    assert (len(plain), status(plain)) == (16, 0x403)
    told = Smpp(V50).refusal(5, Reason.BLACKLISTED)
    answer = Smpp().decode(told, (0, len(told), wire.SUBMIT_SM | wire.ANSWER, 5))
    assert isinstance(answer, wire.SubmitSmResp)
    assert (status(told), answer.message_id) == (0x101, b"")
    assert answer.tlvs == [(wire.ADDITIONAL_STATUS_INFO_TEXT, b"blacklisted\0")]


def test_the_answer_to_a_reduced_message_names_those_whom_we_refused_as_well() -> None:
    protocol, to = Smpp(), [(1, 1, 1, b"13800000001"), (1, 0, 8, b"13800000002"), (1, 1, 1, b"13800000003")]
    frame = b"--" + protocol.encode(wire.SubmitMulti(dest_address=to), 7)
    tell = protocol.telling(frame, 2, len(frame), [None, Reason.UNREGISTERED, None])
    assert tell is not None
    theirs = (1, 1, b"13800000003", 11)
    answer = protocol.encode(wire.SubmitMultiResp(message_id=b"7", unsuccess_sme=[theirs]), 7)
    told = tell(answer)
    assert told == protocol.encode(
        wire.SubmitMultiResp(message_id=b"7", unsuccess_sme=[theirs, (0, 8, b"13800000002", 0x404)]), 7
    )
    bare = protocol.encode(wire.SubmitMultiResp(message_id=None), 7, 8)
    assert tell(bare) == bare
    of_5 = Smpp(0x50).telling(frame, 2, len(frame), [Reason.BLACKLISTED, None, None])
    assert of_5 is not None
    assert struct.pack(">I", 0x101) in of_5(answer)
    alone = protocol.encode(wire.SubmitSm(), 7)
    assert protocol.telling(alone, 0, len(alone), [None]) is None


def test_results_are_read_with_and_without_a_body() -> None:
    protocol = Smpp()
    said = protocol.encode(wire.SubmitSmResp(message_id=b"0a1B"), 3)
    assert protocol.result(b"##" + said, 2, 2 + len(said)) == (0, b"0a1B")
    bare = protocol.encode(wire.SubmitSmResp(message_id=None), 3, 0x58)
    assert protocol.result(bare, 0, 16) == (0x58, b"")
    busy = [(wire.CONGESTION_STATE, b"\x50")]
    multi = wire.SubmitMultiResp(message_id=b"7", unsuccess_sme=[(1, 1, b"13800000000", 11)], tlvs=busy)
    octets = protocol.encode(multi, 3)
    assert protocol.result(octets, 0, len(octets)) == (0, b"7")
    assert protocol.congestion == 0x50
    nack = protocol.encode(wire.GenericNack(), 3)
    assert protocol.result(nack, 0, 16) == (0xFF, b"")
    with pytest.raises(WireError):
        protocol.result(said, 0, len(said) - 1)


# Deliveries


def receipt(text: bytes, tlvs: Any = (), esm_class: int = 4) -> Report | None:
    body = wire.DeliverSm(
        source_addr=b"13800000000",
        destination_addr=b"10690001",
        esm_class=esm_class,
        short_message=text,
        tlvs=list(tlvs),
    )
    octets = frame(body)
    return Smpp().delivery(octets, 0, len(octets)).report


USUAL = b"id:1f sub:001 dlvrd:001 submit date:2611211200 done date:2611211201 stat:UNDELIV err:003 text:hello"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (USUAL, (b"1f", b"UNDELIV", b"2611211200", b"2611211201")),
        (USUAL.upper(), (b"1F", b"UNDELIV", b"2611211200", b"2611211201")),
        (USUAL.replace(b"1200", b"120030"), (b"1f", b"UNDELIV", b"261121120030", b"2611211201")),
        (USUAL.replace(b" date", b"_date"), (b"1f", b"UNDELIV", b"2611211200", b"2611211201")),
        (b"id:1f stat:DELIVRD", (b"1f", b"DELIVRD", b"", b"")),
        (b"stat:EXPIRED id:0000000017", (b"0000000017", b"EXPIRED", b"", b"")),
        (b"", (b"", b"", b"", b"")),
    ],
)
def test_a_receipt_is_read_however_its_text_is_written(text: bytes, wanted: tuple[bytes, ...]) -> None:
    assert receipt(text) == Report(*wanted, b"13800000000")


def test_a_receipts_fields_outrank_its_text() -> None:
    tlvs = [(wire.RECEIPTED_MESSAGE_ID, b"abc\0"), (wire.MESSAGE_STATE, b"\2")]
    said = receipt(USUAL, tlvs)
    assert said is not None
    assert (said.message_id, said.stat, said.submit_time) == (b"abc", b"DELIVRD", b"2611211200")
    assert receipt(b"", [*tlvs, (wire.MESSAGE_PAYLOAD, USUAL)]) == said
    assert receipt(USUAL.decode().encode("utf-16-be")) == receipt(USUAL)
    assert receipt(USUAL, esm_class=0x20) is not None  # on its way
    assert receipt(USUAL, esm_class=0x00) is None
    assert receipt(USUAL, esm_class=0x10) is None  # a person has answered


def test_a_reply_may_come_in_two_kinds_of_message() -> None:
    addresses = {"source_addr": b"13800000000", "destination_addr": b"10690001"}
    payload = [(wire.MESSAGE_PAYLOAD, b"T")]
    for body in (
        wire.DeliverSm(**addresses, short_message=b"T"),
        wire.DeliverSm(**addresses, tlvs=payload),
        wire.DataSm(**addresses, tlvs=payload),
    ):
        octets = frame(body)
        said = Smpp().delivery(octets, 0, len(octets))
        assert (said.subscriber, said.number, said.content) == (b"13800000000", b"10690001", b"T")
        assert (said.message_id, said.report) == (b"", None)
    for tail in (b"\0", b"\x02\x0c\0\x09\1", bytes(3)):  # of broken optional fields nothing is taken
        octets = frame(wire.DeliverSm(**addresses, service_type=b"WAP", short_message=b"T")) + tail
        octets = len(octets).to_bytes(4, "big") + octets[4:]
        assert Smpp().delivery(octets, 0, len(octets)).content == b"T"


@given(content=st.binary(max_size=255), lost=st.integers(0, 300))
def test_no_receipt_text_fails_the_delivery(content: bytes, lost: int) -> None:
    report = receipt(content[lost:])
    assert report is not None
    assert len(report.message_id) <= 255


def test_an_id_is_known_in_hex_and_in_decimal_and_without_its_zeros() -> None:
    for one, other in (
        (b"1f", b"31"),
        (b"0000001F", b"1f"),
        (b"31", b"1f"),
        (b"0031", b"31"),
        (b"9", b"00000009"),
    ):
        assert Smpp.reported_as(one, 0) & Smpp.reported_as(other, 0)
    for one, other in ((b"10", b"22"), (b"1f", b"1e"), (b"0a1B-uuid", b"0a1B"), (b"7", b" 7")):
        assert not Smpp.reported_as(one, 0) & Smpp.reported_as(other, 0)
    for opaque in (b"0a1b2c3d-uuid", b"", b"1_0", b" 7"):
        assert Smpp.reported_as(opaque, 0) == {opaque}
    assert Smpp.reported_as(b"0a1B2c3d-uuid", 0) & Smpp.reported_as(b"0A1b2c3D-uuid", 0)


def test_all_versions_read_alike() -> None:
    for octets in SMPP.samples:
        command = int.from_bytes(octets[4:8], "big")
        pdus = [Smpp(v).decode(octets, (0, len(octets), command, 0)) for v in (V33, V34, V50)]
        assert pdus[0] == pdus[1] == pdus[2]
