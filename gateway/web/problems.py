"""What the API says when it can't do what was asked: problem+json (RFC 9457) in Chinese or English.

`CODES` is the closed list: a code is stable, its status and title are its row. Whoever finds a problem raises
`errors.Problem`; `answer` makes the response. Secrets are never said back, subscribers' numbers only masked.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from aiohttp import web
from pydantic import BaseModel, Field, JsonValue

from gateway.errors import Problem, Words
from gateway.policy.numbers import canonical, mask

MEDIA_TYPE = "application/problem+json"


class Code(NamedTuple):
    status: int
    zh: str
    en: str


CODES: dict[str, Code] = {
    "invalid": Code(422, "内容不符合要求", "Not valid"),
    "unauthenticated": Code(401, "未登录或令牌无效", "Not signed in, or no valid token"),
    "sign_in_failed": Code(401, "登录失败", "Sign-in failed"),
    "locked": Code(429, "账号已锁定", "Locked after too many failures"),
    "forbidden": Code(403, "本角色无权操作", "Not for this role"),
    "scope_missing": Code(403, "令牌权限不足", "The token's scopes don't cover this"),
    "not_found": Code(404, "未找到", "Not found"),
    "method_not_allowed": Code(405, "不支持该方法", "Method not allowed"),
    "wrong_state": Code(409, "当前状态不允许该操作", "Not in this state"),
    "same_person": Code(409, "须由另一人办理", "Takes another person"),
    "no_identity": Code(409, "未绑定身份证件", "Bound to no person by identity number"),
    "already_filed": Code(409, "号码已登记", "Already filed"),
    "exists": Code(409, "已存在", "Exists already"),
    "protected_number": Code(409, "受保护号码", "Protected number"),
    "entry_kept": Code(409, "条目不可撤回", "The entry is kept"),
    "break_glass_needed": Code(403, "须按应急程序办理", "Takes breaking the glass"),
    "changed_meanwhile": Code(412, "内容已被他人修改", "Changed meanwhile"),
    "precondition_required": Code(428, "须带 If-Match", "If-Match is required"),
    "idempotency_key_required": Code(400, "须带 Idempotency-Key", "Idempotency-Key is required"),
    "idempotency_key_reused": Code(422, "Idempotency-Key 已用于其他请求", "Key of another request"),
    "in_progress": Code(409, "相同请求正在处理", "The same request is under way"),
    "too_large": Code(413, "内容过大", "Too large"),
    "media_type": Code(415, "文件类型不支持", "Media type not supported"),
    "not_acceptable_page": Code(400, "翻页标记无效", "Not a cursor of this list"),
    "rate_limited": Code(429, "请求过于频繁", "Too many requests"),
    "quota_used": Code(429, "当日配额已用完", "The day's quota is used"),
    "busy": Code(503, "系统繁忙", "Busy"),
    "database_unavailable": Code(503, "数据库暂不可用", "The database is away"),
    "internal": Code(500, "内部错误", "Internal error"),
}

SECRET = frozenset({"password", "totp", "identity", "secret"})
SUBSCRIBERS = frozenset({"subscriber", "subscribers", "destination"})
_LONGEST = 200  # characters of a value that is said back
_DIGIT = re.compile(r"\d(?=(?:\D*\d){4})")  # all but the last four


class Wrong(NamedTuple):
    """One field that is wrong, by its place (`signatures.0`)."""

    field: str
    value: object
    detail: Words
    expected: Words = Words("", "")


class Invalid(Problem):
    """Several fields are wrong at once; the first is the problem's own."""

    def __init__(self, wrong: Iterable[Wrong]) -> None:
        self.wrong = tuple(wrong)
        first = self.wrong[0]
        super().__init__(
            "invalid", first.detail, field=first.field, value=first.value, expected=first.expected
        )


class WrongField(BaseModel):
    """One of the fields that are wrong."""

    field: str = Field(description="place in the body, or name of the parameter", examples=["number"])
    value: JsonValue = Field(None, description="what was given; a subscriber masked, no secret")
    detail: str = Field(description="what is wrong")
    expected: str = Field("", description="what would be right")


class ProblemDetails(BaseModel):
    """RFC 9457. `code` is stable; `title`, `detail` and `expected` follow Accept-Language."""

    type: str = Field(examples=["about:blank#not_found"])
    title: str
    status: int
    code: str = Field(examples=["not_found"], json_schema_extra={"enum": list(CODES)})
    detail: str
    field: str = ""
    value: JsonValue = None
    expected: str = ""
    errors: list[WrongField] = []
    facts: dict[str, JsonValue] = {}


def answer(problem: Problem, *, zh: bool, headers: Mapping[str, str] | None = None) -> web.Response:
    """The response; an unknown code is an internal error."""
    code = problem.code if problem.code in CODES else "internal"
    status, title_zh, title_en = CODES[code]
    wrong = problem.wrong if isinstance(problem, Invalid) else ()
    body: dict[str, Any] = {
        "type": f"about:blank#{code}",
        "title": title_zh if zh else title_en,
        "status": status,
        "code": code,
        **_said(Wrong(problem.field, problem.value, problem.detail, problem.expected), zh),
    }
    if wrong:
        body["errors"] = [_said(one, zh) for one in wrong]
    if problem.facts:
        body["facts"] = dict(problem.facts)
    return web.Response(
        body=json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace"),
        status=status,
        headers={"Content-Language": "zh" if zh else "en", **(headers or {})},
        content_type=MEDIA_TYPE,
        charset="utf-8",
    )


def _said(wrong: Wrong, zh: bool) -> dict[str, JsonValue]:
    said: dict[str, JsonValue] = {"field": wrong.field, "detail": wrong.detail.zh if zh else wrong.detail.en}
    expected = wrong.expected.zh if zh else wrong.expected.en
    if wrong.value is not None and (value := shown(wrong.field, wrong.value)) is not None:
        said["value"] = value
    if expected:
        said["expected"] = expected
    return said


def shown(field: str, value: object) -> JsonValue:
    """`value` of the field as it may be said back: None for a secret, masked for a subscriber."""
    names = set(re.split(r"\W+", field))
    if names & SECRET or isinstance(value, dict | list | tuple | set | bytes):
        return None  # what holds several fields is named by its place alone
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    if value is None or isinstance(value, bool | int | float):
        return None if names & SUBSCRIBERS else value
    text = str(value)[:_LONGEST]
    if names & SUBSCRIBERS:
        return mask(number) if (number := canonical(text)) else _DIGIT.sub("*", text)
    return text


@lru_cache(64)
def in_chinese(accept_language: str) -> bool:
    """Whether an Accept-Language (RFC 9110 §12.5.4) wants Chinese and not English; an empty one does."""
    zh, en = _wanted(accept_language)
    return en <= 0 or zh >= en


@lru_cache(64)
def english_only(accept_language: str) -> bool:
    """Whether an Accept-Language names English and no Chinese."""
    zh, en = _wanted(accept_language)
    return en > 0 >= zh


def _wanted(accept_language: str) -> tuple[float, float]:
    """How much Chinese and English are wanted, 0 to 1; -1 for what is not named."""
    best = {"zh": -1.0, "en": -1.0}
    for part in accept_language.split(","):
        tag, _, rest = part.strip().lower().partition(";")
        quality = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", rest)
        if rest and quality is None:
            continue
        weight = float(quality[1]) if quality else 1.0
        language = tag.partition("-")[0]
        if language in best:
            best[language] = max(best[language], weight)
    return best["zh"], best["en"]
