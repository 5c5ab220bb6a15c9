"""A part that somebody waits for asks the kernel for short slices, and for nothing that takes a privilege."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway import slices

GETATTR = {"x86_64": 315, "aarch64": 275}

pytestmark = pytest.mark.skipif(
    os.uname().machine not in GETATTR, reason="the number of sched_getattr is not known here"
)


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What it gives in a thread of its own, as a wish is one thread's."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def attributes() -> tuple[int, int, int]:
    """Policy, nice and slice (ns) of this thread."""
    room = ctypes.create_string_buffer(slices._ATTR.size)
    assert ctypes.CDLL(None).syscall(GETATTR[os.uname().machine], 0, room, len(room), 0) == 0
    _, policy, _, nice, _, runtime, *_ = slices._ATTR.unpack(room.raw)
    return policy, nice, runtime


def test_the_slice_is_short_and_the_rest_as_before() -> None:
    policy, nice, before = in_a_thread(attributes)

    def asked() -> Any:
        assert slices.ask_for_short()
        return attributes(), in_a_thread(attributes)  # and so is that of who is started later

    itself, later = in_a_thread(asked)
    assert itself[:2] == later[:2] == (policy, nice)
    if before:  # Linux 6.12: slices are said and kept
        assert itself[2] == later[2] == 100_000 < before


def test_what_an_operator_chose_stays() -> None:
    def asked() -> Any:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        return slices.ask_for_short(), os.sched_getscheduler(0)

    assert in_a_thread(asked) == (False, os.SCHED_BATCH)
