"""`zhengming allocation`, `dispute`, `document`, `alarm`, `reply` and `import-run`, by the functions that the
API calls and for the same roles."""

import argparse
import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from gateway import app
from gateway.commands.working import Acts, carried_out, read
from gateway.config import Config
from gateway.errors import UsageError
from gateway.registry import alarms, claims, replies
from gateway.registry.acting import Actor
from gateway.registry.deadlines import terms_of
from gateway.registry.documents import KINDS, Documents
from gateway.registry.forms import SHA256
from gateway.registry.keys import RegistryKey, load_key
from gateway.registry.rows import Bad

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

REGULATOR = frozenset({"regulator"})
WATCHERS = REGULATOR | {"auditor"}
HANDERS = REGULATOR | {"institution", "agency", "provider", "carrier"}
CHUNK = 1 << 20


def run(options: argparse.Namespace) -> int:
    """One row of `ACTS`."""
    return carried_out(options, ACTS)


async def _allocations(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return await claims.allocations(c, 0, options.limit + 1)


async def _allocate(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    given = {name: getattr(options, name) for name in ("number", "provider", "valid_from", "valid_until")}
    new = read(claims.NewAllocation, **{name: value for name, value in given.items() if value})
    return [await claims.allocate(c, actor, new)]


async def _allocation(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return [await claims.allocation(c, options.id)]


async def _end(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    old = await claims.allocation(c, options.id)
    given = {"valid_until": options.valid_until} if options.valid_until else {"valid_until": None}
    return [await claims.change_allocation(c, actor, old, read(claims.AllocationChange, **given))]


async def _disputes(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return await claims.disputes(c, actor, 0, options.limit + 1, _now(), overdue=options.overdue)


async def _dispute(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return [await claims.dispute(c, options.id, _now())]


async def _file(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    given = {"document_sha256": options.document} if options.document else {}
    new = read(claims.NewDispute, number=options.number, grounds=options.grounds, **given)
    return [await claims.file(c, actor, new, terms_of(loaded.cases), _now())]


async def _decide(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    old = await claims.dispute(c, options.id, _now())
    decision = read(claims.Decision, decision=options.decision, reason=options.reason)
    return [await claims.decide(c, actor, old, decision, _now())]


async def _hand_in(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    if options.kind not in KINDS.__args__:  # type: ignore[attr-defined]  # a Literal has them
        right = ", ".join(KINDS.__args__)  # type: ignore[attr-defined]
        raise UsageError(f"--kind {options.kind!r}: right would be one of {right}")
    folder = Documents(loaded.data_dir / "documents")
    received = await folder.receive(_octets(options.file))
    try:
        return [await folder.put(c, actor, received, options.kind, options.file.name)]
    finally:
        received.path.unlink(missing_ok=True)


async def _give_out(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    try:
        sha256 = SHA256.parse(options.sha256)
    except Bad as bad:
        raise UsageError(
            f"{options.sha256!r}: {bad.flaw.cause}; right would be {bad.flaw.expected}"
        ) from None
    path, _ = await Documents(loaded.data_dir / "documents").get(c, sha256, options.of)
    await asyncio.to_thread(shutil.copyfile, path, options.file)
    return []


async def _alarms(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return await alarms.page(c, limit=options.limit + 1, unseen=options.unseen)


async def _acknowledge(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    await alarms.acknowledge(c, actor, "alarms", options.id)
    return await alarms.page(c, after=options.id - 1, limit=1)


async def _replies(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return await replies.replies(
        c, actor, _key(loaded), 0, options.limit + 1, kind=options.kind, undecided=options.open
    )


async def _reply(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return [await replies.reply(c, _key(loaded), options.id)]


async def _understand(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    old = await replies.reply(c, _key(loaded), options.id)
    said = read(replies.Decision, decision=options.decision, reason=options.reason)
    return [await replies.decide(c, actor, _key(loaded), old, said)]


def _key(loaded: Config) -> RegistryKey:
    return load_key(app.registry_key(loaded))


async def _runs(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    return await alarms.runs(
        c, limit=options.limit + 1, broken_glass=options.break_glass, unseen=options.unseen
    )


async def _acknowledge_run(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Sequence[BaseModel]:
    await alarms.acknowledge(c, actor, "import_runs", options.id)
    return await alarms.runs(c, after=options.id - 1, limit=1)


async def _octets(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk


def _now() -> datetime:
    return datetime.now(UTC)


ACTS: Acts = {
    ("allocation", "list"): (WATCHERS | {"carrier", "provider"}, _allocations),
    ("allocation", "add"): (frozenset({"carrier"}), _allocate),
    ("allocation", "end"): (frozenset({"carrier"}), _end),
    ("allocation", "show"): (WATCHERS | {"carrier", "provider"}, _allocation),
    ("dispute", "list"): (WATCHERS | {"institution"}, _disputes),
    ("dispute", "show"): (WATCHERS | {"institution"}, _dispute),
    ("dispute", "file"): (frozenset({"institution"}), _file),
    ("dispute", "decide"): (REGULATOR, _decide),
    ("document", "add"): (HANDERS, _hand_in),
    ("document", "get"): (HANDERS | {"auditor"}, _give_out),
    ("alarm", "list"): (WATCHERS | {"admin"}, _alarms),
    ("alarm", "acknowledge"): (REGULATOR, _acknowledge),
    ("reply", "list"): (WATCHERS | {"carrier", "institution"}, _replies),
    ("reply", "show"): (WATCHERS | {"carrier", "institution"}, _reply),
    ("reply", "decide"): (REGULATOR | {"carrier", "institution"}, _understand),
    ("import-run", "list"): (WATCHERS | {"admin"}, _runs),
    ("import-run", "acknowledge"): (REGULATOR, _acknowledge_run),
}
"""Who may do what, and how it is done."""
