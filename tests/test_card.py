"""The card that callers read who were told 608: whatever they check of it holds (RFC 8688 §3.2)."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pydantic import ValidationError
from test_tls import certified

from gateway.errors import UsageError
from gateway.signalling import Card
from gateway.web.card import Signer

WHOLE: dict[str, Any] = {
    "listen": "127.0.0.1:8443",
    "url": "https://calls.example",
    "tls_certificate": "a.pem",
    "tls_key": "a.key",
    "organisation": "浙海示例银行",
    "telephone": "+86-571-8765-4321",
}
NOW = 1_760_000_000


def read(jws: bytes, certificate: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload, once the signature holds."""
    header, payload, proof = (
        base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in jws.split(b".")
    )
    assert b"=" not in jws
    assert len(proof) == 64
    signature = encode_dss_signature(int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big"))
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, jws.rpartition(b".")[0], ec.ECDSA(hashes.SHA256()))
    return json.loads(header), json.loads(payload)


def test_a_card_is_signed_for_each_second_by_a_key_that_the_first_start_made(tmp_path: Path) -> None:
    signer = Signer(Card(**WHOLE), tmp_path / "keys" / "card")
    header, payload = read(signer.signed(NOW), signer.certificate)
    assert header == {"alg": "ES256", "typ": "vcard+json", "x5u": "https://calls.example/608.pem"}
    word, rows = payload["jcard"]
    assert (payload["iat"], word) == (NOW, "vcard")
    assert ["fn", {}, "text", "浙海示例银行"] in rows
    assert ["tel", {"type": "work"}, "uri", "tel:+86-571-8765-4321"] in rows
    assert signer.signed(NOW) == signer.signed(NOW)
    again = Signer(Card(**WHOLE), tmp_path / "keys" / "card")
    assert read(again.signed(NOW + 1), signer.certificate)[1]["iat"] == NOW + 1
    assert (tmp_path / "keys" / "card" / "card.key").stat().st_mode & 0o777 == 0o600


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    (mine, *_), (other, *_) = certified(tmp_path, "a.example"), certified(tmp_path, "b.example")
    named = {"signing_certificate": str(mine.certificate), "signing_key": str(mine.key)}
    signer = Signer(Card(**WHOLE, **named), tmp_path)
    read(signer.signed(NOW), mine.certificate.read_bytes())
    with pytest.raises(UsageError, match=r"b\.example\.key"):
        Signer(Card(**WHOLE, **(named | {"signing_key": str(other.key)})), tmp_path)
    with pytest.raises(UsageError, match="P-256"):
        Signer(Card(**WHOLE, **(named | {"signing_key": str(tmp_path / "none.key")})), tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tls_key": ""}, "tls_certificate and tls_key"),
        ({"url": "http://calls.example"}, "https://"),
        ({"url": "", "listen": "0.0.0.0:8443"}, "url beside"),
        ({"organisation": ""}, "who refused"),
        ({"telephone": ""}, "telephone, email or website"),
        ({"signing_key": "a.key"}, "together"),
    ],
)
def test_a_card_that_nobody_could_check_is_refused(change: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Card(**(WHOLE | change))
