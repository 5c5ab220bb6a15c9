"""Message ids that we make up: for several recipients one above the other, and never another worker's."""

import time

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.cmpp import Cmpp
from gateway.protocols.cmpp_tables import message_id_parts
from gateway.relay.refusing import IDS, made_up_ids, of_listeners

NOW = time.struct_time((2025, 11, 5, 14, 29, 42, 2, 309, 0))


@given(st.integers(1, 256), st.lists(st.integers(1, 99), min_size=1, max_size=2000), st.data())
def test_ids_of_one_submit_follow_each_other(workers: int, counts: list[int], data: st.DataObject) -> None:
    """Msg_Id stands for Msg_Id … Msg_Id + n - 1 (CMPP 3.0, appendix 1)."""
    worker = data.draw(st.integers(0, workers - 1))
    make = made_up_ids(Cmpp, 4242, worker, workers)
    for count in counts:
        ids = make(NOW, count)
        first = int.from_bytes(ids[0], "big")
        assert [int.from_bytes(one, "big") - first for one in ids] == list(range(count))
        for parts in (message_id_parts(ids[0]), message_id_parts(ids[-1])):
            assert parts[:6] == (11, 5, 14, 29, 42, 4242)
            assert worker * (IDS // workers) <= parts.sequence < (worker + 1) * (IDS // workers)


def test_no_id_comes_twice_before_all_have_come() -> None:
    make = made_up_ids(Cmpp, 1, 3, 4)
    assert len({make(NOW, 1)[0] for _ in range(IDS // 4)}) == IDS // 4


def test_listeners_of_one_protocol_and_code_never_make_up_the_same_id() -> None:
    makes = of_listeners([("cmpp", 1), ("cmpp", 2), ("cmpp", 1)], 3, 4)
    assert len({identity for make in makes * 2 for identity in make(NOW, 2)}) == 12
