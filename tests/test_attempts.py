"""POST /attempts on a running node: who may ask about which account, in what form, and what comes back."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import BANNED, MARKETING, TEXT, House, eventually

from gateway.evidence import record as rec
from gateway.model import VOICE

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUNK = "192.0.2.7:5060"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(house_of: HouseOf) -> AsyncIterator[House]:
    filed = [f"mobile,sip,{TRUNK},BANK,financial,result,whole,,,0"]
    async with house_of(workers=2, extra=["900016"], filed=filed) as house, house.sender():
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(house: House) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as client:
        yield Asker(house, client)


def attempt(house: House, **changes: Any) -> dict[str, Any]:
    return {
        "channel": "sms",
        "account": "900001",
        "source": MARKETING,
        "destination": house.subscriber(),
        "text": TEXT,
        **changes,
    }


async def test_an_attempt_is_judged_and_stands_on_record_under_its_id(house: House, ask: Asker) -> None:
    said = await ask("bank", "/attempts", attempt(house))
    assert said.status == 200
    assert (said.body["verdict"], said.body["reason"]) == ("pass", "")
    observed = [(one["reason"], one["enforced"]) for one in said.body["findings"]]
    assert observed == [("consent_missing", False)]
    assert said.body["reasons"] == ["consent_missing"]
    refused = await ask("bank", "/attempts", attempt(house, source=BANNED))
    assert (refused.body["verdict"], refused.body["reason"]) == ("refuse", "blacklisted")
    assert refused.body["findings"][0]["words"].startswith("the number")
    for answer in (said, refused):
        code, shown, _ = await house.cli("records", "show", answer.body["id"], "--json")
        assert code == 0
        assert answer.body["id"] in shown


async def test_marketing_whose_replies_nobody_gets_is_observed(house: House, ask: Asker) -> None:
    """No session for 24 h, so nobody could refuse; one login ends it, on whichever worker."""

    async def observed() -> list[str]:
        said = await ask("bank", "/attempts", attempt(house, account="900016"))
        return [one["reason"] for one in said.body["findings"] if not one["enforced"]]

    assert await observed() == ["consent_missing", "no_reply_path"]
    async with house.sender("900016"):
        await eventually(lambda: sees(observed, ["consent_missing"]))
    dry = {"account": "900016", "source": MARKETING, "destination": house.subscriber(), "text": TEXT}
    told = {rule["reason"]: rule["fact"] for rule in (await ask("bank", "/judge", dry)).body["rules"]}
    assert "last session that receives: 20" in told["no_reply_path"]


async def sees(look: Callable[[], Awaitable[list[str]]], wanted: list[str]) -> bool:
    return await look() == wanted


async def test_reasons_are_said_in_the_callers_language(house: House, ask: Asker) -> None:
    said = await ask("bank", "/attempts", attempt(house, source=BANNED), language="zh-CN")
    assert said.body["findings"][0]["words"] == "黑名单号码"


async def test_a_batch_is_answered_in_its_order_over_all_workers(house: House, ask: Asker) -> None:
    accounts = ["900001", "900002", "900003", "900012"]
    asked = [
        attempt(house, account=accounts[n % 4], source=BANNED if n % 3 else MARKETING) for n in range(40)
    ]
    said = await ask("carrier", "/attempts", asked)
    assert said.status == 200
    assert [answer["reason"] == "blacklisted" for answer in said.body] == [n % 3 != 0 for n in range(40)]
    assert len({answer["id"] for answer in said.body}) == 40


async def test_a_call_is_recorded_as_one(house: House, ask: Asker) -> None:
    said = await ask("bank", "/attempts", attempt(house, channel="voice", text=""))
    assert said.body["reason"] == "unregistered"
    (found,) = [one for one in house.records() if one.record.id.hex() == said.body["id"]]  # type: ignore[union-attr]
    assert isinstance(found.record, rec.Attempt)
    assert found.record.judged.channel == VOICE


async def test_a_trunk_is_named_by_its_address(house: House, ask: Asker) -> None:
    for name in (TRUNK, f"sip:{TRUNK}"):
        said = await ask("bank", "/attempts", attempt(house, channel="voice", text="", account=name))
        assert (said.status, "account_mismatch" in said.body["reasons"]) == (200, False)
    numbers = "--from", MARKETING, "--to", house.subscriber()
    code, out, _ = await house.cli("judge", "--channel", "voice", *numbers, "--account", TRUNK, "--json")
    assert (code, "account_mismatch" in json.loads(out)["reasons"]) == (3, False)


async def test_the_same_key_gives_the_same_answer_and_another_request_none(house: House, ask: Asker) -> None:
    body = attempt(house)
    first = await ask("bank", "/attempts", body, key="once")
    again = await ask("bank", "/attempts", body, key="once")
    assert first == again
    other = await ask("bank", "/attempts", attempt(house), key="once")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    elsewhere = await ask("carrier", "/attempts", body, key="once")
    assert elsewhere.status == 200
    assert elsewhere.body["id"] != first.body["id"]


async def test_without_a_key_nothing_is_recorded(house: House, ask: Asker) -> None:
    before = len(house.records())
    said = await ask("bank", "/attempts", attempt(house), key="")
    assert (said.status, said.body["code"]) == (400, "idempotency_key_required")
    assert len(house.records()) == before


async def test_a_foreign_account_is_a_missing_one(house: House, ask: Asker) -> None:
    foreign = await ask("fin", "/attempts", attempt(house, account="900001"))
    missing = await ask("fin", "/attempts", attempt(house, account="999999"))
    for said in (foreign, missing):
        assert (said.status, said.body["code"], said.body["field"]) == (422, "invalid", "account")
        said.body.pop("value")
        for error in said.body["errors"]:
            error.pop("value")
    assert foreign == missing
    in_batch = await ask("bank", "/attempts", [attempt(house), attempt(house, account="smpp:900001")])
    assert in_batch.body["field"] == "1.account"
    assert (await ask("bank", "/attempts", attempt(house, account="cmpp:900001"))).status == 200


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channel": "fax"}, "channel"),
        ({"source": ""}, "source"),
        ({"destination": "1" * 41}, "destination"),
        ({"text": "长" * 4001}, "text"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named(house: House, ask: Asker, changes: dict[str, str], field: str) -> None:
    said = await ask("bank", "/attempts", attempt(house, **changes))
    assert (said.status, said.body["code"]) == (422, "invalid")
    assert [error["field"] for error in said.body["errors"]] == [field]
    said = await ask("bank", "/attempts", [attempt(house), attempt(house, **changes)])
    assert [error["field"] for error in said.body["errors"]] == [f"1.{field}"]


async def test_a_batch_has_bounds(house: House, ask: Asker) -> None:
    for asked in ([], [attempt(house)] * 101):
        assert (await ask("bank", "/attempts", asked)).status == 422


async def test_a_regulator_sends_nothing(house: House, ask: Asker) -> None:
    assert (await ask("regulator", "/attempts", attempt(house))).status == 403
