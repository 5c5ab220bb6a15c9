"""Kamailio in front of a node: the calls of test_calls.py through it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from conftest import HouseOf
from kamailio import Kamailio
from playbook import HOST, eventually, free_ports
from test_calls import (  # noqa: F401  # collected here too, with the fixture below
    BANNED,
    NUMBERS,
    OTHER,
    End,
    Trunk,
    test_a_refusal_of_calls_stops_them,
    test_a_registered_line_rings_and_its_answer_comes_back,
    test_a_repeat_is_the_same_attempt_and_the_same_octets,
    test_a_route_of_the_callers_leads_nowhere_but_to_the_carrier,
    test_anything_else_is_refused_and_recorded,
    test_cancel_follows_its_invite_and_the_ack_of_a_refusal_ends_here,
    test_nothing_else_reaches_a_subscriber,
    test_options_to_us_are_answered,
    test_what_follows_in_a_call_goes_on_and_a_made_up_dialog_is_judged,
    test_who_lends_the_line_is_judged_too,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trunk(house_of: HouseOf, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trunk]:
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
deadline = "10s"
"""
    filed = [f"mobile,sip,{HOST},BANK,financial,result,whole,,,0"]
    folder = tmp_path_factory.mktemp("kamailio")
    async with (
        house_of(workers=2, settings=settings, filed=filed) as house,
        Kamailio(folder, house.data_dir / "run", carrier.port) as front,
    ):
        await house.bring("numbers", NUMBERS)
        await house.bring("blacklist", f"number,is_prefix,reason,case_reference\n{BANNED},false,test,CASE-2")
        found = Trunk(house, front.port, caller, carrier)

        async def passes() -> bool:
            return await found.told(found.invite()) == "INVITE"

        await eventually(passes, seconds=30)
        yield found
        print(front.log.read_text("utf-8", "replace"))
    for end in ends:
        end.transport.close()
