"""What peers of SGIP and SMPP share: a login carries the secret itself, an answer proves nothing."""

from hmac import compare_digest
from typing import ClassVar

from gateway.protocols.message import Login


class ClearSecret:
    """`answers_with` is what the answer to a login holds in place of a proof."""

    answers_with: ClassVar[bytes] = b""

    @staticmethod
    def is_proved(login: Login, secret: bytes) -> bool:
        return compare_digest(secret, login.authenticator)

    @classmethod
    def proof(cls, login: Login, version: int, secret: bytes) -> bytes:
        return cls.answers_with

    @staticmethod
    def is_vouched(frame: bytes, login: Login, secret: bytes) -> bool:
        return True
