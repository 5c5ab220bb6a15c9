"""The metrics count what is on record: nothing that a full disk has sent back to come again."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from playbook import eventually
from prometheus_client import Counter
from test_acts import Filling

from gateway.evidence.journal import Journal, JournalFull
from gateway.evidence.seal import Keys
from gateway.model import SMS, AccountKey, Attempt, Finding, Reason, Verdict
from gateway.protocols.message import Delivery
from gateway.registry.keys import RegistryKey
from gateway.relay.memory import Batch, Submit
from gateway.relay.returns import Returns
from gateway.relay.screen import Screen, _Turn
from gateway.telemetry import Telemetry

ACCOUNT = AccountKey("mobile", "cmpp", "900001")
MALFORMED = Verdict(Reason.MALFORMED, "frame", (Finding(Reason.MALFORMED, "frame", True),))


class Owner:
    """Hears what became of its batches."""

    def __init__(self) -> None:
        self.heard: list[Exception | None] = []

    def judged(self, batch: Batch) -> None:
        pass

    def settled(self, batch: Batch, error: Exception | None) -> None:
        self.heard.append(error)

    def abort(self) -> None:
        raise AssertionError


def total(counter: Counter) -> float:
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


async def test_what_was_not_recorded_is_not_counted(tmp_path: Path) -> None:
    disk, telemetry, owner = Filling(), Telemetry(), Owner()
    journal = Journal(tmp_path / "journal", "n", "w0", Keys(tmp_path / "keys"), disk=disk)
    journal.start()
    key = RegistryKey(bytes(32))
    view = SimpleNamespace(
        hash=key.current.hash, hashed_by=0, renew=lambda: None, numbers=lambda number: (), version=1
    )
    nobody: Any = SimpleNamespace(
        hashed_by=lambda by, changed: None, region=lambda number: "", last=lambda key, now: None
    )
    profile: Any = SimpleNamespace(digest="p", lexicon_digest="l")
    log = logging.getLogger("tallies")
    screen = Screen("n", cast(Any, view), profile, journal, nobody, nobody, nobody, telemetry, log)
    returns = Returns("n", screen, key, nobody, nobody, nobody, telemetry)

    async def both() -> None:
        submits = [Submit((0, 0, 0, number), 0, None) for number in (1, 2)]
        for again in (False, True):
            batch = Batch(owner, ACCOUNT, 1, submits, b"", 0, [], cast(Any, None), 0.0, again=again)
            attempts = [Attempt(ACCOUNT, SMS, "", "", "", "frame")] * 2
            screen._record(
                _Turn([batch], attempts, [MALFORMED, Verdict(None)], [0, 0], profile, 0, 1, 0.0), None
            )
        delivery = Delivery(b"m", b"13800001234", b"10690001", 0, False, b"hello", None)
        returns.reply(ACCOUNT, delivery, owner.heard.append, "", 0.0)
        try:
            await journal.sync()
        finally:
            screen.shares.flush_metrics()
            returns.flush_metrics()

    disk.full = True
    with pytest.raises(JournalFull):
        await both()
    assert [type(error) for error in owner.heard] == [JournalFull] * 3
    assert (total(telemetry.attempts), total(telemetry.replies)) == (0, 0)
    disk.full = False
    await eventually(lambda: not journal.full)
    await both()
    assert owner.heard[3:] == [None] * 3
    # what passes on of a message was counted when it began
    assert (total(telemetry.attempts), total(telemetry.intercepts), total(telemetry.replies)) == (3, 2, 1)
    await journal.close()


def test_who_accepts_again_in_the_read_of_his_refusal_has_done_so_after_it() -> None:
    """Of two of one moment the refusal stands: so it is the later one's, whichever that is."""
    nobody: Any = SimpleNamespace(journal=None)
    returns = Returns("n", nobody, RegistryKey(bytes(32)), nobody, nobody, nobody, Telemetry())
    moments = [returns._moment(1000, kind) for kind in ("refuse", "accept", "refuse", "other", "accept")]
    assert moments == [1000, 1001, 1001, 1001, 1002]
    assert returns._moment(1001, "refuse") == 1002
    assert returns._moment(500, "accept") == 500  # the clock was set back
