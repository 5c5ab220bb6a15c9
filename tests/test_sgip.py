"""SGIP: numbers of three words, one-way logins, Submits, Reports with and without their last field."""

from typing import Any

import pytest
from hypothesis import given
from speech import SGIP, values_of

from gateway.errors import WireError
from gateway.protocols import sgip_tables as wire
from gateway.protocols.message import Submission
from gateway.protocols.sgip import Sgip, SgipCall, result_of
from gateway.protocols.sgip_tables import SequenceNumber


def vector(name: str) -> bytes:
    return bytes.fromhex(next(v["hex"] for v in SGIP.vectors if v["id"] == name))


def test_sequence_numbers() -> None:
    (v,) = [v for v in SGIP.vectors if v["kind"] == "msgid"]
    octets, said = bytes.fromhex(v["hex"]), v["decoded"]
    number = SequenceNumber(said["node"], said["time"], said["seq"]).number
    assert number.to_bytes(12, "big") == octets
    assert [*SequenceNumber.of(number)] == [3010099999, 1120203225, 1]


@pytest.mark.parametrize(("kind", "sends"), [(1, True), (2, False), (11, True)])
def test_a_bind_is_for_one_direction(kind: int, sends: bool) -> None:
    login = Sgip().login(
        Sgip().encode(wire.Bind(login_type=kind, login_name=b"spuser", login_password=b"p"), 1)
    )
    assert (login.account, login.sends, login.receives) == ("spuser", sends, not sends)
    with pytest.raises(WireError, match="login_expected"):
        Sgip().login(Sgip().encode(wire.Unbind(), 1))


@given(values=values_of(wire.Submit, 0))
def test_what_is_judged_is_what_a_full_decode_says(values: dict[str, Any]) -> None:
    frame = Sgip().encode(wire.Submit(**values), 1)
    if not values["user_number"]:
        with pytest.raises(WireError, match="bad_count"):
            Sgip().submission(frame, 0, len(frame))
        return
    assert Sgip().submission(b"--" + frame + b"--", 2, 2 + len(frame)) == Submission(
        source=values["sp_number"],
        destinations=values["user_number"],
        fmt=values["message_coding"],
        udhi=values["tp_udhi"] & 0x41 != 0,
        content=values["message_content"],
        wants_report=values["report_flag"] in (0, 1),
        at_time=values["schedule_time"],
        pk_total=1,
        pk_number=1,
        pseudo=0,
    )


def test_a_submit_has_the_length_of_the_specification_and_zeros_behind_it_are_padding() -> None:
    frame = Sgip().encode(wire.Submit(user_number=[b"8613800000000"], message_content=b"x" * 26), 1)
    assert len(frame) == 190
    assert Sgip().submission(frame + bytes(3), 0, 193).content == b"x" * 26
    with pytest.raises(WireError) as caught:
        Sgip().submission(frame + b"\0\0x", 0, 193)
    assert result_of(caught.value) == 8


def test_a_report_names_the_submit_and_may_lack_its_last_field() -> None:
    whole = vector("sgip-1.2-report_failed_unknown_user")
    cut = b"\0\0\0\x38" + whole[4:56]
    for frame in (whole, cut):
        said = Sgip().delivery(b"#" + frame, 1, 1 + len(frame))
        assert said.report is not None
        assert SequenceNumber.of(int.from_bytes(said.report.message_id, "big"))[2] == 2
        assert (said.report.stat, said.subscriber) == (b"UNDELIV", b"8618612345678")
    reply = vector("sgip-1.2-deliver_mo_ascii_optout")
    said = Sgip().delivery(reply, 0, len(reply))
    for other in (reply[:-8], reply[:-3], reply + b"\0", reply + bytes(90)):
        assert Sgip().delivery(b"#" + other, 1, 1 + len(other)) == said
    for short in (reply[:-9], reply[:20], reply[:64]):
        with pytest.raises(WireError):
            Sgip().delivery(short, 0, len(short))
    assert (said.number, said.content, said.message_id) == (b"10655123", b"T", reply[8:20])


def test_the_answers_number_is_the_message_id() -> None:
    answer = vector("sgip-1.2-submit_resp_ok")
    assert Sgip().result(answer, 0, 29) == (0, answer[8:20])
    assert Sgip().result(answer, 0, 21) == (0, answer[8:20])
    with pytest.raises(WireError):
        Sgip().result(answer, 0, 20)


def test_between_gateways_nothing_is_spoken() -> None:
    assert not {*wire.ROUTING} & {*wire.PDUS}
    for command in (*wire.ROUTING, wire.CHECKUSER):
        assert Sgip().unknown(b"", (0, 20, command, 1)) is None


def test_requests_of_our_own_are_numbered_like_the_bind_and_apart_from_another_connections() -> None:
    protocols = [Sgip(), Sgip()]
    for counter, protocol in enumerate(protocols, 7):
        number = SequenceNumber(3_057_100_001, 1_122_103_000, counter).number
        protocol.login(protocol.encode(wire.Bind(login_type=1, login_name=b"sp"), number))
        for own in protocol.OWN_NUMBERS:
            assert SequenceNumber.of(own)[:2] == (3_057_100_001, 1_122_103_000)
            assert SequenceNumber.of(own).counter >= 0xF000_0001
    one, other = (protocol.OWN_NUMBERS for protocol in protocols)
    assert one[0] < one[1] < other[0] < other[1]
    assert Sgip().OWN_NUMBERS[1] == 0xFFFF_FFFF


def test_a_refusal_is_reported_by_the_submits_own_number() -> None:
    submit = Sgip().encode(wire.Submit(user_number=[b"13800000000", b"13800000001"], report_flag=1), 9 << 64)
    submission = Sgip().submission(submit, 0, len(submit))
    octets = Sgip().rejected_report(submission, 1, submit[8:20], 5, "2611221030", "2611221030")
    said = Sgip().delivery(octets, 0, len(octets)).report
    assert said is not None
    assert (said.message_id, said.stat, said.destination) == (submit[8:20], b"UNDELIV", b"13800000001")


def test_where_a_carrier_calls_it_is_told_whom_each_request_is_for() -> None:
    call = SgipCall()

    def whom(body: Any) -> tuple[bytes, bytes, bytes]:
        octets = call.encode(body, 1)
        return call.addressee(b"-" + octets, (1, 1 + len(octets), body.command, 1))

    assert whom(wire.Deliver(sp_number=b"106", user_number=b"138")) == (b"106", b"138", b"")
    assert whom(wire.UserRpt(sp_number=b"106", user_number=b"138")) == (b"106", b"138", b"")
    number = SequenceNumber(3_057_100_001, 1_122_103_000, 4).number.to_bytes(12, "big")
    assert whom(wire.Report(submit_sequence=number, user_number=b"138")) == (b"", b"138", number)
    assert {c for c, doing in call.CALLS.items() if doing in ("number", "report")} == {*call.ASTRAY}
    assert not {wire.SUBMIT, wire.TRACE} & {*call.SENDER_MAY}


def test_the_answer_to_a_bind_is_its_result() -> None:
    protocol = Sgip()
    for result in (0, 1, 11):
        octets = protocol.login_answer(None, result, 5)
        assert protocol.read_login_answer(octets) == (result, 0x12)
        assert protocol.read_login_answer(octets[:21]) == (result, 0x12)
    for other in (protocol.terminate(5), octets[:20]):
        with pytest.raises(WireError):
            protocol.read_login_answer(other)
