"""What strangers have a worker keep is bounded, whatever they make up: the parts of it that need no node."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.model import AccountKey
from gateway.relay import screen as screens
from gateway.relay.screen import Screen
from gateway.telemetry import Telemetry


def test_accounts_that_are_looked_up_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each call two are asked for: by the address and port that it came from, and by the address."""
    monkeypatch.setattr(screens, "MOST_CACHED", 8)
    asked: list[AccountKey] = []
    view: Any = SimpleNamespace(hash=None, hashed_by=0, version=1, account=asked.append)
    nobody: Any = SimpleNamespace(hashed_by=lambda by, changed: None)
    log = logging.getLogger("bounds")
    screen = Screen("n", view, nobody, nobody, nobody, nobody, nobody, Telemetry(), log)
    keys = [AccountKey("mobile", "sip", f"192.0.2.1:{port}") for port in range(20)]
    for key in keys:
        assert screen.account(key) is screen.account(key) is None
    assert asked == keys
    assert len(screen._accounts) <= 8
