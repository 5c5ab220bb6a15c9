"""What the called side of a call says against further ones, on its way back to the caller (reference/voice.md
"Opt-out by voice").

As with replies to SMS: it is durable and in force before it is passed on. What can't be recorded is not
passed on: its sender repeats it. Repeats pass, and change nothing.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from gateway.direct import Press, Refused
from gateway.errors import NotReady
from gateway.protocols.sip import Message
from gateway.protocols.sip_keys import refuses
from gateway.relay.presses import Presses
from gateway.relay.recalled import Dialog

MOST_HEARD = 20_000
"""Calls of which it is known that their refusal is on record."""

GoOn = Callable[[], None]

Find = Callable[[bytes], Dialog | None]
"""The call of an attempt's id, out of the journals: to be asked in a thread."""


class Heard:
    """For the calls of one worker."""

    def __init__(self, presses: Presses, find: Find, log: logging.Logger, keys: str) -> None:
        self._keys = keys
        self._presses = presses
        self._find = find
        self._log = log
        self._heard: dict[bytes, bool] = {}  # by attempt: whether it is in force
        self._tasks: set[asyncio.Task[None]] = set()

    def pass_on(
        self, message: Message, call_id: bytes, call: Callable[[], Dialog | bytes | None], go_on: GoOn
    ) -> None:
        """Go on with a message of the called side; where it refuses, once that is in force. `call`: which one
        it belongs to, or the id of its attempt; b"" or None: none that is known."""
        said = refuses(message, self._keys)
        known = call() if said else None
        if known:
            self._take(known, call_id, said, go_on)
        else:
            go_on()

    def _take(self, call: Dialog | bytes, call_id: bytes, said: str, go_on: GoOn) -> None:
        """Take the refusal said in a call, which may be known by the id of its attempt alone, and go on."""
        if isinstance(call, bytes):
            task = asyncio.create_task(self._look(call, call_id, said, go_on))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        in_force = self._heard.get(call.attempt)
        if in_force is not None:
            if in_force:
                go_on()
            return
        if len(self._heard) >= MOST_HEARD:
            del self._heard[next(iter(self._heard))]
        self._heard[call.attempt] = False
        press = Press(
            *call.account, call.number, call.subscriber, said, 0, call_id.decode("utf-8", "replace")
        )
        try:
            self._presses.take(press, call_id, call.attempt, partial(self._recorded, call.attempt, go_on))
        except NotReady as error:
            self._failed(call.attempt, error)

    def _recorded(self, attempt: bytes, go_on: GoOn, _: Refused, error: Exception | None) -> None:
        if error is not None:
            self._failed(attempt, error)
        else:
            self._heard[attempt] = True
            go_on()

    def _failed(self, attempt: bytes, error: Exception) -> None:
        self._heard.pop(attempt, None)
        self._log.warning("a refusal in a call was not recorded", extra={"fields": {"error": str(error)}})

    async def _look(self, attempt: bytes, call_id: bytes, said: str, go_on: GoOn) -> None:
        try:
            call = await asyncio.to_thread(self._find, attempt)
        except Exception:
            self._log.exception("a call could not be looked up in the journal")
            return
        if call is None:
            go_on()  # not on record here any more: nobody could say whose refusal it is
        else:
            self._take(call, call_id, said, go_on)
