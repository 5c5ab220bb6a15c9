"""For whom a connection of the registry works, acts in the audit, and what the database refuses.

Rules: an actor's rows are those that PostgreSQL's row security shows the role of his (migrations 0008); the
connection takes on that role and says who acts. It remembers for whom it works and is switched only when that
changes, so that a read is one round trip; sessions.py lends them. A switch that breaks off ends the
connection: it never answers for the last one. Nothing here decides; `as_problem` has the words for what the
database decided.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from gateway.errors import JsonValue, Problem, UsageError, Words
from gateway.registry.primary import is_here
from gateway.registry.sessions import MOST, OWN, Session, Sessions
from gateway.registry.turns import Turns

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

ROLES = ("regulator", "carrier", "institution", "agency", "provider", "auditor", "admin")
SCOPES = ("read", "write", "attempts", "judge", "reveal", "admin")

BROKEN = (
    ConnectionError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""What a query ends with when the database goes away."""
READ_SECONDS = 5.0
"""A request of the web that changes nothing waits for the database so long."""
LOOK_UP_SECONDS = 3.0
"""Who asks is looked up in so long, or the database counts as away."""
LONGEST_SECONDS = 60.0
"""Everything else."""
TRIED_AGAIN_SECONDS = 1.0
"""After a look-up that did not come, nobody waits for the database so long; then one tries for all."""

MAYBE_OURS = (ConnectionError, asyncpg.InterfaceError)
"""Of these, what another peer may have caused, or a mistake of ours: then the connection stands."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in user, or one who is named on the command line, by what row security asks of him.

    `person` is the id of the person behind the login; `door` is where he came in: api, console or cli.
    """

    user: int
    login: str
    person: int
    role: str
    carrier: str = ""
    institution: int = 0
    institution_code: str = ""
    territory: str = ""
    scopes: frozenset[str] = frozenset(SCOPES)
    door: str = "api"

    @property
    def settings(self) -> tuple[str, ...]:
        """The role and the settings of a session that works for him, in the order of `_SWITCH`."""
        institution = str(self.institution) if self.institution else ""
        return (
            f"zhengming_{self.role}",
            str(self.user),
            institution,
            self.institution_code,
            self.carrier,
            self.territory,
            self.door,
        )


_OWNER = (OWN, "", "", "", "", "", "node")
_NAMES = ("role", *(f"zhengming.{name}" for name in (
    "user", "institution", "institution_code", "carrier", "territory", "door")))  # fmt: skip
_SWITCH = "SELECT " + ", ".join(f"set_config('{name}', ${i}, false)" for i, name in enumerate(_NAMES, 1))


class Door:
    """The connections of one process to the registry."""

    def __init__(self, dsn: str, size: int) -> None:
        self.dsn = dsn
        self._sessions = Sessions(dsn, size)
        self._turns = Turns(max(2, len(os.sched_getaffinity(0))) if is_here(dsn) else MOST)
        self._silent_until = 0.0  # monotonic; 0: the database answers

    @classmethod
    async def open(cls, dsn: str, *, size: int = 8) -> Self:
        """Up to `size` connections for each role, and sessions.MOST. They are made when they are used, and
        again when they were cut off: a database that is away is no error here."""
        return cls(dsn, size)

    def acting(
        self, actor: Actor, *, seconds: float = LONGEST_SECONDS, short: bool = False
    ) -> "AbstractAsyncContextManager[Connection]":
        """A connection that sees and does what the actor may. Problem `database_unavailable`, also when it
        has not all been done in `seconds`; `busy`. `short`: for a read that waits for its turn."""
        return self._serving(actor.settings, seconds, short=short)

    def owner(self, *, seconds: float = LONGEST_SECONDS) -> "AbstractAsyncContextManager[Connection]":
        """A connection that no policy binds, for the gateway's own work: signing in, upkeep."""
        return self._serving(_OWNER, seconds)

    @contextlib.asynccontextmanager
    async def looking_up(self) -> "AsyncIterator[Connection]":
        """`owner`, for one row by its key, as every request does that begins: it shows whether a database
        that keeps its connections still answers. While it does not, who comes is told so at once."""
        now = time.monotonic()
        if self._silent_until > now:
            raise _away()
        if self._silent_until:  # whoever comes next tries, and the others need not wait for him
            self._silent_until = now + LOOK_UP_SECONDS
        try:
            async with self.owner(seconds=LOOK_UP_SECONDS) as c:
                yield c
        except Problem as problem:
            silent = isinstance(problem.__cause__, TimeoutError)
            self._silent_until = time.monotonic() + TRIED_AGAIN_SECONDS if silent else 0.0
            raise
        self._silent_until = 0.0

    async def close(self) -> None:
        """End all connections at once."""
        self._sessions.close()

    @contextlib.asynccontextmanager
    async def _serving(
        self, settings: tuple[str, ...], seconds: float, *, short: bool = False
    ) -> "AsyncIterator[Connection]":
        turn: object = None
        try:
            async with asyncio.timeout(seconds):
                if short:
                    turn = await self._turns.begin()
                session = await self._taken(settings[0])
                try:
                    if session.serves != settings:
                        session.serves = None
                        await session.execute(_SWITCH, *settings)
                        session.serves = settings
                    yield session
                except asyncio.CancelledError:  # its statement may still be under way
                    session.terminate()
                    raise
                except BROKEN as error:
                    if isinstance(error, MAYBE_OURS) and not session.is_closed():
                        raise
                    session.terminate()
                    raise _away() from error
                finally:
                    if session.serves is None:
                        session.terminate()
                    self._sessions.give_back(session)
        except TimeoutError as error:  # a database that is slow, or stands still with its connections open
            raise _away() from error
        finally:
            if turn is not None:
                self._turns.end(turn)

    async def _taken(self, role: str) -> Session:
        try:
            return await self._sessions.take(role)
        except TimeoutError:
            raise Problem(
                "busy", Words("数据库繁忙，请稍后重试", "the database is busy; try again in a moment")
            ) from None
        except (OSError, *BROKEN) as error:
            raise _away() from error


async def act_for(c: "Connection", actor: Actor) -> None:
    """Have a connection that the Door does not lend work for this actor, until it ends."""
    await c.execute(_SWITCH, *actor.settings)


def _away() -> Problem:
    return Problem(
        "database_unavailable",
        Words(
            "登记数据库暂不可用或未及时应答，请稍后重试",
            "the registry's database is away, or did not answer in time; try again later",
        ),
    )


async def actor_of(c: "Connection", login: str, door: str = "cli") -> Actor:
    """The active user who is called so. UsageError names those who are."""
    found = await actor_where(c, "u.login = $1", login, door=door)
    if found is None:
        known = await c.fetch("SELECT login FROM users WHERE status = 'active' ORDER BY id LIMIT 20")
        names = ", ".join(row["login"] for row in known) or "nobody yet: zhengming user add"
        raise UsageError(f"no active user is called {login!r}; right would be one of: {names}")
    return found


async def actor_where(c: "Connection", condition: str, *values: Any, door: str) -> Actor | None:
    """The first active user (u) for whom an SQL condition holds, oldest first; without scopes of a token."""
    row = await c.fetchrow(
        f"""SELECT u.id, u.login, u.person_id, u.role, coalesce(u.carrier, ''), coalesce(u.institution_id, 0),
                   coalesce(i.code, ''), u.territory
              FROM users u LEFT JOIN institutions i ON i.id = u.institution_id
             WHERE u.status = 'active' AND ({condition}) ORDER BY u.id LIMIT 1""",
        *values,
    )
    if row is None:
        return None
    user, login, person, role, carrier, institution, code, territory = row
    return Actor(user, login, person, role, carrier, institution, code, territory, door=door)


async def record(
    c: "Connection",
    actor: Actor | None,
    act: str,
    subject: str = "",
    *,
    reason: str = "",
    **detail: JsonValue,
) -> None:
    """Write an act into the audit: the last statement of the transaction that does it.

    `act` such as `number.approve`, `subject` such as `numbers/17`; `detail` holds no full subscriber number.
    `actor` is None for an operator at the command line, whom his database session names.
    """
    await c.execute(
        """INSERT INTO audit (user_id, person_id, door, act, subject, reason, detail)
           VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb)""",
        actor.user if actor else None,
        actor.person if actor else None,
        actor.door if actor else "cli",
        act,
        subject,
        reason,
        json.dumps(detail, ensure_ascii=False),
    )


_ORDER = Words("当前状态不允许此操作", "this step does not follow from the state it is in")
_KEPT = Words(
    "名单条目只能确认、提请移除或移除",
    "an entry is confirmed, proposed for removal or removed, never rewritten",
)
_UNPROVEN = Words(
    "操作用户未绑定实名身份，请以 --identity 另建用户",
    "the user is bound to no person with an identity number; add one with --identity",
)
REFUSALS: dict[str, tuple[str, Words]] = {
    "number_step_own": ("not_found", Words("没有此号码", "there is no such number")),
    "number_step_order": ("wrong_state", _ORDER),
    "number_step_amends": (
        "wrong_state",
        Words("所变更的版本已不再有效", "the version that this one amends stands no more"),
    ),
    "number_step_reason": ("invalid", Words("此操作须说明理由", "this step needs a reason")),
    "number_step_identity": ("no_identity", _UNPROVEN),
    "number_step_persons": (
        "same_person",
        Words("审批须由与核验不同的人员办理", "approving takes another person than checking"),
    ),
    "numbers_steps": ("wrong_state", _ORDER),
    "numbers_versions": (
        "wrong_state",
        Words("已核验或已审批的登记只能以新版本变更", "what was checked is changed by a new version only"),
    ),
    "numbers_no_overlap": ("already_filed", Words("号码已被登记", "already filed")),
    "numbers_once": (
        "already_filed",
        Words("本机构已登记此号码，可变更原登记", "this institution has filed it: change that filing"),
    ),
    "replies_once": ("wrong_state", Words("此回复已认定", "this reply was decided before")),
    "complaints_source_reference_key": (
        "exists",
        Words("已有此来源、此编号的投诉", "a complaint of this source and reference is here already"),
    ),
    "appeals_once": ("exists", Words("对此已有待答复的申诉", "an appeal against this is open already")),
    "numbers_one_amendment": ("exists", Words("已有待审的变更版本", "an amendment is under way already")),
    "allocations_no_overlap": ("already_filed", Words("号段已被分配", "already allocated")),
    "blacklist_protected": (
        "protected_number",
        Words("会覆盖受保护号码，例如 110、12321 或运营商客服号码",
              "would cover a protected number, such as 110, 12321 or a carrier's own"),
    ),
    "blacklist_kept": ("wrong_state", _KEPT),
    "blacklist_persons": (
        "same_person",
        Words("须由另一名监管人员办理；录入人可在 30 分钟内自行撤回",
              "this takes another person; the author may withdraw within 30 minutes"),
    ),
    "blacklist_identity": ("no_identity", _UNPROVEN),
    "profile_activations_identity": ("no_identity", _UNPROVEN),
    "appeals_identity": ("no_identity", _UNPROVEN),
    "blacklist_regulator": ("forbidden", Words("须由实名监管人员办理", "this takes a regulator, by name")),
    "profile_activations_regulator": (
        "forbidden",
        Words("须由实名监管人员办理", "this takes a regulator, by name"),
    ),
    "profile_activations_persons": (
        "same_person",
        Words("确认须由提议人以外的另一人办理", "confirming takes another person than proposing"),
    ),
    "profile_activations_kept": (
        "wrong_state",
        Words("启用提议只能确认或撤回", "an activation is confirmed or withdrawn, never rewritten"),
    ),
    "profile_activations_waiting": (
        "exists",
        Words("另有一项启用提议待确认", "another activation waits for its second person"),
    ),
    "appeals_author": (
        "same_person",
        Words("申诉不得由作出原决定的人员答复", "an appeal is not answered by the author of what it attacks"),
    ),
    "institutions_regulator": ("forbidden", Words("仅监管人员可变更此项", "only a regulator changes this")),
    "refusals_regulator": ("forbidden", Words("须由实名监管人员办理", "this takes a regulator, by name")),
    "refusals_ended": ("wrong_state", Words("该拒收已解除", "this refusal has ended")),
    "accounts_authority": (
        "invalid",
        Words("接入范围“机关”只限机关单位", "scope authority is for accounts of authorities"),
    ),
    "institutions_authority": (
        "invalid",
        Words("该机构持有接入范围为“机关”的账号", "it holds accounts of scope authority"),
    ),
    "import_run_glass": (
        "break_glass_needed",
        Words("监管人员已登录：审批须两人逐步办理，强制导入须注明案件",
              "a regulator has signed in: approving takes the steps of two persons, or a case"),
    ),
}  # fmt: skip
"""By name of the constraint: code and words."""

PLACES: dict[str, tuple[str, Words]] = {
    "number_step_reason": ("reason", Words("一段说明", "a text that says something")),
    "accounts_authority": (
        "scope",
        Words("financial 或 other，或先将其主体登记为“机关单位”（authority）",
              "financial or other, or a holder that is filed as an institution of kind authority"),
    ),
    "institutions_authority": (
        "kind",
        Words("authority；或先将其机关接入账号改为其他接入范围或其他主体",
              "authority, or another scope or holder for its accounts of scope authority first"),
    ),
}  # fmt: skip
"""By name of the constraint, where one value is to blame: its field, and what would be right."""


def as_problem(error: asyncpg.PostgresError) -> Problem | None:
    """The problem that the database's refusal is to whoever asked; None when it is none of his doing.

    The database's own detail is never passed on: it may show a row that he must not see.
    """
    known = REFUSALS.get(error.constraint_name or "")
    if known is not None:
        place = PLACES.get(error.constraint_name or "")
        if place is not None:  # these tell in their detail what was asked for, and nothing else
            return Problem(*known, field=place[0], value=error.detail or "", expected=place[1])
        return Problem(*known)
    table = error.table_name or ""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Problem(
            "exists", Words("已存在相同记录", "there is one like it already"), facts={"table": table}
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return Problem("forbidden", Words("无权对此记录进行此操作", "this is not yours to do"))
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return Problem("invalid", Words("引用的记录不存在", "what it refers to does not exist"))
    if isinstance(error, asyncpg.IntegrityConstraintViolationError | asyncpg.DataError):
        return Problem(
            "invalid", Words("内容不符合要求", "not acceptable"), field=error.column_name or "",
            facts={"constraint": error.constraint_name or ""},
        )  # fmt: skip
    return None
