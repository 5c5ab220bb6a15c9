"""A profile as a person reads it: rule by rule its modes, when they become stricter, its numbers, its source.

Rules of this file: nothing is judged. Pure; `now` is an argument.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from gateway.errors import Words
from gateway.model import Reason
from gateway.policy.hours import date_of
from gateway.policy.judge import RULED, WORDS_OF_MODES
from gateway.policy.profile import MASKS, Profile
from gateway.policy.words import REASONS


class Line(NamedTuple):
    """One rule; `modes` by purpose as they are now; `later` those from the date `since` on, if any."""

    reason: Reason
    words: Words
    modes: Mapping[str, str]
    later: Mapping[str, str]
    since: date | None
    days_left: int
    numbers: Mapping[str, Any]
    source: Words


def outline(profile: Profile, now: int) -> list[Line]:
    """Every rule of this program, those that the profile says nothing of included."""
    return [_line(profile, reason, now) for reason in RULED]


def _line(profile: Profile, reason: Reason, now: int) -> Line:
    setting = profile.rules.get(reason)
    start = setting.start if setting is not None else 0
    modes, later = (_modes(profile, reason, at) for at in (now, max(now, start)))
    coming = later != modes
    written = profile.content.get("rules", {}).get(reason.value, {})
    return Line(
        reason=reason,
        words=REASONS[reason],
        modes=modes,
        later=later if coming else {},
        since=date_of(start) if coming else None,
        days_left=(date_of(start) - date_of(now)).days if coming else 0,
        numbers={key: value for key, value in written.items() if key not in ("mode", "from", "source")},
        source=profile.source(reason),
    )


def _modes(profile: Profile, reason: Reason, at: int) -> dict[str, str]:
    return {word: WORDS_OF_MODES[profile.mode(reason, mask, at)] for word, mask in MASKS.items()}
