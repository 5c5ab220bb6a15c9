"""What the peers of a relay say in each protocol, and a relay never does: logins with their proofs, messages,
replies and reports, and the carrier's answers. The simulators know no more of a protocol than these names.
"""

from collections.abc import Sequence
from datetime import datetime
from hmac import compare_digest
from typing import Any, ClassVar

from gateway.protocols import cmpp_tables, smgp_tables, smpp_own, smpp_tables
from gateway.protocols.cmpp import V20, V30, Cmpp
from gateway.protocols.message import Login, Submission
from gateway.protocols.smgp import Smgp
from gateway.protocols.smpp import V34, V50, Smpp
from gateway.protocols.table import Pdu
from gateway.simulator.clear_secret import ClearSecret
from gateway.simulator.said import Said
from gateway.simulator.sgip_peer import SgipPeer


class CmppPeer:
    """China Mobile's."""

    wire = Cmpp
    asks, speaks = V20, V30  # the version that a sender asks for, and the highest that a carrier knows
    versions: ClassVar = {"2.0": V20, "2.1": 0x21, "3.0": V30}
    most_recipients = 99
    account_octets, secret_octets = 6, 64
    refuses_with, most_result = 9, 255  # of one octet in 2.0

    @staticmethod
    def login(account: bytes, secret: bytes, version: int, now: datetime) -> Pdu:
        timestamp = int(now.strftime("%m%d%H%M%S"))
        proof = cmpp_tables.authenticator_source(account, secret, timestamp)
        return cmpp_tables.Connect(
            source_addr=account, authenticator_source=proof, version=version, timestamp=timestamp
        )

    @staticmethod
    def is_proved(login: Login, secret: bytes) -> bool:
        bare = login.account.encode()
        return any(
            compare_digest(
                cmpp_tables.authenticator_source(form, secret, login.timestamp), login.authenticator
            )
            for form in (bare, bare.ljust(6, b"\0"))
        )

    @staticmethod
    def proof(login: Login, version: int, secret: bytes) -> bytes:
        """What a carrier proves itself with when it lets a sender in."""
        return cmpp_tables.authenticator_ismg(0, 4 if version >= V30 else 1, login.authenticator, secret)

    @classmethod
    def is_vouched(cls, frame: bytes, login: Login, secret: bytes) -> bool:
        """Whether the answer to a login proves its carrier."""
        column = int(len(frame) > 30)
        answer = cmpp_tables.ConnectResp.decode(frame, 12, len(frame), column)
        return answer.authenticator_ismg == cls.proof(login, V30 if column else V20, secret)

    @staticmethod
    def message(
        account: bytes, source: bytes, to: Sequence[bytes], said: Said, report: bool, at: bytes
    ) -> Pdu:
        return cmpp_tables.Submit(
            pk_total=said.total,
            pk_number=said.number,
            registered_delivery=int(report),
            service_id=b"SIM",
            tp_udhi=int(said.udhi),
            msg_fmt=said.fmt,
            msg_src=account,
            fee_type=b"01",
            at_time=at,
            src_id=source,
            dest_terminal_id=list(to),
            msg_content=said.content,
        )

    @staticmethod
    def accepts(wire: Cmpp, command: int, sequence: int, identity: bytes, result: int) -> bytes:
        body = cmpp_tables.SubmitResp(msg_id=int.from_bytes(identity, "big"), result=result)
        return wire.encode(body, sequence)

    @staticmethod
    def reply(identity: bytes, number: bytes, subscriber: bytes, said: Said) -> Pdu:
        return cmpp_tables.Deliver(
            msg_id=int.from_bytes(identity, "big"),
            dest_id=number,
            src_terminal_id=subscriber,
            tp_udhi=int(said.udhi),
            msg_fmt=said.fmt,
            msg_content=said.content,
        )

    @staticmethod
    def report(identity: bytes, submission: Submission, index: int, stat: str, stamp: str) -> Pdu:
        number, destination = int.from_bytes(identity, "big") + index, submission.destinations[index]
        content = cmpp_tables.StatusReport(
            msg_id=number,
            stat=stat.encode(),
            submit_time=stamp.encode(),
            done_time=stamp.encode(),
            dest_terminal_id=destination[:21],
            smsc_sequence=number & 0xFFFF,
        )
        return cmpp_tables.Deliver(
            msg_id=number,
            dest_id=submission.source,
            src_terminal_id=destination,
            registered_delivery=1,
            msg_content=content.encode(),
        )

    @staticmethod
    def is_report(body: Any) -> bool:
        return bool(body.registered_delivery)

    @staticmethod
    def result(wire: Cmpp, answer: bytes) -> int:
        """Of the answer to a reply or report."""
        column = int(wire.version >= V30)
        return cmpp_tables.DeliverResp.decode(answer, 12, len(answer), column).result

    @staticmethod
    def answers(wire: Cmpp, command: int, sequence: int, frame: bytes) -> bytes | None:
        """What a carrier says to the sender's other requests."""
        if command == cmpp_tables.QUERY:
            return wire.encode(cmpp_tables.QueryResp(time=frame[12:20]), sequence)
        if command == cmpp_tables.CANCEL:
            return wire.encode(cmpp_tables.CancelResp(), sequence)
        return wire.unknown(frame, (0, len(frame), command, sequence))


class SmgpPeer:
    """China Telecom's."""

    wire = Smgp
    asks, speaks = 0x30, 0x30
    versions: ClassVar = {"1.3": 0x13, "3.0": 0x30}
    most_recipients = 100
    account_octets, secret_octets = 8, 15
    refuses_with, most_result = 75, 0xFFFF

    @staticmethod
    def login(account: bytes, secret: bytes, version: int, now: datetime) -> Pdu:
        timestamp = int(now.strftime("%m%d%H%M%S"))
        return smgp_tables.Login(
            client_id=account,
            authenticator_client=smgp_tables.authenticator_client(account, secret, timestamp),
            login_mode=2,
            time_stamp=timestamp,
            client_version=version,
        )

    @staticmethod
    def is_proved(login: Login, secret: bytes) -> bool:
        wanted = smgp_tables.authenticator_client(login.account.encode(), secret, login.timestamp)
        return compare_digest(wanted, login.authenticator)

    @staticmethod
    def proof(login: Login, version: int, secret: bytes) -> bytes:
        return smgp_tables.authenticator_server(0, login.authenticator, secret)

    @classmethod
    def is_vouched(cls, frame: bytes, login: Login, secret: bytes) -> bool:
        answer = smgp_tables.LoginResp.decode(frame, 12, len(frame))
        return answer.authenticator_server == cls.proof(login, 0, secret)

    @staticmethod
    def message(
        account: bytes, source: bytes, to: Sequence[bytes], said: Said, report: bool, at: bytes
    ) -> Pdu:
        return smgp_tables.Submit(
            msg_type=6,
            need_report=int(report),
            service_id=b"SIM",
            fee_type=b"00",
            msg_format=said.fmt,
            at_time=at,
            src_term_id=source,
            dest_term_id=list(to),
            msg_content=said.content,
            tlvs=_parts(said),
        )

    @staticmethod
    def accepts(wire: Smgp, command: int, sequence: int, identity: bytes, result: int) -> bytes:
        return wire.encode(smgp_tables.SubmitResp(msg_id=identity, status=result), sequence)

    @staticmethod
    def reply(identity: bytes, number: bytes, subscriber: bytes, said: Said) -> Pdu:
        return smgp_tables.Deliver(
            msg_id=identity,
            msg_format=said.fmt,
            src_term_id=subscriber,
            dest_term_id=number,
            msg_content=said.content,
            tlvs=_parts(said),
        )

    @staticmethod
    def report(identity: bytes, submission: Submission, index: int, stat: str, stamp: str) -> Pdu:
        times = stamp.encode(), stamp.encode()
        return smgp_tables.Deliver(
            msg_id=identity,
            is_report=1,
            src_term_id=submission.destinations[index],
            dest_term_id=submission.source,
            msg_content=smgp_tables.report_text(identity, stat.encode(), *times),
        )

    @staticmethod
    def is_report(body: Any) -> bool:
        return bool(body.is_report)

    @staticmethod
    def result(wire: Smgp, answer: bytes) -> int:
        return smgp_tables.DeliverResp.decode(answer, 12, len(answer)).status

    @staticmethod
    def answers(wire: Smgp, command: int, sequence: int, frame: bytes) -> bytes | None:
        if command == smgp_tables.QUERY:
            return wire.encode(smgp_tables.QueryResp(query_time=frame[12:20]), sequence)
        return wire.unknown(frame, (0, len(frame), command, sequence))


def _parts(said: Said) -> list[tuple[int, bytes]]:
    if not said.udhi:
        return []
    return [
        (smgp_tables.TP_UDHI, b"\1"),
        (smgp_tables.PK_TOTAL, bytes([said.total])),
        (smgp_tables.PK_NUMBER, bytes([said.number])),
    ]


class SmppPeer(ClearSecret):
    """Everybody else's."""

    wire = Smpp
    answers_with = b"SMSC"
    asks, speaks = V34, V50
    versions: ClassVar = {"3.3": 0x33, "3.4": V34, "5.0": V50}
    most_recipients = 254
    account_octets, secret_octets = 15, 8
    refuses_with, most_result = 0x45, 0xFFFF

    @staticmethod
    def login(account: bytes, secret: bytes, version: int, now: datetime) -> Pdu:
        return smpp_tables.BindTransceiver(
            system_id=account, password=secret, system_type=b"SIM", interface_version=version
        )

    @staticmethod
    def message(
        account: bytes, source: bytes, to: Sequence[bytes], said: Said, report: bool, at: bytes
    ) -> Pdu:
        fields: dict[str, Any] = {
            "source_addr": source,
            "esm_class": 0x40 * said.udhi,
            "schedule_delivery_time": at,
            "registered_delivery": int(report),
            "data_coding": said.fmt or 1,
            "short_message": said.content,
        }
        if len(to) == 1:
            return smpp_tables.SubmitSm(destination_addr=to[0], **fields)
        return smpp_tables.SubmitMulti(dest_address=[(1, 1, 1, one) for one in to], **fields)

    @staticmethod
    def accepts(wire: Smpp, command: int, sequence: int, identity: bytes, result: int) -> bytes:
        return (
            wire.answer(command, sequence, result) or b""
            if result
            else wire.acceptance(sequence, identity, command)
        )

    @staticmethod
    def reply(identity: bytes, number: bytes, subscriber: bytes, said: Said) -> Pdu:
        return smpp_tables.DeliverSm(
            source_addr=subscriber,
            destination_addr=number,
            esm_class=0x40 * said.udhi,
            data_coding=said.fmt or 1,
            short_message=said.content,
        )

    @staticmethod
    def report(identity: bytes, submission: Submission, index: int, stat: str, stamp: str) -> Pdu:
        return smpp_tables.DeliverSm(
            source_addr=submission.destinations[index],
            destination_addr=submission.source,
            esm_class=0x04,
            short_message=smpp_own.receipt(identity, stat.encode(), stamp, stamp),
        )

    @staticmethod
    def is_report(body: Any) -> bool:
        return bool(body.esm_class == 0x04)

    @staticmethod
    def result(wire: Smpp, answer: bytes) -> int:
        return wire.result(answer, 0, len(answer))[0]

    @staticmethod
    def answers(wire: Smpp, command: int, sequence: int, frame: bytes) -> bytes | None:
        if command == smpp_tables.QUERY_SM:
            asked = smpp_tables.QuerySm.decode(frame, 16, len(frame))
            return wire.encode(
                smpp_tables.QuerySmResp(message_id=asked.message_id, message_state=2), sequence
            )
        if command == smpp_tables.CANCEL_SM:
            return wire.encode(smpp_tables.CancelSmResp(), sequence)
        if command == smpp_tables.REPLACE_SM:
            return wire.encode(smpp_tables.ReplaceSmResp(), sequence)
        return wire.unknown(frame, (0, len(frame), command, sequence))


Peer = CmppPeer | SgipPeer | SmgpPeer | SmppPeer

PEERS: dict[str, type[Peer]] = {peer.wire.name: peer for peer in (CmppPeer, SgipPeer, SmgpPeer, SmppPeer)}
