"""What a supervisor hands to its parts: settings and profile as they were read, whatever files say since."""

from datetime import date
from pathlib import Path

import pytest

from gateway import check, config, handed
from gateway.config import shipped_profiles
from gateway.errors import UsageError
from gateway.model import Reason
from gateway.policy.profile import OBSERVE
from gateway.values import milliseconds

FILE = """
[node]
workers = 2
[database]
dsn = "embedded"
[[sms]]
protocol = "cmpp"
upstream = ["10.0.0.5:7890"]
[policy]
profile = "mine.toml"
"""
BASE = 'extends = "zhejiang"\n[rules.blacklisted]\nmode = "observe"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\n')
    return written(tmp_path / "zhengming.toml", FILE)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parts_run_by_what_was_read_when_the_files_are_gone(path: Path) -> None:
    loaded = config.load(path, {})
    told = path.parent / "node.json"
    handed.of(loaded).write(told, "postgresql://u:secret@h/zm")
    assert told.stat().st_mode & 0o077 == 0, "a DSN holds a password"
    for file in (path, path.parent / "base.toml", path.parent / "mine.toml"):
        file.unlink()
    found = handed.handed(told)
    assert found.config.database.dsn == "postgresql://u:secret@h/zm"
    assert found.config.model_copy(update={"database": loaded.database}) == loaded
    assert found.profile.mode(Reason.BLACKLISTED, 1, 0) == OBSERVE
    assert found.profile.max_age == milliseconds("72h")


def test_parts_count_by_the_workdays_that_were_read_whatever_the_file_says_since(path: Path) -> None:
    days = path.parent / "days.csv"
    days.write_text("day,workday\n2026-02-14,false\n")
    loaded = config.load(written(path, f'{FILE}[cases]\nworkdays_file = "days.csv"\n'), {})
    told = path.parent / "node.json"
    handed.of(loaded).write(told, "postgresql://h/zm")
    for broken in ("day,workday\n2026-02-30,true\n", None):
        days.write_text(broken) if broken else days.unlink()
        found = handed.handed(told).profile.days
        assert not found.is_workday(date(2026, 2, 14))
        assert found.is_workday(date(2026, 2, 28)), "what the nation shifted stands below it"
        with pytest.raises(UsageError, match=r"cases\.workdays_file .*days\.csv: (line 2|cannot be read)"):
            handed.of(loaded)  # neither a start nor a reload takes it
    days.write_text("day,workday\n2026-02-14,true\n")
    assert handed.of(loaded).profile.days.is_workday(date(2026, 2, 14)), "a reload reads it again"


def test_a_profile_that_can_not_be_read_is_not_handed_down(path: Path) -> None:
    (path.parent / "base.toml").write_text("rules = [")
    with pytest.raises(UsageError, match=r"base\.toml"):
        handed.of(config.load(path, {}))


def test_a_profile_by_which_everything_would_pass_unsaid_is_not_handed_down(path: Path) -> None:
    """Cut to nothing, or without the line that it extends another: the one is refused, the other named."""
    loaded = config.load(path, {})
    for text in ("", "# soon\n", '[refusal_covers]\nmarketing = ["marketing"]\n', "[rules]\n"):
        written(path.parent / "mine.toml", text)
        with pytest.raises(UsageError, match=r'mine\.toml: names no rule.*extends = "zhejiang"'):
            handed.of(loaded)
    written(path.parent / "mine.toml", BASE.partition("\n")[2])
    assert set(handed.unnamed(handed.of(loaded).profile)) >= {"unregistered", "quiet_hours"}
    assert any("policy.profile does not name" in note for note in check.notes(loaded))
    for name in shipped_profiles():
        written(path.parent / "mine.toml", f'extends = "{name}"\n')
        assert handed.unnamed(handed.of(loaded).profile) == []


def test_a_reload_takes_what_may_change_and_names_what_waits_for_a_restart(path: Path) -> None:
    now = config.load(path, {})
    changed = FILE.replace("10.0.0.5", "10.0.0.6").replace('"mine.toml"', '"base.toml"')
    changed += '[registry]\nmax_age = "1h"\nunknown_account = "other"\n[cases]\nworkdays_file = "days.csv"\n'
    soft = config.load(written(path, changed), {})
    assert handed.reloaded(now, soft) == (soft, [])
    changed = changed.replace("workers = 2", "workers = 4").replace('"cmpp"', '"cmpp"\nlisten = "0.0.0.0:1"')
    hard = config.load(written(path, f'{changed}[evidence]\ndurability = "os"\n'), {})
    kept, waiting = handed.reloaded(now, hard)
    assert waiting == ["node.workers", "sms.0.listen", "evidence.durability"]
    assert (kept.workers, kept.sms[0].listen, kept.evidence) == (2, "0.0.0.0:7890", now.evidence)
    assert (kept.sms[0].upstream, kept.policy) == (("10.0.0.6:7890",), hard.policy)
    more = config.load(written(path, f'{FILE}[[sms]]\nprotocol = "cmpp"\nlisten = "0.0.0.0:2"\n'), {})
    assert handed.reloaded(now, more) == (now, ["sms"])
