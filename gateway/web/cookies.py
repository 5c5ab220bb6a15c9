"""The console's cookie: sent to this host only, read by no script, never with another site's request."""

import datetime

COOKIE = "zm_session"


def cookie_of(secret: str, lasts: datetime.timedelta, *, secure: bool) -> str:
    """The header Set-Cookie that signs a browser in; `secure` when the site is reached by https."""
    parts = [
        f"{COOKIE}={secret}",
        "Path=/",
        f"Max-Age={int(lasts.total_seconds())}",
        "HttpOnly",
        "SameSite=Strict",
    ]
    return "; ".join([*parts, "Secure"] if secure else parts)
