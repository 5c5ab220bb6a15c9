"""Tables out by HTTP, by the function that `zhengming export` calls: what one sees, as imports take it.

Rules: a file is whole before its first octet is sent, so that what fails is a problem and no half a table; it
lies on disk, not in memory, and goes when it has been sent. Subscribers go out in full: for a reason, to a
token that may reveal, on the audit.
"""

import shutil
from functools import partial
from typing import Literal

from gateway.errors import Problem, UsageError, Words
from gateway.registry import exchange
from gateway.web.api import EVERYBODY, Answer, Call, Endpoint, Query, not_found
from gateway.web.aside import aside
from gateway.web.resources.finding import Why
from gateway.web.resources.papers import XLSX

MEDIA = {"csv": "text/csv; charset=utf-8", "xlsx": XLSX}
BUSINESS = EVERYBODY - {"admin"}
REVEALERS = frozenset(
    role for role, kinds in exchange.EXPORTS.items() if not set(kinds) <= set(exchange.OPEN_KINDS)
)


class Form(Query):
    """What the file is like."""

    format: Literal["csv", "xlsx"] = "csv"
    headers: Literal["en", "zh"] = "en"


async def take_out(call: Call) -> Answer:
    """A kind without subscribers."""
    kind = call.path["kind"]
    if kind not in exchange.OPEN_KINDS and kind in exchange.EXPORTS[call.actor.role]:
        raise Problem(
            "invalid",
            Words("含用户号码，导出须说明事由", "it names subscribers, which takes a reason"),
            field="kind",
            value=kind,
            expected=Words(f"POST /exports/{kind}", f"POST /exports/{kind}"),
        )
    return await _export(call, "")


async def reveal(call: Call) -> Answer:
    """Any kind, for a reason."""
    return await _export(call, call.body.reason)


async def _export(call: Call, reason: str) -> Answer:
    kind, form = call.path["kind"], call.query
    if kind not in exchange.EXPORTS[call.actor.role]:
        raise not_found()
    async with call.site.exporting:
        return await _written(call, kind, form, reason)


async def _written(call: Call, kind: str, form: Form, reason: str) -> Answer:
    folder = call.site.passing.folder()
    path = folder / f"{kind}.{form.format}"
    try:
        done = await aside(
            partial(
                exchange.export_file,
                kind,
                path,
                call.site.door.dsn,
                call.site.key,
                headers=form.headers,
                progress=False,
                actor=call.actor,
                reason=reason,
            )
        )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UsageError):  # more rows than a sheet holds
            said = str(error).replace(f"{path}: ", "")
            raise Problem("invalid", Words(f"无法导出：{said}", said), field="format") from None
        raise
    headers = {
        "Content-Type": MEDIA[form.format],
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "X-Rows": str(done.rows),
        "X-Left-Out": f"{done.left_out}" + (f" ({done.which})" if done.left_out and done.which else ""),
    }
    return Answer(path, headers=headers, passes=True)


ENDPOINTS = (
    Endpoint(
        "GET", "/exports/{kind}", BUSINESS, "read",
        Words("导出所见的机构、委托、账号、号码、黑名单（CSV 或 XLSX）",
              "institutions, mandates, accounts, account_numbers, numbers or blacklist as CSV or XLSX"),
        take_out, query=Form, answer=bytes, connected=False, rate="write",
    ),
    Endpoint(
        "POST", "/exports/{kind}", REVEALERS, "reveal",
        Words("导出含用户号码的表（须说明事由，记入审计）",
              "also what names subscribers, in full, for a reason"),
        reveal, query=Form, body=Why, answer=bytes, connected=False, rate="write",
        example={"reason": "CASE-2026-1"},
    ),
)  # fmt: skip
