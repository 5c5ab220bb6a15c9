"""What of the change log is still to be read: arithmetic on PostgreSQL's snapshots, and nothing else.

Rules: pure. A snapshot says of every transaction whether its changes are visible: those below `xmin` are,
those from `xmax` on and those in `running` are not. What became visible between two snapshots is therefore
what the transactions wrote that were running at the first and are not at the second, and those that began
after the first and have ended by the second. Nothing is read twice, and nothing that commits late is missed.
"""

from typing import NamedTuple

import msgspec


class StaleCursor(Exception):
    """The log can't be followed from where we are; the text says why. A fresh copy is due."""


class Snapshot(NamedTuple):
    """A pg_snapshot: `xmin:xmax:running,…`."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @staticmethod
    def parse(text: str) -> "Snapshot":
        xmin, xmax, running = text.split(":")
        return Snapshot(
            int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset()
        )


class LogState(NamedTuple):
    """Where the change log stands.

    `database` differs when this is not the same database any more (another cluster, timeline or restore);
    `snapshot` is pg_snapshot as text; `newest` names the newest row ("" if there is none) and `anchor` the
    row that was asked for ("" if it is not there); `pruned` and `pruned_up_to` tell how often rows were
    deleted, and up to which transaction. `rewritten`: rows above that anchor count as visible in the snapshot
    that was asked for, in which the anchor was the newest.
    """

    database: str
    snapshot: str
    newest: str
    anchor: str
    pruned: int
    pruned_up_to: int
    rewritten: bool = False


class Cursor(msgspec.Struct, frozen=True):
    """Up to where the log has been applied: everything visible in `snapshot`. `anchor` is a row that we have
    seen, and `pruned` how often the log had been pruned."""

    database: str
    snapshot: str
    anchor: str
    pruned: int

    @staticmethod
    def at(state: LogState) -> "Cursor":
        return Cursor(state.database, state.snapshot, state.newest, state.pruned)

    @property
    def anchor_number(self) -> int | None:
        return number_of(self.anchor)


class Range(NamedTuple):
    """Rows to be read: of transactions from `first` on that are visible in `snapshot`, backwards from
    (`xid`, `seq`), which are excluded."""

    first: int
    snapshot: str
    xid: int
    seq: int


def number_of(anchor: str) -> int | None:
    """The row number in an anchor; None of the anchor of an empty log."""
    return int(anchor.split(" ", 1)[0]) if anchor else None


def between(old: str, new: str) -> list[Range]:
    """What became visible from one snapshot (as text) to the next, the newest last."""
    before, now = Snapshot.parse(old), Snapshot.parse(new)
    ended = sorted(before.running - now.running)
    ranges = [Range(xid, new, xid + 1, 0) for xid in ended]
    if now.xmax > before.xmax:
        ranges.append(Range(before.xmax, new, now.xmax, 0))
    return ranges


def compare(cursor: Cursor, unread: list[Range], state: LogState) -> None:
    """Raises StaleCursor when this log is not the one that the cursor stands in, or has lost what follows."""
    if state.database != cursor.database:
        raise StaleCursor(f"the database is another one ({cursor.database} → {state.database})")
    if cursor.anchor and state.anchor != cursor.anchor:
        raise StaleCursor("a change that we know is not in the log: an older backup, or pruned")
    before = Snapshot.parse(cursor.snapshot)
    if Snapshot.parse(state.snapshot).xmax < before.xmax:
        raise StaleCursor("the database has seen fewer transactions than we: an older backup")
    if state.rewritten:
        raise StaleCursor(
            "changes are numbered as transactions that we have seen end: an older backup, gone on"
        )
    horizon = min([before.xmin, *(some.first for some in unread)])
    if state.pruned != cursor.pruned and state.pruned_up_to >= horizon:
        raise StaleCursor("the log was pruned beyond us")
