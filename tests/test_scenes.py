"""The demonstration shows every verdict at any hour."""

from datetime import datetime

import pytest

from gateway.model import Reason
from gateway.policy.judge import RULED
from gateway.policy.profile import SHANGHAI
from gateway.scenes import AT_NIGHT, BY_DAY, CALLS, SCENES, at_time

NOT_SHOWN = {Reason.NOT_JUDGEABLE, Reason.NO_REPLY_PATH}
"""Of a node that is ill, and of an account that was away for a day."""


def test_each_reason_that_has_a_rule_has_its_scene() -> None:
    shown = {scene.verdict for scene in SCENES} | {scene.observed for scene in SCENES}
    assert {reason.value for reason in {*RULED, Reason.MASS_REFUSED} - NOT_SHOWN} | {"pass"} == shown - {""}


def test_each_reason_that_a_call_can_have_has_its_call() -> None:
    of_texts = {
        Reason.SIGNATURE_MISSING, Reason.SIGNATURE_MISMATCH, Reason.OPTOUT_HINT_MISSING,
        Reason.FORBIDDEN_CONTENT, Reason.PURPOSE_MISMATCH,
    }  # fmt: skip
    observed = {Reason.CONSENT_MISSING, Reason.THIRD_PARTY}
    reasons = {*RULED} - of_texts - observed - {Reason.NO_REPLY_PATH} | {Reason.NOT_JUDGEABLE}
    assert {reason.value for reason in reasons} | {"pass"} == {call.verdict for call in CALLS}


@pytest.mark.parametrize(
    ("hour", "by_day", "at_night"),
    [
        (0, "260228100000032+", "260301030000032+"),
        (7, "260228100000032+", "260301030000032+"),
        (8, "", "260301030000032+"),
        (20, "", "260301030000032+"),
        (21, "260301100000032+", "260301030000032+"),
        (23, "260301100000032+", "260301030000032+"),
    ],
)
def test_what_sells_at_night_is_for_the_next_morning(hour: int, by_day: str, at_night: str) -> None:
    now = datetime(2026, 2, 28, hour, 59, tzinfo=SHANGHAI)
    times = {(scene.when, at_time(scene, now)) for scene in SCENES}
    assert times == {("any_hour", ""), (BY_DAY, by_day), (AT_NIGHT, at_night)}
