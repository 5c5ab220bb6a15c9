"""The registry key: how subscribers' numbers are hashed for look-up and sealed for those who may read them.

Rules: one key for all nodes of a database, 32 random octets in a file that only its owner reads; what is
stored in the database is its fingerprint, so that a node with another key is refused. Subscribers' mobile
numbers are few, so whoever has this key can reverse the hashes: it never leaves the node's disk.
"""

import os
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import UsageError
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
    another."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_OCTETS:
            raise ValueError(f"a registry key has {KEY_OCTETS} octets, not {len(secret)}")
        self.fingerprint = _child(secret, b"fingerprint")[:16]
        self.hash_key = _child(secret, b"subscriber")
        self.lookup_key = _child(secret, b"intercepts")
        self.nodes_key = _child(secret, b"nodes")
        self._cipher = AESGCM(_child(secret, b"seal"))
        self._totp_cipher = AESGCM(_child(secret, b"totp"))

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
        """What `seal_totp` was given. Raises ValueError when it was sealed under another key, or altered."""
        return _opened(self._totp_cipher, sealed)

    def open(self, sealed: bytes) -> str:
        """What `seal` was given. Raises ValueError when it was sealed under another key, or altered."""
        return _opened(self._cipher, sealed)


def load_key(path: Path) -> RegistryKey:
    """The key in `path`; made there if the file is missing, whoever comes first.

    Raises UsageError when the file can't be read, or is not a key.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_once(path, os.urandom(KEY_OCTETS))
        return RegistryKey(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"registry key {path}: {error}") from None


def _sealed(cipher: AESGCM, text: str) -> bytes:
    nonce = os.urandom(NONCE_OCTETS)
    return SEAL_VERSION + nonce + cipher.encrypt(nonce, text.encode(), SEAL_VERSION)


def _opened(cipher: AESGCM, sealed: bytes) -> str:
    version, nonce, text = sealed[:1], sealed[1 : 1 + NONCE_OCTETS], sealed[1 + NONCE_OCTETS :]
    try:
        return cipher.decrypt(nonce, text, version).decode()
    except InvalidTag:
        raise ValueError("what is sealed was sealed under another key, or altered") from None


def _child(secret: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, key=secret, digest_size=32, person=b"zhengming-regist").digest()
