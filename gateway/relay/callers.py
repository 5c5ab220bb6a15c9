"""Who it is that calls: whose trunk a call came by, or the carrier. A trunk is an account that is filed under
an address; what it may show is the registry's business.
"""

from gateway.model import AccountKey
from gateway.protocols.sip_identity import Identity, identity_of
from gateway.protocols.sip_place import Place
from gateway.protocols.sip_proxy import Request
from gateway.relay.login import is_allowed
from gateway.relay.screen import Screen
from gateway.relay.trunks import Trunks

MOST_KNOWN = 10_000
"""Addresses whose account is remembered, before all are forgotten."""


class Callers:
    """Of one worker's calls."""

    def __init__(self, trunks: Trunks, screen: Screen) -> None:
        self._trunks = trunks
        self._screen = screen
        self._hosts = frozenset(host for host, _, _ in trunks.hops)
        self._known: dict[tuple[str, int], AccountKey | None] = {}
        self._known_of = -1  # the registry version that they were looked up in

    def account(self, peer: Place) -> AccountKey | None:
        """The account that is filed under the peer's address and port, or under its address, and may call
        from there."""
        version, at = self._screen.view.version, peer[:2]
        if version != self._known_of or len(self._known) >= MOST_KNOWN:
            self._known.clear()
            self._known_of = version
        if at not in self._known:
            self._known[at] = self._found(peer)
        return self._known[at]

    def _found(self, peer: Place) -> AccountKey | None:
        named = AccountKey(self._trunks.carrier, "sip", peer.filed)
        for key in (named, named._replace(account=peer.host)):
            account = self._screen.account(key)
            if account is not None and is_allowed(account, peer.host):
                return key
        return None

    def filed(self, peer: Place) -> tuple[AccountKey, int]:
        """Whose trunk it is, and how many connections that may have; 0: any number."""
        key = self.account(peer)
        account = None if key is None else self._screen.account(key)
        return key or self.unfiled(peer), 0 if account is None else account.max_connections

    def unfiled(self, peer: Place) -> AccountKey:
        """Nobody's account, for who calls from where no trunk may."""
        whole = f"sip:{peer.host}:{peer.port};transport={peer.transport.lower()}"
        key = AccountKey(self._trunks.carrier, "sip", peer.host)
        return key if self._screen.account(key) is None else key._replace(account=whole)

    def are_carrier(self, peer: Place) -> bool:
        """A connection that it opened has a port that nobody knows before."""
        if peer.address in self._trunks.hops:
            return True
        return bool(peer.flow) and peer.host in self._hosts and self.account(peer) is None

    def answers(self, peer: Place) -> bool:
        """Whether what it answers is the carrier's: by its address, as some answer from another port, where
        no trunk is filed there."""
        return self.are_carrier(peer) or (peer.host in self._hosts and self.account(peer) is None)

    def leads_to_carrier(self, place: Place) -> bool:
        """By its address: which port answers go to, its Via says."""
        return place.host in self._hosts

    def are_strangers(self, peer: Place) -> bool:
        """No trunk is filed there, and the profile lets none pass that is not."""
        return self.account(peer) is None and self._screen.profile.unknown_account == "refuse"

    def knows(self, place: Place) -> bool:
        """Whether a trunk or the carrier is there."""
        return place.address in self._trunks.hops or self.account(place) is not None

    def identity(self, request: Request, peer: Place) -> Identity:
        """Whom an INVITE names."""
        trusted = self._trunks.trusted(peer.host)
        return identity_of(request.message, request.asked, request.sender, trusted, self._trunks.area)
