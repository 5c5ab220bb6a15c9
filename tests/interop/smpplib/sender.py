"""An SMPP sender made of python-smpplib: binds, submits (every third one from a number that is to be
refused), waits for answers, reports and replies, tests the link and unbinds. Arguments and the JSON line:
see peers.py."""

import argparse
import json
import re
import time
from collections import Counter
from typing import Any

from smpplib import consts, gsm, smpp
from smpplib.client import Client

WINDOW = 16


class Sender:
    def __init__(self, said: argparse.Namespace) -> None:
        self.said = said
        self.results: Counter[int] = Counter()
        self.reports: Counter[str] = Counter()
        self.replies: list[str] = []
        self.sent = self.submitted = 0
        self.client = Client(said.host, said.port, timeout=said.seconds, allow_unknown_opt_params=True)
        self.client.set_message_sent_handler(self.answered)
        self.client.set_error_pdu_handler(lambda pdu: None)  # it goes on to the handler of its command
        self.client.set_message_received_handler(self.received)

    def answered(self, pdu: Any) -> None:
        self.results[pdu.status] += 1

    def received(self, pdu: Any) -> None:
        content = pdu.short_message
        if (pdu.esm_class & 0x3C) == 0x04:  # a receipt, which the library has no name for
            found = re.search(rb"stat:(\w+)", content)
            assert found is not None, content
            self.reports[found[1].decode()] += 1
            return
        if pdu.esm_class & consts.SMPP_GSMFEAT_UDHI:
            content = content[1 + content[0] :]
        self.replies.append(content.decode("utf-16-be" if pdu.data_coding == 8 else "ascii"))

    def submit(self) -> None:
        said, number = self.said, self.submitted
        parts, coding, esm_class = gsm.make_parts(said.text)
        for part in parts:
            self.client.send_message(
                source_addr=said.refused_from if number % 3 == 2 else said.from_,
                destination_addr=f"1380000{number:04d}",
                short_message=part,
                data_coding=coding,
                esm_class=esm_class,
                registered_delivery=True,
            )
        self.submitted += 1
        self.sent += len(parts)

    def waits(self) -> bool:
        return (
            self.submitted < self.said.messages
            or self.results.total() < self.sent
            or self.reports.total() < self.results[0]
            or len(self.replies) < self.said.replies
        )

    def run(self) -> dict[str, Any]:
        self.client.connect()
        self.client.bind_transceiver(system_id=self.said.account, password=self.said.secret)
        deadline = time.monotonic() + self.said.seconds
        while self.waits() and time.monotonic() < deadline:
            while self.submitted < self.said.messages and self.sent - self.results.total() < WINDOW:
                self.submit()
            self.client.read_once()
        self.client.send_pdu(smpp.make_pdu("enquire_link", client=self.client))
        tested = self.client.read_pdu()
        left = self.client.unbind()
        self.client.disconnect()
        return {
            "connected": True,
            "submitted": self.submitted,
            "results": self.results,
            "reports": self.reports,
            "replies": self.replies,
            "active_tests": int(tested.command == "enquire_link_resp"),
            "terminated": left.command == "unbind_resp",
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("host", "account", "secret", "version", "text", "refused-from"):
        parser.add_argument(f"--{name}", default="127.0.0.1" if name == "host" else None)
    parser.add_argument("--from", dest="from_")
    for name in ("port", "messages", "replies", "seconds", "parts"):
        parser.add_argument(f"--{name}", type=int, default=0)
    print(json.dumps(Sender(parser.parse_known_args()[0]).run()))


main()
