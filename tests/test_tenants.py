"""Who may call what, and that nobody learns of what is not his: generated from the table of endpoints.

A row that row security hides from a role is answered, by every route and method, as one that does not exist:
same status, same body. Whether it is hidden is asked of PostgreSQL itself. A new endpoint is in these tests
by standing in the table; one that they can't fill in fails them.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from office import Office, Said
from playbook import database_of
from pydantic import TypeAdapter

from gateway.registry.acting import ROLES, actor_of
from gateway.registry.embedded import EmbeddedPostgres
from gateway.web.api import Endpoint, Octets
from gateway.web.openapi import document, statuses
from gateway.web.resources import ENDPOINTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = 900_000_000
PENALTY = {"institution": "BANK", "kind": "suspension", "cause": "x"}
TABLES = {"import-runs": "import_runs"}
"""Tables that are not called as their path is."""

TEXTS = {
    "sha256": ("ab" * 32, "cd" * 32),
    "kind": ("sessions", "nothing"),  # every kind of table is somebody's: test_papers has who brings which
    "name": ("stored", "missing"),  # of a profile: they are public, so neither is there
    "record": ("00" * 12, "ff" * 12),
}
"""Parts of a path that are no number: one of another's, and one that is missing."""

IDENTIFIED = """SELECT table_name FROM information_schema.columns
                 WHERE table_schema = 'public' AND column_name = 'id' AND data_type = 'bigint'"""
CITY = """INSERT INTO users (login, person_id, role, territory)
          SELECT 'city', id, 'regulator', '3300' FROM persons WHERE name = 'regulator2'"""
"""A regulator of the territory of tests/office.py's institutions: what foreign.sql brings lies elsewhere."""
FOREIGN = Path(__file__).with_name("foreign.sql").read_text("utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    embedded: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    with database_of(embedded.dsn, template, "tenants") as dsn:
        async with Office(dsn, tmp_path_factory.mktemp("tenants")) as office:
            sealed = office.key.seal("+8613800000001").hex()
            office.sql(FOREIGN.replace(r"'\x01'", rf"'\x{sealed}'"))
            office.sql(CITY)
            office.users["city"] = last(office, "users")
            office.tokens["city"] = office.token("city")
            office.foreign = {
                table: found for (table,) in office.sql(IDENTIFIED) if (found := last(office, table))
            }
            yield office


def last(office: Office, table: str) -> int:
    """The newest id of a table: of the row that foreign.sql brought; 0 for none."""
    return int(office.sql(f"SELECT coalesce(max(id), 0) FROM {table}")[0][0])


def table_of(endpoint: Endpoint) -> str:
    first = endpoint.path.split("/")[1]
    return TABLES.get(first, first)


def paths(office: Office, endpoint: Endpoint) -> tuple[str, str]:
    """The endpoint's path with another's id, and with one that nothing has."""
    theirs = missing = endpoint.path
    for name in re.findall(r"{(\w+)}", endpoint.path):
        if name == "id":
            assert table_of(endpoint) in office.foreign, f"foreign.sql has no row of {table_of(endpoint)}"
            values: tuple[Any, Any] = (office.foreign[table_of(endpoint)], MISSING)
        else:
            values = TEXTS[name]
        theirs = theirs.replace("{" + name + "}", str(values[0]))
        missing = missing.replace("{" + name + "}", str(values[1]))
    return theirs, missing


def named(path: str) -> str:
    """The id in a path."""
    return path.split("/")[2]


async def send(office: Office, who: str, endpoint: Endpoint, path: str) -> Said:
    """One right request of the endpoint."""
    more: dict[str, Any] = {"headers": {}}
    if endpoint.versioned and not endpoint.safe:
        more["headers"]["If-Match"] = '"1"'
    if endpoint.key == "required":
        more["headers"]["Idempotency-Key"] = f"{who}{path}"
    if isinstance(endpoint.body, Octets):
        more["data"] = b"x"
        more["headers"]["Content-Type"] = endpoint.body.kinds[0]
    body = endpoint.example if endpoint.body is not None and not isinstance(endpoint.body, Octets) else None
    query = {
        name: field.examples[0] if field.examples else "test"
        for name, field in endpoint.query.model_fields.items()
        if field.is_required()
    }
    return await office.ask(who, endpoint.method, path, body, params=query, **more)


async def visible(office: Office, role: str, table: str) -> set[Any]:
    """What PostgreSQL shows a role of a table."""
    async with office.site.door.owner() as c:
        actor = await actor_of(c, role, "api")
    async with office.site.door.acting(actor) as c:
        return {row[0] for row in await c.fetch(f"SELECT id FROM {table}")}


def users_of(endpoint: Endpoint) -> list[str]:
    """The logins that may call it: one of each role, and the regulator of a territory."""
    return sorted(endpoint.roles) + ["city"] * ("regulator" in endpoint.roles)


def without(asked: Any, said: Said) -> str:
    """An answer without the id that was asked for, which it may say back."""
    return re.sub(rf"\b{asked}\b", "#", json.dumps(said.body))


every = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.label)
signed_in = pytest.mark.parametrize(
    "endpoint", [one for one in ENDPOINTS if one.roles], ids=lambda endpoint: endpoint.label
)


@every
async def test_an_example_is_what_its_endpoint_takes(endpoint):
    if endpoint.body is not None and not isinstance(endpoint.body, Octets):
        TypeAdapter(endpoint.body).validate_json(json.dumps(endpoint.example), strict=True)


@signed_in
async def test_a_role_that_is_not_named_gets_403_whatever_the_id(office, endpoint):
    theirs, missing = paths(office, endpoint)
    for role in set(ROLES) - endpoint.roles:
        said = [await send(office, role, endpoint, path) for path in (theirs, missing)]
        assert [(one.status, one.body["code"]) for one in said] == [(403, "forbidden")] * 2, role
        assert said[0].body == said[1].body


@signed_in
async def test_what_a_role_does_not_see_is_answered_as_what_does_not_exist(office, endpoint):
    if "{" not in endpoint.path:
        return
    theirs, missing = paths(office, endpoint)
    seen = {}
    if "{id}" in endpoint.path:
        seen = {role: await visible(office, role, table_of(endpoint)) for role in users_of(endpoint)}
    for role in users_of(endpoint):
        if "{id}" in endpoint.path and int(named(theirs)) in seen[role]:
            if endpoint.safe:
                assert (await send(office, role, endpoint, theirs)).status == 200, role
            continue
        said = [await send(office, role, endpoint, path) for path in (theirs, missing)]
        assert [one.status for one in said] == [404, 404], (role, said)
        assert without(named(theirs), said[0]) == without(named(missing), said[1]), role


@signed_in
async def test_a_list_holds_what_its_reader_may_see_and_nothing_else(office, endpoint):
    if "{" in endpoint.path or not endpoint.safe or not hasattr(endpoint.answer, "model_fields"):
        return
    if "items" not in endpoint.answer.model_fields or "id" not in json.dumps(
        endpoint.answer.model_json_schema()
    ):
        return
    for role in users_of(endpoint):
        said = await send(office, role, endpoint, endpoint.path)
        assert said.status == 200, said.body
        assert set(said.body) == {"items", "next"}, "no counts"
        ids = {item["id"] for item in said.body["items"] if not item.get("shipped")}  # those are no rows
        if ids and isinstance(next(iter(ids)), int):
            assert ids <= await visible(office, role, table_of(endpoint)), role


@signed_in
async def test_every_endpoint_is_reached_by_every_role_it_names(office, endpoint):
    _, missing = paths(office, endpoint)
    documented = {endpoint.status, *endpoint.statuses, *statuses(endpoint)}
    for role in users_of(endpoint):
        said = await send(office, role, endpoint, missing)
        assert said.status in documented, (role, said)
        assert said.status < 500 or said.body["code"] == "busy", (role, said)
        outside = {403} if role == "city" else set()  # such as an institution of the whole province
        assert said.status not in {400, 403, 428} - outside, (role, said)


@pytest.mark.parametrize(
    ("who", "path", "table", "body"),
    [
        ("institution", "/numbers/steps", "numbers", {"step": "submit", "ids": [0]}),
        ("institution", "/appeals", "penalties", {"against_kind": "penalty", "against": "0", "grounds": "x"}),
        ("city", "/numbers/steps", "numbers", {"step": "veto", "ids": [0], "reason": "x"}),
        ("city", "/penalties", "cases", PENALTY | {"case": 0}),
    ],
)
async def test_an_id_in_a_body_tells_no_more(office, who, path, table, body):
    said = []
    for value in (office.foreign[table], MISSING):
        text = json.dumps(body).replace("[0]", f"[{value}]").replace('"0"', f'"{value}"')
        text = text.replace('"case": 0', f'"case": {value}')
        one = await office.post(who, path, json.loads(text))
        said.append((one.status, without(value, one)))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/penalties", PENALTY), ("/refusals", {"subscriber": "13800000001", "purposes": ["marketing"]})],
)
async def test_to_a_territory_a_code_elsewhere_is_nobodys(office, path, body):
    said = [await office.post("city", path, body | {"institution": code}) for code in ("OTHER", "NONE0")]
    assert [one.status for one in said] == [422, 422]
    assert without("OTHER", said[0]) == without("NONE0", said[1])
    assert (await office.post("city", path, body | {"institution": "FIN"})).status == 201


async def test_every_instant_of_the_document_is_said_in_the_time_of_shanghai():
    """The types of `fields` have this example; a bare datetime, which would be said in UTC, has none."""
    found = []

    def walk(part: Any, place: str) -> None:
        if isinstance(part, dict):
            if part.get("format") == "date-time":
                found.append((place, part.get("examples")))
            for name, inner in part.items():
                walk(inner, f"{place}.{name}")
        elif isinstance(part, list):
            for number, inner in enumerate(part):
                walk(inner, f"{place}.{number}")

    walk(document(ENDPOINTS), "")
    assert len(found) > 50
    assert [one for one in found if one[1] != ["2026-12-01T09:00:00+08:00"]] == []


async def test_every_instant_of_an_answer_is_said_in_the_time_of_shanghai(office):
    zones: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or "{" in endpoint.path:
            continue
        for role in sorted(endpoint.roles):
            said = await office.get(role, endpoint.path)
            found = re.findall(r'"\d{4}-\d\d-\d\dT[0-9:.]+([^"]*)"', json.dumps(said.body))
            zones.setdefault(endpoint.path, set()).update(found)
    assert len([path for path, found in zones.items() if found]) > 10
    assert {path: found for path, found in zones.items() if not found <= {"+08:00"}} == {}
