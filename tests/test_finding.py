"""Finding by HTTP: whose records one sees, masked; what is looked at in full goes on the audit."""

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from office import Said
from shell import Shell
from traces import AGENTS, BANKS, DRAFTS, MASKED, SUBSCRIBER, TEXT, Traces

from gateway.commands import looking
from gateway.web.finding import SHANGHAI

here = pytest.mark.asyncio(loop_scope="session")

SEES = {
    "regulator": {"passed", "refused", "entrusted", "elsewhere", "reply"},
    "auditor": {"passed", "refused", "entrusted", "elsewhere", "reply"},
    "carrier": {"passed", "refused", "entrusted", "reply"},
    "institution": {"passed", "refused", "reply"},
    "institution2": {"entrusted", "elsewhere"},
    "agency": {"entrusted", "elsewhere"},
}
"""By user, the records that are his: of his carrier, institution or agency."""

STRANGERS = ("provider", "admin")
EVERY = ("passed", "refused", "entrusted", "elsewhere", "reply")


def names(traces: Traces, items: list[dict[str, Any]]) -> list[str]:
    """What the records of an answer are called here."""
    known = {getattr(traces, name): name for name in (*EVERY, "foreign")}
    return [known[item["id"]] for item in items]


def audited(traces: Traces, act: str) -> list[tuple[Any, ...]]:
    """(login, subject, reason) of each such act."""
    return traces.office.sql(
        """SELECT u.login, a.subject, a.reason FROM audit a JOIN users u ON u.id = a.user_id
            WHERE a.act = %s ORDER BY a.id""",
        act,
    )


async def found(traces: Traces, who: str, **wanted: Any) -> Said:
    return await traces.office.post(who, "/records/find", wanted)


@pytest.mark.parametrize("who", SEES)
@here
async def test_a_search_finds_ones_own_records_masked(traces: Traces, who: str) -> None:
    said = await found(traces, who, subscriber="138 0000 0404", reason="CASE-1")
    assert said.status == 200
    assert set(names(traces, said.body["items"])) == SEES[who]
    assert said.body["incomplete"] == [{"node": "node-2", "why": "away"}]
    assert {one["subscriber"] for one in said.body["items"]} == {MASKED}
    assert TEXT not in str(said.body)
    assert "13800000404" not in str(said.body)
    assert audited(traces, "subscriber.find")[-1] == (who, "records", "CASE-1")
    ((whom,),) = traces.office.sql(
        "SELECT detail->>'subscriber' FROM audit WHERE act = 'subscriber.find' ORDER BY id DESC LIMIT 1"
    )
    assert whom == MASKED


@here
async def test_a_subscriber_is_not_looked_for_without_a_reason(traces: Traces) -> None:
    before = len(audited(traces, "subscriber.find"))
    for reason in ({}, {"reason": ""}, {"reason": " "}):
        said = await found(traces, "regulator", subscriber=SUBSCRIBER, **reason)
        assert (said.status, said.body["field"]) == (422, "reason")
    assert len(audited(traces, "subscriber.find")) == before
    by_number = await found(traces, "regulator", number=AGENTS)  # a sending number is nobody's secret
    assert names(traces, by_number.body["items"]) == ["entrusted", "elsewhere"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"number": BANKS + "01", "verdict": "pass"}, ["passed"]),
        ({"number": BANKS + "01", "verdict": "refuse"}, ["refused"]),
        ({"number": AGENTS, "limit": 1}, ["elsewhere"]),
        ({"number": AGENTS, "until": 4}, ["entrusted"]),
        ({"number": AGENTS, "since": 4}, ["elsewhere"]),
        ({"number": "10699999"}, []),
    ],
)
@here
async def test_a_search_keeps_to_what_is_wanted(
    traces: Traces, wanted: dict[str, Any], expected: list[str]
) -> None:
    for end in {"since", "until"} & set(wanted):
        wanted = wanted | {end: (traces.began + datetime.timedelta(seconds=wanted[end])).isoformat()}
    assert names(traces, (await found(traces, "regulator", **wanted)).body["items"]) == expected


@here
async def test_what_is_found_says_what_became_of_it(traces: Traces) -> None:
    items = (await found(traces, "regulator", number=BANKS + "01")).body["items"]
    states = {one["id"]: (one.get("delivery"), one.get("delivery_stat")) for one in items if "id" in one}
    assert states[traces.passed] == ("delivered", "DELIVRD")
    assert states[traces.refused] == (None, None)
    assert not {"outcomes", "reports"} & set().union(*items)


@here
async def test_what_can_be_nobodys_record_is_no_search(traces: Traces) -> None:
    for field, value in (
        ("number", "x"),
        ("subscriber", "1"),
        ("verdict", "maybe"),
        ("limit", 0),
        ("other", 1),
    ):
        said = await found(traces, "regulator", **{field: value, "reason": "x"})
        assert (said.status, said.body["field"]) == (422, field)
        assert said.body["expected"]
    span = {"since": "2026-11-20T00:00:00+08:00", "until": "2026-11-19T00:00:00+08:00"}
    query = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in span.items())
    for said in (
        await found(traces, "regulator", **span),
        await traces.office.get("regulator", f"/intercepts?{query}"),
    ):
        assert (said.status, said.body["field"], said.body["value"]) == (422, "until", span["until"])
    for who in STRANGERS:
        assert (await found(traces, who, number=BANKS)).status == 403


@pytest.mark.parametrize("who", [*SEES, *STRANGERS])
@here
async def test_a_foreign_record_is_a_missing_one(traces: Traces, who: str) -> None:
    for suffix, ask in (("", "GET"), ("/reveal", "POST")):
        body = {"reason": "CASE-2"} if suffix else None
        missing = await traces.office.ask(who, ask, f"/records/{traces.missing}{suffix}", body)
        for name in EVERY:
            place = f"/records/{getattr(traces, name)}{suffix}"
            said = await traces.office.ask(who, ask, place, body)
            if name in SEES.get(who, ()):
                assert said.status == 200
            else:
                assert said[:2] == missing[:2]
                assert said.status == (403 if who in STRANGERS else 404)
    for wrong in ("x", "0" * 31, "g" * 32, "0" * 34, "f" * 32):
        assert (await traces.office.get("regulator", f"/records/{wrong}")).status == 404


@here
async def test_a_record_is_shown_with_what_followed_and_without_its_text(traces: Traces) -> None:
    dashed = f"{traces.passed[:8]}-{traces.passed[8:]}"
    said = (await traces.office.get("institution", f"/records/{dashed}")).body
    assert (said["subscriber"], said["verdict"], said["outcome"]) == (MASKED, "pass", 0)
    assert [(one["stat"], one["repeated"]) for one in said["reports"]] == [("DELIVRD", False)]
    assert (said["delivery"], said["delivery_stat"]) == ("delivered", "DELIVRD")
    assert said["delivery_at"] > said["at"]
    assert not {"text", "sealed_by"} & set(said)
    assert said["incomplete"] == []
    refused = (await traces.office.get("institution", f"/records/{traces.refused}")).body
    assert refused["findings"] == [
        {"reason": "refused_by_subscriber", "sub": "", "enforced": True},
        {"reason": "optout_hint_missing", "sub": "", "enforced": False},
    ]
    reply = (await traces.office.get("institution", f"/records/{traces.reply}")).body
    assert (reply["kind"], reply["meaning"], reply["subscriber"]) == ("reply", "refuse", MASKED)


@here
async def test_a_full_number_takes_a_reason_and_a_scope_and_is_audited(traces: Traces) -> None:
    office, place = traces.office, f"/records/{traces.passed}/reveal"
    before = len(audited(traces, "record.reveal"))
    for body in ({}, {"reason": ""}, {"reason": "a\x00b"}):
        assert (await office.post("institution", place, body)).status == 422
    narrow = office.token("institution", scopes=("read", "write"))
    said = await office.post("", place, {"reason": "x"}, headers={"Authorization": f"Bearer {narrow}"})
    assert (said.status, said.body["code"]) == (403, "scope_missing")
    assert len(audited(traces, "record.reveal")) == before
    said = await office.post("institution", place, {"reason": "投诉核查"})
    assert said.body == {"id": traces.passed, "subscriber": SUBSCRIBER, "text": TEXT}
    assert audited(traces, "record.reveal")[before:] == [
        ("institution", f"records/{traces.passed}", "投诉核查")
    ]


@here
async def test_intercepts_are_those_that_one_may_see(traces: Traces) -> None:
    office = traces.office
    seen = {
        "regulator": {"refused", "entrusted", "foreign"},
        "auditor": {"refused", "entrusted", "foreign"},
        "carrier": {"refused", "entrusted"},
        "institution": {"refused", "foreign"},
        "institution2": {"entrusted"},
        "agency": {"entrusted"},
    }
    for who, expected in seen.items():
        items = (await office.get(who, "/intercepts")).body["items"]
        assert set(names(traces, items)) == expected
        assert {one["subscriber"] for one in items} == {MASKED}
        assert [one["at"] for one in items] == sorted((one["at"] for one in items), reverse=True)
    for who in STRANGERS:
        assert (await office.get(who, "/intercepts")).status == 403
    for query, expected in (
        ({"reason": "blacklisted"}, {"foreign"}),
        ({"institution": "FIN"}, {"entrusted"}),
        ({"number": AGENTS}, {"entrusted"}),
        ({"since": "2099-01-01T00:00:00Z"}, set()),
        ({"until": "2020-01-01T00:00:00Z"}, set()),
    ):
        items = (await office.get("regulator", "/intercepts", params=query)).body["items"]
        assert set(names(traces, items)) == expected


@here
async def test_intercepts_are_given_once_each_page_by_page(traces: Traces) -> None:
    got: list[str] = []
    after = ""
    while after is not None:
        page = (
            await traces.office.get("regulator", "/intercepts", params={"limit": "1", "after": after})
        ).body
        got += names(traces, page["items"])
        after = page["next"]
    assert len(got) == len(set(got)) == 3
    said = await traces.office.get("regulator", "/intercepts", params={"after": "x"})
    assert (said.status, said.body["code"]) == (400, "not_acceptable_page")


@here
async def test_a_timeline_has_what_everybody_did_in_order_and_is_audited(traces: Traces) -> None:
    office = traces.office
    for who in set(office.users) - {"regulator", "regulator2", "auditor"}:
        said = await office.post(who, "/subscribers/timeline", {"subscriber": SUBSCRIBER, "reason": "x"})
        assert said.status == 403
    before = len(audited(traces, "subscriber.timeline"))
    assert (await office.post("auditor", "/subscribers/timeline", {"subscriber": SUBSCRIBER})).status == 422
    assert len(audited(traces, "subscriber.timeline")) == before
    said = await office.post("auditor", "/subscribers/timeline", {"subscriber": SUBSCRIBER, "reason": "复核"})
    events = said.body["events"]
    assert said.body["subscriber"] == MASKED
    assert said.body["incomplete"] == [{"node": "node-2", "why": "away"}]
    assert "13800000404" not in str(said.body)
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    kinds = [event["kind"] for event in events]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "attempt": 5, "reply": 1, "refusal": 2, "consent": 1, "complaint": 1, "mandate": 1,
    }  # fmt: skip
    attempts = {event["record"]: event for event in events if event["kind"] == "attempt"}
    sources = [event["source"] for event in events if event["kind"] == "refusal"]
    assert sources == ["12321", "reply"]  # the first is older than what is kept, and stands
    assert set(attempts) == {getattr(traces, name) for name in (*EVERY, "foreign")} - {traces.reply}
    assert attempts[traces.foreign]["reason"] == "blacklisted"  # refused on another node, by the index
    assert attempts[traces.elsewhere]["verdict"] == "pass"
    ways = {name: attempts[getattr(traces, name)] for name in ("passed", "elsewhere", "refused", "foreign")}
    assert {name: (one["outcome"], one["delivery"]) for name, one in ways.items()} == {
        "passed": ("0", "delivered"),
        "elsewhere": ("unknown", "unknown"),
        "refused": ("", ""),
        "foreign": ("", ""),
    }
    assert ways["passed"]["delivery_at"] > ways["passed"]["at"]
    (mandate,) = (event for event in events if event["kind"] == "mandate")
    assert (mandate["institution"], mandate["agency"], mandate["said"]) == ("FIN", "AGENT", "service")
    assert audited(traces, "subscriber.timeline")[before:] == [("auditor", "subscribers", "复核")]


@here
async def test_a_timeline_that_leaves_out_older_attempts_says_so(
    traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.resources.finding.MOST_EVENTS", 2)
    said = await traces.office.post(
        "auditor", "/subscribers/timeline", {"subscriber": SUBSCRIBER, "reason": "复核"}
    )
    assert [one["why"] for one in said.body["incomplete"]] == ["away", "more"]
    assert said.body["incomplete"][1]["node"] == "node-1"


@here
async def test_an_overview_counts_what_its_reader_may_see(traces: Traces) -> None:
    office = traces.office
    counts: dict[str, tuple[int, int, int]] = {
        "regulator": (2, 1, 1),
        "carrier": (1, 1, 1),
        "institution": (1, 1, 0),
        "institution2": (1, 0, 1),
        "agency": (1, 0, 1),
    }
    midnight = datetime.datetime.now(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    for who, (passed, refused, entrusted) in counts.items() if traces.began >= midnight else ():
        said = (await office.get(who, "/stats")).body
        today = {
            "pass": passed, "refused_by_subscriber": refused, "mandate_missing": entrusted,
        }  # fmt: skip
        assert said["today"] == {name: count for name, count in today.items() if count}, who
    assert (await office.get("institution2", "/stats")).body["numbers"] == {"approved": 1, "draft": DRAFTS}
    assert (await office.get("institution", "/stats")).body["numbers"] == {"approved": 2}
    office.sql("INSERT INTO alarms (kind) VALUES ('quota')")
    alarmed = {
        who: (await office.get(who, "/stats")).body["alarms"] for who in ("regulator", "auditor", "carrier")
    }
    office.sql("DELETE FROM alarms")
    assert alarmed == {"regulator": 1, "auditor": 1, "carrier": 0}
    office.sql("UPDATE complaints SET forward_due = '2026-01-01'")
    office.sql("INSERT INTO cases (title, due) VALUES ('late', '2026-01-01'), ('in time', '2099-01-01')")
    office.sql(
        "INSERT INTO penalties (institution_id, kind, amount, cause, imposed_by, due)"
        " SELECT i.id, 'fine', 1, 'c', u.id, '2026-01-01' FROM institutions i, users u"
        "  WHERE i.code = 'BANK' AND u.login = 'regulator'"
    )
    late = {who: (await office.get(who, "/stats")).body["overdue"] for who in ("regulator", "carrier")}
    office.sql("UPDATE complaints SET forward_due = '2099-01-01'")
    office.sql("UPDATE cases SET due = '2099-01-01'")
    office.sql("UPDATE penalties SET due = '2099-01-01'")
    assert late == {"regulator": 3, "carrier": 0}
    for who in STRANGERS:
        assert (await office.get(who, "/stats")).status == 403


def test_by_command_line_full_numbers_take_a_watcher_and_a_reason(
    traces: Traces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, traces.office.dsn, capsys, "records", data_dir=traces.office.folder)
    find = ("find", "--number", AGENTS, "--here")
    assert {(one["subscriber"], "text" in one) for one in shell.json(*find)} == {(MASKED, False)}
    before = len(audited(traces, "record.reveal"))
    why = ("--reason", "CASE-9", "--by")
    for more, words in (
        ((), "--reason WHY"),
        (("--reason", "x"), "--by LOGIN"),
        (("--reason", " ", "--by", "auditor"), "--reason"),
        ((*why, "institution2"), "auditor or regulator"),
        ((*why, "nobody"), "nobody"),
    ):
        code, out, err = shell(*find, "--reveal", *more)
        assert (code, out, words in err) == (2, "", True)
    for more in (("--reason", "blacklisted"), ("--by", "auditor")):
        code, out, err = shell(*find, *more)
        assert (code, out, "not found by them" in err) == (2, "", True)
    assert len(audited(traces, "record.reveal")) == before
    rows = shell.json(*find, "--reveal", *why, "auditor")
    assert {one["subscriber"] for one in rows} == {SUBSCRIBER}
    shown = shell.json("show", traces.passed, "--here", "--reveal", *why, "regulator")
    assert (shown["subscriber"], shown["text"]) == (SUBSCRIBER, TEXT)
    assert audited(traces, "record.reveal")[before:] == [
        ("auditor", "records", "CASE-9"),
        ("regulator", f"records/{traces.passed}", "CASE-9"),
    ]


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_what_is_found_goes_out_whole_and_in_order(
    traces: Traces,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    page: int,
) -> None:
    """However many are found at once; subscribers and texts for a reason, on the audit."""
    monkeypatch.setattr(looking, "PAGE", page)
    shell = Shell(tmp_path, traces.office.dsn, capsys, "records", data_dir=traces.office.folder)
    out = {suffix: tmp_path / f"out.{suffix}" for suffix in ("jsonl", "csv")}
    code, said, _ = shell("export", str(out["jsonl"]), "--here")
    rows = [json.loads(line) for line in out["jsonl"].read_text("utf-8").splitlines()]
    assert (code, rows) == (0, shell.json("find", "--here"))
    assert (f"records: {len(rows)} written" in said, len(rows) > 4) == (True, True)
    code, _, err = shell("export", str(out["jsonl"]))
    everywhere = [json.loads(line) for line in out["jsonl"].read_text("utf-8").splitlines()]
    assert (code, err.count("node-2")) == (0, 1)  # that node is away
    assert sorted(everywhere, key=lambda row: row["index"]) == rows
    assert [row["at"] for row in everywhere] == sorted(row["at"] for row in rows)
    why = ("--reason", "CASE-9", "--by")
    before = audited(traces, "record.export")
    for more in ((), ("--reason", "x"), (*why, "institution2")):
        assert shell("export", str(out["csv"]), "--here", "--reveal", *more)[0] == 2
    assert shell("export", str(tmp_path / "out.txt"), "--here")[0] == 2
    assert (list(tmp_path.glob("*.part")), out["csv"].exists()) == ([], False)
    found = ("--here", "--number", BANKS + "01", "--verdict", "pass", "--reveal", *why, "auditor")
    assert shell("export", str(out["csv"]), *found)[0] == 0
    (row,) = csv.DictReader(out["csv"].read_text("utf-8-sig").splitlines())
    assert (row["id"], row["subscriber"], row["text"]) == (traces.passed, "'" + SUBSCRIBER, TEXT)
    assert (row["delivery"], row["verdict"], row["channel"]) == ("delivered", "pass", "sms")
    assert audited(traces, "record.export") == [*before, ("auditor", "records", "CASE-9")]


def test_by_command_line_intercepts_numbers_and_timelines_are_those_of_the_api(
    traces: Traces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, traces.office.dsn, capsys, data_dir=traces.office.folder)
    assert [one["id"] for one in shell.json("intercepts", "--by", "institution")] == [
        traces.foreign, traces.refused,
    ]  # fmt: skip
    code, out, err = shell("intercepts", "--limit", "1", "--by", "regulator")
    assert (code, len(out.splitlines()), "only the first 1" in err) == (0, 1, True)
    wanted = ("--reason", "mandate_missing", "--since", "2020-01-01", "--by", "agency")
    assert [one["id"] for one in shell.json("intercepts", *wanted)] == [traces.entrusted]
    assert shell("intercepts", "--since", "soon", "--by", "agency")[0] == 2
    assert shell("intercepts", "--by", "provider")[0] == 2
    assert shell.json("stats", "--by", "institution")[0]["numbers"]["approved"] == 2
    code, out, _ = shell("records", "timeline", SUBSCRIBER, "--reason", "CASE-9", "--by", "auditor", "--json")
    kinds = {event["kind"] for event in json.loads(out)}
    assert (code, kinds >= {"attempt", "reply", "refusal", "consent", "complaint"}) == (0, True)
    assert audited(traces, "subscriber.timeline")[-1] == ("auditor", "subscribers", "CASE-9")
    assert shell("records", "timeline", SUBSCRIBER, "--reason", "x", "--by", "institution")[0] == 2
