"""For whom a command of the registry works, and its options read as a model: what several of them need."""

import contextlib
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.errors import UsageError
from gateway.registry import primary
from gateway.registry.acting import Actor, Door, actor_of

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Model = TypeVar("Model", bound=BaseModel)


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
