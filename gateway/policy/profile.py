"""A province's rules as data: which rule is in force, since when, and the numbers that it works with.

Rules of this file: a profile is a TOML text, which profile_text.py reads, checks and lays over what it
extends. A value that regulation.md may change belongs there and not into a rule. It knows no file system and
no clock.

    extends = "national"                       # that file first, then this one over it
    [refusal_covers]
    collection = ["collection", "marketing"]   # what a refusal sent to a number filed for collection covers
    [rules.signature_missing]
    mode = { marketing = "enforce", service = "observe" }    # or one word for all purposes; a purpose that
                                   # a table leaves out keeps the base's mode, and is off where there is none
    from = 2026-01-01              # until then one step milder, for all purposes: enforce is observe, observe
                                   # is off; a base's date goes with any mode that is laid over its own
    source = { zh = "…", en = "…" }          # the article it stands on; refusal_covers has one as well
    [rules.quiet_hours]
    sms = { collection = "08:00-20:00" }   # a rule's own numbers; a table is laid over that of the base
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from gateway.errors import NO_WORDS, Words
from gateway.model import PROTOCOLS, PURPOSES, Reason, Span
from gateway.policy import caps, hours
from gateway.policy.calendar import MONDAY_TO_FRIDAY, Calendar
from gateway.policy.content import head
from gateway.policy.reply_grammar import SENTENCES
from gateway.policy.reply_words import CLASSES, CODES, SURNAMES, TITLES
from gateway.policy.text_purpose import DEMANDS, NEITHER, OFFERS

OFF, OBSERVE, ENFORCE = 0, 1, 2
MODES = {"off": OFF, "observe": OBSERVE, "enforce": ENFORCE}
"""The modes by rising strictness; a number with several purposes gets the strictest."""

MOST_CHARACTERS = 500
"""Of a signature."""

UNKNOWN_ACCOUNT = ("refuse", "observe", "other")

_HOUR = 3_600_000
SHANGHAI = timezone(timedelta(hours=8))
MASKS = {**PURPOSES, "unknown": 0}
"""The words by which a profile speaks of purposes, and their bits."""

COVERED = {
    "marketing": ["marketing"],
    "collection": ["collection", "marketing"],
    "service": ["marketing"],
    "unknown": ["collection", "marketing"],
}
"""What a refusal covers where a profile is silent: none is heard for nothing."""

_POSITIONS = ("first", "last")
MOST_DAYS_AHEAD = 366


@dataclass(frozen=True, slots=True)
class RuleSetting:
    """One rule's mode for each set of purposes (a mask as index), the instant from which it holds in ms,
    its numbers, and the article that it stands on."""

    modes: tuple[int, ...]
    start: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Words = NO_WORDS
    floor: tuple[int, ...] = ()

    def mode(self, purposes: int, now: int) -> int:
        """The mode for a number with these purposes: the strictest, and before `start` one step milder; never
        milder than `floor`, which an override has put below it."""
        strict = self.modes[purposes]
        found = strict if now >= self.start else max(OFF, strict - 1)
        return max(found, self.floor[purposes]) if self.floor else found


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The rules in force on a node, and the two settings of the node that rules look at.

    `content` is what the file says, laid over all that it extends, as plain values: `digest` names it, as
    `lexicon_digest` does the words and sentences that texts are read by; both are the first 16 hex digits of
    a SHA-256 and stand in every record. `max_age` is in ms. `days` tells workdays from others.
    """

    name: str
    rules: Mapping[Reason, RuleSetting]
    refusal_covers: Mapping[int, int]
    digest: str
    lexicon_digest: str
    content: Mapping[str, Any] = field(default_factory=dict)
    max_age: int = 72 * _HOUR
    unknown_account: str = "refuse"
    days: Calendar = MONDAY_TO_FRIDAY
    stricter: "Callable[[Profile, int, str], Profile] | None" = None

    def of(self, institution: int, number: str) -> "Profile":
        """What holds for this institution's number: this profile, or a stricter one (overrides.py)."""
        return self if self.stricter is None else self.stricter(self, institution, number)

    def covered(self, purposes: int) -> int:
        """What a refusal sent to a number with these purposes covers, as bits; 0 asks for `unknown`."""
        covered = 0
        for bit in _bits(purposes):
            covered |= self.refusal_covers[bit]
        return covered

    def mode(self, reason: Reason, purposes: int, now: int) -> int:
        setting = self.rules.get(reason)
        return OFF if setting is None else setting.mode(purposes, now)

    def option(self, reason: Reason, key: str) -> Any:
        """A number of a rule, checked when the profile was read; the default where the file is silent."""
        setting = self.rules.get(reason)
        option = OPTIONS[reason][key]
        default = option.make(option.default)
        return default if setting is None else setting.options.get(key, default)

    def source(self, reason: Reason) -> Words:
        """The article that a rule stands on; empty where the file names none."""
        setting = self.rules.get(reason)
        return NO_WORDS if setting is None else setting.source

    def spans(self) -> Iterator[Span]:
        """The periods in which each dated mode holds: judgements change where they begin."""
        return (Span(setting.start) for setting in self.rules.values() if setting.start)


@dataclass(frozen=True, slots=True)
class Option:
    """A number that a rule's table may carry: its default, what is right in words, how it is checked, what
    rules get of it, and the stricter of two such; without that no override may say it."""

    default: Any
    right: str
    check: Callable[[Any], bool]
    make: Callable[[Any], Any] = lambda value: value
    tighten: Callable[[Any, Any], Any] | None = None


OPTIONS: Mapping[Reason, Mapping[str, Option]] = {
    Reason.MALFORMED: {
        "binary": Option(
            default="refuse",
            right='"refuse" or "pass"',
            check=lambda value: value in ("refuse", "pass"),
            tighten=lambda one, other: one if one == "refuse" else other,
        )
    },
    Reason.SIGNATURE_MISSING: {
        "positions": Option(
            default=["first"],
            right='a list of "first" and "last"',
            check=lambda value: (
                isinstance(value, list) and bool(value) and all(p in _POSITIONS for p in value)
            ),
            tighten=lambda one, other: [place for place in one if place in other],
        )
    },
    Reason.SIGNATURE_MISMATCH: {
        "neutral": Option(
            default=[],
            right="a list of signatures that name nobody",
            check=lambda value: (
                isinstance(value, list) and all(isinstance(one, str) and one.strip("【】 ") for one in value)
            ),
            make=lambda value: frozenset(map(head, value)),
            tighten=lambda one, other: one | other,
        ),
        "characters": Option(
            default=[1, MOST_CHARACTERS],
            right=f"the least and the most characters, such as [2, 16], from 1 to {MOST_CHARACTERS}",
            check=lambda value: (
                isinstance(value, list)
                and len(value) == 2
                and all(type(one) is int for one in value)
                and 1 <= value[0] <= value[1] <= MOST_CHARACTERS
            ),
            make=tuple,
            tighten=lambda one, other: (max(one[0], other[0]), min(one[1], other[1])),
        ),
    },
    Reason.THIRD_PARTY: {
        "agencies_need_list": Option(
            default=False,
            right="true or false",
            check=lambda value: isinstance(value, bool),
            tighten=lambda one, other: one or other,
        ),
        "said_wrong_person": Option(
            default="off",
            right='"off", "observe" or "enforce"',
            check=lambda value: isinstance(value, str) and value in MODES,
            make=MODES.__getitem__,
            tighten=max,
        ),
    },
    Reason.NO_REPLY_PATH: {
        "exempt": Option(
            default=[],
            right=f"a list of {', '.join(PROTOCOLS)}",
            check=lambda value: isinstance(value, list) and all(one in PROTOCOLS for one in value),
            tighten=lambda one, other: [protocol for protocol in one if protocol in other],
        )
    },
    Reason.QUIET_HOURS: {
        "sms": Option({}, hours.RIGHT, hours.is_table, hours.hours_of, hours.both),
        "voice": Option({}, hours.RIGHT, hours.is_table, hours.hours_of, hours.both),
        "most_days_ahead": Option(
            default=7,
            right="a whole number of days from 0 to 366",
            check=lambda value: type(value) is int and 0 <= value <= MOST_DAYS_AHEAD,
            tighten=min,
        ),
    },
    Reason.UNREGISTERED: {
        "inbound_only": Option(
            default=["400"],
            right='a list of the first digits of numbers, such as "400"',
            check=lambda value: (
                isinstance(value, list)
                and all(isinstance(one, str) and 0 < len(one) <= 20 for one in value)
                and all(one.removeprefix("+").isdecimal() and one.isascii() for one in value)
            ),
            make=tuple,
            tighten=lambda one, other: one,  # it is of numbers, whoever filed them: everybody's alone
        ),
        "shows_inbound": Option(
            default="enforce",
            right='"off", "observe" or "enforce"',
            check=lambda value: isinstance(value, str) and value in MODES,
            make=MODES.__getitem__,
            tighten=max,
        ),
    },
    Reason.OVER_FREQUENCY: {
        "sms": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
        "voice": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
        "joint": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
        "robot": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
        "answered": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
        "unanswered": Option({}, caps.RIGHT, caps.is_table, caps.caps_of, caps.both),
    },
}
"""The numbers that may stand in `[rules.X]` beside mode and from. A rule with a new one adds a row."""


def profile_of(name: str, content: Mapping[str, Any]) -> Profile:
    """The profile with this content. KeyError, ValueError, TypeError or AttributeError for what `merged` of
    this version of the program does not give."""
    covers = {MASKS[word]: _mask(silent) for word, silent in COVERED.items()}
    words = {word: found for word, found in content["refusal_covers"].items() if word != "source"}
    covers.update({MASKS[word]: _mask(found) for word, found in words.items()})
    return Profile(
        name=name,
        rules={Reason(word): _setting(Reason(word), table) for word, table in content["rules"].items()},
        refusal_covers=covers,
        digest=digest_of(content),
        lexicon_digest=digest_of(
            [CODES, CLASSES, sorted(SURNAMES), TITLES, SENTENCES, OFFERS, DEMANDS, NEITHER]
        ),
        content=content,
    )


def canonical(content: object) -> str:
    """A content as the one text that its digest is made of."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _setting(reason: Reason, table: Mapping[str, Any]) -> RuleSetting:
    written = table.get("mode", "off")
    by_bit = {
        bit: MODES[written if isinstance(written, str) else written.get(word, "off")]
        for word, bit in MASKS.items()
    }
    strictest = (max(by_bit[bit] for bit in _bits(mask)) for mask in range(sum(PURPOSES.values()) + 1))
    start = 0
    if "from" in table:
        midnight = datetime.combine(date.fromisoformat(table["from"]), datetime.min.time(), SHANGHAI)
        start = int(midnight.timestamp()) * 1000
    known = OPTIONS.get(reason, {})
    options = {key: known[key].make(value) for key, value in table.items() if key in known}
    return RuleSetting(tuple(strictest), start, options, Words(**table.get("source", {"zh": "", "en": ""})))


def _bits(mask: int) -> list[int]:
    """The purposes in a mask; [0], which is `unknown`, for none."""
    return [bit for bit in PURPOSES.values() if mask & bit] or [0]


def _mask(words: list[str]) -> int:
    mask = 0
    for word in words:
        mask |= PURPOSES[word]
    return mask


def digest_of(content: object) -> str:
    """The first 16 hex digits of the SHA-256 of a content."""
    return sha256(canonical(content).encode()).hexdigest()[:16]
