"""A province's rules as data: which rule is in force, since when, and the numbers that it works with.

Rules of this file: a profile is a TOML text, read by a function that the caller gives; every mistake in it
is a UsageError that names file, line, key, value and what would be right. A value that regulation.md may
change belongs here and not into a rule. It knows no file system and no clock.

    extends = "national"                       # that file first, then this one over it
    [refusal_covers]
    collection = ["collection", "marketing"]   # what a refusal sent to a number filed for collection covers
    [rules.signature_missing]
    mode = { marketing = "enforce", service = "observe" }    # or one word for all purposes
    from = 2026-01-01              # until then one step milder: enforce is observe, observe is off
    [rules.quiet_hours]
    sms = { collection = "08:00-20:00" }   # a rule's own numbers; a table is laid over that of the base
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, NoReturn

from gateway.errors import UsageError
from gateway.model import PROTOCOLS, PURPOSES, Reason, Span
from gateway.policy import hours
from gateway.policy.calendar import MONDAY_TO_FRIDAY, Calendar
from gateway.policy.reply_grammar import SENTENCES
from gateway.policy.reply_words import CLASSES, CODES, SURNAMES, TITLES

OFF, OBSERVE, ENFORCE = 0, 1, 2
MODES = {"off": OFF, "observe": OBSERVE, "enforce": ENFORCE}
"""The modes by rising strictness; a number with several purposes gets the strictest."""

UNKNOWN_ACCOUNT = ("refuse", "observe", "other")

_HOUR = 3_600_000
SHANGHAI = timezone(timedelta(hours=8))
_MASKS = {**PURPOSES, "unknown": 0}
_POSITIONS = ("first", "last")
MOST_DAYS_AHEAD = 366


@dataclass(frozen=True, slots=True)
class RuleSetting:
    """One rule's mode for each set of purposes (a mask as index), the instant from which it holds in ms,
    and its numbers."""

    modes: tuple[int, ...]
    start: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def mode(self, purposes: int, now: int) -> int:
        """The mode for a number with these purposes: the strictest, and before `start` one step milder."""
        strict = self.modes[purposes]
        return strict if now >= self.start else max(OFF, strict - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """The rules in force on a node, and the two settings of the node that rules look at.

    `digest` names the content of the file, `lexicon_digest` the words and sentences that texts are read by;
    both are the first 16 hex digits of a SHA-256 and stand in every record. `max_age` is in ms. `days` tells
    workdays from others.
    """

    name: str
    rules: Mapping[Reason, RuleSetting]
    refusal_covers: Mapping[int, int]
    digest: str
    lexicon_digest: str
    max_age: int = 72 * _HOUR
    unknown_account: str = "refuse"
    days: Calendar = MONDAY_TO_FRIDAY

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

    def spans(self) -> Iterator[Span]:
        """The periods in which each dated mode holds: judgements change where they begin."""
        return (Span(setting.start) for setting in self.rules.values() if setting.start)


@dataclass(frozen=True, slots=True)
class Option:
    """A number that a rule's table may carry: its default, what is right in words, how it is checked, and
    what rules get of it."""

    default: Any
    right: str
    check: Callable[[Any], bool]
    make: Callable[[Any], Any] = lambda value: value


OPTIONS: Mapping[Reason, Mapping[str, Option]] = {
    Reason.SIGNATURE_MISSING: {
        "positions": Option(
            default=["first"],
            right='a list of "first" and "last"',
            check=lambda value: (
                isinstance(value, list) and bool(value) and all(p in _POSITIONS for p in value)
            ),
        )
    },
    Reason.THIRD_PARTY: {
        "agencies_need_list": Option(
            default=False, right="true or false", check=lambda value: isinstance(value, bool)
        )
    },
    Reason.NO_REPLY_PATH: {
        "exempt": Option(
            default=[],
            right=f"a list of {', '.join(PROTOCOLS)}",
            check=lambda value: isinstance(value, list) and all(one in PROTOCOLS for one in value),
        )
    },
    Reason.QUIET_HOURS: {
        "sms": Option(default={}, right=hours.RIGHT, check=hours.is_table, make=hours.hours_of),
        "voice": Option(default={}, right=hours.RIGHT, check=hours.is_table, make=hours.hours_of),
        "most_days_ahead": Option(
            default=7,
            right="a whole number of days from 0 to 366",
            check=lambda value: type(value) is int and 0 <= value <= MOST_DAYS_AHEAD,
        ),
    },
}
"""The numbers that may stand in `[rules.X]` beside mode and from. A rule with a new one adds a row."""


def parse_profile(read: Callable[[str], str], name: str) -> Profile:
    """The profile `name`, with all that it extends; `read(name)` gives the TOML text of a name or path.

    Raises UsageError.
    """
    merged = _merged(read, name, ())
    covers = {bit: 0 for bit in _MASKS.values()}
    covers.update({_MASKS[word]: _mask(words) for word, words in merged["refusal_covers"].items()})
    return Profile(
        name=name,
        rules={Reason(word): _setting(Reason(word), table) for word, table in merged["rules"].items()},
        refusal_covers=covers,
        digest=_digest(merged),
        lexicon_digest=_digest([CODES, CLASSES, sorted(SURNAMES), TITLES, SENTENCES]),
    )


def _merged(read: Callable[[str], str], name: str, through: tuple[str, ...]) -> dict[str, Any]:
    """The checked tables of `name` laid over those it extends, as plain values."""
    if name in through:
        raise UsageError(f"profile {name}: extends itself through {' → '.join((*through, name))}")
    text = read(name)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"profile {name}: not TOML: {error}") from error
    _Checker(name, text).check(tables)
    base: dict[str, Any] = {"refusal_covers": {}, "rules": {}}
    if "extends" in tables:
        base = _merged(read, tables["extends"], (*through, name))
    base["refusal_covers"].update(tables.get("refusal_covers", {}))
    for word, table in tables.get("rules", {}).items():
        rule = base["rules"].setdefault(word, {})
        if "mode" in table:
            rule.pop("from", None)  # a date belongs to the mode that it was written beside
        for key, value in table.items():
            before = rule.get(key)
            if key == "from":
                rule[key] = value.isoformat()
            elif key != "mode" and isinstance(value, dict) and isinstance(before, dict):
                rule[key] = before | value
            else:
                rule[key] = value
    return base


def _setting(reason: Reason, table: Mapping[str, Any]) -> RuleSetting:
    written = table.get("mode", "off")
    by_bit = {
        bit: MODES[written if isinstance(written, str) else written.get(word, "off")]
        for word, bit in _MASKS.items()
    }
    strictest = (max(by_bit[bit] for bit in _bits(mask)) for mask in range(sum(PURPOSES.values()) + 1))
    start = 0
    if "from" in table:
        midnight = datetime.combine(date.fromisoformat(table["from"]), datetime.min.time(), SHANGHAI)
        start = int(midnight.timestamp()) * 1000
    known = OPTIONS.get(reason, {})
    options = {key: known[key].make(value) for key, value in table.items() if key in known}
    return RuleSetting(tuple(strictest), start, options)


def _bits(mask: int) -> list[int]:
    """The purposes in a mask; [0], which is `unknown`, for none."""
    return [bit for bit in PURPOSES.values() if mask & bit] or [0]


def _mask(words: list[str]) -> int:
    mask = 0
    for word in words:
        mask |= PURPOSES[word]
    return mask


def _digest(content: object) -> str:
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()[:16]


class _Checker:
    """Checks one file's tables; knows the text only to name the line of what is wrong."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def check(self, tables: Mapping[str, Any]) -> None:
        known = ("extends", "title", "refusal_covers", "rules")
        for key, value in tables.items():
            if key not in known:
                self.wrong((), key, value, f"one of {', '.join(known)}")
        for key in ("extends", "title"):
            if not isinstance(tables.get(key, ""), str):
                self.wrong((), key, tables[key], "a string")
        for key in ("refusal_covers", "rules"):
            if not isinstance(tables.get(key, {}), dict):
                self.wrong((), key, tables[key], "a table")
        for key, value in tables.get("refusal_covers", {}).items():
            self.covers(key, value)
        for key, value in tables.get("rules", {}).items():
            self.rule(key, value)

    def covers(self, key: str, value: Any) -> None:
        if key not in _MASKS:
            self.wrong(("refusal_covers",), key, value, f"one of {', '.join(_MASKS)}")
        if not isinstance(value, list) or any(word not in PURPOSES for word in value):
            self.wrong(("refusal_covers",), key, value, f"a list of {', '.join(PURPOSES)}")

    def rule(self, word: str, table: Any) -> None:
        if word not in list(Reason):
            self.wrong(("rules", word), word, table, f"a rule: one of {', '.join(Reason)}")
        if not isinstance(table, dict):
            self.wrong(("rules",), word, table, 'a table with mode = "off", "observe" or "enforce"')
        options = OPTIONS.get(Reason(word), {})
        for key, value in table.items():
            if key == "mode":
                self.mode(word, value)
            elif key == "from":
                if type(value) is not date:
                    self.wrong(("rules", word), key, value, "a date such as 2026-01-01, without quotes")
            elif key not in options:
                self.wrong(("rules", word), key, value, f"one of {', '.join(('mode', 'from', *options))}")
            elif not options[key].check(value):
                self.wrong(("rules", word), key, value, options[key].right)

    def mode(self, word: str, value: Any) -> None:
        modes = {"": value} if isinstance(value, str) else value
        if not isinstance(modes, dict) or any(mode not in MODES for mode in modes.values()):
            self.wrong(("rules", word), "mode", value, f"one of {', '.join(MODES)}, or one for each purpose")
        if isinstance(value, dict) and any(purpose not in _MASKS for purpose in value):
            self.wrong(("rules", word), "mode", value, f"a table whose keys are of {', '.join(_MASKS)}")

    def wrong(self, tables: tuple[str, ...], key: str, value: Any, right: str) -> NoReturn:
        place = ".".join((*tables, key)) if not tables or tables[-1] != key else ".".join(tables)
        shown = json.dumps(value, ensure_ascii=False, default=str)
        raise UsageError(
            f"profile {self.name}, line {self.line(tables, key)}: {place} = {shown}; right would be {right}"
        )

    def line(self, tables: tuple[str, ...], key: str) -> int:
        """Where the key stands, from 1: below its table's header, else the header itself."""
        header = re.compile(r"\s*\[\s*" + r"\s*\.\s*".join(map(re.escape, tables)) + r"\s*\]")
        begin = next((n for n, line in enumerate(self.lines) if tables and header.match(line)), 0)
        written = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
        return next((n for n in range(begin, len(self.lines)) if written.match(self.lines[n])), begin) + 1
