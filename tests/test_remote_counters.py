"""Counting over nodes, by a real server and by a real Cluster: together exact, alone while that is away."""

import asyncio
import logging
import signal
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
import redis
import uvloop
from counting_servers import PROGRAMS, Server, counting_cluster, counting_server
from hypothesis import HealthCheck, given, settings
from playbook import HOST
from redis.retry import Retry
from test_counters import ENTRIES, Naive, entry

from gateway.counters import ALWAYS, LOOK, NEAR, TAKE, Entry, Reserved, count_key, key_of
from gateway.counters.local import Local
from gateway.counters.looking import Looking
from gateway.counters.remote import Remote
from gateway.model import COLLECTION, SMS, VOICE
from gateway.policy.caps import caps_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module", params=PROGRAMS)
def server(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[Server]:
    with counting_server(tmp_path_factory.mktemp("server"), request.param) as server:
        yield server


@pytest.fixture(scope="module", params=PROGRAMS)
def cluster(tmp_path_factory: pytest.TempPathFactory, request: Any) -> Iterator[list[Server]]:
    with counting_cluster(tmp_path_factory.mktemp("cluster"), request.param) as servers:
        yield servers


class Node:
    """The counters of a node's worker."""

    def __init__(self, folder: Path, url: str, **changes: Any) -> None:
        options: dict[str, Any] = {"deadline": 2.0, "suffices": True, "log": LOG} | changes
        self.remote = Remote(url, Local(folder, lambda since: [], LOG), **options)

    async def ask(self, *entries: Entry) -> Reserved:
        told: asyncio.Future[Reserved] = asyncio.get_running_loop().create_future()
        self.remote.reserve(time.time_ns() // 1_000_000, entries, told.set_result)
        return await asyncio.wait_for(told, 20)

    async def words(self, *entries: Entry) -> list[str | None]:
        reserved = await self.ask(*entries)
        assert not reserved.partial
        return list(reserved.words)

    async def until(self, *, partial: bool) -> None:
        """Wait until the server is away, or there."""
        async with asyncio.timeout(20):
            while (await self.ask(entry(99, manner=LOOK))).partial is not partial:
                self.remote.check()
                await asyncio.sleep(0.01)


Nodes = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Nodes:
    @asynccontextmanager
    async def made(url: str, **changes: Any) -> AsyncIterator[Node]:
        node = Node(tmp_path_factory.mktemp("node"), url, **changes)
        try:
            if changes.get("suffices", True):
                await node.until(partial=False)
            yield node
        finally:
            await node.remote.close()

    return made


@pytest_asyncio.fixture(loop_scope="module")
async def pair(node: Nodes, server: Server) -> AsyncIterator[list[Node]]:
    with server.client() as client:
        client.flushall()
    async with node(server.url) as one, node(server.url) as other:
        yield [one, other]


async def test_nodes_count_together_and_side_by_side(pair: list[Node]) -> None:
    one, other = pair
    assert await one.words(entry(1), entry(2)) == ["", ""]
    assert await other.words(entry(1), entry(1), entry(2)) == ["", "minute", ""]
    assert await one.words(entry(2)) == ["minute"]
    told = await asyncio.gather(*(pair[n % 2].words(entry(3), entry(4)) for n in range(30)))
    for place in range(2):
        assert sorted(words[place] or "" for words in told) == [""] * 2 + ["minute"] * 28


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=ENTRIES, again=ENTRIES)
async def test_as_if_all_instants_were_looked_through(
    pair: list[Node],
    asked: list[tuple[int, int, int]],
    again: list[tuple[int, int, int]],
) -> None:
    """What one node counts the other meets; nothing that is given back stays."""
    naive, base = Naive(), time.time_ns()  # keys of this example alone
    for at, story in enumerate((asked, again, asked)):
        ordered = sorted(story, key=lambda one: one[2])
        entries = [entry(base + key, manner=manner, group=group) for key, manner, group in ordered]
        reserved = await pair[at % 2].ask(*entries)
        words, taken = naive.reserve(0, entries)
        assert fates(entries, reserved.words) == fates(entries, words)
        if at == 1:
            reserved.release()
            for key in taken:
                naive.taken[key].remove(0)
            await settled(pair[1])


def fates(entries: Sequence[Entry], words: Sequence[str | None]) -> list[object]:
    """The words of entries alone, and which groups failed; not by which entry: each side may find another."""
    told = list(zip(entries, words, strict=True))
    failed = {entry[4] for entry, word in told if entry[4] and entry[3] == TAKE and word}
    return [*(word for entry, word in told if not entry[4]), failed]


async def settled(node: Node) -> None:
    """What was begun beside the path is done."""
    while node.remote._tasks:
        await asyncio.wait(node.remote._tasks)


async def test_what_was_not_recorded_counts_no_longer(pair: list[Node]) -> None:
    one, other = pair
    reserved = await one.ask(entry(1), entry(1), entry(2))
    assert await other.words(entry(1)) == ["minute"]
    reserved.release()
    await settled(one)
    assert await other.words(entry(1), entry(1), entry(1)) == ["", "", "minute"]
    assert await one.words(entry(2), entry(2), entry(2)) == ["", "", "minute"]


async def test_a_server_that_has_forgotten_the_script_gets_it_again(pair: list[Node], server: Server) -> None:
    with server.client() as client:
        client.script_flush()
    assert await pair[0].words(entry(1)) == [""]


async def test_a_server_that_hangs_costs_one_deadline_and_no_order(node: Nodes, server: Server) -> None:
    with server.client() as client:
        client.flushall()
    async with node(server.url, deadline=0.2) as one:
        assert await one.words(entry(1)) == [""]
        server.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            first = await one.ask(entry(1), entry(2))
            assert 0.2 <= time.monotonic() - began < 2
            assert (list(first.words), first.partial) == (["", ""], True)
            began = time.monotonic()
            for _ in range(50):
                later = await one.ask(entry(1), entry(3, manner=ALWAYS))
                assert later.partial
                assert later.words[0] == "minute"  # by what this node has seen
            assert time.monotonic() - began < 0.2
        finally:
            server.signal(signal.SIGCONT)
        await one.until(partial=False)
        assert await one.words(entry(1), entry(4)) == ["minute", ""]


async def test_a_connection_that_was_reset_is_a_server_that_is_away(server: Server, tmp_path: Path) -> None:
    """Under uvloop, as in a worker, writing to such a one raises no OSError."""

    async def story() -> None:
        one = Node(tmp_path, "redis://{}:{}/0".format(*await way.begin()))
        try:
            await one.until(partial=False)
            await way.reset()
            assert (await one.ask(entry(1))).words == [""]
            await one.until(partial=False)
        finally:
            await one.remote.close()
            way.end()

    way = Way(server)
    await asyncio.to_thread(uvloop.run, story())


class Way:
    """Between a node and its server: may be reset while nothing is said."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def begin(self) -> tuple[str, int]:
        self._door = await asyncio.start_server(self._came, HOST, 0)
        host, port = self._door.sockets[0].getsockname()
        return host, port

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(HOST, self._server.port)
        self._writers += [writer, ours]
        await asyncio.gather(self._pass_on(reader, ours), self._pass_on(theirs, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, RuntimeError):
            while octets := await reader.read(65536):
                writer.write(octets)
        writer.close()

    async def reset(self) -> None:
        """End all connections so that no FIN, but a reset comes, and wait until it is there."""
        for writer in self._writers[::2]:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
        self._writers.clear()
        for _ in range(5):  # turns of the loop that the node is in, too
            await asyncio.sleep(0)

    def end(self) -> None:
        self._door.close()


async def test_away_and_back_without_what_it_knew(node: Nodes, server: Server) -> None:
    """A server that comes back empty makes no room for what this node has sent itself."""
    async with node(server.url) as one:
        assert await one.words(entry(5), entry(6)) == ["", ""]
        server.kill()
        await one.until(partial=True)
        assert (await one.ask(entry(5))).words == [""]
        server.start()
        await one.until(partial=False)
        assert await one.words(entry(5), entry(6), entry(6)) == ["minute", "", "minute"]


async def test_where_own_counts_do_not_suffice_nobody_can_say(node: Nodes, server: Server) -> None:
    async with node("redis://127.0.0.1:9/0", suffices=False) as one:
        assert not one.remote.check()
        reserved = await one.ask(entry(1), entry(2, manner=ALWAYS))
        assert (list(reserved.words), reserved.partial) == ([None, None], False)
        assert "127.0.0.1:9" in one.remote.ailing


async def test_a_cluster_counts_as_one(node: Nodes, cluster: list[Server]) -> None:
    """Keys lie on all three; who shares one fate is counted for all or for none, wherever they lie."""
    async with node(cluster[0].url) as one, node(cluster[1].url) as other:
        keys = range(100, 160)
        assert await one.words(*map(entry, keys)) == [""] * 60
        for server in cluster:
            with server.client() as client:
                assert client.dbsize()
        assert await other.words(*(entry(key) for key in keys for _ in range(2))) == ["", "minute"] * 60
        fate = [entry(key, group=7) for key in (200, 201, 202, 203, 100, 204)]
        assert (await one.ask(*fate)).words[4] == "minute"
        assert await other.words(*(entry(key) for key in range(200, 205) for _ in range(3))) == [
            "", "", "minute",
        ] * 5  # fmt: skip
        reserved = await one.ask(*(entry(key) for key in range(300, 330)))
        reserved.release()
        await settled(one)
        assert await other.words(*(entry(key) for key in range(300, 330) for _ in range(2))) == [""] * 60
        for server in cluster:
            with server.client() as client:
                client.script_flush()
        assert await one.words(*(entry(key) for key in range(400, 440))) == [""] * 40


CONTACTS = caps_of({"collection": {"day": 3}})[COLLECTION]
MANY = caps_of({"collection": {"day": 20}})[COLLECTION]


async def test_a_joint_cap_is_one_for_texts_and_calls(pair: list[Node]) -> None:
    await contacted(*pair)


async def test_a_joint_cap_is_one_in_a_cluster_too(node: Nodes, cluster: list[Server]) -> None:
    async with node(cluster[0].url) as one, node(cluster[1].url) as other:
        await contacted(one, other)


async def contacted(one: Node, other: Node) -> None:
    """Asked for from both nodes at once, half by SMS and half by voice: no contact is lost, none too many."""

    def contact(channel: int, subscriber: int) -> list[Entry]:
        of = _hashed(f"+86138{subscriber:08}")
        keys = (key_of(count_key(_hashed, "BANK", on, COLLECTION), of) for on in (channel, SMS | VOICE))
        return [entry(key, limits, group=1) for key, limits in zip(keys, (MANY, CONTACTS), strict=True)]

    for subscriber in range(10):
        tries = (
            (node, contact(channel, subscriber)) for node in (one, other) for channel in (SMS, VOICE) * 3
        )
        told = await asyncio.gather(*(node.words(*entries) for node, entries in tries))
        assert sorted(words[1] or "" for words in told) == [""] * 3 + ["day"] * 9
        assert {words[0] for words in told} == {""}
        assert await one.words(*contact(SMS, subscriber)) == ["", "day"]
        alone = [
            entry(contact(channel, subscriber)[0][0], MANY) for channel in (SMS, VOICE) for _ in range(20)
        ]
        assert (await other.words(*alone)).count("") == 40 - 3  # what the joint cap refused was given back


async def test_what_turns_out_to_be_something_else_counts_no_longer(pair: list[Node]) -> None:
    """On all nodes, by whichever of them it is told; nothing of another time goes with it."""
    one, other = pair
    now = time.time_ns() // 1_000_000
    assert await one.words(entry(700)) == [""]
    assert await other.words(entry(700)) == [""]
    one.remote.forget([700], now - NEAR - 60_000)
    await settled(one)
    assert await other.words(entry(700, manner=LOOK)) == ["minute"]
    other.remote.forget([700, 701], now)
    await settled(other)
    assert await other.words(entry(700), entry(700)) == ["", "minute"]


def _hashed(text: str) -> bytes:
    return sha256(text.encode()).digest()


async def looked(one: Node, other: Node, urls: Sequence[str]) -> None:
    """Who only looks sees what all nodes have counted, by whatever server he asks, and counts nothing."""
    for subscriber in (f"+86138{n:08}" for n in range(4)):
        key = key_of(count_key(_hashed, "LOOKED", SMS, COLLECTION), _hashed(subscriber))
        for node in (one, other, one):
            await node.words(entry(key, CONTACTS))
        for url in urls:
            look = Looking(url, lambda *_: [], _hashed, deadline=2.0, suffices=False)
            for _ in range(2):
                newest = look(subscriber, "LOOKED", SMS, COLLECTION)
                assert newest is not None
                assert len(newest) == 3
                assert newest == sorted(newest, reverse=True)
            assert look(subscriber, "LOOKED", VOICE, COLLECTION) == []


async def test_who_only_looks_sees_what_all_nodes_have_counted(pair: list[Node], server: Server) -> None:
    await looked(*pair, [server.url])
    for suffices, wanted in ((True, [7]), (False, None)):
        away = Looking("redis://127.0.0.1:9/0", lambda *_: [7], _hashed, deadline=0.2, suffices=suffices)
        assert [away("+8613800000001", "BANK", SMS, COLLECTION) for _ in range(2)] == [wanted] * 2


async def test_who_only_looks_asks_a_cluster_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else is served meanwhile."""
    of_cluster = SimpleNamespace(info=lambda section: {"cluster_enabled": 1}, close=lambda: None)
    tries: list[int] = []

    def away(url: str, *, retry: Retry, **more: float) -> None:
        tries.append(retry.get_retries())
        raise ConnectionError

    monkeypatch.setattr(redis.Redis, "from_url", lambda url, **more: of_cluster)
    monkeypatch.setattr(redis.RedisCluster, "from_url", away)
    look = Looking("redis://127.0.0.1:9/0", lambda *_: [7], _hashed, deadline=0.2, suffices=True)
    assert look("+8613800000001", "BANK", SMS, COLLECTION) == [7]
    assert tries == [0]


async def test_who_only_looks_sees_all_of_a_cluster(node: Nodes, cluster: list[Server]) -> None:
    async with node(cluster[0].url) as one, node(cluster[1].url) as other:
        await looked(one, other, [server.url for server in cluster])


async def test_a_cluster_that_loses_a_server_is_away(node: Nodes, cluster: list[Server]) -> None:
    async with node(cluster[0].url, deadline=0.3) as one:
        cluster[2].signal(signal.SIGSTOP)
        try:
            told = await one.ask(*(entry(key) for key in range(500, 560)))
            assert told.partial
            assert list(told.words) == [""] * 60
        finally:
            cluster[2].signal(signal.SIGCONT)
        await one.until(partial=False)
