"""What records of a case say, sealed anew under the case's key before the key of their day is destroyed.

    cases/HOLD/ID   version, id, SHA-256 of the record's octets, name and check of the key, nonce, seal

ID is the record's, in hex; HOLD a word such as `case-17`, as it stands in the name of the key
(`2025-11-21.traffic.case-17`, evidence/seal.py). The seal is AES-256-GCM over what the record's own seal hid
and the key of that day's digests, so that it can still be shown to be what was recorded: it opens no other
record. All before the seal is authenticated. The record itself stays where it is, in its segment. To forget
what a case kept is to destroy its keys; the files then say nothing and go.
"""

import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from gateway.evidence import record as rec
from gateway.evidence.found import Found
from gateway.evidence.seal import TRAFFIC, KeyGone, Keys, create_once, keyed_hash

_SALT = b"zhengming case record"


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    version: Literal[1] = 1
    id: rec.Id
    record: Annotated[bytes, Meta(min_length=32, max_length=32)]
    key_name: str
    key_check: bytes
    nonce: Annotated[bytes, Meta(min_length=12, max_length=12)]


class _Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    head: bytes
    sealed: bytes


class _Plain(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    subscriber: str
    octets: rec.Octets
    text_key: bytes


_heads = msgspec.msgpack.Decoder(_Head)
_kepts = msgspec.msgpack.Decoder(_Kept)
_plains = msgspec.msgpack.Decoder(_Plain)


class Held:
    """Of one node: `folder` is its `cases`."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._folder = folder
        self._keys = keys

    def has(self, hold: str, identifier: bytes) -> bool:
        return (self._folder / hold / identifier.hex()).exists()

    def keep(self, hold: str, found: Found, text_key: bytes) -> None:
        """Seal anew, durably, what an opened record hides. `text_key`: of its day's digests."""
        assert isinstance(found.record, rec.Attempt | rec.Reply)
        assert found.content is not None
        identifier = found.record.id
        path = self._folder / hold / identifier.hex()
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (path.parent.parent, path.parent.parent.parent):
                _sync(folder)
        key = self._keys.data_key(rec.day_of(rec.time_of(identifier)), TRAFFIC, hold)
        nonce = secrets.token_bytes(12)
        digest = sha256(found.octets).digest()
        head = msgspec.msgpack.encode(
            _Head(id=identifier, record=digest, key_name=key.name, key_check=key.check, nonce=nonce)
        )
        plain = _Plain(found.content.subscriber, found.content.octets, text_key)
        sealed = key.segment(_SALT, b"").encrypt(nonce, msgspec.msgpack.encode(plain), head)
        create_once(path, msgspec.msgpack.encode(_Kept(head, sealed)))

    def content(self, octets: bytes, record: rec.Record) -> rec.Content | None:
        """What a case kept of this record; None when none did, or its key is gone too."""
        if not isinstance(record, rec.Attempt | rec.Reply):
            return None
        for path in sorted(self._folder.glob(f"*/{record.id.hex()}")):
            try:
                plain = self._open(path, octets)
            except (OSError, KeyGone, InvalidTag, ValueError, msgspec.MsgspecError):
                continue
            said = plain.octets if isinstance(plain.octets, bytes) else b"".join(plain.octets)
            if keyed_hash(plain.text_key)(said) == record.digest:
                return rec.Content(subscriber=plain.subscriber, octets=plain.octets)
        return None

    def forget(self, name: str, *, at: int) -> None:
        """Destroy the key of this name, which is one of a case's, and what it sealed. `at`: ms."""
        day, retention, hold = name.split(".")
        self._keys.forget(day, retention, hold, at=at)
        for path in (self._folder / hold).glob("[!.]*"):
            if rec.day_of(rec.time_of(bytes.fromhex(path.name))) == day:
                path.unlink()

    def _open(self, path: Path, octets: bytes) -> _Plain:
        kept = _kepts.decode(path.read_bytes())
        head = _heads.decode(kept.head)
        if head.record != sha256(octets).digest():
            raise ValueError("of another record")
        cipher: AESGCM = self._keys.find(head.key_name, head.key_check).segment(_SALT, b"")
        return _plains.decode(cipher.decrypt(head.nonce, kept.sealed, kept.head))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
