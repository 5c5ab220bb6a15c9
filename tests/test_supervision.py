"""Penalties, complaints, cases and appeals: what they do, who may, and when they are due."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from bureau import KEY, Bureau, bureau_of, file_number
from playbook import eventually

from gateway.errors import Problem
from gateway.model import MARKETING, SMS, VOICE
from gateway.registry import appeals, bans, cases, holds, penalties
from gateway.registry.appeals import Appeal, NewAppeal
from gateway.registry.bans import NewBan
from gateway.registry.cases import CaseChange, NewCase, NewItem, NewReferral
from gateway.registry.complaints import Complaint, Complaints, NewComplaint
from gateway.registry.deadlines import Terms, calendar, due
from gateway.registry.exchange import export_file, import_file
from gateway.registry.penalties import NewPenalty, Penalty

Connection = asyncpg.Connection
TERMS = Terms(calendar(None), 5, 15, 15)
COMPLAINTS = Complaints(KEY, TERMS)
FRIDAY = datetime(2026, 2, 13, 10, tzinfo=UTC)
SUBSCRIBER = "13800000000"


@pytest.fixture
async def bureau(database: str) -> AsyncIterator[Bureau]:
    async with bureau_of(database) as found:
        yield found


@pytest.fixture
async def sql(bureau: Bureau) -> AsyncIterator[Connection]:
    async with bureau.by_hand() as c:
        yield c


async def impose(bureau: Bureau, login: str, institution: str, **more: Any) -> Penalty:
    what: dict[str, Any] = {"kind": "suspension", "cause": "无委托催收"}
    async with bureau.acting(login) as (c, actor):
        return await penalties.impose(
            c, actor, NewPenalty(institution=institution, **(what | more)), TERMS, FRIDAY
        )


async def complain(
    bureau: Bureau, number: str = "10690001", now: datetime = FRIDAY, **more: Any
) -> Complaint:
    what: dict[str, Any] = {"subscriber": SUBSCRIBER, "channel": "sms", "at": "2026-02-13T09:00:00+08:00"}
    async with bureau.acting("r1") as (c, actor):
        return await COMPLAINTS.receive(c, actor, NewComplaint(number=number, **(what | more)), now)


async def appeal(bureau: Bureau, login: str, kind: str, against: object) -> Appeal:
    new = NewAppeal.model_validate({"against_kind": kind, "against": str(against), "grounds": "事实不清"})
    async with bureau.acting(login) as (c, actor):
        return await appeals.file(c, actor, new, TERMS, FRIDAY)


async def answer(bureau: Bureau, login: str, identity: int) -> Appeal:
    async with bureau.acting(login) as (c, actor):
        return await appeals.answer(c, actor, identity, "rejected", "事实清楚", TERMS, FRIDAY)


async def standing(sql: Connection) -> list[str]:
    rows = await sql.fetch("SELECT number FROM whitelist ORDER BY number")
    return [row["number"] for row in rows]


async def test_a_penalty_on_an_agency_stops_it_at_every_institution(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "BANK", agency="AGENT")
    await file_number(sql, "10690002", "FIN", agency="AGENT")
    await file_number(sql, "10690003", "FIN")
    await sql.execute(
        """INSERT INTO mandates (institution_id, agency_id, channels, purposes)
           SELECT b.id, a.id, 3, 2 FROM institutions b, institutions a
            WHERE b.code IN ('BANK', 'FIN') AND a.code = 'AGENT'"""
    )
    found = await impose(bureau, "r1", "AGENT")
    assert (found.institution, found.suspends, found.imposed_by) == ("AGENT", True, "r1")
    assert await standing(sql) == ["10690003"]
    async with bureau.acting("r2") as (c, actor):
        lifted = await penalties.lift(c, actor, found.id, "整改完成", TERMS, FRIDAY)
    assert (lifted.suspends, lifted.lifted_by, lifted.lifted_reason) == (False, "r2", "整改完成")
    assert await standing(sql) == ["10690001", "10690002", "10690003"]
    with pytest.raises(Problem) as refused:
        async with bureau.acting("r2") as (c, actor):
            await penalties.lift(c, actor, found.id, "again", TERMS, FRIDAY)
    assert refused.value.code == "wrong_state"
    assert await bureau.acts(f"penalties/{found.id}") == ["penalty.impose", "penalty.lift"]


async def test_lifting_restores_only_what_no_other_hold_keeps(bureau: Bureau, sql: Connection) -> None:
    number = await file_number(sql, "10690001", "BANK")
    await file_number(sql, "10690002", "BANK")
    first = await impose(bureau, "r1", "BANK")
    second = await impose(bureau, "r2", "BANK", kind="fine_and_suspension", amount="50000.00")
    async with bureau.acting("r1") as (c, actor):
        await holds.place(c, actor, "numbers", number, "投诉集中")
    for penalty, left in ((first, []), (second, ["10690002"])):
        async with bureau.acting("r1") as (c, actor):
            await penalties.lift(c, actor, penalty.id, "期满", TERMS, FRIDAY)
        assert await standing(sql) == left
    with pytest.raises(Problem):
        async with bureau.acting("r1") as (c, actor):
            await holds.lift(c, actor, "institutions", 1, "not by hand")


async def test_a_fine_stops_nothing_and_a_penalty_ends_when_it_says(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "BANK")
    assert not (await impose(bureau, "r1", "BANK", kind="fine", amount="10")).suspends
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await impose(bureau, "r1", "BANK", valid_from=later)
    assert await standing(sql) == ["10690001"]
    ended = await impose(bureau, "r1", "BANK", valid_from="2026-01-01", valid_until="2026-02-01")
    assert not ended.suspends
    assert await standing(sql) == ["10690001"]
    for wrong in (
        {"kind": "fine"},
        {"kind": "suspension", "amount": "1"},
        {"valid_from": later, "valid_until": later},
        {"cause": " "},
    ):
        with pytest.raises(ValueError, match=r"(?s).+"):
            await impose(bureau, "r1", "BANK", **wrong)
    for wrong in ({"institution": "NONE"}, {"institution": "BANK", "case": 99}):
        with pytest.raises(Problem) as refused:
            await impose(bureau, "r1", **wrong)
        assert refused.value.field in wrong
    with pytest.raises(Problem) as refused:
        await impose(bureau, "r1", "BANK", valid_until="2026-01-01")
    assert refused.value.field == "valid_until"


async def test_whom_a_penalty_hits_sees_it_and_nobody_else(bureau: Bureau) -> None:
    found = await impose(bureau, "r1", "AGENT")
    for login, sees in (("agent", True), ("bank", False), ("shop", False), ("audit", True), ("r2", True)):
        async with bureau.acting(login) as (c, _):
            page = await penalties.page(c, TERMS, FRIDAY)
            assert [one.id for one in page] == ([found.id] if sees else [])
            if login == "agent":
                assert page[0].imposed_by is None
    for login in ("agent", "audit"):
        with pytest.raises(Problem):
            await impose(bureau, login, "AGENT")


async def test_a_complaint_finds_its_holder_and_opens_a_case(bureau: Bureau, sql: Connection) -> None:
    await file_number(sql, "10690001", "FIN", extension_digits=4, agency="AGENT")
    found = await complain(bureau, "1069000123", content="骚扰")
    assert (found.institution, found.agency, found.subscriber) == ("FIN", "AGENT", "138****0000")
    assert (found.forward_due, found.due) == (date(2026, 2, 27), date(2026, 3, 12))
    assert (found.provisional, found.overdue, found.status) == (False, False, "open")
    again = await complain(bureau, "1069000123", subscriber="13800000001")
    other = await complain(bureau, "1069000124")
    assert again.case == found.case != other.case
    async with bureau.acting("r1") as (c, _):
        case = await cases.get(c, found.case or 0, FRIDAY)
    assert [item.reference for item in case.items] == [str(found.id), str(again.id)]
    stored = await sql.fetchval("SELECT complaints::text || audit::text FROM complaints, audit LIMIT 1")
    assert SUBSCRIBER not in stored
    async with bureau.acting("fin") as (c, actor):
        [first, *_] = await COMPLAINTS.page(c, actor, FRIDAY)
        assert (first.subscriber, first.case) == (None, None)
    async with bureau.acting("bank") as (c, actor):
        assert await COMPLAINTS.page(c, actor, FRIDAY) == []


async def test_the_holder_is_who_held_the_number_then(bureau: Bureau, sql: Connection) -> None:
    old = await file_number(sql, "10690001", "BANK")
    then = await sql.fetchval("SELECT clock_timestamp()")
    await sql.execute("UPDATE numbers SET status = 'revoked' WHERE id = $1", old)
    between = await sql.fetchval("SELECT clock_timestamp()")
    await file_number(sql, "10690001", "FIN")
    now = datetime.now(UTC) + timedelta(minutes=1)
    for moment, holder in ((then, "BANK"), (now - timedelta(seconds=59), "FIN"), (between, "FIN")):
        found = await complain(bureau, now=now, at=moment.isoformat())
        assert found.institution == holder, moment
    # what was filed after the fact counts where the registry had nothing then
    assert (await complain(bureau, now=now, at="2020-01-01")).institution == "FIN"
    assert (await complain(bureau, "10690009", now=now)).institution is None


async def test_a_complaint_is_taken_once_forwarded_and_answered(bureau: Bureau, sql: Connection) -> None:
    found = await complain(bureau, source="12321", reference="B-1")
    with pytest.raises(Problem) as refused:
        await complain(bureau, source="12321", reference="B-1")
    assert refused.value.code == "exists"
    assert "来源" in refused.value.detail.zh
    with pytest.raises(Problem) as refused:
        await complain(bureau, at="2030-01-01")
    assert refused.value.field == "at"
    async with bureau.acting("r1") as (c, actor):
        assert (await COMPLAINTS.forward(c, actor, found.id, FRIDAY)).status == "forwarded"
    with pytest.raises(Problem) as refused:
        async with bureau.acting("r1") as (c, actor):
            await COMPLAINTS.forward(c, actor, found.id, FRIDAY)
    assert refused.value.code == "wrong_state"
    async with bureau.acting("r2") as (c, actor):
        done = await COMPLAINTS.answer(c, actor, found.id, "已处理", FRIDAY)
    assert (done.status, done.answer, done.answered_by) == ("answered", "已处理", "r2")
    assert await bureau.acts(f"complaints/{found.id}") == [
        "complaint.receive",
        "complaint.forward",
        "complaint.answer",
    ]


async def test_complaints_of_12321_come_in_by_file(bureau: Bureau, sql: Connection, tmp_path: Path) -> None:
    await file_number(sql, "10690001", "FIN", extension_digits=4, agency="AGENT")
    path = tmp_path / "12321.csv"
    lines = [
        "投诉用户,被投诉号码,渠道,时间,内容,来源,编号",
        "13800000000,10690001,短信,2026-02-13 09:00,营销\t短信,12321,B-1",
        "13800000001,10690001,短信,2026-02-13 10:00,,12321,B-2",
        "13800000002,10690009,语音,2026-02-13 11:00,,12321,",
        "13800000003,10690001,短信,2099-01-01,,12321,B-4",
        "x,10690001,短信,2026-02-13 09:00,,12321,B-5",
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    result = await import_file("complaints", path, bureau.dsn, KEY, terms=TERMS)
    assert (result.accepted, result.rejected) == (3, 2)
    again = await import_file("complaints", path, bureau.dsn, KEY, terms=TERMS)
    assert (again.accepted, again.unchanged) == (0, 3)
    now = datetime.now(UTC)
    async with bureau.acting("r1") as (c, actor):
        first, second, third = await COMPLAINTS.page(c, actor, now)
        assert [item.reference for item in (await cases.get(c, first.case or 0, now)).items] == ["1", "2"]
        by_hand = NewComplaint.model_validate(
            {"subscriber": SUBSCRIBER, "number": "10690001", "channel": "sms", "at": "2026-02-14"}
        )
        assert (await COMPLAINTS.receive(c, actor, by_hand, now)).case == first.case == second.case
    assert (first.institution, first.agency, first.subscriber) == ("FIN", "AGENT", "138****0000")
    assert (first.content, first.reference, first.channel) == ("营销 短信", "B-1", "sms")
    assert (third.institution, third.channel, third.reference) == (None, "voice", None)
    assert (first.forward_due, first.due) == (due(now, 5, TERMS.days).day, due(now, 15, TERMS.days).day)
    columns = "complaint_id, source, code_of(institution_id), number, purposes, channels, refused_at"
    refusals = [tuple(row) for row in await sql.fetch(f"SELECT {columns} FROM refusals ORDER BY id")]
    assert refusals == [  # each complaint of 12321's is one, also where nobody had filed the number
        (
            one.id,
            "12321",
            one.institution,
            None if one.institution else one.number,
            MARKETING,
            SMS | VOICE,
            one.at,
        )
        for one in (first, second, third)
    ]
    out = tmp_path / "out.csv"
    await export_file("complaints", out, bureau.dsn, KEY, headers="zh")
    assert (await import_file("complaints", out, bureau.dsn, KEY, terms=TERMS)).unchanged == 4


async def test_complaints_that_come_in_at_once_open_one_case(
    bureau: Bureau, sql: Connection, tmp_path: Path
) -> None:
    await file_number(sql, "10690001", "FIN", extension_digits=4)
    paths = [tmp_path / f"{n}.csv" for n in range(2)]
    for path in paths:
        line = f"13800000000,10690001,sms,2026-02-13 09:00,,12321,{path.stem}"
        path.write_text(f"subscriber,number,channel,at,content,source,reference\n{line}\n", "utf-8")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with bureau.acting("r1") as (c, actor):
        new = NewComplaint.model_validate(
            {"subscriber": SUBSCRIBER, "number": "10690001", "channel": "sms", "at": "2026-02-14"}
        )
        first = await COMPLAINTS.receive(c, actor, new, datetime.now(UTC))
        imports = [
            asyncio.create_task(import_file("complaints", path, bureau.dsn, KEY, terms=TERMS))
            for path in paths
        ]
        await eventually(lambda: sql.fetchval(waiting + " HAVING count(*) = 2"))
    assert [result.accepted for result in await asyncio.gather(*imports)] == [1, 1]
    cases_of = await sql.fetch("SELECT case_id, count(*) FROM complaints GROUP BY 1")
    assert [tuple(row) for row in cases_of] == [(first.case, 3)]


async def test_what_is_overdue_is_listed_and_reaches_another_person(bureau: Bureau, sql: Connection) -> None:
    forwarded = await complain(bureau)
    waiting = await complain(bureau, "10690002")
    async with bureau.acting("r1") as (c, actor):
        await COMPLAINTS.forward(c, actor, forwarded.id, FRIDAY)
    day = waiting.forward_due
    assert await sql.fetchval("SELECT escalate_overdue($1)", day) == 0
    assert await sql.fetchval("SELECT escalate_overdue($1)", day + timedelta(days=1)) == 1
    late = datetime(2026, 2, 28, 10, tzinfo=UTC)
    async with bureau.acting("r2") as (c, actor):
        [one] = await COMPLAINTS.page(c, actor, late, overdue=True)
    # r1 has it, and r1b is the same person
    assert (one.id, one.overdue, one.assigned_to, one.escalated_to) == (waiting.id, True, "r1", "r2")
    assert await sql.fetchval("SELECT escalate_overdue($1)", date(2026, 3, 12)) == 0
    assert await sql.fetchval("SELECT escalate_overdue($1)", date(2026, 3, 13)) == 3  # two cases, too
    rows = await sql.fetch(
        """SELECT escalated_to FROM complaints WHERE id = $1
           UNION ALL SELECT escalated_to FROM cases""",
        forwarded.id,
    )
    logins = {row["login"] for row in await sql.fetch(
        "SELECT login FROM users WHERE id = ANY ($1::bigint[])", [row[0] for row in rows])}  # fmt: skip
    assert logins == {"r2", "r3"}
    assert await bureau.acts(f"complaints/{waiting.id}") == ["complaint.receive", "complaints.escalate"]
    async with bureau.acting("r1") as (c, actor):
        assert len(await cases.page(c, datetime(2026, 3, 13, tzinfo=UTC), overdue=True)) == 2


async def test_an_appeal_is_not_answered_by_who_made_what_it_attacks(bureau: Bureau, sql: Connection) -> None:
    penalty = await impose(bureau, "r1", "BANK")
    against_penalty = await appeal(bureau, "bank", "penalty", penalty.id)
    assert against_penalty.due == date(2026, 3, 12)
    await file_number(sql, "10690001", "FIN")
    async with bureau.acting("r1") as (c, actor):
        ban, _ = await bans.add(
            c, actor, NewBan(number="1069", is_prefix=True, reason="r", case_reference="C-1")
        )
    async with bureau.acting("r2") as (c, actor):
        await bans.confirm(c, actor, ban.id)
    against_ban = await appeal(bureau, "fin", "ban", ban.id)
    hold = await sql.fetchval("SELECT id FROM holds WHERE penalty_id = $1", penalty.id)
    against_hold = await appeal(bureau, "bank", "hold", hold)
    for identity, authors, free in (
        (against_penalty.id, ("r1", "r1b"), "r2"),
        (against_ban.id, ("r1", "r2"), "r3"),
        (against_hold.id, ("r1b",), "r2"),
    ):
        for author in authors:
            with pytest.raises(Problem) as refused:
                await answer(bureau, author, identity)
            assert refused.value.code == "same_person"
        assert (await answer(bureau, free, identity)).answered_by == free
    with pytest.raises(Problem) as refused:
        await answer(bureau, "r3", against_ban.id)
    assert refused.value.code == "wrong_state"
    await sql.execute("UPDATE appeals SET status = 'open', answered_at = NULL, answered_person = NULL")
    with pytest.raises(asyncpg.CheckViolationError):  # SQL by hand is nobody's answer
        await sql.execute("UPDATE appeals SET status = 'upheld', answered_at = now(), answered_person = 1")


async def test_an_overdue_appeal_goes_to_none_of_its_authors(bureau: Bureau, sql: Connection) -> None:
    penalty = await impose(bureau, "r1", "BANK")
    found = await appeal(bureau, "bank", "penalty", penalty.id)
    await sql.execute("UPDATE users SET status = 'disabled' WHERE login IN ('r2', 'r3')")
    late = date(2026, 3, 13)
    assert await sql.fetchval("SELECT escalate_overdue($1)", late) == 0  # r1b is the author as well
    await sql.execute("UPDATE users SET status = 'active' WHERE login = 'r3'")
    assert await sql.fetchval("SELECT escalate_overdue($1)", late) == 2  # with the penalty itself
    async with bureau.acting("r3") as (c, _):
        [one] = await appeals.page(c, TERMS, datetime(2026, 3, 13, tzinfo=UTC), overdue=True)
    assert (one.id, one.escalated_to) == (found.id, "r3")


async def test_what_is_overdue_reaches_only_who_sees_it(bureau: Bureau, sql: Connection) -> None:
    """BANK lies in 杭州, AGENT in 宁波; r1 and r1b, who are one person, imposed and opened everything."""
    await sql.execute("UPDATE users SET territory = '浙江省宁波市' WHERE login IN ('r2', 'r3')")
    banks = await impose(bureau, "r1", "BANK", kind="fine", amount="200000")
    agents = await impose(bureau, "r1", "AGENT", kind="fine", amount="200000")
    complaint = await complain(bureau)  # of nobody's number
    late = date(2026, 3, 13)
    assert await sql.fetchval("SELECT escalate_overdue($1)", late) == 1
    asked = "SELECT escalated_to IS NOT NULL FROM penalties WHERE id = $1"
    assert [await sql.fetchval(asked, one.id) for one in (banks, agents)] == [False, True]
    # the complaint's case has a penalty on AGENT now: the case is of 宁波 as well, the complaint is not
    await sql.execute("UPDATE penalties SET case_id = $1 WHERE id = $2", complaint.case, agents.id)
    assert await sql.fetchval("SELECT escalate_overdue($1)", late) == 1
    async with bureau.acting("r2") as (c, _):
        assert [one.id for one in await cases.page(c, datetime(2026, 3, 13, tzinfo=UTC))] == [complaint.case]
    await sql.execute("UPDATE users SET territory = '' WHERE login = 'r3'")
    assert await sql.fetchval("SELECT escalate_overdue($1)", late) == 2


async def test_a_penalty_is_due_by_workdays_and_reaches_another_person(
    bureau: Bureau, sql: Connection
) -> None:
    fine = await impose(bureau, "r1", "BANK", kind="fine", amount="200000")
    over = await impose(bureau, "r1", "BANK", valid_until="2026-12-31")
    named = await impose(bureau, "r1", "AGENT", due="2026-02-25")
    # Friday 13 February 2026; 15 to 23 February are the Spring Festival's, the 14th and 28th are worked
    assert (fine.due, fine.overdue, fine.provisional) == (date(2026, 3, 12), False, False)
    for day, right in (("2026-02-12", "2026-02-14"), ("2026-02-22", "2026-02-24")):  # over; a holiday
        with pytest.raises(Problem) as caught:
            await impose(bureau, "r1", "BANK", due=day)
        assert (caught.value.code, caught.value.field) == ("invalid", "due")
        assert right in caught.value.expected.en
    assert await sql.fetchval("SELECT escalate_overdue('2026-03-12')") == 1
    assert await sql.fetchval("SELECT escalate_overdue('2026-03-13')") == 2
    late = datetime(2026, 3, 13, 4, tzinfo=UTC)
    async with bureau.acting("r2") as (c, actor):
        found = await penalties.page(c, TERMS, late, overdue=True)
        assert [one.id for one in found] == [fine.id, over.id, named.id]
        assert all(one.overdue and one.escalated_to in ("r2", "r3") for one in found)  # r1b is r1
        await penalties.lift(c, actor, fine.id, "已缴纳", TERMS, late)
        assert [one.id for one in await penalties.page(c, TERMS, late, overdue=True)] == [over.id, named.id]
    async with bureau.acting("bank") as (c, _):
        [one] = await penalties.page(c, TERMS, late, overdue=True)
        assert (one.id, one.due, one.escalated_to) == (over.id, date(2026, 3, 12), None)


@pytest.mark.parametrize(
    ("login", "kind", "against"),
    [
        ("fin", "penalty", "1"),  # BANK's
        ("bank", "penalty", "99"),
        ("bank", "ban", "abc"),
        ("bank", "verdict", "1"),
        ("bank", "verdict", "0" * 32),
        ("shop", "verdict", "0" * 32),
        ("shop", "number", "1"),
        ("fin", "number", "1"),
        ("bank", "hold", "9" * 30),
    ],
)
async def test_what_one_does_not_see_one_cannot_appeal_against(
    login: str, kind: str, against: str, bureau: Bureau, sql: Connection
) -> None:
    await file_number(sql, "10690001", "BANK")
    await impose(bureau, "r1", "BANK")
    with pytest.raises(Problem) as refused:
        await appeal(bureau, login, kind, against)
    assert (refused.value.code, refused.value.field) == ("invalid", "against")


async def test_a_ban_is_appealed_by_those_whom_it_hits_and_is_not_there_for_others(
    bureau: Bureau, sql: Connection
) -> None:
    await file_number(sql, "10690001", "BANK", extension_digits=2)
    await file_number(sql, "95588", "FIN", agency="AGENT")
    await sql.execute(
        """INSERT INTO numbers (number, channels, purposes, institution_id, status)
                VALUES ('10690009', 1, 1, 2, 'submitted');
           INSERT INTO allocations (carrier, number, provider_id)
                SELECT 'mobile', '106900', id FROM institutions WHERE code = 'SHOP'"""
    )
    for number, is_prefix, hit in (
        ("10690001", False, {"bank", "shop"}),
        ("1069000112", False, {"bank", "shop"}),  # an extension of it
        ("10690001123", False, {"shop"}),  # longer than any
        ("1069000", True, {"bank", "shop"}),
        ("106900011", True, {"bank", "shop"}),  # a part of its range
        ("10690009", False, {"shop"}),  # fin has filed it, nobody approved it
        ("9558", True, {"fin", "agent"}),
        ("95588", False, {"fin", "agent"}),
        ("9558", False, set()),
        ("10680001", False, set()),
    ):
        ban = await sql.fetchval(
            "INSERT INTO blacklist (number, is_prefix, reason, case_reference, needs_second)"
            " VALUES ($1, $2, 'r', 'c', false) RETURNING id",
            number,
            is_prefix,
        )
        for regulator in ("r1", "r2"):  # what SQL bans and hits is in force when two have said so
            async with bureau.acting(regulator) as (c, _):
                await c.execute(
                    "UPDATE blacklist SET confirmed_by = '', confirmed_at = now() WHERE id = $1", ban
                )
        for login in ("bank", "fin", "agent", "shop"):
            if login in hit:
                assert (await appeal(bureau, login, "ban", ban)).against == str(ban)
                continue
            said = []
            for identity in (ban, 999_999):
                with pytest.raises(Problem) as refused:
                    await appeal(bureau, login, "ban", identity)
                said.append(
                    (refused.value.code, refused.value.field, refused.value.detail, refused.value.expected)
                )
            assert said[0] == said[1], (login, number)


async def test_a_case_ties_refers_and_closes(bureau: Bureau, sql: Connection) -> None:
    def at(version: int) -> None:
        assert version == case.row_version

    def stale(_: int) -> None:
        raise Problem("changed_meanwhile", appeals.Words("", ""))

    async with bureau.acting("r1") as (c, actor):
        case = await cases.open_case(c, actor, NewCase(title="无委托催收"), TERMS, FRIDAY)
    assert (case.due, case.assigned_to) == (date(2026, 3, 12), "r1")
    penalty = await impose(bureau, "r1", "AGENT", case=case.id)
    async with bureau.acting("r2") as (c, actor):
        tied = await cases.tie(c, actor, case.id, NewItem(kind="record", reference="ab" * 16), FRIDAY)
        for kind, reference in (("complaint", "99"), ("record", "nonsense"), ("document", "ab" * 32)):
            item = NewItem.model_validate({"kind": kind, "reference": reference})
            with pytest.raises(Problem) as refused:
                await cases.tie(c, actor, case.id, item, FRIDAY)
            assert refused.value.field == "reference"
    assert [(i.kind, i.reference) for i in tied.items] == [
        ("penalty", str(penalty.id)),
        ("record", "ab" * 16),
    ]
    async with bureau.acting("r1") as (c, actor):
        case = await cases.change(c, actor, case.id, CaseChange(assigned_to="r2"), at, TERMS, FRIDAY)
        assert (case.assigned_to, case.title) == ("r2", "无委托催收")
        with pytest.raises(Problem) as refused:
            await cases.change(c, actor, case.id, CaseChange(title="x"), stale, TERMS, FRIDAY)
        saturday = CaseChange(due=date(2026, 3, 14))
        with pytest.raises(Problem, match="not a workday"):
            await cases.change(c, actor, case.id, saturday, at, TERMS, FRIDAY)
        with pytest.raises(Problem) as refused:
            await cases.change(c, actor, case.id, CaseChange(assigned_to="bank"), at, TERMS, FRIDAY)
        assert refused.value.field == "assigned_to"
        police = NewReferral(authority="示例市公安局", reason="涉嫌诈骗")
        referred = await cases.refer(c, actor, case.id, police, FRIDAY)
        assert (referred.status, referred.referrals[0].referred_by) == ("referred", "r1")
        closed = await cases.close(c, actor, case.id, "已移送", FRIDAY)
        assert (closed.status, closed.closed_by, closed.outcome) == ("closed", "r1", "已移送")
        with pytest.raises(Problem) as refused:
            await cases.tie(c, actor, case.id, NewItem(kind="record", reference="cd" * 16), FRIDAY)
        assert refused.value.code == "wrong_state"
    acts = await bureau.acts(f"cases/{case.id}")
    assert acts == ["case.open", "case.tie", "case.change", "case.refer", "case.close"]
