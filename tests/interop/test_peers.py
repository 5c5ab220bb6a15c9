"""Foreign senders and carriers' ends work unchanged: with each other, and with the gateway between them.

Without the gateway they prove themselves, so that what differs through it is the gateway's doing. Every case
has an institution, accounts and numbers of its own.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from node import SECRET, Node, standing
from peers import PEERS, Peer
from playbook import free_ports

from gateway.model import Reason
from gateway.protocols import cmpp, sgip, smgp, smpp_status

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

TEXT = "【示例银行】新户专享利率，拒收请回复R"
LONG = "".join(f"【示例银行】第{line}条：您的账单已出，请于到期日前还款。" for line in range(1, 7))
LONG_REPLY = "您好，我已经还清了全部欠款，请核实以后再联系我。" * 4
FEW, MANY = 30, 1000
OURS = {"cmpp": cmpp.REFUSALS, "smgp": smgp.REFUSALS, "smpp": smpp_status.REFUSALS, "sgip": sgip.REFUSALS}


@dataclass(frozen=True)
class Case:
    """A foreign sender and version, and the foreign carrier's end that it speaks to."""

    peer: str
    protocol: str
    version: str
    end: str
    called: bool = False
    """Whether the carrier delivers on a connection of its own, to the sender's listener (SGIP)."""

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.protocol}-{self.version}" + "-called" * self.called

    @property
    def tests(self) -> int:
        """How often at least the link is tested; SGIP can't."""
        return int(self.protocol != "sgip")

    @property
    def sender(self) -> Peer:
        return PEERS[self.peer]

    @property
    def carrier(self) -> Peer:
        return PEERS[self.end]

    def refused(self, reason: Reason) -> str:
        """The code that a sender is told; 5.0 has one for all."""
        code = smpp_status.PROHIBITED if self.version == "50" else OURS[self.protocol][reason]
        return str(code)


CASES = (
    Case("smsgate", "cmpp", "20", "gocmpp"),
    Case("smsgate", "cmpp", "30", "gocmpp"),
    Case("cmppprotocol", "cmpp", "20", "gocmpp"),
    Case("gocmpp", "cmpp", "20", "smsgate"),
    Case("gocmpp", "cmpp", "21", "gocmpp"),
    Case("gocmpp", "cmpp", "30", "smsgate"),
    Case("smsgate", "smgp", "13", "smsgate"),
    Case("smsgate", "smgp", "30", "smsgate"),
    Case("smpplib", "smpp", "34", "npmsmpp"),
    Case("npmsmpp", "smpp", "34", "smsgate"),
    Case("npmsmpp", "smpp", "50", "npmsmpp"),
    Case("smsgate", "smpp", "34", "npmsmpp"),
    Case("kannel", "smpp", "34", "npmsmpp"),
    Case("smsgate", "sgip", "12", "smsgate"),
    Case("smsgate", "sgip", "12", "smsgate", called=True),
)
each_case = pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])


@pytest.fixture(scope="module")
def listener() -> int:
    """The port where senders that are called listen."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, listener: int) -> Iterator[Node]:
    with standing(tmp_path_factory.mktemp("demo")) as node:
        node.fill(
            "institutions",
            ["code", "name", "kind", "licence_scope"],
            [[f"IOP{n}", f"互通示例银行{n}", "bank", "marketing;service"] for n, _ in enumerate(CASES)],
        )
        node.fill(
            "accounts",
            ["carrier", "protocol", "account", "holder", "refusal_manner", "listener"],
            [
                ["mobile", case.protocol, account(case, manner), f"IOP{n}", manner, place]
                for n, case in enumerate(CASES)
                for place in [f"127.0.0.1:{listener}" if case.called else ""]
                for manner in ("result", "report")
            ],
        )
        node.fill(
            "numbers",
            ["number", "channels", "purposes", "institution", "signatures"],
            [
                [number(case, purpose), "sms", purpose, f"IOP{n}", "示例银行"]
                for n, case in enumerate(CASES)
                for purpose in ("marketing", "service")
            ],
        )
        yield node


def account(case: Case, manner: str) -> str:
    return f"88{'01'[manner == 'report']}{CASES.index(case):03d}"


def number(case: Case, purpose: str) -> str:
    """The case's own number for it; "none" stands for one that nobody registered."""
    return f"106{ {'marketing': 88, 'service': 89, 'none': 77}[purpose] }{CASES.index(case):03d}"


def login(case: Case, port: int, manner: str = "result") -> dict[str, object]:
    """What both ends are told."""
    return {
        "protocol": case.protocol,
        "port": port,
        "account": account(case, manner),
        "secret": SECRET,
        "version": case.version,
    }


def both_ends(
    case: Case, node: Node, listener: int, manner: str = "result"
) -> tuple[dict[str, object], dict[str, object]]:
    """What the carrier's end and the sender are told so that they meet at the gateway."""
    carrier = login(case, node.carriers[case.protocol], manner)
    sender = login(case, node.port(case.protocol), manner)
    if case.called:
        carrier["callback"], sender["listen"] = node.callback(case.protocol), listener
    return carrier, sender


def said(case: Case, **others: object) -> dict[str, object]:
    """What a sender is told besides, unless `others` say something else."""
    return {
        "text": TEXT,
        "from_": number(case, "marketing"),
        "refused_from": number(case, "none"),
        "messages": FEW,
        "seconds": 60,
    } | others


@each_case
def test_peers_agree_with_each_other(case: Case, listener: int) -> None:
    case.sender.command()
    (port,) = free_ports(1)
    called = {"callback": listener, "listen": listener} if case.called else {}
    with case.carrier.carry(**login(case, port), **called, refuse_every=3, reply_every=10) as carrier:
        sender = case.sender.send(**login(case, port), **called, **said(case, replies=2))
    assert sender["submitted"] == FEW == carrier["submits"]
    assert sender["results"].pop("0") == 20
    assert sum(sender["results"].values()) == 10
    assert sender["reports"] == {"DELIVRD": 20}
    assert carrier["reports_answered"] == 20
    assert sender["replies"] == ["R", "R"]
    assert carrier["replies_answered"] == 2
    assert sender["active_tests"] >= case.tests
    assert sender["terminated"]


@each_case
def test_peers_work_unchanged_through_the_gateway(case: Case, node: Node, listener: int) -> None:
    """A third is refused, some say R, and all sides have counted the same to the last message."""
    case.sender.command()
    dialled, dials = both_ends(case, node, listener)
    options = dials | said(case, messages=MANY)
    before = node.counters()
    unregistered = case.refused(Reason.UNREGISTERED)

    with case.carrier.carry(**dialled, reply_every=100) as carrier:
        sender = case.sender.send(**options, replies=6)

    assert sender["submitted"] == MANY
    assert sender["results"] == {"0": 667, unregistered: 333}
    assert sender["reports"] == {"DELIVRD": 667}
    assert sender["replies"] == ["R"] * 6
    assert sender["active_tests"] >= case.tests
    assert sender["terminated"]
    assert carrier["submits"] == carrier["reports_answered"] == 667
    assert carrier["replies_answered"] == 6
    assert carrier["closed_terminated"] == 1
    expected = {"pass": 667, "refuse": 333, "reply refuse": 6}
    assert node.gained(before, expected) == expected

    # those who said R are shielded at once: the same messages again, six fewer pass
    with case.carrier.carry(**dialled) as carrier:
        sender = case.sender.send(**options)
    told: Counter[str] = Counter({"0": 661, unregistered: 333})
    told[case.refused(Reason.REFUSED_BY_SUBSCRIBER)] += 6
    assert sender["results"] == told
    assert sender["reports"] == {"DELIVRD": 661}
    assert carrier["submits"] == carrier["reports_answered"] == 661
    again = {"pass": 1328, "refuse": 672, "reply refuse": 6}
    assert node.gained(before, again) == again

    records = node.records(number(case, "marketing"))
    attempts = [record for record in records if record["kind"] == "attempt"]
    assert Counter(attempt["reason"] or "pass" for attempt in attempts) == {
        "pass": 1328,
        "refused_by_subscriber": 6,
    }
    kinds = {"attempt": 1334, "reply": 6}
    if case.protocol != "sgip":  # whose reports name no sending number: they are found by their attempt
        kinds["report"] = 1328
    assert Counter(record["kind"] for record in records) == kinds
    reasons = Counter(record["reason"] for record in node.records(number(case, "none")))
    assert reasons == {"unregistered": 666}
    last = next(attempt for attempt in reversed(attempts) if not attempt["reason"])
    shown = json.loads(node.command("records", "show", last["id"], "--json"))
    assert [outcome["result"] for outcome in shown["outcomes"]] == [0]
    assert [report["stat"] for report in shown["reports"]] == ["DELIVRD"]


@each_case
def test_sender_hears_of_refusals_by_report_and_reads_long_replies(
    case: Case, node: Node, listener: int
) -> None:
    """Our own reports stand among the carrier's: read, counted and acknowledged like them.

    A listener is told so only once the carrier has called; before, the answer says it.
    """
    peer = case.sender
    peer.command()
    _, dials = both_ends(case, node, listener, "report")
    options = dials | said(case, from_=number(case, "service"), replies=2 if peer.joins else 4)
    calls = ("--callback", node.ready["callbacks"][case.protocol]) if case.called else ()
    if case.called:
        options["called_as"] = "smg"  # as the simulator does; foreign carriers use the sender's own account
    with node.carrier(case.protocol, "--reply-every", "10", "--reply-text", LONG_REPLY, *calls) as carrier:
        sender = peer.send(**options)
    answered = sender["results"].pop(case.refused(Reason.UNREGISTERED), 0)
    assert case.called or not answered
    assert sender["results"] == {"0": FEW - answered}
    assert sender["reports"] == Counter(DELIVRD=20) + Counter(REJECTD=10 - answered)
    assert "".join(sender["replies"]) == LONG_REPLY * 2
    assert carrier["reports_answered"] == carrier["submits"] == 20
    assert carrier["replies"] == carrier["replies_answered"] == 4
    assert sender["terminated"]


@each_case
def test_sender_sends_a_long_text(case: Case, node: Node, listener: int) -> None:
    """Its parts are forwarded, answered and reported one by one, and what they say is one attempt."""
    case.sender.command()
    own, parts = number(case, "service"), 3
    told = 1 if case.sender.sums else parts
    since = datetime.now(UTC).isoformat()
    dialled, dials = both_ends(case, node, listener)
    with case.carrier.carry(**dialled) as carrier:
        sender = case.sender.send(**dials | said(case, from_=own, text=LONG, parts=told))
    assert sender["submitted"] == FEW
    assert carrier["submits"] == 20 * parts
    assert sender["results"].pop("0") == 20 * told == carrier["reports_answered"]
    assert sum(sender["results"].values()) == 10 * told
    assert sender["reports"] == {"DELIVRD": 20 * told}
    words = ("--subscriber", "13800000000", "--since", since)
    found = node.records(own, *words, "--reveal", "--reason", "interop", "--by", "regulator")
    attempts = [record for record in found if record["kind"] == "attempt"]
    assert [(one["pk_number"], one["pk_total"], one["text"]) for one in attempts] == [(0, parts, LONG)]
