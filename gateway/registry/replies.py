"""The queue of replies that a person has to understand, and what other replies did (domain.md "A reply (MO)
means").

Rules: an ambiguous reply holds the institution's marketing to its subscriber until it is decided, and is a
refusal of it when nobody did in time; either way it may still be decided, once. A person's "refusal" covers
what one in plain words would have covered. The institution may say that it was a refusal; that it was none is
for the carrier and the regulator to say. Subscribers come out masked; the text stands in the record alone,
and is read by those who may reveal it (web/resources/finding.py).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from gateway.errors import Problem, Words
from gateway.policy.numbers import mask
from gateway.registry import changing
from gateway.registry.acting import Actor, record
from gateway.registry.fields import Body, Instant, channel_words, purpose_words
from gateway.registry.fields import Words as Text
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Kind = Literal["ambiguous", "accept", "wrong_person"]
READERS = frozenset({"regulator", "auditor", "carrier", "institution"})
DECIDERS = READERS - {"auditor"}
"""The roles; an institution never decides that it was no refusal."""

State = Literal["waiting", "undecided", "refusal", "no_refusal", "accepted", "done"]

_ACCEPTED = """EXISTS (SELECT FROM replies a
                          WHERE a.subscriber_hash = t.subscriber_hash AND a.kind = 'accept'
                            AND a.said_at > t.said_at
                            AND CASE WHEN t.institution_id IS NULL THEN a.number = t.number
                                     ELSE a.institution_id = t.institution_id END)"""
_UNDECIDED = f"t.kind = 'ambiguous' AND t.decision IS NULL AND NOT {_ACCEPTED}"
REPLY = f"""
SELECT t.id, t.said_at AS at, t.kind, t.subscriber_sealed, code_of(t.institution_id) AS institution, t.number,
       t.purposes, reply_covers(t) AS covers, t.channels, replace(t.record::text, '-', '') AS record,
       t.node, t.carrier, t.account, t.flags, t.undecided_until,
       CASE WHEN t.kind <> 'ambiguous' THEN 'done'
            WHEN t.decision IS NOT NULL THEN t.decision
            WHEN {_ACCEPTED} THEN 'accepted'
            WHEN now() < t.undecided_until THEN 'waiting' ELSE 'undecided' END AS state,
       d.login AS decided_by, t.decided_at, t.decided_reason, t.row_version
  FROM replies t LEFT JOIN users d ON d.id = t.decided_by"""


class Decision(Body):
    """Whether an ambiguous reply was a refusal, and why it is read so."""

    decision: Literal["refusal", "no_refusal"]
    reason: Text = Field(min_length=1)


class Reply(BaseModel):
    """A reply that did something beyond a plain refusal; the subscriber masked, the text in its `record`.

    `state` of an ambiguous one: waiting (marketing is held), undecided (the time is over: marketing is
    refused), refusal or no_refusal (decided), accepted (the subscriber asked for messages again since).
    `purposes`, `channels`: what is held; `covers`: the purposes once it is decided to be a refusal.
    """

    id: int
    at: Instant
    kind: Kind
    subscriber: str
    institution: str | None
    number: str
    purposes: list[str]
    covers: list[str]
    channels: list[str]
    record: str
    node: str
    carrier: str
    account: str
    flags: list[str]
    undecided_until: Instant | None
    state: State
    decided_by: str | None
    decided_at: Instant | None
    decided_reason: str
    row_version: int


async def replies(
    c: "Connection",
    actor: Actor,
    key: RegistryKey,
    after: int,
    limit: int,
    *,
    kind: str = "",
    undecided: bool = False,
) -> list[Reply]:
    """A page by id; `kind` one of them, `undecided`: only what is still to be decided."""
    conditions = []
    if kind:
        assert kind in Kind.__args__  # type: ignore[attr-defined]  # a Literal has them
        conditions.append(f"t.kind = '{kind}'")
    if undecided:
        conditions.append(_UNDECIDED)
    found = await changing.listed(c, actor, REPLY, "replies", after, limit, *conditions)
    return [_reply(row, key) for row in found]


async def undecided(c: "Connection", actor: Actor) -> int:
    """How many replies are still to be decided, of those that the actor may see."""
    if actor.role not in READERS:
        return 0
    count: int = await c.fetchval(f"SELECT count(*) FROM replies t WHERE {_UNDECIDED}")
    return count


async def reply(c: "Connection", key: RegistryKey, identity: int) -> Reply:
    """One. Problem `not_found`."""
    return _reply(await changing.one(c, REPLY, "t", identity), key)


async def decide(c: "Connection", actor: Actor, key: RegistryKey, old: Reply, said: Decision) -> Reply:
    """Say what an ambiguous reply meant. Problem `wrong_state`, `forbidden`."""
    if old.state not in ("waiting", "undecided"):
        raise Problem(
            "wrong_state",
            Words("此回复无须认定或已认定", "this reply is not, or no longer, to be decided"),
            field="state",
            value=old.state,
            expected=Words("waiting 或 undecided 的回复", "a reply that is waiting or undecided"),
        )
    if said.decision == "no_refusal" and actor.role == "institution":
        raise Problem(
            "forbidden",
            Words("机构只能认定为拒收", "an institution may only decide that it was a refusal"),
            field="decision",
            value=said.decision,
            expected=Words(
                "refusal；认定为非拒收由电信企业或监管部门作出",
                "refusal; the other is for carrier or regulator",
            ),
        )
    when = await c.fetchval("SELECT now()")
    values = {
        "decision": said.decision,
        "decided_by": actor.user,
        "decided_at": when,
        "decided_reason": said.reason,
    }
    await changing.update(c, "replies", old.id, values)
    # by the mask it is found whose refusal, and whose appeal, this was (migrations 0029 verdict_authors)
    await record(
        c, actor, f"reply.{said.decision}", f"replies/{old.id}", reason=said.reason, subscriber=old.subscriber
    )
    return await reply(c, key, old.id)


def _reply(row: Mapping[str, Any], key: RegistryKey) -> Reply:
    values = dict(row)
    values["subscriber"] = mask(key.open(values.pop("subscriber_sealed")))
    values["purposes"] = purpose_words(row["purposes"])
    values["covers"] = purpose_words(row["covers"])
    values["channels"] = channel_words(row["channels"])
    return Reply.model_construct(**values)
