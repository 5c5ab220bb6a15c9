"""The calls of the demonstration: each scene over and over, from its trunk's address, and as many of them
answered, busy or given up as on any day.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

from gateway.scenes import CALLS, NEXT, CallScene
from gateway.simulator.callee import CalleeSim
from gateway.simulator.caller import CallerSim
from gateway.simulator.faults import Faults

EVERY_SECONDS = 0.25
TALK_SECONDS = 0.5
BUSY_EVERY = 7
CANCEL_EVERY = 9
PATIENCE = 5.0


def voice_core(port: int) -> CalleeSim:
    """The simulated carrier that calls go on to."""
    carrier = CalleeSim(port=port, answer_after=0.2, keep=0)
    carrier.faults = Faults(refuse_every=BUSY_EVERY)
    return carrier


async def ring(host: str, port: int, subscribers: Iterator[str]) -> None:
    """Call the node at host:port until cancelled."""
    while True:
        try:
            async with contextlib.AsyncExitStack() as stack:
                callers = {
                    trunk: await stack.enter_async_context(CallerSim(host, port, trunk, patience=PATIENCE))
                    for trunk in dict.fromkeys(call.trunk for call in CALLS)
                }
                async with asyncio.TaskGroup() as group:
                    for number, scene in enumerate(itertools.cycle(CALLS), 1):
                        called = subscribers if scene.subscriber == NEXT else iter([scene.subscriber])
                        group.create_task(_one(callers[scene.trunk], scene, next(called), number))
                        await asyncio.sleep(EVERY_SECONDS)
        except* OSError:
            await asyncio.sleep(1.0)


async def _one(caller: CallerSim, scene: CallScene, called: str, number: int) -> None:
    cancel = number % CANCEL_EVERY == 0
    await caller.call(scene.source, called, rows=scene.rows, talk=TALK_SECONDS, cancel=cancel)
