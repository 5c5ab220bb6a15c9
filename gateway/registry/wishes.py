"""What subscribers wish: consents that institutions hold, and refusals.

Rules: a subscriber's number goes in as keyed hash and sealed text, and comes out masked; a refusal is added,
and ends by its subscriber's own word, or when a regulator says why it was none; the row stays.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.policy.numbers import mask
from gateway.registry import changing, keyed
from gateway.registry.acting import Actor, record
from gateway.registry.bodies import in_order
from gateway.registry.fields import (
    Body,
    Channels,
    Code,
    Instant,
    Purposes,
    Sha256,
    SubscriberText,
    channel_bits,
    channel_words,
    purpose_bits,
    purpose_words,
    said,
)
from gateway.registry.fields import Words as Text
from gateway.registry.keys import RegistryKey
from gateway.registry.references import overseen, unknown

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

CONSENT = """
SELECT t.id, t.subscriber_sealed, code_of(t.institution_id) AS institution, t.source, t.given_at AS at,
       t.valid_until AS until, t.document_sha256, replace(t.record::text, '-', '') AS record, t.row_version
  FROM consents t"""
REFUSAL = """
SELECT t.id, t.subscriber_sealed, code_of(t.institution_id) AS institution, t.number, t.purposes, t.channels,
       t.source, t.refused_at AS at, t.undecided_until, t.lifted_at,
       CASE WHEN t.lifted_by = 'reply' THEN t.lifted_by WHEN t.lifted_reason <> '' THEN authority(t.lifted_by)
            WHEN current_user <> 'zhengming_institution' THEN coalesce(t.lifted_by, '') ELSE ''
       END AS lifted_by,
       t.lifted_reason, t.lifted_case, t.row_version, t.complaint_id AS complaint
  FROM refusals t"""

MOST_FOUND = 1000
CLOCKS = timedelta(minutes=1)
"""What a client's clock may be ahead by: what he says of just now is taken as now."""
Source = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ConsentChange(Body):
    """What may change of a consent: when it ends, and its proof."""

    until: Instant | None = None
    document_sha256: Sha256 | None = None


class NewConsent(ConsentChange):
    """Proof that a subscriber asked for marketing of one's own institution."""

    subscriber: SubscriberText
    source: Source
    at: Instant


class Consent(BaseModel):
    """As it is kept; the subscriber masked. `record`: of the reply that it is, where there is one."""

    id: int
    subscriber: str
    institution: str
    source: str
    at: Instant
    until: Instant | None
    document_sha256: Sha256 | None
    record: str | None
    row_version: int


class NewRefusal(Body):
    """A subscriber's no. `institution`: of regulators alone; empty: to all."""

    subscriber: SubscriberText
    institution: Code | None = None
    purposes: Purposes = Field(["marketing", "collection", "service"])
    channels: Channels = Field(["sms", "voice"])
    source: Source = "operator"
    at: Instant | None = None


class Lifting(Body):
    """Why a refusal was none. What its subscriber said himself (a reply, a key press, a complaint to 12321)
    is ended under a case only."""

    reason: Text = Field(min_length=1)
    case_reference: Text = ""


class RefusalsOf(Body):
    """Whose refusals are looked for, and why: it goes on the audit."""

    subscriber: SubscriberText
    reason: Text = Field(min_length=1)


class Refusal(BaseModel):
    """As it is kept; the subscriber masked. `undecided_until`: until then it is a hold, as an ambiguous reply
    waits. `lifted_at`: when the subscriber accepted again, or a person found that it was none; `lifted_by`:
    `reply`, or who that was, which the institution is not told. `complaint`: of 12321, that it came by; the
    institution has no such rows, as it is not told who complained."""

    id: int
    subscriber: str
    institution: str | None
    number: str | None
    purposes: Purposes
    channels: Channels
    source: str
    at: Instant
    undecided_until: Instant | None
    lifted_at: Instant | None
    lifted_by: str
    lifted_reason: str
    lifted_case: str
    complaint: int | None
    row_version: int


async def consents(c: "Connection", actor: Actor, key: RegistryKey, after: int, limit: int) -> list[Consent]:
    """A page by id."""
    rows = await changing.listed(c, actor, CONSENT, "consents", after, limit)
    return [_consent(row, key) for row in rows]


async def consent(c: "Connection", key: RegistryKey, identity: int) -> Consent:
    """One. Problem `not_found`."""
    return _consent(await changing.one(c, CONSENT, "t", identity), key)


async def agree(c: "Connection", actor: Actor, key: RegistryKey, new: NewConsent) -> Consent:
    """Keep a consent of the actor's institution. Problem `exists`, `invalid`."""
    at = await _been(c, new.at)
    in_order(at, new.until, "until")
    values = {
        **await _sealed(c, key, new.subscriber),
        "institution_id": actor.institution,
        "source": new.source,
        "given_at": at,
        "valid_until": new.until,
        "document_sha256": new.document_sha256,
    }
    identity = await changing.insert(c, "consents", values)
    await record(c, actor, "consent.add", f"consents/{identity}", subscriber=mask(new.subscriber))
    return await consent(c, key, identity)


async def change_consent(
    c: "Connection", actor: Actor, key: RegistryKey, old: Consent, wanted: ConsentChange
) -> Consent:
    """Change its end or proof."""
    values = wanted.model_dump(exclude_unset=True)
    if "until" in values:
        values["valid_until"] = values.pop("until")
        in_order(old.at, values["valid_until"], "until")
    await changing.update(c, "consents", old.id, values)
    await record(c, actor, "consent.change", f"consents/{old.id}", fields=sorted(values))
    return await consent(c, key, old.id)


async def refusals(
    c: "Connection", actor: Actor, key: RegistryKey, after: int, limit: int, subscriber: str = ""
) -> list[Refusal]:
    """A page by id; of one subscriber, where one is named."""
    one = []
    if subscriber:
        digests = [hashed.hex() for hashed in await keyed.hashes(c, key, subscriber)]
        one = [
            "t.subscriber_hash IN ({})".format(", ".join(f"'\\x{one}'" for one in digests)),
            "t.subscriber_key IN ({})".format(", ".join(f"first_eight('\\x{one}')" for one in digests)),
        ]
    rows = await changing.listed(c, actor, REFUSAL, "refusals", after, limit, *one)
    return [_refusal(row, key) for row in rows]


async def find_refusals(c: "Connection", actor: Actor, key: RegistryKey, wanted: RefusalsOf) -> list[Refusal]:
    """What one subscriber refused, ended ones too, oldest first, as far as the actor sees it; on record.

    An institution is not told who complained.
    """
    found = await refusals(c, actor, key, 0, MOST_FOUND, wanted.subscriber)
    who = mask(wanted.subscriber)
    await record(c, actor, "subscriber.find", "refusals", reason=wanted.reason, subscriber=who)
    return found


async def refusal(c: "Connection", key: RegistryKey, identity: int) -> Refusal:
    """One. Problem `not_found`."""
    return _refusal(await changing.one(c, REFUSAL, "t", identity), key)


async def refuse(c: "Connection", actor: Actor, key: RegistryKey, new: NewRefusal) -> Refusal:
    """Keep a refusal: to the actor's own institution, or to whom a regulator names. Problem `invalid`."""
    institution: int | None = actor.institution
    if actor.role != "institution":
        institution = await overseen(c, "institution", new.institution) if new.institution else None
    elif new.institution not in (None, actor.institution_code):
        raise unknown("institution", new.institution)
    values: dict[str, Any] = {
        **await _sealed(c, key, new.subscriber),
        "institution_id": institution,
        "purposes": purpose_bits(new.purposes),
        "channels": channel_bits(new.channels),
        "source": new.source,
        "refused_at": await _been(c, new.at),
    }
    identity = await changing.insert(c, "refusals", values)
    await record(c, actor, "refusal.add", f"refusals/{identity}", subscriber=mask(new.subscriber))
    return await refusal(c, key, identity)


async def lift(c: "Connection", actor: Actor, key: RegistryKey, identity: int, wanted: Lifting) -> Refusal:
    """End a refusal that was none, for good. Problem `wrong_state` when it has ended; `invalid` when its
    subscriber said it himself and no case is named; `not_found` where it is not the actor's to end."""
    old = await refusal(c, key, identity)
    if old.lifted_at is not None:
        raise Problem(
            "wrong_state",
            Words("该拒收已解除", "this refusal has ended"),
            field="lifted_at",
            value=said(old.lifted_at),
        )
    if not wanted.case_reference and await c.fetchval(
        "SELECT said_by_subscriber(r) FROM refusals r WHERE id = $1", identity
    ):
        raise Problem(
            "invalid",
            Words(
                "该拒收由用户本人作出，解除须注明案件",
                "its subscriber said so himself: ending it takes a case",
            ),
            field="case_reference",
            value="",
            expected=Words("案件编号，或等用户本人恢复接收", "a case, or that he accepts again"),
        )
    values = {
        "lifted_at": await c.fetchval("SELECT now()"),
        "lifted_by": actor.login,
        "lifted_reason": wanted.reason,
        "lifted_case": wanted.case_reference,
    }
    await changing.update(c, "refusals", identity, values)
    await record(
        c,
        actor,
        "refusal.lift",
        f"refusals/{identity}",
        reason=wanted.reason,
        case=wanted.case_reference,
        subscriber=old.subscriber,
        source=old.source,
    )
    return await refusal(c, key, identity)


async def _been(c: "Connection", at: Instant | None) -> Instant:
    """When it was said; now, when nobody says. Problem `invalid` for a time to come: a refusal of tomorrow
    would outrank whatever its subscriber says until then."""
    now: Instant = await c.fetchval("SELECT now()")
    if at is not None and at > now + CLOCKS:
        raise Problem(
            "invalid",
            Words("晚于当前时间", "lies in the future"),
            field="at",
            value=said(at),
            expected=Words("已过去的时间", "a time that has been"),
        )
    return now if at is None else min(at, now)


async def _sealed(c: "Connection", key: RegistryKey, subscriber: str) -> dict[str, Any]:
    key_id, hashed, sealed = await keyed.enter(c, key, subscriber)
    return {"subscriber_hash": hashed, "key_id": key_id, "subscriber_sealed": sealed}


def _masked(row: Mapping[str, Any], key: RegistryKey) -> dict[str, Any]:
    values = dict(row)
    values["subscriber"] = mask(key.open(values.pop("subscriber_sealed")))
    return values


def _consent(row: Mapping[str, Any], key: RegistryKey) -> Consent:
    return Consent.model_construct(**_masked(row, key))


def _refusal(row: Mapping[str, Any], key: RegistryKey) -> Refusal:
    values = _masked(row, key)
    values["purposes"] = purpose_words(row["purposes"])
    values["channels"] = channel_words(row["channels"])
    return Refusal.model_construct(**values)
