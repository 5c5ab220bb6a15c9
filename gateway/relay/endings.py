"""How calls went, as the platforms that made them say (contract.md `POST /voice/calls`): for calls that the
node judged without being on their path.

What is said of a call that passed here is on record as a report on its attempt: `ANSWERED` when it tells that
somebody took it, `ENDED` when that was known before, `NO_ANSWER`; behind the word stands why it ended. Said
again it changes nothing.
"""

import asyncio
from datetime import UTC, datetime
from time import time_ns

from gateway.direct import Ended, Noted
from gateway.evidence import record as rec
from gateway.evidence.journal import Journal
from gateway.evidence.lasting import ANSWERED, ENDED, NO_ANSWER, answered_at
from gateway.evidence.search import Search
from gateway.relay.course import Course
from gateway.relay.past_calls import CLOCKS, LONGEST_CALL, passed_call
from gateway.relay.recalled import Dialog, dialog_from

RINGS = 10 * 60_000
"""ms from an attempt to its answer, or its end where it had none."""


class Endings:
    """For one worker. `search` reads this node's journals, in a thread."""

    def __init__(self, journal: Journal, search: Search, course: Course) -> None:
        self._journal = journal
        self._search = search
        self._course = course
        self._under_way: set[tuple[str, str, str]] = set()

    async def take(self, ended: Ended) -> Noted | None:
        """What is on record of the call now; None where another says the same just now. Of a call that did
        not pass here the attempt is b"". Raises what the journal raises."""
        call = ended.call, ended.source, ended.subscriber
        if call in self._under_way:
            return None
        self._under_way.add(call)
        try:
            found = await asyncio.to_thread(self._look, ended)
            return Noted(b"", False) if found is None else await self._note(ended, *found)
        finally:
            self._under_way.discard(call)

    async def _note(self, ended: Ended, call: Dialog, answered: bool, said: list[rec.Report]) -> Noted:
        began, ends = _iso(ended.answered), _iso(ended.ended)
        word = NO_ANSWER if not ended.answered else ENDED if answered else ANSWERED
        if not any((one.submitted, one.completed) == (began, ends) for one in said):
            stat = f"{word} {ended.why}".rstrip()
            what = b"", stat, began, ends, call.number, call.subscriber, call.attempt
            self._journal.report(time_ns() // 1_000_000, call.account, *what)
            durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def done(error: Exception | None) -> None:
                if not durable.done():
                    durable.set_result(None) if error is None else durable.set_exception(error)

            self._journal.noted(done)
            if word == ANSWERED:  # now: on a full disk it is kept, and found on record when told again
                self._course.taken(call)
            await durable
        return Noted(call.attempt, answered or bool(ended.answered))

    def _look(self, ended: Ended) -> tuple[Dialog, bool, list[rec.Report]] | None:
        """The call, whether it is known to have been answered, and what its platform has said of it."""
        latest = ended.answered or ended.ended
        since = latest - (RINGS if ended.answered else LONGEST_CALL) - CLOCKS
        who = ended.call, ended.source, ended.subscriber
        attempt = passed_call(self._search, *who, since, latest + CLOCKS)
        shown = None if attempt is None else self._search.show(attempt.id)
        if attempt is None or shown is None or shown.found.content is None:
            return None
        reports = [one.record for one in shown.reports if isinstance(one.record, rec.Report)]
        return dialog_from(attempt, shown.found.content), bool(answered_at(shown)), reports


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds") if at else ""
