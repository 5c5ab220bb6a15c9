"""Calls that Kamailio carries, without one and without a node: what who asks is told, message by message."""

from time import monotonic_ns

import pytest
from test_calls_alone import CALLER, CARRIER, STRANGER, Bench, who
from test_sip_proxy import spoken

from gateway.asking import Ask, Kind, Told, What
from gateway.model import Reason
from gateway.protocols import sip
from gateway.protocols.sip_place import Place
from gateway.relay import calls
from gateway.relay.asked import Asked, Asking, answered

BOTH = "Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKk, SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa"
"""Of a response: Kamailio's own, and that of its request as it came."""


class Front(Bench):
    """Who asks, and what it was told."""

    calls: Asked

    def __init__(self) -> None:
        super().__init__(kind=Asked)
        self.said: list[Told] = []

    def _send(self, octets: bytes, to: Place) -> None:
        answered(octets, to)

    def ask(self, data: bytes, peer: Place = CALLER, kind: Kind = Kind.REQUEST) -> list[Told]:
        """What is told of it at once."""
        self.said = told = []
        self.calls.asked(Asking(Ask(1, monotonic_ns(), kind, peer.port, peer.host, data), told.append))
        return told


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.mark.parametrize("row", ["CSeq: 4294967295 INVITE", "CSeq: 1 INVITE\r\nCall-ID: caf@\x7f"])
def test_of_a_response_that_breaks_sip_nothing_is_waited_for(front: Front, row: str) -> None:
    """Who waits in vain takes the worker for silent, and refuses the calls of others."""
    response = spoken(BOTH, row, "Call-ID: a@b", *who(), start="SIP/2.0 607 Unwanted")
    response = response.replace(b"\r\nCall-ID: a@b", b"", 1) if "Call-ID" in row else response
    assert [told.what for told in front.ask(response, CARRIER, Kind.RESPONSE)] == [What.NOTHING]


@pytest.mark.parametrize(
    ("peer", "what", "ended"),
    [
        (CARRIER, What.FORWARD, [200]),
        (CARRIER._replace(port=5099), What.FORWARD, [200]),  # some answer from another port
        (STRANGER, What.NOTHING, []),
        (CALLER, What.NOTHING, []),
    ],
)
def test_the_carrier_answers_from_whichever_port(
    front: Front, peer: Place, what: What, ended: list[int]
) -> None:
    told = front.ask(spoken(*who()))
    front.office.settle()
    assert [one.what for one in told] == [What.FORWARD]
    response = spoken(BOTH, "CSeq: 1 INVITE", *who(), start="SIP/2.0 200 OK")
    assert [one.what for one in front.ask(response, peer, Kind.RESPONSE)] == [what]
    assert [result for _, result, _ in front.office.outcomes] == ended


@pytest.mark.parametrize("row", ["From: <sip:1@b>", "t: <sip:1@b>", "Call-ID: b", "CSeq: 2 INVITE\r\n  "])
def test_an_answer_may_repeat_what_breaks_sip(front: Front, row: str) -> None:
    """Who asks would wait in vain, take the worker for silent, and refuse the calls of others."""
    plain = "To: <sip:1@b>", "Call-ID: a@b", "CSeq: 1 INVITE"
    told = front.ask(spoken(*who(), *plain, row))
    front.office.settle()
    ((what, status, rows),) = [(one.what, one.status, one.rows) for one in told]
    assert (what, status) == (What.ANSWER, 400)
    assert rows == ""
    refused = front.ask(spoken(*who(), "Call-ID: other@b"))
    front.office.settle(Reason.UNREGISTERED)
    assert [(one.status, one.rows) for one in refused] == [
        (603, 'Reason: Q.850;cause=21;text="unregistered"\r\n')
    ]


def test_a_call_is_refused_in_time_however_long_its_answer_would_be(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error there would end the worker's clock, and with it the worker."""
    bare = spoken('To: "" <sip:1@b>', *who())
    long = bare.replace(b'To: ""', b'To: "%b"' % (b"x" * (sip.LONGEST_HEAD - 2 - len(bare))))
    told = front.ask(long)
    assert front.office.waiting
    monkeypatch.setattr(calls, "perf_counter", lambda: float("inf"))
    front.calls.tick()
    assert [(one.what, one.status) for one in told] == [(What.ANSWER, 503)]
