"""What the registry did is on record, once each: later where the disk is full, and around a fresh copy."""

import asyncio
import contextlib
import errno
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from playbook import UNGUARDED, eventually

from gateway.evidence import groups
from gateway.evidence import record as rec
from gateway.evidence.folder import segments
from gateway.evidence.journal import Journal
from gateway.evidence.seal import REGISTRY, Keys
from gateway.evidence.segment import Disk, Segment, SegmentDamaged
from gateway.registry import acts as acts_module
from gateway.registry.acts import Acts
from gateway.registry.feed import Feed
from gateway.registry.keys import RegistryKey
from gateway.registry.replica import Replica

BAN = "INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES ($1, true, 'r', 'c')"


class Filling(Disk):
    """A disk that has no room while it is `full`."""

    full = False

    def write(self, descriptor: int, octets: list[bytes], offset: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(descriptor, octets, offset)


class Keeper:
    """The part of a keeper that follows the registry; `journal`, its segments."""

    def __init__(self, dsn: str, path: Path) -> None:
        self._dsn = dsn
        self._keys = Keys(path / "keys")
        self.registry = path / "registry"
        self._folder = path / "journal"
        self.disk = Filling()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[Replica]:
        replica = Replica.open(self.registry, RegistryKey(bytes(32)), writer=True, map_size=1 << 28)
        journal = Journal(self._folder, "n", "keeper", self._keys, retention=REGISTRY, disk=self.disk)
        journal.start()
        acts = Acts(self._dsn, journal, self._folder)
        feed = Feed(self._dsn, replica, on_cursor=acts.follows)
        tasks = [asyncio.create_task(acts.run()), asyncio.create_task(feed.run())]
        try:
            await eventually(lambda: feed.connected)
            yield replica
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await journal.close()
            replica.close()

    def recorded(self) -> Counter[str]:
        """How often each number, or a copy, is on record."""
        found = Counter[str]()
        for path in segments(self._folder / "keeper"):
            with contextlib.suppress(SegmentDamaged), Segment(path) as segment:  # its head is not there yet
                for block in segment.blocks():
                    for act in map(rec.decode, block.records):
                        assert isinstance(act, rec.Act)
                        found[act.key.rstrip("…") or act.op] += 1
        return found


@pytest.fixture
def keeper(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(groups, "RETRY", 0.01)
    monkeypatch.setattr(acts_module, "RETRY_SECONDS", 0.02)
    return Keeper(database, tmp_path)


@pytest.fixture
async def c(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(UNGUARDED)
        yield connection
    finally:
        await connection.close(timeout=2)


def holds(replica: Replica, number: str) -> bool:
    return replica.snapshot().ban(number) is not None


async def test_no_act_is_lost_on_a_full_disk_or_around_a_fresh_copy(
    keeper: Keeper, c: asyncpg.Connection
) -> None:
    async with keeper.following() as replica:
        await c.execute(BAN, "1061")
        await eventually(lambda: keeper.recorded() == {"copy": 1, "1061": 1})
        keeper.disk.full = True
        for number in ("1062", "1063"):
            await c.execute(BAN, number)
        await eventually(lambda: holds(replica, "1063"))  # which waits for no record
        assert keeper.recorded() == {"copy": 1, "1061": 1}
        keeper.disk.full = False
        expected = {"copy": 1} | dict.fromkeys(("1061", "1062", "1063"), 1)
        await eventually(lambda: keeper.recorded() == expected)
        keeper.disk.full = True
        await c.execute(BAN, "1064")
        await eventually(lambda: holds(replica, "1064"))
    keeper.disk.full = False  # and the replica is gone with what nobody has recorded yet
    shutil.rmtree(keeper.registry)
    await c.execute(BAN, "1065")
    async with keeper.following():
        expected = {"copy": 2} | dict.fromkeys(("1061", "1062", "1063", "1064", "1065"), 1)
        await eventually(lambda: keeper.recorded() == expected)
    for number in ("1066", "1067"):
        await c.execute(BAN, number)
    await c.execute("DELETE FROM change_log WHERE seq < (SELECT max(seq) FROM change_log)")
    async with keeper.following():  # what the log has lost, nobody can tell
        expected |= {"copy": 3, "1067": 1}
        await eventually(lambda: keeper.recorded() == expected)


async def test_of_another_database_what_follows_its_copy_is_recorded(
    keeper: Keeper, c: asyncpg.Connection, tmp_path: Path
) -> None:
    await c.execute(BAN, "1061")
    async with keeper.following():
        await eventually(lambda: keeper.recorded() == {"copy": 1})
        await eventually((tmp_path / "journal" / "acted").exists)
    place = tmp_path / "journal" / "acted"
    place.write_bytes(place.read_bytes().replace(b'"database":"', b'"database":"another/'))
    async with keeper.following():
        await c.execute(BAN, "1062")
        await eventually(lambda: keeper.recorded() == {"copy": 1, "1062": 1})
