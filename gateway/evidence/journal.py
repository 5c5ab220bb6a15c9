"""The journal: records become durable here before anything is sent on (architecture.md, sentences 4, 5).

One per process, used from its event loop. Attempts and replies wait for the disk (their `done`); outcomes
ride along with the next group, or go after 0.02 s; so do reports, unless who passes them on waits (`noted`).
How groups are made, what happens on a full disk (`JournalFull`) and on a failing one (`JournalPoisoned`):
`groups.py`. Here records are made: encoded and sealed in a batch, about 2 µs each.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.msgpack import Encoder

from gateway.evidence import record as rec
from gateway.evidence.commit import CommitThread, Done, Group, JournalFull, JournalPoisoned
from gateway.evidence.folder import Tail, WriterLock, resume
from gateway.evidence.groups import Groups
from gateway.evidence.plan import Plan, Planner
from gateway.evidence.seal import TRAFFIC, Keys
from gateway.evidence.segment import Disk, sync_folder
from gateway.model import AccountKey, Reply

__all__ = ["Done", "Item", "Journal", "JournalFull", "JournalPoisoned", "OutcomeItem"]

MOST_BACKLOG = 4 << 20
"""Octets that wait for the disk, at which nobody should go on adding."""

_TEXTS = 1024
"""Digests of texts kept: a mass text is digested once."""

OUTCOME = bytes([0x97, rec.VERSION, rec.OUTCOME, 0xC4, 16])
ACCEPTED = bytes([0, 0xC4, 8])
"""How msgpack begins an outcome, up to its attempt's id; and result 0 with a message id of 8 octets."""
PAIRS = [bytes([0x92, 0xA0 | length]) for length in range(32)]
"""How msgpack begins a pair whose first member is a text of so many octets."""
OCTETS = [bytes([0xC4, length]) for length in range(256)]
"""How msgpack begins so many octets."""

Item: TypeAlias = tuple[
    Raw,  # judged
    object,  # int: deliver_at, ms; 0: at once
    object,  # int: connection
    object,  # int or bytes: sequence
    object,  # int: recipient, from 0
    object,  # int: pk_total
    object,  # int: pk_number
    object,  # int: reference
    object,  # str: region
    str,  # subscriber, canonical
    object,  # int: fmt
    object,  # int: udhi
    rec.Octets,  # content as on the wire
]
"""Members named `object` are handed on as they are: compiled, each int would be taken out and put back."""
OutcomeItem: TypeAlias = tuple[bytes, int, bytes, int]
"""Attempt id, result, message id as on the wire, part (0: the whole)."""


class Journal:
    """The journal of one writer (`w0`, `w1`, … `keeper`). Blocks while it recovers the last segment.

    `apply` runs in the commit thread once per group, after the sync and before the callbacks, with the
    `local` values of the group's replies; when it raises, those replies' callbacks get its error.
    `on_full(True)` and `on_full(False)`, `on_poisoned(why)`, `on_commit(records, octets, seconds)` and, of
    outcomes and reports that a full or failing disk has cost, `on_dropped(records)` run on the loop. Raises
    UsageError when another process has this writer's folder.
    """

    def __init__(
        self,
        directory: Path,
        node: str,
        writer: str,
        keys: Keys,
        *,
        durability: str = "disk",
        retention: str = TRAFFIC,
        apply: Callable[[list[Any]], None] | None = None,
        on_full: Callable[[bool], None] | None = None,
        on_poisoned: Callable[[str], None] | None = None,
        on_commit: Callable[[int, int, float], None] | None = None,
        on_dropped: Callable[[int], None] | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        disk: Disk | None = None,
    ) -> None:
        folder = directory / writer
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(directory)
        self._lock = WriterLock(folder)
        self._tail = Tail(folder / "tail", write=True)
        number, poisoned = resume(folder, self._tail, durable=durability == "disk")
        planner = Planner(folder, node, writer, keys, retention, number, clock)
        thread = CommitThread(
            disk or Disk(),
            self._tail,
            durable=durability == "disk",
            apply=apply,
            prepare=planner.prepare,
            name=f"journal {writer}",
        )
        self._groups = Groups(
            planner,
            thread,
            poisoned,
            on_full=on_full,
            on_poisoned=on_poisoned,
            on_commit=on_commit,
            on_dropped=on_dropped,
        )
        self._node = node
        self._texts: dict[rec.Octets, bytes] = {}
        self._texts_key: object = None
        self._pack = Encoder().encode
        self._unique = 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(30) << 32
        self._count = 0
        self.index = 0
        """In its segment, of the first record of the attempts that were added last; the others follow."""

    def start(self) -> None:
        """Begin, on the running loop."""
        self._groups.start()

    @property
    def full(self) -> bool:
        """No room on the disk: nothing is taken until there is."""
        return self._groups.full

    @property
    def poisoned(self) -> str:
        """Why the journal takes nothing until an operator acts; "" when it is well."""
        return self._groups.poisoned

    @property
    def backlog(self) -> int:
        """Octets that are not durable yet."""
        return self._groups.backlog

    @property
    def crowded(self) -> bool:
        """More waits for the disk than whoever adds to it should: read nothing further, or say busy."""
        return self.backlog > MOST_BACKLOG

    @property
    def waiting(self) -> int:
        """Callbacks that are still to come."""
        return self._groups.waiting

    # ── what waits for the disk ──────────────────────────────────────────────────────────────────────

    def attempts(self, at: int, registry_version: int, items: Sequence[Item], done: Done) -> list[bytes]:
        """Record a batch of attempts, judged at `at` (ms); their ids.

        All or none: raises JournalFull or JournalPoisoned when nothing was taken, UnicodeEncodeError when
        a text has lone surrogates. `done` is called once the whole batch is durable.
        """
        group = self._groups.open(at)
        plan = group.plan
        hash_subscriber, encrypt, aad = plan.key.hash_subscriber, plan.cipher.encrypt, plan.digest
        texts, pack = self._texts_of(plan), self._pack
        pairs, binaries = PAIRS, OCTETS
        index = self.index = plan.next
        version, kind = rec.VERSION, rec.ATTEMPT
        first = self._ids(at, len(items))
        ids = [n.to_bytes(16, "big") for n in range(first, first + len(items))]
        records = []
        # the members of Item, and of record.Attempt, in their order
        # fmt: off
        for id_, item in zip(ids, items, strict=True):
            (
                judged, deliver_at, connection, sequence, place, total, part, ref, city, subscriber,
                fmt, udhi, octets,
            ) = item
            spelt = subscriber.encode()
            hashed = hash_subscriber(spelt)
            digest = texts.get(octets) or self._digest(plan, octets)
            if isinstance(octets, bytes) and len(octets) < 256 and len(spelt) < 32:
                # what `pack` makes of it, in half of its instructions
                plain = pairs[len(spelt)] + spelt + binaries[len(octets)] + octets
            else:
                plain = pack((subscriber, octets))
            sealed = encrypt(index.to_bytes(12, "big"), plain, aad)
            records.append(pack((
                version, kind, id_, at, deliver_at, connection, sequence, place, total, part, ref,
                registry_version, city, hashed, digest, fmt, udhi, sealed, judged,
            )))
            index += 1
        # fmt: on
        self._groups.add(group, records, done)
        return ids

    def reply(
        self,
        at: int,
        reply: Reply,
        content: rec.Octets,
        fmt: int,
        udhi: int,
        *,
        purposes: int,
        channels: int,
        registry_version: int,
        attempt: bytes = b"",
        local: Callable[[bytes], Any] | None = None,
        done: Done,
    ) -> bytes:
        """Record a reply; its id. `purposes`, `channels`: what a refusal covers, bits (0: nothing).

        What `local` (unless None) makes of the id goes to `apply`; `done` comes after that. Raises as
        `attempts` does.
        """
        group = self._groups.open(at)
        plan = group.plan
        identifier = self._ids(at, 1).to_bytes(16, "big")
        record = rec.Reply(
            id=identifier,
            at=at,
            carrier=reply.account.carrier,
            node=self._node,
            protocol=reply.account.protocol,
            account=reply.account.account,
            number=reply.number,
            meaning=reply.kind,
            institution_id=reply.institution,
            institution=reply.institution_code,
            purposes=purposes,
            channels=channels,
            attempt=attempt,
            message_id=reply.message_id,
            flags=reply.flags,
            registry_version=registry_version,
            fmt=fmt,
            udhi=udhi,
            subscriber=plan.key.hash_subscriber(reply.subscriber.encode()),
            digest=self._texts_of(plan).get(content) or self._digest(plan, content),
            sealed=plan.seal(self._pack((reply.subscriber, content))),
        )
        encoded = rec.encode(record)
        if local is not None:
            group.local.append(local(identifier))
            done = partial(_answer, group, done)
        self._groups.add(group, [encoded], done)
        return identifier

    def act(
        self, at: int, table: str, key: str, op: str, row_version: int, by: str, case: str, done: Done
    ) -> bytes:
        """Record a change of the registry; its id. Raises as `attempts` does."""
        group = self._groups.open(at)
        identifier = self._ids(at, 1).to_bytes(16, "big")
        act = rec.Act(
            id=identifier,
            at=at,
            node=self._node,
            table=table,
            key=key,
            op=op,
            row_version=row_version,
            by=by,
            case=case,
        )
        self._groups.add(group, [rec.encode(act)], done)
        return identifier

    def when_free(self, come: Callable[[], None]) -> None:
        """Call `come` when the disk can take what it then adds."""
        self._groups.when_free(come)

    def after(self, done: Done) -> None:
        """Call `done` when all that waits now has been answered; at once when nothing waits.

        Its error is that of what it waited for; itself it records nothing.
        """
        self._groups.after(done)

    # ── what rides along ─────────────────────────────────────────────────────────────────────────────

    def outcomes(self, at: int, items: Sequence[OutcomeItem]) -> None:
        """Record what the carrier answered to attempts; nobody waits, no disk's error is raised."""
        self._groups.note(at, len(items), lambda group: self._outcomes(at, items))

    def report(
        self,
        at: int,
        account: AccountKey,
        message_id: bytes,
        stat: str,
        submitted: str,
        completed: str,
        number: str,
        subscriber: str,
        attempt: bytes = b"",
        part: int = 0,
    ) -> None:
        """Record a status report; nobody waits. `number`, `subscriber` may be "" when `attempt` is known."""
        self._groups.note(
            at,
            1,
            lambda group: [
                rec.encode(
                    rec.Report(
                        attempt=attempt,
                        at=at,
                        carrier=account.carrier,
                        node=self._node,
                        protocol=account.protocol,
                        account=account.account,
                        message_id=message_id,
                        stat=stat,
                        submitted=submitted,
                        completed=completed,
                        number=number,
                        part=part,
                        subscriber=group.plan.key.hash_subscriber(subscriber.encode()) if subscriber else b"",
                        sealed=group.plan.seal(self._pack((subscriber, b""))) if subscriber else b"",
                    )
                )
            ],
        )

    def noted(self, done: Done) -> None:
        """Call `done` when the outcomes and reports recorded so far are durable; JournalFull: they are kept
        in memory until there is room."""
        self._groups.noted(done)

    # ── ends ─────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """To be called once a second: files that somebody removed or cut under us poison the journal."""
        self._groups.check(self._tail.lost() or self._lock.lost())

    async def sync(self) -> None:
        """All that was added is durable. Raises JournalFull, JournalPoisoned."""
        await self._groups.sync()

    async def close(self) -> None:
        """Sync if that is possible, end the thread, cut the last segment to its size."""
        await self._groups.close()
        self._tail.close()
        self._lock.release()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────

    def _ids(self, at: int, count: int) -> int:
        """The first of `count` successive ids, as a number."""
        if self._count + count > 0xFFFF_FFFF:
            self._count = 0
        first = at << 80 | self._unique | self._count
        self._count += count
        return first

    def _texts_of(self, plan: Plan) -> dict[rec.Octets, bytes]:
        """The digests known under the key of a segment's day."""
        if plan.key is not self._texts_key:
            self._texts = {}
            self._texts_key = plan.key
        return self._texts

    def _outcomes(self, at: int, items: Sequence[OutcomeItem]) -> list[bytes]:
        pack = self._pack
        accepted = pack(at) + ACCEPTED
        return [
            # what `pack` makes of nearly all, in a third of its instructions
            OUTCOME + attempt + accepted + message_id + b"\0"
            if not result and not part and len(message_id) == 8
            else pack((rec.VERSION, rec.OUTCOME, attempt, at, result, message_id, part))
            for attempt, result, message_id, part in items
        ]

    def _digest(self, plan: Plan, octets: rec.Octets) -> bytes:
        digest = plan.key.hash_text(octets if isinstance(octets, bytes) else b"".join(octets))
        if len(self._texts) >= _TEXTS:
            self._texts.clear()
        self._texts[octets] = digest
        return digest


def _answer(group: Group, done: Done, error: Exception | None) -> None:
    done(error or group.apply_error)
