"""CMPP 2.0, 2.1 and 3.0 (China Mobile): what its PDUs mean to a gateway. Their tables are in `cmpp_tables`.

The relay calls what stands here by names that every protocol shares, and knows none of it. A peer's mistake
is a WireError, and `result_of` says which Result it deserves. Times are the text of the wire, made by whoever
calls. This file knows no socket, clock, registry or rule.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, ClassVar

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import cmpp_own as own
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.cmpp_submit import SUBMITS
from gateway.protocols.cmpp_tables import ACTIVE_TEST, ANSWER, CONNECT, DELIVER, FWD, SUBMIT, TERMINATE
from gateway.protocols.framing import cut
from gateway.protocols.message import Delivery, Instant, Login, Report, Submission
from gateway.protocols.table import Frame, Pdu, reader

OK, STRUCTURE, COMMAND, LENGTH, FLOW, NOT_FORWARDED, BAD_DESTINATION = 0, 1, 2, 4, 8, 9, 13
"""Results of SUBMIT_RESP, DELIVER_RESP and FWD_RESP (§7.4.3.2, §7.4.5.2, §7.4.8.2)."""

OTHER_ERROR = 5
"""Status of CONNECT_RESP for every other error (§7.4.1.2)."""

V20, V21, V30, PRIVATE = 0x20, 0x21, 0x30, 0x7F
"""Versions; 2.1 has the layout of 2.0. PRIVATE is SMSGate's own: 3.0 with an attachment after a SUBMIT."""

REFUSALS: dict[Reason, int] = {
    Reason.MALFORMED: 101,
    Reason.NOT_JUDGEABLE: 102,
    Reason.BLACKLISTED: 103,
    Reason.UNREGISTERED: 104,
    Reason.INSTITUTION_BARRED: 105,
    Reason.MANDATE_MISSING: 106,
    Reason.NOT_EFFECTIVE: 107,
    Reason.ACCOUNT_MISMATCH: 108,
    Reason.PURPOSE_MISMATCH: 109,
    Reason.REFUSED_BY_SUBSCRIBER: 110,
    Reason.CONSENT_MISSING: 111,
    Reason.THIRD_PARTY: 112,
    Reason.NO_REPLY_PATH: 113,
    Reason.QUIET_HOURS: 114,
    Reason.OVER_FREQUENCY: 115,
    Reason.SIGNATURE_MISSING: 116,
    Reason.SIGNATURE_MISMATCH: 117,
    Reason.OPTOUT_HINT_MISSING: 118,
    Reason.FORBIDDEN_CONTENT: 119,
    Reason.MASS_REFUSED: 120,
}
"""Result of a refused SUBMIT: 100-199 are free for a gateway's own use. A number is never used again."""

_HEADER = Struct(">III")
_ANSWERS: dict[int, type[Pdu]] = {
    SUBMIT: wire.SubmitResp,
    DELIVER: wire.DeliverResp,
    FWD: wire.FwdResp,
    wire.CANCEL: wire.CancelResp,
}
_RESULTS = {"trailing_bytes": LENGTH, "message_length_exceeds_pdu": LENGTH, "bad_count": BAD_DESTINATION}


def result_of(error: WireError) -> int:
    """The Result that a malformed request deserves."""
    return _RESULTS.get(error.cause, STRUCTURE)


_SAID = "msg_id src_terminal_id dest_id msg_fmt tp_udhi msg_content registered_delivery src_terminal_type"
_DELIVERY = [reader(wire.Deliver, _SAID, column) for column in (0, 1)]
_RESULT = [reader(wire.SubmitResp, "result", column) for column in (0, 1)]
_REFUSED = [{r: wire.SubmitResp(result=n).encode(column) for r, n in REFUSALS.items()} for column in (0, 1)]


class Cmpp:
    """The protocol on one connection. `version` is what login agreed on; it decides the layout."""

    name: ClassVar[str] = "cmpp"
    port: ClassVar[int] = 7890
    HEADER: ClassVar[int] = 12
    SUBMIT: ClassVar[int] = SUBMIT
    TERMINATE: ClassVar[int] = TERMINATE
    ANSWER: ClassVar[int] = ANSWER
    NACK: ClassVar[int] = 0
    """An answer to whatever was not understood; CMPP has none."""
    REPLACE: ClassVar[int] = 0
    """A request that puts another text in place of one that was sent; CMPP has none."""
    SEQUENCE_IS_ID: ClassVar[bool] = False
    """Whether a SUBMIT's sequence number is its message id."""
    ENDS: ClassVar[frozenset[str]] = frozenset()
    """Causes for which a SUBMIT that can't be read ends its connection."""
    congestion: ClassVar[int] = 0
    """What the carrier said last of its load, 0 to 100; CMPP has no such word."""
    OWN_NUMBERS: ClassVar[tuple[int, int]] = (0xF000_0001, 0xFFFF_FFFF)
    """Sequence numbers for requests of our own: far from where peers count."""

    CAP: ClassVar[int] = 8192
    """No longer frame is read; the longest legal one, a 3.0 SUBMIT to 99 numbers, has 3,471 octets."""

    SENDER_MAY: ClassVar[dict[int, str]] = {
        CONNECT: "login",
        TERMINATE: "close",
        SUBMIT: "judge",
        wire.QUERY: "pass",
        wire.CANCEL: "pass",
        ACTIVE_TEST: "pass",
        ACTIVE_TEST | ANSWER: "pass",
        DELIVER | ANSWER: "pass",
        TERMINATE | ANSWER: "pass",
    }
    """What a sender may send, and what becomes of it; anything else is refused by `unknown`."""

    CARRIER_SENDS: ClassVar[dict[int, str]] = {SUBMIT | ANSWER: "result", DELIVER: "delivery"}
    """What is read of a carrier's frames; all of them pass."""

    LINK: ClassVar[dict[int, str]] = {
        CONNECT: "login",
        CONNECT | ANSWER: "login_answer",
        TERMINATE: "close",
        TERMINATE | ANSWER: "close_answer",
        ACTIVE_TEST: "heartbeat",
        ACTIVE_TEST | ANSWER: "heartbeat_answer",
    }
    """What keeps a link and carries no message."""

    BAD_LOGIN: ClassVar[int] = STRUCTURE
    BAD_SOURCE: ClassVar[int] = 2
    BAD_SECRET: ClassVar[int] = 3
    VERSION_TOO_HIGH: ClassVar[int] = 4
    OTHER: ClassVar[int] = OTHER_ERROR
    LOGIN_TWICE: ClassVar[int] = OTHER_ERROR
    """Statuses of CONNECT_RESP (§7.4.1.2)."""

    def __init__(self, version: int = V20) -> None:
        self.version = version

    @property
    def version(self) -> int:
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        self._version = version
        self._column = column = int(version >= V30)
        self._submits = SUBMITS[column]
        self._delivery = _DELIVERY[column]

    @staticmethod
    def message_ids(date: Instant, gateway: int, first: int, count: int) -> list[bytes]:
        """What is made up of a date (month to second) for a SUBMIT to `count` recipients: the first stands
        for all in its answer (3.0, appendix 1)."""
        return [wire.message_id(*date, gateway, number) for number in range(first, first + count)]

    @staticmethod
    def reported_as(message_id: bytes, recipient: int) -> set[bytes]:
        """By what the carrier's reports on a SUBMIT that it gave this id are known: some count on from it for
        each recipient (the last 16 bits, which begin anew at 0, or all of it), some do not."""
        if not recipient or len(message_id) != 8:
            return {message_id}
        number = int.from_bytes(message_id, "big")
        counted = number + recipient & 2**64 - 1
        wrapped = number & ~0xFFFF | counted & 0xFFFF
        return {message_id, counted.to_bytes(8, "big"), wrapped.to_bytes(8, "big")}

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
        """Read a CONNECT; WireError for another PDU ("login_expected") or one that can't be read."""
        _, command, _ = _HEADER.unpack_from(frame)
        if command != CONNECT:
            raise WireError("login_expected", f"0x{command:08x}")
        asked = wire.Connect.decode(frame, 12, len(frame))
        try:
            account = asked.source_addr.decode("ascii")
        except UnicodeDecodeError:
            raise WireError("bad_text", "Source_Addr") from None
        return Login(account, asked.version, asked.authenticator_source, asked.timestamp)

    @staticmethod
    def too_high(login: Login) -> bool:
        """Whether a version is asked for that nobody here speaks: the answer is VERSION_TOO_HIGH."""
        return login.version >= 0x40 and login.version != PRIVATE

    @staticmethod
    def login_answer(
        login: Login | None, status: int, sequence: int, version: int = V30, authenticator: bytes = b""
    ) -> bytes:
        """CONNECT_RESP in the layout of min(asked, `version`); `version` is the highest that is spoken here.

        `login` is None when the CONNECT could not be read. The authenticator is zeros on failure.
        """
        column = int(login is not None and min(login.version, version) >= V30)
        answer = wire.ConnectResp(status=status, authenticator_ismg=authenticator, version=version)
        body = answer.encode(column)
        return _HEADER.pack(12 + len(body), CONNECT | ANSWER, sequence) + body

    def login_refused(self, frame: bytes, sequence: int, status: int = OTHER_ERROR) -> bytes:
        """The answer to the CONNECT in `frame` that says no, whether it can be read or not."""
        try:
            return self.login_answer(self.login(frame), status, sequence)
        except WireError:
            return self.login_answer(None, STRUCTURE, sequence)

    @staticmethod
    def read_login_answer(frame: bytes) -> tuple[int, int]:
        """(status, version) of a CONNECT_RESP; its length alone (30 or 33) decides the layout.

        A 2.0 server answers a 3.0 CONNECT with 30 octets, whatever its Version says, so that the version
        returned is at most 2.1 there and at least 3.0 in 33 octets.
        """
        _, command, _ = _HEADER.unpack_from(frame)
        if command != CONNECT | ANSWER:
            raise WireError("login_answer_expected", f"0x{command:08x}")
        column = int(len(frame) > 30)
        answer = wire.ConnectResp.decode(frame, 12, len(frame), column)
        return answer.status, max(answer.version, V30) if column else min(answer.version, V21)

    @staticmethod
    def terminate(sequence: int) -> bytes:
        return _HEADER.pack(12, TERMINATE, sequence)

    @staticmethod
    def terminate_answer(sequence: int) -> bytes:
        return _HEADER.pack(12, TERMINATE | ANSWER, sequence)

    @staticmethod
    def heartbeat(sequence: int) -> bytes:
        return _HEADER.pack(12, ACTIVE_TEST, sequence)

    @staticmethod
    def heartbeat_answer(sequence: int) -> bytes:
        return _HEADER.pack(13, ACTIVE_TEST | ANSWER, sequence) + b"\0"

    # From sender to carrier

    def submission(self, data: bytes, start: int, end: int) -> Submission:
        """What is judged of the SUBMIT in data[start:end]. WireError: answer it with `malformed`."""
        return self._submits.read(data, start, end, private=self._version == PRIVATE)

    def reduced(self, data: bytes, start: int, end: int, keep: Sequence[int]) -> bytes:
        """The SUBMIT in data[start:end] for the recipients with these indexes only, otherwise unchanged."""
        count_at = start + 12 + wire.Submit.offset("dest_usr_tl", self._column)
        width = 32 if self._column else 21
        first = count_at + 1
        kept = b"".join(data[first + i * width : first + (i + 1) * width] for i in keep)
        rest = data[first + data[count_at] * width : end]
        body = data[start + 4 : count_at] + bytes([len(keep)]) + kept + rest
        return (4 + len(body)).to_bytes(4, "big") + body

    def answer(self, command: int, sequence: int, result: int) -> bytes | None:
        """The answer to a request with nothing in it but a Result; None where CMPP has no such answer."""
        table = _ANSWERS.get(command)
        if table is None:
            return None
        if command == wire.CANCEL:
            return self.encode(table(success_id=int(result != OK)), sequence)
        return self.encode(table(result=result), sequence)

    def unknown(self, data: bytes, frame: Frame) -> bytes | None:
        """The answer to what SENDER_MAY does not have; None: nothing can be said, log and count it."""
        _, _, command, sequence = frame
        return self.answer(command, sequence, NOT_FORWARDED if command == FWD else COMMAND)

    def malformed(self, command: int, sequence: int, error: WireError) -> bytes | None:
        if command == CONNECT:
            return self.login_answer(None, STRUCTURE, sequence)
        return self.answer(command, sequence, result_of(error))

    def busy(self, command: int, sequence: int) -> bytes | None:
        """Come again with the same content: Result 8."""
        return self.answer(command, sequence, FLOW)

    def refusal(self, sequence: int, reason: Reason, command: int = SUBMIT) -> bytes:
        body = _REFUSED[self._column][reason]
        return _HEADER.pack(12 + len(body), SUBMIT | ANSWER, sequence) + body

    def acceptance(self, sequence: int, message_id: bytes, command: int = SUBMIT) -> bytes:
        return self.encode(wire.SubmitResp(msg_id=int.from_bytes(message_id, "big")), sequence)

    def rejected_report(
        self,
        submission: Submission,
        destination_index: int,
        message_id: bytes,
        sequence: int,
        submit_time: str,
        done_time: str,
    ) -> bytes:
        """A DELIVER that reports REJECTD for one recipient; the times are YYMMDDhhmm."""
        times = submit_time, done_time
        return self.encode(own.rejected_report(submission, destination_index, message_id, *times), sequence)

    def confirmation(
        self, specimen: bytes, account: str, reply: Delivery, content: bytes, sequence: int
    ) -> bytes:
        """A SUBMIT of our own to whom a reply came from; it is like `specimen` in what carriers bill by."""
        return self.encode(own.confirmation(self._column, specimen, account, reply, content), sequence)

    # From carrier to sender

    def result(self, data: bytes, start: int, end: int) -> tuple[int, bytes]:
        """(Result, Msg_Id) of the SUBMIT_RESP in data[start:end]."""
        identity = data[start + 12 : start + 20]
        if end - start == 21:
            return data[start + 20], identity
        (result,) = _RESULT[end - start >= 24](data, start + 12, end)
        return result, identity

    @staticmethod
    def failures(data: bytes, start: int, end: int) -> dict[bytes, int]:
        """For whom of several the answer in data[start:end] says no: one answer is for all of them."""
        return {}

    def delivery(self, data: bytes, start: int, end: int) -> Delivery:
        """What the DELIVER in data[start:end] says; WireError only when its fixed part is not there.

        A frame that is too short for its Msg_Length (a vendor sends 11 octets less) is read as far as it
        goes, and octets left over are passed by.
        """
        try:
            values = self._delivery(data, start + 12, end)
        except WireError:
            values = self._cut(data, start + 12, end)
        value, subscriber, number, fmt, udhi, content, registered, pseudo = values
        report = _report(content) if registered == 1 else None
        identity, udhi = value.to_bytes(8, "big") if value else b"", udhi & 0x41 != 0
        return Delivery(identity, subscriber, number, fmt, udhi, content, report, pseudo == 1)

    def _cut(self, data: bytes, at: int, end: int) -> tuple[Any, ...]:
        place = at + wire.Deliver.offset("msg_length", self._column)
        if place >= end:
            return self._delivery(data, at, end)
        whole = place + 1 + data[place] + (20 if self._column else 8)
        values = list(self._delivery(data[:end].ljust(whole, b"\0"), at, whole))
        values[5] = values[5][: end - place - 1]
        return tuple(values)

    @staticmethod
    def telling(data: bytes, start: int, end: int, reasons: Sequence[Reason | None]) -> None:
        """How an answer says who of several was refused: one answer is for all of them."""

    def delivery_answer(self, sequence: int, message_id: bytes, result: int = OK) -> bytes:
        answer = wire.DeliverResp(msg_id=int.from_bytes(message_id, "big"), result=result)
        return self.encode(answer, sequence)


def _report(content: bytes) -> Report:
    """A status report by the length it has: 60 octets, 71, or any other (first 35, last 4)."""
    content = content.ljust(39, b"\0")
    texts = (content[8:15], content[15:25], content[25:35], content[35:-4])
    stat, submitted, done, destination = (t.partition(b"\0")[0].strip() for t in texts)
    return Report(content[:8], stat, submitted, done, destination)
