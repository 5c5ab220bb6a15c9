"""Profiles: what the shipped one says, how one extends another, and how each mistake is named."""

from datetime import datetime, timedelta, timezone

import pytest

from gateway.config import read_profile, shipped_profiles
from gateway.errors import UsageError
from gateway.model import COLLECTION, MARKETING, PURPOSES, SERVICE, Reason
from gateway.policy.judge import RULES
from gateway.policy.profile import ENFORCE, OBSERVE, OFF, Profile
from gateway.policy.profile_text import parse_profile

NOW = 1_764_000_000_000


def parsed(text: str, **others: str) -> Profile:
    texts = {"own": text, "zhejiang": read_profile("zhejiang"), **others}
    return parse_profile(lambda name: texts[name] if name in texts else read_profile(name), "own")


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_says_something_about_every_rule_and_nothing_else(name: str) -> None:
    profile = parse_profile(read_profile, name)
    assert set(profile.rules) == {rule.reason for rule in RULES}


@pytest.mark.parametrize(
    ("reason", "modes"),
    [
        (Reason.UNREGISTERED, (ENFORCE, ENFORCE, ENFORCE, ENFORCE)),
        (Reason.SIGNATURE_MISSING, (ENFORCE, ENFORCE, OBSERVE, OFF)),
        (Reason.SIGNATURE_MISMATCH, (ENFORCE, ENFORCE, OBSERVE, OFF)),
        (Reason.OPTOUT_HINT_MISSING, (ENFORCE, OFF, OFF, OFF)),
        (Reason.QUIET_HOURS, (ENFORCE, ENFORCE, OFF, OFF)),
        (Reason.CONSENT_MISSING, (OBSERVE, OFF, OFF, OFF)),
        (Reason.THIRD_PARTY, (OFF, OBSERVE, OFF, OFF)),
        (Reason.OVER_FREQUENCY, (ENFORCE, ENFORCE, OFF, OFF)),
    ],
)
def test_zhejiang_defaults(reason: Reason, modes: tuple[int, ...]) -> None:
    profile = parse_profile(read_profile, "zhejiang")
    assert tuple(profile.mode(reason, bit, NOW) for bit in (MARKETING, COLLECTION, SERVICE, 0)) == modes


def test_several_purposes_get_the_strictest_mode() -> None:
    profile = parse_profile(read_profile, "zhejiang")
    assert profile.mode(Reason.OPTOUT_HINT_MISSING, MARKETING | SERVICE, NOW) == ENFORCE
    assert profile.mode(Reason.OPTOUT_HINT_MISSING, COLLECTION | SERVICE, NOW) == OFF


def test_what_a_refusal_covers() -> None:
    profile = parse_profile(read_profile, "zhejiang")
    assert profile.covered(MARKETING) == MARKETING
    assert profile.covered(COLLECTION) == COLLECTION | MARKETING
    assert profile.covered(SERVICE) == MARKETING
    assert profile.covered(MARKETING | SERVICE) == MARKETING
    assert profile.covered(0) == COLLECTION | MARKETING


def test_a_dated_mode_is_one_step_milder_until_midnight_in_shanghai() -> None:
    profile = parsed('[rules.unregistered]\nmode = "enforce"\nfrom = 2026-03-01')
    midnight = datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=8)))
    at = int(midnight.timestamp() * 1000)
    assert profile.mode(Reason.UNREGISTERED, 0, at - 1) == OBSERVE
    assert profile.mode(Reason.UNREGISTERED, 0, at) == ENFORCE
    assert [span.start for span in profile.spans()] == [at]
    watched = parsed('\ufeff[rules.unregistered]\nmode = "observe"\nfrom = 2026-03-01')  # as Notepad saves it
    assert watched.mode(Reason.UNREGISTERED, 0, at - 1) == OFF


def test_extends_lays_one_file_over_another() -> None:
    profile = parsed(
        'extends = "middle"\n[rules.unregistered]\nmode = "observe"',
        middle='extends = "zhejiang"\n[rules.unregistered]\nmode = "enforce"\nfrom = 2030-01-01\n'
        '[rules.signature_missing]\npositions = ["last"]\n[refusal_covers]\nmarketing = []',
    )
    assert profile.mode(Reason.UNREGISTERED, 0, NOW) == OBSERVE  # the date went with the mode it stood beside
    assert profile.mode(Reason.BLACKLISTED, 0, NOW) == ENFORCE
    assert profile.mode(Reason.SIGNATURE_MISSING, SERVICE, NOW) == OBSERVE
    assert profile.option(Reason.SIGNATURE_MISSING, "positions") == ["last"]
    assert profile.covered(MARKETING) == 0
    assert profile.covered(COLLECTION) == COLLECTION | MARKETING


def test_what_a_province_adds_to_the_nations_rules() -> None:
    nation, ningxia = (parse_profile(read_profile, name) for name in ("national", "ningxia"))
    assert shipped_profiles() == ["national", "ningxia", "zhejiang"]
    assert (nation.covered(COLLECTION), ningxia.covered(COLLECTION)) == (MARKETING, COLLECTION | MARKETING)
    assert nation.mode(Reason.UNREGISTERED, 0, NOW) == OBSERVE
    assert ningxia.mode(Reason.UNREGISTERED, 0, NOW) == ENFORCE
    hours = ningxia.option(Reason.QUIET_HOURS, "voice")
    assert str(hours[COLLECTION]) == "08:00-20:00 on workdays, 09:00-18:00 on other days"
    assert str(hours[MARKETING]) == "08:00-21:00"
    assert ningxia.option(Reason.OVER_FREQUENCY, "joint") == {COLLECTION: (("day", 86_400_000, 3),)}
    assert not nation.option(Reason.OVER_FREQUENCY, "joint")


def test_a_table_of_numbers_is_laid_over_the_extended_ones() -> None:
    profile = parsed('extends = "zhejiang"\n[rules.quiet_hours]\nsms = { collection = "09:00-20:00" }')
    hours = profile.option(Reason.QUIET_HOURS, "sms")
    assert (str(hours[MARKETING]), str(hours[COLLECTION])) == ("08:00-21:00", "09:00-20:00")
    assert str(profile.option(Reason.QUIET_HOURS, "voice")[COLLECTION]) == "08:00-22:00"


def test_a_purpose_that_a_file_leaves_out_keeps_the_extended_mode() -> None:
    profile = parsed(
        'extends = "zhejiang"\n[rules.quiet_hours]\nmode = { collection = "observe" }\n'
        '[rules.unregistered]\nmode = { marketing = "observe" }\n[rules.blacklisted]\nmode = "off"'
    )
    bits = (MARKETING, COLLECTION, SERVICE, 0)
    modes = {rule: [profile.mode(Reason(rule), bit, NOW) for bit in bits] for rule in profile.rules}
    assert modes[Reason.QUIET_HOURS] == [ENFORCE, OBSERVE, OFF, OFF]
    assert modes[Reason.UNREGISTERED] == [OBSERVE, ENFORCE, ENFORCE, ENFORCE]  # one word was for all of them
    assert modes[Reason.BLACKLISTED] == [OFF] * 4
    alone = parsed('[rules.quiet_hours]\nmode = { collection = "observe" }')
    assert alone.mode(Reason.QUIET_HOURS, MARKETING, NOW) == OFF


def test_the_digest_names_the_content_and_not_the_spelling() -> None:
    shipped = parse_profile(read_profile, "zhejiang")
    same = parsed('# a comment\nextends = "zhejiang"')
    other = parsed('extends = "zhejiang"\n[rules.unregistered]\nmode = "observe"')
    assert shipped.digest == same.digest != other.digest
    assert len(shipped.digest) == len(shipped.lexicon_digest) == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[rules.unregistered]\n\nmode = 'strict'",
            'line 3: rules.unregistered.mode = "strict"; right would be one of off, observe, enforce',
        ),
        ("[rules.unregistered]\nmode = { sales = 'off' }", "line 2: rules.unregistered.mode"),
        ("[rules.unregistered]\nmode = { marketing = 1 }", "line 2: rules.unregistered.mode"),
        ("[rules.unregisterd]\nmode = 'off'", "line 1: rules.unregisterd"),
        ("[rules]\nunregistered = 'off'", "line 2: rules.unregistered"),
        ("[rules.unregistered]\nmode = 'off'\nfrom = '2026-01-01'", "line 3: rules.unregistered.from"),
        ("[rules.unregistered]\nmode = 'off'\nfrom = 2026-01-01T00:00:00", "line 3: rules.unregistered.from"),
        ("[rules.unregistered]\nlimit = 3", "line 2: rules.unregistered.limit = 3; right would be one of"),
        (
            "[rules.signature_missing]\npositions = ['middle']",
            'line 2: rules.signature_missing.positions = ["middle"]; right would be a list of "first"',
        ),
        (
            "[rules.unregistered]\nsource = 'notice'",
            'line 2: rules.unregistered.source = "notice"; right would be the article in both languages',
        ),
        ("[rules.unregistered]\nsource = { zh = '通知', en = ' ' }", "line 2: rules.unregistered.source"),
        ("[refusal_covers]\nsource = { zh = '通知' }", "line 2: refusal_covers.source"),
        ("[refusal_covers]\nsales = ['marketing']", "line 2: refusal_covers.sales"),
        ("[refusal_covers]\nmarketing = 'marketing'", "line 2: refusal_covers.marketing"),
        ("[refusal_covers]\nmarketing = ['sales']", "line 2: refusal_covers.marketing"),
        ("\nquiet = 3", "line 2: quiet = 3; right would be one of extends, title, refusal_covers, rules"),
        ("extends = 3", "line 1: extends = 3; right would be a string"),
        ("rules = 3", "line 1: rules = 3; right would be a table"),
        ("[rules", "not TOML"),
        ('\nextends = "own"', "line 2: extends itself through own → own"),
        ('# none\nextends = "nobody"', "line 2: profile 'nobody': "),
        ("rules.unregistered.mode = 'off'\nrules.quiet_hours.mode = 'of'", "line 2: rules.quiet_hours.mode"),
        ("[rules]\nunregistered.mode = 'of'", "line 2: rules.unregistered.mode"),
        (
            "[rules.signature_mismatch]\ncharacters = [3, 2]",
            "characters = [3, 2]; right would be the least and",
        ),
        ("[rules.signature_mismatch]\nneutral = ['【】']", 'neutral = ["【】"]; right would be a list of'),
        (
            "[rules.over_frequency.voice.marketing]\nday = 1\n[rules.over_frequency.sms.marketing]\nday = 0",
            "line 3: rules.over_frequency.sms",
        ),
    ],
)
def test_mistakes_name_line_key_value_and_what_is_right(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert "profile own" in str(caught.value)
    assert message in str(caught.value)


def test_a_profile_that_is_silent_on_refusals_covers_what_was_refused_and_marketing() -> None:
    silent = parsed('[rules.refused_by_subscriber]\nmode = "enforce"\n[refusal_covers]\nservice = []')
    zhejiang = parsed('extends = "zhejiang"')
    for mask in (0, 1, 2, 3):
        assert silent.covered(mask) == zhejiang.covered(mask)
    assert silent.covered(PURPOSES["service"]) == 0  # where it says so


def test_a_mistake_below_names_its_own_file() -> None:
    with pytest.raises(UsageError, match="profile base, line 1"):
        parsed('extends = "base"', base="x = 1")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("sms = { marketing = { minutes = 2 } }", '{"marketing": {"minutes": 2}}'),
        ("sms = { marketing = { minute = 0 } }", '{"marketing": {"minute": 0}}'),
        ("sms = { marketing = { day = 101 } }", '{"marketing": {"day": 101}}'),
        ("sms = { marketing = { day = true } }", '{"marketing": {"day": true}}'),
        ("sms = { service = { day = 3 } }", '{"service": {"day": 3}}'),
        ("sms = { marketing = 3 }", '{"marketing": 3}'),
        ("voice = 3", "3"),
        ("joint = { service = { day = 3 } }", '{"service": {"day": 3}}'),
    ],
)
def test_a_wrong_cap_is_named(written: str, shown: str) -> None:
    key = written.partition(" ")[0]
    with pytest.raises(UsageError) as wrong:
        parsed(f'extends = "zhejiang"\n[rules.over_frequency]\n{written}')
    assert str(wrong.value) == (
        f"profile own, line 3: rules.over_frequency.{key} = {shown}; right would be for marketing and"
        " collection caps such as { minute = 2, day = 10 }: windows out of minute, 5_minutes, hour, day, each"
        " with a whole number from 1 to 100"
    )


def test_caps_of_one_purpose_stay_when_a_file_changes_those_of_another() -> None:
    profile = parsed(
        'extends = "zhejiang"\n[rules.over_frequency]\nsms = { collection = { hour = 1, day = 2 } }'
    )
    table = profile.option(Reason.OVER_FREQUENCY, "sms")
    assert table == {
        MARKETING: (("day", 86_400_000, 10), ("minute", 60_000, 2)),
        COLLECTION: (("day", 86_400_000, 2), ("hour", 3_600_000, 1)),
    }
