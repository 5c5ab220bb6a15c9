"""SGIP: the bodies of requests that the gateway itself makes up, or mends to read them; how they are numbered
is the relay's."""

from gateway.errors import WireError
from gateway.protocols import sgip_tables as wire
from gateway.protocols.message import Delivery
from gateway.protocols.text import UCS2

FAILED, NOT_OFFERED = 2, 30
"""State of a Report, and its ErrorCode (§4.3): this service is not to be had."""
NEVER, FIRST_BY_REPLY = 2, 0
"""ReportFlag: no report is wanted. MorelatetoMTFlag: the first message that a reply brought about."""

_LENGTH_AT, _RESERVE = wire.Deliver.offset("message_length"), 8


def whole_deliver(data: bytes, at: int, end: int) -> bytes:
    """The body of the Deliver in data[at:end], as long as its fields say: some peers leave Reserve out, and
    others have more behind it."""
    place = at + _LENGTH_AT
    length = int.from_bytes(data[place : min(place + 4, end)], "big")
    whole = place + 4 + length + _RESERVE
    return data[at : min(end, whole)].ljust(whole - at, b"\0") if end >= whole - _RESERVE else data[at:end]


def rejected_report(destination: bytes, message_id: bytes) -> wire.Report:
    """A Report on the Submit of this id: it failed for one recipient."""
    return wire.Report(
        submit_sequence=message_id, user_number=destination, state=FAILED, error_code=NOT_OFFERED
    )


def confirmation(specimen: bytes, reply: Delivery, content: bytes) -> wire.Submit:
    """A Submit of UCS-2 to whom a reply came from, from the number that it went to, without a report.

    What carriers bill by is that of `specimen`, a Submit of the account; b"": there is none.
    """
    try:
        like = wire.Submit.decode(specimen, 20, len(specimen))
    except WireError:
        like = wire.Submit(fee_type=1)
    return wire.Submit(
        sp_number=reply.number,
        charge_number=like.charge_number,
        user_number=[reply.subscriber],
        corp_id=like.corp_id,
        service_type=like.service_type,
        fee_type=like.fee_type,
        fee_value=like.fee_value,
        given_value=like.given_value,
        agent_flag=like.agent_flag,
        more_late_to_mt_flag=FIRST_BY_REPLY,
        priority=like.priority,
        report_flag=NEVER,
        message_coding=UCS2,
        message_content=content,
    )
