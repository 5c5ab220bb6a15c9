"""Connections as a listening socket brings them."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

AGAIN_SECONDS = 0.1


async def accepted(listening: socket.socket, log: logging.Logger) -> AsyncIterator[tuple[socket.socket, Any]]:
    """Each connection with its peer's address, until cancelled. Where the system has no room for one it waits
    in the kernel until some is given back."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            yield await loop.sock_accept(listening)
        except OSError as error:
            log.warning("accept failed", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(AGAIN_SECONDS)
