"""The registry by hand: import, export."""

import argparse
import asyncio
import getpass
import os

from gateway import app
from gateway.commands import common
from gateway.commands.working import acting
from gateway.errors import UsageError
from gateway.registry import exchange
from gateway.registry import migrate as migration
from gateway.registry.deadlines import terms_of
from gateway.registry.keys import load_key


def import_(options: argparse.Namespace) -> int:
    if options.approve and not (options.checker and options.approver):
        raise UsageError("--approve needs two persons: --as A (who checked) and --by B (who approved)")
    if not options.approve and (options.checker or options.approver or options.break_glass):
        raise UsageError("--as, --by and --break-glass belong to --approve; right would be to add it")
    loaded = common.load(options)
    with common.database(loaded, makes=not options.dry_run) as dsn:
        if not options.dry_run:
            migration.upgrade(dsn)
        result = asyncio.run(
            exchange.import_file(
                options.kind,
                options.file,
                dsn,
                load_key(app.registry_key(loaded)),
                dry_run=options.dry_run,
                approve=(options.checker, options.approver) if options.approve else None,
                break_glass=options.break_glass,
                terms=terms_of(loaded.cases),
            )
        )
    would = "would be " if options.dry_run else ""
    print(
        f"{options.kind}: {result.rows} rows, {result.accepted} {would}taken in,"
        f" {result.unchanged} unchanged, {result.rejected} rejected"
    )
    if result.waiting:
        print(f"{result.waiting} of these bans {would or 'are '}not in force: a second person has to confirm")
    if result.rejected_path is not None:
        print(f"rejected rows and their causes: {result.rejected_path}")
    return 1 if result.rejected else 0


def _operator() -> str:
    """Who works here; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def export(options: argparse.Namespace) -> int:
    """All rows, or those that `--by` sees; whoever names no reason is on the audit by his name here."""
    loaded = common.load(options)
    kind = exchange.kind_of(options.kind).name
    reason = options.reason or f"export by command line ({_operator()})"

    async def work(dsn: str) -> exchange.ExportResult:
        actor = None
        if options.by:
            roles = [role for role, kinds in exchange.EXPORTS.items() if kind in kinds]
            async with acting(dsn, options.by, roles) as (_, actor):
                pass
        key = load_key(app.registry_key(loaded))
        return await exchange.export_file(
            kind, options.file, dsn, key, headers=options.headers, actor=actor, reason=reason
        )

    with common.database(loaded) as dsn:
        result = asyncio.run(work(dsn))
    print(f"{options.kind}: {result.rows} rows written to {options.file}")
    if result.left_out:
        print(f"left out, as a file can't say what they are: {result.left_out} ({result.which})")
    return 0
