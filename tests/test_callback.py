"""SGIP's carriers deliver on connections of their own: through a running node of two workers to senders that
listen, by the number a subscriber wrote to, or by the submit that is reported on."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from conftest import HouseOf
from playbook import (
    BANNED,
    COLLECTING,
    COLLECTION,
    HOST,
    MARKETING,
    SECRET,
    TEXT,
    House,
    eventually,
    free_ports,
    refresh,
)

from gateway.evidence import record as rec
from gateway.protocols import sgip
from gateway.protocols import sgip_tables as tables
from gateway.protocols.sgip import Sgip
from gateway.simulator.carrier import CarrierSim
from gateway.simulator.sender import SenderSim

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSING, COLLECTS, REFUSED = MARKETING + "0001", COLLECTION + "0001", BANNED + "0001"
PATIENCE, IDLE = 2.0, 1.0
HEAD = "carrier,protocol,account,holder,scope,refusal_manner,listener,callback"


@dataclasses.dataclass
class Scene:
    """A node before one carrier. Accounts: `bank` and `agent` share a callback port, `own` has its own, `late`
    wants refusals by report, `both` has one connection for both ways."""

    house: House
    carrier: CarrierSim
    port: int
    shared: str
    own: str
    listeners: dict[str, tuple[str, int]]

    @contextlib.asynccontextmanager
    async def sender(self, account: str = "bank", **settings: Any) -> AsyncIterator[SenderSim]:
        settings = {"called_at": self.listeners.get(account)} | settings
        async with SenderSim(HOST, self.port, account, SECRET, protocol="sgip", **settings) as sender:
            yield sender

    def replies(self, subscriber: str) -> list[Any]:
        return [one.record for one in self.house.records(rec.Reply, subscriber=subscriber)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(house_of: HouseOf) -> AsyncIterator[Scene]:
    port, shared, own, *listening = free_ports(7)
    listeners = dict(zip(("bank", "agent", "own", "late"), [(HOST, p) for p in listening], strict=True))
    async with CarrierSim(HOST, protocol="sgip", secret=SECRET, report_after=None) as carrier:
        settings = (
            f'[[sms]]\nprotocol = "sgip"\nlisten = "{HOST}:{port}"\nupstream = ["{HOST}:{carrier.port}"]\n'
            f'callback_listen = "{HOST}:{shared}"\ncallback_patience = "{PATIENCE:.0f}s"\n'
            f'callback_idle = "{IDLE:.0f}s"\n'
        )
        async with house_of(settings=settings, workers=2) as house:
            rows = [HEAD]
            for account, holder, manner in (
                ("bank", "BANK", "result"),
                ("agent", "AGENT", "result"),
                ("own", "BANK", "result"),
                ("late", "BANK", "report"),
                ("both", "BANK", "result"),
            ):
                listener = "{}:{}".format(*listeners[account]) if account in listeners else ""
                callback = f"{HOST}:{own}" if account == "own" else ""
                rows.append(f"mobile,sgip,{account},{holder},financial,{manner},{listener},{callback}")
            await house.bring("accounts", "\n".join(rows))

            async def is_open() -> bool:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, own)
                    writer.close()
                    return True
                return False

            await eventually(is_open)  # so the registry has arrived
            yield Scene(house, carrier, port, f"{HOST}:{shared}", f"{HOST}:{own}", listeners)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(made: Scene) -> AsyncIterator[Scene]:
    refresh(made.carrier)
    made.carrier.callback = made.shared
    yield made
    await made.carrier.hang_up()


def frames_of(sender: SenderSim) -> list[tuple[int, Any]]:
    return list(sender.deliveries)


async def test_a_reply_reaches_its_sender_octet_for_octet_and_its_answer_the_carrier(scene: Scene) -> None:
    subscriber = scene.house.subscriber()
    async with scene.sender() as sender:
        assert (await sender.submit(PASSING, [subscriber], TEXT)).result == 0
        number = (1_057_155_555 << 64) | 77
        assert await scene.carrier.deliver(PASSING, subscriber, "退订", sequence=number) == 0
        assert [tuple(one)[:3] for one in sender.replies] == [(PASSING, subscriber, "退订")]
        assert [one for one, _ in sender.deliveries] == [number]
        (reply,) = scene.replies(subscriber)
        assert (reply.account, reply.meaning, reply.institution) == ("bank", "refuse", "BANK")
        assert reply.message_id == number.to_bytes(12, "big")
        refused = await sender.submit(PASSING, [subscriber], TEXT)
        assert refused.result == sgip.REFUSALS["refused_by_subscriber"]  # type: ignore[index]


async def test_reports_go_to_whom_they_are_about_and_replies_by_their_number(scene: Scene) -> None:
    scene.carrier.report_after = 0.0
    subscriber = scene.house.subscriber()
    async with scene.sender("bank") as bank, scene.sender("agent") as agent:
        sold = await bank.submit(PASSING, [subscriber], TEXT, report=True)
        asked = await agent.submit(COLLECTS, [subscriber], COLLECTING, report=True)
        assert (sold.result, asked.result) == (0, 0)
        assert (await bank.report_of(sold.message_id)).stat == b"DELIVRD"
        assert (await agent.report_of(asked.message_id)).stat == b"DELIVRD"
        assert (bank.counts["reports"], agent.counts["reports"]) == (1, 1)
        assert await scene.carrier.deliver(COLLECTS, subscriber, "我会还的") == 0
        assert (len(bank.replies), len(agent.replies)) == (0, 1)
    (attempt, *_) = [one for one in scene.house.records(subscriber=subscriber) if one.record.judged.account == "agent"]  # type: ignore[union-attr]
    code, out, _ = await scene.house.cli("records", "show", attempt.record.id.hex(), "--json")  # type: ignore[union-attr]
    assert code == 0
    assert "DELIVRD" in out
