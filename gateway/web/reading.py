"""Reads what a request holds: path, query, headers and body, by the types of its endpoint.

Every field that is wrong is named, with its value and what would be right, in both languages; nothing of a
request is used before all of it has been read. Only pydantic's types decide; this module has the words.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.errors import Problem, Words
from gateway.registry.changing import MOST_ID
from gateway.web.api import ALTERNATIVES, MOST_BODY, Endpoint, Octets, Upload, not_found
from gateway.web.problems import Invalid, Wrong

CHUNK = 1 << 16

_INSTANT = ("如 2026-01-01T08:00:00+08:00", "such as 2026-01-01T08:00:00+08:00")
_SHAPES: dict[str, tuple[str, str, str, str]] = {
    "missing": ("缺少此项", "is missing", "必填", "a value, as it is required"),
    "extra_forbidden": ("没有这一项", "there is no such field", "不填此项", "the rest without it"),
    "string_type": ("不是文本", "not a text", "文本", "a text"),
    "string_too_short": ("过短", "too short", "至少 {min_length} 个字符", "at least {min_length} characters"),
    "string_too_long": ("过长", "too long", "至多 {max_length} 个字符", "at most {max_length} characters"),
    "empty": ("没有内容", "says nothing", "文字", "a text that says something"),
    "string_pattern_mismatch": ("格式不符", "not of the form", "形如 {pattern}", "of the form {pattern}"),
    "int_type": ("不是整数", "not a whole number", "整数", "a whole number"),
    "int_parsing": ("不是整数", "not a whole number", "整数", "a whole number"),
    "int_parsing_size": ("数值过大", "too large", "较小的整数", "a smaller number"),
    "int_from_float": ("不是整数", "not a whole number", "整数", "a whole number"),
    "float_type": ("不是数字", "not a number", "数字", "a number"),
    "decimal_parsing": ("不是数字", "not a number", "数字", "a number"),
    "decimal_type": ("不是数字", "not a number", "数字", "a number"),
    "decimal_max_digits": ("数值过长", "too long", "至多 {max_digits} 位", "at most {max_digits} digits"),
    "decimal_max_places": ("小数位过多", "too many decimals", "{decimal_places} 位", "{decimal_places}"),
    "decimal_whole_digits": ("数值过大", "too large", "整数 {whole_digits} 位", "{whole_digits} digits"),
    "finite_number": ("不是数字", "not a number", "数字", "a number"),
    "bool_type": ("不是真假值", "not a truth value", "true 或 false", "true or false"),
    "bool_parsing": ("不是真假值", "not a truth value", "true 或 false", "true or false"),
    "list_type": ("不是列表", "not a list", "列表", "a list"),
    "set_type": ("不是列表", "not a list", "列表", "a list"),
    "frozen_set_type": ("不是列表", "not a list", "列表", "a list"),
    "tuple_type": ("不是列表", "not a list", "列表", "a list"),
    "dict_type": ("不是对象", "not an object", "JSON 对象", "a JSON object"),
    "model_type": ("不是对象", "not an object", "JSON 对象", "a JSON object"),
    "model_attributes_type": ("不是对象", "not an object", "JSON 对象", "a JSON object"),
    "literal_error": ("不在可选值中", "not one of the words", "{expected}", "{expected}"),
    "enum": ("不在可选值中", "not one of the words", "{expected}", "{expected}"),
    "greater_than": ("过小", "too small", "大于 {gt}", "greater than {gt}"),
    "greater_than_equal": ("过小", "too small", "不小于 {ge}", "at least {ge}"),
    "less_than": ("过大", "too large", "小于 {lt}", "less than {lt}"),
    "less_than_equal": ("过大", "too large", "不大于 {le}", "at most {le}"),
    "too_short": ("项数过少", "too few", "至少 {min_length} 项", "at least {min_length}"),
    "too_long": ("项数过多", "too many", "至多 {max_length} 项", "at most {max_length}"),
    "datetime_type": ("不是时间", "not an instant", *_INSTANT),
    "datetime_parsing": ("不是时间", "not an instant", *_INSTANT),
    "datetime_from_date_parsing": (
        "不是时间", "not an instant", *_INSTANT,
    ),
    "timezone_aware": ("缺少时区", "has no time zone", "如 +08:00 或 Z", "such as +08:00 or Z"),
    "date_type": ("不是日期", "not a date", "如 2026-01-01", "such as 2026-01-01"),
    "date_parsing": ("不是日期", "not a date", "如 2026-01-01", "such as 2026-01-01"),
    "date_from_datetime_parsing": ("不是日期", "not a date", "如 2026-01-01", "such as 2026-01-01"),
    "json_invalid": ("不是有效的 JSON：{error}", "not JSON: {error}", "UTF-8 编码的 JSON", "JSON in UTF-8"),
}  # fmt: skip
"""By pydantic's type of error: what is wrong, and what would be right, in Chinese and English."""

NO_FORM = (ValueError, HttpProcessingError)
_NUL = (Words("含有空字符", "holds a NUL character"), Words("可见文字", "text without it"))
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_TAG = re.compile(r'"(-?\d{1,18})"')


def wrong_fields(error: ValidationError, place: str = "", model: Any = None) -> Iterator[Wrong]:
    """What pydantic found, in words. `model`: what the whole should be, where that is one model."""
    known = ", ".join(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else ""
    for line in error.errors(include_url=False):
        field = ".".join(str(part) for part in line["loc"] if part not in ALTERNATIVES) or place
        wrong = _in_words(field, line)
        if line["type"] == "extra_forbidden" and len(line["loc"]) == 1 and known:
            wrong = wrong._replace(expected=Words(f"以下各项：{known}", f"one of {known}"))
        yield wrong


def _in_words(field: str, line: Any) -> Wrong:
    context: Mapping[str, Any] = line.get("ctx") or {}
    value = None if line["type"] in {"missing", "json_invalid"} else line.get("input")
    flaw = getattr(context.get("error"), "flaw", None)
    if flaw is not None:  # a rule of the registry's own (registry/rows.py: Flaw)
        cause, cause_zh, expected, expected_zh = flaw
        return Wrong(field, value, Words(cause_zh, cause), Words(expected_zh, expected))
    shape = _SHAPES.get("empty" if context.get("pattern") == r"\S" else line["type"])
    if shape is None:
        message = str(line["msg"]).removeprefix("Value error, ")
        return Wrong(field, value, Words(f"不符合要求：{message}", message))
    zh, en, expected_zh, expected = (text.format_map(context) if "{" in text else text for text in shape)
    if line["type"] in {"literal_error", "enum"}:
        expected_zh = expected_zh.replace(" or ", " 或 ")
    return Wrong(field, value, Words(zh, en), Words(expected_zh, expected))


def path(found: Mapping[str, str]) -> dict[str, Any]:
    """The parts in braces: `id` a number, others text. Problem `not_found` for what can be nothing's name."""
    values: dict[str, Any] = dict(found)
    for name, text in found.items():
        if name == "id":
            values[name] = int(text)
            if values[name] > MOST_ID:
                raise not_found()
        elif "\0" in text:
            raise not_found()
    return values


def query(endpoint: Endpoint, given: Mapping[str, str]) -> Any:
    """The parameters. Raises Invalid."""
    for name, text in given.items():
        if "\0" in name or "\0" in text:
            raise Invalid([Wrong(name.replace("\0", ""), None, *_NUL)])
    try:
        return endpoint.query.model_validate(dict(given))
    except ValidationError as error:
        raise Invalid(wrong_fields(error, model=endpoint.query)) from None


def key(endpoint: Endpoint, headers: Mapping[str, str]) -> str:
    """The Idempotency-Key, "" without one. Problem `idempotency_key_required`, Invalid."""
    name = "Idempotency-Key"
    if not endpoint.key:
        return ""
    given = headers.get(name)
    if given is None and endpoint.key == "optional":
        return ""
    if not given and endpoint.key == "required":
        raise Problem(
            "idempotency_key_required",
            Words("须带 Idempotency-Key 请求头", "the header Idempotency-Key is missing"),
            field=name,
            expected=Words("本次请求独有的文字，如 UUID", "a text of this request's own, such as a UUID"),
        )
    if given is None or not _KEY.fullmatch(given):
        form = Words("1 至 200 个 ASCII 可见字符", "1 to 200 visible ASCII characters")
        raise Invalid([Wrong(name, given, Words("格式不符", "not of the form"), form)])
    return given


def version(endpoint: Endpoint, headers: Mapping[str, str]) -> int | None:
    """The version in If-Match; None for `*`, and for endpoints that look at none."""
    if not endpoint.looks_at_versions:
        return None
    given = headers.get("If-Match", "")
    if not given and endpoint.versioned:
        raise Problem(
            "precondition_required",
            Words("须带 If-Match 请求头", "the header If-Match is missing"),
            field="If-Match",
            expected=Words("读取时得到的 ETag", "the ETag that reading it gave"),
        )
    if not given or given == "*":
        return None
    found = _TAG.fullmatch(given)
    if found is None:
        raise Problem(
            "changed_meanwhile",
            Words("If-Match 不是本资源的 ETag", "If-Match is no ETag of ours"),
            field="If-Match",
            value=given,
            expected=Words("读取时得到的 ETag", "the ETag that reading it gave"),
        )
    return int(found[1])


async def body(
    endpoint: Endpoint, adapter: TypeAdapter[Any] | None, request: web.Request
) -> tuple[Any, bytes]:
    """The body, and of an endpoint with keys the SHA-256 of method, path and body that knows a repetition."""
    if isinstance(endpoint.body, Octets):
        return await _upload(endpoint.body, request), b""
    raw, digest = await _whole(request, MOST_BODY) if request.body_exists else b"", b""
    if endpoint.key:
        asked = b"\0".join([request.method.encode(), request.path_qs.encode(), raw])
        digest = hashlib.sha256(asked).digest()
    if adapter is None or (endpoint.optional and not raw):
        return None, digest
    if raw and request.content_type != "application/json":
        raise _media_type(request.content_type, ("application/json",))
    try:
        value = adapter.validate_json(raw or b"null" if endpoint.optional else raw, strict=True)
    except ValidationError as error:
        raise Invalid(wrong_fields(error, model=endpoint.body)) from None
    except RecursionError:
        raise Invalid([Wrong("", None, Words("嵌套过深", "nested too deeply"))]) from None
    if b"\\u0000" in raw and (place := _nul(json.loads(raw))):
        raise Invalid([Wrong(place, None, *_NUL)])
    return value, digest


def _nul(value: Any, place: str = "") -> str:
    """Where a text of a JSON value holds NUL, which PostgreSQL can't keep; "" when none does."""
    if isinstance(value, str):
        return (place or "body") if "\0" in value else ""
    if isinstance(value, dict):
        parts = [(str(name), inner) for name, inner in value.items()]
        if any("\0" in name for name, _ in parts):
            return place or "body"
    elif isinstance(value, list):
        parts = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        return ""
    return next((found for name, inner in parts if (found := _nul(inner, f"{place}.{name}".lstrip(".")))), "")


async def _whole(request: web.Request, most: int) -> bytes:
    chunks, octets = [], 0
    while chunk := await request.content.readany():
        chunks.append(chunk)
        octets += len(chunk)
        if octets > most:
            raise _too_large(most)
    return b"".join(chunks)


async def _limited(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    octets = 0
    async for chunk in chunks:
        octets += len(chunk)
        if octets > most:
            raise _too_large(most)
        yield chunk


def _too_large(most: int) -> Problem:
    return Problem(
        "too_large",
        Words(f"超过 {most} 字节", f"more than {most} octets"),
        expected=Words(f"至多 {most} 字节", f"at most {most} octets"),
    )


async def _upload(kind: Octets, request: web.Request) -> Upload:
    declared = request.content_type
    if declared != "multipart/form-data":
        if declared not in kind.kinds:
            raise _media_type(declared, (*kind.kinds, "multipart/form-data"))
        return Upload(declared, "", _limited(request.content.iter_chunked(CHUNK), kind.most))
    try:
        form = await request.multipart()
        part = await form.next()
    except NO_FORM:
        raise _no_form() from None
    if not isinstance(part, BodyPartReader) or part.name != "file":
        expected = Words("表单的第一项为 file", "the form's first part is `file`")
        raise Invalid([Wrong("file", None, Words("缺少此项", "is missing"), expected)])
    return Upload(
        part.headers.get("Content-Type", "application/octet-stream").partition(";")[0].strip(),
        part.filename or "",
        _limited(_parts(part), kind.most),
    )


async def _parts(part: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await part.read_chunk(CHUNK):
            yield chunk
    except NO_FORM:
        raise _no_form() from None


def _no_form() -> Invalid:
    expected = Words("multipart/form-data，首项为 file", "multipart/form-data whose first part is `file`")
    return Invalid([Wrong("body", None, Words("表单无法读取", "the form can't be read"), expected)])


def _media_type(given: str, kinds: tuple[str, ...]) -> Problem:
    return Problem(
        "media_type",
        Words("请求内容的类型不支持", "a body of this media type is not taken"),
        field="Content-Type",
        value=given,
        expected=Words("、".join(kinds), ", ".join(kinds)),
    )
