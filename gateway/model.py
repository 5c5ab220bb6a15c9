"""The values that everything else speaks of: attempts, verdicts, and what the registry says.

Rules of this file: plain values only, no behaviour beyond what follows from the value itself. It knows
no clock, socket, database or protocol. Instants are integer milliseconds since the epoch, UTC; telephone
numbers are canonical text (domain.md "Telephone numbers"); sets of channels and purposes are bit masks,
because the relay tests them for each message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

FOREVER = 2**62
"""The end of a span that has none, in milliseconds."""

SMS, VOICE = 1, 2
"""Channels, as bits."""

MARKETING, COLLECTION, SERVICE = 1, 2, 4
"""Purposes, as bits; 0 is `unknown`."""

PROTOCOLS = ("cmpp", "sgip", "smgp", "smpp", "sip", "http")
"""What an access account may speak."""

CHANNELS = {"sms": SMS, "voice": VOICE}
PURPOSES = {"marketing": MARKETING, "collection": COLLECTION, "service": SERVICE}


def names_of(mask: int, names: dict[str, int]) -> tuple[str, ...]:
    """The words of a bit mask, in the order of `names`."""
    return tuple(name for name, bit in names.items() if mask & bit)


class Reason(StrEnum):
    """Why an attempt is refused: domain.md "Order of rules, and reasons", in that order.

    A value here is stable for ever: it is a column, a metric label and a row of each protocol's table.
    """

    MALFORMED = "malformed"
    NOT_JUDGEABLE = "not_judgeable"
    BLACKLISTED = "blacklisted"
    UNREGISTERED = "unregistered"
    INSTITUTION_BARRED = "institution_barred"
    MANDATE_MISSING = "mandate_missing"
    NOT_EFFECTIVE = "not_effective"
    ACCOUNT_MISMATCH = "account_mismatch"
    PURPOSE_MISMATCH = "purpose_mismatch"
    REFUSED_BY_SUBSCRIBER = "refused_by_subscriber"
    CONSENT_MISSING = "consent_missing"
    THIRD_PARTY = "third_party"
    NO_REPLY_PATH = "no_reply_path"
    QUIET_HOURS = "quiet_hours"
    OVER_FREQUENCY = "over_frequency"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_MISMATCH = "signature_mismatch"
    OPTOUT_HINT_MISSING = "optout_hint_missing"
    FORBIDDEN_CONTENT = "forbidden_content"
    MASS_REFUSED = "mass_refused"


class AccountKey(NamedTuple):
    """A login on the wire; for voice `account` is the trunk's address."""

    carrier: str
    protocol: str
    account: str


class Span(NamedTuple):
    """From `start` (inclusive) until `end` (exclusive), in milliseconds."""

    start: int = 0
    end: int = FOREVER

    def holds(self, now: int) -> bool:
        return self.start <= now < self.end


ALWAYS = Span()


class Hold(NamedTuple):
    """One cause that suspends what it stands on (domain.md "hold"); several may stand at once."""

    cause: str
    span: Span


@dataclass(frozen=True, slots=True)
class Account:
    """An access account: who logs in, and how it is judged and answered."""

    id: int
    key: AccountKey
    holder: int  # institution id
    scope: str = "financial"  # financial | authority | other
    refusal_manner: str = "result"  # result | report
    mass_manner: str = "whole"  # whole | reduce
    signature: str = "in_text"  # in_text | by_carrier
    line_kind: str = "human"  # human | robot
    upstream: tuple[str, ...] = ()  # "host:port", tried in order; empty: the listener's
    listener: str = ""
    callback: str = ""
    allowed_ips: tuple[str, ...] = ()  # addresses or networks; empty: any
    max_connections: int = 0  # 0: no limit
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Institution:
    """A holder of numbers or accounts: financial institution, agency, provider, authority or other."""

    id: int
    code: str
    name: str
    kind: str  # bank, consumer_finance, micro_lender, insurer, broker, agency, provider, authority, other
    scope: int = 0  # purposes that the licence allows, as bits
    licence: Span = ALWAYS
    verified: Span = ALWAYS
    status: str = "active"  # active | closed
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Mandate:
    """An institution's letter of entrustment to an agency."""

    id: int
    institution: int
    agency: int
    channels: int
    purposes: int
    span: Span = ALWAYS
    document: str = ""  # SHA-256, hex
    status: str = "active"  # active | revoked


@dataclass(frozen=True, slots=True)
class Number:
    """A registered number, approved at some time (drafts never reach a node)."""

    id: int
    number: str
    extension_digits: int
    channels: int
    purposes: int
    institution: int
    agency: int = 0  # 0: used by the institution itself
    signatures: tuple[str, ...] = ()
    carrier: str = ""
    status: str = "approved"  # approved | revoked | withdrawn
    span: Span = ALWAYS
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Ban:
    """A blacklist entry."""

    id: int
    number: str
    is_prefix: bool
    reason: str
    case_reference: str


class AccountNumber(NamedTuple):
    """A number or prefix that an account may show."""

    number: str
    is_prefix: bool
    span: Span


class Refusal(NamedTuple):
    """A subscriber's "no": to an institution (0: to all), or to a `number` that nobody has filed yet.

    One that covers no purpose is his "accept again": it ends the older ones to its institution and to its
    number, where the reply was sent to.
    """

    institution: int
    number: str
    purposes: int
    channels: int
    at: int
    undecided_until: int = 0  # while it lies ahead, a person may still decide that it was none
    events: tuple[bytes, ...] | None = None  # of an "accept again": which replies it is, and ended

    def stands(self, said: "Sequence[Refusal]", institution: int) -> bool:
        """Whether the subscriber has not accepted again since, among all that he `said`, as far as this
        institution goes. What was said to all institutions no answer to one of them ends."""
        if not self.institution and not self.number:
            return True
        return not any(
            not one.purposes
            and one.at > self.at
            and (one.institution == institution or (not self.institution and one.number == self.number))
            for one in said
        )


class Recipient(NamedTuple):
    """Whom an institution may ask for its money: debtor or guarantor, or stranger, who said to be neither."""

    role: str
    span: Span


@dataclass(init=False, slots=True)
class Attempt:
    """One SMS to one recipient, or one call: what is judged.

    `flaw` names what could not be read ("source", "destination", "text", "schedule"); the field itself
    is then empty. "binary": there is no text, but octets for a device.
    `deliver_at` is the scheduled time, 0 for at once. `unfinished`: the text's end has not come yet.
    """

    account: AccountKey
    channel: int
    source: str
    destination: str
    text: str
    flaw: str
    deliver_at: int
    unfinished: bool

    def __init__(
        self,
        account: AccountKey,
        channel: int,
        source: str,
        destination: str,
        text: str = "",
        flaw: str = "",
        deliver_at: int = 0,
        unfinished: bool = False,
    ) -> None:
        # written out, because one is made for each message: compiled it takes a tenth of a generated one
        self.account = account
        self.channel = channel
        self.source = source
        self.destination = destination
        self.text = text
        self.flaw = flaw
        self.deliver_at = deliver_at
        self.unfinished = unfinished


class Finding(NamedTuple):
    """One rule that would have refused; only an enforced one does."""

    reason: Reason
    sub: str
    enforced: bool


class Limit(NamedTuple):
    """At most `most` attempts within any `window` ms; `word` names the window."""

    word: str
    window: int
    most: int


class Count(NamedTuple):
    """What an attempt for `purpose` (a bit) adds to: the attempts for it that this subscriber had of this
    institution on these channels (bits); and how many there may be."""

    purpose: int
    limits: tuple[Limit, ...]
    channels: int


class Caps(NamedTuple):
    """What a sender's attempts are counted under; `enforced` unless it is only watched."""

    enforced: bool
    counts: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Pass (reason is None), or refuse with one reason; `findings` is all that was wrong, in rule order."""

    reason: Reason | None
    sub: str = ""
    findings: tuple[Finding, ...] = ()
    number: str = ""  # the registration (canonical number) that it was judged by; "" if none
    institution: int = 0
    institution_code: str = ""
    agency: int = 0
    agency_code: str = ""
    mandate: int = 0
    purpose: str = "unknown"  # the strictest purpose of the number
    profile: str = ""  # digest of the stricter profile for this number; "": of the one for everybody
    caps: Caps | None = None  # None: it has none

    @property
    def passed(self) -> bool:
        return self.reason is None


HELD = 72 * 3_600_000
"""ms that an ambiguous reply waits for a person, before it is a refusal of marketing (domain.md)."""

REPLY_KINDS = ("refuse", "accept", "wrong_person", "ambiguous", "other")
"""What a subscriber's reply may be understood as (domain.md "A reply (MO) means")."""


@dataclass(slots=True)
class Reply:
    """What a subscriber sent back (MO), and what it was understood as."""

    account: AccountKey
    number: str  # where it was sent to: our number, canonical
    subscriber: str
    text: str
    kind: str = "other"  # one of REPLY_KINDS
    message_id: bytes = b""
    institution: int = 0
    institution_code: str = ""
    flags: tuple[str, ...] = field(default=())
