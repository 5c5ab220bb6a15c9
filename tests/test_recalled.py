"""What is read back after a restart: the calls of a worker, the newest first, and how they were answered."""

from pathlib import Path

import pytest
from test_journal import NOON, items, make

from gateway import model
from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.relay.recalled import OURS, Known, recalled

TRUNK = model.AccountKey("mobile", "sip", "10.0.0.9")
MINUTE = 60_000


def judged(reason: model.Reason | None) -> object:
    verdict = model.Verdict(reason, number="95511", institution_code="BANK", purpose="marketing")
    return rec.judged(TRUNK, "n", model.VOICE, "95511", verdict, profile="p", lexicon="l")


@pytest.mark.asyncio
async def test_calls_come_back_with_what_their_invites_were_told(tmp_path: Path) -> None:
    journal = make(tmp_path)
    journal.start()
    ids = {}
    for minute in range(60):  # in blocks of their own, SMS between them
        reason = model.Reason.BLACKLISTED if minute % 5 == 0 else None
        key = (1 << 64) + minute
        call = (
            *(judged(reason), 0, 7, key.to_bytes(12, "big"), 0, 1, 1, 0 if reason else 77, ""),
            *("+8613800000001", 8, 0, f"call-{minute}".encode("utf-16-be")),
        )
        at = NOON + minute * MINUTE
        (ids[minute],) = journal.attempts(at, 5, [call], lambda _: None)  # type: ignore[list-item]
        await journal.sync()
        journal.attempts(at, 5, items(minute), lambda _: None)
        if minute % 5 == 1:
            journal.outcomes(at + 1, [(ids[minute], 180, b"", 0), (ids[minute], 200, b"", 0)])
        if minute % 5 == 2:  # of SMS, as their protocols have it
            journal.outcomes(at + 1, [(ids[minute], code, b"", 0) for code in (0, 8, 127, 128, -1, 180)])
        if minute % 5 == 3:
            journal.outcomes(at + 1, [(ids[minute], 603, OURS if minute == 43 else b"", 0)])
        await journal.sync()
    await journal.close()

    def found(since: int, until: int = 0, most: int = 1000, but: str = "") -> list[Known]:
        keys = Keys(tmp_path / "keys")
        return list(recalled(tmp_path / "journal", keys, lambda name: name != but, most, since, until))

    newest = found(NOON + 54 * MINUTE, but="call-58")
    assert [known.call_id for known in newest] == [b"call-%d" % n for n in (59, 57, 56, 55, 54)]
    last = newest[0]
    assert (last.key, last.reason, last.result) == ((1 << 64) + 59, "", 0)
    assert last.dialog == (ids[59], TRUNK, "95511", "+8613800000001", "95511", "BANK", "marketing", 77)
    assert (newest[2].result, newest[2].ended) == (200, NOON + 56 * MINUTE + 1)
    assert (newest[3].reason, newest[3].dialog.hop) == ("blacklisted", 0)
    assert [known.result for known in found(NOON + 40 * MINUTE)] == [0, 603, 0, 200, 0] * 4
    assert [known.at for known in found(NOON + 40 * MINUTE) if known.ours] == [NOON + 43 * MINUTE]
    older = found(NOON + 10 * MINUTE, NOON + 54 * MINUTE)
    assert [known.call_id for known in older] == [b"call-%d" % n for n in range(53, 9, -1)]
    assert len(found(NOON, most=5)) < 10
