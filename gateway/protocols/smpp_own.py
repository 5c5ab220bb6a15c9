"""SMPP: the bodies of PDUs that the gateway itself makes up, the text of receipts, read and written, and the
fields that may stand or not."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.errors import WireError
from gateway.model import Reason
from gateway.protocols import smpp_tables as wire
from gateway.protocols.kinds import Tlv
from gateway.protocols.message import Delivery, Report, Submission
from gateway.protocols.text import UCS2

STATES = {
    0: b"SCHEDULED",
    1: b"ENROUTE",
    2: b"DELIVRD",
    3: b"EXPIRED",
    4: b"DELETED",
    5: b"UNDELIV",
    6: b"ACCEPTD",
    7: b"UNKNOWN",
    8: b"REJECTD",
    9: b"SKIPPED",
}
"""message_state (§5.2.28; 0 and 9 are 5.0's) as receipts write it."""

REJECTED = 8
MOST_FAILURES = 255  # of one answer

_PARTS = {
    name: re.compile(pattern, re.IGNORECASE)
    for name, pattern in (
        ("id", rb"\bid:\s*([^\s]+)"),
        ("submit", rb"\bsubmit[ _]date:\s*(\d+)"),
        ("done", rb"\bdone[ _]date:\s*(\d+)"),
        ("stat", rb"\bstat:\s*(\w+)"),
    )
}


def report(text: bytes, optional: Mapping[int, bytes], subscriber: bytes) -> Report:
    """A delivery receipt: by its optional fields, and where there are none by its text (appendix B), of which
    any part may be missing; some write it in UCS-2."""
    if not text[::2].strip(b"\0"):
        text = text[1::2]
    said = {name: found[1] if (found := part.search(text)) else b"" for name, part in _PARTS.items()}
    identity = optional.get(wire.RECEIPTED_MESSAGE_ID, b"").partition(b"\0")[0] or said["id"]
    state = optional.get(wire.MESSAGE_STATE, b"")
    stat = STATES.get(state[0], b"UNKNOWN") if state else said["stat"]
    return Report(identity, stat[:16], said["submit"][:12], said["done"][:12], subscriber)


def receipt(identity: bytes, stat: bytes, submitted: str, done: str) -> bytes:
    """The text of a receipt in its usual form; the times are YYMMDDhhmm."""
    dlvrd = b"001" if stat == b"DELIVRD" else b"000"
    times = submitted.encode(), done.encode()
    return b"id:%b sub:001 dlvrd:%b submit date:%b done date:%b stat:%b err:000 text:" % (
        *(identity, dlvrd, *times, stat),
    )


def rejected_report(
    submission: Submission,
    destination: bytes,
    message_id: bytes,
    submit_time: str,
    done_time: str,
    *,
    tlvs: bool,
) -> wire.SubmitSm:
    """A deliver_sm that reports REJECTD for one recipient."""
    optional = [(wire.RECEIPTED_MESSAGE_ID, message_id + b"\0"), (wire.MESSAGE_STATE, bytes([REJECTED]))]
    return wire.DeliverSm(
        source_addr=destination[:20],
        destination_addr=submission.source[:20],
        esm_class=0x04,
        short_message=receipt(message_id, STATES[REJECTED], submit_time, done_time),
        tlvs=optional if tlvs else [],
    )


def confirmation(specimen: bytes, reply: Delivery, content: bytes) -> wire.SubmitSm:
    """A submit_sm of UCS-2 to whom a reply came from, from the number that it went to, without a receipt.

    What carriers bill and route by is that of `specimen`, a submit_sm of the account; b"": there is none.
    """
    like = wire.SubmitSm()
    if specimen[4:8] == wire.SUBMIT_SM.to_bytes(4, "big"):
        with suppress(WireError):
            like = wire.SubmitSm.decode(specimen, 16, len(specimen))
    return wire.SubmitSm(
        service_type=like.service_type,
        source_addr_ton=like.source_addr_ton,
        source_addr_npi=like.source_addr_npi,
        source_addr=reply.number,
        dest_addr_ton=like.dest_addr_ton,
        dest_addr_npi=like.dest_addr_npi,
        destination_addr=reply.subscriber,
        data_coding=UCS2,
        short_message=content,
    )


def explained(command: int, reason: Reason) -> bytes:
    """The body of a refusal to a peer of 5.0: no message id, and why."""
    why = [(wire.ADDITIONAL_STATUS_INFO_TEXT, reason.value.encode() + b"\0")]
    if command == wire.REPLACE_SM:
        return b""
    if command == wire.SUBMIT_MULTI:
        return wire.SubmitMultiResp(tlvs=why).encode()
    return wire.SubmitSmResp(tlvs=why).encode()


def spellings(message_id: bytes) -> set[bytes]:
    """A message id as it stands, in lower case, and in decimal: each number that it may be, as digits alone
    may be hex or decimal. Two ids may be one where they have one of these in common."""
    found = {message_id, message_id.lower()}
    if message_id.isalnum():  # not " 1f", not "+5", not "1_0"
        for base in (10, 16):
            with suppress(ValueError):
                found.add(b"%d" % int(message_id, base))
    return found


def optional(tlvs: list[Tlv], text: bytes) -> tuple[bytes, int, int, int]:
    """(text, parts, this part, their reference) of a message with optional fields. Of a repeated one
    the first counts, but for a second text: nobody knows which of them the subscriber would read. Where
    one of the three that make a part is missing, the others say nothing (SMPP 3.4 §5.3.2.22 to 24)."""
    total = number = reference = -1
    payload: bytes | None = None
    for tag, value in reversed(tlvs):
        if tag == wire.MESSAGE_PAYLOAD:
            if payload not in (None, value):
                raise WireError("two_texts", "message_payload")
            payload = value
        elif tag == wire.SAR_TOTAL_SEGMENTS and value:
            total = value[0]
        elif tag == wire.SAR_SEGMENT_SEQNUM and value:
            number = value[0]
        elif tag == wire.SAR_MSG_REF_NUM and len(value) == 2:
            reference = int.from_bytes(value, "big")
    if payload is not None and text and payload != text:
        raise WireError("two_texts", "message_payload")
    if min(total, number, reference) < 0:
        total, number, reference = 1, 1, 0
    return text or payload or b"", total, number, reference


def optional_from(data: bytes, at: int) -> int:
    """Where the optional fields begin of a deliver_sm, or submit_sm, whose body is at data[at:] and whose
    other fields could be read."""
    for others in (2, 2, 3, 0, 4):  # octets behind each text, up to sm_length
        at = data.index(b"\0", at) + 1 + others
    return at + 1 + data[at]


def congestion(data: bytes, start: int, end: int, otherwise: int) -> int:
    """congestion_state of the answer in data[start:end]; `otherwise` where it says none that can be read."""
    try:
        answer: Any = wire.PDUS[int.from_bytes(data[start + 4 : start + 8], "big")].decode(
            data, start + 16, end
        )
    except (KeyError, WireError):
        return otherwise
    state = dict(reversed(getattr(answer, "tlvs", ()))).get(wire.CONGESTION_STATE, b"")
    return state[0] if state else otherwise


def telling(data: bytes, start: int, end: int, statuses: Sequence[int]) -> Callable[[bytes], bytes] | None:
    """What makes the carrier's answer to a submit_multi say whom else it does not reach, who have a status
    here."""
    if data[start + 4 : start + 8] != wire.SUBMIT_MULTI.to_bytes(4, "big"):
        return None
    everybody = wire.SubmitMulti.decode(data, start + 16, end).dest_address
    refused = [(*one[1:], status) for one, status in zip(everybody, statuses, strict=True) if status]
    return partial(with_failures, refused)


def with_failures(refused: Sequence[tuple[Any, ...]], answer: bytes) -> bytes:
    """A submit_multi_resp that says of these, too, that they don't get it; as it came where it can't be read
    or has no room."""
    try:
        body = wire.SubmitMultiResp.decode(answer, 16, len(answer))
    except WireError:
        return answer
    everybody = [*(body.unsuccess_sme or ()), *refused]
    if not body.message_id or len(everybody) > MOST_FAILURES:
        return answer
    body.unsuccess_sme, body.no_unsuccess = everybody, len(everybody)
    octets = body.encode()
    return (16 + len(octets)).to_bytes(4, "big") + answer[4:16] + octets


def failures(data: bytes, start: int, end: int) -> dict[bytes, int]:
    """Who of several does not get what a submit_multi_resp accepts, by his address as it was written."""
    if data[start + 4 : start + 8] != (wire.SUBMIT_MULTI | wire.ANSWER).to_bytes(4, "big"):
        return {}
    try:
        answer = wire.SubmitMultiResp.decode(data, start + 16, end)
    except WireError:  # the id was read; of the rest nobody can say what it means
        return {}
    return {address: status for _, _, address, status in answer.unsuccess_sme or ()}
