"""How many replies a core understands in a second, each another text.

Subscribers send few texts many times, so a cache of whole texts would look good here and say nothing of the
rest: none is kept, and no text comes twice. They are the given table and the held-out one, each row in the
dresses below; so rarer and longer than what comes in a day, of which most is one letter.
"""

import csv
import time
from pathlib import Path

from gateway.policy.replies import classify

VECTORS = Path(__file__).parents[1] / "vectors"
DRESSES = (
    "", "。", "！", "!!", "…", " ", "\r\n", "🙏", "👍", "，谢谢",
    " 谢谢！", "\u200b", "～", "。。。", "😊", "、", "\u3000。", "！！！", "；", "\n\n",
)  # fmt: skip


def texts() -> list[str]:
    """Distinct ones, in the order of the tables."""
    rows: list[str] = []
    for name in ("replies.csv", "replies_heldout.csv"):
        with (VECTORS / name).open(encoding="utf-8", newline="") as file:
            rows += [row["text"] for row in csv.DictReader(file)]
    return list(dict.fromkeys(text + dress for dress in DRESSES for text in rows))


def rates(runs: int) -> tuple[int, list[float]]:
    """How many texts, and for each run how many of them a second of CPU is enough for."""
    said = texts()
    found = []
    for _ in range(runs + 1):
        began = time.process_time()
        for text in said:
            classify(text)
        found.append(len(said) / (time.process_time() - began))
    return len(said), found[1:]
