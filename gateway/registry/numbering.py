"""Telephone numbers as they may be filed, banned or shielded: what a file says → canonical, checked.

Rules: canonical text is `policy.numbers`' business; here it is asked whether such a number can exist
(phonenumbers library), whether it may be filed, and how the beginning of numbers is spelt. Everything that
is not right raises `Bad`. It knows no file format and no database.
"""

import re
from typing import Any

import phonenumbers

from gateway.policy.numbers import PSEUDO, canonical
from gateway.registry.rows import Bad

CODE_BLOCKS = ("10", "11", "12", "95", "96", "400", "800")
"""What numbers without international form begin with (domain.md "Telephone numbers")."""

DIGITS_MAX = 20
"""Digits of the longest sending number: Src_Id has 21 octets with its NUL (CMPP 3.0 §7.4.3.1)."""

SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d+)?[eE][-+]?\d+")
FRACTIONAL = re.compile(r"\s*[-+]?\d+\.\d{1,2}\s*")
"""A number with decimals. Dots may stand between groups of digits, but no last group is that short."""
SEPARATORS = re.compile(r"[\s\-()]")


def _chinese() -> re.Pattern[str]:
    """What `is_valid_number` asks of a national number of China, as one pattern: a tenth of its time."""
    plan: Any = phonenumbers.PhoneMetadata.metadata_for_region("CN")
    kinds = (
        *(plan.mobile, plan.fixed_line, plan.toll_free, plan.shared_cost, plan.premium_rate),
        *(plan.personal_number, plan.voip, plan.pager, plan.uan, plan.voicemail),
    )
    patterns = "|".join(
        kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern
    )
    return re.compile(rf"(?=(?:{plan.general_desc.national_number_pattern})\Z)(?:{patterns})", re.ASCII)


CHINESE = _chinese()


def number(cell: str) -> str:
    """The canonical form of anything that can be read as a number. Raises `Bad`."""
    if SCIENTIFIC.fullmatch(cell):
        raise Bad(
            "written in scientific form by a spreadsheet, digits are lost",
            "被电子表格写成了科学计数法，数字已丢失",
            "the column formatted as text, all digits in full",
            "将该列设为文本格式，完整写出全部数字",
        )
    if FRACTIONAL.fullmatch(cell):  # 10690001.0 would be read as 106900010, a number of somebody else
        raise Bad(
            "written with decimals by a spreadsheet or program",
            "被电子表格或程序写成了小数",
            "the digits alone, without .0",
            "只写数字，不带 .0",
        )
    found = canonical(cell)
    if not found or found.startswith(PSEUDO) or "\0" in cell:  # on the wire it is padding, in a file damage
        raise Bad("cannot be read as a telephone number", "无法识别为电话号码")
    return found


def subscriber(cell: str) -> str:
    """The canonical form of a subscriber's number, or of a pseudo-number as exported. Raises `Bad`."""
    if (found := canonical(cell)).startswith(PSEUDO):
        return found
    found = number(cell)
    if not found.startswith("+") or not exists(found):
        raise Bad("not a subscriber's number", "不是用户号码")
    return found


def prefix(cell: str) -> str:
    """The canonical beginning of numbers. Raises `Bad`.

    Read as `canonical` reads whole numbers: +86571, 0571 and 86571 are the same; 138 is +86138; 1069 and
    95588 are codes.
    """
    digits = SEPARATORS.sub("", cell)
    international = digits.startswith(("+", "00"))
    digits = digits[1:] if digits.startswith("+") else digits.removeprefix("00")
    if not re.fullmatch(rf"\d{{1,{DIGITS_MAX}}}", digits, re.ASCII):
        raise Bad("cannot be read as the beginning of numbers", "无法识别为号码前缀")
    least = 3
    if not international and digits.startswith(CODE_BLOCKS):
        found = digits
    elif international or digits.startswith("86"):
        found = "+" + digits
        least = 6 if digits.startswith("86") else 4
    elif re.match(r"0\d|1[3-9]", digits):
        found = "+86" + digits.removeprefix("0")
        least = 6
    else:
        raise Bad("cannot be read as the beginning of numbers", "无法识别为号码前缀")
    if len(found) < least:
        raise Bad(
            "too short: it would cover whole numbering blocks",
            "前缀过短，会覆盖整个号段",
            "at least 3 digits, not counting the country code",
            "除国家码外至少 3 位",
        )
    return found


FEWEST = (("+", 9), ("", 4))
"""By beginning: how many characters a number has at least that is filed with further digits. With
fewer it would cover other holders' numbers, who could not file theirs (migrations 0019 is_narrow)."""


def be_fit(found: str, extension_digits: int) -> None:
    """Raises `Bad` when a canonical number with that many further digits is too long, or covers too much."""
    if len(found.removeprefix("+")) + extension_digits > DIGITS_MAX:
        raise Bad(
            "number and extension digits are too long together",
            "号码与扩展位数之和过长",
            f"at most {DIGITS_MAX} digits in all",
            f"合计不超过 {DIGITS_MAX} 位",
        )
    least = next(least for beginning, least in FEWEST if found.startswith(beginning))
    if extension_digits and len(found) < least:
        digits = least - 3 if found.startswith("+") else least
        raise Bad(
            "too short for further digits: it would cover other holders' numbers",
            "号码过短，加扩展位会覆盖其他主体的号码",
            f"at least {digits} digits, not counting the country code, or no extension digits",
            f"除国家码外至少 {digits} 位，或不设扩展位",
        )


def registrable(cell: str, extension_digits: int) -> str:
    """The canonical number that `cell` files, used with up to `extension_digits` more. Raises `Bad`."""
    try:
        found = number(cell)
    except Bad:
        # A direct-dial block is filed by its stem, which is no number by itself.
        if not extension_digits:
            raise
        found = prefix(cell)
    be_fit(found, extension_digits)
    if found.startswith("+"):
        lengths = range(1, extension_digits + 1)
        if not exists(found) and not any(exists(found + filler * n) for n in lengths for filler in "068"):
            raise Bad("no such number in the numbering plan", "号码不符合编号计划")
    elif not found.startswith(CODE_BLOCKS):
        raise Bad("not a number that can be filed", "不是可登记的号码")
    return found


def exists(found: str) -> bool:
    """Whether the phonenumbers library knows `found` ("+…") as a number that can exist."""
    if found.startswith("+86"):
        return CHINESE.fullmatch(found, 3) is not None
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(found))
    except phonenumbers.NumberParseException:
        return False
