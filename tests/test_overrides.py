"""Overrides: stricter rules for one institution or one number, and never laxer ones."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_profile_versions import Registry, activation
from world import BANK, LENDER, NOW, NUMBER, SOURCE, attempt, good

from gateway.config import read_profile
from gateway.model import PURPOSES, Reason
from gateway.policy.hours import MINUTE
from gateway.policy.judge import decide, explain
from gateway.policy.overrides import Overrides, laxer, tightened
from gateway.policy.profile import MASKS, Profile
from gateway.policy.profile_text import parse_profile
from gateway.registry.in_force import InForce

ZHEJIANG = parse_profile(read_profile, "zhejiang")
CONSENT = '[rules.consent_missing]\nmode = { marketing = "enforce" }\n'


def over(text: str) -> Profile:
    return parse_profile({"over": text}.__getitem__, "over")


def test_an_override_of_an_institution_or_a_number_holds_there_alone() -> None:
    world = good()
    world.consented = {}
    for by in (Overrides({BANK: over(CONSENT)}, {}), Overrides({}, {SOURCE: over(CONSENT)})):
        profile = replace(ZHEJIANG, stricter=by)
        world.touched()
        [verdict] = decide([attempt()], world, profile, NOW)
        assert verdict.reason is Reason.CONSENT_MISSING
        assert verdict.profile not in ("", ZHEJIANG.digest)
        assert explain(attempt(), world, profile, NOW).verdict == verdict
    for by in (Overrides({LENDER: over(CONSENT)}, {}), Overrides({}, {SOURCE + "1": over(CONSENT)})):
        world.touched()
        [verdict] = decide([attempt()], world, replace(ZHEJIANG, stricter=by), NOW)
        assert (verdict.passed, verdict.profile) == (True, "")


def test_an_override_holds_in_the_cache_as_long_as_its_profile() -> None:
    """The senders that were judged before it began are judged anew, and again when it is over."""
    world, profile = good(), replace(ZHEJIANG, stricter=Overrides({BANK: over(CONSENT)}, {}))
    world.consented = {}
    reasons = [
        decide([attempt()], world, one, NOW)[0].reason for one in (ZHEJIANG, profile, profile, ZHEJIANG)
    ]
    assert reasons == [None, Reason.CONSENT_MISSING, Reason.CONSENT_MISSING, None]


def test_hours_shrink_for_a_number_with_its_own() -> None:
    world = good()
    text = '[rules.quiet_hours]\nmode = "enforce"\nsms = { marketing = "09:00-11:59" }'
    [verdict] = decide(
        [attempt()], world, replace(ZHEJIANG, stricter=Overrides({}, {NUMBER.number: over(text)})), NOW
    )
    assert verdict.reason is Reason.QUIET_HOURS
    [verdict] = decide([attempt()], world, ZHEJIANG, NOW)
    assert verdict.passed


@pytest.mark.parametrize(
    ("text", "place", "right"),
    [
        ('[rules.unregistered]\nmode = "observe"', "unregistered.mode", "at least enforce for marketing"),
        (
            '[rules.signature_missing]\nmode = { service = "off" }',
            "signature_missing.mode",
            "at least observe",
        ),
        ('[rules.quiet_hours]\nsms = { collection = "08:00-22:30" }', "quiet_hours.sms", "08:00-22:00"),
        ("[rules.over_frequency]\nsms = { marketing = { minute = 3 } }", "over_frequency.sms", '"minute": 2'),
        ("[rules.quiet_hours]\nmost_days_ahead = 8", "quiet_hours.most_days_ahead", "nothing laxer than 7"),
        ('[rules.signature_missing]\npositions = ["last"]', "signature_missing.positions", "first"),
        ("[rules.signature_mismatch]\ncharacters = [2, 20]", "signature_mismatch.characters", "[2, 16]"),
        ('[rules.signature_mismatch]\nneutral = ["通知"]', "signature_mismatch.neutral", "客服通知"),
        ('[rules.unregistered]\nmode = "enforce"\nfrom = 2030-01-01', "unregistered.from", "its activation"),
        ("[refusal_covers]\nmarketing = []", "refusal_covers", "the same for everybody"),
    ],
)
def test_a_laxer_value_is_named(text: str, place: str, right: str) -> None:
    [flaw] = laxer(ZHEJIANG, over(text))
    assert ".".join((*flaw.tables, flaw.key)).removeprefix("rules.") == place
    assert right in flaw.right.en


def test_what_is_as_strict_or_stricter_is_no_flaw() -> None:
    texts = {"zhejiang": read_profile("zhejiang"), "over": f'extends = "zhejiang"\n{CONSENT}'}
    assert list(laxer(ZHEJIANG, parse_profile(texts.__getitem__, "over"))) == []
    texts["over"] = 'extends = "zhejiang"\n[rules.signature_missing]\nmode = { service = "enforce" }'
    assert list(laxer(ZHEJIANG, parse_profile(texts.__getitem__, "over"))) == []
    texts["over"] = 'extends = "national"\n[rules.unregistered]\nmode = { service = "enforce" }'
    texts["national"] = read_profile("national")  # by which an unregistered number is observed
    flaws = {flaw.tables: flaw.right.en for flaw in laxer(ZHEJIANG, parse_profile(texts.__getitem__, "over"))}
    assert flaws["rules", "unregistered"] == "at least enforce for marketing"
    stricter = '[rules.quiet_hours]\nsms = { marketing = "10:00-18:00" }\nmost_days_ahead = 0'
    assert list(laxer(ZHEJIANG, over(stricter))) == []
    one_window = over("[rules.over_frequency]\nsms = { marketing = { minute = 1, hour = 4 } }")
    assert list(laxer(ZHEJIANG, one_window)) == []
    caps = tightened(ZHEJIANG, one_window).option(Reason.OVER_FREQUENCY, "sms")[PURPOSES["marketing"]]
    assert {limit.word: limit.most for limit in caps} == {"minute": 1, "hour": 4, "day": 10}


MODE = st.sampled_from(["off", "observe", "enforce"])
HOUR = st.integers(0, 22).flatmap(
    lambda hour: st.integers(hour + 1, 23).map(lambda last: f"{hour:02}:00-{last:02}:00")
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Profiles of three rules, some dated."""
    begins = draw(st.sampled_from(["", "from = 2025-12-01\n"]))
    modes = ", ".join(f'{purpose} = "{draw(MODE)}"' for purpose in PURPOSES)
    hours = ", ".join(f'{purpose} = "{draw(HOUR)}"' for purpose in ("marketing", "collection"))
    return (
        f"[rules.consent_missing]\nmode = {{ {modes} }}\n{begins}"
        f'[rules.quiet_hours]\nmode = "{draw(MODE)}"\nsms = {{ {hours} }}\n'
        f"most_days_ahead = {draw(st.integers(0, 30))}\n"
    )


@given(texts(), texts(), st.integers(0, 40))
def test_what_comes_out_is_nowhere_laxer_than_either(general: str, special: str, days: int) -> None:
    base, own = over(general), over(special.replace("from = 2025-12-01\n", ""))
    both, now = tightened(base, own), NOW + days * 1440 * MINUTE
    for reason in base.rules:
        for mask in MASKS.values():
            least = max(base.mode(reason, mask, now), own.mode(reason, mask, now))
            assert both.mode(reason, mask, now) == least
    hours = {one: one.option(Reason.QUIET_HOURS, "sms") for one in (base, own, both)}
    for bit in (PURPOSES["marketing"], PURPOSES["collection"]):
        for minute in range(0, 1440, 30):
            at = NOW + minute * MINUTE
            allowed = [hours[one][bit].allow(at, base.days) for one in (base, own, both)]
            assert allowed[2] == (allowed[0] and allowed[1])
    assert both.option(Reason.QUIET_HOURS, "most_days_ahead") == min(
        one.option(Reason.QUIET_HOURS, "most_days_ahead") for one in (base, own)
    )


def test_the_registry_has_overrides_beside_what_holds_for_everybody() -> None:
    registry = Registry(
        activation(1, 100),
        activation(2, 200, CONSENT)._replace(institution=BANK),
        activation(3, 300, '[rules.unregistered]\nmode = "off"')._replace(institution=BANK),  # ends it
        activation(4, 200, CONSENT)._replace(number=SOURCE),
    )
    held = InForce(ZHEJIANG)
    general = held.at(registry, 150)
    assert general.of(BANK, SOURCE) is general
    begun = held.at(registry, 250)
    assert begun.digest == general.digest
    assert begun.of(LENDER, "1069") is begun
    assert len({begun.of(BANK, SOURCE).digest, begun.of(BANK, "1069").digest, begun.digest}) == 3
    assert begun.of(BANK, SOURCE) is begun.of(BANK, SOURCE)
    over_again = held.at(registry, 350)
    assert over_again.of(BANK, "1069").mode(Reason.UNREGISTERED, 0, NOW) == general.mode(
        Reason.UNREGISTERED, 0, NOW
    )
