"""Snapshot arithmetic: everything that becomes visible is read once, whatever the order of commits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry.changelog import (
    Cursor,
    LogState,
    Snapshot,
    StaleCursor,
    between,
    compare,
    number_of,
)


def test_a_snapshot_s_text() -> None:
    assert Snapshot.parse("10:20:10,14") == (10, 20, {10, 14})
    assert Snapshot.parse("10:10:") == (10, 10, frozenset())


@given(st.lists(st.sampled_from(["begin", "end", "look"]), max_size=60), st.randoms(use_true_random=False))
def test_every_transaction_is_read_once(steps: list[str], random: object) -> None:
    """Transactions begin in order and end in any; at each look the ranges hold what ended since the last."""
    running: set[int] = set()
    ended: list[int] = []
    following = 100
    read: list[int] = []

    def snapshot() -> str:
        xmin = min(running, default=following)
        return f"{xmin}:{following}:{','.join(map(str, sorted(running)))}"

    seen = snapshot()
    for step in [*steps, "look"]:
        if step == "begin":
            running.add(following)
            following += 1
        elif step == "end" and running:
            ended.append(random.choice(sorted(running)))  # type: ignore[attr-defined]
            running.discard(ended[-1])
        elif step == "look":
            now = snapshot()
            visible = Snapshot.parse(now)
            for some in between(seen, now):
                assert some.snapshot == now
                read += [
                    xid for xid in range(some.first, some.xid) if xid not in visible.running and xid in ended
                ]
            seen = now
            assert sorted(read) == sorted(ended)


STATE = LogState("db", "50:60:50,55", "9 55 1.5", "7 40 1.0", 3, 49)
CURSOR = Cursor("db", "45:50:45", "7 40 1.0", 3)


def test_a_cursor_that_stands_in_this_log() -> None:
    compare(CURSOR, [], STATE)
    compare(CURSOR, [], STATE._replace(pruned=4, pruned_up_to=44))
    compare(Cursor("db", "45:50:45", "", 3), [], STATE._replace(anchor=""))
    assert Cursor.at(STATE) == Cursor("db", "50:60:50,55", "9 55 1.5", 3)
    assert number_of(STATE.newest) == 9
    assert number_of("") is None


@pytest.mark.parametrize(
    "state",
    [
        STATE._replace(database="another"),
        STATE._replace(anchor=""),
        STATE._replace(anchor="7 40 2.0"),
        STATE._replace(snapshot="48:49:48"),
        STATE._replace(pruned=4, pruned_up_to=45),
        STATE._replace(rewritten=True),
    ],
)
def test_a_cursor_that_does_not(state: LogState) -> None:
    with pytest.raises(StaleCursor):
        compare(CURSOR, [], state)


def test_what_is_still_to_be_read_must_not_be_pruned() -> None:
    unread = between("30:40:30", CURSOR.snapshot)
    compare(CURSOR, unread, STATE)
    with pytest.raises(StaleCursor):
        compare(CURSOR, unread, STATE._replace(pruned=4, pruned_up_to=35))
