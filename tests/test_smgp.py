"""SMGP: digests, logins, what is judged of a Submit in both versions, reports as met in the field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import SMGP, spoken, values_of

from gateway.errors import WireError
from gateway.protocols import smgp_tables as wire
from gateway.protocols.message import Report, Submission
from gateway.protocols.smgp import V13, V30, Smgp, status_of

BINARY_ID = b"\x64\x95 :\0\xea\x6b\0\0\x0b"


def named(kind: str) -> list[Any]:
    return [pytest.param(v, id=v["id"]) for v in SMGP.vectors if v["kind"] == kind]


@pytest.mark.parametrize("v", named("digest"))
def test_digests(v: dict[str, Any]) -> None:
    said = v["input"]
    secret = said["shared_secret"].encode()
    if "timestamp" in said:
        got = wire.authenticator_client(said["client_id"].encode(), secret, said["timestamp"])
    else:
        got = wire.authenticator_server(said["status"], bytes.fromhex(said["authenticator_client"]), secret)
    assert got.hex() == v["md5"]


def test_message_ids() -> None:
    (v,) = [v for v in SMGP.vectors if v["kind"] == "msgid"]
    assert wire.message_id(1, 16, 17, 0, 10061, 12345).hex() == v["hex"]
    ids = {Smgp.message_ids((1, 16, 17, 0, second), 10061, 65_535, 1)[0] for second in range(0, 60, 4)}
    assert len(ids) == 15


@pytest.mark.parametrize("v", named("report_content"))
def test_a_report_content_is_decoded_and_encoded_back(v: dict[str, Any]) -> None:
    data, said = bytes.fromhex(v["hex"]), dict(v["decoded"])
    got = wire.report(data)
    assert got.pop("id").hex() == said.pop("id_hex")
    assert {name: value.strip(b"\0 ").decode() for name, value in got.items()} == said
    times = got["submit_date"], got["done_date"]
    text = got["text"].rstrip(b"\0")
    assert wire.report_text(data[3:13], got["stat"], *times, got["err"], text) == data


@pytest.mark.parametrize(("mode", "sends", "receives"), [(0, True, False), (1, False, True), (2, True, True)])
def test_a_login_says_who_asks_and_what_for(mode: int, sends: bool, receives: bool) -> None:
    frame = Smgp().encode(wire.Login(client_id=b"333", login_mode=mode, client_version=0x13), 9)
    login = Smgp().login(frame)
    assert (login.account, login.version, login.sends, login.receives) == ("333", V13, sends, receives)
    assert Smgp.read_login_answer(Smgp.login_answer(login, 0, 9)) == (0, V30)
    assert Smgp.read_login_answer(Smgp().login_refused(frame, 9, 21)) == (21, V30)
    assert Smgp.read_login_answer(Smgp().login_refused(frame[:-1], 9, 21))[0] == 10
    assert not Smgp.too_high(login)
    assert Smgp.too_high(login._replace(version=0x40))


@pytest.mark.parametrize("version", [V13, V30])
def test_what_is_judged_is_what_a_full_decode_says(version: int) -> None:
    protocol = Smgp(version)

    @given(values=values_of(wire.Submit, version >= V30))
    def check(values: dict[str, Any]) -> None:
        values |= {
            "tlvs": [(wire.TP_UDHI, b"\1"), (0x0014, b"x"), (wire.PK_TOTAL, b"\3"), (wire.PK_NUMBER, b"\2")]
        }
        frame = protocol.encode(wire.Submit(**values), 1)
        if not values["dest_term_id"]:
            with pytest.raises(WireError, match="bad_count"):
                protocol.submission(frame, 0, len(frame))
            return
        assert protocol.submission(b"--" + frame + b"--", 2, 2 + len(frame)) == Submission(
            source=values["src_term_id"],
            destinations=values["dest_term_id"],
            fmt=values["msg_format"],
            udhi=True,
            content=values["msg_content"],
            wants_report=values["need_report"] == 1,
            at_time=values["at_time"],
            pk_total=3,
            pk_number=2,
            pseudo=0,
        )

    check()


def test_1_3_has_no_fixed_fee() -> None:
    body = wire.Submit(src_term_id=b"118", dest_term_id=[b"18900001111"], msg_content=b"hi", fixed_fee=b"1")
    old, new = Smgp(V13).encode(body, 1), Smgp(V30).encode(body, 1)
    assert len(new) - len(old) == 6
    assert len(new) == 126 + 21 + 2
    assert Smgp(V13).submission(old, 0, len(old)) == Smgp(V30).submission(new, 0, len(new))


@pytest.mark.parametrize(("count", "status"), [(0, 47), (101, 47), (100, 0)])
def test_a_count_of_recipients_beyond_1_to_100_is_refused(count: int, status: int) -> None:
    frame = Smgp().encode(wire.Submit(dest_term_id=[b"18900001111"] * count), 1)
    try:
        assert len(Smgp().submission(frame, 0, len(frame)).destinations) == 100
        got = 0
    except WireError as error:
        got = status_of(error)
    assert got == status


def report(content: bytes, tlvs: Any = ()) -> Report:
    body = wire.Deliver(
        msg_id=bytes(10), is_report=1, src_term_id=b"189", msg_content=content, tlvs=list(tlvs)
    )
    frame = Smgp().encode(body, 1)
    said = Smgp().delivery(frame, 0, len(frame)).report
    assert said is not None
    return said


TEXT = wire.report_text(BINARY_ID, b"UNDELIV", b"2611211200", b"2611211201", b"003", b"012hello")


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace(b"Submit", b"submit").replace(b"Text", b"text"),
        TEXT.replace(b"Submit date", b"submit_date")
        .replace(b"done date", b"done_date")
        .replace(b"Text", b"txt"),
        TEXT.replace(b" sub", b"sub"),
        TEXT.replace(b" sub", b"ssub").replace(b" dlvrd", b"sdlvrd").replace(b" stat", b"sstat"),
        TEXT[:102] + "012好的".encode("gbk"),
        TEXT[:96],
        TEXT[:88],  # nothing behind stat
        TEXT.replace(b" sub:001 dlvrd:001", b""),
        TEXT.replace(BINARY_ID, BINARY_ID.hex().encode()),
        TEXT.replace(BINARY_ID, BINARY_ID.hex().upper().encode()),
    ],
)
def test_a_report_is_read_however_its_labels_are_written(content: bytes) -> None:
    assert report(content) == Report(BINARY_ID, b"UNDELIV", b"2611211200", b"2611211201", b"189")


def test_what_a_report_leaves_out_hides_nothing_else() -> None:
    assert report(TEXT.replace(b"done date", b"at")).stat == b"UNDELIV"
    assert report(TEXT.replace(b"UNDELIV err:003", b"AF:4 err:003")).stat == b"AF:4"


@given(content=st.binary(max_size=255))
def test_no_report_content_fails_the_deliver(content: bytes) -> None:
    identity = report(content).message_id
    assert identity == content[3:13] or identity.hex().encode() == content[3:23].lower()


def test_broken_optional_fields_do_not_hide_a_reply() -> None:
    body = wire.Deliver(msg_id=b"1" * 10, src_term_id=b"189", dest_term_id=b"118", msg_content=b"T")
    whole = Smgp().encode(body, 1)
    for rest in (b"\0", b"\0\2\0\x09\1"):
        frame = (len(whole) + len(rest)).to_bytes(4, "big") + whole[4:] + rest
        said = Smgp().delivery(frame, 0, len(frame))
        assert (said.subscriber, said.number, said.content, said.udhi) == (b"189", b"118", b"T", False)


def test_a_heartbeats_answer_may_have_12_or_13_octets() -> None:
    data = Smgp.heartbeat_answer(3) + b"\0\0\0\x0d\x80\0\0\x04\0\0\0\x04\0"
    frames, used = Smgp().frames(data)
    assert [(command, sequence) for _, _, command, sequence in frames] == [(0x80000004, 3), (0x80000004, 4)]
    assert used == 25
    assert all(Smgp.SENDER_MAY[command] == "pass" for _, _, command, _ in frames)


def test_words_of_the_specification() -> None:
    assert [*spoken(wire.Submit(), 1)][:4] == ["MsgType", "NeedReport", "Priority", "ServiceID"]
    assert not {*wire.ROUTING} & {*wire.PDUS}
