"""Callback ports of accounts' own: each is one worker's, and follows the registry."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playbook import HOST, free_ports

from gateway.config import Sms
from gateway.direct import owner
from gateway.errors import NotReady
from gateway.relay import callback_ports
from gateway.relay.callback_ports import CallbackPorts, may_call
from gateway.telemetry import Telemetry

WORKERS = 3


class Filed:
    """What routes tell of accounts: name → callback."""

    def __init__(self, **callbacks: str) -> None:
        self.callbacks, self.ready = callbacks, True

    def accounts(self) -> list[tuple[Any, tuple[()]]]:
        if not self.ready:
            raise NotReady("no replica")
        return [
            (SimpleNamespace(callback=callback, key=SimpleNamespace(account=name)), ())
            for name, callback in self.callbacks.items()
        ]


async def test_they_are_parted_among_workers_shared_by_namesakes_and_follow_the_registry(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(callback_ports, "FOLLOW_SECONDS", 0.0)
    shared, *ports = (f"{HOST}:{port}" for port in free_ports(4))
    alone, both, later = ports
    filed = Filed(one=alone, two=both, three=both, four=shared, five="")
    listeners = (Sms(protocol="cmpp"), Sms(protocol="sgip", callback_listen=shared))
    all_of = [
        CallbackPorts(
            *(listeners, {"sgip": filed}, tmp_path, index, WORKERS, Telemetry(), logging.getLogger("ports")),  # type: ignore[arg-type]
        )
        for index in range(WORKERS)
    ]

    def follow() -> list[set[tuple[str, str]]]:
        for one in all_of:
            one.follow()
        return [{(door.listen, door.account) for door in one._acceptor.doors} for one in all_of]

    try:
        found = follow()
        assert set().union(*found) == {(alone, "one"), (both, "")}
        for index, doors in enumerate(found):
            assert {owner(listen, WORKERS) for listen, _ in doors} <= {index}
        assert {door.section for one in all_of for door in one._acceptor.doors} == {1}
        filed.ready = False
        assert follow() == found
        filed.ready, filed.callbacks = True, {"one": later, "three": both}
        assert set().union(*follow()) == {(later, "one"), (both, "three")}
    finally:
        for one in all_of:
            one.close()


async def test_an_address_that_is_taken_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(callback_ports, "FOLLOW_SECONDS", 0.0)
    place = f"{HOST}:{free_ports(1)[0]}"
    args = (
        (Sms(protocol="sgip"),),
        {"sgip": Filed(one=place)},
        tmp_path,
        0,
        1,
        Telemetry(),
        logging.getLogger("ports"),
    )
    first, second = CallbackPorts(*args), CallbackPorts(*args)  # type: ignore[arg-type]
    try:
        first.follow()
        for _ in range(3):
            second.follow()
        assert not second._acceptor.doors
        assert [record.getMessage() for record in caplog.records] == ["callback port not open"]
        first.close()
        second.follow()
        assert [door.listen for door in second._acceptor.doors] == [place]
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("address", "said", "upstreams", "may"),
    [
        ("127.0.0.1", (), ["127.0.0.1:8801"], True),
        ("127.0.0.1", (), ["10.0.0.5:8801", "localhost:8801"], True),
        ("127.0.0.2", (), ["127.0.0.1:8801"], False),
        ("127.0.0.1", (), [], False),
        ("127.0.0.1", (), ["nowhere.invalid:8801"], False),
        ("10.0.0.7", ("10.0.0.0/29", "::1"), [], True),
        ("::1", ("10.0.0.0/29", "::1"), [], True),
        ("127.0.0.1", ("10.0.0.0/29",), ["127.0.0.1:8801"], False),
    ],
)
async def test_the_carrier_alone_may_call(
    address: str, said: tuple[str, ...], upstreams: list[str], may: bool
) -> None:
    assert await may_call(address, Sms(protocol="sgip", callback_from=said), upstreams) is may
