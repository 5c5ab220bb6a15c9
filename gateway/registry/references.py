"""What a row names by code: institutions, agencies, providers, carriers. Codes and kinds are public, rows are
not, so whoever asks is answered the same."""

from typing import TYPE_CHECKING

from gateway.errors import Problem, Words

if TYPE_CHECKING:
    from gateway.registry.acting import Connection

_KINDS = {"agency": Words("合作机构", "an agency"), "provider": Words("短信服务商", "a provider")}


async def reference(c: "Connection", field: str, code: str) -> int:
    """The id of the institution that `code` names, whoever asks: codes are public. An `agency` or `provider`
    is one. Problem `invalid`."""
    found: int | None = await c.fetchval("SELECT institution_of($1)", code)
    if found is None:
        raise unknown(field, code)
    if (words := _KINDS.get(field)) and await c.fetchval("SELECT kind_of($1)", code) != field:
        raise Problem(
            "invalid",
            Words(f"不是{words.zh}", f"not {words.en}"),
            field=field,
            value=code,
            expected=Words(f"{words.zh}的代码", f"the code of {words.en}"),
        )
    return found


async def overseen(c: "Connection", field: str, code: str) -> int:
    """The id of the institution that `code` names, if the actor sees it: of a regulator's territory. Problem
    `invalid`."""
    found: int | None = await c.fetchval("SELECT id FROM institutions WHERE code = $1", code)
    if found is None:
        raise unknown(field, code)
    return found


def unknown(field: str, code: str | None) -> Problem:
    """The field names something that is not there."""
    return Problem(
        "invalid",
        Words("没有此代码", "nothing has this code"),
        field=field,
        value=code,
        expected=Words("已登记的代码", "a code that is registered"),
    )


async def known_carrier(c: "Connection", code: str) -> str:
    """`code`, which a carrier has. Problem `invalid`."""
    if not await c.fetchval("SELECT EXISTS (SELECT FROM carriers WHERE code = $1)", code):
        raise unknown("carrier", code)
    return code
