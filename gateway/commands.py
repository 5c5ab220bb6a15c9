"""What the commands of `zhengming` do. Each takes its parsed arguments and returns the exit code.

Reading commands look at the node's own files (replica, journal) and work with the database stopped;
writing ones talk to the database. They print for a person, or one JSON value with `--json`.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import datetime
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from gateway import app, check, node
from gateway import config as configuration
from gateway import demo as demonstration
from gateway.config import Config
from gateway.errors import NotReady, UsageError
from gateway.evidence import search
from gateway.evidence.seal import Keys
from gateway.model import CHANNELS, AccountKey, Attempt
from gateway.policy import explain
from gateway.policy.numbers import canonical, mask
from gateway.registry import bans, exchange
from gateway.registry import migrate as migration
from gateway.registry.keys import load_key
from gateway.registry.replica import Replica
from gateway.simulator.commands import run_carrier, run_sender

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
REFUSED = 3


def _load(options: argparse.Namespace) -> Config:
    return configuration.load(options.config)


@contextlib.contextmanager
def _database(config: Config) -> Iterator[str]:
    """The DSN of the node's database; the embedded server is joined, or started for this command."""
    config.data_dir.mkdir(parents=True, exist_ok=True)
    server = node.open_database(config)
    try:
        yield server.dsn if server is not None else config.database.dsn
    finally:
        if server is not None:
            server.stop()


def _instant(text: str, otherwise: int) -> int:
    """ISO 8601 → ms; without an offset it is Asia/Shanghai."""
    if not text:
        return otherwise
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"time {text!r}: expected ISO 8601, such as 2026-03-01T09:30") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=SHANGHAI)
    return int(moment.timestamp() * 1000)


def _shown(at: int) -> str:
    return datetime.datetime.fromtimestamp(at / 1000, SHANGHAI).isoformat(timespec="milliseconds")


def _number(option: str, text: str) -> str:
    found = canonical(text)
    if not found:
        raise UsageError(f"{option} {text!r}: not a telephone number; such as 13800000000 or 10690001")
    return found


def serve(options: argparse.Namespace) -> int:
    return node.serve(_load(options), options.config, options.part)


def demo(options: argparse.Namespace) -> int:
    return demonstration.run(
        options.dir,
        seconds=options.seconds,
        traffic=not options.no_traffic,
        carriers=demonstration.carriers(options.carrier),
        profile=options.profile,
    )


def migrate(options: argparse.Namespace) -> int:
    if options.sql:
        print(migration.sql())
        return 0
    with _database(_load(options)) as dsn:
        migration.upgrade(dsn)
        print(f"schema is at revision {migration.current(dsn)}")
    return 0


def config(options: argparse.Namespace) -> int:
    if not options.check:
        print(configuration.annotated(), end="")
        return 0
    problems = check.problems(_load(options), options.config)
    for problem in problems:
        print(f"zhengming: {problem}", file=sys.stderr)
    if not problems:
        print("configuration, profile, keys, ports and database are good")
    return 2 if problems else 0


def import_(options: argparse.Namespace) -> int:
    if options.approve and not (options.checker and options.approver):
        raise UsageError("--approve needs two persons: --as A (who checked) and --by B (who approved)")
    loaded = _load(options)
    with _database(loaded) as dsn:
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
            )
        )
    would = "would be " if options.dry_run else ""
    print(
        f"{options.kind}: {result.rows} rows, {result.accepted} {would}taken in,"
        f" {result.unchanged} unchanged, {result.rejected} rejected"
    )
    if result.rejected_path is not None:
        print(f"rejected rows and their causes: {result.rejected_path}")
    return 1 if result.rejected else 0


def export(options: argparse.Namespace) -> int:
    loaded = _load(options)
    with _database(loaded) as dsn:
        key = load_key(app.registry_key(loaded))
        rows = asyncio.run(
            exchange.export_file(options.kind, options.file, dsn, key, headers=options.headers)
        )
    print(f"{options.kind}: {rows} rows written to {options.file}")
    return 0


def blacklist(options: argparse.Namespace) -> int:
    loaded = _load(options)
    with _database(loaded) as dsn:
        if options.doing == "list":
            entries = asyncio.run(bans.list_bans(dsn, options.number))
            _print_all([entry._asdict() for entry in entries], as_json=options.json)
            return 0
        if not (options.number and options.reason and options.case):
            raise UsageError("blacklist add needs a number, --reason and --case")
        number, new = asyncio.run(
            bans.add_ban(dsn, options.number, options.prefix, options.reason, options.case, options.by)
        )
    print(f"{number} is blacklisted{'' if new else ', as it was before'}")
    return 0


def judge(options: argparse.Namespace) -> int:
    loaded = _load(options)
    profile = app.profile_of(loaded)
    if not options.account:  # judged as the holder's own account would be
        profile = dataclasses.replace(profile, unknown_account="observe")
    replica = Replica.open(loaded.data_dir / "registry", load_key(app.registry_key(loaded)))
    now = time.time_ns() // 1_000_000
    at = _instant(options.at, now)
    attempt = Attempt(
        AccountKey(loaded.node.carrier, options.protocol, options.account),
        CHANNELS[options.channel],
        _number("--from", options.source),
        _number("--to", options.destination),
        options.text,
    )
    view = replica.snapshot()
    explanation = explain(attempt, view, profile, at)
    verdict = explanation.verdict
    if options.json:
        shown = {
            "verdict": "pass" if verdict.passed else "refuse",
            "reason": verdict.reason,
            "sub": verdict.sub,
            "reasons": [finding.reason for finding in verdict.findings],
            "institution": verdict.institution_code,
            "agency": verdict.agency_code,
            "number": verdict.number,
            "purpose": verdict.purpose,
            "registry_version": view.version,
            "rules": [
                {
                    "reason": answer.reason,
                    "zh": answer.words.zh,
                    "en": answer.words.en,
                    "mode": answer.mode,
                    "holds": answer.holds,
                    "sub": answer.sub,
                    "fact": answer.fact,
                }
                for answer in explanation.answers
            ],
        }
        print(json.dumps(shown, ensure_ascii=False))
    else:
        words = "通过 pass" if verdict.passed else f"拦截 refuse: {verdict.reason}"
        print(f"{words}   ({mask(attempt.source)} → {mask(attempt.destination)}, registry {view.version})")
        for answer in explanation.answers:
            sign = "✓" if answer.holds else "✗"
            print(f"  {sign} {answer.words.zh} {answer.reason} [{answer.mode}] {answer.sub} {answer.fact}")
    replica.close()
    return 0 if verdict.passed else REFUSED


def records(options: argparse.Namespace) -> int:
    loaded = _load(options)
    journal = loaded.data_dir / "journal"
    keys = Keys(loaded.data_dir / "keys")
    if options.doing == "show":
        try:
            identity = bytes.fromhex(options.id.replace("-", ""))
        except ValueError:
            raise UsageError(f"id {options.id!r}: expected the 32 hexadecimal digits of an attempt") from None
        shown = search.show(journal, keys, identity)
        if shown is None:
            raise NotReady(f"no attempt {options.id} in the journal of this node")
        print(json.dumps(search.plain(shown), ensure_ascii=False, indent=None if options.json else 2))
        return 0
    now = time.time_ns() // 1_000_000
    found = search.find(
        journal,
        keys,
        number=_number("--number", options.number) if options.number else "",
        subscriber=_number("--subscriber", options.subscriber) if options.subscriber else "",
        since=_instant(options.since, 0),
        until=_instant(options.until, now + 1),
        verdict=options.verdict,
        limit=options.limit,
    )
    _print_all([search.plain(record) for record in found], as_json=options.json)
    return 0


def simulate(options: argparse.Namespace) -> int:
    return run_sender(options) if options.side == "sender" else run_carrier(options)


def _print_all(rows: list[Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
        return
    for row in rows:
        shown = row if isinstance(row, dict) else dataclasses.asdict(row)
        print("  ".join(f"{key}={value}" for key, value in shown.items() if value not in ("", None)))
