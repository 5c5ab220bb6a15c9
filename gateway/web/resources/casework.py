"""Casework: complaints, appeals and cases, each with its due date."""

from datetime import UTC, datetime

from pydantic import Field, JsonValue

from gateway.errors import Words
from gateway.policy.numbers import mask
from gateway.registry import appeals, cases
from gateway.registry.acting import READ_SECONDS
from gateway.registry.complaints import Complaint, Complaints, NewComplaint
from gateway.registry.fields import Body
from gateway.registry.fields import Words as Text
from gateway.web.api import Answer, Call, Endpoint, Page, Paging, Query, page_of
from gateway.web.finding import before
from gateway.web.resources.finding import Timeline, TimelineWanted, timeline_of
from gateway.web.resources.supervision import HOLDERS, REGULATOR, WATCHERS


class Reply(Body):
    answer: str = Field(min_length=1, max_length=4000, pattern=r"\S")


class Why(Query):
    reason: Text = Field(min_length=1, description="why it is looked at")


class Outcome(Body):
    outcome: str = Field(min_length=1, max_length=2000, pattern=r"\S")


class Decided(Reply):
    decision: appeals.Decision


class DuePaging(Paging):
    overdue: bool = Field(False, description="only what is overdue")


class CasePaging(DuePaging):
    status: str = Field("", pattern=r"^(|open|referred|closed)$", description="open, referred or closed")


def _complaints(call: Call) -> Complaints:
    return Complaints(call.site.key, call.site.terms)


def _now() -> datetime:
    return datetime.now(UTC)


async def list_complaints(call: Call) -> Answer:
    query: DuePaging = call.query
    rows = await _complaints(call).page(
        call.c, call.actor, _now(), after=query.last, limit=query.limit + 1, overdue=query.overdue
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def receive_complaint(call: Call) -> Answer:
    found = await _complaints(call).receive(call.c, call.actor, call.body, _now())
    return Answer(found, headers={"Location": f"/api/v1/complaints/{found.id}"})


async def get_complaint(call: Call) -> Answer:
    return Answer(await _complaints(call).get(call.c, call.actor, call.path["id"], _now()))


async def forward_complaint(call: Call) -> Answer:
    return Answer(await _complaints(call).forward(call.c, call.actor, call.path["id"], _now()))


async def answer_complaint(call: Call) -> Answer:
    done = await _complaints(call).answer(call.c, call.actor, call.path["id"], call.body.answer, _now())
    return Answer(done)


async def complaint_timeline(call: Call) -> Answer:
    identity = call.path["id"]
    async with call.site.door.acting(call.actor, seconds=READ_SECONDS) as c:
        subscriber, happened = await _complaints(call).about(c, identity)
    wanted = TimelineWanted(subscriber=subscriber, since=before(happened), reason=call.query.reason)
    events, incomplete = await timeline_of(call.site, call.actor, wanted, f"complaints/{identity}")
    return Answer(Timeline(subscriber=mask(subscriber), events=events, incomplete=incomplete))


async def list_appeals(call: Call) -> Answer:
    query: DuePaging = call.query
    rows = await appeals.page(
        call.c,
        call.site.terms,
        _now(),
        after=query.last,
        limit=query.limit + 1,
        overdue=query.overdue,
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def file_appeal(call: Call) -> Answer:
    found = await appeals.file(call.c, call.actor, call.body, call.site.terms, _now())
    return Answer(found, headers={"Location": f"/api/v1/appeals/{found.id}"})


async def get_appeal(call: Call) -> Answer:
    return Answer(await appeals.get(call.c, call.path["id"], call.site.terms, _now()))


async def answer_appeal(call: Call) -> Answer:
    said: Decided = call.body
    return Answer(
        await appeals.answer(
            call.c,
            call.actor,
            call.path["id"],
            said.decision,
            said.answer,
            call.site.terms,
            _now(),
        )
    )


async def list_cases(call: Call) -> Answer:
    query: CasePaging = call.query
    rows = await cases.page(
        call.c,
        _now(),
        after=query.last,
        limit=query.limit + 1,
        overdue=query.overdue,
        status=query.status,
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def open_case(call: Call) -> Answer:
    found = await cases.open_case(call.c, call.actor, call.body, call.site.terms, _now())
    return Answer(found, 0, found.row_version, {"Location": f"/api/v1/cases/{found.id}"})


async def get_case(call: Call) -> Answer:
    return _case(await cases.get(call.c, call.path["id"], _now()))


async def change_case(call: Call) -> Answer:
    identity, terms = call.path["id"], call.site.terms
    return _case(await cases.change(call.c, call.actor, identity, call.body, call.unchanged, terms, _now()))


async def tie_to_case(call: Call) -> Answer:
    return _case(await cases.tie(call.c, call.actor, call.path["id"], call.body, _now()))


async def refer_case(call: Call) -> Answer:
    return _case(await cases.refer(call.c, call.actor, call.path["id"], call.body, _now()))


async def close_case(call: Call) -> Answer:
    return _case(await cases.close(call.c, call.actor, call.path["id"], call.body.outcome, _now()))


def _case(found: cases.CaseFile) -> Answer:
    return Answer(found, version=found.row_version)


_COMPLAINT: JsonValue = {
    "subscriber": "13800000000",
    "number": "10690001",
    "channel": "sms",
    "at": "2026-02-13T10:00:00+08:00",
    "content": "未经同意的营销短信",
}
_APPEAL: JsonValue = {"against_kind": "ban", "against": "17", "grounds": "号码已更换持有人"}

ENDPOINTS = (
    Endpoint(
        "GET", "/complaints", WATCHERS | {"institution"}, "read", Words("投诉", "complaints"),
        list_complaints, query=DuePaging, answer=Page[Complaint],
    ),
    Endpoint(
        "POST", "/complaints", REGULATOR, "write",
        Words("受理投诉并立案", "take a complaint, and open its case"), receive_complaint,
        body=NewComplaint, answer=Complaint, status=201, key="optional", problems=frozenset({"exists"}),
        example=_COMPLAINT,
    ),
    Endpoint(
        "GET", "/complaints/{id}", WATCHERS | {"institution"}, "read", Words("一件投诉", "one complaint"),
        get_complaint, answer=Complaint,
    ),
    Endpoint(
        "POST", "/complaints/{id}/forward", REGULATOR, "write",
        Words("转办", "forward it to the holder"), forward_complaint,
        answer=Complaint, problems=frozenset({"wrong_state"}),
    ),
    Endpoint(
        "POST", "/complaints/{id}/answer", REGULATOR, "write", Words("答复投诉", "answer it"),
        answer_complaint, body=Reply, answer=Complaint, problems=frozenset({"wrong_state"}),
        example={"answer": "已责令整改"},
    ),
    Endpoint(
        "GET", "/complaints/{id}/timeline", WATCHERS, "read",
        Words("投诉用户的时间线（记录查阅理由）", "its subscriber's timeline; the look is on record"),
        complaint_timeline, query=Why, answer=Timeline, connected=False, rate="judge",
    ),
    Endpoint(
        "GET", "/appeals", WATCHERS | HOLDERS, "read", Words("申诉", "appeals"), list_appeals,
        query=DuePaging, answer=Page[appeals.Appeal],
    ),
    Endpoint(
        "POST", "/appeals", HOLDERS, "write",
        Words("对判定、处罚、名单、暂停或登记决定提出申诉", "appeal against what was decided"),
        file_appeal, body=appeals.NewAppeal, answer=appeals.Appeal, status=201, key="optional",
        problems=frozenset({"exists"}),
        example=_APPEAL,
    ),
    Endpoint(
        "GET", "/appeals/{id}", WATCHERS | HOLDERS, "read", Words("一件申诉", "one appeal"), get_appeal,
        answer=appeals.Appeal,
    ),
    Endpoint(
        "POST", "/appeals/{id}/answer", REGULATOR, "write",
        Words("答复申诉（不得由原决定人答复）", "decide it; none who made what it attacks may"),
        answer_appeal, body=Decided, answer=appeals.Appeal,
        problems=frozenset({"same_person", "no_identity", "wrong_state"}),
        example={"decision": "rejected", "answer": "事实清楚"},
    ),
    Endpoint(
        "GET", "/cases", WATCHERS, "read", Words("案件", "cases"), list_cases, query=CasePaging,
        answer=Page[cases.Case],
    ),
    Endpoint(
        "POST", "/cases", REGULATOR, "write", Words("立案", "open a case"), open_case,
        body=cases.NewCase, answer=cases.CaseFile, status=201, key="optional",
        example={"title": "示例催收公司无委托催收"},
    ),
    Endpoint(
        "GET", "/cases/{id}", WATCHERS, "read", Words("一个案件", "one case"), get_case,
        answer=cases.CaseFile, versioned=True,
    ),
    Endpoint(
        "PATCH", "/cases/{id}", REGULATOR, "write", Words("变更案件", "change a case"), change_case,
        body=cases.CaseChange, answer=cases.CaseFile, versioned=True, problems=frozenset({"wrong_state"}),
        example={"title": "无委托催收"},
    ),
    Endpoint(
        "POST", "/cases/{id}/items", REGULATOR, "write",
        Words("关联记录、投诉、处罚等", "tie a record, complaint, penalty or other thing to it"), tie_to_case,
        body=cases.NewItem, answer=cases.CaseFile, problems=frozenset({"wrong_state"}),
        example={"kind": "record", "reference": "0123456789abcdef0123456789abcdef"},
    ),
    Endpoint(
        "POST", "/cases/{id}/referral", REGULATOR, "write", Words("移送公安机关", "refer it to the police"),
        refer_case, body=cases.NewReferral, answer=cases.CaseFile, status=201, key="optional",
        problems=frozenset({"wrong_state"}), example={"authority": "示例市公安局", "reason": "涉嫌诈骗"},
    ),
    Endpoint(
        "POST", "/cases/{id}/close", REGULATOR, "write", Words("结案", "close it"), close_case,
        body=Outcome, answer=cases.CaseFile, problems=frozenset({"wrong_state"}),
        example={"outcome": "已处罚"},
    ),
)  # fmt: skip
