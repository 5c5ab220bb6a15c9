"""What workers hand over to each other arrives, in order, also when it is much at once."""

import asyncio
import logging
from pathlib import Path

import pytest
from playbook import eventually

from gateway.protocols.sip_place import Place
from gateway.relay import neighbours
from gateway.relay.neighbours import Handed, Neighbours

MANY = 3000
LOG = logging.getLogger("test")


async def test_a_burst_arrives_in_order_and_what_nobody_takes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "AGAIN_SECONDS", 15.0)  # a busy machine is none that nobody listens on
    took: list[Handed] = []
    lost: list[Handed] = []
    here = Neighbours(tmp_path, 0, took.append, lost.append, LOG)
    there = Neighbours(tmp_path, 1, took.append, lost.append, LOG)
    sent = [Handed(False, Place("127.0.0.1", 5060), b"%d" % n + b" " * 700) for n in range(MANY)]
    here.open()
    there.open()
    try:
        for one in sent:
            here.hand(1, one)
        await eventually(lambda: len(took) == MANY)
        assert took == sent
        assert not lost
        monkeypatch.setattr(neighbours, "AGAIN_SECONDS", 0.01)
        here.hand(2, sent[0])  # who was never there
        await eventually(lambda: lost == sent[:1])
    finally:
        here.close()
        there.close()
        await asyncio.sleep(0)
