"""What a process counts, as Prometheus sees it."""

import json
import logging
import os
import subprocess
import sys

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway import telemetry
from gateway.durations import Durations
from gateway.model import Reason


def shown(observe) -> bytes:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "words", buckets=(0.1, 0.5), registry=registry)
    observe(histogram)
    lines = generate_latest(registry).splitlines()
    return b"\n".join(line for line in lines if b"_created" not in line)


def test_durations_added_up_are_what_prometheus_would_have_counted():
    values = [0.05, 0.1, 0.1000001, 0.3, 0.5, 7.0]

    def one_by_one(histogram: Histogram) -> None:
        for value in values:
            histogram.observe(value)

    def added_up(histogram: Histogram) -> None:
        durations = Durations(histogram)
        for place, value in enumerate(values):
            durations.observe(value)
            if place % 2:
                durations.flush()
        durations.flush()

    assert shown(added_up) == shown(one_by_one)
    assert b'le="+Inf"} 6.0' in shown(added_up)


def test_what_may_be_counted_is_there_from_the_start_at_0(tmp_path):
    """Else the first one is no increase to Prometheus. A process of its own: the folder is read at import."""
    program = """
from gateway import telemetry
telemetry.Telemetry()
print(telemetry.exposition().decode())
"""
    environment = os.environ | {telemetry.FOLDER_VARIABLE: str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert "zhengming_journal_dropped_records_total 0.0" in lines
    for reason in Reason:
        assert f'zhengming_observed_total{{reason="{reason}"}} 0.0' in lines
    for kind in ("refuse", "accept", "wrong_person", "ambiguous", "other"):
        assert f'zhengming_replies_total{{kind="{kind}"}} 0.0' in lines


def test_requests_added_up_are_counted_once_each(tmp_path):
    program = """
from gateway import telemetry
counts = telemetry.Telemetry()
for status, seconds in (200, 0.001), (200, 0.003), (404, 0.001):
    counts.answered("GET /numbers/{id}", status, seconds)
    counts.flush()
counts.flush()
print(telemetry.exposition().decode())
"""
    environment = os.environ | {telemetry.FOLDER_VARIABLE: str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    route = 'route="GET /numbers/{id}"'
    assert f'zhengming_api_requests_total{{{route},status="200"}} 2.0' in lines
    assert f'zhengming_api_requests_total{{{route},status="404"}} 1.0' in lines
    assert f'zhengming_api_seconds_bucket{{le="0.002",{route}}} 2.0' in lines
    assert f"zhengming_api_seconds_count{{{route}}} 3.0" in lines


def test_a_log_line_is_one_json_object(tmp_path, monkeypatch):
    monkeypatch.setenv(telemetry.LOG_VARIABLE, str(tmp_path))
    log = telemetry.logger("part")
    log.info("closed", extra={"fields": {"cause": "length_too_large"}})
    logging.getLogger("gateway.somewhere").warning("too\nlong")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("asyncio").exception("task failed")
    for handler in log.handlers:
        handler.close()
    first, second, third = (tmp_path / "part.log").read_text("utf-8").splitlines()
    assert json.loads(first)["cause"] == "length_too_large"
    assert json.loads(second)["what"] == "too\nlong"
    assert json.loads(third)["trace"].endswith("OSError: gone")
    for name in telemetry.BESIDE:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
