"""Finding over nodes: all are asked at once, the silent are named, and only nodes of one registry talk."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import any_hour
import pytest
from aiohttp import web

from gateway import model
from gateway.config import load
from gateway.evidence import between, everywhere
from gateway.evidence import record as rec
from gateway.evidence.between import Held, Opener, Part, Question, Scope, Sealer, Unsealed, Wanted
from gateway.evidence.everywhere import MEDIA_TYPE, PATH, Missing, Nodes, Peer
from gateway.evidence.journal import Journal
from gateway.evidence.plain import plain
from gateway.evidence.seal import Keys
from gateway.policy.profile_text import parse_profile
from gateway.registry.acting import Door
from gateway.registry.keys import RegistryKey
from gateway.telemetry import Telemetry
from gateway.web import asked, server
from gateway.web.asked import Asked
from gateway.web.site import Site

NOON = 1_763_697_600_000
KEY = RegistryKey(bytes(range(32)))
SUBSCRIBER = "+8613800000001"
EVERYTHING = Wanted(subscriber=SUBSCRIBER, texts=True)
PROFILE = parse_profile(any_hour.read, any_hour.NAME)
OPERATOR = Scope()
LOG = logging.getLogger("everywhere")


async def fill(folder: Path, node: str, times: range) -> list[bytes]:
    """Attempt n, n s after noon, to SUBSCRIBER; even ones of B1 by `mobile`, odd ones of B2 by `unicom`."""
    journal = Journal(folder / "journal", node, "w0", Keys(folder / "keys"), clock=lambda: NOON)
    journal.start()
    ids = []
    for n in times:
        carrier, code = (("mobile", "B1"), ("unicom", "B2"))[n % 2]
        account = model.AccountKey(carrier, "cmpp", "900001")
        verdict = model.Verdict(None, number="10690001", institution_code=code)
        judged = rec.judged(account, node, model.SMS, "10690001", verdict, profile="p", lexicon="l")
        item = (judged, 0, 1, n, 0, 1, 1, 0, "", SUBSCRIBER, 0, 0, b"text %d" % n)
        ids += journal.attempts(NOON + 1000 * n, 5, [item], lambda error: None)
        journal.outcomes(NOON + 1000 * n + 5, [(ids[-1], 0, b"m%d" % n, 0)])
    await journal.close()
    return ids


class Node(NamedTuple):
    """A node as far as others see it: journals and a web process."""

    name: str
    site: Site
    url: str
    ids: list[bytes]

    @property
    def peer(self) -> Peer:
        return Peer(self.name, self.url)


@contextlib.asynccontextmanager
async def node(folder: Path, ids: list[bytes], key: RegistryKey = KEY) -> AsyncIterator[Node]:
    """The node whose folder this is, called as it is."""
    name = folder.name
    config = load(None, {"ZHENGMING__NODE__NAME": name, "ZHENGMING__NODE__DATA_DIR": str(folder)})
    door = await Door.open("postgresql://nobody@127.0.0.1:1/none")
    site = Site(config, PROFILE, key, door, Telemetry(), LOG)
    application = web.Application()
    Asked(site).mount(application)
    async with served(application) as url:
        yield Node(name, site, url, ids)
    await site.stop()


@contextlib.asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    runner = await server.listen(application, "127.0.0.1", 0)
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    await runner.cleanup()


Folders = dict[str, tuple[Path, list[bytes]]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Of two nodes, and the ids of their attempts."""
    path = tmp_path_factory.mktemp("nodes")
    times = {"west": range(0, 20, 2), "east": range(1, 20, 2)}
    return {name: (path / name, asyncio.run(fill(path / name, name, those))) for name, those in times.items()}


@pytest.fixture
async def west(folders: Folders) -> AsyncIterator[Node]:
    async with node(*folders["west"]) as found:
        yield found


@pytest.fixture
async def east(folders: Folders) -> AsyncIterator[Node]:
    async with node(*folders["east"]) as found:
        yield found


def order(found: Any) -> list[int]:
    return [one.record.sequence for one in found]


async def why(west: Node, *others: Peer) -> list[str]:
    """Of each of the others, why it is missing; the asking node's own records are there all the same."""
    found, missing = await west.site.nodes.find(others, Scope(), EVERYTHING)
    assert order(found) == list(range(0, 20, 2))
    assert {one.node for one in missing} <= {peer.name for peer in others}
    return [one.why for one in missing]


async def test_records_of_all_nodes_are_found_in_the_order_of_time(west: Node, east: Node) -> None:
    for one, other in ((west, east), (east, west)):
        found, missing = await one.site.nodes.find([other.peer], Scope(), EVERYTHING)
        assert (order(found), missing) == (list(range(20)), [])
        said = [plain(piece, revealed=True) for piece in found]
        assert {one["text"] for one in said} == {f"text {n}" for n in range(20)}
        assert {piece.record.judged.node for piece in found} == {"west", "east"}  # type: ignore[union-attr]


async def test_a_limit_holds_over_all_nodes(west: Node, east: Node) -> None:
    for newest, right in ((True, [17, 18, 19]), (False, [0, 1, 2])):
        wanted = Wanted(subscriber=SUBSCRIBER, newest=newest, limit=3)
        assert order((await west.site.nodes.find([east.peer], Scope(), wanted))[0]) == right


async def test_each_node_shows_only_what_the_asking_user_may_see(west: Node, east: Node) -> None:
    for scope, right in {
        Scope("regulator"): range(20),
        Scope("auditor"): range(20),
        Scope("carrier", "mobile"): range(0, 20, 2),
        Scope("carrier", "unicom"): range(1, 20, 2),
        Scope("institution", "B2"): range(1, 20, 2),
        Scope("agency", "B2"): range(0),
        Scope("institution", ""): range(0),
        Scope("provider", "B1"): range(0),
        Scope("territory", codes=("B1", "B3")): range(0, 20, 2),
        Scope("territory", accounts=(Held("unicom", "cmpp", "900001"),)): range(0),  # that name B2
        Scope("territory"): range(0),
    }.items():
        found, missing = await west.site.nodes.find([east.peer], scope, Wanted(subscriber=SUBSCRIBER))
        assert (order(found), missing) == (list(right), []), scope
        for one in found:
            assert plain(one)["subscriber"] == "138****0001"
            assert "text" not in plain(one)
            if (said := plain(one, revealed=True))["node"] == "east":
                assert said["text"] == ""  # texts that nobody wants stay


async def test_a_record_is_shown_with_what_followed_it_wherever_it_lies(
    west: Node, east: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Peer("gone", "http://127.0.0.1:1")

    async def show(identity: bytes, *others: Peer, scope: Scope = OPERATOR) -> tuple[Any, list[Missing]]:
        async def known() -> list[Peer]:
            return list(others)

        wanted = Wanted(identity=identity, texts=True)
        shown, missing = await west.site.nodes.show(known, scope, wanted)
        said = plain(shown, revealed=True) if shown else {}
        return (said["text"], said["outcome"], said["node"]) if shown else None, missing

    there, here = east.ids[3], west.ids[3]
    away = [Missing("gone", "away")]
    assert await show(there, east.peer) == (("text 7", 0, "east"), [])
    assert await show(there, gone, east.peer) == (("text 7", 0, "east"), away)  # which may know what followed
    assert await show(there, east.peer, scope=Scope("carrier", "mobile")) == (None, [])
    assert await show(there, gone) == (None, [Missing("gone", "away")])
    assert await show(here, gone) == (("text 6", 0, "west"), away)
    monkeypatch.setattr(everywhere, "AT_ONCE_SECONDS", 0)  # here it takes its time: both are asked
    assert await show(here, gone) == (("text 6", 0, "west"), away)
    monkeypatch.setattr(everywhere, "SEARCH_SECONDS", -1)
    assert await show(here, gone) == (None, [Missing("west", "slow"), Missing("gone", "away")])


async def test_a_report_is_shown_with_its_attempt_whichever_node_took_it_in(tmp_path: Path) -> None:
    """West forwards, the carrier reports to east, without its id or keys; anybody asks.
    What east was told of other accounts, subscribers and messages is others'; a refused attempt has none."""
    account, other = (model.AccountKey("mobile", "cmpp", login) for login in ("900001", "900009"))
    ids: dict[str, list[bytes]] = {}
    for name in ("west", "east", "north"):
        journal = Journal(
            tmp_path / name / "journal", name, "w0", Keys(tmp_path / name / "keys"), clock=lambda: NOON
        )
        journal.start()
        if name == "west":
            items = []
            for reason in (None, model.Reason.BLACKLISTED):
                verdict = model.Verdict(reason, number="10690001", institution_code="B1")
                judged = rec.judged(account, name, model.SMS, "10690001", verdict, profile="p", lexicon="l")
                items.append((judged, 0, 1, 1, 0, 1, 1, 0, "", SUBSCRIBER, 0, 0, b"x"))
            ids[name] = journal.attempts(NOON, 5, items, lambda error: None)
            journal.outcomes(NOON + 5, [(ids[name][0], 0, b"m1", 0)])
        if name == "east":
            for whose, message, stat, subscriber in (
                (account, b"m1", "DELIVRD", SUBSCRIBER),
                (account, b"m2", "UNDELIV", SUBSCRIBER),
                (other, b"m1", "REJECTD", SUBSCRIBER),
                (account, b"m1", "EXPIRED", "+8613800000009"),
            ):
                journal.report(NOON + 900, whose, message, stat, "", "", "10690001", subscriber)
        await journal.close()
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(node(tmp_path / name, ids.get(name, [])))
            for name in ("west", "east", "north")
        ]
        passed, refused = ids["west"]
        for asking in nodes:

            async def others(own: Node = asking) -> list[Peer]:
                return [one.peer for one in nodes if one is not own]

            for scope in (OPERATOR, Scope("institution", "B1")):
                shown, missing = await asking.site.nodes.show(others, scope, Wanted(identity=passed))
                assert shown is not None
                said = plain(shown)
                assert missing == []
                assert [one["stat"] for one in said["reports"]] == ["DELIVRD"], asking.name
                assert [one["message_id"] for one in said["outcomes"]] == [b"m1".hex()]
                assert await asking.site.nodes.show(
                    others, Scope("institution", "B2"), Wanted(identity=passed)
                ) == (None, [])
            shown, missing = await asking.site.nodes.show(others, OPERATOR, Wanted(identity=refused))
            assert shown is not None
            assert (shown.reports, missing) == ((), [])
            wanted = Wanted(subscriber=SUBSCRIBER, since=NOON, until=NOON + 1)
            found, _ = await asking.site.nodes.find(await others(), OPERATOR, wanted)
            both, missing = await asking.site.nodes.follow_all(found, await others())
            assert {plain(one, alone=True).get("delivery") for one in both} == {"delivered", None}
            assert missing == []
            _, missing = await asking.site.nodes.follow_all(found, [Peer("gone", "http://127.0.0.1:9")])
            assert missing == [Missing("gone", "away")]


async def test_a_node_that_does_not_answer_is_named_with_why(
    west: Node, east: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    mute, older = web.Application(), web.Application()
    mute.router.add_post(PATH, silent)
    monkeypatch.setattr(everywhere, "SECONDS", 0.5)
    async with (
        served(mute) as mutes,
        served(older) as olders,
        node(tmp_path / "alien", [], RegistryKey(bytes(32))) as alien,
    ):
        began = time.monotonic()
        assert await why(
            west,
            Peer("gone", "http://127.0.0.1:1"),
            Peer("nowhere", "http://no-such-host.invalid:80"),
            Peer("mute", mutes),
            Peer("older", olders),
            alien.peer,
            Peer("renamed", east.url),
        ) == ["away", "away", "slow", "other_version", "other_key", "other_node"]
        assert time.monotonic() - began < 2.0  # all at once
        over.set()


async def test_what_a_busy_slow_or_broken_node_has_said_is_told(
    west: Node, east: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "MOST_AT_ONCE", 0)
    assert await why(west, east.peer) == ["busy"]
    monkeypatch.setattr(asked, "MOST_AT_ONCE", 8)
    monkeypatch.setattr(asked, "SEARCH_SECONDS", 0)
    assert await why(west, east.peer) == ["slow"]
    monkeypatch.setattr(asked, "SEARCH_SECONDS", 4)
    monkeypatch.setattr(asked, "CLOCKS_SECONDS", -1)
    assert await why(west, east.peer) == ["clock"]
    monkeypatch.setattr(asked, "CLOCKS_SECONDS", 60)
    monkeypatch.setattr(everywhere, "BATCH", 3)
    found, missing = await west.site.nodes.find([east.peer], Scope(), EVERYTHING)
    assert (order(found), missing) == (list(range(20)), [])
    monkeypatch.setattr(east.site, "searching", None)
    assert await why(west, east.peer) == ["failed"]


async def test_ones_own_search_ends_in_time_too(west: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere, "SEARCH_SECONDS", -1)
    assert await west.site.nodes.find([], Scope(), EVERYTHING) == ([], [Missing("west", "slow")])


async def test_who_has_more_than_is_told_at_once_is_named(
    west: Node, east: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everywhere, "MOST", 4)
    found, missing = await west.site.nodes.find([east.peer], Scope(), EVERYTHING)
    assert order(found) == [12, 13, 14, 15, 16, 17, 18, 19]
    assert missing == [Missing("west", "more"), Missing("east", "more")]


# What goes over the wire


def question(name: str = "east", at: float = 0, key: RegistryKey = KEY) -> tuple[bytes, bytes]:
    now = int((at or time.time()) * 1000)
    return between.seal_question(key.nodes_key, Question(name, now, 4.0, Scope(), EVERYTHING))


async def send(node: Node, octets: Any, **headers: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as client,
        client.post(node.url + PATH, data=octets, headers=headers) as answer,
    ):
        return answer.status, await answer.read()


def opened(octets: bytes, salt: bytes, key: RegistryKey = KEY) -> list[Part]:
    return list(Opener(key.nodes_key, salt).feed(octets))


async def test_a_question_is_answered_once(east: Node) -> None:
    octets, salt = question()
    status, answer = await send(east, octets)
    (part,) = opened(answer, salt)
    assert (status, len(part.pieces), part.last, part.why) == (200, 10, True, "")
    assert await send(east, octets) == (401, b"")  # the same again
    assert SUBSCRIBER.encode() not in octets + answer
    assert b"text 1" not in answer


async def test_whoever_has_no_key_learns_nothing(east: Node) -> None:
    octets, _ = question()
    for place in (1, 32, 33, 60, len(octets) - 1):
        altered = bytearray(octets)
        altered[place] ^= 1
        assert await send(east, bytes(altered)) == (401, b""), place
    assert await send(east, octets[:-1]) == (401, b"")
    assert await send(east, question(key=RegistryKey(os.urandom(32)))[0]) == (401, b"")
    for junk in (b"", b"\x01", b"\0" * 100, b"\x01" + bytes(200)):
        assert await send(east, junk, Authorization="Bearer zm_x") == (401, b""), junk
    for later in (b"\x02" + octets[1:], b"{}"):
        assert await send(east, later) == (400, b"")
    assert await send(east, octets + bytes(between.MOST_QUESTION)) == (413, b"")

    async def endless() -> AsyncIterator[bytes]:
        yield octets

    assert await send(east, endless()) == (413, b"")  # of a length that nobody said
    assert (await send(east, octets))[0] == 200  # none of this has used it up


@pytest.mark.parametrize("seconds", [-61, 61])
async def test_a_question_of_another_time_is_not_answered(east: Node, seconds: float) -> None:
    octets, salt = question(at=time.time() + seconds)
    _, answer = await send(east, octets)
    assert opened(answer, salt) == [Part([], last=True, why="clock")]


async def test_an_answer_is_opened_by_who_asked_and_unaltered() -> None:
    salt = os.urandom(32)
    sealer = Sealer(KEY.nodes_key, salt)
    frames = [sealer.head, *(sealer.frame(Part([], why=word)) for word in ("a", "b", "c"))]
    whole = b"".join(frames)
    assert [part.why for part in opened(whole, salt)] == ["a", "b", "c"]
    opener = Opener(KEY.nodes_key, salt)
    each = [part.why for place in range(len(whole)) for part in opener.feed(whole[place : place + 1])]
    assert each == ["a", "b", "c"]
    head, a, b, c = frames
    for octets, right in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), salt),
        (head + b + a, salt),
        (head + a + c, salt),
        (head + a + a, salt),
        (b"\x01" + os.urandom(32) + a + b + c, salt),
        (whole, os.urandom(32)),
        (b"\x02" + whole[1:], salt),
        (head + b"\xff\xff\xff\xff", salt),
    ):
        with pytest.raises(Unsealed):
            opened(octets, right)


def one_frame(salt: bytes) -> bytes:
    sealer = Sealer(KEY.nodes_key, salt)
    return sealer.head + sealer.frame(Part([]))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (one_frame, "away"),  # cut off before its last frame
        (lambda salt: one_frame(salt) + bytes(40), "failed"),
        (lambda salt: one_frame(bytes(32)), "failed"),  # the answer to another question
        (lambda salt: b"\x02" + bytes(200), "other_version"),
        (lambda salt: Sealer(KEY.nodes_key, salt).head, "away"),
    ],
)
async def test_an_answer_that_is_not_whole_counts_as_missing(
    west: Node, answer: Callable[[bytes], bytes], right: str
) -> None:
    async def handle(request: web.Request) -> web.Response:
        _, salt = between.open_question(KEY.nodes_key, await request.read())
        return web.Response(body=answer(salt), content_type=MEDIA_TYPE)

    application = web.Application()
    application.router.add_post(PATH, handle)
    async with served(application) as url:
        assert await why(west, Peer("odd", url)) == [right]


async def test_nodes_can_be_closed_unused() -> None:
    await Nodes("west", KEY.nodes_key, lambda deadline: pytest.fail("nobody asked")).close()
