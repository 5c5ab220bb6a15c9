"""One import as the registry remembers it: who brought which file in, and for whom rows were approved.

Rules: an approving run names two persons; after a regulator's first sign-in the database opens one only with
a case (migrations 0006 import_run_opened). Rows carry its number and its persons while it is open, which is
what lets them in as approved. Its beginning and its end, or that it was killed, are rows of the audit, which
name the file, the persons and the counts. An import's session holds the lock `import_runs/ID`: whoever finds
it free closes the run of one that was killed.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.errors import UsageError
from gateway.registry import people

_LOCK = "hashtextextended('import_runs/' || id, 20)"
_ACT = """
INSERT INTO audit (door, act, subject, reason, detail)
SELECT {door}, {act}, 'import_runs/' || r.id, r.case_reference,
       jsonb_strip_nulls(jsonb_build_object(
           'kind', r.kind, 'file', r.file_name, 'by', (SELECT u.login FROM users u WHERE u.id = r.user_id),
           'checker', r.checker_id, 'checker_name', c.name,
           'approver', r.approver_id, 'approver_name', a.name,
           'rows', r.rows, 'accepted', r.accepted, 'rejected', r.rejected))
  FROM {runs} r LEFT JOIN persons c ON c.id = r.checker_id LEFT JOIN persons a ON a.id = r.approver_id"""
"""What a run is, on the audit: who brought it, by whose leave, and its counts as far as there are any."""

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]


async def open_run(
    c: "Connection", kind: str, file_name: str, checker: str = "", approver: str = "", case: str = ""
) -> int:
    """Open a run; its id. `checker` and `approver`: names of two persons, or empty for rows that take their
    steps later; `case`: the case under which the glass is broken. UsageError when it takes one."""
    persons = [await people.person_by_name(c, name) for name in (checker, approver) if name]
    if len(persons) == 2 and persons[0] == persons[1]:
        raise UsageError(f"{checker!r} and {approver!r} are one person; right would be two different persons")
    try:
        async with c.transaction():
            run: int = await c.fetchval(
                f"""WITH run AS (
                        INSERT INTO import_runs (kind, file_name, checker_id, approver_id, case_reference)
                        VALUES ($1, $2, $3, $4, $5) RETURNING id)
                    SELECT id FROM run, pg_advisory_lock({_LOCK})""",
                kind,
                file_name,
                *(persons or (None, None)),
                case,
            )
            await _act(c, run, "import.begin")
    except asyncpg.InsufficientPrivilegeError as error:
        if error.constraint_name != "import_run_glass":
            raise
        raise UsageError(
            "a regulator has signed in, so two persons check and approve; right would be an import without"
            " --approve, or --break-glass CASE, which every regulator is shown"
            "（监管人员已登录，须由两人核验、审批；强制导入须用 --break-glass 案件号，并向监管人员公示）"
        ) from None
    await take_on(c, run)
    return run


async def close_killed(c: "Connection", after: timedelta) -> None:
    """Close the runs of imports that were killed, each with its counts so far on the audit: an open one would
    go on letting rows in.

    A run that was opened by hand, of no file, is held by no session: it has until `after` its opening.
    """
    await c.execute(
        f"""WITH killed AS (
                UPDATE import_runs SET closed_at = now()
                 WHERE closed_at IS NULL AND (opened_at < now() - $1::interval
                       OR file_name <> '' AND pg_try_advisory_xact_lock({_LOCK})) RETURNING *)
            {_ACT.format(door="'node'", act="'import.killed'", runs="killed")}""",
        after,
    )


async def take_on(c: "Connection", run: int) -> None:
    """Rows that come over this connection belong to the run from now on."""
    await c.execute("SELECT set_config('zhengming.run', $1, false)", str(run))


async def go_on(c: "Connection", run: int, *, rows: int, accepted: int, rejected: int) -> None:
    """So many lines more are done."""
    await c.execute(
        """UPDATE import_runs SET rows = coalesce(rows, 0) + $2, accepted = coalesce(accepted, 0) + $3,
                                  rejected = coalesce(rejected, 0) + $4 WHERE id = $1""",
        run,
        rows,
        accepted,
        rejected,
    )


async def close_run(c: "Connection", run: int, *, rows: int, accepted: int, rejected: int) -> None:
    """End a run with its counts, in one transaction with its row in the audit."""
    async with c.transaction():
        kind = await c.fetchval(
            """UPDATE import_runs SET closed_at = now(), rows = $2, accepted = $3, rejected = $4
                WHERE id = $1 RETURNING kind""",
            run,
            rows,
            accepted,
            rejected,
        )
        await _act(c, run, f"import.{kind}")


async def _act(c: "Connection", run: int, act: str) -> None:
    await c.execute(_ACT.format(door="'import'", act="$2", runs="import_runs") + " WHERE r.id = $1", run, act)


async def broken_since(c: "Connection", run: int | None) -> tuple[int, int]:
    """How many imports after this one broke the glass, and the newest import; none, where None is given."""
    broken, newest = await c.fetchrow(  # type: ignore[misc]  # an aggregate is one row
        """SELECT count(*) FILTER (WHERE id > $1 AND case_reference <> '' AND approver_id > 0),
                  coalesce(max(id), 0) FROM import_runs""",
        run,
    )
    return int(broken), int(newest)
