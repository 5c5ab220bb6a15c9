"""What each process of a node says of itself, for /readyz and the supervisor: small files in data_dir/run.

A process writes its file once a second (`Status.say`); whoever reads it takes a file that is older than
`STALE_SECONDS`, or whose process has gone, as not ready. No sockets, so that a role in a container of its
own is seen as well (one data_dir, one PID namespace).
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

STALE_SECONDS = 5.0


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
        """Write the state; readers never see half of it."""
        text = json.dumps(
            {"role": self._role, "pid": os.getpid(), "ready": ready, "why": why, "at": time.time()}
        )
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        fresh.replace(self._path)

    def leave(self) -> None:
        self._path.unlink(missing_ok=True)


def read(run_dir: Path, role: str) -> Said:
    """The last word of a role; never raises."""
    try:
        said = json.loads((run_dir / f"{role}.status").read_text("utf-8"))
        pid, at = int(said["pid"]), float(said["at"])
    except (OSError, ValueError, KeyError):
        return Said(role, 0, False, "not started")
    if not Path(f"/proc/{pid}").exists():
        return Said(role, 0, False, f"process has ended: {said.get('why') or 'killed'}")
    if time.time() - at > STALE_SECONDS:
        return Said(role, pid, False, f"silent for {time.time() - at:.0f} s")
    return Said(role, pid, bool(said["ready"]), str(said["why"]))


def roles(workers: int, *, relay: bool) -> list[str]:
    """The processes that a whole node consists of; without listeners there is no acceptor."""
    return [*(["acceptor"] if relay else []), *(f"worker-{n}" for n in range(workers)), "keeper", "web"]
