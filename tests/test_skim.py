"""Skimming says of a record what reading it says, or that it can't tell."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.evidence import half_read, skim
from gateway.evidence import record as rec
from tests.test_record import RECORDS, attempt, tables

SMALL = st.integers(0, 255)
USUAL = st.builds(
    attempt,
    at=st.integers(2**32, 2**63),
    deliver_at=st.just(0) | st.integers(2**32, 2**63),
    connection=st.integers(0, 2**62),
    sequence=st.integers(0, 2**64 - 1) | st.binary(min_size=12, max_size=12),
    recipient=SMALL,
    pk_total=st.integers(0, 127),
    pk_number=st.integers(0, 127),
    reference=st.integers(0, 2**16 - 1),
    registry_version=st.integers(0, 2**40),
    region=st.text(max_size=7),
    subscriber=st.binary(min_size=16, max_size=16),
    fmt=SMALL,
    udhi=st.integers(0, 1),
    sealed=st.integers(0, 400).map(bytes) | st.integers(60_000, 65_535).map(bytes),
)
"""What a node records: always skimmed."""


def agrees(octets: bytes) -> bool:
    """Whether it was skimmed, and then as it is read."""
    places = skim.attempt(octets)
    if places is None:
        return False
    at, total, number, begin, end, judged = places
    read = half_read.glance(octets)
    assert (at, total, number) == (read.at, read.pk_total, read.pk_number)
    assert octets[begin:end].decode() == read.region
    assert octets[end + 2 : end + 18] == read.subscriber
    assert octets[judged:] == bytes(read.judged)
    assert half_read.numbers(octets[judged:]) == (
        (whole := rec.decode_judged(octets[judged:])).number,
        whole.registration,
    )
    return True


@given(USUAL)
def test_what_a_node_records_is_skimmed(record: rec.Attempt) -> None:
    assert agrees(rec.encode(record))


@given(tables(rec.Attempt))
def test_whatever_else_is_an_attempt_is_skimmed_right_or_left(record: rec.Attempt) -> None:
    agrees(rec.encode(record))


@given(USUAL, st.data())
def test_what_is_cut_is_left(record: rec.Attempt, data: st.DataObject) -> None:
    octets = rec.encode(record)
    begins = octets.rindex(bytes(record.judged.carrier, "ascii")) - 4
    assert skim.attempt(octets[: data.draw(st.integers(0, begins))]) is None


@given(st.lists(RECORDS | USUAL, max_size=3))
def test_what_is_sorted_out_is_what_reading_each_says(records: list[rec.Record]) -> None:
    octets = [rec.encode(record) for record in records]
    subscribers: set[bytes] = set()
    judged: set[bytes] = set()
    attempts: set[bytes] = set()
    first, last, rest = skim.sort_out(octets, subscribers, judged, attempts)
    mine = [record for record, one in zip(records, octets, strict=True) if one not in rest]
    assert all(isinstance(record, rec.Attempt | rec.Outcome) for record in mine)
    assert (first, last) == (
        (min(record.at for record in mine), max(record.at for record in mine)) if mine else (0, 0)
    )
    tried = [record for record in mine if isinstance(record, rec.Attempt)]
    assert subscribers == {record.subscriber for record in tried}
    assert {rec.decode_judged(one) for one in judged} == {record.judged for record in tried}
    assert attempts == {record.attempt[8:] for record in mine if isinstance(record, rec.Outcome)}


@given(st.lists(st.binary(max_size=40)))
def test_what_is_no_record_is_left(octets: list[bytes]) -> None:
    assert skim.sort_out(octets, set(), set(), set()) == (0, 0, octets)


@given(st.lists(st.binary(max_size=20)), st.binary(max_size=5))
def test_records_are_split_where_their_lengths_say(records: list[bytes], before: bytes) -> None:
    assert skim.split(before + b"".join(records), map(len, records), len(before)) == records
