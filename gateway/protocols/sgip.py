"""SGIP 1.2 (China Unicom): what its PDUs mean to a gateway. Their tables are in `sgip_tables`.

Each side is the client of what it sends: a sender's connection carries Submits (LoginType 1), the carrier's
own connection to the sender Delivers and Reports (LoginType 2). There is no heartbeat, and no digest; a
Submit's sequence number is its message id. The relay calls what stands here by names that every protocol
shares, and knows none of it. A peer's mistake is a WireError, and `result_of` says which Result it deserves.
This file knows no socket, clock, registry or rule.
"""

from collections.abc import Sequence
from struct import Struct
from typing import ClassVar

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import sgip_own as own
from gateway.protocols import sgip_tables as wire
from gateway.protocols.framing import cut
from gateway.protocols.message import Delivery, Instant, Login, Report, Submission
from gateway.protocols.sgip_tables import ANSWER, BIND, DELIVER, REPORT, SUBMIT, TRACE, UNBIND, USERRPT
from gateway.protocols.single import Single
from gateway.protocols.table import Frame, Pdu, reader

OK, BAD_LOGIN, LOGIN_TWICE, LOGIN_TYPE, PARAMETER, NUMBER = 0, 1, 2, 4, 5, 6
MESSAGE_ID, MESSAGE_LENGTH, SEQUENCE, BUSY = 7, 8, 9, 11
"""Values of Result in answers (§4.3)."""

V12 = 0x12

REFUSALS: dict[Reason, int] = {
    Reason.MALFORMED: PARAMETER,
    Reason.NOT_JUDGEABLE: PARAMETER,
    Reason.BLACKLISTED: NUMBER,
    Reason.UNREGISTERED: NUMBER,
    Reason.INSTITUTION_BARRED: NUMBER,
    Reason.MANDATE_MISSING: NUMBER,
    Reason.NOT_EFFECTIVE: NUMBER,
    Reason.ACCOUNT_MISMATCH: NUMBER,
    Reason.PURPOSE_MISMATCH: MESSAGE_LENGTH,
    Reason.REFUSED_BY_SUBSCRIBER: NUMBER,
    Reason.CONSENT_MISSING: NUMBER,
    Reason.THIRD_PARTY: NUMBER,
    Reason.NO_REPLY_PATH: PARAMETER,
    Reason.QUIET_HOURS: PARAMETER,
    Reason.OVER_FREQUENCY: PARAMETER,
    Reason.SIGNATURE_MISSING: MESSAGE_LENGTH,
    Reason.SIGNATURE_MISMATCH: MESSAGE_LENGTH,
    Reason.OPTOUT_HINT_MISSING: MESSAGE_LENGTH,
    Reason.FORBIDDEN_CONTENT: MESSAGE_LENGTH,
    Reason.MASS_REFUSED: NUMBER,
}
"""Result of a refused Submit, by the nearest meaning: NUMBER of who may not send or receive, MESSAGE_LENGTH
of what its text says, PARAMETER of all else. None that senders try again by themselves."""

_HEAD = Struct(">IIQI")  # of the sequence the first two words together
_SINGLE = Single(
    wire.Submit,
    0,
    20,
    "sp_number user_number message_coding message_content report_flag schedule_time",
    0b11,
    udhi="tp_udhi",
)
_SUBMISSION = reader(
    wire.Submit,
    "sp_number user_number message_coding tp_udhi&0x41!=0 message_content report_flag<2 schedule_time",
)
_DELIVERY = reader(wire.Deliver, "user_number sp_number message_coding tp_udhi&0x41!=0 message_content")
_ANSWERS: dict[int, type[Pdu]] = {
    BIND: wire.BindResp,
    SUBMIT: wire.SubmitResp,
    DELIVER: wire.DeliverResp,
    REPORT: wire.ReportResp,
    USERRPT: wire.UserRptResp,
}
_REFUSED = {reason: wire.SubmitResp(result=n).encode() for reason, n in REFUSALS.items()}
MOST_USERS = 100  # of a Submit
_COUNT_AT = 20 + wire.Submit.offset("user_count")
_FIRST_OWN, _LAST_OWN = 0xF000_0001, 0xFFFF_FFFF
_STATES = {0: b"DELIVRD", 1: b"ACCEPTD", 2: b"UNDELIV"}


def result_of(error: WireError) -> int:
    """The Result that a malformed request deserves."""
    return MESSAGE_LENGTH if error.cause in ("trailing_bytes", "message_length_exceeds_pdu") else PARAMETER


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    length, command, first, last = _HEAD.unpack_from(data, at)
    return length, command, first << 32 | last


def _framed(command: int, sequence: int, body: bytes) -> bytes:
    return _HEAD.pack(20 + len(body), command, sequence >> 32, sequence & 0xFFFF_FFFF) + body


class Sgip:
    """The protocol on one connection; there is one version."""

    name: ClassVar[str] = "sgip"
    port: ClassVar[int] = 8801
    HEADER: ClassVar[int] = 20
    SUBMIT: ClassVar[int] = SUBMIT
    TERMINATE: ClassVar[int] = UNBIND
    ANSWER: ClassVar[int] = ANSWER
    NACK: ClassVar[int] = 0
    REPLACE: ClassVar[int] = 0
    SEQUENCE_IS_ID: ClassVar[bool] = True
    ENDS: ClassVar[frozenset[str]] = frozenset(
        ("truncated_body", "trailing_bytes", "message_length_exceeds_pdu")
    )
    """What a Submit that can't be read ends its connection for, once it is answered (§3.7.2.4.2)."""
    congestion: ClassVar[int] = 0
    CAP: ClassVar[int] = 8192
    """No longer frame is read; MessageLength could say 4 GiB."""

    SENDER_MAY: ClassVar[dict[int, str]] = {
        BIND: "login",
        UNBIND: "close",
        SUBMIT: "judge",
        TRACE: "pass",
        UNBIND | ANSWER: "pass",
        DELIVER | ANSWER: "pass",
        REPORT | ANSWER: "pass",
        USERRPT | ANSWER: "pass",
    }
    """What a sender may send, and what becomes of it; anything else is refused by `unknown`."""

    CARRIER_SENDS: ClassVar[dict[int, str]] = {
        SUBMIT | ANSWER: "result",
        DELIVER: "delivery",
        REPORT: "delivery",
    }
    """What is read of a carrier's frames; all of them pass."""

    LINK: ClassVar[dict[int, str]] = {
        BIND: "login",
        BIND | ANSWER: "login_answer",
        UNBIND: "close",
        UNBIND | ANSWER: "close_answer",
    }
    """What keeps a link and carries no message; there is no heartbeat."""

    BAD_SOURCE: ClassVar[int] = BAD_LOGIN
    BAD_SECRET: ClassVar[int] = BAD_LOGIN
    BAD_LOGIN: ClassVar[int] = PARAMETER
    VERSION_TOO_HIGH: ClassVar[int] = PARAMETER
    OTHER: ClassVar[int] = BUSY
    LOGIN_TWICE: ClassVar[int] = LOGIN_TWICE
    """Results of Bind_Resp."""

    def __init__(self, version: int = V12) -> None:
        self.version = version
        self.OWN_NUMBERS: tuple[int, int] = (_FIRST_OWN, _LAST_OWN)
        """Of requests that the gateway makes up; see `login`."""

    # Frames

    def frames(self, data: bytes) -> tuple[list[Frame], int]:
        """See `framing.cut`; a sequence number is one integer of 96 bits."""
        return cut(data, 20, self.CAP, 12)

    def decode(self, data: bytes, frame: Frame) -> Pdu:
        """The whole PDU, strictly; WireError if it is not exactly as its table says."""
        start, end, command, _ = frame
        if command not in wire.PDUS:
            raise WireError("unknown_command_id", f"0x{command:08x}")
        return wire.PDUS[command].decode(data, start + 20, end)

    def encode(self, body: Pdu, sequence: int) -> bytes:
        """The frame of a PDU."""
        return _framed(body.command, sequence, body.encode())

    @staticmethod
    def with_sequence(frame: bytes, sequence: int) -> bytes:
        """The same frame under another sequence number."""
        return frame[:8] + sequence.to_bytes(12, "big") + frame[20:]

    # Login and the link

    def login(self, frame: bytes) -> Login:
        """Read a Bind; WireError for another PDU ("login_expected") or one that can't be read.

        From then on requests of our own are numbered like it, as a number is a message id for the carrier:
        its node and time, and a counter in a range that stands for the Bind's own.
        """
        _, command, number = _head(frame, 0)
        if command != BIND:
            raise WireError("login_expected", f"0x{command:08x}")
        asked = wire.Bind.decode(frame, 20, len(frame))
        if not asked.login_name.isascii():
            raise WireError("bad_text", "LoginName")
        first = number >> 32 << 32 | _FIRST_OWN | (number & 0xFFF) << 16
        self.OWN_NUMBERS = (first, first | 0xFFFF)
        account, sends = asked.login_name.decode("ascii"), asked.login_type != 2
        return Login(account, V12, asked.login_password, 0, command, sends, not sends)

    @staticmethod
    def too_high(login: Login) -> bool:
        """There is one version, and a Bind names none."""
        return False

    def login_answer(
        self,
        login: Login | None,
        status: int,
        sequence: int,
        version: int = V12,
        authenticator: bytes = b"",
    ) -> bytes:
        """Bind_Resp; it has neither version nor proof."""
        return self.encode(wire.BindResp(result=status), sequence)

    def login_refused(self, frame: bytes, sequence: int, status: int = BUSY) -> bytes:
        """The answer to the Bind in `frame` that says no, whether it can be read or not."""
        try:
            return self.login_answer(self.login(frame), status, sequence)
        except WireError:
            return self.login_answer(None, PARAMETER, sequence)

    @staticmethod
    def read_login_answer(frame: bytes) -> tuple[int, int]:
        """(Result, version) of a Bind_Resp; some peers leave the last field out."""
        _, command, _ = _head(frame, 0)
        if command != BIND | ANSWER:
            raise WireError("login_answer_expected", f"0x{command:08x}")
        if len(frame) < 21:
            raise WireError("truncated_body", "Result")
        return frame[20], V12

    def terminate(self, sequence: int) -> bytes:
        return self.encode(wire.Unbind(), sequence)

    def terminate_answer(self, sequence: int) -> bytes:
        return self.encode(wire.UnbindResp(), sequence)

    # From sender to carrier

    def submission(self, data: bytes, start: int, end: int) -> Submission:
        """What is judged of the Submit in data[start:end]; zeros behind its last field are padding.
        WireError: answer it with `malformed`, and close the connection if ENDS has its cause."""
        single = _SINGLE.read(data, start, end)
        if single is not None:
            return single
        try:
            read = _SUBMISSION(data, start + 20, end)
        except WireError as error:
            if end - start > _COUNT_AT and not 0 < data[start + _COUNT_AT] <= MOST_USERS:
                raise WireError("bad_count", "UserCount") from error
            left = int(error.detail) if error.cause == "trailing_bytes" else 0
            if not left or any(data[end - left - 8 : end]):
                raise
            read = _SUBMISSION(data, start + 20, end - left)
        source, destinations, fmt, udhi, content, report, when = read
        if not 0 < len(destinations) <= MOST_USERS:
            raise WireError("bad_count", "UserCount")
        return Submission(source, destinations, fmt, udhi, content, report, when, 1, 1, 0)

    def answer(self, command: int, sequence: int, result: int) -> bytes | None:
        """The answer to a request with nothing in it but a Result; None where SGIP has no such answer."""
        table = _ANSWERS.get(command)
        return None if table is None else self.encode(table(result=result), sequence)

    def unknown(self, data: bytes, frame: Frame) -> bytes | None:
        """The answer to what SENDER_MAY does not have; None: nothing can be said, log and count it."""
        _, _, command, sequence = frame
        return self.answer(command, sequence, PARAMETER)

    def malformed(self, command: int, sequence: int, error: WireError) -> bytes | None:
        return self.answer(command, sequence, result_of(error))

    def busy(self, command: int, sequence: int) -> bytes | None:
        """Come again with the same content: Result 11."""
        return self.answer(command, sequence, BUSY)

    def refusal(self, sequence: int, reason: Reason, command: int = SUBMIT) -> bytes:
        return _framed(SUBMIT | ANSWER, sequence, _REFUSED[reason])

    def acceptance(self, sequence: int, message_id: bytes, command: int = SUBMIT) -> bytes:
        """The answer to a Submit; what it is named by is its own number."""
        return self.encode(wire.SubmitResp(result=OK), sequence)

    @staticmethod
    def message_ids(date: Instant, gateway: int, first: int, count: int) -> list[bytes]:
        """What a node of this code would number requests by from a date (month to second) on."""
        month, day, hour, minute, second = date
        time = (((month * 100 + day) * 100 + hour) * 100 + minute) * 100 + second
        numbers = (wire.SequenceNumber(gateway, time, first + more) for more in range(count))
        return [one.number.to_bytes(12, "big") for one in numbers]

    @staticmethod
    def reported_as(message_id: bytes, recipient: int) -> set[bytes]:
        """Under which ids the carrier may report on a Submit of this one."""
        return {message_id}

    def rejected_report(
        self,
        submission: Submission,
        destination_index: int,
        message_id: bytes,
        sequence: int,
        submit_time: str,
        done_time: str,
    ) -> bytes:
        """A Report that one recipient won't get it; SGIP has no word for why, and no times."""
        return self.encode(
            own.rejected_report(submission.destinations[destination_index], message_id), sequence
        )

    def confirmation(
        self, specimen: bytes, account: str, reply: Delivery, content: bytes, sequence: int
    ) -> bytes:
        """A Submit of our own to whom a reply came from; it is like `specimen` in what carriers bill by."""
        return self.encode(own.confirmation(specimen, reply, content), sequence)

    # From carrier to sender

    def result(self, data: bytes, start: int, end: int) -> tuple[int, bytes]:
        """(Result, message id) of the Submit_Resp in data[start:end]: the id is the Submit's own sequence
        number. Some peers leave the last field out."""
        if end - start < 21:
            raise WireError("truncated_body", "Result")
        return data[start + 20], data[start + 8 : start + 20]

    @staticmethod
    def failures(data: bytes, start: int, end: int) -> dict[bytes, int]:
        """For whom of several the answer in data[start:end] says no: one answer is for all of them."""
        return {}

    def delivery(self, data: bytes, start: int, end: int) -> Delivery:
        """What the Deliver or Report in data[start:end] says; some peers leave the last field out, and what
        stands behind a Deliver's is left alone."""
        _, command, _ = _head(data, start)
        if command == REPORT:
            if end - start == 56:
                data, start, end = data[start:end] + bytes(8), 0, 64
            said = wire.Report.decode(data, start + 20, end)
            stat = _STATES.get(said.state, b"UNKNOWN")
            report = Report(said.submit_sequence, stat, b"", b"", said.user_number)
            return Delivery(said.submit_sequence, said.user_number, b"", 0, False, b"", report)
        body = own.whole_deliver(data, start + 20, end)
        subscriber, number, fmt, udhi, content = _DELIVERY(body, 0, len(body))
        return Delivery(data[start + 8 : start + 20], subscriber, number, fmt, udhi, content, None)

    @staticmethod
    def telling(data: bytes, start: int, end: int, reasons: Sequence[Reason | None]) -> None:
        """How an answer says who of several was refused: one answer is for all of them."""

    def delivery_answer(self, sequence: int, message_id: bytes, result: int = OK) -> bytes:
        return self.encode(wire.DeliverResp(result=result), sequence)

    def reduced(self, data: bytes, start: int, end: int, keep: Sequence[int]) -> bytes:
        """The Submit in data[start:end] for the recipients with these indexes only, otherwise unchanged."""
        count_at = start + _COUNT_AT
        first = count_at + 1
        kept = b"".join(data[first + i * 21 : first + (i + 1) * 21] for i in keep)
        rest = data[first + data[count_at] * 21 : end]
        body = data[start + 4 : count_at] + bytes([len(keep)]) + kept + rest
        return (4 + len(body)).to_bytes(4, "big") + body


class SgipCall(Sgip):
    """The same on a connection that a carrier has made, to deliver: nobody submits there."""

    SENDER_MAY: ClassVar[dict[int, str]] = {
        command: doing for command, doing in Sgip.SENDER_MAY.items() if command not in (SUBMIT, TRACE)
    }

    CALLS: ClassVar[dict[int, str]] = {
        BIND: "login",
        UNBIND: "close",
        UNBIND | ANSWER: "closed",
        DELIVER: "number",
        USERRPT: "number",
        REPORT: "report",
    }
    """What a carrier sends on a connection of its own, and by what that finds its sender: the number that a
    subscriber wrote to, or the Submit that is reported on. Anything else is refused by `unknown`."""

    ASTRAY: ClassVar[dict[int, int]] = {DELIVER: NUMBER, USERRPT: NUMBER, REPORT: MESSAGE_ID}
    """The Result of what finds no sender."""

    LOGIN_TYPE: ClassVar[int] = LOGIN_TYPE
    """Result of Bind_Resp: not to deliver."""

    OTHER_CONTENT: ClassVar[int] = SEQUENCE
    """The Result of a number that is under way with another content."""

    def addressee(self, data: bytes, frame: Frame) -> tuple[bytes, bytes, bytes]:
        """Whom a request of CALLS is for: (number that a subscriber wrote to, or b"" · subscriber · number of
        the Submit that is reported on, or b"")."""
        start, end, command, _ = frame
        if command == USERRPT:
            said = wire.UserRpt.decode(data, start + 20, end)
            return said.sp_number, said.user_number, b""
        found = self.delivery(data, start, end)
        return found.number, found.subscriber, b"" if found.report is None else found.message_id
