"""Attempts without a wire: judged and recorded by the same station as those of a session, then told; and
refusals by key press (presses.py), and ends of calls (endings.py).

The same key again is the same attempts (contract.md "Idempotency-Key"): while they are under way the second
question waits for them, later it gets the same answer. Keys of the newest `MOST_KNOWN` questions are in
memory; which id stood under which key is also in a mapped file (as contacts.py does), so that after a kill
the journal tells whether they were recorded. It sends nothing to a carrier: who asked does.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter, time_ns

from msgspec.msgpack import Decoder, Encoder

from gateway.direct import Answered, Asked, Ended, Item, Noted, Press, Refused, Tell, Told
from gateway.errors import NotReady
from gateway.evidence import record as rec
from gateway.evidence.search import Search
from gateway.model import AccountKey
from gateway.protocols.message import Submission
from gateway.protocols.text import UCS2
from gateway.relay.contacts import KEY, Contacts
from gateway.relay.endings import Endings
from gateway.relay.lane import Place, nowhere
from gateway.relay.memory import Batch, Submit
from gateway.relay.past_calls import call_of
from gateway.relay.presses import Presses
from gateway.relay.screen import Screen

MOST_KNOWN = 200_000
KEEP_DAYS = 1
"""How long a key is remembered across a restart of the worker."""

_keep = Encoder().encode
_kept = Decoder(tuple[bytes, Told]).decode


class Question:
    """One question on its way: an `Owner` of batches, one for each account and channel in it."""

    def __init__(
        self,
        asked: Asked,
        note: Callable[["Question"], None],
        done: Callable[["Question", str], None],
        screen: Screen,
        nowhere: Place,
    ) -> None:
        self.asked = asked
        self.tells: list[tuple[int, Tell]] = []
        self.answers: list[Answered] = []
        self.refused: Refused | None = None
        self.noted: Noted | None = None
        self.submits: list[Submit] = []
        self._left = 0
        self._error = ""
        self._version = 0
        self._done = done
        self._note = note
        self._screen = screen
        self._nowhere = nowhere

    def batches(self) -> list[Batch]:
        """The attempts as the screen takes them, neighbours of one account and channel together."""
        groups: list[tuple[tuple[AccountKey, int], list[Submit]]] = []
        for place, item in enumerate(self.asked.items):
            of = (AccountKey(item.carrier, item.protocol, item.account), item.channel)
            submit = Submit((0, 0, 0, place), 0, _submission(item))
            self.submits.append(submit)
            if groups and groups[-1][0] == of:
                groups[-1][1].append(submit)
            else:
                groups.append((of, [submit]))
        self._left = len(groups)
        began = perf_counter()
        return [
            Batch(self, key, 0, submits, b"", 0, [], self._nowhere, began, channel)
            for (key, channel), submits in groups
        ]

    def judged(self, batch: Batch) -> None:
        """See `Owner`; all batches of a question are judged in one turn, so their ids follow each other."""
        self._version = self._screen.view.version
        if batch.submits[0] is self.submits[0]:
            self._note(self)

    def settled(self, batch: Batch, error: Exception | None) -> None:
        """See `Owner`: the last batch of the question has all told."""
        if error is not None:
            self._error = "busy"
        self._left -= 1
        if not self._left:
            if not self._error:
                self.answers = [self._answer(submit) for submit in self.submits]
            self._done(self, self._error)

    def told(self, number: int, error: str) -> Told:
        """The answer."""
        return Told(number, error, self.answers, self.refused, self.noted)

    def abort(self) -> None:
        """See `Owner`."""
        self._left = 0
        self._done(self, "busy")

    def _answer(self, submit: Submit) -> Answered:
        (verdict,), (identity,) = submit.verdicts, submit.ids
        findings = [(finding.reason.value, finding.sub, finding.enforced) for finding in verdict.findings]
        reason = verdict.reason.value if verdict.reason is not None else ""
        return Answered(identity, reason, verdict.sub, findings, self._version)


class Direct:
    """Takes the questions of one worker. `search` reads this node's journals, in a thread."""

    def __init__(
        self,
        screen: Screen,
        presses: Presses,
        endings: Endings,
        directory: Path,
        writer: str,
        search: Search,
        log: logging.Logger,
    ) -> None:
        self.draining = False
        self._screen = screen
        self._presses = presses
        self._endings = endings
        self._search = search
        self._log = log
        self._before = Contacts(directory, None)  # of lives before this one, of all workers
        self._keys = Contacts(directory, writer)
        self._nowhere = nowhere()
        # under way, or what was said: as octets, which the garbage collector does not walk
        self._known: dict[bytes, Question | bytes] = {}
        self._looking: set[asyncio.Task[None]] = set()

    def take(self, asks: Sequence[tuple[Asked, Tell]]) -> None:
        """Judge and record what one read brought; each is told when it is durable."""
        now = _now()
        for asked, tell in asks:
            known = self._known.get(asked.key)
            if known is not None:
                self._again(known, asked, tell)
                continue
            before = self._before.last(_key(asked.key), now, days=KEEP_DAYS)
            question = Question(asked, self._note, self._finished, self._screen, self._nowhere)
            question.tells.append((asked.number, tell))
            self._remember(question)
            if before is None:
                self._judge(question)
            else:
                self._beside(self._look(question, before.attempt, before.institution))

    def expire(self, now: int) -> None:
        """Forget the keys of days that are over."""
        self._keys.expire(now, days=KEEP_DAYS)

    def close(self) -> None:
        self._before.close()
        self._keys.close()

    def _judge(self, question: Question) -> None:
        journal = self._screen.journal
        if self.draining or journal.full or journal.crowded:
            self._finished(question, "busy")
            return
        press, ended = question.asked.press, question.asked.ended
        if press is not None:
            self._press(question, press)
            return
        if ended is not None:
            self._beside(self._end(question, ended))
            return
        for batch in question.batches():
            self._screen.put(batch)

    def _press(self, question: Question, press: Press) -> None:
        """Once it is known whether there was such a call."""
        self._beside(self._verify(question, press))

    def _beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _end(self, question: Question, ended: Ended) -> None:
        try:
            question.noted = await self._endings.take(ended)
        except NotReady:
            pass
        except Exception:
            self._log.exception("the end of a call was not recorded")
        self._finished(question, "" if question.noted is not None else "busy")

    async def _verify(self, question: Question, press: Press) -> None:
        try:
            call = await asyncio.to_thread(call_of, self._search, press, _now()) if press.call else None
        except Exception:  # it is held, and a person looks
            self._log.exception("the call of a key press could not be looked up")
            call = None
        self._take_press(question, press, b"" if call is None else call.id)

    def _take_press(self, question: Question, press: Press, attempt: bytes) -> None:
        def recorded(refused: Refused, error: Exception | None) -> None:
            question.refused = refused if error is None else None
            self._finished(question, "" if error is None else "busy")

        asked = question.asked
        try:
            identity = self._presses.take(press, press.call.encode() or asked.key, attempt, recorded)
        except NotReady:
            self._finished(question, "busy")
        else:
            self._keys.remember(_key(asked.key), _now(), _body(asked.body), identity)

    def _again(self, known: Question | bytes, asked: Asked, tell: Tell) -> None:
        body, told = _kept(known) if isinstance(known, bytes) else (known.asked.body, None)
        if body != asked.body:
            tell(Told(asked.number, "reused", []))
        elif told is not None:
            told.number = asked.number
            tell(told)
        elif isinstance(known, Question):
            known.tells.append((asked.number, tell))

    def _note(self, question: Question) -> None:
        """Before it is durable: a key whose attempts the journal does not have counts for nothing."""
        asked = question.asked
        self._keys.remember(_key(asked.key), _now(), _body(asked.body), question.submits[0].ids[0])

    def _finished(self, question: Question, error: str) -> None:
        asked = question.asked
        if error:  # not recorded: the next time is the first time
            self._known.pop(asked.key, None)
        else:
            self._known[asked.key] = _keep((asked.body, question.told(0, "")))
        tells, question.tells, question.submits = question.tells, [], []
        for number, tell in tells:
            tell(question.told(number, error))

    def _remember(self, question: Question) -> None:
        if len(self._known) >= MOST_KNOWN:
            answered = (key for key, known in self._known.items() if isinstance(known, bytes))
            for oldest in list(islice(answered, MOST_KNOWN // 4)):
                del self._known[oldest]
        self._known[question.asked.key] = question

    async def _look(self, question: Question, first: bytes, body: int) -> None:
        """A key of an earlier life: were its attempts recorded?"""
        try:
            found = await asyncio.to_thread(self._recorded, question.asked, first)
        except Exception:
            self._log.exception("a key could not be looked up in the journal")
            self._finished(question, "busy")
            return
        if not found:
            self._judge(question)
        elif body != _body(question.asked.body):
            self._known.pop(question.asked.key, None)
            for number, tell in question.tells:
                tell(Told(number, "reused", []))
        else:
            if isinstance(found, Refused):
                question.refused = found
            else:
                question.answers = found
            self._finished(question, "")

    def _recorded(self, asked: Asked, first: bytes) -> list[Answered] | Refused | None:
        if asked.press is not None:
            shown = self._search.show(first)
            reply = shown.found.record if shown is not None else None
            return _refused(asked.press, reply) if isinstance(reply, rec.Reply) else None
        number = int.from_bytes(first, "big")
        answers = []
        for identity in range(number, number + len(asked.items)):
            shown = self._search.show(identity.to_bytes(16, "big"))
            if shown is None or not isinstance(shown.found.record, rec.Attempt):
                return None
            answers.append(_from_record(shown.found.record))
        return answers


def _submission(item: Item) -> Submission:
    text = item.text.encode("utf-16-be", "surrogatepass")
    return Submission(
        item.source.encode(), [item.destination.encode()], UCS2, False, text, False, b"", 1, 1, 0
    )


def _from_record(attempt: rec.Attempt) -> Answered:
    judged = attempt.judged
    return Answered(attempt.id, judged.reason, judged.sub, list(judged.findings), attempt.registry_version)


def _refused(press: Press, reply: rec.Reply) -> Refused:
    when = press.at or reply.at
    return Refused(reply.id, when, reply.institution, reply.purposes, reply.channels, reply.attempt)


def _key(key: bytes) -> int:
    return int(KEY.unpack_from(key)[0]) or 1


def _body(body: bytes) -> int:
    return int.from_bytes(body[:4], "big")


def _now() -> int:
    return time_ns() // 1_000_000
