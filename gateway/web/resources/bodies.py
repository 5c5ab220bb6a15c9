"""Institutions, mandates, accounts, consents, refusals, other replies: what filings and verdicts refer to."""

from typing import Literal

from pydantic import Field

from gateway.errors import Words
from gateway.registry import bodies, lines, replies, wishes
from gateway.registry.bodies import (
    Institution,
    InstitutionChange,
    Mandate,
    MandateChange,
    NewInstitution,
    NewMandate,
)
from gateway.registry.lines import Account, AccountChange, AccountNumber, NewAccount
from gateway.registry.replies import Decision, Reply
from gateway.registry.wishes import (
    Consent,
    ConsentChange,
    Lifting,
    NewConsent,
    NewRefusal,
    Refusal,
    RefusalsOf,
)
from gateway.web.api import EVERYBODY, Answer, Call, Endpoint, Page, Paging, page_of
from gateway.web.resources.filing import Reasoned
from gateway.web.resources.judging import watch

CLERKS = frozenset({"carrier", "regulator"})
BUSINESS = EVERYBODY - {"admin"}
MANDATES = frozenset({"regulator", "auditor", "carrier", "institution", "agency"})
WATCHERS = frozenset({"regulator", "auditor", "institution"})
OWN = frozenset({"institution"})
CARRIER = frozenset({"carrier"})

Row = Institution | Mandate | Account | Consent | Refusal | Reply


class ReplyPaging(Paging):
    kind: Literal["", "ambiguous", "accept", "wrong_person"] = ""
    undecided: Literal["", "true", "false", "1", "0"] = Field("", description="only what nobody has decided")


def made(path: str, row: Row) -> Answer:
    return Answer(row, 201, row.row_version, {"Location": f"/api/v1/{path}/{row.id}"})


def shown(row: Row) -> Answer:
    return Answer(row, 0, row.row_version)


async def institutions(call: Call) -> Answer:
    found = await bodies.institutions(call.c, call.query.last, call.query.limit + 1)
    return Answer(page_of(found, call.query.limit, lambda one: (one.id,)))


async def register_institution(call: Call) -> Answer:
    return made("institutions", await bodies.register(call.c, call.actor, call.body))


async def institution(call: Call) -> Answer:
    return shown(await bodies.institution(call.c, call.path["id"]))


async def change_institution(call: Call) -> Answer:
    old = await bodies.institution(call.c, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await bodies.change_institution(call.c, call.actor, old, call.body))


async def mandates(call: Call) -> Answer:
    found = await bodies.mandates(call.c, call.actor, call.query.last, call.query.limit + 1)
    return Answer(page_of(found, call.query.limit, lambda one: (one.id,)))


async def entrust(call: Call) -> Answer:
    return made("mandates", await bodies.entrust(call.c, call.actor, call.body))


async def mandate(call: Call) -> Answer:
    return shown(await bodies.mandate(call.c, call.path["id"]))


async def change_mandate(call: Call) -> Answer:
    old = await bodies.mandate(call.c, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await bodies.change_mandate(call.c, call.actor, old, call.body))


async def revoke_mandate(call: Call) -> Answer:
    old = await bodies.mandate(call.c, call.path["id"])
    call.unchanged(old.row_version)
    reason = call.body.reason if call.body else ""
    return shown(await bodies.revoke_mandate(call.c, call.actor, old, reason))


async def accounts(call: Call) -> Answer:
    found = await lines.accounts(call.c, call.query.last, call.query.limit + 1)
    return Answer(page_of(found, call.query.limit, lambda one: (one.id,)))


async def register_account(call: Call) -> Answer:
    return made("accounts", await lines.register(call.c, call.actor, call.body))


async def account(call: Call) -> Answer:
    return shown(await lines.account(call.c, call.path["id"]))


async def change_account(call: Call) -> Answer:
    old = await lines.account(call.c, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await lines.change(call.c, call.actor, old.id, call.body))


async def account_numbers(call: Call) -> Answer:
    found, version = await lines.numbers(call.c, call.path["id"])
    return Answer(found, 0, version)


async def show_numbers(call: Call) -> Answer:
    made, version = await lines.show(call.c, call.actor, call.path["id"], call.body, call.unchanged)
    return Answer(made, 0, version)


async def consents(call: Call) -> Answer:
    query = call.query
    found = await wishes.consents(call.c, call.actor, call.site.key, query.last, query.limit + 1)
    return Answer(page_of(found, query.limit, lambda one: (one.id,)))


async def agree(call: Call) -> Answer:
    return made("consents", await wishes.agree(call.c, call.actor, call.site.key, call.body))


async def consent(call: Call) -> Answer:
    return shown(await wishes.consent(call.c, call.site.key, call.path["id"]))


async def change_consent(call: Call) -> Answer:
    old = await wishes.consent(call.c, call.site.key, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await wishes.change_consent(call.c, call.actor, call.site.key, old, call.body))


async def refusals(call: Call) -> Answer:
    query = call.query
    found = await wishes.refusals(call.c, call.actor, call.site.key, query.last, query.limit + 1)
    return Answer(page_of(found, query.limit, lambda one: (one.id,)))


async def refuse(call: Call) -> Answer:
    return made("refusals", await wishes.refuse(call.c, call.actor, call.site.key, call.body))


async def refusal(call: Call) -> Answer:
    return shown(await wishes.refusal(call.c, call.site.key, call.path["id"]))


async def find_refusals(call: Call) -> Answer:
    await watch(call, (call.body.subscriber,))
    return Answer(await wishes.find_refusals(call.c, call.actor, call.site.key, call.body))


async def lift_refusal(call: Call) -> Answer:
    old = await wishes.refusal(call.c, call.site.key, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await wishes.lift(call.c, call.actor, call.site.key, old.id, call.body))


async def list_replies(call: Call) -> Answer:
    query: ReplyPaging = call.query
    found = await replies.replies(
        call.c,
        call.actor,
        call.site.key,
        query.last,
        query.limit + 1,
        kind=query.kind,
        undecided=query.undecided in ("true", "1"),
    )
    return Answer(page_of(found, query.limit, lambda one: (one.id,)))


async def get_reply(call: Call) -> Answer:
    return shown(await replies.reply(call.c, call.site.key, call.path["id"]))


async def decide_reply(call: Call) -> Answer:
    old = await replies.reply(call.c, call.site.key, call.path["id"])
    call.unchanged(old.row_version)
    return shown(await replies.decide(call.c, call.actor, call.site.key, old, call.body))


EXISTS = frozenset({"exists"})
ENDPOINTS = (
    Endpoint(
        "GET", "/institutions", BUSINESS, "read", Words("机构", "institutions"), institutions,
        query=Paging, answer=Page[Institution],
    ),
    Endpoint(
        "POST", "/institutions", CLERKS, "write", Words("登记机构", "register an institution"),
        register_institution, body=NewInstitution, answer=Institution, status=201, problems=EXISTS,
        key="optional", example={"code": "ZHSLYH", "name": "示例银行", "kind": "bank", "region": "浙江省"},
    ),
    Endpoint(
        "GET", "/institutions/{id}", BUSINESS, "read", Words("一个机构", "one institution"), institution,
        answer=Institution, versioned=True,
    ),
    Endpoint(
        "PATCH", "/institutions/{id}", CLERKS, "write",
        Words("变更机构；类型、地区和恢复营业仅由监管人员变更",
              "change an institution; its kind, region and being open again: a regulator alone"),
        change_institution, body=InstitutionChange, answer=Institution, versioned=True, problems=EXISTS,
        example={"licence_until": "2027-12-31T00:00:00+08:00"},
    ),
    Endpoint(
        "GET", "/mandates", MANDATES, "read", Words("委托授权", "mandates"), mandates,
        query=Paging, answer=Page[Mandate],
    ),
    Endpoint(
        "POST", "/mandates", OWN, "write", Words("登记委托", "entrust an agency"), entrust,
        body=NewMandate, answer=Mandate, status=201, problems=EXISTS, key="optional",
        example={"agency": "AGENT", "purposes": ["collection"]},
    ),
    Endpoint(
        "GET", "/mandates/{id}", MANDATES, "read", Words("一份委托", "one mandate"), mandate,
        answer=Mandate, versioned=True,
    ),
    Endpoint(
        "PATCH", "/mandates/{id}", OWN, "write", Words("变更委托", "change a mandate"), change_mandate,
        body=MandateChange, answer=Mandate, versioned=True, problems=frozenset({"exists", "wrong_state"}),
        example={"valid_until": "2027-12-31T00:00:00+08:00"},
    ),
    Endpoint(
        "POST", "/mandates/{id}/revoke", OWN, "write", Words("撤销委托", "revoke for good"), revoke_mandate,
        body=Reasoned, answer=Mandate, optional=True,
        problems=frozenset({"wrong_state", "changed_meanwhile"}), example={"reason": "合同终止"},
    ),
    Endpoint(
        "GET", "/accounts", BUSINESS, "read", Words("接入账号", "accounts on the wire"), accounts,
        query=Paging, answer=Page[Account],
    ),
    Endpoint(
        "POST", "/accounts", CARRIER, "write", Words("登记账号", "register an account"), register_account,
        body=NewAccount, answer=Account, status=201, problems=EXISTS, key="optional",
        example={"protocol": "cmpp", "account": "900009", "holder": "BANK"},
    ),
    Endpoint(
        "GET", "/accounts/{id}", BUSINESS, "read", Words("一个账号", "one account"), account,
        answer=Account, versioned=True,
    ),
    Endpoint(
        "PATCH", "/accounts/{id}", CARRIER, "write", Words("变更账号", "change an account"), change_account,
        body=AccountChange, answer=Account, versioned=True, problems=EXISTS, example={"max_connections": 4},
    ),
    Endpoint(
        "GET", "/accounts/{id}/numbers", BUSINESS, "read",
        Words("账号可用号码", "what an account may show; none: every number of its holder"), account_numbers,
        answer=list[AccountNumber], versioned=True,
    ),
    Endpoint(
        "PUT", "/accounts/{id}/numbers", CARRIER, "write",
        Words("设置账号可用号码", "replace the whole list"), show_numbers,
        body=list[AccountNumber], answer=list[AccountNumber], versioned=True, problems=EXISTS,
        example=[{"number": "10690001"}],
    ),
    Endpoint(
        "GET", "/consents", WATCHERS, "read", Words("同意", "consents"), consents,
        query=Paging, answer=Page[Consent],
    ),
    Endpoint(
        "POST", "/consents", OWN, "write", Words("登记同意", "keep a consent"), agree,
        body=NewConsent, answer=Consent, status=201, problems=EXISTS, key="optional",
        example={"subscriber": "13800000000", "source": "app", "at": "2026-01-31T09:00:00+08:00"},
    ),
    Endpoint(
        "GET", "/consents/{id}", WATCHERS, "read", Words("一项同意", "one consent"), consent,
        answer=Consent, versioned=True,
    ),
    Endpoint(
        "PATCH", "/consents/{id}", OWN, "write", Words("变更同意", "change its end or proof"), change_consent,
        body=ConsentChange, answer=Consent, versioned=True, problems=EXISTS,
        example={"until": "2027-12-31T00:00:00+08:00"},
    ),
    Endpoint(
        "GET", "/refusals", WATCHERS | CARRIER, "read", Words("拒绝接收", "refusals"), refusals,
        query=Paging, answer=Page[Refusal],
    ),
    Endpoint(
        "POST", "/refusals", frozenset({"institution", "regulator"}), "write",
        Words("登记拒绝", "keep a refusal"), refuse,
        body=NewRefusal, answer=Refusal, status=201, problems=EXISTS, key="optional",
        example={"subscriber": "13800000000", "purposes": ["marketing"], "source": "call"},
    ),
    Endpoint(
        "GET", "/refusals/{id}", WATCHERS | CARRIER, "read", Words("一项拒绝", "one refusal"), refusal,
        answer=Refusal, versioned=True,
    ),
    Endpoint(
        "POST", "/refusals/find", WATCHERS, "read",
        Words("查找一名用户的拒绝（须说明事由）", "what one subscriber refused, for a reason"), find_refusals,
        body=RefusalsOf, answer=list[Refusal],
        example={"subscriber": "13800000000", "reason": "CASE-2026-1"},
    ),
    Endpoint(
        "POST", "/refusals/{id}/lift", frozenset({"regulator"}), "write",
        Words("解除误登记的拒绝（用户本人所作须注明案件）",
              "end a refusal that was none; what its subscriber said himself takes a case"), lift_refusal,
        body=Lifting, answer=Refusal, problems=frozenset({"wrong_state", "changed_meanwhile"}),
        example={"reason": "导入有误", "case_reference": "C-1"},
    ),
    Endpoint(
        "GET", "/replies", replies.READERS, "read",
        Words("用户回复（待认定、恢复接收、非本人）", "replies to be decided, and what others did"),
        list_replies, query=ReplyPaging, answer=Page[Reply],
    ),
    Endpoint(
        "GET", "/replies/{id}", replies.READERS, "read", Words("一条用户回复", "one reply"), get_reply,
        answer=Reply, versioned=True,
    ),
    Endpoint(
        "POST", "/replies/{id}", replies.DECIDERS, "write",
        Words("认定含义不明的回复；机构只能认定为拒收", "decide what it meant; an institution: a refusal"),
        decide_reply, body=Decision, answer=Reply, problems=frozenset({"wrong_state", "changed_meanwhile"}),
        example={"decision": "refusal", "reason": "用户表示不愿再收"},
    ),
)  # fmt: skip
