"""Forms of a cell: how the text of a table file becomes a value of the registry, and back.

Rules: a form is a value (SQL type, parse, write, words for what would be right); `parse` raises `Bad` with a
cause in both languages and never anything else; `parse(write(x)) == x`. Words are taken in English and in
Chinese. Instants are aware datetimes; a date, or a time without a zone, is one of Asia/Shanghai. It knows no
kind of table, no file and no database.
"""

import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.model import CHANNELS, PURPOSES, names_of
from gateway.registry.numbering import number, subscriber
from gateway.registry.rows import Bad

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
"""Asia/Shanghai has kept UTC+8 without summer time since 1991-09-15."""

EARLIEST = datetime.datetime(1992, 1, 1, tzinfo=SHANGHAI)
LATEST = datetime.datetime(9999, 1, 1, tzinfo=SHANGHAI)
SEPARATORS = re.compile(r"[;；]")
DIGEST = re.compile(r"[0-9a-fA-F]{64}")
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
CHANNEL_WORDS = {"sms": "短信", "voice": "语音"}
PURPOSE_WORDS = {"marketing": "营销", "collection": "催收", "service": "服务"}


@dataclass(frozen=True, slots=True)
class Form:
    """What a column's cells hold. `write` takes the value and whether words are to be Chinese."""

    sql: str
    parse: Callable[[str], Any]
    write: Callable[[Any, bool], str]
    expected: str
    expected_zh: str


def text(limit: int, pattern: str = "", expected: str = "", expected_zh: str = "") -> Form:
    """Text of up to `limit` characters that matches `pattern` (any, if empty)."""
    fits = re.compile(pattern or ".*")

    def parse(cell: str) -> str:
        if CONTROL.search(cell):
            raise Bad("holds a control character or line break", "含有控制字符或换行")
        if len(cell) > limit:
            raise Bad(f"longer than {limit} characters", f"超过 {limit} 个字符")
        if not fits.fullmatch(cell):
            raise Bad("not of the form that this column needs", "格式不符")
        return cell

    return Form(
        "text",
        parse,
        lambda value, _: value,
        expected or f"text of at most {limit} characters",
        expected_zh or f"不超过 {limit} 个字符的文字",
    )


def texts(
    limit: int, one: Callable[[str], str] | None = None, expected: str = "", expected_zh: str = ""
) -> Form:
    """A list of texts, split by `;`, in the order given, without repetitions."""
    single = text(limit).parse

    def parse(cell: str) -> list[str]:
        parts = [part.strip() for part in SEPARATORS.split(cell)]
        return list(dict.fromkeys((one or single)(single(part)) for part in parts if part))

    return Form(
        "text[]",
        parse,
        lambda value, _: ";".join(value),
        expected or f"texts of at most {limit} characters, split by ;",
        expected_zh or f"每项不超过 {limit} 个字符，以 ; 分隔",
    )


def word(words: Mapping[str, str]) -> Form:
    """One word out of `words` (code → Chinese)."""
    codes = {chinese: code for code, chinese in words.items()} | {code: code for code in words}

    def parse(cell: str) -> str:
        code = codes.get(cell) or codes.get(cell.lower())
        if code is None:
            raise Bad("not one of the words of this column", "不是本列可用的词")
        return code

    return Form(
        "text",
        parse,
        lambda value, chinese: words[value] if chinese else value,
        "one of " + ", ".join(words),
        "以下之一：" + "、".join(words.values()),
    )


def mask(words: Mapping[str, str], bits: dict[str, int], *, empty: bool = False) -> Form:
    """A set of words as a bit mask; `none` stands for the empty set where that is allowed."""
    codes = {chinese: code for code, chinese in words.items()} | {code: code for code in words}

    @lru_cache(256)
    def masked(cell: str) -> int:
        if empty and cell.lower() in ("none", "无"):
            return 0
        value = 0
        for part in SEPARATORS.split(cell):
            if part.strip():
                code = codes.get(part.strip()) or codes.get(part.strip().lower())
                if code is None:
                    raise Bad(f"{part.strip()!r} is not one of the words", f"{part.strip()!r} 不是可用的词")
                value |= bits[code]
        if not value:
            raise Bad("names nothing", "没有列出任何一项")
        return value

    def write(value: int, chinese: bool) -> str:
        names = names_of(value, bits)
        if not names:
            return "无" if chinese else "none"
        return ";".join(words[name] if chinese else name for name in names)

    return Form(
        "integer",
        masked,
        write,
        "one or more of " + ", ".join(words) + ", split by ;" + (", or none" if empty else ""),
        "以下一项或多项，以 ; 分隔：" + "、".join(words.values()) + ("；或：无" if empty else ""),
    )


def count(low: int, high: int) -> Form:
    """A whole number from `low` to `high`."""

    def parse(cell: str) -> int:
        if not re.fullmatch(r"\d{1,9}", cell, re.ASCII) or not low <= int(cell) <= high:
            raise Bad("not a whole number in range", "不是范围内的整数")
        return int(cell)

    return Form(
        "integer",
        parse,
        lambda value, _: str(value),
        f"a whole number from {low} to {high}",
        f"{low} 到 {high} 的整数",
    )


def _flag(cell: str) -> bool:
    match cell.lower():
        case "true" | "1" | "yes" | "y" | "是":
            return True
        case "false" | "0" | "no" | "n" | "否":
            return False
    raise Bad("neither yes nor no", "既不是“是”也不是“否”")


@lru_cache(4096)
def _instant(cell: str) -> datetime.datetime:
    unified = cell.replace("/", "-") if "/" in cell else cell
    if found := re.match(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", unified):
        year, month, day = found.groups()
        unified = f"{year}-{month:0>2}-{day:0>2}{unified[found.end() :]}"
    try:
        value = datetime.datetime.fromisoformat(unified)
    except ValueError:
        raise Bad("not a date or time", "不是日期或时间") from None
    if value.tzinfo is None:
        value = value.replace(tzinfo=SHANGHAI)
    if not EARLIEST <= value <= LATEST:
        raise Bad("outside the years 1992 to 9998", "不在 1992 年至 9998 年之间")
    return value


def _until(cell: str) -> datetime.datetime:
    """What a licence says, 有效期至: a bare date lasts to the end of that day (Civil Code, article 203)."""
    end = _instant(cell)
    bare = re.fullmatch(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}", cell)
    return end + datetime.timedelta(days=1) if bare else end


def _write_until(value: datetime.datetime, chinese: bool) -> str:
    """Midnight ends the day before; what is written reads back as the same instant."""
    midnight = value.astimezone(SHANGHAI).time() == datetime.time()
    return _write_instant(value - datetime.timedelta(days=1) if midnight else value, chinese)


def _write_instant(value: datetime.datetime, _: bool) -> str:
    local = value.astimezone(SHANGHAI)
    if local.time() == datetime.time():
        return local.date().isoformat()
    return local.isoformat()


def _digest(cell: str) -> bytes:
    if not DIGEST.fullmatch(cell):
        raise Bad("not a SHA-256", "不是 SHA-256 值")
    return bytes.fromhex(cell)


def network(part: str) -> str:
    try:
        found = ipaddress.ip_network(part)
    except ValueError:
        raise Bad(f"{part!r} is neither an address nor a network", f"{part!r} 不是 IP 地址或网段") from None
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def _networks(cell: str) -> list[str]:
    return list(dict.fromkeys(network(part.strip()) for part in SEPARATORS.split(cell) if part.strip()))


def _endpoint(part: str) -> str:
    host, colon, port = part.rpartition(":")
    if not colon or not host or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 0 < int(port) < 65536:
        raise Bad(f"{part!r} is not host:port", f"{part!r} 不是 主机:端口")
    return part


def signature(part: str) -> str:
    name = part.removeprefix("【").removesuffix("】").strip()
    if not name or len(name) > 40 or CONTROL.search(name) or "【" in name or "】" in name:
        raise Bad(f"{part!r} is not a signature", f"{part!r} 不是短信签名")
    return name


NUMBER_WORDS = (
    "a telephone number with area code, or a code such as 106…, 95…, 96…, 400…",
    "带区号的电话号码，或 106…、95…、96…、400… 等号码",
)
FLAG = Form(
    "boolean", _flag, lambda value, chinese: ("是" if value else "否") if chinese else str(value).lower(),
    "true or false", "是 或 否",
)  # fmt: skip
INSTANT = Form(
    "timestamptz", _instant, _write_instant,
    "a date or time such as 2026-01-31 or 2026-01-31T09:00:00+08:00",
    "日期或时间，例如 2026-01-31 或 2026-01-31T09:00:00+08:00",
)  # fmt: skip
UNTIL = Form(
    "timestamptz", _until, _write_until,
    "a date, which lasts to its end, or a time such as 2026-01-31T09:00:00+08:00",
    "日期（至当日终了）或时间，例如 2026-01-31T09:00:00+08:00",
)  # fmt: skip
SHA256 = Form("bytea", _digest, lambda value, _: value.hex(), "64 hexadecimal digits", "64 位十六进制数")
NUMBER_CELL = Form("text", lambda cell: cell, lambda value, _: value, *NUMBER_WORDS)
SUBSCRIBER = Form(
    "text", subscriber, lambda value, _: value, "a subscriber's number such as 13800000000",
    "用户号码，例如 13800000000",
)  # fmt: skip
NETWORKS = Form(
    "text[]", _networks, lambda value, _: ";".join(map(network, value)),
    "addresses or networks split by ;", "IP 地址或网段，以 ; 分隔",
)  # fmt: skip
NUMBER = Form("text", number, lambda value, _: value, *NUMBER_WORDS)
SIGNATURES = texts(40, signature, "names as in 【】, split by ;", "【】中的名称，以 ; 分隔")
ENDPOINT = text(260, r"|.+:\d{1,5}", "host:port", "主机:端口")
ENDPOINTS = texts(260, _endpoint, "host:port, split by ;", "主机:端口，以 ; 分隔")
CHANNEL_MASK = mask(CHANNEL_WORDS, CHANNELS)
PURPOSE_MASK = mask(PURPOSE_WORDS, PURPOSES)
SCOPE_MASK = mask(PURPOSE_WORDS, PURPOSES, empty=True)
