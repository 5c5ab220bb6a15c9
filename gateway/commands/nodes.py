"""The nodes of the registry, as others ask them: `zhengming nodes list`, `nodes forget NAME`."""

import argparse
import asyncio
import datetime
from typing import TYPE_CHECKING, Any

from gateway import app
from gateway.commands import common
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.evidence.between import Scope, Wanted
from gateway.evidence.everywhere import WHY, Nodes, Peer
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.registry.acting import record
from gateway.registry.keys import load_key

if TYPE_CHECKING:
    pass

SILENT = datetime.timedelta(minutes=5)
"""A node says once a minute where it is; one that was silent for so long may be forgotten."""


def nodes(options: argparse.Namespace) -> int:
    """Each node is asked as a search would ask it; 1 when one of them does not answer."""
    loaded = common.load(options)
    with common.database(loaded) as dsn:
        if options.doing == "forget":
            asyncio.run(_forget(dsn, options.name, options.reason))
            return 0
        rows = asyncio.run(_list(loaded, dsn))
    common.print_all(rows, as_json=options.json)
    return 0 if all(row["answers"] for row in rows) else 1


async def _list(loaded: Config, dsn: str) -> list[dict[str, Any]]:
    async with common.connected(dsn) as c:
        rows = await c.fetch("SELECT name, carrier, url, seen_at FROM nodes ORDER BY name")
    path = app.registry_key(loaded)
    if not path.is_file():
        raise NotReady(f"{path}: no registry key; right would be the file that the other nodes have")
    asking = Nodes(
        loaded.node.name,
        load_key(path).nodes_key,
        lambda deadline: Search(
            loaded.data_dir / "journal", Keys(loaded.data_dir / "keys"), deadline=deadline
        ),
    )
    try:
        nobodys = Wanted(identity=bytes(16))
        told = await asyncio.gather(
            *(asking.show_there([Peer(row["name"], row["url"])], Scope(), nobodys) for row in rows)
        )
    finally:
        await asking.close()
    why = [missing[0].why if missing else "" for _, missing in told]
    return [
        {
            "name": row["name"],
            "carrier": row["carrier"],
            "url": row["url"],
            "seen": row["seen_at"].astimezone(common.SHANGHAI).isoformat(timespec="seconds"),
            "answers": not cause,
            "why": f"{WHY[cause].en}（{WHY[cause].zh}）" if cause else "",
        }
        for row, cause in zip(rows, why, strict=True)
    ]


async def _forget(dsn: str, name: str, reason: str) -> None:
    async with common.connected(dsn) as c, c.transaction():
        gone = await c.fetchval(
            "DELETE FROM nodes WHERE name = $1 AND seen_at < now() - $2::interval RETURNING name",
            name,
            SILENT,
        )
        if gone is None:
            known = await c.fetch("SELECT name FROM nodes WHERE seen_at < now() - $1::interval", SILENT)
            names = ", ".join(sorted(row["name"] for row in known)) or "none is now"
            raise UsageError(f"node {name!r}: right would be one that was silent for 5 minutes: {names}")
        await record(c, None, "node.forget", f"nodes/{name}", reason=reason)
