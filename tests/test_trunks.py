"""The two sides of a node: where the carrier's requests lead, and what the next hop can't be given."""

import pytest

from gateway.protocols import sip
from gateway.protocols.sip_place import TCP, TLS, UDP, Place
from gateway.relay.trunks import Trunks

HOP = Place("192.0.2.6", 5060)


def trunks(hop: Place, *, redirects: bool = False, records: bool = False) -> Trunks:
    """With one next hop that is always alive."""
    return Trunks(
        "mobile",
        frozenset((hop.address,)),
        lambda mark: hop,
        lambda host, transport: 0,
        lambda host: False,
        0.2,
        redirects=redirects,
        records=records,
    )


def invite(body: int = 0) -> sip.Message:
    message = sip.datagram(b"INVITE sip:a@b SIP/2.0\r\nX: %s\r\n\r\n" % (b"x" * 16_000) + b"v" * body)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        (b"sip:a@192.0.2.1:5070", Place("192.0.2.1", 5070)),
        (b"sip:a@[2001:db8::1];transport=tcp", Place("2001:db8::1", 5060, TCP)),
        (b"sips:a@192.0.2.1", Place("192.0.2.1", 5061, TLS)),
        (b"sip:a@192.0.2.1;maddr=192.0.2.9", Place("192.0.2.9", 5060)),  # goes before the host
        (b"sip:a@pbx.example.cn;maddr=192.0.2.9;transport=tcp", Place("192.0.2.9", 5060, TCP)),
        (b"sip:a@192.0.2.1;maddr=pbx.example.cn", None),
        (b"sip:a@192.0.2.1;maddr=%FF", None),
        (b"sip:a@192.0.2.1;maddr=239.1.1.1", None),
        (b"sip:a@pbx.example.cn", None),
        (b"tel:+8613800000001", None),
    ],
)
def test_where_a_request_of_the_carrier_leads(uri: bytes, place: Place | None) -> None:
    assert trunks(HOP).place_of(uri) == place


@pytest.mark.parametrize(
    ("scheme", "body", "by", "redirects", "status"),
    [
        (b"sips", 0, UDP, False, 416),
        (b"sips", 0, TCP, True, 416),
        (b"sips", 0, TLS, False, 0),
        (b"sip", 0, UDP, False, 0),
        (b"sip", 65_535, UDP, False, 513),
        (b"sip", 48_000, UDP, False, 0),
        (b"sip", 65_535, TCP, False, 0),
        (b"sip", 65_535, UDP, True, 0),  # its caller takes it there
    ],
)
def test_what_the_next_hop_can_not_be_given_is_told_before_it_is_judged(
    scheme: bytes, body: int, by: str, redirects: bool, status: int
) -> None:
    sides, message = trunks(HOP._replace(transport=by), redirects=redirects), invite(body)
    if not status:
        sides.check(message, scheme)
        return
    with pytest.raises(sip.SipError) as refused:
        sides.check(message, scheme)
    assert (refused.value.status, refused.value.message) == (status, message)
