"""Settings: one field is one setting; its description is what `zhengming config` prints above it.

Read from a TOML file, overridden by `ZHENGMING__SECTION__KEY` in the environment (contract.md
"Configuration"). Every mistake is a `UsageError` that names file, key, value and what would be right.
Fields marked `reload` take effect on SIGHUP; all others need a restart. Nothing here opens a socket or
a database; the only files read are the configuration, profiles and secrets that it names.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from gateway.errors import UsageError

ENVIRONMENT_PREFIX = "ZHENGMING__"
PROTOCOLS = {"cmpp": 7890}
"""Protocols that this version carries, with their default ports."""

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def milliseconds(text: str) -> int:
    """`"72h"` → 259 200 000. Units: ms, s, m, h, d.

    Raises ValueError when the text is not a whole number and a unit.
    """
    found = re.fullmatch(r"(\d+)\s*(ms|s|m|h|d)", text.strip())
    if found is None:
        raise ValueError("expected a whole number and a unit out of ms, s, m, h, d, such as 72h")
    return int(found[1]) * _UNITS[found[2]]


def endpoint(text: str) -> tuple[str, int]:
    """`"10.0.0.5:7890"` or `"[::1]:7890"` → (host, port). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, such as 10.0.0.5:7890")
    return host, int(port)


def _is_endpoint(text: str) -> str:
    endpoint(text)
    return text


def _is_duration(text: str) -> str:
    milliseconds(text)
    return text


LEAST_KEPT = 155
"""Days: five months are 153 at most, and a day is kept to its end (domain.md "Kept")."""


def _is_kept_long_enough(text: str) -> str:
    if milliseconds(text) < LEAST_KEPT * _UNITS["d"]:
        raise ValueError(f"five months have to be kept: at least {LEAST_KEPT}d")
    return text


Endpoint = Annotated[str, AfterValidator(_is_endpoint)]
Duration = Annotated[str, AfterValidator(_is_duration)]
RELOAD: dict[str, JsonValue] = {"reload": True}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(Section):
    name: str = Field("node-1", pattern=r"^[A-Za-z0-9._-]{1,40}$", description="this node, in every record")
    carrier: str = Field("mobile", min_length=1, description="tenant whose gateway this node fronts")
    data_dir: Path = Field(Path("var"), description="replica, journal, keys, embedded database")
    workers: int = Field(0, ge=0, le=256, description="relay workers; 0: one per core")


class Database(Section):
    dsn: str = Field("embedded", description="embedded, or postgresql://… (several hosts allowed)")


class Sms(Section):
    protocol: Literal["cmpp"] = Field(description="cmpp (2.0, 2.1 and 3.0 on one port, by login)")
    listen: Endpoint = Field("0.0.0.0:7890", description="where senders connect")
    upstream: tuple[Endpoint, ...] = Field(
        (),
        description="carrier's gateways, tried in order; an account may name its own",
        json_schema_extra=RELOAD,
    )
    upstream_bind: str = Field("", description="address that the carrier sees; empty: any")
    proxy_protocol: bool = Field(False, description="send a PROXY protocol v2 header to the carrier")
    gateway_code: int = Field(
        999_999, ge=0, lt=2**22, description="gateway code inside the message ids that we make up ourselves"
    )


class Web(Section):
    listen: Endpoint = Field("127.0.0.1:8080", description="console, API, /healthz and /readyz")


class Metrics(Section):
    listen: Endpoint = Field("127.0.0.1:9464", description="/metrics for Prometheus")


class Policy(Section):
    profile: str = Field("zhejiang", description="a shipped name, or a file's path", json_schema_extra=RELOAD)


class Evidence(Section):
    durability: Literal["disk", "os"] = Field(
        "disk", description="disk: fdatasync before anything is sent on | os: page cache"
    )
    keep: Annotated[Duration, AfterValidator(_is_kept_long_enough)] = Field(
        "160d",
        description="texts, subscribers and indexed traffic that are older are forgotten for good",
    )

    @property
    def kept_days(self) -> int:
        return milliseconds(self.keep) // _UNITS["d"]


class Registry(Section):
    max_age: Duration = Field(
        "72h",
        description="registry news older than this: marketing and collection are not_judgeable",
        json_schema_extra=RELOAD,
    )
    unknown_account: Literal["refuse", "observe", "other"] = Field(
        "refuse",
        description="for accounts that nobody filed",
        json_schema_extra=RELOAD,
    )


class Config(Section):
    """The whole configuration, with every default."""

    node: Node = Node()
    database: Database = Database()
    sms: tuple[Sms, ...] = ()
    web: Web = Web()
    metrics: Metrics = Metrics()
    policy: Policy = Policy()
    evidence: Evidence = Evidence()
    registry: Registry = Registry()

    @property
    def data_dir(self) -> Path:
        return self.node.data_dir

    @property
    def workers(self) -> int:
        return self.node.workers or os.cpu_count() or 1


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a file (None: defaults only) and the environment.

    A relative `node.data_dir` is taken from the folder of the file. Raises UsageError.
    """
    name = str(path) if path else "the built-in defaults"
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{name}: not TOML: {error}") from error
    for key, value in environment.items():
        if key.startswith(ENVIRONMENT_PREFIX):
            _override(tree, key, value)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(name, line) for line in error.errors())) from None
    base = path.parent if path else Path()
    data_dir = (base / config.node.data_dir).resolve()
    return config.model_copy(update={"node": config.node.model_copy(update={"data_dir": data_dir})})


def _override(tree: dict[str, Any], key: str, value: str) -> None:
    section, _, field = key.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    if not field:
        raise UsageError(f"environment {key}: expected {ENVIRONMENT_PREFIX}SECTION__KEY")
    try:
        parsed: Any = json.loads(value)
    except ValueError:
        parsed = value
    inner = tree.setdefault(section, {})
    if not isinstance(inner, dict):
        raise UsageError(f"environment {key}: [[{section}]] is a list; set it in the file")
    inner[field] = parsed


def _explain(name: str, line: Any) -> str:
    place = ".".join(str(part) for part in line["loc"]) or "(top)"
    if line["type"] == "extra_forbidden":
        return f"{name}: {place}: no such setting; `zhengming config` prints all of them"
    return f"{name}: {place} = {line.get('input')!r}: {line['msg']}"


def annotated() -> str:
    """The configuration file with all defaults, each setting below its description."""
    lines = ["# Zhengming 正名网关: all settings with their defaults.", "# (reload): takes effect on SIGHUP."]
    for name, field in Config.model_fields.items():
        section = Sms if name == "sms" else field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        lines += ["", f"[[{name}]]" if name == "sms" else f"[{name}]"]
        for key, setting in section.model_fields.items():
            extra = setting.json_schema_extra
            reload = " (reload)" if isinstance(extra, dict) and extra.get("reload") else ""
            default = "cmpp" if setting.is_required() else setting.default
            lines += [f"# {setting.description}{reload}", f"{key} = {_toml(default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def read_profile(name: str) -> str:
    """The TOML text of a shipped profile by name, or of a file by path. Raises UsageError."""
    if re.fullmatch(r"[a-z0-9_-]+", name):
        shipped = resources.files("gateway") / "profiles" / f"{name}.toml"
        if shipped.is_file():
            return shipped.read_text("utf-8")
    try:
        return Path(name).read_text("utf-8")
    except OSError as error:
        raise UsageError(
            f"policy.profile = {name!r}: neither a shipped profile nor a file: {error}"
        ) from error
