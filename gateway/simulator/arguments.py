"""The words of `zhengming simulate sender|carrier`: every command imports them, and they no protocol."""

import argparse
from pathlib import Path

from gateway.arguments import amount, octets, place, port, whole
from gateway.simulator.faults import CALLEE, CALLER, CARRIER, SENDER, Misbehaviour, explained, misbehaviour

VERSIONS = {
    "cmpp": ("2.0", "2.1", "3.0"),
    "sgip": ("1.2",),
    "smgp": ("1.3", "3.0"),
    "smpp": ("3.3", "3.4", "5.0"),
}
"""Of each protocol of SMS that a peer speaks."""

_TEXT = "【示例银行】您的账单已出，请按时还款。拒收请回复R"


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=[*VERSIONS, "sip"], default="cmpp")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, help="left out: the protocol's own")
    parser.add_argument("--secret-file", type=Path, help="a file that holds the shared secret")
    parser.add_argument(
        "--version",
        choices=sorted({version for versions in VERSIONS.values() for version in versions}),
        help="asked for, or the highest spoken; left out: the newest usual one",
    )


def add_sender_arguments(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument(
        "--account",
        type=octets(47, 1),
        help="CMPP: SP_Id, 6 characters; SIP: the trunk's address, one of this machine's; there it may be"
        " left out",
    )
    parser.add_argument("--from", dest="source", type=octets(21), default="10690001", metavar="NUMBER")
    parser.add_argument(
        "--to",
        nargs="+",
        type=octets(21),
        default=["13800000000"],
        metavar="NUMBER",
        help="all in one submit",
    )
    parser.add_argument("--text", default=_TEXT)
    parser.add_argument("--messages", type=whole(0), default=1, metavar="N")
    parser.add_argument("--rate", type=amount, default=0.0, metavar="PER_SECOND", help="0: without limit")
    parser.add_argument("--connections", type=whole(1, 10_000), default=1, metavar="N")
    parser.add_argument("--window", type=whole(1, 65_535), default=16, metavar="N")
    parser.add_argument("--report", action="store_true", help="ask for status reports, and wait for them")
    parser.add_argument("--wait", type=amount, default=0.0, metavar="SECONDS", help="stay for replies")
    _add_misbehaviour(parser, SENDER, CALLER)
    calls = parser.add_argument_group("SIP", "--messages are calls, --window those at a time")
    calls.add_argument("--transport", choices=("udp", "tcp"), default="udp")
    calls.add_argument("--talk", type=amount, default=0.0, metavar="SECONDS", help="until BYE")
    calls.add_argument("--cancel-every", type=whole(0), default=0, metavar="N", help="as soon as it rings")
    calls.add_argument("--asserted", default="", metavar="NUMBER", help="P-Asserted-Identity")
    calls.add_argument("--compact", action="store_true", help="compact header names")
    parser.add_argument(
        "--listen",
        type=place,
        metavar="HOST:PORT",
        help="SGIP: where the carrier calls the sender",
    )


def add_carrier_arguments(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--account", type=octets(16, 1), help="the only one let in")
    parser.add_argument("--report-after", type=amount, default=0.0, metavar="SECONDS")
    parser.add_argument("--no-reports", action="store_true")
    parser.add_argument("--stat", type=octets(7, 1), default="DELIVRD")
    parser.add_argument("--reply-every", type=whole(0), default=0, metavar="N", help="N-th recipients answer")
    parser.add_argument("--reply-text", default="R")
    parser.add_argument("--refuse-every", type=whole(0), default=0, metavar="N")
    parser.add_argument("--refuse-with", type=whole(0, 0xFFFF), default=0, metavar="RESULT")
    parser.add_argument("--answer-after", type=amount, default=0.0, metavar="SECONDS")
    parser.add_argument("--seconds", type=amount, default=0.0, help="0: until Ctrl-C")
    parser.add_argument(
        "--callback",
        type=place,
        metavar="HOST:PORT",
        help="SGIP: where to deliver; left out: on the sender's own connection",
    )
    _add_misbehaviour(parser, CARRIER, CALLEE)


def _add_misbehaviour(
    parser: argparse.ArgumentParser, side: dict[str, Misbehaviour], of_calls: dict[str, Misbehaviour]
) -> None:
    parser.add_argument(
        "--misbehave",
        type=misbehaviour(side, of_calls),
        action="append",
        default=[],
        metavar="WORD[:N]",
        help=f"{explained(side)}. SIP: {explained(of_calls, head=False)}",
    )
