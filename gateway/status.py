"""What each process of a node says of itself, for /readyz and the supervisor: small files in data_dir/run.

A process writes its file once a second (`Status.say`); whoever reads it takes a file that is older than
`STALE_SECONDS`, or whose process has gone, as not ready. No sockets, so that a role in a container of its
own is seen as well (one data_dir, one PID namespace). The file keeps its size, because a full disk must not
stop a process from saying so.
"""

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STALE_SECONDS = 5.0
OCTETS = 1024  # of a file, filled up with spaces
MOST_WHY = 120  # characters; in JSON one may take six octets
LOOKS = 3  # at a file that is being written, before it counts as broken


@dataclass(frozen=True, slots=True)
class Said:
    """One process's last word: ready, or why not. `pid` is 0 when it does not run."""

    role: str
    pid: int
    ready: bool
    why: str


class Status:
    """The file of one role; `role` is acceptor, worker-N, keeper or web."""

    def __init__(self, run_dir: Path, role: str) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = run_dir / f"{role}.status"
        self._role = role

    def say(self, *, ready: bool, why: str = "") -> None:
        """Write the state, in place; where there is no room for that, silence says enough."""
        said = {"role": self._role, "pid": os.getpid(), "ready": ready, "why": why[:MOST_WHY]}
        text = json.dumps(said | {"at": time.time()}).ljust(OCTETS)
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, text.encode(), 0)
            finally:
                os.close(descriptor)

    def leave(self) -> None:
        self._path.unlink(missing_ok=True)


def read(run_dir: Path, role: str) -> Said:
    """The last word of a role; never raises."""
    for _ in range(LOOKS):
        try:
            said = json.loads((run_dir / f"{role}.status").read_text("utf-8"))
            pid, at = int(said["pid"]), float(said["at"])
        except FileNotFoundError:
            break
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return _as_of(role, said, pid, at)
    return Said(role, 0, False, "not started")


def _as_of(role: str, said: dict[str, Any], pid: int, at: float) -> Said:
    if not Path(f"/proc/{pid}").exists():
        return Said(role, 0, False, f"process has ended: {said.get('why') or 'killed'}")
    if time.time() - at > STALE_SECONDS:
        return Said(role, pid, False, f"silent for {time.time() - at:.0f} s")
    return Said(role, pid, bool(said["ready"]), str(said["why"]))


def roles(workers: int, *, relay: bool) -> list[str]:
    """The processes that a whole node consists of; without listeners there is no acceptor."""
    return [*(["acceptor"] if relay else []), *(f"worker-{n}" for n in range(workers)), "keeper", "web"]
