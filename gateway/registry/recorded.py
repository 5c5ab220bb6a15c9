"""What replies did by the journals of this node: what `local` held, should it be lost.

It stands in the journal before it stands in `local`, and is the same one when it is read back. How
far back one has to read is kept beside the journals, in `settled`: everything recorded before that instant
is in PostgreSQL, and in the replica of it. An older instant there costs time only, so the file is not synced.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from struct import error as StructError

from gateway.evidence import record as rec
from gateway.evidence.seal import Keys
from gateway.evidence.search import Search
from gateway.model import AccountKey
from gateway.registry.keys import RegistryKey
from gateway.registry.local import VOICE_KEY, LocalRefusal, does_something, learn

AT = Struct(">q")
UNDER_WAY = 60_000
"""ms that a reply may be on its way from its arrival through the disk to `local`."""

FURTHEST = 35 * 86_400_000
"""ms that are read back where nothing says how far."""


class Recorded:
    """`journal`: the folder of the node's journals; `keys` open their seals; `key` is the registry's."""

    def __init__(self, journal: Path, keys: Keys, key: RegistryKey) -> None:
        self._journal = journal
        self._settled = journal / "settled"
        self._keys = keys
        self._key = key

    def settle(self, at: int) -> None:
        """All refusals that arrived before this instant (ms) are in the replica as PostgreSQL gave them."""
        with contextlib.suppress(OSError):  # no room: the older instant stands
            descriptor = os.open(self._settled, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, AT.pack(at - UNDER_WAY), 0)
            finally:
                os.close(descriptor)

    def settled(self) -> int:
        """The instant (ms) from which on refusals may be here and nowhere else."""
        now = time.time_ns() // 1_000_000
        try:
            (at,) = AT.unpack(self._settled.read_bytes())
        except (OSError, StructError):
            at = 0
        return max(at, now - FURTHEST) if at <= now else now - FURTHEST

    def refusals(self) -> Iterator[LocalRefusal]:
        """Those from `settled` on, oldest first; replies whose key was destroyed are not among them."""
        search = Search(self._journal, self._keys)
        for found in search.find(since=self.settled(), kinds=frozenset({rec.REPLY})):
            reply, content = found.record, found.content
            if not isinstance(reply, rec.Reply) or content is None:
                continue
            what = (content.subscriber, reply.number, reply.institution_id, reply.purposes)
            if does_something(reply.meaning, *what):
                yield learn(
                    self._key,
                    content.subscriber,
                    institution=reply.institution_id,
                    number=reply.number,
                    purposes=reply.purposes,
                    channels=reply.channels,
                    at=reply.at,
                    source=VOICE_KEY if VOICE_KEY in reply.flags else "reply",
                    flags=reply.flags,
                    node=reply.node,
                    account=AccountKey(reply.carrier, reply.protocol, reply.account),
                    message_id=reply.message_id,
                    kind=reply.meaning,
                    record=reply.id,
                )
