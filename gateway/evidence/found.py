"""Records as a search finds them, and what ties outcomes and reports to the attempts that they are about.

An outcome names its attempt. A report names the carrier's message id, which stands in the outcome: it is of
an attempt when account, message id (in whatever way the protocol's peers write it) and, where both can be
read, subscriber are the same. So a tie needs nothing but what is on record: neither a restart nor the order
in which things came can lose it. Values only: no file, no key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from gateway.evidence import record as rec
from gateway.evidence.half_read import Reported, continues
from gateway.protocols import WIRES


@dataclass(frozen=True, slots=True)
class Found:
    """A record, where it lies, and what its seal hides: None with the cause in `sealed_by` when it can't
    be opened, or when it has no seal."""

    record: rec.Record
    octets: bytes
    writer: str
    segment: int
    index: int
    content: rec.Content | None
    sealed_by: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One attempt (or reply, or act) and all that was recorded of it, in time order."""

    found: Found
    outcomes: tuple[rec.Outcome, ...]
    reports: tuple[Found, ...]


class Followed(msgspec.Struct, array_like=True, frozen=True):
    """By what reports are known to be those of an attempt: its id, or, where who took them in knew none, the
    account, the subscriber ("" when it can't be read) and what the carrier's reports are known by.
    `recipient`: its place in the submit; `until`: when the last report is looked for (ms)."""

    id: bytes
    carrier: str
    protocol: str
    account: str
    number: str
    subscriber: str
    message_ids: tuple[bytes, ...]
    recipient: int = 0
    until: int = 0


FOLLOWS = 7 * 86_400_000
"""Outcomes and reports are looked for up to this long (ms) after their attempt, or its scheduled delivery."""
CLOCKS = 60_000
"""By so much (ms) the clock of a node that took a report in may be behind that of the attempt's."""


def put_together(found: Found, followers: Iterable[Found]) -> Shown:
    """A record with the outcomes and reports among what followed it, in time order."""
    rest = sorted(followers, key=lambda one: one.record.at)
    outcomes = tuple(one.record for one in rest if isinstance(one.record, rec.Outcome))
    return Shown(found, outcomes, tuple(one for one in rest if isinstance(one.record, rec.Report)))


def put_all_together(found: Sequence[Found], followers: Iterable[Found]) -> list[Shown]:
    """Each record with what followed it.

    Digits alone may be hex or decimal, so that the ids 10 and 16 may be one: a report that has the id of one
    attempt as it was given is of no other that has it only in the other way.
    """
    named: dict[bytes, list[Found]] = {}
    others: dict[bytes, list[Found]] = {}
    for one in followers:
        if isinstance(one.record, rec.Outcome) or (isinstance(one.record, rec.Report) and one.record.attempt):
            named.setdefault(one.record.attempt, []).append(one)
        elif isinstance(one.record, rec.Report):
            for key in ties(one.record):
                others.setdefault(key, []).append(one)
    shown = [put_together(one, named.get(getattr(one.record, "id", b""), ())) for one in found]
    theirs: list[dict[int, Found]] = []
    exact: dict[int, set[int]] = {}
    for place, whole in enumerate(shown):
        theirs.append({})
        if is_followed(whole.found):
            followed = followed_by(whole)
            for key in ties_of(followed):
                theirs[place] |= {id(one): one for one in others.get(key, ()) if is_of(one, followed)}
            for known, one in theirs[place].items():
                if as_given(one, whole):
                    exact.setdefault(known, set()).add(place)
    for place, reports in enumerate(theirs):
        kept = [one for known, one in reports.items() if place in exact.get(known, {place})]
        if kept:
            whole = shown[place]
            answered = [one for one in named.get(getattr(whole.found.record, "id", b""), ())]
            shown[place] = put_together(whole.found, [*answered, *kept])
    return shown


def is_of(report: Found, followed: Followed) -> bool:
    """Whether a report with a tie of this attempt came in its time (carriers give an id again), and went
    to its subscriber, as far as can be read."""
    since = rec.time_of(followed.id)
    if not since - CLOCKS <= report.record.at <= (followed.until or since + FOLLOWS):
        return False
    content = report.content
    return content is None or not followed.subscriber or content.subscriber == followed.subscriber


def as_given(report: Found, shown: Shown) -> bool:
    """Whether a report has the message id as the carrier gave it, or ids have but one reading."""
    said = report.record
    assert isinstance(said, rec.Report)
    if len(reported_as(said.protocol, said.message_id, 0)) == 1:
        return True
    given = bare(said.protocol, said.message_id)
    return any(given == bare(said.protocol, outcome.message_id) for outcome in shown.outcomes)


def bare(protocol: str, message_id: bytes) -> bytes:
    """An id of several readings without what tells it from itself in none of them: case, zeros before it."""
    several = len(reported_as(protocol, message_id, 0)) > 1
    return message_id.lower().lstrip(b"0") if several else message_id


def is_followed(found: Found) -> bool:
    """Whether something may have become of it: an attempt that passed, whose first record it is."""
    attempt = found.record
    if not isinstance(attempt, rec.Attempt) or attempt.judged.verdict != rec.PASS:
        return False
    return not continues(attempt)


def followed_by(shown: Shown) -> Followed:
    """What ties reports to a shown attempt."""
    attempt = shown.found.record
    assert isinstance(attempt, rec.Attempt)
    judged, content = attempt.judged, shown.found.content
    ids = {
        spelt
        for outcome in shown.outcomes
        for spelt in reported_as(judged.protocol, outcome.message_id, attempt.recipient)
    }
    if (own := _own_id(attempt)) is not None:
        ids.add(own)
    return Followed(
        attempt.id,
        judged.carrier,
        judged.protocol,
        judged.account,
        judged.number,
        content.subscriber if content is not None else "",
        tuple(sorted(ids)),
        attempt.recipient,
        max(attempt.at, attempt.deliver_at) + FOLLOWS,
    )


def _own_id(attempt: rec.Attempt) -> bytes | None:
    """SGIP: the submit's own number is its id. Of a sender whose node is 0 it stands on record as an
    integer; that of an attempt which came by no connection is its place in a question."""
    sequence, wire = attempt.sequence, WIRES.get(attempt.judged.protocol)
    if isinstance(sequence, bytes):
        return sequence
    own = wire is not None and wire.SEQUENCE_IS_ID and attempt.connection
    return sequence.to_bytes(12, "big") if own else None


def reported_as(protocol: str, message_id: bytes, recipient: int) -> set[bytes]:
    """By what reports on a message are known that the carrier gave this id; a report itself, as that of the
    first recipient. They are of one message when they have one of these in common."""
    wire = WIRES.get(protocol)
    if not message_id or wire is None:
        return {message_id} - {b""}
    return wire.reported_as(message_id, recipient)


def tie(carrier: str, protocol: str, account: str, spelt: bytes) -> bytes:
    """The 8 octets by which a report is found."""
    whose = "\0".join((carrier, protocol, account, "")).encode()
    return blake2b(whose + spelt, digest_size=8).digest()


def ties(report: rec.Report | Reported) -> set[bytes]:
    """By which a report that names no attempt is found."""
    account = report.carrier, report.protocol, report.account
    return {tie(*account, spelt) for spelt in reported_as(report.protocol, report.message_id, 0)}


def ties_of(followed: Followed) -> set[bytes]:
    """By which the reports on an attempt are found."""
    account = followed.carrier, followed.protocol, followed.account
    return {tie(*account, spelt) for spelt in followed.message_ids}
