"""The keys of the evidence: who may read a text, and until when (domain.md "Privacy, keeping, forgetting").

    master key ─wraps→ data key of (day × retention class × legal hold)
                         ├─ HKDF(salt and digest of a segment's header) → that segment's key
                         ├─ HKDF → child key of the subscribers' hashes
                         └─ HKDF → child key of the texts' digests

Files below one folder, each 0600 and never changed once it stands: `master.key` (32 octets), `data/NAME.key`
(wrapped), `secret/NAME.key` (wrapped; keys that outlive days). Several processes may want the same new key
at once: each writes its own file and links it to the name; one wins and the others read the winner's.
To forget a day is to destroy its data key: a tombstone takes the file's place, so that a wrong clock can't
bring the name back. Nothing here knows records or journals.
"""

import os
import re
import secrets
import struct
from collections.abc import Callable
from hashlib import blake2s
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import UsageError

TRAFFIC = "traffic"
"""Retention class of attempts, outcomes, reports and replies (≥ 5 months)."""
REGISTRY = "registry"
"""Retention class of registry acts (kept for good)."""

MOST_KNOWN = 4
"""Data keys that a process holds in memory: today's, tomorrow's, and those of a clock set back."""

_WRAPPED = b"ZMKEY1\r\n"
_FORGOTTEN = b"ZMGONE1\n"
_WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class KeyGone(Exception):
    """The key that sealed this was destroyed, or is not on this node: the text can't be read."""


def keyed_hash(key: bytes) -> Callable[[bytes], bytes]:
    """BLAKE2s with `key` (RFC 7693), 16 octets; the keyed state is copied, which halves its cost."""
    copy = blake2s(key=key, digest_size=16).copy

    def digest(octets: bytes) -> bytes:
        state = copy()
        state.update(octets)
        return state.digest()

    return digest


def _derive(key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"zhengming " + info).derive(key)


class DataKey:
    """One day's key for one retention class; `check` tells it from any other that bears its name."""

    __slots__ = ("_key", "check", "hash_subscriber", "hash_text", "name", "text_key")

    def __init__(self, name: str, key: bytes) -> None:
        self.name = name
        self._key = key
        self.check = _derive(key, b"check")[:8]
        self.hash_subscriber = keyed_hash(_derive(key, b"subscriber"))
        self.text_key = _derive(key, b"text")
        self.hash_text = keyed_hash(self.text_key)

    def segment(self, salt: bytes, header_digest: bytes) -> AESGCM:
        """The cipher of one segment; any other header gives another key."""
        return AESGCM(_derive(self._key, b"segment" + header_digest, salt))


class Keys:
    """The keys of a node, in a folder that all its processes share.

    Creates the folder and the master key on the first start; raises UsageError when data keys exist whose
    master key does not, or is another one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._secrets = directory / "secret"
        for folder in (directory, self._data, self._secrets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._known: dict[str, DataKey] = {}
        master = directory / "master.key"
        if not master.exists():
            if any(self._data.iterdir()) or any(self._secrets.iterdir()):
                raise UsageError(f"{master}: missing, but keys that it wraps exist: restore its backup")
            create_once(master, secrets.token_bytes(32))
        key = master.read_bytes()
        if len(key) != 32:
            raise UsageError(f"{master}: {len(key)} octets, expected 32")
        self._master = AESGCM(key)
        self._master_id = _derive(key, b"master id")[:8]
        for newest in sorted(self._data.glob("*.key"))[-1:]:
            self._ours(newest, newest.read_bytes())

    @staticmethod
    def name(day: str, retention: str = TRAFFIC, hold: str = "") -> str:
        """`2025-11-21.traffic` or `2025-11-21.traffic.CASE`: how headers and files call a data key."""
        words = [retention, hold] if hold else [retention]
        if not _DAY.fullmatch(day) or not all(map(_WORD.fullmatch, words)):
            raise UsageError(f"data key {day!r} {retention!r} {hold!r}: expected a day and words")
        return ".".join((day, *words))

    def data_key(self, day: str, retention: str = TRAFFIC, hold: str = "") -> DataKey:
        """The data key to seal with, made now if nobody has yet. Raises KeyGone when it was forgotten."""
        name = self.name(day, retention, hold)
        known = self._known.get(name)
        if known is None:
            while len(self._known) >= MOST_KNOWN:  # those of days gone by have no business in memory
                del self._known[next(iter(self._known))]
            known = self._known[name] = DataKey(name, self._obtain(self._data / f"{name}.key"))
        return known

    def find(self, name: str, check: bytes) -> DataKey:
        """The data key that a header names; read from disk each time, for it may be forgotten meanwhile.

        Raises KeyGone.
        """
        try:
            found = DataKey(name, self._unwrap(self._data / f"{name}.key"))
        except FileNotFoundError:
            raise KeyGone(f"data key {name} is not on this node") from None
        if found.check != check:
            raise KeyGone(f"data key {name} is not the one that sealed this")
        return found

    def secret(self, name: str) -> bytes:
        """A lasting key of 32 octets by name (`registry`, `lookup`), made now if nobody has yet."""
        if not _WORD.fullmatch(name):
            raise UsageError(f"key name {name!r}: expected letters, digits, - and _")
        return self._obtain(self._secrets / f"{name}.key")

    def names(self) -> list[str]:
        """The names of all data keys that can still be read, oldest first."""
        return sorted(path.stem for path in self._data.glob("*.key") if path.read_bytes()[:8] == _WRAPPED)

    def forget(self, day: str, retention: str = TRAFFIC, hold: str = "", *, at: int) -> bool:
        """Destroy a data key for good; False when it was already forgotten. `at`: ms, kept in the tombstone.

        Segments, hashes and digests of that key stay, and say nothing of texts and subscribers any more.
        """
        name = self.name(day, retention, hold)
        path = self._data / f"{name}.key"
        self._known.pop(name, None)
        try:
            with path.open("r+b") as file:
                if file.read(8) == _FORGOTTEN:
                    return False
                size = os.fstat(file.fileno()).st_size
                tombstone = _FORGOTTEN + struct.pack(">q", at)
                file.seek(0)
                file.write(tombstone.ljust(size, b"\0"))  # at once: a kill must not leave neither of both
                file.flush()
                os.fsync(file.fileno())
                file.truncate(len(tombstone))
                os.fsync(file.fileno())
        except FileNotFoundError:
            create_once(path, _FORGOTTEN + struct.pack(">q", at))
        return True

    def _obtain(self, path: Path) -> bytes:
        try:
            return self._unwrap(path)
        except FileNotFoundError:
            nonce = secrets.token_bytes(12)
            wrapped = self._master.encrypt(nonce, secrets.token_bytes(32), self._bound(path))
            create_once(path, _WRAPPED + self._master_id + nonce + wrapped)
            return self._unwrap(path)

    def _unwrap(self, path: Path) -> bytes:
        octets = path.read_bytes()
        if octets[:8] == _FORGOTTEN:
            raise KeyGone(f"data key {path.stem} was forgotten")
        if octets[:8] != _WRAPPED or len(octets) != 76:
            raise UsageError(f"{path}: not a wrapped key, or cut")
        self._ours(path, octets)
        try:
            return self._master.decrypt(octets[16:28], octets[28:], self._bound(path))
        except InvalidTag:
            raise UsageError(f"{path}: damaged, or renamed from another key") from None

    def _ours(self, path: Path, octets: bytes) -> None:
        if octets[:8] == _WRAPPED and octets[8:16] != self._master_id:
            raise UsageError(f"{path}: wrapped by another master key than {self._directory / 'master.key'}")

    def _bound(self, path: Path) -> bytes:
        return self._master_id + f"{path.parent.name}/{path.stem}".encode()


def create_once(path: Path, octets: bytes) -> None:
    """Make a file of these octets durable under `path`, unless somebody else was first; never half of one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, octets)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
