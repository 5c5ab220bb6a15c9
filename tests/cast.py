"""Who acts in the tests of the registry: two carriers' persons, two banks, an agency, two regulators."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from gateway.registry.acting import Actor, Door, actor_of

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

PEOPLE = """
INSERT INTO registry_keys VALUES (100, decode(repeat('00', 16), 'hex'));
INSERT INTO institutions (code, name, kind, licence_scope, region) VALUES
    ('BANK', '示例银行', 'bank', 7, '浙江省杭州市'), ('OTHER', '另一银行', 'bank', 7, '浙江省宁波市'),
    ('AGENCY', '示例催收', 'agency', 7, '浙江省宁波市');
INSERT INTO mandates (institution_id, agency_id, channels, purposes)
SELECT b.id, a.id, 3, 7 FROM institutions b, institutions a WHERE b.code = 'BANK' AND a.code = 'AGENCY';
INSERT INTO persons (name, identity_hash, identity_sealed, key_id)
SELECT name, decode(lpad(to_hex(i), 32, '0'), 'hex'), '\\x01', 100
  FROM unnest(ARRAY['甲', '乙', '丙', '丁', '戊', '己', '庚', '辛']) WITH ORDINALITY AS p (name, i);
INSERT INTO persons (name) VALUES ('nobody');
INSERT INTO users (login, person_id, role, carrier, institution_id, territory)
SELECT login, p.id, role, carrier, i.id, coalesce(territory, '')
  FROM (VALUES ('checker', '甲', 'carrier', 'mobile', NULL, NULL),
               ('checker.again', '甲', 'carrier', 'mobile', NULL, NULL),
               ('approver', '乙', 'carrier', 'mobile', NULL, NULL),
               ('nameless', 'nobody', 'carrier', 'mobile', NULL, NULL),
               ('unicom', '乙', 'carrier', 'unicom', NULL, NULL),
               ('regulator', '丙', 'regulator', NULL, NULL, NULL),
               ('ningbo', '丁', 'regulator', NULL, NULL, '浙江省宁波市'),
               ('bank', '戊', 'institution', NULL, 'BANK', NULL),
               ('other', '己', 'institution', NULL, 'OTHER', NULL),
               ('agency', '庚', 'agency', NULL, 'AGENCY', NULL),
               ('auditor', '辛', 'auditor', NULL, NULL, NULL))
       AS u (login, person, role, carrier, institution, territory)
  JOIN persons p ON p.name = u.person LEFT JOIN institutions i ON i.code = u.institution;
"""


class Cast:
    """The people of one database."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._actors: dict[str, Actor] = {}

    async def actor(self, login: str) -> Actor:
        if login not in self._actors:
            async with self.door.owner() as c:
                self._actors[login] = await actor_of(c, login, "api")
        return self._actors[login]

    @contextlib.asynccontextmanager
    async def acting(self, login: str) -> "AsyncIterator[tuple[Connection, Actor]]":
        """A transaction of this user's."""
        actor = await self.actor(login)
        async with self.door.acting(actor) as c, c.transaction():
            yield c, actor


@contextlib.asynccontextmanager
async def cast_of(dsn: str) -> AsyncIterator[Cast]:
    """The people, made in an empty database."""
    door = await Door.open(dsn, size=3)
    try:
        async with door.owner() as c:
            await c.execute(PEOPLE)
        yield Cast(door)
    finally:
        await door.close()


def fill(dsn: str) -> None:
    """The people in an empty database, for tests of commands, which have no event loop."""

    async def made() -> None:
        async with cast_of(dsn):
            pass

    asyncio.run(made())
