"""Who was sent how much lately: one atomic `reserve` for a batch, which tells what would be one too many.

Rules of this package: an attempt counts once it is taken, and no longer once it is released, as it was not
recorded after all. What can't be counted is said to be so, never guessed. Keys are keyed hashes: no number
stands here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from gateway.model import Limit

LOOK, TAKE, ALWAYS, GATE = 0, 1, 2, 3
"""Manners: say what would be; count it unless it is one too many; count it all the same, as it passes; say
what would be, and count the others of its group only where there is room."""

NEAR = 10_000
"""ms by which the instant of what is to be forgotten may differ from that at which it was counted: the clocks
of two nodes, and of the server that counts for them."""

Entry: TypeAlias = tuple[int, tuple[Limit, ...], int, int, int]
"""Key, limits, the largest of them, manner, group. Entries of one group other than 0 follow each other and
are counted all or none; each sees those before it."""


Noted: TypeAlias = tuple[int, int, int]
"""Of what was taken earlier the instant (ms) and the key; and if it says that what was counted earlier counts
no longer, when that was, else 0."""


Look: TypeAlias = Callable[[str, str, int, int], Sequence[int] | None]
"""What `View.sent` may ask: the instants counted (ms, newest first), None when nobody can say."""


class Reserved(NamedTuple):
    """`words`: of each entry the first of its limits that has no room, "" when all have, None when nobody can
    say. `partial`: others who should have counted too could not be asked. `release` takes all back, when what
    was counted was not recorded."""

    words: Sequence[str | None]
    partial: bool
    release: Callable[[], None]


class Counters(Protocol):
    """What a worker counts by."""

    def reserve(self, now: int, entries: Sequence[Entry], done: Callable[[Reserved], None]) -> None:
        """One atomic act; `done` is called once, from the event loop, perhaps before this returns."""

    def forget(self, keys: Sequence[int], at: int) -> None:
        """What was counted under these keys at an instant (ms; clocks may differ a little) counts no longer,
        as it has turned out to be something else. Where that can't be said now, it counts on."""

    def check(self) -> bool:
        """Whether all is counted that should be; if not, somebody is about it. To be called at the start, and
        once a second."""

    def hashed_by(self, fingerprint: bytes, *, changed: bool) -> None:
        """By which registry key keys are made from now on. If it has `changed`, or another was meant when
        this node last counted, what was counted here is read again out of the journals; what a server
        counted for all nodes begins anew."""

    @property
    def ailing(self) -> str:
        """Why nothing is counted just now, "" when it is."""

    async def close(self) -> None: ...


def count_key(hashed: Callable[[str], bytes], institution: str, channels: int, purpose: int) -> int:
    """What an institution (its code) gives to the keys of all whom it reaches for this purpose (a bit) on
    these channels (bits; of more than one: counted jointly); `hashed` is `RegistryKey.hash`. With that of the
    subscriber, `key_of` makes the key; its lowest octet is the subscriber's alone, so that what one attempt
    is counted under lies in one place of a Cluster."""
    return int.from_bytes(hashed(f"{institution}\0{channels}\0{purpose}")[:8], "little") & ~0xFF


def key_of(count: int, subscriber: bytes) -> int:
    """The key of a `count_key` and a subscriber's keyed hash, 64 bits and never 0."""
    return count ^ int.from_bytes(subscriber[:8], "little") or 1


def nearest(instants: Sequence[int], at: int) -> int | None:
    """The one of these instants that may be meant by another clock's `at`; None: there is none."""
    found = None
    for one in instants:
        if abs(one - at) <= (NEAR if found is None else abs(found - at) - 1):
            found = one
    return found
