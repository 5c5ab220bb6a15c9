"""How long a node is without its counters after it has lost them: the recount out of a day's journals.

    python tests/bench/recounting.py [ATTEMPTS]

Attempts that passed, each to a subscriber of his own, in the journals of two workers; a day's content of a
text of 70 characters. On a machine with nothing else to do both are the same.
"""

import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway import model
from gateway.config import read_profile
from gateway.counters.local import Local
from gateway.counters.recount import recounted
from gateway.evidence import record as rec
from gateway.evidence.journal import Item, Journal
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.policy.profile_text import parse_profile
from gateway.protocols.text import UCS2, encode
from gateway.registry.keys import RegistryKey

ACCOUNT = model.AccountKey("mobile", "cmpp", "900001")
VERDICT = model.Verdict(None, number="10690001", institution=1, institution_code="BANK", purpose="marketing")
JUDGED = rec.judged(ACCOUNT, "n", model.SMS, "106900010001", VERDICT, profile="p" * 16, lexicon="l" * 16)
TEXT = encode("【示例银行】新客理财专享，详询网点。拒收请回复R".ljust(70, "。"), UCS2)
BATCH, WRITERS = 500, 2


async def write(folder: Path, keys: Keys, attempts: int) -> None:
    """The journals of two workers, with so many attempts in all."""
    journals = [Journal(folder, "n", f"w{n}", keys, durability="os") for n in range(WRITERS)]
    for journal in journals:
        journal.start()
    for start in range(0, attempts, BATCH):
        journal = journals[start // BATCH % WRITERS]
        items: list[Item] = [
            (JUDGED, 0, 7, n, 0, 1, 1, 0, "杭州市", f"+86138{n:08}", UCS2, 0, TEXT)
            for n in range(start, min(start + BATCH, attempts))
        ]
        journal.attempts(time.time_ns() // 1_000_000, 1, items, lambda error: None)
        await journal.sync()
    for journal in journals:
        await journal.close()


def seconds(folder: Path, keys: Keys) -> tuple[float, float]:
    """Until it counts again; and of a core."""
    key, profile = RegistryKey(bytes(32)), parse_profile(read_profile, "zhejiang")
    view = cast(Any, SimpleNamespace(numbers=lambda number: ()))
    local = Local(
        folder / "counters",
        lambda since: recounted(Search(folder / "journal", keys), view, key.hash, since, profile),
        logging.getLogger(__name__),
    )
    began, used = time.monotonic(), time.process_time()
    while not local.check():
        time.sleep(0.005)
    took = time.monotonic() - began, time.process_time() - used
    asyncio.run(local.close())
    return took


def main(attempts: int) -> None:
    with tempfile.TemporaryDirectory(prefix="zhengming-recount-") as name:
        folder = Path(name)
        keys = Keys(folder / "keys")
        (folder / "journal").mkdir()
        asyncio.run(write(folder / "journal", keys, attempts))
        took, used = seconds(folder, keys)
    print(f"{attempts:,} attempts recounted in {took:.1f} s; {1e6 * used / attempts:.1f} µs of a core each")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
