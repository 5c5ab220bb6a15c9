"""SIP over a stream (RFC 3261 §18.3, §7.5; RFC 5626 §3.5.1): octets in, messages out.

Rules of this file: what waits is bounded; a message that breaks SIP is passed over where its length is sure,
and ends the stream where it is not.
"""

from gateway.protocols import sip
from gateway.protocols.sip import Message, SipError

PING, PONG = b"\r\n\r\n", b"\r\n"


class Stream:
    """One direction of one connection."""

    __slots__ = ("_held", "_pending", "_size")

    def __init__(self) -> None:
        self._held = bytearray()
        self._pending: Message | SipError | None = None  # its header was read, its body is not all there
        self._size = 0

    @property
    def waits(self) -> bool:
        """Whether part of a message is there: its rest may be waited for so long and no longer."""
        return self._pending is not None or bool(self._held.strip(PONG))

    def given_up(self) -> SipError | None:
        """What is told of a message whose rest has not come, where its header has: its body is too short
        (RFC 4475 §3.1.2.2). Nothing can be read behind it."""
        pending = self._pending
        if isinstance(pending, Message):
            said = f"Content-Length is {self._size}, and {len(self._held)} octets came"
            return SipError(400, "length", said, sip.answerable(pending), closes=True)
        return pending

    def feed(self, data: bytes) -> list[Message | SipError | None]:
        """What became whole: messages, what is to be answered by its error, and None for a keep-alive, which
        is answered by PONG. Behind an error that `closes` nothing can be read any more."""
        found: list[Message | SipError | None] = []
        self._held += data
        try:
            self._follow(found)
        except SipError as error:
            error.closes = True
            found.append(error)
        return found

    def _follow(self, found: list[Message | SipError | None]) -> None:
        held = self._held
        while True:
            pending = self._pending
            if pending is None:
                if held.startswith(PING):
                    del held[:4]
                    found.append(None)
                    continue
                if held[:2] == PONG[: len(held)]:
                    if len(held) < 4 and PING.startswith(held):
                        break  # half a keep-alive, or an empty line before a message
                    del held[:2]
                    continue
                end = held.find(b"\r\n\r\n")
                if end < 0:
                    if len(held) > sip.LONGEST_HEAD:
                        raise SipError(0, "too_long", f"no end of header in {len(held)} octets")
                    break
                pending = self._read(bytes(held[: end + 2]))
                del held[: end + 4]
            if len(held) < self._size:
                self._pending = pending
                break
            if isinstance(pending, Message):
                pending.body = bytes(held[: self._size])
            del held[: self._size]
            self._pending = None
            found.append(pending)

    def _read(self, octets: bytes) -> Message | SipError:
        """The header's message or its error, and how long its body is."""
        read: Message | SipError
        try:
            read = message = sip.head(octets)
        except SipError as error:
            if error.message is None or len(list(error.message.values(b"content-length"))) != 1:
                raise
            read, message = error, error.message
        size = sip.length(message)
        if size is None:
            answered = sip.answerable(message)
            raise SipError(400, "length", "a stream needs Content-Length", answered, closes=True)
        self._size = size
        return read
