"""The registry key's rotation: `zhengming key status`, `make`, `rotate`, `destroy FINGERPRINT`.

`make` puts a second file beside the first, to be copied to every node; `rotate` has new rows come under it
and the keepers move the others; `destroy` takes the older file away once nothing is looked up by it.
"""

import argparse
import asyncio
import os
from typing import TYPE_CHECKING, Any

from gateway import app
from gateway.commands import common
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.registry import rekeying
from gateway.registry.acting import record
from gateway.registry.keys import KEY_OCTETS, RegistryKey, load_key, make_key, shown
from gateway.registry.replica import Replica

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

FOUND_BY_DAYS = 30
"""For so long a reply is put to the last attempt, which a node's tables know by the key of then."""


def key(options: argparse.Namespace) -> int:
    """What the options say; of `status` 1 when this node lacks a key that is in use."""
    loaded = common.load(options)
    path = app.registry_key(loaded)
    if not path.is_file():
        raise UsageError(f"{path}: no registry key; right would be a node that has run, or its files")
    if options.doing == "make":
        made = make_key(path.parent)
        print(f"{made.path}  fingerprint={shown(made.fingerprint)}")
        print("copy it into the folder keys of every node of this database; then: zhengming key rotate")
        return 0
    with common.database(loaded) as dsn:
        if options.doing == "status":
            rows = asyncio.run(_status(dsn, load_key(path)))
            common.print_all(rows, as_json=options.json)
            return 0 if all(row["here"] or row["retired"] for row in rows) else 1
        if options.doing == "rotate":
            print(asyncio.run(_rotate(dsn, load_key(path), options.reason)))
        else:
            print(asyncio.run(_destroy(dsn, loaded, load_key(path), options)))
        return 0


async def _status(dsn: str, own: RegistryKey) -> list[dict[str, Any]]:
    async with common.connected(dsn) as c:
        found = await c.fetch("SELECT * FROM registry_keys ORDER BY key_id")
        under = [await rekeying.left(c, row["key_id"]) for row in found]
    files = {one.fingerprint: str(one.path) for one in own.keys}
    rows = [
        {
            "key": row["key_id"],
            "fingerprint": shown(row["fingerprint"]),
            "since": _said(row["created_at"]),
            "retired": _said(row["retired_at"]) if row["retired_at"] else "",
            "rows": sum(count.values()),
            "here": files.pop(row["fingerprint"], ""),
        }
        for row, count in zip(found, under, strict=True)
    ]
    return rows + [
        {"key": "not in use yet", "fingerprint": shown(fingerprint), "since": "", "retired": "", "rows": 0}
        | {"here": path}
        for fingerprint, path in files.items()
    ]


async def _rotate(dsn: str, own: RegistryKey, reason: str) -> str:
    async with common.connected(dsn) as c, c.transaction():
        await c.execute("SET LOCAL lock_timeout = '60s'")
        # who adds a row under the old key holds it until he has done so (migrations 0026)
        found = await c.fetch("SELECT * FROM registry_keys ORDER BY key_id FOR UPDATE")
        standing = [row["fingerprint"] for row in found if row["retired_at"] is None]
        if len(standing) != 1:
            raise UsageError(
                f"keys in use: {', '.join(map(shown, standing)) or 'none'}; right would be one:"
                " `zhengming key status` says how far a rotation is"
            )
        known = {row["fingerprint"] for row in found}
        fresh = [one for one in own.keys if one.fingerprint not in known]
        if len(fresh) != 1 or standing[0] not in {one.fingerprint for one in own.keys}:
            there = ", ".join(f"{one.path} ({shown(one.fingerprint)})" for one in own.keys)
            raise UsageError(
                f"registry keys here: {there}; right would be the one in use, {shown(standing[0])}, and a"
                " new one beside it: `zhengming key make`"
            )
        number = found[-1]["key_id"] + 1
        await c.execute(
            "INSERT INTO registry_keys (key_id, fingerprint) VALUES ($1, $2)", number, fresh[0].fingerprint
        )
        name = shown(fresh[0].fingerprint)
        await record(c, None, "key.rotate", f"registry_keys/{number}", reason=reason, fingerprint=name)
    return (
        f"new rows come under {name}; the keepers move the others: zhengming key status\n"
        f"a node without {fresh[0].path} judges nothing until it has it"
    )


async def _destroy(dsn: str, loaded: Config, own: RegistryKey, options: argparse.Namespace) -> str:
    wanted = [one for one in own.keys if shown(one.fingerprint) == options.fingerprint]
    if not wanted or wanted[0].path is None:
        here = ", ".join(shown(one.fingerprint) for one in own.keys)
        raise UsageError(
            f"{options.fingerprint!r}: not a registry key of this node; right would be of {here}"
        )
    old, path = wanted[0], wanted[0].path
    async with common.connected(dsn) as c, c.transaction():
        row = await c.fetchrow("SELECT * FROM registry_keys WHERE fingerprint = $1", old.fingerprint)
        if row is not None and row["retired_at"] is None:
            raise UsageError(
                f"{options.fingerprint}: in use; right would be a key that is retired:"
                " `zhengming key status` says how many rows are left"
            )
        if row is not None and old.fingerprint in _followed(loaded, own):
            raise NotReady(
                f"{options.fingerprint}: this node looks up by it still; right would be to try again a minute"
                " after its keeper has followed"
            )
        if row is not None and not options.now:
            await _refuse_if_needed(c, row["key_id"])
        await record(
            c,
            None,
            "key.destroy",
            f"registry_keys/{row['key_id'] if row else ''}",
            reason=options.reason,
            fingerprint=options.fingerprint,
            node=loaded.node.name,
        )
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, os.urandom(KEY_OCTETS), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    return (
        f"destroyed {path}; this node's processes forget it when they start again.\n"
        "do the same on every node, and where copies of the file are kept"
    )


def _followed(loaded: Config, own: RegistryKey) -> tuple[bytes, ...]:
    """What this node's replica looks up by; nothing where there is none."""
    folder = loaded.data_dir / "registry"
    if not folder.is_dir():
        return ()
    replica = Replica.open(folder, own)
    try:
        return replica.snapshot().looked_up_by
    finally:
        replica.close()


async def _refuse_if_needed(c: "Connection", number: int) -> None:
    """NotReady as long as something can be found by this key alone."""
    since = await c.fetchval("SELECT min(created_at) FROM registry_keys WHERE key_id > $1", number)
    days = await c.fetchval(
        "SELECT $2 - extract(day FROM now() - $1::timestamptz)::int", since, FOUND_BY_DAYS
    )
    if days > 0:
        raise NotReady(
            f"for {days} more days replies are put to the attempts before the rotation by this key; right"
            " would be to wait, or --now"
        )
    older = await c.fetchval("SELECT count(*) FROM intercepts WHERE at < $1", since)
    if older:
        raise NotReady(
            f"{older} intercepts are found by subscriber by this key alone, until they are forgotten"
            " (evidence.kept_days); right would be to wait, or --now"
        )


def _said(at: Any) -> str:
    return str(at.astimezone(common.SHANGHAI).isoformat(timespec="seconds"))
