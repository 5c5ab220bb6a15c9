"""Calls without a node: who judges, records and counts is the test's own, so that what a peer sends out of
turn can be sent message by message."""

import re
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from test_sip_proxy import OWN, read, spoken
from test_trunks import trunks

from gateway.errors import NotReady
from gateway.model import AccountKey, Reason
from gateway.model import Verdict as Judged
from gateway.protocols import sip_proxy
from gateway.protocols.sip import Message
from gateway.protocols.sip_place import TCP, Place
from gateway.relay import calls, outcomes, standing
from gateway.relay.calls import Calls
from gateway.relay.heard import Heard
from gateway.relay.recalled import OURS, Dialog, Known, mark_of
from gateway.relay.told import Answers, Manners

CALLER, OTHER, STRANGER = Place("192.0.2.1", 5070), Place("192.0.2.2", 5060), Place("203.0.113.9", 5060)
CARRIER = Place("10.0.0.6", 5060)
LINE, CALLED, THIRD = "057188886666", "13800000001", "13900000002"
DIVERTS, UNFILED = "057188887777", "057187654321"
KEY = AccountKey("mobile", "sip", CALLER.host)


class Office:
    """In place of all that stands behind the calls: what it was asked to judge, and what it was told."""

    view = SimpleNamespace(version=1)
    profile = SimpleNamespace(unknown_account="refuse")
    journal = SimpleNamespace(crowded=False)

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.outcomes: list[tuple[bytes, int, bytes]] = []
        self.taken: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.over: set[bytes] = set()
        self.judged = 0

    def account(self, key: AccountKey) -> Any:
        return SimpleNamespace(allowed_ips=()) if key.account in (CALLER.host, OTHER.host) else None

    def put(self, batch: Any) -> None:
        self.waiting.append(batch)

    def settle(self, reason: Reason | None = None, error: Exception | None = None) -> None:
        """The verdict of all that waits."""
        batches, self.waiting = self.waiting, []
        for batch in batches:
            self.judged += 1
            (submit,) = batch.submits
            malformed = submit.submission is None or submit.submission.flaw == "frame"
            submit.ids = (self.judged.to_bytes(16, "big"),)
            submit.verdicts = (Judged(Reason.MALFORMED if malformed else reason, number=LINE),)
            batch.owner.settled(batch, error)


class Bench:
    """The calls of one worker between a caller and the carrier, and where its messages went."""

    def __init__(self, carrier: Place = CARRIER, *, records: bool = False, kind: type[Calls] = Calls) -> None:
        self.office = office = Office()
        self.sent: list[tuple[Message, Place]] = []
        self.octets: list[bytes] = []
        self.now = 1_000_000
        self.carrier = carrier
        sides = trunks(carrier, records=records)

        def hung_up(message: Message, call: Any, by: str) -> None:
            office.over.add(call if isinstance(call, bytes) else call.attempt)

        def took(press: Any, *_: Any) -> None:
            office.refusals.append((press.subscriber, press.key))

        def ended(said: Any) -> None:
            office.outcomes.extend((attempt, result, name) for attempt, result, name, _ in said)

        silent: Any = SimpleNamespace(inc=lambda: None, observe=lambda seconds: None)
        telemetry: Any = SimpleNamespace(
            relay=lambda *_: silent, closed=SimpleNamespace(labels=lambda *_: silent)
        )
        course: Any = SimpleNamespace(
            hung_up=hung_up,
            taken=lambda call: office.taken.append(call.subscriber),
            is_over=office.over.__contains__,
        )
        presses: Any = SimpleNamespace(take=took)
        returns: Any = SimpleNamespace(outcomes=ended)
        screen: Any = office
        manners = Manners(lambda host: False, lambda host: False, b"")
        find: Any = None
        self.calls = kind(
            sides,
            [OWN._replace(transport=carrier.transport)] if carrier.transport != "UDP" else [OWN],
            screen,
            returns,
            self._send,
            lambda peer: 1,
            telemetry,
            Heard(presses, find, find, "9"),
            course,
            Answers(OWN.key, manners, screen),
        )

    def _send(self, octets: bytes, to: Place) -> None:
        self.octets.append(octets)
        self.sent.append((read(octets), to))

    def take(self, data: bytes, peer: Place = CALLER) -> list[tuple[Message, Place]]:
        """What is sent for it at once."""
        self.sent = []
        self.calls.take(data, peer)
        return self.sent

    def told(self, data: bytes, peer: Place = CALLER, reason: Reason | None = None) -> int | str:
        """What becomes of a request: the status of its answer, or the URI that the carrier is asked for; 0:
        nothing."""
        self.take(data, peer)
        self.office.settle(reason)
        for message, to in self.sent:
            assert to.host == (peer.host if message.status else self.carrier.host)
            return message.status or message.uri.decode()
        return 0

    def answer(self, request: Message, status: int, *rows: bytes, peer: Place | None = None) -> None:
        said = sip_proxy.answer(request, status, b"said so", b"carrier", rows)
        self.take(said, peer or self.carrier)

    def call(self, *rows: str, **more: str) -> Message:
        """An INVITE that passes, as the carrier gets it."""
        assert self.told(spoken(*rows, *who(), **more)) != 0
        ((message, to),) = self.sent
        assert (message.method, to) == (b"INVITE", self.carrier)
        return message


def who(source: str = LINE) -> list[str]:
    return [f"From: <sip:{source}@cc.example.cn>;tag=f"]


def asks(method: str, to: str = CALLED, more: str = "") -> dict[str, str]:
    return {"start": f"{method} sip:{to}@gw.example.cn{more} SIP/2.0"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(calls, "_now", lambda: made.now)
    monkeypatch.setattr(outcomes, "time_ns", lambda: made.now * 1_000_000)
    return made


TAGGED = f"To: <sip:{CALLED}@gw.example.cn>;tag=c"
_NUMBERS = count(1)


def anew(method: str, *rows: str, to: str = CALLED, tag: str = "f", more: str = "") -> bytes:
    """A further request of the caller's side, by a branch of its own."""
    number = next(_NUMBERS)
    via = f"Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKn{number};rport"
    source = f"From: <sip:{LINE}@cc.example.cn>;tag={tag}"
    said = [TAGGED] if not any(row.startswith("To:") for row in rows) else []
    return spoken(via, source, f"CSeq: {number + 10} {method}", *said, *rows, **asks(method, to, more))


@pytest.mark.parametrize(
    "rows",
    [
        [f"Route: <sip:{THIRD}@10.0.0.6>"],
        ["Route: <sip:10.0.0.6;lr>", f"Route: <sip:{THIRD}@10.0.0.6>"],
        [f"Route: <sip:10.0.0.6;lr>, <sip:{THIRD}@10.0.0.6;lr>", TAGGED],
        ["Route: <sip:a b>"],
    ],
)
def test_who_is_called_is_who_was_judged_whatever_the_route(bench: Bench, rows: list[str]) -> None:
    assert bench.told(spoken(*rows, *who())) == 400
    loose = "Route: <sip:10.0.0.6;lr>"
    assert bench.told(spoken(loose, *who())) == f"sip:{CALLED}@gw.example.cn"
    assert bench.told(spoken(*rows, *who())) == 400, "as a repeat of the one that passed"


@pytest.mark.parametrize("method", ["invite", "Invite", "message", "cancel", "bye"])
def test_a_method_that_others_may_read_as_another_is_refused(bench: Bench, method: str) -> None:
    assert bench.told(spoken(*who(), **asks(method))) == 400
    assert bench.told(spoken(*who(), **asks("X-" + method))) == f"sip:{CALLED}@gw.example.cn"


@pytest.mark.parametrize("via", ["z9hG4bKa", "old"])
def test_nobody_answers_his_own_call(bench: Bench, via: str) -> None:
    top = f"Via: SIP/2.0/UDP 192.0.2.1:5070;branch={via};rport"
    call = bench.call(top)
    for peer in (CALLER, OTHER, STRANGER, CARRIER):
        if peer != CARRIER:
            bench.answer(call, 607, peer=peer)
        forged = f"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKx, {top.partition(': ')[2]}"
        bench.take(spoken(forged, *who(), "CSeq: 1 INVITE", start="SIP/2.0 486 Busy"), peer)
        assert (bench.sent, bench.office.outcomes, bench.office.refusals) == ([], [], [])
    bench.answer(call, 200)
    assert [(message.status, to) for message, to in bench.sent] == [(200, CALLER)]
    assert [result for _, result, _ in bench.office.outcomes] == [200]
    assert bench.office.taken == ["+86" + CALLED]
    bye = anew("BYE").replace(b"192.0.2.1:5070", b"10.0.0.6:5060")
    (asked,) = bench.take(bye.replace(b"gw.example.cn SIP/2.0", b"192.0.2.1:5070 SIP/2.0", 1), CARRIER)
    bench.take(sip_proxy.answer(call, 180, b"Ringing", b"carrier"), CALLER)
    assert bench.sent == [], "not even to himself"
    bench.answer(asked[0], 200, peer=CALLER)
    assert [(message.status, to) for message, to in bench.sent] == [(200, CARRIER)]


def test_a_verdict_lets_a_phone_ring_once(bench: Bench) -> None:
    invite, ack = spoken(*who()), spoken(TAGGED, *who(), **asks("ACK"))
    call = bench.call()
    assert [message.octets() for message, _ in bench.take(invite)] == [call.octets()]
    assert bench.told(spoken(*who(), **asks("INVITE", more=";a=2"))) == 400, "another transaction behind us"
    bench.answer(call, 487)
    assert bench.told(invite) != 0, "its answer was lost, perhaps"
    bench.now += 20_000
    bench.answer(call, 487)
    bench.now += 13_000
    assert bench.told(invite) == 0, "nobody waits for its ACK any more"
    bench.take(ack)
    assert [message.method for message, _ in bench.sent] == [b"ACK"]
    bench.now += 5_001
    assert bench.office.judged == 2  # it, and the one that was changed
    assert bench.told(invite) != 0
    assert bench.office.judged == 3


@pytest.mark.parametrize("status", [200, 486])
def test_an_invite_whose_call_has_ended_rings_nobody_again(bench: Bench, status: int) -> None:
    call = bench.call()
    bench.answer(call, status)
    assert bench.told(spoken(*who())) != 0, "its answer was lost, perhaps"
    bench.take(spoken(TAGGED, *who(), **asks("ACK")) if status == 486 else anew("BYE"))
    assert bench.told(spoken(*who())) == 0


def test_calls_of_one_name_are_told_apart(bench: Bench) -> None:
    """A fork, or a second attempt: each has its own outcome, and the refusal is of who said it."""
    one = bench.call()
    other = bench.call("Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKb;rport", **asks("INVITE", THIRD))
    bench.answer(one, 607)
    assert bench.office.refusals == [("+86" + CALLED, "607")]
    bench.answer(other, 200)
    assert bench.office.taken == ["+86" + THIRD]
    bye = spoken(
        "Via: SIP/2.0/UDP 10.0.0.6:5060;branch=z9hG4bKc",
        f"From: <sip:{THIRD}@gw.example.cn>;tag=c",
        f"To: <sip:{LINE}@cc.example.cn>;tag=f",
        "Reason: SIP;cause=607",
        start="BYE sip:192.0.2.1:5070 SIP/2.0",
    )
    bench.take(bye, CARRIER)
    assert bench.office.refusals[1:] == [("+86" + THIRD, "607")]


def test_two_calls_of_one_name_that_were_taken_each_speak_for_themselves(bench: Bench) -> None:
    for number, branch in ((CALLED, "b"), (THIRD, "c")):
        call = bench.call(
            f"Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK{branch};rport", **asks("INVITE", number)
        )
        said = sip_proxy.answer(call, 200, b"OK", b"callee-" + branch.encode())
        bench.take(said, CARRIER)
        tag = re.search(rb"To: [^\r]*;tag=(\w+)", said)
        assert tag is not None
        bye = spoken(
            f"Via: SIP/2.0/UDP 10.0.0.6:5060;branch=z9hG4bKd{branch}",
            f"From: <sip:{number}@gw.example.cn>;tag={tag[1].decode()}",
            f"To: <sip:{LINE}@cc.example.cn>;tag=f",
            "Reason: SIP;cause=607",
            start="BYE sip:192.0.2.1:5070 SIP/2.0",
        )
        bench.take(bye, CARRIER)
    assert bench.office.refusals == [("+86" + CALLED, "607"), ("+86" + THIRD, "607")]


def test_what_goes_on_by_a_stream_says_its_length() -> None:
    bench = Bench(Place("10.0.0.6", 5060, TCP))
    assert bench.told(spoken(*who(), body="v=0\r\n")) != 0
    ((message, _),) = bench.sent
    assert message.value(b"content-length") == b"5"
    assert bench.octets[-1].endswith(b"Content-Length: 5\r\n\r\nv=0\r\n")


@pytest.mark.parametrize(
    ("peer", "rows", "goes_on"),
    [
        (CALLER, [TAGGED], True),
        (STRANGER, [TAGGED], True),  # from wherever, in a call that stands
        (STRANGER, [TAGGED, "Call-ID: other@b"], False),
        (CALLER, [TAGGED, "Call-ID: other@b"], True),
    ],
)
def test_an_ack_goes_on_where_its_call_or_its_trunk_is_known(
    bench: Bench, peer: Place, rows: list[str], goes_on: bool
) -> None:
    bench.answer(bench.call(), 200)
    assert [to for _, to in bench.take(anew("ACK", *rows), peer)] == [CARRIER] * goes_on


def test_a_call_that_passed_opens_no_other(bench: Bench) -> None:
    bench.answer(bench.call(), 200, b"Contact: <sip:+8613700000003@198.51.100.7>\r\n")
    judged = bench.office.judged
    for changed in (anew("INVITE"), anew("INVITE", to="gw-7"), anew("INVITE", to="+8613700000003")):
        assert isinstance(bench.told(changed), str)
    assert bench.office.judged == judged, "a re-INVITE of the call, also to its Contact"
    others = [
        (anew("INVITE", to=THIRD), CALLER),
        (anew("INVITE", tag="g"), CALLER),
        (anew("INVITE"), OTHER),
        (anew("INVITE"), STRANGER),
        (anew("INVITE", "Route: <sip:10.0.0.6;lr>", f"Route: <sip:{THIRD}@10.0.0.6;lr>"), CALLER),
    ]
    for number, (data, peer) in enumerate(others, judged + 1):
        bench.told(data, peer)
        assert bench.office.judged == number
    bench.take(anew("BYE"))
    assert bench.told(anew("INVITE"), reason=Reason.UNREGISTERED) == 603, "it was hung up"


def test_a_call_goes_by_its_contact_however_many_come_and_end_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "MOST_CONTACTS", 2)
    contact = b"Contact: <sip:+8613700000003@198.51.100.7>\r\n"
    bench.answer(bench.call(), 200, contact)
    for number, of_caller in enumerate((True, False, True)):
        name = f"Call-ID: {number}@b"
        bench.answer(bench.call(name), 200, contact)
        called = f"From: <sip:{CALLED}@gw.example.cn>;tag=c", f"To: <sip:{LINE}@cc.example.cn>;tag=f"
        via = "Via: SIP/2.0/UDP 10.0.0.6:5060;branch=z9hG4bKe"
        of_called = spoken(via, name, *called, start="BYE sip:192.0.2.1:5070 SIP/2.0")
        bench.take(*((anew("BYE", name), CALLER) if of_caller else (of_called, CARRIER)))
    judged = bench.office.judged
    assert isinstance(bench.told(anew("INVITE", to="+8613700000003")), str)
    assert bench.office.judged == judged, "of a call that stands: nobody judges it anew"


def test_a_route_proves_its_own_call_alone() -> None:
    """On another node, or when too many calls have passed since."""
    first, second = Bench(records=True), Bench(records=True)
    route = (first.call().value(b"record-route") or b"").decode()
    own = f"Route: {route}"

    def judged(data: bytes, peer: Place = CALLER) -> bool:
        before = second.office.judged
        second.told(data, peer, Reason.UNREGISTERED)
        return second.office.judged > before

    assert not judged(anew("INVITE", own))
    assert not judged(anew("INVITE", own, to="gw-7"))
    assert judged(anew("INVITE", own, to=THIRD))
    assert judged(anew("INVITE", own, tag="g"))
    assert judged(anew("INVITE", own), STRANGER)
    second.take(anew("BYE", own))
    assert judged(anew("INVITE", own))


def known(bench: Bench, data: bytes, **more: Any) -> Known:
    request = sip_proxy.checked(read(data), OWN)
    dialog = Dialog(
        b"a" * 16, KEY, "+86" + LINE[1:], "+86" + CALLED, LINE, "BANK", "marketing", mark_of(*CARRIER.address)
    )
    return Known(request.key(), request.call_id, bench.now - 1_000, "", "", dialog, **more)


def test_calls_of_an_earlier_life_stand_and_open_no_other(bench: Bench) -> None:
    bench.calls.restore([known(bench, spoken(*who()))], lambda mark: CARRIER)
    assert bench.told(anew("INVITE")) == f"sip:{CALLED}@gw.example.cn"
    assert bench.office.judged == 0
    assert bench.told(spoken(*who())) != 0
    assert bench.told(spoken(*who(), **asks("INVITE", more=";a=2"))) == 400
    for data, peer in ((anew("INVITE", to=THIRD), CALLER), (anew("INVITE"), STRANGER)):
        before = bench.office.judged
        bench.told(data, peer)
        assert bench.office.judged == before + 1


def test_a_repeat_after_a_restart_names_who_was_judged_and_nobody_else(bench: Bench) -> None:
    lent, other = (spoken(*who(), f"Diversion: <sip:{number}@a.cn>") for number in (DIVERTS, UNFILED))
    bench.take(lent)
    (submit,) = bench.office.waiting[0].submits
    record = submit.submission.reference
    for data, status in ((lent, None), (other, 400), (spoken(*who()), 400)):
        again = Bench()
        one = known(bench, lent)._replace(at=2**60, others=record >> 16)
        again.calls.restore([one], lambda mark: CARRIER)
        assert again.told(data) == (status or f"sip:{CALLED}@gw.example.cn")
    assert record & 0xFFFF == mark_of(*CARRIER.address)


@pytest.mark.parametrize("status", [503, 487])
def test_who_was_told_no_is_told_so_after_a_restart(bench: Bench, status: int) -> None:
    """The record says that it passed; an outcome of our own says that it did not go on."""
    invite = spoken(*who())
    bench.take(invite)
    if status == 487:
        bench.take(spoken(*who(), **asks("CANCEL")))
    else:
        for judging in list(bench.calls._judging.values()):
            bench.calls.decided(judging, NotReady("late"))
    bench.office.settle()
    assert status in [message.status for message, _ in bench.sent]
    assert [(result, name) for _, result, name in bench.office.outcomes] == [(status, OURS)]
    again = Bench()
    one = known(bench, invite, result=status, ended=bench.now, ours=True)
    again.calls.restore([one._replace(at=2**60, ended=2**60)], lambda mark: CARRIER)
    assert again.told(invite) == status
    assert again.told(anew("INVITE"), reason=Reason.UNREGISTERED) == 603, "nothing stands"


def test_a_call_may_ring_for_long(bench: Bench) -> None:
    call = bench.call()
    for _ in range(3):
        bench.now += 150_000
        bench.calls.tick()
        bench.answer(call, 180)
        assert [message.status for message, _ in bench.sent] == [180]
    bench.answer(call, 200)
    assert [result for _, result, _ in bench.office.outcomes] == [200]


def test_a_call_that_was_forgotten_while_it_rang_is_cancelled(bench: Bench) -> None:
    call = bench.call()
    bench.now += 300_000
    ((cancel, to),) = bench.take(spoken(*who(), **asks("CANCEL")))
    assert (cancel.method, to, next(cancel.listed(b"via"))) == (b"CANCEL", CARRIER, next(call.listed(b"via")))
    assert bench.told(spoken(*who(), "Call-ID: other@b", **asks("CANCEL"))) == 481


@pytest.mark.parametrize("method", ["MESSAGE", "REFER", "PUBLISH", "REGISTER"])
def test_a_call_carries_no_words_and_no_errands(bench: Bench, method: str) -> None:
    bench.answer(bench.call(), 200)
    assert bench.told(anew(method)) == 603
    assert bench.told(anew("SUBSCRIBE")) == f"sip:{CALLED}@gw.example.cn"
    assert bench.told(anew("INFO")) == f"sip:{CALLED}@gw.example.cn"


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        (["Max-Forwards: 0"], 483),
        (["Proxy-Require: x"], 420),
        (["Max-Forwards: many"], 400),
        (["Route: <sip:10.0.0.6>"], 400),
        ([], 503),
    ],
)
def test_the_ack_of_an_answer_of_our_own_ends_here(rows: list[str], status: int) -> None:
    """Whatever answered, and also when nothing of it is remembered."""
    bench = Bench()
    bench.calls.draining = status == 503
    assert bench.told(spoken(*rows, *who())) == status
    ((said, _),) = bench.sent
    ack = spoken(f"To: {(said.value(b'to') or b'').decode()}", *who(), **asks("ACK"))
    for one in (bench, Bench()):
        assert one.take(ack) == []
        assert one.take(ack, CARRIER) == []


def test_a_broken_invite_of_an_earlier_life_is_not_recorded_again(bench: Bench) -> None:
    broken = spoken("Max-Forwards: many", *who())
    bench.take(broken)
    ((batch,), key) = bench.office.waiting, sip_proxy.key_of_broken(broken, OWN)
    (submit,) = batch.submits
    assert (submit.sequence, submit.submission.content) == (key, "a@b".encode("utf-16-be"))
    one = known(bench, spoken(*who()))._replace(key=key, reason="malformed", at=2**60)
    again = Bench()
    again.calls.restore([one], lambda mark: CARRIER)
    assert again.told(broken) == 400
    assert again.office.judged == 0


def test_an_empty_via_is_no_via(bench: Bench) -> None:
    for via in (
        ", SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa",
        "SIP/2.0/UDP a;branch=z9hG4bKa,, SIP/2.0/UDP b",
    ):
        assert bench.told(spoken(f"Via: {via}", *who())) == 400


def test_a_call_id_is_ascii(bench: Bench) -> None:
    """Octets that are read as two names would be counted as two calls."""
    assert bench.told(spoken(*who(), "Call-ID: caf@e").replace(b"caf@e", "café@e".encode())) == 400
    assert isinstance(bench.told(spoken(*who(), 'Call-ID: a=b;c("<>@[x]')), str)
