"""`zhengming replay`: what another profile would have refused, out of real records.

Each recorded attempt is judged again, by that profile and by the registry as of the version that its record
names. What no registry keeps is taken as recorded: whether its subscriber had had too many, and whether the
sender could receive a reply; a refusal counts as well that the node had heard and the registry had not yet.
Nothing is written. It takes some ms for each attempt.
"""

import argparse
import asyncio
import json
from collections import Counter, defaultdict

from tqdm import tqdm

from gateway import app, handed
from gateway.commands import common, evidence, looking
from gateway.commands.working import plain
from gateway.config import Config
from gateway.errors import UsageError
from gateway.evidence import half_read
from gateway.evidence import record as rec
from gateway.evidence.between import Wanted
from gateway.evidence.found import Found
from gateway.model import AccountKey, Attempt, Reason
from gateway.policy.judge import COUNTED, Explanation, explain
from gateway.policy.profile import Profile
from gateway.protocols.text import decode
from gateway.registry import past
from gateway.registry.keys import load_key

AS_RECORDED = frozenset({Reason.OVER_FREQUENCY.value, Reason.NO_REPLY_PATH.value})
EXAMPLES = 5
"""Ids that are named of each change."""
PASS = "pass"


class Tally:
    """What became of the attempts: how many of (was, would be), and some of their ids."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.unreadable = 0

    def add(self, was: str, would: str, identity: bytes) -> None:
        self.counts[was, would] += 1
        if was != would and len(self.examples[was, would]) < EXAMPLES:
            self.examples[was, would].append(identity.hex())

    def said(self, profile: Profile) -> dict[str, object]:
        """For JSON."""
        changes = [
            {"was": was, "would": would, "count": count, "examples": self.examples[was, would]}
            for (was, would), count in self.counts.most_common()
            if was != would
        ]
        return {
            "profile": {"name": profile.name, "digest": profile.digest},
            "attempts": self.counts.total(),
            "refused": sum(count for (was, _), count in self.counts.items() if was != PASS),
            "would_refuse": sum(count for (_, would), count in self.counts.items() if would != PASS),
            "unreadable": self.unreadable,
            "changes": changes,
        }


def replay(options: argparse.Namespace) -> int:
    loaded = common.load(options)
    other = loaded.policy.model_copy(update={"profile": options.profile})
    profile = handed.profile_of(loaded.model_copy(update={"policy": other}))
    now = evidence.now()
    since, until = common.instant("--since", options.since, 0), common.instant("--until", options.until, now)
    if until <= since:
        raise UsageError(
            f"--until {options.until!r}: not after --since {options.since!r}; right would be a later time"
        )
    evidence.journal_of(loaded)
    wanted = Wanted(since=since, until=until, newest=False, texts=True)
    with common.database(loaded) as dsn:
        tally = asyncio.run(_replay(loaded, dsn, wanted, profile, here=options.here))
    said = tally.said(profile)
    if options.json:
        print(json.dumps(said, ensure_ascii=False))
        return 0
    print(
        f"{profile.name} {profile.digest}: of {said['attempts']} attempts it would refuse"
        f" {said['would_refuse']}; {said['refused']} were refused"
    )
    for (was, would), count in tally.counts.most_common():
        if was != would:
            print(f"  {count}  {was} → {would}  ({', '.join(tally.examples[was, would])})")
    if tally.unreadable:
        print(f"not replayed, as their key is gone or their text can't be opened: {tally.unreadable}")
    return 0


async def _replay(loaded: Config, dsn: str, wanted: Wanted, profile: Profile, *, here: bool) -> Tally:
    tally, key = Tally(), load_key(app.registry_key(loaded))
    with tqdm(desc=f"replay → {profile.name}", disable=None, unit_scale=True) as bar:
        async with plain(dsn) as c:
            newest = await past.newest(c)
            async for page in looking.pages(loaded, wanted, here=here):
                for one in page:
                    record = one.found.record
                    if not isinstance(record, rec.Attempt) or half_read.continues(record):
                        continue
                    bar.update(1)
                    attempt = attempt_of(one.found, record)
                    if attempt is None:
                        tally.unreadable += 1
                        continue
                    known = record.registry_version <= newest  # a replica may count some ahead of it
                    instant = past.Instant(record.at, record.registry_version if known else 0)
                    view = await past.view_at(c, key, attempt, instant)
                    said = explain(attempt, view, profile, record.at, asked=record.at)
                    was = record.judged.reason or PASS
                    tally.add(was, verdict_of(said, record) or PASS, record.id)
    return tally


def attempt_of(found: Found, record: rec.Attempt) -> Attempt | None:
    """What was judged; None where its seal can't be opened."""
    if found.content is None:
        return None
    judged = record.judged
    text, note = decode(found.content.octets, record.fmt, bool(record.udhi), judged.protocol)
    flaws = [sub for reason, sub, _ in judged.findings if reason == Reason.MALFORMED]
    return Attempt(
        AccountKey(judged.carrier, judged.protocol, judged.account),
        judged.channel,
        judged.number,
        found.content.subscriber,
        text,
        flaws[0] if flaws else "",
        record.deliver_at,
        note == "unfinished",
    )


def verdict_of(said: Explanation, record: rec.Attempt) -> str:
    """The first reason that the profile enforces and that holds; "" for none.

    Who was refused along with others of his submit would be again, as far as this goes: no rule says so.
    """
    recorded = {reason for reason, _, _ in record.judged.findings}
    for answer in said.answers:
        reason = answer.reason.value
        wrong = reason in recorded if reason in AS_RECORDED else not answer.holds
        wrong = wrong or (reason == Reason.REFUSED_BY_SUBSCRIBER and reason in recorded)
        if wrong and answer.mode == "enforce" and answer.sub not in COUNTED:
            return reason
    return str(Reason.MASS_REFUSED) if record.judged.reason == Reason.MASS_REFUSED else ""
