"""Holds on institutions (agencies and providers, too) and on accounts; a number's are with its filing."""

from functools import partial

from gateway.errors import Words
from gateway.registry import bodies, holds, lines
from gateway.web.api import Answer, Call, Endpoint
from gateway.web.resources.filing import Resumption, Suspension
from gateway.web.resources.supervision import HOLDERS, REGULATOR, WATCHERS

TABLES = {
    "institutions": Words("机构", "an institution, agency or provider"),
    "accounts": Words("账号", "an account on the wire"),
}


async def standing(table: str, call: Call) -> Answer:
    """What stands on a row that the caller sees; `not_found` where it sees none."""
    identity = call.path["id"]
    await (bodies.institution if table == "institutions" else lines.account)(call.c, identity)
    return Answer(await holds.standing(call.c, table, identity))


async def suspend(table: str, call: Call) -> Answer:
    await standing(table, call)
    body = call.body
    await holds.place(
        call.c, call.actor, table, call.path["id"], body.cause, case=body.case_reference, until=body.until
    )
    return await standing(table, call)


async def resume(table: str, call: Call) -> Answer:
    await standing(table, call)
    await holds.lift(call.c, call.actor, table, call.path["id"], call.body.reason, hold=call.body.hold)
    return await standing(table, call)


ENDPOINTS = tuple(
    endpoint
    for table, what in TABLES.items()
    for endpoint in (
        Endpoint(
            "GET", f"/{table}/{{id}}/holds", WATCHERS | HOLDERS, "read",
            Words(f"{what.zh}的现有暂停事由", f"the holds that stand on {what.en}"),
            partial(standing, table), answer=list[holds.Hold],
        ),
        Endpoint(
            "POST", f"/{table}/{{id}}/suspend", REGULATOR, "write",
            Words(f"暂停{what.zh}", f"hold {what.en}"), partial(suspend, table),
            body=Suspension, answer=list[holds.Hold],
            example={"cause": "许可核查中", "case_reference": "C-1"},
        ),
        Endpoint(
            "POST", f"/{table}/{{id}}/resume", REGULATOR, "write",
            Words(f"解除{what.zh}的一项暂停", f"lift one hold on {what.en}"), partial(resume, table),
            body=Resumption, answer=list[holds.Hold], problems=frozenset({"wrong_state"}),
            example={"reason": "核查完毕"},
        ),
    )
)  # fmt: skip
