"""Subscribers' long replies: what comes in parts is read as the one answer that it is.

A part is on record before it is passed on, as every reply is; nothing is kept from the sender, and nothing
waits for another part. What they say together is read when the last one has come, and what it does is in
force before that one is passed on. When parts stay out for 2 s it is read as far as it has come, and once
more when they come after all: half a sentence may mean the opposite of the whole (退订 in 不要退订), so what
would refuse is held, and what would accept does nothing. One `Joining` per worker, where all connections of
an account meet. After a crash the parts are taken up again from the journals, whoever wrote them.

Bounded by octets, as the parts that senders send; one for which there is no room is read by itself.
"""

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple

from gateway.evidence import record as rec
from gateway.evidence.found import Found
from gateway.evidence.half_read import JOINED, LONG, PART
from gateway.evidence.journal import Done
from gateway.evidence.search import Search
from gateway.model import AccountKey
from gateway.policy.numbers import PSEUDO, canonical, opaque
from gateway.protocols.assembly import KEEP, NOT_TAKEN, Assembly, Message, Place, place_of_reply
from gateway.protocols.message import Delivery

UNFINISHED = {"refuse": "ambiguous", "wrong_person": "ambiguous", "accept": "other"}
"""What a meaning comes to while parts are missing."""

Long = Message[Delivery, "Told"]


class Told(NamedTuple):
    """Of the parts that have come: the first one and its number, and when the last one was sent (ms)."""

    number: int
    first: Delivery
    at: int


class Read(NamedTuple):
    """What is to be read of a delivery that is a part: `delivery`, all that has come when it is `whole`, else
    the part alone, and where it belongs (`message` None: there was no room)."""

    account: AccountKey
    part: Delivery
    message: Long | None
    delivery: Delivery
    whole: bool
    flag: str
    at: int


class Joining:
    """For all sessions of a worker. `read` reads what has come of a message and says when that is durable."""

    def __init__(self, read: Callable[[Read, Done], None]) -> None:
        self._read = read
        self._assembly: Assembly[Delivery, Told] = Assembly()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, account: AccountKey, delivery: Delivery, at: int) -> Read | None:
        """What is to be read of it, `at` when it came (ms); None: it is a reply of its own."""
        if not delivery.udhi and delivery.pk_total == 1:
            return None
        place = _place(delivery)
        if place is None:
            return None
        flag = f"{PART}{place.reference}"
        message = self._add(account, place, delivery, at)
        contents = tuple(place.content if n == place.number else b"" for n in range(1, place.total + 1))
        alone = delivery._replace(content=contents)
        if message is None:
            return Read(account, delivery, None, alone, True, f"{JOINED}{place.reference}", at)
        if message.whole and not message.judging:
            return self._all(message, delivery)
        self._wait()
        return Read(account, delivery, message, alone, False, flag, at)

    def done(self, read: Read, done: Done, error: Exception | None) -> None:
        """What was to be read is durable, or with an error is not: then the part comes again."""
        message = read.message
        if message is not None:
            if read.whole and error is None:
                self._settle(message)
            elif read.whole:
                self._assembly.resume(message, _now())
            if error is not None:
                self._assembly.withdraw(message, lambda part: part is read.part)
                self._wait()
        done(error)

    def finish(self, read: Callable[[Read, Done], None]) -> None:
        """Nothing more comes here: `read` all that waits as far as it has come."""
        self._read = read
        for message in self._assembly.waiting:
            self._late(message)

    def restore(self, search: Search, mine: Callable[[str], bool]) -> None:
        """Take up the parts that were on record when their worker ended, of accounts that are `mine`."""
        found: list[Found] = []
        for folder in search.folders():
            found += search.latest(folder.name, KEEP, LONG.encode())
        for one in sorted(found, key=lambda one: one.record.at):
            if isinstance(one.record, rec.Reply) and one.content is not None and mine(one.record.account):
                self._restore(one.record, one.content)
        self._wait()

    def _restore(self, reply: rec.Reply, content: rec.Content) -> None:
        flag = next((flag for flag in reply.flags if flag.startswith((PART, JOINED))), "")
        if not flag or isinstance(content.octets, bytes):
            return
        account = AccountKey(reply.carrier, reply.protocol, reply.account)
        pseudo, raw = content.subscriber.startswith(PSEUDO), content.subscriber.removeprefix(PSEUDO).encode()
        message: Long | None = None
        for number, octets in enumerate(content.octets, 1):
            delivery = Delivery(
                reply.message_id, raw, reply.number.encode(), reply.fmt, bool(reply.udhi), octets, None,
                pseudo, len(content.octets), number, int(flag.partition(":")[2]),
            )  # fmt: skip
            place = _place(delivery)
            if place is not None:
                known = self._assembly.known(account, place)
                if known is None or known.contents[place.number - 1] != octets:
                    message = self._add(account, place, delivery, reply.at)
                else:
                    message = known
        if message is not None and flag.startswith(JOINED) and message.contents == list(content.octets):
            self._assembly.judge(message)
            self._assembly.settle(message, True)

    def _add(self, account: AccountKey, place: Place, delivery: Delivery, at: int) -> Long | None:
        size = len(place.content)
        message = self._assembly.take(account, place, delivery, size, lambda: NOT_TAKEN, _now())
        if message is not None:
            told = message.told
            if told is None or place.number <= told.number:
                told = Told(place.number, delivery, at)
            message.told = told._replace(at=max(at, told.at))
        return message

    def _all(self, message: Long, part: Delivery) -> Read:
        """Read all that has come of it."""
        self._assembly.judge(message)
        told = message.told
        assert told is not None
        identity = told.first.message_id
        if identity and not message.whole:  # another answer than that of the whole
            identity += b"~%d" % sum(map(bool, message.contents))
        whole = told.first._replace(message_id=identity, content=tuple(message.contents))
        account = message.account
        assert isinstance(account, AccountKey)
        return Read(account, part, message, whole, True, f"{JOINED}{message.place.reference}", told.at)

    def _late(self, message: Long) -> None:
        """Parts have stayed out: read what there is; what can't be recorded waits on."""
        assert message.told is not None
        read = self._all(message, message.told.first)

        def done(error: Exception | None) -> None:
            if error is None:
                self._settle(message)
            else:
                self._assembly.resume(message, _now())
                self._wait()

        try:
            self._read(read, done)
        except Exception as error:
            done(error)

    def _settle(self, message: Long) -> None:
        """What was read is on record; what came meanwhile, perhaps all that was missing, is not read."""
        self._assembly.settle(message, True)
        if message.held and message.whole:
            self._late(message)
        else:
            self._wait()

    def _wait(self) -> None:
        due = self._assembly.next_due
        if self._timer is None and (due is not None or self._assembly.waiting):
            seconds = max(0, (due or 0) - _now()) / 1000
            self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        for message in self._assembly.due(_now()):
            self._late(message)
        self._wait()


def _place(delivery: Delivery) -> Place | None:
    spell = opaque if delivery.pseudo else canonical
    return place_of_reply(delivery, (spell(delivery.subscriber), canonical(delivery.number)))


def _now() -> int:
    return monotonic_ns() // 1_000_000
