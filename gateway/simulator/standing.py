"""A simulated carrier side that stands at its port until it is told to stop."""

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack, suppress

from gateway.errors import NotReady
from gateway.simulator.callee import CalleeSim
from gateway.simulator.carrier import CarrierSim


async def stand(carrier: CalleeSim | CarrierSim, args: argparse.Namespace) -> None:
    """Until Ctrl-C, SIGTERM or the end of `args.seconds`, 0: none. Raises NotReady where it can't listen."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(carrier)
        except OSError as error:
            raise NotReady(f"--host {args.host} --port {args.port}: {error.strerror or error}") from None
        print(f"listening on {args.host}:{carrier.port}; Ctrl-C stops", file=sys.stderr, flush=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), args.seconds or None)
