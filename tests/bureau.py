"""A registry with people in it: institutions, regulators and others as actors, for tests of what they do."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg

from gateway.registry import store
from gateway.registry.acting import Actor, Door, actor_of
from gateway.registry.keys import RegistryKey

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

KEY = RegistryKey(bytes(32))

PEOPLE = {
    # login: (person, role, carrier, institution)
    "r1": ("甲监管", "regulator", None, None),
    "r1b": ("甲监管", "regulator", None, None),  # the same person again
    "r2": ("乙监管", "regulator", None, None),
    "r3": ("丙监管", "regulator", None, None),
    "bank": ("丁行员", "institution", None, "BANK"),
    "fin": ("戊行员", "institution", None, "FIN"),
    "agent": ("己催收", "agency", None, "AGENT"),
    "shop": ("庚服务", "provider", None, "SHOP"),
    "audit": ("辛审计", "auditor", None, None),
    "c1": ("壬企业", "carrier", "mobile", None),
    "c2": ("癸企业", "carrier", "mobile", None),
}


class Bureau:
    """`async with bureau.acting("r1") as (c, actor):` is a transaction that works for that user."""

    def __init__(self, dsn: str, door: Door) -> None:
        self.dsn = dsn
        self._door = door

    @contextlib.asynccontextmanager
    async def acting(self, login: str) -> AsyncIterator["tuple[Connection, Actor]"]:
        async with self._door.owner() as c:
            actor = await actor_of(c, login, "api")
        async with self._door.acting(actor) as c, c.transaction():
            yield c, actor

    @contextlib.asynccontextmanager
    async def by_hand(self) -> AsyncIterator[asyncpg.Connection]:
        """SQL as the owner of the tables writes it."""
        c = await asyncpg.connect(self.dsn)
        try:
            yield c
        finally:
            await c.close()

    async def acts(self, subject: str) -> list[str]:
        """What the audit says was done to a subject, oldest first."""
        async with self.by_hand() as c:
            rows = await c.fetch("SELECT act FROM audit WHERE subject = $1 ORDER BY id", subject)
            return [row["act"] for row in rows]


async def settle(dsn: str, key: RegistryKey = KEY) -> None:
    """Institutions and the people above, into a registry; institutions that are there stay."""
    c = await asyncpg.connect(dsn)
    try:
        key_id = await store.register_key(c, key.fingerprint)
        await c.execute(
            """INSERT INTO institutions (code, name, kind, region, licence_scope) VALUES
               ('BANK', '示例银行', 'bank', '浙江省杭州市', 7),
               ('FIN', '示例消金', 'consumer_finance', '', 7),
               ('AGENT', '示例催收', 'agency', '浙江省宁波市', 0), ('SHOP', '示例服务商', 'provider', '', 0)
               ON CONFLICT DO NOTHING"""
        )
        for login, (name, role, carrier, institution) in PEOPLE.items():
            person = await c.fetchval(
                """INSERT INTO persons (name, identity_hash, identity_sealed, key_id) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (identity_hash) DO UPDATE SET name = excluded.name RETURNING id""",
                name,
                key.hash(name),
                key.seal(name),
                key_id,
            )
            await c.execute(
                """INSERT INTO users (login, person_id, role, carrier, institution_id)
                   SELECT $1, $2, $3, $4, (SELECT id FROM institutions WHERE code = $5)""",
                login,
                person,
                role,
                carrier,
                institution,
            )
    finally:
        await c.close()


@contextlib.asynccontextmanager
async def bureau_of(dsn: str) -> AsyncIterator[Bureau]:
    """The people above at work in this database."""
    await settle(dsn)
    door = await Door.open(dsn, size=4)
    try:
        yield Bureau(dsn, door)
    finally:
        await door.close()


async def file_number(
    c: asyncpg.Connection,
    number: str,
    institution: str,
    *,
    extension_digits: int = 0,
    agency: str | None = None,
) -> int:
    """A number in force since ever, as an import of two persons brings it; its id."""
    run = await c.fetchval(
        """WITH two AS (
               INSERT INTO persons (name) VALUES ('checker'), ('approver')
               ON CONFLICT (name) WHERE identity_hash IS NULL DO UPDATE SET name = excluded.name RETURNING id)
           INSERT INTO import_runs (kind, checker_id, approver_id, case_reference)
           SELECT 'numbers', min(id), max(id), 'test' FROM two RETURNING id"""
    )
    identity: int = await c.fetchval(
        """INSERT INTO numbers (number, extension_digits, channels, purposes, institution_id, agency_id,
                                status, checked_by, approved_by, approved_at, run_id, checked_person,
                                approved_person)
           SELECT $1, $2, 3, 2, i.id, (SELECT id FROM institutions WHERE code = $4), 'approved', 'checker',
                  'approver', now(), r.id, r.checker_id, r.approver_id
             FROM institutions i, import_runs r WHERE i.code = $3 AND r.id = $5 RETURNING id""",
        number,
        extension_digits,
        institution,
        agency,
        run,
    )
    return identity
