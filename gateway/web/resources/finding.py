"""Finding: intercepts, records, a subscriber's timeline, and the numbers that dashboards draw.

Full numbers and texts are shown by `reveal` alone, with a reason, on the audit.
"""

import datetime
import uuid
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import Problem, Words
from gateway.evidence.between import Wanted
from gateway.evidence.plain import plain
from gateway.model import CHANNELS, names_of
from gateway.policy.numbers import mask
from gateway.registry import replies, timeline
from gateway.registry.acting import READ_SECONDS, Actor, record
from gateway.registry.bodies import in_order
from gateway.registry.fields import Body, Instant, Moment, NumberText, SubscriberText
from gateway.registry.fields import Words as Text
from gateway.registry.timeline import Event
from gateway.web import finding
from gateway.web.api import Answer, Call, Endpoint, Page, Paging, cursor, not_found
from gateway.web.finding import NotAsked

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

READERS = frozenset({"regulator", "auditor", "carrier", "institution", "agency"})
WATCHERS = frozenset({"regulator", "auditor"})
HALF = 1 << 63
MOST_EVENTS = 1000


class InterceptFilter(Paging):
    """Which refused attempts, newest first."""

    number: NumberText | None = None
    institution: str = Field("", max_length=40, description="code")
    reason: str = Field("", max_length=40)
    since: Instant | None = None
    until: Instant | None = None


class Intercept(BaseModel):
    """A refused attempt, as the index has it; the record itself stands under its id."""

    id: str
    at: Moment
    carrier: str
    node: str
    account: str
    channel: str
    number: str
    institution: str
    agency: str
    purpose: str
    region: str
    subscriber: str = Field(description="masked")
    reason: str
    sub: str
    registry_version: int


class RecordsWanted(Body):
    """What is looked for in the journals of all nodes; a subscriber takes a reason."""

    subscriber: SubscriberText | None = None
    number: NumberText | None = None
    since: Instant | None = None
    until: Instant | None = None
    verdict: Literal["", "pass", "refuse"] = ""
    limit: int = Field(100, ge=1, le=1000)
    reason: Text = ""


class FoundRecords(BaseModel):
    """The newest that match, oldest of them first, of all nodes; `incomplete` names those that may have
    more."""

    items: list[dict[str, Any]]
    incomplete: list[NotAsked]


class Said(BaseModel):
    """A record as it was found: an attempt with its outcomes and reports, or a reply. `incomplete`: nodes
    that may know more of what became of it."""

    model_config = ConfigDict(extra="allow")

    kind: str
    id: str
    at: str
    incomplete: list[NotAsked]


class Why(Body):
    """Why a full number is looked at; it goes on record."""

    reason: Text = Field(min_length=1)


class Revealed(BaseModel):
    id: str
    subscriber: str
    text: str


class TimelineWanted(Body):
    """Whose timeline, and why it is looked at."""

    subscriber: SubscriberText
    since: Instant | None = None
    until: Instant | None = None
    reason: Text = Field(min_length=1)


class Timeline(BaseModel):
    """Everything known of a subscriber, oldest first: the newest 1,000 attempts and replies of all nodes, and
    as many that any node refused. `incomplete`: nodes whose passed attempts may be missing."""

    subscriber: str = Field(description="masked")
    events: list[Event]
    incomplete: list[NotAsked]


class Stats(BaseModel):
    """What an overview shows, of what the caller may see."""

    numbers: dict[str, int] = Field(description="filings by stored status")
    today: dict[str, int] = Field(description="attempts of today by verdict, or reason where refused")
    waiting_bans: int = Field(description="blacklist entries and removals that wait for a second person")
    overdue: int = Field(
        description="complaints, appeals, disputes, penalties and cases whose date has passed"
    )
    undecided_replies: int = Field(description="ambiguous replies that nobody has decided")
    alarms: int = Field(description="alarms nobody has acknowledged")
    broken_glass: int = Field(description="imports that broke the glass and nobody has acknowledged")


_BY_ACCOUNT = """account = ANY (ARRAY(SELECT account FROM my_accounts()))
    AND reason IN ('malformed', 'not_judgeable', 'blacklisted', 'unregistered', 'account_mismatch')"""
"""What one's own accounts sent from numbers that are not one's own (index intercepts_account)."""

_THERE = "(SELECT code FROM institutions UNION ALL SELECT '') there"


async def intercepts(call: Call) -> Answer:
    return Answer(await intercepts_of(call.c, call.actor, call.query))


async def intercepts_of(c: "Connection", actor: Actor, query: InterceptFilter) -> Page[Intercept]:
    """A page of them, newest first. Problem `invalid` for a time that ends before it begins."""
    in_order(query.since, query.until, "until")
    at, high, low = query.place(3)
    # row security asks the same; said here as well, it is what an index is read by
    own = {
        "institution": ["institution = my_institution_code()", _BY_ACCOUNT],
        "agency": ["agency = my_institution_code()", _BY_ACCOUNT],
    }.get(actor.role, ["true"])
    one = """(SELECT id, at, carrier, node, account, channel, number, institution, agency, purpose, region,
                  subscriber, reason, sub, registry_version
             FROM intercepts
            WHERE ($1::text IS NULL OR number = $1) AND ($2 = '' OR institution = $2)
              AND ($3 = '' OR reason = $3) AND ($4::timestamptz IS NULL OR at >= $4)
              AND ($5::timestamptz IS NULL OR at < $5)
              AND ($6::timestamptz IS NULL OR (at, id) < ($6, $7::uuid)) AND {own}
            ORDER BY at DESC, id DESC LIMIT $8)"""
    lists = [one.format(own=mine) for mine in own]
    if actor.role == "regulator" and actor.territory:
        # the newest of each institution, and of none: what is rare in the province is found as soon
        lists = [
            f"(SELECT mine.* FROM {_THERE} CROSS JOIN LATERAL {one.format(own='institution = code')} mine)"
        ]
    rows = await c.fetch(
        f"""SELECT * FROM ({" UNION ".join(lists)}) found
             ORDER BY at DESC, id DESC LIMIT $8""",
        query.number,
        query.institution,
        query.reason,
        query.since,
        query.until,
        _moment(at) if at else None,
        uuid.UUID(int=(high + HALF) << 64 | low + HALF) if at else None,
        query.limit + 1,
    )
    items = [_intercept(dict(row)) for row in rows[: query.limit]]
    more = None
    if len(rows) > query.limit:
        last = rows[query.limit - 1]
        number = last["id"].int
        more = cursor(_microseconds(last["at"]), (number >> 64) - HALF, (number & (1 << 64) - 1) - HALF)
    return Page(items=items, next=more)


async def get_record(call: Call) -> Answer:
    found = await finding.show(call.site, call.actor, _identity(call))
    if found is None:
        raise not_found()
    shown, incomplete = found
    return Answer(Said(**finding.masked(shown), incomplete=incomplete))


async def reveal(call: Call) -> Answer:
    found = await finding.show(call.site, call.actor, _identity(call), texts=True)
    if found is None or found[0].found.content is None:
        raise not_found()
    shown, _ = found
    said = plain(shown, revealed=True)
    async with call.site.door.acting(call.actor, seconds=READ_SECONDS) as c:
        await record(c, call.actor, "record.reveal", f"records/{said['id']}", reason=call.body.reason)
    return Answer(Revealed(id=said["id"], subscriber=said["subscriber"], text=said.get("text", "")))


async def find_records(call: Call) -> Answer:
    wanted: RecordsWanted = call.body
    if wanted.subscriber and not wanted.reason:
        raise Problem(
            "invalid",
            Words("查询用户须说明事由", "who is looked for takes a reason"),
            field="reason",
            expected=Words("事由，将记入审计", "why; it goes on the audit"),
        )
    since, until = finding.instants(wanted.since, wanted.until)
    found, incomplete = await finding.find(
        call.site,
        call.actor,
        Wanted(
            number=wanted.number or "",
            subscriber=wanted.subscriber or "",
            since=finding.milliseconds(since),
            until=finding.milliseconds(until),
            verdict=wanted.verdict,
            limit=wanted.limit,
        ),
    )
    if wanted.subscriber:
        async with call.site.door.acting(call.actor, seconds=READ_SECONDS) as c:
            who = mask(wanted.subscriber)
            await record(c, call.actor, "subscriber.find", "records", reason=wanted.reason, subscriber=who)
    return Answer(
        FoundRecords(items=[finding.masked(one, alone=True) for one in found], incomplete=incomplete)
    )


async def subscribers_timeline(call: Call) -> Answer:
    wanted: TimelineWanted = call.body
    events, incomplete = await timeline_of(call.site, call.actor, wanted)
    return Answer(Timeline(subscriber=mask(wanted.subscriber), events=events, incomplete=incomplete))


async def timeline_of(
    site: finding.Knowing, actor: Actor, wanted: TimelineWanted, subject: str = "subscribers"
) -> tuple[list[Event], list[NotAsked]]:
    """The events, oldest first, and the nodes that may know of more; puts the look on the audit."""
    since, until = finding.instants(wanted.since, wanted.until)
    found, incomplete = await finding.find(
        site,
        actor,
        Wanted(
            subscriber=wanted.subscriber,
            since=finding.milliseconds(since),
            until=finding.milliseconds(until),
            limit=MOST_EVENTS + 1,
        ),
    )
    if len(found) > MOST_EVENTS:  # whoever reads it must not take the newest for all
        incomplete.append(finding.more_than(found.pop(0)))
    recorded = [finding.event_of(one) for one in found if not finding.is_told_elsewhere(one)]
    here = {event.record for event in recorded}
    async with site.door.acting(actor, seconds=READ_SECONDS) as c, c.transaction():
        known = await timeline.events(c, site.key, wanted.subscriber, since, until)
        refused = await timeline.intercepts(c, site.key, wanted.subscriber, since, until, most=MOST_EVENTS)
        attempts = [*recorded, *(event for event in refused if event.record not in here)]
        pairs = {(event.institution, event.agency) for event in attempts if event.agency}
        under = await timeline.mandates(c, pairs, since, until)
        await record(
            c,
            actor,
            "subscriber.timeline",
            subject,
            reason=wanted.reason,
            subscriber=mask(wanted.subscriber),
        )
    return sorted([*known, *attempts, *under], key=lambda event: event.at), incomplete


async def stats(call: Call) -> Answer:
    return Answer(await stats_of(call.c, call.actor))


async def stats_of(c: "Connection", actor: Actor) -> Stats:
    numbers = await c.fetch("SELECT status, count(*) FROM numbers GROUP BY status")
    midnight = datetime.datetime.now(finding.SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    today = await c.fetch(
        """SELECT CASE WHEN verdict = 'pass' THEN 'pass' ELSE reason END AS what, sum(count)::bigint AS n
             FROM traffic_minute WHERE minute >= $1 GROUP BY 1""",
        midnight,
    )
    watches = actor.role in WATCHERS
    one = (
        await c.fetchrow(
            """SELECT (SELECT count(*) FROM blacklist
                        WHERE removed_at IS NULL AND (needs_second AND confirmed_at IS NULL
                              OR removal_proposed_at IS NOT NULL)) AS bans,
                      (SELECT count(*) FROM complaints WHERE status <> 'answered'
                          AND (due < $1 OR status = 'open' AND forward_due < $1))
                      + (SELECT count(*) FROM appeals WHERE status = 'open' AND due < $1)
                      + (SELECT count(*) FROM disputes WHERE status = 'open' AND due < $1)
                      + (SELECT count(*) FROM penalties WHERE lifted_at IS NULL AND due < $1
                            AND coalesce(now() < valid_until, true))
                      + (SELECT count(*) FROM cases WHERE status <> 'closed' AND due < $1) AS due,
                      (SELECT count(*) FROM alarms WHERE acknowledged_at IS NULL) AS alarms,
                      (SELECT count(*) FROM import_runs
                        WHERE case_reference <> '' AND acknowledged_at IS NULL) AS glass""",
            midnight.date(),
        )
        if watches
        else None
    )
    return Stats(
        numbers={row["status"]: row["count"] for row in numbers},
        today={row["what"]: row["n"] for row in today},
        waiting_bans=one["bans"] if one else 0,
        overdue=one["due"] if one else 0,
        undecided_replies=await replies.undecided(c, actor),
        alarms=one["alarms"] if one else 0,
        broken_glass=one["glass"] if one else 0,
    )


def _identity(call: Call) -> bytes:
    try:
        identity = bytes.fromhex(call.path["record"].replace("-", ""))
    except ValueError:
        raise not_found() from None
    if len(identity) != 16:
        raise not_found()
    return identity


def _intercept(row: dict[str, Any]) -> Intercept:
    return Intercept.model_construct(
        **row | {"id": row["id"].hex, "channel": "".join(names_of(row["channel"], CHANNELS))}
    )


def _microseconds(at: datetime.datetime) -> int:
    return int((at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) / datetime.timedelta(microseconds=1))


def _moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=microseconds)


ENDPOINTS = (
    Endpoint(
        "GET", "/intercepts", READERS, "read", Words("拦截记录", "refused attempts, newest first"),
        intercepts,
        seconds=30.0,  # what is rare among the refused of months is looked for long
        query=InterceptFilter, answer=Page[Intercept],
    ),
    Endpoint(
        "POST", "/records/find", READERS, "read",
        Words("按用户或号码查找记录", "records of a subscriber or a number"), find_records,
        body=RecordsWanted, answer=FoundRecords, connected=False, rate="judge",
        example={"number": "10690001", "limit": 10},
    ),
    Endpoint(
        "GET", "/records/{record}", READERS, "read",
        Words("一条记录及其后续", "one record, and what became of it"), get_record, answer=Said,
        problems=frozenset({"not_found"}), connected=False,
    ),
    Endpoint(
        "POST", "/records/{record}/reveal", READERS, "reveal",
        Words("查看完整号码与内容（须说明事由）", "the full number and text, for a reason"), reveal,
        body=Why, answer=Revealed, connected=False, problems=frozenset({"not_found"}), rate="judge",
        example={"reason": "CASE-2026-1"},
    ),
    Endpoint(
        "POST", "/subscribers/timeline", WATCHERS, "read",
        Words("用户时间线", "one subscriber's timeline, for a reason"), subscribers_timeline,
        body=TimelineWanted, answer=Timeline, connected=False, rate="judge",
        example={"subscriber": "13800000000", "reason": "CASE-2026-1"},
    ),
    Endpoint(
        "GET", "/stats", READERS, "read", Words("总览数字", "the numbers of an overview"), stats,
        answer=Stats,
    ),
)  # fmt: skip
