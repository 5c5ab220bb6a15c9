"""正名网关, inside Kamailio: asks the node of this machine what becomes of a message (see kamailio.cfg).

A function's result says what is to be done; kamailio.cfg does it, and takes every other result, an exception
among them, for a refusal. Parsing, judging, counting and recording are done by the node's workers, so that
one memo and one set of counters serve all processes of Kamailio.
"""

from base64 import b64decode
from pathlib import Path

import KSR

from gateway.asking import Asker, Kind, Told, Unanswered, What

FORWARD, FORWARD_RECORDED, DONE, REFUSED = 11, 12, 13, -1
"""Results that kamailio.cfg knows. None is 1, by which Kamailio's functions say that all went well, nor 0, by
which they end all: the caller would hear nothing."""

ENDS = frozenset(("BYE", "CANCEL", "PRACK"))
"""What starts no call and says nothing to a subscriber: it goes on although nobody can be asked."""


def mod_init() -> "Screening":
    return Screening()


class Screening:
    """One process of Kamailio."""

    def __init__(self) -> None:
        self._hop = _defined("NEXT_HOP")
        self._asker = Asker(Path(_defined("RUN_DIR")), int(_defined("DEADLINE")) / 1000)

    def child_init(self, rank: int) -> int:
        return 0

    def asked(self, msg: object) -> int:
        """A request, other than ACK."""
        try:
            told = self._ask(Kind.REQUEST)
        except Unanswered as why:
            KSR.err(f"zhengming: {why}\n")
            says_no = KSR.hdr.is_present("Reason") > 0 and b"607" in _message()  # has to be in force first
            return FORWARD if KSR.pv.get("$rm") in ENDS and not says_no else REFUSED
        if told.what == What.ANSWER:
            for row in told.rows.splitlines(keepends=True):
                KSR.hdr.append_to_reply(row)
            KSR.sl.sl_send_reply(told.status, told.phrase)
            return DONE
        if told.what == What.NOTHING:
            return DONE
        if told.hop not in ("", self._hop):
            KSR.err(f"zhengming: the node's voice.next_hop is {told.hop}, NEXT_HOP {self._hop}\n")
            return REFUSED
        return FORWARD_RECORDED if told.records else FORWARD

    def returned(self, msg: object) -> int:
        """A response that is not the carrier's, or by which a subscriber says no."""
        try:
            return FORWARD if self._ask(Kind.RESPONSE).what == What.FORWARD else DONE
        except Unanswered:
            return DONE

    def passed_by(self, msg: object) -> int:
        """The carrier's final word on an INVITE, which goes back whoever hears of it."""
        try:
            self._asker.note(KSR.pv.get("$ci"), _peer(), _message())
        except Unanswered as why:
            KSR.err(f"zhengming: an outcome was not recorded: {why}\n")
        return DONE

    def _ask(self, kind: Kind) -> Told:
        return self._asker.ask(kind, KSR.pv.get("$ci"), _peer(), _message())


def _defined(name: str) -> str:
    """What kamailio.cfg defines, less the quotes of a string."""
    return str(KSR.pv.get(f"$def({name})")).strip('"')


def _peer() -> tuple[str, int]:
    return KSR.pv.get("$si"), KSR.pv.get("$sp")


def _message() -> bytes:
    """As it came: KEMI gives text alone, and a body may be any octets."""
    return b64decode(KSR.pv.get("$(mb{s.encode.base64})"))
