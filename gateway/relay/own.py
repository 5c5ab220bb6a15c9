"""Our own requests to a carrier, among those of a sender (architecture.md "Frames of our own").

Numbers are looked at only while something of ours is under way, or a frame of the sender's goes by another
number because of it (`busy`); at all other times they pass untouched.
"""

from gateway.protocols import Wire
from gateway.protocols.message import Delivery
from gateway.relay.lane import MOST_OUTSTANDING, Lane, Numbering
from gateway.relay.memory import UNANSWERED_SWEEPS, Batch, Memory, Submit


class Own:
    """Of one session: a `confirming.Transmitter`. `lane` is the way to the carrier, `memory` knows which of
    the sender's submits wait for their answers."""

    def __init__(self, wire: Wire, account: str, connection: int, lane: Lane, memory: Memory) -> None:
        self.connection = connection
        self.busy = False
        self.retired = False  # the connection ends
        self.specimen = b""  # a submit of the sender's, for ours to be like it
        self._wire = wire
        self._account = account
        self._lane = lane
        self._memory = memory
        self._numbering = Numbering(own=wire.OWN_NUMBERS)
        self._commands: dict[int, int] = {}  # of ours, by number
        self._attempts: dict[int, bytes] = {}  # that our submits are, by number
        self._late: dict[bytes, int] = {}  # how many sweeps have found it unanswered

    def learn(self, batch: Batch) -> None:
        """Take the first submit of these that passed for the specimen."""
        passed = next((submit for submit in batch.submits if not submit.refused), None)
        self.specimen = batch.data[passed.start : passed.end] if passed is not None else b""

    # What is ours

    @property
    def awaits(self) -> bool:
        """The carrier has a submit of ours and has not answered it."""
        return bool(self._attempts)

    def confirmation(self, reply: Delivery, content: bytes) -> tuple[int, bytes]:
        """See `Transmitter`."""
        number = self.choose(self._wire.SUBMIT)
        try:
            return number, self._wire.confirmation(self.specimen, self._account, reply, content, number)
        except ValueError:
            self._over(number)
            raise

    def transmit(self, number: int, octets: bytes, identity: bytes) -> None:
        """See `Transmitter`."""
        if self.retired:  # its outcome stays unknown
            self._over(number)
        else:
            self._attempts[number] = identity
            self._lane.send(octets)

    def withdraw(self, number: int) -> None:
        """See `Transmitter`."""
        self._over(number)

    def choose(self, command: int) -> int:
        """A number for a request of ours with this command."""
        if not self.busy:
            self.busy, self._numbering = True, Numbering(self._memory.outstanding, self._wire.OWN_NUMBERS)
        number = self._numbering.choose()
        self._commands[number] = command
        if len(self._commands) > MOST_OUTSTANDING:  # `Numbering` has forgotten it, too
            del self._commands[next(iter(self._commands))]
        return number

    def attempts(self, number: int) -> list[bytes]:
        """The id of our submit of this number, which was answered; none if it is none."""
        identity = self._attempts.pop(number, None)
        return [] if identity is None else [identity]

    def give_up(self) -> None:
        """As `Memory.give_up`; an answer that comes all the same is still absorbed, its number being ours."""
        self._late = {identity: self._late.get(identity, 0) + 1 for identity in self._attempts.values()}
        self._attempts = {
            number: identity
            for number, identity in self._attempts.items()
            if self._late[identity] <= UNANSWERED_SWEEPS
        }

    # What is the sender's, while `busy`

    def request(self, number: int) -> int:
        """A request: the number under which it goes on."""
        return self._numbering.request(number)

    def submit(self, submit: Submit, data: bytes) -> None:
        """A submit: `octets` is set where it has to go on under another number."""
        number = self._numbering.request(submit.sequence)
        if number != submit.sequence:
            submit.octets = self._wire.with_sequence(data[submit.start : submit.end], number)

    def reduce(self, submit: Submit, batch: Batch, renumbered: bytes | None) -> None:
        """It goes on to those only who may have it, under the number of `renumbered` if that is set; the
        answer tells of the others where the protocol can."""
        data, start, end = batch.data, submit.start, submit.end
        reasons = [verdict.reason for verdict in submit.verdicts]
        passed = [i for i, reason in enumerate(reasons) if reason is None]
        submit.octets = self._wire.reduced(data, start, end, passed)
        submit.ids = tuple([submit.ids[i] for i in passed])
        submit.telling = self._wire.telling(data, start, end, reasons)
        if renumbered:
            submit.octets = self._wire.with_sequence(submit.octets, self._number(renumbered))

    def never_sent(self, octets: bytes) -> None:
        """What `submit` made of a submit does not go on."""
        self._over(self._number(octets))

    def back(self, answer: bytes, submit: Submit) -> bytes:
        """The carrier's answer to a submit that went on under another number, as the sender knows it."""
        return self._wire.with_sequence(answer, submit.sequence)

    def answer(self, command: int, number: int) -> int | None:
        """An answer of the carrier's: the number under which it goes back; None: it is to ours."""
        ours = self._commands.get(number)
        if ours is not None and command not in (ours | self._wire.ANSWER, self._wire.NACK):
            return number  # to a request of the sender's that was under way before ours
        return self._over(number)

    def _over(self, number: int) -> int | None:
        self._commands.pop(number, None)
        known = self._numbering.answer(number)
        self.busy = not self._numbering.quiet
        return known

    def _number(self, octets: bytes) -> int:
        frames, _ = self._wire.frames(octets)
        return frames[0][3]
