"""The registry key rotates: before, during and after it the same subscribers are refused, whatever dies."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import asyncpg
import pytest
from playbook import OPEN_RUN, UNGUARDED

from gateway.errors import NotReady, UsageError
from gateway.model import AccountKey
from gateway.registry import feed as feed_module
from gateway.registry import keyed, keys_in_use, past, rekeying, store
from gateway.registry.feed import Feed
from gateway.registry.keys import RegistryKey, key_files, load_key, make_key
from gateway.registry.local import learn
from gateway.registry.rekeying import Rekeying
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot

ACCOUNT = AccountKey("mobile", "cmpp", "900001")
SMALL = 1 << 28
CHECKOUT = Path(__file__).parent.parent
WHO = [f"+861380000{n:04}" for n in range(40)]
OTHERS = [f"+861390000{n:04}" for n in range(40)]


@pytest.fixture
def keys(tmp_path: Path) -> RegistryKey:
    """A node's key, alone so far."""
    return load_key(tmp_path / "keys" / "registry.key")


@pytest.fixture
def replica(tmp_path: Path, keys: RegistryKey) -> Iterator[Replica]:
    opened = Replica.open(tmp_path / "registry", keys, writer=True, map_size=SMALL)
    yield opened
    opened.close()


@pytest.fixture
async def c(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute(UNGUARDED)
    await connection.execute(OPEN_RUN)
    await connection.execute(
        "INSERT INTO institutions (code, name, kind) VALUES ('A', 'A', 'bank'), ('B', 'B', 'bank')"
    )
    yield connection
    await connection.close(timeout=2)


async def filled(c: asyncpg.Connection, keys: RegistryKey) -> None:
    """All of `WHO` refuse everybody, and consent to A, and are debtors of B; under the key of now."""
    for number in WHO:
        key_id, hashed, sealed = await keyed.enter(c, keys, number)
        what = (key_id, hashed, sealed)
        await c.execute(
            """INSERT INTO refusals (key_id, subscriber_hash, subscriber_sealed, purposes, channels, source,
                                     refused_at) VALUES ($1, $2, $3, 3, 3, 'import', '2026-01-01')""",
            *what,
        )
        await c.execute(
            """INSERT INTO consents (key_id, subscriber_hash, subscriber_sealed, institution_id, source,
                                     given_at) VALUES ($1, $2, $3, 1, 'paper', '2026-01-01')""",
            *what,
        )
        await c.execute(
            """INSERT INTO recipients (key_id, subscriber_hash, subscriber_sealed, institution_id, role,
                                       valid_from) VALUES ($1, $2, $3, 2, 'debtor', '2026-01-01')""",
            *what,
        )


async def rotate(c: asyncpg.Connection, keys: RegistryKey) -> RegistryKey:
    """The second key, which is the newest from now on."""
    assert keys.path is not None
    fresh = make_key(keys.path.parent)
    await announce(c, fresh)
    return fresh


async def announce(c: asyncpg.Connection, fresh: RegistryKey) -> None:
    async with c.transaction():
        await c.execute("SELECT FROM registry_keys FOR UPDATE")
        await c.execute("INSERT INTO registry_keys (key_id, fingerprint) VALUES (2, $1)", fresh.fingerprint)


def holds(view: Snapshot) -> bool:
    """Whether all is as it was filled, for each subscriber."""
    view.renew()
    return all(
        [one.purposes for one in view.refusals(number)] == [3]
        and len(view.consents(number, 1)) == 1
        and [one.role for one in view.recipients(number, 2)] == ["debtor"]
        for number in WHO
    ) and not any(view.refusals(number) or view.recipients(number, 2) for number in OTHERS)


async def caught_up(dsn: str, feed: Feed) -> None:
    async with feed._connected() as connection:
        await feed.catch_up(connection)


async def test_the_same_are_refused_before_during_and_after(
    database: str,
    c: asyncpg.Connection,
    keys: RegistryKey,
    replica: Replica,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looked at after every commit of the keeper, and of the feed, whose steps are small and race with them;
    by a view that lives on and by one that is new."""
    monkeypatch.setattr(rekeying, "BATCH", 7)
    monkeypatch.setattr(rekeying, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(feed_module, "STEP", 5)
    monkeypatch.setattr(keys_in_use, "STILL_USED", 0.0)
    feed = Feed(database, replica)
    feed.open()
    await store.register_key(c, keys.fingerprint)
    await filled(c, keys)
    await caught_up(database, feed)
    view, looks = replica.snapshot(), 0
    assert holds(view)
    assert view.looked_up_by == (keys.fingerprint,)
    before = await past_refusals(c, keys)

    apply = feed._writer.apply

    def applied(*args: object, **kwargs: object) -> bool:
        nonlocal looks
        changed = apply(*args, **kwargs)  # type: ignore[arg-type]
        looks += 1
        assert holds(view)
        assert holds(replica.snapshot())
        return changed

    monkeypatch.setattr(feed._writer, "apply", applied)
    fresh = await rotate(c, keys)
    other = await asyncpg.connect(database)
    work = Rekeying(database, keys)

    async def following() -> None:
        async with feed._connected() as connection:
            while True:
                await feed.catch_up(connection)
                await asyncio.sleep(0)

    task = asyncio.create_task(following())
    random = Random(1)
    for number in random.sample(WHO, 12):  # who speaks meanwhile is moved before, and stays one
        said = learn(
            keys, number, institution=1, purposes=2, channels=3, at=1, node="n", account=ACCOUNT,
            message_id=number.encode(),
        )  # fmt: skip
        assert said.event == learn(
            keys.first, number, institution=1, purposes=2, channels=3, at=1, node="n", account=ACCOUNT,
            message_id=number.encode(),
        ).event  # fmt: skip
        await keyed.enter_all(other, keys, [number])
    await work.carry_on(other)
    assert await rekeying.left(c, 1) == {}
    assert await c.fetchval("SELECT count(*) FROM registry_keys WHERE retired_at IS NOT NULL") == 1
    end = time.monotonic() + 20
    while view.looked_up_by != (fresh.fingerprint,) and time.monotonic() < end and not task.done():
        await asyncio.sleep(0.01)
        assert holds(view)
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    await other.close()
    assert isinstance(ended, asyncio.CancelledError), ended
    assert view.looked_up_by == (fresh.fingerprint,)
    assert holds(view)
    assert looks > 10
    assert view.hash(WHO[0]) == fresh.hash(WHO[0])
    assert await past_refusals(c, keys) == before != []  # what stood then stood under the other key
    assert await c.fetchval("SELECT count(*) FROM refusals_history") == 0


async def past_refusals(c: asyncpg.Connection, keys: RegistryKey) -> object:
    """What the registry's past says of one, by the version at which he was filed."""
    version = await c.fetchval("SELECT max(row_version) FROM refusals")
    reader = past._Reader(c, past.Instant(0, version))
    return await reader.refusals(await keyed.hashes(c, keys, WHO[3]))


async def test_without_the_newer_key_nobody_judges_and_nothing_is_lost(
    database: str, c: asyncpg.Connection, keys: RegistryKey, replica: Replica, tmp_path: Path
) -> None:
    """The key was made on another node. The keeper follows all the same, so that the file is all it takes."""
    feed = Feed(database, replica)
    feed.open()
    await store.register_key(c, keys.fingerprint)
    await filled(c, keys)
    await caught_up(database, feed)
    view, old = replica.snapshot(), load_key(tmp_path / "keys" / "registry.key")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "registry.key").write_bytes((tmp_path / "keys" / "registry.key").read_bytes())
    theirs = load_key(elsewhere / "registry.key")
    fresh = await rotate(c, theirs)
    await Rekeying(database, theirs).carry_on(c)
    replica.add_local_refusals(
        [learn(keys, OTHERS[0], institution=1, purposes=1, channels=1, at=1, node="n", account=ACCOUNT,
               message_id=b"m")]
    )  # fmt: skip
    await caught_up(database, feed)
    name = fresh.fingerprint[:8].hex()
    assert name in feed.hindered
    for again in (view.renew, view.renew, replica.snapshot):
        with pytest.raises(NotReady, match=name):
            again()
    with pytest.raises(NotReady, match=name):
        await keyed.hashes(c, old, WHO[0])
    with pytest.raises(NotReady, match=name):
        await keyed.enter(c, old, WHO[0])
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="newer registry key"):
        await c.execute(
            """INSERT INTO refusals (key_id, subscriber_hash, subscriber_sealed, purposes, channels, source,
                                     refused_at) VALUES (1, $1, $2, 3, 3, 'import', now())""",
            old.hash(OTHERS[1]),
            old.seal(OTHERS[1]),
        )
    assert fresh.path is not None
    (tmp_path / "keys" / fresh.path.name).write_bytes(fresh.path.read_bytes())
    await caught_up(database, feed)
    assert feed.hindered == ""
    view.renew()
    assert [one.institution for one in view.refusals(OTHERS[0])] == [1]  # learnt before, under the old key
    assert [one.purposes for one in view.refusals(WHO[0])] == [3]
    assert await c.fetchval("SELECT key_id FROM refusals ORDER BY id DESC LIMIT 1") == 2


async def test_a_keeper_killed_in_the_middle_goes_on_where_it_was(
    database: str, c: asyncpg.Connection, keys: RegistryKey, tmp_path: Path
) -> None:
    await store.register_key(c, keys.fingerprint)
    await filled(c, keys)
    fresh = await rotate(c, keys)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        "import asyncio, sys; from gateway.registry import rekeying;"
        "from gateway.registry.keys import load_key; from pathlib import Path;"
        "rekeying.BATCH = 3; rekeying.PAUSE_SECONDS = 0.05;"
        "asyncio.run(rekeying.Rekeying(sys.argv[1], load_key(Path(sys.argv[2]))).run())",
        database, str(keys.path), cwd=CHECKOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while not await c.fetchval("SELECT max(up_to) FROM registry_rekeyed"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    left = await rekeying.left(c, 1)
    assert 0 < left["refusals"] < len(WHO)
    assert left["refusals"] == left["consents"] == left["recipients"]  # one subscriber's all at once
    await Rekeying(database, keys).carry_on(c)
    assert await rekeying.left(c, 1) == {}
    rows = await c.fetch("SELECT subscriber_hash, subscriber_sealed, key_id FROM refusals ORDER BY id")
    assert [(row[0], row[2]) for row in rows] == [(fresh.hash(number), 2) for number in WHO]
    assert all(fresh.sealed_here(row[1]) for row in rows)


async def test_words_under_two_keys_are_one_subscribers(
    database: str, c: asyncpg.Connection, keys: RegistryKey
) -> None:
    """An acceptance, and a release, end what was said under the older key; a row that can't be opened stays,
    and the key with it; and a row is moved as it is, or not at all."""
    await store.register_key(c, keys.fingerprint)
    await filled(c, keys)
    fresh = await rotate(c, keys)
    key_id, hashed, sealed = await keyed.enter(c, keys, WHO[0])
    assert (key_id, hashed) == (2, fresh.hash(WHO[0]))
    await c.execute(
        """INSERT INTO replies (event, record, kind, subscriber_hash, key_id, subscriber_sealed,
                                institution_id, number, purposes, channels, said_at)
           VALUES ($1, gen_random_uuid(), 'wrong_person', $2, $3, $4, 2, '10690001', 0, 0, '2026-02-01')""",
        bytes(16), hashed, key_id, sealed,
    )  # fmt: skip
    await c.execute(
        """INSERT INTO released (subscriber_hash, key_id, subscriber_sealed, released_at)
           VALUES ($1, $2, $3, '2026-03-01')""",
        hashed, key_id, sealed,
    )  # fmt: skip
    ended = "SELECT count(*) FROM {} WHERE subscriber_hash = $1 AND valid_until = '2026-03-01'"
    assert await c.fetchval(ended.format("consents"), hashed) == 1
    assert await c.fetchval(ended.format("recipients"), hashed) == 2
    with pytest.raises(asyncpg.CheckViolationError):
        await c.execute("UPDATE refusals SET key_id = 2, purposes = 7 WHERE key_id = 1")
    with pytest.raises(asyncpg.RaiseError):
        await c.execute("UPDATE consents_history SET source = 'x'")
    await c.execute("UPDATE registry_keys SET retired_at = now() WHERE key_id = 2")
    what = (keys.hash(OTHERS[0]), keys.seal("x"))  # who knows what that is
    await c.execute(
        """INSERT INTO consents (key_id, subscriber_hash, subscriber_sealed, institution_id, source, given_at)
           VALUES (1, $1, $2, 1, 'paper', '2026-01-01')""",
        *what,
    )
    await c.execute("UPDATE registry_keys SET retired_at = NULL")
    await Rekeying(database, keys).carry_on(c)
    assert await rekeying.left(c, 1) == {"consents": 1}
    assert await c.fetchval("SELECT count(*) FROM registry_keys WHERE retired_at IS NULL") == 2


async def test_every_table_with_something_under_a_key_is_moved(c: asyncpg.Connection) -> None:
    named = await c.fetch("SELECT table_name FROM information_schema.columns WHERE column_name = 'key_id'")
    moved = {*rekeying.PLACES, *(f"{table}_history" for table in rekeying.PLACES), "credentials"}
    assert {row[0] for row in named} == moved | {"registry_keys", "registry_rekeyed"}


def test_key_files(tmp_path: Path, keys: RegistryKey) -> None:
    """At most two at a time; the oldest is known by its number, and what either sealed is opened."""
    folder = tmp_path / "keys"
    fresh = make_key(folder)
    assert [path.name for path in key_files(folder)] == ["registry.key", "registry-2.key"]
    with pytest.raises(UsageError, match=r"registry-2\.key"):
        make_key(folder)
    assert keys.open(fresh.seal(WHO[0])) == WHO[0]  # it came after `keys` were read
    assert keys.open_totp(fresh.seal_totp("secret")) == "secret"
    (folder / "registry.key").unlink()
    alone = load_key(folder / "registry.key")
    assert alone.fingerprint == fresh.fingerprint
    assert not (folder / "registry.key").exists()
    assert make_key(folder).path == folder / "registry-3.key"
