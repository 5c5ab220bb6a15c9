"""What one node asks of another, and the answer, as octets: only who holds the registry's key reads or makes
them, so an address that anybody reaches, and a way that anybody listens on, give nothing away.

    question  version (1) · salt (32) · sealed msgpack of `Question`
    answer    version (1) · salt (32) · frames, each u32 length · sealed msgpack of `Part`

Sealed is AES-256-GCM; all that stands before the first sealed octet is associated data. The key of a question
is HKDF-SHA256 of the nodes' key and its salt, that of an answer of the nodes' key and both salts: an answer
belongs to one question and can't be told for another. The nonce is the frame's number, and the last frame
says that it is the last, so none is left out, doubled or cut off. Nothing here opens a socket or knows the
time.
"""

import secrets
from collections.abc import Iterator
from typing import Literal, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.evidence import record as rec
from gateway.evidence.found import Followed, Found
from gateway.model import FOREVER

VERSION = b"\x01"
SALT_OCTETS = 32
MOST_QUESTION = 1 << 19  # a thousand accounts, ten thousand codes
"""Octets of a question."""
MOST_FRAME = 16 << 20
"""Octets of one frame of an answer."""
MOST_ANSWER = 64 << 20
"""Octets of a whole answer."""

_LENGTH = 4
_HEAD = len(VERSION) + SALT_OCTETS


class Unsealed(Exception):
    """These octets were sealed under another key, or altered, or are of another version."""


class OtherVersion(Unsealed):
    """A later version's."""


class Held(msgspec.Struct, array_like=True, frozen=True):
    """An account, and since when (ms) it has been its holder's."""

    carrier: str
    protocol: str
    account: str
    since: int = 0


class Scope(msgspec.Struct, array_like=True, frozen=True):
    """Whose records are shown: `code` is that of the carrier, institution or agency, `accounts` what it
    holds, whose attempts are its own whatever number they showed. The role "" is the operator of a node, who
    sees all kinds of records. The role "territory" is a regulator of the institutions `codes`, whose are the
    attempts over `accounts` that no institution is named in; a node that knows no such role shows nothing."""

    role: str = ""
    code: str = ""
    accounts: tuple[Held, ...] = ()
    codes: tuple[str, ...] = ()


class Wanted(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What is looked for: the record `identity` and what followed it, or else all that match the rest, as
    `Search.find` takes it. `newest`: the newest `limit`, else the oldest. `texts`: with what was sent.
    `followed`: outcomes and reports alone, of these attempts, which may lie elsewhere and which who asks may
    see.
    """

    identity: bytes = b""
    number: str = ""
    subscriber: str = ""
    since: int = 0
    until: int = FOREVER
    verdict: str = ""
    newest: bool = True
    limit: int = 100
    texts: bool = False
    followed: tuple[Followed, ...] = ()


class Question(msgspec.Struct, array_like=True, frozen=True):
    """`asked`: the name of the node that is to answer; `at`: when, ms; `seconds`: how long it may search."""

    asked: str
    at: int
    seconds: float
    scope: Scope
    wanted: Wanted


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """A `Found`."""

    octets: bytes
    writer: str
    segment: int
    index: int
    content: bytes | None
    sealed_by: str

    @classmethod
    def of(cls, found: Found, *, texts: bool) -> Self:
        """`texts`: with what was sent, else with the subscriber alone."""
        plain = None
        if found.content is not None:
            plain = rec.encode_content(found.content.subscriber, found.content.octets if texts else b"")
        return cls(found.octets, found.writer, found.segment, found.index, plain, found.sealed_by)

    def found(self) -> Found:
        """Raises RecordError, and NewerRecord for what a later version wrote."""
        content = rec.decode_content(self.content) if self.content is not None else None
        return Found(
            rec.decode(self.octets),
            self.octets,
            self.writer,
            self.segment,
            self.index,
            content,
            self.sealed_by,
        )


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One frame. `last`: no more follow; then `why` (a key of everywhere.WHY) says what is missing, or ""."""

    pieces: list[Piece]
    last: bool = False
    why: str = ""


_pack = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Question).decode
_part = msgspec.msgpack.Decoder(Part).decode


def _cipher(key: bytes, salt: bytes, what: Literal[b"question", b"answer"]) -> AESGCM:
    info = b"zhengming between nodes " + what
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key))


def seal_question(key: bytes, question: Question) -> tuple[bytes, bytes]:
    """The octets of a question, and its salt, by which its answer is opened."""
    salt = secrets.token_bytes(SALT_OCTETS)
    head = VERSION + salt
    return head + _cipher(key, salt, b"question").encrypt(bytes(12), _pack(question), head), salt


def open_question(key: bytes, octets: bytes) -> tuple[Question, bytes]:
    """The question, and its salt. Raises Unsealed."""
    if octets[:1] > VERSION:
        raise OtherVersion
    head, sealed = octets[:_HEAD], octets[_HEAD:]
    try:
        plain = _cipher(key, head[1:], b"question").decrypt(bytes(12), sealed, head)
        return _question(plain), head[1:]
    except (InvalidTag, ValueError, msgspec.MsgspecError):
        raise Unsealed from None


class Sealer:
    """Makes the octets of one answer: `head`, then `frame` for each part."""

    def __init__(self, key: bytes, question_salt: bytes) -> None:
        salt = secrets.token_bytes(SALT_OCTETS)
        self.head = VERSION + salt
        self._cipher = _cipher(key, question_salt + salt, b"answer")
        self._number = 0

    def frame(self, part: Part) -> bytes:
        sealed = self._cipher.encrypt(self._number.to_bytes(12, "big"), _pack(part), self.head)
        self._number += 1
        return len(sealed).to_bytes(_LENGTH, "big") + sealed


class Opener:
    """Takes the octets of the answer to one question as they come."""

    def __init__(self, key: bytes, question_salt: bytes) -> None:
        self._key = key
        self._salt = question_salt
        self._kept = bytearray()
        self._size = 0
        self._head = b""
        self._cipher: AESGCM | None = None
        self._number = 0

    def feed(self, octets: bytes) -> Iterator[Part]:
        """The parts that are whole now. Raises Unsealed."""
        self._kept += octets
        self._size += len(octets)
        if self._size > MOST_ANSWER:
            raise Unsealed
        if self._cipher is None:
            if len(self._kept) < _HEAD:
                return
            self._head = bytes(self._kept[:_HEAD])
            del self._kept[:_HEAD]
            if self._head[:1] != VERSION:
                raise OtherVersion
            self._cipher = _cipher(self._key, self._salt + self._head[1:], b"answer")
        while len(self._kept) >= _LENGTH:
            length = int.from_bytes(self._kept[:_LENGTH], "big")
            if length > MOST_FRAME:
                raise Unsealed
            if len(self._kept) < _LENGTH + length:
                return
            sealed = bytes(self._kept[_LENGTH : _LENGTH + length])
            del self._kept[: _LENGTH + length]
            try:
                yield _part(self._cipher.decrypt(self._number.to_bytes(12, "big"), sealed, self._head))
            except (InvalidTag, ValueError, msgspec.MsgspecError):
                raise Unsealed from None
            self._number += 1
