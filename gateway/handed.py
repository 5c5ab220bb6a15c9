"""What a supervisor hands to its parts: the settings, the profile's text and that of the file of workdays, as
they were read when the node started or last reloaded.

A part that is started again runs by these and not by what the files say by then: an operator who is in the
middle of editing them must not take a worker out of service, nor have it work by other listeners, folders
or owners of accounts than the rest. What only a restart can change is kept over a reload, and named.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gateway import config as configuration
from gateway.config import RELOAD, Config
from gateway.errors import UsageError
from gateway.policy.calendar import Calendar
from gateway.policy.profile import Profile
from gateway.policy.profile_text import parse_profile
from gateway.registry import workdays
from gateway.values import Section, milliseconds

_WHOLE = "zhejiang"
"""A shipped profile that names each rule."""


def profile_of(
    config: Config, read: Callable[[str], str] | None = None, days: Calendar | None = None
) -> Profile:
    """The node's own profile, with its settings; `read` gives the text of a name or path, by default of the
    files themselves, as `days` are by default those of their file. Raises UsageError, also for a profile that
    names no rule, such as a file that was cut to nothing: by it everything would pass."""
    name = config.policy.profile
    # what it extends may lie beside it
    profile = parse_profile(read or partial(configuration.read_profile, folder=Path(name).parent), name)
    if not profile.content["rules"]:
        raise UsageError(
            f"profile {name}: names no rule, so everything would pass; right would be extends ="
            f' "{_WHOLE}", or a mode of each rule'
        )
    return dataclasses.replace(
        profile,
        name=Path(name).name,  # where the file lies concerns nobody who reads a verdict
        max_age=milliseconds(config.registry.max_age),
        unknown_account=config.registry.unknown_account,
        days=workdays.calendar(_file_of_days(config)) if days is None else days,
    )


def unnamed(profile: Profile) -> list[str]:
    """The rules of the shipped profiles that this one says nothing of, and that are off by it."""
    shipped = parse_profile(configuration.read_profile, _WHOLE).content["rules"]
    return [word for word in shipped if word not in profile.content["rules"]]


@dataclasses.dataclass(frozen=True)
class Handed:
    """Settings, and the texts that their profile is made of, by the names under which they are read;
    `workdays` is the text of that file, None where there is none."""

    config: Config
    texts: Mapping[str, str]
    workdays: str | None = None

    @property
    def profile(self) -> Profile:
        days = workdays.laid_over(self.workdays, self.config.cases.workdays_file)
        return profile_of(self.config, self.texts.__getitem__, days)

    def write(self, path: Path, dsn: str) -> None:
        """Put it where the parts find it, with the database's address as it is. Nobody else may read it: a
        DSN holds a password."""
        database = self.config.database.model_copy(update={"dsn": dsn})
        config = self.config.model_copy(update={"database": database})
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600)
        told = {
            "config": config.model_dump(mode="json"),
            "texts": dict(self.texts),
            "workdays": self.workdays,
        }
        fresh.write_text(json.dumps(told), "utf-8")
        fresh.replace(path)


def handed(path: Path) -> Handed:
    """What was written there."""
    found = json.loads(path.read_text("utf-8"))
    return Handed(Config.model_validate(found["config"]), found["texts"], found["workdays"])


def of(config: Config) -> Handed:
    """These settings with their profile and workdays as they can be read now. Raises UsageError."""
    texts: dict[str, str] = {}

    def read(name: str) -> str:
        texts[name] = configuration.read_profile(name, Path(config.policy.profile).parent)
        return texts[name]

    file = _file_of_days(config)
    days = workdays.read(file) if file else None
    profile_of(config, read, workdays.laid_over(days, str(file)))
    return Handed(config, texts, days)


def _file_of_days(config: Config) -> Path | None:
    return Path(config.cases.workdays_file) if config.cases.workdays_file else None


def reloaded(now: Config, fresh: Config) -> tuple[Config, list[str]]:
    """`fresh` where a setting may change while the node runs, `now` elsewhere; and which settings, changed
    in the file, wait for a restart."""
    tree: dict[str, Any] = {}
    waiting: list[str] = []
    for name in Config.model_fields:
        old, new = getattr(now, name), getattr(fresh, name)
        if isinstance(old, Section):
            tree[name] = _section(name, old, new, waiting)
        elif len(old) == len(new):
            pairs = enumerate(zip(old, new, strict=True))
            tree[name] = tuple(_section(f"{name}.{n}", *pair, waiting) for n, pair in pairs)
        else:
            tree[name] = old
            waiting.append(name)
    return now.model_copy(update=tree), waiting


def _section(place: str, old: Section, new: Section, waiting: list[str]) -> Section:
    changed = {}
    for name, field in type(old).model_fields.items():
        if field.json_schema_extra == RELOAD:
            changed[name] = getattr(new, name)
        elif getattr(old, name) != getattr(new, name):
            waiting.append(f"{place}.{name}")
    return old.model_copy(update=changed)
