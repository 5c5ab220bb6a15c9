"""The registry's SQL: what nodes and operators do to it, and what the log says afterwards."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.errors import UsageError
from gateway.model import AccountKey, Refusal
from gateway.registry import store
from gateway.registry.changelog import Range, between, number_of
from gateway.registry.keys import RegistryKey
from gateway.registry.local import LocalRefusal, learn

Connection = asyncpg.Connection
KEY = RegistryKey(bytes(32))
SUBSCRIBER = "+8613800001234"
ACCOUNT = AccountKey("mobile", "cmpp", "900001")


@pytest.fixture
async def c(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute(
        "INSERT INTO institutions (code, name, kind) VALUES ('A', 'A', 'bank'), ('B', 'B', 'agency')"
    )
    yield connection
    await connection.close()


def refusal(message_id: bytes = b"m", **other: Any) -> LocalRefusal:
    what: dict[str, Any] = {"institution": 1, "purposes": 3, "channels": 1, "at": 1_700_000_000_123}
    return learn(KEY, SUBSCRIBER, node="node-1", account=ACCOUNT, message_id=message_id, **(what | other))


def key_of(subscriber: str) -> int:
    return int.from_bytes(KEY.hash(subscriber)[:8], "big", signed=True)


def test_the_same_reply_is_the_same_event() -> None:
    """Carriers give one id to several replies: those to another number, or that say another thing, differ."""
    told = {"institution": 0, "number": "10690001", "kind": "refuse"}
    others = [{"number": "10690002"}, {"kind": "ambiguous"}, {"message_id": b"n"}]
    events = [refusal(**(told | other)).event for other in ({}, {"at": 1, "institution": 2}, *others)]
    assert events[0] == events[1]
    assert len(set(events)) == 4


async def test_a_node_s_refusal_goes_in_once(c: Connection) -> None:
    key_id = await store.register_key(c, KEY.fingerprint)
    flagged = refusal(b"2", institution=0, number="10690001", flags=("owner_guessed", "no_attempt"))
    await store.insert_refusals(c, key_id, [refusal(), refusal(), flagged])
    await store.insert_refusals(c, key_id, [flagged, refusal()])
    [first, second] = await store.refusals_of(c, [key_of(SUBSCRIBER)])
    assert first == (
        key_of(SUBSCRIBER),
        Refusal(1, "", 3, 1, 1_700_000_000_123),
        refusal().event,
        True,
        "node-1",
    )
    assert (second.refusal.institution, second.refusal.number) == (0, "10690001")
    row = await c.fetchrow("SELECT * FROM refusals WHERE id = 1")
    assert row is not None
    assert KEY.open(row["subscriber_sealed"]) == SUBSCRIBER
    assert (row["carrier"], row["protocol"], row["account"], row["message_id"]) == (*ACCOUNT, b"m")
    assert await c.fetchval("SELECT flags FROM refusals WHERE number = '10690001'") == list(flagged.flags)
    missing = await store.missing_events(c, [refusal().event, bytes(16), flagged.event])
    assert missing == {bytes(16)}


async def test_a_refusal_of_an_unknown_institution_does_not_become_one_of_all(c: Connection) -> None:
    key_id = await store.register_key(c, KEY.fingerprint)
    await store.insert_refusals(c, key_id, [refusal(institution=77)])
    assert await store.refusals_of(c, [key_of(SUBSCRIBER)]) == []


async def test_one_database_has_one_registry_key(c: Connection) -> None:
    assert await store.register_key(c, KEY.fingerprint) == 1
    assert await store.register_key(c, KEY.fingerprint) == 1
    with pytest.raises(UsageError, match=r"keys/registry\.key"):
        await store.register_key(c, RegistryKey(b"1" * 32).fingerprint)


async def ban(c: Connection, number: str) -> None:
    await c.execute(
        "INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES ($1, true, 'r', 'c')",
        number,
    )


async def changes_between(c: Connection, old: str, new: str, most: int = 100) -> list[str]:
    """In the order in which they are read: newest first."""
    ranges: list[Range] = between(old, new)
    found: list[str] = []
    while ranges:
        changes, left = await store.changes(c, ranges.pop(), most)
        ranges += [left] if left else []
        found += [f"{change.table} {change.key} {change.op}" for change in changes]
    return found


async def test_changes_are_found_by_transaction_not_by_number(database: str, c: Connection) -> None:
    before = (await store.log_state(c, None)).snapshot
    late = await asyncpg.connect(database)
    transaction = late.transaction()
    await transaction.start()
    await ban(late, "1068")
    await ban(c, "1069")
    state = await store.log_state(c, None)
    middle = state.snapshot
    assert await changes_between(c, before, middle) == ["blacklist 2 insert"]
    await ban(late, "1067")
    await transaction.commit()
    await late.close()
    await ban(c, "1066")
    after = await store.log_state(c, number_of(state.newest), middle)
    assert not after.rewritten
    found = ["blacklist 4 insert", "blacklist 3 insert", "blacklist 1 insert"]
    for most in (1, 2, 3, 100):
        assert await changes_between(c, middle, after.snapshot, most) == found
    assert await changes_between(c, after.snapshot, after.snapshot) == []
    newest = await c.fetchval("SELECT max(seq) FROM change_log")
    assert after.newest.startswith(f"{newest} ")


async def test_pruning_spares_what_somebody_may_not_have_seen(database: str, c: Connection) -> None:
    late = await asyncpg.connect(database)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("UPDATE institutions SET name = 'late'")
    for number in ("1068", "1069"):
        await ban(c, number)
    future = datetime.now(UTC) + timedelta(days=1)
    assert await store.prune_changes(c, datetime.now(UTC) - timedelta(days=1)) == 0
    assert (await store.log_state(c, None)).pruned == 0
    assert await store.prune_changes(c, future) == 2  # what came before the late transaction began
    await transaction.commit()
    await late.close()
    assert await store.prune_changes(c, future, most=1) == 1
    state = await store.log_state(c, None)
    assert state.pruned == 2
    assert state.pruned_up_to > 0
    while await store.prune_changes(c, future):
        pass
    left = await c.fetch("SELECT seq FROM change_log")
    assert len(left) == 1
    assert state.newest.startswith(f"{left[0][0]} ")


async def test_a_restored_log_that_went_on_beyond_a_cursor_is_seen(c: Connection) -> None:
    """Its backup has the newest change that we know; later ones take numbers of transactions we have seen."""
    await ban(c, "1069")
    known = await store.log_state(c, None)
    await c.execute(
        "INSERT INTO change_log (xid, table_name, op, row_version)"
        " VALUES ($1::text::xid8, 'holds', 'truncate', 1)",
        str(int(known.snapshot.split(":")[0]) - 1),
    )
    assert (await store.log_state(c, number_of(known.newest), known.snapshot)).rewritten


async def test_the_log_knows_its_database(database: str, c: Connection) -> None:
    ours = await store.log_state(c, None)
    assert ours.anchor == (await store.log_state(c, 999_999)).anchor == ""
    assert (await store.log_state(c, number_of(ours.newest))).anchor == ours.newest
    await c.execute("ALTER TABLE change_log RENAME TO old_log")
    await c.execute("CREATE TABLE change_log (LIKE old_log)")
    other = await asyncpg.connect(database)
    assert (await store.log_state(other, None)).database != ours.database
    await other.close()
