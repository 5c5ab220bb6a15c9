"""Who last sent to whom on this node."""

import os
import shutil
import time
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.relay import contacts as module
from gateway.relay.contacts import DAY, FIRST_SLOTS, KEEP_DAYS, Contact, Contacts, half_key, key_of

NOW = 20_000 * DAY + 12 * 3_600_000
KEY = key_of(half_key(b"number--"), b"subscriber")


def attempt(at: int, unique: int = 0) -> bytes:
    return at.to_bytes(6, "big") + unique.to_bytes(10, "big")


def test_the_last_attempt_wins_over_all_workers_at_once(tmp_path):
    one, two = Contacts(tmp_path, "w0"), Contacts(tmp_path, "w1")
    assert two.last(KEY, NOW) is None
    one.remember(KEY, NOW, 1, attempt(NOW))
    one.remember(KEY, NOW + 1, 2, attempt(NOW + 1))
    assert one.last(KEY, NOW) == two.last(KEY, NOW) == Contact(NOW + 1, 2, attempt(NOW + 1), "w0")
    two.remember(KEY, NOW + 2, 3, attempt(NOW + 2), 99)
    assert one.last(KEY, NOW) == Contact(NOW + 2, 3, attempt(NOW + 2), "w1", 99)


def test_it_is_kept_thirty_days_and_no_longer(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    contacts.remember(KEY, NOW, 1, attempt(NOW))
    late = NOW + KEEP_DAYS * DAY
    contacts.expire(late)
    assert contacts.last(KEY, late) == Contact(NOW, 1, attempt(NOW), "w0")
    assert contacts.last(KEY, late + 1) is None
    contacts.expire(late + DAY)
    assert contacts.last(KEY, late) is None
    assert not list(tmp_path.iterdir())


def test_the_day_changes_at_midnight_in_shanghai(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    midnight = 20_001 * DAY - module.SHANGHAI
    for at in (midnight - 1, midnight):
        contacts.remember(KEY, at, 1, attempt(at))
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["20000", "20001"]


def test_a_clock_that_goes_back_over_midnight_notes_under_the_day_that_it_says(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    midnight = 20_001 * DAY - module.SHANGHAI
    for at in (midnight, midnight - 2, midnight - 1):
        contacts.remember(KEY, at, 1, attempt(at))
    assert contacts.last(KEY, midnight - 1) == Contact(midnight - 1, 1, attempt(midnight - 1), "w0")
    assert contacts.last(KEY, midnight).at == midnight
    assert all(len(list(folder.iterdir())) == 1 for folder in tmp_path.iterdir())


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=200))
def test_it_is_a_dictionary_however_keys_collide(tmp_path_factory, steps):
    contacts = Contacts(tmp_path_factory.mktemp("contacts"), "w0")
    expected = {}
    for place, (low, high) in enumerate(steps):
        key = low + high * FIRST_SLOTS  # the same slot for each `high`
        contacts.remember(key, NOW + place, place, attempt(NOW + place))
        expected[key] = Contact(NOW + place, place, attempt(NOW + place), "w0")
    for key in range(1, 60 + 4 * FIRST_SLOTS, FIRST_SLOTS // 4):
        assert contacts.last(key, NOW) == expected.get(key)
    for key, contact in expected.items():
        assert contacts.last(key, NOW) == contact


def test_it_grows_and_survives_the_process(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    keys = [int.from_bytes(os.urandom(8), "little") | 1 for _ in range(2 * FIRST_SLOTS)]
    for place, key in enumerate(keys):
        contacts.remember(key, NOW, place, attempt(NOW))
    assert len(list(tmp_path.glob("*/*"))) == 2
    del contacts  # not closed: as after a kill
    again = Contacts(tmp_path, "w0")
    again.remember(keys[0], NOW + 1, 7, attempt(NOW + 1))
    assert again.last(keys[0], NOW) == Contact(NOW + 1, 7, attempt(NOW + 1), "w0")
    assert all(again.last(key, NOW).institution == place for place, key in enumerate(keys) if place)


def test_old_days_go_when_a_new_one_begins(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    for day in (0, 1, 30, 31):
        contacts.remember(KEY + day, NOW + day * DAY, 1, attempt(NOW + day * DAY))
    today = (NOW + module.SHANGHAI) // DAY
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(today + day) for day in (1, 30, 31)]


def test_a_folder_that_was_removed_comes_back(tmp_path):
    contacts = Contacts(tmp_path / "contacts", "w0")
    contacts.remember(KEY, NOW, 1, attempt(NOW))
    shutil.rmtree(tmp_path / "contacts")
    contacts.remember(KEY, NOW + DAY, 1, attempt(NOW + DAY))
    assert Contacts(tmp_path / "contacts", None).last(KEY, NOW + DAY) is not None


def test_what_others_begin_is_found_however_long_a_folder_has_been_known(tmp_path):
    """A folder that has not changed for a while is not listed again; one that has is, at once."""
    one, reader = Contacts(tmp_path, "w0"), Contacts(tmp_path, None)
    one.remember(KEY, NOW, 1, attempt(NOW))
    day = tmp_path / str((NOW + module.SHANGHAI) // DAY)
    os.utime(day, ns=(0, time.time_ns() - 2 * module.SETTLED))
    for _ in range(2):
        assert reader.last(KEY, NOW) == Contact(NOW, 1, attempt(NOW), "w0")
    listed = mock.patch.object(os, "listdir", side_effect=AssertionError("listed again"))
    with listed:
        assert reader.last(KEY, NOW) == Contact(NOW, 1, attempt(NOW), "w0")
    two = Contacts(tmp_path, "w1")
    two.remember(KEY, NOW + 1, 2, attempt(NOW + 1))
    assert reader.last(KEY, NOW) == Contact(NOW + 1, 2, attempt(NOW + 1), "w1")


def test_who_only_reads_lets_go_of_days_that_are_over(tmp_path):
    """What is removed keeps its room on the disk for as long as somebody has it mapped."""
    writer, reader = Contacts(tmp_path, "w0"), Contacts(tmp_path, None)
    writer.remember(KEY, NOW, 1, attempt(NOW))
    assert reader.last(KEY, NOW, days=1) is not None
    writer.expire(NOW + 2 * DAY, days=1)
    writer.close()
    assert reader.last(KEY, NOW + 2 * DAY, days=1) is None
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_of_two_that_begin_in_the_same_instant_both_are_found(tmp_path):
    """A folder's time moves in steps: what was listed within one is not believed in."""
    reader, at = Contacts(tmp_path, None), time.time_ns()
    day = tmp_path / str((NOW + module.SHANGHAI) // DAY)
    for place in (1, 2):
        Contacts(tmp_path, f"w{place}").remember(KEY, NOW + place, place, attempt(NOW + place))
        os.utime(day, ns=(at, at))
        assert reader.last(KEY, NOW) == Contact(NOW + place, place, attempt(NOW + place), f"w{place}")


def test_a_full_disk_stops_noting_but_nothing_else(tmp_path, monkeypatch):
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    contacts = Contacts(tmp_path, "w0")
    contacts.remember(KEY, NOW, 1, attempt(NOW))
    assert contacts.last(KEY, NOW) is None
    monkeypatch.undo()
    contacts.remember(KEY, NOW + module.RETRY, 1, attempt(NOW))
    assert contacts.last(KEY, NOW) is not None


def test_without_room_to_grow_it_is_filled_to_the_brim(tmp_path, monkeypatch):
    contacts = Contacts(tmp_path, "w0")
    contacts.remember(KEY, NOW, 1, attempt(NOW))

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_allocate", no_room)
    keys = [int.from_bytes(os.urandom(8), "little") | 1 for _ in range(FIRST_SLOTS)]
    for key in keys:
        contacts.remember(key, NOW, 1, attempt(NOW))
    found = sum(contacts.last(key, NOW) is not None for key in keys)
    assert int(FIRST_SLOTS * 0.85) < found < FIRST_SLOTS
