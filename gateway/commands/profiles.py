"""Versions of profiles by hand: list, show, add, activate, confirm."""

import argparse
import asyncio
import datetime
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway import handed
from gateway.commands import common
from gateway.commands.supervising import REGULATOR
from gateway.commands.working import acting, plain, read
from gateway.errors import Problem, UsageError
from gateway.policy.outline import Line, outline
from gateway.policy.profile import Profile
from gateway.policy.words import MODES
from gateway.registry import profiles

if TYPE_CHECKING:
    from gateway.registry.acting import Actor, Connection


def profile(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    own = handed.profile_of(loaded)
    with common.database(loaded) as dsn:
        if options.doing == "list":
            found, lines = asyncio.run(_list(dsn))
        elif options.doing == "show":
            found, lines = asyncio.run(_show(dsn, options, own))
        else:
            found, lines = asyncio.run(_change(dsn, options, own))
    if options.json:
        print(json.dumps(found, ensure_ascii=False, default=str))
    else:
        print("\n".join(lines))
    return 0


async def _list(dsn: str) -> tuple[Any, list[str]]:
    versions: list[profiles.Version] = []
    async with plain(dsn) as c:
        while some := await profiles.page(c, after=versions[-1].id if versions else None, limit=1000):
            versions += some
        activated = await profiles.activations(c)
    shown = [one.model_dump(mode="json") for one in versions]
    lines = [_listed(one) for one in versions] + [_activated(one) for one in activated]
    acts = [one.model_dump(mode="json") for one in activated]
    return {"versions": shown, "activations": acts}, lines


async def _show(dsn: str, options: argparse.Namespace, own: Profile) -> tuple[Any, list[str]]:
    async with plain(dsn) as c:
        if options.name:
            version, text, found = await profiles.version(c, options.name, options.digest)
            said = f"{version.name} {version.digest} {version.title}"
        else:
            holding = await profiles.in_force(c)
            text, found = "", own
            said = f"{own.name} {own.digest}: 本节点文件 the node's own file"
            if holding is not None:
                activation, found = holding
                _, text, _ = await profiles.version(c, activation.name, activation.digest)
                said = _activated(activation)
    if options.text:
        return {"text": text}, [text]
    rules = outline(found, time.time_ns() // 1_000_000)
    told = {"name": found.name, "digest": found.digest, "rules": [_plain(line) for line in rules]}
    return told, [said, *(line for rule in rules for line in _ruled(rule))]


async def _change(dsn: str, options: argparse.Namespace, own: Profile) -> tuple[Any, list[str]]:
    async with acting(dsn, options.by, REGULATOR) as (c, actor):
        if options.doing == "add":
            return await _add(c, actor, options, own)
        if options.doing == "activate":
            now = time.time_ns() // 1_000_000
            at = common.instant("--from", options.since, now)
            since = datetime.datetime.fromtimestamp(at / 1000, common.SHANGHAI) if options.since else None
            wanted = read(
                profiles.Proposal,
                digest=options.digest,
                institution=options.institution,
                number=options.number,
                valid_from=since,
                reason=options.reason,
            )
            holding = await profiles.in_force(c)
            current = holding[1] if holding is not None else own
            done = await profiles.propose(c, actor, options.name, wanted, current)
        else:
            activation = options.activation or await _waiting(c, options.name)
            done = await profiles.confirm(c, actor, options.name, activation)
        return done.model_dump(mode="json"), [_activated(done)]


async def _add(
    c: "Connection", actor: "Actor", options: argparse.Namespace, own: Profile
) -> tuple[Any, list[str]]:
    try:
        text = options.file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{options.file}: {error}; right would be a TOML file in UTF-8") from None
    new = read(profiles.NewVersion, name=options.name, text=text, note=options.note)
    holding = await profiles.in_force(c)
    try:
        looked = await profiles.look(c, new, (holding[1] if holding is not None else own).content)
    except Problem as problem:
        right = f"; right would be {problem.expected.en}" if problem.expected.en else ""
        raise UsageError(f"{options.file}, {problem.detail.en}{right}（{problem.detail.zh}）") from None
    changes = [f"  {one.place}: {_value(one.before)} → {_value(one.after)}" for one in looked.changes] or [
        "  与现行相同 as what holds now"
    ]
    if options.dry_run:
        return looked.model_dump(mode="json"), [f"{looked.name} {looked.digest} {looked.title}", *changes]
    version, fresh = await profiles.add(c, actor, new)
    said = "已存入 stored" if fresh else "已有相同内容 it was there already"
    return version.model_dump(mode="json"), [f"{version.name} {version.digest} {said}", *changes]


async def _waiting(c: "Connection", name: str) -> int:
    """The id of what waits for its second person."""
    waiting = await profiles.activations(c, name, ("waiting",))
    if len(waiting) == 1:
        return waiting[0].id
    if waiting:
        ids = " or ".join(str(one.id) for one in waiting)
        raise UsageError(f"profile {name!r}: several wait; right would be --activation {ids}")
    raise UsageError(f"profile {name!r}: nothing waits; right would be `profile activate` first")


def _listed(one: profiles.Version) -> str:
    """A version in a line."""
    said = [one.name, f"{one.digest} ", f"{one.title} "]
    if one.shipped:
        said.append("随程序提供 shipped")
    if one.added_at is not None:
        said.append(f"{one.added_by} {one.added_at:%Y-%m-%d}")
    return " ".join(said)


def _value(value: Any) -> str:
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def _activated(one: profiles.Activation) -> str:
    """An activation in a line."""
    begins = one.valid_from.astimezone(common.SHANGHAI)
    since, days = f"{begins:%Y-%m-%d %H:%M:%S}", one.days_left
    words = {
        "waiting": "待另一人确认 waits for another person",
        "withdrawn": "已撤回 withdrawn",
        "planned": f"还有 {days} 天生效 begins in {days} days",
        "in_force": "现行 in force",
        "over": "已被取代 over",
    }[one.state]
    whose = one.institution or one.number
    alone = f" 仅 for {whose} alone" if whose else ""
    persons = one.proposed_by + (f", {one.confirmed_by}" if one.confirmed_by else "")
    return f"#{one.id} {one.name} {one.digest}{alone} {since} {words} ({persons}: {one.reason})"


def _ruled(line: Line) -> Iterator[str]:
    modes = ", ".join(f"{purpose} {mode}" for purpose, mode in line.modes.items())
    later = ""
    if line.since is not None:
        then = ", ".join(f"{purpose} {mode}" for purpose, mode in line.later.items())
        later = f"；{line.since} 起（还有 {line.days_left} 天 days left）: {then}"
    yield f"  {line.words.zh} {line.reason}: {_one(line.modes) or modes}{later}"
    for key, value in line.numbers.items():
        yield f"      {key} = {json.dumps(value, ensure_ascii=False)}"
    if line.source.zh:
        yield f"      {line.source.zh}  {line.source.en}"


def _one(modes: Mapping[str, str]) -> str:
    """The mode of all purposes, if it is one."""
    found = set(modes.values())
    mode = found.pop()
    return "" if found else f"{MODES[mode].zh} {mode}"


def _plain(line: Line) -> dict[str, Any]:
    return {**line._asdict(), "words": line.words._asdict(), "source": line.source._asdict()}
