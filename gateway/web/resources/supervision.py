"""Supervision: the blacklist and penalties."""

from datetime import UTC, datetime

from pydantic import Field, JsonValue

from gateway.errors import Words
from gateway.registry import bans, penalties
from gateway.registry.fields import Body
from gateway.web.api import EVERYBODY, Answer, Call, Endpoint, Page, Paging, Query, page_of

REGULATOR = frozenset({"regulator"})
WATCHERS = frozenset({"regulator", "auditor"})
HOLDERS = frozenset({"institution", "agency", "provider"})
READERS = EVERYBODY - {"admin"}


class Reason(Body):
    reason: str = Field(min_length=1, max_length=1000, pattern=r"\S")


class BanPaging(Paging):
    number: str = Field("", max_length=40, description="entries that cover it or begin with it")
    removed: bool = Field(False, description="entries that were removed, too")


class DryRun(Query):
    dry_run: bool = Field(False, description="only say what it would hit")


class PenaltyPaging(Paging):
    institution: str = Field("", max_length=40, description="code")
    overdue: bool = Field(False, description="only what is overdue")


def _now() -> datetime:
    return datetime.now(UTC)


async def list_bans(call: Call) -> Answer:
    query: BanPaging = call.query
    rows = await bans.page(
        call.c, after=query.last, limit=query.limit + 1, number=query.number, removed=query.removed
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def add_ban(call: Call) -> Answer:
    if call.query.dry_run:
        return Answer(await bans.look(call.c, call.body), 200)
    ban, new = await bans.add(call.c, call.actor, call.body)
    return Answer(ban, 201 if new else 200, ban.row_version, {"Location": f"/api/v1/blacklist/{ban.id}"})


async def get_ban(call: Call) -> Answer:
    return Answer(await bans.get(call.c, call.path["id"]))


async def confirm_ban(call: Call) -> Answer:
    return Answer(await bans.confirm(call.c, call.actor, call.path["id"]))


async def propose_removal(call: Call) -> Answer:
    return Answer(await bans.propose_removal(call.c, call.actor, call.path["id"], call.body.reason))


async def confirm_removal(call: Call) -> Answer:
    return Answer(await bans.confirm_removal(call.c, call.actor, call.path["id"]))


async def withdraw_ban(call: Call) -> Answer:
    return Answer(await bans.withdraw(call.c, call.actor, call.path["id"]))


async def list_penalties(call: Call) -> Answer:
    query: PenaltyPaging = call.query
    rows = await penalties.page(
        call.c,
        call.site.terms,
        _now(),
        after=query.last,
        limit=query.limit + 1,
        institution=query.institution,
        overdue=query.overdue,
    )
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def impose_penalty(call: Call) -> Answer:
    found = await penalties.impose(call.c, call.actor, call.body, call.site.terms, _now())
    return Answer(found, headers={"Location": f"/api/v1/penalties/{found.id}"})


async def get_penalty(call: Call) -> Answer:
    return Answer(await penalties.get(call.c, call.path["id"], call.site.terms, _now()))


async def lift_penalty(call: Call) -> Answer:
    identity, reason = call.path["id"], call.body.reason
    return Answer(await penalties.lift(call.c, call.actor, identity, reason, call.site.terms, _now()))


_BAN: JsonValue = {
    "number": "10670001",
    "is_prefix": False,
    "reason": "冒充银行诈骗",
    "case_reference": "C-2026-17",
}
_TWO_PERSONS = frozenset({"same_person", "no_identity", "wrong_state"})
_PENALTY: JsonValue = {"institution": "AGENT", "kind": "suspension", "cause": "无委托催收"}

ENDPOINTS = (
    Endpoint(
        "GET", "/blacklist", READERS, "read", Words("黑名单", "the blacklist"), list_bans,
        query=BanPaging, answer=Page[bans.Ban],
    ),
    Endpoint(
        "POST", "/blacklist", REGULATOR, "write",
        Words("列入黑名单；dry_run 只说明影响", "ban; with dry_run only say what it would hit"), add_ban,
        body=bans.NewBan, query=DryRun, answer=bans.Ban | bans.Hits, status=201, key="optional",
        problems=frozenset({"protected_number", "exists"}), example=_BAN,
        statuses={200: Words("已在名单中，或仅说明影响", "it stood already, or what it would hit")},
    ),
    Endpoint(
        "GET", "/blacklist/{id}", READERS, "read", Words("黑名单条目", "one entry"), get_ban, answer=bans.Ban
    ),
    Endpoint(
        "POST", "/blacklist/{id}/confirm", REGULATOR, "write",
        Words("第二人确认待确认事项", "the second person agrees to what waits"), confirm_ban,
        answer=bans.Ban, problems=_TWO_PERSONS,
    ),
    Endpoint(
        "POST", "/blacklist/{id}/removal", REGULATOR, "write",
        Words("提请移出黑名单", "propose its removal"), propose_removal,
        body=Reason, answer=bans.Ban, problems=frozenset({"wrong_state", "no_identity"}),
        example={"reason": "误列"},
    ),
    Endpoint(
        "POST", "/blacklist/{id}/removal/confirm", REGULATOR, "write",
        Words("另一人确认移出", "another person confirms its removal"), confirm_removal,
        answer=bans.Ban, problems=_TWO_PERSONS,
    ),
    Endpoint(
        "POST", "/blacklist/{id}/withdraw", REGULATOR, "write",
        Words("添加人 30 分钟内撤回", "its author withdraws it within 30 minutes"), withdraw_ban,
        answer=bans.Ban, problems=frozenset({"entry_kept", "wrong_state"}),
    ),
    Endpoint(
        "GET", "/penalties", WATCHERS | HOLDERS, "read", Words("处罚", "penalties"), list_penalties,
        query=PenaltyPaging, answer=Page[penalties.Penalty],
    ),
    Endpoint(
        "POST", "/penalties", REGULATOR, "write",
        Words("处罚：罚款、停用（立即生效）", "a fine, or a suspension, which holds at once"), impose_penalty,
        body=penalties.NewPenalty, answer=penalties.Penalty, status=201, key="optional", example=_PENALTY,
    ),
    Endpoint(
        "GET", "/penalties/{id}", WATCHERS | HOLDERS, "read", Words("一项处罚", "one penalty"), get_penalty,
        answer=penalties.Penalty,
    ),
    Endpoint(
        "POST", "/penalties/{id}/lift", REGULATOR, "write", Words("解除处罚", "lift a penalty"), lift_penalty,
        body=Reason, answer=penalties.Penalty, problems=frozenset({"wrong_state"}),
        example={"reason": "整改完成"},
    ),
)  # fmt: skip
