"""The link, read like a sequence diagram: what goes in on one end, what comes out on the other."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols import cmpp_tables as wire
from gateway.protocols.cmpp import V20, V21, V30, Cmpp
from gateway.protocols.link import (
    NEXT,
    Answered,
    Asked,
    Closed,
    Event,
    Link,
    LoggedIn,
    LoginAsked,
    Unanswered,
)

SECOND = 1000
CONNECT = Cmpp().encode(wire.Connect(source_addr=b"900001", version=V30), 0)
SUBMIT = Cmpp(V30).encode(wire.Submit(dest_terminal_id=[b"13800000000"], msg_content=b"hi"), 0)


def cross(sender: Link, carrier: Link, now: int = 0) -> list[Event]:
    """Carry all octets both ways until none are left; what the two ends said."""
    events: list[Event] = []
    while (there := sender.take()) + (back := carrier.take()):
        events += carrier.receive(there, now) + sender.receive(back, now)
    return events


def joined(asked: int = V30, highest: int = V30, **settings: int) -> tuple[Link, Link]:
    """Two ends, logged in."""
    sender, carrier = Link(Cmpp(asked), **settings), Link(Cmpp(), **settings)
    sender.login(Cmpp().encode(wire.Connect(source_addr=b"900001", version=asked), 0), 0)
    (came,) = cross(sender, carrier)
    assert isinstance(came, LoginAsked)
    answer = Cmpp.login_answer(came.login, 0, came.sequence, highest)
    assert carrier.accept(answer, min(came.login.version, highest), 0) == []
    (done,) = cross(sender, carrier)
    assert isinstance(done, LoggedIn)
    assert (done.status, sender.state, carrier.state) == (0, "open", "open")
    return sender, carrier


@pytest.mark.parametrize(
    ("asked", "highest", "agreed"), [(V20, V30, V20), (V21, V30, V21), (V30, V30, V30), (V30, V20, V20)]
)
def test_both_ends_speak_the_lower_version(asked: int, highest: int, agreed: int) -> None:
    sender, carrier = joined(asked, highest)
    assert (sender.wire.version, carrier.wire.version) == (agreed, agreed)


def test_a_refused_login_closes_both_ends() -> None:
    sender, carrier = Link(Cmpp()), Link(Cmpp())
    sender.login(CONNECT, 0)
    (came,) = cross(sender, carrier)
    assert isinstance(came, LoginAsked)
    assert carrier.refuse(Cmpp.login_answer(came.login, 3, came.sequence)) == [Closed("refused")]
    told = cross(sender, carrier)
    assert told[0][:2] == (3, V30)
    assert told[1:] == [Closed("refused", "3")]
    assert carrier.receive(SUBMIT, 0) == []


@pytest.mark.parametrize(
    ("octets", "cause", "answered"),
    [
        (SUBMIT, "login_expected", False),
        (CONNECT[:3] + b"\x26" + CONNECT[4:-1], "truncated_body", True),
        (b"GET / HTTP/1.1\r\n\r\n", "length_too_large", False),
    ],
)
def test_whoever_does_not_log_in_first_is_out(octets: bytes, cause: str, answered: bool) -> None:
    carrier = Link(Cmpp())
    (closed,) = carrier.receive(octets, 0)
    assert isinstance(closed, Closed)
    assert closed.cause == cause
    answer = carrier.take()
    assert bool(answer) is answered
    if answered:
        assert Cmpp.read_login_answer(answer)[0] == 1


def test_something_else_than_a_login_answer_closes() -> None:
    sender = Link(Cmpp())
    sender.login(CONNECT, 0)
    assert sender.receive(Cmpp.heartbeat(1), 0) == [Closed("login_answer_expected", "0x00000008")]


def test_what_comes_before_the_login_is_answered_waits() -> None:
    carrier = Link(Cmpp())
    (came,) = carrier.receive(CONNECT + SUBMIT + SUBMIT[:20], 0)
    assert isinstance(came, LoginAsked)
    assert carrier.receive(SUBMIT[20:], 0) == []
    events = carrier.accept(Cmpp.login_answer(came.login, 0, 0), V30, 0)
    assert [type(event) for event in events] == [Asked, Asked]
    assert events[1].frame == SUBMIT  # type: ignore[union-attr]


def test_a_second_login_is_refused_and_nothing_else_happens() -> None:
    sender, carrier = joined()
    assert carrier.receive(CONNECT, 0) == []
    answer = carrier.take()
    assert Cmpp.read_login_answer(answer)[0] == Cmpp.OTHER
    assert sender.receive(answer, 0) == []
    assert (sender.state, carrier.state) == ("open", "open")


def test_a_request_is_matched_with_its_answer_and_numbers_go_up_by_one() -> None:
    sender, carrier = joined()
    numbers = [sender.request(SUBMIT, 0) for _ in range(3)]
    assert numbers == [2, 3, 4]
    asked = cross(sender, carrier)
    assert [(type(e), e.sequence) for e in asked] == [(Asked, 2), (Asked, 3), (Asked, 4)]  # type: ignore[union-attr]
    for number in (3, 2, 4, 99):
        carrier.send(carrier.wire.acceptance(number, bytes(8)))
    answers = cross(sender, carrier)
    assert [e.sequence for e in answers] == [3, 2, 4, 99]  # type: ignore[union-attr]
    assert [e.request is not None for e in answers] == [True, True, True, False]  # type: ignore[union-attr]
    assert sender.outstanding == set()


def test_numbers_wrap_and_pass_by_those_still_outstanding() -> None:
    sender, _ = joined(sequence=0xFFFF_FFFF)  # the login took ffffffff
    assert [sender.request(SUBMIT, 0), sender.request(SUBMIT, 0, sequence=2)] == [0, 2]
    assert [sender.request(SUBMIT, 0), sender.request(SUBMIT, 0)] == [1, 3]
    with pytest.raises(ValueError, match="outstanding"):
        sender.request(SUBMIT, 0, sequence=2)


def test_the_window_bounds_requests_but_not_heartbeats() -> None:
    sender, carrier = joined(window=4)
    for _ in range(4):
        sender.request(SUBMIT, 0)
    assert sender.room == 0
    with pytest.raises(ValueError, match="no room"):
        sender.request(SUBMIT, 0)
    cross(sender, carrier)
    carrier.send(carrier.wire.acceptance(2, bytes(8)))
    cross(sender, carrier)
    assert sender.room == 1


def test_a_request_goes_three_times_in_all_and_is_then_given_up() -> None:
    sender, _ = joined()
    number = sender.request(SUBMIT, 0)
    sent = [sender.take()]
    for minute in (1, 2):
        assert sender.tick(minute * 60 * SECOND - 1) == []
        assert sender.take() == b""
        assert sender.due() == minute * 60 * SECOND
        assert sender.tick(minute * 60 * SECOND) == []
        sent.append(sender.take())
    assert sent == [Cmpp.with_sequence(SUBMIT, number)] * 3
    assert sender.tick(180 * SECOND) == [Unanswered(number, sent[0])]
    assert (sender.state, sender.room) == ("open", 16)


def test_a_quiet_link_beats_and_an_unanswered_heart_closes_it() -> None:
    sender, carrier = joined()
    assert sender.due() == 180 * SECOND
    assert sender.tick(179 * SECOND) == []
    assert sender.take() == b""
    assert sender.tick(180 * SECOND) == []
    assert cross(sender, carrier, 180 * SECOND) == []  # answered by itself
    assert sender.outstanding == set()
    beats, now = [], 360 * SECOND
    while sender.state == "open":
        events = sender.tick(now)
        beats.append(sender.take())
        now += 60 * SECOND
    assert [len(beat) for beat in beats] == [12, 12, 12, 0]
    assert events == [Closed("heartbeat", "unanswered")]
    assert sender.due() is None


def test_traffic_keeps_the_heart_still() -> None:
    sender, carrier = joined()
    for minute in range(1, 10):
        carrier.send(Cmpp.heartbeat(minute))
        cross(sender, carrier, minute * 120 * SECOND)
        assert sender.tick(minute * 120 * SECOND) == []
        assert sender.take() == b""


def test_goodbye() -> None:
    sender, carrier = joined()
    sender.close(0)
    assert sender.room == 0
    assert cross(sender, carrier) == [Closed("terminated"), Closed("terminated")]
    assert (sender.state, carrier.state) == ("closed", "closed")
    with pytest.raises(ValueError, match="no room"):
        sender.request(SUBMIT, 0)


def test_both_may_say_goodbye_at_once() -> None:
    sender, carrier = joined()
    sender.close(0)
    carrier.close(0)
    assert cross(sender, carrier) == [Closed("terminated"), Closed("terminated")]


def test_a_lost_connection_is_told_once() -> None:
    sender, _ = joined()
    assert sender.lost("reset") == [Closed("lost", "reset")]
    assert sender.lost() == []
    assert sender.receive(SUBMIT, 0) == []


def test_frames_before_garbage_are_still_heard() -> None:
    sender, carrier = joined()
    events = carrier.receive(SUBMIT + b"\0\0\0\x01", 0)
    assert [type(event) for event in events] == [Asked, Closed]
    assert events[1] == Closed("length_too_short", "1")
    assert sender.state == "open"


def test_our_own_mistakes_are_value_errors() -> None:
    with pytest.raises(ValueError, match="close sent while new"):
        Link(Cmpp()).close(0)
    with pytest.raises(ValueError, match="accepted while new"):
        Link(Cmpp()).accept(b"", V20, 0)


STREAM = b"".join(
    (
        *(Cmpp.heartbeat(1), Cmpp.with_sequence(SUBMIT, 5), Cmpp.heartbeat(2)),
        *(Cmpp.with_sequence(SUBMIT, 6), Cmpp.terminate(7), SUBMIT),
    )
)


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_of_the_stream_gives_the_same_events_and_answers(cuts: list[int]) -> None:
    def played(edges: list[int]) -> tuple[list[Event], bytes]:
        _, carrier = joined()
        events: list[Event] = []
        for start, end in zip(edges, [*edges[1:], len(STREAM)], strict=True):
            events += carrier.receive(STREAM[start:end], 0)
        return events, carrier.take()

    assert played([0, *sorted(cuts)]) == played([0])


@given(octets=st.binary(max_size=200))
def test_garbage_only_ever_closes(octets: bytes) -> None:
    for link in (*joined(), Link(Cmpp())):
        link.receive(octets, 0)
        link.tick(10**9)
        assert link.state in {state for state, _ in NEXT} | {"closed"}


def test_every_state_and_event_of_the_table_is_used_by_the_code() -> None:
    source = (Path(__file__).parents[1] / "gateway" / "protocols" / "link.py").read_text()
    moves = set(re.findall(r'(?:_move\(|event=)"([a-z ]+)"', source))
    assert moves == {event for _, event in NEXT}
    assert {state for state, _ in NEXT} <= {"new"} | set(NEXT.values())


def test_an_answer_without_a_question_is_told_as_such() -> None:
    sender, _ = joined()
    stray = sender.wire.acceptance(77, bytes(8))
    assert sender.receive(stray, 0) == [Answered(wire.SUBMIT | wire.ANSWER, 77, stray, None)]
