"""`python -m gateway.part ROLE [CONFIG]`: one process of a node, as the supervisor starts it.

Not the command line, so that a worker imports nothing that it does not run. Roles: acceptor, worker-N,
keeper, web.
"""

import sys
from pathlib import Path

from gateway import app
from gateway.errors import UsageError


def main(role: str, path: Path | None) -> int:
    """Run one part until it is told to stop; its exit code."""
    name, _, index = role.partition("-")
    bodies = {
        "acceptor": app.acceptor,
        "worker": lambda process: app.worker(process, int(index)),
        "keeper": app.keeper,
        "web": app.web,
    }
    try:
        return app.run(role, path, bodies[name])
    except UsageError as error:
        print(f"zhengming: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None))
