"""Supervision by HTTP, as regulators, auditors and those whom it hits do it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bureau import file_number
from office import Office

from gateway.evidence.seal import keyed_hash
from gateway.web.resources import ENDPOINTS

BAN = {"number": "10670001", "reason": "诈骗", "case_reference": "C-1"}


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def filed(office: Office, number: str, institution: str, **more: Any) -> int:
    async with office.site.door.owner() as c:
        return await file_number(c, number, institution, **more)  # type: ignore[arg-type]


async def test_a_ban_is_looked_at_made_confirmed_and_removed_by_persons(office: Office) -> None:
    await filed(office, "10690001", "BANK", extension_digits=4)
    prefix = BAN | {"number": "1069", "is_prefix": True}
    seen = await office.post("regulator", "/blacklist?dry_run=true", prefix)
    assert (seen.status, seen.body["hits_numbers"], seen.body["needs_second"]) == (200, 1, True)
    assert (await office.get("regulator", "/blacklist")).body["items"] == []
    made = await office.post("regulator", "/blacklist", prefix)
    assert (made.status, made.body["in_force"]) == (201, False)
    place = made.headers["Location"].removeprefix("/api/v1")
    assert (await office.get("institution", place)).status == 404
    same = await office.post("regulator", f"{place}/confirm")
    assert (same.status, same.body["code"]) == (409, "same_person")
    assert (await office.post("regulator2", f"{place}/confirm")).body["in_force"]
    assert (await office.get("institution", place)).status == 200
    again = await office.post("regulator2", "/blacklist", prefix)
    assert (again.status, again.body["id"]) == (200, made.body["id"])
    assert (await office.post("regulator2", f"{place}/withdraw")).body["code"] == "entry_kept"
    assert (await office.post("regulator", f"{place}/removal", {"reason": "误列"})).status == 200
    assert (await office.post("regulator", f"{place}/removal/confirm")).body["code"] == "same_person"
    assert not (await office.post("regulator2", f"{place}/removal/confirm")).body["in_force"]
    assert (await office.post("regulator", f"{place}/confirm")).body["code"] == "wrong_state"


async def test_what_cannot_be_banned_is_said_in_both_languages(office: Office) -> None:
    for language, word in (("en", "protected"), ("zh-CN", "受保护号码")):
        said = await office.post(
            "regulator", "/blacklist", BAN | {"number": "12321"}, headers={"Accept-Language": language}
        )
        assert (said.status, said.body["code"], said.body["field"]) == (409, "protected_number", "number")
        assert word in said.body["detail"]
    for wrong in ({"number": "x"}, {"reason": ""}, {"case_reference": "a\nb"}, {"number": "1" * 61}):
        said = await office.post("regulator", "/blacklist", BAN | wrong)
        assert (said.status, said.body["field"]) == (422, next(iter(wrong)))
    for who in ("carrier", "institution", "auditor", "admin"):
        assert (await office.post(who, "/blacklist", BAN)).status == 403
    assert (await office.get("admin", "/blacklist")).status == 403
    assert (await office.get("regulator", f"/blacklist/{2**62}")).status == 404


async def test_a_ban_asked_for_twice_with_one_key_is_one(office: Office) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await office.post("regulator", "/blacklist", BAN, headers=key)
    second = await office.post("regulator", "/blacklist", BAN, headers=key)
    assert (first.status, second.status) == (201, 201)
    assert first.body == second.body


async def test_the_blacklist_is_read_in_pages(office: Office) -> None:
    for n in range(5):
        await office.post("regulator", "/blacklist", BAN | {"number": f"1067000{n}"})
    numbers: list[str] = []
    after = ""
    while True:
        page = (await office.get("auditor", "/blacklist", params={"limit": "2", "after": after})).body
        numbers += [one["number"] for one in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert numbers == [f"1067000{n}" for n in range(5)]
    await office.post("regulator", "/blacklist", BAN | {"number": "0571-88886666"})
    for asked in ("+8657188886666", "0571-88886666", "057188", "88"):
        found = (await office.get("auditor", "/blacklist", params={"number": asked})).body["items"]
        assert [one["number"] for one in found] == ([] if asked == "88" else ["+8657188886666"]), asked


async def test_a_penalty_hits_all_numbers_of_an_agency_until_it_is_lifted(office: Office) -> None:
    number = await filed(office, "10690001", "BANK", agency="AGENT")
    office.sql("UPDATE users SET login = 'reg.a' WHERE login = 'regulator'")
    office.sql(
        "INSERT INTO mandates (institution_id, agency_id, channels, purposes) VALUES (%s, %s, 3, 7)",
        office.institutions["BANK"],
        office.institutions["AGENT"],
    )
    penalty = {"institution": "AGENT", "kind": "fine_and_suspension", "amount": "50000.00", "cause": "骚扰"}
    made = await office.post("regulator", "/penalties", penalty)
    assert (made.status, made.body["suspends"], made.body["amount"]) == (201, True, "50000.00")
    place = made.headers["Location"].removeprefix("/api/v1")
    assert (await office.get("institution", f"/numbers/{number}")).body["standing"] == "suspended"
    assert (await office.get("agency", place)).body["imposed_by"] is None
    assert (await office.get("institution2", place)).status == 404
    lifted = await office.post("regulator2", f"{place}/lift", {"reason": "整改完成"})
    assert (lifted.status, lifted.body["suspends"], lifted.body["lifted_by"]) == (200, False, "regulator2")
    assert (await office.get("institution", f"/numbers/{number}")).body["standing"] == "effective"
    assert (await office.post("regulator", f"{place}/lift", {"reason": "x"})).body["code"] == "wrong_state"
    wrong = await office.post("regulator", "/penalties", penalty | {"kind": "suspension"})
    assert (wrong.status, wrong.body["code"]) == (422, "invalid")


@pytest.mark.parametrize("table", ["institutions", "accounts"])
async def test_a_hold_stops_an_institution_or_an_account_until_it_is_lifted(
    office: Office, table: str
) -> None:
    identity = bank = office.institutions["BANK"]
    if table == "accounts":
        async with office.site.door.owner() as c:
            identity = await c.fetchval(
                """INSERT INTO accounts (carrier, protocol, account, holder_id)
                   VALUES ('mobile', 'cmpp', '900001', $1) RETURNING id""",
                bank,
            )
    place = f"/{table}/{identity}"
    cause = {"cause": "许可核查中", "case_reference": "C-7"}
    for who in ("carrier", "institution", "auditor", "admin"):
        assert (await office.post(who, f"{place}/suspend", cause)).status == 403
    assert (await office.post("regulator", f"/{table}/999999/suspend", cause)).status == 404
    assert (await office.post("regulator", f"{place}/suspend", {"cause": ""})).status == 422
    (first,) = (await office.post("regulator", f"{place}/suspend", cause)).body
    assert (first["cause"], first["case_reference"], first["until"]) == ("许可核查中", "C-7", None)
    both = (await office.post("regulator2", f"{place}/suspend", {"cause": "投诉集中"})).body
    assert [one["cause"] for one in both] == ["许可核查中", "投诉集中"]
    shown = (await office.get("institution", f"{place}/holds")).body
    assert shown == [hold | {"held_by": "regulator"} for hold in both]  # not which of them
    which = await office.post("regulator", f"{place}/resume", {"reason": "核查完毕"})
    assert (which.status, which.body["field"]) == (422, "hold")
    unsaid = await office.post("regulator", f"{place}/resume", {"hold": first["id"]})
    assert (unsaid.status, unsaid.body["field"]) == (422, "reason")
    lifted = await office.post("regulator", f"{place}/resume", {"reason": "核查完毕", "hold": first["id"]})
    assert lifted.body == both[1:]
    assert (await office.post("regulator", f"{place}/resume", {"reason": "已整改"})).body == []
    over = await office.post("regulator", f"{place}/resume", {"reason": "已整改"})
    assert (over.status, over.body["code"]) == (409, "wrong_state")


async def test_a_complaint_goes_its_way_and_its_case_is_closed(office: Office) -> None:
    await filed(office, "10690001", "BANK")
    complaint = {"subscriber": "13800000000", "number": "10690001", "channel": "sms",
                 "at": "2026-02-13T10:00:00+08:00", "content": "营销"}  # fmt: skip
    made = await office.post("regulator", "/complaints", complaint)
    assert (made.status, made.body["institution"], made.body["subscriber"]) == (201, "BANK", "138****0000")
    place, case = made.headers["Location"].removeprefix("/api/v1"), f"/cases/{made.body['case']}"
    seen = await office.get("institution", place)
    assert (seen.body["subscriber"], seen.body["case"]) == (None, None)
    assert (await office.get("institution2", place)).status == 404
    assert (await office.get("institution", case)).status == 403
    assert (await office.post("regulator", f"{place}/forward")).body["status"] == "forwarded"
    assert (await office.post("regulator", f"{place}/answer", {"answer": "已处理"})).body[
        "status"
    ] == "answered"
    assert (await office.get("regulator", "/complaints?overdue=true")).body["items"] == []
    read = await office.get("auditor", case)
    assert [one["kind"] for one in read.body["items"]] == ["complaint"]
    change: dict[str, Any] = {"headers": {"If-Match": read.headers["ETag"]}}
    assert (await office.ask("regulator", "PATCH", case, {"title": "营销扰民"}, **change)).status == 200
    stale = await office.ask("regulator", "PATCH", case, {"title": "x"}, **change)
    assert (stale.status, stale.body["code"]) == (412, "changed_meanwhile")
    assert (await office.ask("regulator", "PATCH", case, {"title": "x"})).status == 428
    item = {"kind": "record", "reference": "ab" * 16}
    assert len((await office.post("regulator", f"{case}/items", item)).body["items"]) == 2
    police = {"authority": "示例市公安局", "reason": "涉嫌诈骗"}
    assert (await office.post("regulator", f"{case}/referral", police)).body["status"] == "referred"
    assert (await office.post("regulator", f"{case}/close", {"outcome": "已移送"})).body["status"] == "closed"
    assert (await office.post("regulator", f"{case}/items", item)).body["code"] == "wrong_state"
    assert len((await office.get("auditor", "/cases?status=closed")).body["items"]) == 1


async def test_an_appeal_is_answered_by_another(office: Office) -> None:
    penalty = {"institution": "AGENT", "kind": "suspension", "cause": "骚扰"}
    against = (await office.post("regulator", "/penalties", penalty)).body["id"]
    appeal = {"against_kind": "penalty", "against": str(against), "grounds": "事实不清"}
    assert (await office.post("institution", "/appeals", appeal)).body["field"] == "against"
    made = await office.post("agency", "/appeals", appeal)
    assert (made.status, made.body["status"], made.body["institution"]) == (201, "open", "AGENT")
    twice = await office.post("agency", "/appeals", appeal)
    assert (twice.status, twice.body["code"]) == (409, "exists")
    place = made.headers["Location"].removeprefix("/api/v1")
    decision = {"decision": "upheld", "answer": "证据不足"}
    same = await office.post("regulator", f"{place}/answer", decision)
    assert (same.status, same.body["code"]) == (409, "same_person")
    done = await office.post("regulator2", f"{place}/answer", decision)
    assert (done.status, done.body["status"]) == (200, "upheld")
    assert (await office.get("agency", place)).body["answer"] == "证据不足"
    assert (await office.get("institution", place)).status == 404
    assert (await office.post("agency", "/appeals", appeal)).status == 201  # the first was decided


async def test_what_is_wrong_with_a_penalty_is_said_of_its_field_in_both_languages(office: Office) -> None:
    penalty = {"institution": "BANK", "kind": "fine", "amount": "1.00", "cause": "骚扰"}
    for wrong, field, words in (
        ({"amount": None}, "amount", "缺少此项"),
        ({"kind": "suspension"}, "amount", "停用不含金额"),
        ({"amount": "0.001"}, "amount", "小数位过多"),
        ({"amount": "1e999"}, "amount", "数值过长"),
        ({"valid_from": "2026-02-01", "valid_until": "2026-02-01"}, "valid_until", "不晚于生效时间"),
        ({"kind": "jail"}, "kind", "不在可选值中"),
        ({"amount": float("nan")}, "amount", "不是数字"),
    ):
        for language in ("zh", "en"):
            headers = {"Accept-Language": language}
            said = await office.post("regulator", "/penalties", penalty | wrong, headers=headers)
            assert (said.status, said.body["field"]) == (422, field), said.body
            assert (words in said.body["detail"]) == (language == "zh")
            assert said.body.get("value") in (None, "1.00", "nan") or said.body["value"] in wrong.values()
            assert (language == "zh") != (said.body["detail"] + said.body["expected"]).isascii()


async def test_files_of_bans_and_complaints_come_in_under_the_regulator_s_name(office: Office) -> None:
    await filed(office, "10690001", "BANK", extension_digits=4)
    bans = "number,is_prefix,reason,case_reference\n10670001,,r,C-1\n1069,true,r,C-1\n110,,r,C-1\n"
    csv = {"Content-Type": "text/csv"}
    said = await office.post("regulator", "/imports/blacklist", data=bans.encode(), headers=csv)
    assert (said.status, said.body["accepted"], said.body["rejected"]) == (200, 2, 1), said.body
    assert said.body["waiting"] == 1  # who brings bans in is told that not all of them hold yet
    plain, wide = (await office.get("regulator", "/blacklist")).body["items"]
    assert (plain["added_by"], plain["in_force"], wide["in_force"]) == ("regulator", True, False)
    assert (await office.post("regulator", f"/blacklist/{wide['id']}/confirm")).body["code"] == "same_person"
    complaints = "投诉用户,被投诉号码,时间,编号\n13800000000,10690001,2026-02-13 09:00,B-1\n"
    said = await office.post("regulator", "/imports/complaints", data=complaints.encode(), headers=csv)
    assert (said.status, said.body["accepted"]) == (200, 1), said.body
    (one,) = (await office.get("auditor", "/complaints")).body["items"]
    assert (one["institution"], one["source"], one["subscriber"]) == ("BANK", "12321", "138****0000")
    (no,) = (await office.get("auditor", "/refusals")).body["items"]
    assert (no["source"], no["complaint"], no["purposes"]) == ("12321", one["id"], ["marketing"])
    assert (await office.get("institution", "/refusals")).body["items"] == []  # not told who complained
    path = f"/refusals/{no['id']}"
    assert [(await office.get(who, path)).status for who in ("auditor", "institution")] == [200, 404]
    guesses = [f"1380000000{n},marketing,sms;voice,12321\n" for n in range(2)]  # one of them complained
    table = "".join(["subscriber,purposes,channels,source\n", *guesses]).encode()
    said = await office.post("institution", "/imports/refusals?dry_run=1", data=table, headers=csv)
    assert (said.body["accepted"], said.body["unchanged"]) == (2, 0), said.body


async def test_alarms_and_broken_glass_are_shown_until_somebody_has_seen_them(office: Office) -> None:
    office.sql("INSERT INTO alarms (kind, user_id) VALUES ('lock_out', %s)", office.users["institution"])
    persons = [row[0] for row in office.sql("SELECT id FROM persons ORDER BY id LIMIT 2")]
    office.sql("INSERT INTO import_runs (kind) VALUES ('numbers')")
    office.sql(
        """INSERT INTO import_runs (kind, checker_id, approver_id, case_reference)
           VALUES ('numbers', %s, %s, 'C-9')""",
        *persons,
    )
    for path, field in (
        ("/alarms?unseen=true", "kind"),
        ("/import-runs?break_glass=true&unseen=true", "case"),
    ):
        (seen,) = (await office.get("auditor", path)).body["items"]
        assert {"lock_out", "C-9"} & set(map(str, seen.values())), field
        place = f"{path.partition('?')[0]}/{seen['id']}/acknowledge"
        assert (await office.post("auditor", place)).status == 403
        assert (await office.post("regulator", place)).status == 204
        assert (await office.post("regulator2", place)).body["code"] == "wrong_state"
        assert (await office.get("admin", path)).body["items"] == []
        assert (await office.post("regulator", f"{path.partition('?')[0]}/99/acknowledge")).status == 404
    assert (await office.get("institution", "/alarms")).status == 403
    assert len((await office.get("regulator", "/import-runs")).body["items"]) == 2


async def test_the_timeline_of_a_complaint_has_what_all_did(office: Office) -> None:
    subscriber = "+8613800000000"
    await filed(office, "10690001", "BANK", agency="AGENT")
    hashed, sealed = office.key.hash(subscriber), office.key.seal(subscriber)
    bank, agent = office.institutions["BANK"], office.institutions["AGENT"]
    office.sql(
        "INSERT INTO mandates (institution_id, agency_id, channels, purposes, valid_from)"
        " VALUES (%s, %s, 3, 2, '2026-01-02')", bank, agent,
    )  # fmt: skip
    office.sql(
        "INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at)"
        " SELECT %s, key_id, %s, %s, 'web', '2026-01-03' FROM registry_keys", hashed, sealed, bank,
    )  # fmt: skip
    office.sql(
        "INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, purposes,"
        " channels, source, refused_at)"
        " SELECT %s, key_id, %s, %s, 1, 3, 'reply', '2026-01-04' FROM registry_keys",
        hashed, sealed, bank,
    )  # fmt: skip
    office.sql("CREATE TABLE intercepts_other PARTITION OF intercepts DEFAULT")
    office.sql(
        """INSERT INTO intercepts (id, at, carrier, node, protocol, account, channel, number, registration,
               institution, agency, purpose, region, subscriber, subscriber_hash, reason, sub, findings,
               profile, registry_version, writer, segment, "offset", place)
           VALUES (gen_random_uuid(), '2026-01-05', 'mobile', 'node-2', 'cmpp', '900001', 1, '10690001',
               '10690001', 'BANK', 'AGENT', 'collection', '', '138****0000', %s,
               'refused_by_subscriber', '', '[]', '', 1, 'w0', 1, 1, 1)""",
        keyed_hash(office.key.lookup_key)(subscriber.encode()),
    )
    complaint = {"subscriber": "13800000000", "number": "10690001", "channel": "sms", "at": "2026-01-06"}
    made = await office.post("regulator", "/complaints", complaint)
    assert made.status == 201, made.body
    place = made.headers["Location"].removeprefix("/api/v1") + "/timeline"
    assert (await office.get("regulator", place)).status == 422
    office.sql("INSERT INTO nodes (name, carrier, url) VALUES ('node-2', 'mobile', 'http://127.0.0.1:1')")
    said = await office.get("regulator", place, params={"reason": "核查", "since": "2026-01-01"})
    assert said.status == 422  # nothing but a reason
    wanted = {"subscriber": "13800000000", "reason": "核查", "since": "2026-01-01", "until": "2026-02-01"}
    said = await office.post("regulator", "/subscribers/timeline", wanted)
    assert said.status == 200, said.body
    kinds = [one["kind"] for one in said.body["events"]]
    assert kinds == ["mandate", "consent", "refusal", "attempt", "complaint"]
    assert said.body["subscriber"] == "138****0000"
    assert said.body["incomplete"] == [{"node": "node-2", "why": "away"}]
    attempt = said.body["events"][3]
    assert (attempt["verdict"], attempt["reason"], attempt["agency"]) == (
        "refuse", "refused_by_subscriber", "AGENT",
    )  # fmt: skip
    of_complaint = await office.get("auditor", place, params={"reason": "复核"})
    assert (of_complaint.status, of_complaint.body["subscriber"]) == (200, "138****0000")
    looks = office.sql("SELECT subject, reason FROM audit WHERE act = 'subscriber.timeline' ORDER BY id")
    assert looks == [("subscribers", "核查"), (place.strip("/").removesuffix("/timeline"), "复核")]
    assert (await office.get("institution", place, params={"reason": "x"})).status == 403
    seen = await office.get("institution", "/intercepts", params={"until": "2026-02-01"})
    assert [one["reason"] for one in seen.body["items"]] == ["refused_by_subscriber"]
    assert (await office.get("institution2", "/intercepts")).body["items"] == []


async def test_a_holder_learns_that_a_regulator_did_it_and_not_which(office: Office) -> None:
    number = await filed(office, "10690001", "BANK", agency="AGENT")
    office.sql("UPDATE users SET login = 'reg.a' WHERE login = 'regulator'")
    assert (await office.post("regulator", f"/numbers/{number}/suspend", {"cause": "核查"})).status < 300
    bank = office.institutions["BANK"]
    assert (await office.post("regulator", f"/institutions/{bank}/suspend", {"cause": "核查"})).status < 300
    assert (await office.post("regulator", "/blacklist", BAN)).status == 201
    for who, name in (
        *((holder, "regulator") for holder in ("institution", "agency")),
        *((authority, "reg.a") for authority in ("carrier", "regulator", "auditor")),
    ):
        shown = (await office.get(who, f"/numbers/{number}")).body["holds"]
        assert {hold["held_by"] for hold in shown} == {name}, who
        assert {ban["added_by"] for ban in (await office.get(who, "/blacklist")).body["items"]} == {name}
    for who, name in (("institution", "regulator"), ("regulator2", "reg.a")):
        [hold] = (await office.get(who, f"/institutions/{bank}/holds")).body
        assert hold["held_by"] == name


async def test_the_auditor_reads_every_route_that_anybody_reads(office: Office) -> None:
    """It reads everything, and decides nothing: a list answers, a thing that is not there is not there.

    One's own imports are nobody else's list: /import-runs has all.
    """
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or not endpoint.roles or endpoint.path == "/imports":
            continue
        path = re.sub(r"\{\w+\}", "999", endpoint.path)
        said = await office.get("auditor", path)
        assert said.status in ((404, 422) if "{" in endpoint.path else (200,)), (path, said.body)
    for endpoint in ENDPOINTS:
        writes = endpoint.method != "GET" and endpoint.scope in ("write", "admin", "attempts")
        assert not (writes and "auditor" in endpoint.roles), endpoint.path
