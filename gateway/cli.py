"""The command line `zhengming` (contract.md "Command line"): arguments in, exit code out.

The module that does it is imported when it is called, so that each command starts fast.

Exit codes: 0 good, 1 failed, 2 wrong usage or configuration, 3 refused by `judge`. What a command does stands
in `commands`, here are only its words.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from gateway.arguments import amount, day, text, whole
from gateway.commands.bodies_arguments import (
    add_account_arguments,
    add_consent_arguments,
    add_institution_arguments,
    add_intercepts_arguments,
    add_mandate_arguments,
    add_refusal_arguments,
    add_scrub_arguments,
)
from gateway.commands.casework_arguments import (
    Act,
    add_appeal_arguments,
    add_case_arguments,
    add_complaint_arguments,
)
from gateway.commands.profile_arguments import add_profile_arguments
from gateway.commands.registry_arguments import (
    add_alarm_arguments,
    add_allocation_arguments,
    add_dispute_arguments,
    add_document_arguments,
    add_hold_arguments,
    add_number_arguments,
    add_reply_arguments,
    add_run_arguments,
)
from gateway.errors import NotReady, Problem, UsageError
from gateway.model import PROTOCOLS
from gateway.simulator.arguments import add_carrier_arguments, add_sender_arguments

ROLES = "regulator, carrier, institution, agency, provider, auditor or admin"
KINDS = (
    "institutions, mandates, accounts, account_numbers, numbers, blacklist, refusals, consents, recipients,"
    " released or complaints"
)

WRONG_USAGE = frozenset({"invalid", "media_type", "protected_number", "too_large"})
"""Problems with what was typed or brought; any other is a state, a person or a row that does not allow it."""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows no Chinese stops nothing
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options = parser().parse_args(arguments)
        _readable(options)
        module, _, name = options.command.partition(":")
        command: Command = getattr(import_module(f"gateway.commands.{module}"), name)
        return command(options)
    except UsageError as error:
        print(f"zhengming: {error}", file=sys.stderr)
        return 2
    except Problem as problem:
        print(f"zhengming: {problem}", file=sys.stderr)
        return 2 if problem.code in WRONG_USAGE else 1
    except NotReady as error:
        print(f"zhengming: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # no room, no right, a broken disk
        place = f"{error.filename}: " if error.filename else ""
        print(f"zhengming: {place}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _terminated(number: int, _: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: what it has begun (a database, say) is ended too."""
    raise SystemExit(128 + number)


def _readable(options: argparse.Namespace) -> None:
    for name, value in vars(options).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str | Path) and any("\ud800" <= sign <= "\udfff" for sign in str(one)):
                raise UsageError(f"argument {name} {str(one)!r}: not readable; right would be text in UTF-8")


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = argparse.ArgumentParser(prog="zhengming", description="Zhengming 正名网关")
    under = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: str, words: str, *, config: bool = True) -> argparse.ArgumentParser:
        made = under.add_parser(name, help=words, description=words)
        made.set_defaults(command=command)
        if config:
            made.add_argument("-c", "--config", type=Path, help="configuration file (TOML)")
        return made

    def acts(of: argparse.ArgumentParser) -> Act:
        """What a command of several acts does; the configuration may be named before the act or after it."""
        under = of.add_subparsers(required=True, dest="doing", metavar="ACT")

        def act(name: str, words: str) -> argparse.ArgumentParser:
            made = under.add_parser(name, help=words, description=words)
            made.add_argument(
                "-c", "--config", type=Path, default=argparse.SUPPRESS, help="configuration file (TOML)"
            )
            return made

        return act

    demo = add("demo", "showing:demo", "a whole node with sample data and traffic, on loopback", config=False)
    demo.add_argument("--dir", type=Path, default=Path("var/demo"), help="where everything is kept")
    demo.add_argument("--seconds", type=amount, default=0.0, help="stop by itself after so long (0: never)")
    demo.add_argument("--no-traffic", action="store_true", help="no simulated senders")
    demo.add_argument("--carrier", action="append", default=[], metavar="PROTOCOL=HOST:PORT")
    demo.add_argument("--profile", default="zhejiang", help="a shipped profile, or a file")

    serve = add("serve", "running:serve", "a node, or one part of it")
    serve.add_argument("part", nargs="?", default="", choices=["", "relay", "keeper", "web"])

    migrate = add("migrate", "schema:migrate", "bring the database to this version's schema")
    migrate.add_argument("--sql", action="store_true", help="print the SQL instead")

    config = add("config", "settings:config", "print the annotated configuration with all defaults")
    config.add_argument("--check", action="store_true", help="check file, database, ports and keys instead")

    bring = add("import", "filing:import_", "take a file into the registry")
    bring.add_argument("kind", help=KINDS)
    bring.add_argument("file", type=Path)
    bring.add_argument("--dry-run", action="store_true", help="say what would happen, change nothing")
    bring.add_argument(
        "--approve", action="store_true", help="take rows through all steps; needs --as and --by"
    )
    bring.add_argument("--as", dest="checker", default="", metavar="A", help="the person who checked")
    bring.add_argument("--by", dest="approver", default="", metavar="B", help="the person who approved")
    bring.add_argument("--break-glass", default="", metavar="CASE", help="case under which this is done")

    give = add("export", "filing:export", "write a table of the registry to a file")
    give.add_argument("kind", help=KINDS)
    give.add_argument("file", type=Path)
    give.add_argument("--headers", choices=["en", "zh"], default="en")
    give.add_argument("--by", default="", metavar="LOGIN", help="only the rows that he sees; default: all")
    give.add_argument("--reason", default="", help="why full numbers of subscribers go out; on the audit")

    judge = add("judge", "evidence:judge", "the verdict on an attempt and why; records nothing")
    judge.add_argument("--channel", choices=["sms", "voice"], default="sms")
    judge.add_argument("--from", dest="source", required=True, metavar="N")
    judge.add_argument("--to", dest="destination", required=True, metavar="N")
    judge.add_argument(
        "--account", default="", help="the sender's login, or trunk; default: the holder's own"
    )
    judge.add_argument("--protocol", choices=PROTOCOLS, help="of the account; default: cmpp, of calls sip")
    judge.add_argument("--text", default="")
    judge.add_argument(
        "--at",
        default="",
        metavar="TIME",
        help="ISO 8601; default: now. In the past: by the registry of then",
    )
    judge.add_argument(
        "--registry",
        type=whole(1, 2**63 - 1),
        default=0,
        metavar="VERSION",
        help="by the registry as of this version",
    )
    judge.add_argument("--lang", choices=["zh", "en"], default="", help="facts and sources in one language")
    judge.add_argument("--json", action="store_true")

    act = acts(add("blacklist", "supervising:blacklist", "numbers that may never pass"))
    ban = act("add", "ban a number, or all numbers that begin with it")
    ban.add_argument("number")
    ban.add_argument("--prefix", action="store_true", help="the number and everything that begins with it")
    ban.add_argument("--reason", required=True)
    ban.add_argument("--case", required=True, help="case reference")
    ban.add_argument("--by", default="operator", metavar="LOGIN", help="the regulator who does this")
    ban.add_argument("--dry-run", action="store_true", help="say what the ban would hit, change nothing")
    ban.add_argument("--json", action="store_true")
    entries = act("list", "entries that stand, oldest first")
    entries.add_argument("number", nargs="?", default="", help="only where number, reason or case hold this")
    entries.add_argument("--json", action="store_true")
    for name, words in (
        ("confirm", "the second person agrees to what waits"),
        ("withdraw", "its author takes an entry back, within 30 minutes"),
        ("propose-removal", "the first of two persons wants an entry off"),
        ("confirm-removal", "the second person agrees to that"),
    ):
        entry = act(name, words)
        entry.add_argument("number", help="the number, or the entry's id")
        entry.add_argument("--prefix", action="store_true", help="the entry on the prefix of these digits")
        entry.add_argument("--by", required=True, metavar="LOGIN", help="the regulator who does this")
        entry.add_argument("--json", action="store_true")
        if name == "propose-removal":
            entry.add_argument("--reason", required=True)

    add_profile_arguments(acts(add("profile", "profiles:profile", "versions of the rules, and which holds")))

    act = acts(add("penalty", "supervising:penalty", "fines, and suspensions of institutions and agencies"))
    impose = act("impose", "stop all numbers of an institution or agency, or fine it")
    impose.add_argument("subject", metavar="CODE", help="of the institution or agency")
    impose.add_argument("--kind", default="suspension", choices=["fine", "suspension", "fine_and_suspension"])
    impose.add_argument("--amount", default="", help="yuan, of a fine")
    impose.add_argument("--cause", required=True)
    impose.add_argument(
        "--due", type=day, metavar="DAY", help="when it is to be settled; default: so many workdays"
    )
    lift = act("lift", "end a penalty")
    lift.add_argument("subject", metavar="ID", type=whole(1), help="of the penalty")
    lift.add_argument("--reason", required=True)
    penalised = act("list", "by id")
    penalised.add_argument("--overdue", action="store_true", help="only what is overdue")
    penalised.add_argument("--limit", type=whole(1), default=1000)
    shown = act("show", "with its due date")
    shown.add_argument("subject", metavar="ID", type=whole(1), help="of the penalty")
    for doing in (impose, lift, penalised, shown):
        doing.add_argument("--by", required=True, metavar="LOGIN", help="who does this")
        doing.add_argument("--json", action="store_true")

    add_hold_arguments(
        acts(add("hold", "supervising:hold", "what stops an institution or agency for a time"))
    )
    add_complaint_arguments(
        acts(add("complaint", "casework:complaint", "what subscribers, or 12321, report"))
    )
    add_appeal_arguments(acts(add("appeal", "casework:appeal", "holders' objections to what was decided")))
    add_case_arguments(
        acts(add("case", "casework:case", "what ties complaints, records, penalties and appeals"))
    )

    add_number_arguments(
        acts(add("number", "numbers:number", "filings of numbers, and the steps of their life"))
    )
    for name, words, take in (
        ("allocation", "base ports that carriers give to providers", add_allocation_arguments),
        ("dispute", "over numbers that are filed already", add_dispute_arguments),
        ("document", "licences, mandates, consents and filings on paper", add_document_arguments),
        ("alarm", "what a regulator must have seen", add_alarm_arguments),
        ("reply", "answers of subscribers that a person has to understand", add_reply_arguments),
        ("import-run", "imports, and whether they broke the glass", add_run_arguments),
    ):
        made = add(name, "claims:run", words)
        made.set_defaults(what=name)
        take(acts(made))

    for name, words, take in (
        ("institution", "banks, agencies, providers and authorities", add_institution_arguments),
        ("mandate", "which agency may act for which institution", add_mandate_arguments),
        ("account", "logins on the wire, and what they may show", add_account_arguments),
        ("consent", "proof that subscribers asked for marketing", add_consent_arguments),
        ("refusal", "what subscribers will not have", add_refusal_arguments),
    ):
        made = add(name, "bodies:run", words)
        made.set_defaults(what=name)
        take(acts(made))
    add_scrub_arguments(add("scrub", "looking:scrub", "which subscribers a number may reach just now"))
    add_intercepts_arguments(add("intercepts", "looking:intercepts", "refused attempts, newest first"))
    stats = add("stats", "looking:stats", "the numbers of an overview")
    stats.add_argument("--by", required=True, metavar="LOGIN", help="of what he may see")
    stats.add_argument("--json", action="store_true")

    user = add("user", "people:user", "who works with the registry")
    user.add_argument("doing", choices=["add", "list", "change", "disable", "enable", "renew"])
    user.add_argument("login", nargs="?", default="")
    user.add_argument("--role", default="", help=ROLES)
    user.add_argument("--person", default="", metavar="NAME", help="whose login it is; default: the login")
    user.add_argument("--identity", type=Path, metavar="FILE", help="holds the person's identity number")
    user.add_argument("--carrier", default="", help="code, for the role carrier")
    user.add_argument("--institution", default="", metavar="CODE", help="for institution, agency, provider")
    user.add_argument("--territory", help="beginning of a region, such as 浙江省宁波市; '' for all")
    user.add_argument("--password", type=Path, metavar="FILE", help="holds the password for the console")
    user.add_argument("--totp", action="store_true", help="for `renew`: a new code generator, too")
    user.add_argument("--json", action="store_true")

    token = add("token", "people:token", "keys to the API")
    token.add_argument("doing", choices=["create", "list", "revoke"])
    token.add_argument("id", nargs="?", default="", help="of the token, for `revoke`")
    token.add_argument("--role", default="", help=f"of its oldest user: {ROLES}")
    token.add_argument("--user", default="", metavar="LOGIN", help="whose token it is, instead of --role")
    token.add_argument("--institution", default="", metavar="CODE", help="of that user")
    token.add_argument("--carrier", default="", help="of that user")
    token.add_argument("--scope", action="append", default=[], help="what it is good for; default: all")
    token.add_argument("--days", type=int, default=90, help="until it expires")
    token.add_argument("--name", default="", help="what it is for")
    token.add_argument("--json", action="store_true")

    audit = add("audit", "people:audit", "what was done by whom, and whether the audit's chain holds")
    audit.add_argument("doing", choices=["list", "verify"])
    audit.add_argument("--subject", default="", help="such as numbers/17")
    audit.add_argument("--json", action="store_true")

    act = acts(add("records", "evidence:records", "what the journals of all nodes hold"))
    find = act("find", "attempts and replies, oldest first")
    find.add_argument("--limit", type=whole(1), default=100)
    find.add_argument("--json", action="store_true")
    show = act("show", "one attempt, and all that became of it")
    show.add_argument("id", help="32 hexadecimal digits")
    show.add_argument("--json", action="store_true", help="on one line")
    export = act("export", "what is found as a file, CSV or JSON Lines, whole and in order")
    export.add_argument("file", type=Path, help=".csv or .jsonl")
    export.set_defaults(command="looking:records_export")
    timeline = act("timeline", "what all sent to one subscriber, and what he said; on record")
    timeline.add_argument("subscriber")
    timeline.set_defaults(command="looking:timeline")
    timeline.add_argument("--json", action="store_true")
    timeline.add_argument("--by", required=True, metavar="LOGIN", help="the regulator or auditor who looks")
    timeline.add_argument("--reason", required=True, type=text(1000), help="why; goes on the audit")
    for doing in (find, export):
        doing.add_argument("--number", default="", help="sending number")
        doing.add_argument("--subscriber", default="")
        doing.add_argument("--verdict", choices=["pass", "refuse"], default="")
    for doing in (find, export, timeline):
        doing.add_argument("--since", default="", metavar="TIME")
        doing.add_argument("--until", default="", metavar="TIME")
    for doing in (find, export, show):
        doing.add_argument("--here", action="store_true", help="ask this node alone: takes no database")
        doing.add_argument("--reveal", action="store_true", help="subscribers and texts in full, on record")
        doing.add_argument("--reason", type=text(1000), help="why; goes on the audit")
        doing.add_argument("--by", default="", metavar="LOGIN", help="the regulator or auditor who looks")

    replay = add("replay", "replaying:replay", "what another profile would have refused, out of real records")
    replay.add_argument("--since", required=True, metavar="TIME")
    replay.add_argument("--until", default="", metavar="TIME", help="default: now")
    replay.add_argument("--profile", required=True, metavar="FILE", help="a shipped profile, or a file")
    replay.add_argument("--here", action="store_true", help="the records of this node alone")
    replay.add_argument("--json", action="store_true")

    act = acts(add("nodes", "nodes:nodes", "the nodes of this registry"))
    known = act("list", "where each is asked, when it was heard of, and whether it answers")
    known.add_argument("--json", action="store_true")
    forget = act("forget", "look no longer for what a node recorded that is gone for good")
    forget.add_argument("name")
    forget.add_argument("--reason", required=True, help="goes on the audit")

    act = acts(add("key", "keys:key", "the registry key's rotation"))
    known = act("status", "the keys, how many rows are under each, and which files this node has")
    known.add_argument("--json", action="store_true")
    act("make", "a second key beside the first; nothing comes under it yet")
    rotate = act("rotate", "once every node has it: new rows come under it, and all others are moved to it")
    rotate.add_argument("--reason", required=True, help="goes on the audit")
    destroy = act("destroy", "take a retired key away from this node, for good")
    destroy.add_argument("fingerprint", help="as `key status` shows it")
    destroy.add_argument("--reason", required=True, help="goes on the audit")
    destroy.add_argument("--now", action="store_true", help="although it finds what is found by no other")

    act = acts(add("journal", "evidence:journal", "after an error of the disk"))
    clear = act("clear", "with the node stopped: the disk is well again")
    clear.add_argument("writer", help="w0, w1, … or keeper; /readyz names it")

    simulate = add(
        "simulate", "peers:simulate", "a sender or a carrier for one's own acceptance", config=False
    )
    sides = simulate.add_subparsers(required=True, dest="side", metavar="SIDE")
    add_sender_arguments(sides.add_parser("sender", help="connect and submit"))
    add_carrier_arguments(sides.add_parser("carrier", help="accept and answer"))
    return top
