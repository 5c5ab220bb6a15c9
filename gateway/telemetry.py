"""What the node measures and says of itself: metrics (one line each) and log lines.

Metrics are prometheus-client's, in its multi-process mode: every process of a node writes into mapped
files of one folder, and the web process adds them up (`exposition`). Callers count once per batch, never
per message. No number of a subscriber and no text may become a label.
"""

import json
import logging
import os
import sys
import time
from collections import Counter as Counts
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from gateway.durations import Durations
from gateway.model import REPLY_KINDS, Reason

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client reads the folder of the mapped files from this variable when it is imported."""

FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
"""The mapped files of a process: prometheus-client's name of each kind of metric."""

HEAD = 8  # octets; the first four say how many are used

ROOM = 256 << 10
"""Octets that each of them begins with, for some 1,700 series."""

LOG_VARIABLE = "ZHENGMING_LOG_DIR"
"""Folder for the log files of all processes; without it they write to standard error."""

NOBODY_WAITED = 499
"""In place of a status: the client went away before there was an answer."""

_FAST = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_ROUTES = (0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)  # few: there is a histogram for each route
_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Telemetry:
    """All metrics of contract.md "Metrics" that exist so far. One instance per process."""

    def __init__(self) -> None:
        _reserve()
        registry = CollectorRegistry()
        self._durations: list[Durations] = []
        self._relays: dict[tuple[str, str], Durations] = {}

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"zhengming_{name}", words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str, mode: str = "livesum") -> Gauge:
            return Gauge(f"zhengming_{name}", words, labels, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        def histogram(name: str, words: str, *labels: str, buckets: tuple[float, ...] = _FAST) -> Histogram:
            return Histogram(f"zhengming_{name}", words, labels, buckets=buckets, registry=registry)

        self.attempts = counter(
            "attempts_total", "Judged attempts", "channel", "protocol", "purpose", "verdict"
        )
        self.intercepts = counter("intercepts_total", "Refused attempts", "channel", "institution", "reason")
        self.observed = counter("observed_total", "Refusals by rules in observe mode", "reason")
        self.replies = counter("replies_total", "Replies of subscribers", "kind")
        self.refusal_effective = histogram(
            "refusal_effective_seconds",
            "From a reply's arrival, here or at another node, until all workers of this one refuse by it",
            buckets=_SLOW,
        )
        self.decision = self._often(histogram("decision_seconds", "Judging one batch"))
        self._relay = histogram(
            "relay_seconds", "Added between the two sockets, per batch", "protocol", "direction"
        )
        self.sessions = gauge("sessions", "Open connections", "protocol", "side")
        self.window_used = gauge("window_used", "Submits that wait for the carrier's answer")
        self.congestion = gauge(
            "congestion_state",
            "Worst congestion_state that a carrier has said last on an open connection, 0 to 100 (SMPP 5.0)",
            "protocol",
            mode="livemax",
        )
        self.closed = counter("connections_closed_total", "Connections ended by us", "protocol", "cause")
        self.unanswerable = counter("requests_unanswerable_total", "Unknown requests dropped", "protocol")
        self.deliveries = counter(
            "callback_deliveries_total",
            "What carriers sent on connections of their own",
            "protocol",
            "outcome",
        )
        self.journal_bytes = gauge("journal_bytes", "Octets written to the journal since this process began")
        self.written = 0  # octets, for journal_bytes
        self.journal_sync = self._often(histogram("journal_sync_seconds", "Making one group durable"))
        self.journal_stopped = gauge("journal_stopped", "Journals that take nothing: full, poisoned", "cause")
        self.journal_dropped = counter(
            "journal_dropped_records_total", "Outcomes and reports that a full or failing disk has cost"
        )
        self.journal_unshipped = gauge(
            "journal_unshipped_records", "Records not yet in PostgreSQL", mode="livemax"
        )
        self.map_used = gauge(
            "map_used_ratio", "Share of a mapped file that is in use", "map", mode="livemax"
        )
        self.registry_version = gauge(
            "registry_version", "Version of the registry that is judged by", mode="livemax"
        )
        self.registry_lag = gauge("registry_lag_seconds", "Age of the last registry news", mode="livemax")
        self.api_requests = counter("api_requests_total", "API requests", "route", "status")
        self._api = histogram("api_seconds", "API requests", "route", buckets=_ROUTES)
        self._routes: dict[str, Durations] = {}
        self._answers: Counts[tuple[str, int]] = Counts()
        self.api_limited = counter("api_limited_total", "Requests beyond a rate", "kind")
        self.alarms = counter("alarms_total", "Alarms for the regulator", "kind")
        self.sign_ins = counter("sign_ins_total", "Tries to sign in", "result")

        for reason in Reason:  # there from the start: Prometheus sees no increase in a first 1
            self.observed.labels(reason.value)
        for kind in REPLY_KINDS:
            self.replies.labels(kind)

    def relay(self, protocol: str, direction: str) -> Durations:
        """`relay_seconds` of one direction: to_carrier or to_sender."""
        known = self._relays.get((protocol, direction))
        if known is None:
            known = self._relays[protocol, direction] = self._often(self._relay.labels(protocol, direction))
        return known

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count and time one request of a route, such as `GET /numbers/{id}`."""
        known = self._routes.get(route)
        if known is None:
            known = self._routes[route] = self._often(self._api.labels(route))
        known.observe(seconds)
        self._answers[route, status] += 1

    def committed(self, records: int, octets: int, seconds: float) -> None:
        """One group of a journal is durable."""
        self.written += octets
        self.journal_sync.observe(seconds)

    def flush(self) -> None:
        """Hand over what was added up; called a few times a second."""
        for durations in self._durations:
            durations.flush()
        for (route, status), count in self._answers.items():
            self.api_requests.labels(route, str(status)).inc(count)
        self._answers.clear()
        self.journal_bytes.set(self.written)

    def _often(self, child: Histogram) -> Durations:
        self._durations.append(durations := Durations(child))
        return durations


def exposition() -> bytes:
    """The metrics of all processes of this node, in Prometheus' text format."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """Drop the gauges of a process that has ended; its counters stay in the sums, without spare room."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
    for path in Path(os.environ[FOLDER_VARIABLE]).glob(f"*_{pid}.db"):
        with path.open("r+b") as file:
            file.truncate(max(HEAD, int.from_bytes(file.read(4), sys.byteorder)))


def _reserve() -> None:
    """Give this process's mapped files their room now: writing to a page that has none kills the process.

    Raises OSError.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    for kind in FILES if folder else ():
        path = Path(f"{folder}/{kind}_{os.getpid()}.db")
        draft = path.with_suffix(".new")  # nobody may read it empty
        with draft.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
        draft.replace(path)


BESIDE = ("gateway", "asyncio", "aiohttp")
"""What our modules, and the libraries below them, say under their own names goes to the same lines."""


class _Lines(logging.Formatter):
    """One JSON object a line: time, level, what, and the fields given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "at": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "role": record.name,
            "what": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def logger(role: str) -> logging.Logger:
    """The process's logger: JSON lines on standard error, or in ROLE.log of the folder that is set."""
    log = logging.getLogger(role)
    log.handlers.clear()
    folder = os.environ.get(LOG_VARIABLE)
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if folder:
        handler = logging.FileHandler(Path(folder) / f"{role}.log", encoding="utf-8")
    handler.setFormatter(_Lines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    for name in BESIDE:
        modules = logging.getLogger(name)
        modules.handlers[:] = [handler]
        modules.propagate = False
    return log
