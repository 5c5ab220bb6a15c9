"""Batches of rows into the registry, each row once and bad rows alone: the database's half of an import.

A batch is copied into a temporary table; rows with unknown references are taken out; the rest goes in by one
statement. When the database refuses that statement for what a row says, halves are tried, so that
one bad row costs a dozen statements and no other row. Rules: a row that says nothing new is not written (the
change log stays silent); a transaction holds one batch. The statements of each kind stand in `statements.py`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self
from unicodedata import normalize

import asyncpg

from gateway.errors import UsageError
from gateway.registry import keyed, primary, runs
from gateway.registry.acting import Actor, act_for, record
from gateway.registry.deadlines import Terms, due, standard
from gateway.registry.keyed import Keyed
from gateway.registry.keys import RegistryKey
from gateway.registry.kinds import Kind
from gateway.registry.loading import PROBLEMS, ROW_AT_FAULT, Check, Loading, own_rows, problem_of
from gateway.registry.reading import CHUNK, Good
from gateway.registry.rows import Flaw
from gateway.registry.statements import LOADING

ATTEMPTS = 3
"""How often a batch is tried when others change the same rows at the same time."""


LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection can end with."""


class Refused(NamedTuple):
    """A line that the registry does not take, and the column that is to blame."""

    line: int
    column: str
    flaw: Flaw


@dataclass(slots=True)
class Taken:
    """What became of a batch; the rest of it, `unchanged`, was there before. Of both, `waiting` are not in
    force before a second person agrees."""

    changed: int = 0
    unchanged: int = 0
    waiting: int = 0
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Persons:
    """Who brings the rows in: nobody in particular, or a checker and an approver, maybe breaking glass."""

    checker: str = ""
    approver: str = ""
    case: str = ""

    @classmethod
    def of(cls, approve: tuple[str, str] | None, break_glass: str) -> Self:
        """UsageError unless none or two different persons are named."""
        checker, approver = (" ".join(normalize("NFKC", name).split()) for name in approve or ("", ""))
        if approve is not None and not (checker and approver):
            raise UsageError("approving takes two persons by name; right would be --approve --as A --by B")
        if approve is not None and checker.casefold() == approver.casefold():
            raise UsageError(f"--as and --by both name {checker!r}; right would be two different persons")
        return cls(checker, approver, break_glass.strip())

    def act_of(self, person: str) -> str:
        """How the registry's columns name who did it."""
        name = person or "import"
        return f"{name} [break-glass {self.case}]" if self.case else name


class Intake:
    """Takes batches of one kind over one connection."""

    def __init__(
        self,
        connection: "asyncpg.Connection[Any]",
        kind: Kind,
        key: RegistryKey,
        persons: Persons,
        dry_run: bool,
        file_name: str,
    ) -> None:
        self._connection = connection
        self._run = (kind.name, file_name, persons.checker, persons.approver, persons.case)
        self._kind = kind
        self._loading: Loading = LOADING[kind.name]
        self._key = key
        self._dry_run = dry_run
        self._own: tuple[Check, ...] = ()
        self._columns = ["line", *self._loading.staged(kind)]

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        kind: Kind,
        key: RegistryKey,
        persons: Persons,
        *,
        dry_run: bool,
        file_name: str = "",
        terms: Terms | None = None,
        actor: Actor | None = None,
    ) -> AsyncIterator[Self]:
        """Connect and make the temporary tables; they and the connection go when the context ends.

        `actor`: whose file it is; rows of another institution or carrier than his are refused.
        """
        connection = await primary.connect(
            dsn, {"application_name": "zhengming import", "zhengming.door": "import"}
        )
        try:
            intake = cls(connection, kind, key, persons, dry_run, file_name)
            if actor is not None:
                await connection.execute("SELECT set_config('zhengming.user', $1, false)", str(actor.user))
                intake._own = own_rows(kind, actor)
            staged = intake._loading.staged(kind)
            await connection.execute(
                "CREATE TEMP TABLE incoming (line bigint NOT NULL, "
                + ", ".join(f'"{name}" {sql}' for name, sql in staged.items())
                + ")"
            )
            if intake._loading.sealed:
                await keyed.register(connection, key)
            await connection.execute(
                "SELECT set_config('zhengming.checked_by', $1, false), set_config('zhengming.by', $2, false),"
                " set_config('zhengming.status', $3, false)",
                persons.act_of(persons.checker),
                persons.act_of(persons.approver),
                "approved" if persons.approver else "submitted",
            )
            if kind.name == "complaints":
                await intake.say_when_due(terms or standard())
            yield intake
        finally:
            await connection.close()

    async def say_when_due(self, terms: Terms) -> None:
        """Complaints that come in now are to be forwarded and answered by these days."""
        now = datetime.now(UTC)
        await self._connection.execute(
            "SELECT set_config('zhengming.forward_due', $1, false), set_config('zhengming.due', $2, false)",
            due(now, terms.forward, terms.days).day.isoformat(),
            due(now, terms.complaint, terms.days).day.isoformat(),
        )

    async def open_run(self) -> int:
        """Begin the import: the run that its rows belong to. UsageError when it takes a case."""
        return await runs.open_run(self._connection, *self._run)

    async def take_on(self, run: int) -> None:
        """Work for a run that another connection opened."""
        await runs.take_on(self._connection, run)

    async def go_on(self, run: int, *, rows: int, accepted: int, rejected: int) -> None:
        """So many lines more are done: whoever asks is told how far it is."""
        await runs.go_on(self._connection, run, rows=rows, accepted=accepted, rejected=rejected)

    async def close_run(self, run: int, *, rows: int, accepted: int, rejected: int) -> None:
        """The import is at its end."""
        await runs.close_run(self._connection, run, rows=rows, accepted=accepted, rejected=rejected)

    async def take(self, goods: Sequence[Good]) -> Taken:
        """Bring a batch in, in one transaction, or only say what would happen."""
        if not goods:
            return Taken()
        for attempt in range(1, ATTEMPTS + 1):
            await self._stage(goods)
            try:
                taken = await self._transact(goods)
                break
            except (
                asyncpg.DeadlockDetectedError,
                asyncpg.SerializationError,
                asyncpg.ObjectNotInPrerequisiteStateError,  # the registry key has rotated
            ):
                if attempt == ATTEMPTS:
                    raise
        taken.unchanged = len(goods) - taken.changed - len(taken.refused)
        return taken

    async def _stage(self, goods: Sequence[Good]) -> None:
        values = [good.values for good in goods]
        entered: list[Keyed] = []
        if self._loading.sealed:
            numbers = [row["subscriber"] for row in values]
            entered = await keyed.enter_all(self._connection, self._key, numbers)
        records = self._loading.records(self._kind, values, entered)
        numbered = ((good.line, *record) for good, record in zip(goods, records, strict=True))
        await self._connection.execute("TRUNCATE incoming")
        await self._connection.copy_records_to_table("incoming", records=numbered, columns=self._columns)

    async def _transact(self, goods: Sequence[Good]) -> Taken:
        taken = Taken()
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            if self._dry_run:
                await self.open_run()  # goes with the transaction
            for check in (*self._own, *self._loading.checks):
                lines = await self._connection.fetch(
                    f"DELETE FROM incoming i WHERE {check.condition} RETURNING line"
                )
                taken.refused += [Refused(row["line"], check.column, check.flaw) for row in lines]
            if self._loading.alone:
                await self._connection.execute(self._loading.alone)
            await self._put(goods[0].line, goods[-1].line, taken)
            if self._loading.waits:
                taken.waiting = await self._connection.fetchval(self._loading.waits)
        except BaseException:
            await transaction.rollback()
            raise
        if self._dry_run:
            await transaction.rollback()
        else:
            await transaction.commit()
        return taken

    async def _put(self, low: int, high: int, taken: Taken) -> None:
        """Put in the lines from `low` to `high`; when the database refuses, each half, down to one line."""
        try:
            async with self._connection.transaction():
                taken.changed += await self._connection.fetchval(self._loading.put, low, high)
            return
        except asyncpg.PostgresError as problem:
            if not problem.sqlstate.startswith(ROW_AT_FAULT) and problem.constraint_name not in PROBLEMS:
                raise
            if low == high:
                column, flaw = problem_of(problem)
                taken.refused.append(Refused(low, column, flaw))
                return
        if (weed := self._loading.weed) is not None:
            lines = await self._connection.fetch(
                f"DELETE FROM incoming i WHERE line BETWEEN $1 AND $2 AND {weed.condition} RETURNING line",
                low,
                high,
            )
            if lines:
                taken.refused += [Refused(row["line"], weed.column, weed.flaw) for row in lines]
                await self._put(low, high, taken)
                return
        middle = (low + high) // 2
        await self._put(low, middle, taken)
        await self._put(middle + 1, high, taken)


class Outgo:
    """All rows of one kind, in one snapshot, oldest first."""

    def __init__(
        self, connection: "asyncpg.Connection[Any]", kind: Kind, key: RegistryKey, total: int, left_out: int
    ) -> None:
        self.total = total
        self.left_out = left_out
        self._connection = connection
        self._loading = LOADING[kind.name]
        self._key = key

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, kind: Kind, key: RegistryKey, actor: Actor | None = None
    ) -> AsyncIterator[Self]:
        """Connect and take the snapshot. It holds no transaction number, so no node waits for it. `actor`: by
        whom it is asked for, and whose rows alone there are."""
        connection = await primary.connect(
            dsn, {"application_name": "zhengming export", "zhengming.door": "import"}
        )
        try:
            if actor is not None:
                await act_for(connection, actor)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                total, every = await connection.fetchrow(  # type: ignore[misc]  # counts are one row
                    f"SELECT (SELECT count(*) FROM ({LOADING[kind.name].rows}) r),"
                    f" (SELECT count(*) FROM {kind.name})"
                )
                yield cls(connection, kind, key, total, every - total)
        finally:
            await connection.close()

    @staticmethod
    async def audit(dsn: str, kind: Kind, rows: int, actor: Actor | None, reason: str) -> None:
        """Put on the audit that full numbers of subscribers went out, where the kind has any."""
        if not LOADING[kind.name].sealed:
            return
        connection = await primary.connect(dsn, {"zhengming.door": "cli"})
        try:
            if actor is not None:
                await act_for(connection, actor)
            await record(connection, actor, f"export.{kind.name}", kind.name, reason=reason, rows=rows)
        finally:
            await connection.close()

    async def chunks(self) -> AsyncIterator[list[Sequence[Any]]]:
        """Values in the order of the kind's columns, up to `CHUNK` rows at a time."""
        cursor = await self._connection.cursor(self._loading.rows)
        while rows := await cursor.fetch(CHUNK):
            yield [self._loading.opened(tuple(row), self._key) for row in rows]
