"""The journal: what it said is durable is there, in order, whatever dies; and it says when it can't."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import model
from gateway.errors import UsageError
from gateway.evidence import commit, groups, plan, segment
from gateway.evidence import record as rec
from gateway.evidence.folder import clear, segment_path, segments
from gateway.evidence.journal import (
    ACCEPTED,
    OCTETS,
    OUTCOME,
    PAIRS,
    Item,
    Journal,
    JournalFull,
    JournalPoisoned,
)
from gateway.evidence.seal import Keys
from gateway.evidence.segment import Disk, Segment

ACCOUNT = model.AccountKey("mobile", "cmpp", "900001")
JUDGED = rec.judged(ACCOUNT, "n", model.SMS, "10690001", model.Verdict(None), profile="p", lexicon="l")
NOON = 1_763_697_600_000  # 2025-11-21 12:00 in Shanghai
REPLY = model.Reply(ACCOUNT, "10690001", "+8613800000001", "R", "refuse", b"m", 3, "B1", ("today",))


def items(*sequences: int) -> list[Item]:
    return [(JUDGED, 0, 77, n, 0, 1, 1, 0, "杭州", f"+86138{n:08d}", 8, 0, b"text %d" % n) for n in sequences]


def records(folder: Path) -> list[rec.Record]:
    found = []
    for path in segments(folder):
        if not path.stat().st_size:
            continue  # nothing of it was whole
        with Segment(path) as opened:
            index = 0
            for block in opened.blocks():
                assert block.first == index
                index += len(block.records)
                found += [rec.decode(octets) for octets in block.records]
    return found


def sequences(folder: Path) -> list[int | bytes]:
    return [record.sequence for record in records(folder) if isinstance(record, rec.Attempt)]


def make(path: Path, **how: Any) -> Journal:
    return Journal(path / "journal", "n", "w0", Keys(path / "keys"), **({"clock": lambda: NOON} | how))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(2):
        while True:
            if holds():
                return
            await asyncio.sleep(0.002)


async def add(journal: Journal, *numbers: int, at: int = NOON) -> list[bytes]:
    future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    ids = journal.attempts(at, 5, items(*numbers), future.set_result)
    error = await future
    if error is not None:
        raise error
    return ids


async def test_every_kind_is_recorded_and_opens_again(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    done: list[Exception | None] = []
    ids = journal.attempts(NOON, 5, items(1, 2), done.append)
    journal.outcomes(NOON + 1, [(ids[0], 0, b"msgid", 0), (ids[1], rec.UNKNOWN, b"", 0)])
    journal.report(NOON, ACCOUNT, b"m", "DELIVRD", "2511211200", "2511211201", "10690001", "+8613800000001")
    journal.report(NOON, ACCOUNT, b"m", "DELIVRD", "", "", "", "", attempt=ids[0], part=1)
    reply = journal.reply(
        NOON, REPLY, b"R", 0, 0, purposes=1, channels=3, registry_version=5, attempt=ids[0], done=done.append
    )
    act = journal.act(NOON, "blacklist", "1069", "insert", 4, "regulator", "C-1", done.append)
    assert done == []
    assert journal.backlog > 0
    assert journal.waiting == 3
    await journal.sync()
    assert done == [None, None, None]
    assert (journal.backlog, journal.waiting) == (0, 0)
    await journal.close()

    folder = tmp_path / "journal" / "w0"
    found = records(folder)
    assert [record.kind for record in found] == [1, 1, 2, 2, 3, 3, 4, 5]
    assert [found[0].id, found[1].id, found[6].id, found[7].id] == [*ids, reply, act]  # type: ignore[union-attr]
    assert sorted([*ids, reply, act]) == [*ids, reply, act]
    assert {rec.time_of(id_) for id_ in ids} == {NOON}
    with Segment(segment_path(folder, 1)) as opened:
        key = Keys(tmp_path / "keys").find(opened.header.key_name, opened.header.key_check)
        cipher = key.segment(opened.header.salt, opened.digest)
        for index, record in enumerate(found):
            if isinstance(record, rec.Attempt | rec.Report | rec.Reply) and record.sealed:
                plain = cipher.decrypt(index.to_bytes(12, "big"), record.sealed, opened.digest)
                content = rec.decode_content(plain)
                assert record.subscriber == key.hash_subscriber(content.subscriber.encode())
                if not isinstance(record, rec.Report):
                    assert record.digest == key.hash_text(content.octets)  # type: ignore[arg-type]
    assert segment_path(folder, 1).stat().st_size < 4096


async def test_a_message_in_parts_is_one_record(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    whole = (*items(1)[0][:5], 2, 0, 99, *items(1)[0][8:12], (b"part 1", b"part 2"))
    journal.attempts(NOON, 5, [whole], lambda error: None)  # type: ignore[list-item]
    await journal.close()
    (found,) = records(tmp_path / "journal" / "w0")
    assert isinstance(found, rec.Attempt)
    assert (found.pk_total, found.pk_number, found.reference) == (2, 0, 99)
    assert found.digest == Keys(tmp_path / "keys").data_key("2025-11-21").hash_text(b"part 1part 2")


async def test_callbacks_come_in_order_and_a_failing_one_stops_nobody(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    said: list[object] = []
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

    def chain(error: Exception | None) -> None:
        said.append(0)
        journal.after(lambda error: said.append("after 2"))

    def fail(error: Exception | None) -> None:
        said.append(1)
        raise ValueError("mine")

    journal.after(lambda error: said.append("at once"))
    assert said == ["at once"]
    journal.attempts(NOON, 5, items(0), chain)
    journal.attempts(NOON, 5, items(1), fail)
    journal.after(lambda error: said.append("after 1"))
    journal.attempts(NOON, 5, items(2), lambda error: said.append(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the first group is at the disk now
    journal.attempts(NOON, 5, items(3), lambda error: said.append(3))
    journal.after(lambda error: said.append("after 3"))
    await journal.sync()
    assert said[1:] == [
        0,
        1,
        "after 1",
        2,
        *([3, "after 3", "after 2"] if said[-1] == "after 2" else ["after 2", 3, "after 3"]),
    ]
    assert [str(context["exception"]) for context in failures] == ["mine"]
    await journal.close()


async def test_notes_alone_go_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "LINGER", 0.01)
    journal = make(tmp_path)
    journal.start()
    journal.outcomes(NOON, [(bytes(16), 0, b"", 0)])
    await until(lambda: not journal.backlog)
    assert len(records(tmp_path / "journal" / "w0")) == 1
    await journal.close()


async def test_a_segment_is_not_left_while_something_gathers_for_it(tmp_path: Path) -> None:
    """As when the next day's can't be begun, for want of room, while outcomes linger for this one."""
    journal = make(tmp_path)
    journal.start()
    (passed,) = await add(journal, 1)
    journal.outcomes(NOON, [(passed, 0, b"", 0)])
    journal._groups._no_room()
    journal._groups._look_for_room()
    await until(lambda: not journal.full)
    await add(journal, 2)
    assert not journal.poisoned
    found = records(tmp_path / "journal" / "w0")
    assert [type(one) for one in found] == [rec.Attempt, rec.Outcome, rec.Attempt]
    await journal.close()


async def test_local_values_are_applied_after_the_disk_and_before_the_answer(tmp_path: Path) -> None:
    seen: list[Any] = []
    folder = tmp_path / "journal" / "w0"

    def apply(local: list[Any]) -> None:
        seen.append(("applied", local, len(records(folder))))
        if 13 in local:
            raise RuntimeError("no room in the local map")

    journal = make(tmp_path, apply=apply)
    journal.start()
    how = {"purposes": 1, "channels": 3, "registry_version": 5}
    for local in (1, None, 2):
        made = (lambda _, local=local: local) if local else None  # type: ignore[misc]
        journal.reply(NOON, REPLY, b"R", 0, 0, **how, local=made, done=seen.append)  # type: ignore[arg-type]
    await journal.sync()
    assert seen == [("applied", [1, 2], 3), None, None, None]
    seen.clear()
    journal.reply(NOON, REPLY, b"R", 0, 0, **how, local=lambda _: 13, done=lambda e: seen.append(str(e)))  # type: ignore[arg-type]
    journal.attempts(NOON, 5, items(1), seen.append)
    await journal.sync()
    assert seen[1:] == ["no room in the local map", None]
    await journal.close()


async def test_segments_turn_by_size_and_by_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SEGMENT_OCTETS", 3000)
    journal = make(tmp_path)
    journal.start()
    for n in range(30):
        await add(journal, n, at=NOON)
    midnight = rec.day_start(NOON) + 86_400_000
    await add(journal, 30, at=midnight - 1)
    await add(journal, 31, at=midnight)
    await add(journal, 32, at=midnight - 1)  # a straggler stays where we are
    await journal.close()
    folder = tmp_path / "journal" / "w0"
    assert sequences(folder) == list(range(33))
    headers = []
    for path in segments(folder):
        with Segment(path) as opened:
            headers.append(opened.header)
    assert [header.number for header in headers] == list(range(1, len(headers) + 1))
    assert len(headers) > 3
    assert [header.day for header in headers] == ["2025-11-21"] * (len(headers) - 1) + ["2025-11-22"]
    assert len({header.salt for header in headers}) == len(headers)


async def test_a_restart_begins_a_new_segment(tmp_path: Path) -> None:
    for n in range(3):
        journal = make(tmp_path)
        journal.start()
        await add(journal, n)
        with pytest.raises(UsageError, match="another process"):
            make(tmp_path)
        await journal.close()
    folder = tmp_path / "journal" / "w0"
    assert sequences(folder) == [0, 1, 2]
    assert len(segments(folder)) == 3


class Failing(Disk):
    """A disk that does as it is told: `fail` is asked before each call."""

    def __init__(self) -> None:
        self.fail: Callable[[str], OSError | None] = lambda call: None
        self.partly = 0

    def _ask(self, call: str) -> None:
        error = self.fail(call)
        if error is not None:
            raise error

    def reserve(self, descriptor: int, offset: int, length: int) -> None:
        self._ask("reserve")
        super().reserve(descriptor, offset, length)

    def fill(self, descriptor: int, offset: int, length: int) -> int:
        self._ask("reserve")
        return super().fill(descriptor, offset, length)

    def write(self, descriptor: int, octets: list[bytes], offset: int) -> int:
        try:
            self._ask("write")
        except OSError:
            os.pwrite(descriptor, b"".join(octets)[: self.partly], offset)
            raise
        return super().write(descriptor, octets, offset)

    def truncate(self, descriptor: int, length: int) -> None:
        self._ask("truncate")
        super().truncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        self._ask("sync")
        super().sync(descriptor)


@pytest.mark.parametrize("partly", [0, 40, 10_000])
async def test_an_error_of_the_disk_poisons_until_an_operator_acts(tmp_path: Path, partly: int) -> None:
    disk = Failing()
    disk.partly = partly
    said: list[str] = []
    called: list[Exception | None] = []
    dropped: list[int] = []
    journal = make(tmp_path, disk=disk, on_poisoned=said.append, on_dropped=dropped.append)
    journal.start()
    await add(journal, 1)
    disk.fail = lambda call: OSError(errno.EIO, "gone") if call == "write" else None
    journal.attempts(NOON, 5, items(2), called.append)
    journal.outcomes(NOON, [(bytes(16), 0, b"", 0)] * 2)  # which go with them
    with pytest.raises(JournalPoisoned):
        await journal.sync()
    assert "gone" in journal.poisoned
    assert said == [journal.poisoned]
    disk.fail = lambda call: None
    for refused in (
        lambda: journal.attempts(NOON, 5, items(3), called.append),
        lambda: journal.reply(
            NOON, REPLY, b"R", 0, 0, purposes=1, channels=1, registry_version=5, done=called.append
        ),
    ):
        with pytest.raises(JournalPoisoned):
            refused()
    journal.outcomes(NOON, [(bytes(16), 0, b"", 0)])
    assert dropped == [2, 1]
    await journal.close()
    assert [type(error) for error in called] == [JournalPoisoned]

    again = make(tmp_path, on_poisoned=said.append)
    assert "gone" in again.poisoned
    again.start()
    assert len(said) == 2
    with pytest.raises(JournalPoisoned):
        await add(again, 4)
    with pytest.raises(UsageError):
        clear(tmp_path / "journal", "w0")
    await again.close()

    clear(tmp_path / "journal", "w0")
    well = make(tmp_path)
    assert well.poisoned == ""
    well.start()
    await add(well, 5)
    await well.close()
    assert sequences(tmp_path / "journal" / "w0") == [1, 5]


async def test_an_error_that_nobody_waited_for_poisons_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "CHUNK", 1)
    disk = Failing()
    journal = make(tmp_path, disk=disk)
    journal.start()
    await add(journal, 1)
    disk.fail = lambda call: OSError(errno.EIO, "ahead") if call == "reserve" else None
    monkeypatch.setattr(commit, "AHEAD", 1 << 19)
    journal._groups._thread._look_ahead(journal._groups._plan)  # type: ignore[arg-type]
    disk.fail = lambda call: None
    told: list[Exception | None] = []
    journal.attempts(NOON, 5, items(2), told.append)
    with pytest.raises(JournalPoisoned):
        await journal.sync()
    await journal.close()
    assert [type(error) for error in told] == [JournalPoisoned]
    assert sequences(tmp_path / "journal" / "w0") == [1]


async def test_an_error_of_sync_poisons_too(tmp_path: Path) -> None:
    disk = Failing()
    journal = make(tmp_path, disk=disk)
    journal.start()
    disk.fail = lambda call: OSError(errno.EIO, "sync") if call == "sync" else None
    told: list[Exception | None] = []
    journal.attempts(NOON, 5, items(1), told.append)
    with pytest.raises(JournalPoisoned):
        await journal.sync()
    await journal.close()
    assert [type(error) for error in told] == [JournalPoisoned]


@pytest.mark.parametrize("gone", ["00000001.seg", "tail", "lock"])
async def test_a_file_that_is_removed_under_the_writer_poisons(tmp_path: Path, gone: str) -> None:
    folder = tmp_path / "journal" / "w0"
    journal = make(tmp_path)
    journal.start()
    await add(journal, 1)
    journal.check()
    await add(journal, 2)
    (folder / gone).rename(folder / "taken")
    journal.check()
    await until(lambda: journal.poisoned)
    assert f"{gone}: removed" in journal.poisoned
    with pytest.raises(JournalPoisoned):
        await add(journal, 3)
    await journal.close()


async def test_a_segment_that_is_cut_under_the_writer_poisons(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    await add(journal, 1)
    os.truncate(segment_path(tmp_path / "journal" / "w0", 1), 300)
    journal.check()
    await until(lambda: journal.poisoned)
    assert "cut to 300" in journal.poisoned
    await journal.close()
    assert "cut to 300" in make(tmp_path).poisoned


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def damaged(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)


def beheaded(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [removed, cut, damaged, beheaded])
async def test_a_start_without_what_was_durable_is_refused_until_an_operator_acts(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    folder = tmp_path / "journal" / "w0"
    for number in (1, 2):
        journal = make(tmp_path)
        journal.start()
        await add(journal, number)
        await add(journal, 10 * number)
        await journal.close()
    assert clear(tmp_path / "journal", "w0") is None
    last = segment_path(folder, 2)
    harm(last)
    left = last.read_bytes() if last.exists() else None
    for _ in range(2):
        journal = make(tmp_path)
        assert str(last) in journal.poisoned
        journal.start()
        with pytest.raises(JournalPoisoned):
            await add(journal, 3)
        await journal.close()
    assert (last.read_bytes() if last.exists() else None) == left  # for who wants to know what happened
    size = clear(tmp_path / "journal", "w0")
    assert size == (last.stat().st_size if last.exists() else 0)
    journal = make(tmp_path)
    assert not journal.poisoned
    journal.start()
    await add(journal, 3)
    await journal.close()
    kept = [] if harm in (removed, beheaded) else [2]
    assert sequences(folder) == [1, 10, *kept, 3]
    assert segments(folder)[-1] == segment_path(folder, 3)  # no number twice: readers know them by it


async def test_without_durable_writes_a_lost_end_is_no_reason_to_stop(tmp_path: Path) -> None:
    journal = make(tmp_path, durability="os")
    journal.start()
    await add(journal, 1)
    await add(journal, 2)
    await journal.close()
    cut(segment_path(tmp_path / "journal" / "w0", 1))
    again = make(tmp_path, durability="os")
    assert not again.poisoned
    again.start()
    await add(again, 3)
    await again.close()
    assert sequences(tmp_path / "journal" / "w0") == [1, 3]


async def test_a_day_whose_key_can_not_be_had_is_said_not_thrown(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    await add(journal, 1)
    (tmp_path / "keys" / "data" / "2025-11-23.traffic.key").write_bytes(b"no key")
    with pytest.raises(JournalPoisoned, match=r"2025-11-23\.traffic\.key: not a wrapped key"):
        await add(journal, 2, at=NOON + 2 * plan.DAY)
    assert "2025-11-23" in journal.poisoned
    await journal.close()


@pytest.mark.parametrize("durability", ["disk", "os"])
@pytest.mark.parametrize("call", ["reserve", "write"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_full_disk_refuses_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, first: bool, durability: str
) -> None:
    monkeypatch.setattr(groups, "RETRY", 0.01)
    monkeypatch.setattr(segment, "CHUNK", 1)
    monkeypatch.setattr(commit, "AHEAD", 1)
    disk = Failing()
    disk.partly = 50
    said: list[bool] = []
    dropped: list[int] = []
    journal = make(tmp_path, disk=disk, on_full=said.append, on_dropped=dropped.append, durability=durability)
    journal.start()
    folder = tmp_path / "journal" / "w0"
    if not first:
        await add(journal, 1)
    disk.fail = lambda asked: OSError(errno.ENOSPC, "full") if asked == call else None
    order: list[object] = []
    journal.attempts(NOON, 5, items(2), lambda error: order.append(("a", type(error))))
    journal.outcomes(NOON, [(b"o" * 16, 0, b"", 0)])
    await asyncio.sleep(0)
    journal.after(lambda error: order.append(("after", type(error))))
    await until(lambda: journal.full)
    assert order[0] == ("a", JournalFull)
    assert order[-1] == ("after", JournalFull)
    assert journal.backlog == 0
    with pytest.raises(JournalFull):
        journal.attempts(NOON, 5, items(3), lambda error: None)
    journal.report(NOON, ACCOUNT, b"m", "DELIVRD", "", "", "10690001", "+8613800000001")
    await asyncio.sleep(0.05)
    assert journal.full
    if not first:
        assert len(_records_of(segments(folder)[0])) == 1
    disk.fail = lambda asked: None
    await until(lambda: not journal.full)
    await add(journal, 4)
    assert said == [True, False]
    await journal.close()
    found = records(folder)
    assert sequences(folder) == ([4] if first else [1, 4])
    assert {record.kind for record in found} == {1, 2, 3}
    assert not dropped
    assert [int(path.stem) for path in segments(folder)] == list(range(1, len(segments(folder)) + 1))


async def test_what_a_full_disk_costs_is_counted_and_said_once_a_spell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(groups, "RETRY", 0.01)
    monkeypatch.setattr(groups, "MAX_KEPT", 2)
    disk = Failing()
    dropped: list[int] = []
    journal = make(tmp_path, disk=disk, on_dropped=dropped.append)
    journal.start()
    for _ in range(2):
        disk.fail = lambda call: OSError(errno.ENOSPC, "full") if call == "write" else None
        with pytest.raises(JournalFull):
            await add(journal, 1)
        for _ in range(4):
            journal.report(NOON, ACCOUNT, b"m", "DELIVRD", "", "", "10690001", "+8613800000001")
        disk.fail = lambda call: None
        await until(lambda: not journal.full)
        await journal.sync()
    assert dropped == [1] * 4
    assert [line.message.partition(": ")[2] for line in caplog.records] == [
        "outcomes and reports are dropped: no room, and 2 wait for it"
    ] * 2
    await journal.close()


async def test_no_index_seals_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk took back was sealed; the same key and nonce must not seal other text."""
    monkeypatch.setattr(groups, "RETRY", 0.01)
    disk = Failing()
    journal = make(tmp_path, disk=disk)
    journal.start()
    await add(journal, 1)
    disk.fail = lambda call: OSError(errno.ENOSPC, "full") if call == "write" else None
    with pytest.raises(JournalFull):
        await add(journal, 2)
    disk.fail = lambda call: None
    await until(lambda: not journal.full)
    await add(journal, 3)
    await journal.close()
    assert [len(read) for read in map(_records_of, segments(tmp_path / "journal" / "w0"))] == [1, 1]


def _records_of(path: Path) -> list[bytes]:
    with Segment(path) as opened:
        return [octets for block in opened.blocks() for octets in block.records]


def test_a_limit_of_file_size_is_a_full_disk(tmp_path: Path) -> None:
    script = _WRITER.replace(
        "# before", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20,) * 2)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "1"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "JournalFull" in process.stderr


_WRITER = """
import asyncio, sys, pathlib, time
from gateway.evidence.journal import Journal
from gateway.evidence.seal import Keys
from tests.test_journal import JUDGED
# before
base = pathlib.Path(sys.argv[1])

async def main():
    journal = Journal(base / "journal", "n", "w0", Keys(base / "keys"))
    journal.start()
    number = int(sys.argv[2])
    failed = asyncio.get_running_loop().create_future()
    while True:
        def done(error, upto=number + 7):
            if error is not None and not failed.done():
                failed.set_exception(error)
            if error is None:
                print(upto, flush=True)
        batch = [
            (JUDGED, 0, 77, n, 0, 1, 1, 0, "", "+8613800000000", 8, 0, b"x" * 100)
            for n in range(number, number + 7)
        ]
        journal.attempts(time.time_ns() // 10**6, 5, batch, done)
        number += 7
        await asyncio.sleep(0)
        if journal.waiting > 20:
            await journal.sync()
        if failed.done():
            await failed

asyncio.run(main())
"""


def _kill_loop(path: Path, times: int) -> None:
    folder = path / "journal" / "w0"
    promised = 0
    found: set[int | bytes] = set()
    for round_ in range(times):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(promised)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.01 * (round_ % 7))
        os.kill(writer.pid, signal.SIGKILL)
        said = writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        found |= {
            record.sequence
            for octets in _records_of(segments(folder)[-1])
            if isinstance(record := rec.decode(octets), rec.Attempt)
        }
        promised = max(
            [int(word) for word in said.splitlines(keepends=True) if word.endswith("\n")] + [promised]
        )
        assert set(range(promised)) <= found


def test_what_was_promised_survives_kill_9(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 4)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_was_promised_survives_kill_9_a_hundred_times(tmp_path: Path) -> None:
    _kill_loop(tmp_path, 100)


async def test_text_that_has_no_octets_leaves_no_half_batch(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    bad = (*items(2)[0][:9], "\ud800", *items(2)[0][10:])
    with pytest.raises(UnicodeEncodeError):
        journal.attempts(NOON, 5, [*items(1), bad], lambda error: None)  # type: ignore[list-item]
    await add(journal, 3)
    await journal.close()
    assert sequences(tmp_path / "journal" / "w0") == [3]


def test_what_is_put_together_by_hand_is_what_msgpack_writes() -> None:
    for spelt in range(32):
        for octets in (0, 1, 31, 32, 140, 255):
            pair = "1" * spelt, b"x" * octets
            made = PAIRS[spelt] + pair[0].encode() + OCTETS[octets] + pair[1]
            assert made == rec.encode_content(*pair)
    outcome = rec.Outcome(attempt=bytes(range(16)), at=NOON, result=0, message_id=b"12345678")
    begin, accepted = OUTCOME, msgspec.msgpack.encode(NOON) + ACCEPTED
    assert begin + outcome.attempt + accepted + outcome.message_id + b"\0" == rec.encode(outcome)
