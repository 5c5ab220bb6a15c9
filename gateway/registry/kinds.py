"""The kinds of table that come in and go out (contract.md "Files that come in"): one table of columns each.

Rules: a new column is one line here and one name in the kind's SQL (`intake.py`). Rows are checked as far as
the file alone allows; whether a reference exists or a period overlaps is the database's to say. It knows no
file format and no database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.model import CHANNELS, PROTOCOLS, PURPOSES
from gateway.registry import forms, numbering
from gateway.registry.forms import Form
from gateway.registry.rows import Bad, Flaw

REQUIRED: Final = object()
"""Default of a column that a file may not leave out."""

ALL_CHANNELS = sum(CHANNELS.values())
ALL_PURPOSES = sum(PURPOSES.values())

CODE = forms.text(
    40, r"[A-Za-z0-9._-]+", "at most 40 letters, digits and . _ -", "不超过 40 个字母、数字和 . _ -"
)
NAME = forms.text(200)
ACCOUNT = forms.text(128)
SOURCE = forms.text(60)
_TEXT: Callable[[str], str] = forms.text(2000).parse
CONTENT = Form(
    "text",
    lambda cell: _TEXT(" ".join(cell.split())),
    lambda value, _: value,
    "text of at most 2000 characters; line breaks become spaces",
    "不超过 2000 个字符的文字；换行记为空格",
)
RECIPIENT_ROLES = {"debtor": "债务人", "guarantor": "担保人"}
COMPLAINT_SOURCES = {"own": "本部门", "12321": "12321"}
PROTOCOL = forms.word({name: name for name in PROTOCOLS})


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its headers, the form of its cells, what an empty or missing cell means."""

    name: str
    chinese: str
    form: Form
    default: Any = REQUIRED


@dataclass(frozen=True, slots=True)
class Kind:
    """One table. `key`: the columns by which a row of a file is found again. `check` looks at a whole row,
    may make values canonical, and raises `Misfit`."""

    name: str
    chinese: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    check: Callable[[dict[str, Any]], None] | None = None

    def column(self, header: str) -> Column | None:
        """The column that a header cell names, in either language."""
        plain = header.strip().strip("*").strip()
        return next((c for c in self.columns if plain.lower() == c.name or plain == c.chinese), None)


class Misfit(Exception):
    """A row whose cells are fine one by one, but not together."""

    def __init__(self, column: str, flaw: Flaw) -> None:
        super().__init__(flaw.cause)
        self.column = column
        self.flaw = flaw


def _in_order(start: str, end: str) -> Callable[[dict[str, Any]], None]:
    def check(values: dict[str, Any]) -> None:
        if values[start] is not None and values[end] is not None and values[start] >= values[end]:
            raise Misfit(
                end,
                Flaw(
                    f"not later than {start}",
                    f"不晚于 {start}",
                    f"a time after {start}, or empty for no end",
                    f"晚于 {start} 的时间；空表示长期",
                ),
            )

    return check


def _canonical_prefix(values: dict[str, Any]) -> None:
    cell = values["number"]
    try:
        values["number"] = numbering.prefix(cell) if values["is_prefix"] else numbering.number(cell)
    except Bad as bad:
        raise Misfit("number", bad.flaw) from None


def _check_number(values: dict[str, Any]) -> None:
    try:
        values["number"] = numbering.registrable(values["number"], values["extension_digits"])
    except Bad as bad:
        raise Misfit("number", bad.flaw) from None
    _number_period(values)


def _one_target(values: dict[str, Any]) -> None:
    if values["institution"] is not None and values["number"] is not None:
        raise Misfit(
            "number",
            Flaw(
                "a refusal is to an institution or to a number that nobody has filed, not both",
                "拒绝的对象是机构，或尚无人登记的号码，不能同时填写",
                "one of institution and number",
                "机构代码与未登记号码二选一",
            ),
        )


def _check_account_number(values: dict[str, Any]) -> None:
    _canonical_prefix(values)
    _account_period(values)


LOGIN_OCTETS = {"cmpp": 6, "sgip": 16, "smgp": 8, "smpp": 15}
"""Room for an account in the login of each protocol: what does not fit could never log in."""


def login_name(protocol: str, account: str) -> str:
    """The account, as it can stand in a login of this protocol. Bad otherwise."""
    limit = LOGIN_OCTETS.get(protocol)
    if limit is None or (account.isascii() and account.isprintable() and len(account) <= limit):
        return account
    raise Bad(
        f"does not fit a login of {protocol}",
        f"不符合 {protocol} 登录账号的格式",
        f"at most {limit} letters, digits or signs of ASCII",
        f"不超过 {limit} 个半角字符",
    )


def _check_account(values: dict[str, Any]) -> None:
    try:
        login_name(values["protocol"], values["account"])
    except Bad as bad:
        raise Misfit("account", bad.flaw) from None


_number_period = _in_order("effective_from", "effective_until")
_account_period = _in_order("from", "until")

INSTITUTION_KINDS = {
    "bank": "银行",
    "consumer_finance": "消费金融公司",
    "micro_lender": "小额贷款公司",
    "insurer": "保险公司",
    "broker": "经纪机构",
    "agency": "合作机构",
    "provider": "短信服务商",
    "authority": "机关单位",
    "other": "其他",
}
SCOPES = {"financial": "金融", "authority": "机关", "other": "其他"}
SIGNATURE_PLACES = {"in_text": "正文自带", "by_carrier": "运营商添加"}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "institutions",
            "机构",
            (
                Column("code", "机构代码", CODE),
                Column("name", "机构名称", NAME),
                Column("kind", "机构类型", forms.word(INSTITUTION_KINDS)),
                Column("licence_number", "许可证号", NAME, ""),
                Column("licence_scope", "许可范围", forms.SCOPE_MASK, ALL_PURPOSES),
                Column("licence_until", "许可有效期至", forms.UNTIL, None),
                Column("verified_until", "年审有效期至", forms.UNTIL, None),
                Column("region", "所属地区", NAME, ""),
            ),
            key=("code",),
        ),
        Kind(
            "mandates",
            "委托授权",
            (
                Column("institution", "委托机构代码", CODE),
                Column("agency", "受托机构代码", CODE),
                Column("channels", "渠道", forms.CHANNEL_MASK, ALL_CHANNELS),
                Column("purposes", "用途", forms.PURPOSE_MASK),
                Column("valid_from", "生效时间", forms.INSTANT, None),
                Column("valid_until", "失效时间", forms.INSTANT, None),
                Column("document_sha256", "文件SHA256", forms.SHA256, None),
            ),
            key=("institution", "agency", "channels", "purposes", "valid_from"),
            check=_in_order("valid_from", "valid_until"),
        ),
        Kind(
            "accounts",
            "接入账号",
            (
                Column("carrier", "电信企业", CODE),
                Column("protocol", "协议", PROTOCOL),
                Column("account", "账号", ACCOUNT),
                Column("holder", "持有机构代码", CODE),
                Column("scope", "接入范围", forms.word(SCOPES), "financial"),
                Column(
                    "refusal_manner",
                    "拒绝方式",
                    forms.word({"result": "应答", "report": "状态报告"}),
                    "result",
                ),
                Column(
                    "mass_manner", "群发方式", forms.word({"whole": "整体拒绝", "reduce": "剔除"}), "whole"
                ),
                Column("signature", "签名位置", forms.word(SIGNATURE_PLACES), "in_text"),
                Column("line_kind", "线路类型", forms.word({"human": "人工", "robot": "机器人"}), "human"),
                Column("upstream", "上游地址", forms.ENDPOINTS, ()),
                Column("listener", "监听地址", forms.ENDPOINT, ""),
                Column("callback", "回调地址", forms.ENDPOINT, ""),
                Column("allowed_ips", "允许的IP", forms.NETWORKS, ()),
                Column("max_connections", "最大连接数", forms.count(0, 100_000), 0),
            ),
            key=("carrier", "protocol", "account"),
            check=_check_account,
        ),
        Kind(
            "account_numbers",
            "账号可用号码",
            (
                Column("carrier", "电信企业", CODE),
                Column("protocol", "协议", PROTOCOL),
                Column("account", "账号", ACCOUNT),
                Column("number", "号码", forms.NUMBER_CELL),
                Column("is_prefix", "是否前缀", forms.FLAG, False),
                Column("from", "开始时间", forms.INSTANT, None),
                Column("until", "结束时间", forms.INSTANT, None),
            ),
            key=("carrier", "protocol", "account", "number", "is_prefix", "from"),
            check=_check_account_number,
        ),
        Kind(
            "numbers",
            "登记号码",
            (
                Column("number", "号码", forms.NUMBER_CELL),
                Column("extension_digits", "扩展位数", forms.count(0, 12), 0),
                Column("channels", "渠道", forms.CHANNEL_MASK, ALL_CHANNELS),
                Column("purposes", "用途", forms.PURPOSE_MASK),
                Column("institution", "机构代码", CODE),
                Column("agency", "合作机构代码", CODE, None),
                Column("signatures", "短信签名", forms.SIGNATURES, ()),
                Column("carrier", "电信企业", CODE, None),
                Column("effective_from", "生效时间", forms.INSTANT, None),
                Column("effective_until", "失效时间", forms.INSTANT, None),
                Column("document_sha256", "文件SHA256", forms.SHA256, None),
            ),
            key=("number", "institution", "channels", "carrier", "effective_from"),
            check=_check_number,
        ),
        Kind(
            "blacklist",
            "黑名单",
            (
                Column("number", "号码", forms.NUMBER_CELL),
                Column("is_prefix", "是否前缀", forms.FLAG, False),
                Column("reason", "原因", forms.text(1000)),
                Column("case_reference", "案件编号", NAME),
            ),
            key=("number", "is_prefix"),
            check=_canonical_prefix,
        ),
        Kind(
            "refusals",
            "拒绝接收",
            (
                Column("subscriber", "用户号码", forms.SUBSCRIBER),
                Column("institution", "机构代码", CODE, None),
                Column("purposes", "用途", forms.PURPOSE_MASK, ALL_PURPOSES),
                Column("channels", "渠道", forms.CHANNEL_MASK, ALL_CHANNELS),
                Column("source", "来源", SOURCE, "import"),
                Column("at", "时间", forms.INSTANT, None),
                Column("number", "未登记号码", forms.NUMBER, None),
            ),
            key=("subscriber", "institution", "number", "purposes", "channels", "source", "at"),
            check=_one_target,
        ),
        Kind(
            "consents",
            "同意",
            (
                Column("subscriber", "用户号码", forms.SUBSCRIBER),
                Column("institution", "机构代码", CODE),
                Column("source", "来源", SOURCE, "import"),
                Column("at", "时间", forms.INSTANT, None),
                Column("until", "有效期至", forms.INSTANT, None),
                Column("document_sha256", "文件SHA256", forms.SHA256, None),
            ),
            key=("subscriber", "institution", "source", "at"),
            check=_in_order("at", "until"),
        ),
        Kind(
            "recipients",
            "债务人名单",
            (
                Column("institution", "机构代码", CODE),
                Column("subscriber", "用户号码", forms.SUBSCRIBER),
                Column("role", "身份", forms.word(RECIPIENT_ROLES), "debtor"),
                Column("from", "开始时间", forms.INSTANT, None),
                Column("until", "结束时间", forms.INSTANT, None),
            ),
            key=("institution", "subscriber", "role", "from"),
            check=_in_order("from", "until"),
        ),
        Kind(
            "released",
            "已退网号码",
            (
                Column("subscriber", "用户号码", forms.SUBSCRIBER),
                Column("released_at", "退网时间", forms.INSTANT),
            ),
            key=("subscriber", "released_at"),
        ),
        Kind(
            "complaints",
            "投诉",
            (
                Column("subscriber", "投诉用户", forms.SUBSCRIBER),
                Column("number", "被投诉号码", forms.NUMBER),
                Column("channel", "渠道", forms.word(forms.CHANNEL_WORDS), "sms"),
                Column("at", "时间", forms.INSTANT),
                Column("content", "内容", CONTENT, ""),
                Column("source", "来源", forms.word(COMPLAINT_SOURCES), "12321"),
                Column("reference", "编号", forms.text(60), None),
            ),
            key=("subscriber", "number", "channel", "at", "source", "reference"),
        ),
    )
}
"""Kinds by name, in the order in which files that refer to one another must come in."""


def columns_of(kind: Kind, header: Sequence[str]) -> dict[str, int]:
    """Where each column of `kind` stands in a file. Bad, in words for the user: it can't be told."""
    places: dict[str, int] = {}
    unknown: list[str] = []
    for place, cell in enumerate(header):
        if not cell.strip():
            continue
        column = kind.column(cell)
        if column is None:
            unknown.append(repr(cell.strip()))
        elif column.name in places:
            raise Bad(
                f"column {column.name} ({column.chinese}) stands there twice",
                f"列 {column.name}（{column.chinese}）重复",
                "each column once",
                "每列一次",
            )
        else:
            places[column.name] = place
    missing = [
        f"{c.name} ({c.chinese})" for c in kind.columns if c.default is REQUIRED and c.name not in places
    ]
    if unknown or missing:
        known = [f"{c.name} ({c.chinese})" for c in kind.columns]
        wrong = [("unknown", "未知", unknown), ("missing", "缺少", missing)]
        raise Bad(
            "; ".join(f"{word} {', '.join(names)}" for word, _, names in wrong if names),
            "；".join(f"{word} {'、'.join(names)}" for _, word, names in wrong if names),
            f"columns out of {', '.join(known)}",
            f"以下列：{'、'.join(known)}",
        )
    return places
