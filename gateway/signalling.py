"""The settings of calls (contract.md `[voice]`)."""

from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from gateway.values import Duration, Flag, Hop, Network, Section, Signalling, one_of, right


def _several(value: object) -> object:
    """One next hop may stand without a list around it; "" is none."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def _is_area(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and 2 <= len(text) <= 3 and text[0] != "0")


class Voice(Section):
    listen: tuple[Signalling, ...] = Field(
        (), description='where calls come in, such as ["udp://0.0.0.0:5060"]; empty: no calls are carried'
    )
    next_hop: Annotated[tuple[Hop, ...], BeforeValidator(_several)] = Field(
        (),
        validate_default=True,
        description="where calls that pass go on to, such as sip:10.0.0.6:5060; of several the first"
        " that answers OPTIONS",
    )
    mode: Annotated[str, one_of("proxy", "redirect")] = Field(
        "proxy", description="proxy: calls go through the node | redirect: the caller is told where to go"
    )
    trusted: tuple[Network, ...] = Field(
        (), description="peers whose P-Asserted-Identity names the caller; of others From does"
    )
    area: Annotated[str, right("an area code without its 0, such as 571, or empty", _is_area)] = Field(
        "", description="of callers who show a local number; empty: those can't be made out"
    )
    deadline: Duration = Field(
        "200ms", description="a call that is not judged by then is answered 503, before its caller repeats it"
    )
    record_route: Flag = Field(
        False, description="stay on the path of calls that pass, so that their end is seen"
    )

    @field_validator("next_hop")
    @classmethod
    def _is_there(cls, value: tuple[str, ...], said: ValidationInfo) -> tuple[str, ...]:
        if said.data.get("listen") and not all(value or ("",)):
            raise ValueError("sip:host:port, such as sip:10.0.0.6:5060, where calls from listen go on to")
        return value
