"""Whose a carrier's delivery is: by what was passed on, over workers and restarts, then by the registry."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import pytest

from gateway.model import (
    FOREVER,
    SMS,
    Account,
    AccountKey,
    AccountNumber,
    Number,
    Reason,
    Span,
    Verdict,
)
from gateway.protocols.message import Submission
from gateway.relay.contacts import Contacts
from gateway.relay.memory import Submit
from gateway.relay.routes import Routes

BANK, AGENCY, SHOP = 1, 2, 3
SUBSCRIBER, OTHER = "+8613800000001", "+8613800000002"
PASSED, REFUSED = Verdict(None), Verdict(Reason.BLACKLISTED)


class Book:
    """What routes ask of the registry."""

    changes = 1
    hashed_by = b"k"

    def __init__(self) -> None:
        self.filed: list[Account] = []
        self.listed: dict[str, list[AccountNumber]] = {}
        self.registered: list[Number] = []

    def add(
        self, name: str, holder: int, listener: str = "10.0.0.1:8801", *numbers: AccountNumber
    ) -> Account:
        key = AccountKey("unicom", "sgip", name)
        account = Account(len(self.filed) + 1, key, holder, listener=listener)
        self.filed.append(account)
        self.listed[name] = list(numbers)
        self.changes += 1
        return account

    def renew(self) -> None:
        pass

    def hash(self, text: str) -> bytes:
        return blake2b(text.encode(), digest_size=16).digest()

    def account(self, key: AccountKey) -> Account | None:
        return next((one for one in self.filed if one.key == key), None)

    def accounts(self, carrier: str, protocol: str) -> Sequence[Account]:
        return [one for one in self.filed if one.key[:2] == (carrier, protocol)]

    def account_of(self, identity: int) -> Account | None:
        return next((one for one in self.filed if one.id == identity), None)

    def account_numbers(self, key: AccountKey) -> Sequence[AccountNumber]:
        return self.listed[key.account]

    def numbers(self, source: str) -> Sequence[Number]:
        return [one for one in self.registered if source.startswith(one.number)]


Make = Callable[[str], Routes]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def worker(book: Book, tmp_path: Path) -> Make:
    return lambda name: Routes("unicom", "sgip", book, Contacts(tmp_path, name))  # type: ignore[arg-type]


def submit(source: str, to: Sequence[str], sequence: int, verdicts: Sequence[Verdict] = ()) -> Submit:
    destinations = [one.encode() for one in to]
    made = Submit(
        (0, 0, 3, sequence), 1, Submission(source.encode(), destinations, 8, False, b"", True, b"", 1, 1, 0)
    )
    made.verdicts = verdicts or [PASSED] * len(to)
    made.ids = [((1_795_000_000_000 + sequence) << 80).to_bytes(16, "big")] * len(to)
    return made


def test_a_report_finds_the_account_of_its_submit_and_subscriber_in_every_worker(
    book: Book, worker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.relay.routes.time_ns", lambda: 1_795_000_000_000 * 1_000_000)
    one, two = book.add("one", BANK), book.add("two", BANK)
    mine, others = worker("w0"), worker("w1")
    mine.passed(one, [submit("1069", ["13800000001"], 7)])
    others.passed(two, [submit("1069", ["8613800000002"], 7)])  # node 0, the same instant, another subscriber
    for routes in (mine, others, worker("w2")):
        assert routes.of_report(7, b"+8613800000001") == routes.of_report(7, b"13800000001") == one
        assert routes.of_report(7, b"13800000002") == two
        assert routes.of_report(8, b"13800000001") is None


def test_what_was_refused_or_of_nobodys_account_leaves_no_trace(book: Book, worker: Make) -> None:
    one, routes = book.add("one", BANK), worker("w0")
    routes.passed(None, [submit("1069", [SUBSCRIBER], 7)])
    whole = submit("1069", [SUBSCRIBER], 8, [REFUSED])
    whole.octets = b""
    routes.passed(one, [whole, submit("1069", [SUBSCRIBER, OTHER], 9, [REFUSED, PASSED])])
    assert [routes.of_report(number, b"13800000001") for number in (7, 8, 9)] == [None] * 3
    assert routes.of_report(9, b"13800000002") == one


def test_a_reply_goes_to_who_sent_last_to_him_where_several_do_and_else_to_who_was_first(
    book: Book, worker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_795_000_000_000
    monkeypatch.setattr("gateway.relay.routes.time_ns", lambda: now * 1_000_000)
    one, two = book.add("one", BANK), book.add("two", BANK)
    mine, others = worker("w0"), worker("w1")
    mine.passed(one, [submit("1069", [SUBSCRIBER], 7)])
    others.passed(two, [submit("1069", [OTHER], 8)])
    for routes in (mine, others):
        assert routes.of_number("1069", SUBSCRIBER) == one
        assert routes.of_number("1069", OTHER) == two
        assert routes.of_number("1069", "+8613800000003") == one
    now += 60_000
    mine.passed(one, [submit("1069", [OTHER], 9)])
    assert others.of_number("1069", OTHER) == one
    book.filed.remove(one)
    book.changes += 1
    others.passed(two, [submit("1069", ["+8613800000004"], 10)])
    assert others.of_number("1069", "+8613800000003") == two


def test_who_does_not_listen_is_passed_over_where_another_may_show_the_number(
    book: Book, worker: Make
) -> None:
    deaf, routes = book.add("deaf", BANK, ""), worker("w0")
    routes.passed(deaf, [submit("1069", [SUBSCRIBER], 7)])
    assert routes.of_number("1069", SUBSCRIBER) == deaf  # at least it is known whose it was
    hears = book.add("hears", BANK, "10.0.0.1:8801", AccountNumber("1069", True, Span()))
    assert routes.of_number("1069", SUBSCRIBER) == hears
    assert routes.of_report(7, b"13800000001") == deaf  # another account's messages are not its business


def test_a_number_that_nobody_sent_from_is_its_longest_lists_then_its_users_then_its_owners(
    book: Book, worker: Make
) -> None:
    routes = worker("w0")
    book.registered.append(Number(1, "1069", 20, SMS, 1, BANK, AGENCY))
    assert routes.of_number("106901", SUBSCRIBER) is None
    owner = book.add("owner", BANK)
    assert routes.of_number("106901", SUBSCRIBER) == owner
    user = book.add("user", AGENCY)
    assert routes.of_number("106901", SUBSCRIBER) == user
    lapsed = AccountNumber("106901", False, Span(0, 1))
    short, long = AccountNumber("10", True, Span()), AccountNumber("106901", False, Span(0, FOREVER))
    book.add("elsewhere", BANK, "10.0.0.1:8801", AccountNumber("1068", True, Span()), lapsed)
    provider = book.add("provider", SHOP, "10.0.0.1:8801", short)
    assert routes.of_number("106901", SUBSCRIBER) == provider
    listed = book.add("listed", SHOP, "10.0.0.1:8801", long)
    assert routes.of_number("106901", SUBSCRIBER) == listed
    assert routes.of_number("1069012", SUBSCRIBER) == provider
    assert routes.of_number("", SUBSCRIBER) is None
