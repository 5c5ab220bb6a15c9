"""The API on a database of its own, without the rest of a node: `Office` has a user of each role.

`async with Office(dsn, folder) as office:` then `await office.get("carrier", "/numbers")`; an answer has
`status`, `body` (parsed JSON) and `headers`. Institutions are BANK, FIN, AGENT and SHOP, whose users are
`institution`, `institution2`, `agency` and `provider`; both carriers are of `mobile`. Each user is a person
of his own with an identity number.
"""

import datetime
import hashlib
import json
import logging
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import any_hour
import psycopg

from gateway.config import load
from gateway.policy.profile_text import parse_profile
from gateway.registry.acting import SCOPES, Door
from gateway.registry.keys import load_key
from gateway.registry.workdays import calendar
from gateway.telemetry import Telemetry
from gateway.web import server
from gateway.web.site import Site

INSTITUTIONS = {
    "BANK": ("示例银行", "bank"),
    "FIN": ("示例消金", "consumer_finance"),
    "AGENT": ("示例催收", "agency"),
    "SHOP": ("示例服务商", "provider"),
}
USERS = {
    "regulator": ("regulator", ""),
    "regulator2": ("regulator", ""),
    "carrier": ("carrier", ""),
    "carrier2": ("carrier", ""),
    "institution": ("institution", "BANK"),
    "institution2": ("institution", "FIN"),
    "agency": ("agency", "AGENT"),
    "provider": ("provider", "SHOP"),
    "auditor": ("auditor", ""),
    "admin": ("admin", ""),
}


class Said(NamedTuple):
    status: int
    body: Any
    headers: Any


class Office:
    """See above. `settings` are of the configuration: `{"web": {"read_rate": 1}}`; `through` is another way
    to the database, for the API alone."""

    def __init__(
        self, dsn: str, folder: Path, settings: dict[str, dict[str, Any]] | None = None, through: str = ""
    ) -> None:
        self.dsn = dsn
        self.through = through or dsn
        self.folder = folder
        self.tokens: dict[str, str] = {}
        self.users: dict[str, int] = {}
        self.institutions: dict[str, int] = {}
        self.foreign: dict[str, int] = {}  # by table: a row of others', where a test brings them
        environment = {
            f"ZHENGMING__{section}__{key}".upper(): value if isinstance(value, str) else json.dumps(value)
            for section, keys in (settings or {}).items()
            for key, value in keys.items()
        }
        environment["ZHENGMING__NODE__DATA_DIR"] = str(folder)
        self.config = load(None, environment)

    async def __aenter__(self) -> Self:
        self.key = load_key(self.folder / "keys" / "registry.key")
        with self._connected() as connection:
            self._fill(connection)
        profile = replace(parse_profile(any_hour.read, any_hour.NAME), days=calendar(None))
        self.log = logging.getLogger("office")
        self.site = Site(self.config, profile, self.key, await Door.open(self.through), Telemetry(), self.log)
        self._runner = await server.listen(server.console(self.folder, [], self.site), "127.0.0.1", 0)
        self._client = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self._runner.cleanup()
        await self.site.stop()

    @property
    def host(self) -> str:
        host, port = self._runner.addresses[0]
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/api/v1"

    async def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Said:
        """One request of the user `who` ("" for nobody); `body` is JSON; `data` is octets."""
        sent = {"Accept-Language": "en", **({"Authorization": f"Bearer {self.tokens[who]}"} if who else {})}
        if body is not None:
            more["json"] = body
        async with self._client.request(
            method, self.url + path, headers=sent | (headers or {}), **more
        ) as answer:
            raw = await answer.read()
            said = json.loads(raw) if raw and "json" in answer.headers.get("Content-Type", "") else raw
            return Said(answer.status, said, answer.headers)

    async def get(self, who: str, path: str, **more: Any) -> Said:
        return await self.ask(who, "GET", path, **more)

    async def post(self, who: str, path: str, body: Any = None, **more: Any) -> Said:
        return await self.ask(who, "POST", path, body, **more)

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement of the database's owner, committed at once."""
        with self._connected() as connection:
            return rows(connection, query, *values)

    def token(self, who: str, scopes: tuple[str, ...] = SCOPES, days: float = 30) -> str:
        """A further token of a user."""
        with self._connected() as connection:
            return self._token(connection, who, scopes, days)

    def _connected(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, autocommit=True, options="-c zhengming.door=node")

    def _token(
        self, connection: psycopg.Connection, who: str, scopes: tuple[str, ...] = SCOPES, days: float = 30
    ) -> str:
        secret = "zm_" + secrets.token_urlsafe(32)
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        rows(
            connection,
            "INSERT INTO tokens (hash, user_id, name, scopes, expires_at) VALUES (%s, %s, 'test', %s, %s)",
            hashlib.sha256(secret.encode()).digest(), self.users[who], list(scopes), until,
        )  # fmt: skip
        return secret

    def _fill(self, connection: psycopg.Connection) -> None:
        """All of it through one connection: a new one costs more than a row."""
        rows(
            connection,
            "INSERT INTO registry_keys (key_id, fingerprint) VALUES (1, %s) ON CONFLICT DO NOTHING",
            self.key.fingerprint,
        )
        rows(
            connection, "INSERT INTO carriers (code, name) VALUES ('mobile', 'mobile') ON CONFLICT DO NOTHING"
        )
        for code, (name, kind) in INSTITUTIONS.items():
            ((self.institutions[code],),) = rows(
                connection,
                """INSERT INTO institutions (code, name, kind, licence_scope, region)
                   VALUES (%s, %s, %s, 7, '330000') ON CONFLICT (code) DO UPDATE SET region = excluded.region
                   RETURNING id""",
                code, name, kind,
            )  # fmt: skip
        for login, (role, code) in USERS.items():
            identity = "TEST-" + login.upper()
            ((person,),) = rows(
                connection,
                """INSERT INTO persons (name, identity_hash, identity_sealed, key_id)
                   VALUES (%s, %s, %s, %s) RETURNING id""",
                login, self.key.hash(identity), self.key.seal(identity), 1,
            )  # fmt: skip
            ((self.users[login],),) = rows(
                connection,
                """INSERT INTO users (login, person_id, role, carrier, institution_id)
                   VALUES (%s, %s, %s, %s, %s) RETURNING id""",
                login, person, role, "mobile" if role == "carrier" else None, self.institutions.get(code),
            )  # fmt: skip
            self.tokens[login] = self._token(connection, login)


def rows(connection: psycopg.Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement gives, committed at once."""
    cursor = connection.execute(query, values)  # type: ignore[arg-type]  # a test's own SQL
    return cursor.fetchall() if cursor.description else []
