"""150 days of records in a node's journal, as a worker would have left them; the node does not run then."""

import time
from pathlib import Path

from rig import PASSING, SIGNATURES

from gateway import model
from gateway.evidence import record as rec
from gateway.evidence.journal import Item, Journal
from gateway.evidence.seal import Keys

WRITER = "w9"
DAYS = 149
DAY = 86_400_000
BATCH = 500
SOUGHT = 10
EACH = DAYS
"""How many of the records are of each subscriber that is sought: one a day."""

TEXT = f"【{SIGNATURES[0]}】新客理财专享，详询网点。拒收请回复R".encode("utf-16-be")


async def fill(data_dir: Path, records: int) -> list[str]:
    """Write so many attempts, one in ten refused, evenly over the days until now, by `WRITER`; the numbers
    of subscribers who have one a day."""
    sought = [f"+861390000{n:04}" for n in range(SOUGHT)]
    each = records // DAYS
    begin = time.time_ns() // 1_000_000 - DAYS * DAY
    now = begin
    journal = Journal(
        data_dir / "journal", "bench", WRITER, Keys(data_dir / "keys"), durability="os", clock=lambda: now
    )
    journal.start()
    judged = [
        rec.judged(
            model.AccountKey("mobile", "cmpp", "770000"), "bench", model.SMS, f"{PASSING}{n:06}",
            model.Verdict(
                model.Reason.SIGNATURE_MISSING if n == 0 else None, number=PASSING, institution_code="BENCH"
            ),
            profile="bench", lexicon="bench",
        )
        for n in range(10)
    ]  # fmt: skip
    for day in range(DAYS):
        for first in range(0, each, BATCH):
            now = begin + day * DAY + first * DAY // each
            items: list[Item] = [
                (
                    judged[(n + day) % 10], 0, 1, n, 0, 1, 1, 0, "杭州",
                    sought[n] if n < SOUGHT else f"+86138{(day * each + n) % 3_000_000:08}", 8, 0, TEXT,
                )
                for n in range(first, min(first + BATCH, each))
            ]  # fmt: skip
            journal.attempts(now, 1, items, lambda error: None)
            await journal.sync()
    await journal.close()
    return [number.removeprefix("+86") for number in sought]
