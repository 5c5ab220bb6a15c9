"""When an account last had a session that receives, as all processes of a node know it."""

from itertools import pairwise
from pathlib import Path

from gateway.model import AccountKey
from gateway.policy.facts import REPLY_PATH
from gateway.registry.receiving import KEPT, Receiving

NOW = 1_763_697_600_000
KEY = AccountKey("mobile", "cmpp", "9\udcff../1")


def test_what_one_process_notes_another_sees(tmp_path: Path) -> None:
    one, other = Receiving(tmp_path / "r"), Receiving(tmp_path / "r")
    assert other.last(KEY) == 0
    other.expire(NOW)
    one.note(KEY, NOW)
    assert other.last(KEY) == NOW
    one.note(KEY, NOW + 5)
    assert (other.last(KEY), other.last(KEY._replace(protocol="http"))) == (NOW + 5, 0)
    other.expire(NOW + KEPT)
    assert one.last(KEY) == NOW + 5
    other.expire(NOW + KEPT + 6)
    assert one.last(KEY) == 0


def test_only_who_begins_to_receive_is_a_change(tmp_path: Path) -> None:
    one, other = Receiving(tmp_path / "r"), Receiving(tmp_path / "r")
    seen = [other.changes()]
    for at in (NOW, NOW + 30_000, NOW + REPLY_PATH, NOW + 2 * REPLY_PATH, NOW + 2 * REPLY_PATH + 1):
        one.note(KEY, at)
        seen.append(other.changes())
    assert [before != after for before, after in pairwise(seen)] == [True, False, False, True, False]


def test_without_room_nothing_is_noted(tmp_path: Path) -> None:
    (tmp_path / "r").touch()
    receiving = Receiving(tmp_path / "r")
    receiving.note(KEY, NOW)
    assert receiving.last(KEY) == 0
