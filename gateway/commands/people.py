"""Users, their tokens and the audit by hand: `zhengming user`, `token`, `audit`."""

import argparse
import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import app
from gateway.commands import common
from gateway.errors import UsageError
from gateway.registry import auditing, people
from gateway.registry import migrate as migration
from gateway.registry.access import Access
from gateway.registry.acting import SCOPES, Door
from gateway.registry.keys import RegistryKey, load_key

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

PAGE = 1_000
STATUSES = {"disable": "disabled", "enable": "active"}


def user(options: argparse.Namespace) -> int:
    """`user add LOGIN`, `list`, `change LOGIN`, `disable LOGIN`, `enable LOGIN`, `renew LOGIN`."""
    if options.doing != "list" and not options.login:
        raise UsageError(f"user {options.doing} needs a login")
    settings = common.load(options)
    makes = options.doing == "add"
    with common.database(settings, makes=makes) as dsn:
        if makes:
            migration.upgrade(dsn)
        done = asyncio.run(_user(dsn, load_key(app.registry_key(settings)), options))
    common.print_all(done, as_json=options.json)
    return 0


def token(options: argparse.Namespace) -> int:
    """`token create --role R`, `token list`, `token revoke ID`."""
    if options.doing == "revoke" and not options.id.isdecimal():
        raise UsageError(f"token {options.id!r}: right would be the id that `token list` shows")
    if options.doing == "create" and not (options.role or options.user):
        raise UsageError("token create needs --role R or --user LOGIN")
    settings = common.load(options)
    makes = options.doing == "create"
    with common.database(settings, makes=makes) as dsn:
        if makes:
            migration.upgrade(dsn)
        done = asyncio.run(_token(dsn, load_key(app.registry_key(settings)), options))
    common.print_all(done, as_json=options.json)
    return 0


def audit(options: argparse.Namespace) -> int:
    """`audit list`, `audit verify`; 1 when the chain does not hold."""
    settings = common.load(options)
    with common.database(settings) as dsn:
        if options.doing == "list":
            common.print_all(asyncio.run(_acts(dsn, options.subject)), as_json=options.json)
            return 0
        broken = asyncio.run(_broken(dsn))
    if broken is None:
        print("the audit's chain holds")
        return 0
    print(f"the audit's chain does not hold at place {broken}")
    return 1


async def _user(dsn: str, key: RegistryKey, options: argparse.Namespace) -> list[dict[str, Any]]:
    async with _owner(dsn) as (door, c):
        if options.doing == "list":
            found: list[people.User] = []
            while page := await people.users(c, found[-1].id if found else 0, PAGE):
                found += page
            return [_shown(one) for one in found]
        if options.doing == "change":
            if options.territory is None:
                raise UsageError("user change: nothing to change; right would be --territory REGION, or ''")
            found_id = await people.user_id(c, options.login)
            return [_shown(await people.change_user(c, None, found_id, territory=options.territory))]
        if options.doing in STATUSES:
            found_id = await people.user_id(c, options.login)
            return [_shown(await people.change_user(c, None, found_id, status=STATUSES[options.doing]))]
        if options.doing == "renew":
            found_id = await people.user_id(c, options.login)
            with contextlib.closing(Access(door, key)) as access:
                password = _read(options.password)
                secret = await access.renew(c, None, found_id, password, totp=options.totp)
            shown = _shown(await people.user_by(c, found_id))
            return [shown | ({"totp_secret": secret} if secret else {})]
        new = people.NewUser(
            options.login,
            options.role,
            options.person or options.login,
            _read(options.identity),
            options.carrier,
            options.institution,
            options.territory or "",
        )
        shown = _shown(made := await people.add_user(c, None, key, new))
        if options.password is not None:
            with contextlib.closing(Access(door, key)) as access:
                shown["totp_secret"] = await access.renew(
                    c, None, made.id, _read(options.password), totp=True
                )
        return [shown]


async def _token(dsn: str, key: RegistryKey, options: argparse.Namespace) -> list[dict[str, Any]]:
    async with _owner(dsn) as (_, c):
        if options.doing == "list":
            found: list[people.Token] = []
            while page := await people.tokens(c, found[-1].id if found else 0, PAGE):
                found += page
            return [_shown(one) for one in found]
        if options.doing == "revoke":
            await people.revoke_token(c, None, int(options.id))
            return []
        if options.user:
            holder = await people.user_id(c, options.user)
        else:
            places = {"institution": options.institution, "carrier": options.carrier}
            holder = await people.user_for(c, key, options.role, **places)
        scopes = options.scope or sorted(SCOPES)
        made, secret = await people.create_token(c, None, holder, options.name, scopes, options.days)
        return [_shown(made) | {"token": secret}]


async def _acts(dsn: str, subject: str) -> list[dict[str, Any]]:
    async with _owner(dsn) as (_, c):
        found: list[auditing.Act] = []
        while page := await auditing.acts(c, found[-1].id if found else 0, PAGE, subject=subject):
            found += page
        return [_shown(one) | {"hash": one.hash.hex()} for one in found]


async def _broken(dsn: str) -> int | None:
    async with _owner(dsn) as (_, c):
        return await auditing.verify(c)


@contextlib.asynccontextmanager
async def _owner(dsn: str) -> "AsyncIterator[tuple[Door, Connection]]":
    """A transaction of an operator: no policy binds him, and his acts are audited under his session."""
    door = await Door.open(dsn, size=1)
    try:
        async with door.owner() as c, c.transaction():
            yield door, c
    finally:
        await door.close()


def _read(file: Path | None) -> str:
    """The first line of a file that holds a secret; nothing for none."""
    if file is None:
        return ""
    try:
        secret = file.read_text("utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}; right would be a text file with the secret alone") from None
    if not secret:
        raise UsageError(f"{file}: its first line is empty; right would be a text file with the secret alone")
    return secret


def _shown(row: Any) -> dict[str, Any]:
    return {
        name: value.astimezone(common.SHANGHAI).isoformat() if isinstance(value, datetime.datetime) else value
        for name, value in row._asdict().items()
        if value is not None
    }
