"""Verdicts and records: judge, records (of all nodes), journal."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import math
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path

import asyncpg

from gateway import app, handed, node
from gateway.commands import common
from gateway.commands.working import acting
from gateway.config import Config
from gateway.counters.made import looker_of
from gateway.errors import NotReady, Problem, UsageError
from gateway.evidence import everywhere, search
from gateway.evidence import record as rec
from gateway.evidence.between import Scope, Wanted
from gateway.evidence.everywhere import Missing, Nodes, Peer
from gateway.evidence.folder import clear
from gateway.evidence.found import Shown, is_followed
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.model import CHANNELS, AccountKey, Attempt
from gateway.policy.judge import Answer, explain
from gateway.policy.numbers import is_mobile, mask
from gateway.policy.words import MODES
from gateway.registry import past
from gateway.registry.acting import record
from gateway.registry.in_force import InForce
from gateway.registry.keys import load_key
from gateway.registry.replica import Replica
from gateway.registry.snapshot import Snapshot

REFUSED = 3
OF_CHANNEL = {"sms": "cmpp", "voice": "sip"}
"""What accounts speak of which nobody says it."""
WATCHERS = ("auditor", "regulator")
"""Who may be shown full numbers of whatever institution by command line."""


def now() -> int:
    return time.time_ns() // 1_000_000


def judge(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    own = handed.profile_of(loaded)
    present = now()
    at = common.instant("--at", options.at, present)
    attempt = Attempt(
        AccountKey(loaded.node.carrier, options.protocol or OF_CHANNEL[options.channel], options.account),
        CHANNELS[options.channel],
        common.number("--from", options.source),
        common.subscriber("--to", options.destination),
        options.text,
    )
    view: past.PastView | Snapshot
    if options.registry or at < present:
        view = asyncio.run(_past(loaded, attempt, past.Instant(at, options.registry)))
    else:
        view = snapshot = replica_of(loaded).snapshot()
        snapshot.counted = looker_of(loaded.counters, loaded.data_dir / "counters", snapshot.hash)
    profile = InForce(own).at(view, at)
    if not options.account:  # judged as the holder's own account would be
        profile = dataclasses.replace(profile, unknown_account="observe")
    explanation = explain(attempt, view, profile, at, asked=present)
    verdict = explanation.verdict
    digest = verdict.profile or profile.digest
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
            "profile": {"name": profile.name, "digest": digest},
            "rules": [
                {
                    "reason": answer.reason,
                    "zh": answer.words.zh,
                    "en": answer.words.en,
                    "mode": answer.mode,
                    "later": answer.later and answer.later._asdict(),
                    "holds": answer.holds,
                    "sub": answer.sub,
                    "fact": answer.fact._asdict(),
                    "source": answer.source._asdict(),
                }
                for answer in explanation.answers
            ],
        }
        print(json.dumps(shown, ensure_ascii=False, default=str))
    else:
        words = "通过 pass" if verdict.passed else f"拦截 refuse: {verdict.reason}"
        source = mask(attempt.source) if is_mobile(attempt.source) else attempt.source
        print(f"{words}   ({source} → {mask(attempt.destination)}, registry {view.version})")
        alone = " 特别规则 with an override" if verdict.profile else ""
        print(f"规则档案 profile {profile.name} {digest}{alone}")
        for answer in explanation.answers:
            print("\n".join(_answered(answer, options.lang)))
    return 0 if verdict.passed else REFUSED


def _answered(answer: Answer, language: str) -> Iterator[str]:
    """What one rule said, for a terminal: Chinese first, both languages if none is chosen."""
    later, zh, en = answer.later, "", ""
    if later is not None:
        mode = MODES[later.mode]
        zh = f"，{later.since} 起{mode.zh}，还有 {later.days_left} 天"
        en = f", {mode.en} from {later.since}, {later.days_left} days left"
    sign = "✓" if answer.holds else "✗"
    shown = {"zh": (zh,), "en": (en,)}.get(language, (zh, en))
    sub = f" {answer.sub}" if answer.sub else ""
    yield f"  {sign} {answer.words.zh} {answer.reason} [{answer.mode}{''.join(shown)}]{sub}"
    if language != "en":
        yield f"      事实：{answer.fact.zh}" + (f"　依据：{answer.source.zh}" if answer.source.zh else "")
    if language != "zh":
        yield f"      fact: {answer.fact.en}" + (f"  source: {answer.source.en}" if answer.source.en else "")


async def _past(loaded: Config, attempt: Attempt, instant: past.Instant) -> past.PastView:
    """The registry as it was, from the database."""
    with common.database(loaded) as dsn:
        key = load_key(app.registry_key(loaded))
        try:
            connection = await asyncpg.connect(dsn, timeout=10)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise NotReady(
                f"{common.place(loaded)}: the past is in the database, which is away: {error}"
            ) from None
        try:
            return await past.view_at(connection, key, attempt, instant)
        except Problem as problem:
            raise UsageError(
                f"--registry {problem.value}: {problem.detail.en}; {problem.expected.en}"
            ) from None
        finally:
            await connection.close()


def replica_of(loaded: Config) -> Replica:
    """The node's replica, as a reader. Nothing is made where there is none."""
    folder, key = loaded.data_dir / "registry", app.registry_key(loaded)
    if not folder.is_dir() or not key.is_file():
        raise NotReady(
            f"{folder}: no replica of the registry; right would be the configuration (-c) of a node"
            " that runs, or has run"
        )
    return Replica.open(folder, load_key(key))


def _check_sight(options: argparse.Namespace) -> None:
    if options.reveal and not (options.reason and options.by):
        raise UsageError("--reveal needs --reason WHY, which goes on the audit, and --by LOGIN")
    if not options.reveal and (options.reason is not None or options.by):
        raise UsageError(
            "--reason and --by say why and to whom --reveal shows all; records are not found by them"
        )


def records(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    journal_of(loaded)
    _check_sight(options)
    if options.doing == "show":
        shown = asyncio.run(_show(loaded, options))
        if shown is None:
            raise NotReady(f"id {options.id!r}: no attempt, reply or act has it")
        said = plain(shown, revealed=options.reveal)
        if options.reveal:
            audited(loaded, options, [said["id"]])
        print(json.dumps(said, ensure_ascii=False, indent=None if options.json else 2))
        return 0
    wanted = wanted_of(loaded, options, options.limit + 1)
    shown_all = asyncio.run(found(loaded, wanted, here=options.here))
    rows = [plain(record, revealed=options.reveal, alone=True) for record in shown_all]
    if options.reveal:
        audited(loaded, options, [row["id"] for row in rows[: options.limit] if "id" in row])
    common.print_first(rows, options.limit, as_json=options.json)
    return 0


def wanted_of(loaded: Config, options: argparse.Namespace, limit: int) -> Wanted:
    """What the options look for, the oldest `limit`. UsageError for what can be nobody's."""
    journal_of(loaded)
    _check_sight(options)
    since = common.instant("--since", options.since, 0)
    until = common.instant("--until", options.until, now() + 1)
    if options.until and until <= since:
        raise UsageError(
            f"--until {options.until!r}: not after --since {options.since!r}; right would be a later time"
        )
    return Wanted(
        number=common.number("--number", options.number) if options.number else "",
        subscriber=common.subscriber("--subscriber", options.subscriber) if options.subscriber else "",
        since=since,
        until=until,
        verdict=options.verdict,
        newest=False,
        limit=limit,
        texts=options.reveal,
    )


def audited(
    loaded: Config, options: argparse.Namespace, ids: Sequence[str], wanted: Wanted | None = None
) -> None:
    """Put on the audit who looks at subscribers and texts in full, and why, before they are; `wanted`: in
    a file of all that."""

    async def work(dsn: str) -> None:
        async with acting(dsn, options.by, WATCHERS) as (c, actor):
            if wanted is not None:
                what = {name: getattr(wanted, name) for name in ("since", "until", "number", "verdict")}
                what["subscriber"] = mask(wanted.subscriber) if wanted.subscriber else ""
                await record(c, actor, "record.export", "records", reason=options.reason, **what)
                return
            subject = f"records/{ids[0]}" if len(ids) == 1 else "records"
            await record(c, actor, "record.reveal", subject, reason=options.reason, ids=[*ids])

    with common.database(loaded) as dsn:
        asyncio.run(work(dsn))


async def found(loaded: Config, wanted: Wanted, *, here: bool) -> list[Shown]:
    """What all nodes have of what is wanted, with what followed; who is silent is named on stderr."""
    others = [] if here else await others_of(loaded, wanted.since)
    if not others:  # no other node waits: it may take the time that it takes
        own = search_of(loaded)
        return own.with_followers(list(everywhere.matching(own, Scope(), wanted)))
    async with all_nodes(loaded) as nodes:
        there, missing = await nodes.find(others, Scope(), wanted)
        silent = {one.node for one in missing}
        shown, further = await nodes.follow_all(there, [one for one in others if one.name not in silent])
    say_missing([*missing, *(one for one in further if one.node not in silent)])
    return shown


async def _show(loaded: Config, options: argparse.Namespace) -> Shown | None:
    identity = _identity(options.id)
    shown = search_of(loaded).show(identity)
    asked = not options.here and (shown is None or is_followed(shown.found))
    others = await others_of(loaded, rec.time_of(identity)) if asked else []
    if not others:
        return shown
    wanted = Wanted(identity=identity, texts=options.reveal)
    async with all_nodes(loaded) as nodes:
        if shown is not None:
            shown, missing = await nodes.follow(shown, others, wanted)
        else:
            shown, missing = await nodes.show_there(others, Scope(), wanted)
    say_missing(missing)
    return shown


def search_of(loaded: Config, deadline: float = math.inf) -> search.Search:
    return search.Search(journal_of(loaded), Keys(loaded.data_dir / "keys"), deadline=deadline)


@contextlib.asynccontextmanager
async def all_nodes(loaded: Config) -> AsyncIterator[Nodes]:
    """The way to all nodes' journals from here."""
    key = load_key(app.registry_key(loaded)).nodes_key
    nodes = Nodes(loaded.node.name, key, partial(search_of, loaded))
    try:
        yield nodes
    finally:
        await nodes.close()


async def others_of(loaded: Config, since: int) -> list[Peer]:
    """The other nodes that may have records since then (ms); with an embedded database there are none.

    When the database is away this node alone is asked, and that is said.
    """
    if loaded.database.dsn == node.EMBEDDED or not app.registry_key(loaded).is_file():
        return []
    try:
        async with asyncio.timeout(everywhere.CONNECT_SECONDS):
            connection = await asyncpg.connect(loaded.database.dsn)
            try:
                return await everywhere.peers(connection, loaded.node.name, since)
            finally:
                connection.terminate()
    except asyncpg.UndefinedTableError:
        return []
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        print(
            f"zhengming: records may be missing: the database, which knows of other nodes, is away: {why}",
            file=sys.stderr,
        )
        return []


def say_missing(missing: Sequence[Missing]) -> None:
    for one in missing:
        words = everywhere.WHY[one.why]
        print(f"zhengming: records may be missing: node {one.node} {words.en}（{words.zh}）", file=sys.stderr)


def journal_of(loaded: Config) -> Path:
    folder = loaded.data_dir / "journal"
    if not folder.is_dir():
        raise NotReady(f"{folder}: no journal; right would be the configuration (-c) of a node that has run")
    return folder


def _identity(text: str) -> bytes:
    digits = text.replace("-", "")
    if not re.fullmatch(r"[0-9a-fA-F]{32}", digits):
        raise UsageError(f"id {text!r}: not an id; right would be its 32 hexadecimal digits")
    return bytes.fromhex(digits)


def journal(options: argparse.Namespace) -> int:
    folder = journal_of(common.load(options))
    writers = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if options.writer not in writers:
        raise UsageError(
            f"writer {options.writer!r}: not one of {folder}; right would be one of {', '.join(writers)}"
        )
    size = clear(folder, options.writer)
    if size is None:
        print(f"{options.writer}: not poisoned, nothing to clear")
        return 0
    print(f"{options.writer}: its last segment ends after {size} octets; the next start begins a new one")
    return 0
