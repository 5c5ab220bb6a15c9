"""Telephone numbers in one canonical spelling (domain.md "Telephone numbers").

Rules of this file: canonical text is `+` and E.164 for mobile, geographic and foreign numbers, bare digits
for codes that have no international form (10…, 11…, 12…, 95…, 96…, 400…, 800…); `pseudo:` and the octets
as they came for pseudo-numbers of CMPP 3.0, which are opaque; what cannot be read is "". Proved against the
phonenumbers library by tests; the library itself is too slow for the path.

Spellings that could be two numbers, and how they are read:
* bare 10…, 12…, 95…, 96… is a code, never a Beijing or Ningxia number without its trunk 0;
* after 86 or +86, digits that make a whole geographic number are one (+86 10 6900 0123), else a code may
  follow (+86 106900012345, +86 95588);
* +10… and +11… (or 0010…) are codes, as no area behind +1 begins with 0 or 1;
* 0 and area code before a service code (0571 95588) is that city's service line, as the library has it;
* without trunk 0 and prefix, 10 or 11 digits that make a whole geographic number are one (57188886666);
  a local number without area code cannot be read.
"""

import re
from unicodedata import normalize

_CODE_HEADS = frozenset(("10", "11", "12", "95", "96"))
_MOBILE_SECOND = frozenset("3456789")
_LONGEST = 20  # octets of a code with its extension digits: CMPP Src_Id is 21 with its NUL

_CODE = re.compile(rf"1[0-2]\d{{1,{_LONGEST - 2}}}|9[56]\d{{3,{_LONGEST - 2}}}|[48]00\d{{7,{_LONGEST - 3}}}")
_MOBILE = re.compile(r"1[3-9]\d{9}")
_AREA_OF_3 = r"(?!400|800|95[06-9]|96)[3-9]\d\d"
_GEOGRAPHIC = re.compile(rf"(?:10|2\d)\d{{8}}|{_AREA_OF_3}\d{{7,8}}")
_CITY_SERVICE = re.compile(rf"(?:10|2\d|{_AREA_OF_3})(?:100\d\d|123\d\d|9[56]\d{{3,4}})")
_BARE_GEOGRAPHIC = re.compile(rf"2\d[2-8]\d{{7}}|{_AREA_OF_3}[2-8]\d{{6,7}}")
_FOREIGN = re.compile(r"(?!86)[1-9]\d{6,14}")
_URI = re.compile(r"(tel|sips?):([^;?@:>]*)[^;?>]*(?:;[^?>]*?phone-context=(\+[\d.()\-]+))?", re.IGNORECASE)
PSEUDO = "pseudo:"
_PSEUDO = re.compile(rf"{PSEUDO}[!-~]{{1,32}}")
_LONGEST_CALLED = 8  # digits of a code that is called; the longest are 95…
_SEPARATORS = re.compile(r"[\s()./\0\u2010-\u2015\u2212-]+")


def canonical(raw: bytes | str) -> str:
    """The canonical spelling of a number as a peer or a file wrote it; "" when it cannot be read.

    Octets are read up to the first NUL.
    """
    digits = False
    if not isinstance(raw, bytes):
        text = raw
    elif len(raw) == 11 and raw[0] == 0x31 and 0x33 <= raw[1] <= 0x39 and raw.isdigit():
        return (b"+86" + raw).decode("ascii")  # nearly all that subscribers are spelt by; or the next
    elif len(raw) == 13 and raw[:3] == b"861" and 0x33 <= raw[3] <= 0x39 and raw.isdigit():
        return (b"+" + raw).decode("ascii")
    elif raw.isdigit():
        text, digits = raw.decode("ascii"), True
    else:
        try:
            text = raw.split(b"\0", 1)[0].decode("ascii")
        except UnicodeDecodeError:
            return ""
    if digits or (text.isdigit() and text.isascii()):
        size = len(text)
        if size == 11 and text[0] == "1" and text[1] in _MOBILE_SECOND:
            return "+86" + text
        head = text[:2]
        if head == "86":
            if size == 13 and text[2] == "1" and text[3] in _MOBILE_SECOND:
                return "+" + text
        elif head in _CODE_HEADS and 5 <= size <= _LONGEST:
            return text
    return _read(text)


def opaque(raw: bytes) -> str:
    """The canonical spelling of a pseudo-number: nobody's real number, whatever its digits; "" as above."""
    text = PSEUDO + raw.decode("latin-1")
    return text if _PSEUDO.fullmatch(text) else ""


def as_called(number: str) -> str:
    """A canonical number as one that is called; "" where another may ring. Behind a code (12593 13800138000)
    the network takes further digits for the number that is meant: its refusals, caps and debtors stand under
    that one. A sending number has its extension digits there."""
    if number.startswith("+") or len(number) <= _LONGEST_CALLED:
        return number
    return number if len(number) == 10 and number.startswith(("400", "800")) else ""


def mask(number: str) -> str:
    """How a subscriber's number may be shown: `138****0000`; the last eight digits lose their first four."""
    digits = number.removeprefix("+86").removeprefix("+")
    return digits[:-8] + "****" + digits[-4:] if len(digits) > 8 else "****" + digits[-2:]


def is_mobile(number: str) -> bool:
    """Whether a canonical number is a Chinese mobile number."""
    return len(number) == 14 and number.startswith("+861") and number[4] in _MOBILE_SECOND


def _read(text: str) -> str:
    """Any spelling but the commonest."""
    if not text.isascii():
        text = normalize("NFKC", text)
    if text.startswith(PSEUDO):
        return text if _PSEUDO.fullmatch(text) else ""
    if ":" in text:
        uri = _URI.match(text.strip())
        if uri is None:
            return ""
        user = uri[2].replace("%2B", "+").replace("%2b", "+")
        text = user if uri[3] is None or user.startswith("+") else uri[3] + user
    international = text.startswith("+")
    digits = text[1:] if international else text
    if not digits.isdigit():
        digits = _SEPARATORS.sub("", text)
        international = digits.startswith("+")
        digits = digits.removeprefix("+")
        if not digits.isdigit():
            return ""
    if not digits.isascii():
        return ""
    if not international and digits.startswith("00"):
        international, digits = True, digits[2:]
    if digits.startswith("86"):
        national = digits[2:].removeprefix("0")
        return _subscriber(national) or (national if _CODE.fullmatch(national) else "")
    if international and not digits.startswith(("10", "11")):
        return "+" + digits if _FOREIGN.fullmatch(digits) else ""
    if digits.startswith("0"):
        return _subscriber(digits[1:])
    if _CODE.fullmatch(digits):
        return digits
    return "+86" + digits if _MOBILE.fullmatch(digits) or _BARE_GEOGRAPHIC.fullmatch(digits) else ""


def _subscriber(national: str) -> str:
    """After a country code or trunk 0: a mobile, a geographic number, or a city's service line."""
    whole = (
        _MOBILE.fullmatch(national) or _GEOGRAPHIC.fullmatch(national) or _CITY_SERVICE.fullmatch(national)
    )
    return "+86" + national if whole else ""
