"""The figures of the registry: what `make bench` measures of a whole node's API, imports and search.

Each is a function of a node that runs, and of the report. A real node, real sockets, HTTP with tokens. A web
process has one loop in one thread and never uses more than one core: where the goal is per core, its share of
one is said, and the kernel places it, the client and PostgreSQL as it does on a user's machine (pinned to a
core, it waits for what else was placed there while another core is idle). What it takes to prepare is not
counted.
"""

import asyncio
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import import_rate
import past
import rig
import uvloop
from web_load import Outcome, load, percentile, request

from gateway.model import Reason
from gateway.protocols.cmpp import REFUSALS
from gateway.simulator.sender import SenderSim

API = "/api/v1"
READS, READ_SECONDS = 1_500, 20
ATTEMPTS, ATTEMPT_SECONDS = 500, 20
TRIES, TRIES_A_SECOND, LANES = 1_000, 25, 4
POLL = 0.005
"""Seconds between two looks on the wire whether a ban holds: it is part of what is measured."""

LOST = 30.0
"""A ban that does not hold after so many seconds counts as these."""

Say = Callable[..., None]
"""`say(what, goal, figure, met=…)`: one row of the report."""


def numbers(gateway: rig.Gateway, one: rig.Bench, say: Say) -> None:
    """GET /numbers/{id}, of users of three roles in turns, paced."""
    tokens = [
        gateway.token("--role", "institution", "--institution", "B000"),
        gateway.token("--role", "carrier", "--carrier", "mobile"),
        gateway.token("--role", "regulator"),
    ]
    ids = [item["id"] for item in gateway.asked(f"{API}/numbers?limit=500", tokens[0])["items"]]
    for what, users in (("one user", tokens[:1]), ("three users of three roles in turns", tokens)):
        octets = [request("GET", f"{API}/numbers/{id_}", token) for id_ in ids for token in users]
        count = READS * (READ_SECONDS + 3)
        outcome, used = _loaded(gateway, itertools.islice(itertools.cycle(octets), count), READS)
        _show(say, f"GET /numbers/{{id}}, {what}", "p99 ≤ 10 ms at 1,500/s a core", outcome, used, 10)


def attempts(gateway: rig.Gateway, one: rig.Bench, say: Say) -> None:
    """POST /attempts of one each, with a key and a subscriber of its own, recorded before it is answered."""
    token = gateway.token("--role", "institution", "--institution", "BENCH")
    texts = one.texts.read_text("utf-8").splitlines()

    def asked() -> Iterator[bytes]:
        for place in range(ATTEMPTS * (ATTEMPT_SECONDS + 3)):
            body = {
                "channel": "sms",
                "account": f"cmpp:{rig.ACCOUNTS[place % len(rig.ACCOUNTS)]}",
                "source": f"{rig.PASSING}{place % 1_000_000:06}",
                "destination": f"137{place:08}",
                "text": texts[place % len(texts)],
            }
            key = ("Idempotency-Key", f"bench-{os.getpid()}-{place}")
            yield request("POST", f"{API}/attempts", token, json.dumps(body).encode(), [key])

    outcome, used = _loaded(gateway, asked(), ATTEMPTS)
    _show(say, "POST /attempts", f"p99 ≤ 5 ms ({ATTEMPTS}/s)", outcome, used, 5)


def ban(gateway: rig.Gateway, one: rig.Bench, say: Say, rows: int = 1_000_000) -> None:
    """POST /blacklist until that number is refused on the wire, while an import runs."""
    token = gateway.token("--role", "regulator")
    with tempfile.TemporaryDirectory(dir=gateway.folder) as name:
        institutions, path = import_rate.make_files(Path(name), rows, "csv")
        gateway.command("import", "institutions", institutions)
        began = time.monotonic()
        with gateway.started(
            "import", "numbers", path, "--approve", "--as", "checker", "--by", "approver"
        ) as run:
            text = one.texts.read_text("utf-8").splitlines()[0]
            took = asyncio.run(_bans(gateway, token, text, run))
            code = run.wait()
        spent = time.monotonic() - began
    if code:
        raise RuntimeError(f"the import ended with {code}")
    p50, p99 = percentile(took, 50), percentile(took, 99)
    shown = f"p50 {p50:.0f}, p99 {p99:.0f}, most {max(took):.0f}; {len(took):,} tries"
    what = f"ban by API → refused on the wire, while {rows:,} numbers come in, ms"
    say(what, "p99 ≤ 1,000 over 1,000 tries", shown, met=p99 <= 1_000 and len(took) >= TRIES)
    say(f"import of {rows:,} numbers under these bans, s", "", f"{spent:.0f}", met=None)


def import_(gateway: rig.Gateway, one: rig.Bench, say: Say, rows: int = 1_000_000) -> None:
    """`zhengming import numbers`, approved, into an empty registry beside which nothing runs."""
    measured = import_rate.fresh(rows, "csv")
    shown = (
        f"{measured.seconds:.0f}; CPU {measured.ours:.0f} + {measured.server:.0f} (PostgreSQL),"
        f" peak RSS {measured.peak} MiB"
    )
    say(f"import of {rows:,} numbers, s", "≤ 120", shown, met=measured.seconds <= 120)


def find(gateway: rig.Gateway, one: rig.Bench, say: Say, records: int = 1_500_000) -> None:
    """One subscriber among the records of 150 days, by command, API and timeline."""
    gateway.stop()
    subscribers = uvloop.run(past.fill(gateway.folder / "var", records))
    gateway.start()
    gateway.await_ready()
    gateway.await_shipped(1_800)
    gateway.await_indexed(past.WRITER)
    token = gateway.token("--role", "regulator")
    ways: dict[str, tuple[float, Callable[[str], int]]] = {
        "records find": (
            5,
            lambda who: len(
                json.loads(gateway.said("records", "find", "--subscriber", who, "--limit", "1000", "--json"))
            ),
        ),
        "POST /records/find": (
            5,
            lambda who: len(
                gateway.asked(
                    f"{API}/records/find", token, {"subscriber": who, "limit": 1000, "reason": "bench"}
                )["items"]
            ),
        ),
        "POST /subscribers/timeline": (
            10,
            lambda who: len(
                gateway.asked(f"{API}/subscribers/timeline", token, {"subscriber": who, "reason": "bench"})[
                    "events"
                ]
            ),
        ),
    }
    for name, (goal, look) in ways.items():
        took = []
        for who in subscribers:
            began = time.monotonic()
            found = look(who)
            took.append(time.monotonic() - began)
            if found < past.EACH:
                raise RuntimeError(f"{name}: {found} records of {who} found; right would be {past.EACH}")
        shown = f"median {percentile(took, 50):.2f}, most {max(took):.2f} of {len(took)}"
        what = f"one subscriber of 150 days, {records:,} records, {name}, s"
        say(what, f"≤ {goal}", shown, met=max(took) <= goal)


ALL = {"numbers": numbers, "attempts": attempts, "ban": ban, "import": import_, "find": find}


def _loaded(gateway: rig.Gateway, requests: Iterator[bytes], rate: int) -> tuple[Outcome, float]:
    """The load, and how much of a core the web process used."""
    web, made = gateway.part("web"), list(requests)
    before, began = rig.cpu_seconds([web]), time.monotonic()
    outcome = load(gateway.web, made, rate)
    return outcome, (rig.cpu_seconds([web]) - before) / (time.monotonic() - began)


def _show(say: Say, what: str, goal: str, outcome: Outcome, used: float, most: float) -> None:
    if set(outcome.statuses) != {200}:
        raise RuntimeError(f"{what}: a run that does not count: {outcome.statuses}")
    shown = f"{outcome.said()}; web {used:.0%} of a core"
    say(f"{what}, ms", goal, shown, met=percentile(outcome.took, 99) <= most)


async def _bans(gateway: rig.Gateway, token: str, text: str, run: "subprocess.Popen[bytes]") -> list[float]:
    """Ms of each ban, evenly spread over lanes and time, of those that began while the import ran."""
    places = iter(range(TRIES))
    began = asyncio.get_running_loop().time()
    took: list[float] = []

    async def lane(number: int, client: aiohttp.ClientSession) -> None:
        async with SenderSim("127.0.0.1", gateway.port, rig.ACCOUNTS[number], "secret") as sender:
            for place in places:
                await asyncio.sleep(
                    max(0.0, began + place / TRIES_A_SECOND - asyncio.get_running_loop().time())
                )
                if run.poll() is not None:
                    return
                took.append(await _try(gateway, client, token, sender, f"{rig.PASSING}{place:06}", text))

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:
        await asyncio.gather(*(lane(number, client) for number in range(LANES)))
    return took


async def _try(
    gateway: rig.Gateway,
    client: aiohttp.ClientSession,
    token: str,
    sender: SenderSim,
    source: str,
    text: str,
) -> float:
    """Ms from asking for the ban until a submit from that number gets the answer of a blacklisted one."""
    before = await sender.submit(source, ["13700000000"], text)
    if before.result:
        raise RuntimeError(f"{source} is refused with {before.result} before it is banned")
    body: dict[str, Any] = {"number": source, "reason": "bench", "case_reference": "BENCH"}
    began = time.perf_counter()
    async with client.post(f"http://127.0.0.1:{gateway.web}{API}/blacklist", json=body) as answer:
        if answer.status != 201:
            raise RuntimeError(f"{source} could not be banned: {answer.status} {await answer.text()}")
    while time.perf_counter() - began < LOST:
        if (await sender.submit(source, ["13700000000"], text)).result == REFUSALS[Reason.BLACKLISTED]:
            return (time.perf_counter() - began) * 1e3
        await asyncio.sleep(POLL)
    return LOST * 1e3
