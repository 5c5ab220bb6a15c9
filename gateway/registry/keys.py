"""The registry key: how subscribers' numbers are hashed for look-up and sealed for those who may read them.

Rules: one key for all nodes of a database, 32 random octets in a file that only its owner reads; what is
stored in the database is its fingerprint, so that a node with another key is refused. Subscribers' mobile
numbers are few, so whoever has this key can reverse the hashes: it never leaves the node's disk.

While the key rotates there are two, the newer one in a file beside the older (`registry.key`,
`registry-2.key`, …). Which are in use the database says (table registry_keys) and the keeper tells the
replica; a file that is asked for and not known is looked for again, so that it may come at any time.
"""

import os
import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import NotReady, UsageError
from gateway.evidence.seal import create_once

KEY_OCTETS = 32
NONCE_OCTETS = 12
SEAL_VERSION = b"\x01"


def subscriber_key(number: str, key: bytes) -> bytes:
    """The 16 octets that a subscriber is looked up by; `key` is `RegistryKey.hash_key`, 32 octets."""
    return blake2b(number.encode(), digest_size=16, key=key).digest()


class RegistryKey:
    """One registry key. `fingerprint` (16 octets) says which, `hash_key` goes to `subscriber_key`,
    `lookup_key` hashes the subscribers of intercepts in the database, and by `nodes_key` nodes know one
    another.

    The oldest of a folder also knows those beside it: `keys` are all of them, oldest first; `current` is the
    one that new rows come under, and `first` the oldest, by whose hash the events of replies are known.
    """

    def __init__(self, secret: bytes, path: Path | None = None, first: "RegistryKey | None" = None) -> None:
        if len(secret) != KEY_OCTETS:
            raise ValueError(f"a registry key has {KEY_OCTETS} octets, not {len(secret)}")
        self.path = path
        self.fingerprint = _child(secret, b"fingerprint")[:16]
        self.hash_key = _child(secret, b"subscriber")
        self.lookup_key = _child(secret, b"intercepts")
        self.nodes_key = _child(secret, b"nodes")
        self._cipher = AESGCM(_child(secret, b"seal"))
        self._totp_cipher = AESGCM(_child(secret, b"totp"))
        self.first = first or self
        self.keys: tuple[RegistryKey, ...] = (self,)
        self.current = self

    def of(self, fingerprint: bytes) -> "RegistryKey":
        """The key beside this one, or this one itself. Raises NotReady when its file is not there (yet)."""
        known = {key.fingerprint: key for key in self.keys}
        if fingerprint not in known and self.path is not None:
            self.look()
            known = {key.fingerprint: key for key in self.keys}
        if fingerprint not in known:
            folder = self.path.parent if self.path is not None else "this node"
            raise NotReady(
                f"{folder}: no registry key {shown(fingerprint)}, which rows of the registry are under; right"
                " would be its file, out of the folder keys of the node where `zhengming key make` made it"
            )
        return known[fingerprint]

    def use(self, fingerprints: Sequence[bytes]) -> tuple["RegistryKey", ...]:
        """The keys that are in use, oldest first: the newest is `current` from now on. Raises NotReady."""
        keys = tuple(self.of(fingerprint) for fingerprint in fingerprints)
        self.current = keys[-1]
        return keys

    def look(self) -> None:
        """Read the files beside this key's that have come since."""
        known = {key.path for key in self.keys}
        for path in key_files(self.path.parent) if self.path is not None else ():
            if path not in known:
                try:
                    self.keys += (RegistryKey(path.read_bytes(), path, self),)
                except (OSError, ValueError) as error:
                    raise NotReady(f"registry key {path}: {error}") from None

    def hash(self, number: str) -> bytes:
        """The 16 octets that this subscriber is looked up by."""
        return subscriber_key(number, self.hash_key)

    def seal(self, number: str) -> bytes:
        """`number` for those who hold the key: version octet, nonce, AES-256-GCM text and tag."""
        return _sealed(self._cipher, number)

    def seal_totp(self, secret: str) -> bytes:
        """The secret of a user's code generator, sealed apart from subscribers' numbers."""
        return _sealed(self._totp_cipher, secret)

    def open_totp(self, sealed: bytes) -> str:
        """What `seal_totp` was given. Raises ValueError when it was sealed under another key than those in
        the folder, or altered."""
        return self._opened(sealed, totp=True)

    def open(self, sealed: bytes) -> str:
        """What `seal` was given. Raises ValueError when it was sealed under another key than those in the
        folder, or altered."""
        return self._opened(sealed, totp=False)

    def sealed_here(self, sealed: bytes) -> bool:
        """Whether this very key sealed it."""
        return _opened(self._cipher, sealed) is not None

    def _opened(self, sealed: bytes, *, totp: bool) -> str:
        first, known = self.first, 0
        while known < len(first.keys):
            for key in reversed(first.keys[known:]):  # mostly the newest
                text = _opened(key._totp_cipher if totp else key._cipher, sealed)
                if text is not None:
                    return text
            known = len(first.keys)
            first.look()
        raise ValueError("what is sealed was sealed under another key, or altered")


def load_key(path: Path) -> RegistryKey:
    """The oldest key in the folder of `path`, with those beside it; made at `path` if there is none, whoever
    comes first.

    Raises UsageError when a file can't be read, or is not a key.
    """
    try:
        if not (files := key_files(path.parent)):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_once(path, os.urandom(KEY_OCTETS))
            files = [path]
        key = RegistryKey(files[0].read_bytes(), files[0])
        key.look()
    except (OSError, ValueError) as error:
        raise UsageError(f"registry key {path}: {error}") from None
    except NotReady as error:
        raise UsageError(str(error)) from None
    return key


def make_key(folder: Path) -> RegistryKey:
    """A key beside the one that is there, for a rotation. Raises UsageError when there are two already."""
    files = key_files(folder)
    if len(files) != 1:
        there = ", ".join(map(str, files)) or f"none in {folder}"
        raise UsageError(
            f"registry keys: {there}; right would be one: `zhengming key status` says how far a rotation is"
        )
    path = folder / f"registry-{_number(files[0]) + 1}.key"
    try:
        create_once(path, os.urandom(KEY_OCTETS))
    except OSError as error:
        raise UsageError(f"registry key {path}: {error}") from None
    return RegistryKey(path.read_bytes(), path)


def key_files(folder: Path) -> list[Path]:
    """The registry keys in a folder, oldest first."""
    found = [path for path in folder.glob("registry*.key") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number)


def shown(fingerprint: bytes) -> str:
    """A fingerprint for people: its first half."""
    return fingerprint[:8].hex()


_NAME = re.compile(r"registry(?:-([2-9]|[1-9][0-9]+))?\.key")


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1] or 1) if match is not None else 0


def _sealed(cipher: AESGCM, text: str) -> bytes:
    nonce = os.urandom(NONCE_OCTETS)
    return SEAL_VERSION + nonce + cipher.encrypt(nonce, text.encode(), SEAL_VERSION)


def _opened(cipher: AESGCM, sealed: bytes) -> str | None:
    """None: sealed under another key, or altered."""
    version, nonce, text = sealed[:1], sealed[1 : 1 + NONCE_OCTETS], sealed[1 + NONCE_OCTETS :]
    try:
        return cipher.decrypt(nonce, text, version).decode()
    except (InvalidTag, ValueError):  # of another length than a nonce has
        return None


def _child(secret: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, key=secret, digest_size=32, person=b"zhengming-regist").digest()
