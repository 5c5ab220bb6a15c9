"""Allocations of base ports to providers, and disputes over numbers that are filed already."""

from datetime import UTC, datetime

from pydantic import Field

from gateway.errors import Words
from gateway.registry import claims
from gateway.registry.claims import (
    Allocation,
    AllocationChange,
    Decision,
    Dispute,
    NewAllocation,
    NewDispute,
)
from gateway.web.api import Answer, Call, Endpoint, Page, Paging, page_of

PORTS = frozenset({"carrier", "provider", "regulator", "auditor"})
SIDES = frozenset({"institution", "regulator", "auditor"})


class DuePaging(Paging):
    overdue: bool = Field(False, description="only what is overdue")


def _now() -> datetime:
    return datetime.now(UTC)


async def allocations(call: Call) -> Answer:
    found = await claims.allocations(call.c, call.query.last, call.query.limit + 1)
    return Answer(page_of(found, call.query.limit, lambda one: (one.id,)))


async def allocate(call: Call) -> Answer:
    made = await claims.allocate(call.c, call.actor, call.body)
    return Answer(made, 201, made.row_version, {"Location": f"/api/v1/allocations/{made.id}"})


async def allocation(call: Call) -> Answer:
    found = await claims.allocation(call.c, call.path["id"])
    return Answer(found, 0, found.row_version)


async def change_allocation(call: Call) -> Answer:
    old = await claims.allocation(call.c, call.path["id"])
    call.unchanged(old.row_version)
    found = await claims.change_allocation(call.c, call.actor, old, call.body)
    return Answer(found, 0, found.row_version)


async def disputes(call: Call) -> Answer:
    query = call.query
    found = await claims.disputes(
        call.c, call.actor, query.last, query.limit + 1, _now(), overdue=query.overdue
    )
    return Answer(page_of(found, query.limit, lambda one: (one.id,)))


async def file(call: Call) -> Answer:
    made = await claims.file(call.c, call.actor, call.body, call.site.terms, _now())
    return Answer(made, 201, made.row_version, {"Location": f"/api/v1/disputes/{made.id}"})


async def dispute(call: Call) -> Answer:
    found = await claims.dispute(call.c, call.path["id"], _now())
    return Answer(found, 0, found.row_version)


async def decide(call: Call) -> Answer:
    old = await claims.dispute(call.c, call.path["id"], _now())
    call.unchanged(old.row_version)
    found = await claims.decide(call.c, call.actor, old, call.body, _now())
    return Answer(found, 0, found.row_version)


ENDPOINTS = (
    Endpoint(
        "GET", "/allocations", PORTS, "read", Words("号段分配", "base ports given to providers"),
        allocations, query=Paging, answer=Page[Allocation],
    ),
    Endpoint(
        "POST", "/allocations", frozenset({"carrier"}), "write", Words("分配号段", "give a base port"),
        allocate, body=NewAllocation, answer=Allocation, status=201,
        problems=frozenset({"already_filed", "exists"}), key="optional",
        example={"number": "10690", "provider": "SHOP"},
    ),
    Endpoint(
        "GET", "/allocations/{id}", PORTS, "read", Words("一项号段分配", "one allocation"), allocation,
        answer=Allocation, versioned=True,
    ),
    Endpoint(
        "PATCH", "/allocations/{id}", frozenset({"carrier"}), "write",
        Words("变更号段分配", "change when it ends"), change_allocation,
        body=AllocationChange, answer=Allocation, versioned=True,
        problems=frozenset({"already_filed", "exists"}), example={"valid_until": "2027-12-31T00:00:00+08:00"},
    ),
    Endpoint(
        "GET", "/disputes", SIDES, "read", Words("号码争议", "disputes over numbers"), disputes,
        query=DuePaging, answer=Page[Dispute],
    ),
    Endpoint(
        "POST", "/disputes", frozenset({"institution"}), "write",
        Words("对已登记号码提出争议", "dispute what is filed already"), file,
        body=NewDispute, answer=Dispute, status=201, problems=frozenset({"exists"}), key="optional",
        example={"number": "10690001", "grounds": "本行自 2019 年使用"},
    ),
    Endpoint(
        "GET", "/disputes/{id}", SIDES, "read", Words("一项争议", "one dispute"), dispute,
        answer=Dispute, versioned=True,
    ),
    Endpoint(
        "POST", "/disputes/{id}/decide", frozenset({"regulator"}), "write",
        Words("裁定争议", "decide"), decide, body=Decision, answer=Dispute,
        problems=frozenset({"wrong_state", "changed_meanwhile", "exists"}),
        example={"decision": "rejected", "reason": "证据不足"},
    ),
)  # fmt: skip
