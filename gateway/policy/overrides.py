"""Stricter rules for one institution, or one number, than its province has.

Rules of this file: whatever an override says, what comes out is nowhere laxer than what holds for everybody:
of two modes the stricter one, of two hours those that both allow, of two numbers the smaller one. So an
override stays one when the province's profile changes under it. Pure.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.errors import Words
from gateway.model import Reason
from gateway.policy.hours import Hours
from gateway.policy.profile import MASKS, MODES, OPTIONS, Profile, RuleSetting, digest_of

NOTHING = RuleSetting((0,) * 8)


class Laxer(NamedTuple):
    """A value of an override that is not stricter than what holds for everybody, and what would be right."""

    tables: tuple[str, ...]
    key: str
    value: Any
    right: Words


def tightened(base: Profile, over: Profile) -> Profile:
    """`base` where `over` is not stricter, else `over`."""
    rules = dict(base.rules)
    for reason, stricter in over.rules.items():
        mine = base.rules.get(reason, NOTHING)
        options = dict(mine.options)
        for key, value in stricter.options.items():
            tighten = OPTIONS[reason][key].tighten
            if tighten is not None:
                options[key] = tighten(base.option(reason, key), value)
        floor = tuple(map(max, mine.floor or NOTHING.modes, stricter.modes))
        rules[reason] = replace(mine, floor=floor, options=options)
    name, digest = f"{base.name}+{over.name}", digest_of([base.digest, over.digest])
    return replace(base, name=name, rules=rules, digest=digest, stricter=None)


def laxer(base: Profile, over: Profile) -> Iterator[Laxer]:
    """What an override must not say."""
    covers = over.content["refusal_covers"]
    if covers and covers != base.content["refusal_covers"]:
        right = Words("不写：对所有机构相同", "nothing: it is the same for everybody")
        yield Laxer((), "refusal_covers", covers, right)
    for word, table in over.content["rules"].items():
        reason, place = Reason(word), ("rules", word)
        for key, value in table.items():
            if key == "from":
                right = Words("不写：启用时说明起始时间", "nothing: its activation says from when")
                yield Laxer(place, key, value, right)
            elif key == "mode":
                yield from _modes(base, reason, value)
            elif key != "source" and not _is_stricter(base, over, reason, key):
                held = base.content["rules"].get(word, {}).get(key, OPTIONS[reason][key].default)
                said = json.dumps(held, ensure_ascii=False)
                yield Laxer(place, key, value, Words(f"不宽于 {said}", f"nothing laxer than {said}"))


def _modes(base: Profile, reason: Reason, written: Any) -> Iterator[Laxer]:
    held = base.rules.get(reason, NOTHING).modes
    words = {mode: word for word, mode in MODES.items()}
    for purpose, mask in MASKS.items():
        mode = written if isinstance(written, str) else written.get(purpose)
        if mode is not None and MODES[mode] < held[mask]:
            least = words[held[mask]]
            right = Words(f"{purpose} 至少 {least}", f"at least {least} for {purpose}")
            yield Laxer(("rules", reason.value), "mode", written, right)
            return


def _is_stricter(base: Profile, over: Profile, reason: Reason, key: str) -> bool:
    tighten = OPTIONS[reason][key].tighten
    if tighten is None:
        return False
    wanted = over.option(reason, key)
    both = tighten(base.option(reason, key), wanted)
    if isinstance(wanted, Mapping):
        return all(_is_kept(both[purpose], value) for purpose, value in wanted.items())
    return bool(both == wanted)


def _is_kept(both: Any, wanted: Any) -> bool:
    """Whether the stricter of both says what is wanted; of windows that caps leave out it may say more."""
    if isinstance(wanted, Hours):
        return bool(both == wanted)
    return all(limit in both for limit in wanted)


class Overrides:
    """Called with the profile that holds for everybody, an institution and a number: what holds for those."""

    def __init__(self, by_institution: Mapping[int, Profile], by_number: Mapping[str, Profile]) -> None:
        self._by_institution = by_institution
        self._by_number = by_number
        self._made: dict[tuple[int, str], Profile] = {}

    def __call__(self, base: Profile, institution: int, number: str) -> Profile:
        key = institution if institution in self._by_institution else 0, number
        if number not in self._by_number:
            key = key[0], ""
        if key == (0, ""):
            return base
        found = self._made.get(key)
        if found is None:
            found = base
            for over in (self._by_institution.get(key[0]), self._by_number.get(key[1])):
                if over is not None:
                    found = tightened(found, over)
            self._made[key] = found
        same = found.unknown_account == base.unknown_account
        return found if same else replace(found, unknown_account=base.unknown_account)
