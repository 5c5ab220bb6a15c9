"""SMGP: the bodies of requests that the gateway itself makes up; how they are numbered is the relay's."""

from gateway.errors import WireError
from gateway.protocols import smgp_tables as wire
from gateway.protocols.message import Delivery, Submission
from gateway.protocols.text import UCS2

UNKNOWN_ERROR = b"999"
"""`err` of a report that no other code fits; 000 would say that all was well."""


def rejected_report(
    submission: Submission, destination: bytes, message_id: bytes, submit_time: str, done_time: str
) -> wire.Deliver:
    """A Deliver that reports REJECTD for one recipient; the times are YYMMDDhhmm."""
    times = submit_time.encode(), done_time.encode()
    return wire.Deliver(
        msg_id=message_id,
        is_report=1,
        recv_time=f"20{done_time}00".encode(),
        src_term_id=destination,
        dest_term_id=submission.source,
        msg_content=wire.report_text(message_id, b"REJECTD", *times, UNKNOWN_ERROR),
    )


def confirmation(column: int, specimen: bytes, reply: Delivery, content: bytes) -> wire.Submit:
    """A Submit of UCS-2 to whom a reply came from, from the number that it went to, without a report.

    What carriers bill by is that of `specimen`, a Submit of the account; b"": there is none.
    """
    try:
        like = wire.Submit.decode(specimen, 12, len(specimen), column)
    except WireError:
        like = wire.Submit(fee_type=b"00")
    return wire.Submit(
        msg_type=6,
        service_id=like.service_id,
        fee_type=like.fee_type,
        fee_code=like.fee_code,
        fixed_fee=like.fixed_fee,
        msg_format=UCS2,
        src_term_id=reply.number,
        charge_term_id=like.charge_term_id,
        dest_term_id=[reply.subscriber],
        msg_content=content,
        tlvs=[(tag, value) for tag, value in like.tlvs if tag in wire.BILLED],
    )
