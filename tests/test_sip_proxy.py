"""What a stateless proxy makes of SIP messages: nothing but what RFC 3261 §16 asks for changes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sip import REFUSED, TORTURE, octets

from gateway.model import Reason
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip_answers import Peer, announces_608, contact, said_no
from gateway.protocols.sip_answers import refusal as refusal_of
from gateway.protocols.sip_keys import refuses
from gateway.protocols.sip_memo import Memo, Verdict
from gateway.protocols.sip_place import TCP, Place
from gateway.protocols.sip_proof import proof_of, proven, token_of
from gateway.protocols.sip_proxy import Own
from gateway.protocols.sip_route import way
from gateway.protocols.sip_stream import Stream

ANSWERED = REFUSED | {"unkscm": 416, "bext01": 420, "bcast": 0, "noreason": 0, "unreason": 0}
OWN = Own(b"10.0.0.1", 5060, frozenset(((b"10.0.0.1", 5060), (b"gw.example.cn", 5060))), b"k" * 16)

PEER = Place("192.0.2.1", 5070)


def spoken(*rows: str, start: str = "INVITE sip:13800000001@gw.example.cn SIP/2.0", body: str = "") -> bytes:
    """A request with what each needs, unless `rows` say otherwise."""
    plain = {
        "Via": "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa;rport",
        "From": "<sip:1069@cc.example.cn>;tag=f",
        "To": "<sip:13800000001@gw.example.cn>",
        "Call-ID": "a@b",
        "CSeq": "1 " + start.partition(" ")[0],
        "Max-Forwards": "70",
    }
    said = [
        f"{name}: {value}" for name, value in plain.items() if not any(r.startswith(name + ":") for r in rows)
    ]
    return "\r\n".join([start, *said, *(row for row in rows if not row.endswith(": -")), "", body]).encode()


def read(data: bytes) -> sip.Message:
    message = sip.datagram(data)
    assert message is not None
    return message


def request(*rows: str, **more: str) -> sip_proxy.Request:
    message = read(spoken(*rows, **more))
    return sip_proxy.checked(message, OWN)


def refusal(data: bytes) -> sip.SipError:
    with pytest.raises(sip.SipError) as refused:
        sip_proxy.checked(read(data), OWN)
    return refused.value


def test_what_is_forwarded_differs_by_our_via_and_one_hop() -> None:
    data = spoken("X-a:  b ", "v: SIP/2.0/TCP c.example.cn;branch=z9hG4bKb", body="v=0\r\n")
    message = read(data)
    found, following = sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, PEER)
    lines = found.split(b"\r\n")
    assert lines.pop(1).startswith(b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK")
    assert b"\r\n".join(lines) == data.replace(b"Max-Forwards: 70", b"Max-Forwards: 69")
    assert following is None


def test_a_route_proves_the_call_that_it_came_with_and_no_other() -> None:
    """However the peer routes: by a loose Route, or by our URI in place of its own."""
    attempt = bytes(range(16))
    proof = proof_of(attempt, "+8613800000001", OWN)
    token = token_of(proof, b"a@b", b"f", OWN)
    octets, _ = sip_proxy.forwarded(request(), OWN, PEER, record=OWN, token=token)
    route = (read(octets).value(b"record-route") or b"").decode()
    assert proven(request(f"Route: {route}", "To: <sip:b@c>;tag=t"), b"f", OWN) == proof
    strict = request("Route: <sip:b@c>", start=f"BYE {route.strip('<>')} SIP/2.0")
    assert proven(strict, b"f", OWN) == proof
    assert proof.is_of("+8613800000001", OWN)
    assert not proof.is_of("+8613800000002", OWN)
    assert proven(strict, b"g", OWN) is None
    for other in (
        request(f"Route: {route}", "Call-ID: other@b"),
        request(f"Route: {route.replace('zm=0', 'zm=1')}"),
        request("Route: <sip:10.0.0.1:5060;lr;zm=zz>"),
        request(),
    ):
        assert proven(other, b"f", OWN) is None


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/dtmf-relay", "Signal=9\r\nDuration=160\r\n", "9"),
        ("Application/DTMF-Relay; x=1", "Duration=160\r\nsignal= 9 \r\n", "9"),
        ("application/dtmf-relay", "Signal=11\r\n", "#"),
        ("application/dtmf-relay", "Signal=5\r\n", ""),
        ("application/dtmf-relay", "Signal=99\r\n", ""),
        ("application/dtmf-relay", "", ""),
        ("application/dtmf", "9", "9"),
        ("application/dtmf", "*\r\n", ""),
        ("text/plain", "9", ""),
    ],
)
def test_only_a_key_of_the_settings_refuses(kind: str, body: str, said: str) -> None:
    start = "INFO sip:13800000001@gw.example.cn SIP/2.0"
    message = read(spoken(f"Content-Type: {kind}", f"Content-Length: {len(body)}", start=start, body=body))
    assert refuses(message, "9#") == said
    assert refuses(message, "") == ""


def test_a_repeat_its_cancel_and_the_ack_of_a_refusal_share_a_branch_and_a_key() -> None:
    invite = request()
    cancel = request(start="CANCEL sip:13800000001@gw.example.cn SIP/2.0")
    ack = request(
        "To: <sip:13800000001@gw.example.cn>;tag=t", start="ACK sip:13800000001@gw.example.cn SIP/2.0"
    )
    for other in (request(), cancel, ack):
        assert other.key() == invite.key()
        assert sip_proxy.branch_of(other, OWN.key) == sip_proxy.branch_of(invite, OWN.key)
    other = request("Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKb")
    assert other.key() != invite.key()
    assert sip_proxy.branch_of(other, OWN.key) != sip_proxy.branch_of(invite, OWN.key)


@pytest.mark.parametrize("via", ["SIP/2.0/UDP 192.0.2.1:5070", "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK"])
def test_an_element_of_rfc_2543_has_branches_too(via: str) -> None:
    first, again, other = (
        request("Via: " + via),
        request("Via: " + via),
        request("Via: " + via, "Call-ID: c@d"),
    )
    assert sip_proxy.branch_of(first, OWN.key) == sip_proxy.branch_of(again, OWN.key)
    assert sip_proxy.branch_of(first, OWN.key) != sip_proxy.branch_of(other, OWN.key)


def test_missing_max_forwards_is_70() -> None:
    found, _ = sip_proxy.forwarded(request("Max-Forwards: -"), OWN, PEER)
    assert found.count(b"Max-Forwards: 70\r\n") == 1


@pytest.mark.parametrize(
    ("data", "status", "rows"),
    [
        (spoken("Max-Forwards: 0"), 483, b""),
        (spoken("Proxy-Require: foo, bar"), 420, b"Unsupported: foo, bar\r\n"),
        (spoken(start="INVITE nobodyKnowsThis:a SIP/2.0"), 416, b""),
        (spoken(start="INVITE sip:a@b@c SIP/2.0"), 400, b""),
        (spoken("Route: <sip:a b;lr>"), 400, b""),
        (spoken(start="ACK sip:a@b@c SIP/2.0"), 0, b""),
    ],
)
def test_a_request_that_may_not_go_on_is_told_why(data: bytes, status: int, rows: bytes) -> None:
    if b"Route" in data:
        message = read(data)
        with pytest.raises(sip.SipError) as refused:
            sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, PEER)
        assert refused.value.status == status
        return
    found = refusal(data)
    assert (found.status, found.rows) == (status, rows)


def test_what_comes_back_unchanged_is_a_loop_and_what_was_changed_is_none() -> None:
    once, _ = sip_proxy.forwarded(request(), OWN, PEER)
    assert refusal(once).status == 482
    changed = sip.datagram(once.replace(b"sip:13800000001@gw", b"sip:13800000002@gw", 1))
    assert changed is not None
    sip_proxy.checked(changed, OWN)


@pytest.mark.parametrize(
    ("routes", "start", "routed", "started", "following"),
    [
        (["<sip:10.0.0.1;lr>"], None, [], None, None),
        (["<sip:10.0.0.1;lr>, <sip:p2;lr>"], None, [b"<sip:p2;lr>"], None, b"sip:p2;lr"),
        (["<sip:p2;lr>"], None, [b"<sip:p2;lr>"], None, b"sip:p2;lr"),
        (["<sip:p2>"], None, [b"<sip:13800000001@gw.example.cn>"], b"sip:p2", b"sip:p2"),
        (
            ["<sip:p2;lr>", "<sip:a@c>"],
            "BYE sip:10.0.0.1;lr SIP/2.0",
            [b"<sip:p2;lr>"],
            b"sip:a@c",
            b"sip:p2;lr",
        ),
    ],
)
def test_route(routes: list[str], start: Any, routed: list[bytes], started: Any, following: Any) -> None:
    told = {"start": start} if start else {}
    asked = request(*("Route: " + route for route in routes), **told)
    found, way = sip_proxy.forwarded(asked, OWN, PEER)
    message = read(found)
    assert list(message.listed(b"route")) == routed
    assert message.uri == (started or asked.message.uri)
    assert way == following


def test_an_answer_repeats_what_it_must_and_is_the_same_each_time() -> None:
    message = read(spoken("v: SIP/2.0/TCP c.example.cn;branch=z9hG4bKb"))
    sip_proxy.stamp(message, b"198.51.100.7", 6000)
    said = sip_proxy.answer(message, 603, b"Decline", OWN.key, [b"Retry-After: 60\r\n"])
    back = sip.datagram(said)
    assert back is not None
    assert (back.status, back.value(b"retry-after")) == (603, b"60")
    assert list(back.listed(b"via")) == [
        b"SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa;rport=6000;received=198.51.100.7",
        b"SIP/2.0/TCP c.example.cn;branch=z9hG4bKb",
    ]
    assert b";tag=" in (back.value(b"to") or b"")
    assert said == sip_proxy.answer(message, 603, b"Decline", OWN.key, [b"Retry-After: 60\r\n"])


@pytest.mark.parametrize(
    ("via", "port"),
    [
        ("SIP/2.0/UDP sbc.example.cn:5070;branch=z9hG4bKa;rport", 6000),  # RFC 3581 §4
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa", 5070),  # §18.2.2
        ("SIP/2.0/UDP sbc.example.cn;branch=z9hG4bKa, SIP/2.0/UDP c.example.cn;rport", 5060),
        ("none", 6000),
    ],
)
def test_an_answer_of_our_own_goes_to_the_port_that_its_via_names(via: str, port: int) -> None:
    message = read(spoken(f"Via: {via}"))
    peer = Place("198.51.100.7", 6000)
    for _ in range(2):  # also where it was broken, and nobody noted where it came from
        assert sip_proxy.way_back(message, peer) == peer._replace(port=port)
        sip_proxy.stamp(message, b"198.51.100.7", 6000)
    stream = Place("198.51.100.7", 6000, TCP, flow=7)
    assert sip_proxy.way_back(message, stream) == stream


def test_an_answer_to_a_broken_request_copies_what_is_there() -> None:
    found = refusal(octets("insuf"))
    assert found.message is not None
    said = sip_proxy.answer(found.message, found.status, b"Bad Request", OWN.key)
    assert said.startswith(b"SIP/2.0 400 Bad Request\r\nCSeq: 193942 INVITE\r\nVia: ")
    assert b"From" not in said


@pytest.mark.parametrize(
    "folded", ["Via: SIP/2.0/UDP 192.0.2.1\r\n ;branch=z9hG4bKa\r\n ;rport\r\n , SIP/2.0/UDP c"]
)
def test_a_stamp_keeps_folding_and_further_values(folded: str) -> None:
    message = read(spoken(folded))
    sip_proxy.stamp(message, b"192.0.2.1", 5061)
    found = list(message.listed(b"via"))
    assert len(found) == 2
    assert found[0].endswith(b";rport=5061;received=192.0.2.1")


@pytest.mark.parametrize("written", ["2001:db8::7", "[2001:db8::7]", "2001:DB8:0:0:0:0:192.0.2.7"])
def test_a_response_goes_back_to_a_caller_by_ipv6(written: str) -> None:
    # §25.1 has none of the brackets in "received" that sent-by has, RFC 5118 §4.5 takes both
    via = f"Via: SIP/2.0/UDP [2001:db8::9]:5070;branch=z9hG4bKa;rport=6000;received={written};x=y"
    message = read(spoken(via))
    sent, _ = sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, PEER)
    response = read(sip_proxy.answer(read(sent), 200, b"OK", b"other"))
    _, place = sip_proxy.returned(response, sip.vias(response), OWN)
    assert place == Place(written.strip("[]"), 6000)


def test_a_response_goes_back_where_the_request_came_from() -> None:
    for transport, port in (("UDP", 6000), (TCP, 5070)):
        message = read(spoken(f"Via: SIP/2.0/{transport} 192.0.2.1:5070;branch=z9hG4bKa;rport"))
        sip_proxy.stamp(message, b"198.51.100.7", 6000)
        sent, _ = sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, PEER)
        said = sip_proxy.answer(read(sent), 200, b"OK", b"other")
        response = read(said.replace(b"Content-Length: 0\r\n", b""))
        back, place = sip_proxy.returned(response, sip.vias(response), OWN)
        assert place == Place("198.51.100.7", port, transport)
        assert back.count(b"Via:") == 1
        assert b"10.0.0.1" not in back
        assert back.count(b"Content-Length: 0\r\n") == (transport == TCP)  # a stream has no other end


def test_a_response_to_what_did_not_come_through_here_goes_nowhere() -> None:
    forged = spoken(
        "Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx, SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKy",
        start="SIP/2.0 200 OK",
    )
    with pytest.raises(sip.SipError) as refused:
        sip_proxy.returned(read(forged), sip.vias(read(forged)), OWN)
    assert (refused.value.cause, refused.value.status) == ("not_ours", 0)


@pytest.mark.parametrize("top", ["SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx", "SIP/2.0/UDP 10.0.0.1"])
@pytest.mark.parametrize("place", ["255.255.255.255", "224.0.0.1", "0.0.0.0", "a;received=255.255.255.255"])
def test_nothing_goes_to_many(top: str, place: str) -> None:
    message = read(spoken(f"Via: {top}, SIP/2.0/UDP {place}", start="SIP/2.0 200 OK", body=""))
    with pytest.raises(sip.SipError) as refused:
        sip_proxy.returned(message, sip.vias(message), OWN)
    assert (refused.value.cause, refused.value.status) == ("broadcast", 0)


@given(st.lists(st.integers(1, 400), max_size=40))
def test_any_split_of_a_stream_gives_the_same_messages(cuts: list[int]) -> None:
    one = spoken("Content-Length: 5", body="v=0\r\n")
    two = spoken("l: 0", "CSeq: 2 INVITE")
    data = b"\r\n" + one + b"\r\n\r\n" + two + one
    stream, found, at = Stream(), [], 0
    for cut in [*cuts, len(data)]:
        found += stream.feed(data[at : at + cut])
        at += cut
    assert [message and message.octets() for message in found if not isinstance(message, sip.SipError)] == [
        one,
        None,
        two,
        one,
    ]
    assert not stream.waits


@pytest.mark.parametrize(
    "data",
    [
        spoken(),
        spoken("Content-Length: -1"),
        spoken("Content-Length: 1", "l: 1"),
        spoken("Content-Length: 99999999"),
    ],
)
def test_a_stream_that_can_not_be_followed_is_closed(data: bytes) -> None:
    first = spoken("l: 0")
    found, error = Stream().feed(first + data)
    assert isinstance(found, sip.Message)
    assert found.octets() == first
    assert isinstance(error, sip.SipError)
    assert (error.status, error.closes) == (400, True)


def test_a_broken_message_is_passed_over_where_its_length_is_sure() -> None:
    stream = Stream()
    broken = spoken("Call-ID: a b c", "From: a", "From: b", "l: 3", body="abc")
    found = stream.feed(broken + spoken("l: 0"))
    assert isinstance(found[0], sip.SipError)
    assert (found[0].status, found[0].closes, stream.waits) == (400, False, False)
    assert isinstance(found[1], sip.Message)


@pytest.mark.parametrize("name", sorted(TORTURE))
def test_a_torture_message_is_forwarded_or_answered_and_nothing_else(name: str) -> None:
    def handled() -> bytes:
        message = read(octets(name))
        if message.status:
            return sip_proxy.returned(message, sip.vias(message), OWN)[0]
        return sip_proxy.forwarded(sip_proxy.checked(message, OWN), OWN, PEER)[0]

    status = ANSWERED.get(name)
    if status is None:
        assert read(handled()).method == read(octets(name)).method
        return
    with pytest.raises(sip.SipError) as refused:
        handled()
    assert refused.value.status == status


@pytest.mark.parametrize("reason", list(Reason))
def test_no_refusal_is_taken_for_try_the_next_trunk(reason: Reason) -> None:
    for peer in (Peer(), Peer(takes_608=True), Peer(takes_608=True, explains=b"https://gw.example.cn/why")):
        found = refusal_of(reason, "sub", peer)
        assert found.status == 400 if reason is Reason.MALFORMED else found.status // 100 == 6
        assert b'Reason: Q.850;cause=21;text="%s sub"\r\n' % reason.value.encode() in found.rows
    assert refusal_of(reason, "", Peer(has_one_trunk=True)).status in (400, 403)


@pytest.mark.parametrize(
    ("asked", "hop", "told"),
    [
        (b"sip:13800000001@gw.example.cn", Place("10.0.0.6", 5060), b"sip:13800000001@10.0.0.6:5060"),
        (b"sips:a;b=c@gw", Place("::1", 5061, "TLS"), b"sips:a;b=c@[::1]:5061"),
        (b"tel:+8613800000001", Place("h", 1, "TCP"), b"sip:+8613800000001@h:1;transport=tcp;user=phone"),
        (b"sip:gw.example.cn", Place("10.0.0.6", 5060), b"sip:10.0.0.6:5060"),
    ],
)
def test_a_redirected_caller_asks_the_carrier_for_the_same_callee(
    asked: bytes, hop: Place, told: bytes
) -> None:
    assert contact(asked, hop) == told


def test_608_goes_to_who_takes_it_with_its_card() -> None:
    found = refusal_of(Reason.REFUSED_BY_SUBSCRIBER, "", Peer(False, True, b"https://gw.example.cn/why"))
    assert (found.status, found.phrase) == (608, b"Rejected")
    assert b"Call-Info: <https://gw.example.cn/why>;purpose=jwscard\r\n" in found.rows
    assert announces_608(read(spoken("Feature-Caps: *;+sip.608")))
    assert not announces_608(read(spoken("Feature-Caps: *;+sip.pns")))


def test_retry_after_stands_where_somebody_can_say_it() -> None:
    assert b"Retry-After: 60\r\n" in refusal_of(Reason.QUIET_HOURS, "", Peer(), 60).rows
    assert len(refusal_of(Reason.QUIET_HOURS, "", Peer()).rows) == 1


@pytest.mark.parametrize(
    ("rows", "start", "no"),
    [
        ([], "SIP/2.0 607 Unwanted", True),
        ([], "SIP/2.0 603 Decline", False),
        (['Reason: Q.850;cause=16, SIP ;cause=607;text="no"'], "BYE sip:a@b SIP/2.0", True),
        (["Reason: SIP;cause=600"], "BYE sip:a@b SIP/2.0", False),
    ],
)
def test_a_human_no_is_heard(rows: list[str], start: str, no: bool) -> None:
    assert said_no(read(spoken(*rows, start=start))) is no


@pytest.mark.parametrize(
    ("route", "at"),
    [
        ("<sips:us.cn;lr>", 5061),
        ("<sip:us.cn;transport=TLS;lr>", 5061),
        ("<sip:us.cn;transport=tcp;lr>", 5060),
        ("<sips:us.cn:5070;lr>", 5070),
    ],
)
def test_a_route_to_us_names_the_port_of_its_transport(route: str, at: int) -> None:
    message = request(f"Route: {route}, <sip:next;lr>").message
    for port in (5060, 5061, 5070):
        own = OWN._replace(places=frozenset(((b"us.cn", port),)))
        assert way(message, own.is_at).routes == ([b"<sip:next;lr>"] if port == at else None)


def test_strangers_leave_room_for_trunks() -> None:
    memo = Memo(4, 2)
    begun = [memo.begin(key, 0, stranger=True) for key in range(3)]
    assert [one is not None for one in begun] == [True, True, False]
    assert memo.begin("trunk", 0) is not None
    memo.settle(begun[0] or Verdict(), 0)
    assert memo.begin(0, 40_000, stranger=True) is not None  # instead of the one that stood there
    assert memo.begin(3, 40_000, stranger=True) is None
    memo.forget(1)
    assert memo.begin(3, 40_000, stranger=True) is not None
    memo.expire(400_000)
    assert len(memo) == 0
    assert [memo.begin(key, 400_000, stranger=True) is None for key in range(3)] == [False, False, True]


def test_a_verdict_is_kept_as_long_as_its_invite_may_be_repeated() -> None:
    memo = Memo(2, 2)
    first = memo.begin("a", 0)
    assert first is not None
    assert memo.get("a", 1) is first
    memo.settle(first, 1_000)
    assert memo.begin("b", 1_000) is not None
    assert memo.begin("c", 1_000) is None
    assert memo.get("a", 32_999) is first
    assert memo.get("a", 33_000) is None
    assert memo.begin("c", 33_000) is not None
    memo.forget("c")
    assert len(memo) == 1
    second = memo.begin("d", 34_000)
    assert second is not None
    memo.confirm(second, 34_000)
    assert memo.get("d", 100_000) is second, "nobody has answered it yet"
    memo.settle(second, 35_000)
    memo.confirm(second, 36_000)
    memo.confirm(second, 40_000)
    assert memo.get("d", 40_999) is second
    assert memo.get("d", 41_000) is None, "a repeated ACK keeps nothing"
    for now in range(34_000, 201_000, 1_000):
        memo.expire(now)
    assert memo.get("b", 201_000 - 1) is not None
    for now in range(201_000, 206_000, 1_000):
        memo.expire(now)
    assert len(memo) == 0
