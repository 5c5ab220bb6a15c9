"""Attempts by HTTP: call platforms, SBCs and HTTP senders ask before they send or call, and it is recorded.

Judged by the worker that owns the account (gateway/direct.py), out of this node's replica: the database is
not asked. The same Idempotency-Key again is the same attempts.
"""

import asyncio
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from gateway.direct import Answered, Ended, Item, Press, Told, owner
from gateway.errors import NotReady, Problem, Words
from gateway.model import SMS, VOICE, Account, AccountKey, Reason
from gateway.policy.words import REASONS
from gateway.registry.acting import Actor
from gateway.registry.fields import Body
from gateway.registry.snapshot import Snapshot
from gateway.web.api import ALTERNATIVES, Answer, Call, Endpoint
from gateway.web.problems import Invalid, Wrong

ASKERS = frozenset({"institution", "agency", "provider", "carrier"})
MOST = 100
"""Attempts of one request."""

CHANNELS = {"sms": SMS, "voice": VOICE}
PROTOCOLS = {
    "sms": ("http", "cmpp", "sgip", "smgp", "smpp"),
    "voice": ("http", "sip", "cmpp", "sgip", "smgp", "smpp"),
}
"""In which order an account is looked for when its protocol is not named."""


class NewAttempt(Body):
    """One SMS to one recipient, or one call, that somebody is about to send."""

    channel: Literal["sms", "voice"]
    account: str = Field(
        min_length=1, max_length=100, description="the login, or protocol:login", examples=["900001"]
    )
    source: str = Field(
        min_length=1, max_length=40, description="the number it is shown with", examples=["10690001"]
    )
    destination: str = Field(
        min_length=1, max_length=40, description="the subscriber", examples=["13800000000"]
    )
    text: str = Field("", max_length=4000, description="of an SMS, signature and all")


NewAttempts = Annotated[
    Annotated[NewAttempt, Tag(ALTERNATIVES[0])]
    | Annotated[list[NewAttempt], Field(min_length=1, max_length=MOST), Tag(ALTERNATIVES[1])],
    Discriminator(lambda value: ALTERNATIVES[isinstance(value, list)]),
]


class Found(BaseModel):
    """A rule that found fault; only an enforced one refuses."""

    reason: str
    sub: str
    enforced: bool
    words: str = Field(description="what the reason means, in the caller's language")


class JudgedAttempt(BaseModel):
    """What became of an attempt; it is on record under its id."""

    id: str = Field(description="of the record", examples=["019ab0c4d7d67e3f8000000000000001"])
    verdict: Literal["pass", "refuse"]
    reason: str = Field(description="why it is refused; empty when it passes")
    reasons: list[str] = Field(description="of all rules that found fault, observed ones too")
    findings: list[Found] = Field(description="the same, each with what is known of it")
    registry_version: int


async def attempts(call: Call) -> Answer:
    asked = call.body if isinstance(call.body, list) else [call.body]
    view = call.site.view()
    items = [
        _item(call, view, attempt, place if isinstance(call.body, list) else None)
        for place, attempt in enumerate(asked)
    ]
    count = call.site.workers.count
    parts: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        parts.setdefault(owner(item.account, count), []).append(place)
    asks = [ask(call, worker, [items[place] for place in places]) for worker, places in parts.items()]
    told = await asyncio.gather(*asks) if len(asks) > 1 else [await asks[0]]  # a task takes turns of the loop
    answers: dict[int, Answered] = {}
    for places, answer in zip(parts.values(), told, strict=True):
        answers.update(zip(places, answer.answers, strict=True))
    judged = [_judged(answers[place], call.zh) for place in range(len(items))]
    return Answer(judged if isinstance(call.body, list) else judged[0])


async def ask(
    call: Call, worker: int, items: list[Item], press: Press | None = None, ended: Ended | None = None
) -> Told:
    """What a worker says of this request's own attempts, key press or end of a call. Raises Problem `busy`,
    `idempotency_key_reused`."""
    # of one request each worker has its own part, and all see the keys of all
    who = f"{call.actor.user}\0{call.key}\0{worker}".encode()
    try:
        told = await call.site.workers.ask(
            worker, blake2b(who, digest_size=16).digest(), call.digest[:16], items, press, ended
        )
    except NotReady as error:
        raise Problem("busy", Words(f"工作进程暂不可用：{error}", f"not ready: {error}")) from None
    if told.error == "reused":
        raise Problem(
            "idempotency_key_reused",
            Words("此 Idempotency-Key 已用于另一请求", "this key was used for another request"),
            field="Idempotency-Key",
            value=call.key,
            expected=Words("每个请求使用新的值", "a new one for each request"),
        )
    if told.error:
        raise Problem("busy", Words("未记录，请重试", "not recorded; try again"))
    return told


def _words(reason: str, zh: bool) -> str:
    words = REASONS[Reason(reason)]
    return words.zh if zh else words.en


def _item(call: Call, view: Snapshot, attempt: NewAttempt, place: int | None) -> Item:
    """The attempt under the account it names; the same problem for a missing account and a foreign one."""
    key = own_account(call, view, attempt.channel, attempt.account, place).key
    return Item(
        key.carrier,
        key.protocol,
        key.account,
        CHANNELS[attempt.channel],
        attempt.source,
        attempt.destination,
        attempt.text,
    )


def own_account(call: Call, view: Snapshot, channel: str, name: str, place: int | None = None) -> Account:
    """The account of the caller's own that `name` means, in the replica. Invalid for any other."""
    carrier, actor = call.site.config.node.carrier, call.actor
    protocol, _, login = name.partition(":")
    named = protocol in PROTOCOLS["voice"]  # else it is a trunk's address, with its port
    for one in (protocol,) if named else PROTOCOLS[channel]:
        account = view.account(AccountKey(carrier, one, login if named else name))
        if account is not None and _is_own(actor, account, carrier):
            return account
    raise Invalid(
        [
            Wrong(
                "account" if place is None else f"{place}.account",
                name,
                Words("没有这一接入账号", "there is no such account for you"),
                Words("本机构在本运营商登记的账号", "an account of your own, filed with this carrier"),
            )
        ]
    )


def _is_own(actor: Actor, account: Account, carrier: str) -> bool:
    """Whether an account of this node's carrier is the actor's, or one of all those that he watches."""
    if actor.role == "carrier":
        return actor.carrier == carrier
    if actor.role in ("regulator", "auditor"):
        return not actor.territory
    return account.holder == actor.institution


def _judged(answer: Answered, zh: bool) -> JudgedAttempt:
    return JudgedAttempt(
        id=answer.id.hex(),
        verdict="refuse" if answer.reason else "pass",
        reason=answer.reason,
        reasons=[reason for reason, _, _ in answer.findings],
        findings=[
            Found(reason=reason, sub=sub, enforced=enforced, words=_words(reason, zh))
            for reason, sub, enforced in answer.findings
        ],
        registry_version=answer.registry_version,
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        "/attempts",
        ASKERS,
        "attempts",
        Words("判定并记录一次或一批发送、呼叫", "judge and record attempts, one or up to 100"),
        attempts,
        body=NewAttempts,
        answer=JudgedAttempt | list[JudgedAttempt],
        problems=frozenset({"busy", "idempotency_key_reused"}),
        key="required",
        rate="attempt",
        connected=False,
        example={
            "channel": "sms",
            "account": "900001",
            "source": "10690001",
            "destination": "13800000000",
            "text": "【示例银行】新客理财专享，拒收请回复R",
        },
    ),
)
