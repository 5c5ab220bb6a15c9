"""Users and persons for tests of the registry: one of each role, two of those who act in pairs."""

from typing import Any

import asyncpg

from gateway.registry import people
from gateway.registry.acting import Actor, actor_of
from gateway.registry.keys import RegistryKey
from gateway.registry.people import NewUser

KEY = RegistryKey(bytes(32))
USERS = (
    NewUser("reg", "regulator", "R1", "ID-R1"),
    NewUser("reg2", "regulator", "R2", "ID-R2"),
    NewUser("regagain", "regulator", "R1", "ID-R1"),
    NewUser("regcity", "regulator", "R3", "ID-R3", territory="浙江省宁波市"),
    NewUser("car", "carrier", "C1", "ID-C1", carrier="mobile"),
    NewUser("car2", "carrier", "C2", "ID-C2", carrier="mobile"),
    NewUser("caragain", "carrier", "C1", "ID-C1", carrier="mobile"),
    NewUser("other", "carrier", "C3", "ID-C3", carrier="unicom"),
    NewUser("bank", "institution", "B1", "ID-B1", institution="A"),
    NewUser("bank2", "institution", "B2", "ID-B2", institution="B"),
    NewUser("agent", "agency", "G1", "ID-G1", institution="G"),
    NewUser("prov", "provider", "P1", "ID-P1", institution="P"),
    NewUser("aud", "auditor", "D1", "ID-D1"),
    NewUser("adm", "admin", "M1", "ID-M1"),
)


async def staffed(dsn: str) -> None:
    """Put institutions A and B, the agency G, the provider P and `USERS` into an empty registry."""
    connection = await asyncpg.connect(dsn, server_settings={"zhengming.door": "cli"})
    try:
        await connection.execute(
            """INSERT INTO institutions (code, name, kind, licence_scope, region) VALUES
               ('A', '甲', 'bank', 7, '浙江省杭州市'), ('B', '乙', 'bank', 7, '浙江省宁波市'),
               ('G', '丙', 'agency', 7, '浙江省宁波市'), ('P', '丁', 'provider', 7, '浙江省杭州市')"""
        )
        for user in USERS:
            await people.add_user(connection, None, KEY, user)
    finally:
        await connection.close()


async def actor(c: Any, login: str) -> Actor:
    """One of `USERS`, as over the API."""
    return await actor_of(c, login, "api")
