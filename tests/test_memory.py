"""What a session remembers of its submits."""

from gateway.relay.memory import MOST_SEEN, SWEEP_SECONDS, UNANSWERED_SWEEPS, Memory, Submit


def seen(sequence: int, fingerprint: int = 1, *, answered: bool = False, durable: bool = True) -> Submit:
    made = Submit((0, 9, 4, sequence), fingerprint, None)
    made.ids = (b"id",)
    made.answered, made.durable = answered, durable
    return made


def add(memory: Memory, submit: Submit) -> None:
    memory.add(submit, memory.known(submit.sequence))


def repeated(memory: Memory, sequence: int, fingerprint: int) -> Submit | None:
    found = memory.known(sequence)
    return found if found is not None and found.fingerprint == fingerprint else None


def test_the_same_sequence_and_bytes_are_the_same_attempt_and_other_bytes_are_not():
    memory = Memory()
    first = seen(1, 7)
    add(memory, first)
    assert repeated(memory, 1, 7) is first
    assert repeated(memory, 1, 8) is None
    assert repeated(memory, 2, 7) is None


def test_a_repeat_of_a_refused_submit_gets_the_same_answer_and_does_not_go_on():
    refused = seen(1)
    refused.answer = b"no"
    cuts = []
    assert refused.repeat(0, 9, cuts) == b"no"
    assert cuts == [(0, 9, b"")]


def test_a_repeat_of_a_passed_submit_goes_on_as_the_first_did():
    cuts = []
    passed = seen(1)
    assert passed.repeat(0, 9, cuts) == passed.repeat(0, 9, cuts) == b""
    assert cuts == []
    reduced = seen(1)
    reduced.octets = b"less"
    reduced.repeat(0, 9, cuts)
    assert cuts == [(0, 9, b"less")]
    cuts.clear()
    assert passed.repeat(0, 9, cuts) == b""  # a third time none, or one verdict would let any number pass
    assert cuts == [(0, 9, b"")]


def test_a_repeat_of_an_accepted_submit_gets_the_carriers_answer_and_does_not_go_on():
    memory, cuts = Memory(), []
    add(memory, seen(1))
    memory.answered(1).close(b"yes")
    assert repeated(memory, 1, 1).repeat(0, 9, cuts) == b"yes"
    assert cuts == [(0, 9, b"")]
    memory.answered(1).close(b"")  # the carrier's answer to a repeat that it got meanwhile
    assert repeated(memory, 1, 1).answer == b"yes"


def test_a_submit_that_the_carrier_did_not_accept_is_another_attempt_when_it_comes_again():
    memory = Memory()
    add(memory, seen(1))
    memory.answered(1).close(b"")
    assert repeated(memory, 1, 1) is None
    assert memory.answered(1).ids == (b"id",)


def test_an_answer_to_what_the_carrier_never_got_is_none():
    memory = Memory()
    add(memory, refused := seen(1))
    refused.octets = b""
    assert memory.answered(1) is None


def test_a_repeat_before_the_first_is_durable_is_dropped():
    refused = seen(1, durable=False)
    refused.answer = b"no"
    cuts = []
    assert refused.repeat(0, 9, cuts) == b""
    assert cuts == [(0, 9, b"")]


def test_answered_submits_are_forgotten_oldest_first():
    memory = Memory()
    for sequence in range(MOST_SEEN * 5):
        add(memory, seen(sequence, answered=True))
        assert len(memory._seen) + len(memory._before) <= 2 * MOST_SEEN + 1
    assert repeated(memory, 0, 1) is None
    for sequence in range(MOST_SEEN * 4, MOST_SEEN * 5):
        assert repeated(memory, sequence, 1) is not None


def test_what_waits_for_the_carrier_is_never_forgotten():
    memory = Memory()
    for sequence in range(MOST_SEEN * 3):
        add(memory, seen(sequence))
    assert memory.waiting == MOST_SEEN * 3
    for sequence in range(MOST_SEEN * 3, MOST_SEEN * 6):
        add(memory, seen(sequence))
        memory.answered(sequence)
    assert memory.answered(0).ids == (b"id",)
    assert memory.waiting == MOST_SEEN * 3 - 1


def test_waiting_counts_each_submit_once():
    memory = Memory()
    add(memory, seen(1, 1))
    add(memory, seen(1, 2))  # the sender used the number again without an answer
    assert memory.waiting == 1
    memory.answered(1)
    memory.answered(1)
    assert memory.waiting == 0
    again = seen(2)
    add(memory, again)
    memory.forget(again)
    memory.forget(again)
    assert memory.waiting == 0
    assert memory.answered(2) is None


def test_one_that_we_refuse_waits_until_it_is_durable():
    memory = Memory()
    refused, passed = seen(1, durable=False), seen(2, durable=False)
    refused.octets, refused.answer = b"", b"no"
    add(memory, refused)
    add(memory, passed)
    assert memory.waiting == 2
    memory.settle([refused, passed])
    memory.settle([refused])
    assert memory.waiting == 1
    assert refused.durable
    assert passed.durable


def test_a_number_used_again_before_the_first_is_durable_is_counted_once():
    memory = Memory()
    first, second = seen(1, 1, durable=False), seen(1, 2, durable=False)
    first.octets = b""
    add(memory, first)
    add(memory, second)
    memory.settle([first])
    memory.forget(first)
    assert memory.waiting == 1
    assert repeated(memory, 1, 2) is second


def test_contents_are_let_go():
    memory = Memory()
    submit = seen(1)
    submit.verdicts = ["verdict"]
    add(memory, submit)
    memory.settle([submit])
    assert submit.submission is None
    assert submit.verdicts == ()


def test_what_the_carrier_never_answers_is_given_up_after_three_minutes():
    """Or 4,096 of them, of a carrier that has lost them, would keep the sender from being read for ever."""
    assert UNANSWERED_SWEEPS * SWEEP_SECONDS == 3 * 60
    memory = Memory()
    add(memory, first := seen(1))
    add(memory, seen(2, durable=False))
    add(memory, seen(3, answered=False))
    assert [memory.give_up() for _ in range(UNANSWERED_SWEEPS)] == [0] * UNANSWERED_SWEEPS
    add(memory, seen(4))
    memory.answered(3)
    assert (memory.give_up(), memory.waiting) == (1, 2)  # what waits for the disk, and what came later
    assert memory.outstanding == [2, 4]
    assert repeated(memory, 1, 1) is None  # the same again is judged anew
    assert memory.answered(1) is first  # a late answer has an outcome all the same
    assert (memory.give_up(), memory.waiting) == (0, 2)


def test_a_number_used_again_is_waited_for_from_then_on():
    memory = Memory()
    add(memory, seen(1, 1))
    for _ in range(UNANSWERED_SWEEPS):
        memory.give_up()
    add(memory, seen(1, 2))
    assert (memory.give_up(), memory.waiting) == (0, 1)
