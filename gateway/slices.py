"""How the kernel shares out the processor among this process and others that want it at the same time.

A part that somebody waits for works in pieces of 0.1 to 1 ms, many times a second. Linux gives each process
slices of some ms, and makes who wakes up wait for the end of another's slice; who has asked for a short one
comes sooner, with no more time in all (EEVDF, since Linux 6.12; `sched_setattr(2)`, sched_runtime). Takes no
privilege. An older kernel takes the wish and ignores it.
"""

import ctypes
import os
from struct import Struct

SECONDS = 0.0001
"""The shortest slice that the kernel gives."""

_SETATTR = {"x86_64": 314, "aarch64": 274}
"""System call number of sched_setattr, for which the C library has no name, by machine."""

_ATTR = Struct("=IIQiIQQQII")
"""struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, two clamps."""


def ask_for_short() -> bool:
    """Have this thread, and those that it starts from now on, run in short slices; whether that was taken.

    What an operator has chosen otherwise (a real-time policy, batch) stays as it is.
    """
    number = _SETATTR.get(os.uname().machine)
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice, runtime = os.getpriority(os.PRIO_PROCESS, 0), int(SECONDS * 1e9)
    wish = _ATTR.pack(_ATTR.size, os.SCHED_OTHER, 0, nice, 0, runtime, 0, 0, 0, 0)
    return int(ctypes.CDLL(None).syscall(number, 0, wish, 0)) == 0
