"""SMGP 3.0 and 1.3 (China Telecom): what its PDUs mean to a gateway. Their tables are in `smgp_tables`.

The relay calls what stands here by names that every protocol shares, and knows none of it. A peer's mistake
is a WireError, and `status_of` says which Status it deserves. Times are the text of the wire, made by whoever
calls. This file knows no socket, clock, registry or rule.
"""

from collections.abc import Sequence
from struct import Struct
from typing import ClassVar

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import smgp_own as own
from gateway.protocols import smgp_tables as wire
from gateway.protocols.framing import cut
from gateway.protocols.kinds import Tlv
from gateway.protocols.message import Delivery, Instant, Login, Report, Submission
from gateway.protocols.single import Single
from gateway.protocols.smgp_tables import ACTIVE_TEST, ANSWER, DELIVER, EXIT, FORWARD, LOGIN, QUERY, SUBMIT
from gateway.protocols.table import Frame, Pdu, reader

OK, BUSY, STRUCTURE, COMMAND = 0, 1, 10, 11
BAD_ADDRESS, BAD_SECRET, VERSION_TOO_HIGH, BAD_LENGTH, BAD_DESTINATION = 20, 21, 22, 36, 47
"""Values of Status (6.2.55)."""

V13, V30 = 0x13, 0x30

REFUSALS: dict[Reason, int] = {
    Reason.MALFORMED: 129,
    Reason.NOT_JUDGEABLE: 130,
    Reason.BLACKLISTED: 131,
    Reason.UNREGISTERED: 132,
    Reason.INSTITUTION_BARRED: 133,
    Reason.MANDATE_MISSING: 134,
    Reason.NOT_EFFECTIVE: 135,
    Reason.ACCOUNT_MISMATCH: 136,
    Reason.PURPOSE_MISMATCH: 137,
    Reason.REFUSED_BY_SUBSCRIBER: 138,
    Reason.CONSENT_MISSING: 139,
    Reason.THIRD_PARTY: 140,
    Reason.NO_REPLY_PATH: 141,
    Reason.QUIET_HOURS: 74,
    Reason.OVER_FREQUENCY: 75,
    Reason.SIGNATURE_MISSING: 144,
    Reason.SIGNATURE_MISMATCH: 145,
    Reason.OPTOUT_HINT_MISSING: 146,
    Reason.FORBIDDEN_CONTENT: 147,
    Reason.MASS_REFUSED: 148,
}
"""Status of a refused Submit: 128-255 are the vendor's, 74 and 75 the text's own words for hours and flow.
A number is never used again."""

_HEADER = Struct(">III")
_ANSWERS: dict[int, type[Pdu]] = {
    SUBMIT: wire.SubmitResp,
    DELIVER: wire.DeliverResp,
    FORWARD: wire.ForwardResp,
}
_STATUSES = {
    "message_length_exceeds_pdu": BAD_LENGTH,
    "bad_count": BAD_DESTINATION,
    "truncated_body:DestTermID": BAD_DESTINATION,
}


def status_of(error: WireError) -> int:
    """The Status that a malformed request deserves."""
    return _STATUSES.get(error.cause) or _STATUSES.get(f"{error.cause}:{error.detail}", STRUCTURE)


_JUDGED = "src_term_id dest_term_id msg_format msg_content need_report==1 at_time tlvs"
_SAID = "msg_id is_report msg_format src_term_id dest_term_id msg_content tlvs"
_SINGLE = [
    Single(
        wire.Submit,
        column,
        12,
        "src_term_id dest_term_id msg_format msg_content need_report at_time",
        0b10,
    )
    for column in (0, 1)
]
_SUBMISSION = [reader(wire.Submit, _JUDGED, column) for column in (0, 1)]
_DELIVERY = reader(wire.Deliver, _SAID)
_RESULT = reader(wire.SubmitResp, "status")
_REFUSED = {reason: wire.SubmitResp(msg_id=bytes(10), status=n).encode() for reason, n in REFUSALS.items()}


_NO_ID = bytes(10)


class Smgp:
    """The protocol on one connection. `version` is what login agreed on; it decides the layout."""

    name: ClassVar[str] = "smgp"
    port: ClassVar[int] = 8890
    HEADER: ClassVar[int] = 12
    SUBMIT: ClassVar[int] = SUBMIT
    TERMINATE: ClassVar[int] = EXIT
    ANSWER: ClassVar[int] = ANSWER
    NACK: ClassVar[int] = 0
    REPLACE: ClassVar[int] = 0
    OWN_NUMBERS: ClassVar[tuple[int, int]] = (0xF000_0001, 0xFFFF_FFFF)
    SEQUENCE_IS_ID: ClassVar[bool] = False
    ENDS: ClassVar[frozenset[str]] = frozenset()
    congestion: ClassVar[int] = 0
    CAP: ClassVar[int] = 8192
    """No longer frame is read; the longest legal one, a Submit to 100 numbers, has 2,481 octets and its
    optional fields."""

    SENDER_MAY: ClassVar[dict[int, str]] = {
        LOGIN: "login",
        EXIT: "close",
        SUBMIT: "judge",
        QUERY: "pass",
        ACTIVE_TEST: "pass",
        ACTIVE_TEST | ANSWER: "pass",
        DELIVER | ANSWER: "pass",
        EXIT | ANSWER: "pass",
    }
    """What a sender may send, and what becomes of it; anything else is refused by `unknown`."""

    CARRIER_SENDS: ClassVar[dict[int, str]] = {SUBMIT | ANSWER: "result", DELIVER: "delivery"}
    """What is read of a carrier's frames; all of them pass."""

    LINK: ClassVar[dict[int, str]] = {
        LOGIN: "login",
        LOGIN | ANSWER: "login_answer",
        EXIT: "close",
        EXIT | ANSWER: "close_answer",
        ACTIVE_TEST: "heartbeat",
        ACTIVE_TEST | ANSWER: "heartbeat_answer",
    }
    """What keeps a link and carries no message."""

    BAD_LOGIN: ClassVar[int] = STRUCTURE
    BAD_SOURCE: ClassVar[int] = BAD_ADDRESS
    BAD_SECRET: ClassVar[int] = BAD_SECRET
    VERSION_TOO_HIGH: ClassVar[int] = VERSION_TOO_HIGH
    OTHER: ClassVar[int] = BUSY
    LOGIN_TWICE: ClassVar[int] = BUSY
    """Statuses of Login_Resp."""

    def __init__(self, version: int = V30) -> None:
        self.version = version

    @property
    def version(self) -> int:
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        self._version = version
        self._column = column = int(version >= V30)
        self._single, self._submission = _SINGLE[column], _SUBMISSION[column]

    # Frames

    def frames(self, data: bytes) -> tuple[list[Frame], int]:
        """See `framing.cut`."""
        return cut(data, 12, self.CAP)

    def decode(self, data: bytes, frame: Frame) -> Pdu:
        """The whole PDU, strictly; WireError if it is not exactly as its table says."""
        start, end, command, _ = frame
        if command not in wire.PDUS:
            raise WireError("unknown_command_id", f"0x{command:08x}")
        return wire.PDUS[command].decode(data, start + 12, end, self._column)

    def encode(self, body: Pdu, sequence: int) -> bytes:
        """The frame of a PDU."""
        octets = body.encode(self._column)
        return _HEADER.pack(12 + len(octets), body.command, sequence) + octets

    @staticmethod
    def with_sequence(frame: bytes, sequence: int) -> bytes:
        """The same frame under another sequence number."""
        return frame[:8] + sequence.to_bytes(4, "big") + frame[12:]

    # Login and the link

    def login(self, frame: bytes) -> Login:
        """Read a Login; WireError for another PDU ("login_expected") or one that can't be read."""
        _, command, _ = _HEADER.unpack_from(frame)
        if command != LOGIN:
            raise WireError("login_expected", f"0x{command:08x}")
        asked = wire.Login.decode(frame, 12, len(frame))
        if not asked.client_id.isascii():
            raise WireError("bad_text", "ClientID")
        account = asked.client_id.decode("ascii")
        mode = asked.login_mode  # 0: it sends, 1: it receives, 2: both
        return Login(
            *(account, asked.client_version, asked.authenticator_client, asked.time_stamp),
            *(command, mode != 1, mode != 0),
        )

    @staticmethod
    def too_high(login: Login) -> bool:
        """Whether a version is asked for that nobody here speaks: the answer is VERSION_TOO_HIGH."""
        return login.version >= 0x40

    @staticmethod
    def login_answer(
        login: Login | None, status: int, sequence: int, version: int = V30, authenticator: bytes = b""
    ) -> bytes:
        """Login_Resp; `version` is the highest that is spoken here. The authenticator is zeros on failure."""
        body = wire.LoginResp(status=status, authenticator_server=authenticator, server_version=version)
        octets = body.encode()
        return _HEADER.pack(12 + len(octets), LOGIN | ANSWER, sequence) + octets

    def login_refused(self, frame: bytes, sequence: int, status: int = BUSY) -> bytes:
        """The answer to the Login in `frame` that says no, whether it can be read or not."""
        try:
            return self.login_answer(self.login(frame), status, sequence)
        except WireError:
            return self.login_answer(None, STRUCTURE, sequence)

    @staticmethod
    def read_login_answer(frame: bytes) -> tuple[int, int]:
        """(status, version) of a Login_Resp."""
        _, command, _ = _HEADER.unpack_from(frame)
        if command != LOGIN | ANSWER:
            raise WireError("login_answer_expected", f"0x{command:08x}")
        answer = wire.LoginResp.decode(frame, 12, len(frame))
        return answer.status, answer.server_version

    @staticmethod
    def terminate(sequence: int) -> bytes:
        return _HEADER.pack(12, EXIT, sequence)

    @staticmethod
    def terminate_answer(sequence: int) -> bytes:
        return _HEADER.pack(12, EXIT | ANSWER, sequence)

    @staticmethod
    def heartbeat(sequence: int) -> bytes:
        return _HEADER.pack(12, ACTIVE_TEST, sequence)

    @staticmethod
    def heartbeat_answer(sequence: int) -> bytes:
        return _HEADER.pack(12, ACTIVE_TEST | ANSWER, sequence)

    # From sender to carrier

    def submission(self, data: bytes, start: int, end: int) -> Submission:
        """What is judged of the Submit in data[start:end]. WireError: answer it with `malformed`."""
        single = self._single.read(data, start, end)
        if single is not None:
            return single
        source, destinations, fmt, content, report, at_time, tlvs = self._submission(data, start + 12, end)
        if not 0 < len(destinations) <= 100:
            raise WireError("bad_count", "DestTermIDCount")
        udhi, total, number, pseudo = False, 1, 1, 0
        if tlvs:
            udhi = _octet(tlvs, wire.TP_UDHI) & 0x41 != 0
            total, number = _octet(tlvs, wire.PK_TOTAL, 1), _octet(tlvs, wire.PK_NUMBER, 1)
            pseudo = _octet(tlvs, wire.DEST_TERM_TYPE)
        return Submission(source, destinations, fmt, udhi, content, report, at_time, total, number, pseudo)

    def reduced(self, data: bytes, start: int, end: int, keep: Sequence[int]) -> bytes:
        """The Submit in data[start:end] for the recipients with these indexes only, otherwise unchanged."""
        count_at = start + 12 + wire.Submit.offset("dest_term_id_count", self._column)
        first = count_at + 1
        kept = b"".join(data[first + i * 21 : first + (i + 1) * 21] for i in keep)
        rest = data[first + data[count_at] * 21 : end]
        body = data[start + 4 : count_at] + bytes([len(keep)]) + kept + rest
        return (4 + len(body)).to_bytes(4, "big") + body

    def answer(self, command: int, sequence: int, result: int) -> bytes | None:
        """The answer to a request with nothing in it but a Status; None where SMGP has no such answer."""
        table = _ANSWERS.get(command)
        if table is None:
            return None
        return self.encode(table(msg_id=bytes(10), status=result), sequence)

    def unknown(self, data: bytes, frame: Frame) -> bytes | None:
        """The answer to what SENDER_MAY does not have; None: nothing can be said, log and count it."""
        _, _, command, sequence = frame
        return self.answer(command, sequence, COMMAND)

    def malformed(self, command: int, sequence: int, error: WireError) -> bytes | None:
        if command == LOGIN:
            return self.login_answer(None, STRUCTURE, sequence)
        return self.answer(command, sequence, status_of(error))

    def busy(self, command: int, sequence: int) -> bytes | None:
        """Come again with the same content: Status 1."""
        return self.answer(command, sequence, BUSY)

    def refusal(self, sequence: int, reason: Reason, command: int = SUBMIT) -> bytes:
        return _HEADER.pack(26, command | ANSWER, sequence) + _REFUSED[reason]

    def acceptance(self, sequence: int, message_id: bytes, command: int = SUBMIT) -> bytes:
        return self.encode(wire.SubmitResp(msg_id=message_id), sequence)

    @staticmethod
    def message_ids(date: Instant, gateway: int, first: int, count: int) -> list[bytes]:
        """What is made up of a date (month to second) for a Submit to `count` recipients: one id for all.

        A MsgID has no seconds: they are in its number, in steps of four.
        """
        number = first + (date[4] // 4 << 16)
        return [wire.message_id(*date[:4], gateway, number)] * count

    @staticmethod
    def reported_as(message_id: bytes, recipient: int) -> set[bytes]:
        """By what the carrier's reports on a Submit that it gave this id are known."""
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
        """A Deliver that reports REJECTD for one recipient; the times are YYMMDDhhmm."""
        destination, times = submission.destinations[destination_index], (submit_time, done_time)
        return self.encode(own.rejected_report(submission, destination, message_id, *times), sequence)

    def confirmation(
        self, specimen: bytes, account: str, reply: Delivery, content: bytes, sequence: int
    ) -> bytes:
        """A Submit of our own to whom a reply came from; it is like `specimen` in what carriers bill by."""
        return self.encode(own.confirmation(self._column, specimen, reply, content), sequence)

    # From carrier to sender

    def result(self, data: bytes, start: int, end: int) -> tuple[int, bytes]:
        """(Status, MsgID) of the Submit_Resp in data[start:end]."""
        (result,) = _RESULT(data, start + 12, end)
        return result, data[start + 12 : start + 22]

    @staticmethod
    def failures(data: bytes, start: int, end: int) -> dict[bytes, int]:
        """For whom of several the answer in data[start:end] says no: one answer is for all of them."""
        return {}

    def delivery(self, data: bytes, start: int, end: int) -> Delivery:
        """What the Deliver in data[start:end] says; of broken optional fields nothing is taken."""
        try:
            values = _DELIVERY(data, start + 12, end)
        except WireError as error:
            if not error.cause.startswith("tlv_"):
                raise
            values = _DELIVERY(data, start + 12, self._fixed_end(data, start))
        identity, is_report, fmt, subscriber, number, content, tlvs = values
        udhi = bool(tlvs) and _octet(tlvs, wire.TP_UDHI) & 0x41 != 0
        report = _report(content, subscriber) if is_report == 1 else None
        pseudo = bool(tlvs) and _octet(tlvs, wire.SRC_TERM_TYPE) == 1
        total, part = _octet(tlvs, wire.PK_TOTAL, 1), _octet(tlvs, wire.PK_NUMBER, 1)
        identity = identity if identity != _NO_ID else b""
        return Delivery(identity, subscriber, number, fmt, udhi, content, report, pseudo, total, part)

    @staticmethod
    def _fixed_end(data: bytes, start: int) -> int:
        """Where the optional fields of a Deliver begin."""
        at = start + 12 + wire.Deliver.offset("msg_length")
        return at + 1 + data[at] + 8

    @staticmethod
    def telling(data: bytes, start: int, end: int, reasons: Sequence[Reason | None]) -> None:
        """How an answer says who of several was refused: one answer is for all of them."""

    def delivery_answer(self, sequence: int, message_id: bytes, result: int = OK) -> bytes:
        return self.encode(wire.DeliverResp(msg_id=message_id or _NO_ID, status=result), sequence)


def _octet(tlvs: list[Tlv], tag: int, otherwise: int = 0) -> int:
    """The first field with this tag, of one octet; `otherwise` where there is none, or it is empty."""
    for one, value in tlvs:
        if one == tag:
            return value[0] if value else otherwise
    return otherwise


def _report(content: bytes, subscriber: bytes) -> Report:
    said = wire.report(content)
    stat = said.get("stat", b"").strip(b"\0 ")
    return Report(said["id"], stat, said.get("submit_date", b""), said.get("done_date", b""), subscriber)
