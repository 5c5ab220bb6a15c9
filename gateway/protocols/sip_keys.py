"""What the called side says inside a call: keys by INFO (RFC 6086; `application/dtmf-relay` and
`application/dtmf`, which no RFC defines and every peer sends), and the "no" of a human (RFC 8197)."""

import re

from gateway.protocols.sip import Message
from gateway.protocols.sip_answers import said_no

HUMAN_NO = "607"
"""What stands in a record in place of a key."""

_RELAYED = re.compile(rb"^\s*signal\s*=\s*(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_KEYS = {b"10": "*", b"11": "#", b"star": "*", b"pound": "#"}


def pressed(message: Message) -> str:
    """The key of an INFO, 0-9, * or #; "" where it carries none."""
    kind = (message.value(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind == b"application/dtmf-relay":
        found = _RELAYED.search(message.body)
        word = b"" if found is None else found[1].lower()
    elif kind == b"application/dtmf":
        word = message.body.strip().lower()
    else:
        return ""
    key = _KEYS.get(word, word.decode("latin-1"))
    return key if len(key) == 1 and key in "0123456789*#" else ""


def refuses(message: Message, keys: str) -> str:
    """By which word a message of the called side refuses further calls: one of `keys`, or `HUMAN_NO`; ""
    where it does not."""
    if message.method == b"INFO":
        key = pressed(message)
        return key if key and key in keys else ""
    final = message.method == b"BYE" or message.status >= 300
    return HUMAN_NO if final and said_no(message) else ""
