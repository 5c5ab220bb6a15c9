"""Judging from outside: what the registry and the profile say is what happens to the next submit.

Every refusal has its CMPP Result, one record, one count, and never reaches the carrier.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import (
    BANNED,
    BY_RUN,
    COLLECTING,
    COLLECTION,
    MARKETING,
    OPEN_RUN,
    SERVICE,
    TEXT,
    UNFILED,
    House,
    eventually,
    refresh,
)
from raw_ends import Raw, submit

from gateway.evidence import record as rec
from gateway.model import Reason
from gateway.policy.profile import SHANGHAI
from gateway.protocols.cmpp import REFUSALS

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSER = "13800009999"
"""Said no to BANK's marketing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(node: House) -> AsyncIterator[House]:
    refresh(node.carrier)
    config = node.path.read_text("utf-8")
    yield node
    if node.path.read_text("utf-8") != config or node.profile_rules:
        node.path.write_text(config, "utf-8")
        node.write_profile("")
        await node.reload()


async def result(house: House, source: str, text: str = TEXT, account: str = "900001", to: str = "") -> int:
    """What a submit is answered with; 0: it reached the carrier."""
    async with house.sender(account) as sender:
        answer = await sender.submit(source, [to or house.subscriber()], text)
    assert answer.result is not None
    return answer.result


SCENES = {
    "blacklisted": ("900001", BANNED + "0001", TEXT, "", "BANK"),
    "unregistered": ("900001", UNFILED, TEXT, "", ""),
    "institution_barred": ("900004", "106900060001", TEXT, "", "LEND"),
    "mandate_missing": ("900002", "106900040001", TEXT, "", "FIN"),
    "not_effective": ("900013", "106900050001", TEXT, "", "FIN"),
    "account_mismatch": ("900001", "106900070001", TEXT, "", "FIN"),
    "refused_by_subscriber": ("900001", MARKETING + "0001", TEXT, REFUSER, "BANK"),
    "signature_missing": ("900001", MARKETING + "0001", "新客理财专享。拒收请回复R", "", "BANK"),
    "signature_mismatch": (
        "900001", MARKETING + "0001", "【客服通知】新客理财专享。拒收请回复R", "", "BANK",
    ),
    "optout_hint_missing": ("900001", MARKETING + "0001", "【示例银行】新客理财专享", "", "BANK"),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "scene"), SCENES.items(), ids=SCENES)
async def test_a_refusal_is_answered_recorded_counted_and_goes_nowhere(
    house: House, reason: str, scene: tuple[str, str, str, str, str]
) -> None:
    account, source, text, to, institution = scene
    subscriber = to or house.subscriber()
    since = int(time.time() * 1000)
    async with (
        house.counted("intercepts_total", channel="sms", institution=institution, reason=reason),
        house.counted("attempts_total", channel="sms", protocol="cmpp", verdict="refuse"),
        house.sender(account) as sender,
    ):
        answer = await sender.submit(source, [subscriber], text)
        assert answer.result == REFUSALS[Reason(reason)]
        assert answer.message_id == bytes(8)
    (found,) = house.records(subscriber=subscriber, since=since)
    judged = found.record.judged
    assert (judged.verdict, judged.reason, judged.number) == ("refuse", reason, source)
    assert (judged.account, judged.institution, judged.node) == (account, institution, "house")
    assert found.content is not None
    assert found.content.subscriber == "+86" + subscriber
    assert not house.carrier.submits


@pytest.mark.parametrize(
    ("account", "source", "text"),
    [
        ("900001", MARKETING, TEXT),
        ("900001", MARKETING + "12", TEXT),
        ("900001", SERVICE + "1234", "您的验证码是000000"),
        ("900002", COLLECTION + "0001", COLLECTING),
        ("900005", "10680001", "【示例商城】您的包裹已到驿站"),
        ("900006", "10680002", "【示例人民法院】请查收电子送达文书"),
    ],
)
async def test_what_may_pass_passes(house: House, account: str, source: str, text: str) -> None:
    subscriber = house.subscriber()
    async with house.counted("attempts_total", channel="sms", protocol="cmpp", verdict="pass"):
        assert await result(house, source, text, account, subscriber) == 0
    (found,) = house.records(subscriber=subscriber)
    assert (found.record.judged.verdict, found.record.judged.reason) == ("pass", "")
    assert [received.text for received in house.carrier.submits] == [text]


def written(moment: datetime) -> str:
    """As At_Time says it."""
    return f"{moment.astimezone(SHANGHAI):%y%m%d%H%M%S}032+"


async def test_a_scheduled_message_is_judged_by_its_time_and_goes_on_with_it(house: House) -> None:
    late = (datetime.now(SHANGHAI) + timedelta(days=1)).replace(hour=20, minute=0, second=0, microsecond=0)
    house.write_profile(
        '[rules.quiet_hours]\nsms = { marketing = "08:00-20:00", collection = "00:00-24:00" }'
    )
    await house.reload()

    async def sent(source: str, at_time: str) -> tuple[int | None, str]:
        subscriber = house.subscriber()
        async with house.sender("900001") as sender:
            result = (await sender.submit(source, [subscriber], TEXT, at_time=at_time)).result
        (found,) = house.records(subscriber=subscriber)
        assert isinstance(found.record, rec.Attempt)
        moment = datetime.fromtimestamp(found.record.deliver_at / 1000, SHANGHAI)
        assert result == 101 or written(moment) == at_time
        return result, found.record.judged.sub

    assert await sent(MARKETING + "0001", written(late)) == (114, "scheduled")
    early = written(late - timedelta(seconds=1))
    assert await sent(MARKETING + "0001", early) == (0, "")
    assert await sent(MARKETING + "0001", written(late + timedelta(days=7))) == (114, "too_far")
    assert await sent(SERVICE + "0001", written(late)) == (0, "")
    assert await sent(MARKETING + "0001", "tomorrow") == (101, "schedule")
    assert [one.submission.at_time.decode() for one in house.carrier.submits] == [early, written(late)]


async def test_a_prefix_registration_covers_its_extension_digits_and_no_more(house: House) -> None:
    assert await result(house, MARKETING + "1234") == 0
    assert await result(house, MARKETING + "12345") == 104
    assert await result(house, "10690008") == 0
    assert await result(house, "106900081") == 104


async def test_the_longest_registration_decides(house: House) -> None:
    """1069000155 is filed for service inside the marketing range: no signature is demanded there."""
    assert await result(house, "10690001551", "您的验证码是000000") == 0
    assert await result(house, "10690001541", "您的验证码是000000") == 116


async def test_an_account_shows_only_what_is_filed_for_it(house: House) -> None:
    assert await result(house, MARKETING + "1", account="900012") == 0
    assert await result(house, SERVICE + "1", "您的验证码是000000", account="900012") == 108


async def test_scopes(house: House) -> None:
    """`other` and `authority` need no filing; the blacklist holds for them too."""
    for account in ("900005", "900006"):
        assert await result(house, UNFILED, "【示例商城】您的包裹已到", account) == 0
        assert await result(house, BANNED, "【示例商城】您的包裹已到", account) == 103
    assert await result(house, UNFILED, "【示例商城】您的包裹已到", "900001") == 104


async def test_unknown_accounts_by_setting(house: House) -> None:
    text = house.path.read_text("utf-8")
    subscriber = house.subscriber()
    assert await result(house, MARKETING, TEXT, "999999") == 108
    for setting, number, words, expected in (
        ("observe", MARKETING, TEXT, 0),
        ("observe", UNFILED, TEXT, 104),
        ("other", UNFILED, "【示例超市】周末满减，回T退订", 0),
        ("other", UNFILED, TEXT, 104),
        ("other", BANNED, TEXT, 103),
        ("other", MARKETING, TEXT, 108),
        ("refuse", MARKETING, TEXT, 108),
    ):
        house.path.write_text(f'{text}\n[registry]\nunknown_account = "{setting}"\n', "utf-8")
        await house.reload()
        assert await result(house, number, words, "999999", subscriber) == expected, (setting, number)


async def test_effective_and_expired_by_time_alone(house: House) -> None:
    """Nothing but the clock moves between the three."""
    starts = datetime.now(UTC) + timedelta(seconds=2.5)
    ends = starts + timedelta(seconds=2)
    await house.bring(
        "numbers",
        "number,channels,purposes,institution,signatures,effective_from,effective_until\n"
        f"1069005501,sms,marketing,BANK,示例银行,{starts.isoformat()},{ends.isoformat()}",
    )
    async with house.sender() as sender:

        async def tried() -> tuple[datetime, int | None, datetime]:
            before = datetime.now(UTC)
            answer = await sender.submit("1069005501", [house.subscriber()], TEXT)
            return before, answer.result, datetime.now(UTC)

        async def known() -> bool:
            return (await tried())[1] != 104

        await eventually(known)
        seen = []
        while datetime.now(UTC) < ends + timedelta(seconds=0.5):
            seen.append(await tried())
            await asyncio.sleep(0.05)
    assert {answer for _, answer, _ in seen} == {107, 0}
    for before, answer, after in seen:
        if answer == 0:
            assert after >= starts
            assert before <= ends
        else:
            assert before <= starts or after >= ends


async def test_changes_of_the_registry_hold_at_once(house: House) -> None:
    """By SQL: revoked, a hold, an account's numbers, an institution closed; each undone again."""
    async with house.sender() as sender:
        source = "106900100001"

        async def answers(wanted: int) -> None:
            async def so() -> bool:
                return (await sender.submit(source, [house.subscriber()], TEXT)).result == wanted

            await eventually(so, 5.0)

        await answers(0)
        for change, undo, wanted in (
            (
                "UPDATE numbers SET status = 'revoked' WHERE number = '10690010'",
                f"UPDATE numbers SET status = 'approved',"
                f" (run_id, checked_person, approved_person) = {BY_RUN} WHERE number = '10690010'",
                107,
            ),
            (
                "UPDATE institutions SET status = 'closed' WHERE code = 'BANK'",
                "UPDATE institutions SET status = 'active' WHERE code = 'BANK'",
                105,
            ),
        ):
            house.sql(OPEN_RUN)
            house.sql(change)
            await answers(wanted)
            house.sql(undo)
            await answers(0)


# Profiles


@pytest.mark.parametrize("reason", SCENES)
async def test_each_rule_off_observed_and_enforced(house: House, reason: str) -> None:
    """Observed: passes, counted and recorded; off: not even that; enforced again: refused."""
    account, source, text, to, _ = SCENES[reason]
    others = [word for word in SCENES if word != reason]

    async def sent() -> tuple[int | None, list[tuple[str, str, bool]]]:
        subscriber = to or house.subscriber()
        since = int(time.time() * 1000)
        async with house.sender(account) as sender:
            answer = await sender.submit(source, [subscriber], text)
        (found,) = house.records(subscriber=subscriber, since=since)
        return answer.result, [finding for finding in found.record.judged.findings if finding[0] == reason]

    rules = "".join(f'[rules.{word}]\nmode = "off"\n' for word in others)
    house.write_profile(f'{rules}[rules.{reason}]\nmode = "observe"')
    await house.reload()
    async with house.counted("observed_total", reason=reason):
        answer, findings = await sent()
    assert answer == 0
    assert [enforced for _, _, enforced in findings] == [False]

    house.write_profile(f'{rules}[rules.{reason}]\nmode = "off"')
    await house.reload()
    assert await sent() == (0, [])

    house.write_profile(f'{rules}[rules.{reason}]\nmode = "enforce"')
    await house.reload()
    answer, findings = await sent()
    assert answer == REFUSALS[Reason(reason)]
    assert [enforced for _, _, enforced in findings] == [True]


async def test_a_mode_from_a_date_is_observed_before_it(house: House) -> None:
    house.write_profile('[rules.optout_hint_missing]\nmode = "enforce"\nfrom = 2999-01-01')
    await house.reload()
    assert await result(house, MARKETING, "【示例银行】新客理财专享") == 0
    house.write_profile('[rules.optout_hint_missing]\nmode = "enforce"\nfrom = 2020-01-01')
    await house.reload()
    assert await result(house, MARKETING, "【示例银行】新客理财专享") == 118


async def test_a_profile_that_can_not_be_read_leaves_the_old_one_in_force(house: House) -> None:
    house.write_profile('[rules.optout_hint_missing]\nmode = "sometimes"')
    before = len(house.log_lines("configuration not reloaded"))
    house.hang_up()
    await eventually(lambda: len(house.log_lines("configuration not reloaded")) > before)
    assert await result(house, MARKETING, "【示例银行】新客理财专享") == 118
    line = house.log_lines("configuration not reloaded")[-1]
    assert "sometimes" in line["error"]
    assert "line 3" in line["error"]


async def test_all_that_was_wrong_is_recorded_in_the_order_of_the_rules(house: House) -> None:
    subscriber = house.subscriber()
    assert await result(house, "106900090001", "新客理财专享", "900013", subscriber) == 103
    (found,) = house.records(subscriber=subscriber)
    reasons = [reason for reason, _, _ in found.record.judged.findings]
    assert reasons == [
        "blacklisted",
        "account_mismatch",
        "consent_missing",
        "signature_missing",
        "optout_hint_missing",
    ]


# Texts


@pytest.mark.parametrize(
    ("fmt", "coding"), [(0, "ascii"), (8, "utf-16-be"), (15, "gb18030"), (25, "utf-16-be")]
)
async def test_texts_of_each_coding_are_read(house: House, fmt: int, coding: str) -> None:
    """The signature is found in it, or missed."""
    good = "[bank] hello" if coding == "ascii" else TEXT
    subscriber = house.subscriber()
    async with Raw.login(house) as raw:
        content = good.encode(coding)
        raw.send(submit(MARKETING, [subscriber], "", 1, msg_fmt=fmt, msg_content=content))
        answer = await raw.frame()
    assert answer[20] == (116 if coding == "ascii" else 0)
    (found,) = house.records(subscriber=subscriber)
    assert found.content is not None
    assert found.content.octets == content


HALF = "【示例银行】您的验证码是000000".encode("utf-16-be")


@pytest.mark.parametrize(
    ("fmt", "udhi", "content", "wanted"),
    [
        pytest.param(8, 0, HALF + b"\x4e", 101, id="half a character at the end"),
        pytest.param(8, 1, b"\5\0\3\1\1\1" + HALF + b"\x4e", 101, id="half a character behind a header"),
        pytest.param(8, 1, b"\x20\0\3\1\2\1" + HALF[:20], 101, id="a header beyond the text"),
        pytest.param(8, 0x40, b"\5\0\x09\1\2\1" + HALF, 101, id="an element beyond its header"),
        pytest.param(3, 0, b"to the card", 101, id="a write to the card"),
        pytest.param(4, 0, b"\1\2\3", 101, id="octets"),
        pytest.param(8, 1, b"\5\0\3\1\2\0" + HALF, 0, id="part 0: shown as a message of its own"),
        pytest.param(
            0, 0, HALF.decode("utf-16-be").encode("gb18030"), 0, id="Chinese that claims to be ASCII"
        ),
    ],
)
@pytest.mark.parametrize("account", ["900001", "900006"])
async def test_what_can_not_be_read_does_not_pass(
    house: House, account: str, fmt: int, udhi: int, content: bytes, wanted: int
) -> None:
    """From a bank's number for service alone, and from a court: neither is stopped by anything else."""
    fields = {"msg_fmt": fmt, "tp_udhi": udhi, "msg_content": content}
    source = SERVICE if account == "900001" else "10690002"
    async with Raw.login(house, account) as raw:
        raw.send(submit(source, [house.subscriber()], "", 1, **fields))
        assert (await raw.frame())[20] == wanted
    assert len(house.carrier.submits) == (not wanted)


async def test_numbers_are_canonical_whatever_they_look_like(house: House) -> None:
    subscriber = house.subscriber()
    async with house.sender() as sender:
        for spelling in (subscriber, "86" + subscriber, "+86" + subscriber, "0086" + subscriber):
            assert (await sender.submit(MARKETING, [spelling], TEXT)).result == 0
    assert house.reasons(subscriber=subscriber) == [""] * 4


async def test_a_recipient_that_can_not_be_read_is_malformed(house: House) -> None:
    async with house.counted("intercepts_total", reason="malformed"):
        assert await result(house, MARKETING, to="hello") == 101
    assert not house.carrier.submits


METRICS = """
attempts_total{channel,protocol,purpose,verdict} intercepts_total{channel,institution,reason}
observed_total{reason} refusal_effective_seconds_count{} decision_seconds_count{}
relay_seconds_count{protocol,direction} sessions{protocol,side} window_used{} journal_bytes{}
journal_sync_seconds_count{} journal_unshipped_records{} registry_version{} registry_lag_seconds{}
map_used_ratio{map}
"""
"""Of contract.md "Metrics", those that exist so far."""


async def test_the_metrics_of_the_contract_are_there(house: House) -> None:
    async with house.counted("attempts_total", verdict="pass"):
        assert await result(house, MARKETING) == 0
    async with house.counted("intercepts_total", reason="blacklisted"):
        assert await result(house, BANNED) == 103
    samples = await house.metrics()
    for entry in METRICS.split():
        name, _, labels = entry.rstrip("}").partition("{")
        wanted = {label for label in labels.split(",") if label}
        assert any(found == f"zhengming_{name}" and wanted <= set(dict(has)) for found, has in samples), name
    assert await house.metric("registry_version") > 0
    assert await house.metric("registry_lag_seconds") < 10
    for name in ("local", "replica"):
        assert 0 < await house.metric("map_used_ratio", map=name) < 0.8


async def test_what_was_counted_is_what_was_recorded(house: House) -> None:
    await house.counts_are_true()


async def test_the_node_never_said_anything_worse_than_info(house: House) -> None:
    output = (house.directory / "output").read_text("utf-8", "replace")
    assert "Traceback" not in output, output
    assert [
        line for line in house.log_lines() if line["level"] != "info" and "reloaded" not in line["what"]
    ] == []
