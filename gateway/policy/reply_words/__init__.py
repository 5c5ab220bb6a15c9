"""The words that subscribers' replies are made of, each with what it does in a sentence.

Rules of this package: words only. A new word is written below the sign of its class as `folding.folded`
leaves it (lower case, simplified script, no joiners), a blank inside it as `_`; a word has one class. What
the classes mean together is said in reply_grammar.py. Of two words that begin at the same place the longer
one counts: what must not be taken for the word that it begins with (打款, 别人) is written below X.

| module | words |
|---|---|
| `asking` | codes, what asks by itself for an end or for more, and what stands beside both |
| `sent` | what is sent, what it sells, what is done with it, what may go on |
| `persons` | who is meant, who else is spoken of, whose the number is now |
| `plain` | what makes a sentence of the rest: no, questions, politeness, time, fillers |
| `feeling` | dislike, a no that says not to what, threats |
| `beside` | what only begins like one of these |
"""

from collections.abc import Mapping

from gateway.policy.reply_words import asking, beside, feeling, persons, plain, sent
from gateway.policy.reply_words.persons import SURNAMES, TITLES

__all__ = (
    "BUSY",
    "CLASSES",
    "CODES",
    "FIGURE",
    "GOODS",
    "IF",
    "KINDS_OF_FILLERS",
    "MEANING",
    "NOW",
    "OTHERS",
    "PART_OF_DAY",
    "RELATIVE",
    "RELAYS",
    "SMALL",
    "SURNAMES",
    "TITLES",
    "UNKNOWN",
)

CODES = ("r", "t", "td", "n", "0000", "退订", "退訂", "拒收")
"""Codes that senders print in their hints; a hint counts as usable when it offers one of them."""

UNKNOWN, SMALL, FIGURE = "X", "1", "9"
"""What is in no class: any other word, a number of one digit (05 as well), a longer one."""

BUSY, OTHERS, MEANING, IF = "4", "3", ":", "8"
NOW, PART_OF_DAY, RELATIVE, RELAYS = "τ", "λ", "κ", "π"
GOODS = "Gf"
"""Of the classes, those of what can be bought, borrowed or sent."""

KINDS_OF_FILLERS = "608@#<τλρι"
"""Of the classes, those that say as little as F in most sentences."""

CLASSES: Mapping[str, str] = {
    **asking.CLASSES, **sent.CLASSES, **persons.CLASSES, **plain.CLASSES, **feeling.CLASSES, **beside.CLASSES,
}  # fmt: skip
