"""What takes two persons takes two identity numbers, by API, command line, import and SQL alike; and the
author of what a verdict followed from does not answer the appeal against it.

`nobody` and `nobody2` are regulators who are known by name only: two names may be one person.
"""

import asyncio
import datetime
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from bureau import file_number, settle
from office import Office
from shell import Shell
from test_queue import SUBSCRIBER
from test_queue import said as came

from gateway.registry.exchange import import_file

PREFIX = {"number": "1069", "is_prefix": True, "reason": "诈骗", "case_reference": "C-1"}
NAMELESS = """WITH p AS (INSERT INTO persons (name) VALUES (%s) RETURNING id)
              INSERT INTO users (login, person_id, role) SELECT %s, id, 'regulator' FROM p"""
MINUTE = datetime.timedelta(minutes=1)
INSERT = "INSERT INTO blacklist (number, is_prefix, reason, case_reference) VALUES ('1069', true, 'r', 'C')"


@pytest.fixture
async def office(database: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with Office(database, tmp_path) as office:
        for login in ("nobody", "nobody2"):
            ((office.users[login],),) = office.sql(f"{NAMELESS} RETURNING id", login, login)
            office.tokens[login] = office.token(login)
        async with office.site.door.owner() as c:
            await file_number(c, "10690001", "BANK", extension_digits=4)  # type: ignore[arg-type]
        yield office


async def said(office: Office, who: str, path: str, body: Any = None) -> str:
    """What became of it: a problem's code, or for whom an entry waits."""
    answer = await office.post(who, path, body)
    if answer.status >= 400:
        return str(answer.body["code"])
    return "in force" if answer.body.get("in_force") else "waits"


def by_sql(office: Office, who: str, statement: str) -> str:
    """What a session that works for this user is refused for; empty when it is not."""
    options = f"-c zhengming.user={office.users[who]}" if who else ""
    with psycopg.connect(office.dsn, autocommit=True, options=options) as connection:
        try:
            connection.execute(statement)  # type: ignore[call-overload]  # a test's own SQL
        except psycopg.Error as error:
            return error.diag.constraint_name or str(error)
    return ""


async def test_names_are_no_persons_for_the_blacklist(office: Office) -> None:
    made = await office.post("regulator", "/blacklist", PREFIX)
    place = f"/blacklist/{made.body['id']}"
    confirmed = f"UPDATE blacklist SET confirmed_by = 'x', confirmed_at = now() WHERE id = {made.body['id']}"
    proposed = (
        "UPDATE blacklist SET removal_proposed_by = 'x', removal_proposed_at = now(), removal_reason = 'x'"
    )
    removed = "UPDATE blacklist SET removed_by = 'y', removed_at = now()"
    assert await said(office, "nobody", f"{place}/confirm") == "no_identity"
    assert by_sql(office, "nobody", confirmed) == "blacklist_identity"
    assert by_sql(office, "regulator", confirmed) == "blacklist_persons"
    assert by_sql(office, "", confirmed) == "blacklist_regulator"
    assert await said(office, "regulator2", f"{place}/confirm") == "in force"
    assert await said(office, "nobody", f"{place}/removal", {"reason": "误列"}) == "no_identity"
    assert by_sql(office, "nobody", proposed) == "blacklist_identity"
    assert await said(office, "regulator", f"{place}/removal", {"reason": "误列"}) == "in force"
    assert await said(office, "nobody2", f"{place}/removal/confirm") == "no_identity"
    assert by_sql(office, "nobody2", removed) == "blacklist_identity"
    assert by_sql(office, "regulator", removed) == "blacklist_persons"
    assert await said(office, "regulator2", f"{place}/removal/confirm") == "waits"
    assert office.sql("SELECT removed_by FROM blacklist") == [("regulator2",)]


@pytest.mark.parametrize("door", ["sql", "import", "user known by name only"])
async def test_what_nobody_known_added_takes_two_regulators(
    door: str, office: Office, tmp_path: Path
) -> None:
    if door == "sql":
        assert not by_sql(office, "", INSERT)
    elif door == "import":
        path = tmp_path / "bans.csv"
        path.write_text("number,is_prefix,reason,case_reference\n1069,true,r,C-1\n", "utf-8")
        assert (await import_file("blacklist", path, office.dsn, office.key)).accepted == 1
    else:
        assert await said(office, "nobody", "/blacklist", PREFIX) == "waits"
    ((ban,),) = office.sql("SELECT id FROM blacklist")
    confirm = f"/blacklist/{ban}/confirm"
    assert await said(office, "nobody2", confirm) == "no_identity"
    vouched = await office.post("regulator", confirm)
    assert (vouched.status, vouched.body["in_force"], vouched.body["vouched_by"]) == (200, False, "regulator")
    assert await said(office, "regulator", confirm) == "same_person"
    for statement in (
        "UPDATE blacklist SET confirmed_by = 'x', confirmed_at = now()",
        "UPDATE blacklist SET vouched_by = NULL, vouched_person = NULL",
    ):
        assert by_sql(office, "regulator", statement) in ("blacklist_persons", "blacklist_kept")
    assert await said(office, "regulator2", confirm) == "in force"
    acts = office.sql("SELECT act FROM audit WHERE subject = %s ORDER BY id", f"blacklist/{ban}")
    assert [act for (act,) in acts][-2:] == ["blacklist.vouch", "blacklist.confirm"]


@pytest.mark.parametrize("two", [("regulator", "regulator2"), ("checker", "approver")])
async def test_an_approved_import_is_in_force(two: tuple[str, str], office: Office, tmp_path: Path) -> None:
    """By two known persons (called as their users), or two names: it takes rows through all steps."""
    path = tmp_path / "bans.csv"
    path.write_text("number,is_prefix,reason,case_reference\n1069,true,r,C-1\n", "utf-8")
    assert (await import_file("blacklist", path, office.dsn, office.key, approve=two)).accepted == 1
    assert office.sql("SELECT confirmed_by FROM blacklist_in_force") == [(two[1],)]


def test_the_command_line_asks_for_persons_too(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(tmp_path, database, capsys)

    async def fill() -> None:
        await settle(database)
        c = await asyncpg.connect(database)
        await file_number(c, "10690001", "BANK")
        await c.close()

    asyncio.run(fill())
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(NAMELESS, ("nobody", "nobody"))
    options = ("--prefix", "--reason", "r", "--case", "C")
    assert "waits for a second person" in shell("blacklist", "add", "1069", *options)[1]
    for login, words in (
        ("nobody", "no person with an identity number"),
        ("r1", "waits for another regulator"),
        ("r1b", "another person"),  # another login of the same one
        ("r2", "is blacklisted"),
    ):
        code, out, err = shell("blacklist", "confirm", "1069", "--prefix", "--by", login)
        assert words in out + err
        assert (code == 0) == (login in ("r1", "r2"))


async def test_a_profile_is_put_in_force_by_two_who_are_known(office: Office) -> None:
    version = {
        "name": "p",
        "text": 'extends = "zhejiang"\n[rules.consent_missing]\nmode = { marketing = "observe" }\n',
    }
    assert (await office.post("regulator", "/profiles", version)).status == 201
    activate = "/profiles/p/activate"
    assert await said(office, "nobody", activate, {"reason": "r"}) == "no_identity"
    ((profile,),) = office.sql("SELECT id FROM profiles")
    insert = f"""INSERT INTO profile_activations
                        (profile_id, valid_from, reason, proposed_by, proposed_person)
                 VALUES ({profile}, now(), 'r', 'x', 1)"""
    assert by_sql(office, "nobody", insert) == "profile_activations_identity"
    waits = await office.post("regulator", activate, {"reason": "r"})
    assert waits.status == 200, waits.body
    wanted = {"activation": waits.body["id"]}
    confirmed = (
        "UPDATE profile_activations SET confirmed_by = 'x', confirmed_at = now(), confirmed_person = 1"
    )
    assert await said(office, "nobody", f"{activate}/confirm", wanted) == "no_identity"
    assert by_sql(office, "nobody", confirmed) == "profile_activations_identity"
    assert by_sql(office, "regulator", confirmed) == "profile_activations_persons"
    assert (await office.post("regulator2", f"{activate}/confirm", wanted)).body["state"] == "in_force"


def refused(
    office: Office, reason: str, after: datetime.timedelta = MINUTE, subscriber: str = "138****0000"
) -> str:
    """An intercept of BANK's number so long from now, whose verdict had this reason; its id."""
    at = datetime.datetime.now(datetime.UTC) + after
    identity = uuid.uuid4()
    office.sql("CREATE TABLE IF NOT EXISTS all_intercepts PARTITION OF intercepts DEFAULT")
    office.sql(
        """INSERT INTO intercepts (id, at, carrier, node, protocol, account, channel, number, registration,
                                   institution, agency, purpose, region, subscriber, reason, sub, findings,
                                   profile, registry_version, writer, segment, "offset", place)
           VALUES (%s, %s, 'mobile', 'n', 'cmpp', '900001', 1, %s, '10690001', 'BANK', '', 'marketing', '',
                   %s, %s, '', '[]', '', 1, 'w', 1, 1, 1)""",
        identity, at, "106900010001", subscriber, reason,
    )  # fmt: skip
    return identity.hex


async def appealed(office: Office, attempt: str) -> str:
    made = await office.post(
        "institution", "/appeals", {"against_kind": "verdict", "against": attempt, "grounds": "误判"}
    )
    assert made.status == 201, made.body
    return f"/appeals/{made.body['id']}/answer"


REJECTED = {"decision": "rejected", "answer": "事实清楚"}


async def test_who_banned_answers_no_appeal_against_the_verdict(office: Office) -> None:
    early = refused(office, "blacklisted", -60 * MINUTE)
    assert await said(office, "regulator", "/blacklist", PREFIX) == "waits"
    assert await said(office, "regulator2", "/blacklist/1/confirm") == "in force"
    place = await appealed(office, refused(office, "blacklisted"))
    for author in ("regulator", "regulator2"):
        assert await said(office, author, place, REJECTED) == "same_person"
    other = refused(office, "unregistered")
    assert (await office.post("regulator", await appealed(office, other), REJECTED)).status == 200
    # what was said before there was this entry did not follow from it
    assert (await office.post("regulator", await appealed(office, early), REJECTED)).status == 200
    assert await said(office, "nobody", place, REJECTED) == "no_identity"


@pytest.mark.parametrize(
    ("reason", "path", "body"),
    [
        (
            "institution_barred",
            "/penalties",
            {"institution": "BANK", "kind": "suspension", "cause": "无委托催收"},
        ),
        ("institution_barred", "/institutions/{bank}/suspend", {"cause": "核查"}),
        ("not_effective", "/numbers/{number}/suspend", {"cause": "核查"}),
        ("not_effective", "/numbers/{number}/revoke", {"reason": "冒用"}),
    ],
)
async def test_who_stopped_a_holder_or_a_number_answers_no_appeal_against_what_followed(
    reason: str, path: str, body: dict[str, str], office: Office
) -> None:
    ((number,),) = office.sql("SELECT id FROM numbers")
    place = path.format(bank=office.institutions["BANK"], number=number)
    tag = (await office.get("regulator", f"/numbers/{number}")).headers.get("ETag", "")
    done = await office.post("regulator", place, body, headers={"If-Match": tag} if "number" in path else {})
    assert done.status < 300, done.body
    place = await appealed(office, refused(office, reason))
    assert await said(office, "regulator", place, REJECTED) == "same_person"
    assert (await office.post("regulator2", place, REJECTED)).status == 200


async def test_who_closed_a_holder_answers_no_appeal_against_what_followed(office: Office) -> None:
    bank = f"/institutions/{office.institutions['BANK']}"
    before = await appealed(office, refused(office, "institution_barred", -60 * MINUTE))
    for who, status in (("carrier", "closed"), ("regulator2", "active"), ("regulator", "closed")):
        done = await office.ask(who, "PATCH", bank, {"status": status}, headers={"If-Match": "*"})
        assert done.status == 200, done.body
    renamed = await office.ask("regulator2", "PATCH", bank, {"name": "新名称"}, headers={"If-Match": "*"})
    assert renamed.status == 200
    place = await appealed(office, refused(office, "institution_barred"))
    assert await said(office, "regulator", place, REJECTED) == "same_person"
    assert (await office.post("regulator2", place, REJECTED)).status == 200
    assert (await office.post("regulator", before, REJECTED)).status == 200


async def test_who_put_a_refusal_in_answers_no_appeal_against_what_followed(
    office: Office,
) -> None:
    """He put the refusal in, or said of the reply that it was one; of this subscriber, to this holder."""
    new = {"subscriber": "13800000000", "institution": "BANK", "channels": ["sms"], "source": "12321"}
    assert (await office.post("regulator", "/refusals", new)).status == 201
    for other in ({"institution": "FIN"}, {"channels": ["voice"]}, {"subscriber": "13800000005"}):
        assert (await office.post("regulator2", "/refusals", new | other)).status == 201
    place = await appealed(office, refused(office, "refused_by_subscriber"))
    assert await said(office, "regulator", place, REJECTED) == "same_person"
    assert (await office.post("regulator2", place, REJECTED)).status == 200
    await came(office, "ambiguous")
    [reply] = (await office.get("regulator2", "/replies")).body["items"]
    assert reply["subscriber"] == f"138****{SUBSCRIBER[-4:]}"
    decided = await office.post(
        "regulator2", f"/replies/{reply['id']}", {"decision": "refusal", "reason": "r"}
    )
    assert decided.status == 200, decided.body
    place = await appealed(office, refused(office, "refused_by_subscriber", subscriber="138****0001"))
    assert await said(office, "regulator2", place, REJECTED) == "same_person"
    assert (await office.post("regulator", place, REJECTED)).status == 200
