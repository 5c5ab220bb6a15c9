"""POST /judge and /scrub: what would be said of an attempt, now and then; to whom, and how often."""

import datetime
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import BANNED, COLLECTION, MARKETING, TEXT, UNFILED, House, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTAS = {"ZHENGMING__WEB__JUDGE_PER_DAY": "500", "ZHENGMING__WEB__SCRUB_PER_DAY": "300"}

REFUSER = "13800009999"
"""Said no to BANK's marketing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(environment=QUOTAS) as house, house.sender():
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(house: House) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as client:
        yield Asker(house, client)


def asked(**changes: Any) -> dict[str, Any]:
    return {"source": MARKETING, "destination": "13800000001", "text": TEXT, **changes}


async def test_the_verdict_comes_with_every_rule(house: House, ask: Asker) -> None:
    records = len(house.records())
    said = await ask("bank", "/judge", asked())
    assert said.status == 200, said
    assert (said.body["verdict"], said.body["institution"]) == ("pass", "BANK")
    broken = {(rule["reason"], rule["mode"]) for rule in said.body["rules"] if not rule["holds"]}
    assert broken == {("consent_missing", "observe")}
    refused = await ask("bank", "/judge", asked(destination=REFUSER, text="没有签名"), language="zh")
    reasons = ["refused_by_subscriber", "consent_missing", "signature_missing", "optout_hint_missing"]
    assert refused.body["reasons"] == reasons
    words = {rule["reason"]: (rule["words"], rule["fact"]) for rule in refused.body["rules"]}
    assert words["refused_by_subscriber"] == ("用户已拒收", "")  # what others were told is not for a bank
    regulator = await ask("regulator", "/judge", asked(destination=REFUSER))
    facts = {rule["reason"]: (rule["fact"], rule["source"]) for rule in regulator.body["rules"]}
    assert facts["refused_by_subscriber"][0].endswith(": marketing (SMS, calls)")
    assert facts["unregistered"][1] == "Zhejiang notice, duty 8: what is outside the library is intercepted"
    chinese = await ask("regulator", "/judge", asked(destination=REFUSER), language="zh")
    facts = {rule["reason"]: (rule["fact"], rule["source"]) for rule in chinese.body["rules"]}
    fact, source = facts["refused_by_subscriber"]
    assert fact.startswith("该用户有 1 条拒收，涉及本次的自 ")
    assert fact.endswith(" 起：营销（短信、语音）")
    assert source == "浙江通知第3、7、12项：用户拒绝后不得再发送、拨打"
    assert len(house.records()) == records


async def test_to_another_territory_a_number_is_a_missing_one(house: House, ask: Asker) -> None:
    house.sql("UPDATE institutions SET region = '浙江省宁波市' WHERE code = 'BANK'")
    assert (await ask("city", "/judge", asked())).body["verdict"] == "pass"
    foreign = await ask("city", "/judge", asked(source=COLLECTION))
    assert (foreign.status, foreign) == (404, await ask("city", "/judge", asked(source=UNFILED)))


async def test_a_foreign_number_is_a_missing_one(house: House, ask: Asker) -> None:
    foreign = await ask("bank", "/judge", asked(source=COLLECTION))
    missing = await ask("bank", "/judge", asked(source=UNFILED))
    assert foreign == missing
    assert foreign.status == 404
    assert (await ask("agent", "/judge", asked(source=COLLECTION))).status == 200
    assert (await ask("regulator", "/judge", asked(source=UNFILED))).body["reason"] == "unregistered"
    assert (await ask("bank", "/judge", asked(account="999999"))).body["field"] == "account"
    watched = await ask("regulator", "/judge", asked(account="900001"))
    assert (watched.status, watched.body["institution"]) == (200, "BANK")
    then = {"at": "2020-01-02T10:00:00+08:00"}  # nobody had filed anything: whose it is learns that
    assert (await ask("bank", "/judge", asked(**then))).body["reason"] == "unregistered"
    assert (await ask("fin", "/judge", asked(**then))).status == 404
    for path, body in (("/judge", asked(source="12")), ("/scrub", {"number": MARKETING, "subscribers": []})):
        assert (await ask("bank", path, body)).status == 422


async def test_who_held_a_number_once_learns_nothing_of_its_holder(house: House, ask: Asker) -> None:
    number = "10690777"
    ends = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    columns = "number,channels,purposes,institution,signatures,effective_from,effective_until\n"
    await house.bring(
        "numbers", f"{columns}{number},sms,marketing,BANK,示例银行,2024-01-01,{ends.isoformat()}"
    )

    async def was_mine() -> bool:
        return (await ask("bank", "/judge", asked(source=number))).body.get("reason") == "not_effective"

    await eventually(was_mine)  # nobody else's yet; and the web process reads the replica at its own time
    before = datetime.datetime.now(datetime.UTC)
    await house.bring("numbers", f"{columns}{number},sms,marketing,FIN,示例消金,{ends.isoformat()},")

    async def is_theirs() -> bool:
        return (await ask("fin", "/judge", asked(source=number))).body.get("institution") == "FIN"

    await eventually(is_theirs)
    missing = await ask("bank", "/judge", asked(source=UNFILED))
    assert await ask("bank", "/judge", asked(source=number)) == missing
    assert (await ask("bank", "/scrub", {"number": number, "subscribers": [REFUSER]})).status == 404
    then = {"at": before.isoformat()}
    assert (await ask("fin", "/judge", asked(source=number, **then))).status == 404
    assert (await ask("bank", "/judge", asked(source=number, **then))).body["institution"] == "BANK"


async def test_a_day_to_come_is_judged_by_what_is_known_now(house: House, ask: Asker) -> None:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    said = (await ask("bank", "/judge", asked(at=at.isoformat()))).body
    assert "not_judgeable" not in said["reasons"]
    code, shown, _ = await house.cli(
        "judge", "--from", MARKETING, "--to", "13800000001", "--text", TEXT, "--at", at.isoformat()
    )
    assert "not_judgeable" not in shown.splitlines()[0], shown
    assert code in (0, 3)


async def test_facts_are_those_of_then(house: House, ask: Asker) -> None:
    number = "10690008"
    before = datetime.datetime.now(datetime.UTC)
    first = (await ask("bank", "/judge", asked(source=number))).body
    assert first["verdict"] == "pass"
    house.sql(
        "INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES (%s, false, 'test', 'C-2')",
        number,
    )

    async def banned() -> bool:
        return (await ask("bank", "/judge", asked(source=number))).body["reason"] == "blacklisted"

    await eventually(banned)
    now = (await ask("bank", "/judge", asked(source=number))).body
    then = (await ask("bank", "/judge", asked(source=number, at=before.isoformat()))).body
    assert (then["verdict"], then["registry_version"] < now["registry_version"]) == ("pass", True)
    by_version = await ask("bank", "/judge", asked(source=number, registry_version=first["registry_version"]))
    assert by_version.body["verdict"] == "pass"
    assert by_version.body["registry_version"] == first["registry_version"]
    of_now = await ask("bank", "/judge", asked(source=number, registry_version=now["registry_version"]))
    assert of_now.body["reason"] == "blacklisted"
    beyond = await ask(
        "bank", "/judge", asked(source=number, registry_version=now["registry_version"] + 10**6)
    )
    assert (beyond.status, beyond.body["field"]) == (422, "registry_version")
    code, shown, _ = await house.cli(
        "judge", "--channel", "sms", "--from", number, "--to", "13800000001", "--text", TEXT,
        "--at", before.isoformat(),
    )  # fmt: skip
    assert (code, "通过" in shown) == (0, True)
    code, shown, _ = await house.cli(
        "judge", "--channel", "sms", "--from", number, "--to", "13800000001", "--text", TEXT,
        "--registry", str(now["registry_version"]),
    )  # fmt: skip
    assert (code, "blacklisted" in shown) == (3, True)


async def test_the_past_says_of_each_number_what_the_replica_says_now(house: House, ask: Asker) -> None:
    """Every filed number of the house, each judged from the replica and from the tables, at one instant."""
    numbers = [number for (number,) in house.sql("SELECT DISTINCT number FROM numbers ORDER BY 1")]
    subscribers = ("13800000001", REFUSER)
    for number in [*numbers, BANNED, UNFILED]:
        for subscriber in subscribers:
            body = asked(source=number, destination=subscriber)
            at = ""
            while at[:16] != datetime.datetime.now(datetime.UTC).isoformat()[:16]:  # facts name the minute
                at = datetime.datetime.now(datetime.UTC).isoformat()
                now = (await ask("regulator", "/judge", body)).body
            then = (await ask("regulator", "/judge", {**body, "at": at})).body
            for said in (now, then):
                said.pop("registry_version")
                for rule in said["rules"]:
                    if rule["reason"] in {"not_judgeable", "no_reply_path", "over_frequency"}:
                        rule.pop("fact")  # how old the news is; what the registry has no past of
            for one, other in zip(then["rules"], now["rules"], strict=True):
                assert one == other, number
            assert then == now


async def test_a_list_is_scrubbed_in_its_order(house: House, ask: Asker, tmp_path: Path) -> None:
    said = await ask("bank", "/scrub", {"number": MARKETING, "subscribers": ["13800000001", REFUSER]})
    assert said.body["results"] == [
        {"place": 0, "subscriber": "138****0001", "verdict": "pass", "reason": ""},
        {"place": 1, "subscriber": "138****9999", "verdict": "refuse", "reason": "refused_by_subscriber"},
    ]
    assert (await ask("bank", "/scrub", {"number": COLLECTION, "subscribers": [REFUSER]})).status == 404
    assert (await ask("regulator", "/scrub", {"number": MARKETING, "subscribers": [REFUSER]})).status == 403
    listed = await house.cli("scrub", MARKETING, "13800000001", REFUSER, "--json", "--by", "bank")
    assert (listed[0], json.loads(listed[1])) == (0, said.body["results"])
    foreign = await house.cli("scrub", COLLECTION, REFUSER, "--by", "bank")
    assert (foreign[0], "no such thing" in foreign[2]) == (1, True)
    assert (await house.cli("scrub", MARKETING, REFUSER, "--by", "regulator"))[0] == 2
    file = tmp_path / "list.txt"
    missing = await house.cli("scrub", MARKETING, "--file", str(file), "--by", "bank")
    assert (missing[0], "one subscriber on each line" in missing[2]) == (2, True)
    file.write_text(f"\ufeff138 0000 0001\n\n{REFUSER}\n", "utf-8")
    listed = await house.cli("scrub", MARKETING, "--file", str(file), "--json", "--by", "bank")
    assert json.loads(listed[1]) == said.body["results"]


async def test_counting_up_raises_one_alarm_and_a_quota_ends_it(house: House, ask: Asker) -> None:
    counted = {"number": MARKETING, "subscribers": [f"1380000{n:04d}" for n in range(140)]}
    assert (await ask("bank", "/scrub", counted)).status == 200
    assert (await ask("bank", "/scrub", counted)).status == 200
    assert house.sql("SELECT kind FROM alarms") == [("enumeration",)]
    for _ in range(2):
        over = await ask("bank", "/scrub", counted)
        assert (over.status, over.body["code"]) == (429, "quota_used")
    assert house.sql("SELECT kind FROM alarms ORDER BY id") == [("enumeration",), ("quota",)]
    for kind in ("enumeration", "quota"):
        assert await house.metric("alarms_total", kind=kind) == 1
    assert (await ask("bank", "/scrub", {"number": MARKETING, "subscribers": [REFUSER]})).status == 200


async def test_counting_up_by_small_lists_raises_it_too(house: House, ask: Asker) -> None:
    told = "SELECT detail->>'subscribers' FROM alarms JOIN users u ON u.id = user_id WHERE login = 'agent'"
    for tail in range(9):
        assert not house.sql(told)
        some = [f"1390000{n:03d}{tail}" for n in range(6)]
        assert (await ask("agent", "/scrub", {"number": COLLECTION, "subscribers": some})).status == 200
    ((asked_about,),) = house.sql(told)
    assert int(asked_about) >= 50


async def test_an_agency_is_not_told_why_its_principal_is_held(house: House, ask: Asker) -> None:
    """Last, as the hold stays: FIN's holds are hidden from its agency by row security, too."""
    house.sql(
        "INSERT INTO holds (institution_id, cause) SELECT id, '暴力催收' FROM institutions WHERE code = 'FIN'"
    )

    async def told(who: str) -> str:
        rules = (await ask(who, "/judge", asked(source=COLLECTION))).body["rules"]
        fact: str = {rule["reason"]: rule["fact"] for rule in rules}["institution_barred"]
        return fact

    async def is_held() -> bool:
        return "held" in await told("agent")

    await eventually(is_held)
    assert ["暴力催收" in await told(who) for who in ("agent", "fin", "regulator")] == [False, True, True]
