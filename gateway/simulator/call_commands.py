"""`zhengming simulate sender|carrier --protocol sip`: a trunk that calls, a voice core that is called; each
prints one JSON line of counts."""

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from gateway.errors import UsageError
from gateway.protocols.sip_proxy import PORT
from gateway.simulator.callee import CalleeSim
from gateway.simulator.caller import CallerSim
from gateway.simulator.faults import CALLEE, CALLER, faults_of
from gateway.simulator.standing import stand

_NOT_OF_CALLS: dict[str, dict[str, object]] = {
    "sender": {"secret_file": None, "version": None, "report": False, "listen": None},
    "carrier": {
        "secret_file": None,
        "version": None,
        "account": None,
        "callback": None,
        "reply_every": 0,
        "report_after": 0.0,
        "no_reports": False,
    },
}
"""What is said of SMS alone, with the value that it has where nobody named it."""
_LEAST_REFUSAL = 300


def run_callers(args: argparse.Namespace) -> int:
    """Call, wait for each end, print the counts; 0 when every call got a final answer."""
    _check(args, "sender")
    if len(args.to) > 1:
        raise UsageError(f"--to names {len(args.to)} numbers; right for a call would be one")
    counts = asyncio.run(_call(args))
    print(json.dumps(counts, ensure_ascii=False))
    return int("error" in counts or counts["unanswered"] > 0)


def run_callee(args: argparse.Namespace) -> int:
    """Take calls until told to stop, print the counts."""
    _check(args, "carrier")
    if args.refuse_with and not _LEAST_REFUSAL <= args.refuse_with <= 699:
        raise UsageError(f"--refuse-with {args.refuse_with}: right for a call would be 300 to 699")
    print(json.dumps(asyncio.run(_listen(args)), ensure_ascii=False))
    return 0


def _check(args: argparse.Namespace, side: str) -> None:
    for name, unsaid in _NOT_OF_CALLS[side].items():
        if getattr(args, name) != unsaid:
            raise UsageError(f"--{name.replace('_', '-')}: right would be none; it is not of calls")
    if args.port is None:
        args.port = PORT


async def _call(args: argparse.Namespace) -> dict[str, Any]:
    results: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    took: list[float] = []
    faults = faults_of(args.misbehave, CALLER)
    async with AsyncExitStack() as stack:
        callers: list[CallerSim] = []
        for _ in range(args.connections):
            caller = CallerSim(
                args.host, args.port, args.account or "", transport=args.transport, faults=faults
            )
            try:
                callers.append(await stack.enter_async_context(caller))
            except (OSError, ValueError) as error:
                number = getattr(error, "errno", None) or 0
                why = os.strerror(number) if number > 0 else str(error)
                said = f"{args.account or 'any address'} to {args.host}:{args.port}: {why}"
                return {"role": "sender", "protocol": "sip", "error": said}
        free = asyncio.Semaphore(args.window * args.connections)
        began = time.perf_counter()

        async def one(caller: CallerSim, number: int) -> None:
            cancel = bool(args.cancel_every) and (number + 1) % args.cancel_every == 0
            rows = [f"P-Asserted-Identity: <sip:{args.asserted}@caller.invalid>"] if args.asserted else []
            try:
                called = await caller.call(
                    args.source, args.to[0], rows=rows, talk=args.talk, cancel=cancel, compact=args.compact
                )
            finally:
                free.release()
            if called.status is not None:
                results[str(called.status)] += 1
                took.append(called.first_seconds)
            if called.reason:
                reasons[called.reason] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(args.messages):
                if args.rate:
                    await asyncio.sleep(max(0.0, began + number / args.rate - time.perf_counter()))
                await free.acquire()
                group.create_task(one(callers[number % len(callers)], number))
        seconds = time.perf_counter() - began
        if args.wait:
            await asyncio.sleep(args.wait)
        totals = sum((caller.counts for caller in callers), Counter[str]())
    took.sort()
    return {
        "role": "sender",
        "protocol": "sip",
        "calls": totals["calls"],
        "results": dict(results),
        "reasons": dict(reasons),
        "unanswered": totals["unanswered"],
        "ended": totals["ended"],
        "repeats": totals["repeats"],
        "stray": totals["stray"],
        "seconds": round(seconds, 3),
        "per_second": round(totals["calls"] / seconds) if seconds else 0,
        "p50_ms": round(took[len(took) // 2] * 1000, 3) if took else None,
        "p99_ms": round(took[len(took) * 99 // 100] * 1000, 3) if took else None,
    }


async def _listen(args: argparse.Namespace) -> dict[str, Any]:
    carrier = CalleeSim(args.host, args.port, answer_after=args.answer_after, keep=0)
    carrier.faults = faults = faults_of(args.misbehave, CALLEE)
    faults.refuse_every, faults.refuse_with = args.refuse_every, args.refuse_with
    await stand(carrier, args)
    return {"role": "carrier", "protocol": "sip", **carrier.counts}
