"""`zhengming institution`, `mandate`, `account`, `consent` and `refusal`, by the functions that the API calls
and for the same roles."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from gateway import app
from gateway.commands import common
from gateway.commands.working import Acts, carried_out, read, whichever
from gateway.config import Config
from gateway.errors import UsageError
from gateway.registry import bodies, holds, lines, wishes
from gateway.registry.acting import ROLES, Actor
from gateway.registry.keys import RegistryKey, load_key

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

Said = Sequence[BaseModel]

REGULATOR = frozenset({"regulator"})
CARRIER = frozenset({"carrier"})
OWN = frozenset({"institution"})
CLERKS = CARRIER | REGULATOR
BUSINESS = frozenset(ROLES) - {"admin"}
WATCHERS = REGULATOR | {"auditor", "institution"}


def run(options: argparse.Namespace) -> int:
    """One row of `ACTS`."""
    return carried_out(options, ACTS)


def given(model: type[BaseModel], options: argparse.Namespace) -> dict[str, Any]:
    """What the options say of a model's fields; '' says that there is none."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if hasattr(options, name):
            said = getattr(options, name)
            if isinstance(said, list):
                said = [part for part in said if part]
            found[name] = None if said == "" and NoneType in get_args(field.annotation) else said
    return found


def _changed(model: type[BaseModel], options: argparse.Namespace) -> Any:
    wanted = given(model, options)
    if not wanted:
        raise UsageError(f"{options.what} change: nothing to change; right would be an option, see --help")
    return read(model, **wanted)


def _key(loaded: Config) -> RegistryKey:
    return load_key(app.registry_key(loaded))


async def _institutions(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return await bodies.institutions(c, 0, options.limit + 1)


async def _institution(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    identity = await c.fetchval("SELECT id FROM institutions WHERE code = $1", options.code)
    if identity is None:
        raise UsageError(f"institution {options.code!r}: right would be the code of one that is registered")
    found = await bodies.institution(c, identity)
    if options.doing == "change":
        wanted = _changed(bodies.InstitutionChange, options)
        return [await bodies.change_institution(c, actor, found, wanted)]
    return [found]


async def _register(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    new = read(bodies.NewInstitution, **given(bodies.NewInstitution, options))
    return [await bodies.register(c, actor, new)]


async def _mandates(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return await bodies.mandates(c, actor, 0, options.limit + 1)


async def _mandate(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    old = await bodies.mandate(c, options.id)
    match options.doing:
        case "change":
            return [await bodies.change_mandate(c, actor, old, _changed(bodies.MandateChange, options))]
        case "revoke":
            return [await bodies.revoke_mandate(c, actor, old, options.reason)]
        case _:
            return [old]


async def _entrust(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return [await bodies.entrust(c, actor, read(bodies.NewMandate, **given(bodies.NewMandate, options)))]


async def _accounts(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return await lines.accounts(c, 0, options.limit + 1)


async def _account(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    if options.doing == "change":
        return [await lines.change(c, actor, options.id, _changed(lines.AccountChange, options))]
    return [await lines.account(c, options.id)]


async def _log_in(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return [await lines.register(c, actor, read(lines.NewAccount, **given(lines.NewAccount, options)))]


async def _account_numbers(
    c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace
) -> Said:
    return (await lines.numbers(c, options.id))[0]


async def _show_numbers(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    span = {"valid_from": options.valid_from, "valid_until": options.valid_until}
    wanted = [
        read(lines.AccountNumber, number=number.removesuffix("*"), is_prefix=number.endswith("*"), **span)
        for number in options.numbers
    ]
    return (await lines.show(c, actor, options.id, wanted, whichever))[0]


async def _hold(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    await lines.account(c, options.id)
    if options.doing == "suspend":
        end = common.instant("--until", options.until, 0)
        until = datetime.fromtimestamp(end / 1000, UTC) if end else None
        cause = options.cause.strip()
        await holds.place(c, actor, "accounts", options.id, cause, case=options.case, until=until)
    elif options.doing == "resume":
        await holds.lift(c, actor, "accounts", options.id, options.reason.strip(), hold=options.hold)
    return await holds.standing(c, "accounts", options.id)


async def _consents(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return await wishes.consents(c, actor, _key(loaded), 0, options.limit + 1)


async def _consent(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    key = _key(loaded)
    old = await wishes.consent(c, key, options.id)
    if options.doing == "change":
        return [await wishes.change_consent(c, actor, key, old, _changed(wishes.ConsentChange, options))]
    return [old]


async def _agree(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    new = read(wishes.NewConsent, **given(wishes.NewConsent, options))
    return [await wishes.agree(c, actor, _key(loaded), new)]


async def _refusals(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return await wishes.refusals(c, actor, _key(loaded), 0, options.limit + 1)


async def _refusal(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    return [await wishes.refusal(c, _key(loaded), options.id)]


async def _find(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    wanted = read(wishes.RefusalsOf, subscriber=options.subscriber, reason=options.reason)
    return await wishes.find_refusals(c, actor, _key(loaded), wanted)


async def _refuse(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    new = read(wishes.NewRefusal, **given(wishes.NewRefusal, options))
    return [await wishes.refuse(c, actor, _key(loaded), new)]


async def _lift(c: "Connection", actor: Actor, loaded: Config, options: argparse.Namespace) -> Said:
    wanted = read(wishes.Lifting, reason=options.reason, case_reference=options.case)
    return [await wishes.lift(c, actor, _key(loaded), identity, wanted) for identity in options.ids]


ACTS: Acts = {
    ("institution", "list"): (BUSINESS, _institutions),
    ("institution", "show"): (BUSINESS, _institution),
    ("institution", "add"): (CLERKS, _register),
    ("institution", "change"): (CLERKS, _institution),
    ("mandate", "list"): (BUSINESS - {"provider"}, _mandates),
    ("mandate", "show"): (BUSINESS - {"provider"}, _mandate),
    ("mandate", "add"): (OWN, _entrust),
    ("mandate", "change"): (OWN, _mandate),
    ("mandate", "revoke"): (OWN, _mandate),
    ("account", "list"): (BUSINESS, _accounts),
    ("account", "show"): (BUSINESS, _account),
    ("account", "add"): (CARRIER, _log_in),
    ("account", "change"): (CARRIER, _account),
    ("account", "numbers"): (BUSINESS, _account_numbers),
    ("account", "set-numbers"): (CARRIER, _show_numbers),
    ("account", "holds"): (BUSINESS - CARRIER, _hold),
    ("account", "suspend"): (REGULATOR, _hold),
    ("account", "resume"): (REGULATOR, _hold),
    ("consent", "list"): (WATCHERS, _consents),
    ("consent", "show"): (WATCHERS, _consent),
    ("consent", "add"): (OWN, _agree),
    ("consent", "change"): (OWN, _consent),
    ("refusal", "list"): (WATCHERS | CARRIER, _refusals),
    ("refusal", "show"): (WATCHERS | CARRIER, _refusal),
    ("refusal", "find"): (WATCHERS, _find),
    ("refusal", "add"): (OWN | REGULATOR, _refuse),
    ("refusal", "lift"): (REGULATOR, _lift),
}
"""Who may do what, and how it is done."""
