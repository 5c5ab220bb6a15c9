"""The configuration: config."""

import argparse
import sys

from gateway.annotated import annotated
from gateway.commands import common
from gateway.unserved import unserved


def config(options: argparse.Namespace) -> int:
    if not options.check:
        print(annotated(), end="")
        return 0
    from gateway import check  # noqa: PLC0415  # brings PostgreSQL's client

    settings = common.load(options)
    problems = check.problems(settings, options.config)
    for problem in problems:
        print(f"zhengming: {problem}", file=sys.stderr)
    for words in check.notes(settings):
        print(f"note: {words}")
    for words in unserved(settings.evidence):
        print(f"not served: {words}")
    if not problems:
        print("configuration, profile, keys, ports and database are good")
    return 2 if problems else 0
