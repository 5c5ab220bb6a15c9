"""decide(): the first enforced finding refuses, the rest is still said; batches and caches change nothing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import (
    ACCOUNT,
    BAN,
    BANK,
    DAY,
    KEY,
    NAME,
    NOW,
    NUMBER,
    REFUSAL,
    SOURCE,
    SUBSCRIBER,
    World,
    attempt,
    good,
)

from gateway.config import read_profile
from gateway.model import (
    COLLECTION,
    SERVICE,
    SMS,
    VOICE,
    Account,
    AccountKey,
    AccountNumber,
    Attempt,
    Finding,
    Reason,
    Span,
)
from gateway.policy import judge
from gateway.policy.facts import Texts
from gateway.policy.judge import decide, explain
from gateway.policy.profile import Profile
from gateway.policy.profile_text import parse_profile

PROFILE = parse_profile(read_profile, "zhejiang")
OTHER = "+8613800000002"


def with_modes(modes: str) -> Profile:
    texts = {"zhejiang": read_profile("zhejiang"), "own": f'extends = "zhejiang"\n{modes}'}
    return parse_profile(texts.__getitem__, "own")


def test_the_first_enforced_finding_refuses_and_later_ones_are_said() -> None:
    world = good()
    world.filings = []
    world.bans = [BAN]
    world.accounts = []
    [verdict] = decide([attempt(text="新客礼", flaw="destination")], world, PROFILE, NOW)
    assert verdict.reason is Reason.MALFORMED
    assert verdict.sub == "destination"
    assert [finding.reason for finding in verdict.findings] == [
        Reason.MALFORMED,
        Reason.BLACKLISTED,
        Reason.UNREGISTERED,
        Reason.ACCOUNT_MISMATCH,
    ]


def test_sender_and_message_findings_stand_in_rule_order() -> None:
    world = good()
    world.filings = [replace(NUMBER, status="revoked")]
    world.refused = {SUBSCRIBER: [REFUSAL]}
    profile = with_modes('[rules.not_effective]\nmode = "observe"')
    [verdict] = decide([attempt(text="【西湖示例小贷】新客礼")], world, profile, NOW)
    assert verdict.findings == (
        Finding(Reason.NOT_EFFECTIVE, "revoked", enforced=False),
        Finding(Reason.REFUSED_BY_SUBSCRIBER, "", enforced=True),
        Finding(Reason.SIGNATURE_MISMATCH, "", enforced=True),
        Finding(Reason.OPTOUT_HINT_MISSING, "", enforced=True),
    )
    assert verdict.reason is Reason.REFUSED_BY_SUBSCRIBER


def test_observed_rules_never_block_and_rules_in_mode_off_are_not_asked() -> None:
    world = good()
    world.filings = []
    [observed] = decide([attempt()], world, with_modes('[rules.unregistered]\nmode = "observe"'), NOW)
    [off] = decide([attempt()], world, with_modes('[rules.unregistered]\nmode = "off"'), NOW)
    assert observed.passed
    assert observed.findings == (Finding(Reason.UNREGISTERED, "", enforced=False),)
    assert off.passed
    assert off.findings == ()


def test_service_signature_is_only_observed() -> None:
    world = good()
    world.filings = [replace(NUMBER, purposes=SERVICE)]
    [verdict] = decide([attempt(text="账单已出")], world, PROFILE, NOW)
    assert verdict.passed
    assert verdict.findings == (Finding(Reason.SIGNATURE_MISSING, "", enforced=False),)


@pytest.mark.parametrize(
    ("setting", "reason", "enforced"),
    [
        ("refuse", Reason.ACCOUNT_MISMATCH, True),
        ("observe", None, False),
        ("other", Reason.ACCOUNT_MISMATCH, True),  # or any login could send as a bank
    ],
)
def test_an_account_that_nobody_filed(setting: str, reason: Reason | None, enforced: bool) -> None:
    profile = replace(PROFILE, unknown_account=setting)
    stranger = attempt(account=AccountKey("mobile", "cmpp", "nobody"))
    [verdict] = decide([stranger], good(), profile, NOW)
    assert verdict.reason is reason
    assert verdict.findings == (Finding(Reason.ACCOUNT_MISMATCH, "unknown_account", enforced),)
    shop = replace(stranger, source="10690009", text="【示例超市】周末满减，回T退订")
    lender = replace(shop, text="【示例银行】新户专享利率，回T退订")
    unregistered, forbidden = decide([shop, lender], good(), profile, NOW)
    assert unregistered.reason is (None if setting == "other" else Reason.UNREGISTERED)
    assert forbidden.reason is Reason.UNREGISTERED
    assert unregistered.purpose == "unknown"


def test_an_other_account_passes_unregistered_numbers_but_not_a_bank_s() -> None:
    world = good()
    world.accounts = [replace(ACCOUNT, scope="other", holder=3)]
    shop, spoof = decide([attempt(source="10693000", text="到货了"), attempt()], world, PROFILE, NOW)
    assert shop.passed
    assert spoof.reason is Reason.ACCOUNT_MISMATCH


def test_an_authority_is_not_asked_for_a_filing_but_for_the_blacklist() -> None:
    world = good()
    world.accounts = [replace(ACCOUNT, scope="authority", holder=3)]
    world.filings = [replace(NUMBER, status="revoked")]
    for source in ("12110", SOURCE):
        [verdict] = decide([attempt(source=source, text="谨防诈骗")], world, PROFILE, NOW)
        assert verdict.passed
        assert verdict.findings == ()
    world.bans = [replace(BAN, number="12110")]
    world.touched()
    [verdict] = decide([attempt(source="12110")], world, PROFILE, NOW)
    assert verdict.reason is Reason.BLACKLISTED


def test_a_number_that_is_called_alone_calls_nobody_whoever_shows_it() -> None:
    """Do-not-originate: also where callers that nobody filed are only observed, unless a profile says not."""
    world, hotline = good(), "4008001234"
    world.accounts = [replace(ACCOUNT, scope="other", holder=3)]
    calls = [
        replace(attempt(source=source), channel=VOICE, text="") for source in (hotline, "+8657187654321")
    ]
    for own in ('[rules.unregistered]\nmode = "observe"', '[rules.unregistered]\nmode = "off"'):
        refused, passed = decide(calls, world, with_modes(own), NOW)
        assert (refused.reason, refused.sub, passed.reason) == (Reason.UNREGISTERED, "inbound_only", None)
        assert explain(calls[0], world, with_modes(own), NOW).verdict == refused
    for own in ("inbound_only = []", 'mode = "off"\nshows_inbound = "off"'):
        assert decide(calls, world, with_modes(f"[rules.unregistered]\n{own}"), NOW)[0].passed
    (texted,) = decide([attempt(source=hotline, text="到货了")], world, PROFILE, NOW)
    assert texted.passed


def test_stale_news_stop_marketing_and_collection_but_not_service() -> None:
    world = good()
    world.filings = [
        NUMBER,
        replace(NUMBER, id=2, number="10690002", purposes=COLLECTION),
        replace(NUMBER, id=3, number="10690003", purposes=SERVICE),
    ]
    batch = [attempt(source=f"1069000{place}") for place in (1, 2, 3)]
    late = NOW + PROFILE.max_age

    def reasons(now: int) -> list[Reason | None]:
        return [verdict.reason for verdict in decide(batch, world, PROFILE, now)]

    assert reasons(late) == [None, None, None]
    assert reasons(late + 1) == [Reason.NOT_JUDGEABLE, Reason.NOT_JUDGEABLE, None]
    world.news_at = late  # news again: the cache knows at once
    assert reasons(late + 1) == [None, None, None]


def test_a_refusal_holds_for_every_number_of_the_institution_on_both_channels() -> None:
    world = good()
    world.filings = [NUMBER, replace(NUMBER, id=2, number="+8657188886666")]
    calls = attempt(channel=VOICE, source="+8657188886666")
    assert all(verdict.passed for verdict in decide([attempt(), calls], world, PROFILE, NOW))
    world.refused = {SUBSCRIBER: [REFUSAL]}  # the sender cache stays: refusals are asked each time
    for verdict in decide([attempt(), calls], world, PROFILE, NOW):
        assert verdict.reason is Reason.REFUSED_BY_SUBSCRIBER
    [other] = decide([attempt(destination="+8613800000002")], world, PROFILE, NOW)
    assert other.passed


def test_a_refusal_to_an_unfiled_number_becomes_the_institution_s_that_files_it() -> None:
    world = good()
    world.refused = {SUBSCRIBER: [REFUSAL._replace(institution=0, number="106955550001")]}
    [before] = decide([attempt()], world, PROFILE, NOW)
    assert before.passed
    world.filings = [NUMBER, replace(NUMBER, id=2, number="10695555", extension_digits=4)]
    [after] = decide([attempt()], world, PROFILE, NOW)
    assert after.reason is Reason.REFUSED_BY_SUBSCRIBER


def test_another_profile_is_never_served_from_the_cache() -> None:
    world = good()
    world.filings = []
    [strict] = decide([attempt()], world, PROFILE, NOW)
    [mild] = decide([attempt()], world, with_modes('[rules.unregistered]\nmode = "off"'), NOW)
    assert (strict.reason, mild.reason) == (Reason.UNREGISTERED, None)


def test_clean_messages_share_their_sender_s_verdict() -> None:
    world = good()
    world.consented[OTHER, BANK] = [Span()]
    first, second = decide([attempt(), attempt(destination=OTHER)], world, PROFILE, NOW)
    assert first is second


def test_made_up_source_numbers_cannot_grow_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "CACHED_SENDERS", 64)
    monkeypatch.setattr(judge, "LOOKS", 8)
    world = good()
    decide([attempt(source=f"106900{place:04d}") for place in range(1000)], world, PROFILE, NOW)
    assert sum(map(len, world.senders.values())) <= 64 + 2 * 8


def test_nor_can_addresses_that_nobody_filed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which is an account of its own; and those that are kept are not gone through for each."""
    monkeypatch.setattr(judge, "CACHED_SENDERS", 64)
    monkeypatch.setattr(judge, "LOOKS", 8)
    looks: list[int] = []

    class Looked(dict[Any, Any]):
        def values(self) -> Any:
            looks.append(1)
            return super().values()

    kept = Looked()
    world = replace(good(), senders=kept)
    for place in range(1000):
        decide([attempt(account=AccountKey("mobile", "sip", f"192.0.2.1:{place}"))], world, PROFILE, NOW)
    assert len(looks) == 1000 // 8
    assert sum(map(len, kept.values())) <= 64 + 2 * 8
    assert len(kept) <= 64 + 8


class Asked(World):
    """A world that is another version each time that it was asked for an account."""

    def account(self, key: AccountKey) -> Account | None:
        self.version += 1
        return super().account(key)


def test_the_extensions_behind_one_registration_are_judged_together_and_recorded_apart() -> None:
    world = Asked(**vars(good()))
    world.filings = [replace(NUMBER, extension_digits=4)]
    before = world.version
    three = [attempt(source=f"{SOURCE}{place}") for place in (1, 2, 33)]
    verdicts = decide(three, world, PROFILE, NOW)
    assert world.version == before + 1
    assert verdicts == [verdicts[0]] * 3
    assert verdicts[0].passed
    assert len({id(verdict) for verdict in verdicts}) == 3  # records hold the number, by the verdict's id

    world.bans = [replace(BAN, number=f"{SOURCE}33")]
    world.touched()
    assert [one.reason for one in decide(three, world, PROFILE, NOW)] == [None, None, Reason.BLACKLISTED]

    world.bans, world.shown = [], {KEY: [AccountNumber(f"{SOURCE}2", False, Span())]}
    world.touched()
    mismatch = Reason.ACCOUNT_MISMATCH
    assert [one.reason for one in decide(three, world, PROFILE, NOW)] == [mismatch, None, mismatch]


sources = st.sampled_from([SOURCE, "1069000112", "10690002", "1069000", "+8657188886666", "95588", ""])
texts = st.sampled_from(
    [f"【{NAME}】新客礼，拒收请回复R", f"【{NAME}】新客礼", "新客礼，回T退订", "", "【】"]
)
accounts = st.sampled_from(
    [KEY, AccountKey("mobile", "cmpp", "shop"), AccountKey("mobile", "cmpp", "nobody")]
)
attempts = st.builds(
    Attempt,
    account=accounts,
    channel=st.sampled_from([SMS, VOICE]),
    source=sources,
    destination=st.sampled_from([SUBSCRIBER, "+8613800000002", ""]),
    text=texts,
    flaw=st.sampled_from(["", "", "", "text"]),
    unfinished=st.booleans(),
)
refusals = st.builds(
    REFUSAL._replace,
    institution=st.sampled_from([0, 1, 3]),
    number=st.sampled_from(["", SOURCE, "10690002"]),
    purposes=st.integers(1, 7),
    channels=st.integers(1, 3),
)
filings = st.builds(
    lambda **changes: replace(NUMBER, **changes),
    id=st.integers(1, 99),
    number=st.sampled_from([SOURCE, "10690002", "106900", "+8657188886666"]),
    extension_digits=st.integers(0, 4),
    channels=st.integers(1, 3),
    purposes=st.integers(1, 7),
    institution=st.sampled_from([1, 3]),
    agency=st.sampled_from([0, 2]),
    status=st.sampled_from(["approved", "approved", "revoked", "withdrawn"]),
    span=st.sampled_from([Span(), Span(0, NOW), Span(NOW + DAY)]),
    signatures=st.sampled_from([(), (NAME,)]),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = good()
    shop = replace(ACCOUNT, id=2, key=AccountKey("mobile", "cmpp", "shop"), holder=3, scope="other")
    world.accounts = [replace(ACCOUNT, signature=draw(st.sampled_from(["in_text", "by_carrier"]))), shop]
    world.filings = draw(st.lists(filings, max_size=4, unique_by=lambda one: one.id))
    world.refused = {SUBSCRIBER: draw(st.lists(refusals, max_size=2))}
    world.news_at = draw(st.sampled_from([NOW, 0]))
    return world


@given(worlds(), st.lists(attempts, max_size=8))
def test_a_batch_is_judged_as_one_by_one(world: World, batch: list[Attempt]) -> None:
    together = decide(batch, world, PROFILE, NOW)
    alone = [replace(world, senders={}, texts=Texts()) for _ in batch]
    assert together == [decide([one], view, PROFILE, NOW)[0] for one, view in zip(batch, alone, strict=True)]
    assert together == decide(batch, world, PROFILE, NOW)


@given(worlds(), attempts)
def test_explain_gives_the_verdict_of_decide(world: World, one: Attempt) -> None:
    assert [explain(one, world, PROFILE, NOW).verdict] == decide([one], world, PROFILE, NOW)


@given(worlds(), attempts, st.sampled_from(["1069", SOURCE, "+86"]), st.booleans())
def test_a_ban_never_turns_a_refusal_into_a_pass(
    world: World, one: Attempt, number: str, is_prefix: bool
) -> None:
    [before] = decide([one], world, PROFILE, NOW)
    world.bans = [replace(BAN, number=number, is_prefix=is_prefix)]
    [after] = decide([one], replace(world, senders={}), PROFILE, NOW)
    assert before.passed or not after.passed
    banned = one.source.startswith(number) if is_prefix else one.source == number
    assert (Reason.BLACKLISTED in {finding.reason for finding in after.findings}) == banned
    assert not (banned and after.passed)


@given(worlds(), attempts, refusals)
def test_a_refusal_never_turns_a_refusal_into_a_pass_and_never_stops_service(
    world: World, one: Attempt, refusal: Any
) -> None:
    [before] = decide([one], world, PROFILE, NOW)
    world.refused[SUBSCRIBER] = [*world.refused[SUBSCRIBER], refusal]
    [after] = decide([one], world, PROFILE, NOW)
    assert before.passed or not after.passed
    if after.purpose == "service":
        assert after == before


@settings(max_examples=50)
@given(worlds(), attempts)
def test_the_reason_is_the_first_enforced_finding(world: World, one: Attempt) -> None:
    [verdict] = decide([one], world, PROFILE, NOW)
    enforced = [finding for finding in verdict.findings if finding.enforced]
    assert verdict.reason == (enforced[0].reason if enforced else None)
    places = [judge.ORDER[finding.reason] for finding in verdict.findings]
    assert places == sorted(places)
