"""Fields read what requests hold and what rows hold, and are written one way."""

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ValidationError

from gateway.registry.fields import Instant, Sha256


class Some(BaseModel):
    at: Instant
    sha256: Sha256 | None = None


def test_instant_of_a_request_and_of_a_row_are_written_alike() -> None:
    asked = Some.model_validate_json('{"at": "2026-01-31T09:00:00+08:00"}', strict=True)
    row = Some(at=datetime(2026, 1, 31, 1, tzinfo=UTC))
    assert asked.at == row.at
    assert (
        asked.model_dump_json() == row.model_dump_json() == '{"at":"2026-01-31T09:00:00+08:00","sha256":null}'
    )


@pytest.mark.parametrize("text", ['{"at": 5}', '{"at": "soon"}', '{"at": null}', '{"at": "1066-10-14"}'])
def test_what_is_no_instant_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Some.model_validate_json(text, strict=True)
    (error,) = caught.value.errors()
    assert error["ctx"]["error"].flaw.expected_zh
