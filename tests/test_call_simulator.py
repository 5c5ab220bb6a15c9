"""Caller and callee against each other: what they say they did is what happened, also when it goes wrong."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.cli import main
from gateway.simulator.callee import CalleeSim
from gateway.simulator.caller import Called, CallerSim
from gateway.simulator.faults import CALLEE, CALLER, Faults
from gateway.simulator.sip_socket import TRANSPORTS

HOST, LINE, SUBSCRIBER = "127.0.0.1", "057188886666", "13800000000"


async def calls(carrier: CalleeSim, count: int, *, transport: str = "udp", faults: Faults | None = None,
                **words: object) -> tuple[CallerSim, list[Called]]:  # fmt: skip
    async with CallerSim(HOST, carrier.port, transport=transport, faults=faults, patience=0.3) as caller:
        called = [await caller.call(LINE, SUBSCRIBER, **words) for _ in range(count)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return caller, called


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_rings_is_answered_and_ends(transport: str) -> None:
    async with CalleeSim() as carrier:
        caller, (called,) = await calls(
            carrier, 1, transport=transport, compact=True, rows=["P-Asserted-Identity: <tel:+8657188886666>"]
        )
        assert (called.status, called.rang) == (200, True)
        (rung,) = carrier.calls
        assert (rung.caller, rung.called, rung.call_id) == (LINE, SUBSCRIBER, called.call_id)
        assert rung.message.value(b"p-asserted-identity") == b"<tel:+8657188886666>"
        assert caller.counts["ended"] == carrier.counts["bye"] == carrier.counts["acks"] == 1
        assert not carrier.counts["broken"] + caller.counts["broken"] + carrier.counts["repeats"]


async def test_a_call_is_cancelled_refused_or_ended_by_the_called_side() -> None:
    async with CalleeSim(answer_after=30) as carrier:
        _, (called,) = await calls(carrier, 1, cancel=True)
        assert called.status == 487
        await carrier.until(lambda: carrier.counts["acks"] == carrier.counts["cancelled"] == 1)
        carrier.faults = Faults(refuse_every=1, refuse_with=603)
        _, (called,) = await calls(carrier, 1)
        assert called.status == 603
        carrier.faults, carrier.answer_after = Faults(), 0
        async with CallerSim(HOST, carrier.port) as caller:
            talking = asyncio.create_task(caller.call(LINE, SUBSCRIBER, talk=0.3))
            await carrier.until(lambda: carrier.counts["acks"] == 3)
            carrier.hang_up(carrier.calls[-1].call_id, b"Reason: SIP;cause=607\r\n")
            await carrier.until(lambda: carrier.counts["ended"] == 1)
            assert caller.counts["BYE"] == 1
            await talking


Seen = Callable[[CallerSim, CalleeSim, list[Called]], bool]
OF_CALLERS: dict[str, Seen] = {
    "silent": lambda caller, carrier, _: carrier.counts["answers again"] > 0,
    "drop": lambda caller, carrier, called: called[1].status is None and caller.counts["ended"] == 1,
    "wrong-length": lambda caller, carrier, called: called[1].status is None and carrier.counts["broken"] > 0,
    "duplicate": lambda caller, carrier, called: carrier.counts["repeats"] == 1,
    "late-cancel": lambda caller, carrier, called: (
        called[1].status == 200 and carrier.counts["cancels"] == 1 and not carrier.counts["cancelled"]
    ),
    "wrong-branch": lambda caller, carrier, called: (
        called[1].status == 200 and caller.counts["CANCEL 481"] == 1
    ),
}
OF_CALLEES: dict[str, Seen] = {
    "slow": lambda caller, carrier, called: all(one.status == 200 for one in called),
    "silent": lambda caller, carrier, called: called[1].status is None and not called[1].rang,
    "two-answers": lambda caller, carrier, called: caller.counts["answers again"] == 1,
    "no-answer": lambda caller, carrier, called: called[1].rang and called[1].status == 487,
    "wrong-branch": lambda caller, carrier, called: carrier.counts["wrong branches"] == 1,
}


@pytest.mark.parametrize("word", CALLER)
async def test_a_caller_misbehaves_with_every_second_call(word: str) -> None:
    faults = Faults()
    setattr(faults, CALLER[word].field, 2)
    async with CalleeSim() as carrier:
        async with CallerSim(HOST, carrier.port, faults=faults, patience=0.3) as caller:
            called = [await caller.call(LINE, SUBSCRIBER, talk=0.1) for _ in range(2)]
            if word == "silent":
                await carrier.until(lambda: carrier.counts["answers again"])
            assert OF_CALLERS[word](caller, carrier, called)
        assert called[0].status == 200


@pytest.mark.parametrize("word", CALLEE)
async def test_a_callee_misbehaves_with_every_second_call(word: str) -> None:
    async with CalleeSim() as carrier:
        setattr(carrier.faults, CALLEE[word].field, 0.05 if word == "slow" else 2)
        cancel = word == "no-answer"
        caller, called = await calls(carrier, 1, talk=0.05)
        again, more = await calls(carrier, 1, talk=0.05, cancel=cancel)
        both = called + more
        again.counts = Counter(again.counts + caller.counts)
        assert OF_CALLEES[word](again, carrier, both)
        assert both[0].status == 200


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["sender", "--report"], "--report"),
        (["sender", "--to", "1", "2"], "one"),
        (["sender", "--misbehave", "overflow"], "late-cancel"),
        (["carrier", "--refuse-with", "200"], "300 to 699"),
        (["carrier", "--reply-every", "3"], "--reply-every"),
        (["carrier", "--misbehave", "early-report"], "two-answers"),
    ],
    ids=lambda words: "-".join(words) if isinstance(words, list) else None,
)
def test_what_is_not_of_calls_is_told(
    words: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", words[0], "--protocol", "sip", *words[1:]]) == 2
    assert right in capsys.readouterr().err
