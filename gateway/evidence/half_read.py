"""Records as one reads them who reads many: a few members decoded, the rest left as it stands.

What holds for `record` holds here: pure, and a record is what `encode` has written.
"""

import msgspec
from msgspec import Raw, Struct
from msgspec.msgpack import Decoder

from gateway.evidence.record import Attempt, RecordError, Reply


class Glance(Struct, frozen=True, array_like=True):
    """An `Attempt` as one reads it who reads many: `judged` stays as it is. Plain integers cost less to make
    than to leave, at 0.4 µs in all."""

    version: int
    kind: int
    id: bytes
    at: int
    deliver_at: int
    connection: int
    sequence: Raw
    recipient: int
    pk_total: int
    pk_number: int
    reference: int
    registry_version: int
    region: str
    subscriber: bytes
    digest: bytes
    fmt: int
    udhi: int
    sealed: bytes
    judged: Raw


class Following(Struct, frozen=True, array_like=True):
    """The beginning that `Outcome` and `Report` share."""

    version: int
    kind: int
    attempt: bytes
    at: int


class Reported(Struct, frozen=True, array_like=True):
    """A `Report` but for its seal."""

    version: int
    kind: int
    attempt: bytes
    at: int
    carrier: str
    node: str
    protocol: str
    account: str
    message_id: bytes
    stat: Raw
    submitted: Raw
    completed: Raw
    number: Raw
    part: int
    subscriber: bytes


class Numbers(Struct, frozen=True, array_like=True):
    """A `Judged`, up to the numbers that it names."""

    carrier: Raw
    node: Raw
    protocol: Raw
    account: Raw
    channel: int
    number: str
    registration: str


def continues(attempt: Attempt | Glance) -> bool:
    """Whether it is of a long message that is on record, as its sender waits for an answer to each part: it
    counts as no attempt, and outcomes of its parts name the first record. `pk_number` counts the records,
    up to `pk_total`: parts that the carrier did not take come again. In `octets` b"" is a part that had not
    come."""
    return 2 <= attempt.pk_number <= attempt.pk_total


LONG = "long_"
PART, JOINED = f"{LONG}part:", f"{LONG}read:"
"""How the flag of a `Reply` begins that is of a part, or of what the parts of a long reply said together; the
reference that they share follows."""


def is_part(reply: Reply) -> bool:
    """Whether it is of a part of a long reply, which another record says as a whole."""
    return any(flag.startswith(PART) for flag in reply.flags)


_following = Decoder(Following)
_glance = Decoder(Glance)
_numbers = Decoder(Numbers)
_reported = Decoder(Reported)


def glance(octets: bytes) -> Glance:
    """The half-read attempt of octets whose kind is ATTEMPT. Raises RecordError."""
    try:
        return _glance.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error


def numbers(judged: bytes) -> tuple[str, str]:
    """The number shown and the registered one of an attempt's `judged`. Raises RecordError."""
    try:
        read = _numbers.decode(judged)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error
    return read.number, read.registration


def reported(octets: bytes) -> Reported:
    """The half-read report of octets whose kind is REPORT. Raises RecordError."""
    try:
        return _reported.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error


def following(octets: bytes) -> Following:
    """The half-read record of octets whose kind is OUTCOME or REPORT. Raises RecordError."""
    try:
        return _following.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error
