"""A call that another element carries (Kamailio): how the worker that owns it is asked, and what it tells.

One packet each way on a Unix socket in data_dir/run. Who asks waits for no longer than he was told to, and
what nobody told him may not pass. Rules of this file: the standard library alone, and no thread: it runs
inside Kamailio's processes (deploy/kamailio), in whatever Python they bring.
"""

import re
import socket
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import NamedTuple
from zlib import crc32

from gateway.sockets import short_name

MOST = 70_000
"""Octets of a packet: a SIP message of 64 KiB and what stands before it."""

_ASKED = struct.Struct(">QQBHB")
_TOLD = struct.Struct(">QBBHB")
_SOCKET = re.compile(r"calls-(\d+)-of-(\d+)\.sock")
_TIMEOUT = struct.Struct("@ll")


class Kind(IntEnum):
    """What an `Ask` is: REQUEST and RESPONSE want to be told; of PASSED_BY nobody waits for anything, and
    WITHDRAWN says that who asked `number` has waited for too long."""

    REQUEST = 1
    RESPONSE = 2
    PASSED_BY = 3
    WITHDRAWN = 4


class What(IntEnum):
    """What is to be done: nothing, go on to the carrier (or, from there, to where it leads), answer."""

    NOTHING = 0
    FORWARD = 1
    ANSWER = 2


class Ask(NamedTuple):
    """`at`: nanoseconds of the machine's monotonic clock; `message`: the octets as they came from `host`,
    `port`."""

    number: int
    at: int
    kind: int
    port: int
    host: str
    message: bytes


class Told(NamedTuple):
    """`hop`: "host:port" of the carrier, "" for what comes from there; `records`: stay on the path. Of an
    answer: `status`, `phrase`, and `rows`, each with its CRLF."""

    number: int
    what: int
    records: bool = False
    status: int = 0
    hop: str = ""
    phrase: str = ""
    rows: str = ""


class Unanswered(Exception):
    """Nobody has said, in time, what becomes of it: it is refused."""


def pack_ask(ask: Ask) -> bytes:
    host = ask.host.encode("ascii")
    return _ASKED.pack(ask.number, ask.at, ask.kind, ask.port, len(host)) + host + ask.message


def unpack_ask(octets: bytes) -> Ask:
    """Raises struct.error, ValueError."""
    number, at, kind, port, length = _ASKED.unpack_from(octets)
    end = _ASKED.size + length
    return Ask(number, at, kind, port, octets[_ASKED.size : end].decode("ascii"), octets[end:])


def pack_told(told: Told) -> bytes:
    hop, phrase = told.hop.encode("ascii"), told.phrase.encode("latin-1", "replace")
    head = _TOLD.pack(told.number, told.what, told.records, told.status, len(hop))
    return b"".join((head, hop, bytes((len(phrase),)), phrase, told.rows.encode("latin-1", "replace")))


def unpack_told(octets: bytes) -> Told:
    """Raises struct.error, ValueError, IndexError."""
    number, what, records, status, length = _TOLD.unpack_from(octets)
    end = _TOLD.size + length
    rows = end + 1 + octets[end]
    hop, phrase = octets[_TOLD.size : end].decode("ascii"), octets[end + 1 : rows].decode("latin-1")
    return Told(number, what, bool(records), status, hop, phrase, octets[rows:].decode("latin-1"))


def socket_of(run_dir: Path, worker: int, workers: int) -> Path:
    """The name says how many there are, so that who asks need not be told."""
    return run_dir / f"calls-{worker}-of-{workers}.sock"


def workers_at(run_dir: Path) -> int:
    """How many workers judge calls here. Raises Unanswered while there are none, or two counts of them."""
    try:
        counts = {int(found[2]) for path in run_dir.iterdir() if (found := _SOCKET.fullmatch(path.name))}
    except OSError as error:
        raise Unanswered(f"{run_dir}: {error.strerror}") from None
    if len(counts) != 1:
        raise Unanswered(f"{run_dir}: no worker takes calls there")
    return counts.pop()


class Asker:
    """The end of one process of Kamailio, which asks one thing at a time. `seconds`: how long it waits."""

    def __init__(self, run_dir: Path, seconds: float) -> None:
        self._run_dir = run_dir
        self._seconds = seconds
        self._sockets: dict[int, socket.socket] = {}
        self._silent: dict[int, float] = {}  # until when a worker that did not answer is not asked again
        self._workers = 0
        self._number = 0

    def ask(self, kind: Kind, call_id: str, peer: tuple[str, int], message: bytes) -> Told:
        """What the worker of this call says. Raises Unanswered."""
        worker, started = self._worker(call_id), monotonic()
        if self._silent.get(worker, 0.0) > started:
            raise Unanswered(f"worker {worker} did not answer a moment ago")
        self._send(worker, kind, peer, message)
        until = started + self._seconds
        try:
            while True:
                told = unpack_told(self._sockets[worker].recv(MOST))
                if told.number == self._number:
                    return told
                if monotonic() > until:
                    break
        except BlockingIOError:
            pass
        except (OSError, struct.error, ValueError, IndexError) as error:
            self._close(worker)
            raise Unanswered(f"worker {worker}: {error}") from None
        self._silent[worker] = monotonic() + self._seconds
        self._withdraw(worker, peer)
        raise Unanswered(f"worker {worker} did not answer in {self._seconds * 1000:.0f} ms")

    def note(self, call_id: str, peer: tuple[str, int], message: bytes) -> None:
        """Tell of something that goes its way whoever hears of it. Raises Unanswered when nobody did."""
        self._send(self._worker(call_id), Kind.PASSED_BY, peer, message)

    def close(self) -> None:
        for worker in list(self._sockets):
            self._close(worker)

    def _worker(self, call_id: str) -> int:
        self._workers = self._workers or workers_at(self._run_dir)
        return crc32(call_id.encode("utf-8", "surrogateescape")) % self._workers

    def _send(self, worker: int, kind: Kind, peer: tuple[str, int], message: bytes) -> None:
        self._number += 1
        octets = pack_ask(Ask(self._number, monotonic_ns(), kind, peer[1], peer[0], message))
        for again in (False, True):
            found = self._sockets.get(worker) or self._open(worker)
            try:
                found.send(octets)
                return
            except OSError as error:  # its end may be of an earlier life of the worker
                self._close(worker)
                if again or isinstance(error, BlockingIOError):
                    raise Unanswered(f"worker {worker}: {error.strerror}") from None

    def _open(self, worker: int) -> socket.socket:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            seconds = int(self._seconds)
            patience = _TIMEOUT.pack(seconds, int((self._seconds - seconds) * 1_000_000))
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
            with short_name(socket_of(self._run_dir, worker, self._workers)) as name:
                fresh.connect(name)
        except OSError as error:
            fresh.close()
            self._workers = 0  # the node may have come back with more of them, or fewer
            raise Unanswered(f"worker {worker}: {error.strerror}") from None
        self._sockets[worker] = fresh
        return fresh

    def _withdraw(self, worker: int, peer: tuple[str, int]) -> None:
        """What comes too late may not count as passed when the caller asks again."""
        octets = pack_ask(Ask(self._number, monotonic_ns(), Kind.WITHDRAWN, peer[1], peer[0], b""))
        with suppress(OSError):
            self._sockets[worker].send(octets, socket.MSG_DONTWAIT)
            return
        self._close(worker)

    def _close(self, worker: int) -> None:
        gone = self._sockets.pop(worker, None)
        if gone is not None:
            gone.close()
