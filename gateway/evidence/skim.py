"""Records as one reads them who reads all of a day: where their members lie, by the first octet of each.

What holds for `record` holds here: pure, and a record is what `encode` has written. It is asked twice for
every record of the node, so it makes nothing that is not wanted; `half_read` makes a value of each member.
"""

from collections.abc import Iterable
from typing import Final

from gateway.evidence import record as rec

Places = tuple[int, int, int, int, int, int]
"""Of an attempt: its instant (ms), `pk_total`, `pk_number`; where the text of `region` begins and ends, two
octets behind which `subscriber` has its 16; and where `judged` begins, which goes to the end."""

_HEAD: Final = rec.HEADS[rec.ATTEMPT] + b"\xc4\x10"
_AT: Final = len(_HEAD) + 16
_U64: Final = 0xCF
_U64_OCTET: Final = bytes([_U64])
_BINARY: Final = 0xC4
_SIZES: Final = bytes([1] * 128 + [0] * 76 + [2, 3, 5, 9] + [0] * 48)
"""Octets of a whole number that begins with this one; 0: it is none."""
_JUDGED: Final = bytes([0xDC, 0, len(rec.Judged.__struct_fields__)])

_OUTCOME: Final = rec.HEADS[rec.OUTCOME] + b"\xc4\x10"
_ANSWERED: Final = len(_OUTCOME) + 16
"""Where its instant is."""


def split(octets: bytes, lengths: Iterable[int], at: int) -> list[bytes]:
    """The records of these lengths that begin at a place, one behind the other."""
    records = []
    for length in lengths:
        end = at + length
        records.append(octets[at:end])
        at = end
    return records


def sort_out(
    records: list[bytes], subscribers: set[bytes], judged: set[bytes], attempts: set[bytes]
) -> tuple[int, int, list[bytes]]:
    """What attempts and outcomes speak of, into these sets: hashes of subscribers and `judged` of the first,
    attempts of the others, their last 8 octets. Returns the first and the last instant of these (ms; 0 where
    there are none), and the records that look otherwise than nearly all do."""
    first, last, rest = 0, 0, []
    spelt = b""
    for octets in records:
        if octets[: len(_OUTCOME)] == _OUTCOME and octets[_ANSWERED : _ANSWERED + 1] == _U64_OCTET:
            attempts.add(octets[_ANSWERED - 8 : _ANSWERED])
            when = octets[_ANSWERED + 1 : _ANSWERED + 9]
            if when == spelt:
                continue
            spelt = when
            at = int.from_bytes(when, "big")
        else:
            places = attempt(octets)
            if places is None:
                rest.append(octets)
                continue
            at, end = places[0], places[4]
            subscribers.add(octets[end + 2 : end + 18])
            judged.add(octets[places[5] :])
        last = max(last, at)
        if not first or at < first:
            first = at
    return first, last, rest


def attempt(octets: bytes) -> Places | None:
    """Where the members of an attempt lie; None where it is none that looks as nearly all do."""
    if octets[: len(_HEAD)] != _HEAD:
        return None
    try:
        if octets[_AT] != _U64:
            return None
        at = _AT + 9
        for _ in range(4):  # deliver_at, connection, sequence, recipient
            first = octets[at]
            size = 2 + octets[at + 1] if first == _BINARY else _SIZES[first]
            if not size:
                return None
            at += size
        total, number = octets[at], octets[at + 1]
        if total > 127 or number > 127:
            return None
        at += 2
        at += _SIZES[octets[at]]  # reference
        at += _SIZES[octets[at]]  # registry_version
        region = at + 1
        length = octets[at] - 0xA0
        if not 0 <= length < 32:
            return None
        end = region + length
        at = end + 36  # subscriber, digest
        at += _SIZES[octets[at]]  # fmt
        at += _SIZES[octets[at]]  # udhi
        first = octets[at]
        if first == _BINARY:
            at += 2 + octets[at + 1]
        elif first == _BINARY + 1:
            at += 3 + (octets[at + 1] << 8 | octets[at + 2])
        else:
            return None
        if octets[at : at + 3] != _JUDGED:
            return None
        return int.from_bytes(octets[_AT + 1 : _AT + 9], "big"), total, number, region, end, at
    except IndexError:
        return None
