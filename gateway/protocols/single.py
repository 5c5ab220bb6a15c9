"""SUBMITs to one recipient, read where their fields stand: nearly all that come, in a seventh of the
instructions of the readers that `table` makes. What is not as these expect is for those.
"""

from gateway.protocols.kinds import Tlvs
from gateway.protocols.message import Submission
from gateway.protocols.table import Pdu


class Single:
    """Reads the SUBMITs of one layout: a table in a column, behind a header of so many octets.

    `names` are the table's names of source, destinations, fmt, content, report and at_time, in this order;
    `reported` has a bit for each value of `report` that asks for one. Others in `more`, by what they are:
    udhi, pk_total (pk_number follows it), pseudo.
    """

    def __init__(
        self, table: type[Pdu], column: int, header: int, names: str, reported: int, **more: str
    ) -> None:
        places: dict[str, int] = {}
        widths: dict[str, int] = {}
        counts: dict[str, str] = {}
        at = header
        for field in table.fields:
            if width := field.kind.width(column):
                places[field.name], widths[field.name], counts[field.name] = at, width, field.kind.by
                at += width
        source, destinations, fmt, content, report, at_time = names.split()
        self._source, self._source_end = places[source], places[source] + widths[source]
        self._count = places[counts[destinations]]
        self._to, self._to_end = places[destinations], places[destinations] + widths[destinations]
        self._fmt, self._report, self._reported = places[fmt], places[report], reported
        self._time, self._time_end = places[at_time], places[at_time] + widths[at_time]
        self._size, self._content = places[counts[content]], places[content]
        # behind the content stand fields of fixed width; optional ones, which nearly nobody has, after them
        self._rest = sum(
            field.kind.width(column)
            for field in table.fields
            if places.get(field.name, 0) > self._content and not isinstance(field.kind, Tlvs)
        )
        # 0 for a field that the layout does not have: the first octet of each frame is 0, its length's
        self._udhi, self._pseudo = (places.get(more.get(name, ""), 0) for name in ("udhi", "pseudo"))
        self._parts = places.get(more.get("pk_total", ""), 0)

    def read(self, data: bytes, start: int, end: int) -> Submission | None:
        """What is judged of the SUBMIT in data[start:end]; None: have it read by the table's reader."""
        content = start + self._content
        stop = end - self._rest
        if content > stop or data[start + self._count] != 1:
            return None
        size = start + self._size
        length = data[content - 1]
        if content - size == 4:
            length |= data[size] << 24 | data[size + 1] << 16 | data[size + 2] << 8
        if content + length != stop:
            return None
        time, parts, total, number = start + self._time, start + self._parts, 1, 1
        if self._parts:
            total, number = data[parts], data[parts + 1]
        return Submission(
            _trimmed(data[start + self._source : start + self._source_end]),
            [_number(data, start + self._to, start + self._to_end)],
            data[start + self._fmt],
            data[start + self._udhi] & 0x41 != 0,
            data[content:stop],
            self._reported >> data[start + self._report] & 1 != 0,
            _trimmed(data[time : start + self._time_end]) if data[time] else b"",
            total,
            number,
            data[start + self._pseudo],
        )


def _number(data: bytes, at: int, end: int) -> bytes:
    """The text of the field in data[at:end], mostly a number of 11 digits, or of 13 with its 86."""
    stop = at + 11 if data[at + 11] == 0 else at + 13
    if data[stop] == 0:
        text = data[at:stop]
        if text.isalnum():
            return text
    return _trimmed(data[at:end])


def _trimmed(field: bytes) -> bytes:
    """A field's text as the readers cut it: up to the first NUL, without blanks around it."""
    text = field.rstrip(b"\0")
    return text if text.isalnum() else field.partition(b"\0")[0].strip()
