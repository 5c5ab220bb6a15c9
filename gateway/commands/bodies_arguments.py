"""The words of `zhengming institution`, `mandate`, `account`, `consent`, `refusal`, `scrub` and `intercepts`.

It imports nothing that takes time, as every command reads it.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from gateway.arguments import text, whole
from gateway.commands.casework_arguments import Act

Fields = Mapping[str, tuple[str, str]]
"""Options by the name of the model's field (registry/bodies.py, lines.py, wishes.py): metavar and help."""

PURPOSES, CHANNELS = "marketing|collection|service …", "sms|voice …"
UNTIL = ("TIME", "ISO 8601; '' for no end")
DOCUMENT = ("SHA256", "of a document handed in before; '' for none")
INSTITUTION: Fields = {
    "name": ("NAME", ""),
    "kind": (
        "KIND",
        "bank, consumer_finance, micro_lender, insurer, broker, agency, provider, authority, other",
    ),
    "licence_number": ("TEXT", ""),
    "licence_scope": (PURPOSES, ""),
    "licence_until": ("DAY", "'' for long-term"),
    "verified_until": ("DAY", "of the yearly re-check"),
    "region": ("TEXT", "such as 浙江省杭州市"),
    "document_sha256": DOCUMENT,
    "status": ("active|closed", ""),
}
MANDATE: Fields = {"valid_until": UNTIL, "document_sha256": DOCUMENT}
ACCOUNT: Fields = {
    "holder": ("CODE", "institution, agency or provider"),
    "scope": ("financial|authority|other", ""),
    "refusal_manner": ("result|report", ""),
    "mass_manner": ("whole|reduce", ""),
    "signature": ("in_text|by_carrier", ""),
    "line_kind": ("human|robot", ""),
    "upstream": ("HOST:PORT …", "tried in order; '' for the node's own"),
    "listener": ("HOST:PORT", "of SGIP: where it receives"),
    "callback": ("HOST:PORT", "of SGIP: where the carrier delivers"),
    "allowed_ips": ("NETWORK …", "'' for any"),
    "max_connections": ("N", "0: as many as it likes"),
}
CONSENT: Fields = {"until": UNTIL, "document_sha256": DOCUMENT}
LISTS = ("licence_scope", "channels", "purposes", "upstream", "allowed_ips")
NUMBERS = ("max_connections",)


def _by(act: argparse.ArgumentParser) -> argparse.ArgumentParser:
    act.add_argument("--by", required=True, metavar="LOGIN", help="who does this")
    act.add_argument("--json", action="store_true")
    return act


def _one(act: argparse.ArgumentParser) -> argparse.ArgumentParser:
    act.add_argument("id", metavar="ID", type=whole(1))
    return _by(act)


def _listed(act: argparse.ArgumentParser) -> None:
    _by(act).add_argument("--limit", type=whole(1), default=1000)


def _takes(act: argparse.ArgumentParser, fields: Fields) -> argparse.ArgumentParser:
    """Options for these fields; what is left out stays, or takes its default."""
    for name, (values, words) in fields.items():
        act.add_argument(
            "--" + name.removesuffix("_sha256").replace("_", "-"),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=values,
            nargs="+" if name in LISTS else None,
            type=whole(0) if name in NUMBERS else str,
            help=words,
        )
    return act


def add_institution_arguments(act: Act) -> None:
    """`zhengming institution ACT`."""
    _listed(act("list", "by id"))
    add = _takes(_by(act("add", "a carrier or a regulator registers one")), INSTITUTION)
    change = _takes(_by(act("change", "what is named; the rest stays")), INSTITUTION)
    for doing in (add, change, _by(act("show", "one"))):
        doing.add_argument("code", metavar="CODE", help="given once, and kept")


def add_mandate_arguments(act: Act) -> None:
    """`zhengming mandate ACT`."""
    _listed(act("list", "by id"))
    _one(act("show", "one"))
    add = _takes(_by(act("add", "an institution entrusts an agency")), MANDATE)
    add.add_argument("agency", metavar="CODE", help="of the agency")
    add.add_argument("--purposes", nargs="+", required=True, metavar=PURPOSES)
    add.add_argument("--channels", nargs="+", metavar=CHANNELS, default=argparse.SUPPRESS)
    add.add_argument("--valid-from", metavar="TIME", default=argparse.SUPPRESS)
    _takes(_one(act("change", "its end or document; anything else is another mandate")), MANDATE)
    _one(act("revoke", "for good")).add_argument("--reason", default="")


def add_account_arguments(act: Act) -> None:
    """`zhengming account ACT`."""
    _listed(act("list", "by id"))
    _one(act("show", "one"))
    add = _takes(_by(act("add", "a carrier registers a login; for voice the trunk's address")), ACCOUNT)
    add.add_argument("account", metavar="LOGIN")
    add.add_argument("--protocol", required=True, metavar="cmpp|sgip|smgp|smpp|sip|http")
    _takes(_one(act("change", "what is named; the rest stays")), ACCOUNT)
    _one(act("numbers", "which it may show; none: every number of its holder"))
    numbers = _one(act("set-numbers", "the whole list anew; without any: every number of its holder"))
    numbers.add_argument("numbers", nargs="*", metavar="NUMBER", help="with * at its end: all that begin so")
    numbers.add_argument("--from", dest="valid_from", default=None, metavar="TIME", help="default: at once")
    numbers.add_argument("--until", dest="valid_until", default=None, metavar="TIME", help="when they end")
    _one(act("holds", "what stands on it"))
    suspend = _one(act("suspend", "a regulator places a hold"))
    suspend.add_argument("--cause", required=True)
    suspend.add_argument("--case", default="", help="case reference")
    suspend.add_argument("--until", default="", metavar="TIME", help="when it ends by itself")
    resume = _one(act("resume", "a regulator lifts one hold"))
    resume.add_argument("--reason", required=True)
    resume.add_argument("--hold", type=whole(1), metavar="ID", help="which is lifted, when several stand")


def add_consent_arguments(act: Act) -> None:
    """`zhengming consent ACT`."""
    _listed(act("list", "by id, subscribers masked"))
    _one(act("show", "one"))
    add = _takes(_by(act("add", "an institution keeps the proof that somebody asked for marketing")), CONSENT)
    add.add_argument("subscriber", metavar="NUMBER")
    add.add_argument("--source", required=True, help="such as app or contract")
    add.add_argument("--at", required=True, metavar="TIME", help="when it was given")
    _takes(_one(act("change", "its end or proof")), CONSENT)


def add_refusal_arguments(act: Act) -> None:
    """`zhengming refusal ACT`."""
    _listed(act("list", "by id, subscribers masked"))
    _one(act("show", "one"))
    find = _by(act("find", "what one subscriber refused, and what of it has ended; on record"))
    find.add_argument("subscriber", metavar="NUMBER")
    find.add_argument("--reason", required=True, type=text(1000), help="why it is looked at")
    add = _by(act("add", "a subscriber's no: to one's own institution, or to whom a regulator names"))
    add.add_argument("subscriber", metavar="NUMBER")
    add.add_argument(
        "--institution", metavar="CODE", default=argparse.SUPPRESS, help="of regulators; default: all"
    )
    add.add_argument("--purposes", nargs="+", metavar=PURPOSES, default=argparse.SUPPRESS)
    add.add_argument("--channels", nargs="+", metavar=CHANNELS, default=argparse.SUPPRESS)
    add.add_argument("--source", default=argparse.SUPPRESS, help="such as call or operator")
    add.add_argument("--at", metavar="TIME", default=argparse.SUPPRESS, help="when he said so; default: now")
    lift = _by(act("lift", "a regulator ends refusals that were none, entered by mistake"))
    lift.add_argument("ids", nargs="+", type=whole(1), metavar="ID")
    lift.add_argument("--reason", required=True, type=text(1000))
    lift.add_argument("--case", default="", help="case reference: for what its subscriber said himself")


def add_scrub_arguments(command: argparse.ArgumentParser) -> None:
    """`zhengming scrub`."""
    command.add_argument("number", help="one's own sending number")
    command.add_argument("subscribers", nargs="*", metavar="SUBSCRIBER")
    command.add_argument("--file", type=Path, help="of subscribers, one on each line")
    command.add_argument("--channel", choices=["sms", "voice"], default="sms")
    _by(command)


def add_intercepts_arguments(command: argparse.ArgumentParser) -> None:
    """`zhengming intercepts`."""
    command.add_argument("--number", default=None, help="sending number")
    command.add_argument("--institution", default="", metavar="CODE")
    command.add_argument("--reason", default="", help="of the refusal, such as blacklisted")
    command.add_argument("--since", default=None, metavar="TIME")
    command.add_argument("--until", default=None, metavar="TIME")
    command.add_argument("--limit", type=whole(1, 1000), default=100)
    _by(command)
