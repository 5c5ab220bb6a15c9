"""How much an institution may ask in a day about whom it may reach, and the alarm when it asks for more, or
tries numbers out.

`judge` and `scrub` tell whether a subscriber has refused; asked for number after number they would list who
has (domain.md "Privacy"). Days are those of Asia/Shanghai. It knows no HTTP.
"""

import datetime
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
FEWEST, NEAR = 50, 10
"""Subscribers from which on a list is looked at, and the distance of two that look counted up."""


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
    numbers = sorted({int(subscriber.removeprefix("+")) for subscriber in subscribers})
    near = sum(after - before <= NEAR for before, after in itertools.pairwise(numbers))
    return len(numbers) >= FEWEST and near > len(numbers) // 2


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
