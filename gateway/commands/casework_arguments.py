"""The words of `zhengming complaint`, `appeal` and `case`: what each of their acts takes.

It imports nothing that takes time, as every command reads it.
"""

import argparse
from collections.abc import Callable

from gateway.arguments import day, text, whole

Act = Callable[[str, str], argparse.ArgumentParser]
"""Adds an act by its name and what it does."""


def _by(act: argparse.ArgumentParser, *, identity: str = "") -> None:
    """For whom it is done, and how it is printed; `identity`: what the command's id is of."""
    if identity:
        act.add_argument("id", metavar="ID", type=whole(1), help=f"of the {identity}")
    act.add_argument("--by", required=True, metavar="LOGIN", help="who does this")
    act.add_argument("--json", action="store_true")


def _listed(act: argparse.ArgumentParser) -> None:
    act.add_argument("--overdue", action="store_true", help="only what is overdue")
    act.add_argument("--limit", type=whole(1), default=1000)
    _by(act)


def add_complaint_arguments(act: Act) -> None:
    """`zhengming complaint ACT`."""
    receive = act("receive", "take a complaint, which opens or joins a case")
    receive.add_argument("--subscriber", required=True, help="who complains")
    receive.add_argument("--number", required=True, help="the sending number")
    receive.add_argument("--channel", choices=["sms", "voice"], required=True)
    receive.add_argument("--at", required=True, metavar="TIME", help="when it came, ISO 8601")
    receive.add_argument("--content", default="", help="what was reported")
    receive.add_argument("--source", choices=["own", "12321"], default="own")
    receive.add_argument("--reference", default="", help="the number that the source gave it")
    _by(receive)
    _listed(act("list", "by id"))
    _by(act("show", "with its due dates"), identity="complaint")
    timeline = act("timeline", "what all sent to its subscriber, and what he said; on record")
    timeline.add_argument("--reason", required=True, type=text(1000), help="why it is looked at")
    _by(timeline, identity="complaint")
    _by(act("forward", "to the holder of the number"), identity="complaint")
    answer = act("answer", "the end of it: what the subscriber is told")
    answer.add_argument("--answer", required=True, type=text(4000))
    _by(answer, identity="complaint")


def add_appeal_arguments(act: Act) -> None:
    """`zhengming appeal ACT`."""
    file = act(
        "file", "a holder objects to a verdict, penalty, blacklist entry, hold or decision on a filing"
    )
    file.add_argument("--kind", required=True, choices=["verdict", "penalty", "ban", "hold", "number"])
    file.add_argument("--against", required=True, metavar="ID", help="of the refused attempt, or of the row")
    file.add_argument("--grounds", required=True, type=text(4000))
    file.add_argument("--document", default="", metavar="SHA256", help="of a document handed in before")
    _by(file)
    _listed(act("list", "by id"))
    _by(act("show", "with its due date"), identity="appeal")
    answer = act("answer", "a regulator who made none of what it attacks decides it")
    answer.add_argument("--decision", required=True, choices=["upheld", "rejected"])
    answer.add_argument("--answer", required=True, type=text(4000))
    _by(answer, identity="appeal")


def add_case_arguments(act: Act) -> None:
    """`zhengming case ACT`."""
    opened = act("open", "a new case")
    opened.add_argument("--title", required=True)
    opened.add_argument("--due", type=day, metavar="DAY", help="default: as many workdays as a complaint has")
    _by(opened)
    listed = act("list", "by id")
    listed.add_argument("--status", choices=["open", "referred", "closed"], default="")
    _listed(listed)
    _by(act("show", "with all that is in it"), identity="case")
    change = act("change", "its title, due date or whose it is")
    change.add_argument("--title", default="")
    change.add_argument("--due", type=day, metavar="DAY")
    change.add_argument("--assign", default="", metavar="LOGIN", help="the regulator whose it is from now on")
    _by(change, identity="case")
    tie = act("tie", "put something into it")
    tie.add_argument(
        "--kind", required=True,
        choices=["record", "complaint", "penalty", "appeal", "ban", "number", "document"],
    )  # fmt: skip
    tie.add_argument("--reference", required=True, help="its id; of a document, its SHA-256")
    tie.add_argument("--note", default="")
    _by(tie, identity="case")
    refer = act("refer", "to the police, with a record of its own")
    refer.add_argument("--authority", required=True)
    refer.add_argument("--reason", required=True, type=text(2000))
    refer.add_argument("--reference", default="", help="the authority's own number")
    refer.add_argument("--document", default="", metavar="SHA256", help="of a document handed in before")
    _by(refer, identity="case")
    close = act("close", "with what came of it")
    close.add_argument("--outcome", required=True, type=text(2000))
    _by(close, identity="case")
