"""The configuration file that explains itself, as `zhengming config` prints it."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Config, Sms
from gateway.secured import Secured


def annotated() -> str:
    """The configuration file with all defaults, each setting below its description."""
    lines = ["# Zhengming 正名网关: all settings with their defaults.", "# (reload): takes effect on SIGHUP."]
    for name, field in Config.model_fields.items():
        section = Sms if name == "sms" else field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        lines += ["", f"[[{name}]]" if name == "sms" else f"[{name}]"]
        settings = sorted(section.model_fields.items(), key=lambda known: known[0] in Secured.model_fields)
        for key, setting in settings:
            extra = setting.json_schema_extra
            reload = " (reload)" if isinstance(extra, dict) and extra.get("reload") else ""
            default = "cmpp" if setting.is_required() else _default(setting)
            lines += [f"# {setting.description}{reload}", f"{key} = {_toml(default)}"]
    return "\n".join(lines) + "\n"


def _default(setting: FieldInfo) -> Any:
    return setting.get_default(call_default_factory=True, validated_data={"protocol": "cmpp"})


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)
