"""For whom a command of the registry works, and its options read as a model: what several of them need."""

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.commands import common
from gateway.config import Config
from gateway.errors import UsageError
from gateway.registry import primary
from gateway.registry.acting import Actor, Door, actor_of

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Model = TypeVar("Model", bound=BaseModel)
Act: TypeAlias = (
    """Callable[[Connection, Actor, Config, argparse.Namespace], Awaitable[Sequence[BaseModel]]]"""
)
Acts: TypeAlias = "Mapping[tuple[str, str], tuple[frozenset[str], Act]]"
"""By command and act: who may do it, and how it is done."""


def carried_out(options: argparse.Namespace, acts: Acts) -> int:
    """Do the row of `acts` that was typed, for whom `--by` names, and print what it gives."""
    loaded = common.load(options)
    roles, does = acts[options.what, options.doing]

    async def work(dsn: str) -> Sequence[BaseModel]:
        async with acting(dsn, options.by, roles) as (c, actor):
            return await does(c, actor, loaded, options)

    with common.database(loaded) as dsn:
        found = asyncio.run(work(dsn))
    limit = getattr(options, "limit", len(found))
    common.print_first([one.model_dump(mode="json") for one in found], limit, as_json=options.json)
    return 0


@contextlib.asynccontextmanager
async def plain(dsn: str) -> AsyncIterator["Connection"]:
    """A connection that says nothing of whom it works for: what it changes is audited as SQL by hand."""
    c = await primary.connect(dsn)
    try:
        async with c.transaction():
            yield c
    finally:
        await c.close()


@contextlib.asynccontextmanager
async def acting(dsn: str, login: str, roles: Collection[str]) -> AsyncIterator["tuple[Connection, Actor]"]:
    """A transaction that works for this login. UsageError when it is of none of these roles."""
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c:
            actor = await actor_of(c, login)
        if actor.role not in roles:
            raise UsageError(
                f"--by {login!r} is of role {actor.role}; right would be a login of role "
                + " or ".join(sorted(roles))
            )
        async with door.acting(actor) as c, c.transaction():
            yield c, actor
    finally:
        await door.close()


def read(model: type[Model], **values: object) -> Model:
    """A model out of options. UsageError names the option."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        for end in ("_reference", "_sha256"):
            name = name.removesuffix(end)
        option = f"--{name.replace('_', '-')}" if name else "options"
        flaw = getattr(first.get("ctx", {}).get("error"), "flaw", None)
        right = f"; right would be {flaw.expected}" if flaw is not None and flaw.expected else ""
        said = flaw.cause if flaw is not None else first["msg"]
        raise UsageError(f"{option} {first['input']!r}: {said}{right}") from None


def whichever(version: int) -> None:
    """One who types has read no version that could have changed."""
