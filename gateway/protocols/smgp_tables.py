"""SMGP 3.0.3 and 1.3 (China Telecom), the PDUs: each class is the specification's table of one PDU.

Column 0 is the layout of 1.3, which has no FixedFee, column 1 that of 3.0. Names in errors are the
specification's (6.1 "PDUs", 6.2 "fields"). Below the tables stand the two digests and the report's text. What
a gateway makes of it all is in `smgp`.
"""

import re
from functools import partial
from hashlib import md5
from typing import Annotated

from gateway.protocols.kinds import U8, U32, Many, Octets, Raw, Tlv, Tlvs, Var
from gateway.protocols.table import Pdu, alike, joined, pdu

LOGIN, SUBMIT, DELIVER, ACTIVE_TEST, FORWARD, EXIT, QUERY = 1, 2, 3, 4, 5, 6, 7
ANSWER = 0x8000_0000
"""The bit that makes a request's command that of its answer."""

ROUTING = {
    0x8: "Query_TE_Route",
    0x9: "Query_SP_Route",
    0xA: "Payment_Request",
    0xB: "Payment_Affirm",
    0xC: "Query_UserState",
    0xD: "Get_All_TE_Route",
    0xE: "Get_All_SP_Route",
    0xF: "Update_TE_Route",
    0x10: "Update_SP_Route",
    0x11: "Push_Update_TE",
    0x12: "Push_Update_SP",
}
"""Between gateways, GNS and prepaid systems only: known, never spoken here, so they have no table."""

TP_UDHI, PK_TOTAL, PK_NUMBER, DEST_TERM_TYPE, SRC_TERM_TYPE = 0x0002, 0x0009, 0x000A, 0x0007, 0x000D
"""Tags of the optional fields that are read here; all others pass untouched."""

BILLED = {0x0004, 0x0010, 0x0012}
"""Tags that say who pays and for what: ChargeUserType, MsgSrc, MServiceID."""

SPELLINGS = "ServiceID SrcTermID ChargeTermID DestTermIDCount DestTermID MsgID ClientID"
smgp = partial(pdu, spell=joined)


@smgp(LOGIN, "ClientID TimeStamp")
class Login(Pdu):
    client_id: Annotated[bytes, Octets(8)]
    authenticator_client: Annotated[bytes, Raw(16)]
    login_mode: U8
    time_stamp: U32
    client_version: U8


@smgp(LOGIN | ANSWER)
class LoginResp(Pdu):
    status: U32
    authenticator_server: Annotated[bytes, Raw(16)]
    server_version: U8


@smgp(SUBMIT, SPELLINGS)
class Submit(Pdu):
    msg_type: U8
    need_report: U8
    priority: U8
    service_id: Annotated[bytes, Octets(10)]
    fee_type: Annotated[bytes, Octets(2)]
    fee_code: Annotated[bytes, Octets(6)]
    fixed_fee: Annotated[bytes, Octets(0, 6)]
    msg_format: U8
    valid_time: Annotated[bytes, Octets(17)]
    at_time: Annotated[bytes, Octets(17)]
    src_term_id: Annotated[bytes, Octets(21)]
    charge_term_id: Annotated[bytes, Octets(21)]
    dest_term_id_count: U8
    dest_term_id: Annotated[list[bytes], Many(21, by="dest_term_id_count")]
    msg_length: U8
    msg_content: Annotated[bytes, Var(by="msg_length")]
    reserve: Annotated[bytes, Octets(8)]
    tlvs: Annotated[list[Tlv], Tlvs()]


@smgp(SUBMIT | ANSWER, SPELLINGS)
class SubmitResp(Pdu):
    msg_id: Annotated[bytes, Raw(10)]
    status: U32


DeliverResp = alike(SubmitResp, DELIVER | ANSWER, "DeliverResp")
ForwardResp = alike(SubmitResp, FORWARD | ANSWER, "ForwardResp")


@smgp(DELIVER, SPELLINGS)
class Deliver(Pdu):
    msg_id: Annotated[bytes, Raw(10)]
    is_report: U8
    msg_format: U8
    recv_time: Annotated[bytes, Octets(14)]
    src_term_id: Annotated[bytes, Octets(21)]
    dest_term_id: Annotated[bytes, Octets(21)]
    msg_length: U8
    msg_content: Annotated[bytes, Var(by="msg_length")]
    reserve: Annotated[bytes, Octets(8)]
    tlvs: Annotated[list[Tlv], Tlvs()]


@smgp(ACTIVE_TEST)
class ActiveTest(Pdu):
    pass


ActiveTestResp = alike(ActiveTest, ACTIVE_TEST | ANSWER, "ActiveTestResp")
Exit = alike(ActiveTest, EXIT, "Exit")
ExitResp = alike(ActiveTest, EXIT | ANSWER, "ExitResp")


@smgp(QUERY)
class Query(Pdu):
    query_time: Annotated[bytes, Octets(8)]
    query_type: U8
    query_code: Annotated[bytes, Octets(10)]


@smgp(QUERY | ANSWER, "MT_TLMsg MT_Tlusr MT_Scs MT_WT MT_FL MO_Scs MO_WT MO_FL")
class QueryResp(Pdu):
    query_time: Annotated[bytes, Octets(8)]
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
    reserve: Annotated[bytes, Octets(8)]


PDUS: dict[int, type[Pdu]] = {
    table.command: table
    for table in (
        Login,
        LoginResp,
        Submit,
        SubmitResp,
        Deliver,
        DeliverResp,
        ActiveTest,
        ActiveTestResp,
        Exit,
        ExitResp,
        Query,
        QueryResp,
    )
}


def authenticator_client(account: bytes, secret: bytes, timestamp: int) -> bytes:
    """AuthenticatorClient; `timestamp` is MMDDHHMMSS read as a number. ClientID is hashed unpadded, and seven
    zeros follow it where CMPP has nine."""
    return md5(account + bytes(7) + secret + b"%010d" % timestamp, usedforsecurity=False).digest()


def authenticator_server(status: int, client: bytes, secret: bytes) -> bytes:
    """AuthenticatorServer; a library is known that hashes another Status: never insist on it."""
    return md5(status.to_bytes(4, "big") + client + secret, usedforsecurity=False).digest()


def message_id(month: int, day: int, hour: int, minute: int, gateway: int, number: int) -> bytes:
    """A MsgID's 10 octets of BCD: 6 digits of gateway code, MMDDHHMM, 6 digits of number (6.2.26)."""
    return bytes.fromhex(
        f"{gateway % 10**6:06d}{month:02d}{day:02d}{hour:02d}{minute:02d}{number % 10**6:06d}"
    )


_LABELS = {
    name: re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for name, pattern in (
        ("sub", rb"sub:(.{0,3})"),
        ("dlvrd", rb"dlvrd:(.{0,3})"),
        ("submit_date", rb"submit[ _]date:(.{0,10})"),
        ("done_date", rb"done[ _]date:(.{0,10})"),
        ("stat", rb"stat:([^ \0]{0,7})"),
        ("err", rb"err:(.{0,3})"),
        ("text", rb"te?xt:(.{0,20})"),
    )
}
_HEX = re.compile(rb"[0-9A-Fa-f]{20}").fullmatch


def report(content: bytes) -> dict[str, bytes]:
    """The parts of a report's text, by the names of the specification (6.2.63), and `id`, 10 raw octets.

    Peers spell the labels in many ways and put blanks or not, and the id may hold any octet: it is taken by
    its place, the rest is looked for behind it, each part by itself. Some write the id as 20 hexadecimal
    digits. What is not found is not in the answer.
    """
    raw, spelt = content[3:13], content[3:23]
    found = {"id": bytes.fromhex(spelt.decode("ascii")) if _HEX(spelt) else raw}
    at = 13
    for name, label in _LABELS.items():  # in their order, as the text may hold any of them again
        if part := label.search(content, at):
            found[name], at = part[1], part.end()
    return found


def report_text(
    identity: bytes, stat: bytes, submitted: bytes, done: bytes, err: bytes = b"000", text: bytes = b"000"
) -> bytes:
    """The 122 octets of a report's text; `text` begins with its own length in three digits."""
    return b"id:%b sub:001 dlvrd:001 Submit date:%b done date:%b stat:%b err:%b Text:%b" % (
        *(identity, submitted.ljust(10), done.ljust(10), stat.ljust(7), err),
        text.ljust(20, b"\0"),
    )
