"""Versions of profiles and their activation by two persons: what API, pages and command line use.

Rules: a version is checked when it is added and kept as the content that nodes judge by, so nothing that is
stored depends on a file (profile_content.py). What is shipped stands beside them and is stored when somebody
proposes it: what was activated is always a version, whatever the program ships later. The guard stands in the
database (migrations 0013); its refusals get words in acting.py. Every function runs in its caller's
transaction.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, JsonValue

from gateway.errors import Problem, Words
from gateway.policy import numbers
from gateway.policy.profile import Profile, canonical, profile_of
from gateway.policy.profile_text import differences
from gateway.registry.acting import Actor, record
from gateway.registry.changing import insert, missing, refusable
from gateway.registry.fields import Body, Instant, Moment
from gateway.registry.profile_content import be_complete, be_stricter, content_of, is_shipped, shipped

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

NAME = r"^[a-z][a-z0-9_-]{0,39}$"
DIGEST = r"^([0-9a-f]{16})?$"
MOST_TEXT = 100_000
FARTHEST = datetime.timedelta(days=3660)
"""How far ahead an activation may begin."""

State = Literal["waiting", "withdrawn", "planned", "in_force", "over"]


class NewVersion(Body):
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

    id: int = Field(description="below zero: it comes with the program, and nobody has stored it yet")
    name: str
    title: str
    digest: str
    note: str
    added_by: str
    added_at: Moment | None
    shipped: bool = Field(description="it is what comes with the program under this name")


class Proposal(Body):
    """Which version (empty: the newest; what is shipped where none is stored) is to hold from when (empty: as
    soon as it is confirmed); `from` says the same as `valid_from`.

    With the code of an `institution`, or a registered `number`, for that alone, and only to make it stricter:
    a version without rules ends that.
    """

    digest: str = Field("", pattern=DIGEST)
    institution: str = Field("", max_length=40)
    number: str = Field("", max_length=40)
    valid_from: Instant | None = Field(None, validation_alias=AliasChoices("valid_from", "from"))
    reason: str = Field(min_length=1, max_length=1000, pattern=r"\S", examples=["省通知2026年修订"])


class Confirmation(Body):
    """What is confirmed: the id of the activation that was read."""

    activation: int = Field(ge=1, lt=2**63)


class Activation(BaseModel):
    """That a version holds from `valid_from` on, until another does. `waiting`: for the second person.

    With `institution` or `number` it is an override, which makes the rules stricter there.
    """

    id: int
    name: str
    digest: str
    institution: str = Field(
        description="for whom alone it holds, by code; empty: for everybody, or a number"
    )
    number: str
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
_SUBJECT = "(coalesce({0}.institution_id, 0), coalesce({0}.number, ''))"
_SAME = f"{_SUBJECT.format('f')} = {_SUBJECT.format('a')}"
_IN_FORCE = f"""(SELECT f.id FROM profile_activations f
                  WHERE f.confirmed_at IS NOT NULL AND f.valid_from <= now() AND {_SAME}
                  ORDER BY f.valid_from DESC, f.id DESC LIMIT 1)"""
_ACTIVATIONS = f"""SELECT a.id, p.name, p.digest, coalesce(code_of(a.institution_id), '') AS institution,
    coalesce(a.number, '') AS number, a.valid_from, a.reason, a.proposed_by, a.proposed_at,
    a.confirmed_by, a.confirmed_at, a.withdrawn_by, a.withdrawn_at,
    CASE WHEN a.withdrawn_at IS NOT NULL THEN 'withdrawn' WHEN a.confirmed_at IS NULL THEN 'waiting'
         WHEN EXISTS (SELECT FROM profile_activations f WHERE f.confirmed_at IS NOT NULL AND {_SAME}
                                AND f.valid_from = a.valid_from AND f.id > a.id) THEN 'over'
         WHEN a.valid_from > now() THEN 'planned' WHEN a.id = {_IN_FORCE} THEN 'in_force'
         ELSE 'over' END AS state,
    greatest(0, (a.valid_from AT TIME ZONE 'Asia/Shanghai')::date
                - (now() AT TIME ZONE 'Asia/Shanghai')::date) AS days_left
  FROM profile_activations a JOIN profiles p ON p.id = a.profile_id"""


async def look(c: "Connection", new: NewVersion, against: Mapping[str, Any]) -> Looked:
    """What this version would be, and what it changes against that content. Problem `invalid`: which line."""
    title, content = await content_of(c, new.name, new.text)
    digest = profile_of(new.name, content).digest
    stands = await c.fetchval("SELECT true FROM profiles WHERE (name, digest) = ($1, $2)", new.name, digest)
    changes = changed(against, content)
    return Looked(name=new.name, title=title, digest=digest, stands=bool(stands), changes=changes)


async def add(c: "Connection", actor: Actor, new: NewVersion) -> tuple[Version, bool]:
    """Store a version; it, and whether it is new: one of the same content stays as it is."""
    title, content = await content_of(c, new.name, new.text)
    digest = profile_of(new.name, content).digest
    standing = await c.fetchrow(f"{_VERSIONS} WHERE (p.name, p.digest) = ($1, $2)", new.name, digest)
    if standing is not None:
        return _version(standing), False
    values = {
        "name": new.name, "text": new.text, "content": canonical(content), "digest": digest, "title": title,
        "note": new.note, "added_by": actor.login,
    }  # fmt: skip
    identity = await insert(c, "profiles", values)
    await record(c, actor, "profile.add", f"profiles/{identity}", name=new.name, digest=digest)
    row = await c.fetchrow(f"{_VERSIONS} WHERE p.id = $1", identity)
    assert row is not None  # it was made in this transaction
    return _version(row), True


async def page(c: "Connection", *, after: int | None = None, limit: int = 50) -> list[Version]:
    """Versions by id, beginning after the id `after`: what is shipped and not stored, then what is stored."""
    found = []
    if after is None or after < 0:
        digests = [one.profile.digest for one in shipped().values()]
        stored = {
            (row["name"], row["digest"])
            for row in await c.fetch("SELECT name, digest FROM profiles WHERE digest = ANY ($1)", digests)
        }
        found = [
            one
            for one in map(_shipped, shipped())
            if (after is None or one.id > after) and (one.name, one.digest) not in stored
        ][:limit]
    rows = await c.fetch(
        f"{_VERSIONS} WHERE p.id > $1 ORDER BY p.id LIMIT $2", max(after or 0, 0), limit - len(found)
    )
    return found + [_version(row) for row in rows]


async def version(c: "Connection", name: str, digest: str = "") -> tuple[Version, str, Profile]:
    """A version (the newest stored one, if no digest names one; else what is shipped by this name), its text,
    and what it says. Problem `not_found`."""
    row = await c.fetchrow(
        """SELECT p.* FROM profiles p WHERE p.name = $1 AND ($2 = '' OR p.digest = $2)
            ORDER BY p.id DESC LIMIT 1""",
        name,
        digest,
    )
    if row is not None:
        return _version(row), row["text"], profile_of(name, json.loads(row["content"]))
    if name in shipped() and (not digest or is_shipped(name, digest)):
        return _shipped(name), shipped()[name].text, shipped()[name].profile
    raise missing()


async def in_force(c: "Connection") -> tuple[Activation, Profile] | None:
    """What was activated and holds now; None where the nodes' own files do."""
    row = await c.fetchrow(
        f"{_ACTIVATIONS} WHERE a.institution_id IS NULL AND a.number IS NULL AND a.id = {_IN_FORCE}"
    )
    if row is None:
        return None
    found = Activation(**row)
    return found, (await version(c, found.name, found.digest))[2]


async def activations(
    c: "Connection", name: str = "", states: Sequence[State] = (), *, overrides: bool = False
) -> list[Activation]:
    """The newest 50, of one name or of all, in one of these states, if any are named; or overrides alone."""
    rows = await c.fetch(
        f"""SELECT * FROM ({_ACTIVATIONS}) a
             WHERE ($1 = '' OR a.name = $1) AND (a.state = ANY ($2) OR $2 = '{{}}')
               AND (NOT $3 OR a.institution || a.number <> '')
             ORDER BY a.id DESC LIMIT 50""",
        name,
        list(states),
        overrides,
    )
    return [Activation(**row) for row in rows]


async def propose(c: "Connection", actor: Actor, name: str, wanted: Proposal, current: Profile) -> Activation:
    """The first of two persons has a version hold; what has waited for the same is withdrawn, but where
    another person has proposed exactly this: then two have said it, and it is confirmed.

    `current` is what holds for everybody: an override must be nowhere laxer, anything else name its rules.
    Problem `not_found`, `invalid`.
    """
    found, text, profile = await version(c, name, wanted.digest)
    institution, number = await _subject(c, wanted)
    if institution is not None or number is not None:
        be_stricter(name, text, profile, current)
    else:
        be_complete(profile, current)
    if found.id < 0:
        found, _ = await add(c, actor, NewVersion(name=name, text=text, note="随程序提供 shipped"))
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
    agreed = await c.fetchval(
        """SELECT id FROM profile_activations
            WHERE confirmed_at IS NULL AND withdrawn_at IS NULL AND institution_id IS NOT DISTINCT FROM $1
              AND number IS NOT DISTINCT FROM $2 AND profile_id = $3 AND proposed_person <> $4
              AND greatest(valid_from, $5) = $6""",
        institution, number, found.id, actor.person, now, begins,
    )  # fmt: skip
    if agreed is not None:
        return await confirm(c, actor, name, agreed, wanted.reason)
    waiting = await refusable(
        c.fetch(
            """UPDATE profile_activations SET withdrawn_at = now(), withdrawn_by = $1
                WHERE confirmed_at IS NULL AND withdrawn_at IS NULL AND institution_id IS NOT DISTINCT FROM $2
                  AND number IS NOT DISTINCT FROM $3 RETURNING id""",
            actor.login,
            institution,
            number,
        )
    )
    for row in waiting:
        await record(c, actor, "profile.withdraw", f"profile_activations/{row['id']}")
    values = {
        "profile_id": found.id, "institution_id": institution, "number": number, "valid_from": begins,
        "reason": wanted.reason, "proposed_by": actor.login, "proposed_person": actor.person,
    }  # fmt: skip
    identity = await insert(c, "profile_activations", values)
    await record(
        c, actor, "profile.activate", f"profile_activations/{identity}", reason=wanted.reason,
        name=name, digest=found.digest, valid_from=begins.isoformat(), institution=wanted.institution,
        number=number or "",
    )  # fmt: skip
    return await _activation(c, name, identity)


async def confirm(c: "Connection", actor: Actor, name: str, activation: int, reason: str = "") -> Activation:
    """The second person agrees, for the same reason unless another is given: it holds from its time on, and
    not before now.

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
        c, actor, "profile.confirm", f"profile_activations/{activation}", reason=reason or found.reason,
        name=name, digest=found.digest, valid_from=changed_to.valid_from.isoformat(),
    )  # fmt: skip
    return changed_to


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What the content `after` says otherwise than `before`."""
    return [
        Difference(place=place, before=then, after=now) for place, then, now in differences(before, after)
    ]


async def _subject(c: "Connection", wanted: Proposal) -> tuple[int | None, str | None]:
    """Whom it is for: an institution's id, a registered number, or everybody. Problem `invalid`."""
    if wanted.institution and wanted.number:
        raise Problem(
            "invalid",
            Words("机构与号码只填一项", "for an institution or a number, not both"),
            field="number",
            value=wanted.number,
        )
    if wanted.institution:
        institution = await c.fetchval("SELECT id FROM institutions WHERE code = $1", wanted.institution)
        if institution is None:
            raise Problem(
                "invalid",
                Words("没有此代码的机构", "no institution has this code"),
                field="institution",
                value=wanted.institution,
            )
        return institution, None
    if not wanted.number:
        return None, None
    number = numbers.canonical(wanted.number)
    if not await c.fetchval("SELECT true FROM numbers WHERE number = $1 LIMIT 1", number):
        raise Problem(
            "invalid",
            Words("没有此登记号码", "no such number is registered"),
            field="number",
            value=wanted.number,
            expected=Words("登记的号码，不含扩展位", "a number as it is registered, without further digits"),
        )
    return None, number


def _version(row: Mapping[str, Any]) -> Version:
    """Of a row of `profiles`, whatever else it has."""
    told = {field: row[field] for field in Version.model_fields if field != "shipped"}
    return Version(**told, shipped=is_shipped(row["name"], row["digest"]))


def _shipped(name: str) -> Version:
    """What is shipped by this name, before anybody has stored it."""
    title, _, profile = shipped()[name]
    place = list(shipped()).index(name) - len(shipped())  # they come before what is stored, by name
    return Version(
        id=place, name=name, title=title, digest=profile.digest, note="", added_by="", added_at=None,
        shipped=True,
    )  # fmt: skip


async def _activation(c: "Connection", name: str, identity: int) -> Activation:
    row = await c.fetchrow(f"{_ACTIVATIONS} WHERE a.id = $1 AND p.name = $2", identity, name)
    if row is None:
        raise missing()
    return Activation(**row)
