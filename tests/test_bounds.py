"""What strangers have a worker keep is bounded, whatever they make up: the parts of it that need no node."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from world import ACCOUNT

from gateway.model import AccountKey
from gateway.protocols.sip_place import Place
from gateway.relay import callers
from gateway.relay import screen as screens
from gateway.relay.callers import Callers
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


def test_whose_trunk_a_call_came_by_follows_the_registry_and_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "MOST_KNOWN", 4)
    filed = AccountKey("mobile", "sip", "192.0.2.1")
    view, profile = SimpleNamespace(version=1), SimpleNamespace(unknown_account="refuse")
    accounts = {filed: ACCOUNT}
    screen: Any = SimpleNamespace(view=view, account=accounts.get, profile=profile)
    trunks: Any = SimpleNamespace(carrier="mobile", hops=frozenset())
    found = Callers(trunks, screen)
    peers = [Place("192.0.2.1", port) for port in range(9)]
    assert {found.account(peer) for peer in peers} == {filed}
    assert len(found._known) <= 4
    assert not found.are_strangers(peers[0])
    assert found.are_strangers(Place("192.0.2.9", 1))
    accounts[by_port := AccountKey("mobile", "sip", "[2001:db8::1]:5060")] = ACCOUNT
    assert found.account(Place("2001:db8::1", 5060)) == by_port
    assert found.account(Place("2001:db8::1", 5061)) is None
    accounts.clear()
    view.version = 2
    assert found.account(peers[-1]) is None
    assert found.are_strangers(peers[-1])
    profile.unknown_account = "observe"  # then calls pass from anywhere
    assert not found.are_strangers(peers[-1])
