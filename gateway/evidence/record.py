"""The records of the evidence log: what each holds, and its one encoding. This format is for ever.

A record is a msgpack array, its members in the order of the class body below, so that each class body is
the format's table. The first two members are the version and the kind; a kind or version that this code
does not know raises `NewerRecord`, never a guess. The encoding is canonical: shortest integers, no floats,
no maps; `decode` refuses octets that `encode` would not have written, so a record has one digest.

| kind | class | is | tied by |
|---|---|---|---|
| 1 | `Attempt` | an SMS to one recipient or a call, and its verdict (or see `half_read.continues`) | `id` |
| 2 | `Outcome` | what the carrier answered to a forwarded attempt | `attempt` |
| 3 | `Report` | what became of it, as the carrier's report said | `attempt`, or its outcome's `message_id` |
| 4 | `Reply` | what a subscriber sent back, and its meaning | `id`; `attempt` is its context |
| 5 | `Act` | a change of the registry | `id` |

**Outcome `unknown`**: an attempt that passed and has no `Outcome`, or one whose `result` is `UNKNOWN`.
Its frame was perhaps never sent, or sent and never answered. A refused attempt has no outcome.

**Ids** are UUIDv7: 48 bits of milliseconds, so ids sort by time and name their day; the rest is unique to
the writing process and counts up.

**Subscribers** appear only as `subscriber` (hash keyed by a child of the day's data key) and inside
`sealed`: AES-256-GCM under the segment's key, nonce = the record's index in its segment (12 octets,
big-endian), associated data = the digest of the segment's header, plain text = msgpack of `Content`.
`digest` is keyed by another child of the data key and covers the content's octets (all parts in order).
When the data key is destroyed all three say nothing more, while verdict, number and times stay readable.
To show that a sealed text is the one that was recorded one hands over these records, their contents and
that day's text key: it opens no other record.

Instants are milliseconds since the epoch, UTC. Pure: no clock, file, key or randomness.
"""

from datetime import date
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from gateway.model import AccountKey, Verdict

VERSION: Final = 1
ATTEMPT: Final = 1
OUTCOME: Final = 2
REPORT: Final = 3
REPLY: Final = 4
ACT: Final = 5

UNKNOWN: Final = -1
"""`Outcome.result` of an attempt whose connection ended before the carrier answered."""

PASS: Final = "pass"
REFUSE: Final = "refuse"

Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
Hash = Annotated[bytes, Meta(min_length=16, max_length=16)]
Sequence: TypeAlias = int | bytes
U64 = 0xFFFF_FFFF_FFFF_FFFF
"""The largest whole number of a record."""
Octets: TypeAlias = bytes | tuple[bytes, ...]

_SHANGHAI = 8 * 3_600_000
_DAY = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


class RecordError(ValueError):
    """The octets are not a record of this format, or not in its one encoding."""


class NewerRecord(RecordError):
    """The record is of a version or kind that this program does not know: read it with a newer one."""


class _Table(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """A class body is a record's table: array members in this order, none left out, none added."""


class Judged(_Table, frozen=True, kw_only=True):
    """What all attempts of one sender with one verdict have in common; embedded in each of them."""

    carrier: str  # tenant
    node: str
    protocol: str  # cmpp, sgip, smgp, smpp, sip, http
    account: str  # login on the wire; voice: trunk address
    channel: int  # model.SMS | model.VOICE
    number: str  # sending number as shown, canonical; "" when it could not be read
    registration: str  # the registered number that it was judged by; "" if none
    institution: str  # code; "" if none
    agency: str  # code; "" if none
    mandate: int  # id of the mandate; 0 if none
    mandate_document: str  # SHA-256 of the mandate's document, hex; "" if none
    purpose: str  # marketing | collection | service | unknown
    verdict: str  # pass | refuse
    reason: str  # model.Reason; "" when passed
    sub: str  # sub-code of the reason
    findings: tuple[tuple[str, str, bool], ...]  # all rules that held: reason, sub-code, enforced
    profile: str  # digest of the profile in force
    lexicon: str  # digest of the lexicon in force


class Attempt(_Table, frozen=True, kw_only=True):
    """One SMS to one recipient (all its parts), or one call."""

    version: Literal[1] = 1
    kind: Literal[1] = 1
    id: Id
    at: int  # when it was judged
    deliver_at: int = 0  # scheduled delivery; 0: at once
    connection: int  # unique on the node
    sequence: Sequence  # of the submit; its 12 octets where it is above U64 (SGIP; a call: sip_proxy.Key)
    recipient: int = 0  # place among the submit's recipients, from 0
    pk_total: int = 1  # parts of the message
    pk_number: int = (
        1  # 0: `octets` is a tuple of all parts, or the wire said 0; else see `half_read.continues`
    )
    reference: int = 0  # concatenation reference; of a call: relay.recalled.went_of
    registry_version: int
    region: str = ""  # city of the subscriber by number, Chinese
    subscriber: Hash
    digest: Hash  # of the content
    fmt: int = 0  # data coding as on the wire
    udhi: int = 0  # 1: content begins with a user data header
    sealed: bytes  # Content
    judged: Judged


class Outcome(_Table, frozen=True, kw_only=True):
    """The carrier's answer to a forwarded attempt (or to one part of it)."""

    version: Literal[1] = 1
    kind: Literal[2] = 2
    attempt: Id
    at: int
    result: int  # the protocol's code; UNKNOWN
    message_id: bytes  # as on the wire; b"" if none; b"own": we answered, and it did not go on (a call's)
    part: int = 0  # pk_number of the part; 0: the attempt as a whole


class Report(_Table, frozen=True, kw_only=True):
    """A status report as the carrier sent it."""

    version: Literal[1] = 1
    kind: Literal[3] = 3
    attempt: Annotated[bytes, Meta(max_length=16)] = b""  # b"": the outcome with this message_id tells
    at: int
    carrier: str
    node: str
    protocol: str
    account: str
    message_id: bytes  # as on the wire
    stat: str  # DELIVRD … verbatim
    submitted: str  # times as the carrier wrote them
    completed: str
    number: str = ""  # our number, canonical; "" when the attempt says it
    part: int = 0
    subscriber: Annotated[bytes, Meta(max_length=16)] = b""  # hash; b"" when the attempt says it
    sealed: bytes = b""  # Content without octets; b"" when the attempt says it


class Reply(_Table, frozen=True, kw_only=True):
    """A subscriber's message (MO), and what it was understood as."""

    version: Literal[1] = 1
    kind: Literal[4] = 4
    id: Id
    at: int
    carrier: str
    node: str
    protocol: str
    account: str
    number: str  # where it was sent to, canonical
    meaning: str  # refuse | accept | wrong_person | ambiguous | other
    institution_id: int  # whose refusal it is; 0: nobody's yet, the number's
    institution: str  # code
    purposes: int  # what the refusal covers, bits of model.PURPOSES; 0: nothing
    channels: int  # bits of model.CHANNELS
    attempt: Annotated[bytes, Meta(max_length=16)] = b""  # last passed attempt, its context; b"": none known
    message_id: bytes
    flags: tuple[str, ...] = ()
    registry_version: int
    fmt: int = 0
    udhi: int = 0
    subscriber: Hash
    digest: Hash
    sealed: bytes


class Act(_Table, frozen=True, kw_only=True):
    """One change of one row of the registry, as this node learnt it."""

    version: Literal[1] = 1
    kind: Literal[5] = 5
    id: Id
    at: int
    node: str
    table: str
    key: str  # business key of the row, with nothing of a subscriber: a number, BANK, BANK/AGENT …
    op: str  # insert | update | delete
    row_version: int
    by: str  # who: `login (person)`, the persons of an import, or door and database role
    case: str = ""  # case reference


class Content(_Table, frozen=True, kw_only=True):
    """The plain text of `sealed`. `octets`: the content as on the wire; a tuple holds parts in order."""

    subscriber: str  # canonical number
    octets: Octets = b""


def _head(members: int, kind: int) -> bytes:
    """The octets that a record of a kind begins with: length of the array, version, kind."""
    array = bytes([0x90 | members]) if members < 16 else b"\xdc" + members.to_bytes(2, "big")
    return array + bytes([VERSION, kind])


Record: TypeAlias = Attempt | Outcome | Report | Reply | Act

_encoder = Encoder()
_tables: dict[int, type[Record]] = {
    ATTEMPT: Attempt,
    OUTCOME: Outcome,
    REPORT: Report,
    REPLY: Reply,
    ACT: Act,
}
_decoders: dict[int, Decoder[Record]] = {kind: Decoder(table) for kind, table in _tables.items()}
_heads = {_head(len(table.__struct_fields__), kind): kind for kind, table in _tables.items()}
_content = Decoder(Content)
_judged = Decoder(Judged)

HEADS: Final[dict[int, bytes]] = {kind: head for head, kind in _heads.items()}
"""What the octets of a record begin with, by kind: for who looks at many."""


def encode(record: Record) -> bytes:
    """The record's octets. Raises UnicodeEncodeError for text with lone surrogates."""
    return _encoder.encode(record)


def kind_of(octets: bytes) -> int:
    """The kind, from the first octets alone. Raises RecordError, NewerRecord."""
    known = _heads.get(octets[:5]) or _heads.get(octets[:3])
    if known is not None:
        return known
    start = 3 if octets[:1] == b"\xdc" else 1
    head = octets[start : start + 2]
    if len(head) < 2 or (start == 1 and not 0x92 <= octets[0] <= 0x9F):
        raise RecordError(f"not a record: begins with {octets[:5].hex()}")
    version, kind = head
    if version != VERSION or kind not in _tables:
        raise NewerRecord(f"record of version {version}, kind {kind}: this program reads version {VERSION}")
    raise RecordError(
        f"kind {kind} has {len(_tables[kind].__struct_fields__)} members, not those of this one"
    )


def decode(octets: bytes) -> Record:
    """The record of these octets: `decode(encode(r)) == r`. Raises RecordError, NewerRecord."""
    decoder = _decoders[kind_of(octets)]
    try:
        record = decoder.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error
    if _encoder.encode(record) != octets:
        raise RecordError("not in canonical encoding")
    return record


def encode_content(subscriber: str, octets: Octets) -> bytes:
    return _encoder.encode((subscriber, octets))


def decode_content(plain: bytes) -> Content:
    """Raises RecordError."""
    try:
        return _content.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error


def judged(
    account: AccountKey,
    node: str,
    channel: int,
    source: str,
    verdict: Verdict,
    *,
    profile: str,
    lexicon: str,
    mandate_document: str = "",
) -> Raw:
    """The encoded `Judged`, to be kept beside a verdict that many attempts share.

    `source` is the number as shown; `profile` and `lexicon` are digests.
    """
    return Raw(
        _encoder.encode(
            Judged(
                carrier=account.carrier,
                node=node,
                protocol=account.protocol,
                account=account.account,
                channel=channel,
                number=source,
                registration=verdict.number,
                institution=verdict.institution_code,
                agency=verdict.agency_code,
                mandate=verdict.mandate,
                mandate_document=mandate_document,
                purpose=verdict.purpose,
                verdict=PASS if verdict.reason is None else REFUSE,
                reason="" if verdict.reason is None else str(verdict.reason),
                sub=verdict.sub,
                findings=tuple((str(f.reason), f.sub, f.enforced) for f in verdict.findings),
                profile=profile,
                lexicon=lexicon,
            )
        )
    )


def decode_judged(octets: bytes) -> Judged:
    """Raises RecordError."""
    try:
        return _judged.decode(octets)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(str(error)) from error


def time_of(identifier: bytes) -> int:
    """The instant inside an id, ms."""
    return int.from_bytes(identifier[:6], "big")


def day_number(at: int) -> int:
    """Days since 1970-01-01 in Asia/Shanghai (which has kept UTC+8 since 1991)."""
    return (at + _SHANGHAI) // _DAY


def day_of(at: int) -> str:
    """The day of an instant in Asia/Shanghai, `2025-11-21`."""
    return date.fromordinal(_EPOCH + day_number(at)).isoformat()


def day_start(at: int) -> int:
    """The instant at which the day of `at` began in Asia/Shanghai, ms."""
    return day_number(at) * _DAY - _SHANGHAI
