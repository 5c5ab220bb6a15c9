"""A profile as a person reads it: rule by rule its modes, when they become stricter, its numbers, its source.

Rules of this file: nothing is judged. Pure; `now` is an argument.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from gateway.errors import Words
from gateway.model import Reason
from gateway.policy.hours import date_of
from gateway.policy.judge import OWN_MODES, RULED, WORDS_OF_MODES
from gateway.policy.profile import MASKS, MODES, OPTIONS, Profile
from gateway.policy.words import REASONS


class Line(NamedTuple):
    """One rule; `modes` by purpose as they are now; `later` those from the date `since` on, if any; `own` the
    modes of sub-codes that are stricter now than the rule's strictest."""

    reason: Reason
    words: Words
    modes: Mapping[str, str]
    own: Mapping[str, str]
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
        own=_own(profile, reason, modes.values()),
        later=later if coming else {},
        since=date_of(start) if coming else None,
        days_left=(date_of(start) - date_of(now)).days if coming else 0,
        numbers={key: value for key, value in written.items() if key not in ("mode", "from", "source")},
        source=profile.source(reason),
    )


def _modes(profile: Profile, reason: Reason, at: int) -> dict[str, str]:
    return {word: WORDS_OF_MODES[profile.mode(reason, mask, at)] for word, mask in MASKS.items()}


def _own(profile: Profile, reason: Reason, modes: Iterable[str]) -> dict[str, str]:
    strictest, known = max(MODES[mode] for mode in modes), OPTIONS.get(reason, {})
    own = {sub: profile.option(reason, option) for sub, option in OWN_MODES.items() if option in known}
    return {sub: WORDS_OF_MODES[mode] for sub, mode in own.items() if mode > strictest}
