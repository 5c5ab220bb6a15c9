"""A subscriber's "R" from outside: it shields at once, on all numbers of that institution and of it alone.

"At once" here is: when the carrier has its acknowledgement, the next submit on any worker is refused.
"""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import (
    COLLECTING,
    COLLECTION,
    MARKETING,
    SERVICE,
    TEXT,
    House,
    eventually,
    refresh,
)
from raw_ends import Raw, RawCarrier, answer_to, deliver, sequence_of, submit

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.evidence.segment import Segment
from gateway.policy.numbers import mask
from gateway.protocols import text as codings
from gateway.protocols.cmpp import V20, V30, Cmpp

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER = MARKETING + "0001"
OTHER_NUMBER = "106900100001"
BANKS = ("900001", "900003", "900007", "900012", "900016", "900017", "900018")
GB18030, UCS2, ASCII = 15, 8, 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2, extra=("900016", "900017", "900018")) as house:
        yield house


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


def elsewhere(account: str) -> str:
    """An account of BANK that the other worker carries."""
    return next(other for other in BANKS if owner(other, 2) != owner(account, 2))


@pytest.mark.parametrize(
    ("text", "fmt"),
    [
        ("R", ASCII), ("r", GB18030), ("Ｒ", UCS2), ("Ｒ", GB18030), (" R。", UCS2), ("退订", UCS2),
        ("退订", GB18030), ("退 订！", UCS2), ("ＴＤ", GB18030), ("T", ASCII), ("td", ASCII), ("N", ASCII),
        ("0000", ASCII), ("００００", UCS2), ("拒收", UCS2), ("回复R", UCS2),
    ],
)  # fmt: skip
async def test_a_plain_no_shields_at_once(house: House, text: str, fmt: int) -> None:
    subscriber = house.subscriber()
    async with house.sender() as sender, house.sender(elsewhere("900001")) as other:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert (await other.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, text, fmt=fmt, account="900001") == 0
        for one in (other, sender):
            assert (await one.submit(NUMBER, [subscriber], TEXT)).result == 110
            assert (await one.submit(OTHER_NUMBER, [subscriber], TEXT)).result == 110
            assert (await one.submit(SERVICE, [subscriber], "您的验证码是000000")).result == 0
            assert (await one.submit(NUMBER, [house.subscriber()], TEXT)).result == 0
        assert [(reply.number, reply.subscriber, reply.text) for reply in sender.replies] == [
            (NUMBER, subscriber, text)
        ]
        assert not other.replies
    async with house.sender("900002") as agency:
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 0


async def test_it_is_recorded_counted_and_carried_to_the_database(house: House) -> None:
    subscriber = house.subscriber()
    identity = b"\1\2\3\4\5\6\7\x08"
    async with (
        house.counted("replies_total", kind="refuse"),
        house.counted("refusal_effective_seconds_count"),
        house.sender() as sender,
    ):
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, "退订", identity=identity) == 0
    (attempt,) = house.records(subscriber=subscriber)
    (found,) = house.records(rec.Reply, subscriber=subscriber)
    reply = found.record
    assert (reply.meaning, reply.institution, reply.attempt) == ("refuse", "BANK", attempt.record.id)
    assert (reply.number, reply.message_id, reply.flags) == (NUMBER, identity, ())
    assert found.content is not None
    assert codings.decode(found.content.octets, reply.fmt, False)[0] == "退订"
    query = f"SELECT {', '.join(COLUMNS)} FROM refusals WHERE message_id = %s"
    assert await eventually(lambda: house.sql(query, identity)) == [
        ("reply", "house", "mobile", "cmpp", "900001", 1, 3)
    ]


COLUMNS = ("source", "node", "carrier", "protocol", "account", "purposes", "channels")


async def test_a_redelivered_reply_changes_nothing(house: House) -> None:
    subscriber, last = house.subscriber(), house.subscriber()
    identity, later = b"\x0b\2\3\4\5\6\7\x08", b"\x0c\2\3\4\5\6\7\x08"

    def rows(message_id: bytes) -> list[Any]:
        return house.sql("SELECT id, refused_at, row_version FROM refusals WHERE message_id = %s", message_id)

    async with house.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, "R", identity=identity) == 0
        (stands,) = await eventually(lambda: rows(identity))
        for _ in range(3):
            assert await house.carrier.deliver(NUMBER, subscriber, "R", identity=identity) == 0
        # another one, later: when it has arrived, those before it have too
        assert await house.carrier.deliver(NUMBER, last, "R", identity=later) == 0
        await eventually(lambda: rows(later))
        assert rows(identity) == [stands]
        assert len(sender.replies) == 5  # each reached the sender all the same


async def test_replies_without_an_id_of_the_carrier_s_all_count(house: House) -> None:
    """A Msg_Id of 0 names no message: a "T" to another number is another reply."""
    subscriber, none = house.subscriber(), bytes(8)
    async with house.sender() as sender:
        for number in (NUMBER, OTHER_NUMBER):
            assert await house.carrier.deliver(number, subscriber, "T", identity=none) == 0
        query = "SELECT count(*) FROM refusals WHERE subscriber_hash = %s"
        await eventually(lambda: house.sql(query, house.key.hash("+86" + subscriber)) == [(2,)])
        assert len(sender.replies) == 2


async def test_what_is_no_refusal_shields_from_nothing(house: House) -> None:
    subscriber = house.subscriber()
    async with house.counted("replies_total", 3, kind="other"), house.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        for text in ("好的，谢谢", "请问怎么办理", "Really?"):
            assert await house.carrier.deliver(NUMBER, subscriber, text) == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
    assert {found.record.meaning for found in house.records(rec.Reply, subscriber=subscriber)} == {"other"}


@pytest.mark.parametrize(
    ("text", "number", "account", "covered", "result"),
    [
        ("别打电话了，有事发短信", NUMBER, "900001", (1, 2), 0),
        ("不要再給我發了", NUMBER, "900001", (1, 3), 110),
        ("只退订营销短信", COLLECTION, "900002", (1, 3), 0),
    ],
)
async def test_a_refusal_goes_as_far_as_its_words(
    house: House, text: str, number: str, account: str, covered: tuple[int, int], result: int
) -> None:
    """Purposes and channels that it covers, and what the next message from that number meets."""
    subscriber = house.subscriber()
    said = COLLECTING if number == COLLECTION else TEXT
    async with house.sender(account) as sender:
        assert (await sender.submit(number, [subscriber], said)).result == 0
        assert await house.carrier.deliver(number, subscriber, text, account=account) == 0
        assert (await sender.submit(number, [subscriber], said)).result == result
    (found,) = house.records(rec.Reply, subscriber=subscriber)
    assert (found.record.purposes, found.record.channels) == covered


async def test_a_no_to_collection_covers_collection_and_marketing(house: House) -> None:
    subscriber = house.subscriber()
    async with house.sender("900002") as agency, house.sender("900013") as lender:
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 0
        assert await house.carrier.deliver(COLLECTION, subscriber, "T", account="900002") == 0
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 110
        marketing = "【示例消金】新客专享，详询网点。拒收请回复R"
        assert (await lender.submit("106900070001", [subscriber], marketing)).result == 110
    async with house.sender() as bank:
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 0


async def test_without_an_attempt_it_is_the_present_owners(house: House) -> None:
    subscriber = house.subscriber()
    async with house.sender("900005") as carried, house.sender() as sender:
        assert await house.carrier.deliver(NUMBER, subscriber, "R", account="900005") == 0
        assert (await sender.submit(OTHER_NUMBER, [subscriber], TEXT)).result == 110
        assert len(carried.replies) == 1
    (found,) = house.records(rec.Reply, subscriber=subscriber)
    assert (found.record.institution, found.record.flags) == ("BANK", ("no_attempt_here",))


async def test_it_is_the_institutions_of_the_attempt_although_the_number_has_moved(house: House) -> None:
    subscriber = house.subscriber()
    await house.bring(
        "numbers",
        "number,channels,purposes,institution,signatures,effective_from\n"
        "1069006601,sms,marketing,BANK,示例银行,2024-01-01",
    )
    async with house.sender() as sender:

        async def known() -> bool:
            return (await sender.submit("1069006601", [subscriber], TEXT)).result == 0

        await eventually(known)
        house.sql("UPDATE numbers SET effective_until = now() WHERE number = '1069006601'")
        await house.bring(
            "numbers",
            "number,channels,purposes,institution,signatures,effective_from\n"
            f"1069006601,sms,collection,FIN,示例消金,{house.sql('SELECT now()')[0][0].isoformat()}",
        )

        async def moved() -> bool:
            return (await sender.submit("1069006601", [subscriber], TEXT)).result != 0

        await eventually(moved)
        assert await house.carrier.deliver("1069006601", subscriber, "R") == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 110
    (found,) = house.records(rec.Reply, subscriber=subscriber)
    assert (found.record.institution, found.record.purposes) == ("BANK", 1), "what it was filed for then"


async def test_to_a_number_that_nobody_filed_it_waits_for_who_files_it(house: House) -> None:
    subscriber = house.subscriber()
    number = "1069007701"
    async with house.sender("900005") as provider:
        assert (await provider.submit(number, [subscriber], "【示例商城】您的包裹已到")).result == 0
        assert await house.carrier.deliver(number, subscriber, "R") == 0
    await house.bring(
        "numbers",
        "number,channels,purposes,institution,signatures,effective_from\n"
        f"{number},sms,marketing,BANK,示例银行,2024-01-01",
    )
    async with house.sender() as sender:

        async def known() -> bool:
            return (await sender.submit(number, [house.subscriber()], TEXT)).result == 0

        await eventually(known)
        assert (await sender.submit(number, [subscriber], TEXT)).result == 110


async def test_other_workers_hear_of_it_within_a_second(house: House) -> None:
    """Measured, over many replies at once."""
    subscribers = [house.subscriber() for _ in range(40)]
    async with house.sender() as sender, house.sender(elsewhere("900001")) as other:
        for subscriber in subscribers:
            assert await house.carrier.deliver(NUMBER, subscriber, "R", account="900001") == 0
            began = time.monotonic()
            while (await other.submit(NUMBER, [subscriber], TEXT)).result != 110:
                assert time.monotonic() - began < 1.0
        assert len(sender.replies) == 40


@pytest.mark.parametrize("version", [V20, V30])
async def test_replies_pass_octet_for_octet_and_in_order(house: House, version: int) -> None:
    """A reply waits for the disk, and what the carrier sends behind it waits for the reply."""
    frames = []
    for number in range(1, 31):
        kind = number % 3
        if kind == 0:
            frames.append(Cmpp.heartbeat(number))
        else:
            content = b"R" if kind == 1 else b"thanks"
            frames.append(deliver(NUMBER, house.subscriber(), content, number, version, service_id=b"X"))
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014", version) as raw:
        there = await carrier.session()
        there.send(*frames)
        assert await raw.frames(len(frames)) == frames
        answers = [answer_to(f, 9, 0, version) for f in frames if sequence_of(f) % 3]
        raw.send(*answers)
        assert await there.frames(len(answers)) == answers


async def test_answers_to_submits_keep_their_place_behind_a_reply(house: House) -> None:
    frame = submit(NUMBER, [house.subscriber()], TEXT, 1)
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        raw.send(frame)
        assert await there.frame() == frame
        said = [deliver(NUMBER, house.subscriber(), b"R", 5), answer_to(frame, 3), Cmpp.terminate(6)]
        there.send(*said)
        assert await raw.frames(3) == said


@pytest.mark.long
async def test_a_pseudo_number_is_shielded_and_is_nobody_elses(house: House) -> None:
    """CMPP 3.0, Dest_terminal_type 1: opaque, so that its digits are not read as somebody's number."""
    for name in ("F00DA1B2C3D4E5F6A7B8C9D0E1F2A3B4", house.subscriber()):

        def asked(number: int, pseudo: int, to: str = name) -> bytes:
            return submit(NUMBER, [to], TEXT, number, V30, dest_terminal_type=pseudo)

        async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014", V30) as raw:
            there = await carrier.session()
            raw.send(asked(1, 1))
            assert await there.frame() == asked(1, 1)
            there.send(said := deliver(NUMBER, name, b"R", 9, V30, src_terminal_type=1))
            assert await raw.frame() == said
            raw.send(asked(2, 1))
            assert int.from_bytes((await raw.frame())[20:], "big") == 110
            if name.isdigit():
                raw.send(asked(3, 0))
                assert await there.frame() == asked(3, 0)
        (reply,) = house.records(rec.Reply, number=NUMBER, since=int(time.time() * 1000) - 5000)[-1:]
        assert reply.content is not None
        assert reply.content.subscriber == f"pseudo:{name}"

        def counted(spelled: str = name) -> int:
            query = "SELECT count(*) FROM refusals WHERE subscriber_hash = %s"
            return int(house.sql(query, house.key.hash(f"pseudo:{spelled}"))[0][0])

        await eventually(lambda: counted() == 1)
        code, out, _ = await house.cli("records", "find", "--subscriber", f"pseudo:{name}", "--json")
        assert (code, len(json.loads(out))) == (0, 3)


async def test_a_reply_that_can_not_be_read_passes_and_is_recorded(house: House) -> None:
    began = int(time.time() * 1000)
    frames = [
        deliver(NUMBER, house.subscriber(), b"\xff\xfe\x01", 1, msg_fmt=8),
        deliver(NUMBER, "hello", b"R", 2),
        deliver("", house.subscriber(), b"R", 3),
        deliver(NUMBER, house.subscriber(), b"", 4),
    ]
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014") as raw:
        there = await carrier.session()
        async with house.counted("replies_total", len(frames)):
            there.send(*frames)
            assert await raw.frames(len(frames)) == frames
    replies = [found.record for found in house.records(rec.Reply, since=began)]
    assert len(replies) == len(frames)
    assert not any(reply.purposes for reply in replies)  # "R" to nobody in particular is not one to everybody


async def test_a_pseudo_number_is_a_subscriber_like_any_other(house: House) -> None:
    """CMPP 3.0 lets a carrier hide who a subscriber is; his messages are judged, and his "R" shields him."""
    pseudo, real = "9F2C" * 8, house.subscriber()
    to_him = {"dest_terminal_type": 1, "version": V30}
    async with RawCarrier(house.upstreams.raw) as carrier, Raw.login(house, "900014", V30) as raw:
        there = await carrier.session()
        first = submit(NUMBER, [pseudo], TEXT, 1, **to_him)
        raw.send(first)
        assert await there.frame() == first
        reply = deliver(NUMBER, pseudo, b"R", 7, V30, src_terminal_type=1)
        there.send(reply)
        assert await raw.frame() == reply
        raw.send(submit(NUMBER, [pseudo], TEXT, 2, **to_him))
        assert Cmpp(V30).result(await raw.frame(), 0, 24)[0] == 110
        same_digits = [
            submit(NUMBER, [real], TEXT, 3, **to_him),
            submit(NUMBER, [real], TEXT, 4, version=V30),
        ]
        raw.send(*same_digits)
        assert await there.frames(2) == same_digits
    code, out, err = await house.cli("records", "find", "--subscriber", f"pseudo:{pseudo}", "--json")
    assert code == 0, err
    said = [(row["kind"], row["subscriber"]) for row in json.loads(out)]
    assert said == [(kind, mask(f"pseudo:{pseudo}")) for kind in ("attempt", "reply", "attempt")]
    assert pseudo not in out
    judge = ("judge", "--from", NUMBER, "--to", f"pseudo:{pseudo}", "--text", TEXT, "--json")
    code, out, err = await house.cli(*judge)
    assert (code, json.loads(out)["reason"]) == (3, "refused_by_subscriber"), err


async def test_what_was_counted_is_what_was_recorded(house: House) -> None:
    await house.counts_are_true()


async def test_the_node_never_said_anything_worse_than_info(house: House) -> None:
    output = (house.directory / "output").read_text("utf-8", "replace")
    assert "Traceback" not in output, output
    assert [line for line in house.log_lines() if line["level"] != "info"] == []


async def test_what_the_registry_did_is_on_record_without_the_subscriber(house: House) -> None:
    """Acts are kept for good; a subscriber's key would tell for ever who said no; who was told is named."""

    def acts() -> list[rec.Act]:
        found = []
        for path in sorted((house.data_dir / "journal" / "keeper").glob("*.seg")):
            with Segment(path) as segment:
                for block in segment.blocks():
                    found += [rec.decode(octets) for octets in block.records]
        return [act for act in found if isinstance(act, rec.Act) and act.table == "refusals"]

    before = len(acts())
    await house.bring("refusals", f"subscriber,institution\n{house.subscriber()},BANK")
    await eventually(lambda: len(acts()) > before)
    unfiled = {number for (number,) in house.sql("SELECT number FROM refusals WHERE number <> ''")}
    assert {act.key for act in acts()} <= {"BANK", "FIN", ""} | unfiled
    assert acts()[-1].key == "BANK"
    assert acts()[-1].by == "checker, approver"
