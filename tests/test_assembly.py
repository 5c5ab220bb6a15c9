"""Parts of long messages find each other: what is whole, what has waited, what sticks, what is bounded."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_judge import PROFILE
from world import KEY, NAME, NOW, SOURCE, SUBSCRIBER, good

from gateway.model import Attempt
from gateway.policy.judge import decide
from gateway.protocols import assembly
from gateway.protocols.assembly import (
    KEEP,
    LOST,
    MOST_PARTS,
    NOT_TAKEN,
    OPEN,
    TAKEN,
    WAIT,
    Assembly,
    Message,
    Place,
    place_of,
)
from gateway.protocols.message import Submission
from gateway.protocols.text import UCS2, decode

Machine = Assembly[int, str]
_items = count(1)


def part(number: int, content: bytes = b"", total: int = 3, message: Any = "m") -> Place:
    return Place(message, total, number, 0, content or b"%d" % number)


def take(
    machine: Machine, place: Place, now: int = 0, *, account: str = "a", fate: int = OPEN, item: int = 0
) -> Message[int, str]:
    item = item or next(_items)
    message = machine.take(account, place, item, 100, lambda: fate, now)
    assert message is not None
    return message


def settled(machine: Machine, message: Message[int, str], passed: bool = True) -> list[int]:
    """Judge what waits of a message: the parts that it was on."""
    numbers = [one.number for one in machine.judge(message)]
    machine.settle(message, passed)
    return numbers


def submission(
    content: bytes, udhi: bool = False, total: int = 1, number: int = 1, **fields: Any
) -> Submission:
    made = Submission(b"1069", [b"13800000001"], 8, udhi, content, False, b"", total, number, 0)
    return replace(made, **fields)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (submission(b"\5\0\3\7\3\2ab", True), (3, 2, 7)),
        (submission(b"\6\x08\4\1\7\3\2ab", True), (3, 2, 263)),
        (submission(b"\x0b\5\4\x15\x8a\0\0\0\3\7\2\1", True), (2, 1, 7)),
        (submission(b"ab", total=3, number=2), (3, 2, 0)),
        (submission(b"ab", total=3, number=2, reference=9), (3, 2, 9)),
        (submission(b"\5\0\3\7\3\2ab", True, total=5, number=4), (3, 2, 7)),
        (submission(b"\4\5\2\1\2ab", True, total=3, number=2), (3, 2, 0)),
        (submission(b"ab"), None),
        (submission(b"ab", total=3, number=0), None),
        (submission(b"ab", total=3, number=4), None),
        (submission(b"", total=3, number=2), None),
        (submission(b"\5\0\3\7\3\4ab", True), None),
        (submission(b"\5\0\3\7\1\1ab", True, total=3, number=1), None),
        (submission(b"ab", total=MOST_PARTS + 1, number=1), None),
    ],
)
def test_the_place_of_a_part_is_what_its_header_says_or_its_protocol(
    one: Submission, wanted: tuple[int, int, int] | None
) -> None:
    place = place_of(one)
    assert (place and (place.total, place.number, place.reference)) == wanted


def test_parts_of_one_message_are_alike_in_all_but_text_and_number() -> None:
    first = place_of(submission(b"ab", total=2, number=1))
    assert first is not None
    same = place_of(submission(b"cd", total=2, number=2, wants_report=True))
    assert same is not None
    assert same.message == first.message
    for changes in (
        {"source": b"1068"}, {"destinations": [b"13800000002"]}, {"fmt": 0}, {"at_time": b"x"},
        {"reference": 1}, {"pk_total": 3}, {"pseudo": 1}, {"destinations": [b"8613800000000"]}, {"fmt": 9},
    ):  # fmt: skip
        other = place_of(replace(submission(b"cd", total=2, number=2), **changes))  # type: ignore[arg-type]
        assert other is not None
        assert other.message != first.message, changes


def test_a_part_is_of_its_message_however_its_recipients_and_its_coding_are_spelt() -> None:
    """Else a text cut in two would be judged as two halves, of which neither says much."""
    spellings = [b"13800000001", b"8613800000001", b"+8613800000001", b"008613800000001"]
    places = [
        place_of(submission(b"ab", total=2, number=1, destinations=[spelling, b"10086"], fmt=fmt))
        for spelling in spellings
        for fmt in (8, 0x18, 0x19, 0x48, 0xE0)
    ]
    assert len({place.message for place in places if place is not None}) == 1 <= len(places)
    pseudo = [submission(b"ab", total=2, number=1, destinations=[one], pseudo=1) for one in spellings[:2]]
    assert len({place.message for one in pseudo if (place := place_of(one)) is not None}) == 2


def test_a_message_is_whole_when_all_parts_have_come_in_whatever_order() -> None:
    machine = Machine()
    for number in (3, 1):
        message = take(machine, part(number))
        assert not message.whole
    assert take(machine, part(2)) is message
    assert message.whole
    assert message.contents == [b"1", b"2", b"3"]
    assert settled(machine, message) == [3, 1, 2]
    assert machine.next_due is None


def test_a_part_waits_two_seconds() -> None:
    machine = Machine()
    first, second = take(machine, part(1), 100), take(machine, part(1, message="n"), 600)
    take(machine, part(2), 900)
    assert machine.next_due == 100 + WAIT
    assert machine.due(99 + WAIT) == []
    assert machine.due(100 + WAIT) == [first]
    assert settled(machine, first) == [1, 2]
    assert machine.due(600 + WAIT) == [second]


def test_the_same_part_again_waits_with_the_first() -> None:
    machine = Machine()
    message = take(machine, part(1))
    assert take(machine, part(1)) is message
    assert settled(machine, message) == [1, 1]


def test_another_text_in_a_place_that_is_taken_begins_a_new_message() -> None:
    machine = Machine()
    old = take(machine, part(1), 100)
    new = take(machine, part(1, b"other"), 200)
    assert new is not old
    assert machine.due(200) == [old]
    assert settled(machine, old) == [1]
    assert take(machine, part(2), 300) is new
    assert machine.due(200 + WAIT) == [new]


def test_what_the_carrier_took_begins_a_new_message_and_what_it_did_not_comes_again() -> None:
    machine = Machine()
    message = take(machine, part(1, total=2), fate=TAKEN)
    take(machine, part(2, total=2), fate=NOT_TAKEN)
    assert settled(machine, message) == [1, 2]
    for turn in (2, 3, 4):
        assert take(machine, part(2, total=2), fate=NOT_TAKEN) is message
        assert settled(machine, message) == [2]
        assert message.judged == turn
    assert take(machine, part(1, total=2)) is not message


@pytest.mark.parametrize("judged", [False, True])
def test_parts_that_come_again_while_nobody_knows_never_make_up_a_second_message(judged: bool) -> None:
    machine = Machine()
    message = take(machine, part(1))
    for number in (2, 3):
        take(machine, part(number))
    if judged:
        settled(machine, message)
    assert [take(machine, part(number)) is message for number in (1, 2, 3)] == [True, True, False]


def test_after_a_lost_connection_all_parts_may_come_again_once() -> None:
    machine = Machine()
    message = take(machine, part(1), fate=LOST)
    for number in (2, 3):
        take(machine, part(number), fate=LOST)
    settled(machine, message)
    assert [take(machine, part(number), fate=LOST) is message for number in (1, 2, 3, 1)] == [
        *(True, True, True),
        False,
    ]


def test_a_refusal_sticks_to_parts_that_are_missing_and_to_those_that_come_again_alone() -> None:
    machine = Machine()
    message = take(machine, part(1))
    settled(machine, message, passed=False)
    assert take(machine, part(2)) is message
    assert [one.number for one in machine.stick(message)] == [2]
    for again in (1, 2, 1):
        repeat = take(machine, part(again))
        assert repeat is not message
        assert repeat.refusal is message
        assert [one.number for one in machine.stick(repeat)] == [again]
    assert take(machine, part(3)) is message


def test_a_refused_message_that_comes_again_whole_or_otherwise_is_a_new_one() -> None:
    machine = Machine()
    message = take(machine, part(1))
    for number in (2, 3):
        take(machine, part(number))
    settled(machine, message, passed=False)
    for number in (1, 2):
        assert take(machine, part(number)).refusal is message
    again = take(machine, part(3))
    assert again.refusal is None
    assert settled(machine, again, passed=False) == [1, 2, 3]

    other = take(machine, part(1))
    assert other.refusal is again
    assert take(machine, part(2, b"other")) is other
    assert other.refusal is None
    assert settled(machine, other) == [1, 2]


def test_a_refusal_is_known_for_a_minute_however_often_its_parts_come_again() -> None:
    machine = Machine()
    message = take(machine, part(1), 0)
    settled(machine, message, passed=False)
    for now in (KEEP // 2, KEEP - 1):
        repeat = take(machine, part(1), now)
        assert repeat.refusal is message
        machine.stick(repeat)
    assert take(machine, part(1), KEEP).refusal is None


def test_what_could_not_be_recorded_has_never_come() -> None:
    machine = Machine()
    message = take(machine, part(1))
    take(machine, part(2))
    machine.judge(message)
    machine.fail(message)
    assert machine.due(WAIT * 9) == []
    again = take(machine, part(3))
    assert again is not message
    assert settled(machine, again) == [3]
    machine.judge(take(machine, part(1)))
    machine.fail(again)
    assert not again.whole
    assert take(machine, part(2)) is again
    assert again.contents == [b"", b"2", b"3"]


def test_what_a_lost_connection_brought_has_never_come() -> None:
    machine = Machine()
    message = take(machine, part(1), item=1)
    take(machine, part(2), item=2)
    assert len(machine.withdraw(message, lambda item: item == 1)) == 1
    assert not message.whole
    assert take(machine, part(1)) is message
    machine.withdraw(message, lambda item: True)
    assert take(machine, part(1)) is not message


def test_a_part_that_comes_while_others_are_judged_waits_for_them() -> None:
    machine = Machine()
    message = take(machine, part(1))
    machine.judge(message)
    take(machine, part(2), 50)
    assert machine.due(WAIT * 9) == []
    machine.settle(message, True)
    assert machine.due(50 + WAIT) == [message]
    assert settled(machine, message) == [2]


def test_a_message_is_forgotten_after_a_minute() -> None:
    machine = Machine()
    message = take(machine, part(1), 0)
    settled(machine, message)
    assert take(machine, part(2), KEEP - 1) is message
    settled(machine, message)
    assert take(machine, part(3), 2 * KEEP) is not message


def test_memory_is_bounded_for_each_account_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 100 + assembly.OVERHEAD
    monkeypatch.setattr(assembly, "MOST_OF_ACCOUNT", 3 * size)
    monkeypatch.setattr(assembly, "MOST_IN_ALL", 4 * size)
    machine = Machine()

    def room(account: str, message: str) -> bool:
        return machine.take(account, part(1, message=message), 0, 100, lambda: OPEN, 0) is not None

    assert [room("a", message) for message in "pqrs"] == [True, True, True, False]
    assert [room("b", message) for message in "pq"] == [True, False]
    first = machine.due(WAIT)[0]
    settled(machine, first)
    assert room("b", "q")
    for message in machine.due(WAIT):
        settled(machine, message)
    assert [room("a", message) for message in "uvwx"] == [True, True, True, False]


def test_of_what_waits_no_more_only_so_much_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MOST_KNOWN", 2)
    machine = Machine()
    messages = [take(machine, part(1, message=name)) for name in "pqr"]
    for message in messages:
        settled(machine, message)
    newest = [take(machine, part(2, message=name)) for name in "rqp"]
    assert [one is other for one, other in zip(newest, messages[::-1], strict=True)] == [True, True, False]


# With the rules

WHOLE = f"【{NAME}】新客礼，详情见APP，拒收请回复R"
TEXTS = (WHOLE, WHOLE.replace("拒收", "咨询"), WHOLE.removeprefix(f"【{NAME}】"), "【西湖示例小贷】" + WHOLE)


def verdict(contents: tuple[bytes, ...]) -> str:
    """The reason for which the rules refuse what has come, "" when they let it pass."""
    text, note = decode(contents, UCS2, False)
    attempt = Attempt(KEY, 1, SOURCE, SUBSCRIBER, text, unfinished=note == "unfinished")
    (found,) = decide([attempt], good(), PROFILE, NOW)
    return found.reason or ""


@given(data=st.data())
def test_however_parts_of_messages_come_each_message_gets_the_verdict_of_its_whole_text(data: Any) -> None:
    """No time passes: nothing of a message leaves before it is whole, and then all of it or nothing."""
    messages = data.draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5))
    pieces = [piece for name, text in enumerate(messages) for piece in cut(data, name, text)]
    machine = Machine()
    forwarded: dict[Any, set[int]] = {}
    told: dict[Any, str] = {}
    for piece in data.draw(st.permutations(pieces)):
        message = take(machine, piece)
        if message.whole:
            reason = told[piece.message] = verdict(tuple(message.contents))
            numbers = settled(machine, message, passed=not reason)
            if not reason:
                forwarded.setdefault(piece.message, set()).update(numbers)
    assert told == {name: verdict((text.encode("utf-16-be"),)) for name, text in enumerate(messages)}
    assert forwarded == {
        name: {piece.number for piece in pieces if piece.message == name}
        for name, reason in told.items()
        if not reason
    }


@given(data=st.data())
def test_whenever_the_waiting_ends_no_part_leaves_after_a_refusal_and_the_last_verdict_is_of_all(
    data: Any,
) -> None:
    """Silence falls at any moment: what had come is judged, and what follows with it."""
    text = data.draw(st.sampled_from(TEXTS))
    pieces = data.draw(st.permutations(cut(data, 0, text)))
    machine = Machine()
    reasons: list[str] = []
    forwarded: list[int] = []
    for piece in pieces:
        message = take(machine, piece)
        if message.refused:
            assert [one.number for one in machine.stick(message)] == [piece.number]
        elif message.whole or message.judged or data.draw(st.booleans()):
            reasons.append(verdict(tuple(message.contents)))
            numbers = settled(machine, message, passed=not reasons[-1])
            forwarded += [] if reasons[-1] else numbers
    assert not any(reasons[:-1])
    whole = verdict((text.encode("utf-16-be"),))
    assert whole in {"", *reasons} or message.refused
    if not message.refused:
        assert reasons[-1] == whole == ""
        assert sorted(forwarded) == [*range(1, len(pieces) + 1)]


def cut(data: Any, name: int, text: str) -> list[Place]:
    """A text as parts, cut anywhere."""
    octets = text.encode("utf-16-be")
    places = data.draw(st.sets(st.integers(1, len(octets) - 1), min_size=1, max_size=5))
    edges = [0, *sorted(places), len(octets)]
    total = len(edges) - 1
    return [
        Place(name, total, number, 0, octets[edges[number - 1] : edges[number]])
        for number in range(1, total + 1)
    ]
