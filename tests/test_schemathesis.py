"""Schemathesis reads the API's description and tries to find an answer that is not in it.

A subprocess, because its pytest plug-in and warnings as errors don't go together. Each role asks as itself.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import HouseOf
from office import Office

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1800)]

PROGRAM = Path(sys.executable).with_name("schemathesis")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(house_of: HouseOf) -> AsyncIterator[Office]:
    """The API beside a whole node: there is a replica, and workers who take attempts."""
    one = {"node": {"workers": 1}}
    async with house_of() as house, Office(house.dsn, house.data_dir, one) as office:
        yield office


async def tried(office: Office, role: str, examples: int, phases: str) -> None:
    """What this role is answered is described, whatever it asks."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "run",
        office.url + "/openapi.json",
        *("--checks", CHECKS),
        *("--header", f"Authorization: Bearer {office.tokens[role]}"),
        *("--max-examples", str(examples)),
        *("--phases", phases),
        *("--seed", "1"),
        "--no-color",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=office.folder,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode("utf-8", "replace")[-12000:]


@pytest.mark.long
@pytest.mark.parametrize("role", ["regulator", "carrier", "institution"])
async def test_nothing_is_answered_that_is_not_described(office, role):
    await tried(office, role, 10, "examples,fuzzing")
