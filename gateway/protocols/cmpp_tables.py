"""CMPP 2.0 and 3.0 (China Mobile), the PDUs: each class is the specification's table of one PDU.

Column 0 is the layout of 2.x, column 1 that of 3.0. Sections are those of the CMPP 2.0 text (2002-04), which
3.0 keeps; names in errors are the specification's. Below the tables stand the fields that have parts of their
own: Msg_Id and the two digests. What a gateway makes of it all is in `cmpp`.
"""

from hashlib import md5
from typing import Annotated, NamedTuple

from gateway.protocols.kinds import U8, U32, U64, Int, Many, Octets, Raw, Var
from gateway.protocols.table import Pdu, pdu

CONNECT, TERMINATE, SUBMIT, DELIVER, QUERY, CANCEL, ACTIVE_TEST, FWD = 1, 2, 4, 5, 6, 7, 8, 9
ANSWER = 0x8000_0000
"""The bit that makes a request's command that of its answer."""

ROUTING = {
    0x10: "MT_ROUTE",
    0x11: "MO_ROUTE",
    0x12: "GET_MT_ROUTE",
    0x13: "MT_ROUTE_UPDATE",
    0x14: "MO_ROUTE_UPDATE",
    0x15: "PUSH_MT_ROUTE_UPDATE",
    0x16: "PUSH_MO_ROUTE_UPDATE",
    0x17: "GET_MO_ROUTE",
}
"""Between a gateway and the GNS only: known, never spoken here, so they have no table."""

SUBMIT_SPELLINGS = (
    "Pk_total Pk_number Msg_level Fee_UserType Fee_terminal_Id Fee_terminal_type TP_pId TP_udhi Msg_src "
    "FeeType FeeCode ValId_Time DestUsr_tl Dest_terminal_Id Dest_terminal_type LinkID"
)
FWD_SPELLINGS = SUBMIT_SPELLINGS + " Fee_terminal_pseudo Fee_terminal_UserType Src_UserType Dest_UserType"


@pdu(CONNECT, "AuthenticatorSource")  # §7.4.1.1
class Connect(Pdu):
    source_addr: Annotated[bytes, Octets(6)]
    authenticator_source: Annotated[bytes, Raw(16)]
    version: U8
    timestamp: U32


@pdu(CONNECT | ANSWER, "AuthenticatorISMG")  # §7.4.1.2
class ConnectResp(Pdu):
    status: Annotated[int, Int(1, 4)]
    authenticator_ismg: Annotated[bytes, Raw(16)]
    version: U8


@pdu(TERMINATE)  # §7.4.2.1
class Terminate(Pdu):
    pass


@pdu(TERMINATE | ANSWER)  # §7.4.2.2
class TerminateResp(Pdu):
    pass


@pdu(SUBMIT, SUBMIT_SPELLINGS)  # §7.4.3.1
class Submit(Pdu):
    msg_id: U64
    pk_total: U8
    pk_number: U8
    registered_delivery: U8
    msg_level: U8
    service_id: Annotated[bytes, Octets(10)]
    fee_user_type: U8
    fee_terminal_id: Annotated[bytes, Octets(21, 32)]
    fee_terminal_type: Annotated[int, Int(0, 1)]
    tp_pid: U8
    tp_udhi: U8
    msg_fmt: U8
    msg_src: Annotated[bytes, Octets(6)]
    fee_type: Annotated[bytes, Octets(2)]
    fee_code: Annotated[bytes, Octets(6)]
    valid_time: Annotated[bytes, Octets(17)]
    at_time: Annotated[bytes, Octets(17)]
    src_id: Annotated[bytes, Octets(21)]
    dest_usr_tl: U8
    dest_terminal_id: Annotated[list[bytes], Many(21, 32, by="dest_usr_tl")]
    dest_terminal_type: Annotated[int, Int(0, 1)]
    msg_length: U8
    msg_content: Annotated[bytes, Var(by="msg_length")]
    reserve: Annotated[bytes, Octets(8, 0)]
    link_id: Annotated[bytes, Octets(0, 20)]


@pdu(SUBMIT | ANSWER)  # §7.4.3.2
class SubmitResp(Pdu):
    msg_id: U64
    result: Annotated[int, Int(1, 4)]


@pdu(DELIVER, "TP_pid TP_udhi Src_terminal_Id Src_terminal_type LinkID")  # §7.4.5.1
class Deliver(Pdu):
    msg_id: U64
    dest_id: Annotated[bytes, Octets(21)]
    service_id: Annotated[bytes, Octets(10)]
    tp_pid: U8
    tp_udhi: U8
    msg_fmt: U8
    src_terminal_id: Annotated[bytes, Octets(21, 32)]
    src_terminal_type: Annotated[int, Int(0, 1)]
    registered_delivery: U8
    msg_length: U8
    msg_content: Annotated[bytes, Var(by="msg_length")]
    reserved: Annotated[bytes, Octets(8, 0)]
    link_id: Annotated[bytes, Octets(0, 20)]


@pdu(DELIVER | ANSWER)  # §7.4.5.2
class DeliverResp(Pdu):
    msg_id: U64
    result: Annotated[int, Int(1, 4)]


@pdu(0, "Submit_time Done_time Dest_terminal_Id SMSC_sequence")  # §7.4.5.1, Msg_Content of a status report
class StatusReport(Pdu):
    """Column 0 is what both texts say (60 octets); column 1 what SMSGate and others write in 3.0 (71)."""

    msg_id: U64
    stat: Annotated[bytes, Octets(7)]
    submit_time: Annotated[bytes, Octets(10)]
    done_time: Annotated[bytes, Octets(10)]
    dest_terminal_id: Annotated[bytes, Octets(21, 32)]
    smsc_sequence: U32


@pdu(QUERY)  # §7.4.4.1
class Query(Pdu):
    time: Annotated[bytes, Octets(8)]
    query_type: U8
    query_code: Annotated[bytes, Octets(10)]
    reserve: Annotated[bytes, Octets(8)]


@pdu(QUERY | ANSWER, "MT_TLMsg MT_Tlusr MT_Scs MT_WT MT_FL MO_Scs MO_WT MO_FL")  # §7.4.4.2
class QueryResp(Pdu):
    time: Annotated[bytes, Octets(8)]
    query_type: U8
    query_code: Annotated[bytes, Octets(10)]
    mt_tl_msg: U32
    mt_tl_usr: U32
    mt_scs: U32
    mt_wt: U32
    mt_fl: U32
    mo_scs: U32
    mo_wt: U32
    mo_fl: U32


@pdu(CANCEL)  # §7.4.6.1
class Cancel(Pdu):
    msg_id: U64


@pdu(CANCEL | ANSWER)  # §7.4.6.2
class CancelResp(Pdu):
    success_id: Annotated[int, Int(1, 4)]


@pdu(ACTIVE_TEST)  # §7.4.7.1
class ActiveTest(Pdu):
    pass


@pdu(ACTIVE_TEST | ANSWER)  # §7.4.7.2
class ActiveTestResp(Pdu):
    reserved: U8


@pdu(FWD, FWD_SPELLINGS)  # §7.4.8.1
class Fwd(Pdu):
    source_id: Annotated[bytes, Octets(6)]
    destination_id: Annotated[bytes, Octets(6)]
    nodes_count: U8
    msg_fwd_type: U8
    msg_id: U64
    pk_total: U8
    pk_number: U8
    registered_delivery: U8
    msg_level: U8
    service_id: Annotated[bytes, Octets(10)]
    fee_user_type: U8
    fee_terminal_id: Annotated[bytes, Octets(21)]
    fee_terminal_pseudo: Annotated[bytes, Octets(0, 32)]
    fee_terminal_user_type: Annotated[int, Int(0, 1)]
    tp_pid: U8
    tp_udhi: U8
    msg_fmt: U8
    msg_src: Annotated[bytes, Octets(6)]
    fee_type: Annotated[bytes, Octets(2)]
    fee_code: Annotated[bytes, Octets(6)]
    valid_time: Annotated[bytes, Octets(17)]
    at_time: Annotated[bytes, Octets(17)]
    src_id: Annotated[bytes, Octets(21)]
    src_pseudo: Annotated[bytes, Octets(0, 32)]
    src_user_type: Annotated[int, Int(0, 1)]
    src_type: Annotated[int, Int(0, 1)]
    dest_usr_tl: U8
    dest_id: Annotated[list[bytes], Many(21, by="dest_usr_tl")]
    dest_pseudo: Annotated[bytes, Octets(0, 32)]
    dest_user_type: Annotated[int, Int(0, 1)]
    msg_length: U8
    msg_content: Annotated[bytes, Var(by="msg_length")]
    reserve: Annotated[bytes, Octets(8, 0)]
    link_id: Annotated[bytes, Octets(0, 20)]


@pdu(FWD | ANSWER, "Pk_total Pk_number")  # §7.4.8.2
class FwdResp(Pdu):
    msg_id: U64
    pk_total: U8
    pk_number: U8
    result: Annotated[int, Int(1, 4)]


PDUS: dict[int, type[Pdu]] = {
    table.command: table
    for table in (
        Connect,
        ConnectResp,
        Terminate,
        TerminateResp,
        Submit,
        SubmitResp,
        Deliver,
        DeliverResp,
        Query,
        QueryResp,
        Cancel,
        CancelResp,
        ActiveTest,
        ActiveTestResp,
        Fwd,
        FwdResp,
    )
}


class MessageId(NamedTuple):
    """The parts of a Msg_Id (§7.4.3.2); a carrier's may hold anything."""

    month: int
    day: int
    hour: int
    minute: int
    second: int
    gateway: int
    sequence: int


def message_id(
    month: int, day: int, hour: int, minute: int, second: int, gateway: int, sequence: int
) -> bytes:
    """A Msg_Id's 8 octets: 4 bits of month, 5, 5, 6, 6, then 22 of gateway code and 16 of sequence."""
    value = month << 60 | day << 55 | hour << 50 | minute << 44 | second << 38 | gateway << 16 | sequence
    return value.to_bytes(8, "big")


def message_id_parts(octets: bytes) -> MessageId:
    """The inverse of `message_id`."""
    v = int.from_bytes(octets, "big")
    return MessageId(
        v >> 60, v >> 55 & 31, v >> 50 & 31, v >> 44 & 63, v >> 38 & 63, v >> 16 & 0x3FFFFF, v & 0xFFFF
    )


def authenticator_source(account: bytes, secret: bytes, timestamp: int) -> bytes:
    """AuthenticatorSource (§7.4.1.1); `timestamp` is MMDDHHMMSS read as a number.

    The text hashes Source_Addr unpadded; gocmpp pads it to 6 octets: a server accepts either, which differ
    only for an account of less than 6 characters.
    """
    return md5(account + bytes(9) + secret + b"%010d" % timestamp, usedforsecurity=False).digest()


def authenticator_ismg(status: int, octets: int, source: bytes, secret: bytes) -> bytes:
    """AuthenticatorISMG (§7.4.1.2); `octets` is the width of Status on the wire, 1 or 4."""
    return md5(status.to_bytes(octets, "big") + source + secret, usedforsecurity=False).digest()
