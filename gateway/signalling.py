"""The settings of calls (contract.md `[voice]`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from gateway.errors import UsageError
from gateway.secured import Certified, MaybeFile, MaybeName, for_next_hops, for_readers, for_senders
from gateway.values import (
    Duration,
    Flag,
    Hop,
    MaybeEndpoint,
    Network,
    Section,
    Signalling,
    Telephone,
    Text50,
    Url,
    endpoint,
    hop,
    one_of,
    right,
)

if TYPE_CHECKING:
    from typing import Self


def _several(value: object) -> object:
    """One next hop may stand without a list around it; "" is none."""
    return ((value,) if value else ()) if isinstance(value, str) else value


def _is_area(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and 2 <= len(text) <= 3 and text[0] != "0")


def _are_keys(text: str) -> bool:
    return set(text) <= set("0123456789*#")


class Voice(Certified):
    listen: tuple[Signalling, ...] = Field(
        (),
        description='where calls come in, such as ["udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"], and tls://'
        " with tls_certificate; empty: no calls are carried",
    )
    next_hop: Annotated[tuple[Hop, ...], BeforeValidator(_several)] = Field(
        (),
        validate_default=True,
        description="where calls that pass go on to, such as sip:10.0.0.6:5060,"
        " sip:10.0.0.6:5060;transport=tcp or, by TLS, sips:core.example:5061; of several the first that"
        " answers OPTIONS",
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
    answers_403: tuple[Network, ...] = Field(
        (),
        description="peers without another trunk, who are told 403 where others are told 603; an SBC that has"
        " one would try it",
    )
    answers_608: tuple[Network, ...] = Field(
        (),
        description="peers who are told 608 of a subscriber's refusal, with a [card], though they don't"
        " announce sip.608",
    )
    record_route: Flag = Field(
        False,
        description="stay on the path of calls that pass: their end is seen, and which keys are pressed",
    )
    refusal_keys: Annotated[str, right("keys out of 0123456789*#, such as 9, or empty", _are_keys)] = Field(
        "9",
        description="who presses one of them in a call (SIP INFO) refuses further ones, and SMS; empty:"
        " none. Takes record_route",
    )

    tls_certificate: MaybeFile = Field("", description="PEM file: what is shown where tls:// listens")
    tls_key: MaybeFile = Field("", description="PEM file of its key")
    tls_client_ca: MaybeFile = Field(
        "", description="PEM file: callers by TLS show a certificate by one of these; empty: they need none"
    )
    upstream_tls_ca: MaybeFile = Field(
        "",
        description="PEM file: who may have certified a next hop by TLS; empty: whom this machine trusts",
    )
    upstream_tls_name: MaybeName = Field(
        "", description="name in the certificate of such a next hop; empty: the host of its address"
    )
    upstream_tls_certificate: MaybeFile = Field(
        "", description="PEM file that such a next hop is shown; empty: none"
    )
    upstream_tls_key: MaybeFile = Field("", description="PEM file of its key")

    @field_validator("next_hop")
    @classmethod
    def _is_there(cls, value: tuple[str, ...], said: ValidationInfo) -> tuple[str, ...]:
        if said.data.get("listen") and not all(value or ("",)):
            raise ValueError("sip:host:port, such as sip:10.0.0.6:5060, where calls from listen go on to")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Self":
        schemes = {address.partition("://")[0] for address in self.listen}
        hops = {hop(place)[2] for place in self.next_hop if place}
        if ("tls" in schemes) != bool(self.tls_certificate):
            raise ValueError("tls:// in listen and tls_certificate together, or neither")
        if schemes and "UDP" in hops and "udp" not in schemes:
            raise ValueError(
                "udp:// in listen beside a next hop by UDP, as its answers come there; or ;transport=tcp"
                " behind the next hop"
            )
        more = [name for name in UPSTREAM if getattr(self, name)]
        if more and "TLS" not in hops:
            raise ValueError(f"a next hop by TLS, such as sips:core.example:5061, beside {more[0]}")
        return self


class Card(Section):
    """Who refused a call, for callers that are told 608 (RFC 8688): a card that anybody may read."""

    listen: MaybeEndpoint = Field(
        "",
        description="where it is read, by HTTPS, such as 0.0.0.0:8443; empty: callers are told 603, not 608",
    )
    url: Url = Field(
        "", description="how callers reach it, such as https://calls.example; empty: https:// and listen"
    )
    tls_certificate: MaybeFile = Field("", description="PEM file: what its readers are shown")
    tls_key: MaybeFile = Field("", description="PEM file of its key")
    signing_certificate: MaybeFile = Field(
        "",
        description="PEM file: by what the card is signed, a P-256 key's; empty: one of our own, made at the"
        " first start, in data_dir/keys/card",
    )
    signing_key: MaybeFile = Field("", description="PEM file of its key")
    organisation: Text50 = Field("", description="who refused")
    telephone: Telephone = Field("", description="whom a caller asks; one of these three at least")
    email: Text50 = Field("", description="the same")
    website: Url = Field("", description="the same")

    @property
    def url_of_card(self) -> str:
        """ "": there is none."""
        return f"{self._base}{CARD_PATH}" if self.listen else ""

    @property
    def url_of_certificate(self) -> str:
        return f"{self._base}{CERTIFICATE_PATH}"

    @property
    def _base(self) -> str:
        return self.url.rstrip("/") or f"https://{self.listen}"

    def beside(self, folder: Path) -> "Self":
        """With its files taken from that folder."""
        files = {name: str((folder / file).resolve()) for name in CARD_FILES if (file := getattr(self, name))}
        return self.model_copy(update=files)

    @model_validator(mode="after")
    def _whole(self) -> "Self":
        if bool(self.signing_certificate) != bool(self.signing_key):
            raise ValueError("signing_certificate and signing_key together, or neither")
        if not self.listen:
            return self
        if not (self.tls_certificate and self.tls_key):
            raise ValueError("tls_certificate and tls_key beside listen, as cards are read by HTTPS alone")
        if self.url and not self.url.startswith("https://"):
            raise ValueError("url with https://, as cards are read by HTTPS alone")
        if not self.url and endpoint(self.listen)[0] in {"0.0.0.0", "::"}:
            raise ValueError("url beside a listen at every address, as callers need one")
        if not self.organisation:
            raise ValueError("organisation beside listen: who refused")
        if not (self.telephone or self.email or self.website):
            raise ValueError("telephone, email or website beside listen: whom a caller asks")
        return self


CARD_PATH, CERTIFICATE_PATH = "/608", "/608.pem"
CARD_FILES = ("tls_certificate", "tls_key", "signing_certificate", "signing_key")

UPSTREAM = ("upstream_tls_ca", "upstream_tls_name", "upstream_tls_certificate", "upstream_tls_key")
"""What is about next hops by TLS alone."""


def problems(voice: Voice, card: Card) -> Iterator[str]:
    """What is wrong with the TLS of calls, and of the card."""
    try:
        if card.listen:
            for_readers(card.tls_certificate, card.tls_key)
    except UsageError as error:
        yield f"card.{error}"
    try:
        for_senders(voice)
        if any(hop(place)[2] == "TLS" for place in voice.next_hop if place):
            for_next_hops(voice)
    except UsageError as error:
        yield f"voice.{error}"
