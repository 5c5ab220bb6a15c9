"""What a relay needs to know of a PDU, in whatever protocol it came: each protocol's file gives these values.

Texts are octets as they came, cut and trimmed; nothing here is decoded or judged.
"""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import WireError

Instant = tuple[int, int, int, int, int]
"""Month, day, hour, minute, second."""


class Login(NamedTuple):
    """Who asks for which version, and the digest or password that proves it; what the connection is for."""

    account: str
    version: int
    authenticator: bytes
    timestamp: int
    command: int = 0  # of the request, where there are several
    sends: bool = True
    receives: bool = True


@dataclass(init=False, slots=True)
class Submission:
    """What is judged of a SUBMIT. Texts are cut and trimmed octets as they came.

    Of a long message that was joined `content` is all parts in order, b"" for one that has not come; and
    `pk_number` is 0 when it is whole, else how often it was judged.
    """

    source: bytes
    destinations: list[bytes]
    fmt: int
    udhi: bool
    content: bytes | tuple[bytes, ...]
    wants_report: bool
    at_time: bytes
    pk_total: int
    pk_number: int
    pseudo: int  # Dest_terminal_type: 1 when the destinations are pseudo-numbers (3.0)
    reference: int  # of the parts of a long message, where it stands beside the text (SMPP's SAR)

    def __init__(
        self,
        source: bytes,
        destinations: list[bytes],
        fmt: int,
        udhi: bool,
        content: bytes | tuple[bytes, ...],
        wants_report: bool,
        at_time: bytes,
        pk_total: int,
        pk_number: int,
        pseudo: int,
        reference: int = 0,
    ) -> None:
        # written out, because one is made for each message: compiled it takes a tenth of a generated one
        self.source = source
        self.destinations = destinations
        self.fmt = fmt
        self.udhi = udhi
        self.content = content
        self.wants_report = wants_report
        self.at_time = at_time
        self.pk_total = pk_total
        self.pk_number = pk_number
        self.pseudo = pseudo
        self.reference = reference


class Calling(Submission):
    """An INVITE: `content` is its Call-ID in UCS-2; `flaw`: who calls could not be made out; `lender`: the
    number whose line was lent to the call (Diversion), canonical, "" if none; `claims`: other numbers that it
    names; `hop`: marks of these and of where it goes on to, on record as its `reference`, see
    relay.recalled.went_of."""

    __slots__ = ("claims", "flaw", "lender")

    def __init__(
        self,
        caller: str,
        called: str,
        call_id: bytes,
        flaw: str,
        lender: str,
        claims: tuple[str, ...] = (),
        hop: int = 0,
    ) -> None:
        content = call_id.decode("utf-8", "replace").encode("utf-16-be")
        super().__init__(caller.encode(), [called.encode()], 8, False, content, False, b"", 1, 1, 0, hop)
        self.flaw = flaw
        self.lender = lender
        self.claims = claims


UNREAD = Submission(b"", [], 0, False, b"", False, b"", 1, 1, 0)
"""What is recorded of a frame that can't be read."""


class Replaces(WireError):
    """A message that is to take the place of an earlier one, `message_id`, and does not say to whom it goes.
    Who does not know that one treats it as malformed; `submission` has no recipient and no coding."""

    def __init__(self, message_id: bytes, submission: Submission) -> None:
        super().__init__("unknown_recipient", "message_id")
        self.message_id = message_id
        self.submission = submission


class Report(NamedTuple):
    """A status report; `message_id` is that of the SUBMIT_RESP, `stat` verbatim."""

    message_id: bytes
    stat: bytes
    submit_time: bytes
    done_time: bytes
    destination: bytes


class Delivery(NamedTuple):
    """A DELIVER: a reply of a subscriber, or a status report (then `report` is set).

    `pseudo`: `subscriber` is a pseudo-number (CMPP 3.0, Src_terminal_type 1). Of a long reply that was joined
    `content` is all parts in order, b"" for one that has not come; `pk_total`, `pk_number` and `reference`
    tell the parts where that stands beside the text.
    """

    message_id: bytes
    subscriber: bytes
    number: bytes
    fmt: int
    udhi: bool
    content: bytes | tuple[bytes, ...]
    report: Report | None
    pseudo: bool = False
    pk_total: int = 1
    pk_number: int = 1
    reference: int = 0
