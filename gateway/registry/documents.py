"""Documents that prove things (licence, mandate, consent, filing): kept by their hash on this node's disk.

Rules: PDF, PNG or JPEG by what the octets are, not by what they are called; at most 20 MB; the same octets
are one file, 0600. Whoever handed a document in may read it, and whoever sees a row that names it. The
database holds who handed in what; a document that was handed in at another node is read there, unless the
nodes share the folder.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import asyncpg
from pydantic import BaseModel

from gateway.errors import Problem, Words
from gateway.registry.acting import Actor, record
from gateway.registry.changing import missing
from gateway.registry.fields import Sha256

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

    Owner = Callable[[], AbstractAsyncContextManager[Connection]]

MOST = 20 * 1024 * 1024
HEADS = {
    b"%PDF-": "application/pdf",  # ISO 32000-1, 7.5.2
    b"\x89PNG\r\n\x1a\n": "image/png",  # ISO/IEC 15948, 5.2
    b"\xff\xd8\xff": "image/jpeg",  # ITU-T T.81, B.1.1.3: SOI, then a marker
}
"""By their first octets. The last ones say nothing: cameras append to a JPEG, signers to a PDF."""
HEAD = max(map(len, HEADS))

KINDS = Literal["licence", "mandate", "consent", "filing", "other"]
NAMING = {
    "numbers": "institution_id, agency_id",
    "mandates": "institution_id, agency_id",
    "institutions": "id",
    **dict.fromkeys(("consents", "penalties", "appeals", "disputes"), "institution_id"),
}
"""Tables with a column document_sha256, and whose papers a row of each may show to its parties."""


class Document(BaseModel):
    """A document as it was handed in."""

    sha256: Sha256
    media_type: str
    size: int


class Received(NamedTuple):
    """Octets that were taken in whole, in a file that is not in its place yet."""

    path: Path
    document: Document


def media_type(head: bytes) -> str:
    """What a file is by its first octets; "" for anything else."""
    return next((kind for octets, kind in HEADS.items() if head.startswith(octets)), "")


class Documents:
    """The folder of this node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, sha256: bytes) -> Path:
        """Where the document with this hash is kept."""
        name = sha256.hex()
        return self._folder / name[:2] / name

    async def receive(self, chunks: AsyncIterator[bytes]) -> Received:
        """Take octets in, durably. Problem `too_large`, `media_type`; nothing is left behind then."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f".{os.getpid()}.{secrets.token_hex(8)}"
        digest, head, size = hashlib.sha256(), b"", 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MOST:
                        raise too_large()
                    head += chunk[: HEAD - len(head)]  # the first chunk may be an octet
                    digest.update(chunk)
                    await asyncio.to_thread(_write, descriptor, chunk)
                found = media_type(head)
                if not found:
                    raise Problem(
                        "media_type",
                        Words("不是 PDF、PNG 或 JPEG 文件", "no PDF, PNG or JPEG file"),
                        field="file",
                        expected=Words("PDF、PNG 或 JPEG，不超过 20 MB", "PDF, PNG or JPEG of at most 20 MB"),
                    )
                await asyncio.to_thread(os.fsync, descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            path.unlink()
            raise
        return Received(path, Document(sha256=digest.digest().hex(), media_type=found, size=size))

    async def put(self, c: "Connection", actor: Actor, received: Received, kind: str, name: str) -> Document:
        """Put what was received in its place, and note who handed it in. In a transaction."""
        document = received.document
        place = self.place(document.sha256)
        await asyncio.to_thread(_link, received.path, place)
        await c.execute(
            "INSERT INTO documents (sha256, media_type, size) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            document.sha256,
            document.media_type,
            document.size,
        )
        await c.execute(
            """INSERT INTO document_uses (sha256, name, kind, user_id, institution_id)
               VALUES ($1, $2, $3, $4, $5)""",
            document.sha256,
            name[:200],
            kind,
            actor.user,
            actor.institution or None,
        )
        await record(c, actor, "document.put", f"documents/{document.sha256.hex()}", kind=kind)
        return document

    async def get(
        self, c: "Connection", sha256: bytes, of: str = "", *, owner: "Owner | None" = None
    ) -> tuple[Path, str]:
        """File and media type of a document that the actor handed in, or that the row `of` ("numbers/17")
        names, if he sees that row. Problem `not_found`.

        With `owner`, a connection that no policy binds, only if a party of that row, or an authority, handed
        it in: who writes rows himself must not get at others' papers by naming their hash.
        """
        table, _, identity = of.partition("/")
        if of and (table not in NAMING or not identity.isdecimal() or len(identity) > 18):
            raise missing()
        try:
            seen = await c.fetchval("SELECT EXISTS (SELECT FROM document_uses WHERE sha256 = $1)", sha256)
            if not seen and of:
                parties = await c.fetchval(
                    f"SELECT ARRAY[{NAMING[table]}] FROM {table} WHERE id = $1 AND document_sha256 = $2",
                    int(identity),
                    sha256,
                )
                seen = parties is not None and (owner is None or await _given(owner, sha256, parties))
        except asyncpg.InsufficientPrivilegeError:  # a table that the role never sees
            seen = False
        kind = (
            await c.fetchval("SELECT media_type FROM documents WHERE sha256 = $1", sha256) if seen else None
        )
        place = self.place(sha256)
        if kind is None or not await asyncio.to_thread(place.exists):
            raise missing()
        return place, kind


async def _given(owner: "Owner", sha256: bytes, parties: list[int | None]) -> bool:
    async with owner() as c:
        found: bool = await c.fetchval(
            """SELECT count(*) > 0 FROM document_uses
                WHERE sha256 = $1 AND (institution_id IS NULL OR institution_id = ANY ($2))""",
            sha256,
            parties,
        )
    return found


def too_large() -> Problem:
    """More octets than a document may have."""
    return Problem(
        "too_large",
        Words("文件超过 20 MB", "the file is larger than 20 MB"),
        field="file",
        expected=Words("不超过 20 MB", "at most 20 MB"),
    )


def _write(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _link(fresh: Path, place: Path) -> None:
    place.parent.mkdir(mode=0o700, exist_ok=True)
    fresh.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
