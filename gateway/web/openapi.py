"""The OpenAPI 3.1 document, made of the table of endpoints and of their types.

Every status that an endpoint can answer is in it: what it gives, what its kind may be told (401, 403, 404,
405, 413, 415, 422, 429, 503 …), and the problems that it names.
"""

import re
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from gateway.web.api import PREFIX, Endpoint, Octets, Paging
from gateway.web.problems import CODES, MEDIA_TYPE, ProblemDetails

REFERENCE = "#/components/schemas/{model}"
FILE = {"type": "string", "format": "binary"}
_HEADERS = {
    "X-Request-Id": "the number under which the gateway's log has this request",
    "ETag": "version of what was answered, for If-Match",
    "Location": "where what was made is found",
    "Retry-After": "seconds until it is worth trying again",
    "WWW-Authenticate": "how to sign in",
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document, ready for JSON."""
    table = sorted(endpoints, key=lambda endpoint: (endpoint.path, endpoint.method))
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        ("problem", "serialization", TypeAdapter(ProblemDetails))
    ]
    for endpoint in table:
        if endpoint.body is not None and not isinstance(endpoint.body, Octets):
            inputs.append((f"{endpoint.label} body", "validation", TypeAdapter(endpoint.body)))
        if endpoint.answer is not None and endpoint.answer is not bytes:
            inputs.append((f"{endpoint.label} answer", "serialization", TypeAdapter(endpoint.answer)))
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)
    schemas = {name: schema for (name, _), schema in found.items()}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "正名网关 Zhengming",
            "version": metadata.version("zhengming"),
            "description": "Registry and judging of financial marketing and collection numbers. "
            "Each role sees only its own rows: what is foreign is answered as what does not exist.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "zm_…: `zhengming token create`",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "zm_session",
                    "description": "by POST /session; changes need an Origin of this host",
                },
            },
        },
    }


def statuses(endpoint: Endpoint) -> dict[int, list[str]]:
    """The codes of problems that an endpoint may answer, by status."""
    codes = {"method_not_allowed", "busy", "database_unavailable", "invalid", "internal", *endpoint.problems}
    if endpoint.roles:
        codes |= {"unauthenticated", "forbidden", "scope_missing"}
    if endpoint.roles or endpoint.rate:
        codes.add("rate_limited")
    if "{" in endpoint.path:
        codes.add("not_found")
    if endpoint.body is not None:
        codes |= {"too_large", "media_type"}
    if issubclass(endpoint.query, Paging):
        codes.add("not_acceptable_page")
    if endpoint.versioned:
        codes |= {"precondition_required", "changed_meanwhile"}
    if endpoint.key:
        codes |= {"idempotency_key_reused", "in_progress"}
    if endpoint.key == "required":
        codes.add("idempotency_key_required")
    found: dict[int, list[str]] = {}
    for code in sorted(codes):
        found.setdefault(CODES[code].status, []).append(code)
    return found


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", endpoint.label.lower()).strip("_"),
        "summary": f"{endpoint.summary.zh} / {endpoint.summary.en}",
        "description": _who(endpoint),
        "tags": [endpoint.path.split("/")[1]],
        "parameters": [*_path(endpoint), *_query(endpoint), *_headers(endpoint)],
        "responses": _responses(endpoint, schemas),
        "security": [{"token": []}, {"session": []}] if endpoint.roles else [],
    }
    if isinstance(endpoint.body, Octets):
        form = {"type": "object", "required": ["file"], "properties": {"file": FILE}}
        content: dict[str, Any] = {kind: {"schema": FILE} for kind in endpoint.body.kinds}
        said["requestBody"] = {
            "required": True,
            "content": content | {"multipart/form-data": {"schema": form}},
        }
    elif endpoint.body is not None:
        media: dict[str, Any] = {"schema": schemas[f"{endpoint.label} body"]}
        if endpoint.example is not None:
            media["example"] = endpoint.example
        said["requestBody"] = {"required": not endpoint.optional, "content": {"application/json": media}}
    return said


def _who(endpoint: Endpoint) -> str:
    if not endpoint.roles:
        return "For everybody."
    return f"Roles: {', '.join(sorted(endpoint.roles))}. Scope of a token: {endpoint.scope}."


def _path(endpoint: Endpoint) -> list[dict[str, Any]]:
    number = {"type": "integer", "minimum": 1, "maximum": (1 << 63) - 1}
    text = {"type": "string", "minLength": 1}
    names = re.findall(r"{(\w+)}", endpoint.path)
    return [_parameter("path", name, number if name == "id" else text, "", required=True) for name in names]


def _query(endpoint: Endpoint) -> list[dict[str, Any]]:
    schema = endpoint.query.model_json_schema()
    definitions = schema.get("$defs", {})
    found = []
    for name, inner in schema.get("properties", {}).items():
        flat = _flat(inner, definitions)
        words = flat.pop("description", "")
        found.append(_parameter("query", name, flat, words, required=name in schema.get("required", [])))
    return found


def _parameter(place: str, name: str, schema: Any, words: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "description": words, "schema": schema}


def _flat(schema: Any, definitions: dict[str, Any]) -> Any:
    """A parameter's schema without references."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _flat(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {name: _flat(inner, definitions) for name, inner in schema.items()}
    return [_flat(inner, definitions) for inner in schema] if isinstance(schema, list) else schema


def _headers(endpoint: Endpoint) -> list[dict[str, Any]]:
    language = {"type": "string", "examples": ["zh-CN", "en"]}
    found = [_parameter("header", "Accept-Language", language, "zh or en")]
    if endpoint.key:
        schema = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
        words = "a text of this request's own: sent again, the first answer comes again"
        required = endpoint.key == "required"
        found.append(_parameter("header", "Idempotency-Key", schema, words, required=required))
    if endpoint.versioned and not endpoint.safe:
        words = "the ETag that reading it gave; * for any"
        found.append(_parameter("header", "If-Match", {"type": "string"}, words, required=True))
    return found


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    answers = {endpoint.status: endpoint.summary, **endpoint.statuses}
    found: dict[str, Any] = {}
    for status, words in sorted(answers.items()):
        names = ["X-Request-Id"]
        if endpoint.versioned:
            names.append("ETag")
        if status == 201:
            names.append("Location")
        found[str(status)] = {"description": f"{words.zh} / {words.en}", "headers": _named(names)}
        if endpoint.answer is bytes:
            found[str(status)]["content"] = {"*/*": {"schema": FILE}}
        elif endpoint.answer is not None:
            schema = schemas[f"{endpoint.label} answer"]
            found[str(status)]["content"] = {"application/json": {"schema": schema}}
    for status, codes in sorted(statuses(endpoint).items()):
        names = ["X-Request-Id"]
        names += ["Retry-After"] if status in {429, 503} else ["WWW-Authenticate"] if status == 401 else []
        said = "; ".join(f"{code}: {CODES[code].zh} / {CODES[code].en}" for code in codes)
        content = {MEDIA_TYPE: {"schema": schemas["problem"]}}
        found[str(status)] = {"description": said, "headers": _named(names), "content": content}
    return found


def _named(names: list[str]) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}
