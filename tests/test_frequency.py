"""Caps from outside: nobody gets more than his province allows; what did not go out counts for nothing."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import COLLECTING, COLLECTION, MARKETING, SERVICE, TEXT, House, refresh
from raw_ends import Raw, sequence_of, submit

from gateway.evidence import record as rec
from gateway.model import Reason
from gateway.protocols.cmpp import REFUSALS

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPS = '[rules.over_frequency]\nmode = { marketing = "enforce", collection = "enforce" }\n'
OVER = REFUSALS[Reason.OVER_FREQUENCY]
OTHER_OF_BANK = "10690008"
CALLING = "95599"
UNSIGNED = "新客理财专享。拒收请回复R"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2, profile=CAPS) as house:
        await house.bring(
            "numbers",
            "number,extension_digits,channels,purposes,institution,effective_from\n"
            f"{CALLING},0,voice,marketing,BANK,2024-01-01",
        )
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(node: House) -> AsyncIterator[House]:
    refresh(node.carrier)
    yield node
    if node.profile_rules != CAPS:
        node.write_profile(CAPS)
        await node.reload()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(node: House) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as client:
        yield Asker(node, client)


async def sent(
    house: House, *to: str, source: str = MARKETING, text: str = TEXT, account: str = "900001"
) -> int | None:
    """What a submit is answered with."""
    async with house.sender(account) as sender:
        return (await sender.submit(source, list(to), text)).result


def judged(house: House, subscriber: str) -> list[tuple[str, str]]:
    """Reason and sub-code of what was tried with a subscriber."""
    records = [found.record for found in house.records(subscriber=subscriber)]
    return [(one.judged.reason, one.judged.sub) for one in records if isinstance(one, rec.Attempt)]


async def test_an_institution_reaches_a_subscriber_so_often_and_no_more(house: House) -> None:
    subscriber, other = house.subscriber(), house.subscriber()
    assert [await sent(house, subscriber) for _ in range(2)] == [0, 0]
    async with house.counted("intercepts_total", channel="sms", institution="BANK", reason="over_frequency"):
        assert await sent(house, subscriber, source=OTHER_OF_BANK) == OVER
    assert await sent(house, subscriber, source=MARKETING, account="900003") == OVER  # on another worker
    assert await sent(house, other) == 0
    assert await sent(house, subscriber, source=SERVICE, text="您的验证码是000000") == 0
    for wanted in (0, 0, 0, OVER):
        collecting = await sent(house, subscriber, source=COLLECTION, text=COLLECTING, account="900002")
        assert collecting == wanted
    assert judged(house, subscriber) == [
        ("", ""), ("", ""), ("over_frequency", "minute"), ("over_frequency", "minute"), ("", ""),
        ("", ""), ("", ""), ("", ""), ("over_frequency", "day"),
    ]  # fmt: skip


async def test_what_one_read_brings_is_counted_one_by_one(house: House) -> None:
    subscriber = house.subscriber()
    async with Raw.login(house) as raw:
        raw.send(b"".join(submit(MARKETING, [subscriber], TEXT, number) for number in range(1, 41)))
        refused = {sequence_of(await raw.frame()) for _ in range(38)}
    assert refused.isdisjoint({1, 2})
    reasons = [reason for reason, _ in judged(house, subscriber)]
    assert reasons == ["", ""] + ["over_frequency"] * 38


async def test_the_parts_of_a_long_message_count_once(house: House) -> None:
    """However they come, and whether all of it was there when it was judged or not."""
    subscriber = house.subscriber()
    head, end = TEXT[:12].encode("utf-16-be"), TEXT[12:].encode("utf-16-be")

    def part(reference: int, number: int, sequence: int) -> bytes:
        octets = bytes((5, 0, 3, reference, 2, number)) + (head if number == 1 else end)
        return submit(MARKETING, [subscriber], "", sequence, tp_udhi=1, msg_fmt=8, msg_content=octets)

    async with Raw.login(house) as raw:
        raw.send(part(1, 2, 1), part(1, 1, 2))  # in one read
        await raw.frames(2)
        for number in (1, 2):  # each waits for the answer to the one before
            raw.send(part(2, number, 10 + number))
            await raw.frame()
        raw.send(part(3, 1, 21), part(3, 2, 22))
        assert {(await raw.frame())[20] for _ in range(2)} == {OVER}
    assert judged(house, subscriber) == [("", "")] * 3 + [("over_frequency", "minute")]


async def test_two_workers_count_together(house: House) -> None:
    subscriber = house.subscriber()
    accounts = ["900001", "900003", "900007", "900012"] * 5
    results = await asyncio.gather(*(sent(house, subscriber, account=account) for account in accounts))
    assert sorted(results, key=str).count(0) == 2
    assert [reason for reason, _ in judged(house, subscriber)].count("") == 2


async def test_a_submit_to_several_counts_for_all_or_for_none(house: House) -> None:
    full, fresh, third = house.subscriber(), house.subscriber(), house.subscriber()
    assert [await sent(house, full) for _ in range(2)] == [0, 0]
    for _ in range(3):
        assert await sent(house, fresh, full, third) not in (0, None)
    assert judged(house, full)[2:] == [("over_frequency", "minute")] * 3
    assert judged(house, fresh) == judged(house, third) == [("mass_refused", "")] * 3
    assert await sent(house, fresh, fresh) == 0  # counted twice
    assert await sent(house, fresh, third) not in (0, None)
    assert [await sent(house, third) for _ in range(3)] == [0, 0, OVER]


async def test_where_those_who_may_get_it_get_it_only_they_count(house: House) -> None:
    full, fresh = house.subscriber(), house.subscriber()
    assert [await sent(house, full, account="900007") for _ in range(2)] == [0, 0]
    async with house.sender("900007") as sender:
        await sender.submit(MARKETING, [full, fresh], TEXT)
    assert judged(house, full)[-1] == ("over_frequency", "minute")
    assert judged(house, fresh) == [("", "")]
    assert [await sent(house, fresh) for _ in range(2)] == [0, OVER]


async def test_what_is_refused_for_another_reason_does_not_count_and_says_both(house: House) -> None:
    subscriber = house.subscriber()
    assert [await sent(house, subscriber, text=UNSIGNED) for _ in range(3)] == [116] * 3
    assert [await sent(house, subscriber) for _ in range(2)] == [0, 0]
    assert await sent(house, subscriber, text=UNSIGNED) == OVER
    (last,) = [found.record for found in house.records(subscriber=subscriber)][-1:]
    assert isinstance(last, rec.Attempt)
    found = [(reason, enforced) for reason, _, enforced in last.judged.findings]
    assert found == [("consent_missing", False), ("over_frequency", True), ("signature_missing", True)]


async def test_observed_it_passes_and_is_counted_as_one_that_would_not(house: House) -> None:
    house.write_profile('[rules.over_frequency]\nmode = { marketing = "observe" }\n')
    await house.reload()
    subscriber = house.subscriber()
    async with house.counted("observed_total", 2, reason="over_frequency"):
        assert [await sent(house, subscriber) for _ in range(4)] == [0] * 4
    house.write_profile(CAPS)
    await house.reload()
    assert await sent(house, subscriber) == OVER


async def test_calls_have_their_own_caps(house: House, ask: Asker) -> None:
    subscriber = house.subscriber()
    call = {
        "channel": "voice", "account": "900001", "source": CALLING, "destination": subscriber, "text": ""
    }  # fmt: skip
    assert [await sent(house, subscriber) for _ in range(3)] == [0, 0, OVER]
    said = await ask("bank", "/attempts", [call] * 4)
    assert [one["reason"] for one in said.body] == ["", "", "", "over_frequency"]
    assert said.body[3]["findings"][-1]["sub"] == "5_minutes"
    text = {"channel": "sms", "account": "900001", "source": MARKETING, "destination": subscriber}
    said = await ask("bank", "/attempts", text | {"text": TEXT})
    assert said.body["reason"] == "over_frequency"


@pytest.mark.long
async def test_where_contacts_count_jointly_texts_and_calls_use_up_one_cap(house: House, ask: Asker) -> None:
    """As in Ningxia, from any worker and all at once; in a dry run, and after the counts were lost."""
    house.write_profile(
        f'{CAPS}joint = {{ marketing = {{ day = 3 }} }}\n[rules.third_party]\nmode = "observe"'
    )
    await house.reload()
    subscriber, other = house.subscriber(), house.subscriber()
    call = {
        "channel": "voice", "account": "900001", "source": CALLING, "destination": subscriber, "text": ""
    }  # fmt: skip
    told_calls, *results = await asyncio.gather(
        ask("bank", "/attempts", [call] * 2),
        *(sent(house, subscriber, account=account) for account in ("900001", "900003", "900007", "900012")),
    )
    passed = [one["reason"] for one in told_calls.body].count("") + results.count(0)
    assert passed == 3

    async def refused() -> list[tuple[str, str]]:
        said = await ask("bank", "/attempts", call)
        return [(one["reason"], one["sub"]) for one in said.body["findings"] if one["enforced"]]

    assert await refused() == [("over_frequency", "day")]
    said = await ask("bank", "/attempts", call | {"destination": other})
    assert said.body["reason"] == ""
    assert await told(house, other) == (
        0,
        "marketing: 0 of 2 in the last minute, 0 of 10 in the last day;"
        " marketing (SMS and calls together): 1 of 3 in the last day",
    )
    await house.stop()
    shutil.rmtree(house.data_dir / "counters")
    await house.start()
    assert await refused() == [("over_frequency", "day")]


async def told(house: House, subscriber: str) -> tuple[int, str]:
    """What a dry run says: its exit code, and what the rule has looked at."""
    asked = ("--from", MARKETING, "--to", subscriber, "--text", TEXT, "--account", "900001")
    code, out, _ = await house.cli("judge", *asked, "--json")
    (rule,) = [one for one in json.loads(out)["rules"] if one["reason"] == "over_frequency"]
    return code, rule["fact"]["en"]


@pytest.mark.long
async def test_a_dry_run_tells_the_counts_and_adds_nothing(house: House, ask: Asker) -> None:
    subscriber = house.subscriber()
    assert await sent(house, subscriber) == 0
    once = "marketing: 1 of 2 in the last minute, 1 of 10 in the last day"
    assert [await told(house, subscriber) for _ in range(2)] == [(0, once)] * 2
    assert await sent(house, subscriber) == 0
    assert await told(house, subscriber) == (3, once.replace("1 of", "2 of"))
    asked = {"channel": "sms", "account": "900001", "source": MARKETING, "destination": subscriber}
    said = await ask("bank", "/judge", asked | {"text": TEXT})
    assert (said.body["reason"], said.body["sub"]) == ("over_frequency", "minute")


@pytest.mark.long
async def test_counts_outlive_kills_restarts_and_their_own_files(house: House) -> None:
    subscriber = house.subscriber()
    assert [await sent(house, subscriber) for _ in range(2)] == [0, 0]
    began = time.monotonic()
    for role in ("worker-0", "worker-1"):
        await house.back(role, house.signal(role))
    assert await sent(house, subscriber) == OVER
    await house.stop()
    shutil.rmtree(house.data_dir / "counters")
    await house.start()
    assert house.log_lines("recounted")
    if time.monotonic() - began < 50:  # else the minute is over
        assert await sent(house, subscriber) == OVER
    assert "2 of 10 in the last day" in (await told(house, subscriber))[1]
