"""Segments: whatever is cut or flipped, a reader gets whole blocks as they were written, or is told."""

import errno
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.evidence.folder import Tail, WriterLock, is_alive, segment_path, segments
from gateway.evidence.segment import (
    CHUNK,
    Disk,
    Header,
    Segment,
    SegmentDamaged,
    SegmentFile,
    encode_header,
    pack_block,
    recover,
)

HEADER = Header(
    node="n",
    writer="w0",
    number=1,
    created=5,
    key_name="2025-11-21.traffic",
    key_check=b"c" * 8,
    salt=b"s" * 32,
)
GROUPS = [
    [b"first"],
    [b"", b"a" * 3000, b"b"],
    [os.urandom(700), os.urandom(800)],
    [b"%d" % n for n in range(300)],
]
PACK = zstandard.ZstdCompressor()


def write(path: Path, groups: list[list[bytes]], header: Header = HEADER, *, cut: bool = True) -> list[int]:
    """A segment of these groups; the offsets at which each of its blocks ends, header first."""
    octets, digest = encode_header(header)
    file = SegmentFile(path, octets, Disk(), durable=True)
    ends, index = [file.end], 0
    for group in groups:
        file.append(*pack_block(group, index, digest, PACK))
        index += len(group)
        ends.append(file.end)
    if cut:
        file.cut()
    file.close()
    return ends


def read(path: Path) -> list[list[bytes]]:
    with Segment(path) as segment:
        return [block.records for block in segment.blocks()]


@given(st.lists(st.lists(st.binary(max_size=2000), min_size=1, max_size=20), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_blocks_are_read_as_written(tmp_path: Path, groups: list[list[bytes]]) -> None:
    path = tmp_path / "x.seg"
    path.unlink(missing_ok=True)
    write(path, groups)
    with Segment(path) as segment:
        blocks = list(segment.blocks())
        assert segment.header == HEADER
        assert segment.header.day == "2025-11-21"
        assert [block.records for block in blocks] == groups
        assert [block.first for block in blocks] == [
            sum(map(len, groups[:place])) for place in range(len(groups))
        ]
        if blocks:
            assert list(segment.blocks(blocks[-1].offset)) == blocks[-1:]
            assert list(segment.blocks(0, blocks[-1].end - 1)) == blocks[:-1]


def test_any_truncation_recovers_the_whole_blocks_before_it(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    groups = [[b"first"], [b"", b"a" * 3000, b"b"], [os.urandom(60), os.urandom(70)]]
    ends = write(path, groups)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        end, records = recover(path)
        kept = sum(length >= end for end in ends) - 1
        assert path.stat().st_size == end == (ends[kept] if kept >= 0 else 0)
        assert records == sum(map(len, groups[: max(kept, 0)]))
        if kept >= 0:
            assert read(path) == groups[:kept]
        else:
            with pytest.raises(SegmentDamaged):
                Segment(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_flipped_bits_are_noticed(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = tmp_path / "x.seg", tmp_path / "whole.seg"
    if not whole.exists():
        write(whole, GROUPS)
    with Segment(whole) as segment:
        ends = [segment.start, *(block.end for block in segment.blocks())]
    octets = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(octets) - 1))
    octets[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(octets)
    if place < ends[0]:
        with pytest.raises(SegmentDamaged):
            Segment(path)
    else:
        assert read(path) == GROUPS[: sum(place >= end for end in ends) - 1]


def test_what_recovery_cuts_off_is_kept_beside_the_segment(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 1)
    ends = write(path, GROUPS)
    octets = bytearray(path.read_bytes())
    octets[ends[1] + 30] ^= 1
    path.write_bytes(octets)
    assert recover(path) == (ends[1], 1)
    assert path.with_suffix(".torn").read_bytes() == octets[ends[1] :]
    assert segments(tmp_path) == [path]


def test_reserved_room_is_no_damage_and_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    ends = write(path, GROUPS, cut=False)
    assert path.stat().st_size == CHUNK
    assert read(path) == GROUPS
    assert recover(path) == (ends[-1], sum(map(len, GROUPS)))
    assert path.stat().st_size == ends[-1]
    assert not path.with_suffix(".torn").exists()


def test_a_block_of_another_segment_is_not_taken(tmp_path: Path) -> None:
    one, two = tmp_path / "1.seg", tmp_path / "2.seg"
    ends = write(one, [[b"one"]])
    write(
        two,
        [[b"two"]],
        Header(
            **{name: getattr(HEADER, name) for name in HEADER.__struct_fields__ if name != "number"}, number=2
        ),
    )
    two.write_bytes(two.read_bytes()[: ends[0]] + one.read_bytes()[ends[0] :])
    assert read(two) == []


def test_a_damaged_header_of_a_filled_segment_is_not_cut_away(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    write(path, [[os.urandom(9000)]])
    octets = bytearray(path.read_bytes())
    octets[20] ^= 1
    path.write_bytes(octets)
    with pytest.raises(SegmentDamaged):
        recover(path)
    assert path.read_bytes() == octets


def test_lengths_that_lie_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.seg"
    ends = write(path, [])
    for head in (b"\xff" * 24, b"\0\0\0\x01" + b"\xff" * 20, b"\0\0\0\x18" * 6):
        path.write_bytes(path.read_bytes()[: ends[0]] + head + bytes(100))
        assert read(path) == []


def test_short_writes_are_finished(tmp_path: Path) -> None:
    class Slow(Disk):
        def write(self, descriptor: int, octets: list[bytes], offset: int) -> int:
            return os.pwrite(descriptor, b"".join(octets)[:7], offset)

    octets, digest = encode_header(HEADER)
    file = SegmentFile(tmp_path / "x.seg", octets, Slow(), durable=False)
    file.append(*pack_block(GROUPS[1], 0, digest, PACK))
    file.close()
    assert read(tmp_path / "x.seg") == [GROUPS[1]]


def test_a_file_system_that_reserves_nothing_is_written_all_the_same(tmp_path: Path) -> None:
    class Plain(Disk):
        def reserve(self, descriptor: int, offset: int, length: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "no")

    octets, digest = encode_header(HEADER)
    file = SegmentFile(tmp_path / "x.seg", octets, Plain(), durable=False)
    file.append(*pack_block(GROUPS[0], 0, digest, PACK))
    assert (tmp_path / "x.seg").stat().st_size == file.end
    file.close()


def test_one_writer_at_a_time_and_others_may_ask(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    lock = WriterLock(tmp_path)
    assert is_alive(tmp_path)
    with pytest.raises(UsageError, match="another process"):
        WriterLock(tmp_path)
    lock.release()
    assert not is_alive(tmp_path)
    WriterLock(tmp_path).release()


def test_the_tail_is_seen_by_readers(tmp_path: Path) -> None:
    writer = Tail(tmp_path / "tail", write=True)
    reader = Tail(tmp_path / "tail")
    assert reader.get() == (0, 0, 0, "")
    writer.set(3, 500, 7)
    assert reader.get() == (3, 500, 7, "")
    writer.set(3, 500, 7, "磁盘" * 200)
    assert reader.get()[3].startswith("磁盘")
    writer.close()
    assert Tail(tmp_path / "tail", write=True).get()[:3] == (3, 500, 7)
