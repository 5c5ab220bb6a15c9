"""Ports on 127.0.0.1 that a demonstration may take, also while others choose theirs."""

import contextlib
import socket

from gateway.errors import NotReady


def is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError:
            return False
    return True


def free(port: int, stack: contextlib.AsyncExitStack) -> int:
    """This port, for TCP and UDP, or a free one where it is taken. Until `stack` is left no other
    demonstration chooses it: our own node listens there only when its database has come up."""
    for candidate in (port, 0, 0, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", candidate))
                found = int(sock.getsockname()[1])
                with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                    datagrams.bind(("127.0.0.1", found))
                chosen = stack.enter_context(socket.socket(socket.AF_UNIX))
                chosen.bind(f"\0zhengming demo {found}")  # a name without a file: it ends with us
            except OSError:
                continue
            return found
    raise NotReady("no free port on 127.0.0.1")
