"""How much an institution may ask in a day about whom it may reach, and the alarm when it asks for more, or
tries numbers out.

`judge` and `scrub` tell whether a subscriber has refused; asked for number after number they would list who
has (domain.md "Privacy"). Days are those of Asia/Shanghai. It knows no HTTP.
"""

import bisect
import datetime
import itertools
import json
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
FEWEST, NEAR = 50, 10
"""Subscribers from which on a list is looked at, and the distance of two that look counted up."""
MOST_REMEMBERED = 20_000
"""Of one caller; then counting begins anew. 160 KiB."""


async def use(c: "Connection", actor: Actor, kind: str, count: int, most: int) -> None:
    """Take `count` out of the day's quota of the actor's institution; others have none.

    Problem `quota_used` when it is more than what is left; then nothing was taken.
    """
    if not actor.institution:
        return
    now = datetime.datetime.now(SHANGHAI)
    taken = await c.fetchval(
        """INSERT INTO quota_uses (day, institution_id, kind, used)
           SELECT $1::date, $2::bigint, $3::text, $4::bigint WHERE $4 <= $5::bigint
           ON CONFLICT (day, institution_id, kind) DO UPDATE SET used = quota_uses.used + $4
            WHERE quota_uses.used + $4 <= $5
           RETURNING used""",
        now.date(),
        actor.institution,
        kind,
        count,
        most,
    )
    if taken is None:
        tomorrow = datetime.datetime.combine(
            now.date() + datetime.timedelta(days=1), datetime.time(), SHANGHAI
        )
        raise Problem(
            "quota_used",
            Words(f"当日配额 {most} 已用完", f"the day's quota of {most} is used"),
            expected=Words("次日零点起", "from midnight in Shanghai on"),
            facts={"retry_after": int((tomorrow - now).total_seconds()) + 1, "quota": most},
        )


def counted_up(subscribers: Sequence[str]) -> bool:
    """Whether a list looks made up by counting: at least `FEWEST`, more than half of them near the next."""
    digits = {subscriber.removeprefix("+") for subscriber in subscribers}
    numbers = sorted(int(number) for number in digits if number.isdecimal())
    near = sum(after - before <= NEAR for before, after in itertools.pairwise(numbers))
    return len(numbers) >= FEWEST and near > len(numbers) // 2


class _Trail:
    """Numbers in order, each once, and how many of them are near the next."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.near = 0

    def add(self, number: int) -> None:
        numbers = self.numbers
        if len(numbers) == MOST_REMEMBERED:
            del numbers[:]
            self.near = 0
        place = bisect.bisect_left(numbers, number)
        before = number - numbers[place - 1] if place else NEAR + 1
        after = numbers[place] - number if place < len(numbers) else NEAR + 1
        if after:
            joined = 0 < place < len(numbers) and before + after <= NEAR
            self.near += (before <= NEAR) + (after <= NEAR) - joined
            numbers.insert(place, number)


class Asked:
    """Whom each caller asked about on one day of Asia/Shanghai: who asks one by one, in whatever order, is
    seen as who hands in a list. An institution is one caller, by whichever of its users.

    In memory alone: a table of whom a bank asks about would be one of its debtors.
    """

    def __init__(self) -> None:
        self._day: datetime.date | None = None
        self._trails: dict[tuple[int, int], _Trail] = {}

    def counted_up(self, actor: Actor, subscribers: Iterable[str], day: datetime.date) -> int:
        """How many subscribers the caller has asked about on this `day`, when they look made up by counting:
        at least `FEWEST`, more than half of them near the next; else 0."""
        if day != self._day:
            self._day = day
            self._trails = {}
        caller = (actor.institution, 0 if actor.institution else actor.user)
        trail = self._trails.setdefault(caller, _Trail())
        for subscriber in subscribers:
            if (digits := subscriber.removeprefix("+")).isdecimal():
                trail.add(int(digits))
        count = len(trail.numbers)
        return count if count >= FEWEST and trail.near > count // 2 else 0


async def alarm(c: "Connection", actor: Actor, kind: str, **detail: int | str) -> bool:
    """Tell the regulators, once an hour for one user and kind; whether they are told now. `c` is the owner's
    connection: it stays, even when the request that raised it comes to nothing."""
    said = await c.execute(
        """INSERT INTO alarms (kind, institution_id, user_id, detail)
           SELECT $1::text, $2::bigint, $3::bigint, $4::text::jsonb
            WHERE NOT EXISTS (
                SELECT FROM alarms WHERE kind = $1 AND user_id = $3 AND at > now() - interval '1 hour')""",
        kind,
        actor.institution or None,
        actor.user,
        json.dumps(detail),
    )
    return str(said) == "INSERT 0 1"
