"""A disk that fails under a running node, by a preloaded library (faulty_disk.c) that makes its calls fail.

Errors that say "perhaps" (EIO) poison one worker's journal until an operator has cleared it; a disk without
room makes it busy until there is some. Nothing leaves, and nothing is refused, without its record.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, MARKETING, TEXT, House, eventually, refresh

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.simulator.sender import LoginRefused, SenderSim

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

NUMBER = MARKETING + "0001"
BUSY, REFUSED, OTHER_ERROR = 8, 103, 5
MINE, OTHER = "900001", "900018"
WRITER, WORKER = f"w{owner(MINE, 2)}", f"worker-{owner(MINE, 2)}"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build the failing disk with")
    made = tmp_path_factory.mktemp("library") / "faulty_disk.so"
    source = Path(__file__).parent / "faulty_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(
    library: Path, house_of: HouseOf, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    assert owner(MINE, 2) != owner(OTHER, 2)
    plan = tmp_path_factory.mktemp("plan") / "plan"
    environment = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(plan)}
    async with house_of(workers=2, extra=[OTHER], environment=environment) as house:
        yield house


class Disk:
    """What the disk does from now on."""

    def __init__(self, plan: Path) -> None:
        self._plan = plan

    def fails(self, *lines: str) -> None:
        draft = self._plan.with_suffix(".new")
        draft.write_text("".join(f"{line}\n" for line in lines), "ascii")
        draft.replace(self._plan)

    @property
    def planned(self) -> bool:
        """Whether it will still do something."""
        return self._plan.exists()

    def is_well(self) -> None:
        self._plan.unlink(missing_ok=True)


@pytest.fixture
def disk(node: House) -> Disk:
    return Disk(Path(node.environment["FAULTY_DISK"]))


@pytest_asyncio.fixture(loop_scope="module")
async def house(node: House, disk: Disk) -> AsyncIterator[House]:
    refresh(node.carrier)
    yield node
    disk.is_well()
    await node.ready()


async def result(sender: SenderSim, house: House, source: str = NUMBER, to: str = "") -> int | None:
    return (await sender.submit(source, [to or house.subscriber()], TEXT)).result


async def stopped(house: House, cause: str, count: int) -> None:
    async def said() -> bool:
        return await house.metric("journal_stopped", cause=cause) == count

    await eventually(said)


async def test_an_error_poisons_one_worker_until_an_operator_has_cleared_it(house: House, disk: Disk) -> None:
    house.carrier.faults.answer_after = 2.0
    before, lost, late = house.subscriber(), house.subscriber(), house.subscriber()
    async with house.sender(MINE) as sender, house.sender(OTHER) as other:
        outstanding = sender.request(sender.frames(NUMBER, [before], TEXT)[0])
        await house.carrier.until(lambda: house.carrier.submits)
        disk.fails(f"write {errno.EIO} /journal/{WRITER}/")
        assert await result(sender, house, to=lost) == BUSY
        disk.is_well()  # too late: nobody knows what is on it
        assert await result(sender, house, to=late) == BUSY
        assert await result(sender, house, BANNED, to=late) == BUSY
        assert await house.carrier.deliver(NUMBER, before, "R", account=MINE) == BUSY
        with pytest.raises(LoginRefused, match=str(OTHER_ERROR)):
            async with house.sender(MINE):
                pass
        assert (await outstanding).result == 0  # what was on its way is answered
        await sender.until(lambda: sender.cause is not None)
        assert sender.cause is not None
        assert sender.cause.cause == "terminated"
        assert await result(other, house) == 0  # the other worker's journal is its own
        assert other.cause is None
    assert await house.metric("connections_closed_total", cause="journal_poisoned") == 1
    await stopped(house, "poisoned", 1)

    for _ in range(2):  # a restart of the worker does not heal it
        code, why = await house.readyz()
        assert code == 503
        assert f"zhengming journal clear {WRITER}" in why
        code, _, told = await house.cli("journal", "clear", WRITER)
        assert code == 2
        assert "stop the node first" in told
        old = house.signal(WORKER)
        await eventually(lambda old=old: house.running(WORKER) not in (0, old))
        await stopped(house, "poisoned", 1)
        with pytest.raises(LoginRefused):
            async with house.sender(MINE):
                pass
    await house.stop()
    assert (await house.cli("journal", "clear", WRITER))[0] == 0
    assert "nothing to clear" in (await house.cli("journal", "clear", WRITER))[1]
    await house.start()
    await stopped(house, "poisoned", 0)
    async with house.sender(MINE) as sender:
        assert await result(sender, house, to=late) == 0
        assert await result(sender, house, BANNED) == REFUSED
        assert await house.carrier.deliver(NUMBER, before, "R", account=MINE) == 0
        assert await result(sender, house, to=before) == 110

    assert house.reasons(subscriber=before) == ["", "refused_by_subscriber"]
    assert house.reasons(subscriber=lost) == []
    assert house.reasons(subscriber=late) == [""]
    got = [received.submission.destinations[0].decode() for received in house.carrier.submits]
    assert lost not in got
    assert sorted(got) == sorted(found.content.subscriber[3:] for found in house.records(verdict="pass"))


async def test_what_a_start_meets_poisons_too(house: House, disk: Disk) -> None:
    """A failed sync is not tried again: the second one would call good what is not on the disk."""
    disk.fails(f"sync {errno.EIO} /journal/{WRITER}/")
    old = house.signal(WORKER)
    await eventually(lambda: house.running(WORKER) not in (0, old))
    await stopped(house, "poisoned", 1)
    disk.is_well()
    with pytest.raises(LoginRefused):
        async with house.sender(MINE):
            pass
    await house.stop()
    assert (await house.cli("journal", "clear", WRITER))[0] == 0
    await house.start()
    async with house.sender(MINE) as sender:
        assert await result(sender, house) == 0


async def test_the_keepers_journal_is_said_to_be_poisoned_and_bans_hold_all_the_same(
    house: House, disk: Disk
) -> None:
    number = MARKETING + "0077"
    async with house.sender(MINE) as sender:
        assert await result(sender, house, number) == 0
        disk.fails(f"write {errno.EIO} /journal/keeper/")
        house.sql(
            "INSERT INTO blacklist (number, is_prefix, reason, case_reference, added_by)"
            " VALUES (%s, false, 'test', 'CASE-9', 'tester')",
            number,
        )

        async def held() -> bool:
            return await result(sender, house, number) == REFUSED

        await eventually(held)
        await stopped(house, "poisoned", 1)
        code, why = await house.readyz()
        assert code == 503
        assert "zhengming journal clear keeper" in why
    disk.is_well()
    await house.stop()
    assert (await house.cli("journal", "clear", "keeper"))[0] == 0
    await house.start()

    def recorded() -> bool:
        acts = house.records(rec.Act, kinds=frozenset({rec.ACT}))
        return number in {found.record.key for found in acts}  # type: ignore[union-attr]

    await eventually(recorded)


async def test_without_room_it_is_busy_until_there_is_some_and_nothing_is_lost(
    house: House, disk: Disk
) -> None:
    pids = house.pids()
    replied, mine = house.subscriber(), house.subscriber()
    async with house.sender(MINE) as sender, house.sender(OTHER) as other:
        assert await result(sender, house, to=replied) == 0
        house.carrier.faults.answer_after = 1.0
        outstanding = sender.request(sender.frames(NUMBER, [mine], TEXT)[0])
        await house.carrier.until(lambda: len(house.carrier.submits) == 2)
        house.carrier.faults.answer_after = 0.0
        disk.fails(f"write {errno.ENOSPC} /journal/", f"reserve {errno.ENOSPC} /journal/")
        for one in (sender, other):
            assert await result(one, house) == BUSY
            assert await result(one, house, BANNED) == BUSY
        assert await house.carrier.deliver(NUMBER, replied, "R", account=MINE) == BUSY
        await stopped(house, "full", 2)
        code, why = await house.readyz()
        assert code == 503
        assert why.count("no room") == 2
        assert (await outstanding).result == 0
        disk.is_well()
        await stopped(house, "full", 0)
        for one in (sender, other):
            assert await result(one, house) == 0
            assert await result(one, house, BANNED) == REFUSED
        assert await house.carrier.deliver(NUMBER, replied, "R", account=MINE) == 0
        assert await result(other, house, to=replied) == 110
        assert sender.cause is other.cause is None
    assert house.pids() == pids
    (attempt,) = house.records(subscriber=mine)

    def answered() -> bool:
        outcomes = house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))
        return attempt.record.id in {found.record.attempt for found in outcomes}  # type: ignore[union-attr]

    await eventually(answered)  # kept in memory meanwhile


@pytest.mark.parametrize("victim", [WORKER, "keeper"])
@pytest.mark.parametrize("file", ["replica-", "local"])
async def test_a_file_cut_between_a_look_and_a_read_costs_one_process_and_its_connections(
    house: House, disk: Disk, file: str, victim: str
) -> None:
    """A mapped page that is not there any more kills who reads it (SIGBUS); nothing accepted is lost."""
    replied = house.subscriber()
    async with house.sender(MINE) as sender, house.sender(OTHER) as other:
        assert await result(sender, house, to=replied) == 0
        assert await house.carrier.deliver(NUMBER, replied, "R", account=MINE) == 0
        pids = {role: house.running(role) for role in house.roles}
        got = Counter(received.text for received in house.carrier.submits)
        disk.fails(f"look {pids[victim]} /registry/{file}")
        await eventually(lambda: not disk.planned)
        began = time.monotonic()

        async def judged() -> bool:
            with contextlib.suppress(LoginRefused, OSError):
                async with house.sender(MINE, login_seconds=3.0) as again:
                    assert await result(again, house, BANNED) in (REFUSED, BUSY, None)
                    return await result(again, house, to=replied) == 110
            return False

        await eventually(judged)
        assert time.monotonic() - began < 8.0
        assert await result(other, house, to=replied) in (110, BUSY)
        assert await result(other, house, BANNED) in (REFUSED, BUSY)
        assert other.cause is None
        if victim != WORKER:
            assert sender.cause is None
    await house.ready()
    died = {role for role, pid in pids.items() if house.running(role) != pid}
    assert died <= {victim, "keeper"}  # the keeper writes to these files by itself
    if victim == WORKER or died:  # the keeper reads how a file begins, too, and may be in time
        assert victim in died
        assert house.log_lines("part died", pid=pids[victim], code=-signal.SIGBUS)
    assert Counter(received.text for received in house.carrier.submits) == got


async def test_without_room_for_another_local_it_waits_and_no_process_ends(house: House, disk: Disk) -> None:
    pids = house.pids()
    replied = house.subscriber()
    file = house.data_dir / "registry" / "local" / "data.mdb"

    async def unready() -> bool:
        code, why = await house.readyz()
        return code == 503 and why.count("data.mdb can't be made") == 2

    async with house.sender(MINE) as sender, house.sender(OTHER) as other:
        assert await result(sender, house, to=replied) == 0
        assert await house.carrier.deliver(NUMBER, replied, "R", account=MINE) == 0
        disk.fails(f"write {errno.ENOSPC} /registry/", f"cut {errno.ENOSPC} /registry/")
        file.unlink()
        await eventually(unready)
        assert await result(sender, house) == 0  # what was deleted is still mapped
        assert await result(other, house, to=replied) == 110
        disk.is_well()
        await house.ready()
        assert await result(other, house, to=replied) == 110
        disk.fails(f"write {errno.ENOSPC} /registry/", f"cut {errno.ENOSPC} /registry/")
        os.truncate(file, 3 * 4096)
        await eventually(unready)
        for one in (sender, other):
            assert await result(one, house, to=replied) == BUSY
        disk.is_well()
        await house.ready()
        for one in (sender, other):
            assert await result(one, house) == 0
            assert await result(one, house, to=replied) == 110
        assert sender.cause is other.cause is None
    assert house.pids() == pids
