"""Calls that were judged before a restart, out of the journals: what their INVITEs were told, whose they are.

A worker that was killed has lost the memo of its verdicts, while callers go on to repeat what it did not
answer, and calls that stand go on to be held, pressed in and ended. All that is asked again stands in the
records: the key of the INVITE (`Attempt.sequence`), where it went on (`reference`, see `went_of`), the
verdict, and the final answer.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import time_ns
from typing import NamedTuple
from zlib import crc32

from cryptography.exceptions import InvalidTag

from gateway.evidence import record as rec
from gateway.evidence.folder import writers
from gateway.evidence.recent import recent
from gateway.evidence.seal import Keys
from gateway.evidence.search import open_sealed
from gateway.model import FOREVER, VOICE, AccountKey
from gateway.protocols.sip_memo import LONGEST
from gateway.protocols.sip_place import Place

SIP = "sip"
FINAL, REDIRECTS = 200, 300
"""The least status of a final answer, and of one that is none to the call."""

OURS = b"own"
"""The id in the outcome of a call that passed and did not go on: by the answer of our own that it tells."""

STANDS = 2 * 3_600_000
"""Calls that began so long ago (ms) are taken up again after a restart; a longer one has what it needs in its
Route, where the node stays on its path."""

_SIP = b"\xa3sip"  # as it stands in a record
_OUTCOME = rec.HEADS[rec.OUTCOME]
_RESULT = len(_OUTCOME) + 2 + 16 + 9
"""Where `Outcome.result` stands, behind the attempt's id and 64 bits of time; one below 128 is this octet."""


class Dialog(NamedTuple):
    """A call that passed: its attempt, the trunk's account, the number shown, whom it called, by which
    filing, institution (code) and purpose it was judged, and where it went on (see `mark_of`)."""

    attempt: bytes
    account: AccountKey
    number: str
    subscriber: str
    registration: str
    institution: str
    purpose: str
    hop: int


class Known(NamedTuple):
    """A call as its records tell it. `others`: see `Identity.others`; `result`: the final answer, 0: none
    yet; at `ended` (ms); `ours`: it was our own, see `OURS`."""

    key: int
    call_id: bytes
    at: int
    reason: str  # "": it passed
    sub: str
    dialog: Dialog
    others: int = 0
    result: int = 0
    ended: int = 0
    ours: bool = False


def mark_of(host: str, port: int, transport: str) -> int:
    """What the record of a call says of the next hop that it went on to: 16 bits, 0 is none."""
    return crc32(f"{transport} {host}:{port}".encode()) & 0xFFFF or 1


def went_of(hop: Place | None, others: int) -> int:
    """What the record of a call has as its `reference`: the mark of its next hop, None: it goes nowhere, and
    above that the mark of the numbers that it names beside caller and called (`Identity.others`)."""
    return others << 16 | (0 if hop is None else mark_of(*hop.address))


class Recall:
    """What a worker reads back at its start, at most `most` calls of each writer: see `recalled`."""

    def __init__(self, journal: Path, keys: Keys, mine: Callable[[str], bool], most: int) -> None:
        self._read = partial(recalled, journal, keys, mine, most)
        self._began = time_ns() // 1_000_000

    def repeatable(self) -> list[Known]:
        """Those whose INVITE may come again."""
        return list(self._read(self._began - LONGEST))

    def standing(self) -> Iterator[Known]:
        """Older ones, that may last still; to be read in a thread."""
        return self._read(self._began - STANDS, self._began - LONGEST)


def recalled(
    journal: Path, keys: Keys, mine: Callable[[str], bool], most: int, since: int, until: int = 0
) -> Iterator[Known]:
    """The calls that were judged since `since` and before `until` (ms), whose Call-IDs are `mine`: of each
    writer the newest first, and at most `most`; without an `until`, how they were answered too."""
    for folder in writers(journal):
        left = most
        ended: dict[bytes, tuple[int, int, bool]] = {}
        for cipher, digest, block in recent(folder, keys, since, _SIP if until else b""):
            for index in range(len(block.records) - 1, -1, -1):
                octets = block.records[index]
                if octets.startswith(_OUTCOME):
                    if octets[_RESULT] < 128:  # an SMS's is mostly 0
                        continue
                    outcome = rec.decode(octets)
                    if isinstance(outcome, rec.Outcome) and outcome.result >= FINAL:
                        told = outcome.result, outcome.at, outcome.message_id == OURS
                        ended.setdefault(outcome.attempt, told)
                    continue
                if _SIP not in octets:
                    continue
                record = None
                with suppress(rec.RecordError):
                    record = rec.decode(octets)
                if not isinstance(record, rec.Attempt) or record.judged.channel != VOICE:
                    continue
                if record.judged.protocol != SIP or not since <= record.at < (until or FOREVER):
                    continue
                try:
                    content = open_sealed(cipher, digest, block.first + index, record.sealed)
                except (InvalidTag, rec.RecordError):
                    continue
                known = known_of(record, content, *ended.pop(record.id, (0, 0, False)))
                if known is not None and mine(known.call_id.decode("utf-8", "replace")):
                    yield known
                    left -= 1
            if left <= 0:
                break


def known_of(
    attempt: rec.Attempt, content: rec.Content, result: int = 0, ended: int = 0, ours: bool = False
) -> Known | None:
    """What the record of a call tells, and of its end; None for one that has no Call-ID (asked about by
    HTTP)."""
    judged, octets = attempt.judged, content.octets
    if not octets or not isinstance(octets, bytes):
        return None
    sequence = attempt.sequence
    key = int.from_bytes(sequence, "big") if isinstance(sequence, bytes) else sequence
    call_id = octets.decode("utf-16-be", "replace").encode()
    verdict = judged.reason, judged.sub
    dialog, others = dialog_from(attempt, content), attempt.reference >> 16
    return Known(key, call_id, attempt.at, *verdict, dialog, others, result, ended, ours)


def dialog_from(attempt: rec.Attempt, content: rec.Content) -> Dialog:
    """The call of a record."""
    judged = attempt.judged
    return Dialog(
        attempt.id,
        AccountKey(judged.carrier, judged.protocol, judged.account),
        judged.number,
        content.subscriber,
        judged.registration,
        judged.institution,
        judged.purpose,
        attempt.reference & 0xFFFF,
    )
