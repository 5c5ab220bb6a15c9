"""What the peers of a relay say in SGIP, by the names of `peers`; and the carrier's part where it calls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from gateway.protocols import sgip_tables
from gateway.protocols.message import Submission
from gateway.protocols.sgip import V12, Sgip
from gateway.protocols.table import Pdu
from gateway.simulator.clear_secret import ClearSecret
from gateway.simulator.said import Said


class SgipPeer(ClearSecret):
    """China Unicom's. A sender's connection sends; a carrier's own, which `calls` the sender, delivers."""

    wire = Sgip
    asks, speaks = V12, V12
    versions: ClassVar = {"1.2": V12}
    most_recipients = 100
    account_octets, secret_octets = 16, 16
    refuses_with, most_result = 88, 255

    @staticmethod
    def login(account: bytes, secret: bytes, version: int, now: datetime) -> Pdu:
        return sgip_tables.Bind(login_type=1, login_name=account, login_password=secret)

    @staticmethod
    def calls(account: bytes, secret: bytes) -> Pdu:
        """What a carrier says first on a connection of its own."""
        return sgip_tables.Bind(login_type=2, login_name=account, login_password=secret)

    @staticmethod
    def first_number(node: int, now: datetime, counter: int) -> int:
        """Of the requests on a connection; no two may begin alike, as a number is a message id."""
        return sgip_tables.SequenceNumber(node, int(now.strftime("%m%d%H%M%S")), counter).number

    @staticmethod
    def message(
        account: bytes, source: bytes, to: Sequence[bytes], said: Said, report: bool, at: bytes
    ) -> Pdu:
        return sgip_tables.Submit(
            sp_number=source,
            user_number=list(to),
            corp_id=b"99999",
            service_type=b"SIM",
            fee_type=1,
            more_late_to_mt_flag=2,
            schedule_time=at,
            report_flag=1 if report else 2,
            tp_udhi=int(said.udhi),
            message_coding=said.fmt,
            message_content=said.content,
        )

    @staticmethod
    def accepts(wire: Sgip, command: int, sequence: int, identity: bytes, result: int) -> bytes:
        return wire.encode(sgip_tables.SubmitResp(result=result), sequence)

    @staticmethod
    def reply(identity: bytes, number: bytes, subscriber: bytes, said: Said) -> Pdu:
        return sgip_tables.Deliver(
            user_number=subscriber,
            sp_number=number,
            tp_udhi=int(said.udhi),
            message_coding=said.fmt,
            message_content=said.content,
        )

    @staticmethod
    def report(identity: bytes, submission: Submission, index: int, stat: str, stamp: str) -> Pdu:
        delivered = stat == "DELIVRD"
        return sgip_tables.Report(
            submit_sequence=identity,
            user_number=submission.destinations[index],
            state=0 if delivered else 2,
            error_code=0 if delivered else 29,
        )

    @staticmethod
    def is_report(body: Any) -> bool:
        return isinstance(body, sgip_tables.Report)

    @staticmethod
    def result(wire: Sgip, answer: bytes) -> int:
        return answer[20]

    @staticmethod
    def answers(wire: Sgip, command: int, sequence: int, frame: bytes) -> bytes | None:
        return wire.unknown(frame, (0, len(frame), command, sequence))
