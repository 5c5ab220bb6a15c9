"""Kamailio in front of a node: the calls of test_calls.py through it; the same messages through it and
through the node's own proxy; and a node that hangs, comes back, or has no replica."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from conftest import HouseOf
from kamailio import Kamailio
from playbook import HOST, eventually, free_ports
from test_calls import (  # noqa: F401  # collected here too, with the fixture below
    BANNED,
    LINE,
    NUMBERS,
    OTHER,
    UNFILED,
    End,
    Trunk,
    settled,
    test_a_human_no_of_the_called_side_is_a_refusal,
    test_a_killed_worker_comes_back_with_what_it_has_decided,
    test_a_refusal_of_calls_stops_them,
    test_a_registered_line_rings_and_its_answer_comes_back,
    test_a_repeat_is_the_same_attempt_and_the_same_octets,
    test_a_route_of_the_callers_leads_nowhere_but_to_the_carrier,
    test_anything_else_is_refused_and_recorded,
    test_cancel_follows_its_invite_and_the_ack_of_a_refusal_ends_here,
    test_nothing_else_reaches_a_subscriber,
    test_options_to_us_are_answered,
    test_three_answered_calls_a_day_are_enough,
    test_what_follows_in_a_call_goes_on_and_a_made_up_dialog_is_judged,
    test_who_lends_the_line_is_judged_too,
    test_who_presses_the_key_in_a_call_gets_no_more_calls_and_sms,
)

from gateway import asking
from gateway.evidence import record as rec
from gateway.protocols import sip, sip_proxy
from gateway.protocols.sip import Message

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

_TOP = re.compile(rb"^(via|v)([ \t]*:[^\r\n,]*[^\r\n, \t])", re.IGNORECASE | re.MULTILINE)
VECTORS = Path(__file__).parent / "vectors"
SILENCE = 2.0
"""Seconds without a word, after which none is expected."""


class Front(NamedTuple):
    """The two ways into one node."""

    proxy: Trunk
    kamailio: Trunk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(house_of: HouseOf, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    loop = asyncio.get_running_loop()
    ends = []
    for _ in OTHER:
        _, end = await loop.create_datagram_endpoint(End, (HOST, 0))
        ends.append(end)
    carrier, caller = ends
    (port,) = free_ports(1)
    settings = f"""[voice]
listen = ["udp://{HOST}:{port}"]
next_hop = "sip:{HOST}:{carrier.port}"
trusted = ["{HOST}"]
area = "571"
deadline = "10s"
record_route = true
"""
    filed = [f"mobile,sip,{HOST},BANK,financial,result,whole,,,0"]
    folder = tmp_path_factory.mktemp("kamailio")
    async with (
        house_of(workers=2, settings=settings, filed=filed) as house,
        Kamailio(folder, house.data_dir / "run", carrier.port) as kamailio,
    ):
        await house.bring("numbers", NUMBERS)
        await house.bring("blacklist", f"number,is_prefix,reason,case_reference\n{BANNED},false,test,CASE-2")
        found = Trunk(house, kamailio.port, caller, carrier)

        async def passes() -> bool:
            return await found.told(found.invite()) == "INVITE"

        await eventually(passes, seconds=30)
        yield Front(Trunk(house, port, caller, carrier), found)
    for end in ends:
        end.transport.close()


@pytest.fixture
def trunk(front: Front) -> Trunk:
    """For the tests of test_calls.py."""
    return front.kamailio


async def outcome(trunk: Trunk, data: bytes) -> tuple[object, ...]:
    """What becomes of a message: (what the carrier gets, less what a proxy adds), or (status, phrase, why,
    when again) of the answer; () for silence."""
    trunk.send(data)
    ends = [asyncio.create_task(about(end, data)) for end in (trunk.caller, trunk.carrier)]
    done, late = await asyncio.wait(ends, timeout=SILENCE, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    if not done:
        return ()
    message = done.pop().result()
    if message.method:
        return message.method, message.uri, untouched(message), message.body
    phrase = message.start.split(b" ", 2)[2]
    return message.status, phrase, message.value(b"reason"), message.value(b"retry-after")


async def about(end: End, data: bytes) -> Message:
    """The next message that has the Call-ID of this one, or none."""
    while True:
        message = await end.got.get()
        if (message.value(b"call-id") or b"") in data:
            return message


def heard(data: bytes) -> bytes:
    """Asks for answers where it comes from (RFC 3581): a Via of a vector names somebody else."""
    return _TOP.sub(rb"\1\2;rport", data, count=1)


def untouched(message: Message) -> list[bytes]:
    """Less our own Via and Record-Route, and the caller's Via, which says where it came from."""
    ours = (b"max-forwards", b"record-route", b"via")
    rows = [row for name, row in message.rows if name not in ours]
    return rows + list(message.listed(b"via"))[2:]


def same(trunk: Trunk) -> dict[str, bytes]:
    """Calls of every verdict, and messages that start none."""
    to = trunk.house.subscriber()
    more: dict[str, dict[str, str]] = {
        "passes": {},
        "in compact": {"f": f"<sip:{LINE}@a.cn>;tag=1", "From": ""},
        "unfiled": {"source": UNFILED},
        "banned": {"source": BANNED},
        "nobody": {"source": "anonymous"},
        "asserted": {"source": UNFILED, "P_Asserted_Identity": f"<tel:+86{LINE[1:]}>"},
        "two asserted": {"P_Asserted_Identity": f"<tel:+86{LINE[1:]}>, <tel:{BANNED}>"},
        "lent": {"Diversion": f"<sip:{UNFILED}@a.cn>;reason=unconditional"},
        "local": {"source": LINE[4:]},
        "no hop left": {"Max_Forwards": "0"},
        "requires": {"Proxy_Require": "unknown"},
        "a route": {"Route": f"<sip:{HOST}:9;lr>"},
        "made-up dialog": {"source": UNFILED, "To": f"<sip:{to}@a.cn>;tag=made-up"},
        "message": {"method": "MESSAGE"},
        "register": {"method": "REGISTER"},
        "cancel of nothing": {"method": "CANCEL"},
        "options to the carrier": {"method": "OPTIONS"},
    }
    made = {}
    for name, rows in more.items():
        data = trunk.invite(**{"to": to} | rows)
        made[name] = data.replace(b"From: \r\n", b"")
    made["any octets"] = trunk.invite(Content_Length="256") + bytes(range(256))
    made["another scheme"] = trunk.invite().replace(b"INVITE sip:", b"INVITE http:")
    return made


async def test_the_same_messages_get_the_same_through_the_proxy_and_through_kamailio(front: Front) -> None:
    for name, data in same(front.kamailio).items():
        one, other = await outcome(front.proxy, data), await outcome(front.kamailio, data)
        assert one == other, name
        assert one, name


async def test_the_same_callers_are_made_out(front: Front) -> None:
    cases = json.loads((VECTORS / "sip-identity.json").read_text("utf-8"))["cases"]
    for case in cases:
        data = heard(case["message"].encode())
        one, other = await outcome(front.proxy, data), await outcome(front.kamailio, data)
        assert one == other, case["id"]


async def test_what_breaks_sip_goes_on_through_neither_and_what_does_not_through_both(front: Front) -> None:
    """RFC 4475. Kamailio reads a message before we do: what it can't read it answers itself, or not."""
    for path in sorted((VECTORS / "sip").glob("*.dat")):
        data = heard(path.read_bytes())
        one, other = await outcome(front.proxy, data), await outcome(front.kamailio, data)
        assert other == one or (other == () and isinstance(one[0], int)), path.name


async def test_nobody_waits_for_who_names_a_callee_twice(front: Front) -> None:
    """Of whose answer both are part; a process of Kamailio's that waits refuses the next call, too."""
    trunk = front.kamailio
    for _ in range(8):  # each process has some
        trunk.send(trunk.invite(t="<sip:1@b>"))
    assert await trunk.told(trunk.invite()) == "INVITE"


def called(trunk: Trunk, data: bytes) -> list[rec.Attempt]:
    """The records of an INVITE."""
    message = sip.datagram(data)
    assert message is not None
    return trunk.attempt(message)


async def test_a_repeat_over_several_processes_is_one_attempt(front: Front) -> None:
    trunk = front.kamailio
    passed, refused = trunk.invite(), trunk.invite(UNFILED)
    for _ in range(10):
        trunk.send(passed)
        trunk.send(refused)
    await trunk.carrier.next()
    assert (await trunk.caller.next()).status == 603
    await settled(trunk)
    assert len(called(trunk, passed)) == len(called(trunk, refused)) == 1


async def test_the_called_side_hangs_up_by_the_route_and_is_answered(front: Front) -> None:
    trunk = front.kamailio
    await settled(trunk)  # repeats of an earlier test's answers come late
    to = trunk.house.subscriber()
    number = 9701
    trunk.send(trunk.said(number, LINE, to))
    call = await trunk.carrier.next()
    assert call.value(b"record-route") == b"<sip:%s:%d;lr=on>" % (HOST.encode(), trunk.port)
    trunk.answer(call, 200)
    assert (await trunk.caller.next()).status == 200
    bye = (
        f"BYE sip:{LINE}@{HOST}:{trunk.caller.port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {HOST}:{trunk.carrier.port};branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n"
        f"Route: <sip:{HOST}:{trunk.port};lr=on>\r\nFrom: <sip:{to}@gw.example.cn>;tag=c\r\n"
        f"To: <sip:{LINE}@cc.example.cn>;tag=f{number}\r\nCall-ID: call-{number}@cc.example.cn\r\n"
        "CSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
    )
    trunk.carrier.transport.sendto(bye.encode(), (HOST, trunk.port))
    heard = await trunk.caller.next()
    assert (heard.method, heard.value(b"route")) == (b"BYE", None)
    answer = sip_proxy.answer(heard, 200, b"OK", b"caller")
    trunk.caller.transport.sendto(answer, (HOST, trunk.port))
    back = await trunk.carrier.next()
    assert (back.status, len(list(back.listed(b"via")))) == (200, 1)


async def test_workers_that_hang_let_nothing_pass_then_or_later(front: Front, tmp_path: Path) -> None:
    house, carrier = front.kamailio.house, front.kamailio.carrier
    async with Kamailio(tmp_path, house.data_dir / "run", carrier.port, deadline=300) as kamailio:
        trunk = Trunk(house, kamailio.port, front.kamailio.caller, carrier)
        trunk._calls = front.kamailio._calls
        call = trunk.invite()
        for number in range(house.workers):
            house.signal(f"worker-{number}", signal.SIGSTOP)
        try:
            assert (await outcome(trunk, call))[0] == 503
        finally:
            for number in range(house.workers):
                house.signal(f"worker-{number}", signal.SIGCONT)

        async def passes() -> bool:
            return await trunk.told(trunk.invite()) == "INVITE"

        await eventually(passes)
        await settled(trunk)
        assert (await outcome(trunk, call))[0] == 503

        def refused() -> bool:  # where a pass is on record, so is that it did not go on
            return [trunk.outcomes(one) for one in called(trunk, call)] in ([], [[503]])

        await eventually(refused)


async def test_a_call_of_which_the_worker_hears_too_late_stays_refused(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = front.kamailio
    call, peer = trunk.invite(), (HOST, trunk.caller.port)
    name = call.partition(b"Call-ID: ")[2].split(b"\r\n")[0]
    asker = asking.Asker(trunk.house.data_dir / "run", 10.0)
    with monkeypatch.context() as before:
        before.setattr(asking, "monotonic_ns", lambda: time.monotonic_ns() - 11 * 10**9)
        late = asker.ask(asking.Kind.REQUEST, name.decode(), peer, call)
    again = asker.ask(asking.Kind.REQUEST, name.decode(), peer, call)
    asker.close()
    assert [(told.what, told.status) for told in (late, again)] == [(asking.What.ANSWER, 503)] * 2


async def test_killed_workers_are_asked_again_when_they_are_back(front: Front) -> None:
    trunk = front.kamailio
    house = trunk.house
    for number in range(house.workers):
        await house.back(f"worker-{number}", house.signal(f"worker-{number}"))

    async def passes() -> bool:
        return await trunk.told(trunk.invite()) == "INVITE"

    await eventually(passes)


async def test_old_news_and_no_replica_let_nothing_pass(front: Front) -> None:
    trunk = front.kamailio
    house = trunk.house
    text = house.path.read_text("utf-8")
    house.path.write_text(f'{text}\n[registry]\nmax_age = "4s"\n', "utf-8")
    await house.reload()
    house.signal("keeper", signal.SIGSTOP)

    async def stale() -> bool:
        return "not_judgeable stale" in await trunk.told(trunk.invite())

    await eventually(stale)
    house.signal("keeper", signal.SIGCONT)
    await house.stop()
    assert "503" in await trunk.told(trunk.invite())
    for path in (house.data_dir / "registry").glob("replica-*"):
        shutil.rmtree(path)
    relay = [sys.executable, "-m", "gateway", "serve", "relay", "-c", str(house.path)]
    with subprocess.Popen(relay, cwd=house.directory, stderr=subprocess.DEVNULL) as process:  # noqa: ASYNC220
        try:
            await eventually(lambda: house.running("worker-0"))
            for _ in range(10):
                assert "503" in await trunk.told(trunk.invite())
        finally:
            process.terminate()
