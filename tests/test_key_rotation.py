"""Two nodes of one registry whose key rotates under them, by the commands alone."""

import json
import shutil
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import MARKETING, TEXT, House, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def houses(house_of: HouseOf) -> AsyncIterator[tuple[House, House]]:
    async with house_of(name="west") as west, house_of(name="east", beside=west) as east:
        yield west, east


async def test_the_registry_key_rotates_under_two_nodes(houses: tuple[House, House]) -> None:
    west, east = houses
    refusing, other = west.subscriber(), west.subscriber()
    async with aiohttp.ClientSession() as client:
        ask = Asker(west, client)

        async def reason(house: House, subscriber: str) -> str:
            attempt = {"channel": "sms", "account": "900001", "source": MARKETING, "text": TEXT}
            said = await ask.of(house)("bank", "/attempts", attempt | {"destination": subscriber})
            return str(said.body["reason"] or "") if said.status == 200 else str(said.body["code"])

        no = {"subscriber": refusing, "purposes": ["marketing"], "channels": ["sms"], "source": "paper"}
        assert (await ask("bank", "/refusals", no)).status == 201
        await eventually_said(reason, west, refusing, "refused_by_subscriber")
        await eventually_said(reason, east, refusing, "refused_by_subscriber")

        assert (await west.cli("key", "rotate", "--reason", "C-1"))[0] == 2  # there is none to rotate to
        code, out, err = await west.cli("key", "make")
        assert code == 0, err
        code, out, err = await west.cli("key", "rotate", "--reason", "C-1")
        assert code == 0, err
        await eventually_said(reason, east, other, "busy")  # nobody judges: its file has not come
        await eventually_said(reason, west, other, "")
        assert (await east.cli("key", "status"))[0] == 1

        await eventually(lambda: west.sql("SELECT key_id FROM registry_keys WHERE retired_at IS NOT NULL"))
        keys = [house.data_dir / "keys" / "registry-2.key" for house in (west, east)]
        shutil.copy(*keys)
        await eventually_said(reason, east, other, "")
        for house in houses:
            assert await reason(house, refusing) == "refused_by_subscriber"
        found = await ask("regulator", "/refusals/find", {"subscriber": refusing, "reason": "核查"})
        assert len(found.body) == 1
        code, out, err = await east.cli("key", "status", "--json")
        assert (code, [row["rows"] > 0 for row in json.loads(out)]) == (0, [False, True])
        first = json.loads(out)[0]["fingerprint"]
        code, _, err = await east.cli("key", "destroy", first, "--reason", "C-1")
        assert code == 1
        assert first in err


async def eventually_said(reason: object, house: House, subscriber: str, wanted: str) -> None:
    async def said() -> bool:
        return await reason(house, subscriber) == wanted  # type: ignore[operator]

    await eventually(said)
