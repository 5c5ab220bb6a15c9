"""What a rule is: one function about one reason, with examples that it must refuse and let pass.

Rules of this file: a rule can't be written without examples; they say only how an attempt differs from
the good one of the tests' registry (tests/world.py), and a test runs every one. Whether a rule is in force
is the profile's business, never the function's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.errors import Words
from gateway.model import SMS, VOICE, Attempt, Reason
from gateway.policy.facts import Facts, MessageJudge, View

SenderJudge = Callable[[Facts], bool | str]
"""A rule about a sender alone: True when it holds, False or a sub-code when it is broken."""

Judge = TypeVar("Judge", SenderJudge, MessageJudge)


class Example(NamedTuple):
    """How an attempt, and the registry around it, differ from the good example.

    Keys: fields of Attempt (source, text, …); `account`, `number`, `institution`, `agency`,
    `mandate`, `ban`, `refusal`, `consent`, `recipient`, `account_number`: fields that differ,
    as a dict (None: there is none); `stale`, `unknown_account`; `sent`: how long ago (ms) others were,
    `answered`: of calls, the answers; `unanswered`: those that nobody took.
    """

    channel: int
    changes: Mapping[str, Any]


def sms(**changes: Any) -> Example:
    return Example(SMS, changes)


def call(**changes: Any) -> Example:
    return Example(VOICE, changes)


def always(facts: Facts) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule(Generic[Judge]):
    """A rule as data.

    `when` narrows the senders whose attempts are asked at all; `fact` puts what was looked at into words
    for a person; `everyone` rules also judge senders that the whitelist has no say about.
    """

    reason: Reason
    judge: Judge
    refuses: tuple[Example, ...]
    passes: tuple[Example, ...]
    fact: Callable[[Attempt, Facts, View], Words]
    when: Callable[[Facts], bool]
    everyone: bool

    def asks(self, facts: Facts) -> bool:
        return (self.everyone or facts.whitelisted) and self.when(facts)


def rule(
    reason: Reason,
    *,
    refuses: Iterable[Example],
    passes: Iterable[Example],
    fact: Callable[[Attempt, Facts, View], Words],
    when: Callable[[Facts], bool] = always,
    everyone: bool = False,
) -> Callable[[Judge], Rule[Judge]]:
    """Declares the decorated function as the rule for `reason`; its docstring is the rule in words."""

    def declare(judge: Judge) -> Rule[Judge]:
        return Rule(reason, judge, tuple(refuses), tuple(passes), fact, when, everyone)

    return declare
