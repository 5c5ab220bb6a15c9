"""Whatever the API does is done by command line as well, for the same roles; or it is said why not."""

import argparse
from collections.abc import Iterator, Sequence

import pytest

from gateway import cli
from gateway.commands import bodies, casework, claims, numbers
from gateway.registry import workflow
from gateway.web.resources import ENDPOINTS

COMMANDS = {
    "GET /users": "user", "GET /users/{id}": "user", "POST /users": "user", "PATCH /users/{id}": "user",
    "POST /users/{id}/credentials": "user",
    "GET /tokens": "token", "POST /tokens": "token", "DELETE /tokens/{id}": "token",
    "GET /audit": "audit",
    "GET /institutions": "institution list", "POST /institutions": "institution add",
    "GET /institutions/{id}": "institution show", "PATCH /institutions/{id}": "institution change",
    "GET /institutions/{id}/holds": "hold list", "POST /institutions/{id}/suspend": "hold place",
    "POST /institutions/{id}/resume": "hold lift",
    "GET /mandates": "mandate list", "POST /mandates": "mandate add", "GET /mandates/{id}": "mandate show",
    "PATCH /mandates/{id}": "mandate change", "POST /mandates/{id}/revoke": "mandate revoke",
    "GET /accounts": "account list", "POST /accounts": "account add", "GET /accounts/{id}": "account show",
    "PATCH /accounts/{id}": "account change", "GET /accounts/{id}/numbers": "account numbers",
    "PUT /accounts/{id}/numbers": "account set-numbers", "GET /accounts/{id}/holds": "account holds",
    "POST /accounts/{id}/suspend": "account suspend", "POST /accounts/{id}/resume": "account resume",
    "GET /consents": "consent list", "POST /consents": "consent add", "GET /consents/{id}": "consent show",
    "PATCH /consents/{id}": "consent change",
    "GET /refusals": "refusal list", "POST /refusals": "refusal add", "GET /refusals/{id}": "refusal show",
    "POST /refusals/find": "refusal find", "POST /refusals/{id}/lift": "refusal lift",
    "GET /replies": "reply list", "GET /replies/{id}": "reply show", "POST /replies/{id}": "reply decide",
    "GET /complaints": "complaint list", "POST /complaints": "complaint receive",
    "GET /complaints/{id}": "complaint show", "POST /complaints/{id}/forward": "complaint forward",
    "POST /complaints/{id}/answer": "complaint answer", "GET /complaints/{id}/timeline": "complaint timeline",
    "GET /appeals": "appeal list", "POST /appeals": "appeal file", "GET /appeals/{id}": "appeal show",
    "POST /appeals/{id}/answer": "appeal answer",
    "GET /cases": "case list", "POST /cases": "case open", "GET /cases/{id}": "case show",
    "PATCH /cases/{id}": "case change", "POST /cases/{id}/items": "case tie",
    "POST /cases/{id}/referral": "case refer", "POST /cases/{id}/close": "case close",
    "GET /allocations": "allocation list", "POST /allocations": "allocation add",
    "GET /allocations/{id}": "allocation show", "PATCH /allocations/{id}": "allocation end",
    "GET /disputes": "dispute list", "POST /disputes": "dispute file", "GET /disputes/{id}": "dispute show",
    "POST /disputes/{id}/decide": "dispute decide",
    "GET /numbers": "number list", "POST /numbers": "number draft", "GET /numbers/{id}": "number show",
    "PATCH /numbers/{id}": "number change", "POST /numbers/{id}/amend": "number amend",
    "POST /numbers/steps": "number submit",  # every step takes many
    **{f"POST /numbers/{{id}}/{one.name}": f"number {one.name}" for one in workflow.STEPS},
    "POST /numbers/{id}/suspend": "number suspend", "POST /numbers/{id}/resume": "number resume",
    "GET /numbers/{id}/steps": "number show", "GET /numbers/{id}/history": "number history",
    "GET /intercepts": "intercepts", "GET /stats": "stats",
    "POST /records/find": "records find", "GET /records/{record}": "records show",
    "POST /records/{record}/reveal": "records show", "POST /subscribers/timeline": "records timeline",
    "POST /judge": "judge", "POST /scrub": "scrub",
    "POST /documents": "document add", "GET /documents/{sha256}": "document get",
    "POST /imports/{kind}": "import", "GET /exports/{kind}": "export", "POST /exports/{kind}": "export",
    "GET /profiles": "profile list", "GET /rules": "profile show", "POST /profiles": "profile add",
    "GET /profiles/{name}": "profile show", "POST /profiles/{name}/activate": "profile activate",
    "POST /profiles/{name}/activate/confirm": "profile confirm",
    "GET /blacklist": "blacklist list", "POST /blacklist": "blacklist add",
    "GET /blacklist/{id}": "blacklist list", "POST /blacklist/{id}/confirm": "blacklist confirm",
    "POST /blacklist/{id}/removal": "blacklist propose-removal",
    "POST /blacklist/{id}/removal/confirm": "blacklist confirm-removal",
    "POST /blacklist/{id}/withdraw": "blacklist withdraw",
    "GET /penalties": "penalty list", "POST /penalties": "penalty impose",
    "GET /penalties/{id}": "penalty show", "POST /penalties/{id}/lift": "penalty lift",
    "GET /alarms": "alarm list", "POST /alarms/{id}/acknowledge": "alarm acknowledge",
    "GET /import-runs": "import-run list", "POST /import-runs/{id}/acknowledge": "import-run acknowledge",
}  # fmt: skip
BY_HTTP_ALONE = {
    "GET /imports": "`import` says how far it is while it runs",
    "GET /openapi.json": "it describes the API",
    "POST /session": "who types names himself by --by",
    "GET /session": "who types names himself by --by",
    "DELETE /session": "who types names himself by --by",
    "POST /attempts": "a sender's own act, whose answer he waits for; `judge` says what it would be",
    "POST /voice/refusals": "a call platform's own act, put in force by its worker; `refusal add` is by hand",
    "POST /voice/calls": "a call platform's own act, on record by its worker",
}
"""What has no command, and why."""


def commands(parser: argparse.ArgumentParser, *names: str) -> Iterator[str]:
    under = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not under:
        yield " ".join(names)
    for one in under:
        for name, inner in one.choices.items():
            yield from commands(inner, *names, name)


def test_every_endpoint_has_a_command_or_a_reason_why_not() -> None:
    labels = {endpoint.label for endpoint in ENDPOINTS}
    assert labels == COMMANDS.keys() | BY_HTTP_ALONE.keys()
    assert not COMMANDS.keys() & BY_HTTP_ALONE.keys()
    assert set(COMMANDS.values()) <= set(commands(cli.parser()))


def acts() -> Iterator[tuple[str, Sequence[str] | frozenset[str]]]:
    """Each command whose roles stand in a table, and those roles."""
    for table in (bodies.ACTS, claims.ACTS):
        yield from ((" ".join(name), roles) for name, (roles, _) in table.items())
    for name, (roles, _) in numbers.ACTS.items():
        if name not in ("list", "show", "history"):  # for all; row security shows an admin or provider none
            yield f"number {name}", roles
    for label in COMMANDS.values():
        kind, _, act = label.partition(" ")
        if kind in casework.SEES:
            yield label, casework.roles_of(kind, act)


@pytest.mark.parametrize(
    ("command", "roles"),
    [pytest.param(*act, id=act[0]) for act in sorted(acts(), key=lambda act: act[0])],
)
def test_a_command_is_for_those_who_may_do_it_by_http(command: str, roles: Sequence[str]) -> None:
    (label,) = [label for label, name in COMMANDS.items() if name == command]
    (endpoint,) = [one for one in ENDPOINTS if one.label == label]
    assert set(roles) == set(endpoint.roles)
