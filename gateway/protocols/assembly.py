"""Long messages out of their parts: what belongs together, what is whole, what has waited long enough.

Rules of this file: a machine of values. It knows no clock (`now` is in ms, on any clock that does not go
back), no socket and no rule; what it holds of a part (T) it never looks into. Who asks it judges: all parts
at once when they are whole, what is there when it has waited; a refusal sticks to all later parts, a pass is
judged again with each. Bounded by octets per account and in all; beyond, `take` says None.
"""

from collections.abc import Callable, Hashable
from itertools import takewhile
from typing import Generic, NamedTuple, TypeVar

from gateway.protocols.message import Delivery, Submission
from gateway.protocols.text import UCS2, WIDE, udh

WAIT = 2_000
"""ms that a part waits at most for those that are missing."""
KEEP = 60_000
"""ms that a message is known after its last part; an 8-bit reference is used again within minutes."""

MOST_PARTS = 32
"""Of one message: 2,144 Chinese characters; parts of more are judged one by one. Each verdict on an
unfinished message is a record of all that has come, so this bounds what one frame can have written."""
MOST_OF_ACCOUNT = 4 << 20
MOST_IN_ALL = 32 << 20
"""Octets of parts that wait, or are being judged."""
MOST_KNOWN = 4_096
"""Messages without a part that waits, which are known for later parts and for repeats; the oldest go."""
TAKEN, NOT_TAKEN, OPEN, LOST = range(4)
"""What became of a part that passed: the carrier took it; it did not; nobody knows yet; nobody will know."""
OVERHEAD = 1_024  # octets that a part takes besides its own

T = TypeVar("T")
V = TypeVar("V")


class Place(NamedTuple):
    """Where a part belongs: what is the same in all parts of its message, how many there are, which one it is
    (from 1), the reference that they share, and what it says."""

    message: Hashable
    total: int
    number: int
    reference: int
    content: bytes


def place_of(submission: Submission) -> Place | None:
    """None for a message of its own: nothing says that it is a part, or what says it lies, or of too many.

    The header's numbers go before those of the protocol (SAR, Pk_total). Parts of one message are alike in
    all but text, number and report, and how a recipient's number or UCS-2 is spelt.
    """
    one = submission
    recipients = tuple(one.destinations if one.pseudo else map(_spelt, one.destinations))
    return _placed(submission, (one.source, recipients, _coding(one.fmt), one.udhi, one.at_time, one.pseudo))


def place_of_reply(delivery: Delivery, of: Hashable) -> Place | None:
    """The same of a subscriber's reply; `of` is who says it to which number."""
    return _placed(delivery, (of, _coding(delivery.fmt), delivery.udhi))


def _spelt(number: bytes) -> bytes:
    """A mobile number of the mainland without its prefix; any other as it is."""
    bare = number.rstrip(b"\0").removeprefix(b"+").removeprefix(b"00").removeprefix(b"86")
    return bare if len(bare) == 11 and bare.startswith(b"1") and bare.isdigit() else number


def _coding(fmt: int) -> int:
    return UCS2 if fmt in WIDE else fmt


def _placed(said: Submission | Delivery, alike: Hashable) -> Place | None:
    total, number, reference, width = said.pk_total, said.pk_number, said.reference, 0
    content = said.content
    assert isinstance(content, bytes)
    if said.udhi:
        header = udh(content)
        if header.width:
            total, number, reference, width = header.total, header.part, header.ref, header.width
    if not 2 <= total <= MOST_PARTS or not 0 < number <= total or not content:
        return None
    return Place((alike, total, reference, width), total, number, reference, content)


class Part(NamedTuple, Generic[T]):
    number: int  # from 1
    item: T
    size: int  # octets that it counts for while it waits


class Message(Generic[T, V]):
    """A message of which parts have come. `contents` are those of its parts in order, b"" where one has not
    come; `held` the parts that wait for a verdict, as they came; `judged` says how often it was. `told` and
    `asked` are kept here for who judges."""

    __slots__ = (
        "_fates",
        "_passed",
        "_prints",
        "_spare",
        "_under",
        "account",
        "asked",
        "contents",
        "former",
        "held",
        "judged",
        "key",
        "place",
        "refused",
        "seen",
        "since",
        "told",
    )

    def __init__(self, account: Hashable, place: Place) -> None:
        self.account = account
        self.place = place
        self.key = account, place.message
        self.contents = [b""] * place.total
        self.held: list[Part[T]] = []
        self.judged = 0
        self.refused = False
        self.former: Message[T, V] | None = None  # a refused one that this repeats
        self.told: V | None = None
        self.asked = False
        self.since = 0  # when the part came that has waited longest
        self.seen = 0  # when the last part came
        self._under: list[Part[T]] = []  # being judged
        self._passed: set[int] = set()
        self._prints: dict[int, int] = {}  # of the contents that have come
        self._fates: dict[int, Callable[[], int]] = {}  # what became of what came last as each part
        self._spare = {OPEN: place.total - 1, LOST: place.total}

    @property
    def whole(self) -> bool:
        return len(self._prints) == self.place.total

    @property
    def judging(self) -> bool:
        return bool(self._under)

    @property
    def refusal(self) -> "Message[T, V] | None":
        """The message whose refusal its parts share: itself, or one that they repeat without being whole."""
        if self.refused:
            return self
        return None if self.whole or self.judged else self.former

    def repeats(self, number: int, content: bytes, now: int) -> bool:
        """Whether this was a part of it, and it was refused, less than KEEP ago."""
        return self.refused and self._prints.get(number) == hash(content) and now < self.seen + KEEP

    def fits(self, number: int, content: bytes) -> bool:
        """Whether this can be a part of it: one that is missing, or one that comes again.

        What comes again is not counted again, so it must not make up a second message: never what the carrier
        took, never all parts while nobody knows, all of them once after a connection was lost.
        """
        known = self._prints.get(number)
        if known is None:
            return True
        fate = self._fates[number]()
        if known != hash(content) or self.refused or fate == TAKEN:
            return False
        if fate == NOT_TAKEN:
            return True
        self._spare[fate] -= 1
        return self._spare[fate] >= 0

    def add(self, content: bytes, part: Part[T], fate: Callable[[], int]) -> None:
        said = self._prints[part.number] = hash(content)
        if self.former is not None and self.former._prints.get(part.number, said) != said:
            self.former = None
        self.contents[part.number - 1] = content
        self._fates[part.number] = fate
        self.held.append(part)

    def begin(self) -> list[Part[T]]:
        self._under, self.held = self.held, []
        self.judged += 1
        return self._under

    def end(self, passed: bool) -> list[Part[T]]:
        under, self._under = self._under, []
        self.former = None  # it has an answer of its own, and no chain of them is kept
        self.refused = not passed
        if passed:
            self._passed.update(part.number for part in under)
        else:
            self.contents = [b""] * self.place.total
        return under

    def fail(self) -> list[Part[T]]:
        under, self._under = self._under, []
        self.judged -= 1
        self._drop(under)
        return under

    def resume(self) -> None:
        """What was asked is not known: its parts wait on."""
        self.held, self._under = [*self._under, *self.held], []
        self.judged -= 1

    def leave(self, wanted: Callable[[T], bool]) -> list[Part[T]]:
        """Let go of what is held of these items."""
        gone = [part for part in self.held if wanted(part.item)]
        self.held = [part for part in self.held if not wanted(part.item)]
        self._drop(gone)
        return gone

    def _drop(self, parts: list[Part[T]]) -> None:
        """As if they had not come, unless the same part waits or has passed."""
        kept = self._passed | {part.number for part in (*self.held, *self._under)}
        for number in {part.number for part in parts} - kept:
            del self._prints[number], self._fates[number]
            self.contents[number - 1] = b""


class Assembly(Generic[T, V]):
    """All messages whose parts meet here."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Message[T, V]] = {}
        self._waiting: dict[Message[T, V], None] = {}  # with parts that nobody judges yet, oldest first
        self._replaced: dict[Message[T, V], None] = {}  # such whose place another message has taken
        self._known: dict[Message[T, V], None] = {}  # without any, oldest first
        self._octets: dict[Hashable, int] = {}
        self._in_all = 0

    def take(
        self,
        account: Hashable,
        place: Place,
        item: T,
        size: int,
        fate: Callable[[], int],
        now: int,
    ) -> Message[T, V] | None:
        """The message that a part of `size` octets belongs to; None: there is no room, it has to come again.
        `fate` says at any time later what became of the part, once it has passed.

        A part that its message can't take begins another one, and what waits of the first is due at once.
        A refused message is judged anew when all of it comes again; parts that come again alone share its
        refusal.
        """
        self._expire(now)
        size += OVERHEAD
        if self._in_all + size > MOST_IN_ALL or self._octets.get(account, 0) + size > MOST_OF_ACCOUNT:
            return None
        message = self._open.get((account, place.message))
        if message is None or not message.fits(place.number, place.content):
            former = None
            if message is not None:
                former = message if message.repeats(place.number, place.content, now) else None
                self._replace(message)
            message = Message(account, place)
            message.former = former
            self._open[message.key] = message
        if not message.held:
            message.since = now
        message.add(place.content, Part(place.number, item, size), fate)
        message.seen = now
        self._known.pop(message, None)
        if not message.judging:
            self._waiting.setdefault(message)
        self._weigh(account, size)
        return message

    def judge(self, message: Message[T, V]) -> list[Part[T]]:
        """Its verdict is asked for: the parts that it is on. `settle` or `fail` has to follow."""
        self._waiting.pop(message, None)
        self._replaced.pop(message, None)
        return message.begin()

    def settle(self, message: Message[T, V], passed: bool) -> None:
        """What was asked is known, and on record."""
        self._let_go(message, message.end(passed))

    def fail(self, message: Message[T, V]) -> None:
        """It could not be recorded: the parts that it was on have to come again."""
        self._let_go(message, message.fail())

    def resume(self, message: Message[T, V], now: int) -> None:
        """It could not be recorded: the parts that it was on wait on."""
        message.resume()
        message.since = now
        is_open = self._open.get(message.key) is message
        (self._waiting if is_open else self._replaced)[message] = None

    def known(self, account: Hashable, place: Place) -> Message[T, V] | None:
        """The message of which parts have come lately."""
        return self._open.get((account, place.message))

    def withdraw(self, message: Message[T, V], wanted: Callable[[T], bool]) -> list[Part[T]]:
        """What waits of these items waits no longer, and nothing was said of it: as if it had not come."""
        gone = message.leave(wanted)
        self._let_go(message, gone)
        return gone

    def stick(self, message: Message[T, V]) -> list[Part[T]]:
        """The parts that share the refusal of those before them, or of the message that they repeat: it takes
        its place again, so that what follows shares it, too."""
        held, message.held = message.held, []
        self._let_go(message, held)
        former = message.former
        if former is not None and former.key not in self._open:
            self._open[former.key] = former
            self._known[former] = None
        return held

    def due(self, now: int) -> list[Message[T, V]]:
        """The messages of which a part has waited long enough."""
        self._expire(now)
        return [*self._replaced, *takewhile(lambda message: message.since + WAIT <= now, self._waiting)]

    @property
    def waiting(self) -> list[Message[T, V]]:
        """The messages with parts that nobody judges yet."""
        return [*self._replaced, *self._waiting]

    @property
    def next_due(self) -> int | None:
        """When `due` has to be asked next for the sake of those that wait."""
        return next(iter(self._waiting)).since + WAIT if self._waiting else None

    def _let_go(self, message: Message[T, V], parts: list[Part[T]]) -> None:
        """These parts wait no more: is there anything else that does?"""
        self._weigh(message.account, -sum(part.size for part in parts))
        if message.judging:
            return
        self._waiting.pop(message, None)
        self._replaced.pop(message, None)
        is_open = self._open.get(message.key) is message
        if message.held:
            (self._waiting if is_open else self._replaced)[message] = None
        elif is_open:
            self._known[message] = None
            if not message.judged or len(self._known) > MOST_KNOWN:
                self._forget(next(iter(self._known)) if message.judged else message)

    def _replace(self, message: Message[T, V]) -> None:
        """Another takes its place."""
        if message in self._known:
            self._forget(message)
            return
        del self._open[message.key]
        if message in self._waiting:
            del self._waiting[message]
            self._replaced[message] = None

    def _expire(self, now: int) -> None:
        while self._known and (oldest := next(iter(self._known))).seen + KEEP <= now:
            self._forget(oldest)

    def _forget(self, message: Message[T, V]) -> None:
        del self._known[message]
        del self._open[message.key]

    def _weigh(self, account: Hashable, octets: int) -> None:
        self._in_all += octets
        left = self._octets.get(account, 0) + octets
        if left:
            self._octets[account] = left
        else:
            self._octets.pop(account, None)
