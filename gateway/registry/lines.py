"""Access accounts on the wire, and the numbers that each may show.

Rules: accounts are the carrier's own; the list of an account's numbers is replaced as a whole, as an empty
one means "every number of its holder". Scope `authority`, for which no filing is asked, is for holders that
are filed as authorities; the database sees to that.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from gateway.registry import changing, numbering
from gateway.registry.acting import Actor, record
from gateway.registry.bodies import in_order
from gateway.registry.fields import Body, Code, Endpoint, Instant, Name, Network, reading
from gateway.registry.kinds import login_name
from gateway.registry.references import reference

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

ACCOUNT = """
SELECT a.id, a.carrier, a.protocol, a.account, code_of(a.holder_id) AS holder, a.scope, a.refusal_manner,
       a.mass_manner, a.signature, a.line_kind, a.upstream, a.listener, a.callback,
       a.allowed_ips::text[] AS allowed_ips, a.max_connections, a.row_version FROM accounts a"""


_SHOWN = ("is_prefix", "number", "valid_from", "valid_until")


class AccountChange(Body):
    """How an account is judged and answered; what is left out stays."""

    holder: Code = ""
    scope: Literal["financial", "authority", "other"] = "financial"
    refusal_manner: Literal["result", "report"] = "result"
    mass_manner: Literal["whole", "reduce"] = "whole"
    signature: Literal["in_text", "by_carrier"] = "in_text"
    line_kind: Literal["human", "robot"] = "human"
    upstream: list[Endpoint] = Field([], max_length=20)
    listener: Endpoint = ""
    callback: Endpoint = ""
    allowed_ips: list[Network] = Field([], max_length=200)
    max_connections: int = Field(0, ge=0, le=100_000)


class NewAccount(AccountChange):
    """A login on the wire; for voice `account` is the trunk's address."""

    protocol: Literal["cmpp", "sgip", "smgp", "smpp", "sip", "http"]
    account: Name = Field(max_length=128)
    holder: Code

    @field_validator("account")
    @classmethod
    def _can_log_in(cls, value: str, info: ValidationInfo) -> str:
        return reading(partial(login_name, info.data.get("protocol", "")))(value)


class Account(BaseModel):
    """As it is registered."""

    id: int
    carrier: str
    protocol: str
    account: str
    holder: str
    scope: str
    refusal_manner: str
    mass_manner: str
    signature: str
    line_kind: str
    upstream: list[str]
    listener: str
    callback: str
    allowed_ips: list[str]
    max_connections: int
    row_version: int


class AccountNumber(BaseModel):
    """A number or prefix that an account may show, from and until."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    is_prefix: bool = False
    number: str = Field(max_length=40, json_schema_extra={"examples": ["10690001"]})
    valid_from: Instant | None = None
    valid_until: Instant | None = None

    @field_validator("number")
    @classmethod
    def _canonical(cls, value: str, info: ValidationInfo) -> str:
        return reading(numbering.prefix if info.data.get("is_prefix") else numbering.number)(value)


async def accounts(c: "Connection", after: int, limit: int) -> list[Account]:
    """A page by id."""
    return [_account(row) for row in await changing.page(c, ACCOUNT, "a", after, limit)]


async def account(c: "Connection", identity: int) -> Account:
    """One. Problem `not_found`."""
    return _account(await changing.one(c, ACCOUNT, "a", identity))


async def register(c: "Connection", actor: Actor, new: NewAccount) -> Account:
    """Add an account of the actor's carrier. Problem `exists`, `invalid` (no such holder)."""
    values = await _values(c, new.model_dump())
    identity = await changing.insert(c, "accounts", values | {"carrier": actor.carrier})
    await record(c, actor, "account.add", f"accounts/{identity}", protocol=new.protocol, account=new.account)
    return await account(c, identity)


async def change(c: "Connection", actor: Actor, identity: int, wanted: AccountChange) -> Account:
    """Change what is named."""
    values = await _values(c, wanted.model_dump(exclude_unset=True))
    await changing.update(c, "accounts", identity, values)
    await record(c, actor, "account.change", f"accounts/{identity}", fields=sorted(values))
    return await account(c, identity)


async def numbers(c: "Connection", identity: int) -> tuple[list[AccountNumber], int]:
    """All that the account may show; none: every number of its holder. And the list's version, which another
    hand changes that adds, changes or removes one. Problem `not_found`."""
    await account(c, identity)
    rows = await c.fetch(
        """SELECT id, row_version, is_prefix, number, valid_from, valid_until FROM account_numbers
            WHERE account_id = $1 ORDER BY id""",
        identity,
    )
    digest = sha256(repr([(row["id"], row["row_version"]) for row in rows]).encode())
    version = int.from_bytes(digest.digest()[:7]) if rows else 0
    found = [AccountNumber.model_construct(**{name: row[name] for name in _SHOWN}) for row in rows]
    return found, version


async def show(
    c: "Connection",
    actor: Actor,
    identity: int,
    wanted: Sequence[AccountNumber],
    unchanged: Callable[[int], None],
) -> tuple[list[AccountNumber], int]:
    """Replace the whole list; what stays is not touched. `unchanged` is asked with the list's version.
    Problem `exists` when one is named twice."""
    await c.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", identity)  # one list at a time
    unchanged((await numbers(c, identity))[1])
    for number in wanted:
        in_order(number.valid_from, number.valid_until, "valid_until")
    columns = list(zip(*[(n.number, n.is_prefix, n.valid_from, n.valid_until) for n in wanted], strict=True))
    lists = columns or [(), (), (), ()]
    named = """unnest($2::text[], $3::boolean[], $4::timestamptz[], $5::timestamptz[])
               AS w (number, is_prefix, valid_from, valid_until)"""
    same = """(t.number, t.is_prefix, t.valid_from, t.valid_until)
              IS NOT DISTINCT FROM (w.number, w.is_prefix, w.valid_from, w.valid_until)"""
    await c.execute(
        f"""DELETE FROM account_numbers t
             WHERE account_id = $1 AND NOT EXISTS (SELECT FROM {named} WHERE {same})""",
        identity,
        *lists,
    )
    await changing.refusable(
        c.execute(
            f"""INSERT INTO account_numbers (account_id, number, is_prefix, valid_from, valid_until)
                SELECT $1, w.number, w.is_prefix, w.valid_from, w.valid_until FROM {named}
                 WHERE NOT EXISTS (SELECT FROM account_numbers t WHERE t.account_id = $1 AND {same})""",
            identity,
            *lists,
        )
    )
    await record(c, actor, "account.numbers", f"accounts/{identity}", numbers=len(wanted))
    return await numbers(c, identity)


async def _values(c: "Connection", values: dict[str, Any]) -> dict[str, Any]:
    if "holder" in values:
        values["holder_id"] = await reference(c, "holder", values.pop("holder"))
    return values


def _account(row: Mapping[str, Any]) -> Account:
    return Account.model_construct(**dict(row))
