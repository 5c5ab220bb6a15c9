"""The settings of TLS on the way from senders and to carriers, and the contexts that they make.

Rules: what is asked for is had or the node does not start: there is no way back to plain text. TLS 1.2 at
least. Files are read when a context is made; a certificate that was renewed is taken for the next connection.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from gateway.errors import UsageError
from gateway.values import Flag, Section, right

if TYPE_CHECKING:
    from typing import Self

MaybeFile = Annotated[
    str, right("the path of a PEM file, in quotes, or empty", lambda text: "\0" not in text)
]
MaybeName = Annotated[
    str, right("a host name without spaces, in quotes, or empty", lambda text: not {*text} & {*" \0\t\n"})
]
CALLING = ("sgip",)
"""Protocols whose carriers deliver on connections of their own."""
FILES = (
    *("tls_certificate", "tls_key", "tls_client_ca"),
    *("upstream_tls_ca", "upstream_tls_certificate", "upstream_tls_key"),
)
"""Settings that are paths, from the configuration's folder."""


class Certified(Section):
    """What is shown and believed on both sides; both of a certificate and its key are named, or neither."""

    tls_certificate: MaybeFile = Field(
        "",
        description="PEM file: senders come by TLS alone, and are shown this chain; so are SGIP's listeners,"
        " which are called by TLS; empty: plain TCP",
    )
    tls_key: MaybeFile = Field("", description="PEM file of its key")
    tls_client_ca: MaybeFile = Field(
        "",
        description="PEM file: senders and SGIP's listeners show a certificate by one of these; empty:"
        " senders need none, and listeners one by whom this machine trusts",
    )
    upstream_tls_ca: MaybeFile = Field(
        "", description="PEM file: who may have certified the carrier; empty: whom this machine trusts"
    )
    upstream_tls_name: MaybeName = Field(
        "", description="name in the carrier's certificate; empty: the host of its address"
    )
    upstream_tls_certificate: MaybeFile = Field(
        "", description="PEM file that the carrier is shown, in SGIP also where it calls; empty: none"
    )
    upstream_tls_key: MaybeFile = Field("", description="PEM file of its key")

    def beside(self, folder: Path) -> "Self":
        """With its files taken from that folder."""
        files = {name: str((folder / file).resolve()) for name in FILES if (file := getattr(self, name))}
        return self.model_copy(update=files)

    @model_validator(mode="after")
    def _in_pairs(self) -> "Self":
        for one, other in (("tls_certificate", "tls_key"), ("upstream_tls_certificate", "upstream_tls_key")):
            if bool(getattr(self, one)) != bool(getattr(self, other)):
                raise ValueError(f"{one} and {other} together, or neither")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca beside tls_certificate and tls_key")
        return self


class Secured(Certified):
    """Of SMS: every listener of a section and all its carriers are gone to by TLS, or none."""

    upstream_tls: Flag = Field(False, description="go to the carrier by TLS; SGIP: it calls by TLS, too")

    @model_validator(mode="after")
    def _whole(self) -> "Self":
        more = [
            name for name in Secured.model_fields if name.startswith("upstream_tls_") and getattr(self, name)
        ]
        if more and not self.upstream_tls:
            raise ValueError(f"upstream_tls = true beside {more[0]}")
        if self.upstream_tls and getattr(self, "proxy_protocol", False):
            raise ValueError("upstream_tls or proxy_protocol: both on one connection are not served")
        if self.upstream_tls and self.is_called and not self.upstream_tls_certificate:
            raise ValueError(
                "upstream_tls_certificate beside upstream_tls: the carrier calls, and is shown one"
            )
        return self

    @property
    def is_called(self) -> bool:
        """Whether its carrier calls, and senders are called."""
        return getattr(self, "protocol", "") in CALLING


class Renewed:
    """A context that is made anew once a file of it was written; half renewed, the one before goes on.

    Raises UsageError where there is none yet.
    """

    def __init__(self, setting: str, files: Iterable[str], make: Callable[[], ssl.SSLContext]) -> None:
        self._files = [Path(file) for file in files if file]
        self._make = make
        self._written: list[int] = []
        self._context = _made(setting, self._anew)

    def newest(self) -> ssl.SSLContext:
        try:
            if self._times() != self._written:
                self._context = self._anew()
        except OSError:  # ssl.SSLError is one; looked at again for the next connection
            pass
        return self._context

    def _anew(self) -> ssl.SSLContext:
        written = self._times()  # first: what is written while it is read is read again
        context = self._make()
        self._written = written
        return context

    def _times(self) -> list[int]:
        return [file.stat().st_mtime_ns for file in self._files]


def for_senders(sms: Certified) -> Renewed | None:
    """By what the senders of one `[[sms]]` section are let in, or those of calls; None: in plain text. Raises
    UsageError."""

    files = sms.tls_certificate, sms.tls_key, sms.tls_client_ca
    make = partial(_serving, *files)
    return Renewed("tls_certificate", files, make) if sms.tls_certificate else None


def for_callers(sms: Secured) -> Renewed | None:
    """By what its carrier is let in where it calls; None: in plain text, or it never does. Raises
    UsageError."""
    files = sms.upstream_tls_certificate, sms.upstream_tls_key, sms.upstream_tls_ca
    make = partial(_serving, *files)
    return Renewed("upstream_tls", files, make) if sms.upstream_tls and sms.is_called else None


def for_listeners(sms: Secured) -> Renewed | None:
    """By what its senders are called where they listen: who is certified by `tls_client_ca` may have any
    name, as where he connects himself; None: in plain text, or they never are. Raises UsageError."""

    def make() -> ssl.SSLContext:
        context = _calling(sms.tls_client_ca, sms.tls_certificate, sms.tls_key)
        context.check_hostname = not sms.tls_client_ca
        return context

    files = sms.tls_certificate, sms.tls_key, sms.tls_client_ca
    return Renewed("tls_certificate", files, make) if sms.tls_certificate and sms.is_called else None


def for_carrier(sms: Secured) -> Renewed | None:
    """By what its carrier is gone to; None: in plain text. Raises UsageError."""

    return for_next_hops(sms) if sms.upstream_tls else None


def for_readers(certificate: str, key: str) -> Renewed:
    """By what a page of ours is read that nobody signs in for. Raises UsageError."""
    return Renewed("tls_certificate", (certificate, key), partial(_serving, certificate, key, ""))


def for_next_hops(voice: Certified) -> Renewed:
    """By what is gone to by TLS. Raises UsageError."""
    files = voice.upstream_tls_ca, voice.upstream_tls_certificate, voice.upstream_tls_key
    return Renewed("upstream_tls", files, partial(_calling, *files))


def _serving(certificate: str, key: str, authorities: str) -> ssl.SSLContext:
    """Of who is connected to; `authorities`: who connects needs a certificate by one of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key, _no_password)
    if authorities:
        context.load_verify_locations(authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _calling(authorities: str, certificate: str, key: str) -> ssl.SSLContext:
    """Of who connects, to whom one of `authorities` has certified, or one that this machine trusts."""
    context = ssl.create_default_context(cafile=authorities or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        context.load_cert_chain(certificate, key, _no_password)
    return context


def _no_password() -> bytes:
    """Of an encrypted key, which nobody is asked for at a terminal."""
    return b""


def _made(setting: str, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    try:
        return make()
    except OSError as error:  # ssl.SSLError is one
        where = f"{error.filename}: " if error.filename else ""
        why = error.strerror or error
        raise UsageError(f"{setting}: {where}{why}; right would be PEM files that belong together") from None


def problems(sections: Any) -> Iterator[str]:
    """What is wrong with the TLS of these `[[sms]]` sections."""
    for number, sms in enumerate(sections):
        try:
            for make in (for_senders, for_carrier, for_callers, for_listeners):
                make(sms)
        except UsageError as error:
            yield f"sms.{number}.{error}"
