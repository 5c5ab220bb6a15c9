"""`python -m gateway.part ROLE SETTINGS`: one process of a node, as the supervisor starts it, by the settings
that it has handed down.

Not the command line, so that a worker imports nothing that it does not run. Roles: acceptor, worker-N,
keeper, web.
"""

import sys
from pathlib import Path

from gateway import app
from gateway.process import run


def main(role: str, path: Path) -> int:
    """Run one part until it is told to stop; its exit code."""
    name, _, index = role.partition("-")
    bodies = {
        "acceptor": app.acceptor,
        "worker": lambda process: app.worker(process, int(index)),
        "keeper": app.keeper,
        "web": app.web,
    }
    return run(role, path, bodies[name])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
