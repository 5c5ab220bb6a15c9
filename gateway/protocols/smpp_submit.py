"""SMPP: what is judged of a submit_sm, read where its fields stand: nearly all that come, in a part of the
instructions of the reader that `table` makes. What is not as this expects is for that one.
"""

from gateway.protocols.message import Submission


def read(data: bytes, start: int, end: int) -> Submission | None:
    """What is judged of the submit_sm in data[start:end] (§4.4.1); None: have it read by the table's reader,
    as it has optional fields or a default message, or is not as it should be."""
    find = data.find
    stop = find(b"\0", start + 16, start + 22)  # service_type
    source = stop + 3
    source_end = find(b"\0", source, source + 21)
    to = source_end + 3
    to_end = find(b"\0", to, to + 21)
    time = to_end + 4  # behind esm_class, protocol_id, priority_flag
    if stop < 0 or source_end < 0 or to_end < 0 or time + 7 > end:
        return None
    time_end = time
    if data[time]:
        time_end = find(b"\0", time, time + 17)
        if time_end < 0 or time_end + 7 > end:
            return None
    validity = validity_end = time_end + 1
    if data[validity]:
        validity_end = find(b"\0", validity, validity + 17)
    content = validity_end + 6
    # once the last octet of it is where it should be, all before it was
    if validity_end < 0 or content > end or content + data[content - 1] != end or data[content - 2]:
        return None
    return Submission(
        data[source:source_end],
        [data[to:to_end]],
        data[content - 3],
        data[to_end + 1] & 0x40 != 0,
        data[content:end],
        data[validity_end + 1] & 3 in (1, 2),
        data[time:time_end],
        1,
        1,
        0,
    )
