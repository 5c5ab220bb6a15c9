"""How far a refusal goes: which channels and purposes its words leave alone.

Rules of this file: it is narrowed only by words that say so plainly; 别再发短信了 says nothing of calls, and
is a refusal of both. Pure.
"""

import re
from collections.abc import Sequence

from gateway.model import COLLECTION, MARKETING, PURPOSES, SERVICE, SMS, VOICE
from gateway.policy.reply_words import KINDS_OF_FILLERS

BOTH_CHANNELS = SMS | VOICE
ALL_PURPOSES = MARKETING | COLLECTION | SERVICE

COVERS = "covers_"
"""Before a purpose: a flag of what may have been a refusal and holds marketing alone until a person decides.
As a refusal it covers this purpose, too (`reply_covers` in the migrations)."""

Clause = tuple[str, str]
"""What a clause says (`says` of a sentence, or unknown) and its shape."""

_TEXTS, _CALLS = re.compile("[tmO]"), re.compile("[yvY]")
_MILD = f"[FpPDa{KINDS_OF_FILLERS}]*"
_TEXTS_GO_ON = re.compile(
    "m|^[FpPDao]*(?:O[Fp]*j[FpP]*Y[^O]*[Mσ]|j[FpP]*O[FpP]*[Mσ][FpPa]*Y)"
    f"|^{_MILD}(?:Y{_MILD}[Mσ]{_MILD}S?|[Mσ]{_MILD}y){_MILD}[Ot]{_MILD}j[FpP]*$|^{_MILD}o{_MILD}W[Fp]*Y[FpP]*$"
)
_CALLS_GO_ON = re.compile(
    "v|^[FpPDao]*(?:Y[Fp]*j[FpP]*O[^Y]*[Mσ]|j[FpP]*Y[FpP]*[Mσ][FpPa]*O)"
    f"|^{_MILD}(?:O{_MILD}[Mσ]{_MILD}S?|[Mσ]{_MILD}t){_MILD}[Yy]{_MILD}j[FpP]*$|^{_MILD}o{_MILD}W[Fp]*O[FpP]*$"
)
"""短信可以电话不要, 可以电话不要短信, 电话不要打了短信可以, 只退订短信."""
_ONLY_CALLS = re.compile("[^WOgte]*[Yy][^WOgte]*")
_ONLY_MARKETING = re.compile("o.*g|g.*o|2|N.*[sς]")


def covered(clauses: Sequence[Clause]) -> tuple[int, int]:
    """The channels and purposes (bits of the model) of the refusal that these clauses are, no wider than
    their words."""
    asking = [shape for what, shape in clauses if what in ("ask", "demand")]
    allowing = [shape for what, shape in clauses if what == "allow"]
    texts_go_on = any(map(_TEXTS_GO_ON.search, asking)) or any(map(_TEXTS.search, allowing))
    calls_go_on = any(map(_CALLS_GO_ON.search, asking)) or any(map(_CALLS.search, allowing))
    if texts_go_on != calls_go_on:
        channels = VOICE if texts_go_on else SMS
    elif asking and all(_ONLY_CALLS.fullmatch(shape) for shape in asking):
        channels = VOICE
    else:
        channels = BOTH_CHANNELS
    marketing = any(what == "keep" for what, _ in clauses) or any(
        _ONLY_MARKETING.search(shape) for shape in asking
    )
    return channels, MARKETING if marketing else ALL_PURPOSES


def covers_beyond(covered: int) -> tuple[str, ...]:
    """The flags of what holds marketing and would cover these purposes (bits) as a refusal."""
    return tuple(COVERS + word for word, bit in PURPOSES.items() if covered & bit & ~MARKETING)
