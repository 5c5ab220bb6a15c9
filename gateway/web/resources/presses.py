"""What call platforms tell: at once what a subscriber pressed, afterwards how a call went (contract.md).

A refusal by key press is put into force by the worker that owns the account (gateway/direct.py), for SMS and
calls of the whole institution; the database is not asked. An account speaks for the numbers that it may show,
no others.
"""

import datetime
import time

from pydantic import BaseModel, Field

from gateway.direct import Ended, Press, owner
from gateway.errors import Words
from gateway.model import SMS, VOICE, Account
from gateway.policy.facts import gather, governing
from gateway.policy.sender_rules import account_may_show_number
from gateway.registry.fields import (
    Body,
    Channels,
    Instant,
    Moment,
    NumberText,
    Scope,
    SubscriberText,
    channel_words,
    purpose_words,
)
from gateway.registry.snapshot import Snapshot
from gateway.web.api import Answer, Call, Endpoint
from gateway.web.problems import Invalid, Wrong
from gateway.web.resources.attempts import ASKERS, ask, own_account

MOST_AGO = datetime.timedelta(days=30)
MOST_AHEAD = datetime.timedelta(minutes=5)
"""By how much a platform's clock may be wrong."""
MOST_CALL = 1_000
"""Characters of a Call-ID: elements that hide their topology write long ones."""


class KeyPress(Body):
    """What a subscriber pressed in a call to have no more of them."""

    account: str = Field(
        min_length=1, max_length=100, description="the trunk or login, or protocol:login", examples=["900001"]
    )
    source: NumberText = Field(description="the number that the call showed")
    subscriber: SubscriberText = Field(description="who pressed")
    key: str = Field(pattern="^[0-9*#]{1,8}$", description="what was pressed", examples=["9"])
    at: Instant | None = Field(None, description="when, within the last 30 days; now where it is left out")
    call: str = Field(
        "",
        max_length=MOST_CALL,
        description="the Call-ID of the call, or the id that POST /attempts gave it: without a call that"
        " passed here a person has to confirm the refusal; the same again changes nothing",
    )
    recording: str = Field(
        "", max_length=200, pattern=r"^[!-~]*$", description="where the call can be heard: a reference"
    )


class EndedCall(Body):
    """How a call went that passed here."""

    account: str = Field(
        min_length=1, max_length=100, description="the trunk or login, or protocol:login", examples=["900001"]
    )
    call: str = Field(
        min_length=1,
        max_length=MOST_CALL,
        description="its Call-ID, or the id that POST /attempts gave it",
        examples=["019ab0c4d7d67e3f8000000000000001"],
    )
    source: NumberText = Field(description="the number that the call showed")
    subscriber: SubscriberText = Field(description="whom it called")
    answered: Instant | None = Field(None, description="when somebody took it; left out: nobody did")
    ended: Instant = Field(description="when it ended, within the last 30 days")
    reason: str = Field("", max_length=60, pattern="^[ -~]*$", description="why, in the platform's words")


class NotedCall(BaseModel):
    """The end of a call is on record, as a report on its attempt."""

    attempt: str = Field(description="the id of the call's record")
    answered: bool = Field(description="somebody took it: it counts where answered calls are capped")
    seconds: int = Field(description="from the answer to the end; 0 where there was none")


class KeyRefusal(BaseModel):
    """A refusal that is in force on this node, and on record under its id.

    One that is not `verified`, as no such call has passed here, holds marketing and waits in the queue of
    ambiguous replies for a person.
    """

    id: str = Field(description="of the record", examples=["019ab0c4d7d67e3f8000000000000001"])
    institution: str = Field(description="whose; empty where nobody has filed the number yet")
    purposes: Scope
    channels: Channels
    at: Moment
    verified: bool = Field(description="it was pressed in a call that passed here")
    attempt: str = Field(description="the id of that call's record; empty where it is not verified")


async def press(call: Call) -> Answer:
    body, view = call.body, call.site.view()
    account = own_account(call, view, "voice", body.account)
    _may_show(call, view, account, body.source)
    at = 0 if body.at is None else _recent(body.at)
    key = account.key
    asked = Press(
        *(key.carrier, key.protocol, key.account, body.source, body.subscriber, body.key, at, body.call),
        body.recording,
    )
    told = await ask(call, owner(key.account, call.site.workers.count), [], asked)
    refused = told.refused
    assert refused is not None
    return Answer(
        KeyRefusal(
            id=refused.id.hex(),
            institution=refused.institution,
            purposes=purpose_words(refused.purposes),
            channels=channel_words(refused.channels),
            at=datetime.datetime.fromtimestamp(refused.at / 1000, datetime.UTC),
            verified=bool(refused.attempt),
            attempt=refused.attempt.hex(),
        )
    )


async def end(call: Call) -> Answer:
    body, view = call.body, call.site.view()
    account = own_account(call, view, "voice", body.account)
    _may_show(call, view, account, body.source)
    answered = 0 if body.answered is None else _recent(body.answered, "answered")
    ended = _recent(body.ended, "ended")
    if answered > ended:
        raise Invalid(
            [
                Wrong(
                    "ended",
                    body.ended.isoformat(),
                    Words("早于接通时间", "before it was answered"),
                    Words("不早于 answered 的时间", "a time not before `answered`"),
                )
            ]
        )
    asked = Ended(body.call, body.source, body.subscriber, answered, ended, body.reason.strip())
    told = await ask(call, owner(account.key.account, call.site.workers.count), [], ended=asked)
    noted = told.noted
    assert noted is not None
    if not noted.attempt:
        raise Invalid(
            [
                Wrong(
                    "call",
                    body.call,
                    Words("本节点没有放行过这一呼叫", "no such call has passed this node"),
                    Words(
                        "已放行呼叫的 Call-ID 或判定编号，主被叫一致",
                        "the Call-ID or the id of a call that passed, with its numbers",
                    ),
                )
            ]
        )
    seconds = (ended - answered) // 1000 if answered else 0
    return Answer(NotedCall(attempt=noted.attempt.hex(), answered=noted.answered, seconds=seconds))


def _may_show(call: Call, view: Snapshot, account: Account, source: str) -> None:
    """Raises Invalid where the account may not show this number: nobody refuses in another's name."""
    now = time.time_ns() // 1_000_000
    channel = VOICE if governing(view.numbers(source), VOICE, now) is not None else SMS
    facts = gather((account.key, source, channel), view, call.site.in_force.at(view, now), now, stale=False)
    if account_may_show_number.judge(facts) is not True:
        raise Invalid(
            [
                Wrong(
                    "source",
                    source,
                    Words("该账号不可使用此号码", "this account may not show this number"),
                    Words("该账号可显示的号码", "a number that the account may show"),
                )
            ]
        )


def _recent(at: datetime.datetime, name: str = "at") -> int:
    """The instant in ms. Raises Invalid when it is too far from now."""
    now = datetime.datetime.now(datetime.UTC)
    if not now - MOST_AGO <= at <= now + MOST_AHEAD:
        raise Invalid(
            [
                Wrong(
                    name,
                    at.isoformat(),
                    Words("时间超出范围", "too long ago, or not yet"),
                    Words("近 30 天内的时间", "a time within the last 30 days"),
                )
            ]
        )
    return int(at.timestamp() * 1000)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/voice/calls",
        ASKERS,
        "attempts",
        Words("登记一次呼叫的接通与结束", "how a call went: when it was answered and when it ended"),
        end,
        body=EndedCall,
        answer=NotedCall,
        status=201,
        problems=frozenset({"busy", "idempotency_key_reused"}),
        key="required",
        rate="attempt",
        connected=False,
        example={
            "account": "900001",
            "call": "019ab0c4d7d67e3f8000000000000001",
            "source": "10690001",
            "subscriber": "13800000000",
            "ended": "2025-11-21T10:00:00+08:00",
        },
    ),
    Endpoint(
        "POST",
        "/voice/refusals",
        ASKERS,
        "attempts",
        Words("登记一次按键拒绝，立即生效", "a refusal by key press, in force at once"),
        press,
        body=KeyPress,
        answer=KeyRefusal,
        status=201,
        problems=frozenset({"busy", "idempotency_key_reused"}),
        key="required",
        rate="attempt",
        connected=False,
        example={
            "account": "900001",
            "source": "10690001",
            "subscriber": "13800000000",
            "key": "9",
            "call": "call-1",
        },
    ),
)
