"""SIP: what is read, what is refused, and with which answer; RFC 4475's torture messages, octet by octet."""

import gc
import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols import sip, sip_grammar, sip_proxy
from gateway.protocols.sip_identity import Identity, identity, number
from gateway.protocols.sip_place import Place

VECTORS = Path(__file__).parent / "vectors"
TORTURE = {case["name"]: case for case in json.loads((VECTORS / "sip/manifest.json").read_text())["cases"]}
CALLERS = json.loads((VECTORS / "sip-identity.json").read_text())["cases"]


def octets(name: str) -> bytes:
    return (VECTORS / "sip" / TORTURE[name]["file"]).read_bytes()


def read(data: bytes) -> sip.Message:
    """What a proxy reads of every message."""
    message = sip.datagram(data)
    assert message is not None
    sip.vias(message)
    sip.sequence(message)
    sip.call_id(message)
    sip.party(message, b"from")
    sip.party(message, b"to")
    sip.max_forwards(message)
    return message


REFUSED = {
    "badinv01": 400, "clerr": 400, "ncl": 400, "scalar02": 400, "scalarlg": 0, "lwsruri": 400, "trws": 400,
    "badaspec": 400, "baddn": 400, "badvers": 505, "mismatch01": 400, "bigcode": 0, "insuf": 400, "mcl01":
    400,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TORTURE))
def test_what_rfc_4475_says_of_each_message(name: str) -> None:
    data = octets(name)
    if name in REFUSED:
        with pytest.raises(sip.SipError) as refused:
            read(data)
        assert refused.value.status == REFUSED[name]
        assert (refused.value.message is not None) == (REFUSED[name] != 0)
        return
    message = read(data)
    assert data.startswith(message.octets())
    assert bool(message.status) == (TORTURE[name]["kind"] == "response")


def test_the_short_tortuous_invite_is_read_whole() -> None:
    message = read(octets("wsinv"))
    assert [(via.transport, via.host) for via in sip.vias(message)] == [
        (b"UDP", b"192.0.2.2"), (b"TCP", b"spindle.example.com"), (b"UDP", b"192.168.255.111"),
    ]  # fmt: skip
    assert sip_grammar.parameter(sip.vias(message)[1].parameters, b"branch") == b"z9hG4bK9ikj8"
    assert (sip.max_forwards(message), sip.sequence(message)) == (68, (9, b"INVITE"))
    assert sip.party(message, b"from").uri == b"sip:jdrosen@example.com"
    assert sip_grammar.parameter(sip.party(message, b"to").parameters, b"tag") == b"1918181833n"


def test_escapes_are_undone_once_and_after_splitting() -> None:
    found = sip_grammar.uri(b"sip:sips%3Auser%40example.com@example.net")
    assert found is not None
    assert (sip_grammar.unescaped(found.user), found.host) == (b"sips:user@example.com", b"example.net")
    assert sip_grammar.unescaped(b"value%2541") == b"value%41"
    assert read(octets("esc02")).method == b"RE%47IST%45R"
    assert len(list(read(octets("esc02")).values(b"contact"))) == 2


def test_a_user_part_keeps_its_semicolons_and_a_header_its_parameters() -> None:
    message = read(octets("intmeth"))
    found = sip_grammar.uri(message.uri)
    assert found is not None
    assert found.host == b"example.com"
    assert found.parameters == b""
    assert sip_grammar.address(b"sip:a@b.cn;x") == (b"", b"sip:a@b.cn", b";x")
    assert sip_grammar.address(b"<sip:a@b.cn;x>") == (b"", b"sip:a@b.cn;x", b"")


def test_octets_behind_the_body_are_dropped() -> None:
    data = octets("dblreq")
    message = read(data)
    assert data.count(b"SIP/2.0\r\n") == 2
    assert message.octets().count(b"SIP/2.0\r\n") == 1


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\0\0\0\0", b"\r\n"])
def test_a_keep_alive_is_no_message(data: bytes) -> None:
    assert sip.datagram(data) is None


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CALLERS])
def test_who_calls(case: dict[str, Any]) -> None:
    data = case["message"].encode()
    expected = case["expect"]
    if case["id"] == "two-from":
        with pytest.raises(sip.SipError) as refused:
            sip.datagram(data)
        assert (refused.value.status, expected["verdict"]) == (400, "malformed")
        return
    message = sip.datagram(data)
    assert message is not None
    found = identity(message, trusted=case["trusted_peer"], area=case["home_area"])
    assert found._asdict() == {
        "verdict": expected["verdict"],
        "caller": expected["caller"] or "",
        "source": expected["caller_source"],
        "called": expected["called"],
        "diverting": expected["diverting"] or "",
        "claims": tuple(expected["other_claims"]),
        "restricted": expected["presentation_restricted"],
    }


def identified(*rows: str, to: str = "13800000001", trusted: bool = False) -> Identity:
    message = sip.datagram(
        (
            f"INVITE sip:{to}@gw.example.cn SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
            f"From: <sip:057188886666@cc.example.cn>;tag=a\r\nTo: <sip:{to}@gw.example.cn>\r\n"
            "Call-ID: a@b\r\nCSeq: 1 INVITE\r\n" + "".join(f"{row}\r\n" for row in rows) + "\r\n"
        ).encode()
    )
    assert message is not None
    return identity(message, trusted=trusted)


def test_who_is_called_behind_a_dialling_prefix_is_nobody() -> None:
    assert identified(to="12593" + "13800138000").called == ""


FIRST, SECOND = "+8657187650001", "+8657187650002"


@pytest.mark.parametrize(
    "rows",
    [
        [f"Diversion: <sip:{FIRST}@a.cn>, <sip:{SECOND}@a.cn>"],
        [f"Diversion: <sip:{FIRST}@a.cn>", f"History-Info: <sip:{SECOND}@a.cn>;index=1"],
        [f"History-Info: <sip:{SECOND}@a.cn>;index=1, <sip:{FIRST}@a.cn>;index=1.1"],
        [f"P-Asserted-Identity: <sip:{SECOND}@a.cn>", f"Diversion: <sip:{FIRST}@a.cn>"],
    ],
)
def test_nobody_who_lends_a_line_or_is_named_beside_stays_unjudged(rows: list[str]) -> None:
    found = identified(*rows)
    assert (found.verdict, found.diverting, found.claims) == ("ok", FIRST, (SECOND,))
    assert found.numbers != identified(rows[0]).numbers or len(rows) == 1


@pytest.mark.parametrize(
    "row",
    [
        "Diversion: <sip:anonymous@a.cn>",
        f"Diversion: <sip:{FIRST}@a.cn>, <sip:unknown@a.cn>",
        "History-Info: <sip:anonymous@anonymous.invalid>;index=1, <sip:13800000001@gw.example.cn>;index=1.1",
    ],
)
def test_a_line_lent_by_who_can_not_be_made_out_is_nobody_s(row: str) -> None:
    found = identified(row)
    assert (found.verdict, found.caller) == ("unidentified", "+8657188886666")


def test_who_names_too_many_numbers_names_none() -> None:
    many = ", ".join(f"<sip:+86571876500{place:02d}@a.cn>" for place in range(18))
    found = identified(f"Diversion: {many}")
    assert (found.verdict, len(found.claims)) == ("ambiguous", 16)


def test_a_local_number_needs_the_trunks_area() -> None:
    assert number(b"sip:12345678@cc.example.cn", "571") == "+8657112345678"
    assert number(b"sip:12345678@cc.example.cn") == ""


OWN = sip_proxy.Own(b"192.0.2.1", 5060, frozenset(((b"192.0.2.1", 5060),)), b"k" * 16)
HEAD = b"INVITE sip:13800000001@gw.example.cn SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
PLAIN = HEAD + (
    b"From: <sip:1069@cc.example.cn>;tag=a\r\nTo: <sip:13800000001@gw.example.cn>\r\nCall-ID: a@b\r\n"
    b"CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def test_a_cseq_is_below_two_to_the_31() -> None:
    """RFC 3261 §8.1.1.5."""
    at_most = PLAIN.replace(b"CSeq: 1 ", b"CSeq: 2147483647 ")
    assert sip.sequence(read(at_most)) == ((1 << 31) - 1, b"INVITE")
    with pytest.raises(sip.SipError) as refused:
        read(PLAIN.replace(b"CSeq: 1 ", b"CSeq: 2147483648 "))
    assert refused.value.status == 400


@given(st.data())
def test_mutated_messages_raise_only_the_declared_error(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from([PLAIN, *(octets(name) for name in TORTURE)]))
    at = data.draw(st.integers(0, len(sample)))
    cut = data.draw(st.integers(0, 40))
    put = data.draw(
        st.binary(max_size=20) | st.sampled_from([b"\r\n", b";", b",", b"<", b'"', b"\\", b"@", b"%", b" "])
    )
    try:
        message = read(sample[:at] + put + sample[at + cut :])
    except (sip.SipError, AssertionError):
        return
    identity(message, trusted=True, area="571")


def mutated(seed: int, count: int) -> None:
    """Reads `count` messages with a few octets cut, changed or put in."""
    random = Random(seed)
    samples = [PLAIN, *(octets(name) for name in TORTURE), *(case["message"].encode() for case in CALLERS)]
    marks = [
        b"\r\n",
        b"\r\n ",
        b";",
        b",",
        b"<",
        b">",
        b'"',
        b"\\",
        b"@",
        b"%",
        b" ",
        b":",
        b"\0",
        b"\xff",
        b"tag=",
    ]
    for _ in range(count):
        data = bytearray(random.choice(samples))
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(data) + 1)
            data[at : at + random.choice((0, 0, 1, 3, 40))] = random.choice(marks)
        try:
            message = sip.datagram(bytes(data))
            if message is not None:
                identity(message, trusted=True, area="571")
                if message.status:
                    sip_proxy.returned(message, sip.vias(message), OWN)
                else:
                    sip_proxy.stamp(message, b"192.0.2.9", 5060)
                    sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, Place("192.0.2.1", 5060))
        except sip.SipError as error:
            if error.message is not None:
                sip_proxy.answer(error.message, error.status, b"no", OWN.key)


def test_mutated_messages_are_forwarded_or_answered() -> None:
    mutated(1, 3_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_mutated_messages_do_not_grow_memory() -> None:
    mutated(2, 50_000)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for seed in range(10, 110):
        mutated(seed, 10_000)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 500
