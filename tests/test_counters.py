"""Counters of one node: exact whoever counts, over kills, restarts and midnights; and never a guess."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.counters import (
    ALWAYS,
    GATE,
    LOOK,
    NEAR,
    TAKE,
    Entry,
    Noted,
    Reserved,
    count_key,
    key_of,
    page,
    shared,
)
from gateway.counters.local import Local, looker
from gateway.counters.page import Unavailable
from gateway.counters.shared import DAY, SHANGHAI, Shared
from gateway.model import Limit
from gateway.policy.caps import caps_of

SOME = caps_of({"marketing": {"minute": 2, "hour": 3, "day": 5}})[1]
NOON = 20_000 * DAY - SHANGHAI + DAY // 2
LOG = logging.getLogger(__name__)


def entry(key: int, limits: tuple[Limit, ...] = SOME, manner: int = TAKE, group: int = 0) -> Entry:
    return key, limits, max(limit.most for limit in limits), manner, group


def opened(folder: Path) -> Shared:
    """Counters that have begun."""
    counters = Shared(folder)
    counters.finish(counters.begin_anew())
    return counters


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "counters"


@pytest.fixture
def counters(folder: Path) -> Iterator[Shared]:
    made = opened(folder)
    yield made
    made.close()


class Naive:
    """All instants of each key, looked through."""

    def __init__(self) -> None:
        self.taken: dict[int, list[int]] = {}

    def full(self, key: int, limits: tuple[Limit, ...], now: int) -> str:
        for word, window, most in limits:
            if sum(now - at < window for at in self.taken.get(key, ())) >= most:
                return word
        return ""

    def reserve(self, now: int, entries: list[Entry]) -> tuple[list[str], list[int]]:
        words, taken = [], []
        done = 0
        while done < len(entries):
            group = entries[done][4]
            size = 1
            while group and done + size < len(entries) and entries[done + size][4] == group:
                size += 1
            mine: list[int] = []
            failed = False
            for key, limits, _, manner, _ in entries[done : done + size]:
                word = self.full(key, limits, now)
                words.append(word)
                if manner in (TAKE, ALWAYS) and not failed and (not word or manner == ALWAYS):
                    self.taken.setdefault(key, []).append(now)
                    mine.append(key)
                if word and manner in (TAKE, GATE) and group and not failed:
                    failed = True
                    for counted in mine:
                        self.taken[counted].remove(now)
                    mine = []
            taken += mine
            done += size
        return words, taken


STEPS = st.sampled_from([0, 0, 0, 1, 500, 59_999, 60_000, 1_800_000, 3_600_000, DAY // 2, DAY - 1, DAY])
ENTRIES = st.lists(
    st.tuples(
        st.integers(1, 6), st.sampled_from([TAKE, TAKE, TAKE, LOOK, GATE]), st.sampled_from([0, 0, 1, 2])
    ),
    max_size=8,
)


GROWN = [(0, [(2, TAKE, 0), *((key, TAKE, 1) for key in (1, 3, 1, 1))], ""), (0, [(1, TAKE, 0)] * 2, "")]
"""A group that fails after what it had counted was carried over to a further table."""
ANSWERED = [(0, [(1, TAKE, 0)] * 2, ""), (0, [(2, TAKE, 1), (1, GATE, 1), (3, TAKE, 1)], "")]
"""What is full keeps the others of its group from counting, and counts nothing itself."""


@example(GROWN)
@example(ANSWERED)
@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(STEPS, ENTRIES, st.sampled_from(["", "", "", "release", "restart"])), max_size=25))
def test_as_if_all_instants_were_looked_through(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[int, list[tuple[int, int, int]], str]]
) -> None:
    """Two workers in turns, tables of four slots, days that pass, batches that were not recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "FIRST_SLOTS", 4)
        folder = tmp_path_factory.mktemp("counters")
        workers = [opened(folder), Shared(folder)]
        naive, now = Naive(), NOON
        for turn, (step, asked, then) in enumerate(story):
            now += step
            ordered = sorted(asked, key=lambda one: one[2])  # those of a group are neighbours
            entries = [entry(key, SOME, manner, group) for key, manner, group in ordered]
            reserved = workers[turn % 2].reserve(now, entries)
            words, taken = naive.reserve(now, entries)
            assert list(reserved.words) == words
            assert [entries[position][0] for position in reserved.taken] == taken
            if then == "release":
                workers[turn // 2 % 2].release(taken, reserved.at)
                for key in taken:
                    naive.taken[key].remove(now)
            elif then == "restart":
                workers[0].close()
                workers[0] = Shared(folder)
        for key in range(1, 7):
            sent = sorted((at for at in naive.taken.get(key, ()) if now - at < DAY), reverse=True)
            assert workers[0].sent(key, now) == sent
        for worker in workers:
            worker.close()


def test_what_is_only_watched_is_counted_all_the_same(counters: Shared) -> None:
    words = [counters.reserve(NOON + n, [entry(1, manner=ALWAYS)]).words[0] for n in range(30)]
    assert words == ["", "", "minute"] + ["hour"] * 2 + ["day"] * 25
    assert counters.reserve(NOON + DAY + 24, [entry(1)]).words == ["day"]
    assert counters.reserve(NOON + DAY + 25, [entry(1)]).words == [""]


def test_more_instants_are_kept_from_when_on_a_cap_asks_for_them(counters: Shared) -> None:
    many = caps_of({"marketing": {"day": 40}})[1]
    assert counters.reserve(NOON, [entry(1)] * 2).words == ["", ""]
    assert counters.reserve(NOON + DAY // 3, [entry(1, many)] * 40).words == [""] * 38 + ["day"] * 2
    assert counters.reserve(NOON + DAY // 3, [entry(1)]).words == ["day"]


COUNTING = """
import sys
from pathlib import Path
from gateway.counters import TAKE
from gateway.counters.shared import Shared
from gateway.policy.caps import caps_of
folder, now, rounds, most = Path(sys.argv[1]), *map(int, sys.argv[2:])
limits = caps_of({"marketing": {"day": most}})[1]
counters, taken = Shared(folder), 0
print("begun", flush=True)
while rounds:
    rounds -= 1
    taken += len(counters.reserve(now, [(key, limits, most, TAKE, 0) for key in range(1, 6)]).taken)
print(taken)
"""


def counting(folder: Path, rounds: int, most: int) -> subprocess.Popen[str]:
    """A process that counts five keys so many times."""
    command = [sys.executable, "-c", COUNTING, str(folder), str(NOON), str(rounds), str(most)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_take_exactly_what_there_is(folder: Path, counters: Shared) -> None:
    processes = [counting(folder, 60, 100) for _ in range(3)]
    taken = [int(process.communicate(timeout=60)[0].split()[1]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(taken) == 5 * 100
    assert [len(counters.sent(key, NOON)) for key in range(1, 6)] == [100] * 5


def test_a_kill_at_any_instant_lets_the_others_go_on(folder: Path, counters: Shared) -> None:
    for life in range(4):
        with counting(folder, -1, 100) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                deadline = time.monotonic() + 0.01 * life
                while time.monotonic() < deadline:
                    # on a busy machine the other may be inside for longer than anybody waits
                    with contextlib.suppress(Unavailable):
                        counters.reserve(NOON, [entry(7 + life, manner=LOOK)])
            finally:
                process.send_signal(signal.SIGKILL)
        assert counters.reserve(NOON + life, [entry(7 + life)]).words == [""]
    assert [len(counters.sent(key, NOON)) for key in range(1, 6)] == [100] * 5
    assert [len(counters.sent(key, NOON)) for key in range(7, 11)] == [1] * 4


def lose_state(folder: Path) -> None:
    (folder / "state").unlink()


def lose_table(folder: Path) -> None:
    next(path for path in folder.iterdir() if path.name[0].isdigit()).unlink()


def cut_table(folder: Path) -> None:
    os.truncate(next(path for path in folder.iterdir() if path.name[0].isdigit()), 5000)


def cut_state(folder: Path) -> None:
    os.truncate(folder / "state", 10)


def other_boot(folder: Path) -> None:
    octets = bytearray((folder / "state").read_bytes())
    octets[8] ^= 1
    (folder / "state").write_bytes(octets)


def test_what_was_left_in_order_outlasts_a_start_of_the_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing has to be recounted then; but what was counted after that may not have reached the disk."""
    one, other = opened(folder), Shared(folder)
    one.reserve(NOON, [entry(1), entry(1)])
    one.leave()
    assert other.reserve(NOON, [entry(2), entry(2)]).words == ["", ""]
    assert one.sent(1, NOON) == [NOON, NOON]

    def restarted(number: int) -> Shared:
        path = tmp_path / f"boot{number}"
        path.write_text(f"{number:032x}", "ascii")
        monkeypatch.setattr(shared, "_BOOT", path)
        return Shared(folder)

    with pytest.raises(Unavailable):  # the other one counted on, and ended without a word
        restarted(1).reserve(NOON, [entry(1)])
    again = restarted(1)
    again.finish(again.begin_anew())
    again.reserve(NOON, [entry(1), entry(1)])
    again.leave()
    for made in (one, other, again):
        made.close()
    third = restarted(2)
    assert looked(folder) == [NOON, NOON]
    assert third.reserve(NOON, [entry(1), entry(2)]).words == ["minute", ""]
    third.close()
    with pytest.raises(Unavailable):
        restarted(3).reserve(NOON, [entry(2)])


def looked(folder: Path) -> list[int]:
    """What one who only reads finds."""
    reader = Shared(folder, write=False)
    try:
        return reader.sent(1, NOON)
    finally:
        reader.close()


def test_what_is_recounted_is_as_if_it_had_been_reserved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over tables that fill up, and over midnight."""
    monkeypatch.setattr(shared, "FIRST_SLOTS", 4)
    counters, recounted = opened(folder), opened(folder.with_name("recounted"))
    noted = [(NOON - DAY + n * 60_000, key) for n in range(1200) for key in (n % 7, n % 3, n)]
    for at, key in noted:
        counters.reserve(at, [entry(key or 9, manner=ALWAYS)])
    recounted.add(NOON + 1, [(at, key or 9, 0) for at, key in noted])
    for key in (*range(1, 12), 700, 1199):
        assert recounted.sent(key, NOON + 1)[:5] == counters.sent(key, NOON + 1)[:5]
    counters.close()
    recounted.close()


def test_what_a_clock_dated_ahead_is_recounted_as_of_now(folder: Path) -> None:
    """Else no recount came to its end, for as long as those records are there."""
    counters = Shared(folder)
    epoch = counters.begin_anew()
    counters.add(NOON, [(NOON - 1, 1, 0), (NOON + 1, 2, 0), (NOON + 60 * DAY, 1, 0)])
    counters.finish(epoch)
    assert (counters.sent(1, NOON), counters.sent(2, NOON)) == ([NOON, NOON - 1], [NOON])
    assert counters.reserve(NOON + DAY, [entry(1), entry(2)]).words == ["", ""]
    counters.close()


def test_what_turns_out_to_be_something_else_counts_no_longer(counters: Shared) -> None:
    """The nearest of what was counted about then, also after midnight; what is farther stays."""
    at = [NOON, NOON + NEAR // 2, NOON + DAY // 2 + 60_000]
    for instant in at:
        counters.reserve(instant, [entry(1, manner=ALWAYS)])
    counters.forget([1, 2], NOON - NEAR - 1)
    assert counters.sent(1, at[-1]) == at[::-1]
    counters.forget([1], NOON + NEAR // 2 - 1)
    counters.forget([1], NOON + NEAR + NEAR // 2)
    assert counters.sent(1, at[-1]) == [at[2], at[0]]
    counters.forget([1], at[2])
    assert counters.reserve(at[2], [entry(1)] * 3).words == ["", "", "minute"]
    counters.forget([1], NOON)
    assert counters.sent(1, at[2]) == [at[2]] * 2


@pytest.mark.parametrize("harm", [lose_state, lose_table, cut_table, cut_state, other_boot])
@pytest.mark.parametrize("alive", [True, False], ids=["under_traffic", "between_two_lives"])
def test_what_is_lost_is_recounted_and_nothing_is_guessed_meanwhile(
    folder: Path, harm: Callable[[Path], None], alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SURE", 0)
    now = time.time_ns() // 1_000_000
    counters = opened(folder)
    counters.reserve(now, [entry(1), entry(1), entry(2)])
    if not alive:
        counters.close()
    elif harm in (lose_table, other_boot):
        pytest.skip("seen when it is opened: who has it open goes on with it")
    harm(folder)
    if not alive:
        counters = Shared(folder)
    with pytest.raises(Unavailable):
        counters.reserve(now, [entry(1)])
    asked = []

    def journal(since: int) -> Iterator[Noted]:
        asked.append(since)
        early = now - DAY + 60_000
        yield from [
            (early, 3, 0),
            (now, 1, 0),
            (now, 1, 0),
            (now, 2, 0),
            (now, 4, 0),
            (now, 4, 0),
            (now, 4, now),
        ]

    local = Local(folder, journal, LOG)
    until = time.monotonic() + 20
    while not local.check():
        assert time.monotonic() < until
        time.sleep(0.005)
    assert now - DAY <= asked[0] + 1000
    assert counters.reserve(now, [entry(1), entry(2), entry(3)]).words == ["minute", "", ""]
    assert counters.sent(4, now) == [now]
    assert counters.sent(3, now)[1:] == [now - DAY + 60_000]
    counters.close()
    asyncio.run(local.close())


def test_nobody_counts_while_somebody_recounts(folder: Path) -> None:
    go_on = threading.Event()
    told: list[Reserved] = []

    def journal(since: int) -> Iterator[Noted]:
        assert go_on.wait(20)
        yield from [(time.time_ns() // 1_000_000, 1, 0)] * 2

    local, other = Local(folder, journal, LOG), Local(folder, journal, LOG)
    now = time.time_ns() // 1_000_000
    for worker in (local, other, local):
        worker.reserve(now, [entry(1), entry(2, manner=ALWAYS)], told.append)
    assert [one.words for one in told] == [[None, None]] * 3
    assert local.ailing
    go_on.set()
    until = time.monotonic() + 20
    while not (local.check() and other.check()):
        assert time.monotonic() < until
        time.sleep(0.005)
    local.reserve(now, [entry(1)], told.append)
    assert told[-1].words == ["minute"]
    assert not local.ailing
    asyncio.run(local.close())
    asyncio.run(other.close())


def test_no_room_stops_who_is_new_alone(
    folder: Path, counters: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "FIRST_SLOTS", 4)
    monkeypatch.setattr(shared, "MOST_TABLES", 1)
    assert counters.reserve(NOON, [entry(1), entry(2)]).words == ["", ""]
    both = [entry(1, group=9), entry(3, group=9)]
    assert counters.reserve(NOON, [entry(3), *both, entry(2)]).words == [None, "", None, ""]
    assert counters.sent(1, NOON) == [NOON]


def test_who_stays_inside_stops_the_others_for_a_moment_once(folder: Path, counters: Shared) -> None:
    with (folder / "state").open("rb") as state:
        fcntl.flock(state, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="let go"):
            counters.reserve(NOON, [entry(1)])
        first = time.monotonic()
        for _ in range(20):
            with pytest.raises(Unavailable):
                counters.reserve(NOON, [entry(1)])
        assert first - began >= page.PATIENCE
        assert time.monotonic() - first < first - began
    assert counters.reserve(NOON, [entry(1)]).words == [""]


def test_a_clock_that_is_set_back_over_midnight_begins_anew(counters: Shared) -> None:
    counters.reserve(NOON, [entry(1)])
    with pytest.raises(Unavailable, match="clock"):
        counters.reserve(NOON - DAY, [entry(1)])
    assert not counters.is_whole()


def test_a_moment_behind_midnight_is_still_the_new_day(counters: Shared) -> None:
    midnight = NOON + DAY // 2
    assert counters.reserve(midnight + 3, [entry(1)]).at == midnight + 3
    assert counters.reserve(midnight - 2, [entry(1)]).at == midnight + 3
    assert counters.reserve(midnight + 4, [entry(1)]).words == ["minute"]


def test_days_that_are_over_are_forgotten(folder: Path, counters: Shared) -> None:
    for day in range(4):
        counters.reserve(NOON + day * DAY, [entry(1)])
    assert sorted(path.name for path in folder.iterdir()) == ["20002.1", "20003.1", "state"]


def test_a_dry_run_looks_and_makes_nothing(folder: Path) -> None:
    def hashed(text: str) -> bytes:
        return text.encode().ljust(8, b".")

    look = looker(folder, hashed)
    assert look("+8613800000001", "bank", 1, 1) is None
    assert not folder.exists()
    now = time.time_ns() // 1_000_000
    counters = opened(folder)
    assert look("+8613800000001", "bank", 1, 1) == []
    counters.reserve(now, [entry(key_of(count_key(hashed, "bank", 1, 1), hashed("+8613800000001")))])
    assert look("+8613800000001", "bank", 1, 1) == [now]
    assert look("+8613800000001", "bank", 2, 1) == []
    counters.close()
