"""What the HTTP API is made of: one table of `Endpoint`s is the truth for routes, role checks, OpenAPI and
the generated tests (web/resources/ holds the tables, one module a subject).

A handler gets a `Call` (already signed in, allowed, limited and read) and gives an `Answer`; it raises
`errors.Problem` for what can't be done. It sees rows through row security only, so a foreign id is a missing
id; whatever it changes it also puts on record (`registry.acting.record`), in the same transaction.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.errors import Problem, Words
from gateway.registry.acting import ROLES, Actor

if TYPE_CHECKING:
    from gateway.registry.acting import Connection
    from gateway.web.site import Site

T = TypeVar("T")

PREFIX = "/api/v1"
EVERYBODY = frozenset(ROLES)
ALTERNATIVES = ("(one)", "(list)")
"""Tags of a body that is one thing or a list of them; errors name the field without them."""
MOST_BODY = 1 << 20
"""Octets of a JSON body."""


class Query(BaseModel):
    """Parameters of a query; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Empty(Query):
    """No parameters."""


class Paging(Query):
    """Which part of a list: `limit` rows after the place `after`, which is the `next` of the page before."""

    limit: int = Field(50, ge=1, le=1000, description="rows of a page")
    after: str = Field("", max_length=200, description="`next` of the page before; empty: from the beginning")

    def place(self, parts: int = 1) -> tuple[int, ...]:
        """The numbers that `after` was made of by `cursor`; zeroes at the beginning."""
        if not self.after:
            return (0,) * parts
        try:
            raw = base64.b64decode(self.after + "=" * (-len(self.after) % 4), altchars=b"-_", validate=True)
            found = tuple(msgspec.msgpack.decode(raw, type=list[int]))
        except (binascii.Error, msgspec.DecodeError, ValueError):
            found = ()
        if len(found) != parts or any(not -(1 << 63) <= part < 1 << 63 for part in found):
            raise Problem(
                "not_acceptable_page",
                Words("翻页标记无效", "not a cursor of this list"),
                field="after",
                value=self.after,
                expected=Words("上一页的 next，或留空", "`next` of the page before, or nothing"),
            )
        return found

    @property
    def last(self) -> int:
        """The id after which the page begins; 0 at the beginning."""
        return self.place()[0]


def cursor(*place: int) -> str:
    """An opaque `next` for a list ordered by these numbers."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = Field(None, description="`after` of the next page; null on the last one")


def page_of(rows: Sequence[T], limit: int, place: Callable[[T], tuple[int, ...]]) -> Page[T]:
    """The page of `rows`, of which `limit + 1` were asked for: one more says that more follow."""
    items = list(rows[:limit])
    more = len(rows) > limit and items
    return Page(items=items, next=cursor(*place(items[-1])) if more else None)


class Octets(NamedTuple):
    """The `body` of an endpoint that takes a file, as it is or as the `file` of a multipart form.

    `kinds` are the media types that are taken (the content decides, not the header), `most` octets.
    """

    most: int
    kinds: tuple[str, ...]


class Upload(NamedTuple):
    """What such an endpoint gets as `Call.body`. `chunks` raises Problem `too_large` beyond `most`."""

    media_type: str
    name: str
    chunks: AsyncIterator[bytes]


class Answer(NamedTuple):
    """What a handler gives. `status` 0: the endpoint's own; `version` is said as ETag; a Path is a file, and
    where it `passes` it goes, with its folder, when it has been sent."""

    body: BaseModel | Sequence[BaseModel] | bytes | Path | None = None
    status: int = 0
    version: int | None = None
    headers: Mapping[str, str] = {}
    passes: bool = False


@dataclass(slots=True)
class Call:
    """One request, when everything about it that the table of endpoints knows has been checked.

    `c` acts for `actor` (row security); unsafe methods run inside a transaction that is committed after the
    handler. An endpoint that is not `connected` has no `c`, one without roles no `actor`.
    """

    actor: Actor
    c: "Connection"
    site: "Site"
    path: dict[str, Any]
    query: Any
    body: Any
    zh: bool
    version: int | None  # of If-Match
    key: str  # Idempotency-Key
    address: str
    cookie: str
    digest: bytes  # SHA-256 of method, path and body, where there may be a key
    ended: int = 0  # the user whose rights, tokens or sessions the handler has changed

    def unchanged(self, version: int) -> None:
        """Raises Problem `changed_meanwhile` when If-Match names another version than the row's own."""
        if self.version is not None and self.version != version:
            raise Problem(
                "changed_meanwhile",
                Words("读取之后内容已被修改", "changed since it was read"),
                field="If-Match",
                value=f'"{self.version}"',
                expected=Words(f'"{version}"', f'"{version}"'),
            )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table. `roles` empty: for everybody, without signing in."""

    method: str
    path: str  # {id} is an integer, everything else in braces text without a slash
    roles: frozenset[str]
    scope: str
    summary: Words
    handle: Callable[[Call], Awaitable[Answer]]
    body: Any = None  # a type that pydantic reads, or Octets
    query: type[Query] = Empty
    answer: Any = None  # a type that pydantic writes; bytes: a file; None: no content
    status: int = 200
    problems: frozenset[str] = frozenset()  # beyond those that every endpoint of its kind may give
    key: str = ""  # Idempotency-Key: "" | optional | required
    versioned: bool = False  # PATCH: If-Match is required; GET answers with an ETag
    rate: str = ""  # read | write | judge | attempt | sign_in; by the method, if empty
    connected: bool = True  # whether the handler gets a connection
    seconds: float | None = None  # that a GET waits for the database; None: as all do
    optional: bool = False  # whether the body may be left out
    example: JsonValue = None  # of the body: shown in OpenAPI, and sent by tests
    statuses: Mapping[int, Words] = field(default_factory=dict)  # further answers of the same body

    @property
    def safe(self) -> bool:
        return self.method == "GET"

    @property
    def looks_at_versions(self) -> bool:
        """Whether it takes If-Match, and so holds the row still that it changes."""
        return not self.safe and (self.versioned or "changed_meanwhile" in self.problems)

    @property
    def table(self) -> str:
        """The table of the row that {id} names: tables are called as paths are."""
        return self.path.split("/")[1]

    @property
    def label(self) -> str:
        return f"{self.method} {self.path}"


def not_found() -> Problem:
    """The one answer for what is missing, foreign, or no id at all."""
    return Problem("not_found", Words("没有这一项，或不归您所见", "there is no such thing for you"))
