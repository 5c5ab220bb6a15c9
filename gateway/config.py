"""Settings: one field is one setting; its description is what `zhengming config` prints above it.

Read from a TOML file, overridden by `ZHENGMING__SECTION__KEY` in the environment (contract.md
"Configuration"). Every mistake is a `UsageError` that names file, key, value and what would be right.
Fields marked `reload` take effect on SIGHUP; all others need a restart. Nothing here opens a socket or
a database; the only files read are the configuration, profiles and secrets that it names.
"""

import contextlib
import json
import os
import platform
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import Field, JsonValue, ValidationError, ValidationInfo, field_validator

from gateway.errors import UsageError
from gateway.secured import CALLING, Secured
from gateway.signalling import Card, Voice
from gateway.values import (
    DAY,
    Address,
    Code,
    Dsn,
    Duration,
    Endpoint,
    File,
    Flag,
    Folder,
    Kept,
    MaybeEndpoint,
    Network,
    PerDay,
    Rate,
    Section,
    SharedCounter,
    Text50,
    Url,
    Workdays,
    endpoint,
    milliseconds,
    number,
    one_of,
    right,
    whole,
)

ENVIRONMENT_PREFIX = "ZHENGMING__"
PROTOCOLS = {"cmpp": 7890, "sgip": 8801, "smgp": 8890, "smpp": 2775}
"""Protocols that this version carries, with their default ports."""
RELOAD: dict[str, JsonValue] = {"reload": True}


class Node(Section):
    name: Code = Field("node-1", description="this node, in every record")
    carrier: Code = Field("mobile", description="tenant whose gateway this node fronts")
    data_dir: Folder = Field(
        Path("var"), description="replica, journal, keys, embedded database; from this file's folder"
    )
    workers: Annotated[int, whole(0, 256)] = Field(0, description="relay workers; 0: one per core")


class Database(Section):
    dsn: Dsn = Field("embedded", description="embedded, or postgresql://… (several hosts allowed)")


class Sms(Secured):
    protocol: Annotated[str, one_of(*PROTOCOLS)] = Field(
        description="cmpp (2.0, 2.1, 3.0) | sgip (1.2) | smgp (1.3, 3.0) | smpp (3.3, 3.4, 5.0): all versions"
        " on one port, by login"
    )
    listen: Endpoint = Field(
        default_factory=lambda said: f"0.0.0.0:{PROTOCOLS.get(said.get('protocol'), 0)}",
        description="where senders connect; left out: the protocol's own port (7890, 8801, 8890, 2775)",
    )
    upstream: tuple[Endpoint, ...] = Field(
        (),
        description="carrier's gateways, tried in order; an account may name its own",
        json_schema_extra=RELOAD,
    )
    upstream_bind: Address = Field("", description="address that the carrier sees; empty: any")
    proxy_protocol: Flag = Field(False, description="send a PROXY protocol v2 header to the carrier")
    gateway_code: Annotated[int, whole(0, 2**22 - 1)] = Field(
        999_999,
        description="gateway code inside the message ids that we make up ourselves",
    )
    callback_listen: MaybeEndpoint = Field(
        "",
        description="SGIP: where the carrier's own connections deliver, for accounts without a callback of"
        " their own; empty: nowhere",
    )
    callback_from: tuple[Network, ...] = Field(
        (),
        description="SGIP: addresses or networks that the carrier calls from; empty: those of its upstreams",
        json_schema_extra=RELOAD,
    )
    callback_patience: Duration = Field(
        "30s",
        description="SGIP: how long a sender's listener that is down is tried before the carrier has to come"
        " again; as long as the carrier waits for an answer",
        json_schema_extra=RELOAD,
    )
    callback_idle: Duration = Field(
        "60s",
        description="SGIP: a connection to a sender's listener is closed when nothing has gone that long",
        json_schema_extra=RELOAD,
    )

    @field_validator("callback_listen")
    @classmethod
    def _of_sgip(cls, value: str, said: ValidationInfo) -> str:
        if value and said.data.get("protocol") not in (None, *CALLING):
            raise ValueError("empty: carriers deliver on connections of their own in sgip alone")
        if value and value == said.data.get("listen"):
            raise ValueError("another address than that of listen, where senders connect")
        return value


class Web(Section):
    listen: Endpoint = Field("127.0.0.1:8080", description="console, API, /healthz and /readyz")
    url: Url = Field(
        "",
        description="where the other nodes reach this one; empty: http:// and listen, by this machine's name"
        " where that is every address",
    )
    read_rate: Rate = Field(5000, description="reads a second of one user; 0: no limit, as below")
    write_rate: Rate = Field(500, description="changes a second of one user")
    judge_rate: Rate = Field(200, description="dry runs a second of one user")
    attempt_rate: Rate = Field(2000, description="requests with attempts a second of one user")
    sign_in_rate: Rate = Field(60, description="tries to sign in a minute from one address")
    session_hours: Annotated[float, number("a number above 0, at most 24", lambda value: 0 < value <= 24)] = (
        Field(8, description="how long a session of the console lasts")
    )
    judge_per_day: PerDay = Field(10_000, description="dry runs a day of one institution")
    scrub_per_day: PerDay = Field(100_000, description="subscribers that one institution asks about a day")


class Metrics(Section):
    listen: Endpoint = Field("127.0.0.1:9464", description="/metrics for Prometheus")


class Policy(Section):
    profile: File = Field(
        "zhejiang",
        description="a shipped name, or a file's path from this file's folder; it holds until two regulators"
        " activate a version in the registry (`zhengming profile`), which then holds on all nodes",
        json_schema_extra=RELOAD,
    )
    confirmation: Text50 = Field(
        "",
        description="SMS to a subscriber who has refused by reply or key press, once, behind the signature;"
        ' such as "您已退订，我们不再向您发送营销信息"; empty: none',
        json_schema_extra=RELOAD,
    )
    confirmation_accepted: Text50 = Field(
        "",
        description="the same to one who had refused and accepts again; such as"
        ' "您已恢复接收，如需退订请回复R"; empty: none',
        json_schema_extra=RELOAD,
    )


class Counters(Section):
    url: SharedCounter = Field(
        "local",
        description="local: caps count on this node | redis://[user:password@]host:port/database or rediss://…:"
        " over all nodes that name the same server, or one of a Cluster",
    )
    deadline: Duration = Field(
        "100ms", description="a server that has not answered by then is away, and tried again beside the path"
    )
    when_away: Annotated[Literal["local", "refuse"], one_of("local", "refuse")] = Field(
        "local",
        description="local: this node's own counts decide, marked counted_here in the record | refuse: what"
        " has caps is not_judgeable",
    )


class Evidence(Section):
    checkpoint_seconds: Annotated[int, whole(1, 3600)] = Field(
        10, description="a signed checkpoint at least that often; none is signed by this version"
    )
    durability: Annotated[Literal["disk", "os"], one_of("disk", "os")] = Field(
        "disk",
        description="disk: by O_DSYNC, fdatasync in the same call, before anything is sent on"
        " | os: page cache",
    )
    keep: Kept = Field(
        "160d",
        description="texts, subscribers and indexed traffic that are older are forgotten for good",
    )

    @property
    def kept_days(self) -> int:
        return milliseconds(self.keep) // DAY


class Registry(Section):
    max_age: Duration = Field(
        "72h",
        description="registry news older than this: marketing and collection are not_judgeable",
        json_schema_extra=RELOAD,
    )
    unknown_account: Annotated[str, one_of("refuse", "observe", "other")] = Field(
        "refuse",
        description="for accounts that nobody filed",
        json_schema_extra=RELOAD,
    )
    require_documents: Flag = Field(False, description="a number is submitted with a document only")


class Cases(Section):
    forward_workdays: Workdays = Field(5, description="until a complaint is forwarded")
    complaint_workdays: Workdays = Field(15, description="until a complaint is answered")
    appeal_workdays: Workdays = Field(15, description="until an appeal is answered")
    penalty_workdays: Workdays = Field(
        15, description="until a fine is paid, or what a suspension punishes is mended"
    )
    workdays_file: Annotated[
        str, right("the path of a file, in quotes, or empty", lambda text: "\0" not in text)
    ] = Field(
        "",
        description="CSV of day,workday (such as 2027-02-06,true) laid over the national calendar; from this"
        " file's folder, read again at each reload; a day that neither knows has the hours that workdays and"
        " other days share",
        json_schema_extra=RELOAD,
    )


class Config(Section):
    """The whole configuration, with every default."""

    node: Node = Node()
    database: Database = Database()
    sms: tuple[Sms, ...] = ()
    voice: Voice = Voice()
    card: Card = Card()
    web: Web = Web()
    metrics: Metrics = Metrics()
    policy: Policy = Policy()
    counters: Counters = Counters()
    evidence: Evidence = Evidence()
    registry: Registry = Registry()
    cases: Cases = Cases()

    @property
    def data_dir(self) -> Path:
        return self.node.data_dir

    @property
    def web_url(self) -> str:
        """Where other nodes reach this node's web process."""
        host, port = endpoint(self.web.listen)
        if host in {"0.0.0.0", "::"}:
            return self.web.url or f"http://{platform.node()}:{port}"
        return self.web.url or f"http://{self.web.listen}"

    @property
    def workers(self) -> int:
        return self.node.workers or len(os.sched_getaffinity(0))


def load(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a file (None: defaults only) and the environment.

    A relative `node.data_dir`, `cases.workdays_file` or file of TLS, and a `policy.profile` that is a
    relative path, are taken from the folder of the file. Raises UsageError.
    """
    name = str(path) if path else "the built-in defaults"
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{name}: {_unreadable(error)}; {RIGHT_FILE}") from None
    origins: dict[tuple[int | str, ...], str] = {
        _override(tree, key, value): f"environment {key}"
        for key, value in environment.items()
        if key.startswith(ENVIRONMENT_PREFIX)
    }
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        told = (_explain(origins.get(line["loc"][:2]) or name, line) for line in error.errors())
        raise UsageError("\n".join(told)) from None
    base = path.parent if path else Path()
    node = config.node.model_copy(update={"data_dir": (base / config.node.data_dir).resolve()})
    policy = config.policy
    if policy.profile not in shipped_profiles():
        policy = policy.model_copy(update={"profile": str((base / policy.profile).resolve())})
    cases = config.cases
    if cases.workdays_file:
        cases = cases.model_copy(update={"workdays_file": str((base / cases.workdays_file).resolve())})
    sms, voice = tuple(one.beside(base) for one in config.sms), config.voice.beside(base)
    more = {"node": node, "policy": policy, "cases": cases, "sms": sms, "voice": voice}
    more["card"] = config.card.beside(base)
    return config.model_copy(update=more)


RIGHT_FILE = "right would be a TOML file in UTF-8, such as `zhengming config` prints"


def _unreadable(error: OSError | ValueError) -> str:
    """Why a text file could not be read, in words."""
    match error:
        case OSError():
            return f"cannot be read: {error.strerror or error}"
        case UnicodeDecodeError():
            return f"not UTF-8: octet {error.object[error.start]:#04x} at {error.start}"
        case tomllib.TOMLDecodeError():
            return f"not TOML: {error}"
    return f"cannot be read: {error}"


def _override(tree: dict[str, Any], key: str, value: str) -> tuple[str, ...]:
    """Lay one variable over the tree; the place that it sets. Tables can't be set that way."""
    name, _, field = key.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    section = Config.model_fields.get(name)
    if not field or section is None:
        sections = ", ".join(word.upper() for word in Config.model_fields if word != "sms")
        raise UsageError(
            f"environment {key}: no such setting; right would be {ENVIRONMENT_PREFIX}SECTION__KEY with a"
            f" section out of {sections}"
        )
    inner = tree.setdefault(name, {})
    kind = section.annotation
    if not isinstance(kind, type) or not isinstance(inner, dict):
        raise UsageError(f"environment {key}: [[{name}]] is a list of tables; set it in the file")
    known = kind.model_fields.get(field)
    parsed: Any = value
    if known is not None and (get_origin(known.annotation) or known.annotation) in (int, float, bool, tuple):
        with contextlib.suppress(ValueError):
            parsed = json.loads(value)
    inner[field] = parsed
    return name, field


def _explain(origin: str, line: Any) -> str:
    """One mistake in words: where it stands, the value, and what would be right."""
    loc, context = line["loc"], line.get("ctx", {})
    place = ".".join(str(part) for part in loc)
    match line["type"]:
        case "extra_forbidden":
            return f"{origin}: {place}: no such setting; `zhengming config` prints all of them"
        case "missing":
            return (
                f"{origin}: {place} is missing; right would be {Sms.model_fields[str(loc[-1])].description}"
            )
        case "value_error":
            right = context["error"]
        case "tuple_type" if len(loc) > 1:
            right = 'a list, such as ["10.0.0.5:7890"]'
        case _ if len(loc) == 2:
            right = line["msg"].removeprefix("Input should be ")
        case _ if loc[0] == "sms":
            right = "tables that each begin with [[sms]]"
        case _:
            right = f"a table that begins with [{place}]"
    value = json.dumps(line["input"], ensure_ascii=False, default=str)
    if loc[:2] in (("database", "dsn"), ("counters", "url")):
        value = without_password(value)
    shown = value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + "…"
    return f"{origin}: {place} = {shown}; right would be {right}"


def without_password(dsn: str) -> str:
    """The DSN as messages may show it; also one that can't be read, where rather too much is left out."""
    return re.sub(r"(?<=:)(?!//).*(?=@)|(?<=[?&]password=)[^&]*", "…", dsn)


LONGEST_SHOWN = 200  # characters of a wrong value


def shipped_profiles() -> list[str]:
    """The names of the profiles that come with this version."""
    files = (resources.files("gateway") / "profiles").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_profile(name: str, folder: Path = Path()) -> str:
    """The TOML text of a shipped profile by name, or of a file by path, taken from `folder`.

    Raises UsageError.
    """
    if name in shipped_profiles():
        return (resources.files("gateway") / "profiles" / f"{name}.toml").read_text("utf-8")
    try:
        return (folder / name).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"profile {name!r}: {_unreadable(error)}; right would be a shipped name"
            f" ({', '.join(shipped_profiles())}) or the path of a TOML file in UTF-8"
        ) from None
