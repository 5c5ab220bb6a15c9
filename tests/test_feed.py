"""The keeper's half: whatever PostgreSQL says, and however it is interrupted, the replica follows."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from gateway.model import AccountKey
from gateway.registry import store
from gateway.registry.feed import Feed
from gateway.registry.keys import RegistryKey
from gateway.registry.local import learn
from gateway.registry.replica import Replica

KEY = RegistryKey(bytes(32))
ACCOUNT = AccountKey("mobile", "cmpp", "900001")


@contextlib.asynccontextmanager
async def following(dsn: str, replica: Replica) -> AsyncIterator[Feed]:
    feed = Feed(dsn, replica)
    task = asyncio.create_task(feed.run())
    try:
        await until(lambda: feed.connected or task.done())
        yield feed
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(reached: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait until something holds; how many seconds it took."""
    began = time.monotonic()
    while not reached():
        assert time.monotonic() - began < seconds, "did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


async def test_a_ban_reaches_the_replica(database: str, tmp_path: Path) -> None:
    replica = Replica.open(tmp_path, KEY, writer=True)
    c = await asyncpg.connect(database)
    async with following(database, replica):
        view = replica.snapshot()
        assert view.ban("10690001") is None
        await store.add_ban(c, "1069", is_prefix=True, reason="fraud", case_reference="C-1", by="tester")

        def banned() -> bool:
            view.renew()
            return view.ban("10690001") is not None

        took = await until(banned)
        print("took", took)
        replica.add_local_refusals(
            [
                learn(
                    KEY,
                    "+8613800001234",
                    institution=0,
                    purposes=1,
                    channels=1,
                    at=5,
                    node="n",
                    account=ACCOUNT,
                    message_id=b"1",
                )
            ]
        )
        view.renew()
        assert view.refusals("+8613800001234")
        print(await until(lambda: replica.local.pending() == []))
        view.renew()
        assert view.refusals("+8613800001234")
        print(await c.fetch("select * from refusals"), await c.fetch("select * from change_log"))
    await c.close()
    replica.close()
