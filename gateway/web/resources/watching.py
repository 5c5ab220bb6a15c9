"""What a regulator must have seen: alarms, and imports that broke the glass."""

from pydantic import Field

from gateway.errors import Words
from gateway.registry import alarms
from gateway.registry.alarms import Alarm, ImportRun
from gateway.web.api import Answer, Call, Endpoint, Page, Paging, page_of
from gateway.web.resources.supervision import REGULATOR, WATCHERS

READERS = WATCHERS | {"admin"}


class UnseenPaging(Paging):
    unseen: bool = Field(False, description="only what nobody has acknowledged")


class RunPaging(UnseenPaging):
    break_glass: bool = Field(False, description="only imports that broke the glass")


async def list_alarms(call: Call) -> Answer:
    query: UnseenPaging = call.query
    rows = await alarms.page(call.c, after=query.last, limit=query.limit + 1, unseen=query.unseen)
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def acknowledge_alarm(call: Call) -> Answer:
    await alarms.acknowledge(call.c, call.actor, "alarms", call.path["id"])
    return Answer()


async def list_runs(call: Call) -> Answer:
    query: RunPaging = call.query
    rows = await alarms.runs(
        call.c,
        after=query.last,
        limit=query.limit + 1,
        broken_glass=query.break_glass,
        unseen=query.unseen,
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def acknowledge_run(call: Call) -> Answer:
    await alarms.acknowledge(call.c, call.actor, "import_runs", call.path["id"])
    return Answer()


ENDPOINTS = (
    Endpoint(
        "GET", "/alarms", READERS, "read", Words("告警", "alarms"), list_alarms,
        query=UnseenPaging, answer=Page[Alarm],
    ),
    Endpoint(
        "POST", "/alarms/{id}/acknowledge", REGULATOR, "write", Words("确认告警", "say that it was seen"),
        acknowledge_alarm, status=204, problems=frozenset({"wrong_state"}),
    ),
    Endpoint(
        "GET", "/import-runs", READERS, "read", Words("导入记录", "imports"), list_runs,
        query=RunPaging, answer=Page[ImportRun],
    ),
    Endpoint(
        "POST", "/import-runs/{id}/acknowledge", REGULATOR, "write",
        Words("确认应急导入", "say that a broken glass was seen"), acknowledge_run,
        status=204, problems=frozenset({"wrong_state"}),
    ),
)  # fmt: skip
