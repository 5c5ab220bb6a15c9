"""Files that come in by HTTP: documents that prove, and tables of rows.

Rules: a body is read to its end before a connection is taken, so that slow senders hold none.
"""

import asyncio
import csv
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from gateway.errors import Problem, UsageError, Words
from gateway.registry import alarms, exchange
from gateway.registry.alarms import OwnImport
from gateway.registry.documents import KINDS, MOST, NAMING, Document, Documents
from gateway.registry.forms import SHA256
from gateway.registry.reading import REPORT
from gateway.registry.rows import LINE_LIMIT, Bad, BadFile, rearm
from gateway.web.api import (
    Answer,
    Call,
    Endpoint,
    Octets,
    Page,
    Paging,
    Query,
    Upload,
    not_found,
    page_of,
)
from gateway.web.aside import aside
from gateway.web.problems import shown

OCTETS = "application/octet-stream"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_TABLE = 64 << 20
MOST_LINES = 10_000
IMPORTS: dict[str, frozenset[str]] = {
    "institution": frozenset({"numbers", "mandates", "recipients", "consents", "refusals"}),
    "carrier": frozenset({"institutions", "accounts", "account_numbers", "released"}),
    "regulator": frozenset({"blacklist", "complaints", "released"}),
}
"""The kinds of table that a role brings in by HTTP."""


class NewDocument(Query):
    """What a document proves."""

    kind: KINDS = "other"


class Of(Query):
    """The row that names the document, such as numbers/17; not needed for what one handed in oneself."""

    of: str = Field("", pattern=r"^(|(" + "|".join(NAMING) + r")/\d{1,18})$")


class Import(Query):
    """`dry_run`: only say what would become of each line."""

    dry_run: Literal["", "true", "false", "1", "0"] = ""


class RejectedLine(BaseModel):
    """A line that did not go in, and why; of subscribers' numbers a part is hidden."""

    line: int
    column: str
    value: str
    cause: str
    expected: str


class Imported(BaseModel):
    """What became of a file's lines. `lines`: the first 10,000 that were rejected."""

    rows: int
    accepted: int
    unchanged: int
    rejected: int
    waiting: int = Field(description="of the bans, those that a second person has to agree to")
    lines: list[RejectedLine]


def documents(call: Call) -> Documents:
    return Documents(call.site.data_dir / "documents")


async def hand_in(call: Call) -> Answer:
    upload: Upload = call.body
    folder = documents(call)
    received = await folder.receive(upload.chunks)
    try:
        async with call.site.door.acting(call.actor) as c, c.transaction():
            made = await folder.put(c, call.actor, received, call.query.kind, upload.name)
    finally:
        received.path.unlink(missing_ok=True)
    return Answer(made, 201, None, {"Location": f"/api/v1/documents/{made.sha256.hex()}"})


async def document(call: Call) -> Answer:
    try:
        sha256 = SHA256.parse(call.path["sha256"])
    except Bad:
        raise not_found() from None
    owner = call.site.door.owner if call.actor.institution else None
    path, media_type = await documents(call).get(call.c, sha256, call.query.of, owner=owner)
    name = f'attachment; filename="{sha256.hex()[:16]}"'
    return Answer(path, headers={"Content-Type": media_type, "Content-Disposition": name})


async def imports(call: Call) -> Answer:
    query: Paging = call.query
    rows = await alarms.own_runs(call.c, call.actor, before=query.last, limit=query.limit + 1)
    return Answer(page_of(rows, query.limit, lambda row: (row.id,)))


async def bring(call: Call) -> Answer:
    kind = call.path["kind"]
    if kind not in IMPORTS[call.actor.role]:
        raise not_found()
    folder = call.site.passing.folder()
    try:
        path = await _saved(call.body, folder)
        async with call.site.importing:
            return Answer(await _brought(call, kind, path))
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _brought(call: Call, kind: str, path: Path) -> Imported:
    try:
        done = await aside(
            partial(
                exchange.import_file,
                kind,
                path,
                call.site.door.dsn,
                call.site.key,
                dry_run=call.query.dry_run in ("true", "1"),
                terms=call.site.terms,
                progress=False,
                actor=call.actor,
            )
        )
    except BadFile as error:
        cause, cause_zh, expected, expected_zh = error.flaw
        raise Problem(
            "invalid", Words(cause_zh, cause), field="file", expected=Words(expected_zh, expected)
        ) from None
    except UsageError as error:
        said = str(error).replace(f"{path}: ", "")
        raise Problem("invalid", Words(f"文件无法导入：{said}", said), field="file") from None
    lines = await asyncio.to_thread(_rejected, done.rejected_path, call.zh) if done.rejected_path else []
    return Imported(
        rows=done.rows,
        accepted=done.accepted,
        unchanged=done.unchanged,
        rejected=done.rejected,
        waiting=done.waiting,
        lines=lines,
    )


async def _saved(upload: Upload, folder: Path) -> Path:
    """The upload as a file that is called what it is; its name is what the import is known by."""
    stem = "".join(letter for letter in Path(upload.name).stem if letter.isalnum() or letter in "-_ ")[:60]
    fresh, head = folder / "upload", b""
    with fresh.open("wb") as file:
        async for chunk in upload.chunks:
            head += chunk[: 4 - len(head)]
            await asyncio.to_thread(file.write, chunk)
    return fresh.replace(folder / f"{stem or 'upload'}{'.xlsx' if head == b'PK' + bytes((3, 4)) else '.csv'}")


def _rejected(path: Path, zh: bool) -> list[RejectedLine]:
    csv.field_size_limit(2 * LINE_LIMIT)
    found = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(reader)
        for cells in reader:
            line, column, value, cause, expected, cause_zh, expected_zh = cells[: len(REPORT)]
            said = shown(column, rearm(value))
            found.append(
                RejectedLine(
                    line=int(line),
                    column=column,
                    value=said if isinstance(said, str) else "",
                    cause=cause_zh if zh else cause,
                    expected=expected_zh if zh else expected,
                )
            )
            if len(found) == MOST_LINES:
                break
    return found


HANDERS = frozenset({"institution", "agency", "provider", "carrier", "regulator"})
ENDPOINTS = (
    Endpoint(
        "POST", "/documents", HANDERS, "write",
        Words("上传文件（PDF、PNG、JPEG，不超过 20 MB）", "hand in a PDF, PNG or JPEG of at most 20 MB"),
        hand_in, body=Octets(MOST, ("application/pdf", "image/png", "image/jpeg", OCTETS)),
        query=NewDocument, answer=Document, status=201, connected=False,
        problems=frozenset({"media_type", "too_large"}),
    ),
    Endpoint(
        "GET", "/documents/{sha256}", HANDERS | {"auditor"}, "read", Words("下载文件", "a document"),
        document, query=Of, answer=bytes,
    ),
    Endpoint(
        "GET", "/imports", frozenset(IMPORTS), "read",
        Words("本人的导入及进度，新的在前", "one's own imports, newest first, and how far they are"),
        imports, query=Paging, answer=Page[OwnImport],
    ),
    Endpoint(
        "POST", "/imports/{kind}", frozenset(IMPORTS), "write",
        Words("批量导入（CSV 或 XLSX，不超过 64 MiB）", "bring in a table: CSV or XLSX, at most 64 MiB"),
        bring, body=Octets(MOST_TABLE, ("text/csv", XLSX, OCTETS)), query=Import, answer=Imported,
        connected=False, problems=frozenset({"media_type", "too_large"}),
    ),
)  # fmt: skip
