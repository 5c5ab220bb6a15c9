"""What goes wrong on one connection, in the log: so many lines, so that no peer can fill a disk."""

import logging

from gateway.errors import WireError
from gateway.model import AccountKey

MOST_NOTES = 100  # lines about the mistakes of one connection's peers; all are counted
CLOSED = "connection closed"


class Notes:
    """Those of one session."""

    def __init__(self, log: logging.Logger, key: AccountKey, connection: int) -> None:
        self._log = log
        self._fields = {"protocol": key.protocol, "account": key.account, "connection": connection}
        self._count = 0

    def note(self, what: str, error: WireError | None) -> None:
        """Say it, unless too much was said; how it ended is said always."""
        self._count += 1
        if self._count > MOST_NOTES and what != CLOSED:
            return
        fields = self._fields
        if error is not None:
            fields = fields | {"cause": error.cause, "detail": error.detail}
        self._log.info(what, extra={"fields": fields})
