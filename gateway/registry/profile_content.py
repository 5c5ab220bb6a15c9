"""What a profile's text amounts to beside those that are shipped or stored, and what keeps a version from
activation.

Rules: `extends` names a shipped profile, or a stored one (its newest version, or `name@digest`), not a path.
A version for everybody names every rule that is in force, as one it forgets would be off; one for somebody
alone is nowhere laxer than what holds for everybody. Every refusal is a Problem `invalid`.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.config import read_profile, shipped_profiles
from gateway.errors import Problem, Words
from gateway.policy.overrides import laxer
from gateway.policy.profile import Profile, profile_of
from gateway.policy.profile_text import ProfileError, checked, laid, line_of_base, merged, mistaken

if TYPE_CHECKING:
    from gateway.registry.acting import Connection


class Shipped(NamedTuple):
    """A profile that comes with this version of the program."""

    title: str
    text: str
    profile: Profile


@cache
def shipped() -> Mapping[str, Shipped]:
    """All of them by name."""
    found = {}
    for name in shipped_profiles():
        text = read_profile(name)
        profile = profile_of(name, merged(read_profile, name))
        found[name] = Shipped(checked(name, text).get("title", ""), text, profile)
    return found


def is_shipped(name: str, digest: str) -> bool:
    """Whether a version is, word for word in what it amounts to, the one that is shipped under its name."""
    return name in shipped() and shipped()[name].profile.digest == digest


async def content_of(c: "Connection", name: str, text: str) -> tuple[str, dict[str, Any]]:
    """Title and content of a version to be. Problem `invalid` names line, value and what would be right."""
    try:
        tables = checked(name, text)
        base = await _base(c, name, text, tables["extends"]) if "extends" in tables else {}
    except ProfileError as error:
        raise _said(error) from None
    return tables.get("title", ""), laid(base, tables)


async def _base(c: "Connection", name: str, text: str, wanted: str) -> Mapping[str, Any]:
    """The content that a version extends. Raises ProfileError."""
    base, _, digest = wanted.partition("@")
    if wanted in shipped() or is_shipped(base, digest):
        return shipped()[base].profile.content
    content = await c.fetchval(
        "SELECT content FROM profiles WHERE name = $1 AND ($2 = '' OR digest = $2) ORDER BY id DESC LIMIT 1",
        base,
        digest,
    )
    if content is None:
        names = ", ".join(shipped())
        found = f'extends = "{wanted[:80]}"'
        raise ProfileError(
            name,
            line_of_base(text),
            Words(f"{found}：没有此规则档案", f"{found}: there is no such profile"),
            Words(
                f"{names}，或已存档案的名称，或 名称@摘要",
                f"{names}, the name of a stored profile, or name@digest",
            ),
        )
    stored: Mapping[str, Any] = json.loads(content)
    return stored


def be_stricter(name: str, text: str, profile: Profile, current: Profile) -> None:
    """Problem `invalid` names the first value of an override that is laxer than what holds for everybody."""
    try:
        for flaw in laxer(current, profile):
            mistaken(name, text, *flaw)
    except ProfileError as error:
        raise _said(error) from None


def be_complete(profile: Profile, current: Profile) -> None:
    """Problem `invalid` when a rule that is in force would be off without a word."""
    unnamed = current.content["rules"].keys() - profile.content["rules"].keys()
    if unnamed:
        rules = ", ".join(sorted(unnamed))
        raise Problem(
            "invalid",
            Words(f"未提及现行规则：{rules}", f"says nothing of rules that are in force: {rules}"),
            field="text",
            expected=Words(
                "扩展一个已有档案（extends），或逐条写明 mode",
                "extends = another profile, or a mode of each rule",
            ),
        )


def _said(error: ProfileError) -> Problem:
    zh, en = (f"第 {error.line} 行：", f"line {error.line}: ") if error.line else ("", "")
    return Problem(
        "invalid",
        Words(zh + error.found.zh, en + error.found.en),
        field="text",
        expected=error.right,
        facts={"line": error.line},
    )
