"""The view `whitelist` is what judging lets stand: for registries made up at random, both say the same."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import asyncpg
import pytest
from bureau import bureau_of, file_number
from playbook import OPEN_RUN
from test_facts import PROFILE
from test_feed import KEY, SMALL, connected, following

from gateway.model import CHANNELS, AccountKey, Number, Reason
from gateway.policy.facts import Shown, gather
from gateway.policy.judge import SENDER_RULES
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot

NOBODY = AccountKey("mobile", "cmpp", "nobody")
ASKED = {Reason.UNREGISTERED, Reason.INSTITUTION_BARRED, Reason.MANDATE_MISSING, Reason.NOT_EFFECTIVE}
RULES = [rule for rule in SENDER_RULES if rule.reason in ASKED]
BODIES, NUMBERS = 12, 400
HOUR = timedelta(hours=1)

INSTITUTION = """INSERT INTO institutions (code, name, kind, licence_scope, licence_until, verified_until,
                                                   status)
                 VALUES ($1, $1, $2, $3, $4, $5, $6)"""
MANDATE = """INSERT INTO mandates (institution_id, agency_id, channels, purposes, valid_from, valid_until,
                                       status)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"""
NUMBER = """INSERT INTO numbers (number, extension_digits, channels, purposes, institution_id, agency_id,
                                 effective_from, effective_until, status, checked_by, approved_by,
                                 approved_at, run_id, checked_person, approved_person)
            SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 'p', 'q', now(), id, checker_id, approver_id
              FROM import_runs"""


def period(draw: Random, open_ended: int = 6) -> tuple[datetime | None, datetime | None]:
    """Over, in force, or to come; most often in force."""
    now = datetime.now(UTC)
    edges = sorted(now + HOUR * draw.choice((-3, -2, -1, 1, 2, 3)) for _ in range(2))
    start = None if draw.randrange(open_ended) else edges[0]
    end = None if draw.randrange(open_ended) else edges[1]
    return (start, end) if start is None or end is None or start < end else (None, None)


async def made_up(c: asyncpg.Connection, draw: Random) -> None:
    """A registry: institutions and their agencies, mandates, numbers that nest, and holds on all of them."""
    mostly = (7, 7, 7, 5, 3, 1, 0)
    for place in range(BODIES):
        kind = "agency" if place % 2 else "bank"
        dates = (period(draw, 12)[1], period(draw, 12)[1])
        status = "active" if draw.randrange(8) else "closed"
        await c.execute(INSTITUTION, f"B{place}", kind, draw.choice(mostly), *dates, status)
    banks, agencies = range(1, BODIES, 2), range(2, BODIES + 1, 2)
    for bank, agency in itertools.product(banks, agencies):
        for _ in range(draw.randrange(3)):
            what = (draw.choice((1, 2, 3)), draw.choice((1, 2, 4, 7, 7)))
            status = draw.choice(("active", "active", "active", "revoked"))
            await c.execute(MANDATE, bank, agency, *what, *period(draw), status)
    for place in range(NUMBERS):  # from the 41st on they lie inside those
        bank = banks[place % len(banks)]
        number = f"1069{bank:02}{place % 40:02}" + f"{place:03}" * (place >= 40)
        reach, channels, purposes = (
            draw.choice((0, 3)),
            draw.choice((1, 2, 3)),
            draw.choice((1, 1, 2, 4, 3, 7)),
        )
        agency = draw.choice((None, *agencies))
        status = draw.choice(("approved",) * 9 + ("submitted",))
        await c.execute(NUMBER, number, reach, channels, purposes, bank, agency, *period(draw), status)
        if not draw.randrange(8):
            status = draw.choice(("revoked", "withdrawn"))
            await c.execute("UPDATE numbers SET status = $1 WHERE number = $2", status, number)
    for column, most in (("number_id", NUMBERS), ("institution_id", BODIES)):
        for _ in range(most // 8):
            start, end = period(draw)
            start = start or datetime.now(UTC) - HOUR * 4
            held = f"INSERT INTO holds (cause, {column}, valid_from, valid_until) VALUES ('c', $1, $2, $3)"
            await c.execute(held, draw.randint(1, most), start, end)


def judged(view: Snapshot, filing: Number, now: int) -> bool:
    """Whether the rules let a message pass that this filing governs, on one of its channels; no account, as
    none is filed that could be barred."""
    for channel in CHANNELS.values():
        if filing.channels & channel:
            met = Shown((filing,), None)
            facts = gather((NOBODY, filing.number, channel), view, PROFILE, now, stale=False, met=met)
            if all(rule.judge(facts) is True for rule in RULES):
                return True
    return False


@pytest.mark.parametrize("seed", range(4))
async def test_a_number_is_listed_exactly_when_judging_lets_it_stand(
    database: str, tmp_path: Path, seed: int
) -> None:
    async with connected(database) as c:
        await c.execute(OPEN_RUN)
        await made_up(c, Random(seed))
        listed = {row["number"] for row in await c.fetch("SELECT number FROM whitelist")}
        numbers: Sequence[str] = [row["number"] for row in await c.fetch("SELECT number FROM numbers")]
    replica = Replica.open(tmp_path / "registry", KEY, writer=True, map_size=SMALL)
    try:
        async with following(database, replica):
            view = Snapshot(replica)
            now = view.news_at
            stands = {
                number
                for number in numbers
                for filing in view.numbers(number)
                if filing.number == number and judged(view, filing, now)
            }
            assert stands == listed
            assert 5 < len(listed) < len(numbers) - 50
    finally:
        replica.close()


CHANGES = [
    "UPDATE institutions SET licence_scope = 5 WHERE code = 'BANK'",
    "UPDATE institutions SET licence_until = now() WHERE code = 'AGENT'",
    "UPDATE institutions SET verified_until = now() WHERE code = 'AGENT'",
    "UPDATE mandates SET valid_until = now()",
    "UPDATE mandates SET status = 'revoked'",
    "INSERT INTO holds (cause, institution_id) SELECT 'c', id FROM institutions WHERE code = 'AGENT'",
    "INSERT INTO holds (cause, institution_id) SELECT 'c', id FROM institutions WHERE code = 'BANK'",
    "INSERT INTO holds (cause, number_id) SELECT 'c', id FROM numbers WHERE number = '10690001'",
]

AS = """SELECT role FROM users,
               LATERAL set_config('zhengming.user', users.id::text, true) mine,
               LATERAL set_config('zhengming.institution', coalesce(institution_id::text, ''), true) body,
               LATERAL set_config('zhengming.carrier', coalesce(carrier, ''), true) tenant
         WHERE login = $1"""


async def test_it_is_the_same_list_for_whoever_may_see_the_number(database: str) -> None:
    """Also for those who may not see what took the number off it."""
    async with bureau_of(database) as bureau, bureau.by_hand() as c:
        await c.execute(
            """INSERT INTO mandates (institution_id, agency_id, channels, purposes, valid_until)
               SELECT b.id, a.id, 1, 2, now() + interval '1 d' FROM institutions b, institutions a
                WHERE b.code = 'BANK' AND a.code = 'AGENT'"""
        )
        await file_number(c, "10690001", "BANK", agency="AGENT")
        await file_number(c, "10690002", "FIN")
        for change in ("SELECT", *CHANGES):
            undone = c.transaction()
            await undone.start()
            await c.execute(change)
            for login in ("bank", "agent", "c1", "r1"):
                role = await c.fetchval(AS, login)
                await c.execute(f"SET LOCAL ROLE zhengming_{role}")
                seen = [row["number"] for row in await c.fetch("SELECT number FROM whitelist ORDER BY 1")]
                await c.execute("RESET ROLE")
                mine, other = ["10690001"] * (change == "SELECT"), ["10690002"] * (login in ("c1", "r1"))
                assert (change, login, seen) == (change, login, mine + other)
            await undone.rollback()
