"""Counting over all nodes, by a Redis or Valkey server that they share, or a Cluster of them.

A batch is one call of a script, which the server runs whole; in a Cluster one for each hash tag that the
batch touches, pipelined, and what then was taken in part is given back. Instants are the server's. A key is a
list of the newest instants, newest first, forgotten after the longest window.

This node counts for itself what the server has counted: so what it has seen to be full is full, whatever the
server has missed or lost, and it can go on alone. A server that does not answer in time is left alone and
tried beside the path, until it answers again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from typing import Any

import msgspec
import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gateway.counters import GATE, LOOK, TAKE, Entry, Reserved, nearest
from gateway.counters.local import Local
from gateway.policy.caps import LONGEST

TAGS = 16
"""Hash tags, by the lowest bits of a key, which are the subscriber's: over so many nodes of a Cluster the
counts can spread, and so many calls a batch may take."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries to reach a server that is away."""

SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local longest, entries = unpack(cmsgpack.unpack(ARGV[1]))
local words, taken = {}, {}
local group, mark, failed = 0, 0, false
for position, entry in ipairs(entries) do
  local key, limits, most, manner, of = KEYS[entry[1]], entry[2], entry[3], entry[4], entry[5]
  if of ~= group then group, mark, failed = of, #taken, false end
  local word = 0
  for place, limit in ipairs(limits) do
    local earlier = redis.call('LINDEX', key, limit[2] - 1)
    if earlier and now - earlier < limit[1] then word = place break end
  end
  words[position] = word
  if manner ~= 0 and manner ~= 3 and (word == 0 or manner == 2) and not failed then
    redis.call('LPUSH', key, now)
    redis.call('LTRIM', key, 0, most - 1)
    redis.call('PEXPIRE', key, longest)
    taken[#taken + 1] = position
  end
  if word ~= 0 and (manner == 1 or manner == 3) and of ~= 0 and not failed then
    failed = true
    while #taken > mark do
      redis.call('LREM', KEYS[entries[table.remove(taken)][1]], 1, now)
    end
  end
end
return cmsgpack.pack({now, words, taken})
"""
"""KEYS: the keys. ARGV[1]: msgpack of the longest window and the entries: place of the key, limits (window,
most), most, manner, group. Gives, in msgpack, the instant, of each entry the place of the limit that is full
or 0, and the places of the entries that were counted."""

DIGEST = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(tuple[int, list[int], list[int]]).decode


@dataclass(slots=True)
class _Part:
    """Entries of a batch that one call is about, by their positions."""

    positions: list[int] = field(default_factory=list)
    keys: dict[bytes, int] = field(default_factory=dict)
    entries: list[tuple[int, list[tuple[int, int]], int, int, int]] = field(default_factory=list)

    def command(self) -> tuple[Any, ...]:
        return (len(self.keys), *self.keys, _pack((LONGEST, self.entries)))


@dataclass(slots=True)
class _Told:
    """What the server said: the words by position, and what is to be taken back: key and instant."""

    words: list[str]
    taken: dict[int, tuple[bytes, int]]


class Remote:
    """The counters of one worker by the server at `url`; `local` counts for the node. A server that takes
    longer than `deadline` (s) is away; then `local` decides if it `suffices`, else nobody can say."""

    def __init__(
        self, url: str, local: Local, *, deadline: float, suffices: bool, log: logging.Logger
    ) -> None:
        self._url = url
        self._local = local
        self._deadline = deadline
        self._suffices = suffices
        self._log = log
        self._server: client.Redis | client.RedisCluster | None = None
        self._why = "not connected yet"
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def ailing(self) -> str:
        """See `Counters`: a server that is away matters where the node's own counts don't suffice."""
        if self._suffices:
            return self._local.ailing if self._server is None else ""
        return f"{_place(self._url)}: {self._why}" if self._server is None else ""

    def reserve(self, now: int, entries: Sequence[Entry], done: Callable[[Reserved], None]) -> None:
        """See `Counters`."""
        if self._server is None:
            done(self._alone(now, entries))
        else:
            self._begin(self._over_all(self._server, now, entries, done))

    def forget(self, keys: Sequence[int], at: int) -> None:
        """See `Counters`."""
        self._local.forget(keys, at)
        if self._server is not None and keys and not self._closing:
            self._begin(self._forget(self._server, [name_of(key) for key in keys], at))

    def check(self) -> bool:
        """See `Counters`."""
        well = self._local.check()
        if (
            self._server is None
            and not self._closing
            and (self._connecting is None or self._connecting.done())
        ):
            self._connecting = self._begin(self._connect())
        return self._server is not None or (self._suffices and well)

    def hashed_by(self, fingerprint: bytes, *, changed: bool) -> None:
        """See `Counters`."""
        self._local.hashed_by(fingerprint, changed=changed)

    async def close(self) -> None:
        """See `Counters`."""
        self._closing = True
        server, self._server = self._server, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if server is not None:
            await _closed(server)
        await self._local.close()

    def _begin(self, work: Any) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────

    def _alone(self, now: int, entries: Sequence[Entry]) -> Reserved:
        """While the server is away."""
        if not self._suffices:
            return Reserved([None] * len(entries), False, lambda: None)
        counted = self._local.count(now, entries)
        keys = [entries[position][0] for position in counted.taken]
        return Reserved(counted.words, True, partial(self._local.release, keys, counted.at))

    async def _over_all(
        self,
        server: "client.Redis | client.RedisCluster",
        now: int,
        entries: Sequence[Entry],
        done: Callable[[Reserved], None],
    ) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                told = await self._ask(server, entries)
        except Exception as error:  # whoever judges waits for `done`; redis lets others' errors through, too
            self._lose(server, error)
            done(self._alone(now, entries))
            return
        mine = [
            entry if position in told.taken or entry[3] == GATE else (*entry[:3], LOOK, 0)
            for position, entry in enumerate(entries)
        ]
        counted = self._local.count(now, mine)
        words = [theirs or own or "" for theirs, own in zip(told.words, counted.words, strict=True)]
        if None not in counted.words:
            taken = set(counted.taken)
            over = [told.taken.pop(position) for position in list(told.taken) if position not in taken]
            if over:
                self._begin(self._take_back(server, over))
        keys = [entries[position][0] for position in counted.taken]
        done(Reserved(words, False, partial(self._release, keys, counted.at, told)))

    def _release(self, keys: Sequence[int], at: int, told: _Told) -> None:
        self._local.release(keys, at)
        if self._server is not None and told.taken and not self._closing:
            self._begin(self._take_back(self._server, list(told.taken.values())))

    # ── the server ───────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, server: "client.Redis | client.RedisCluster", entries: Sequence[Entry]) -> _Told:
        whole = isinstance(server, client.Redis)
        parts: dict[bytes, _Part] = {}
        for position, (key, limits, most, manner, group) in enumerate(entries):
            part = parts.setdefault(b"" if whole else _tag(key), _Part())
            part.positions.append(position)
            place = part.keys.setdefault(name_of(key), len(part.keys) + 1)
            told_limits = [(limit.window, limit.most) for limit in limits]
            part.entries.append((place, told_limits, most, manner, group))
        answers = await self._call(server, list(parts.values()))
        told = _Told([""] * len(entries), {})
        for part, answer in zip(parts.values(), answers, strict=True):
            now, words, taken = _unpack(answer)
            names = list(part.keys)
            for position, word in zip(part.positions, words, strict=True):
                if word:
                    told.words[position] = entries[position][1][word - 1].word
            for place in taken:
                told.taken[part.positions[place - 1]] = names[part.entries[place - 1][0] - 1], now
        if not whole:
            await self._same_fate(server, entries, told)
        return told

    async def _same_fate(
        self, server: "client.Redis | client.RedisCluster", entries: Sequence[Entry], told: _Told
    ) -> None:
        """Give back what was taken in one part of a Cluster for a group that failed in another."""
        failed = {
            entry[4]
            for position, entry in enumerate(entries)
            if entry[4] and entry[3] in (TAKE, GATE) and told.words[position]
        }
        back = [position for position in told.taken if entries[position][4] in failed]
        if back:
            await self._take_back(server, [told.taken.pop(position) for position in back])

    async def _take_back(
        self, server: "client.Redis | client.RedisCluster", taken: Sequence[tuple[bytes, int]]
    ) -> None:
        with suppress(Exception):  # then it counts for as long as a window
            async with asyncio.timeout(self._deadline):
                pipe: Any = server.pipeline(transaction=False)
                for key, at in taken:
                    pipe.lrem(key, 1, str(at))
                await pipe.execute()

    async def _forget(
        self, server: "client.Redis | client.RedisCluster", names: Sequence[bytes], at: int
    ) -> None:
        with suppress(Exception):  # then it counts for as long as a window
            async with asyncio.timeout(self._deadline):
                pipe: Any = server.pipeline(transaction=False)
                for name in names:
                    pipe.lrange(name, 0, -1)
                found = [nearest([*map(int, some)], at) for some in await pipe.execute()]
            meant = [(name, one) for name, one in zip(names, found, strict=True) if one is not None]
            if meant:
                await self._take_back(server, meant)

    async def _call(self, server: Any, parts: Sequence[_Part]) -> list[Any]:
        """One round trip; a second one when a server has forgotten the script."""
        if len(parts) == 1:
            try:
                return [await server.execute_command("EVALSHA", DIGEST, *parts[0].command())]
            except NoScriptError:
                return [await server.execute_command("EVAL", SCRIPT, *parts[0].command())]
        pipe = server.pipeline(transaction=False)
        for part in parts:
            pipe.execute_command("EVALSHA", DIGEST, *part.command())
        answers = await pipe.execute(raise_on_error=False)
        for place, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[place] = await server.execute_command("EVAL", SCRIPT, *parts[place].command())
            elif isinstance(answer, Exception):
                raise answer
        return list(answers)

    # ── away and back ────────────────────────────────────────────────────────────────────────────────

    def _lose(self, server: "client.Redis | client.RedisCluster", error: Exception) -> None:
        if self._server is not server:
            return
        self._server = None
        self._why = str(error) or f"no answer within {self._deadline} s"
        self._log.warning("counters away", extra={"fields": {"at": _place(self._url), "why": self._why}})
        self._begin(_closed(server))
        if not self._closing:
            self._connecting = self._begin(self._connect())

    async def _connect(self) -> None:
        """Until there is a server again."""
        pause = FIRST_PAUSE
        while not self._closing:
            try:
                self._server = await self._connected()
            except Exception as error:  # of a Cluster not all are RedisErrors
                self._why = str(error) or "no answer"
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._log.info("counting over all nodes", extra={"fields": {"at": _place(self._url)}})
                return

    async def _connected(self) -> "client.Redis | client.RedisCluster":
        """A server that has answered; one that says that it is of a Cluster is asked for the others."""
        patience = max(1.0, self._deadline)
        options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
        }
        single = client.Redis.from_url(self._url, **options)
        try:
            async with asyncio.timeout(2 * patience):
                said: Any = await single.info("cluster")
                if not said.get("cluster_enabled"):
                    await single.script_load(SCRIPT)
                    return single
        except BaseException:
            await _closed(single)
            raise
        await _closed(single)
        cluster = client.RedisCluster.from_url(self._url, **options)
        try:
            async with asyncio.timeout(4 * patience):
                await cluster.initialize()
                await cluster.script_load(SCRIPT)
        except BaseException:
            await _closed(cluster)
            raise
        return cluster


def _tag(key: int) -> bytes:
    return b"{zm:%02x}" % (key % TAGS)


def name_of(key: int) -> bytes:
    """Under what the server has a key's instants."""
    return b"%b:%016x" % (_tag(key), key)


async def _closed(server: "client.Redis | client.RedisCluster") -> None:
    with suppress(Exception):
        await server.aclose()


def _place(url: str) -> str:
    """The URL without what may be a secret in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
