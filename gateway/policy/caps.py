"""How often a subscriber may be reached: caps in sliding windows, by purpose and channel (regulation.md).

Rules of this file: what is counted are the attempts of one institution to one subscriber for one purpose,
whichever of its numbers they come from: those of a channel, and where a joint cap asks for it, those of all
together; of calls also those that were answered, and those that were not. An attempt from a number with
several purposes counts for each, and has the caps of all. A window slides: a day is the last 24 hours.
Nothing is counted here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.errors import Words
from gateway.model import COLLECTION, MARKETING, SMS, VOICE, Count, Limit

MINUTE = 60_000
WINDOWS = {"minute": MINUTE, "5_minutes": 5 * MINUTE, "hour": 60 * MINUTE, "day": 24 * 60 * MINUTE}
"""By name, in ms."""

CHINESE = {"minute": "1分钟", "5_minutes": "5分钟", "hour": "1小时", "day": "24小时"}

LONGEST = max(WINDOWS.values())
MOST = 100
"""The largest number that a cap may be: each costs four octets for every subscriber of a day."""

CAPPED = {"marketing": MARKETING, "collection": COLLECTION}
"""Purposes that may have caps; service is never stopped by one (domain.md "Purposes")."""

JOINT = SMS | VOICE
"""The channels of a joint cap: one count for all."""

ANSWERED = 4
"""In place of a channel: calls that were answered, each from then on. Whether one will be nobody knows
before it is made, so it is let through while there is room."""

UNANSWERED = 8
"""In place of a channel: calls that nobody has taken, each from its try until it is answered."""

COURSES = {ANSWERED: "answered", UNANSWERED: "unanswered"}
"""What is counted of calls beside their tries, and the profile's word for its caps."""

SPOKEN = {MARKETING: Words("营销", "marketing"), COLLECTION: Words("催收", "collection")}

RIGHT: str = (
    "for marketing and collection caps such as { minute = 2, day = 10 }: windows out of"
    f" {', '.join(WINDOWS)}, each with a whole number from 1 to {MOST}"
)


def caps_of(table: Mapping[str, Any]) -> Mapping[int, tuple[Limit, ...]]:
    """A profile's table of caps by the bit of each purpose, the longest window first: who has used up a day
    need not come back after a minute. Raises ValueError, KeyError or TypeError."""
    return {CAPPED[word]: _limits(written) for word, written in table.items()}


def is_table(value: Any) -> bool:
    """Whether `caps_of` can read it."""
    try:
        caps_of(value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def both(
    one: Mapping[int, tuple[Limit, ...]], other: Mapping[int, tuple[Limit, ...]]
) -> Mapping[int, tuple[Limit, ...]]:
    """For each purpose the caps of both tables, of each window the smaller one."""
    return {bit: _smaller((*one.get(bit, ()), *other.get(bit, ()))) for bit in one.keys() | other.keys()}


def beside(
    one: Mapping[int, tuple[Limit, ...]], other: Mapping[int, tuple[Limit, ...]]
) -> Mapping[int, tuple[Limit, ...]]:
    """For each purpose the caps of both tables beside each other: what is counted is the same, and as much of
    it is kept as the larger one needs."""
    return {
        bit: tuple(sorted((*one.get(bit, ()), *other.get(bit, ())), key=lambda limit: -limit.window))
        for bit in one.keys() | other.keys()
    }


def counts_for(table: Mapping[int, tuple[Limit, ...]], purposes: int, channels: int) -> tuple[Count, ...]:
    """What an attempt from a number with these purposes is counted under, by a table of these channels."""
    return tuple(Count(bit, limits, channels) for bit, limits in table.items() if purposes & bit and limits)


def broken(limits: Iterable[Limit], sent: Sequence[int], now: int) -> str:
    """The window that has no room for one more attempt at `now`, "" when all have; `sent`: the instants of
    the earlier ones in ms, newest first."""
    return next(
        (word for word, window, most in limits if len(sent) >= most and now - sent[most - 1] < window), ""
    )


def free_at(limits: Iterable[Limit], sent: Sequence[int], now: int) -> int:
    """When (ms) all windows will have room for one more, if nothing else is sent; 0: they have now."""
    return max(
        (
            sent[most - 1] + window
            for _, window, most in limits
            if len(sent) >= most and now - sent[most - 1] < window
        ),
        default=0,
    )


def shown(count: Count, sent: Sequence[int] | None, now: int) -> Words:
    """How many there were in each window and how many there may be, for a person; `sent` as above, None where
    nobody can say."""
    purpose = SPOKEN[count.purpose]
    if count.channels == JOINT:
        purpose = Words(f"{purpose.zh}（短信与语音合计）", f"{purpose.en} (SMS and calls together)")
    elif count.channels == ANSWERED:
        purpose = Words(f"{purpose.zh}（已接通）", f"{purpose.en} (answered calls)")
    elif count.channels == UNANSWERED:
        purpose = Words(f"{purpose.zh}（未接通）", f"{purpose.en} (calls that nobody took)")
    zh, en = [], []
    for word, window, most in reversed(count.limits):
        had = "?" if sent is None else sum(now - at < window for at in sent)
        zh.append(f"{CHINESE[word]}内 {had}/{most} 次")
        en.append(f"{had} of {most} in the last {word.replace('_', ' ')}")
    return Words(f"{purpose.zh}：{'，'.join(zh)}", f"{purpose.en}: {', '.join(en)}")


def _smaller(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    least = {limit.window: limit for limit in sorted(limits, key=lambda limit: -limit.most)}
    return tuple(least[window] for window in sorted(least, reverse=True))


def _limits(written: Mapping[str, Any]) -> tuple[Limit, ...]:
    limits = [Limit(word, WINDOWS[word], most) for word, most in written.items()]
    if any(type(limit.most) is not int or not 1 <= limit.most <= MOST for limit in limits):
        raise ValueError(written)
    return tuple(sorted(limits, key=lambda limit: -limit.window))
