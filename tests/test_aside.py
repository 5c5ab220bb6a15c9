"""Work beside the requests."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from playbook import eventually

from gateway.registry.exchange import ImportResult
from gateway.web.api import Upload
from gateway.web.aside import UNMADE, Passing, again_and_again, aside
from gateway.web.resources import papers
from gateway.web.site import MOST_EXPORTS, MOST_IMPORTS


async def test_work_is_done_on_another_loop_and_its_answer_or_error_comes_back() -> None:
    async def work() -> tuple[int, asyncio.AbstractEventLoop]:
        return threading.get_ident(), asyncio.get_running_loop()

    async def fails() -> None:
        raise ValueError("row 7")

    thread, loop = await aside(work)
    assert thread != threading.get_ident()
    assert loop is not asyncio.get_running_loop()
    with pytest.raises(ValueError, match="row 7"):
        await aside(fails)


async def test_work_ends_with_who_waits_for_it() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(aside(work))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_imports_leave_threads_to_who_looks_for_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many long ones at once as the process has threads would have kept everybody else waiting."""
    begun, end = [], threading.Event()

    async def import_file(*_: Any, **__: Any) -> ImportResult:
        begun.append(1)
        while not end.is_set():  # noqa: ASYNC110  # of another loop's
            await asyncio.sleep(0.01)
        return ImportResult(0, 0, 0, 0, None)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"number\n"

    monkeypatch.setattr(papers.exchange, "import_file", import_file)
    site = SimpleNamespace(passing=Passing(tmp_path), importing=asyncio.Semaphore(MOST_IMPORTS),
                           door=SimpleNamespace(dsn=""), key=None, terms=None)  # fmt: skip
    bank = SimpleNamespace(role="institution")
    calls: list[Any] = [
        SimpleNamespace(path={"kind": "numbers"}, actor=bank, site=site, zh=True,
                        query=SimpleNamespace(dry_run=""), body=Upload("text/csv", "t.csv", chunks()))
        for _ in range((os.cpu_count() or 1) + 5)
    ]  # fmt: skip
    bringing = [asyncio.create_task(papers.bring(call)) for call in calls]
    try:
        await eventually(lambda: len(begun) >= MOST_IMPORTS)
        await asyncio.sleep(0.1)
        await asyncio.wait_for(asyncio.to_thread(tmp_path.exists), 1.0)
        assert len(begun) == MOST_IMPORTS
    finally:
        end.set()
        await asyncio.gather(*bringing)
    assert MOST_IMPORTS + MOST_EXPORTS < 5  # threads of a machine with one CPU


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path) -> None:
    passing = Passing(tmp_path / "passing")
    left = passing.folder()
    (left / "refusals.csv").write_text("+8613800000000")
    passing.begin()
    assert not left.exists()
    assert passing.folder().is_dir()


async def test_what_fails_is_tried_again_and_each_cause_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A second apart and for a day, a line for each try would fill the log."""
    unmade = asyncpg.UndefinedTableError('relation "nodes" does not exist')
    fails: list[Exception | None] = [unmade, unmade, *[OSError("away")] * 3, None]
    tries: list[int] = []

    async def work() -> None:
        tries.append(1)
        if (error := fails[len(tries) - 1]) is not None:
            raise error

    log = logging.getLogger("upkeep")
    with caplog.at_level(logging.INFO, "upkeep"):
        keeping = asyncio.create_task(again_and_again(work, "upkeep not done", log, soon=0.0))
        await eventually(lambda: len(tries) == len(fails))
        keeping.cancel()
    assert [(line.levelname, line.fields["why"]) for line in caplog.records] == [  # type: ignore[attr-defined]
        ("INFO", UNMADE),
        ("WARNING", "away"),
    ]
