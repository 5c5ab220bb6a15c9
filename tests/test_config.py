"""Settings: what is taken, and what a wrong one is told."""

import platform
import tomllib
from pathlib import Path

import pytest

from gateway import config, handed
from gateway.annotated import annotated
from gateway.errors import UsageError
from gateway.model import Reason
from gateway.policy.profile import OBSERVE
from gateway.unserved import unserved


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "zhengming.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_annotated_configuration_is_the_defaults(tmp_path):
    loaded = config.load(written(tmp_path, annotated()), {})
    expected = config.load(None, {})
    assert loaded.registry == expected.registry
    assert loaded.sms == (config.Sms(protocol="cmpp"),)


def test_every_setting_is_described():
    lines = annotated().splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")


CONTRACT = """
[node]
name = "node-1"
carrier = "mobile"             # the tenant whose gateway this node stands before
data_dir = "var"               # replica, journal, keys, embedded database
workers = 0                    # 0: one per core
[database]
dsn = "embedded"               # or postgresql://…, several hosts allowed
[[sms]]
protocol = "cmpp"              # cmpp | sgip | smgp | smpp ; CMPP 2.0/2.1/3.0 on one port, by login
listen = "0.0.0.0:7890"
upstream = ["10.0.0.5:7890"]   # tried in order; an account may name its own
# tls_*, upstream_tls_*, callback_listen (SGIP: where the carrier delivers)
[voice]
listen = ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"]
next_hop = "sip:10.0.0.6:5060"
mode = "proxy"                 # proxy | redirect
[web]
listen = "127.0.0.1:8080"
[metrics]
listen = "127.0.0.1:9464"
[policy]
profile = "zhejiang"           # a shipped name, or the path of a file
[counters]
url = "local"                  # or redis://…, for caps over several nodes
[evidence]
checkpoint_seconds = 10
durability = "disk"            # disk: fdatasync before sending | os: page cache
[registry]
max_age = "72h"                # older news than this: not_judgeable
unknown_account = "refuse"     # refuse | observe | other
"""
"""contract.md "Configuration", whole."""


def test_the_contract_s_own_example_is_taken_and_what_nobody_serves_is_said(tmp_path):
    loaded = config.load(written(tmp_path, CONTRACT), {})
    assert loaded.sms[0].upstream == ("10.0.0.5:7890",)
    assert loaded.data_dir == tmp_path / "var"
    assert (loaded.voice.mode, loaded.evidence.checkpoint_seconds) == ("proxy", 10)
    said = list(unserved(loaded.evidence))
    assert [words.partition(":")[0] for words in said] == ["evidence.checkpoint_seconds"]
    assert (loaded.voice.listen[0], loaded.voice.next_hop) == ("udp://0.0.0.0:5060", ("sip:10.0.0.6:5060",))


def test_who_names_nothing_that_is_not_served_is_told_nothing(tmp_path):
    loaded = config.load(written(tmp_path, ""), {})
    assert list(unserved(loaded.evidence)) == []


def test_the_environment_overrides_the_file(tmp_path):
    path = written(tmp_path, '[node]\nname = "a"\nworkers = 2\n')
    loaded = config.load(path, {"ZHENGMING__NODE__NAME": "b", "ZHENGMING__NODE__WORKERS": "3"})
    assert (loaded.node.name, loaded.workers) == ("b", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[node]\nname = "a b"\n', ['node.name = "a b"', "letters, digits"]),
        ("[node]\nname = 5\n", ["node.name = 5", "in quotes"]),
        ('[node]\ncarrier = "中国移动"\n', ["node.carrier", "letters, digits"]),
        ("[node]\nworkers = -1\n", ["node.workers = -1", "from 0 to 256"]),
        ('[node]\nworkers = "two"\n', ['node.workers = "two"', "from 0 to 256"]),
        ("[node]\nworkers = true\n", ["node.workers = true", "from 0 to 256"]),
        ('[node]\ndata_dir = "a\\u0000b"\n', ["node.data_dir", "the path of a folder"]),
        ("node = 3\n", ["node = 3", "[node]"]),
        ("[nodes]\n", ["nodes", "no such setting"]),
        ('[database]\ndsn = ""\n', ['database.dsn = ""', "embedded, or postgresql://"]),
        ('[counters]\nurl = ""\n', ['counters.url = ""', "local, or where a Redis or Valkey server is"]),
        ('[counters]\nurl = "redis://:secret@h:x"\n', ['counters.url = "redis://:…@h:x"', "redis://10."]),
        ('[counters]\nurl = "http://h:6379"\n', ["counters.url", "redis://10.0.0.7:6379/0"]),
        ('[counters]\nwhen_away = "pass"\n', ["counters.when_away", "one of local, refuse"]),
        ("[counters]\ndeadline = 100\n", ["counters.deadline = 100", "a whole number above 0 and a unit"]),
        ('[database]\ndsn = "mysql://x"\n', ["database.dsn", "embedded, or postgresql://"]),
        ('[registry]\nmax_age = "72"\n', ['registry.max_age = "72"', "72h"]),
        ('[registry]\nmax_age = "0h"\n', ["registry.max_age", "above 0"]),
        ("[registry]\nmax_age = 72\n", ["registry.max_age = 72", "72h"]),
        ('[registry]\nunknown_account = "pass"\n', ['"pass"', "one of refuse, observe, other"]),
        ('[evidence]\ndurability = "none"\n', ["evidence.durability", "one of disk, os"]),
        ('[policy]\nprofile = "a\\u0000b"\n', ["policy.profile", "the path of a file"]),
        ("sms = 3\n", ["sms = 3", "[[sms]]"]),
        ('[sms]\nprotocol = "cmpp"\n', ["sms", "[[sms]]"]),
        ("[[sms]]\n", ["sms.0.protocol is missing", "cmpp"]),
        ('[[sms]]\nprotocol = "smtp"\n', ['sms.0.protocol = "smtp"', "one of cmpp"]),
        ('[[sms]]\nprotocol = "cmpp"\nlisten = "7890"\n', ['sms.0.listen = "7890"', "host:port"]),
        ('[[sms]]\nprotocol = "cmpp"\nlisten = "127.0.0.1:0"\n', ["sms.0.listen", "from 1 to 65535"]),
        ('[web]\nurl = "10.0.0.5:8080"\n', ['web.url = "10.0.0.5:8080"', "such as http://10.0.0.5:8080"]),
        ('[web]\nurl = "http://0.0.0.0:8080"\n', ["web.url", "that other nodes reach"]),
        ('[web]\nurl = "http://10.0.0.5:8080/x"\n', ["web.url", "that other nodes reach"]),
        ('[web]\nread_rate = "fast"\n', ['web.read_rate = "fast"', "a number of 0 or more, without quotes"]),
        ("[web]\nsession_hours = 25\n", ["web.session_hours = 25", "a number above 0, at most 24"]),
        ("[web]\nwrite_rate = nan\n", ["web.write_rate = NaN", "a number of 0 or more"]),
        ("[web]\nwrite_rate = inf\n", ["web.write_rate = Infinity", "a number of 0 or more"]),
        ("[web]\nwrite_rate = true\n", ["web.write_rate = true", "a number of 0 or more"]),
        ("[web]\njudge_per_day = 1.5\n", ["web.judge_per_day = 1.5", "a whole number from 0"]),
        ("[cases]\nforward_workdays = 0\n", ["cases.forward_workdays = 0", "from 1 to 250"]),
        ('[registry]\nrequire_documents = "yes"\n', ["require_documents", "true or false"]),
        ('[web]\nlisten = "127.0.0.1:80:80"\n', ['web.listen = "127.0.0.1:80:80"', "host:port"]),
        ('[web]\nlisten = "::1:80"\n', ['web.listen = "::1:80"', "[::1]:7890"]),
        ('[web]\nlisten = "[127.0.0.1]:80"\n', ["web.listen", "host:port"]),
        ('[web]\nlisten = "a b:80"\n', ["web.listen", "host:port"]),
        ('[[sms]]\nprotocol = "cmpp"\nlisten = "127.0.0.1:70000"\n', ["sms.0.listen", "from 1 to 65535"]),
        ('[[sms]]\nprotocol = "cmpp"\nupstream = "10.0.0.5:7890"\n', ["sms.0.upstream", "a list"]),
        ('[[sms]]\nprotocol = "cmpp"\nupstream = [1]\n', ["sms.0.upstream.0 = 1", "host:port"]),
        ('[[sms]]\nprotocol = "cmpp"\nupstream_bind = "here"\n', ["upstream_bind", "an IP address"]),
        ('[[sms]]\nprotocol = "cmpp"\nproxy_protocol = "yes"\n', ["proxy_protocol", "true or false"]),
        ('[[sms]]\nprotocol = "cmpp"\ngateway_code = 4194304\n', ["gateway_code", "from 0 to 4194303"]),
        ('[[sms]]\nprotocol = "cmpp"\ncallback_listen = "h:1"\n', ["sms.0.callback_listen", "empty", "sgip"]),
        (
            '[[sms]]\nprotocol = "sgip"\nlisten = "h:1"\ncallback_listen = "h:1"\n',
            ['sms.0.callback_listen = "h:1"', "another address"],
        ),
        ('[[sms]]\nprotocol = "sgip"\ncallback_listen = "8811"\n', ["sms.0.callback_listen = ", "host:port"]),
        ('[[sms]]\nprotocol = "sgip"\ncallback_from = ["smg"]\n', ["callback_from.0", "10.0.0.0/24"]),
        ('[[sms]]\nprotocol = "sgip"\ncallback_from = "10.0.0.5"\n', ["callback_from", "a list"]),
        ('[[sms]]\nprotocol = "sgip"\ncallback_patience = "30"\n', ["callback_patience", "72h"]),
        ('[[sms]]\nprotocol = "sgip"\ncallback_idle = "0s"\n', ["callback_idle", "above 0"]),
        ('[evidence]\nkeep = "90d"\n', ["evidence.keep", "at least 155d"]),
        ('[[sms]]\nprotocol = "cmpp"\ntls_key = "k"\n', ["sms.0", "tls_certificate and tls_key together"]),
        ('[[sms]]\nprotocol = "cmpp"\ntls_client_ca = "c"\n', ["sms.0", "beside tls_certificate"]),
        ('[[sms]]\nprotocol = "smpp"\nupstream_tls_ca = "c"\n', ["sms.0", "upstream_tls = true"]),
        ('[[sms]]\nprotocol = "sgip"\nupstream_tls = true\n', ["sms.0", "upstream_tls_certificate"]),
        ('[[sms]]\nprotocol = "smgp"\nupstream_tls = true\nproxy_protocol = true\n', ["sms.0", "or proxy_"]),
        ('[[sms]]\nprotocol = "smgp"\nupstream_tls = "yes"\n', ["sms.0.upstream_tls", "true or false"]),
        ('[voice]\nlisten = ["0.0.0.0:5060"]\n', ['voice.listen.0 = "0.0.0.0:5060"', "udp://0.0.0.0:5060"]),
        ('[voice]\nlisten = ["udp://0.0.0.0"]\n', ["voice.listen.0", "host:port"]),
        ('[voice]\nnext_hop = "10.0.0.6:5060"\n', ["voice.next_hop", "sip:10.0.0.6:5060"]),
        ('[voice]\nnext_hop = "sips:10.0.0.6;transport=udp"\n', ["voice.next_hop", ";transport=tcp"]),
        (
            '[voice]\nlisten = ["tcp://0.0.0.0:5060"]\nnext_hop = "sip:10.0.0.6"\n',
            ["voice", "udp:// in listen"],
        ),
        ('[voice]\nlisten = ["tls://0.0.0.0:5061"]\nnext_hop = "sips:a.cn"\n', ["voice", "tls_certificate"]),
        ('[voice]\nupstream_tls_ca = "a.pem"\n', ["voice", "sips:core.example:5061"]),
        ('[voice]\nmode = "b2bua"\n', ["voice.mode", "one of proxy, redirect"]),
        ("[evidence]\ncheckpoint_seconds = 0\n", ["evidence.checkpoint_seconds = 0", "from 1 to 3600"]),
        ("[node\n", ["not TOML"]),
    ],
)
def test_a_mistake_names_the_place_the_value_and_what_would_be_right(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as error:
        config.load(path, {})
    for words in [str(path), *told]:
        assert words in str(error.value)
    assert "Input" not in str(error.value)


@pytest.mark.parametrize(
    ("octets", "told"), [(b"\xff\xfe", "not UTF-8"), (None, "No such file"), (b"\x00", "not TOML")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, octets, told):
    path = tmp_path / "zhengming.toml"
    if octets is not None:
        path.write_bytes(octets)
    with pytest.raises(UsageError, match=told) as error:
        config.load(path, {})
    assert str(path) in str(error.value)
    assert "right would be" in str(error.value)


def test_an_editor_s_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "zhengming.toml"
    path.write_bytes(b'\xef\xbb\xbf[node]\nname = "a"\n')
    assert config.load(path, {}).node.name == "a"


def test_a_list_is_not_set_by_the_environment(tmp_path):
    for text in ('[[sms]]\nprotocol = "cmpp"\n', ""):
        with pytest.raises(UsageError, match="SMS__LISTEN"):
            config.load(written(tmp_path, text), {"ZHENGMING__SMS__LISTEN": "0.0.0.0:1"})


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ZHENGMING__NODE__WORKERS", "two", 'node.workers = "two"'),
        ("ZHENGMING__WEB__READ_RATE", "fast", 'web.read_rate = "fast"'),
        ("ZHENGMING__REGISTRY__REQUIRE_DOCUMENTS", "yes", "true or false"),
        ("ZHENGMING__NODE__NMAE", "x", "node.nmae: no such setting"),
        ("ZHENGMING__NODES__NAME", "x", "SECTION__KEY"),
        ("ZHENGMING__NODE", "x", "SECTION__KEY"),
        ("ZHENGMING__METRICS__LISTEN", "9464", 'metrics.listen = "9464"'),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(tmp_path, variable, value, told):
    with pytest.raises(UsageError) as error:
        config.load(written(tmp_path, ""), {variable: value})
    assert f"environment {variable}: " in str(error.value)
    assert told in str(error.value)


def test_numbers_flags_and_lists_may_come_from_the_environment(tmp_path):
    names = {"WEB__READ_RATE": "2.5", "WEB__SESSION_HOURS": "12", "REGISTRY__REQUIRE_DOCUMENTS": "true"}
    names |= {"VOICE__LISTEN": '["udp://127.0.0.1:5060"]', "VOICE__NEXT_HOP": "sip:10.0.0.6:5060"}
    loaded = config.load(
        written(tmp_path, ""), {f"ZHENGMING__{name}": value for name, value in names.items()}
    )
    assert (loaded.web.read_rate, loaded.web.session_hours) == (2.5, 12)
    assert loaded.registry.require_documents is True
    assert loaded.voice.listen == ("udp://127.0.0.1:5060",)


def test_a_name_of_digits_may_come_from_the_environment(tmp_path):
    loaded = config.load(written(tmp_path, ""), {"ZHENGMING__NODE__NAME": "123"})
    assert loaded.node.name == "123"


def test_shipped_profiles_are_found_by_name_and_others_by_path(tmp_path):
    assert tomllib.loads(config.read_profile("zhejiang"))
    own = tmp_path / "own.toml"
    own.write_text('extends = "zhejiang"\n')
    assert config.read_profile(str(own)) == 'extends = "zhejiang"\n'
    with pytest.raises(UsageError, match=r"nowhere.*zhejiang"):
        config.read_profile("nowhere")


@pytest.mark.parametrize(("octets", "told"), [(b"\xff", "not UTF-8"), (None, "Is a directory")])
def test_a_profile_that_cannot_be_read_is_named(tmp_path, octets, told):
    own = tmp_path / "own.toml"
    own.mkdir() if octets is None else own.write_bytes(octets)
    with pytest.raises(UsageError, match=told) as error:
        config.read_profile(str(own))
    assert str(own) in str(error.value)


def test_a_profile_s_path_is_taken_from_the_folder_of_the_file(tmp_path, monkeypatch):
    """And what it extends from its own: a service does not start in the folder of its configuration."""
    monkeypatch.chdir("/")
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "base.toml").write_text('extends = "zhejiang"\n[rules.blacklisted]\nmode = "observe"\n')
    (folder / "mine.toml").write_text('extends = "base.toml"\n')
    path = written(tmp_path, '[policy]\nprofile = "profiles/mine.toml"\n')
    profile = handed.profile_of(config.load(path, {}))
    assert profile.mode(Reason.BLACKLISTED, 1, 0) == OBSERVE


def test_other_nodes_are_told_an_address_that_means_this_machine() -> None:
    def told(**web: str) -> str:
        return config.load(
            None, {f"ZHENGMING__WEB__{name.upper()}": value for name, value in web.items()}
        ).web_url

    assert told() == "http://127.0.0.1:8080"
    assert told(listen="10.0.0.5:80") == "http://10.0.0.5:80"
    assert told(listen="[fd00::1]:80") == "http://[fd00::1]:80"
    assert told(listen="0.0.0.0:80") == told(listen="[::]:80") == f"http://{platform.node()}:80"
    for url in ("https://node-1", "http://node-1.example:8080", "http://[fd00::1]:8080"):
        assert told(listen="0.0.0.0:80", url=url) == url
