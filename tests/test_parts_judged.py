"""What is put on record of a long message whose parts come, and come again. Without a node."""

from typing import Any

from gateway.model import AccountKey, Verdict
from gateway.protocols.message import Submission
from gateway.relay.lane import nowhere
from gateway.relay.memory import Batch, Memory, Submit
from gateway.relay.parts import Held, Parts

KEY = AccountKey("mobile", "cmpp", "900001")


class Judge:
    """A screen that passes everything, at once."""

    def __init__(self) -> None:
        self.judged: list[tuple[int, bool]] = []

    def foresees(self, batch: Batch) -> bool:
        return False

    def put(self, batch: Batch) -> None:
        (submit,) = batch.submits
        assert submit.submission is not None
        self.judged.append((submit.submission.pk_number, batch.again))
        submit.ids, submit.verdicts = (bytes(16),), (Verdict(None),)
        batch.owner.judged(batch)
        batch.owner.settled(batch, None)


class Sender:
    """A session whose submits the carrier answers as it likes."""

    key = KEY

    def __init__(self) -> None:
        self.memory = Memory()

    def judged(self, batch: Batch) -> None: ...
    def abort(self) -> None: ...

    def settled(self, batch: Batch, error: Exception | None) -> None:
        assert error is None
        self.memory.settle(batch.submits)


class Lane:
    def hold(self) -> Any:
        return nowhere()


async def test_parts_that_the_carrier_throttles_are_the_message_that_they_were_however_often() -> None:
    """A record behind the first one says that it continues it: the message counts once."""
    judge, sender = Judge(), Sender()
    held = Held(Parts(judge), sender, 1, Lane())  # type: ignore[arg-type]
    octets = b"frame"

    def come(number: int, sequence: int) -> Submit:
        said = Submission(b"10690001", [b"13800000001"], 8, False, b"ab" * number, False, b"", 2, number, 0)
        submit = Submit((0, len(octets), 4, sequence), sequence, said)
        sender.memory.add(submit, None)
        assert held.take(submit, octets)
        held.came()
        return submit

    for again in range(3):
        both = [come(number, 10 * again + number) for number in (1, 2)]
        for submit in both:  # Result 8
            assert sender.memory.answered(submit.sequence) is submit
            submit.close(b"")
    assert judge.judged == [(0, False), *[(2, True)] * 4]
    held.lost()
