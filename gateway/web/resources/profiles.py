"""Profiles: versions, what they would change, their activation by two persons; and the rules in force."""

import datetime
import time
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.errors import Words
from gateway.policy.outline import Line, outline
from gateway.policy.profile import Profile
from gateway.registry import profiles
from gateway.registry.fields import Moment
from gateway.web.api import EVERYBODY, Answer, Call, Endpoint, Page, Paging, Query, page_of
from gateway.web.resources.supervision import REGULATOR, DryRun

Mode = Literal["off", "observe", "enforce"]


class RuleLine(BaseModel):
    """One rule of a profile."""

    reason: str
    words: str
    modes: dict[str, Mode] = Field(description="now, by purpose")
    own: dict[str, Mode] = Field(description="of sub-codes that are stricter now than all of these")
    later: dict[str, Mode] = Field(description="from `since` on, where that is a date to come")
    since: datetime.date | None
    days_left: int
    numbers: dict[str, JsonValue] = Field(description="the rule's own numbers, as the profile writes them")
    source: str = Field(description="the article it stands on")


class Holding(BaseModel):
    """The profile that holds now: one that was activated, or the file of the node that is asked; and what
    waits for a second person or is planned (`open`)."""

    origin: Literal["registry", "node"]
    name: str
    digest: str
    valid_from: Moment | None = Field(description="null: the node's own file")
    open: list[profiles.Activation]
    overrides: list[profiles.Activation] = Field(description="in force for one institution or number alone")
    rules: list[RuleLine]


class Shown(profiles.Version):
    """One version in full."""

    text: str
    rules: list[RuleLine]
    changes: list[profiles.Difference] = Field(description="against the profile that holds now")
    activations: list[profiles.Activation] = Field(description="of this name, the newest first")


class Which(Query):
    digest: str = Field(
        "", pattern=profiles.DIGEST, description="which version; empty: the newest, or what is shipped"
    )


async def list_versions(call: Call) -> Answer:
    query: Paging = call.query
    after = query.last if query.after else None
    rows = await profiles.page(call.c, after=after, limit=query.limit + 1)
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def get_rules(call: Call) -> Answer:
    return Answer(await holding_of(call))


async def get_version(call: Call) -> Answer:
    name = call.path["name"]
    version, text, profile = await profiles.version(call.c, name, call.query.digest)
    _, current = await _current(call)
    return Answer(
        Shown(
            **version.model_dump(),
            text=text,
            rules=lines_of(profile, call),
            changes=profiles.changed(current.content, profile.content),
            activations=await profiles.activations(call.c, name),
        )
    )


async def add_version(call: Call) -> Answer:
    if call.query.dry_run:
        _, current = await _current(call)
        return Answer(await profiles.look(call.c, call.body, current.content), 200)
    version, new = await profiles.add(call.c, call.actor, call.body)
    place = f"/api/v1/profiles/{version.name}?digest={version.digest}"
    return Answer(version, 201 if new else 200, headers={"Location": place})


async def activate(call: Call) -> Answer:
    _, current = await _current(call)
    return Answer(await profiles.propose(call.c, call.actor, call.path["name"], call.body, current))


async def confirm(call: Call) -> Answer:
    return Answer(await profiles.confirm(call.c, call.actor, call.path["name"], call.body.activation))


async def holding_of(call: Call) -> Holding:
    """What holds now, with all rules."""
    activation, profile = await _current(call)
    return Holding(
        origin="node" if activation is None else "registry",
        name=profile.name,
        digest=profile.digest,
        valid_from=activation.valid_from if activation is not None else None,
        open=await profiles.activations(call.c, states=("waiting", "planned")),
        overrides=await profiles.activations(call.c, states=("in_force",), overrides=True),
        rules=lines_of(profile, call),
    )


async def _current(call: Call) -> tuple[profiles.Activation | None, Profile]:
    found = await profiles.in_force(call.c)
    return found if found is not None else (None, call.site.in_force.own)


def lines_of(profile: Profile, call: Call) -> list[RuleLine]:
    """Every rule, in the language of the request."""
    return [_said(line, zh=call.zh) for line in outline(profile, time.time_ns() // 1_000_000)]


def _said(line: Line, *, zh: bool) -> RuleLine:
    words, source = (said.zh if zh else said.en for said in (line.words, line.source))
    return RuleLine(**(line._asdict() | {"words": words, "source": source}))


_TEXT = 'extends = "zhejiang"\n[rules.consent_missing]\nmode = { marketing = "enforce" }\nfrom = 2030-01-01\n'
_VERSION: JsonValue = {"name": "zhejiang-2030", "text": _TEXT, "note": "同意记录满一年后执行"}
_PROBLEMS = frozenset({"wrong_state", "no_identity"})

ENDPOINTS = (
    Endpoint(
        "GET", "/profiles", EVERYBODY, "read",
        Words("规则档案：随附的与已存的各版本", "profiles: what is shipped, and stored versions"),
        list_versions,
        query=Paging, answer=Page[profiles.Version],
    ),
    Endpoint(
        "GET", "/rules", EVERYBODY, "read",
        Words("现行规则：状态、依据、剩余天数", "the rules in force: modes, sources, days left"), get_rules,
        answer=Holding,
    ),
    Endpoint(
        "POST", "/profiles", REGULATOR, "write",
        Words("存入一个版本；dry_run 只检查并说明变化", "store a version; dry_run: only what it changes"),
        add_version, body=profiles.NewVersion, query=DryRun, answer=profiles.Version | profiles.Looked,
        status=201, key="optional", example=_VERSION,
        statuses={200: Words("已有相同内容，或仅检查", "it stood already, or was only checked")},
    ),
    Endpoint(
        "GET", "/profiles/{name}", EVERYBODY, "read",
        Words("一个版本：原文、规则、与现行的差异", "a version: text, rules, what it changes"),
        get_version, query=Which, answer=Shown,
    ),
    Endpoint(
        "POST", "/profiles/{name}/activate", REGULATOR, "write",
        Words(
            "提议启用（两人之一）；另一人提出同样内容即为确认",
            "propose that it hold (the first of two persons); the same from another person confirms it",
        ),
        activate,
        body=profiles.Proposal, answer=profiles.Activation, problems=_PROBLEMS | {"exists"},
        example={"reason": "省通知2026年修订"},
    ),
    Endpoint(
        "POST", "/profiles/{name}/activate/confirm", REGULATOR, "write",
        Words("另一人确认启用", "another person confirms it"), confirm,
        body=profiles.Confirmation, answer=profiles.Activation, problems=_PROBLEMS | {"same_person"},
        example={"activation": 1},
    ),
)  # fmt: skip
