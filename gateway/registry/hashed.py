"""By which registry keys a view of the replica looks subscribers up: one, or two while the key rotates."""

from collections.abc import Callable
from hashlib import blake2b

from gateway.registry.keys import RegistryKey

KEYS = b"keys"
"""Where the fingerprints stand, in a replica, of the registry keys that its rows may be under, oldest first;
as long as nothing stands there, that is the one that the node has."""
FINGERPRINT = 16

MOST_HASHED = 4096
"""Numbers whose hash is remembered, and those of one batch."""


class Hashed:
    """`on_key` is called when `hash` begins to give other hashes."""

    __slots__ = ("_hashed", "_hasher", "_key", "_keys", "_older", "on_key")

    def __init__(self, key: RegistryKey) -> None:
        self._key = key
        self._keys: tuple[bytes, ...] = (key.fingerprint,)
        self._hasher = blake2b(digest_size=16, key=key.hash_key)
        self._hashed: dict[str, bytes] = {}
        self._older: tuple[RegistryKey, ...] = ()  # keys that rows may still be under, while one rotates
        self.on_key: Callable[[], None] | None = None

    @property
    def looked_up_by(self) -> tuple[bytes, ...]:
        """The fingerprints of the keys that rows may be under, oldest first."""
        return self._keys

    @property
    def hashed_by(self) -> bytes:
        """The fingerprint of the key that `hash` is of."""
        return self._keys[-1]

    def hash(self, number: str) -> bytes:
        """`RegistryKey.hash` of the newest key in use, remembered for the numbers that came last: one is
        asked about several times."""
        known = self._hashed.get(number)
        if known is None:
            hasher = self._hasher.copy()
            hasher.update(number.encode())
            known = self._hashed[number] = hasher.digest()
        return known

    def _look_by(self, marked_keys: bytes) -> None:
        """Look by the keys that rows may be under. Raises NotReady when a file of them is not there: nobody
        could say who has refused."""
        keys = marked(marked_keys)
        if not keys or keys == self._keys:
            return
        *older, newest = self._key.use(keys)
        another = newest.fingerprint != self._keys[-1]
        self._keys, self._older = keys, tuple(older)
        if another:
            self._hasher = blake2b(digest_size=16, key=newest.hash_key)
            self._hashed.clear()
            if self.on_key is not None:
                self.on_key()


def marked(octets: bytes) -> tuple[bytes, ...]:
    """The fingerprints that stand in a row there."""
    return tuple(octets[at : at + FINGERPRINT] for at in range(0, len(octets), FINGERPRINT))
