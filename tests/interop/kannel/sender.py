"""Kannel between a user of its HTTP interface and an SMPP port: its bearerbox binds, its smsbox takes
`sendsms`, tells what became of each message, and hands on replies, both by HTTP. Arguments and the JSON
line: see peers.py.

What Kannel says of a submit comes as delivery reports of its own (types 8 and 16), the carrier's as 1 and 2.
Its heartbeat and its goodbye are seen in its log, and nowhere else.
"""

import argparse
import contextlib
import http.client
import json
import random
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

CLIENTS = 4
ACCEPTED, REJECTED = "8", "16"
CONFIGURATION = """
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = {secret}
smsbox-port = {boxes}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
dlr-storage = internal
log-file = {folder}/bearerbox.log
log-level = 0

group = smsc
smsc = smpp
smsc-id = gateway
host = {host}
port = {port}
transceiver-mode = true
smsc-username = {account}
smsc-password = {secret}
system-type = ""
interface-version = {version}
max-pending-submits = 16
enquire-link-interval = 1
reconnect-delay = 1
source-addr-ton = 0
source-addr-npi = 0

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {boxes}
sendsms-port = {sendsms}
sendsms-interface = 127.0.0.1
http-request-retry = 5
log-file = {folder}/smsbox.log
log-level = 1

group = sendsms-user
username = user
password = {secret}
user-allow-ip = 127.0.0.1
concatenation = true
max-messages = 10

group = sms-service
keyword = default
get-url = "http://127.0.0.1:{heard}/reply?charset=%C&text=%b"
max-messages = 0
"""


class Heard:
    """What Kannel tells its user."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.reports: Counter[str] = Counter()
        self.replies: list[str] = []
        self.changed = threading.Condition()

    def told(self, path: str) -> None:
        found = parse_qs(urlsplit(path).query, keep_blank_values=True, encoding="latin-1")
        query = {key: values[-1] for key, values in found.items()}
        with self.changed:
            if path.startswith("/reply"):
                self.replies.append(query["text"].encode("latin-1").decode(query["charset"]))
            elif query["type"] == ACCEPTED:
                self.results["0"] += 1
            elif query["type"] == REJECTED:
                code = re.search(r"NACK/(0x[0-9a-fA-F]+|\d+)", query["said"])
                self.results[str(int(code[1], 0)) if code else query["said"]] += 1
            else:
                stat = re.search(r"stat:(\w+)", query["said"])
                self.reports[stat[1] if stat else query["said"]] += 1
            self.changed.notify_all()

    def until(self, deadline: float, *, results: int, replies: int) -> None:
        with self.changed:
            self.changed.wait_for(
                lambda: (
                    self.results.total() >= results
                    and self.reports.total() >= self.results["0"]
                    and len(self.replies) >= replies
                ),
                max(0.0, deadline - time.monotonic()),
            )


@contextlib.contextmanager
def listening(heard: Heard) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            heard.told(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024  # of five it would leave Kannel's calls beyond them without an answer

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def free_ports(count: int) -> list[int]:
    """Below the ephemeral ones, so that no connection takes one before Kannel does."""
    found: set[int] = set()
    while len(found) < count:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
            found.add(probe.getsockname()[1])
    return list(found)


@contextlib.contextmanager
def box(program: str, configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One of Kannel's programs, ended as its manual says: SIGTERM, upon which the bearerbox unbinds."""
    process = subprocess.Popen([program, "-v", "4", configuration], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def said_in(log: Path, words: str, deadline: float) -> bool:
    while words not in (log.read_text("utf-8", "replace") if log.exists() else ""):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Sendsms:
    """The user: one request a message, on a few connections that stay."""

    def __init__(self, port: int, heard: int, said: argparse.Namespace) -> None:
        self._local, self._port, self._said = threading.local(), port, said
        self._told = f"http://127.0.0.1:{heard}/told?type=%d&said=%A"

    def __call__(self, number: int) -> None:
        said = self._said
        query = {
            "username": "user",
            "password": said.secret,
            "from": said.refused_from if number % 3 == 2 else said.from_,
            "to": f"1380000{number:04d}",
            "text": said.text,
            "charset": "UTF-8",
            "coding": "2",
            "dlr-mask": "27",
            "dlr-url": self._told,
        }
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        self._local.connection.request("GET", "/cgi-bin/sendsms?" + urlencode(query, quote_via=quote))
        answer = self._local.connection.getresponse()
        body = answer.read()
        assert answer.status == 202, (answer.status, body)


def run(said: argparse.Namespace) -> dict[str, Any]:
    deadline = time.monotonic() + said.seconds
    heard = Heard()
    with tempfile.TemporaryDirectory() as name, listening(heard) as told:
        folder, log = Path(name), Path(name) / "bearerbox.log"
        admin, boxes, sendsms = free_ports(3)
        configuration = folder / "kannel.conf"
        configuration.write_text(
            CONFIGURATION.format(
                **vars(said), admin=admin, boxes=boxes, sendsms=sendsms, heard=told, folder=folder
            )
        )
        with box("/usr/sbin/bearerbox", configuration):
            assert said_in(log, "bind_transceiver_resp", deadline), log.read_text("utf-8", "replace")[-3000:]
            with box("/usr/sbin/smsbox", configuration):
                assert said_in(folder / "smsbox.log", "Connected to bearerbox", deadline)
                with ThreadPoolExecutor(CLIENTS) as clients:
                    list(clients.map(Sendsms(sendsms, told, said), range(said.messages)))
                heard.until(deadline, results=said.messages * said.parts, replies=said.replies)
                tested = said_in(log, "enquire_link_resp", deadline)
        return {
            "connected": True,
            "submitted": said.messages,
            "results": heard.results,
            "reports": heard.reports,
            "replies": heard.replies,
            "active_tests": int(tested),
            "terminated": "unbind_resp" in log.read_text("utf-8", "replace"),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("host", "account", "secret", "version", "text", "refused-from"):
        parser.add_argument(f"--{name}", default="127.0.0.1" if name == "host" else None)
    parser.add_argument("--from", dest="from_")
    for name, default in (("port", 0), ("messages", 30), ("replies", 0), ("seconds", 30), ("parts", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    print(json.dumps(run(parser.parse_known_args()[0])))


main()
