"""An office in whose journal and registry one subscriber has left traces, for pages and searches.

`SUBSCRIBER` got: one passed message of BANK, one of BANK refused, one refused to FIN by its agency AGENT, one
that FIN passed over another carrier (`elsewhere`), and one that another node refused, of which only the index
knows, as nobody has heard of that node for 20 days; he answered BANK, has refused it now and two years ago,
has consented, and has complained. Records reach PostgreSQL by the node's own shipper. Sessions are of the
users of `office.USERS`.
"""

import contextlib
import datetime
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from office import Office

from gateway import model
from gateway.evidence import record as rec
from gateway.evidence.index import Shipper
from gateway.evidence.journal import Journal
from gateway.evidence.seal import Keys
from gateway.model import Finding, Reason, Verdict
from gateway.registry.complaints import NewComplaint

SUBSCRIBER, MASKED = "+8613800000404", "138****0404"
BANKS, AGENTS = "10690001", "10690003"
"""Numbers in force: of BANK, and of FIN by AGENT, whose mandate is for another purpose."""

TEXT = "【示例银行】新客理财专享，拒收请回复R"
MOBILE = model.AccountKey("mobile", "cmpp", "900001")
UNICOM = model.AccountKey("unicom", "cmpp", "900009")
DRAFTS = 60
"""Drafts of FIN: more than a page shows."""

PASSED = Verdict(None, "", (), BANKS, 1, "BANK", purpose="marketing")
REFUSED = Verdict(
    Reason.REFUSED_BY_SUBSCRIBER,
    "",
    (Finding(Reason.REFUSED_BY_SUBSCRIBER, "", True), Finding(Reason.OPTOUT_HINT_MISSING, "", False)),
    BANKS, 1, "BANK", purpose="marketing",
)  # fmt: skip
ENTRUSTED = Verdict(
    Reason.MANDATE_MISSING, "purpose", (Finding(Reason.MANDATE_MISSING, "purpose", True),),
    AGENTS, 2, "FIN", 3, "AGENT", 1, "collection",
)  # fmt: skip
ELSEWHERE = Verdict(None, "", (), AGENTS, 2, "FIN", 3, "AGENT", 1, "collection")


class Traces(NamedTuple):
    """Ids of the records, in hex; `began` is before all of them, `foreign` is what another node refused."""

    office: Office
    began: datetime.datetime
    passed: str
    refused: str
    entrusted: str
    elsewhere: str
    reply: str
    foreign: str
    sessions: dict[str, str]

    @property
    def missing(self) -> str:
        """An id of the same time that nothing has."""
        return self.passed[:12] + "0" * 20


@contextlib.asynccontextmanager
async def traces_of(dsn: str, folder: Path) -> AsyncIterator[Traces]:
    """The office, open."""
    async with Office(dsn, folder) as office:
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
        await _file(office)
        await _complain(office, began)
        ids = await _send(office, folder, int(began.timestamp() * 1000))
        office.sql(
            """INSERT INTO nodes (name, carrier, url, seen_at)
               VALUES ('node-2', 'unicom', 'http://127.0.0.1:1', now() - interval '20 days')"""
        )
        foreign = secrets.token_hex(16)
        office.sql(
            """INSERT INTO intercepts (id, at, carrier, node, protocol, account, channel, number,
                      registration, institution, agency, purpose, region, subscriber, subscriber_hash, reason,
                      sub, findings, profile, registry_version, writer, segment, "offset", place)
               SELECT %s::uuid, at, 'unicom', 'node-2', protocol, account, channel, number, registration,
                      institution, agency, purpose, region, subscriber, subscriber_hash, 'blacklisted', '',
                      '[]', profile, registry_version, writer, segment, "offset" + 9, place
                 FROM intercepts WHERE id = %s::uuid""",
            foreign, ids["refused"],
        )  # fmt: skip
        sessions = {login: _session(office, login) for login in office.users}
        yield Traces(office, began, **ids, foreign=foreign, sessions=sessions)


async def _file(office: Office) -> None:
    """Numbers of every state, a mandate, a refusal and a consent."""
    office.sql(
        """INSERT INTO mandates (institution_id, agency_id, channels, purposes, valid_from)
           SELECT b.id, a.id, 3, 4, '2024-01-01' FROM institutions b, institutions a
            WHERE b.code = 'FIN' AND a.code = 'AGENT'"""
    )
    office.sql(
        """WITH run AS (
               INSERT INTO import_runs (kind, checker_id, approver_id)
               SELECT 'numbers', min(id), max(id) FROM persons RETURNING id, checker_id, approver_id)
           INSERT INTO numbers (number, extension_digits, channels, purposes, institution_id, agency_id,
                                carrier, signatures, status, effective_from, run_id, checked_person,
                                approved_person, checked_by, approved_by, approved_at)
           SELECT f.number, 4, f.channels, f.purposes, i.id, a.id, 'mobile', '{示例银行,示例}', 'approved',
                  f.since::timestamptz, run.id, run.checker_id, run.approver_id,
                  'checker', 'approver', now()
             FROM (VALUES (%s, 1, 1, 'BANK', NULL, '2024-01-01'),
                          ('10690005', 3, 3, 'BANK', NULL, '2098-01-01'),
                          (%s, 1, 2, 'FIN', 'AGENT', NULL))
                  AS f (number, channels, purposes, code, agency, since)
             JOIN institutions i ON i.code = f.code LEFT JOIN institutions a ON a.code = f.agency, run""",
        BANKS, AGENTS,
    )  # fmt: skip
    office.sql(
        """INSERT INTO numbers (number, channels, purposes, institution_id, carrier)
           SELECT '106977' || lpad(n::text, 3, '0'), 1, 1, i.id, 'mobile'
             FROM institutions i, generate_series(1, %s) n WHERE i.code = 'FIN'""",
        DRAFTS,
    )
    known = (office.key.hash(SUBSCRIBER), office.key.seal(SUBSCRIBER))
    office.sql(
        """INSERT INTO refusals (subscriber_hash, key_id, subscriber_sealed, institution_id, purposes,
                                 channels, source, refused_at)
           SELECT %s, 1, %s, i.id, 3, 3, r.source, now() - r.ago::interval
             FROM institutions i, (VALUES ('reply', '5 minutes'), ('12321', '2 years')) AS r (source, ago)
            WHERE i.code = 'BANK'""",
        *known,
    )
    office.sql(
        """INSERT INTO consents (subscriber_hash, key_id, subscriber_sealed, institution_id, source, given_at,
                                 valid_until)
           SELECT %s, 1, %s, id, '柜面', now() - interval '9 days', '2099-01-01 00:00+08' FROM institutions
            WHERE code = 'FIN'""",
        *known,
    )


async def _complain(office: Office, at: datetime.datetime) -> None:
    made = NewComplaint(subscriber=SUBSCRIBER, number=BANKS, channel="sms", at=at, content="一再收到")
    said = await office.post("regulator", "/complaints", made.model_dump(mode="json"))
    assert said.status == 201, said.body


async def _send(office: Office, folder: Path, at: int) -> dict[str, str]:
    """Write the journal, ship it."""
    keys, node = Keys(folder / "keys"), office.config.node.name
    journal = Journal(folder / "journal", node, "w0", keys)
    journal.start()

    def attempt(after: int, account: model.AccountKey, number: str, verdict: Verdict) -> str:
        judged = rec.judged(account, node, model.SMS, number, verdict, profile="p", lexicon="l")
        item = (
            judged, 0, 1, after, 0, 1, 1, 0, "杭州市", SUBSCRIBER, 8, 0, TEXT.encode("utf-16-be")
        )  # fmt: skip
        (made,) = journal.attempts(at + 1000 * after, 7, [item], lambda error: None)
        return made.hex()

    ids = {
        "passed": attempt(1, MOBILE, BANKS + "01", PASSED),
        "refused": attempt(2, MOBILE, BANKS + "01", REFUSED),
        "entrusted": attempt(3, MOBILE, AGENTS, ENTRUSTED),
        "elsewhere": attempt(4, UNICOM, AGENTS, ELSEWHERE),
    }
    journal.outcomes(at + 1100, [(bytes.fromhex(ids["passed"]), 0, b"m1", 0)])
    journal.report(at + 1200, MOBILE, b"m1", "DELIVRD", "", "", "", "", attempt=bytes.fromhex(ids["passed"]))
    reply = model.Reply(MOBILE, BANKS + "01", SUBSCRIBER, "TD", "refuse", b"r1", 1, "BANK")
    ids["reply"] = journal.reply(
        at + 5000, reply, b"TD", 0, 0, purposes=3, channels=3, registry_version=7, done=lambda error: None
    ).hex()
    await journal.sync()
    c: Any = await asyncpg.connect(office.dsn, server_settings={"zhengming.door": "node"})
    try:
        shipper = Shipper(office.dsn, folder / "journal", node, keys, office.key.lookup_key, kept_days=160)
        while await shipper.step(c):
            pass
    finally:
        await c.close()
        await journal.close()
    return ids


def _session(office: Office, login: str) -> str:
    """The cookie of a session of the console."""
    cookie = secrets.token_urlsafe(32)
    office.sql(
        "INSERT INTO sessions (hash, user_id, expires_at) VALUES (%s, %s, now() + interval '1 day')",
        hashlib.sha256(cookie.encode()).digest(), office.users[login],
    )  # fmt: skip
    return cookie
