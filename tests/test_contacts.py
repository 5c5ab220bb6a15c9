"""Who last sent to whom on this node."""

from gateway.relay.contacts import DAY, FLUSH_AT, KEEP_DAYS, Contact, Contacts, key_of

NOW = 20_000 * DAY + 12 * 3_600_000
KEY = key_of(b"number--", b"subscriber")


def test_the_last_attempt_wins_before_and_after_a_flush_and_over_all_workers(tmp_path):
    one = Contacts(tmp_path, "w0")
    one.remember(KEY, NOW, 1, b"a" * 16)
    one.remember(KEY, NOW + 1, 2, b"b" * 16)
    assert one.last(KEY, NOW) == Contact(NOW + 1, 2, b"b" * 16)
    one.flush(NOW)
    assert one.last(KEY, NOW) == Contact(NOW + 1, 2, b"b" * 16)
    one.close()
    two = Contacts(tmp_path, "w1")
    assert two.last(KEY, NOW) == Contact(NOW + 1, 2, b"b" * 16)
    two.remember(KEY, NOW + 2, 3, b"c" * 16)
    two.flush(NOW)
    assert two.last(KEY, NOW) == Contact(NOW + 2, 3, b"c" * 16)
    two.close()


def test_it_is_kept_thirty_days_and_no_longer(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    contacts.remember(KEY, NOW, 1, b"a" * 16)
    contacts.flush(NOW)
    late = NOW + KEEP_DAYS * DAY
    contacts.expire(late)
    assert contacts.last(KEY, late) == Contact(NOW, 1, b"a" * 16)
    contacts.expire(late + DAY)
    assert contacts.last(KEY, late) is None
    assert not list(tmp_path.iterdir())
    contacts.close()


def test_many_are_flushed_by_themselves_and_survive_the_process(tmp_path):
    contacts = Contacts(tmp_path, "w0")
    keys = [key_of(b"number--", n.to_bytes(8, "big")) for n in range(FLUSH_AT)]
    for key in keys:
        contacts.remember(key, NOW, 1, b"a" * 16)
    assert not contacts._fresh
    assert 0 < contacts.flushed_until(NOW) <= NOW
    contacts.close()
    again = Contacts(tmp_path, None)
    assert all(again.last(key, NOW) for key in keys)
    again.close()
