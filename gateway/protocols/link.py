"""One end of one connection as a value machine: octets and the time in, events and octets out.

Login, sequence numbers, window, repeats, heartbeat and close, alike for both ends and every protocol whose
file answers to the names used here. The timers are those of the texts: after `idle` without traffic a
heartbeat, where there is one; a request that is not answered within `wait` goes again, `tries` times in all;
then a heartbeat closes the link and any other request is given up.

Rules: no clock and no socket: time is milliseconds of any clock that does not go back. A peer's mistake is
an event (Closed), our own a ValueError. This file knows no PDU of any protocol.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.errors import WireError
from gateway.protocols.message import Login
from gateway.protocols.table import Unframed

NEXT = {
    ("new", "login sent"): "asking",
    ("new", "login came"): "deciding",
    ("asking", "accepted"): "open",
    ("asking", "refused"): "closed",
    ("deciding", "accepted"): "open",
    ("deciding", "refused"): "closed",
    ("open", "close sent"): "closing",
    ("open", "close came"): "closed",
    ("closing", "close came"): "closed",
    ("closing", "close answered"): "closed",
}
"""State and what happens → next state. From every state "lost" leads to closed."""


class LoginAsked(NamedTuple):
    """The peer asks to be let in: call `accept` or `refuse`. What it sends meanwhile waits."""

    login: Login
    sequence: int
    frame: bytes


class LoggedIn(NamedTuple):
    """Our login was answered with `status` (0: the link is open) and the peer's `version`."""

    status: int
    version: int
    frame: bytes


class Asked(NamedTuple):
    """A request of the peer, to be answered by `send`."""

    command: int
    sequence: int
    frame: bytes


class Answered(NamedTuple):
    """An answer; `request` is the frame it answers, None when nothing by that number was outstanding."""

    command: int
    sequence: int
    frame: bytes
    request: bytes | None


class Unanswered(NamedTuple):
    """A request of ours that was sent `tries` times and is given up."""

    sequence: int
    request: bytes


class Closed(NamedTuple):
    """The link is over. `cause`: "terminated", "refused", "heartbeat", "lost", or a WireError's."""

    cause: str
    detail: str = ""


Event = LoginAsked | LoggedIn | Asked | Answered | Unanswered | Closed


@dataclass(slots=True)
class _Outstanding:
    frame: bytes
    due: int
    tries: int
    message: bool  # counts in the window; heartbeat, login and close do not


def _next(number: int) -> int:
    """The number behind this one; its last 32 bits count."""
    return number >> 32 << 32 | (number + 1) & 0xFFFF_FFFF


class Link:
    """One end. `wire` is the protocol of this connection alone: its version is set by the login."""

    def __init__(
        self,
        wire: Any,
        *,
        window: int = 16,
        idle: int = 180_000,
        wait: int = 60_000,
        tries: int = 3,
        sequence: int = 1,
    ) -> None:
        self.wire = wire
        self.state = "new"
        self.window, self.idle, self.wait, self.tries = window, idle, wait, tries
        self._sequence = sequence
        self._beats = "heartbeat" in wire.LINK.values()
        self._outstanding: dict[int, _Outstanding] = {}
        self._messages = 0
        self._rest = b""
        self._out: list[bytes] = []
        self._traffic = 0
        self._asked_version = 0

    # What the owner does

    def take(self) -> bytes:
        """The octets that are to be sent now; they are handed out once."""
        octets = b"".join(self._out)
        self._out.clear()
        return octets

    @property
    def room(self) -> int:
        """How many more requests the window holds."""
        return self.window - self._messages if self.state == "open" else 0

    @property
    def outstanding(self) -> set[int]:
        return set(self._outstanding)

    def login(self, frame: bytes, now: int) -> None:
        """Send the login request `frame` (its sequence number is replaced)."""
        self._move("login sent")
        self._asked_version = self.wire.login(frame).version
        self._request(frame, now, None, message=False)

    def accept(self, answer: bytes, version: int, now: int) -> list[Event]:
        """Let the peer in with the login answer `answer`, to speak `version`; gives what had waited."""
        self._move("accepted")
        self.wire.version = version
        self._out.append(answer)
        return self.receive(b"", now)

    def refuse(self, answer: bytes) -> list[Event]:
        """Turn the peer away with the login answer `answer`."""
        self._out.append(answer)
        self._move("refused")
        return [Closed("refused")]

    def request(self, frame: bytes, now: int, sequence: int | None = None) -> int:
        """Send a request under the next free number (or the one given) and return that number."""
        if self.room <= 0:
            raise ValueError(f"no room: {self.state}, {self._messages} of {self.window} outstanding")
        return self._request(frame, now, sequence, message=True)

    def send(self, frame: bytes) -> None:
        """Send a frame as it is: an answer to the peer, or whatever a test wants to be sent."""
        self._out.append(frame)

    def close(self, now: int) -> None:
        """Say goodbye; Closed("terminated") follows the answer."""
        self._move("close sent")
        self._request(self.wire.terminate(0), now, None, message=False)

    def lost(self, detail: str = "") -> list[Event]:
        """The connection itself is gone."""
        return [] if self.state == "closed" else self._end("lost", detail)

    # What happens

    def receive(self, data: bytes, now: int) -> list[Event]:
        """What the peer's octets mean. After Closed nothing more comes."""
        self._traffic = now
        if self.state in ("deciding", "closed"):
            self._rest += data if self.state == "deciding" else b""
            return []
        data = self._rest + data
        error: WireError | None = None
        try:
            frames, used = self.wire.frames(data)
        except Unframed as unframed:
            frames, used, error = unframed.frames, len(data), unframed
        events: list[Event] = []
        for start, end, command, sequence in frames:
            if self.state in ("deciding", "closed"):
                used = start
                break
            try:
                events += self._frame(command, sequence, data[start:end])
            except WireError as wrong:
                if self.wire.LINK.get(command) == "login":
                    self._out.append(self.wire.malformed(command, sequence, wrong))
                events += self._end(wrong.cause, wrong.detail)
        else:
            if error is not None and self.state != "closed":
                events += self._end(error.cause, error.detail)
        self._rest = data[used:] if self.state != "closed" else b""
        return events

    def due(self) -> int | None:
        """When `tick` is to be called next; None: nothing waits."""
        if self.state == "closed":
            return None
        first = next(iter(self._outstanding.values()), None)
        if self.state != "open" or not self._beats:
            return first.due if first else None
        beat = self._traffic + self.idle
        return min(beat, first.due) if first else beat

    def tick(self, now: int) -> list[Event]:
        """Do what time asks for: repeat, give up, beat."""
        events: list[Event] = []
        while self.state != "closed":
            sequence, first = next(iter(self._outstanding.items()), (0, None))
            if first is None or first.due > now:
                break
            del self._outstanding[sequence]
            if first.tries < self.tries:
                first.tries, first.due = first.tries + 1, now + self.wait
                self._outstanding[sequence] = (
                    first  # at the end: all wait alike, so that the first is due first
                )
                self._out.append(first.frame)
            elif first.message:
                self._messages -= 1
                events.append(Unanswered(sequence, first.frame))
            else:
                events += self._end("heartbeat" if self.state == "open" else "lost", "unanswered")
        if self._beats and self.state == "open" and now - self._traffic >= self.idle:
            self._traffic = now
            if not any(not o.message for o in self._outstanding.values()):
                self._request(self.wire.heartbeat(0), now, None, message=False)
        return events

    def _frame(self, command: int, sequence: int, frame: bytes) -> list[Event]:
        kind = self.wire.LINK.get(command)
        if self.state == "new":
            login = self.wire.login(frame)
            self._move("login came")
            return [LoginAsked(login, sequence, frame)]
        if self.state == "asking":
            return self._logged_in(sequence, frame)
        match kind:
            case "heartbeat":
                self._out.append(self.wire.heartbeat_answer(sequence))
            case "close":
                self._out.append(self.wire.terminate_answer(sequence))
                return self._end("terminated", event="close came")
            case "close_answer" if self.state == "closing":
                return self._end("terminated", event="close answered")
            case "login":
                self._out.append(self.wire.login_answer(self.wire.login(frame), self.wire.OTHER, sequence))
            case None if not command & self.wire.ANSWER:
                return [Asked(command, sequence, frame)]
            case _:
                asked = self._outstanding.get(sequence)
                request = self._answered(sequence)
                if kind is None or (asked is not None and asked.message):
                    return [Answered(command, sequence, frame, request)]
        return []

    def _logged_in(self, sequence: int, frame: bytes) -> list[Event]:
        status, version = self.wire.read_login_answer(frame)
        self._answered(sequence)
        events: list[Event] = [LoggedIn(status, version, frame)]
        if status:
            self._move("refused")
            return [*events, Closed("refused", str(status))]
        self._move("accepted")
        self.wire.version = min(self._asked_version, version)
        return events

    def _answered(self, sequence: int) -> bytes | None:
        gone = self._outstanding.pop(sequence, None)
        if gone is None:
            return None
        self._messages -= gone.message
        return gone.frame

    def _request(self, frame: bytes, now: int, sequence: int | None, *, message: bool) -> int:
        if sequence is None:
            while self._sequence in self._outstanding:
                self._sequence = _next(self._sequence)
            sequence = self._sequence
            self._sequence = _next(sequence)
        elif sequence in self._outstanding:
            raise ValueError(f"sequence {sequence} is outstanding")
        frame = self.wire.with_sequence(frame, sequence)
        self._outstanding[sequence] = _Outstanding(frame, now + self.wait, 1, message)
        self._messages += message
        self._traffic = now
        self._out.append(frame)
        return sequence

    def _move(self, event: str) -> None:
        after = NEXT.get((self.state, event))
        if after is None:
            raise ValueError(f"{event} while {self.state}")
        self.state = after

    def _end(self, cause: str, detail: str = "", *, event: str = "") -> list[Event]:
        if event:
            self._move(event)
        self.state = "closed"
        self._outstanding.clear()
        self._messages = 0
        return [Closed(cause, detail)]
