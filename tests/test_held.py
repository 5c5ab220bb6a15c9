"""What is tied to a case outlives its day's key, sealed anew; nothing else of that day does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from bureau import Bureau, bureau_of
from test_index import DAY, NOON, Node, subscriber

from gateway.evidence import record as rec
from gateway.evidence.search import Search

KEPT = 160


@pytest.fixture
async def bureau(database: str) -> AsyncIterator[Bureau]:
    async with bureau_of(database) as found:
        yield found


@pytest.fixture
async def node(tmp_path: Path, database: str) -> AsyncIterator[Node]:
    node = Node(tmp_path, database)
    node.journal.start()
    yield node
    await node.journal.close()


@pytest.fixture
async def c(database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def tie(c: Any, kind: str, reference: str, case: int = 0) -> int:
    """To a case, by hand; its id."""
    case = case or await c.fetchval("INSERT INTO cases (title, due) VALUES ('x', '2026-01-01') RETURNING id")
    await c.execute(
        "INSERT INTO case_items (case_id, kind, reference) VALUES ($1, $2, $3)", case, kind, reference
    )
    return case


def said(node: Node, identifier: bytes) -> tuple[str, rec.Octets] | None:
    """What can be read of a record now."""
    shown = Search(node.path / "journal", node.keys).show(identifier)
    assert shown is not None
    content = shown.found.content
    return None if content is None else (content.subscriber, content.octets)


def keys_of_the_day(node: Node) -> list[str]:
    return [name for name in node.keys.names() if name.startswith("2025-11-21")]


async def upkeep(node: Node, c: Any, at: int) -> None:
    await node.shipper(at).step(c)


async def test_a_case_keeps_its_records_and_no_others(node: Node, c: Any) -> None:
    ids = await node.write(*range(5))
    case = await tie(c, "record", ids[1].hex())
    await upkeep(node, c, NOON + KEPT * DAY)
    assert said(node, ids[2]) == (subscriber(2), b"text 2")  # the day's key still stands
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    assert [said(node, one) is None for one in ids] == [True, False, True, True, True]
    assert said(node, ids[1]) == (subscriber(1), b"text 1")
    assert keys_of_the_day(node) == [f"2025-11-21.traffic.case-{case}"]
    octets = (node.path / "cases" / f"case-{case}" / ids[1].hex()).read_bytes()
    assert b"text 1" not in octets
    assert subscriber(1).encode() not in octets


async def test_what_a_case_keeps_is_shown_to_be_what_was_recorded(node: Node, c: Any) -> None:
    """By the digest in the record: another text, or one laid in another record's place, is not taken."""
    ids = await node.write(1, 2)
    case = await tie(c, "record", ids[0].hex())
    await tie(c, "record", ids[1].hex(), case)
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    folder = node.path / "cases" / f"case-{case}"
    one, two = (folder / identifier.hex() for identifier in ids)
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    assert said(node, ids[0]) is None
    for place in range(0, len(kept), 7):
        one.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        assert said(node, ids[0]) is None
    one.write_bytes(kept)
    assert said(node, ids[0]) == (subscriber(1), b"text 1")


async def test_an_appeal_and_what_it_attacks_in_a_case_keep_too(node: Node, c: Any, bureau: Bureau) -> None:
    ids = await node.write(10, 20, 30)
    filed = """INSERT INTO appeals (against_kind, against, institution_id, grounds, filed_by, due)
               VALUES ('verdict', $1, 1, 'g', 1, '2026-01-01') RETURNING id"""
    first = await c.fetchval(filed, ids[0].hex())
    second = await c.fetchval(filed, ids[1].hex())
    await c.execute("SELECT set_config('zhengming.user', id::text, false) FROM users WHERE login = 'r1'")
    await c.execute("UPDATE appeals SET status = 'rejected', answered_at = now() WHERE id = $1", second)
    case = await tie(c, "appeal", str(second))
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    assert [said(node, one) is None for one in ids] == [False, False, True]
    assert keys_of_the_day(node) == [
        f"2025-11-21.traffic.{hold}" for hold in (f"appeal-{first}", f"case-{case}")
    ]


async def test_a_case_that_is_closed_lets_go_when_its_time_is_over(node: Node, c: Any) -> None:
    ids = await node.write(1)
    case = await tie(c, "record", ids[0].hex())
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    await c.execute("UPDATE cases SET status = 'closed', closed_at = now() - interval '159 days'")
    await upkeep(node, c, NOON + (KEPT + 2) * DAY)
    assert said(node, ids[0]) is not None
    await c.execute("UPDATE cases SET closed_at = now() - interval '161 days'")
    await upkeep(node, c, NOON + (KEPT + 3) * DAY)
    assert said(node, ids[0]) is None
    assert keys_of_the_day(node) == []
    assert not list((node.path / "cases" / f"case-{case}").iterdir())


async def test_what_can_not_be_kept_keeps_the_keys(
    node: Node, c: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await node.write(1, 2)
    await tie(c, "record", ids[0].hex())
    (node.path / "cases").write_text("in the way")
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    assert keys_of_the_day(node) == ["2025-11-21.traffic"]
    assert "no keys destroyed" in caplog.text
    (node.path / "cases").unlink()
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    assert said(node, ids[0]) == (subscriber(1), b"text 1")
    assert said(node, ids[1]) is None


@pytest.mark.parametrize("reference", ["no-record", "0123456789abcdef0123456789abcdef"])
async def test_what_is_no_record_of_this_node_is_in_nobody_s_way(node: Node, c: Any, reference: str) -> None:
    ids = await node.write(1)
    await tie(c, "record", reference)
    await upkeep(node, c, NOON + (KEPT + 1) * DAY)
    assert said(node, ids[0]) is None
    assert keys_of_the_day(node) == []
