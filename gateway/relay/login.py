"""From a login frame to a session: who it is, whether he may come in, and which carrier answers.

No secret is known here: the carrier checks the sender's digest, and its answer goes back as it came. What
the carrier can no longer see, the sender's address, is checked against the account's `allowed_ips`.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence

from gateway.config import Sms
from gateway.errors import WireError
from gateway.model import Account
from gateway.protocols import Wire
from gateway.relay.dial import dial, proxy_header
from gateway.relay.leg import Leg
from gateway.secured import Renewed
from gateway.values import endpoint

LOGIN_SECONDS = 5.0
"""For all upstreams of an account together; each has its share."""

MOST_LOGINS = 1024
"""For which a worker asks carriers at one time. Each holds two descriptors until it is answered, and the
8,192 that a process has at least are also for 2,000 sessions, and for who is turned away."""

MOST_LOGINS_OF_ONE = 256
"""Of these, from one address: one stranger keeps nobody out, while a platform whose connections were all
lost, or several behind one address, may come back at once."""

TURN_AWAY_SECONDS = 2.0
MOST_TURNED_AWAY = 1024  # who are waited for; those beyond get their answer and are closed at once

Route = tuple[tuple[str, int], tuple[str, int]]
"""A connection of ours to a carrier: its end here, its end there."""


class LoginRefused(Exception):
    """The connection may not come in; `status` goes into the login's answer, `detail` into the log."""

    def __init__(self, status: int, cause: str, detail: str = "") -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.detail = detail


class Logins:
    """Those of a worker for which a carrier is being asked, and those that were refused."""

    def __init__(self) -> None:
        self._from: Counter[str] = Counter()
        self._turned_away = 0  # who have not hung up yet

    @contextlib.contextmanager
    def under_way(self, address: str, wire: type[Wire]) -> Iterator[None]:
        """While one from there is; raises LoginRefused when too many are."""
        if self._from[address] >= MOST_LOGINS_OF_ONE:
            raise LoginRefused(wire.OTHER, "too_many_logins", f"{MOST_LOGINS_OF_ONE} from this address")
        if self._from.total() >= MOST_LOGINS:
            raise LoginRefused(wire.OTHER, "too_many_logins", f"{MOST_LOGINS} at this worker")
        self._from[address] += 1
        try:
            yield
        finally:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]

    async def turn_away(self, connection: socket.socket, answer: bytes) -> None:
        """As below; where very many are turned away, nobody's end is waited for."""
        self._turned_away += 1
        try:
            few = self._turned_away <= MOST_TURNED_AWAY
            await turn_away(connection, answer, TURN_AWAY_SECONDS if few else 0.0)
        finally:
            self._turned_away -= 1


def may_enter(account: Account | None, address: str, connections: int, wire: type[Wire]) -> None:
    """Raises LoginRefused when the account's filing forbids this connection."""
    if account is None:
        return
    if not is_allowed(account, address):
        raise LoginRefused(wire.BAD_SOURCE, "address_not_allowed")
    if account.max_connections and connections >= account.max_connections:
        raise LoginRefused(wire.OTHER, "too_many_connections")


def is_allowed(account: Account, address: str) -> bool:
    """Whether the account's filing lets it come from there."""
    if not account.allowed_ips:
        return True
    here = ipaddress.ip_address(address)
    return any(here in ipaddress.ip_network(allowed, strict=False) for allowed in account.allowed_ips)


async def ask_carrier(
    wire: Wire,
    frame: bytes,
    sms: Sms,
    account: Account | None,
    peer: tuple[str, int],
    asking: set[Route],
    tls: Renewed | None,
) -> tuple[Leg, bytes]:
    """Log in at the first upstream that answers: (its connection, its answer as it came).

    `asking` holds both ends of all connections on which an answer is awaited: who comes from there to our
    port is we ourselves, and would go round until no descriptor is left (the port tells us from a sender of
    this machine to whom the kernel gave the same one: they are free again for each other end). Raises
    LoginRefused when no upstream answers, with what became of each. A late answerer is closed.
    """
    _, port = endpoint(sms.listen)
    if any(here == peer and there[1] == port for here, there in asking):
        raise LoginRefused(wire.OTHER, "upstream_is_ourselves")
    upstreams: Sequence[str] = (account.upstream if account is not None else ()) or sms.upstream
    failed = []
    for upstream in upstreams:
        try:
            async with asyncio.timeout(LOGIN_SECONDS / len(upstreams)):
                proxied = peer if sms.proxy_protocol else None
                secured = tls.newest() if tls else None, sms.upstream_tls_name
                place = endpoint(upstream)
                return await enter(wire, frame, place, sms.upstream_bind, proxied, asking, secured)
        except TimeoutError:
            failed.append(f"{upstream}: no answer in time")
        except (OSError, WireError, ValueError) as error:  # ValueError: what stands there is no address
            failed.append(f"{upstream}: {error}")
    raise LoginRefused(wire.OTHER, "no_upstream", "; ".join(failed) or "none is configured")


async def enter(
    wire: Wire,
    frame: bytes,
    address: tuple[str, int],
    bind: str,
    proxied: tuple[str, int] | None,
    asking: set[Route],
    tls: tuple[()] | tuple[ssl.SSLContext | None, str] = (),
) -> tuple[Leg, bytes]:
    """Connect, from `bind`, and log in with `frame`, `proxied` being named in a PROXY header before it: (the
    connection, the answer as it came). Raises OSError, WireError; the caller bounds the time."""
    (transport, here, there), leg = await dial(Leg, *address, bind, *tls)
    asking.add((here, there))
    try:
        header = b""
        if proxied is not None:
            header = proxy_header(proxied, there)
        transport.write(header + frame)
        answered = asyncio.get_running_loop().create_future()

        def received(data: bytes) -> None:
            leg.early += data
            try:
                frames, _ = wire.frames(leg.early)
            except WireError as error:
                _fail(answered, error)
            else:
                if frames and not answered.done():
                    answered.set_result(frames[0])

        leg.received = received
        leg.lost = lambda: _fail(answered, ConnectionResetError("closed before it answered"))
        start, end, _, _ = await answered
        answer, leg.early = leg.early[start:end], leg.early[end:]
        wire.read_login_answer(answer)  # what is no answer to a login never reaches the sender
    except BaseException:
        transport.abort()
        raise
    finally:
        asking.discard((here, there))
    leg.received = leg.keep
    leg.lost = leg.forget
    return leg, answer


def _fail(future: "asyncio.Future[tuple[int, int, int, int]]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


async def take_over(connection: socket.socket) -> Leg:
    """The sender's socket as an asyncio connection."""
    loop = asyncio.get_running_loop()
    _, leg = await loop.connect_accepted_socket(Leg, connection)
    return leg


async def turn_away(connection: socket.socket, answer: bytes, seconds: float = TURN_AWAY_SECONDS) -> None:
    """Say no and hang up; what the sender had sent already is read, or a reset would overtake the no."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(connection, answer)
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, 65536):
                pass
    except (OSError, TimeoutError):
        pass  # it has gone, or will not go
    finally:
        connection.close()
