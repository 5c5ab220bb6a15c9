"""The errors that cross a module's border. An error's docstring says what went wrong and what to do.

Two families, never mixed: the peer's mistake (`WireError`) closes or answers one connection; our own or
the operator's mistake (`UsageError` and below) ends a command with exit code 2 and a message that names
the place, the value and what would be right.
"""


class WireError(Exception):
    """Bytes from a peer break the protocol; `cause` is a stable word for logs and metrics."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail


class UsageError(Exception):
    """A file, key or argument is wrong; the text names it and what would be right."""


class NotReady(Exception):
    """Something that this call needs is not there yet, or no longer (database, replica, journal)."""
