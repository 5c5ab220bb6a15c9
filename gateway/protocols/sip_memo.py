"""What was decided about each INVITE, as long as it may be repeated (RFC 3261 §16.11, §8.2.7, §17).

A stateless proxy must treat equal requests equally, and hours, caps and refusals change from one repeat to
the next: so the verdict is kept beside the path. One entry is one attempt, one count and one record, however
often the INVITE comes.

Rules of this file: no clock, instants come in; the number of entries is bounded, and beyond it a new call is
refused rather than an old one forgotten. After a restart entries come back out of the records.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from gateway.protocols.sip_identity import Identity
from gateway.protocols.sip_place import Place

LIFE = 32_000
"""Milliseconds after the last final answer: 64 times T1."""
CONFIRMED = 5_000
"""Milliseconds after the ACK of a refusal: T4, what the network may still hold of its INVITE (§17.2.1, timer
I). No shorter over a stream, as an element before us may have come by datagrams."""
LONGEST = 200_000
"""Milliseconds that a call may ring without a word: an INVITE that got no final answer is forgotten so long
after its last provisional one (timer C is 180 s)."""

RINGS = 60_000
"""Milliseconds after which a call rings for long."""

LOOK = 4_000
"""Milliseconds between two looks at an entry."""
SWEEP = 1_000


@dataclass(slots=True)
class Verdict:
    """`hop` is empty while it is `pending` and where the call was refused; `answer` is the refusal as it was
    sent. `numbers`: `Identity.numbers` as judged, or the first of them out of the records, which know
    `others` (`Identity.others`) by a mark: a repeat has the same.
    `found`: reason and sub-code of a refusal out of the records, whose answer the next repeat has made, or
    `told`, the status of an answer of our own that took the place of a pass. `asked`: the INVITE's
    `Request.target`, b"": out of the records, not known. `over`: when repeats no longer go on, as the next
    element may take them for a new call; 0: not known yet. `call`: what its owner knows of the call that
    passed."""

    attempt: bytes = b""
    pending: bool = True
    numbers: tuple[str, ...] = ()
    asked: bytes = b""
    found: tuple[str, str] | None = None
    told: int = 0
    others: int | None = None
    hop: Place | None = None
    answer: bytes = b""
    until: int = 0
    answered: bool = field(default=False)
    over: int = 0
    call: Any = None
    stranger: bool = False  # came from where no trunk is filed

    def is_of(self, who: Identity, asked: bytes) -> bool:
        """Whether an INVITE is that which was judged, as far as is known of it."""
        if self.others is not None and self.others != who.others:
            return False
        return who.numbers[: len(self.numbers)] == self.numbers and self.asked in (b"", asked)

    def goes_on(self, now: int) -> bool:
        """Whether a repeat of an INVITE that passed is passed on."""
        return not self.over or now < self.over


class Memo:
    """Verdicts by `sip_proxy.Request.key`: at most `most`, of which strangers have `of_strangers`."""

    def __init__(self, most: int, of_strangers: int) -> None:
        self._most = most
        self._of_strangers = of_strangers
        self._strangers = 0
        self._kept: dict[Hashable, Verdict] = {}
        self._looks: deque[tuple[int, Hashable]] = deque()  # when an entry is looked at; sooner ones first
        self._swept = 0
        self._long = -LONGEST  # when a call was looked at that rings for long

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, now: int) -> Verdict | None:
        """What was decided, while it may still be asked for."""
        found = self._kept.get(key)
        return None if found is None or found.until <= now else found

    def begin(self, key: Hashable, now: int, *, stranger: bool = False) -> Verdict | None:
        """A new entry, pending; None: too many are kept. `stranger`: of whoever can be left without one for
        the sake of the others."""
        self.forget(key)  # one whose time is over may stand there still
        if self._is_full(stranger):
            self._sweep(now)
            if self._is_full(stranger):
                return None
        verdict = self._kept[key] = Verdict(until=now + LONGEST, stranger=stranger)
        self._strangers += stranger
        self._looks.append((now + LOOK, key))
        return verdict

    def restore(self, key: Hashable, verdict: Verdict) -> None:
        """What was decided before a restart; what has come since is newer."""
        if len(self._kept) < self._most:
            self._kept.setdefault(key, verdict)
            self._looks.appendleft((0, key))

    def rings_long(self, now: int) -> bool:
        """Whether some call rings for so long that provisional answers have to be looked at: most are brief,
        and to find out whose an answer is costs as much as to pass it on."""
        return now - self._long <= 2 * LOOK

    @staticmethod
    def ring(verdict: Verdict, now: int) -> None:
        """A provisional answer went by."""
        if not verdict.answered:
            verdict.until = now + LONGEST

    @staticmethod
    def settle(verdict: Verdict, now: int) -> None:
        """A final answer went by: each repeat of it keeps the entry. Repeats of the INVITE go on for as long
        as the next element remembers the first (§17.2.1, RFC 6026)."""
        if not verdict.answered:
            verdict.answered = True
            verdict.over = now + LIFE
        verdict.until = now + LIFE

    @staticmethod
    def confirm(verdict: Verdict, now: int) -> None:
        """The ACK of a final answer came: its caller asks no more, and the next element forgets the INVITE
        soon, over a stream at once (§17.2.1). A repeated ACK does not keep the entry."""
        if verdict.answered:
            verdict.over = min(verdict.over, now)
            verdict.until = min(verdict.until, now + CONFIRMED)

    def forget(self, key: Hashable) -> None:
        """What could not be recorded was not decided."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._strangers -= found.stranger

    def expire(self, now: int) -> None:
        """Let those go whose time is over, within `LOOK`: at no time are all of them gone through."""
        looks, kept = self._looks, self._kept
        while looks and looks[0][0] <= now:
            _, key = looks.popleft()
            verdict = kept.get(key)
            if verdict is None:
                continue
            if verdict.until <= now:
                self.forget(key)
            else:
                looks.append((now + LOOK, key))
                if not verdict.answered and verdict.until - now < LONGEST - RINGS:
                    self._long = now

    def _is_full(self, stranger: bool) -> bool:
        return len(self._kept) >= self._most or (stranger and self._strangers >= self._of_strangers)

    def _sweep(self, now: int) -> None:
        """All of them at once, as there is no room left; not for each call that finds none."""
        if now - self._swept < SWEEP:
            return
        self._swept = now
        for key in [key for key, verdict in self._kept.items() if verdict.until <= now]:
            self.forget(key)
