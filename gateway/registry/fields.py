"""Fields of what comes in by API, read by the forms of the table files, so that both say the same.

Rules: a field is a pydantic type over `forms`; what does not fit raises `Misread`, which carries the flaw in
both languages. Sets travel as lists of words, instants as ISO 8601 with a zone, digests as hexadecimal.
It knows no HTTP and no database.
"""

import datetime
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from gateway.model import CHANNELS, PURPOSES, names_of
from gateway.registry import forms, kinds, numbering
from gateway.registry.forms import Form
from gateway.registry.rows import Bad, Flaw

T = TypeVar("T")


class Body(BaseModel):
    """What a caller sends; a field that there is none of is an error, as it may be another one misspelt."""

    model_config = ConfigDict(extra="forbid")


class Misread(ValueError):
    """A field does not hold what it should; `flaw` says why and what would be right."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.cause)
        self.flaw = flaw


def reading(parse: Callable[[str], T], form: Form | None = None) -> Callable[[Any], T]:
    """`parse` as a validator: `Bad` becomes `Misread`, with the form's words for what would be right."""

    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise Misread(Flaw("not a text", "不是文本", *_expected(form)))
        try:
            return parse(value.strip())
        except Bad as bad:
            flaw = bad.flaw
            if not flaw.expected:
                flaw = Flaw(flaw.cause, flaw.cause_zh, *_expected(form))
            raise Misread(flaw) from None

    return read


def _expected(form: Form | None) -> tuple[str, str]:
    return (form.expected, form.expected_zh) if form is not None else ("a text", "文本")


def _required(form: Form) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if not text:
            raise Bad("empty", "不能为空")
        return form.parse(text)

    return parse


def _schema(**facts: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **facts})


_INSTANT = reading(forms.INSTANT.parse, forms.INSTANT)


_UNTIL = reading(forms.UNTIL.parse, forms.UNTIL)


def _until(value: Any) -> datetime.datetime:
    return value if isinstance(value, datetime.datetime) else _UNTIL(value)


def _instant(value: Any) -> datetime.datetime:
    """Of a request a text; of a row of ours, which an answer is made of, an instant already."""
    return value if isinstance(value, datetime.datetime) else _INSTANT(value)


def said(value: datetime.datetime) -> str:
    """An instant as answers say it."""
    return value.astimezone(forms.SHANGHAI).isoformat()


_DATE_TIME = _schema(format="date-time", examples=["2026-12-01T09:00:00+08:00"])
DIGITS = r"^[0-9+() -]{2,40}$"

NumberText = Annotated[
    str,
    BeforeValidator(reading(numbering.number, forms.NUMBER)),
    _schema(pattern=DIGITS, examples=["10690001"]),
]
"""A whole sending number; canonical once read."""
SubscriberText = Annotated[
    str,
    BeforeValidator(reading(numbering.subscriber, forms.SUBSCRIBER)),
    _schema(pattern=DIGITS, examples=["13800000000"]),
]
PrefixText = Annotated[
    str,
    BeforeValidator(reading(numbering.prefix, forms.NUMBER)),
    _schema(pattern=DIGITS, examples=["1069"]),
]
Instant = Annotated[
    datetime.datetime,
    BeforeValidator(_instant),
    PlainSerializer(said, str, when_used="json"),
    _DATE_TIME,
]
Until = Annotated[
    datetime.datetime,
    BeforeValidator(_until),
    PlainSerializer(said, str, when_used="json"),
    _DATE_TIME,
]
"""Until when a licence is valid; of a request: a bare date lasts to the end of that day."""
Moment = Annotated[datetime.datetime, PlainSerializer(said, str, when_used="json"), _DATE_TIME]
"""An instant of an answer: said as `Instant`s are, in the time of Asia/Shanghai."""
Sha256 = Annotated[
    bytes,
    BeforeValidator(reading(forms.SHA256.parse, forms.SHA256)),
    PlainSerializer(bytes.hex, str, when_used="json"),
    _schema(pattern="^[0-9a-fA-F]{64}$"),
]
Code = Annotated[
    str,
    BeforeValidator(reading(_required(kinds.CODE), kinds.CODE)),
    _schema(pattern="^[A-Za-z0-9._-]{1,40}$", examples=["ZHSLYH"]),
]
Name = Annotated[
    str, BeforeValidator(reading(_required(kinds.NAME), kinds.NAME)), _schema(minLength=1, maxLength=200)
]
Line = Annotated[str, BeforeValidator(reading(kinds.NAME.parse, kinds.NAME)), _schema(maxLength=200)]
"""A text of one line that may be empty."""
Words = Annotated[
    str,
    BeforeValidator(reading(forms.text(1_000).parse, forms.text(1_000))),
    _schema(maxLength=1_000),
]
"""Reasons and grounds, of up to 1,000 characters; may be empty."""
Signature = Annotated[
    str, AfterValidator(reading(forms.signature, forms.SIGNATURES)), _schema(minLength=1, maxLength=42)
]
Endpoint = Annotated[
    str, BeforeValidator(reading(forms.ENDPOINT.parse, forms.ENDPOINT)), _schema(maxLength=260)
]
Network = Annotated[
    str, AfterValidator(reading(forms.network, forms.NETWORKS)), _schema(examples=["192.0.2.0/24"])
]
Channels = Annotated[list[Literal["sms", "voice"]], Field(min_length=1, max_length=2)]
Purposes = Annotated[list[Literal["marketing", "collection", "service"]], Field(min_length=1, max_length=3)]
Scope = Annotated[list[Literal["marketing", "collection", "service"]], Field(max_length=3)]


def channel_bits(words: Sequence[str]) -> int:
    """A list of channels as a mask."""
    return sum(CHANNELS[word] for word in set(words))


def purpose_bits(words: Sequence[str]) -> int:
    """A list of purposes as a mask."""
    return sum(PURPOSES[word] for word in set(words))


def channel_words(mask: int) -> list[Any]:
    """A mask of channels as a list."""
    return list(names_of(mask, CHANNELS))


def purpose_words(mask: int) -> list[Any]:
    """A mask of purposes as a list."""
    return list(names_of(mask, PURPOSES))
