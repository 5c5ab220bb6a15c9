"""CMPP: what is judged of a SUBMIT, read out of its octets."""

from gateway.errors import WireError
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.message import Submission
from gateway.protocols.table import reader

# 0x40: gateways hand on SMPP's esm_class; 2 in Registered_Delivery: a billing record only (2.0); &0: CMPP has
# no reference beside the text.
_JUDGED = (
    "src_id dest_terminal_id msg_fmt tp_udhi&0x41!=0 msg_content registered_delivery==1 at_time pk_total "
    "pk_number dest_terminal_type pk_total&0"
)
_new = tuple.__new__  # half of the time that a NamedTuple's own constructor takes


class Submits:
    """Reads the SUBMITs of one layout (0: 2.0, 1: 3.0).

    Of one to a single recipient the fields are taken where they stand: their places from the beginning of
    the frame; `_size` is Msg_Length's, `_rest` how many octets follow the content.
    """

    def __init__(self, column: int) -> None:
        offset = wire.Submit.offset
        self._whole = reader(wire.Submit, _JUDGED, column, Submission)
        self._parts = 12 + offset("pk_total", column)
        self._registered = 12 + offset("registered_delivery", column)
        self._udhi = 12 + offset("tp_udhi", column)
        self._fmt = 12 + offset("msg_fmt", column)
        self._at_time = 12 + offset("at_time", column)
        self._source = 12 + offset("src_id", column)
        self._count = self._source + 21
        self._type = self._count + 33 if column else 0  # 2.0 has none
        self._size = self._type + 1 if column else self._count + 22
        self._rest = 20 if column else 8

    def read(self, data: bytes, start: int, end: int, *, private: bool) -> Submission:
        """What is judged of the SUBMIT in data[start:end], of a `private` version or not; or WireError."""
        size, kind = start + self._size, self._type
        if size < end and data[start + self._count] == 1 and size + 1 + data[size] + self._rest == end:
            # nearly all that come: in a seventh of the reader's instructions
            parts, source, count = start + self._parts, start + self._source, start + self._count
            time = start + self._at_time
            return _new(
                Submission,
                (
                    _trimmed(data[source:count]),
                    [_trimmed(data[count + 1 : start + kind if kind else size])],
                    data[start + self._fmt],
                    data[start + self._udhi] & 0x41 != 0,
                    data[size + 1 : end - self._rest],
                    data[start + self._registered] == 1,
                    _trimmed(data[time:source]) if data[time] else b"",
                    data[parts],
                    data[parts + 1],
                    data[start + kind] if kind else 0,
                    0,
                ),
            )
        try:
            read = self._whole(data, start + 12, end)
        except WireError as error:
            left = int(error.detail) if error.cause == "trailing_bytes" else 0
            padded = self._padded(data, start + 12, end, left, private=private) if left else None
            if padded is None:
                raise
            read = padded
        if not 0 < len(read.destinations) < 100:
            raise WireError("bad_count", "DestUsr_tl")
        return read

    def _padded(self, data: bytes, at: int, end: int, left: int, *, private: bool) -> Submission | None:
        """A SUBMIT with `left` octets over: read if they are padding or the private version's attachment,
        else None.

        Padding is zeros, behind a last field that is empty or full: a Msg_Length that is too small moves
        the text's last octets into that field, and its fill into what is left over.
        """
        stop = end - left
        rest, last = data[stop:end], data[stop - self._rest : stop]
        read = self._whole(data, at, stop)
        if private and int.from_bytes(rest[:4], "big") == left - 4:
            return read
        half = read.fmt == 8 and not read.udhi and len(read.content) % 2
        if any(rest) or (any(last) and not last[-1]) or half:
            return None
        return read


def _trimmed(field: bytes) -> bytes:
    """A field's text as the readers cut it: up to the first NUL, without blanks around it."""
    text = field.rstrip(b"\0")
    return text if text.isalnum() else field.partition(b"\0")[0].strip()


SUBMITS = [Submits(column) for column in (0, 1)]
