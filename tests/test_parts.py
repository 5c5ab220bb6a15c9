"""A node whose parts run by themselves: one data_dir, one PID namespace, a supervisor for each."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import HouseOf
from playbook import MARKETING, TEXT, House, eventually

from gateway.telemetry import LOG_VARIABLE


@contextlib.contextmanager
def part(house: House, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`zhengming serve NAME`, ended by SIGTERM and well."""
    environment = dict(os.environ) | {LOG_VARIABLE: str(house.logs)}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    command = [sys.executable, "-m", "gateway", "serve", name, "-c", str(house.path)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
async def test_parts_by_themselves_are_one_node(house_of: HouseOf) -> None:
    """They serve, and /metrics adds all of them up, whichever came last or came back."""
    async with house_of() as house:
        await house.stop()

        async def all_is_counted() -> bool:
            attempts = await house.metric("attempts_total", verdict="pass")
            return (attempts, await house.metric("sessions", side="sender")) == (1, 1)

        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(part(house, "relay"))
            with part(house, "keeper"):
                await eventually(lambda: house.pid("worker-0") and house.pid("acceptor"))
                sender = await stack.enter_async_context(house.sender())
                assert (await sender.submit(MARKETING, [house.subscriber()], TEXT)).result == 0
                stack.enter_context(part(house, "web"))
                await house.ready()
                await eventually(all_is_counted)
            stack.enter_context(part(house, "keeper"))
            await house.ready()
            await eventually(all_is_counted)
        await house.start()
