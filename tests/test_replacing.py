"""What is remembered of messages that a carrier has taken: enough to judge what replaces them."""

import gc
from dataclasses import replace

import pytest

from gateway.model import AccountKey
from gateway.protocols.message import Replaces, Submission
from gateway.relay.replacing import KNOWN, AllTaken, Taken

KEY = AccountKey("mobile", "smpp", "bank")


def message(at_time: bytes = b"", **more: object) -> Submission:
    plain = Submission(b"1069", [b"13800000001"], 8, False, b"secret", True, at_time, 1, 1, 0)
    return replace(plain, **more)


def replacing(identity: bytes, **more: object) -> Replaces:
    said = Submission(b"1069", [], 0, False, b"new", False, b"", 1, 1, 0)
    return Replaces(identity, replace(said, **more))


def take(taken: Taken, identity: bytes, sent: Submission) -> None:
    told = taken.awaits(sent)
    assert told is not None
    told(identity)


def test_what_replaces_goes_to_whom_the_message_went_in_its_coding_and_at_its_hour() -> None:
    taken = Taken()
    take(taken, b"1", message(b"261123100000032+"))
    made = taken.completed(replacing(b"1"))
    assert made == Submission(
        b"1069", [b"13800000001"], 8, False, b"new", False, b"261123100000032+", 1, 1, 0
    )
    assert taken.completed(replacing(b"1", at_time=b"261124100000032+")).at_time == b"261124100000032+"


def test_what_nobody_could_judge_is_refused() -> None:
    taken = Taken()
    take(taken, b"1", message())
    for asked in (replacing(b"2"), replacing(b"1", source=b"1070"), replacing(b"1", pk_total=2)):
        with pytest.raises(Replaces) as caught:
            taken.completed(asked)
        assert (caught.value.cause, caught.value.detail) == ("unknown_recipient", "message_id")
    for sent in (message(udhi=True), message(pk_total=2), message(destinations=[b"1", b"2"])):
        assert taken.awaits(sent) is None


def test_the_newest_are_known_and_no_more_than_twice_as_many() -> None:
    taken = Taken()
    for number in range(5 * KNOWN):
        take(taken, b"%d" % number, message())

    def known(number: int) -> bool:
        try:
            taken.completed(replacing(b"%d" % number))
        except Replaces:
            return False
        return True

    assert all(known(number) for number in range(4 * KNOWN, 5 * KNOWN))
    assert not any(known(number) for number in range(3 * KNOWN))


def test_an_accounts_connections_share_them_and_the_last_one_takes_them_along() -> None:
    everybody = AllTaken()
    one, other = everybody.of(KEY), everybody.of(KEY)
    assert one is other
    take(one, b"1", message())
    assert everybody.of(KEY._replace(account="shop")) is not one
    del one, other
    gc.collect()
    with pytest.raises(Replaces):
        everybody.of(KEY).completed(replacing(b"1"))
