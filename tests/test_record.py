"""Records: one value, one encoding, and nothing else is read."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import model
from gateway.evidence import record as rec

ACCOUNT = model.AccountKey("mobile", "cmpp", "900001")
SIXTEEN = st.binary(min_size=16, max_size=16)
NUMBERS = st.integers(-(2**63), 2**64 - 1)


def tables(table: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any value of a record's table."""
    members: dict[str, st.SearchStrategy[object]] = {}
    for field in msgspec.structs.fields(table):
        match field.type:
            case _ if field.name in {"version", "kind"}:
                continue
            case rec.Id:
                members[field.name] = SIXTEEN
            case _ if field.name in {"attempt", "subscriber"}:
                members[field.name] = st.binary(max_size=16)
            case _ if field.type is int:
                members[field.name] = NUMBERS
            case rec.Sequence:
                members[field.name] = NUMBERS | st.binary()
            case _ if field.type is rec.Judged:
                members[field.name] = tables(rec.Judged)
    return st.builds(table, **members)


RECORDS = st.one_of(*map(tables, (rec.Attempt, rec.Outcome, rec.Report, rec.Reply, rec.Act)))


def attempt(**changes: object) -> rec.Attempt:
    judged = rec.decode_judged(
        rec.judged(
            ACCOUNT,
            "node-1",
            model.SMS,
            "1069000112",
            model.Verdict(
                model.Reason.BLACKLISTED,
                sub="prefix",
                findings=(model.Finding(model.Reason.BLACKLISTED, "prefix", True),),
                number="10690001",
                institution_code="B1",
                mandate=7,
                purpose="marketing",
            ),
            profile="p" * 16,
            lexicon="l" * 16,
        )
    )
    plain: dict[str, object] = {
        "id": bytes(16),
        "at": 1_763_700_000_000,
        "connection": 1,
        "sequence": 2,
        "registry_version": 3,
        "subscriber": bytes(16),
        "digest": bytes(16),
        "sealed": b"s",
        "judged": judged,
    }
    return rec.Attempt(**(plain | changes))  # type: ignore[arg-type]


@given(RECORDS)
def test_decode_gives_back_what_was_encoded(record: rec.Record) -> None:
    octets = rec.encode(record)
    assert rec.decode(octets) == record
    assert rec.kind_of(octets) == record.kind


@given(st.binary(max_size=60))
def test_octets_that_are_no_record_raise_the_one_error(octets: bytes) -> None:
    with pytest.raises(rec.RecordError):
        rec.decode(octets)


@given(st.data())
def test_cut_or_changed_records_raise_the_one_error_or_are_other_records(data: st.DataObject) -> None:
    octets = rec.encode(attempt())
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(rec.RecordError):
        rec.decode(octets[:cut])
    with pytest.raises(rec.RecordError):
        rec.decode(octets + b"\0")
    changed = bytearray(octets)
    changed[cut] ^= data.draw(st.integers(1, 255))
    try:
        other = rec.decode(bytes(changed))
    except rec.RecordError:
        return
    assert other != attempt()
    assert rec.encode(other) == bytes(changed)


def test_a_second_encoding_of_the_same_value_is_refused() -> None:
    octets = rec.encode(rec.Outcome(attempt=bytes(16), at=5, result=0, message_id=b""))
    assert octets.count(b"\x05") == 1
    with pytest.raises(rec.RecordError, match="canonical"):
        rec.decode(octets.replace(b"\x05", b"\xcc\x05"))


@pytest.mark.parametrize("head", [(2, 1), (1, 6), (9, 9)])
def test_newer_versions_and_kinds_are_named(head: tuple[int, int]) -> None:
    for rest in ((), (0,) * 20):
        with pytest.raises(rec.NewerRecord, match=f"version {head[0]}, kind {head[1]}"):
            rec.decode(msgspec.msgpack.encode((*head, *rest)))


def test_the_shared_half_says_what_the_verdict_said() -> None:
    judged = attempt().judged
    assert (judged.verdict, judged.reason, judged.sub) == ("refuse", "blacklisted", "prefix")
    assert judged.findings == (("blacklisted", "prefix", True),)
    assert (judged.number, judged.registration, judged.mandate) == ("1069000112", "10690001", 7)
    passed = rec.decode_judged(
        rec.judged(ACCOUNT, "n", model.SMS, "1", model.Verdict(None), profile="", lexicon="")
    )
    assert (passed.verdict, passed.reason) == ("pass", "")


def test_the_members_and_their_order_are_for_ever() -> None:
    """Whoever breaks this makes a new version instead."""
    assert " ".join(rec.Attempt.__struct_fields__) == (
        "version kind id at deliver_at connection sequence recipient pk_total pk_number reference "
        "registry_version region subscriber digest fmt udhi sealed judged"
    )
    assert " ".join(rec.Judged.__struct_fields__) == (
        "carrier node protocol account channel number registration institution agency mandate "
        "mandate_document purpose verdict reason sub findings profile lexicon"
    )
    assert rec.encode(rec.Outcome(attempt=b"a" * 16, at=5, result=-1, message_id=b"m")).hex() == (
        "970102c410" + "61" * 16 + "05ffc4016d00"
    )


def test_days_are_those_of_shanghai() -> None:
    midnight = 1_763_654_400_000  # 2025-11-21 00:00 in Shanghai
    assert rec.day_of(midnight) == "2025-11-21"
    assert rec.day_of(midnight - 1) == "2025-11-20"
    assert rec.day_start(midnight + 1) == midnight == rec.day_start(midnight + 86_399_999)
    assert rec.time_of((midnight << 80).to_bytes(16, "big")) == midnight
