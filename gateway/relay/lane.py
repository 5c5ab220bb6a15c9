"""Order and numbers on the two directions of a session.

`Lane` keeps the octets to one peer in order while some of them wait for the disk. `Numbering` lets us put
requests of our own among the peer's, so that nobody notices (architecture.md "Frames of our own").
Neither knows a protocol.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

FIRST_OWN = 0xF000_0001  # far from where peers count; any value would do, as collisions are handled
LAST = 0xFFFF_FFFF
MOST_IN_LANE = 1 << 20
"""Octets, those of places counted, that wait in a lane before who fills it is no longer read: what needs no
disk, queries and heartbeats, waits behind what does, and the journal's bounds know nothing of it."""

PLACE = 128  # octets that a place takes beside what stands in it, roughly
MOST_OUTSTANDING = 4096  # requests a peer leaves unanswered before the oldest is forgotten


class Writer(Protocol):
    """What a lane writes to: an asyncio transport."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Place:
    """A place in a lane that is not filled yet."""

    __slots__ = ("_lane", "octets")

    def __init__(self, lane: "Lane") -> None:
        self._lane = lane
        self.octets: bytes | None = None

    def fill(self, octets: bytes) -> None:
        """Give what belongs here (b"" for nothing); it leaves as soon as all before it has."""
        lane = self._lane
        if self.octets is None:
            lane.waiting += len(octets) + PLACE
        self.octets = octets
        lane.flush()


class Lane:
    """Octets to one peer, in order. `blocked` hears True when more than `MOST_IN_LANE` wait, and False when
    no longer."""

    __slots__ = ("_blocked", "_closing", "_gone", "_places", "_writer", "full", "waiting")

    def __init__(self, writer: Writer, blocked: Callable[[bool], None] | None = None) -> None:
        self.full = False
        self.waiting = 0  # octets, in places that are filled
        self._blocked = blocked
        self._writer = writer
        self._places: deque[Place] = deque()
        self._closing = False
        self._gone = False

    def send(self, octets: bytes) -> None:
        """Behind everything that is in the lane."""
        if not self._places:
            if octets and not self._gone:
                self._writer.write(octets)
        elif octets:
            self.hold().octets = octets
            self.waiting += len(octets) + PLACE
            if self.waiting > MOST_IN_LANE:
                self._watch()

    def hold(self) -> Place:
        """Keep a place for octets that may not leave yet."""
        place = Place(self)
        self._places.append(place)
        return place

    def flush(self) -> None:
        places = self._places
        ready = []
        while places and (octets := places[0].octets) is not None:
            places.popleft()
            self.waiting -= len(octets) + PLACE
            if octets:
                ready.append(octets)
        if ready and not self._gone:
            self._writer.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if self.full or self.waiting > MOST_IN_LANE:
            self._watch()
        if self._closing and not places:
            self._writer.close()

    def _watch(self) -> None:
        full = self.waiting > MOST_IN_LANE
        if full != self.full:
            self.full = full
            if self._blocked is not None:
                self._blocked(full)

    def close(self) -> None:
        """Close the connection once the lane is empty."""
        self._closing = True
        self.flush()

    def lost(self) -> None:
        """The peer has gone: what comes for it is dropped."""
        self._gone = True


class Stops:
    """Why a peer is not read, as far as one asks for it; `read_on` is called where that changes."""

    __slots__ = ("_causes", "_read_on")

    def __init__(self, read_on: Callable[[str, bool], None]) -> None:
        self._read_on = read_on
        self._causes: set[str] = set()

    def stop(self, cause: str) -> None:
        self._causes.add(cause)
        self._read_on(cause, False)

    def go_on(self, cause: str) -> None:
        if self._causes and cause in self._causes:
            self._causes.remove(cause)
            self._read_on(cause, True)


class _Nobody:
    """What a lane without a wire writes to."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


def nowhere() -> Place:
    """A place for what is judged without a connection of ours that it could leave by."""
    return Lane(_Nobody()).hold()


class Numbering:
    """Sequence numbers of the requests that flow in one direction: the peer's and ours, which begin at the
    first of `own` and go to the last."""

    __slots__ = ("_first", "_last", "_next", "_outstanding", "_own", "_renamed")

    def __init__(self, outstanding: Iterable[int] = (), own: tuple[int, int] = (FIRST_OWN, LAST)) -> None:
        self._outstanding: dict[int, None] = dict.fromkeys(outstanding)
        self._own: dict[int, None] = {}
        self._renamed: dict[int, int] = {}
        self._first, self._last = own
        self._next = self._first

    @property
    def quiet(self) -> bool:
        """Nothing of ours is under way, so no frame needs a new number."""
        return not self._own and not self._renamed

    def choose(self) -> int:
        """A number that is not outstanding in this direction, for a frame of our own."""
        number = self._free()
        self._own[number] = None
        _bound(self._own)
        return number

    def request(self, number: int) -> int:
        """The peer's request: the number under which it has to be passed on."""
        if number in self._own or number in self._renamed:
            new = self._free()
            self._renamed[new] = number
            _bound(self._renamed)
            return new
        self._outstanding[number] = None
        _bound(self._outstanding)
        return number

    def answer(self, number: int) -> int | None:
        """An answer to a request: the number under which it goes back; None: it was to ours, absorb it."""
        if number in self._own:
            del self._own[number]
            return None
        original = self._renamed.pop(number, None)
        if original is not None:
            return original
        self._outstanding.pop(number, None)
        return number

    def _free(self) -> int:
        while True:
            number = self._next
            self._next = number + 1 if number < self._last else self._first
            if number not in self._outstanding and number not in self._own and number not in self._renamed:
                return number


def _bound(numbers: dict[int, None] | dict[int, int]) -> None:
    if len(numbers) > MOST_OUTSTANDING:
        del numbers[next(iter(numbers))]
