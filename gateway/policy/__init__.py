"""The policy ring: attempts and facts in, verdicts out. Pure: no clock, file, socket, log or database.

Rules of this package: facts.py says what is so, the rule modules what follows from it, profile.py whether
that counts, judge.py puts the three together. It knows nothing of protocols, records or the registry's
storage.
"""

from gateway.policy.facts import Sender, SenderKey, View
from gateway.policy.judge import PARTIAL, Answer, Explanation, counted, decide, explain
from gateway.policy.profile import Profile
from gateway.policy.profile_text import parse_profile

__all__ = [
    "PARTIAL",
    "Answer",
    "Explanation",
    "Profile",
    "Sender",
    "SenderKey",
    "View",
    "counted",
    "decide",
    "explain",
    "parse_profile",
]
