"""Which profile a process judges by: the registry's that is in force, else the one of the node's own file.

Rules: of the versions that two persons have activated (migrations 0013) the one that began last holds; it
begins by itself, with the database down too, as all that are to come stand in the replica. A version that
this program can't read stops nothing: the one before it goes on, and `why` says so. One that was activated
for an institution or a number only makes the rules stricter there (policy/overrides.py). The settings of the
node (registry.max_age, registry.unknown_account, its workdays) are laid over whichever holds.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Protocol

from gateway.model import FOREVER
from gateway.policy.overrides import Overrides
from gateway.policy.profile import Profile, profile_of
from gateway.registry.tables import Activation

EVERYBODY = (0, "")
"""Whom an activation is for that names neither institution nor number."""


class Activated(Protocol):
    """Who knows what was activated: a snapshot, or the registry as it was."""

    @property
    def activations(self) -> tuple[Activation, ...]: ...


class InForce:
    """See above; `own` is the profile of the node's file."""

    def __init__(self, own: Profile) -> None:
        self.use(own)

    def use(self, own: Profile) -> None:
        """Another file, or other settings of the node."""
        self.own = self._profile = own
        self._made: dict[int, Profile] = {}
        self._read: Sequence[Activation] | None = None
        self._since, self._until = 0, FOREVER
        self.why = ""

    def at(self, view: Activated, now: int) -> Profile:
        """The profile by which an attempt at `now` (ms) is judged; the same object as long as it is that."""
        found = view.activations
        if found is not self._read or not self._since <= now < self._until:
            self._choose(found, now)
        return self._profile

    def _choose(self, found: Sequence[Activation], now: int) -> None:
        self._read = found
        begun = sorted((one for one in found if one.start <= now), key=_begins, reverse=True)
        self._since = begun[0].start if begun else 0
        self._until = min((one.start for one in found if one.start > now), default=FOREVER)
        self.why = ""
        holding: dict[tuple[int, str], Profile] = {}
        for one in begun:
            subject = one.institution, one.number
            if subject not in holding and (made := self._made.get(one.id) or self._try(one)) is not None:
                holding[subject] = made
        profile = holding.pop(EVERYBODY, self.own)
        if holding:
            overrides = Overrides(
                {institution: over for (institution, number), over in holding.items() if not number},
                {number: over for (_, number), over in holding.items() if number},
            )
            profile = dataclasses.replace(profile, stricter=overrides)
        self._profile = profile

    def _try(self, one: Activation) -> Profile | None:
        try:
            return self._make(one)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self.why = self.why or (
                f"profile {one.name} {one.digest} of the registry can't be read by this version of the"
                f" program, the one before it holds: {error!r}"
            )
            return None

    def _make(self, one: Activation) -> Profile:
        profile = profile_of(one.name, json.loads(one.content))
        if profile.digest != one.digest:
            raise ValueError(f"its content has the digest {profile.digest}")
        own = self.own
        made = self._made[one.id] = dataclasses.replace(
            profile, max_age=own.max_age, unknown_account=own.unknown_account, days=own.days
        )
        return made


def _begins(one: Activation) -> tuple[int, int]:
    return one.start, one.id
