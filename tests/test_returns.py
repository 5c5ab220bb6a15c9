"""What comes back, through a node and over its crashes: what a subscriber says in several parts is read as
one answer, a half that would refuse holds and never refuses by itself; reports are tied to their attempts."""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from hypothesis import given, settings
from hypothesis import strategies as st
from playbook import HOST, MARKETING, SECRET, TEXT, House, eventually, free_ports, refresh

from gateway import model
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.journal import Journal
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.model import AccountKey
from gateway.policy.numbers import canonical
from gateway.protocols import assembly, smpp_tables
from gateway.protocols.assembly import KEEP, MOST_OF_ACCOUNT, place_of_reply
from gateway.protocols.message import Delivery
from gateway.protocols.smgp import Smgp
from gateway.protocols.smgp_tables import Deliver
from gateway.protocols.smpp import Smpp
from gateway.protocols.text import UCS2
from gateway.relay.joining import Joining, Read
from gateway.simulator.carrier import CarrierSim, Received
from gateway.simulator.end import End
from gateway.simulator.peers import Said
from gateway.simulator.sender import SenderSim

here = pytest.mark.asyncio(loop_scope="module")
NUMBER = MARKETING + "0001"
REFUSED, PASSED = 110, 0
LINES = ("smgp", "smpp")
_references = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[tuple[House, dict[str, tuple[int, CarrierSim]]]]:
    """A node of three protocols."""
    ports = dict(zip(LINES, free_ports(2), strict=True))
    async with (
        CarrierSim(HOST, protocol="smgp", secret=SECRET, report_after=None) as smgp,
        CarrierSim(HOST, protocol="smpp", secret=SECRET, report_after=None) as smpp,
    ):
        carriers = {"smgp": smgp, "smpp": smpp}
        listeners = "\n".join(
            f'[[sms]]\nprotocol = "{protocol}"\nlisten = "{HOST}:{ports[protocol]}"\n'
            f'upstream = ["{HOST}:{carrier.port}"]'
            for protocol, carrier in carriers.items()
        )
        filed = [f"mobile,{protocol},bank,BANK,financial,result,whole,,,0" for protocol in LINES]
        async with house_of(
            settings=listeners, filed=filed, carrier=CarrierSim(secret=SECRET, report_after=None)
        ) as house:
            yield house, {protocol: (ports[protocol], carrier) for protocol, carrier in carriers.items()}


@pytest.fixture
def house(node: tuple[House, Any]) -> House:
    refresh(node[0].carrier)
    return node[0]


def parts(*texts: str, total: int = 0) -> list[Said]:
    """What each of these says, as a part of one message."""
    reference, total = next(_references) % 256, total or len(texts)
    return [
        Said(bytes([5, 0, 3, reference, total, number]) + text.encode("utf-16-be"), UCS2, True, total, number)
        for number, text in enumerate(texts, 1)
    ]


async def say(carrier: CarrierSim, end: End, subscriber: str, said: Said, number: str = NUMBER) -> int | None:
    """A part on a connection; what it was answered with."""
    body = carrier.peer.reply(carrier._identity(), number.encode(), subscriber.encode(), said)
    return await carrier._delivered(end, body, None)


def meanings(house: House, subscriber: str) -> list[str]:
    """Of the replies that are on record, but for their parts."""
    found = [one.record for one in house.records(rec.Reply, subscriber=subscriber)]
    return [one.meaning for one in found if not half_read.is_part(one)]  # type: ignore[union-attr, arg-type]


LONG = "你们天天给我发这些东西，我真的已经很烦了，请马上给我退"


@here
@pytest.mark.parametrize("backwards", [False, True])
async def test_a_refusal_over_the_border_of_two_parts_refuses(house: House, backwards: bool) -> None:
    subscriber = house.subscriber()
    async with house.counted("replies_total", kind="refuse"), house.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
        end = house.carrier.connection("900001")
        two = parts(LONG, "订")
        for said in two[::-1] if backwards else two:
            assert await say(house.carrier, end, subscriber, said) == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == REFUSED
        passed = [delivery.content for _, delivery in sender.deliveries]
        assert passed == [said.content for said in (two[::-1] if backwards else two)]
    assert meanings(house, subscriber) == ["refuse"]
    *_, last = house.records(rec.Reply, subscriber=subscriber)
    assert plain(last, revealed=True)["text"] == LONG + "订"


@here
async def test_parts_over_two_connections_of_an_account_meet(house: House) -> None:
    subscriber = house.subscriber()
    async with house.sender() as sender, house.sender() as other:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
        ends = [end for end in house.carrier.ends if end.account == "900001"]
        one, two, three = parts("请不要再", "给我发广告了，", "退订！")
        await asyncio.gather(
            *(
                say(house.carrier, ends[place % 2], subscriber, said)
                for place, said in enumerate((three, one, two))
            )
        )
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == REFUSED
        assert len(sender.replies) + len(other.replies) == 3
    assert meanings(house, subscriber) == ["refuse"]


@here
async def test_half_a_reply_holds_what_it_would_refuse_and_the_whole_is_read_when_it_comes(
    house: House,
) -> None:
    late, lost = house.subscriber(), house.subscriber()
    async with house.sender() as sender:
        for subscriber in (late, lost):
            assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
        end = house.carrier.connection("900001")
        first, second = parts("这条不错的，我很喜欢看，", "退订")
        for subscriber in (late, lost):
            assert await say(house.carrier, end, subscriber, second) == 0
        for subscriber in (late, lost):
            await eventually(lambda subscriber=subscriber: meanings(house, subscriber) == ["ambiguous"])
            assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == REFUSED
        *_, held = house.records(rec.Reply, subscriber=lost)
        assert held.record.purposes == 1  # type: ignore[union-attr]
        assert await say(house.carrier, end, late, first) == 0
        await eventually(lambda: len(meanings(house, late)) == 2)
    assert meanings(house, late)[0] == "ambiguous"
    await house.counts_are_true()


@here
async def test_what_refuses_in_another_coding_than_it_claims_holds_where_it_reads_as_something_else(
    house: House,
) -> None:
    """R and a line feed, as UCS-2: 刊; and two words that differ in either coding hold nothing."""
    ascii_, wide = house.subscriber(), house.subscriber()
    async with house.sender() as sender:
        for subscriber, octets in ((ascii_, b"R\n"), (wide, "你好".encode("utf-16-be"))):
            assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
            said = Said(octets, UCS2, False, 1, 1)
            assert await say(house.carrier, house.carrier.connection("900001"), subscriber, said) == 0
        assert (await sender.submit(NUMBER, [ascii_], TEXT)).result == REFUSED
    assert (meanings(house, ascii_), meanings(house, wide)) == (["ambiguous"], ["other"])


@here
async def test_a_part_that_was_acknowledged_before_a_crash_counts_after_it(house: House) -> None:
    whole, half = house.subscriber(), house.subscriber()
    async with house.sender() as sender:
        for subscriber in (whole, half):
            assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
        end = house.carrier.connection("900001")
        one, two = parts(LONG, "订")
        assert await say(house.carrier, end, whole, one) == 0
        assert await say(house.carrier, end, half, parts("退订退订，", "不然我要投诉")[0]) == 0
        old = house.signal("worker-0", signal.SIGKILL)
    assert meanings(house, whole) == meanings(house, half) == []
    await house.back("worker-0", old)
    async with house.sender() as sender:
        assert await say(house.carrier, house.carrier.connection("900001"), whole, two) == 0
        assert (await sender.submit(NUMBER, [whole], TEXT)).result == REFUSED
        assert meanings(house, whole)[-1] == "refuse"
        await eventually(lambda: meanings(house, half) == ["ambiguous"])
        assert (await sender.submit(NUMBER, [half], TEXT)).result == REFUSED
        refused = house.signal("worker-0", signal.SIGKILL)
    read = meanings(house, whole), meanings(house, half)
    await house.back("worker-0", refused)
    async with house.sender() as sender:  # what was read before is not read again
        other = house.subscriber()
        assert (await sender.submit(NUMBER, [other], TEXT)).result == PASSED
        for said in parts("退订，我说真的，别再", "发了"):
            assert await say(house.carrier, house.carrier.connection("900001"), other, said) == 0
        await eventually(lambda: meanings(house, other) == ["refuse"])
    assert (meanings(house, whole), meanings(house, half)) == read


@here
@pytest.mark.parametrize("protocol", LINES)
async def test_the_other_protocols_join_as_well(
    node: tuple[House, dict[str, tuple[int, CarrierSim]]], protocol: str
) -> None:
    house, lines = node
    port, carrier = lines[protocol]
    refresh(carrier)
    subscriber = house.subscriber()
    async with SenderSim(HOST, port, "bank", SECRET, None, protocol=protocol) as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == PASSED
        for said in parts(LONG, "订"):
            assert await say(carrier, carrier.connection("bank"), subscriber, said) == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result != PASSED
        assert len(sender.replies) == 2
    assert meanings(house, subscriber) == ["refuse"]


# Reports


def shown(house: House, subscriber: str) -> dict[str, Any]:
    """The newest attempt and what became of it."""
    search = Search(house.data_dir / "journal", Keys(house.data_dir / "keys"))
    found = search.show(house.records(subscriber=subscriber)[-1].record.id)  # type: ignore[union-attr]
    assert found is not None
    return plain(found)


async def report(
    carrier: CarrierSim, received: Received, identity: bytes, stat: str = "DELIVRD", **fields: Any
) -> int | None:
    """A report on the newest connection of the account, with this message id; what it was answered with."""
    body = carrier.peer.report(identity, received.submission, 0, stat, "2611221200")
    for name, value in fields.items():
        setattr(body, name, value)
    return await carrier._delivered(carrier.connection(received.end.account), body, None)


@here
async def test_a_report_before_the_answer_and_one_after_a_crash_are_tied_and_a_repeated_one_is_marked(
    house: House,
) -> None:
    early, late, again = house.subscriber(), house.subscriber(), house.subscriber()
    house.carrier.report_after, house.carrier.faults.answer_after = 0.0, 0.2
    async with house.sender() as sender:
        assert (await sender.submit(NUMBER, [early], TEXT, report=True)).result == PASSED
        house.carrier.report_after, house.carrier.faults.answer_after = None, 0.0
        for subscriber in (late, again):
            assert (await sender.submit(NUMBER, [subscriber], TEXT, report=True)).result == PASSED
        *_, one, other = house.carrier.submits
        assert await report(house.carrier, other, other.message_id) == 0
        await eventually(lambda: len(house.records(rec.Outcome, kinds=frozenset({rec.OUTCOME}))) >= 3)
        assert shown(house, late)["delivery"] == "accepted"
        old = house.signal("worker-0", signal.SIGKILL)
    assert shown(house, early)["delivery"] == "delivered"
    assert len(shown(house, again)["reports"]) == 1  # what was acknowledged has not been lost
    await house.back("worker-0", old)
    async with house.sender(), house.sender() as sender:  # another connection than those that it was sent on
        assert await report(house.carrier, one, one.message_id, "UNDELIV") == 0
        assert await report(house.carrier, other, other.message_id) == 0
        assert await report(house.carrier, other, b"\x7f" * 8) == 0
        assert len(sender.reports) == 3
    said = shown(house, late)
    assert (said["delivery"], said["delivery_stat"]) == ("failed", "UNDELIV")
    said = shown(house, again)
    assert said["delivery"] == "delivered"
    assert [one["repeated"] for one in said["reports"]] == [False, True]


@here
async def test_an_smpp_report_in_another_spelling_is_tied_and_its_state_is_found(
    node: tuple[House, dict[str, tuple[int, CarrierSim]]],
) -> None:
    house, lines = node
    port, carrier = lines["smpp"]
    refresh(carrier)
    async with SenderSim(HOST, port, "bank", SECRET, None, protocol="smpp") as sender:
        for spelt in (b"%X", b"%016x", b"%d"):
            subscriber = house.subscriber()
            answer = await sender.submit(NUMBER, [subscriber], TEXT, report=True)
            received = carrier.submits[-1]
            assert answer.message_id == received.message_id
            assert await report(carrier, received, spelt % int(received.message_id)) == 0
            assert shown(house, subscriber)["delivery"] == "delivered"
    code, out, err = await house.cli("records", "find", "--subscriber", subscriber, "--json")
    assert code == 0, err
    (found,) = (row for row in json.loads(out) if row["kind"] == "attempt")
    said = shown(house, subscriber)
    names = ("id", "delivery", "delivery_at", "delivery_stat")
    assert [found[name] for name in names] == [said[name] for name in names]


@here
async def test_a_message_in_three_parts_is_delivered_with_its_last_report(house: House) -> None:
    subscriber = house.subscriber()
    text = TEXT + "，更多内容请见网点公告" * 12
    async with house.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], text, report=True)).result == PASSED
        received = list(house.carrier.submits)
        assert len(received) == 3
        for part, state in ((0, "accepted"), (2, "accepted"), (1, "delivered")):
            bare = {"src_terminal_id": b""} if part == 2 else {}  # the number stands in the text as well
            assert await report(house.carrier, received[part], received[part].message_id, **bare) == 0
            said = shown(house, subscriber)
            assert said["delivery"] == state
    assert [(one["part"], one["state"]) for one in said["parts"]] == [(n, "delivered") for n in (1, 2, 3)]
    assert len({one["subscriber"] for one in said["reports"]}) == 1


@here
async def test_a_sender_who_waits_for_each_answer_has_one_attempt_too(house: House) -> None:
    """Each of its judgements is a record; what became of all parts is said of the first."""
    subscriber = house.subscriber()
    text = TEXT + "，更多内容请见网点公告" * 12
    async with house.sender() as sender:
        for frame in sender.frames(NUMBER, [subscriber], text, report=True):
            assert (await sender.request(frame)).result == PASSED
        first, *more = house.records(subscriber=subscriber)
        assert [half_read.continues(one.record) for one in more] == [True, True]  # type: ignore[arg-type]
        search = Search(house.data_dir / "journal", Keys(house.data_dir / "keys"))
        for received, state in zip(house.carrier.submits, ("accepted", "accepted", "delivered"), strict=True):
            assert await report(house.carrier, received, received.message_id) == 0
            came = [plain(one).get("delivery") for one in search.with_followers([first, *more])]
            assert came == [state, None, None]


# Without a node


def test_parts_may_be_told_beside_the_text() -> None:
    fields = [(smpp_tables.SAR_MSG_REF_NUM, b"\1\2"), (smpp_tables.SAR_TOTAL_SEGMENTS, b"\3")]
    body = smpp_tables.DeliverSm(
        source_addr=b"13800000000", destination_addr=b"10690001", short_message=b"ab",
        tlvs=[*fields, (smpp_tables.SAR_SEGMENT_SEQNUM, b"\2")],
    )  # fmt: skip
    octets = Smpp().encode(body, 1)
    place = place_of_reply(Smpp().delivery(octets, 0, len(octets)), "x")
    assert place is not None
    assert place[1:] == (3, 2, 0x102, b"ab")
    report = Deliver(msg_id=bytes(10), src_term_id=b"1", dest_term_id=b"2", msg_content=b"ab",
                     tlvs=[(9, b"\2"), (10, b"\1")])  # fmt: skip
    octets = Smgp().encode(report, 1)
    place = place_of_reply(Smgp().delivery(octets, 0, len(octets)), "x")
    assert place is not None
    assert place[1:] == (2, 1, 0, b"ab")
    assert place_of_reply(Delivery(b"", b"1", b"2", 8, False, b"ab", None), "x") is None


ACCOUNT = AccountKey("mobile", "cmpp", "900001")


def delivery(subscriber: int, said: Said, identity: bytes = b"m") -> Delivery:
    return Delivery(
        identity, b"1380000%04d" % subscriber, b"10690001", said.fmt, said.udhi, said.content, None
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_order_each_message_is_read_as_a_whole_once_and_nothing_is_kept(data: Any) -> None:
    """Several subscribers' parts in any order, some of them twice in a row, some not recorded at first."""

    async def run() -> None:
        late: list[Read] = []

        def read_late(read: Read, done: Callable[[Exception | None], None]) -> None:
            late.append(read)
            done(None)

        joining = Joining(read_late)
        totals = data.draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
        texts = {who: parts(*(f"{who}.{n}" for n in range(total))) for who, total in enumerate(totals)}
        todo = data.draw(st.permutations([(who, said) for who, all_of in texts.items() for said in all_of]))
        whole: dict[int, tuple[bytes, ...]] = {}
        for who, said in todo:
            for error in data.draw(st.sampled_from([(None,), (OSError(), None)])):
                read = joining.take(ACCOUNT, delivery(who, said), 1)
                assert read is not None
                answers: list[Exception | None] = []
                joining.done(read, answers.append, error)
                assert answers == [error]
                if read.whole and error is None:
                    assert who not in whole
                    whole[who] = read.delivery.content  # type: ignore[assignment]
        assert whole == {who: tuple(said.content for said in all_of) for who, all_of in texts.items()}
        joining.finish(read_late)
        assert late == []
        assert joining._assembly._in_all == 0

    asyncio.run(run())


@pytest.mark.parametrize("total", [2, 3])
async def test_a_part_that_comes_while_the_others_are_recorded_late_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, total: int
) -> None:
    """The last one makes it whole: read at once. Another waits with them for what is missing."""
    monkeypatch.setattr(assembly, "WAIT", 20)
    late: list[tuple[Read, Callable[[Exception | None], None]]] = []
    joining = Joining(lambda read, done: late.append((read, done)))
    first, second = parts("请马上给我退", "订", total=total)

    def come(said: Said) -> None:
        read = joining.take(ACCOUNT, delivery(1, said), 1)
        assert read is not None
        assert not read.whole
        joining.done(read, lambda error: None, None)

    come(first)
    await eventually(lambda: late)
    come(second)
    late.pop()[1](None)
    await eventually(lambda: late, 2.0)
    ((read, done),) = late
    assert read.delivery.content == (first.content, second.content, *[b""] * (total - 2))
    done(None)
    assert not joining._assembly.waiting


async def test_without_room_a_part_is_read_by_itself_as_far_as_it_goes() -> None:
    read_late: list[Read] = []

    def read_it(read: Read, done: Callable[[Exception | None], None]) -> None:
        read_late.append(read)
        done(None)

    joining = Joining(read_it)
    big = "好" * 60
    for who in range(MOST_OF_ACCOUNT // 1000):
        (one, _) = parts(big, big)
        read = joining.take(ACCOUNT, delivery(who, one), 1)
        assert read is not None
        if read.whole:
            break
    assert read.message is None
    assert [bool(content) for content in read.delivery.content] == [True, False]
    joining.finish(read_it)
    assert len(read_late) == who
    assert joining._assembly._in_all == 0


async def test_parts_are_taken_up_from_whichever_journal_by_who_has_the_account(tmp_path: Path) -> None:
    """One was read, one is too old, one is another worker's; the fourth's end comes, the fifth's does not."""
    at, keys = 1_763_697_600_000, Keys(tmp_path / "keys")
    texts = [parts("请马上给我退", "订") for _ in range(5)]
    mine, others = ACCOUNT, ACCOUNT._replace(account="900002")

    def keep(who: int, *, whole: bool = False, ago: int = 0, account: AccountKey = mine) -> None:
        first, second = (said.content for said in texts[who])
        flag = f"{half_read.JOINED if whole else half_read.PART}{first[3]}"
        subscriber = canonical(delivery(who, texts[who][0]).subscriber)
        said = model.Reply(account, "10690001", subscriber, "", message_id=b"m", flags=(flag,))
        how = {"purposes": 0, "channels": 0, "registry_version": 1, "done": lambda error: None}
        journal.reply(at - ago, said, (first, second if whole else b""), UCS2, 1, **how)  # type: ignore[arg-type]

    journal = Journal(tmp_path / "journal", "n", "w0", keys, clock=lambda: at)
    journal.start()
    keep(1, ago=KEEP + 1)
    await journal.sync()
    keep(0)
    keep(0, whole=True)
    keep(2, account=others)
    await journal.close()
    journal = Journal(tmp_path / "journal", "n", "w1", keys, clock=lambda: at)
    journal.start()
    keep(3)
    keep(4)
    await journal.close()

    late: list[Read] = []

    def read_late(read: Read, done: Callable[[Exception | None], None]) -> None:
        late.append(read)
        done(None)

    joining = Joining(read_late)
    joining.restore(Search(tmp_path / "journal", keys), lambda account: account == mine.account)
    read = joining.take(mine, delivery(3, texts[3][1]), at)
    assert read is not None
    assert (read.whole, read.delivery.content) == (True, tuple(said.content for said in texts[3]))
    joining.done(read, lambda error: None, None)
    joining.finish(read_late)
    (left,) = late
    assert (left.delivery.subscriber[-1:], left.at, left.delivery.content[1]) == (b"4", at, b"")
