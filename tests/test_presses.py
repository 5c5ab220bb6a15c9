"""POST /voice/refusals on a running node: a key press holds for SMS and calls of the institution at once."""

import datetime
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from asker import Asker
from conftest import HouseOf
from playbook import BANNED, MARKETING, TEXT, House, eventually

from gateway.direct import owner
from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.registry.recorded import Recorded

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOTLINE = "95511"
"""Filed for calls by BANK."""
DUNNING = "95511777"
NUMBERS = f"""
number,extension_digits,channels,purposes,institution,agency,signatures,effective_from,effective_until
{HOTLINE},0,voice,marketing,BANK,,,2024-01-01,
95522,0,voice,marketing,FIN,,,2024-01-01,
{DUNNING},0,voice,collection,BANK,,,2024-01-01,
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(house_of: HouseOf) -> AsyncIterator[House]:
    async with house_of(workers=2) as house:
        await house.bring("numbers", NUMBERS)
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(house: House) -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as client:
        ask = Asker(house, client)

        async def filed() -> bool:
            call = {"channel": "voice", "account": "900001", "source": HOTLINE, "destination": "13800000999"}
            return (await ask("bank", "/attempts", call)).body.get("reason") != "unregistered"

        await eventually(filed)
        yield ask


def press(house: House, **changes: Any) -> dict[str, Any]:
    return {"account": "900001", "source": HOTLINE, "subscriber": house.subscriber(), "key": "9", **changes}


async def pressed(house: House, ask: Asker, **changes: Any) -> dict[str, Any]:
    """A press in a call that passed here."""
    body = press(house, **changes)
    call = {"channel": "voice", "account": "900001", "source": HOTLINE, "destination": body["subscriber"]}
    said = await ask("bank", "/attempts", call)
    assert said.body["verdict"] == "pass", said.body
    return body | {"call": said.body["id"]}


async def reasons(ask: Asker, subscriber: str) -> list[str]:
    """Of a call, of an SMS by another number, by another account on the other worker."""
    assert owner("900001", 2) != owner("900012", 2)
    said = []
    for account, channel, source in (
        ("900001", "voice", HOTLINE),
        ("900001", "sms", MARKETING),
        ("900012", "sms", MARKETING),
    ):
        body = {"channel": channel, "account": account, "source": source, "destination": subscriber}
        answer = await ask("bank", "/attempts", body | ({"text": TEXT} if channel == "sms" else {}))
        said.append(answer.body["reason"])
    return said


async def test_a_key_press_holds_for_calls_and_sms_on_all_workers_at_once(house: House, ask: Asker) -> None:
    body = await pressed(house, ask, recording="rec/17.wav")
    assert await reasons(ask, body["subscriber"]) == ["", "", ""]
    async with (
        house.counted("replies_total", kind="refuse"),
        house.counted("refusal_effective_seconds_count"),
    ):
        said = await ask("bank", "/voice/refusals", body)
    assert said.status == 201, said.body
    assert (said.body["institution"], said.body["channels"]) == ("BANK", ["sms", "voice"])
    assert said.body["purposes"] == ["marketing"]
    assert (said.body["verified"], said.body["attempt"]) == (True, body["call"])
    assert await reasons(ask, body["subscriber"]) == ["refused_by_subscriber"] * 3
    (found,) = house.records(rec.Reply, subscriber=body["subscriber"])
    reply = found.record
    assert isinstance(reply, rec.Reply)
    assert reply.id.hex() == said.body["id"]
    assert (reply.meaning, reply.flags, reply.attempt.hex()) == ("refuse", ("voice_key",), body["call"])
    assert reply.message_id == body["call"].encode()
    assert found.content is not None
    assert found.content.octets == b"9 rec/17.wav"

    def stored() -> list[tuple[Any, ...]]:
        return house.sql("SELECT source, account, node FROM refusals WHERE source = 'voice_key'")

    assert await eventually(stored) == [("voice_key", "900001", "house")]
    recorded = Recorded(house.data_dir / "journal", Keys(house.data_dir / "keys"), house.key)
    assert [one.source for one in recorded.refusals() if one.event] == ["voice_key"]


async def test_a_press_in_no_call_on_record_holds_marketing_until_a_person_decides(
    house: House, ask: Asker
) -> None:
    """Neither without a call, nor in another subscriber's, nor in one that was refused."""
    other = await pressed(house, ask)
    for call in ("", "made-up@sbc" * 30, other["call"]):
        body = press(house, call=call)
        said = await ask("bank", "/voice/refusals", body)
        assert (said.status, said.body["verified"], said.body["attempt"]) == (201, False, "")
        assert await reasons(ask, body["subscriber"]) == ["refused_by_subscriber"] * 3

    def queued() -> Any:
        return house.sql("SELECT id, flags FROM replies WHERE kind = 'ambiguous' AND decision IS NULL")

    said = await ask("bank", "/voice/refusals", press(house, source=DUNNING))
    assert (said.status, said.body["purposes"]) == (201, ["marketing"])
    rows = await eventually(lambda: len(found := queued()) == 4 and found)
    unverified = ["voice_key", "unverified"]
    assert sorted(flags for _, flags in rows) == [*[unverified] * 3, [*unverified, "covers_collection"]]
    dropped = {"decision": "no_refusal", "reason": "查无此通话"}
    for identity, _ in rows:
        said = await ask("carrier", f"/replies/{identity}", dropped)
        assert said.status == 200, said.body
    await eventually(lambda: passes(ask, body["subscriber"]))


async def passes(ask: Asker, subscriber: str) -> bool:
    return await reasons(ask, subscriber) == [""] * 3


async def test_what_a_platform_says_of_its_call_is_on_record_and_counts_once(
    house: House, ask: Asker
) -> None:
    """Three answered calls a day of collection are enough, whoever saw the answers."""
    house.write_profile('[rules.over_frequency]\nmode = { collection = "enforce" }')
    await house.reload()
    subscriber, now = house.subscriber(), datetime.datetime.now(datetime.UTC).replace(microsecond=0)

    async def call(to: str = subscriber) -> dict[str, Any]:
        body = {"channel": "voice", "account": "900001", "source": DUNNING, "destination": to}
        said: dict[str, Any] = (await ask("bank", "/attempts", body)).body
        return said

    def ended(call: str, to: str = subscriber, **more: Any) -> dict[str, Any]:
        body = {"account": "900001", "source": DUNNING, "subscriber": to, "call": call}
        return body | {"ended": now.isoformat(), "reason": "hung up"} | more

    calls = [(await call())["id"] for _ in range(4)]
    taken = {"answered": (now - datetime.timedelta(seconds=30)).isoformat()}
    for identity in calls[:3]:
        for key in ("", "another"):
            said = await ask("bank", "/voice/calls", ended(identity, **taken), key=key + identity)
            assert (said.status, said.body) == (201, {"attempt": identity, "answered": True, "seconds": 30})
    said = await ask("bank", "/voice/calls", ended(calls[3]))
    assert (said.status, said.body["answered"], said.body["seconds"]) == (201, False, 0)
    refused = await call()
    assert (refused["reason"], refused["findings"][-1]["sub"]) == ("over_frequency", "day")
    code, out, _ = await house.cli("records", "show", calls[0])
    shown = json.loads(out)
    assert [one["stat"] for one in shown["reports"]] == ["ANSWERED hung up"]  # said twice
    words = shown["delivery"], shown["lasted_seconds"], shown["ended_by"]
    assert (code, words) == (0, ("delivered", 30, "hung up"))
    for wrong in (ended("made-up@sbc"), ended(calls[0], house.subscriber()), ended(refused["id"])):
        said = await ask("bank", "/voice/calls", wrong)
        assert (said.status, said.body["field"]) == (422, "call")
    said = await ask(
        "bank", "/voice/calls", ended(calls[0], answered=(now + datetime.timedelta(1)).isoformat())
    )
    assert (said.status, said.body["field"]) == (422, "answered")
    said = await ask("fin", "/voice/calls", ended(calls[0]))
    assert (said.status, said.body["field"]) == (422, "account")
    missed = house.subscriber()
    tries = [await call(missed) for _ in range(7)]
    assert [one["reason"] for one in tries] == [""] * 6 + ["over_frequency"]
    assert (await ask("bank", "/voice/calls", ended(tries[2]["id"], missed, **taken))).status == 201
    assert [(await call(missed))["reason"] for _ in range(2)] == ["", "over_frequency"]
    await house.lose_counts(call)
    assert (await call())["reason"] == "over_frequency"
    assert (await call(house.subscriber()))["reason"] == ""
    assert (await ask("bank", "/voice/calls", ended(tries[3]["id"], missed, **taken))).status == 201
    assert [(await call(missed))["reason"] for _ in range(2)] == ["", "over_frequency"]


async def test_the_same_key_or_call_again_changes_nothing(house: House, ask: Asker) -> None:
    body = await pressed(house, ask)
    first, again = [await ask("bank", "/voice/refusals", body, key="once") for _ in range(2)]
    assert (first.status, first.body) == (again.status, again.body)
    assert len(house.records(rec.Reply, subscriber=body["subscriber"])) == 1
    other = await ask("bank", "/voice/refusals", press(house), key="once")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    attempt = {"channel": "voice", "account": "900001", "source": HOTLINE, "destination": "13800000000"}
    other = await ask("bank", "/attempts", attempt, key="once")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")
    role = f"worker-{owner('900001', 2)}"
    await house.back(role, house.signal(role, signal.SIGKILL))

    async def answered() -> Any:
        said = await ask("bank", "/voice/refusals", body, key="once")
        return said if said.status != 503 else None

    assert (await eventually(answered)).body == first.body
    call = await pressed(house, ask)
    ids = {(await ask("bank", "/voice/refusals", call)).body["id"] for _ in range(2)}
    assert len(ids) == 2  # each on record

    def stored() -> list[tuple[Any, ...]]:
        return house.sql("SELECT channels FROM refusals WHERE message_id = %s", call["call"].encode())

    assert await eventually(stored) == [(3,)]


async def test_nobody_refuses_in_anothers_name(house: House, ask: Asker) -> None:
    """An account refuses for numbers that it may show; a foreign account is a missing one."""
    for source in ("95522", BANNED[:-1] + "7"):
        said = await ask("bank", "/voice/refusals", press(house, source=source))
        assert (said.status, said.body["field"]) == (422, "source"), source
    for account in ("900001", "nobody"):
        said = await ask("fin", "/voice/refusals", press(house, account=account))
        assert (said.status, said.body["field"]) == (422, "account")
    assert (await ask("regulator", "/voice/refusals", press(house))).status == 403
    said = await ask("carrier", "/voice/refusals", press(house))
    assert said.status == 201, said.body


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "退订"}, "key"),
        ({"subscriber": "x"}, "subscriber"),
        ({"source": "1"}, "source"),
        ({"at": "2020-01-01T00:00:00+08:00"}, "at"),
        ({"at": "2099-01-01T00:00:00+08:00"}, "at"),
        ({"call": "x" * 1001}, "call"),
        ({"text": "R"}, "text"),
    ],
)
async def test_what_does_not_fit_is_named(
    house: House, ask: Asker, changes: dict[str, Any], field: str
) -> None:
    said = await ask("bank", "/voice/refusals", press(house, **changes))
    assert (said.status, said.body["field"]) == (422, field), said.body


async def test_it_holds_since_the_key_was_pressed(house: House, ask: Asker) -> None:
    at = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(minutes=4)
    body = await pressed(house, ask, at=at.isoformat())
    said = await ask("bank", "/voice/refusals", body)
    assert datetime.datetime.fromisoformat(said.body["at"]) == at

    def stored() -> list[tuple[Any, ...]]:
        return house.sql("SELECT refused_at FROM refusals WHERE message_id = %s", body["call"].encode())

    assert await eventually(stored) == [(at,)]


async def test_a_refusal_that_was_none_ends_on_all_workers_by_a_regulator(house: House, ask: Asker) -> None:
    """One that was entered by mistake takes a reason; what its subscriber pressed, a case as well."""
    subscriber = house.subscriber()
    made = await ask("bank", "/refusals", {"subscriber": subscriber, "purposes": ["marketing"]})
    refused = ["refused_by_subscriber"] * 3

    async def are(wanted: list[str]) -> bool:
        return await reasons(ask, subscriber) == wanted

    await eventually(lambda: are(refused))
    why = {"reason": "导入时号码错位"}
    place = f"/refusals/{made.body['id']}/lift"
    for who, status in (("bank", 403), ("carrier", 403), ("city", 404)):
        assert (await ask(who, place, why)).status == status
    assert (await ask("regulator", place, {"reason": " "})).status == 422
    done = await ask("regulator", place, why)
    assert (done.status, done.body["lifted_by"], done.body["lifted_reason"]) == (
        200, "regulator", why["reason"],
    )  # fmt: skip
    began = time.monotonic()
    await eventually(lambda: are([""] * 3))
    assert time.monotonic() - began < 5  # 1 s; under load more
    assert (await ask("regulator", place, why)).body["code"] == "wrong_state"

    await ask("bank", "/voice/refusals", await pressed(house, ask, subscriber=subscriber))
    assert await are(refused)
    find = {"subscriber": subscriber, "reason": "用户来电"}

    async def brought() -> Any:
        own = (await ask("regulator", "/refusals/find", find)).body
        return own[-1] if own[-1]["source"] == "voice_key" else None

    brought_back = await eventually(brought)
    place = f"/refusals/{brought_back['id']}/lift"
    bare = await ask("regulator", place, why)
    assert (bare.status, bare.body["field"]) == (422, "case_reference")
    assert (await ask("regulator", place, why | {"case_reference": "C-9"})).status == 200
    await eventually(lambda: are([""] * 3))
    acts = house.sql("SELECT reason, detail->>'case' FROM audit WHERE act = 'refusal.lift' ORDER BY id")
    assert acts == [(why["reason"], ""), (why["reason"], "C-9")]
    assert (await ask("fin", "/refusals/find", find)).body == []
