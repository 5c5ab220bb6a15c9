"""CMPP: what is judged of a SUBMIT, read out of its octets."""

from gateway.errors import WireError
from gateway.protocols import cmpp_tables as wire
from gateway.protocols.message import Submission
from gateway.protocols.single import Single
from gateway.protocols.table import reader

# 0x40: gateways hand on SMPP's esm_class; 2 in Registered_Delivery: a billing record only (2.0); &0: CMPP has
# no reference beside the text.
_JUDGED = (
    "src_id dest_terminal_id msg_fmt tp_udhi&0x41!=0 msg_content registered_delivery==1 at_time pk_total "
    "pk_number dest_terminal_type pk_total&0"
)


class Submits:
    """Reads the SUBMITs of one layout (0: 2.0, 1: 3.0)."""

    def __init__(self, column: int) -> None:
        self._reader = reader(wire.Submit, _JUDGED, column)
        self._single = Single(
            wire.Submit,
            column,
            12,
            "src_id dest_terminal_id msg_fmt msg_content registered_delivery at_time",
            0b10,
            udhi="tp_udhi",
            pk_total="pk_total",
            pseudo="dest_terminal_type",
        )
        self._rest = 20 if column else 8  # octets behind the content

    def read(self, data: bytes, start: int, end: int, *, private: bool) -> Submission:
        """What is judged of the SUBMIT in data[start:end], of a `private` version or not; or WireError."""
        single = self._single.read(data, start, end)
        if single is not None:
            return single
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

    def _whole(self, data: bytes, at: int, end: int) -> Submission:
        return Submission(*self._reader(data, at, end))

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


SUBMITS = [Submits(column) for column in (0, 1)]
