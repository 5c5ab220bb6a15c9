"""`zhengming config --check`: whether a node with this configuration would start, each problem by name."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import redis

from gateway import app, config, handed, node, secured, signalling, status
from gateway.config import Config
from gateway.counters.made import LOCAL
from gateway.errors import UsageError
from gateway.evidence.seal import Keys
from gateway.process import run_dir
from gateway.registry import migrate, primary
from gateway.registry.deadlines import terms_of
from gateway.registry.embedded import EmbeddedPostgres
from gateway.registry.keys import load_key
from gateway.registry.keys import shown as shown_key
from gateway.values import endpoint, hop

CONNECT_SECONDS = 5


def problems(settings: Config, path: Path | None) -> list[str]:
    """What is wrong, each with the setting that it belongs to; empty when all is good."""
    name = str(path) if path else "the built-in defaults"
    found = [
        *(list(_workdays(settings)) or _profile(settings)),  # a profile has its days from there
        *_folder(settings),
        *_ports(settings),
        *_upstreams(settings),
        *_next_hops(settings),
        *secured.problems(settings.sms),
        *_counters(settings),
        *signalling.problems(settings.voice, settings.card),
    ]
    if not found or settings.database.dsn != node.EMBEDDED:  # that one would be begun
        found += _database(settings)
    return [f"{name}: {problem}" for problem in found]


def notes(settings: Config) -> Iterator[str]:
    """What is allowed and may not be meant."""
    with contextlib.suppress(UsageError):  # which is among the problems
        if rules := handed.unnamed(handed.profile_of(settings)):
            yield (
                f"policy.profile does not name {', '.join(rules)}, which are off by it; extend a shipped"
                " profile, or write a mode of each"
            )
    for number, sms in enumerate(settings.sms):
        if not sms.upstream:
            yield (
                f"sms.{number}.upstream is empty: only accounts that name an upstream of their own get on"
                " from there; for the others, name the carrier's gateways, as host:port"
            )


def _profile(settings: Config) -> Iterator[str]:
    try:
        handed.profile_of(settings)
    except UsageError as error:
        yield f"policy.profile: {error}"


def _workdays(settings: Config) -> Iterator[str]:
    try:
        terms_of(settings.cases)
    except UsageError as error:
        yield str(error)


def _folder(settings: Config) -> Iterator[str]:
    folder = settings.data_dir
    try:
        app.make_data_dir(settings)
    except UsageError as error:
        yield str(error)
        return
    try:
        node.check_name(settings)
    except UsageError as error:
        yield str(error)
    keys = folder / "keys"
    for key in sorted(keys.rglob("*.key")):
        if key.stat().st_mode & 0o077:
            yield f"{key}: others may read it; right would be mode 0600"
    try:
        if (keys / "master.key").exists() or any((keys / "data").glob("*")):
            Keys(keys)
        if app.registry_key(settings).exists():
            load_key(app.registry_key(settings))
    except (UsageError, OSError) as error:
        yield str(error)


def _ports(settings: Config) -> Iterator[str]:
    if not status.read(run_dir(settings), "web").pid:  # else the ports are this node's own
        yield from node.taken(settings)


def _upstreams(settings: Config) -> Iterator[str]:
    for number, sms in enumerate(settings.sms):
        for upstream in sms.upstream:
            host, port = endpoint(upstream)
            try:
                socket.getaddrinfo(host, port)
            except OSError as error:
                yield (
                    f"sms.{number}.upstream = {upstream!r}: no such host: {error.strerror}; right would be"
                    " the address of a carrier's gateway"
                )
            if upstream in {listener.listen for listener in settings.sms}:
                yield (
                    f"sms.{number}.upstream = {upstream!r}: this node itself listens there; right would be a"
                    " carrier's gateway"
                )


def _next_hops(settings: Config) -> Iterator[str]:
    for said in filter(None, settings.voice.next_hop):
        host, port, _ = hop(said)
        try:
            socket.getaddrinfo(host, port)
        except OSError as error:
            yield (
                f"voice.next_hop = {said!r}: no such host: {error.strerror}; right would be the address of"
                " the carrier's voice core"
            )
        if (host, port) in {endpoint(address.partition("://")[2]) for address in settings.voice.listen}:
            yield (
                f"voice.next_hop = {said!r}: this node itself listens there; right would be the carrier's"
                " voice core"
            )


def _database(settings: Config) -> Iterator[str]:
    server = None
    try:
        if settings.database.dsn == node.EMBEDDED:
            server = EmbeddedPostgres(settings.data_dir / "postgres")
            server.start()
        dsn = server.dsn if server is not None else settings.database.dsn
        with primary.connect_blocking(dsn, connect_timeout=CONNECT_SECONDS) as connection:
            hindrance = migrate.hindrance(connection)
            known = _keys_of(connection)
        if hindrance:
            yield f"database.dsn = {config.without_password(settings.database.dsn)!r}: {hindrance}"
        path = app.registry_key(settings)
        with contextlib.suppress(UsageError):  # a key that can't be read is told by `_folder`
            here = {key.fingerprint for key in load_key(path).keys} if path.exists() else set()
            if here and (missing := {one for one, used in known.items() if used} - here):
                names = ", ".join(map(shown_key, sorted(missing)))
                yield (
                    f"{path}: not the key of this database, whose rows are under {names}; right would be that"
                    " file of a node that uses it"
                )
    except (UsageError, psycopg.Error, OSError) as error:
        shown = config.without_password(settings.database.dsn)
        yield f"database.dsn = {shown!r}: {' '.join(str(error).split())}"
    finally:
        if server is not None:
            server.stop()


def _counters(settings: Config) -> Iterator[str]:
    url = settings.counters.url
    if url == LOCAL:
        return
    try:
        with redis.Redis.from_url(url, socket_timeout=CONNECT_SECONDS) as server:
            server.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        yield f"counters.url = {config.without_password(url)!r}: {' '.join(str(error).split())}"


def _keys_of(connection: "psycopg.Connection[Any]") -> dict[bytes, bool]:
    """The fingerprints of the registry keys that a database knows, and whether rows may be under them; empty
    before its first use."""
    try:
        rows = connection.execute("SELECT fingerprint, retired_at IS NULL FROM registry_keys").fetchall()
    except psycopg.errors.UndefinedTable:
        return {}
    return dict(rows)
