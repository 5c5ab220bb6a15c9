"""Long messages through a node: one message is one attempt, verdict and count, however its parts come."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import COLLECTING, COLLECTION, MARKETING, SECRET, SERVICE, TEXT, House, eventually, refresh
from raw_ends import Raw, RawCarrier, sequence_of, submit

from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.protocols import text as codings
from gateway.protocols.cmpp import Cmpp
from gateway.simulator.carrier import CarrierSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD, MIDDLE, END = "【示例银行】新客理财专享", "，年化收益以实际为准", "，拒收请回复R"
NO_SIGNATURE, NO_HINT = 116, 118
PASSED = 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    carrier = CarrierSim(secret=SECRET, report_after=None)
    async with house_of(extra=["900016"], carrier=carrier) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


_references = count(1)


def parts(
    to: str | Sequence[str],
    texts: Sequence[str],
    *,
    source: str = MARKETING,
    first: int = 1,
    header: int = 8,
    **fields: Any,
) -> list[bytes]:
    """A frame for each of these texts, as parts of one message; `header`: bits of its reference, or 0 for
    Pk_total and Pk_number alone. Sequence numbers count from `first`."""
    reference, total = next(_references) % 256, len(texts)
    frames = []
    for number, text in enumerate(texts, 1):
        octets = text.encode("utf-16-be")
        if header == 8:
            octets = bytes((5, 0, 3, reference, total, number)) + octets
        elif header:
            octets = bytes((6, 8, 4, 1, reference, total, number)) + octets
        numbers = {"tp_udhi": 1} if header else {"pk_total": total, "pk_number": number}
        everything = {"msg_fmt": 8, "msg_content": octets, **numbers, **fields}
        to_all = [to] if isinstance(to, str) else to
        frames.append(submit(source, to_all, "", first + number - 1, **everything))
    return frames


async def results(raw: Raw, count: int) -> dict[int, int]:
    """Result by sequence number of that many answers."""
    return {sequence_of(frame): frame[20] for frame in await raw.frames(count)}


def attempts(house: House, subscriber: str) -> list[tuple[str, int, int]]:
    """Reason, parts and number of each record."""
    return [
        (found.record.judged.reason, found.record.pk_total, found.record.pk_number)  # type: ignore[union-attr]
        for found in house.records(subscriber=subscriber)
    ]


def said(house: House, subscriber: str) -> list[str]:
    """The text of each record."""
    return [
        codings.decode(found.content.octets, found.record.fmt, bool(found.record.udhi))[0]  # type: ignore[union-attr]
        for found in house.records(subscriber=subscriber)
    ]


def forwarded(house: House) -> list[int]:
    return [submit.sequence for submit in house.carrier.submits]


@pytest.mark.parametrize("header", [8, 16, 0])
async def test_a_long_message_is_judged_as_what_will_be_read(house: House, header: int) -> None:
    """The signature stands in the first part, the way to refuse in the last."""
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END], header=header)
    counted = house.counted("attempts_total", purpose="marketing", verdict="pass")
    async with counted, Raw.login(house) as raw:
        raw.send(*frames)
        assert await results(raw, 3) == {1: 0, 2: 0, 3: 0}
    assert attempts(house, subscriber) == [("", 3, 0)]
    assert said(house, subscriber) == [HEAD + MIDDLE + END]
    assert [submit.frame for submit in house.carrier.submits] == frames


@pytest.mark.parametrize("order", [(2, 0, 1), (2, 1, 0), (1, 1, 2, 0)], ids=str)
async def test_parts_come_in_any_order_and_more_than_once(house: House, order: Sequence[int]) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END])
    async with Raw.login(house) as raw:
        for sequence, place in enumerate(order, 1):
            raw.send(Cmpp.with_sequence(frames[place], sequence))
            await raw.writer.drain()
        assert await results(raw, len(order)) == dict.fromkeys(range(1, len(order) + 1), PASSED)
    assert sorted(forwarded(house)) == [*range(1, len(order) + 1)]
    assert attempts(house, subscriber) == [("", 3, 0)]
    assert said(house, subscriber) == [HEAD + MIDDLE + END]


async def test_parts_meet_that_come_over_several_connections(house: House) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END])
    async with Raw.login(house) as one, Raw.login(house) as other:
        one.send(frames[0], frames[2])
        other.send(frames[1])
        assert await results(one, 2) == {1: 0, 3: 0}
        assert await results(other, 1) == {2: 0}
    assert attempts(house, subscriber) == [("", 3, 0)]
    assert {submit.sequence: submit.frame for submit in house.carrier.submits} == dict(enumerate(frames, 1))


@pytest.mark.parametrize(
    ("texts", "reason", "result"),
    [
        ([HEAD, MIDDLE, "。"], "optout_hint_missing", NO_HINT),
        ([MIDDLE, HEAD, END], "signature_missing", NO_SIGNATURE),
        (["【示例消金】新客", MIDDLE, END], "signature_mismatch", 117),
    ],
)
async def test_a_refused_message_is_one_intercept_and_each_part_is_answered(
    house: House, texts: Sequence[str], reason: str, result: int
) -> None:
    subscriber = house.subscriber()
    counted = house.counted("intercepts_total", channel="sms", institution="BANK", reason=reason)
    async with counted, Raw.login(house) as raw:
        frames = parts(subscriber, texts)
        raw.send(*frames)
        assert await results(raw, 3) == dict.fromkeys((1, 2, 3), result)
        for sequence, again in ((4, frames[0]), (5, frames[1])):  # each comes again alone
            raw.send(again[:8] + sequence.to_bytes(4, "big") + again[12:])
            assert await results(raw, 1) == {sequence: result}
    assert attempts(house, subscriber) == [(reason, 3, 0)]
    assert not house.carrier.submits


async def test_characters_that_a_sender_cut_in_two_are_whole_again(house: House) -> None:
    """Half of a surrogate pair, of a GB18030 character, even of a UCS-2 one."""
    for text, fmt, cut in (
        (TEXT + "😀。", 8, len(TEXT) * 2 + 2), (TEXT, 15, 3), (TEXT, 8, 11),
    ):  # fmt: skip
        subscriber = house.subscriber()
        octets = codings.encode(text, fmt)
        frames = [
            submit(MARKETING, [subscriber], "", number, tp_udhi=1, msg_fmt=fmt, msg_content=head + half)
            for number, head, half in (
                (1, bytes((5, 0, 3, 99, 2, 1)), octets[:cut]), (2, bytes((5, 0, 3, 99, 2, 2)), octets[cut:]),
            )
        ]  # fmt: skip
        async with Raw.login(house) as raw:
            raw.send(*frames)
            assert await results(raw, 2) == {1: 0, 2: 0}
        assert said(house, subscriber) == [text]


# Senders who can't go on before they are answered


async def one_by_one(house: House, frames: Sequence[bytes]) -> list[int]:
    """The answers to a sender whose window is 1."""
    answers = []
    async with Raw.login(house) as raw:
        for frame in frames:
            raw.send(frame)
            answers.append((await raw.frame())[20])
    return answers


async def test_a_window_of_one_locks_nobody_up(house: House) -> None:
    """What came is judged, the last part settles what needs the end; that it counts once is said below."""
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END])
    assert await one_by_one(house, frames) == [0, 0, 0]
    assert [submit.frame for submit in house.carrier.submits] == frames
    assert attempts(house, subscriber) == [("", 3, 1), ("", 3, 2), ("", 3, 3)]
    assert said(house, subscriber) == [HEAD, HEAD + MIDDLE, HEAD + MIDDLE + END]


async def test_a_refusal_sticks_to_what_follows(house: House) -> None:
    subscriber = house.subscriber()
    assert await one_by_one(house, parts(subscriber, ["新客", HEAD, END])) == [NO_SIGNATURE] * 3
    assert attempts(house, subscriber) == [("signature_missing", 3, 1)]
    assert not house.carrier.submits


async def test_what_only_the_end_can_say_refuses_the_end(house: House) -> None:
    subscriber = house.subscriber()
    async with house.counted("intercepts_total", institution="BANK", reason="optout_hint_missing"):
        assert await one_by_one(house, parts(subscriber, [HEAD, MIDDLE, "。"])) == [0, 0, NO_HINT]
    assert attempts(house, subscriber) == [("", 3, 1), ("", 3, 2), ("optout_hint_missing", 3, 3)]
    assert forwarded(house) == [1, 2]


async def test_a_part_that_the_carrier_did_not_take_may_come_again(house: House) -> None:
    """Flow control: the same part with a new sequence number belongs to the message that passed."""
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, END])
    house.carrier.faults.refuse_every, house.carrier.faults.refuse_with = 2, 8
    async with Raw.login(house) as raw:
        raw.send(*frames)
        assert await results(raw, 2) == {1: 0, 2: 8}
        house.carrier.faults.refuse_every = 0
        raw.send(Cmpp.with_sequence(frames[1], 3))
        assert await results(raw, 1) == {3: 0}
        raw.send(*(Cmpp.with_sequence(frame, 3 + number) for number, frame in enumerate(frames, 1)))
        assert await results(raw, 2) == {4: 0, 5: 0}  # taken: the same again is another message
    assert attempts(house, subscriber) == [("", 2, 0), ("", 2, 2), ("", 2, 0)]


# What never waits, and what waits at most two seconds


async def test_what_facts_refuse_never_waits(house: House) -> None:
    """The sender has a submit that the carrier doesn't answer, so nothing else would have it judged."""
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        session = await carrier.session()
        raw.send(submit(MARKETING, [house.subscriber()], TEXT, 1))
        await session.frame()
        for sequence, (source, to, wanted) in enumerate(
            [
                ("10699999", house.subscriber(), 104),
                (MARKETING, "13800009999", 110),
                ("10690009", house.subscriber(), 103),
            ],
            2,
        ):
            frame = parts(to, [HEAD, END], source=source, first=sequence)[0]
            raw.send(frame)
            assert (await raw.frame(1.0))[20] == wanted


async def test_a_missing_part_is_waited_for_two_seconds(house: House) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END], first=2)
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        session = await carrier.session()
        raw.send(submit(MARKETING, [house.subscriber()], TEXT, 1))
        await session.frame()  # and never answers
        began = asyncio.get_running_loop().time()
        raw.send(frames[1], frames[0])
        assert await session.frames(2) == [frames[1], frames[0]]
        waited = asyncio.get_running_loop().time() - began
        raw.send(frames[2])
        assert await session.frames(1) == [frames[2]]
    assert 1.9 < waited < 4
    assert attempts(house, subscriber) == [("", 3, 1), ("", 3, 2)]


async def test_without_its_beginning_nothing_passes(house: House) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END])
    async with Raw.login(house) as raw:
        raw.send(*frames[1:])
        assert await results(raw, 2) == dict.fromkeys((2, 3), NO_SIGNATURE)
    assert attempts(house, subscriber) == [("signature_missing", 3, 1)]


# Several recipients


async def test_a_long_message_to_several_has_one_fate_or_is_reduced(house: House) -> None:
    """13800009999 has refused: whole or reduced as the account is filed, part for part."""
    for account, wanted in (("900001", (110, 110)), ("900007", (0, 0))):
        house.carrier.submits.clear()
        one, other = house.subscriber(), house.subscriber()
        async with Raw.login(house, account) as raw:
            raw.send(*parts([one, "13800009999", other], [HEAD, END]))
            assert await results(raw, 2) == dict(enumerate(wanted, 1))
        passed = [one.encode(), other.encode()] if account == "900007" else []
        assert [submit.submission.destinations for submit in house.carrier.submits] == [passed] * (
            2 if passed else 0
        )
        assert attempts(house, one) == [("" if passed else "mass_refused", 2, 0)]


async def test_who_was_refused_stays_refused_when_the_rest_comes(house: House) -> None:
    one = house.subscriber()
    async with Raw.login(house, "900007") as raw:
        for frame in parts([one, "13800009999"], [HEAD, END]):
            raw.send(frame)
            assert (await raw.frame())[20] == PASSED
    assert [submit.submission.destinations for submit in house.carrier.submits] == [[one.encode()]] * 2
    assert attempts(house, one) == [("", 2, 1), ("", 2, 2)]


# How it ends


async def test_a_goodbye_waits_for_the_parts_before_it(house: House) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, MIDDLE, END])
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        session = await carrier.session()
        raw.send(*frames[:2], Cmpp.terminate(9))
        assert await session.frames(3) == [*frames[:2], Cmpp.terminate(9)]


async def test_parts_of_a_lost_connection_have_never_come(house: House) -> None:
    subscriber = house.subscriber()
    frames = parts(subscriber, [HEAD, END])
    async with RawCarrier(house.upstreams.raw) as carrier:
        async with Raw.login(house, "900014") as raw:
            session = await carrier.session()
            raw.send(submit(MARKETING, [house.subscriber()], TEXT, 8), frames[0])
            await session.frame()
            raw.reset()
            assert await session.rest() == []
        async with Raw.login(house, "900014") as raw:
            session = await carrier.session()
            raw.send(*frames)
            assert await session.frames(2) == frames
    assert attempts(house, subscriber) == [("", 2, 0)]


async def test_what_lies_about_its_place_is_a_message_of_its_own(house: House) -> None:
    for octets in (bytes((5, 0, 3, 7, 2, 3)), bytes((5, 0, 3, 7, 200, 1)), bytes((5, 0, 3, 7, 1, 1))):
        subscriber = house.subscriber()
        frame = submit(
            MARKETING,
            [subscriber],
            "",
            1,
            tp_udhi=1,
            msg_fmt=8,
            msg_content=octets + TEXT.encode("utf-16-be"),
        )
        assert await one_by_one(house, [frame]) == [0]
        assert attempts(house, subscriber) == [("", 1, 1)]


async def test_outcomes_name_their_part(house: House) -> None:
    subscriber = house.subscriber()
    async with Raw.login(house) as raw:
        raw.send(*parts(subscriber, [HEAD, END]))
        await results(raw, 2)
    (found,) = house.records(subscriber=subscriber)
    assert isinstance(found.record, rec.Attempt)

    def both() -> bool:
        shown = Search(house.data_dir / "journal", Keys(house.data_dir / "keys")).show(found.record.id)
        return shown is not None and sorted(outcome.part for outcome in shown.outcomes) == [1, 2]

    await eventually(both)


async def test_collection_and_service_pass_in_parts_too(house: House) -> None:
    for account, source, texts in (
        ("900002", COLLECTION, [COLLECTING, "，谢谢"]),
        ("900001", SERVICE, ["【示例银行】您的账单", "已出"]),
    ):
        async with Raw.login(house, account) as raw:
            raw.send(*parts(house.subscriber(), texts, source=source))
            assert await results(raw, 2) == {1: 0, 2: 0}


async def test_the_index_counts_messages_and_not_their_parts(house: House) -> None:
    def agree() -> bool:
        found = [one.record for one in house.records() if isinstance(one.record, rec.Attempt)]
        wanted = sum(one.judged.verdict == rec.REFUSE or not half_read.continues(one) for one in found)
        counted = house.sql("SELECT coalesce(sum(count), 0) FROM traffic_minute")[0][0]
        return bool(counted == wanted)

    await eventually(agree, every=0.2)


async def test_what_was_counted_is_what_was_recorded(house: House) -> None:
    await house.counts_are_true()


async def test_the_node_never_said_anything_worse_than_info(house: House) -> None:
    output = (house.directory / "output").read_text("utf-8", "replace")
    assert "Traceback" not in output, output
    assert [line for line in house.log_lines() if line["level"] != "info"] == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_whenever_it_is_killed_no_part_leaves_without_its_record(house_of: HouseOf) -> None:
    """Texts and subscribers are used once; a message has one record that counts, whatever became of it."""
    carrier = CarrierSim(secret=SECRET, report_after=None, keep=10**6)
    rng = random.Random(20261122)
    told: dict[str, list[int]] = {}
    async with house_of(carrier=carrier) as house:

        async def send(at_once: bool) -> None:
            async with Raw.login(house) as raw:
                for sequence in count(1, 3):
                    mark = f"#{len(told)}#"
                    to = f"138{len(told):08d}"
                    end = END if sequence % 2 else "。"
                    frames = parts(to, [HEAD + mark, MIDDLE + mark, mark + end], first=sequence)
                    told[to] = []
                    for read in [frames] if at_once else [[frame] for frame in frames]:
                        raw.send(*read)
                        told[to] += [answer[20] for answer in await raw.frames(len(read))]

        async def go_on(at_once: bool) -> None:
            while True:
                with contextlib.suppress(OSError, EOFError, AssertionError):
                    await send(at_once)
                await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(go_on(at_once)) for at_once in (True, True, False, False)]
        for _ in range(20):
            so_far = carrier.counts["submits"]
            await eventually(lambda so_far=so_far: carrier.counts["submits"] > so_far + 20, 60.0)
            await asyncio.sleep(rng.random() * 0.2)
            await house.back("worker-0", house.signal("worker-0"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: not carrier.ends)

        passed: set[bytes] = set()
        counted: Counter[str] = Counter()
        reasons: dict[str, set[str]] = {}
        for found in house.records():
            attempt, content = found.record, found.content
            assert isinstance(attempt, rec.Attempt)
            assert content is not None
            reasons.setdefault(content.subscriber, set()).add(attempt.judged.reason)
            counted[content.subscriber] += not half_read.continues(attempt)
            if attempt.judged.verdict == rec.PASS:
                passed.update(content.octets)
        assert {submit.submission.content for submit in carrier.submits} <= passed
        assert set(counted.values()) == {1}
        for to, answers in told.items():
            assert set(answers) <= {0, 8, NO_HINT}
            if 0 in answers:
                assert "" in reasons["+86" + to]
            if NO_HINT in answers:
                assert "optout_hint_missing" in reasons["+86" + to]
        assert sum(len(answers) == 3 for answers in told.values()) > 100
