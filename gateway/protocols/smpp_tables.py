"""SMPP 3.4 and 5.0, the PDUs: each class is the specification's table of one PDU.

Sections are those of SMPP 3.4 issue 1.2; 5.0 keeps the layouts and adds broadcasts, which are known by name
only, as nobody may send them here. Names in errors are the specification's. What stands in the header before
these bodies (command_status), and what a gateway makes of it all, is in `smpp`.
"""

from functools import partial
from typing import Annotated, Any

from gateway.protocols.kinds import U8, Int, Items, Text, Tlv, Tlvs, Var
from gateway.protocols.table import Pdu, alike, pdu

BIND_RECEIVER, BIND_TRANSMITTER, BIND_TRANSCEIVER, OUTBIND = 1, 2, 9, 0xB
QUERY_SM, SUBMIT_SM, DELIVER_SM, UNBIND, REPLACE_SM, CANCEL_SM = 3, 4, 5, 6, 7, 8
ENQUIRE_LINK, SUBMIT_MULTI, ALERT_NOTIFICATION, DATA_SM = 0x15, 0x21, 0x102, 0x103
ANSWER = GENERIC_NACK = 0x8000_0000
"""The bit that makes a request's command that of its answer; alone it answers what was not understood."""

BROADCAST = {0x111: "broadcast_sm", 0x112: "query_broadcast_sm", 0x113: "cancel_broadcast_sm"}
"""Of 5.0, to all who are in an area: known, never spoken here, so they have no table."""

RECEIPTED_MESSAGE_ID, MESSAGE_STATE, MESSAGE_PAYLOAD = 0x001E, 0x0427, 0x0424
SC_INTERFACE_VERSION, ADDITIONAL_STATUS_INFO_TEXT, CONGESTION_STATE = 0x0210, 0x001D, 0x0428
SAR_MSG_REF_NUM, SAR_TOTAL_SEGMENTS, SAR_SEGMENT_SEQNUM = 0x020C, 0x020E, 0x020F
"""Tags of the optional fields that are read or written here (§5.3.2); all others pass untouched."""

Optional = Annotated[list[Tlv], Tlvs()]
Address = Annotated[bytes, Text(21)]
Long = Annotated[bytes, Text(65)]
Time = Annotated[bytes, Text(17)]
smpp = partial(pdu, spell=str)
answer = partial(pdu, spell=str, bodiless=True)  # where something went wrong many peers send no body


@smpp(BIND_RECEIVER)  # §4.1.3
class BindReceiver(Pdu):
    system_id: Annotated[bytes, Text(16)]
    password: Annotated[bytes, Text(9)]
    system_type: Annotated[bytes, Text(13)]
    interface_version: U8
    addr_ton: U8
    addr_npi: U8
    address_range: Annotated[bytes, Text(41)]


BindTransmitter = alike(BindReceiver, BIND_TRANSMITTER, "BindTransmitter")  # §4.1.1
BindTransceiver = alike(BindReceiver, BIND_TRANSCEIVER, "BindTransceiver")  # §4.1.5


@answer(BIND_RECEIVER | ANSWER)  # §4.1.4
class BindReceiverResp(Pdu):
    system_id: Annotated[bytes, Text(16)]
    tlvs: Optional


BindTransmitterResp = alike(BindReceiverResp, BIND_TRANSMITTER | ANSWER, "BindTransmitterResp")  # §4.1.2
BindTransceiverResp = alike(BindReceiverResp, BIND_TRANSCEIVER | ANSWER, "BindTransceiverResp")  # §4.1.6


@smpp(OUTBIND)  # §4.1.7
class Outbind(Pdu):
    system_id: Annotated[bytes, Text(16)]
    password: Annotated[bytes, Text(9)]


@smpp(UNBIND)  # §4.2.1
class Unbind(Pdu):
    pass


UnbindResp = alike(Unbind, UNBIND | ANSWER, "UnbindResp")  # §4.2.2
GenericNack = alike(Unbind, GENERIC_NACK, "GenericNack")  # §4.3.1
EnquireLink = alike(Unbind, ENQUIRE_LINK, "EnquireLink")  # §4.11.1
EnquireLinkResp = alike(Unbind, ENQUIRE_LINK | ANSWER, "EnquireLinkResp")  # §4.11.2
CancelSmResp = alike(Unbind, CANCEL_SM | ANSWER, "CancelSmResp")  # §4.9.2
ReplaceSmResp = alike(Unbind, REPLACE_SM | ANSWER, "ReplaceSmResp")  # §4.10.2


@smpp(SUBMIT_SM)  # §4.4.1
class SubmitSm(Pdu):
    service_type: Annotated[bytes, Text(6)]
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Address
    dest_addr_ton: U8
    dest_addr_npi: U8
    destination_addr: Address
    esm_class: U8
    protocol_id: U8
    priority_flag: U8
    schedule_delivery_time: Time
    validity_period: Time
    registered_delivery: U8
    replace_if_present_flag: U8
    data_coding: U8
    sm_default_msg_id: U8
    sm_length: U8
    short_message: Annotated[bytes, Var(by="sm_length")]
    tlvs: Optional


DeliverSm = alike(SubmitSm, DELIVER_SM, "DeliverSm")  # §4.6.1


@answer(SUBMIT_SM | ANSWER)  # §4.4.2
class SubmitSmResp(Pdu):
    message_id: Long
    tlvs: Optional


DeliverSmResp = alike(SubmitSmResp, DELIVER_SM | ANSWER, "DeliverSmResp")  # §4.6.2
DataSmResp = alike(SubmitSmResp, DATA_SM | ANSWER, "DataSmResp")  # §4.7.2

TO_ADDRESS, TO_LIST = 1, 2


@smpp(SUBMIT_MULTI)  # §4.5.1
class SubmitMulti(Pdu):
    service_type: Annotated[bytes, Text(6)]
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Address
    number_of_dests: U8
    dest_address: Annotated[
        list[tuple[Any, ...]],  # (1, ton, npi, address), or (2, name of a list)
        Items(by="number_of_dests", choices={TO_ADDRESS: (Int(1), Int(1), Text(21)), TO_LIST: (Text(21),)}),
    ]
    esm_class: U8
    protocol_id: U8
    priority_flag: U8
    schedule_delivery_time: Time
    validity_period: Time
    registered_delivery: U8
    replace_if_present_flag: U8
    data_coding: U8
    sm_default_msg_id: U8
    sm_length: U8
    short_message: Annotated[bytes, Var(by="sm_length")]
    tlvs: Optional


@answer(SUBMIT_MULTI | ANSWER)  # §4.5.2
class SubmitMultiResp(Pdu):
    message_id: Long
    no_unsuccess: U8
    unsuccess_sme: Annotated[  # (ton, npi, address, status)
        list[tuple[Any, ...]], Items(Int(1), Int(1), Text(21), Int(4), by="no_unsuccess")
    ]
    tlvs: Optional


@smpp(DATA_SM)  # §4.7.1
class DataSm(Pdu):
    service_type: Annotated[bytes, Text(6)]
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Long
    dest_addr_ton: U8
    dest_addr_npi: U8
    destination_addr: Long
    esm_class: U8
    registered_delivery: U8
    data_coding: U8
    tlvs: Optional


@smpp(QUERY_SM)  # §4.8.1
class QuerySm(Pdu):
    message_id: Long
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Address


@answer(QUERY_SM | ANSWER)  # §4.8.2
class QuerySmResp(Pdu):
    message_id: Long
    final_date: Time
    message_state: U8
    error_code: U8


@smpp(CANCEL_SM)  # §4.9.1
class CancelSm(Pdu):
    service_type: Annotated[bytes, Text(6)]
    message_id: Long
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Address
    dest_addr_ton: U8
    dest_addr_npi: U8
    destination_addr: Address


@smpp(REPLACE_SM)  # §4.10.1
class ReplaceSm(Pdu):
    message_id: Long
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Address
    schedule_delivery_time: Time
    validity_period: Time
    registered_delivery: U8
    sm_default_msg_id: U8
    sm_length: U8
    short_message: Annotated[bytes, Var(by="sm_length")]
    tlvs: Optional  # 5.0: message_payload


@smpp(ALERT_NOTIFICATION)  # §4.12.1
class AlertNotification(Pdu):
    source_addr_ton: U8
    source_addr_npi: U8
    source_addr: Long
    esme_addr_ton: U8
    esme_addr_npi: U8
    esme_addr: Long
    tlvs: Optional


PDUS: dict[int, type[Pdu]] = {
    table.command: table
    for table in (
        BindReceiver,
        BindReceiverResp,
        BindTransmitter,
        BindTransmitterResp,
        BindTransceiver,
        BindTransceiverResp,
        Outbind,
        Unbind,
        UnbindResp,
        GenericNack,
        SubmitSm,
        SubmitSmResp,
        SubmitMulti,
        SubmitMultiResp,
        DeliverSm,
        DeliverSmResp,
        DataSm,
        DataSmResp,
        QuerySm,
        QuerySmResp,
        CancelSm,
        CancelSmResp,
        ReplaceSm,
        ReplaceSmResp,
        EnquireLink,
        EnquireLinkResp,
        AlertNotification,
    )
}
