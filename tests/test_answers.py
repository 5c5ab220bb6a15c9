"""What a subscriber's answer does beyond a plain no, from outside: held, accepted again, another person."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import (
    BY_RUN,
    COLLECTING,
    COLLECTION,
    MARKETING,
    OPEN_RUN,
    SERVICE,
    TEXT,
    House,
    eventually,
    refresh,
)

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.model import HELD

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER = MARKETING + "0001"
FIN_NUMBER, FIN_TEXT = "106900070001", "【示例消金】新客专享，详询网点。拒收请回复R"
BANKS = ("900001", "900003", "900007", "900012", "900016", "900017", "900018")
PERHAPS, AGAIN, STRANGER = "怎么退订？", "恢复订阅", "你打错了"
STRICT = """
[rules.consent_missing]
mode = { marketing = "observe" }
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2, extra=("900016", "900017", "900018"), profile=STRICT) as house:
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(node: House) -> AsyncIterator[Asker]:
    """The API; its users decide at the command line, too."""
    async with aiohttp.ClientSession() as client:
        yield Asker(node, client)


@pytest.fixture
def house(node: House) -> House:
    refresh(node.carrier)
    return node


def elsewhere(account: str) -> str:
    """An account of BANK that the other worker carries."""
    return next(other for other in BANKS if owner(other, 2) != owner(account, 2))


def told(house: House, subscriber: str, what: str, table: str = "replies") -> list[Any]:
    return house.sql(
        f"SELECT {what} FROM {table} WHERE subscriber_hash = %s", house.key.hash(f"+86{subscriber}")
    )


async def judged(house: House, subscriber: str) -> dict[str, Any]:
    """What `judge` says of the rule refused_by_subscriber."""
    code, out, err = await house.cli(
        "judge", "--from", NUMBER, "--to", subscriber, "--text", TEXT, "--account", "900001", "--json"
    )
    assert code in (0, 3), err
    found: dict[str, Any] = next(
        rule for rule in json.loads(out)["rules"] if rule["reason"] == "refused_by_subscriber"
    )
    return found


async def decided(house: House, subscriber: str, decision: str, by: str = "regulator") -> tuple[int, str]:
    """`zhengming reply decide` on the one reply of a subscriber; code and what it said against it."""
    ((identity,),) = await eventually(lambda: told(house, subscriber, "id"))
    act = ("reply", "decide", str(identity), "--decision", decision, "--reason", "已回访", "--by", by)
    code, _, err = await house.cli(*act)
    return code, err


async def test_an_ambiguous_answer_holds_marketing_until_a_person_says_that_it_was_no_refusal(
    house: House, ask: Asker
) -> None:
    subscriber = house.subscriber()
    async with (
        house.counted("replies_total", kind="ambiguous"),
        house.sender() as sender,
        house.sender(elsewhere("900001")) as other,
    ):
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert (await other.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, PERHAPS, account="900001") == 0
        for one in (sender, other):
            assert (await one.submit(NUMBER, [subscriber], TEXT)).result == 110
            assert (await one.submit(SERVICE, [subscriber], "您的验证码是000000")).result == 0
        assert [reply.text for reply in sender.replies] == [PERHAPS]
        async with house.sender("900013") as lender:
            assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 0
        said = await judged(house, subscriber)
        assert (said["sub"], "holds until 20" in said["fact"]["en"]) == ("held", True)
        (found,) = house.records(rec.Reply, subscriber=subscriber)
        reply = found.record
        assert (reply.meaning, reply.purposes, reply.channels, reply.institution) == (
            "ambiguous",
            1,
            3,
            "BANK",
        )
        ((waits, record),) = await eventually(
            lambda: told(house, subscriber, "undecided_until - said_at, replace(record::text, '-', '')")
        )
        assert (waits.total_seconds() * 1000, record) == (HELD, reply.id.hex())
        code, err = await decided(house, subscriber, "no_refusal", by="bank")
        assert (code, "only decide that it was a refusal" in err) == (1, True)
        assert (await decided(house, subscriber, "no_refusal"))[0] == 0

        async def passes() -> bool:
            return (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0

        await eventually(passes, 2.0)
        assert (await decided(house, subscriber, "refusal"))[0] == 1  # it was decided
        # the same answer, delivered again, holds nothing anew
        assert (
            await house.carrier.deliver(
                NUMBER, subscriber, PERHAPS, account="900001", identity=reply.message_id
            )
            == 0
        )
        assert (await other.submit(NUMBER, [subscriber], TEXT)).result == 0
    subs = [found.record.judged.sub for found in house.records(subscriber=subscriber, verdict="refuse")]
    assert subs == ["held", "held"]


async def test_the_institution_may_say_that_it_was_a_refusal(house: House, ask: Asker) -> None:
    subscriber = house.subscriber()
    async with house.sender() as sender:
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, PERHAPS) == 0
        assert await decided(house, subscriber, "refusal", by="bank") == (0, "")

        async def plain() -> bool:
            found = await judged(house, subscriber)
            return not found["holds"] and found["sub"] == ""

        await eventually(plain)
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 110


async def test_a_person_s_refusal_ends_collection_that_the_hold_let_through(house: House) -> None:
    subscriber = house.subscriber()
    async with house.sender("900002") as agency:

        async def collects() -> bool:
            return (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 0

        async def stopped() -> bool:
            return not await collects()

        assert await collects()
        assert await house.carrier.deliver(COLLECTION, subscriber, PERHAPS, account="900002") == 0
        assert await collects()
        assert await decided(house, subscriber, "refusal") == (0, "")
        await eventually(stopped)
        (refused, *_) = house.records(subscriber=subscriber, verdict="refuse")
        assert refused.record.judged.reason == "refused_by_subscriber"


async def test_a_stranger_is_not_asked_for_anybody_s_money(house: House) -> None:
    subscriber = house.subscriber()
    async with (
        house.counted("replies_total", kind="wrong_person"),
        house.sender("900002") as agency,
        house.sender("900013") as lender,
    ):
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 0
        assert await house.carrier.deliver(COLLECTION, subscriber, STRANGER, account="900002") == 0
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result != 0
        assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 0
        assert [reply.text for reply in agency.replies] == [STRANGER]
        (refused,) = house.records(subscriber=subscriber, verdict="refuse")
        assert (refused.record.judged.reason, refused.record.judged.sub) == ("third_party", "wrong_person")
        rows = "role, valid_until, code_of(institution_id)"
        await eventually(lambda: told(house, subscriber, rows, "recipients") == [("stranger", None, "FIN")])
        assert (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result != 0
        # which is no list: others are still asked
        assert (await agency.submit(COLLECTION, [house.subscriber()], COLLECTING)).result == 0
        # the number went to somebody else
        await house.bring("released", f"subscriber,released_at\n{subscriber},{_soon()}")

        async def asked() -> bool:
            return (await agency.submit(COLLECTION, [subscriber], COLLECTING)).result == 0

        await eventually(asked)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()


@pytest.mark.parametrize("source", ["import", "12321", "api", "complaints", "complaint"])
async def test_a_refusal_of_any_source_stops_the_next_message(house: House, ask: Asker, source: str) -> None:
    """By file, from 12321, by the API, by a complaint to 12321; the subscriber's own word ends each."""
    subscriber = house.subscriber()
    async with house.sender() as sender:

        async def gives(result: int) -> bool:
            return (await sender.submit(NUMBER, [subscriber], TEXT)).result == result

        assert await gives(0)
        if source == "api":
            made = await ask("bank", "/refusals", {"subscriber": subscriber, "purposes": ["marketing"]})
            assert made.status == 201, made.body
        elif source == "complaint":
            reported = {"subscriber": subscriber, "number": NUMBER, "channel": "sms", "at": _now()}
            made = await ask("regulator", "/complaints", reported | {"source": "own"})
            assert made.status == 201, made.body
            made = await ask("regulator", "/complaints", reported | {"source": "12321"})
            assert made.status == 201, made.body
            assert told(house, subscriber, "complaint_id", "refusals") == [(made.body["id"],)]
        elif source == "complaints":
            header = "subscriber,number,at,reference"
            await house.bring("complaints", f"{header}\n{subscriber},{NUMBER},{_now()},B-{subscriber}")
        else:
            header = "subscriber,institution,purposes,channels,source"
            await house.bring("refusals", f"{header}\n{subscriber},BANK,marketing,sms;voice,{source}")
        await eventually(lambda: gives(110), 3.0)
        assert await house.carrier.deliver(NUMBER, subscriber, AGAIN) == 0
        assert await gives(0)


async def test_one_port_two_institutions(house: House) -> None:
    """Behind one base port (1069000) further digits say whose a number is, and a no goes no further."""
    subscriber = house.subscriber()
    async with house.sender() as bank, house.sender("900013") as lender:
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 0
        assert await house.carrier.deliver(FIN_NUMBER, subscriber, "T", account="900013") == 0
        assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 110
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 0
        assert await house.carrier.deliver(NUMBER, subscriber, "T", account="900001") == 0
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 110
        # and who accepts one of them again has not accepted the other
        assert await house.carrier.deliver(FIN_NUMBER, subscriber, AGAIN, account="900013") == 0
        assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 0
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 110


async def test_answers_to_a_number_that_nobody_filed_are_that_number_s(house: House) -> None:
    subscriber, number = house.subscriber(), "1069007702"
    async with house.sender("900005") as shop:

        async def gives() -> int:
            return (await shop.submit(number, [subscriber], "【示例商城】您的包裹已到")).result

        assert await gives() == 0
        assert await house.carrier.deliver(number, subscriber, "T", account="900005") == 0
        assert await house.carrier.deliver(number, subscriber, AGAIN, account="900005") == 0
        ((institution, lifted),) = await eventually(
            lambda: [
                row for row in told(house, subscriber, "institution_id, lifted_by", "refusals") if row[1]
            ]
        )
        assert (institution, lifted) == (None, "reply")
        assert told(house, subscriber, "id", "consents") == []
    await house.bring(
        "numbers",
        "number,channels,purposes,institution,signatures,effective_from\n"
        f"{number},sms,marketing,BANK,示例银行,2024-01-01",
    )
    async with house.sender() as sender:

        async def passes() -> bool:
            return (await sender.submit(number, [subscriber], TEXT)).result == 0

        await eventually(passes)
        assert await house.carrier.deliver(number, subscriber, "T") == 0
        assert (await sender.submit(NUMBER, [subscriber], TEXT)).result == 110


async def test_a_number_that_moved_answers_for_whom_it_answered_last(house: House) -> None:
    """His no was to the bank; his yes is to whose message came last, and the bank stays refused."""
    subscriber, number = house.subscriber(), "1069006602"
    await house.bring(
        "numbers",
        "number,channels,purposes,institution,signatures,effective_from\n"
        f"{number},sms,marketing,BANK,示例银行,2024-01-01",
    )
    async with house.sender() as bank, house.sender("900013") as lender:

        async def banks() -> bool:
            return (await bank.submit(number, [subscriber], TEXT)).result == 0

        await eventually(banks)
        assert await house.carrier.deliver(number, subscriber, "T", account="900001") == 0
        house.sql(OPEN_RUN)
        house.sql(
            "UPDATE numbers SET institution_id = (SELECT id FROM institutions WHERE code = 'FIN'),"
            f" signatures = '{{示例消金}}', (run_id, checked_person, approved_person) = {BY_RUN}"
            " WHERE number = %s",
            number,
        )

        async def lenders() -> bool:
            return (await lender.submit(number, [subscriber], FIN_TEXT)).result == 0

        await eventually(lenders)
        assert await house.carrier.deliver(number, subscriber, AGAIN, account="900013") == 0
        assert (await bank.submit(NUMBER, [subscriber], TEXT)).result == 110
        assert await house.carrier.deliver(number, subscriber, "T", account="900013") == 0
        assert (await lender.submit(FIN_NUMBER, [subscriber], FIN_TEXT)).result == 110


async def test_what_was_counted_is_what_was_recorded(house: House) -> None:
    await house.counts_are_true()


async def test_who_accepts_again_gets_messages_and_an_old_no_does_not_come_back(house: House) -> None:
    """Redelivered at once, and after the node was killed; a newer no is heard. The last test here, as a kill
    takes with it what was not counted yet."""
    subscriber, last = house.subscriber(), house.subscriber()
    no, again, newer = (bytes([number]) * 8 for number in (0x51, 0x52, 0x53))
    async with house.sender() as sender, house.sender(elsewhere("900001")) as other:

        async def says(text: str, identity: bytes) -> None:
            deliver = house.carrier.deliver
            assert await deliver(NUMBER, subscriber, text, account="900001", identity=identity) == 0

        async def answers() -> list[int]:
            return [(await one.submit(NUMBER, [subscriber], TEXT)).result for one in (sender, other)]

        assert await answers() == [0, 0]
        await says("T", no)
        assert await answers() == [110, 110]
        await says(AGAIN, again)
        assert await answers() == [0, 0]
        await says("T", no)
        assert await answers() == [0, 0]
        (reply,) = [
            found.record for found in house.records(rec.Reply, subscriber=subscriber)
            if found.record.message_id == again
        ]  # fmt: skip
        what = "source, given_at, replace(record::text, '-', '')"
        ((source, given_at, record),) = await eventually(lambda: told(house, subscriber, what, "consents"))
        assert (source, int(given_at.timestamp() * 1000), record) == ("reply", reply.at, reply.id.hex())
        assert told(house, subscriber, "lifted_by, lifted_at", "refusals") == [("reply", given_at)]
        await says(AGAIN, bytes(8))  # he is not refused: a record, and no more
        assert await house.carrier.deliver(NUMBER, last, "T", account="900001") == 0
        await eventually(lambda: told(house, last, "id", "refusals"))
        assert len(told(house, subscriber, "id", "consents")) == 1
    house.signal("worker-0")
    house.signal("worker-1")
    house.signal("keeper")
    await house.ready()
    async with house.sender() as sender, house.sender(elsewhere("900001")) as other:

        async def passes() -> bool:
            return await answers() == [0, 0]

        await eventually(passes)
        await says("T", no)
        assert await answers() == [0, 0]
        await says("T", newer)
        assert await answers() == [110, 110]
