"""`ready.json` of a demonstration: where everything answers, who may sign in, which processes there are.

It is there while the demonstration runs and whole whenever somebody reads it. What dies is started again as
another process, and the file follows, so that who kills a part by it a second time kills that part.
"""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from gateway import node, status
from gateway.config import Config
from gateway.process import run_dir

LOOK_SECONDS = 0.25
"""How often it is looked whether a part has been started again."""


class Ready:
    """The file at `path`; it holds secrets, so none but its owner reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content: dict[str, Any] = {}

    def write(self, content: dict[str, Any], settings: Config, running: node.Node) -> None:
        """Write all of it, with the processes of the node that runs."""
        self._content = content
        self._write_pids(_pids(settings, running))

    async def follow(self, settings: Config, running: node.Node) -> None:
        """Keep `pids` true until cancelled. Whose process has died keeps its number till there is another
        one: nobody may find a 0 there, which to kill(2) is his own process group."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            known, now = self._content["pids"], _pids(settings, running)
            for part, pid in now.items():
                if isinstance(pid, list):
                    now[part] = [new or old for new, old in zip(pid, known[part], strict=True)]
                else:
                    now[part] = pid or known[part]
            if now != known:
                with contextlib.suppress(OSError):  # a full disk: at the next look
                    self._write_pids(now)

    def _write_pids(self, pids: dict[str, int | list[int]]) -> None:
        content = self._content | {"pids": pids}
        fresh = self.path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")
        fresh.replace(self.path)
        self._content = content

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _pids(settings: Config, running: node.Node) -> dict[str, int | list[int]]:
    """As the parts say themselves; 0 for one that does not run."""
    folder = run_dir(settings)
    pid = {role: status.read(folder, role).pid for role in status.roles(settings.workers, relay=True)}
    return {
        "supervisor": os.getpid(),
        "acceptor": pid["acceptor"],
        "workers": [pid[f"worker-{n}"] for n in range(settings.workers)],
        "keeper": pid["keeper"],
        "web": pid["web"],
        "database": running.database.pid if running.database is not None else 0,
    }
