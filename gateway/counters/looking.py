"""What all nodes have counted together, for who only looks: a dry run counts nothing.

Rules of this file: it waits no longer than the wire would; a server that is away is left alone for a moment,
so that a list of questions does not wait for each.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.counters import Look, count_key, key_of
from gateway.counters.remote import name_of

LEFT_ALONE = 5.0
"""Seconds for which a server that did not answer is not asked again."""


class Looking:
    """The counts of the server at `url`, or of the Cluster that it is one of; `own` looks at those of this
    node, `hashed` is `RegistryKey.hash`. A server that takes longer than `deadline` (s) is away; then those
    of the node are told if they `suffice`, else nobody can say."""

    def __init__(
        self, url: str, own: Look, hashed: Callable[[str], bytes], *, deadline: float, suffices: bool
    ) -> None:
        self._url = url
        self._own = own
        self._hash = hashed
        self._deadline = deadline
        self._suffices = suffices
        self._server: redis.Redis | redis.RedisCluster | None = None
        self._again = 0.0

    def __call__(
        self, subscriber: str, institution: str, channels: int, purpose: int
    ) -> Sequence[int] | None:
        """The instants (ms), newest first. What either side has counted is full for the wire; one has all of
        the other's, unless the server has lost some."""
        key = key_of(count_key(self._hash, institution, channels, purpose), self._hash(subscriber))
        told, own = self._told(name_of(key)), self._own(subscriber, institution, channels, purpose)
        if told is None:
            return own if self._suffices else None
        return told if own is None or len(told) >= len(own) else own

    def _told(self, name: bytes) -> list[int] | None:
        if time.monotonic() < self._again:
            return None
        try:
            if self._server is None:
                self._server = self._connected()
            return [int(at) for at in self._server.lrange(name.decode(), 0, -1)]
        except (redis.RedisError, redis.exceptions.RedisClusterException, OSError):
            self._server, self._again = None, time.monotonic() + LEFT_ALONE
            return None

    def _connected(self) -> "redis.Redis | redis.RedisCluster":
        waits: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),  # or a Cluster is asked ten times more
            "socket_timeout": self._deadline,
            "socket_connect_timeout": self._deadline,
        }
        single = redis.Redis.from_url(self._url, **waits)
        if not single.info("cluster").get("cluster_enabled"):
            return single
        single.close()
        return redis.RedisCluster.from_url(self._url, **waits)
