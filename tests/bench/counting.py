"""What it costs to reserve a message: the node's own counters, batch by batch, as a worker has it.

Four messages in five go to a subscriber who got none today, one in five to one who did: the caps are those of
marketing. The tables are as after a morning, with two days of them.
"""

import random
import tempfile
import time
from pathlib import Path

from gateway.counters import TAKE, Entry
from gateway.counters.shared import DAY, SHANGHAI, Shared
from gateway.policy.caps import caps_of

(LIMITS,) = caps_of({"marketing": {"minute": 2, "day": 10}}).values()
NOON = 20_000 * DAY - SHANGHAI + DAY // 2
KNOWN, MESSAGES = 40_000, 40_000


def costs(batch: int, runs: int) -> list[float]:
    """For each run after one that warms up, the µs of CPU of a message."""
    chance = random.Random(batch)
    found = []
    with tempfile.TemporaryDirectory(prefix="zhengming-counters-") as folder:
        for run in range(runs + 1):
            counters = Shared(Path(folder) / str(run))
            counters.finish(counters.begin_anew())
            known = [chance.getrandbits(64) for _ in range(KNOWN)]
            for at in (NOON - DAY, NOON):
                counters.reserve(at, [_entry(key) for key in known])
            keys = [
                chance.choice(known) if chance.random() < 0.2 else chance.getrandbits(64)
                for _ in range(MESSAGES)
            ]
            batches = [
                [_entry(key) for key in keys[start : start + batch]] for start in range(0, MESSAGES, batch)
            ]
            began = time.process_time()
            for number, entries in enumerate(batches):
                counters.reserve(NOON + number, entries)
            found.append(1e6 * (time.process_time() - began) / MESSAGES)
            counters.close()
    return found[1:]


def _entry(key: int) -> Entry:
    return key, LIMITS, 10, TAKE, 0
