"""The API of a running house, for a user of each role that tests need."""

import copy
import hashlib
import secrets
import uuid
from typing import Any, NamedTuple

import aiohttp
import psycopg
from playbook import HOST, House

USERS = {
    "bank": ("institution", "BANK", None),
    "fin": ("institution", "FIN", None),
    "carrier": ("carrier", None, "mobile"),
    "regulator": ("regulator", None, None),
    "agent": ("agency", "AGENT", None),
    "city": ("regulator", None, None),
}
TERRITORIES = {"city": "浙江省宁波市"}


class Said(NamedTuple):
    status: int
    body: Any


class Asker:
    """The API of a house, for these users."""

    def __init__(self, house: House, client: aiohttp.ClientSession) -> None:
        self._url = f"http://{HOST}:{house._web}/api/v1"
        self._client = client
        self._tokens: dict[str, str] = {}
        with psycopg.connect(house.dsn) as c:
            for login, (role, institution, carrier) in USERS.items():
                token = self._tokens[login] = secrets.token_urlsafe(32)
                c.execute(
                    """WITH person AS (INSERT INTO persons (name) VALUES (%s) RETURNING id),
                    made AS (
                        INSERT INTO users (login, person_id, role, carrier, institution_id, territory)
                        SELECT %s, id, %s, %s, (SELECT id FROM institutions WHERE code = %s), %s FROM person
                        RETURNING id
                    )
                    INSERT INTO tokens (hash, user_id, scopes, expires_at)
                    SELECT %s, id, %s, now() + interval '1 day' FROM made""",
                    (
                        login, login, role, carrier, institution, TERRITORIES.get(login, ""),
                        hashlib.sha256(token.encode()).digest(), ["attempts", "read", "judge", "write"],
                    ),
                )  # fmt: skip

    def of(self, house: House) -> "Asker":
        """The same users at another house of the same registry."""
        other = copy.copy(self)
        other._url = f"http://{HOST}:{house._web}/api/v1"
        return other

    async def get(self, who: str, path: str) -> Said:
        headers = {"Authorization": f"Bearer {self._tokens[who]}", "Accept-Language": "en"}
        async with self._client.get(self._url + path, headers=headers) as answer:
            return Said(answer.status, await answer.json(content_type=None))

    async def __call__(
        self, who: str, path: str, body: Any, *, key: str | None = None, language: str = "en"
    ) -> Said:
        headers = {
            "Authorization": f"Bearer {self._tokens[who]}",
            "Accept-Language": language,
            "Idempotency-Key": str(uuid.uuid4()) if key is None else key,
        }
        async with self._client.post(self._url + path, json=body, headers=headers) as answer:
            return Said(answer.status, await answer.json(content_type=None))
