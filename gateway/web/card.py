"""Who refused a call: a signed card that callers read who were told 608 (RFC 8688 §3.2).

A JWS (RFC 7515, ES256) whose payload has `iat` and a jCard (RFC 7095). Callers reject one that is older than
about a minute, so each second's is signed anew. The key is in a file that only its owner reads; the first
start makes one where the settings name none. It knows nothing of calls: the card is the same for each.
"""

import base64
import datetime
import json
import ssl
from pathlib import Path
from time import time

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.errors import UsageError
from gateway.evidence.seal import create_once
from gateway.secured import Renewed
from gateway.signalling import CARD_PATH, CERTIFICATE_PATH, Card

YEARS = 20
"""How long a certificate of our own is good for; another is had by removing the files."""

OCTETS = 32  # of each half of an ES256 signature (RFC 7518 §3.4)


class Signer:
    """Signs the card of these settings, with their key or one in `folder`. Raises UsageError when that can't
    be read, or is no P-256 key with its certificate."""

    def __init__(self, card: Card, folder: Path) -> None:
        self._card = card
        certificate, key = Path(card.signing_certificate), Path(card.signing_key)
        if not card.signing_key:
            certificate, key = folder / "card.pem", folder / "card.key"
            _made(certificate, key, card.organisation)
        self.certificate, self._key = _read(certificate, key)
        header = {"alg": "ES256", "typ": "vcard+json", "x5u": card.url_of_certificate}
        self._header = _coded(json.dumps(header).encode())
        self._last = (0, b"")

    def signed(self, now: int) -> bytes:
        """The JWS of this second (since the epoch)."""
        if self._last[0] != now:
            payload = _coded(json.dumps({"iat": now, "jcard": self._jcard()}, ensure_ascii=False).encode())
            said = self._header + b"." + payload
            r, s = decode_dss_signature(self._key.sign(said, ec.ECDSA(hashes.SHA256())))
            proof = r.to_bytes(OCTETS, "big") + s.to_bytes(OCTETS, "big")
            self._last = now, said + b"." + _coded(proof)
        return self._last[1]

    def _jcard(self) -> list[object]:
        card = self._card
        rows: list[list[object]] = [
            ["version", {}, "text", "4.0"],
            ["fn", {}, "text", card.organisation],
            ["org", {}, "text", card.organisation],
        ]
        if card.telephone:
            rows.append(["tel", {"type": "work"}, "uri", f"tel:{card.telephone}"])
        if card.email:
            rows.append(["email", {"type": "work"}, "text", card.email])
        if card.website:
            rows.append(["url", {"type": "work"}, "uri", card.website])
        return ["vcard", rows]


def application(signer: Signer) -> web.Application:
    """The application of `[card] listen`: the card and the certificate it was signed by, nothing else."""

    async def card(_: web.Request) -> web.Response:
        fresh = {"Content-Type": "application/jose", "Cache-Control": "no-store"}
        return web.Response(body=signer.signed(int(time())), headers=fresh)

    async def certificate(_: web.Request) -> web.Response:
        return web.Response(body=signer.certificate, content_type="application/x-pem-file")

    served = web.Application()
    served.add_routes([web.get(CARD_PATH, card), web.get(CERTIFICATE_PATH, certificate)])
    return served


def newest(secured: Renewed) -> ssl.SSLContext:
    """A context that shows each reader the certificate as it is then."""

    def renew(reader: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        reader.context = secured.newest()

    context = secured.newest()
    context.sni_callback = renew
    return context


def _made(certificate: Path, key: Path, organisation: str) -> None:
    """A key and its own certificate, unless they are there."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not key.exists():
        fresh = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        create_once(
            key, fresh.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )
    if not certificate.exists():
        signer = _key(key)
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organisation)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(signer.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
            .sign(signer, hashes.SHA256())
        )
        create_once(certificate, made.public_bytes(serialization.Encoding.PEM))


def _read(certificate: Path, key: Path) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    try:
        octets = certificate.read_bytes()
        signer, shown = _key(key), x509.load_pem_x509_certificate(octets).public_key()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"card.signing_certificate: {error}; right would be PEM files of a P-256 key"
        ) from None
    if shown != signer.public_key():
        raise UsageError(
            f"card.signing_certificate: {certificate} is not of the key in {key}; right would be one that is"
        )
    return octets, signer


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, ec.SECP256R1):
        raise ValueError(f"{path} is no P-256 key")
    return found


def _coded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")
