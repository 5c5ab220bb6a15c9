"""Peers that misbehave and strangers that attack, over every protocol of a running node: what must hold at
the other side, in the records and for everybody else.

The protocols are those that have simulators: a new one joins by itself. Each test brings a subscriber of its
own; one sender and his carrier's end (`neighbour`) stand from the first test to the last and hear of nothing.
"""

import asyncio
import contextlib
import dataclasses
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import HOST, MARKETING, SECRET, TEXT, House, eventually, free_ports, listening, refresh
from raw_ends import Raw
from speech import ALL, Speech

from gateway.errors import WireError
from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search, Shown
from gateway.protocols.table import Unframed
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.faults import Faults
from gateway.simulator.peers import PEERS
from gateway.simulator.sender import LoginRefused, SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER = MARKETING + "0001"
SPEECHES = {speech.wire.name: speech for speech in ALL if speech.wire.name in PEERS}
MOST_GROWTH = 24 << 20
"""Octets by which a worker may be larger after all that strangers did to it."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One protocol's way through the node."""

    house: House
    speech: Speech
    port: int
    carrier: CarrierSim
    nobody: int
    """Where the carrier of the account `lost` would listen."""

    @property
    def protocol(self) -> str:
        return self.speech.wire.name  # type: ignore[no-any-return]

    def sender(self, account: str = "bad", **settings: Any) -> SenderSim:
        return SenderSim(HOST, self.port, account, SECRET, protocol=self.protocol, **settings)

    def attempts(self, subscriber: str) -> list[Shown]:
        """What is recorded of a subscriber's attempts, with outcomes and reports."""
        search = Search(self.house.data_dir / "journal", Keys(self.house.data_dir / "keys"))
        ids = [found.record.id for found in self.house.records(subscriber=subscriber)]  # type: ignore[union-attr]
        return [shown for one in ids if (shown := search.show(one)) is not None]

    @contextlib.asynccontextmanager
    async def raw(self, *, login: bool) -> AsyncIterator[Raw]:
        """A bare connection; with `login` it is let in."""
        async with Raw.open(self.port) as raw:
            raw.wire = self.speech.wire(PEERS[self.protocol].asks)
            if login:
                raw.send(self.sender().connect(1))
                answer = await raw.frame()
                assert raw.wire.read_login_answer(answer)[0] == 0
            yield raw


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(house_of: HouseOf) -> AsyncIterator[dict[str, Line]]:
    async with contextlib.AsyncExitStack() as stack:
        nobody, *own = free_ports(1 + len(SPEECHES))
        ports, carriers = dict(zip(SPEECHES, own, strict=True)), {}
        for protocol in SPEECHES:
            carriers[protocol] = await stack.enter_async_context(
                CarrierSim(HOST, protocol=protocol, secret=SECRET, report_after=None)
            )
        settings = listening(ports, carriers)
        filed = [
            f"mobile,{protocol},{account},BANK,financial,result,whole,,,0"
            for protocol in SPEECHES
            for account in ("bad", "good")
        ]
        filed += [f"mobile,{p},lost,BANK,financial,result,whole,{HOST}:{nobody},,0" for p in SPEECHES]
        house = await stack.enter_async_context(house_of(settings=settings, filed=filed))
        yield {name: Line(house, one, ports[name], carriers[name], nobody) for name, one in SPEECHES.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def neighbours(lines: dict[str, Line]) -> AsyncIterator[dict[str, SenderSim]]:
    """One well-behaved sender of each protocol; nothing that others do ends his connection."""
    async with contextlib.AsyncExitStack() as stack:
        yield {
            protocol: await stack.enter_async_context(line.sender("good")) for protocol, line in lines.items()
        }


@pytest.fixture(params=list(SPEECHES))
def line(
    lines: dict[str, Line], neighbours: dict[str, SenderSim], request: pytest.FixtureRequest
) -> Iterator[Line]:
    found = lines[request.param]
    refresh(found.carrier)
    yield found
    assert {one.cause for one in neighbours.values()} == {None}


# The carrier misbehaves


async def test_a_slow_carriers_answer_comes_late_and_nothing_is_sent_twice(line: Line) -> None:
    line.carrier.faults.answer_after = 0.1
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        began = time.monotonic()
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert time.monotonic() - began >= 0.1
    assert line.carrier.counts["submits"] == 1
    assert line.house.reasons(subscriber=subscriber) == [""]


async def test_what_a_silent_carrier_leaves_unanswered_is_one_attempt_however_often_it_comes(
    line: Line,
) -> None:
    """The sender sends it three times and gives up: the same octets pass each time, and one record has it."""
    line.carrier.faults.silent_every = 1
    subscriber = line.house.subscriber()
    async with line.sender(wait=40) as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result is None
    assert len({received.frame for received in line.carrier.submits}) == 1
    assert len(line.carrier.submits) == 3
    (shown,) = line.attempts(subscriber)
    assert shown.outcomes == ()


async def test_a_carrier_that_drops_ends_its_sender_and_leaves_an_unknown_outcome(line: Line) -> None:
    line.carrier.faults.drop_every = 3
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        results = [(await sender.submit(NUMBER, [subscriber], TEXT)).result for _ in range(3)]
        assert results == [0, 0, None]
        await sender.until(lambda: sender.cause)
    answered = await eventually(
        lambda: (found := [len(one.outcomes) for one in line.attempts(subscriber)]) == [1, 1, 0] and found
    )
    assert answered == [1, 1, 0]


async def test_a_carriers_wrong_proof_is_the_senders_to_judge(line: Line) -> None:
    line.carrier.faults.wrong_digest = True
    async with line.sender() as sender:
        assert sender.digest_ok is not (line.protocol in ("cmpp", "smgp"))  # the others prove nothing
        assert (await sender.submit(NUMBER, [line.house.subscriber()], TEXT)).result == 0


async def test_a_carriers_wrong_length_ends_that_session_with_a_counted_cause(line: Line) -> None:
    line.carrier.faults.wrong_length_every = 2
    counted = line.house.counted("connections_closed_total", protocol=line.protocol, cause="length_too_short")
    async with counted, line.sender() as sender:
        assert (await sender.submit(NUMBER, [line.house.subscriber()], TEXT)).result == 0
        assert (await sender.submit(NUMBER, [line.house.subscriber()], TEXT)).result is None
        assert sender.cause is not None


async def test_a_carriers_second_answer_passes_and_changes_nothing(line: Line) -> None:
    line.carrier.faults.twice_every = 1
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        await sender.until(lambda: sender.counts["stray"] == 1)
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
    assert line.house.reasons(subscriber=subscriber) == ["", ""]


async def test_what_a_carrier_delivers_twice_passes_twice_and_a_refusal_stands_once(line: Line) -> None:
    line.carrier.faults.duplicate_every = 1
    line.carrier.report_after = 0.0
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT, report=True)).result == 0
        await sender.until(lambda: sender.counts["reports"] == 2)
        assert await line.carrier.deliver(NUMBER, subscriber, "退订", account="bad") == 0
        await sender.until(lambda: sender.counts["replies"] == 2)
        refused = await sender.submit(NUMBER, [subscriber], TEXT)
        assert refused.result not in (0, None)
    assert line.house.reasons(subscriber=subscriber) == ["", "refused_by_subscriber"]
    stat = "DELIVRD"
    assert {one.record.stat for one in line.attempts(subscriber)[0].reports} == {stat}  # type: ignore[union-attr]


async def test_a_report_before_the_answer_passes_at_once_and_is_tied_to_its_attempt(line: Line) -> None:
    line.carrier.faults = Faults(early_report_every=1, answer_after=0.1)
    line.carrier.report_after = 0.0
    subscriber = line.house.subscriber()
    async with line.sender() as sender:
        (frame,) = sender.frames(NUMBER, [subscriber], TEXT, report=True)
        answer = sender.request(frame)
        await sender.until(lambda: sender.reports)
        assert not answer.done()
        assert sender.reports[0].message_id == (await answer).message_id

    def tied() -> Any:
        (shown,) = line.attempts(subscriber)
        return shown.outcomes and shown.reports

    await eventually(tied)


async def test_a_carrier_that_keeps_to_no_window_is_passed_on_and_each_reply_is_recorded(line: Line) -> None:
    """The sender answers none; the carrier's own window would have stopped at 16."""
    line.carrier.faults.overflow = True
    line.carrier.reply = lambda received: "好的"
    subscriber = line.house.subscriber()
    async with line.sender(window=40) as sender:
        sender.deliver_result = None
        (frame,) = sender.frames(NUMBER, [subscriber], TEXT)
        assert {one.result for one in await asyncio.gather(*(sender.request(frame) for _ in range(40)))} == {
            0
        }
        await sender.until(lambda: len(sender.replies) == 40)
    assert len(line.house.records(rec.Reply, subscriber=subscriber)) == 40


# The sender misbehaves


async def test_a_slow_senders_answer_reaches_the_carrier_late(line: Line) -> None:
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(answer_after=0.1)) as sender:
        began = time.monotonic()
        assert await line.carrier.deliver(NUMBER, subscriber, "好的", account="bad") == 0
        assert time.monotonic() - began >= 0.1
        assert len(sender.replies) == 1


async def test_a_reply_that_a_silent_sender_leaves_unanswered_comes_until_the_carrier_gives_up(
    line: Line,
) -> None:
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(silent_every=1)) as sender:
        line.carrier.connection("bad").link.wait = 40
        assert await line.carrier.deliver(NUMBER, subscriber, "好的", account="bad") is None
        await sender.until(lambda: len(sender.replies) == 3)
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0


async def test_a_senders_second_answer_passes_and_the_reply_counts_once(line: Line) -> None:
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(twice_every=1)):
        assert await line.carrier.deliver(NUMBER, subscriber, "好的", account="bad") == 0
        await line.carrier.until(lambda: line.carrier.counts["stray"] == 1)
    assert len(line.house.records(rec.Reply, subscriber=subscriber)) == 1


async def test_what_a_sender_has_sent_before_he_drops_is_recorded_once_and_his_carriers_end_goes(
    line: Line,
) -> None:
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(drop_every=2)) as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result is None
    await eventually(lambda: line.house.reasons(subscriber=subscriber) == ["", ""])
    await line.carrier.until(lambda: {end.account for end in line.carrier.ends} == {"good"})


async def test_a_senders_wrong_proof_is_the_carriers_to_refuse(line: Line) -> None:
    with pytest.raises(LoginRefused) as caught:
        async with line.sender(faults=Faults(wrong_digest=True)):
            pass
    assert caught.value.status == line.speech.wire.BAD_SECRET


async def test_a_senders_wrong_length_ends_his_session_behind_what_was_whole(line: Line) -> None:
    subscriber = line.house.subscriber()
    counted = line.house.counted("connections_closed_total", protocol=line.protocol, cause="length_too_short")
    async with counted, line.sender(faults=Faults(wrong_length_every=3), window=3) as sender:
        (frame,) = sender.frames(NUMBER, [subscriber], TEXT)
        await asyncio.gather(*(sender.request(frame) for _ in range(3)))
        await sender.until(lambda: sender.cause)
    await line.carrier.until(lambda: line.carrier.counts["submits"] == 2)
    assert line.house.reasons(subscriber=subscriber) == ["", ""]


async def test_what_a_sender_sends_twice_is_one_attempt(line: Line) -> None:
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(duplicate_every=1)) as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert sender.counts["duplicates"] == 1
    assert len({received.frame for received in line.carrier.submits}) == 1
    assert line.house.reasons(subscriber=subscriber) == [""]


async def test_a_sender_who_keeps_to_no_window_is_not_narrowed(line: Line) -> None:
    line.carrier.faults.silent_every = 1
    subscriber = line.house.subscriber()
    async with line.sender(faults=Faults(overflow=True), window=16) as sender:
        (frame,) = sender.frames(NUMBER, [subscriber], TEXT)
        for _ in range(64):
            sender.request(frame)
        await line.carrier.until(lambda: line.carrier.counts["submits"] == 64)
    assert line.house.reasons(subscriber=subscriber) == [""] * 64


# Strangers

CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2
HOSTILE = [
    b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    b"POST /sms HTTP/1.0\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 3000,
    CLIENT_HELLO,
    bytes(64),
    b"\xff" * 64,
    *(random.Random(seed).randbytes(400) for seed in range(20)),
]


def causes_of(speech: Speech, octets: list[bytes]) -> Counter[str]:
    """Why each of them ends its connection as soon as its first four octets are read."""
    found: Counter[str] = Counter()
    for one in octets:
        with pytest.raises(Unframed) as caught:
            speech.wire().frames(one)
        found[caught.value.cause] += 1
    return found


def resident(pid: int) -> int:
    """Octets of memory that a process has."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one[:6] == "VmRSS:"]
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("logged_in", [False, True], ids=["before the login", "behind it"])
async def test_who_speaks_another_language_is_hung_up_on_with_a_counted_cause(
    line: Line, logged_in: bool
) -> None:
    async def one(octets: bytes) -> None:
        async with line.raw(login=logged_in) as raw:
            raw.send(octets)
            assert await raw.rest() == []

    async with contextlib.AsyncExitStack() as stack:
        for cause, count in causes_of(line.speech, HOSTILE).items():
            counted = line.house.counted(
                "connections_closed_total", count, protocol=line.protocol, cause=cause
            )
            await stack.enter_async_context(counted)
        before = resident(line.house.running("worker-0"))
        await asyncio.gather(*(one(octets) for octets in HOSTILE))
        assert resident(line.house.running("worker-0")) - before < MOST_GROWTH
    assert not line.carrier.counts["submits"]


async def test_a_carrier_that_speaks_another_language_ends_its_session_alone(line: Line) -> None:
    some = HOSTILE[:5]
    async with contextlib.AsyncExitStack() as stack:
        for cause, count in causes_of(line.speech, some).items():
            counted = line.house.counted(
                "connections_closed_total", count, protocol=line.protocol, cause=cause
            )
            await stack.enter_async_context(counted)
        for octets in some:
            async with line.sender() as sender:
                line.carrier.connection("bad").write(octets)
                await sender.until(lambda sender=sender: sender.cause)


async def test_a_carrier_whose_answer_to_the_login_is_none_is_no_carrier(line: Line) -> None:
    """The sender is told so by the protocol's own answer, at once; nothing of it reaches him."""
    wire = line.speech.wire()
    answers = [*HOSTILE[:5], wire.terminate(1), wire.encode(line.speech.tables.PDUS[wire.SUBMIT](), 1)]
    said: list[bytes] = []

    async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(said[-1])
        await reader.read()
        writer.close()

    server = await asyncio.start_server(carrier, HOST, line.nobody)
    counted = line.house.counted(
        "connections_closed_total", len(answers), protocol=line.protocol, cause="no_upstream"
    )
    async with counted, server:
        for octets in answers:
            said.append(octets)
            with pytest.raises(LoginRefused) as caught:
                async with line.sender("lost"):
                    pass
            assert caught.value.status == wire.OTHER


@pytest.mark.parametrize("logged_in", [False, True], ids=["before the login", "behind it"])
async def test_every_malformed_vector_is_answered_or_ends_its_connection(line: Line, logged_in: bool) -> None:
    """With the protocol's error answer under the same number where it has one; a half frame waits for its
    rest (test_session.py has how long), and whatever leaves the connection up leaves it in order."""
    speech, wanted = line.speech, Counter[str]()
    vectors = [bytes.fromhex(v["hex"]) for v in speech.vectors if "expected_error" in v]
    assert len(vectors) >= 9

    async def one(octets: bytes) -> None:
        async with line.raw(login=logged_in) as raw:
            raw.send(octets)
            try:
                frames, _ = raw.wire.frames(octets)
            except Unframed as error:
                wanted[error.cause] += 1
                assert await raw.rest() == []
                return
            if not frames:
                return
            _, _, command, sequence = frames[0]
            doing = raw.wire.SENDER_MAY.get(command)
            if not logged_in:
                answers, error = await raw.rest(), not_a_login(raw.wire, octets)
                said = error is None or raw.wire.malformed(command, sequence, error) is not None
                assert len(answers) == said
                wanted.update([error.cause] if error is not None else [])
                return
            if doing == "judge":
                answer = await raw.frame()
                ((_, _, answered, under),) = raw.wire.frames(answer)[0]
                assert (answered, under) == (command | raw.wire.ANSWER, sequence)
                if (cause := ends_with(raw.wire, octets)) is not None:
                    wanted[cause] += 1
                    assert await raw.rest() == []
                    return
            async with line.sender() as sender:
                raw.send(raw.wire.with_sequence(sender.frames(NUMBER, ["13800009998"], TEXT)[0], 4711))
            while raw.wire.frames(await raw.frame())[0][0][3] != 4711:
                pass

    async def closed() -> Counter[str]:
        metrics = await line.house.metrics()
        of_line = {("protocol", line.protocol)}
        return Counter(
            {
                dict(labels)["cause"]: int(value)
                for (name, labels), value in metrics.items()
                if name == "zhengming_connections_closed_total" and of_line <= labels
            }
        )

    before = await closed()
    await asyncio.gather(*(one(octets) for octets in vectors))

    async def counted() -> bool:
        return before + wanted <= await closed()

    await eventually(counted, every=0.1)


def not_a_login(wire: Any, octets: bytes) -> WireError | None:
    """What is wrong with it as a login, if anything is."""
    try:
        wire.login(octets)
    except WireError as error:
        return error
    return None


def ends_with(wire: Any, octets: bytes) -> str | None:
    """Why a submit ends its connection behind its answer, if it does."""
    try:
        wire.submission(octets, 0, len(octets))
    except WireError as error:
        return error.cause if error.cause in wire.ENDS else None
    return None


async def test_counts_and_lengths_that_lie_are_answered_and_the_line_goes_on(line: Line) -> None:
    """Every octet of a submit, those that count something among them, set to what makes it unreadable."""
    wire = line.speech.wire(PEERS[line.protocol].asks)
    subscriber = line.house.subscriber()
    one, several = (
        line.sender().frames(NUMBER, to, TEXT)[0] for to in ([subscriber], [subscriber, "13800009997"])
    )
    lies = []
    for frame in (one, several):
        for at in range(wire.HEADER, len(frame)):
            for value in {0, 1, 127, 200, 255, (frame[at] + 1) & 0xFF, (frame[at] - 1) & 0xFF}:
                lie = frame[:at] + bytes([value]) + frame[at + 1 :]
                try:
                    wire.submission(lie, 0, len(lie))
                except WireError as error:
                    if error.cause not in wire.ENDS:
                        lies.append(lie)
    assert len(lies) >= 5
    chosen = random.Random(5).sample(lies, min(len(lies), 200))
    async with line.raw(login=True) as raw:
        raw.send(*(wire.with_sequence(lie, 100 + n) for n, lie in enumerate(chosen)))
        answers = await raw.frames(len(chosen))
        numbers = [wire.frames(answer)[0][0][3] for answer in answers]
        assert sorted(numbers) == list(range(100, 100 + len(chosen)))
        assert all(wire.result(answer, 0, len(answer))[0] for answer in answers)
        raw.send(wire.with_sequence(one, 4711))
        answer = await raw.frame()
        assert (wire.frames(answer)[0][0][3], wire.result(answer, 0, len(answer))[0]) == (4711, 0)
    assert line.carrier.counts["submits"] == 1


@pytest.mark.long
async def test_random_frames_with_true_lengths_disturb_nobody(line: Line) -> None:
    """Any command, any body, from both sides at once; the last submit tells that all were read."""
    wire, rng = line.speech.wire(PEERS[line.protocol].asks), random.Random(7)
    last = line.sender().frames(NUMBER, [line.house.subscriber()], TEXT)[0]
    closes = {c for c, doing in wire.LINK.items() if doing in ("close", "close_answer")}
    if wire.ENDS:  # a submit of random octets does, too
        closes |= {c for c, doing in wire.SENDER_MAY.items() if doing == "judge"}

    def frame() -> bytes:
        command = rng.choice([*line.speech.tables.PDUS, rng.randrange(1 << 32)])
        while command in closes:
            command = rng.randrange(1 << 32)
        body = command.to_bytes(4, "big") + rng.randbytes(wire.HEADER - 8 + rng.randrange(300))
        return (4 + len(body)).to_bytes(4, "big") + body

    async with line.raw(login=True) as raw:
        there = line.carrier.connection("bad")
        there.write(b"".join(frame() for _ in range(200)))
        raw.send(*(frame() for _ in range(200)), wire.with_sequence(last, 4711))
        await line.carrier.until(
            lambda: any(one.sequence & 0xFFFF_FFFF == 4711 for one in line.carrier.submits)
        )


async def test_the_node_never_said_anything_worse_than_info(lines: dict[str, Line]) -> None:
    (house, *_) = {line.house for line in lines.values()}
    output = (house.directory / "output").read_text("utf-8", "replace")
    assert "Traceback" not in output, output
    assert [one for one in house.log_lines() if one["level"] != "info"] == []
    await house.counts_are_true()
