"""The profile `zhejiang` for tests that run at any hour and send to few: all rules as shipped, but the hours
never closed and no caps."""

from pathlib import Path

from gateway.config import read_profile

EVERY = '{ marketing = "00:00-24:00", collection = "00:00-24:00" }'
TEXT = f"""extends = "zhejiang"
[rules.quiet_hours]
sms = {EVERY}
voice = {EVERY}
[rules.over_frequency]
mode = "off"
"""
NAME = "any_hour"


def read(name: str) -> str:
    """`config.read_profile`, which knows this one, too."""
    return TEXT if name == NAME else read_profile(name)


def written(folder: Path) -> Path:
    """The profile as a file in `folder`."""
    path = folder / f"{NAME}.toml"
    path.write_text(TEXT, "utf-8")
    return path
