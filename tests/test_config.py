"""Settings: what is taken, and what a wrong one is told."""

import tomllib
from pathlib import Path

import pytest

from gateway import config
from gateway.errors import UsageError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "zhengming.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_annotated_configuration_is_the_defaults(tmp_path):
    loaded = config.load(written(tmp_path, config.annotated()), {})
    expected = config.load(None, {})
    assert loaded.registry == expected.registry
    assert loaded.sms == (config.Sms(protocol="cmpp"),)


def test_every_setting_is_described():
    lines = config.annotated().splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")


def test_the_contract_s_own_example_is_taken(tmp_path):
    text = """
        [node]
        name = "node-1"
        carrier = "mobile"
        data_dir = "var"
        workers = 0
        [database]
        dsn = "embedded"
        [[sms]]
        protocol = "cmpp"
        listen = "0.0.0.0:7890"
        upstream = ["10.0.0.5:7890"]
        [web]
        listen = "127.0.0.1:8080"
        [metrics]
        listen = "127.0.0.1:9464"
        [policy]
        profile = "zhejiang"
        [evidence]
        durability = "disk"
        [registry]
        max_age = "72h"
        unknown_account = "refuse"
    """
    loaded = config.load(written(tmp_path, text), {})
    assert loaded.sms[0].upstream == ("10.0.0.5:7890",)
    assert loaded.data_dir == tmp_path / "var"


def test_the_environment_overrides_the_file(tmp_path):
    path = written(tmp_path, '[node]\nname = "a"\nworkers = 2\n')
    loaded = config.load(path, {"ZHENGMING__NODE__NAME": "b", "ZHENGMING__NODE__WORKERS": "3"})
    assert (loaded.node.name, loaded.workers) == ("b", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[node]\nname = "a b"\n', ["node.name", "'a b'"]),
        ("[node]\nworkers = -1\n", ["node.workers", "-1", "greater than or equal to 0"]),
        ("[nodes]\n", ["nodes", "no such setting"]),
        ('[registry]\nmax_age = "72"\n', ["registry.max_age", "'72'", "72h"]),
        ('[registry]\nunknown_account = "pass"\n', ["registry.unknown_account", "'pass'", "'refuse'"]),
        ('[[sms]]\nprotocol = "cmpp"\nlisten = "7890"\n', ["sms.0.listen", "'7890'", "host:port"]),
        ('[evidence]\nkeep = "90d"\n', ["evidence.keep", "'90d'", "at least 155d"]),
        ("[node\n", ["not TOML"]),
    ],
)
def test_a_mistake_names_the_place_the_value_and_what_would_be_right(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as error:
        config.load(path, {})
    for words in [str(path), *told]:
        assert words in str(error.value)


def test_a_list_is_not_set_by_the_environment(tmp_path):
    path = written(tmp_path, '[[sms]]\nprotocol = "cmpp"\n')
    with pytest.raises(UsageError, match="SMS__LISTEN"):
        config.load(path, {"ZHENGMING__SMS__LISTEN": "0.0.0.0:1"})


def test_shipped_profiles_are_found_by_name_and_others_by_path(tmp_path):
    assert tomllib.loads(config.read_profile("zhejiang"))
    own = tmp_path / "own.toml"
    own.write_text('extends = "zhejiang"\n')
    assert config.read_profile(str(own)) == 'extends = "zhejiang"\n'
    with pytest.raises(UsageError, match="nowhere"):
        config.read_profile("nowhere")
