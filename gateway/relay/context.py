"""The messages that replies answer: read back from the journal of this node, in a thread of its own.

A message that another node sent, or whose record or key is gone, is "": the reply is then understood by
itself. At most one read of each connection waits here, as carriers are not read while their replies do.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gateway.evidence.said import Sayings
from gateway.protocols.text import decode
from gateway.relay.contacts import Contact


class Context:
    """Reads for all sessions of a worker."""

    def __init__(self, sayings: Sayings) -> None:
        self._sayings = sayings
        self._thread = ThreadPoolExecutor(1, "context")

    def texts(self, contacts: Sequence[Contact | None], then: Callable[[list[str]], None]) -> None:
        """`then` gets, on the loop, what each of these attempts said; "" for None and for what can't be
        read."""
        reading = asyncio.get_running_loop().run_in_executor(self._thread, self._read, contacts)
        reading.add_done_callback(partial(_tell, len(contacts), then))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, contacts: Sequence[Contact | None]) -> list[str]:
        return [self._text(contact) for contact in contacts]

    def _text(self, contact: Contact | None) -> str:
        if contact is None:
            return ""
        said = self._sayings.of(contact.writer, contact.attempt, contact.place)
        return "" if said is None else decode(*said)[0]


def _tell(count: int, then: Callable[[list[str]], None], reading: "asyncio.Future[list[str]]") -> None:
    """Whatever went wrong while reading, replies are not lost by it."""
    if reading.cancelled():
        return
    error = reading.exception()
    if error is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "what replies answer could not be read", "exception": error}
        )
    then(reading.result() if error is None else [""] * count)
