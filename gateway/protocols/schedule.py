"""Scheduled delivery, as CMPP, SGIP, SMGP and SMPP all write it (SMPP 3.4 §7.1.1 "Time definitions").

YYMMDDhhmmsstnnp    absolute: tenths t, then nn quarters of an hour by which it is ahead of (p = "+") or
                    behind ("-") UTC
YYMMDDhhmmss        absolute, in Asia/Shanghai: what most senders in China write
YYMMDDhhmmss000R    relative: so long after now
empty, or zeros     at once
"""

import re
from datetime import UTC, datetime, timedelta

_WRITTEN = re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:(\d)(\d\d)([-+R]))?")
_SHANGHAI_QUARTERS = 32
_MOST_QUARTERS = 48
_YEAR, _MONTH = timedelta(days=365), timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def deliver_at(octets: bytes, now: int) -> int:
    """The instant (ms) that a schedule names; 0 for at once. `now` is in ms.

    Raises ValueError when it can't be read.
    """
    if not octets.strip(b"0 "):
        return 0
    found = _WRITTEN.fullmatch(octets)
    if found is None:
        raise ValueError(f"{octets!r} is no time")
    year, month, day, hour, minute, second = (int(digits) for digits in found.groups()[:6])
    tenths, quarters = int(found[7] or 0), int(found[8] or _SHANGHAI_QUARTERS)
    if found[9] == b"R":
        clock = timedelta(days=day, hours=hour, minutes=minute, seconds=second, milliseconds=100 * tenths)
        return now + (year * _YEAR + month * _MONTH + clock) // _MILLISECOND
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, 100_000 * tenths, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{octets!r} is no time: {error}") from None
    if quarters > _MOST_QUARTERS:
        raise ValueError(f"{octets!r} is no time: more than twelve hours from UTC")
    ahead = timedelta(minutes=15 * (-quarters if found[9] == b"-" else quarters))
    return (local - ahead - _EPOCH) // _MILLISECOND
