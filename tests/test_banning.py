"""What regulators do by command line holds on the wire within a second: bans, penalties, lifted too."""

import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from bureau import settle
from conftest import HouseOf
from playbook import BANNED, COLLECTING, COLLECTION, MARKETING, SERVICE, TEXT, House, eventually, refresh

from gateway.simulator.sender import SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLACKLISTED, BARRED, CODE = 103, 105, "您的验证码是000000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of() as house:
        await settle(house.dsn, house.key)
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


async def did(house: House, *arguments: str) -> dict[str, object]:
    code, out, err = await house.cli(*arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    return dict(found[0])


async def refused(house: House, *arguments: str, code: int = 2) -> str:
    ended, _, err = await house.cli(*arguments)
    assert ended == code
    return err


async def becomes(sender: SenderSim, house: House, number: str, text: str, result: int) -> float:
    """Seconds until a submit gets this result."""
    began = time.monotonic()

    async def so() -> bool:
        return (await sender.submit(number, [house.subscriber()], text)).result == result

    await eventually(so)
    return time.monotonic() - began


async def test_a_ban_by_hand_holds_on_the_wire_and_leaves_by_two_persons(house: House) -> None:
    number = SERVICE + "77"
    async with house.sender() as sender:
        assert (await sender.submit(number, [house.subscriber()], CODE)).result == 0
        entry = await did(house, "blacklist", "add", number, "--reason", "r", "--case", "C-1")
        assert (entry["in_force"], entry["added_by"]) == (True, "operator")
        assert await becomes(sender, house, number, CODE, BLACKLISTED) < 1
        assert "role institution" in await refused(
            house, "blacklist", "propose-removal", number, "--reason", "误列", "--by", "bank"
        )
        assert "nobody" not in await refused(house, "blacklist", "confirm-removal", number, "--by", "r9")
        await did(house, "blacklist", "propose-removal", number, "--reason", "误列", "--by", "r1")
        assert "another person" in await refused(
            house, "blacklist", "confirm-removal", number, "--by", "r1b", code=1
        )
        gone = await did(house, "blacklist", "confirm-removal", str(entry["id"]), "--by", "r2")
        assert gone["in_force"] is False
        assert await becomes(sender, house, number, CODE, 0) < 1


@pytest.mark.long
async def test_a_wide_prefix_waits_and_its_author_takes_it_back(house: House) -> None:
    ask = ("1069000", "--prefix", "--reason", "r", "--case", "C-1", "--by", "r1")
    hits = await did(house, "blacklist", "add", *ask, "--dry-run")
    assert hits["needs_second"] is True
    code, out, _ = await house.cli("blacklist", "add", *ask)
    assert (code, "waits for a second person" in out) == (0, True)
    assert "another person" in await refused(
        house, "blacklist", "confirm", "1069000", "--prefix", "--by", "r1b", code=1
    )
    async with house.sender() as sender:
        assert (await sender.submit(SERVICE, [house.subscriber()], CODE)).result == 0
    await did(house, "blacklist", "withdraw", "1069000", "--prefix", "--by", "r1")
    listed = await house.cli("blacklist", "list", "--json")
    assert [one["number"] for one in json.loads(listed[1])] == [BANNED]
    assert "no such entry" in await refused(house, "blacklist", "withdraw", "1069000", "--by", "r1")
    assert "protected" in await refused(house, "blacklist", "add", "110", "--reason", "r", "--case", "c")
    assert "--case" in await refused(house, "blacklist", "add", SERVICE, "--reason", "r")


async def test_a_penalty_on_an_agency_stops_it_at_once_until_no_hold_is_left(house: House) -> None:
    async with house.sender("900002") as agency, house.sender() as bank:
        assert (await agency.submit(COLLECTION, [house.subscriber()], COLLECTING)).result == 0
        first = await did(house, "penalty", "impose", "AGENT", "--cause", "骚扰", "--by", "r1")
        assert first["suspends"] is True
        assert await becomes(agency, house, COLLECTION, COLLECTING, BARRED) < 1
        assert (await agency.submit("10690004", [house.subscriber()], TEXT)).result == BARRED
        assert (await bank.submit(MARKETING, [house.subscriber()], TEXT)).result == 0
        second = await did(
            house, "penalty", "impose", "AGENT", "--kind", "fine_and_suspension", "--amount", "50000",
            "--cause", "再犯", "--by", "r2",
        )  # fmt: skip
        await did(house, "penalty", "lift", str(first["id"]), "--reason", "整改", "--by", "r1")
        ((version,),) = house.sql("SELECT max(row_version) FROM holds")

        async def known() -> bool:
            return await house.metric("registry_version") >= version

        await eventually(known)
        assert (await agency.submit(COLLECTION, [house.subscriber()], COLLECTING)).result == BARRED
        await did(house, "penalty", "lift", str(second["id"]), "--reason", "整改", "--by", "r1")
        assert await becomes(agency, house, COLLECTION, COLLECTING, 0) < 1
        assert "right would be" in await refused(
            house, "penalty", "impose", "NONE", "--cause", "x", "--by", "r1"
        )
