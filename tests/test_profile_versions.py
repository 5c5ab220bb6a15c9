"""What two regulators activate by command line holds on all workers within a second, and is in records."""

import datetime
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import any_hour
import pytest
import pytest_asyncio
from bureau import Bureau, settle
from conftest import HouseOf
from playbook import MARKETING, TEXT, House, eventually, refresh

from gateway.config import read_profile
from gateway.direct import owner
from gateway.model import Reason
from gateway.policy.profile import ENFORCE, OBSERVE, canonical
from gateway.policy.profile_text import parse_profile
from gateway.registry import profiles
from gateway.registry.acting import Door
from gateway.registry.in_force import InForce
from gateway.registry.replica import Replica
from gateway.registry.tables import Activation
from gateway.simulator.sender import SenderSim

CONSENT, PASSED = 111, 0
"""CMPP results: without consent, and passed."""

EVERY = any_hour.TEXT.removeprefix('extends = "zhejiang"\n')
STRICT = f'extends = "zhejiang"\n[rules.consent_missing]\nmode = {{ marketing = "enforce" }}\n{EVERY}'
MILD = f'extends = "zhejiang"\n[rules.consent_missing]\nmode = {{ marketing = "observe" }}\n{EVERY}'
on_the_node = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2) as house:
        await settle(house.dsn, house.key)
        for name, text in (("strict", STRICT), ("mild", MILD)):
            (house.directory / name).write_text(text, "utf-8")
            await did(house, "add", name, str(house.directory / name), "--by", "r1")
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


async def did(house: House, *arguments: str) -> Any:
    code, out, err = await house.cli("profile", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


async def becomes(house: House, sender: SenderSim, result: int) -> None:
    async def so() -> bool:
        return (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == result

    await eventually(so)


@on_the_node
@pytest.mark.long
async def test_two_persons_make_it_hold_on_all_workers_within_a_second(house: House) -> None:
    assert (await did(house, "show"))["name"] == "profile.toml"
    code, out, _ = await house.cli("profile", "list")
    assert (code, [line.split()[0] for line in out.splitlines() if "shipped" in line]) == (
        0,
        ["national", "ningxia", "zhejiang"],
    )
    version = await did(house, "activate", "strict", "--reason", "修订", "--by", "r1")
    for login, ended, why in (("r1b", 1, "another person"), ("bank", 2, "role institution")):
        code, _, err = await house.cli("profile", "confirm", "strict", "--by", login)
        assert (code, why in err) == (ended, True)
    accounts = (
        "900001",
        next(one for one in ("900003", "900007", "900012") if owner(one, 2) != owner("900001", 2)),
    )
    async with house.sender(accounts[0]) as one, house.sender(accounts[1]) as other:
        await becomes(house, one, PASSED)
        done = await did(house, "confirm", "strict", "--by", "r2")
        assert (done["state"], done["digest"]) == ("in_force", version["digest"])
        begins = datetime.datetime.fromisoformat(done["valid_from"]).timestamp() * 1000
        for sender in (one, other):
            await becomes(house, sender, CONSENT)
        judged = [found.record for found in house.records()]
        held = [record for record in judged if record.judged.profile == version["digest"]]
        assert {record.judged.account for record in held} == set(accounts)
        assert {record.judged.reason for record in held} == {"consent_missing"}
        # whatever was judged a second after it was confirmed was judged by it
        assert [record for record in judged if record.at > begins + 1000 and record not in held] == []
    asked = ("judge", "--from", MARKETING, "--to", "13800000001", "--text", TEXT)
    code, out, _ = await house.cli(*asked)
    assert (code, f"profile strict {version['digest']}" in out) == (3, True)
    held = (await did(house, "show"))["rules"]
    assert {rule["reason"]: rule["modes"]["marketing"] for rule in held}["consent_missing"] == "enforce"
    before = datetime.datetime.fromtimestamp(begins / 1000 - 1, datetime.UTC).isoformat()
    code, out, _ = await house.cli(*asked, "--at", before)
    assert (code, "profile profile.toml" in out) == (0, True)  # as it was judged then


@on_the_node
@pytest.mark.long
async def test_it_begins_by_itself_with_the_keeper_stopped(house: House) -> None:
    """Planned for a moment from now: nothing but the replica says so when it begins."""
    begins = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    identity = await activated(house, "mild", valid_from=begins, reason="放宽")
    replica = Replica.open(house.data_dir / "registry", house.key)
    view = replica.snapshot()

    def heard() -> bool:
        view.renew()
        return identity in {one.id for one in view.activations}

    await eventually(heard)
    replica.close()
    async with house.sender("900001") as sender:
        assert (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == CONSENT
        house.signal("keeper", signal.SIGSTOP)
        try:
            await becomes(house, sender, PASSED)
            assert -0.1 < time.time() - begins.timestamp() < 1
        finally:
            house.signal("keeper", signal.SIGCONT)


@on_the_node
@pytest.mark.long
async def test_an_override_holds_for_its_institution_within_a_second(house: House) -> None:
    await activated(house, "mild", reason="一")
    async with house.sender("900001") as bank, house.sender("900013") as fin:
        await becomes(house, bank, PASSED)
        await activated(house, "strict", reason="多次投诉", institution="BANK")
        began = time.monotonic()
        await becomes(house, bank, CONSENT)
        assert time.monotonic() - began < 1
        other = await fin.submit("10690007", [house.subscriber()], "【示例消金】新客理财。拒收请回复R")
        assert other.result == PASSED
    last = {found.record.judged.institution: found.record.judged.profile for found in house.records()}
    assert last["BANK"] != last["FIN"]
    asked = ("judge", "--from", MARKETING, "--to", "13800000001", "--text", TEXT)
    code, out, _ = await house.cli(*asked)
    assert (code, f"{last['BANK']} 特别规则 with an override" in out) == (3, True)


async def activated(house: House, name: str, **wanted: Any) -> int:
    """Two persons have it hold, in this process; the id of the activation, when it is committed."""
    door = await Door.open(house.dsn)
    bureau = Bureau(house.dsn, door)
    try:
        async with bureau.acting("r1") as (c, actor):
            proposal = profiles.Proposal(**wanted)
            identity = (await profiles.propose(c, actor, name, proposal, OWN)).id
        async with bureau.acting("r2") as (c, actor):
            await profiles.confirm(c, actor, name, identity)
    finally:
        await door.close()
    return identity


OWN = parse_profile(any_hour.read, any_hour.NAME)


class Registry:
    def __init__(self, *found: Activation) -> None:
        self.activations = found


def activation(identity: int, start: int, text: str = STRICT, **changes: str) -> Activation:
    profile = parse_profile(lambda name: text if name == "own" else read_profile(name), "own")
    facts = {"name": "own", "digest": profile.digest, "content": canonical(profile.content)}
    return Activation(identity, start, **(facts | changes))


def test_the_one_that_began_last_holds_and_the_nodes_own_until_there_is_one() -> None:
    registry = Registry(
        activation(1, 100, MILD), activation(2, 300), activation(3, 300, MILD), activation(4, 200)
    )
    held = InForce(OWN)
    modes = {at: held.at(registry, at).mode(Reason.CONSENT_MISSING, 1, at) for at in (100, 199, 200, 300, 99)}
    assert modes == {100: OBSERVE, 199: OBSERVE, 200: ENFORCE, 300: OBSERVE, 99: OBSERVE}
    assert held.at(registry, 99) is OWN
    assert held.at(registry, 250) is held.at(Registry(*registry.activations), 260)  # not read again
    assert held.at(registry, 250).max_age == OWN.max_age
    assert held.at(Registry(), 250) is OWN
    assert held.why == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "{"},
        {"content": "[]"},
        {"content": '{"rules": {"of_tomorrow": {}}, "refusal_covers": {}}'},
        {"content": '{"rules": {"quiet_hours": {"sms": 3}}, "refusal_covers": {}}'},
        {"digest": "0123456789abcdef"},
    ],
)
def test_one_that_cannot_be_read_stops_nothing_and_is_told(wrong: dict[str, str]) -> None:
    held = InForce(OWN)
    first = activation(1, 100)
    assert held.at(Registry(first), 150).digest == first.digest
    broken = Registry(first, activation(2, 200, **wrong))
    assert held.at(broken, 250).digest == first.digest
    assert "own" in held.why
    assert "can't be read" in held.why
    fresh = InForce(OWN)  # of a worker that starts now
    assert fresh.at(broken, 250).digest == first.digest
    assert fresh.at(Registry(first), 250).digest == first.digest
    assert fresh.why == ""
