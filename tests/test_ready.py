"""ready.json of a demonstration: its processes are those that run."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from playbook import eventually

from gateway import config
from gateway.node import Node
from gateway.process import run_dir
from gateway.ready import Ready
from gateway.status import roles


async def test_a_part_that_was_started_again_is_named_and_none_is_named_0_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "zhengming.toml").write_text(
        f'[node]\ndata_dir = "{tmp_path / "var"}"\nworkers = 2\n[database]\ndsn = "postgresql://127.0.0.1/x"\n'
    )
    settings = config.load(tmp_path / "zhengming.toml")
    folder = run_dir(settings)
    folder.mkdir(parents=True)

    def says(role: str, pid: int) -> None:
        (folder / f"{role}.status").write_text(
            json.dumps({"role": role, "pid": pid, "ready": True, "why": "", "at": 0})
        )

    for role in roles(2, relay=True):
        says(role, os.getpid())
    ready = Ready(tmp_path / "ready.json")
    running = Node(settings, None)
    ready.write({"console": "here"}, settings, running)

    def pids() -> dict[str, Any]:
        content = json.loads(ready.path.read_text("utf-8"))
        assert content["console"] == "here"
        found: dict[str, Any] = content["pids"]
        return found

    assert pids()["workers"] == [os.getpid()] * 2
    assert ready.path.stat().st_mode & 0o077 == 0
    another = await asyncio.create_subprocess_exec("sleep", "60")
    following = asyncio.create_task(ready.follow(settings, running))
    try:
        (folder / "keeper.status").unlink()
        says("worker-1", another.pid)
        await eventually(lambda: pids()["workers"] == [os.getpid(), another.pid])
        assert pids()["keeper"] == os.getpid()
        says("keeper", another.pid)
        await eventually(lambda: pids()["keeper"] == another.pid)
        assert pids()["acceptor"] == pids()["web"] == os.getpid()
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        another.kill()
        await another.wait()
