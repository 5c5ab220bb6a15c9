"""SMPP: command_status, and which one a refused or a malformed request deserves (3.4 §5.1.3)."""

from gateway.errors import WireError
from gateway.model import Reason

OK, COMMAND_LENGTH, COMMAND, ALREADY_BOUND, SYSTEM_ERROR, SOURCE, DESTINATION = 0, 2, 3, 5, 8, 0xA, 0xB
BIND_FAILED, PASSWORD, DESTINATIONS, LIST_NAME, DESTINATION_FLAG = 0xD, 0xE, 0x33, 0x34, 0x40
THROTTLED, SCHEDULE, DEFAULT_MESSAGE, RECEIVER_TEMPORARY = 0x58, 0x61, 0x63, 0x64
TLV_STREAM, TLV_NOT_ALLOWED, UNKNOWN_ERROR, PROHIBITED = 0xC0, 0xC1, 0xFF, 0x101
"""Values of command_status (§5.1.3); PROHIBITED is 5.0's."""

REFUSALS: dict[Reason, int] = {
    Reason.MALFORMED: 0x401,
    Reason.NOT_JUDGEABLE: 0x402,
    Reason.BLACKLISTED: 0x403,
    Reason.UNREGISTERED: 0x404,
    Reason.INSTITUTION_BARRED: 0x405,
    Reason.MANDATE_MISSING: 0x406,
    Reason.NOT_EFFECTIVE: 0x407,
    Reason.ACCOUNT_MISMATCH: 0x408,
    Reason.PURPOSE_MISMATCH: 0x409,
    Reason.REFUSED_BY_SUBSCRIBER: 0x40A,
    Reason.CONSENT_MISSING: 0x40B,
    Reason.THIRD_PARTY: 0x40C,
    Reason.NO_REPLY_PATH: 0x40D,
    Reason.QUIET_HOURS: 0x40E,
    Reason.OVER_FREQUENCY: 0x40F,
    Reason.SIGNATURE_MISSING: 0x410,
    Reason.SIGNATURE_MISMATCH: 0x411,
    Reason.OPTOUT_HINT_MISSING: 0x412,
    Reason.FORBIDDEN_CONTENT: 0x413,
    Reason.MASS_REFUSED: 0x414,
}
"""command_status of a refused message: 0x400-0x4FF are the vendor's. A number is never used again. A peer of
5.0 gets PROHIBITED, with the reason's name as additional_status_info_text."""

_STATUSES = {
    "message_length_exceeds_pdu": 1,
    "tlv_truncated_header": TLV_STREAM,
    "tlv_length_exceeds_pdu": TLV_STREAM,
    "bad_count": DESTINATIONS,
    "bad_value": DESTINATION_FLAG,
    "distribution_list": LIST_NAME,
    "default_message": DEFAULT_MESSAGE,
    "two_texts": TLV_NOT_ALLOWED,
    "unknown_command_id": COMMAND,
    "unknown_recipient": 0x13,
    "login_expected": 4,
}
_TOO_LONG = {
    "source_addr": SOURCE,
    "destination_addr": DESTINATION,
    "dest_address": DESTINATION,
    "message_id": 0xC,
    "service_type": 0x15,
    "schedule_delivery_time": SCHEDULE,
    "validity_period": 0x62,
    "password": PASSWORD,
    "system_id": 0xF,
    "system_type": 0x53,
}


def status_of(error: WireError) -> int:
    """The command_status that a malformed request deserves."""
    if error.cause == "c_octet_string_too_long":
        return _TOO_LONG.get(error.detail, COMMAND_LENGTH)
    return _STATUSES.get(error.cause, COMMAND_LENGTH)
