"""Order of octets and numbers of our own on one direction of a session."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.relay.lane import FIRST_OWN, LAST, MOST_IN_LANE, MOST_OUTSTANDING, PLACE, Lane, Numbering


class Wire:
    """Keeps what a lane writes."""

    def __init__(self) -> None:
        self.octets = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.octets += data

    def close(self) -> None:
        self.closed = True


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=3)), max_size=30), st.randoms())
def test_octets_leave_in_the_order_in_which_their_places_were_taken(steps, random):
    wire = Wire()
    lane = Lane(wire)
    places = []
    for waits, octets in steps:
        if waits:
            places.append((lane.hold(), octets))
        else:
            lane.send(octets)
    lane.close()
    random.shuffle(places)
    for place, octets in places:
        assert not wire.closed
        place.fill(octets)
    assert wire.octets == b"".join(octets for _, octets in steps)
    assert wire.closed


def test_nothing_overtakes_a_held_place():
    wire = Wire()
    lane = Lane(wire)
    lane.send(b"1")
    place = lane.hold()
    lane.send(b"3")
    assert wire.octets == b"1"
    place.fill(b"2")
    assert wire.octets == b"123"


def test_who_fills_a_lane_hears_it_and_hears_when_it_has_drained():
    """Small frames too: each costs its place. What is nothing takes none."""
    wire, heard = Wire(), []
    lane = Lane(wire, heard.append)
    place, other = lane.hold(), lane.hold()
    lane.send(b"")
    other.fill(bytes(1000))
    assert lane.waiting == 1000 + PLACE
    for _ in range(MOST_IN_LANE // (12 + PLACE)):
        lane.send(bytes(12))
    assert heard == [True]
    lane.send(bytes(MOST_IN_LANE))
    assert (heard, lane.full) == ([True], True)
    place.fill(b"")
    assert (heard, lane.full, lane.waiting) == ([True, False], False, 0)
    lane.hold().fill(bytes(2 * MOST_IN_LANE))  # leaves at once
    assert heard == [True, False]


def test_what_comes_for_a_peer_that_has_gone_is_dropped_and_the_lane_still_closes():
    wire = Wire()
    lane = Lane(wire)
    place = lane.hold()
    lane.lost()
    lane.send(b"2")
    lane.close()
    assert not wire.closed
    place.fill(b"1")
    lane.send(b"3")
    assert wire.closed
    assert wire.octets == b""


def test_a_peer_that_uses_exactly_our_number_does_not_notice():
    numbering = Numbering()
    ours = numbering.choose()
    passed_as = numbering.request(ours)
    assert passed_as != ours
    assert numbering.answer(passed_as) == ours
    assert numbering.answer(ours) is None
    assert numbering.quiet
    assert numbering.request(ours) == ours


def test_our_number_is_not_one_that_the_peer_has_outstanding():
    numbering = Numbering()
    assert numbering.request(FIRST_OWN) == FIRST_OWN
    assert numbering.choose() != FIRST_OWN
    assert numbering.answer(FIRST_OWN) == FIRST_OWN


def test_a_direction_with_requests_under_way_gives_none_of_their_numbers_away():
    numbering = Numbering([FIRST_OWN, FIRST_OWN + 1, 7])
    assert numbering.choose() == FIRST_OWN + 2
    assert numbering.answer(FIRST_OWN) == FIRST_OWN


@given(st.lists(st.sampled_from(["ours", "theirs", "answer"]), max_size=60), st.randoms())
def test_every_answer_finds_its_request_and_no_number_is_used_twice(steps, random):
    numbering = Numbering()
    under_way: dict[int, int | None] = {}  # number on the wire → the peer's own number, None: ours
    for step in steps:
        if step == "ours":
            number = numbering.choose()
            assert number not in under_way
            under_way[number] = None
        elif step == "theirs":
            theirs = random.choice([FIRST_OWN + random.randrange(5), random.randrange(3)])
            if theirs in under_way.values():
                continue  # a peer does not use a number twice before it is answered
            number = numbering.request(theirs)
            assert number not in under_way
            under_way[number] = theirs
        elif under_way:
            number = random.choice(sorted(under_way))
            assert numbering.answer(number) == under_way.pop(number)
    assert numbering.quiet or under_way


def test_numbers_stay_bounded_when_nobody_answers():
    numbering = Numbering()
    for number in range(MOST_OUTSTANDING * 3):
        numbering.request(number)
        numbering.choose()
    assert len(numbering._outstanding) <= MOST_OUTSTANDING
    assert len(numbering._own) <= MOST_OUTSTANDING


def test_own_numbers_wrap_inside_their_range():
    numbering = Numbering()
    numbering._next = LAST
    assert [numbering.choose(), numbering.choose()] == [LAST, FIRST_OWN]


def test_a_protocol_may_say_where_our_numbers_lie() -> None:
    numbering = Numbering([7], (6, 8))
    assert [numbering.choose(), numbering.choose()] == [6, 8]
    assert numbering.answer(6) is None
    assert numbering.choose() == 6
