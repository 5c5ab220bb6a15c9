"""Why something that was filed does not stand at an instant: the words that verdicts and pages share.

Rules of this file: pure functions of a row and `now`, each yielding every cause, the gravest first; a rule
takes the first one as its sub-code, a page shows them all.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_

from gateway.model import Institution, Mandate, Number
from gateway.policy.facts import held


def endings(filing: Number, now: int) -> Iterator[str]:
    """Why a filing by itself is not in force: its status, its dates, its own holds."""
    if filing.status != "approved":
        yield filing.status
        return
    if now < filing.span.start:
        yield "not_yet"
    if now >= filing.span.end:
        yield "expired"
    if held(filing.holds, now):
        yield "held"


def bars(body: Institution, now: int, whose: str = "") -> Iterator[str]:
    """Why an institution, agency or holder may not act; `whose` stands before each word."""
    if body.status == "closed":
        yield whose + "closed"
    if held(body.holds, now):
        yield whose + "held"
    if not body.licence.holds(now):
        yield whose + "licence_lapsed"
    if not body.verified.holds(now):
        yield whose + "verification_lapsed"


def allowed(mandates: Sequence[Mandate], channel: int, now: int) -> int:
    """The purposes that the mandates in force for a channel allow together, as bits."""
    in_force = (m for m in mandates if m.status == "active" and m.channels & channel and m.span.holds(now))
    return reduce(or_, (mandate.purposes for mandate in in_force), 0)


def unmandated(mandates: Sequence[Mandate], allowing: int, purposes: int, now: int) -> str:
    """What is wrong with mandates of which those in force allow `allowing`; "" if they cover `purposes`."""
    if allowing & purposes == purposes:
        return ""
    if not mandates:
        return "missing"
    if any(mandate.status != "active" for mandate in mandates):
        return "revoked"
    if not any(mandate.span.holds(now) for mandate in mandates):
        return "lapsed"
    return "purpose" if allowing else "channel"
