"""CMPP: every vector, every PDU, every split, and whatever a broken or hostile peer may send."""

import gc
import json
import random
import sys
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.cmpp import PRIVATE, REFUSALS, V20, V21, V30, Cmpp, result_of
from gateway.protocols.message import Login, Report, Submission
from gateway.protocols.table import Int, Many, Octets, Pdu, Raw, Unframed, Var
from gateway.protocols.text import decode

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent / "vectors" / "sms.json").read_text())["vectors"]
    if vector["protocol"] == "cmpp"
]
VERSIONS = {"2.0": V20, "3.0": V30, "*": V20}


def named(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in VECTORS if v["kind"] == kind]


def vector(name: str) -> tuple[Cmpp, bytes]:
    found = next(v for v in VECTORS if v["id"] == name)
    return Cmpp(VERSIONS[found["version"]]), bytes.fromhex(found["hex"])


def spoken(pdu: Pdu, column: int) -> dict[str, Any]:
    """A PDU in the words of the vectors."""
    words: dict[str, Any] = {}
    for field in pdu.fields:
        value, kind, spec = getattr(pdu, field.name), field.kind, field.spec
        if not kind.width(column):
            continue
        if isinstance(kind, Octets):
            value = value.decode()
        elif isinstance(kind, Many):
            value = [item.decode() for item in value]
        elif isinstance(kind, Raw | Var):
            value, spec = value.hex(), spec + "_hex" * isinstance(kind, Var)
        words[spec] = value
    return words


def submit(version: int = V20, **values: Any) -> bytes:
    plain = {"registered_delivery": 1, "src_id": b"10690001", "dest_terminal_id": [b"13800000000"]}
    return Cmpp(version).encode(wire.Submit(**plain | {"msg_content": b"hi"} | values), 7)


# Vectors


def test_all_53_vectors_are_here() -> None:
    assert len(VECTORS) == 53
    kinds = {v["kind"] for v in VECTORS}
    assert kinds == {"valid", "deviation", "report_content", "digest", "msgid", "malformed", "semantic"}


@pytest.mark.parametrize("v", named("valid") + named("deviation"))
def test_a_valid_vector_is_decoded_as_said_and_encoded_back_to_its_octets(v: dict[str, Any]) -> None:
    data, said = bytes.fromhex(v["hex"]), dict(v["decoded"])
    protocol = Cmpp(VERSIONS[v["version"]])
    (frame,), used = protocol.frames(data)
    assert used == len(data) == said.pop("_length")
    assert frame == (0, used, int(said.pop("_command_id"), 16), said.pop("_sequence"))
    pdu = protocol.decode(data, frame)
    name = said.pop("_pdu")
    assert type(pdu).__name__.lower() == name.replace("_", "")
    if "_body_hex" in said:
        assert said.pop("_body_hex") == data[12:].hex()
    else:
        assert spoken(pdu, protocol.version >= V30) == said
    assert protocol.encode(pdu, frame[3]) == data
    if "msg_id_fields" in v:
        parts = wire.message_id_parts(pdu.msg_id.to_bytes(8, "big"))  # type: ignore[attr-defined]
        assert [*parts] == [*v["msg_id_fields"].values()]
    text = v.get("message", {}).get("text")
    if text is not None:
        content, fmt, udhi = pdu.msg_content, pdu.msg_fmt, pdu.tp_udhi  # type: ignore[attr-defined]
        assert decode(content, fmt, udhi & 0x41 != 0) == (text, "")


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


def acted(protocol: Cmpp, data: bytes) -> str:
    """What a gateway does with the first frame of `data`: the action, in the words of the vectors."""
    try:
        frames, _ = protocol.frames(data)
    except Unframed as error:
        return "close connection without reply" if not error.frames else "frames before it"
    if not frames:
        return "keep buffering (time out the half PDU)"
    (start, end, command, sequence) = frames[0]
    frame = data[start:end]
    if command == wire.CONNECT | wire.ANSWER:
        status, version = protocol.read_login_answer(frame)
        return f"status {status} version {version:#x}"
    if command == wire.CONNECT:
        try:
            login = protocol.login(frame)
        except WireError as error:
            answer = protocol.malformed(command, sequence, error)
        else:
            assert protocol.too_high(login)
            answer = protocol.login_answer(login, protocol.VERSION_TOO_HIGH, sequence)
        assert answer is not None
        return f"status {protocol.read_login_answer(answer)[0]} version {answer[-1]:#x}"
    if command not in protocol.SENDER_MAY:
        return f"answer {protocol.unknown(data, frames[0])!r}"
    try:
        protocol.submission(data, start, end)
    except WireError as error:
        answer = protocol.malformed(command, sequence, error)
        assert answer is not None
        return f"result {protocol.result(answer, 0, len(answer))[0]}"
    return "accepted"


ACTIONS = {
    "submit_resp Result 1 (structure) or 4 (length)": {"result 1", "result 4"},
    "submit_resp Result 1/13": {"result 1", "result 13"},
    "submit_resp Result 4": {"result 4"},
    "no response id exists: log, count, keep or close after N": {"answer None"},
    "accept in lenient mode (some gateways pad); strict: Result 4": {"accepted"},
    "connect_resp Status 1 then close": {"status 1 version 0x30"},
    "connect_resp Status 4, Version 0x30": {"status 4 version 0x30"},
    "client: a 30-octet response means the peer speaks 2.0; re-read with the 1-octet Status": {
        "status 0 version 0x20"
    },
}


@pytest.mark.parametrize("v", named("malformed") + named("semantic"))
def test_a_malformed_vector_is_named_and_treated_as_said(v: dict[str, Any]) -> None:
    data, protocol = bytes.fromhex(v["hex"]), Cmpp(VERSIONS[v["version"]])
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
        error = f"{caught.cause}:{caught.detail}"
    assert error == v["expected_error"]
    action = v["expected_action"]
    assert acted(protocol, data) in ACTIONS.get(action, {action})


# Every PDU


def values_of(table: type[Pdu], column: int) -> st.SearchStrategy[dict[str, Any]]:
    def text(width: int) -> st.SearchStrategy[bytes]:
        return st.binary(max_size=width).map(lambda b: b.replace(b"\0", b"0").strip())

    fields: dict[str, Any] = {}
    counts = {f.kind.by for f in table.fields}
    for name, _, kind in table.fields:
        width = kind.width(column)
        if not width or name in counts:
            continue
        if isinstance(kind, Int):
            fields[name] = st.integers(0, 256**width - 1)
        elif isinstance(kind, Octets):
            fields[name] = text(width)
        elif isinstance(kind, Raw):
            fields[name] = st.binary(min_size=width, max_size=width)
        elif isinstance(kind, Many):
            fields[name] = st.lists(text(width), max_size=99)
        else:
            fields[name] = st.binary(max_size=255)
    return st.fixed_dictionaries(fields)


@pytest.mark.parametrize("version", [V20, V30])
@pytest.mark.parametrize("table", wire.PDUS.values(), ids=lambda t: t.__name__)
def test_every_pdu_is_read_back_as_written(table: type[Pdu], version: int) -> None:
    protocol = Cmpp(version)

    @given(values=values_of(table, version >= V30), sequence=st.integers(0, 2**32 - 1))
    def check(values: dict[str, Any], sequence: int) -> None:
        frame = protocol.encode(table(**values), sequence)
        if len(frame) > protocol.CAP:
            return
        (found,), used = protocol.frames(frame)
        assert found == (0, used, table.command, sequence)
        got = protocol.decode(frame, found)
        assert {name: getattr(got, name) for name in values} == values
        assert protocol.encode(got, sequence) == frame

    check()


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
            *(pdu.msg_id.to_bytes(8, "big"), pdu.src_terminal_id, pdu.dest_id, pdu.msg_fmt),
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


# Frames


STREAM = b"".join(bytes.fromhex(v["hex"]) for v in VECTORS if v["kind"] == "valid" and v["version"] == "3.0")


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_any_split_of_the_stream_gives_the_same_frames(cuts: list[int]) -> None:
    protocol = Cmpp(V30)
    whole, _ = protocol.frames(STREAM)
    rest, found = b"", []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        data = rest + STREAM[start:end]
        frames, used = protocol.frames(data)
        found += [(data[a:b], command, sequence) for a, b, command, sequence in frames]
        rest = data[used:]
    assert rest == b""
    assert found == [(STREAM[a:b], command, sequence) for a, b, command, sequence in whole]


def test_octet_by_octet_gives_the_same_frames() -> None:
    protocol, rest, count = Cmpp(V30), b"", 0
    for octet in STREAM:
        frames, used = protocol.frames(rest + bytes([octet]))
        rest = (rest + bytes([octet]))[used:]
        count += len(frames)
    assert (rest, count) == (b"", len(protocol.frames(STREAM)[0]))


@pytest.mark.parametrize(
    ("length", "cause"),
    [
        (0, "length_too_short"),
        (11, "length_too_short"),
        (8193, "length_too_large"),
        (2**32 - 1, "length_too_large"),
    ],
)
def test_a_wrong_length_is_known_from_its_four_octets_and_keeps_the_frames_before_it(
    length: int, cause: str
) -> None:
    protocol, good = Cmpp(), Cmpp.heartbeat(3)
    for more in (b"", b"\0\0", b"\0" * 40):
        with pytest.raises(Unframed) as caught:
            protocol.frames(good + length.to_bytes(4, "big") + more)
        assert (caught.value.cause, caught.value.detail) == (cause, str(length))
        assert caught.value.frames == [(0, 12, wire.ACTIVE_TEST, 3)]


def test_a_frame_of_the_cap_passes_and_nothing_is_kept_of_it() -> None:
    data = (8192).to_bytes(4, "big") + b"\0\0\0\x04" + bytes(8184)
    assert Cmpp().frames(data) == ([(0, 8192, 4, 0)], 8192)
    assert Cmpp().frames(data[:-1]) == ([], 0)


def test_with_sequence_changes_nothing_else() -> None:
    frame = submit()
    changed = Cmpp.with_sequence(frame, 0xFFFFFFFF)
    assert changed[:8] + changed[12:] == frame[:8] + frame[12:]
    assert Cmpp().frames(changed)[0][0][3] == 0xFFFFFFFF


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


def test_every_reason_has_a_result_of_its_own_between_100_and_199() -> None:
    assert set(REFUSALS) == set(Reason)
    assert len(set(REFUSALS.values())) == len(Reason)
    assert all(100 <= result <= 199 for result in REFUSALS.values())


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


def test_nothing_that_carries_text_is_passed_from_a_sender_unjudged() -> None:
    carries = {c for c, table in wire.PDUS.items() if any(f.name == "msg_content" for f in table.fields)}
    assert {c for c in carries if Cmpp.SENDER_MAY.get(c) not in (None, "judge")} == set()


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


# Broken and hostile peers


def mutations(seed: int, count: int) -> None:
    """`count` mutated frames: nothing but WireError comes of any of them, in either version."""
    chance = random.Random(seed)
    samples = [bytes.fromhex(v["hex"]) for v in VECTORS if v["kind"] in ("valid", "deviation")]
    protocols = [Cmpp(V20), Cmpp(V30), Cmpp(PRIVATE)]
    for _ in range(count):
        data = bytearray(chance.choice(samples))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if chance.random() < 0.4:
            data = data[: chance.randrange(len(data) + 1)] + chance.randbytes(chance.randrange(30))
        if chance.random() < 0.6:
            data[:4] = len(data).to_bytes(4, "big")
        read(chance.choice(protocols), bytes(data))


def read(protocol: Cmpp, data: bytes) -> None:
    try:
        frames, used = protocol.frames(data)
    except Unframed as error:
        frames, used = error.frames, 0
    assert 0 <= used <= len(data)
    for frame in frames:
        start, end, command, sequence = frame
        assert used == 0 or 12 <= end - start <= protocol.CAP
        for act in (
            lambda frame=frame: protocol.decode(data, frame),
            lambda start=start, end=end: protocol.login(data[start:end]),
            lambda start=start, end=end: protocol.read_login_answer(data[start:end]),
            lambda start=start, end=end: protocol.result(data, start, end),
            lambda start=start, end=end: protocol.delivery(data, start, end),
            lambda frame=frame: protocol.unknown(data, frame),
        ):
            with suppress(WireError):
                act()
        try:
            submission = protocol.submission(data, start, end)
        except WireError as error:
            protocol.malformed(command, sequence, error)
        else:
            decode(submission.content, submission.fmt, submission.udhi)
            keep = range(0, len(submission.destinations), 2)
            reduced = protocol.reduced(data, start, end, keep)
            again = protocol.submission(reduced, 0, len(reduced))
            assert again == submission._replace(destinations=submission.destinations[::2])


def test_mutated_frames_raise_nothing_but_the_declared_error() -> None:
    mutations(1, 10_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_million_mutated_frames_do_not_grow_memory() -> None:
    mutations(2, 100_000)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for seed in range(10, 110):
        mutations(seed, 10_000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
    tracemalloc.start()  # slows all down tenfold: the peak is looked at in a part only
    mutations(3, 2_000)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    mutations(4, 20_000)
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 64 * 1024
    assert peak - before < 256 * 1024


@given(data=st.binary(max_size=300), version=st.sampled_from([V20, V30, PRIVATE]))
def test_garbage_raises_nothing_but_the_declared_error(data: bytes, version: int) -> None:
    read(Cmpp(version), data)
