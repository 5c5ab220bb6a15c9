"""Which filing governs a number, and the instant at which what is known of a sender changes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import (
    ACCOUNT,
    AGENCY,
    BAN,
    BANK,
    BODIES,
    DAY,
    KEY,
    LENDER,
    MANDATE,
    NOW,
    NUMBER,
    SOURCE,
    World,
    attempt,
    good,
)

from gateway.config import read_profile
from gateway.model import (
    COLLECTION,
    FOREVER,
    MARKETING,
    SERVICE,
    SMS,
    VOICE,
    AccountNumber,
    Finding,
    Hold,
    Reason,
    Span,
)
from gateway.policy.facts import gather, governing, next_flip, strictest
from gateway.policy.judge import decide
from gateway.policy.profile_text import parse_profile

PROFILE = parse_profile(read_profile, "zhejiang")
WIDE = replace(NUMBER, id=2, extension_digits=6)
NARROW = replace(NUMBER, id=3, number="1069000155", extension_digits=2, purposes=COLLECTION)


def governs(world: World, source: str, now: int = NOW) -> int:
    filing = governing(world.numbers(source), SMS, now)
    return filing.id if filing is not None else 0


def test_the_longest_registration_governs_and_exact_beats_prefix() -> None:
    exact = replace(NUMBER, id=4, number="106900015577", purposes=SERVICE)
    world = replace(good(), filings=[WIDE, NARROW, exact])
    assert governs(world, "10690001") == 2
    assert governs(world, "1069000154") == 2
    assert governs(world, "1069000155") == 3
    assert governs(world, "106900015501") == 3
    assert governs(world, "106900015577") == 4
    assert governs(world, "1069000155771") == 2  # beyond the narrow ones' digits, inside the wide one's
    assert governs(world, "106900015577123") == 0


def test_extension_digits_bound_the_range() -> None:
    world = replace(good(), filings=[replace(WIDE, extension_digits=2)])
    assert governs(world, "1069000112") == 2
    assert governs(world, "10690001123") == 0
    assert governs(world, "1069000") == 0


@pytest.mark.parametrize(
    ("changes", "narrow_governs"),
    [
        ({}, True),
        ({"holds": (Hold("anomaly", Span()),)}, True),  # a hold is a state of a filing in force
        ({"status": "revoked"}, True),  # and what was revoked is not revived by a wider filing
        ({"status": "revoked", "institution": LENDER}, False),  # unless it was somebody else's
        ({"status": "withdrawn"}, False),
        ({"status": "withdrawn", "holds": (Hold("anomaly", Span()),)}, True),  # nor what is held
        ({"status": "withdrawn", "holds": (Hold("anomaly", Span(0, NOW)),)}, False),  # until that is lifted
        ({"span": Span(0, NOW), "holds": (Hold("anomaly", Span()),)}, True),
        ({"span": Span(0, NOW)}, False),
        ({"span": Span(NOW + 1)}, False),
        ({"channels": VOICE}, False),
    ],
)
def test_a_dead_filing_stands_in_nobodys_way(changes: dict[str, Any], narrow_governs: bool) -> None:
    world = replace(good(), filings=[WIDE, replace(NARROW, **changes)])
    assert governs(world, "106900015501") == (3 if narrow_governs else 2)


def test_what_another_holder_had_revoked_hides_nothing_of_ones_own() -> None:
    theirs = replace(NARROW, id=7, number="106900015501", status="revoked", institution=LENDER)
    own = replace(NARROW, status="revoked")
    assert governs(replace(good(), filings=[WIDE, theirs, own]), "106900015501") == 3


def test_an_amendment_leaves_the_old_version_in_force_until_its_own_begins() -> None:
    old = replace(NUMBER, id=5, span=Span(0, NOW + DAY))
    new = replace(NUMBER, id=6, span=Span(NOW + DAY), purposes=SERVICE)
    for filings in ([old, new], [new, old]):
        world = replace(good(), filings=filings)
        assert governs(world, SOURCE) == 5
        assert governs(world, SOURCE, NOW + DAY) == 6


def test_refiled_after_revocation_is_in_force() -> None:
    world = replace(good(), filings=[replace(NUMBER, id=5, status="revoked"), replace(NUMBER, id=6)])
    assert governs(world, SOURCE) == 6


def test_where_nothing_is_in_force_the_latest_version_answers() -> None:
    old = replace(NUMBER, id=5, span=Span(0, NOW - DAY))
    new = replace(NUMBER, id=6, span=Span(NOW - DAY, NOW))
    for filings in ([old, new], [new, old]):
        assert governs(replace(good(), filings=filings), SOURCE) == 6


def test_a_blacklisted_prefix_beats_every_filing() -> None:
    world = replace(good(), bans=[replace(BAN, number="1069", is_prefix=True)])
    [verdict] = decide([attempt()], world, PROFILE, NOW)
    assert verdict.reason is Reason.BLACKLISTED
    assert verdict.institution_code == "bank"


def test_the_strictest_purpose_names_the_attempt() -> None:
    assert strictest(MARKETING | COLLECTION | SERVICE) == "marketing"
    assert strictest(COLLECTION | SERVICE) == "collection"
    assert strictest(SERVICE) == "service"
    assert strictest(0) == "unknown"


def test_mandates_together_cover_the_purposes() -> None:
    world = good()
    world.filings = [replace(NUMBER, agency=AGENCY, purposes=MARKETING | COLLECTION)]
    world.entrusted = [
        replace(MANDATE, id=7, purposes=COLLECTION),
        replace(MANDATE, id=8, purposes=MARKETING),
        replace(MANDATE, id=9, purposes=MARKETING, span=Span(0, NOW)),
    ]
    [verdict] = decide([attempt()], world, PROFILE, NOW)
    assert verdict.passed
    assert (verdict.mandate, verdict.agency_code, verdict.purpose) == (8, "agency", "marketing")


def test_a_dated_mode_ends_the_sender_at_its_date() -> None:
    texts = {
        "zhejiang": read_profile("zhejiang"),
        "dated": 'extends = "zhejiang"\n[rules.unregistered]\nmode = "enforce"\nfrom = 2030-01-01',
    }
    dated = parse_profile(texts.__getitem__, "dated")
    world = replace(good(), filings=[])
    edge = gather((KEY, SOURCE, SMS), world, dated, NOW, stale=False).until
    before, last, after = (decide([attempt()], world, dated, now)[0] for now in (NOW, edge - 1, edge))
    assert before == last
    assert before.passed
    assert after.reason is Reason.UNREGISTERED


def test_next_flip() -> None:
    assert next_flip([], 5) == FOREVER
    assert next_flip([Span(), Span(0, 5), Span(9, 12), Span(3, 11)], 5) == 9
    assert next_flip([Span(0, 6)], 5) == 6


EDGE = NOW + 3 * DAY
FLIPS = {
    "number begins": {"filings": [replace(NUMBER, span=Span(EDGE))]},
    "number ends": {"filings": [replace(NUMBER, span=Span(0, EDGE))]},
    "number's hold ends": {"filings": [replace(NUMBER, holds=(Hold("anomaly", Span(0, EDGE)),))]},
    "number's hold begins": {"filings": [replace(NUMBER, holds=(Hold("anomaly", Span(EDGE)),))]},
    "wider filing ends": {
        "filings": [replace(WIDE, number="1069", extension_digits=9, span=Span(0, EDGE))],
    },
    "licence ends": {"institutions": [replace(BODIES[BANK], licence=Span(0, EDGE))]},
    "yearly check lapses": {"institutions": [replace(BODIES[BANK], verified=Span(0, EDGE))]},
    "institution's hold begins": {
        "institutions": [replace(BODIES[BANK], holds=(Hold("penalty", Span(EDGE)),))]
    },
    "agency's hold begins": {
        "filings": [replace(NUMBER, agency=AGENCY)],
        "institutions": [BODIES[BANK], replace(BODIES[AGENCY], holds=(Hold("penalty", Span(EDGE)),))],
    },
    "mandate ends": {
        "filings": [replace(NUMBER, agency=AGENCY)],
        "entrusted": [replace(MANDATE, span=Span(0, EDGE))],
    },
    "account's number ends": {"shown": {KEY: [AccountNumber(SOURCE, False, Span(0, EDGE))]}},
    "account's hold begins": {"accounts": [replace(ACCOUNT, holds=(Hold("penalty", Span(EDGE)),))]},
}


@pytest.mark.parametrize("changes", FLIPS.values(), ids=FLIPS.keys())
def test_a_verdict_changes_exactly_at_until(changes: dict[str, Any]) -> None:
    """The cached Sender ends where the interval does, and judgement changes there and not a ms earlier."""
    world = replace(good(), **changes)
    key = (KEY, SOURCE, SMS)
    assert gather(key, world, PROFILE, NOW, stale=False).until == EDGE
    before, last, after = (decide([attempt()], world, PROFILE, now)[0] for now in (NOW, EDGE - 1, EDGE))
    assert before == last
    assert before.passed != after.passed


def test_replies_reach_nobody_a_day_after_the_last_session_and_again_when_the_view_says_so() -> None:
    """Until then nobody looks: who never receives costs no more than others."""
    world, key = replace(good(), received=NOW - DAY // 2), (KEY, SOURCE, SMS)
    lapses = NOW + DAY // 2
    assert gather(key, world, PROFILE, NOW, stale=False).until == lapses

    def found(now: int) -> bool:
        [verdict] = decide([attempt()], world, PROFILE, now)
        return Finding(Reason.NO_REPLY_PATH, "", False) in verdict.findings

    assert [found(now) for now in (NOW, lapses - 1, lapses)] == [False, False, True]
    world.received = lapses + 10
    assert gather(key, replace(world, received=0), PROFILE, NOW, stale=False).until == FOREVER
    assert found(lapses + 20 * DAY)
    world.touched()
    assert not found(lapses + 10)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=4),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=4),
    st.lists(st.integers(-1, 45), min_size=1, max_size=12),
)
def test_a_cached_sender_judges_as_a_fresh_one_at_any_time(
    holds: list[list[int]], filings: list[list[int]], times: list[int]
) -> None:
    world = good()
    world.news_at = 0
    world.filings = [
        replace(WIDE, span=Span(*filings[0])) if filings else WIDE,
        *(
            replace(NUMBER, id=10 + place, span=Span(*span), purposes=1 << place % 3)
            for place, span in enumerate(filings[1:])
        ),
    ]
    world.institutions[0] = replace(BODIES[BANK], holds=tuple(Hold("penalty", Span(*hold)) for hold in holds))
    for now in times:
        [cached] = decide([attempt()], world, PROFILE, now)
        assert [cached] == decide([attempt()], replace(world, senders={}), PROFILE, now)
