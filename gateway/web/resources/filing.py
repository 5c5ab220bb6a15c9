"""Numbers: filed as drafts, changed and amended, taken through their steps one by one or by the thousand."""

from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.errors import Problem, Words
from gateway.registry import filings, workflow
from gateway.registry.fields import Body, Instant
from gateway.registry.fields import Words as Text
from gateway.registry.filings import FilingChange, FilingFilter, NewFiling, StepTaken, Version
from gateway.registry.shown import Filing
from gateway.web.api import Answer, Call, Endpoint, Page, Paging, page_of

READERS = frozenset({"regulator", "auditor", "carrier", "institution", "agency"})
STEPPERS = frozenset(step.role for step in workflow.STEPS)


class Numbers(FilingFilter, Paging):
    """A list of filings, of those that the filter lets through."""


class Reasoned(Body):
    """Why a step is taken; where a step takes reasons, it must say something."""

    reason: Text = ""


class Suspension(Body):
    """A cause that suspends a number, until a time or until it is lifted."""

    cause: Text
    case_reference: Text = ""
    until: Instant | None = None


class Resumption(Body):
    """Which hold is lifted (needed when several stand), and why."""

    hold: int | None = Field(None, ge=1, le=2**63 - 1)
    reason: Text = ""


class ManySteps(Body):
    """One step for up to 1,000 numbers."""

    step: Literal["submit", "return", "check", "approve", "veto", "revoke", "withdraw"]
    ids: list[Annotated[int, Field(ge=1, le=2**63 - 1)]] = Field(min_length=1, max_length=1000)
    reason: Text = ""


class RefusedStep(BaseModel):
    """One number that could not take it."""

    id: int
    code: str
    detail: str


class StepsDone(BaseModel):
    """What became of each: every id is in one of the two lists."""

    done: list[int]
    refused: list[RefusedStep]


def shown(filing: Filing, status: int = 0) -> Answer:
    place = {"Location": f"/api/v1/numbers/{filing.id}"} if status == 201 else {}
    return Answer(filing, status, filing.row_version, place)


async def numbers(call: Call) -> Answer:
    query = call.query
    wanted = FilingFilter.model_construct(
        **{name: getattr(query, name) for name in FilingFilter.model_fields}
    )
    found = await filings.page(call.c, call.actor, query.last, query.limit + 1, wanted)
    return Answer(page_of(found, query.limit, lambda one: (one.id,)))


async def file(call: Call) -> Answer:
    return shown(await filings.create(call.c, call.actor, call.body), 201)


async def number(call: Call) -> Answer:
    identity = call.path["id"]
    filing = await call.site.filings.one(call.actor, identity)
    if filing is None:
        raise filings.missing(identity)
    return shown(filing)


async def change(call: Call) -> Answer:
    filing = await filings.get(call.c, call.path["id"])
    call.unchanged(filing.row_version)
    return shown(await filings.change(call.c, call.actor, filing, call.body))


async def amend(call: Call) -> Answer:
    filing = await filings.get(call.c, call.path["id"])
    return shown(await filings.amend(call.c, call.actor, filing, call.body or FilingChange()), 201)


async def step(name: str, call: Call) -> Answer:
    identity, reason = call.path["id"], call.body.reason if call.body else ""
    if call.version is not None:
        call.unchanged((await filings.get(call.c, identity)).row_version)
    documents = call.site.config.registry.require_documents
    for _, problem in await filings.step(call.c, call.actor, [identity], name, reason, documents=documents):
        raise problem
    return shown(await filings.get(call.c, identity))


async def steps_of_many(call: Call) -> Answer:
    body = call.body
    documents = call.site.config.registry.require_documents
    refused = await filings.step(call.c, call.actor, body.ids, body.step, body.reason, documents=documents)
    not_done = {one for one, _ in refused}
    return Answer(
        StepsDone(
            done=sorted(set(body.ids) - not_done),
            refused=[
                RefusedStep(id=one, code=problem.code, detail=_said(problem, call.zh))
                for one, problem in refused
            ],
        )
    )


async def suspend(call: Call) -> Answer:
    identity, body = call.path["id"], call.body
    return shown(
        await filings.suspend(
            call.c, call.actor, identity, body.cause, case=body.case_reference, until=body.until
        )
    )


async def resume(call: Call) -> Answer:
    body = call.body
    return shown(await filings.resume(call.c, call.actor, call.path["id"], body.reason, hold=body.hold))


async def steps(call: Call) -> Answer:
    await filings.get(call.c, call.path["id"])
    found = await filings.steps(call.c, call.path["id"], call.query.last, call.query.limit + 1)
    return Answer(page_of(found, call.query.limit, lambda one: (one.id,)))


async def history(call: Call) -> Answer:
    filing = await filings.get(call.c, call.path["id"])
    async with call.site.door.owner() as owner:
        return Answer(await filings.history(owner, filing.id))


def _said(problem: Problem, zh: bool) -> str:
    return problem.detail.zh if zh else problem.detail.en


STEP_WORDS = {
    "submit": Words("提交登记", "submit a draft, or what was returned"),
    "return": Words("退回并说明理由", "return with reasons"),
    "check": Words("核验", "check the papers"),
    "approve": Words("审批（须与核验人不同）", "approve: another person than checked"),
    "veto": Words("否决", "veto before it is approved"),
    "revoke": Words("撤销已审批的登记", "revoke what was approved"),
    "withdraw": Words("撤回", "withdraw"),
}
EXAMPLE: JsonValue = {
    "number": "10690001",
    "channels": ["sms"],
    "purposes": ["service"],
    "signatures": ["示例银行"],
}

ENDPOINTS = (
    Endpoint(
        "GET", "/numbers", READERS, "read", Words("登记号码", "filings of numbers"), numbers,
        query=Numbers, answer=Page[Filing],
    ),
    Endpoint(
        "POST", "/numbers", frozenset({"institution", "agency"}), "write",
        Words("新建登记草稿", "file a draft"), file,
        body=NewFiling, answer=Filing, status=201, problems=frozenset({"exists", "already_filed"}),
        key="optional", example=EXAMPLE,
    ),
    Endpoint(
        "POST", "/numbers/steps", STEPPERS, "write",
        Words("批量办理一个步骤", "one step for up to 1,000 numbers"), steps_of_many,
        body=ManySteps, answer=StepsDone, example={"step": "submit", "ids": [1]},
    ),
    Endpoint(
        "GET", "/numbers/{id}", READERS, "read", Words("一个登记号码", "one filing"), number,
        answer=Filing, versioned=True, connected=False,
    ),
    Endpoint(
        "PATCH", "/numbers/{id}", frozenset({"institution", "agency"}), "write",
        Words("修改草稿", "change a draft, or what was returned"), change,
        body=FilingChange, answer=Filing, versioned=True,
        problems=frozenset({"wrong_state", "exists", "already_filed"}), example={"purposes": ["service"]},
    ),
    Endpoint(
        "POST", "/numbers/{id}/amend", frozenset({"institution"}), "write",
        Words("另立变更版本", "a new version, as a draft"), amend,
        body=FilingChange, answer=Filing, status=201, problems=frozenset({"wrong_state", "exists"}),
        key="optional", optional=True, example={"purposes": ["service"]},
    ),
    *(
        Endpoint(
            "POST", f"/numbers/{{id}}/{one.name}", frozenset({one.role}), "write", STEP_WORDS[one.name],
            partial(step, one.name), body=Reasoned, answer=Filing, optional=True,
            problems=frozenset(
                {"wrong_state", "same_person", "no_identity", "already_filed", "changed_meanwhile"}
            ),
            example={"reason": "材料齐全"},
        )
        for one in workflow.STEPS
    ),
    Endpoint(
        "POST", "/numbers/{id}/suspend", frozenset({"regulator"}), "write", Words("暂停号码", "suspend"),
        suspend, body=Suspension, answer=Filing, problems=frozenset({"wrong_state"}),
        example={"cause": "投诉集中", "case_reference": "C-1"},
    ),
    Endpoint(
        "POST", "/numbers/{id}/resume", frozenset({"regulator"}), "write",
        Words("解除一项暂停", "lift one hold"), resume,
        body=Resumption, answer=Filing, problems=frozenset({"wrong_state"}), example={"reason": "已整改"},
    ),
    Endpoint(
        "GET", "/numbers/{id}/steps", READERS, "read", Words("办理经过", "the steps taken"), steps,
        query=Paging, answer=Page[StepTaken],
    ),
    Endpoint(
        "GET", "/numbers/{id}/history", READERS, "read", Words("历史版本", "all that it has been"), history,
        answer=list[Version],
    ),
)  # fmt: skip
