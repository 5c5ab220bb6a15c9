"""CMPP: the bodies of requests that the gateway itself makes up; how they are numbered is the relay's."""

from gateway.errors import WireError
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.message import Delivery, Submission
from gateway.protocols.text import UCS2


def rejected_report(
    submission: Submission, destination_index: int, message_id: bytes, submit_time: str, done_time: str
) -> wire.Deliver:
    """A DELIVER that reports REJECTD for one recipient; the times are YYMMDDhhmm.

    Its content has 60 octets in both versions, as both texts say.
    """
    destination = submission.destinations[destination_index]
    number = int.from_bytes(message_id, "big")
    report = wire.StatusReport(
        msg_id=number,
        stat=b"REJECTD",
        submit_time=submit_time.encode(),
        done_time=done_time.encode(),
        dest_terminal_id=destination[:21],
    )
    return wire.Deliver(
        msg_id=number,
        dest_id=submission.source,
        src_terminal_id=destination,
        src_terminal_type=submission.pseudo,
        registered_delivery=1,
        msg_content=report.encode(),
    )


def confirmation(column: int, specimen: bytes, account: str, reply: Delivery, content: bytes) -> wire.Submit:
    """A SUBMIT of UCS-2 to whom a reply came from, from the number that it went to, without a report.

    What carriers bill and check by is that of `specimen`, a SUBMIT of the account; b"": there is none.
    """
    try:
        like = wire.Submit.decode(specimen, 12, len(specimen), column)
    except WireError:
        like = wire.Submit(msg_src=account.encode("ascii", "replace")[:6], fee_type=b"01")
    return wire.Submit(
        pk_total=1,
        pk_number=1,
        service_id=like.service_id,
        fee_user_type=like.fee_user_type,
        msg_fmt=UCS2,
        msg_src=like.msg_src,
        fee_type=like.fee_type,
        fee_code=like.fee_code,
        src_id=reply.number,
        dest_terminal_id=[reply.subscriber],
        dest_terminal_type=int(reply.pseudo),
        msg_content=content,
    )
