"""Calls that passed on this node, out of its journals: which one somebody means who names its Call-ID, or the
id that `POST /attempts` gave it, and its numbers. Reads files: to be asked in a thread."""

from gateway.direct import Press
from gateway.evidence import record as rec
from gateway.evidence.search import Search
from gateway.model import VOICE
from gateway.policy.numbers import canonical
from gateway.relay.recalled import Dialog, known_of

LONGEST_CALL = 24 * 3_600_000
"""ms from the beginning of a call to what is said about it."""
CLOCKS = 5 * 60_000
"""By so much (ms) a platform's clock may be behind."""


def call_of(search: Search, press: Press, now: int) -> rec.Attempt | None:
    """The call that passed here in which this was pressed, the newest where there are several."""
    at = press.at or now
    return passed_call(search, press.call, press.source, press.subscriber, at - LONGEST_CALL, at + CLOCKS)


def passed_call(
    search: Search, call: str, source: str, subscriber: str, since: int, until: int
) -> rec.Attempt | None:
    """The attempt of a call by its name and its numbers, judged from `since` until before `until` (ms)."""
    number, called = canonical(source), canonical(subscriber)
    content = call.encode("utf-16-be", "surrogatepass")
    identity = _identity(call)
    for found in search.find(
        subscriber=called,
        since=since,
        until=until,
        verdict=rec.PASS,
        kinds=frozenset({rec.ATTEMPT}),
        newest=True,
    ):
        attempt = found.record
        if not isinstance(attempt, rec.Attempt) or attempt.judged.channel != VOICE:
            continue
        if number not in (attempt.judged.number, attempt.judged.registration):
            continue
        named = found.content is not None and found.content.octets == content
        if named or attempt.id == identity:
            return attempt
    return None


def _identity(call: str) -> bytes:
    """A record's id as it is written, b"" for a Call-ID that is none."""
    try:
        found = bytes.fromhex(call)
    except ValueError:
        return b""
    return found if len(found) == 16 else b""


def dialog_of(search: Search, attempt: bytes) -> Dialog | None:
    """The call of an attempt's id; None where it is not here, or its day's key is gone."""
    shown = search.show(attempt)
    if shown is None or not isinstance(shown.found.record, rec.Attempt) or shown.found.content is None:
        return None
    known = known_of(shown.found.record, shown.found.content)
    return None if known is None else known.dialog
