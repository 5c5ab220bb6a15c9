"""`zhengming simulate sender|carrier`: load and peers for acceptance; each prints one JSON line of counts."""

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from gateway.errors import UsageError
from gateway.protocols import CALLS
from gateway.protocols import text as codings
from gateway.simulator.call_commands import run_callee, run_callers
from gateway.simulator.carrier import CarrierSim, Received
from gateway.simulator.faults import CARRIER, SENDER, UNBOUNDED, faults_of
from gateway.simulator.peers import PEERS
from gateway.simulator.sender import LoginRefused, SenderSim
from gateway.simulator.standing import stand
from gateway.values import endpoint

_STATUSES = {
    "cmpp": {1: "wrong structure", 2: "unknown account or address", 3: "wrong secret", 4: "version too high"}
}


def run_sender(args: argparse.Namespace) -> int:
    """Send, wait, print the counts; 0 when every submit was answered."""
    if args.protocol == "sip":
        return run_callers(args)
    if args.account is None:
        raise UsageError("--account: right would be the login of the sender; it is left out")
    most = PEERS[args.protocol].most_recipients
    if len(args.to) > most:
        raise UsageError(f"--to names {len(args.to)} numbers; right would be at most {most}")
    _spoken(args)
    _parts("--text", args.text)
    counts = asyncio.run(_send(args))
    print(json.dumps(counts, ensure_ascii=False))
    return int("error" in counts or counts["unanswered"] > 0)


def run_carrier(args: argparse.Namespace) -> int:
    """Listen until told to stop, print the counts."""
    if args.protocol == "sip":
        return run_callee(args)
    _parts("--reply-text", args.reply_text)
    _spoken(args)
    most = PEERS[args.protocol].most_result
    if args.refuse_with > most:
        raise UsageError(f"--refuse-with {args.refuse_with}: right would be a whole number from 0 to {most}")
    print(json.dumps(asyncio.run(_listen(args)), ensure_ascii=False))
    return 0


def _spoken(args: argparse.Namespace) -> None:
    """Put the protocol's own port and version where none was named."""
    peer = PEERS[args.protocol]
    versions = peer.versions
    if args.port is None:
        args.port = peer.wire.port
    if args.version is None:
        args.version = {"smpp": "3.4", "sgip": "1.2"}.get(args.protocol, "3.0")
    for option in ("listen", "callback"):
        if getattr(args, option, None) and args.protocol not in CALLS:
            raise UsageError(
                f"--{option}: right would be none; carriers call senders in {', '.join(CALLS)} alone"
            )
    if args.version not in versions:
        right = ", ".join(versions)
        raise UsageError(f"--version {args.version}: right for {args.protocol} would be {right}")
    args.version = versions[args.version]
    if args.account is not None and len(args.account) > peer.account_octets:
        most = peer.account_octets
        raise UsageError(f"--account {args.account!r}: right would be 1 to {most} characters")


def _parts(option: str, text: str) -> int:
    """How many messages it takes to say `text`."""
    try:
        return len(codings.split(text, codings.fitting(text), 0))
    except ValueError as error:
        raise UsageError(f"{option}: {error}; right would be a shorter text") from None


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"--secret-file {path}: {why}; right would be a readable file of text") from None


async def _send(args: argparse.Namespace) -> dict[str, Any]:
    secret = _secret(args.secret_file) or ""
    took: list[float] = []
    results: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        senders: list[SenderSim] = []
        for _ in range(args.connections):
            sender = SenderSim(
                *(args.host, args.port, args.account, secret, args.version),
                protocol=args.protocol,
                window=args.window,
                called_at=endpoint(args.listen) if args.listen and not senders else None,
                keep=0,
                faults=faults_of(args.misbehave, SENDER),
            )
            try:
                senders.append(await stack.enter_async_context(sender))
            except LoginRefused as error:
                statuses = _STATUSES.get(args.protocol, {})
                words = statuses.get(error.status or 0, "no answer" if error.status is None else "other")
                said = f"login refused: status {error.status}, {words}"
                return {"role": "sender", "protocol": args.protocol, "error": said}
            except OSError as error:
                number = error.errno or 0
                why = os.strerror(number) if number > 0 else error.strerror
                said = f"{args.host}:{args.port}: {why or error}"
                return {"role": "sender", "protocol": args.protocol, "error": said}
        began = time.perf_counter()
        await asyncio.gather(
            *(
                _send_share(args, sender, len(range(index, args.messages, args.connections)), took, results)
                for index, sender in enumerate(senders)
            )
        )
        seconds = time.perf_counter() - began
        if args.report:
            accepted = results["0"] * len(args.to)
            await _patient(senders, accepted)
        if args.wait:
            await asyncio.sleep(args.wait)
        totals = sum((sender.counts for sender in senders), Counter[str]())
    took.sort()
    return {
        "role": "sender",
        "protocol": args.protocol,
        "version": f"{senders[0].version >> 4}.{senders[0].version & 15}",
        "submits": totals["submits"],
        "results": dict(results),
        "unanswered": totals["unanswered"],
        "reports": totals["reports"],
        "replies": totals["replies"],
        "stray": totals["stray"],
        "seconds": round(seconds, 3),
        "per_second": round(totals["submits"] / seconds),
        "p50_ms": round(took[len(took) // 2] * 1000, 3) if took else None,
        "p99_ms": round(took[len(took) * 99 // 100] * 1000, 3) if took else None,
    }


async def _send_share(
    args: argparse.Namespace, sender: SenderSim, messages: int, took: list[float], results: Counter[str]
) -> None:
    """One connection's part of the load: never more under way than the window, never faster than asked."""
    free = asyncio.Semaphore(UNBOUNDED if sender.faults.overflow else args.window)
    began = time.perf_counter()
    rate = args.rate / args.connections

    async def one(frame: bytes) -> None:
        sent = time.perf_counter()
        answer = await sender.request(frame)
        free.release()
        if answer.result is not None:
            took.append(time.perf_counter() - sent)
            results[str(answer.result)] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(messages):
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            for frame in sender.frames(args.source, args.to, args.text, report=args.report):
                await free.acquire()
                group.create_task(one(frame))


async def _patient(senders: list[SenderSim], wanted: int) -> None:
    """Wait until that many reports have come, or none has for five seconds."""
    came, since = -1, time.monotonic()
    while came < wanted and time.monotonic() - since < 5.0:
        reports = sum(sender.counts["reports"] for sender in senders)
        if reports != came:
            came, since = reports, time.monotonic()
        await asyncio.sleep(0.05)


async def _listen(args: argparse.Namespace) -> dict[str, Any]:
    seen = 0

    def reply(_: Received) -> str | None:
        nonlocal seen
        seen += 1
        return args.reply_text if args.reply_every and seen % args.reply_every == 0 else None

    carrier = CarrierSim(
        args.host,
        args.port,
        account=args.account,
        secret=_secret(args.secret_file),
        protocol=args.protocol,
        version=args.version,
        report_after=None if args.no_reports else args.report_after,
        stat=args.stat,
        reply=reply,
        callback=args.callback,
        keep=0,
    )
    carrier.faults = faults = faults_of(args.misbehave, CARRIER)
    faults.refuse_every, faults.refuse_with = args.refuse_every, args.refuse_with
    faults.answer_after = args.answer_after or faults.answer_after
    await stand(carrier, args)
    return {"role": "carrier", "protocol": args.protocol, **carrier.counts}
