"""SMPP 3.4 and 5.0: what its PDUs mean to a gateway. Their tables are in `smpp_tables`.

The relay calls what stands here by names that every protocol shares, and knows none of it. A peer's mistake
is a WireError, and `status_of` says which command_status it deserves. Times are the text of the wire, made by
whoever calls. This file knows no socket, clock, registry or rule.

One layout serves all versions: 3.3 is 3.4 without optional fields, and 5.0 reads as 3.4. The version says
only what our own answers may hold.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, ClassVar

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import smpp_own as own
from gateway.protocols import smpp_submit
from gateway.protocols import smpp_tables as wire
from gateway.protocols.framing import cut
from gateway.protocols.kinds import Tlv
from gateway.protocols.message import Delivery, Instant, Login, Submission
from gateway.protocols.smpp_status import (
    ALREADY_BOUND,
    BIND_FAILED,
    COMMAND,
    COMMAND_LENGTH,
    OK,
    PASSWORD,
    PROHIBITED,
    RECEIVER_TEMPORARY,
    REFUSALS,
    THROTTLED,
    UNKNOWN_ERROR,
    status_of,
)
from gateway.protocols.smpp_tables import (
    ALERT_NOTIFICATION,
    ANSWER,
    BIND_RECEIVER,
    BIND_TRANSCEIVER,
    BIND_TRANSMITTER,
    CANCEL_SM,
    DATA_SM,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    QUERY_SM,
    REPLACE_SM,
    SUBMIT_MULTI,
    SUBMIT_SM,
    UNBIND,
)
from gateway.protocols.table import Frame, Pdu, reader

V33, V34, V50 = 0x33, 0x34, 0x50
"""interface_version; 3.3 and all below have no optional fields."""

_HEADER = Struct(">IIII")
_COMMAND = Struct(">I").unpack_from
# whether it sends, and whether it receives
_BINDS = {BIND_RECEIVER: (False, True), BIND_TRANSMITTER: (True, False), BIND_TRANSCEIVER: (True, True)}

_DATA = reader(wire.DataSm, "source_addr destination_addr esm_class data_coding tlvs")
_DELIVER = reader(wire.DeliverSm, "source_addr destination_addr esm_class data_coding short_message tlvs")


class Smpp:
    """The protocol on one connection. `version` is what login agreed on."""

    name: ClassVar[str] = "smpp"
    port: ClassVar[int] = 2775
    HEADER: ClassVar[int] = 16
    SUBMIT: ClassVar[int] = SUBMIT_SM
    TERMINATE: ClassVar[int] = UNBIND
    ANSWER: ClassVar[int] = ANSWER
    NACK: ClassVar[int] = GENERIC_NACK
    REPLACE: ClassVar[int] = REPLACE_SM
    OWN_NUMBERS: ClassVar[tuple[int, int]] = (0x7000_0001, 0x7FFF_FFFF)
    SEQUENCE_IS_ID: ClassVar[bool] = False
    ENDS: ClassVar[frozenset[str]] = frozenset()
    CAP: ClassVar[int] = 70 * 1024
    """No longer frame is read; message_payload may have 65,535 octets."""

    SENDER_MAY: ClassVar[dict[int, str]] = {
        BIND_RECEIVER: "login",
        BIND_TRANSMITTER: "login",
        BIND_TRANSCEIVER: "login",
        UNBIND: "close",
        SUBMIT_SM: "judge",
        SUBMIT_MULTI: "judge",
        DATA_SM: "judge",
        REPLACE_SM: "judge",
        QUERY_SM: "pass",
        CANCEL_SM: "pass",
        ENQUIRE_LINK: "pass",
        ENQUIRE_LINK | ANSWER: "pass",
        DELIVER_SM | ANSWER: "pass",
        DATA_SM | ANSWER: "pass",
        UNBIND | ANSWER: "pass",
        GENERIC_NACK: "pass",
    }
    """What a sender may send, and what becomes of it; anything else is refused by `unknown`."""

    CARRIER_SENDS: ClassVar[dict[int, str]] = {
        SUBMIT_SM | ANSWER: "result",
        SUBMIT_MULTI | ANSWER: "result",
        DATA_SM | ANSWER: "result",
        REPLACE_SM | ANSWER: "result",
        GENERIC_NACK: "result",
        DELIVER_SM: "delivery",
        DATA_SM: "delivery",
    }
    """What is read of a carrier's frames; all of them pass."""

    LINK: ClassVar[dict[int, str]] = {
        BIND_RECEIVER: "login",
        BIND_TRANSMITTER: "login",
        BIND_TRANSCEIVER: "login",
        BIND_RECEIVER | ANSWER: "login_answer",
        BIND_TRANSMITTER | ANSWER: "login_answer",
        BIND_TRANSCEIVER | ANSWER: "login_answer",
        UNBIND: "close",
        UNBIND | ANSWER: "close_answer",
        ENQUIRE_LINK: "heartbeat",
        ENQUIRE_LINK | ANSWER: "heartbeat_answer",
    }
    """What keeps a link and carries no message."""

    BAD_LOGIN: ClassVar[int] = COMMAND_LENGTH
    BAD_SOURCE: ClassVar[int] = BIND_FAILED
    BAD_SECRET: ClassVar[int] = PASSWORD
    VERSION_TOO_HIGH: ClassVar[int] = BIND_FAILED
    OTHER: ClassVar[int] = BIND_FAILED
    LOGIN_TWICE: ClassVar[int] = ALREADY_BOUND
    """Statuses of an answer to a bind."""

    def __init__(self, version: int = V34) -> None:
        self.version = version
        self.congestion = 0
        """What the carrier said last in an answer to a message: 0 idle to 100 congested (5.0 §4.8.4.18)."""

    # Frames

    def frames(self, data: bytes) -> tuple[list[Frame], int]:
        """See `framing.cut`."""
        return cut(data, 16, self.CAP)

    def decode(self, data: bytes, frame: Frame) -> Pdu:
        """The whole PDU, strictly; WireError if it is not exactly as its table says."""
        start, end, command, _ = frame
        if command not in wire.PDUS:
            raise WireError("unknown_command_id", f"0x{command:08x}")
        return wire.PDUS[command].decode(data, start + 16, end)

    def encode(self, body: Pdu, sequence: int, status: int = OK) -> bytes:
        """The frame of a PDU."""
        octets = body.encode()
        return _HEADER.pack(16 + len(octets), body.command, status, sequence) + octets

    @staticmethod
    def with_sequence(frame: bytes, sequence: int) -> bytes:
        """The same frame under another sequence number."""
        return frame[:12] + sequence.to_bytes(4, "big") + frame[16:]

    # Login and the link

    def login(self, frame: bytes) -> Login:
        """Read a bind; WireError for another PDU ("login_expected") or one that can't be read."""
        (command,) = _COMMAND(frame, 4)
        if command not in _BINDS:
            raise WireError("login_expected", f"0x{command:08x}")
        asked = wire.BindReceiver.decode(frame, 16, len(frame))
        if not asked.system_id.isascii():
            raise WireError("bad_text", "system_id")
        account = asked.system_id.decode("ascii")
        return Login(account, asked.interface_version, asked.password, 0, command, *_BINDS[command])

    @staticmethod
    def too_high(login: Login) -> bool:
        """Never: each side says its version, and speaks the lower one."""
        return False

    @staticmethod
    def login_answer(
        login: Login | None, status: int, sequence: int, version: int = V50, authenticator: bytes = b""
    ) -> bytes:
        """The answer to a bind; `version` is the highest that is spoken here, told to who knows how to read
        it. `authenticator` is the name of the one who answers."""
        command = (BIND_TRANSCEIVER if login is None else login.command) | ANSWER
        body = b""
        if not status:
            told: list[Tlv] = []
            if login is not None and login.version >= V34:
                told = [(wire.SC_INTERFACE_VERSION, bytes([version]))]
            body = wire.BindReceiverResp(system_id=authenticator[:15], tlvs=told).encode()
        return _HEADER.pack(16 + len(body), command, status, sequence) + body

    def login_refused(self, frame: bytes, sequence: int, status: int = BIND_FAILED) -> bytes:
        """The answer to the bind in `frame` that says no, whether it can be read or not."""
        (command,) = _COMMAND(frame, 4)
        return _HEADER.pack(16, command | ANSWER, status, sequence)

    @staticmethod
    def read_login_answer(frame: bytes) -> tuple[int, int]:
        """(status, version) of the answer to a bind; who says no version speaks 3.3 (§5.3.2.25)."""
        _, command, status, _ = _HEADER.unpack_from(frame)
        if Smpp.LINK.get(command) != "login_answer":
            raise WireError("login_answer_expected", f"0x{command:08x}")
        answer = wire.BindReceiverResp.decode(frame, 16, len(frame))
        said = dict(reversed(answer.tlvs)).get(wire.SC_INTERFACE_VERSION, b"")
        return status, said[0] if said else V33

    @staticmethod
    def terminate(sequence: int) -> bytes:
        return _HEADER.pack(16, UNBIND, 0, sequence)

    @staticmethod
    def terminate_answer(sequence: int) -> bytes:
        return _HEADER.pack(16, UNBIND | ANSWER, 0, sequence)

    @staticmethod
    def heartbeat(sequence: int) -> bytes:
        return _HEADER.pack(16, ENQUIRE_LINK, 0, sequence)

    @staticmethod
    def heartbeat_answer(sequence: int) -> bytes:
        return _HEADER.pack(16, ENQUIRE_LINK | ANSWER, 0, sequence)

    # From sender to carrier

    def submission(self, data: bytes, start: int, end: int) -> Submission:
        """What is judged of the message in data[start:end]. WireError, Replaces: answer with `malformed`."""
        return smpp_submit.read(data, start, end)

    def reduced(self, data: bytes, start: int, end: int, keep: Sequence[int]) -> bytes:
        """The submit_multi in data[start:end] for the recipients with these indexes only, otherwise
        unchanged."""
        _, command, status, sequence = _HEADER.unpack_from(data, start)
        if command != SUBMIT_MULTI:  # one recipient
            return data[start:end]
        body = wire.SubmitMulti.decode(data, start + 16, end)
        body.dest_address = [body.dest_address[i] for i in keep]
        body.number_of_dests = len(keep)
        return self.encode(body, sequence, status)

    def answer(self, command: int, sequence: int, result: int) -> bytes | None:
        """The answer to a request with nothing in it but a status; None where SMPP has no such answer."""
        if command & ANSWER or command == ALERT_NOTIFICATION:
            return None
        if command | ANSWER not in wire.PDUS:
            return _HEADER.pack(16, GENERIC_NACK, result, sequence)
        if command in (DELIVER_SM, DATA_SM) or (result == OK and command == SUBMIT_SM):
            return _HEADER.pack(17, command | ANSWER, result, sequence) + b"\0"
        return _HEADER.pack(16, command | ANSWER, result, sequence)

    def unknown(self, data: bytes, frame: Frame) -> bytes | None:
        """The answer to what SENDER_MAY does not have; None: nothing can be said, log and count it."""
        _, _, command, sequence = frame
        return self.answer(command, sequence, COMMAND)

    def malformed(self, command: int, sequence: int, error: WireError) -> bytes | None:
        return self.answer(command, sequence, status_of(error))

    def busy(self, command: int, sequence: int) -> bytes | None:
        """Come again with the same content."""
        temporary = RECEIVER_TEMPORARY if command == DELIVER_SM else THROTTLED
        return self.answer(command, sequence, temporary)

    def refusal(self, sequence: int, reason: Reason, command: int = SUBMIT_SM) -> bytes:
        if self.version < V50:
            return _HEADER.pack(16, command | ANSWER, REFUSALS[reason], sequence)
        body = own.explained(command, reason)
        return _HEADER.pack(16 + len(body), command | ANSWER, PROHIBITED, sequence) + body

    def acceptance(self, sequence: int, message_id: bytes, command: int = SUBMIT_SM) -> bytes:
        body = message_id + (b"\0\0" if command == SUBMIT_MULTI else b"\0")
        return _HEADER.pack(16 + len(body), command | ANSWER, OK, sequence) + body

    @staticmethod
    def message_ids(date: Instant, gateway: int, first: int, count: int) -> list[bytes]:
        """What is made up of a date (month to second) for a message to `count` recipients: one id for all."""
        return ["".join((*(f"{n:02d}" for n in date), f"{gateway:07d}{first:05d}")).encode()] * count

    @staticmethod
    def reported_as(message_id: bytes, recipient: int) -> set[bytes]:
        """By what the carrier's reports on a message that it gave this id are known: many write it in hex in
        one place and in decimal in the other, with or without zeros before it."""
        return own.spellings(message_id)

    def rejected_report(
        self,
        submission: Submission,
        destination_index: int,
        message_id: bytes,
        sequence: int,
        submit_time: str,
        done_time: str,
    ) -> bytes:
        """A deliver_sm that reports REJECTD for one recipient; the times are YYMMDDhhmm."""
        destination, times = submission.destinations[destination_index], (submit_time, done_time)
        body = own.rejected_report(submission, destination, message_id, *times, tlvs=self.version >= V34)
        return self.encode(body, sequence)

    def confirmation(
        self, specimen: bytes, account: str, reply: Delivery, content: bytes, sequence: int
    ) -> bytes:
        """A submit_sm of our own to whom a reply came from; it is like `specimen` in what carriers bill
        by."""
        return self.encode(own.confirmation(specimen, reply, content), sequence)

    # From carrier to sender

    def result(self, data: bytes, start: int, end: int) -> tuple[int, bytes]:
        """(command_status, message_id) of the answer in data[start:end]; b"" where there is none."""
        _, command, status, _ = _HEADER.unpack_from(data, start)
        if command == GENERIC_NACK:
            return status or UNKNOWN_ERROR, b""
        if end - start == 16:
            return status, b""
        stop = data.find(b"\0", start + 16, end)
        if stop < 0:
            raise WireError("missing_nul", "message_id")
        if stop + 5 < end:
            self.congestion = own.congestion(data, start, end, self.congestion)
        return status, data[start + 16 : stop]

    @staticmethod
    def failures(data: bytes, start: int, end: int) -> dict[bytes, int]:
        """For whom of several the answer in data[start:end] says no, and with which status."""
        return own.failures(data, start, end)

    def telling(
        self, data: bytes, start: int, end: int, reasons: Sequence[Reason | None]
    ) -> Callable[[bytes], bytes] | None:
        """What makes the carrier's answer to what is in data[start:end] say who of several was refused."""
        codes = REFUSALS if self.version < V50 else dict.fromkeys(REFUSALS, PROHIBITED)
        return own.telling(data, start, end, [codes[reason] if reason else OK for reason in reasons])

    def delivery(self, data: bytes, start: int, end: int) -> Delivery:
        """What the deliver_sm or data_sm in data[start:end] says; of a deliver_sm's broken optional fields
        nothing is taken."""
        (command,) = _COMMAND(data, start + 4)
        text = b""
        if command == DATA_SM:
            subscriber, number, esm, coding, tlvs = _DATA(data, start + 16, end)
        else:
            try:
                values = _DELIVER(data, start + 16, end)
            except WireError as error:
                if not error.cause.startswith("tlv_"):
                    raise
                values = _DELIVER(data, start + 16, own.optional_from(data, start + 16))
            subscriber, number, esm, coding, text, tlvs = values
        said: dict[int, Any] = dict(reversed(tlvs))
        text = text or said.get(wire.MESSAGE_PAYLOAD, b"")
        report = own.report(text, said, subscriber) if esm & 0x3C in (0x04, 0x20) else None
        identity = report.message_id if report is not None else b""
        _, total, part, reference = own.optional(tlvs, b"") if tlvs else (b"", 1, 1, 0)
        parts = False, total, part, reference
        return Delivery(identity, subscriber, number, coding, esm & 0x40 != 0, text, report, *parts)

    def delivery_answer(self, sequence: int, message_id: bytes, result: int = OK) -> bytes:
        return _HEADER.pack(17, DELIVER_SM | ANSWER, result, sequence) + b"\0"
