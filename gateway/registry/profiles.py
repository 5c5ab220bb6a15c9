"""Versions of profiles and their activation by two persons: what API, pages and command line use.

Rules: a version is checked when it is added and kept as the content that nodes judge by, so nothing that is
stored depends on a file. `extends` names a shipped profile, or a stored one (its newest version, or
`name@digest`), never a path. The guard stands in the database (migrations 0013); its refusals get words in
acting.py. Every function runs in its caller's transaction.
"""

import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.config import read_profile, shipped_profiles
from gateway.errors import Problem, Words
from gateway.policy.profile import Profile, canonical, profile_of
from gateway.policy.profile_text import ProfileError, checked, differences, laid, merged
from gateway.registry.acting import Actor, record
from gateway.registry.changing import insert, missing, refusable
from gateway.registry.fields import Instant, Moment

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

NAME = r"^[a-z][a-z0-9_-]{0,39}$"
DIGEST = r"^([0-9a-f]{16})?$"
MOST_TEXT = 100_000
FARTHEST = datetime.timedelta(days=3660)
"""How far ahead an activation may begin."""

State = Literal["waiting", "withdrawn", "planned", "in_force", "over"]


class NewVersion(BaseModel):
    """A profile's text (TOML), by the name under which it is known."""

    name: str = Field(pattern=NAME, examples=["zhejiang-2026"])
    text: str = Field(min_length=1, max_length=MOST_TEXT, examples=['extends = "zhejiang"\ntitle = "浙江"'])
    note: str = Field("", max_length=1000, description="what is new in it")


class Difference(BaseModel):
    """One value that a profile has otherwise than the one in force; null where one says nothing of it."""

    place: str = Field(examples=["rules.quiet_hours.sms.collection"])
    before: JsonValue
    after: JsonValue


class Looked(BaseModel):
    """What a version would be: nothing is stored. `stands`: there is one of the same content already."""

    name: str
    title: str
    digest: str
    stands: bool
    changes: list[Difference]


class Version(BaseModel):
    """One version of a profile; it never changes."""

    id: int
    name: str
    title: str
    digest: str
    note: str
    added_by: str
    added_at: Moment


class Proposal(BaseModel):
    """Which version (empty: the newest) is to hold from when (empty: as soon as it is confirmed)."""

    digest: str = Field("", pattern=DIGEST)
    valid_from: Instant | None = None
    reason: str = Field(min_length=1, max_length=1000, pattern=r"\S", examples=["省通知2026年修订"])


class Confirmation(BaseModel):
    """What is confirmed: the id of the activation that was read."""

    activation: int = Field(ge=1, lt=2**63)


class Activation(BaseModel):
    """That a version holds from `valid_from` on, until another does. `waiting`: for the second person."""

    id: int
    name: str
    digest: str
    valid_from: Moment
    state: State
    days_left: int = Field(description="until it begins, in Asia/Shanghai")
    reason: str
    proposed_by: str
    proposed_at: Moment
    confirmed_by: str | None
    confirmed_at: Moment | None
    withdrawn_by: str | None
    withdrawn_at: Moment | None


_VERSIONS = "SELECT p.id, p.name, p.title, p.digest, p.note, p.added_by, p.added_at FROM profiles p"
_IN_FORCE = """(SELECT f.id FROM profile_activations f
                 WHERE f.confirmed_at IS NOT NULL AND f.valid_from <= now()
                 ORDER BY f.valid_from DESC, f.id DESC LIMIT 1)"""
_ACTIVATIONS = f"""SELECT a.id, p.name, p.digest, a.valid_from, a.reason, a.proposed_by, a.proposed_at,
    a.confirmed_by, a.confirmed_at, a.withdrawn_by, a.withdrawn_at,
    CASE WHEN a.withdrawn_at IS NOT NULL THEN 'withdrawn' WHEN a.confirmed_at IS NULL THEN 'waiting'
         WHEN EXISTS (SELECT FROM profile_activations l WHERE l.confirmed_at IS NOT NULL
                                AND l.valid_from = a.valid_from AND l.id > a.id) THEN 'over'
         WHEN a.valid_from > now() THEN 'planned' WHEN a.id = {_IN_FORCE} THEN 'in_force'
         ELSE 'over' END AS state,
    greatest(0, (a.valid_from AT TIME ZONE 'Asia/Shanghai')::date
                - (now() AT TIME ZONE 'Asia/Shanghai')::date) AS days_left
  FROM profile_activations a JOIN profiles p ON p.id = a.profile_id"""


async def look(c: "Connection", new: NewVersion, against: Mapping[str, Any]) -> Looked:
    """What this version would be, and what it changes against that content. Problem `invalid`: which line."""
    title, content = await _content(c, new)
    digest = profile_of(new.name, content).digest
    stands = await c.fetchval("SELECT true FROM profiles WHERE (name, digest) = ($1, $2)", new.name, digest)
    changes = changed(against, content)
    return Looked(name=new.name, title=title, digest=digest, stands=bool(stands), changes=changes)


async def add(c: "Connection", actor: Actor, new: NewVersion) -> tuple[Version, bool]:
    """Store a version; it, and whether it is new: one of the same content stays as it is."""
    title, content = await _content(c, new)
    digest = profile_of(new.name, content).digest
    standing = await c.fetchrow(f"{_VERSIONS} WHERE (p.name, p.digest) = ($1, $2)", new.name, digest)
    if standing is not None:
        return Version(**standing), False
    values = {
        "name": new.name, "text": new.text, "content": canonical(content), "digest": digest, "title": title,
        "note": new.note, "added_by": actor.login,
    }  # fmt: skip
    identity = await insert(c, "profiles", values)
    await record(c, actor, "profile.add", f"profiles/{identity}", name=new.name, digest=digest)
    return Version(**await c.fetchrow(f"{_VERSIONS} WHERE p.id = $1", identity)), True  # type: ignore[arg-type]


async def page(c: "Connection", *, after: int = 0, limit: int = 50) -> list[Version]:
    """Versions by id, beginning after the id `after`."""
    rows = await c.fetch(f"{_VERSIONS} WHERE p.id > $1 ORDER BY p.id LIMIT $2", after, limit)
    return [Version(**row) for row in rows]


async def version(c: "Connection", name: str, digest: str = "") -> tuple[Version, str, Profile]:
    """A version (the newest, if no digest names one), its text, and what it says. Problem `not_found`."""
    row = await c.fetchrow(
        """SELECT p.* FROM profiles p WHERE p.name = $1 AND ($2 = '' OR p.digest = $2)
            ORDER BY p.id DESC LIMIT 1""",
        name,
        digest,
    )
    if row is None:
        raise missing()
    told = {field: row[field] for field in Version.model_fields}
    return Version(**told), row["text"], profile_of(name, json.loads(row["content"]))


async def in_force(c: "Connection") -> tuple[Activation, Profile] | None:
    """What was activated and holds now; None where the nodes' own files do."""
    row = await c.fetchrow(f"{_ACTIVATIONS} WHERE a.id = {_IN_FORCE}")
    if row is None:
        return None
    found = Activation(**row)
    return found, (await version(c, found.name, found.digest))[2]


async def activations(c: "Connection", name: str = "", *, open_only: bool = False) -> list[Activation]:
    """The newest 50, of one name or of all; with `open_only` what waits, and what is planned."""
    rows = await c.fetch(
        f"""SELECT * FROM ({_ACTIVATIONS}) a
             WHERE ($1 = '' OR a.name = $1) AND (NOT $2 OR a.state IN ('waiting', 'planned'))
             ORDER BY a.id DESC LIMIT 50""",
        name,
        open_only,
    )
    return [Activation(**row) for row in rows]


async def propose(c: "Connection", actor: Actor, name: str, wanted: Proposal) -> Activation:
    """The first of two persons has a version hold; what has waited is withdrawn. Problem `not_found`."""
    found, _, _ = await version(c, name, wanted.digest)
    now = datetime.datetime.now(datetime.UTC)
    begins = max(now, wanted.valid_from or now)
    if begins - now > FARTHEST:
        raise Problem(
            "invalid",
            Words("生效时间过远", "too far ahead"),
            field="valid_from",
            value=str(wanted.valid_from),
            expected=Words("十年之内", "a time within ten years"),
        )
    waiting = await refusable(
        c.fetch(
            """UPDATE profile_activations SET withdrawn_at = now(), withdrawn_by = $1
                WHERE confirmed_at IS NULL AND withdrawn_at IS NULL RETURNING id""",
            actor.login,
        )
    )
    for row in waiting:
        await record(c, actor, "profile.withdraw", f"profile_activations/{row['id']}")
    values = {
        "profile_id": found.id, "valid_from": begins, "reason": wanted.reason,
        "proposed_by": actor.login, "proposed_person": actor.person,
    }  # fmt: skip
    identity = await insert(c, "profile_activations", values)
    await record(
        c, actor, "profile.activate", f"profile_activations/{identity}", reason=wanted.reason,
        name=name, digest=found.digest, valid_from=begins.isoformat(),
    )  # fmt: skip
    return await _activation(c, name, identity)


async def confirm(c: "Connection", actor: Actor, name: str, activation: int) -> Activation:
    """The second person agrees: it holds from its time on, and not before now.

    Problem `same_person` for the first, `wrong_state` when it does not wait, `not_found`.
    """
    found = await _activation(c, name, activation)
    done = await refusable(
        c.execute(
            """UPDATE profile_activations SET confirmed_at = now(), confirmed_by = $2, confirmed_person = $3
                WHERE id = $1 AND confirmed_at IS NULL AND withdrawn_at IS NULL""",
            activation,
            actor.login,
            actor.person,
        )
    )
    if done != "UPDATE 1":
        said = (
            Words("该提议已撤回或被另一提议取代", "it was withdrawn: another one was proposed")
            if found.state == "withdrawn"
            else Words("已确认", "it is confirmed already")
        )
        raise Problem("wrong_state", said, field="activation", value=activation)
    changed_to = await _activation(c, name, activation)
    await record(
        c, actor, "profile.confirm", f"profile_activations/{activation}", reason=found.reason,
        name=name, digest=found.digest, valid_from=changed_to.valid_from.isoformat(),
    )  # fmt: skip
    return changed_to


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What the content `after` says otherwise than `before`."""
    return [
        Difference(place=place, before=then, after=now) for place, then, now in differences(before, after)
    ]


async def _activation(c: "Connection", name: str, identity: int) -> Activation:
    row = await c.fetchrow(f"{_ACTIVATIONS} WHERE a.id = $1 AND p.name = $2", identity, name)
    if row is None:
        raise missing()
    return Activation(**row)


async def _content(c: "Connection", new: NewVersion) -> tuple[str, dict[str, Any]]:
    """Title and content of a version to be. Problem `invalid` names line, value and what would be right."""
    try:
        tables = checked(new.name, new.text)
        base = await _base(c, new.name, tables["extends"]) if "extends" in tables else {}
    except ProfileError as error:
        zh, en = (f"第 {error.line} 行：", f"line {error.line}: ") if error.line else ("", "")
        raise Problem(
            "invalid",
            Words(zh + error.found.zh, en + error.found.en),
            field="text",
            expected=error.right,
            facts={"line": error.line},
        ) from None
    return tables.get("title", ""), laid(base, tables)


async def _base(c: "Connection", name: str, wanted: str) -> Mapping[str, Any]:
    """The content that a version extends. Raises ProfileError."""
    if wanted in shipped_profiles():
        return merged(read_profile, wanted)
    base, _, digest = wanted.partition("@")
    content = await c.fetchval(
        "SELECT content FROM profiles WHERE name = $1 AND ($2 = '' OR digest = $2) ORDER BY id DESC LIMIT 1",
        base,
        digest,
    )
    if content is None:
        shipped = ", ".join(shipped_profiles())
        found = f'extends = "{wanted[:80]}"'
        raise ProfileError(
            name,
            0,
            Words(f"{found}：没有此规则档案", f"{found}: there is no such profile"),
            Words(
                f"{shipped}，或已存档案的名称，或 名称@摘要",
                f"{shipped}, the name of a stored profile, or name@digest",
            ),
        )
    stored: Mapping[str, Any] = json.loads(content)
    return stored
