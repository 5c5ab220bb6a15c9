"""The callback ports that accounts have of their own (SGIP), as the registry files them: opened and shut as
it changes, each by one worker of the node. One that several accounts name is shared by them. And who may call
at any of them: the carrier alone, as its password is the senders' to check.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import monotonic

from gateway.config import Sms
from gateway.direct import owner
from gateway.errors import NotReady
from gateway.relay import handoff
from gateway.relay.acceptor import Acceptor, Door
from gateway.relay.routes import Routes
from gateway.telemetry import Telemetry
from gateway.values import endpoint

FOLLOW_SECONDS = 1.0
EMPTIED_SECONDS = 2.0


async def may_call(address: str, sms: Sms, upstreams: Sequence[str]) -> bool:
    """Whether it is the carrier that calls from this address: of `callback_from`, else one that an upstream's
    host has."""
    here = ip_address(address)
    if sms.callback_from:
        return any(here in ip_network(known, strict=False) for known in sms.callback_from)
    for host, port in dict.fromkeys(endpoint(upstream) for upstream in upstreams):
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except OSError:
            continue
        if any(here == ip_address(place[0]) for *_, place in found):
            return True
    return False


class CallbackPorts:
    """Those that fall to one worker."""

    def __init__(
        self,
        listeners: tuple[Sms, ...],
        routes: Mapping[str, Routes],
        run_dir: Path,
        index: int,
        workers: int,
        telemetry: Telemetry,
        log: logging.Logger,
    ) -> None:
        self._listeners = listeners
        self._routes = routes
        self._index, self._workers = index, workers
        self._acceptor = Acceptor(listeners, run_dir, workers, telemetry, log)
        self._log = log
        self._failing: set[Door] = set()
        self._due = 0.0

    def follow(self) -> None:
        """Open what is filed now and shut what is not, once a second. An address that can't be listened on
        is said once, and tried again."""
        if not self._routes or monotonic() < self._due:
            return
        self._due = monotonic() + FOLLOW_SECONDS
        try:
            wanted = self._wanted()
        except NotReady:  # said by the worker's readiness; the ports stay as they are
            return
        for door in self._acceptor.doors - wanted:
            self._acceptor.shut(door)
        self._failing &= wanted
        for door in wanted - self._acceptor.doors:
            try:
                self._acceptor.open(door)
            except OSError as error:
                if door not in self._failing:
                    fields = {"callback": door.listen, "account": door.account, "error": str(error)}
                    self._log.error("callback port not open", extra={"fields": fields})
                self._failing.add(door)
            else:
                self._failing.discard(door)
                self._acceptor.begin(door)

    def close(self) -> None:
        self._acceptor.close()

    async def emptied(self) -> None:
        """Wait a moment until no connection by TLS is left that has come in here, for whichever worker."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._acceptor.emptied(), EMPTIED_SECONDS)

    def _wanted(self) -> set[Door]:
        found: set[Door] = set()
        sections = {sms.protocol: section for section, sms in reversed([*enumerate(self._listeners)])}
        shared = {sms.callback_listen for sms in self._listeners}
        for protocol, routes in self._routes.items():
            places = [(one.callback, one.key.account) for one, _ in routes.accounts() if one.callback]
            count = Counter(listen for listen, _ in places)
            for listen, account in places:
                if listen not in shared and owner(listen, self._workers) == self._index:
                    whose = account if count[listen] == 1 else ""
                    found.add(Door(sections[protocol], listen, handoff.CALLBACK, whose))
        return found
