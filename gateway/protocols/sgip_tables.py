"""SGIP 1.2 (China Unicom), the PDUs: each class is the specification's table of one PDU.

Names in errors are the specification's (section 4). A sequence number has three words, node, time and
counter: in a frame it is one integer of 96 bits, in a body 12 octets. It is also a submit's message id.
"""

from functools import partial
from typing import Annotated, NamedTuple

from gateway.protocols.kinds import U8, U32, Many, Octets, Raw, Var
from gateway.protocols.table import Pdu, alike, joined, pdu

BIND, UNBIND, SUBMIT, DELIVER, REPORT, CHECKUSER, USERRPT, TRACE = 1, 2, 3, 4, 5, 0x10, 0x11, 0x1000
ANSWER = 0x8000_0000
"""The bit that makes a request's command that of its answer."""

ROUTING = {
    0x6: "ADDSP",
    0x7: "MODIFYSP",
    0x8: "DELETESP",
    0x9: "QUERYROUTE",
    0xA: "ADDTELESEG",
    0xB: "MODIFYTELESEG",
    0xC: "DELETETELESEG",
    0xD: "ADDSMG",
    0xE: "MODIFYSMG",
    0xF: "DELETESMG",
}
"""Between gateways and the GNS only: known, never spoken here, so they have no table."""

SPELLINGS = "SPNumber MorelatetoMTFlag TP_pid TP_udhi"
sgip = partial(pdu, spell=joined)


@sgip(BIND)  # §4.2.1
class Bind(Pdu):
    login_type: U8
    login_name: Annotated[bytes, Octets(16)]
    login_password: Annotated[bytes, Octets(16)]
    reserve: Annotated[bytes, Octets(8)]


@sgip(BIND | ANSWER)
class BindResp(Pdu):
    result: U8
    reserve: Annotated[bytes, Octets(8)]


SubmitResp = alike(BindResp, SUBMIT | ANSWER, "SubmitResp")
DeliverResp = alike(BindResp, DELIVER | ANSWER, "DeliverResp")
ReportResp = alike(BindResp, REPORT | ANSWER, "ReportResp")
UserRptResp = alike(BindResp, USERRPT | ANSWER, "UserRptResp")


@sgip(UNBIND)
class Unbind(Pdu):
    pass


UnbindResp = alike(Unbind, UNBIND | ANSWER, "UnbindResp")


@sgip(SUBMIT, SPELLINGS)
class Submit(Pdu):
    sp_number: Annotated[bytes, Octets(21)]
    charge_number: Annotated[bytes, Octets(21)]
    user_count: U8
    user_number: Annotated[list[bytes], Many(21, by="user_count")]
    corp_id: Annotated[bytes, Octets(5)]
    service_type: Annotated[bytes, Octets(10)]
    fee_type: U8
    fee_value: Annotated[bytes, Octets(6)]
    given_value: Annotated[bytes, Octets(6)]
    agent_flag: U8
    more_late_to_mt_flag: U8
    priority: U8
    expire_time: Annotated[bytes, Octets(16)]
    schedule_time: Annotated[bytes, Octets(16)]
    report_flag: U8
    tp_pid: U8
    tp_udhi: U8
    message_coding: U8
    message_type: U8
    message_length: U32
    message_content: Annotated[bytes, Var(by="message_length")]
    reserve: Annotated[bytes, Octets(8)]


@sgip(DELIVER, SPELLINGS)
class Deliver(Pdu):
    user_number: Annotated[bytes, Octets(21)]
    sp_number: Annotated[bytes, Octets(21)]
    tp_pid: U8
    tp_udhi: U8
    message_coding: U8
    message_length: U32
    message_content: Annotated[bytes, Var(by="message_length")]
    reserve: Annotated[bytes, Octets(8)]


@sgip(REPORT)
class Report(Pdu):
    submit_sequence: Annotated[bytes, Raw(12)]
    report_type: U8
    user_number: Annotated[bytes, Octets(21)]
    state: U8
    error_code: U8
    reserve: Annotated[bytes, Octets(8)]


@sgip(USERRPT, SPELLINGS)
class UserRpt(Pdu):
    sp_number: Annotated[bytes, Octets(21)]
    user_number: Annotated[bytes, Octets(21)]
    user_condition: U8
    reserve: Annotated[bytes, Octets(8)]


@sgip(TRACE)
class Trace(Pdu):
    submit_sequence: Annotated[bytes, Raw(12)]
    user_number: Annotated[bytes, Octets(21)]
    reserve: Annotated[bytes, Octets(8)]


PDUS: dict[int, type[Pdu]] = {
    table.command: table
    for table in (
        Bind,
        BindResp,
        Unbind,
        UnbindResp,
        Submit,
        SubmitResp,
        Deliver,
        DeliverResp,
        Report,
        ReportResp,
        UserRpt,
        UserRptResp,
        Trace,
    )
}


class SequenceNumber(NamedTuple):
    """Its three words (§3.4): node code, MMDDhhmmss read as a number, counter."""

    node: int
    time: int
    counter: int

    @property
    def number(self) -> int:
        """As in a frame."""
        return self.node << 64 | self.time << 32 | self.counter

    @classmethod
    def of(cls, number: int) -> "SequenceNumber":
        return cls(number >> 64, number >> 32 & 0xFFFF_FFFF, number & 0xFFFF_FFFF)
