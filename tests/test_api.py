"""The front of the API, seen from outside: signing in, problems, paging, repetitions, versions, limits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from office import Office


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def test_a_token_says_who_asks(office):
    said = await office.get("institution", "/session")
    assert (said.status, said.body["role"], said.body["institution"]) == (200, "institution", "BANK")


async def test_the_description_is_for_everybody(office):
    said = await office.get("", "/openapi.json")
    assert (said.status, said.body["openapi"]) == (200, "3.1.0")
