"""How rows of a kind enter and leave the database, and the words for what the database refuses.

Rules: `incoming` (alias i) holds the rows of a batch under the names of the kind's columns, and `line`; a
statement `put` takes the first and last line and answers how many rows it changed; a row that says nothing
new is not touched. A subscriber's number enters the database as keyed hash and sealed text only. Who acts is
said by the session settings zhengming.by, .checked_by and .status. The statements stand in `statements.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import asyncpg

from gateway.registry.acting import Actor
from gateway.registry.keyed import Keyed
from gateway.registry.keys import RegistryKey
from gateway.registry.kinds import REQUIRED, Kind
from gateway.registry.rows import Flaw

ROW_AT_FAULT = ("22", "23", "P0001")
"""Classes of SQLSTATE that blame a row: data exception, integrity violation, a trigger's refusal."""

SUBSCRIBER = {"subscriber_hash": "bytea", "key_id": "smallint", "subscriber_sealed": "bytea"}
"""What stands for the column `subscriber` in the database."""


class Check(NamedTuple):
    """Rows of `incoming` that cannot go in: which, whose fault, and what would be right."""

    column: str
    condition: str
    flaw: Flaw


LEFT_OUT = {
    "numbers": "drafts, what was returned, withdrawn or revoked, amendments that wait",
    "mandates": "revoked",
    "blacklist": "removed",
    "refusals": "lifted, undecided",
    "recipients": "strangers",
}
"""By kind: the rows that do not go out, as a file could not say what they are."""


@dataclass(frozen=True, slots=True)
class Loading:
    """How one kind goes in (`checks`, then `put`; `weed` finds what made `put` fail) and out (`rows`).
    `waits` counts what is in, but not in force before a second person agrees."""

    put: str
    rows: str
    checks: tuple[Check, ...] = ()
    weed: Check | None = None
    sealed: bool = False  # a column is a subscriber
    place: int = 0  # of that column
    waits: str = ""
    alone: str = ""  # waits for whoever puts in what `put` might put in, too

    def staged(self, kind: Kind) -> dict[str, str]:
        """The columns of `incoming` and their types."""
        plain = {column.name: column.form.sql for column in kind.columns if column.name != "subscriber"}
        return SUBSCRIBER | plain if self.sealed else plain

    def records(
        self, kind: Kind, values: Sequence[dict[str, Any]], keyed: Sequence[Keyed]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows as `staged` has them, out of values by column name; `keyed`: what their subscribers are."""
        names = [column.name for column in kind.columns if column.name != "subscriber"]
        for place, row in enumerate(values):
            plain = tuple(row[name] for name in names)
            if self.sealed:
                key_id, hashed, sealed = keyed[place]
                yield (hashed, key_id, sealed, *plain)
            else:
                yield plain

    def opened(self, row: tuple[Any, ...], key: RegistryKey) -> Sequence[Any]:
        """A row of `rows` as values in the order of the kind's columns."""
        if not self.sealed:
            return row
        return (*row[: self.place], key.open(row[self.place]), *row[self.place + 1 :])


LINES = "i.line BETWEEN $1 AND $2"
"""Of `incoming`, those that a `put` is asked for."""


def unknown(column: str, flaw: Flaw, table: str = "institutions", key: str = "code") -> Check:
    """Rows whose column names something that is not there."""
    return Check(
        column,
        f'i."{column}" IS NOT NULL AND NOT EXISTS (SELECT FROM {table} r WHERE r.{key} = i."{column}")',
        flaw,
    )


def own_column(actor: Actor | None) -> tuple[str, str]:
    """The column that says whose a row of this actor's files is, and his code there; "" for none."""
    match actor.role if actor else "":
        case "institution" if actor:
            return "institution", actor.institution_code
        case "carrier" if actor:
            return "carrier", actor.carrier
    return "", ""


def own_kind(kind: Kind, actor: Actor | None, header: Sequence[str]) -> Kind:
    """The kind as this actor's own file has it: rows that don't say whose they are, are his own. An empty
    cell stays what the kind means by it (a refusal to all institutions)."""
    name, code = own_column(actor)
    named = any((column := kind.column(cell)) is not None and column.name == name for cell in header)
    columns = tuple(
        replace(c, default=code) if c.name == name and (c.default is REQUIRED or not named) else c
        for c in kind.columns
    )
    return replace(kind, columns=columns)


def own_rows(kind: Kind, actor: Actor) -> tuple[Check, ...]:
    """What takes the rows out that are not the actor's: of another institution, or another carrier."""
    column, code = own_column(actor)
    if column not in {c.name for c in kind.columns}:
        return ()
    assert "'" not in code  # codes are letters, digits and . _ -
    flaw = NO_INSTITUTION if column == "institution" else NO_CARRIER
    flaw = flaw._replace(
        expected="your own code, or a file without this column", expected_zh="本单位的代码，或不设此列"
    )
    return (Check(column, f"i.{column} IS DISTINCT FROM '{code}'", flaw),)


NO_INSTITUTION = Flaw(
    "no institution has this code", "没有此代码的机构", "a code that is imported already", "已导入的机构代码"
)
NO_CARRIER = Flaw(
    "no carrier has this code",
    "没有此代码的电信企业",
    "a code such as mobile, unicom, telecom, broadnet",
    "电信企业代码，例如 mobile、unicom、telecom、broadnet",
)
NO_ACCOUNT = Flaw(
    "no account has this name there",
    "没有此接入账号",
    "carrier, protocol and account of an account that is imported already",
    "已导入账号的电信企业、协议和账号",
)
SAME_PARTY = Flaw(
    "the agency is the institution itself",
    "合作机构与机构相同",
    "another institution's code, or empty",
    "另一机构的代码，或留空",
)
OWNS_NONE = Flaw(
    "an agency or provider owns no number and gives no mandate",
    "合作机构和短信服务商不拥有号码，也不能委托",
    "the code of the institution that it acts for",
    "其所服务的机构代码",
)
NO_AGENCY = Flaw(
    "not an agency",
    "不是合作机构",
    "the code of an institution of kind agency",
    "机构类型为“合作机构”的机构代码",
)
RESERVED = Flaw(
    "a protected number, such as 110 or 12321, or one that begins it",
    "受保护号码，例如 110、12321，或其前段",
    "a number of one's own; an institution of kind authority may file it",
    "本机构的号码；仅“机关单位”类机构可登记",
)
TO_COME = Flaw(
    "lies in the future",
    "晚于当前时间",
    "a time that has been",
    "已过去的时间",
)
REVOKED = Flaw(
    "this mandate was revoked",
    "该委托已撤销",
    "a new mandate with another valid_from",
    "另立生效时间不同的新委托",
)
APPROVED = Flaw(
    "checked or approved already; a change takes two persons",
    "已核验或已审批；变更须经两人审批",
    "import with --approve --as A --by B",
    "使用 --approve --as A --by B 导入",
)
ALREADY_FILED = Flaw(
    "already filed",
    "已被登记",
    "a number that no other holder has filed for this time and channel, or a dispute",
    "同一时段和渠道内未被其他主体登记的号码，或提出异议",
)

BANNED = Flaw(
    "banned already, with another reason or case",
    "已在黑名单，理由或案件不同",
    "the reason and case of the entry that stands, which is not rewritten; or its removal first",
    "与现有条目相同的理由和案件（条目不改写），或先移出现有条目",
)

PROTECTED = Flaw(
    "would cover a protected number, such as 110, 12321 or a carrier's own",
    "会覆盖受保护号码，例如 110、12321 或运营商客服号码",
    "a number or prefix that covers none",
    "不覆盖受保护号码的号码或前缀",
)
NO_AUTHORITY = Flaw(
    "the holder is not filed as an authority",
    "账号主体未登记为机关单位",
    "financial or other, or a holder of kind authority",
    "financial 或 other，或机构类型为“机关单位”的主体",
)
HOLDS_AUTHORITY = Flaw(
    "it holds accounts of scope authority",
    "该机构持有接入范围为“机关”的账号",
    "authority, or another scope or holder for those accounts first",
    "authority；或先更改这些账号的接入范围或主体",
)
REGULATORS = Flaw(
    "only a regulator changes this",
    "仅监管人员可变更此项",
    "what is registered already; or a regulator's change",
    "与现登记内容相同，或由监管人员变更",
)
PROBLEMS = {
    "institutions_regulator": ("", REGULATORS),
    "numbers_no_overlap": ("number", ALREADY_FILED),
    "blacklist_protected": ("number", PROTECTED),
    "accounts_authority": ("scope", NO_AUTHORITY),
    "institutions_authority": ("kind", HOLDS_AUTHORITY),
}
"""Constraints that a row can break in spite of the checks before: the column to blame ("": the database
names it), and the words."""


def problem_of(problem: asyncpg.PostgresError) -> tuple[str, Flaw]:
    """Column and words for what the database said of a row."""
    known = PROBLEMS.get(problem.constraint_name or "")
    if known is not None:
        return known[0] or problem.column_name or "", known[1]
    said = str(problem.message or problem)
    return problem.column_name or "", Flaw(f"the database refuses it: {said}", f"数据库拒绝：{said}")
