"""Attempts without a wire: judged and recorded as those of a session are, once for each key."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from hashlib import blake2b

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import BANNED, MARKETING, TEXT, House, eventually

from gateway.direct import Asked, Item, Workers, _pack, owner, socket_of
from gateway.errors import NotReady
from gateway.evidence import record as rec
from gateway.evidence.found import Found
from gateway.model import SMS, VOICE

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACCOUNT = "900001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def workers(house: House) -> AsyncIterator[Workers]:
    workers = Workers(house.data_dir / "run", 2)
    yield workers
    workers.close()


def item(
    house: House, *, source: str = MARKETING, text: str = TEXT, channel: int = SMS, to: str = ""
) -> Item:
    return Item("mobile", "cmpp", ACCOUNT, channel, source, to or house.subscriber(), text)


def key() -> bytes:
    return os.urandom(16)


def body(items: list[Item]) -> bytes:
    return blake2b(_pack(items), digest_size=16).digest()


def of_id(house: House, identity: bytes) -> list[Found]:
    return [found for found in house.records() if found.record.id == identity]  # type: ignore[union-attr]


async def ask(workers: Workers, key: bytes, *items: Item):  # type: ignore[no-untyped-def]
    return await workers.ask(owner(ACCOUNT, 2), key, body(list(items)), list(items))


async def test_what_is_asked_is_judged_and_recorded(house: House, workers: Workers) -> None:
    items = [
        item(house),
        item(house, source=BANNED),
        item(house, text="没有签名，拒收请回复R"),
        item(house, source="x"),
    ]
    told = await ask(workers, key(), *items)
    assert told.error == ""
    assert [answer.reason for answer in told.answers] == ["", "blacklisted", "signature_missing", "malformed"]
    assert told.answers[3].sub == "source"
    for answer, asked in zip(told.answers, items, strict=True):
        (found,) = of_id(house, answer.id)
        assert isinstance(found.record, rec.Attempt)
        assert found.record.judged.account == ACCOUNT
        assert found.record.registry_version == answer.registry_version
        assert found.content is not None
        assert found.content.subscriber.endswith(asked.destination)


async def test_a_call_is_judged_as_a_call(house: House, workers: Workers) -> None:
    told = await ask(workers, key(), item(house, channel=VOICE, text=""), item(house))
    call, text = told.answers
    assert call.reason == "unregistered"  # the number is filed for SMS alone
    assert text.reason == ""
    (found,) = of_id(house, call.id)
    assert found.record.judged.channel == VOICE  # type: ignore[union-attr]


async def test_the_same_key_again_is_the_same_attempt(house: House, workers: Workers) -> None:
    again, items = key(), [item(house)]
    first, twin = await asyncio.gather(ask(workers, again, *items), ask(workers, again, *items))
    later = await ask(workers, again, *items)
    assert first.answers == twin.answers == later.answers
    assert len(of_id(house, first.answers[0].id)) == 1
    other = await ask(workers, again, item(house))
    assert (other.error, other.answers) == ("reused", [])


async def test_a_key_outlives_the_worker(house: House, workers: Workers) -> None:
    again, items = key(), [item(house), item(house, source=BANNED)]
    first = await ask(workers, again, *items)
    role = f"worker-{owner(ACCOUNT, 2)}"
    await house.back(role, house.signal(role, signal.SIGKILL))
    told = await eventually_answered(workers, again, items)
    assert told.answers == first.answers
    reused = await ask(workers, again, item(house))
    assert reused.error in {"reused"}
    fresh = await ask(workers, key(), *items)
    assert [answer.id for answer in fresh.answers] != [answer.id for answer in first.answers]


async def eventually_answered(workers: Workers, key: bytes, items: list[Item]):  # type: ignore[no-untyped-def]
    told = []

    async def answered() -> bool:
        try:
            told.append(await ask(workers, key, *items))
        except NotReady:
            return False
        return told[-1].error == ""

    await eventually(answered)
    return told[-1]


async def test_a_worker_killed_at_any_instant_records_a_key_once(house: House, workers: Workers) -> None:
    role = f"worker-{owner(ACCOUNT, 2)}"
    questions = [(key(), [item(house)]) for _ in range(60)]

    async def question(again: bytes, items: list[Item]) -> bytes:
        told = await eventually_answered(workers, again, items)
        return told.answers[0].id

    under_way = [asyncio.create_task(question(*one)) for one in questions]
    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    await house.back(role, house.signal(role, signal.SIGKILL))
    told = await asyncio.gather(*under_way)
    assert len(set(told)) == len(questions)
    subscribers = [items[0].destination for _, items in questions]
    for identity, subscriber in zip(told, subscribers, strict=True):
        recorded = house.records(subscriber=subscriber)
        assert [found.record.id for found in recorded] == [identity]  # type: ignore[union-attr]


async def test_octets_that_are_no_question_end_that_connection_alone(house: House, workers: Workers) -> None:
    worker = owner(ACCOUNT, 2)
    for octets in (b"\xff\xff\xff\xff", b"\0\0\0\4oops"):
        reader, writer = await asyncio.open_unix_connection(socket_of(house.data_dir / "run", worker))
        writer.write(octets)
        assert await reader.read() == b""
        writer.close()
    assert (await ask(workers, key(), item(house))).error == ""


async def test_the_door_is_the_owners_alone(house: House) -> None:
    assert socket_of(house.data_dir / "run", 0).stat().st_mode & 0o777 == 0o600


async def test_a_worker_that_is_away_is_said_to_be(house: House) -> None:
    nobody = Workers(house.directory, 2)
    with pytest.raises(NotReady, match="away"):
        await nobody.ask(0, key(), key(), [item(house)])
    assert Asked(1, b"", b"", []).items == []
