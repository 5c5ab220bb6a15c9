"""Keys: made once whoever comes first, gone for good when forgotten."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from gateway.errors import UsageError
from gateway.evidence.seal import KeyGone, Keys

DAY = "2025-11-21"


def test_key_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.data_key(DAY)
    keys.secret("registry")
    files = [path for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_key_is_the_same_for_every_process_and_after_a_restart(tmp_path: Path) -> None:
    one, two = Keys(tmp_path), Keys(tmp_path)
    assert one.data_key(DAY).check == two.data_key(DAY).check
    assert one.secret("lookup") == two.secret("lookup") != one.secret("registry")
    assert one.data_key(DAY).hash_subscriber(b"+8613800000000") == two.data_key(DAY).hash_subscriber(
        b"+8613800000000"
    )
    assert one.data_key(DAY).hash_text(b"a") != one.data_key(DAY).hash_subscriber(b"a")
    checks = {one.data_key(DAY, retention, hold).check for retention in ("a", "b") for hold in ("", "c")}
    assert len(checks) == 4


def test_many_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from gateway.evidence.seal import Keys;"
        "k = Keys(pathlib.Path(sys.argv[1]));"
        "print(k.data_key('2025-11-21').check.hex(), k.secret('x').hex())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    said = {process.communicate()[0] for process in started}
    assert len(said) == 1
    assert all(process.returncode == 0 for process in started)


def test_forgetting_destroys_and_the_name_never_comes_back(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key = keys.data_key(DAY)
    wrapped = (tmp_path / "data" / f"{DAY}.traffic.key").read_bytes()
    assert keys.names() == [f"{DAY}.traffic"]
    assert keys.forget(DAY, at=5)
    assert not keys.forget(DAY, at=6)
    assert wrapped[28:] not in (tmp_path / "data" / f"{DAY}.traffic.key").read_bytes()
    assert keys.names() == []
    for fresh in (keys, Keys(tmp_path)):
        with pytest.raises(KeyGone, match="forgotten"):
            fresh.find(key.name, key.check)
        with pytest.raises(KeyGone, match="forgotten"):
            fresh.data_key(DAY)


def test_forgotten_however_early_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds neither key nor tombstone takes the file for damaged, and no search goes on past it."""
    keys = Keys(tmp_path)
    key = keys.data_key(DAY)
    sync = os.fsync

    def killed(descriptor: int) -> None:
        sync(descriptor)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            keys.forget(DAY, at=5)
    with pytest.raises(KeyGone, match="forgotten"):
        Keys(tmp_path).find(key.name, key.check)
    assert set((tmp_path / "data" / f"{DAY}.traffic.key").read_bytes()[16:]) <= {0}


def test_a_key_of_the_same_name_from_elsewhere_is_not_taken(tmp_path: Path) -> None:
    one, two = Keys(tmp_path / "one"), Keys(tmp_path / "two")
    key = one.data_key(DAY)
    with pytest.raises(KeyGone, match="not on this node"):
        two.find(key.name, key.check)
    two.data_key(DAY)
    with pytest.raises(KeyGone, match="not the one"):
        two.find(key.name, key.check)


def test_a_segment_opens_only_with_its_own_header(tmp_path: Path) -> None:
    key = Keys(tmp_path).data_key(DAY)
    sealed = key.segment(b"s" * 32, b"d" * 32).encrypt(bytes(12), b"text", b"d" * 32)
    assert key.segment(b"s" * 32, b"d" * 32).decrypt(bytes(12), sealed, b"d" * 32) == b"text"
    for salt, digest in ((b"t" * 32, b"d" * 32), (b"s" * 32, b"e" * 32)):
        with pytest.raises(InvalidTag):
            key.segment(salt, digest).decrypt(bytes(12), sealed, b"d" * 32)


def test_a_lost_or_wrong_master_key_is_named_not_replaced(tmp_path: Path) -> None:
    Keys(tmp_path).data_key(DAY)
    master = tmp_path / "master.key"
    kept = master.read_bytes()
    master.unlink()
    with pytest.raises(UsageError, match="restore"):
        Keys(tmp_path)
    master.write_bytes(b"x" * 32)
    with pytest.raises(UsageError, match="another master key"):
        Keys(tmp_path)  # at once, not with the first record
    master.write_bytes(b"short")
    with pytest.raises(UsageError, match="5 octets"):
        Keys(tmp_path)
    master.write_bytes(kept)
    data = tmp_path / "data" / f"{DAY}.traffic.key"
    data.rename(tmp_path / "data" / "2025-11-22.traffic.key")
    with pytest.raises(UsageError, match="renamed"):
        Keys(tmp_path).data_key("2025-11-22")


@pytest.mark.parametrize("words", [("21.11.2025", "traffic", ""), (DAY, "../x", ""), (DAY, "t", "a b")])
def test_names_are_words(tmp_path: Path, words: tuple[str, str, str]) -> None:
    with pytest.raises(UsageError):
        Keys(tmp_path).data_key(*words)
