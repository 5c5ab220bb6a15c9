"""The errors that cross a module's border. An error's docstring says what went wrong and what to do.

Three families, never mixed: the peer's mistake (`WireError`) closes or answers one connection; our own or
the operator's mistake (`UsageError` and below) ends a command with exit code 2 and a message that names
the place, the value and what would be right; what the registry refuses a user (`Problem`) has a code and is
said in both languages, by the command line and by the API.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"


class Words(NamedTuple):
    """The same in both languages."""

    zh: str
    en: str


NO_WORDS = Words("", "")


class WireError(Exception):
    """Bytes from a peer break the protocol; `cause` is a stable word for logs and metrics."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause = cause
        self.detail = detail


class UsageError(Exception):
    """A file, key or argument is wrong; the text names it and what would be right."""


class Problem(Exception):
    """What was asked of the registry can't be done. The command line ends with exit code 1, or 2 where what
    was typed is wrong in itself; the API answers problem+json.

    `code` is of a closed list (gateway/web/problems.py has status and title of each); `detail` says what is
    wrong, `expected` what would be right; `field` and `value` name what is to blame; `facts` are further
    members of the answer.
    """

    def __init__(
        self,
        code: str,
        detail: Words,
        *,
        field: str = "",
        value: object = None,
        expected: Words = NO_WORDS,
        facts: Mapping[str, JsonValue] | None = None,
    ) -> None:
        subject = f"{field} {value!r}: " if field and value is not None else f"{field}: " if field else ""
        english = f"; right would be {expected.en}" if expected.en else ""
        chinese = f"；正确的是：{expected.zh}" if expected.zh else ""
        super().__init__(f"{subject}{detail.en}{english}（{detail.zh}{chinese}）")
        self.code = code
        self.detail = detail
        self.field = field
        self.value = value
        self.expected = expected
        self.facts: Mapping[str, JsonValue] = facts or {}


class NotReady(Exception):
    """Something that this call needs is not there yet, or no longer (database, replica, journal)."""
