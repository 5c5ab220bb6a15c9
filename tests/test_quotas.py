"""Whom a caller asked about on one day: counting up is seen however the questions are cut and ordered."""

import datetime
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.registry.acting import Actor
from gateway.registry.quotas import FEWEST, MOST_REMEMBERED, NEAR, Asked, counted_up

if TYPE_CHECKING:
    from collections.abc import Iterable

BANK = Actor(1, "bank", 1, "institution", institution=7, institution_code="BANK")
CARRIER = Actor(3, "c1", 3, "carrier", carrier="mobile")
DAY = datetime.date(2026, 11, 22)


def subscribers(numbers: "Iterable[int]") -> list[str]:
    return [f"+86{13800000000 + number}" for number in numbers]


def one_by_one(asked: Asked, numbers: "Iterable[int]", actor: Actor = BANK) -> int:
    return max(asked.counted_up(actor, [one], DAY) for one in subscribers(numbers))


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=200))
def test_one_by_one_is_seen_as_a_list_is(numbers: list[int]) -> None:
    asked = Asked()
    for one in subscribers(numbers):
        count = asked.counted_up(BANK, [one], DAY)
    assert bool(count) == counted_up(subscribers(numbers))
    assert count in (0, len(set(numbers)))


def test_a_caller_is_an_institution_or_a_user_and_a_day_is_a_day() -> None:
    asked = Asked()
    every = [n * 7 % FEWEST for n in range(FEWEST)]  # in no order
    colleague = replace(BANK, user=2, login="bank2")
    assert one_by_one(asked, every[:-1]) == 0
    assert one_by_one(asked, every, CARRIER) == FEWEST
    assert one_by_one(asked, every[-1:], colleague) == FEWEST
    assert asked.counted_up(BANK, subscribers(every[:1]), DAY + datetime.timedelta(days=1)) == 0


def test_customers_asked_about_again_and_again_are_no_enumeration() -> None:
    asked = Asked()
    strewn = range(0, FEWEST * 10 * NEAR, NEAR + 1)
    assert one_by_one(asked, itertools.chain(strewn, strewn)) == 0
    assert one_by_one(asked, [5] * 2 * FEWEST) == 0
    assert asked.counted_up(BANK, ["pseudo:4f:a"] * FEWEST, DAY) == 0


def test_what_is_remembered_has_an_end() -> None:
    asked = Asked()
    strewn = subscribers(range(0, (MOST_REMEMBERED + 10) * 20, 20))
    assert asked.counted_up(BANK, strewn, DAY) == 0
    assert one_by_one(asked, range(1, FEWEST)) == FEWEST + 9  # with the ten asked about last
