"""From a profile's text to its content: TOML read, each key checked, laid over what it extends.

Rules of this file: every mistake is a ProfileError that names file, line, key, value and what would be right.
A content is plain values (profile.py says what they mean), so it may be kept, compared and sent as JSON. It
knows no file system: `read(name)` is given, and gives the text of a name or path.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from itertools import takewhile
from operator import eq
from typing import Any, NoReturn

from gateway.errors import NO_WORDS, UsageError, Words
from gateway.model import PURPOSES, Reason
from gateway.policy.profile import MASKS, MODES, OPTIONS, Profile, profile_of

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#|$)")
_KEY = re.compile(r"\s*([\w\"'. \t-]+?)\s*=")

LONGEST_SHOWN = 200
"""Characters of a wrong value that are said back."""


class ProfileError(UsageError):
    """A profile's text is wrong; `line` counts from 1 and is 0 where none is to blame, `right` is what would
    be right there."""

    def __init__(self, name: str, line: int, found: Words, right: Words = NO_WORDS) -> None:
        place = f"profile {name}, line {line}" if line else f"profile {name}"
        super().__init__(f"{place}: {found.en}" + (f"; right would be {right.en}" if right.en else ""))
        self.line = line
        self.found = found
        self.right = right


def parse_profile(read: Callable[[str], str], name: str) -> Profile:
    """The profile `name`, with all that it extends; `read(name)` gives the TOML text of a name or path.

    Raises ProfileError.
    """
    return profile_of(name, merged(read, name))


def merged(read: Callable[[str], str], name: str, through: tuple[str, ...] = ()) -> dict[str, Any]:
    """The content of a profile: its checked tables laid over those it extends. Raises ProfileError."""
    text = read(name)
    tables = checked(name, text)
    wanted = tables.get("extends")
    if wanted is None:
        return laid({}, tables)
    if wanted in (*through, name):
        way = " → ".join((*through, name, wanted))
        found = Words(f"经由 {way} 扩展自身", f"extends itself through {way}")
        raise ProfileError(name, line_of_base(text), found)
    try:
        base = merged(read, wanted, (*through, name))
    except ProfileError:
        raise
    except UsageError as error:  # that there is no such one is a mistake of this text
        raise ProfileError(name, line_of_base(text), Words(str(error), str(error))) from error
    return laid(base, tables)


def checked(name: str, text: str) -> dict[str, Any]:
    """The tables of a profile's text. Raises ProfileError."""
    text = text.removeprefix("\ufeff")  # the mark that some editors leave, with which it is no TOML
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"at line (\d+)", str(error))
        right = Words("TOML 文本，如随附的各档案", "TOML, such as the profiles that are shipped")
        found = Words(f"不是 TOML：{error}", f"not TOML: {error}")
        raise ProfileError(name, int(place[1]) if place else 0, found, right) from error
    _Checker(name, text).check(tables)
    return tables


def laid(base: Mapping[str, Any], tables: Mapping[str, Any]) -> dict[str, Any]:
    """Checked tables over the content that they extend ({}: none), as a content."""
    rules = {word: dict(table) for word, table in base.get("rules", {}).items()}
    for word, table in tables.get("rules", {}).items():
        rule = rules.setdefault(word, {})
        if "mode" in table:
            rule.pop("from", None)  # a date belongs to the mode that it was written beside
        for key, value in table.items():
            before = rule.get(key)
            if key == "mode" and isinstance(before, str):
                before = dict.fromkeys(MASKS, before)
            if key == "from":
                rule[key] = value.isoformat()
            elif isinstance(value, dict) and isinstance(before, dict):
                rule[key] = before | value
            else:
                rule[key] = value
    return {
        "refusal_covers": {**base.get("refusal_covers", {}), **tables.get("refusal_covers", {})},
        "rules": rules,
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What one content says otherwise than another: (place, then, now), None where it says nothing."""
    was, now = dict(_leaves(before)), dict(_leaves(after))
    return [
        (place, was.get(place), now.get(place))
        for place in sorted(was.keys() | now.keys())
        if was.get(place) != now.get(place)
    ]


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


def line_of_base(text: str) -> int:
    """The line on which a profile's text says what it extends."""
    return _Checker("", text).line((), "extends")


def mistaken(name: str, text: str, tables: tuple[str, ...], key: str, value: Any, right: Words) -> NoReturn:
    """Raises ProfileError for this value of a profile's text."""
    _Checker(name, text).wrong(tables, key, value, right)


class _Checker:
    """Checks one file's tables; knows the text only to name the line of what is wrong."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def check(self, tables: Mapping[str, Any]) -> None:
        known = ("extends", "title", "refusal_covers", "rules")
        for key, value in tables.items():
            if key not in known:
                self.wrong((), key, value, _one_of(known))
        for key in ("extends", "title"):
            if not isinstance(tables.get(key, ""), str):
                self.wrong((), key, tables[key], Words("字符串", "a string"))
        for key in ("refusal_covers", "rules"):
            if not isinstance(tables.get(key, {}), dict):
                self.wrong((), key, tables[key], Words("一个表", "a table"))
        for key, value in tables.get("refusal_covers", {}).items():
            self.covers(key, value)
        for key, value in tables.get("rules", {}).items():
            self.rule(key, value)

    def covers(self, key: str, value: Any) -> None:
        if key == "source":
            self.source(("refusal_covers",), value)
            return
        if key not in MASKS:
            self.wrong(("refusal_covers",), key, value, _one_of((*MASKS, "source")))
        if not isinstance(value, list) or any(
            not isinstance(word, str) or word not in PURPOSES for word in value
        ):
            words = ", ".join(PURPOSES)
            self.wrong(("refusal_covers",), key, value, Words(f"{words} 的列表", f"a list of {words}"))

    def rule(self, word: str, table: Any) -> None:
        if word not in list(Reason):
            rules = _one_of(Reason)
            self.wrong(("rules", word), word, table, Words(f"规则：{rules.zh}", f"a rule: {rules.en}"))
        if not isinstance(table, dict):
            modes = '= "off", "observe" or "enforce"'
            self.wrong(("rules",), word, table, Words(f"含 mode {modes} 的表", f"a table with mode {modes}"))
        options = OPTIONS.get(Reason(word), {})
        for key, value in table.items():
            if key == "mode":
                self.mode(word, value)
            elif key == "from":
                if type(value) is not date:
                    right = Words(
                        "日期，如 2026-01-01，不加引号", "a date such as 2026-01-01, without quotes"
                    )
                    self.wrong(("rules", word), key, value, right)
            elif key == "source":
                self.source(("rules", word), value)
            elif key not in options:
                self.wrong(("rules", word), key, value, _one_of(("mode", "from", "source", *options)))
            elif not options[key].check(value):
                said = options[key].right
                self.wrong(("rules", word), key, value, Words(said, said))

    def mode(self, word: str, value: Any) -> None:
        modes, known = {"": value} if isinstance(value, str) else value, _one_of(MODES)
        if not isinstance(modes, dict) or any(
            not isinstance(mode, str) or mode not in MODES for mode in modes.values()
        ):
            right = Words(f"{known.zh}，或每种用途各一", f"{known.en}, or one for each purpose")
            self.wrong(("rules", word), "mode", value, right)
        if isinstance(value, dict) and any(purpose not in MASKS for purpose in value):
            keys = ", ".join(MASKS)
            right = Words(f"键为 {keys} 的表", f"a table whose keys are of {keys}")
            self.wrong(("rules", word), "mode", value, right)

    def source(self, tables: tuple[str, ...], value: Any) -> None:
        good = isinstance(value, dict) and value.keys() == {"zh", "en"}
        if not good or not all(isinstance(said, str) and said.strip() for said in value.values()):
            shape = '{ zh = "…", en = "…" }'
            right = Words(f"依据的条款，中英文：{shape}", f"the article in both languages: {shape}")
            self.wrong(tables, "source", value, right)

    def wrong(self, tables: tuple[str, ...], key: str, value: Any, right: Words) -> NoReturn:
        place = ".".join((*tables, key)) if not tables or tables[-1] != key else ".".join(tables)
        found = f"{place} = {json.dumps(value, ensure_ascii=False, default=str)[:LONGEST_SHOWN]}"
        raise ProfileError(self.name, self.line(tables, key), Words(found, found), right)

    def line(self, tables: tuple[str, ...], key: str) -> int:
        """Where the key stands, from 1, however it is written: under its table's header, dotted, or as a
        table of its own; else the line that says most of its place."""
        wanted = tables if tables and tables[-1] == key else (*tables, key)
        most, found = 0, 1
        for number, place in enumerate(_places(self.lines), 1):
            alike = sum(takewhile(bool, map(eq, place, wanted)))
            if alike > most and (alike == len(wanted) or alike == len(place)):
                most, found = alike, number
        return found


def _places(lines: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """For each line of a TOML text the keys down to what it begins; () for one that begins nothing."""
    header: tuple[str, ...] = ()
    for line in lines:
        if begun := _HEADER.match(line):
            header = _keys(begun[1])
            yield header
        else:
            key = _KEY.match(line)
            yield (*header, *_keys(key[1])) if key else ()


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip(" \t\"'") for key in dotted.split("."))


def _one_of(words: Iterable[str]) -> Words:
    known = ", ".join(words)
    return Words(f"以下之一：{known}", f"one of {known}")
