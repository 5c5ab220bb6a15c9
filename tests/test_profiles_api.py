"""Versions of profiles by HTTP: checked when added, activated by two persons, said with what they change."""

import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import Office

from gateway.config import read_profile
from gateway.policy.profile_text import ProfileError, parse_profile

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
STRICT = '[rules.consent_missing]\nmode = { marketing = "enforce" }\n'
EXTENDED = f'extends = "zhejiang"\ntitle = "浙江二"\n{STRICT}'


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        yield office


async def added(office: Office, name: str = "own", text: str = EXTENDED) -> Any:
    made = await office.post("regulator", "/profiles", {"name": name, "text": text})
    assert made.status == 201, made
    return made.body


async def activated(office: Office, name: str, **wanted: Any) -> Any:
    said = await office.post("regulator", f"/profiles/{name}/activate", {"reason": "修订", **wanted})
    assert said.status == 200, said
    body = {"activation": said.body["id"]}
    done = await office.post("regulator2", f"/profiles/{name}/activate/confirm", body)
    assert done.status == 200, done
    return done.body


async def test_two_persons_activate_a_version_and_everybody_sees_it(office: Office) -> None:
    before = (await office.get("institution", "/rules")).body
    assert (before["open"], before["origin"], before["valid_from"]) == ([], "node", None)
    version = await added(office)
    assert (version["name"], version["title"], version["added_by"]) == ("own", "浙江二", "regulator")
    assert (await office.get("provider", "/rules")).body == before  # it holds not by itself
    waiting = await office.post("regulator", "/profiles/own/activate", {"reason": "修订"})
    assert waiting.body["state"] == "waiting"
    confirm = ("/profiles/own/activate/confirm", {"activation": waiting.body["id"]})
    same = await office.post("regulator", *confirm)
    assert (same.status, same.body["code"]) == (409, "same_person")
    for who in ("carrier", "institution", "auditor", "admin"):
        assert (await office.post(who, *confirm)).status == 403
        assert (await office.post(who, "/profiles", {"name": "x", "text": EXTENDED})).status == 403
    done = await office.post("regulator2", *confirm)
    assert (done.body["state"], done.body["confirmed_by"]) == ("in_force", "regulator2")
    again = await office.post("regulator2", *confirm)
    assert (again.status, again.body["code"]) == (409, "wrong_state")
    held = (await office.get("agency", "/rules")).body
    assert (held["origin"], held["name"], held["digest"]) == ("registry", "own", version["digest"])
    rules = {rule["reason"]: rule for rule in held["rules"]}
    assert rules["consent_missing"]["modes"]["marketing"] == "enforce"
    async with office.site.door.owner() as c:
        acts = await c.fetch("SELECT act FROM audit WHERE act LIKE 'profile.%' ORDER BY id")
    assert [row["act"] for row in acts] == ["profile.add", "profile.activate", "profile.confirm"]


async def test_a_version_says_what_it_would_change_before_it_does(office: Office) -> None:
    own = {"name": "own", "text": EXTENDED + '[rules.quiet_hours]\nsms = { collection = "09:00-20:00" }'}
    looked = await office.post("regulator", "/profiles?dry_run=true", own)
    assert (looked.status, looked.body["stands"], looked.body["title"]) == (200, False, "浙江二")
    changes = {one["place"]: (one["before"], one["after"]) for one in looked.body["changes"]}
    assert changes == {
        "rules.consent_missing.mode.marketing": ("observe", "enforce"),
        "rules.over_frequency.mode": ("off", None),  # of this test's node, and so its hours
        "rules.over_frequency.mode.marketing": (None, "enforce"),
        "rules.over_frequency.mode.collection": (None, "enforce"),
        "rules.quiet_hours.sms.collection": ("00:00-24:00", "09:00-20:00"),
        "rules.quiet_hours.sms.marketing": ("00:00-24:00", "08:00-21:00"),
        "rules.quiet_hours.voice.collection": ("00:00-24:00", "08:00-22:00"),
        "rules.quiet_hours.voice.marketing": ("00:00-24:00", "08:00-21:00"),
    }
    listed = (await office.get("regulator", "/profiles")).body["items"]
    assert [one["name"] for one in listed if one["added_by"]] == []
    made = await office.post("regulator", "/profiles", own)
    assert (made.status, made.body["digest"]) == (201, looked.body["digest"])
    assert (await office.post("regulator2", "/profiles", own)).status == 200  # it stands already
    shown = (await office.get("auditor", made.headers["Location"].removeprefix("/api/v1"))).body
    assert (shown["text"], shown["changes"]) == (own["text"], looked.body["changes"])


@pytest.mark.parametrize(
    ("text", "line", "detail", "expected"),
    [
        (
            "[rules.unregistered]\nmode = 'strict'",
            2,
            'rules.unregistered.mode = "strict"',
            "observe, enforce",
        ),
        ("[rules.unregistered]\n\nfrom = '2026-01-01'", 3, "rules.unregistered.from", "without quotes"),
        ("extends = 'nobody'", 1, 'extends = "nobody"', "national, ningxia, zhejiang"),
        ("extends = '/etc/hostname'", 1, 'extends = "/etc/hostname"', "name@digest"),
        ("extends = 'own'", 1, 'extends = "own"', "name@digest"),
        ("[rules.unregistered]\n[rules\n", 2, "not TOML", "TOML"),
        ("[refusal_covers]\nmarketing = [[], {}]", 2, "refusal_covers.marketing", "a list of marketing"),
        ("a = " + "[" * 5000, 0, "not TOML", ""),
    ],
)
async def test_what_is_wrong_is_named_by_line_value_and_what_is_right(
    office: Office, text: str, line: int, detail: str, expected: str
) -> None:
    for path in ("/profiles", "/profiles?dry_run=true"):
        said = await office.post("regulator", path, {"name": "own", "text": text})
        assert (said.status, said.body["code"], said.body["field"]) == (422, "invalid", "text")
        assert said.body["facts"]["line"] == line
        assert detail in said.body["detail"]
        assert expected in said.body["expected"]


async def test_a_version_extends_a_stored_one_as_it_was(office: Office) -> None:
    first = await added(office)
    second = await added(office, text='extends = "own"\n[rules.unregistered]\nmode = "observe"')
    assert first["digest"] != second["digest"]
    pinned = f'extends = "own@{first["digest"]}"\n[rules.unregistered]\nmode = "off"'
    await added(office, "third", pinned)
    shown = (await office.get("regulator", "/profiles/third")).body
    rules = {rule["reason"]: rule["modes"] for rule in shown["rules"]}
    assert (rules["unregistered"]["marketing"], rules["consent_missing"]["marketing"]) == ("off", "enforce")
    newest = (await office.get("regulator", "/profiles/own")).body
    assert newest["digest"] == second["digest"]
    older = (await office.get("regulator", f"/profiles/own?digest={first['digest']}")).body
    assert older["text"] == EXTENDED
    assert (await office.get("regulator", "/profiles/own?digest=0123456789abcdef")).status == 404
    assert (await office.get("regulator", "/profiles/nobody")).status == 404


async def test_what_is_shipped_is_listed_and_activated_by_its_name(office: Office) -> None:
    own = await added(office)
    listed = (await office.get("institution", "/profiles")).body["items"]
    shipped = {one["name"]: one for one in listed if one["shipped"]}
    assert list(shipped) == ["national", "ningxia", "zhejiang"]
    assert [one for one in listed if not one["shipped"]] == [own]
    assert shipped["ningxia"]["added_at"] is None
    paged, after = [], ""
    while after is not None:
        one = (await office.get("institution", f"/profiles?limit=1&after={after}")).body
        paged, after = paged + one["items"], one["next"]
    assert paged == listed
    shown = (await office.get("auditor", "/profiles/ningxia")).body
    assert (shown["digest"], shown["text"]) == (shipped["ningxia"]["digest"], read_profile("ningxia"))
    assert "rules.unregistered.source.zh" in {one["place"] for one in shown["changes"]}
    assert (await office.get("auditor", f"/profiles/ningxia?digest={own['digest']}")).status == 404
    pinned = {"name": "pinned", "text": f'extends = "ningxia@{shown["digest"]}"'}
    looked = await office.post("regulator", "/profiles?dry_run=true", pinned)
    assert looked.body["digest"] == shown["digest"]
    waiting = (await office.post("regulator", "/profiles/ningxia/activate", {"reason": "一"})).body
    agreed = (await office.post("regulator2", "/profiles/ningxia/activate", {"reason": "二"})).body
    assert (agreed["id"], agreed["state"], agreed["digest"]) == (waiting["id"], "in_force", shown["digest"])
    stored = (await office.get("auditor", "/profiles")).body["items"]
    assert [(one["name"], one["shipped"]) for one in stored] == [
        ("national", True), ("zhejiang", True), ("own", False), ("ningxia", True),
    ]  # fmt: skip
    assert (stored[-1]["added_by"], stored[-1]["digest"]) == ("regulator", shown["digest"])
    assert (await office.get("auditor", "/profiles/ningxia")).body["text"] == shown["text"]


async def test_it_begins_on_its_date_and_the_days_are_counted(office: Office) -> None:
    await added(office)
    later = await added(office, "later", EXTENDED + '[rules.unregistered]\nmode = "observe"')
    now = await activated(office, "own")
    begins = datetime.datetime.combine(
        datetime.datetime.now(SHANGHAI).date() + datetime.timedelta(days=9), datetime.time(), SHANGHAI
    )
    planned = await activated(office, "later", valid_from=begins.isoformat())
    assert (planned["state"], planned["days_left"], planned["digest"]) == ("planned", 9, later["digest"])
    listed = (await office.get("institution", "/rules")).body
    assert listed["digest"] == now["digest"]
    assert [(one["name"], one["days_left"]) for one in listed["open"]] == [("later", 9)]
    replaced = await activated(office, "own", valid_from=begins.isoformat())  # takes it back
    assert (await office.get("admin", "/rules")).body["open"] == [replaced]
    far = {"reason": "x", "valid_from": "2999-01-01T00:00:00+08:00"}
    wrong = await office.post("regulator", "/profiles/own/activate", far)
    assert (wrong.status, wrong.body["field"]) == (422, "valid_from")


async def test_what_waits_gives_way_to_what_is_proposed_next(office: Office) -> None:
    await added(office)
    later = {"reason": "一", "from": "2030-01-01T00:00:00+08:00"}
    first = (await office.post("regulator", "/profiles/own/activate", later)).body
    assert first["valid_from"] == later["from"]
    second = (await office.post("regulator2", "/profiles/own/activate", {"reason": "二"})).body
    confirm = "/profiles/own/activate/confirm"
    gone = await office.post("regulator2", confirm, {"activation": first["id"]})
    assert (gone.status, gone.body["code"]) == (409, "wrong_state")
    assert (await office.post("regulator", confirm, {"activation": second["id"]})).body["state"] == "in_force"
    missing = await office.post("regulator", confirm, {"activation": 10**15})
    assert missing.status == 404
    states = [one["state"] for one in (await office.get("auditor", "/profiles/own")).body["activations"]]
    assert states == ["in_force", "withdrawn"]


async def test_two_persons_who_propose_the_same_have_agreed(office: Office) -> None:
    await added(office)
    activate = "/profiles/own/activate"
    for wanted, state in (({"from": "2030-01-01T00:00:00+08:00"}, "planned"), ({}, "in_force")):
        once = (await office.post("regulator", activate, {"reason": "一", **wanted})).body
        again = (await office.post("regulator", activate, {"reason": "一", **wanted})).body
        assert (once["state"], again["state"], again["id"] > once["id"]) == ("waiting", "waiting", True)
        agreed = (await office.post("regulator2", activate, {"reason": "二", **wanted})).body
        assert (agreed["id"], agreed["state"], agreed["confirmed_by"]) == (again["id"], state, "regulator2")


async def test_an_override_is_stricter_and_its_holders_own(office: Office) -> None:
    await added(office)
    hours = '[rules.quiet_hours]\nsms = { marketing = "10:00-12:00" }\n'
    await added(office, "hours", hours)
    await added(office, "lax", '[rules.consent_missing]\nmode = { marketing = "enforce" }\n'
                               '[rules.unregistered]\n\nmode = "observe"')  # fmt: skip
    activate = "/profiles/lax/activate"
    laxer = await office.post("regulator", activate, {"reason": "一", "institution": "BANK"})
    assert (laxer.status, laxer.body["field"], laxer.body["facts"]["line"]) == (422, "text", 5)
    assert 'rules.unregistered.mode = "observe"' in laxer.body["detail"]
    assert laxer.body["expected"] == "at least enforce for marketing"
    for wrong in ({"institution": "NOBODY"}, {"number": "10690001"}, {"number": "1", "institution": "BANK"}):
        said = await office.post("regulator", "/profiles/hours/activate", {"reason": "一", **wrong})
        assert (said.status, said.body["field"]) == (422, next(iter(wrong)))
    silent = await office.post("regulator", "/profiles/hours/activate", {"reason": "对所有机构"})
    assert (silent.status, "blacklisted" in silent.body["detail"]) == (422, True)  # it would be off
    before = (await office.get("institution2", "/rules")).body
    whose = {"institution": "BANK"}
    waiting = (await office.post("regulator", "/profiles/hours/activate", {"reason": "一", **whose})).body
    general = (await office.post("regulator", "/profiles/own/activate", {"reason": "二"})).body  # both wait
    confirm = "/profiles/hours/activate/confirm"
    assert (await office.post("regulator", confirm, {"activation": waiting["id"]})).status == 409
    done = (await office.post("regulator2", confirm, {"activation": waiting["id"]})).body
    assert (done["state"], done["institution"]) == ("in_force", "BANK")
    for who, sees in (("institution", [done]), ("auditor", [done]), ("institution2", []), ("provider", [])):
        rules = (await office.get(who, "/rules")).body
        assert (rules["overrides"], rules["digest"]) == (sees, before["digest"])
        assert [one["id"] for one in rules["open"]] == [general["id"]]


async def test_sql_by_hand_neither_activates_nor_rewrites(office: Office) -> None:
    await added(office)
    await office.post("regulator", "/profiles/own/activate", {"reason": "一"})
    async with office.site.door.owner() as c:
        for statement in (
            "INSERT INTO profile_activations (profile_id, valid_from, reason, proposed_by, proposed_person)"
            " VALUES (1, now(), 'x', 'x', 1)",
            "UPDATE profile_activations SET confirmed_at = now(), confirmed_by = 'x', confirmed_person = 1",
            "UPDATE profiles SET content = '{}'",
            "DELETE FROM profile_activations",
            "TRUNCATE profiles CASCADE",
            "INSERT INTO profiles (name, text, content, digest) VALUES ('x', '', '{}', '0123456789abcdef')",
        ):
            with pytest.raises(Exception, match=r"regulator|kept|keeps|check constraint|null value"):
                await c.execute(statement)


VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["off", "observe", "enforce", "08:00-21:00", "first", "marketing", "zh"]),
        st.integers(-5, 5), st.booleans(), st.floats(), st.dates(), st.text(max_size=4),
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["marketing", "zh", "en", "workday"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = st.sampled_from(
    ["mode", "from", "source", "sms", "voice", "positions", "most_days_ahead", "agencies_need_list", "x"]
)
RULES = st.sampled_from(["quiet_hours", "signature_missing", "third_party", "unregistered", "nonsense"])


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return json.dumps(value)
        case _:
            return str(value)


@given(st.dictionaries(RULES, st.dictionaries(KEYS, VALUES, max_size=3), max_size=2), VALUES)
def test_every_text_is_a_profile_or_a_mistake_that_is_named(rules: dict[str, Any], covers: Any) -> None:
    text = f"[refusal_covers]\nmarketing = {toml(covers)}\n"
    for rule, keys in rules.items():
        text += f"[rules.{rule}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
    with contextlib.suppress(ProfileError):
        profile = parse_profile(lambda name: text if name == "own" else read_profile(name), "own")
        assert json.loads(json.dumps(profile.content)) == profile.content
