"""Verdicts and records: judge, records, journal."""

import argparse
import dataclasses
import json
import time

from gateway import app
from gateway.commands import common
from gateway.errors import NotReady, UsageError
from gateway.evidence import search
from gateway.evidence.folder import clear
from gateway.evidence.seal import Keys
from gateway.model import CHANNELS, AccountKey, Attempt
from gateway.policy import explain
from gateway.policy.numbers import mask
from gateway.registry.keys import load_key
from gateway.registry.replica import Replica

REFUSED = 3


def judge(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    profile = app.profile_of(loaded)
    if not options.account:  # judged as the holder's own account would be
        profile = dataclasses.replace(profile, unknown_account="observe")
    replica = Replica.open(loaded.data_dir / "registry", load_key(app.registry_key(loaded)))
    now = time.time_ns() // 1_000_000
    at = common.instant(options.at, now)
    attempt = Attempt(
        AccountKey(loaded.node.carrier, options.protocol, options.account),
        CHANNELS[options.channel],
        common.number("--from", options.source),
        common.number("--to", options.destination),
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
    loaded = common.load(options)
    folder = loaded.data_dir / "journal"
    keys = Keys(loaded.data_dir / "keys")
    if options.doing == "show":
        try:
            identity = bytes.fromhex(options.id.replace("-", ""))
        except ValueError:
            raise UsageError(f"id {options.id!r}: expected the 32 hexadecimal digits of an attempt") from None
        shown = search.show(folder, keys, identity)
        if shown is None:
            raise NotReady(f"no attempt {options.id} in the journal of this node")
        print(json.dumps(search.plain(shown), ensure_ascii=False, indent=None if options.json else 2))
        return 0
    now = time.time_ns() // 1_000_000
    found = search.find(
        folder,
        keys,
        number=common.number("--number", options.number) if options.number else "",
        subscriber=common.number("--subscriber", options.subscriber) if options.subscriber else "",
        since=common.instant(options.since, 0),
        until=common.instant(options.until, now + 1),
        verdict=options.verdict,
        limit=options.limit,
    )
    common.print_all([search.plain(record) for record in found], as_json=options.json)
    return 0


def journal(options: argparse.Namespace) -> int:
    size = clear(common.load(options).data_dir / "journal", options.writer)
    if size is None:
        print(f"{options.writer}: not poisoned, nothing to clear")
        return 0
    print(f"{options.writer}: its last segment ends after {size} octets; the next start begins a new one")
    return 0
