"""Which city a subscriber's number belongs to, for the statistics: a small table in place of a large one.

`build` reads the geographic data of the phonenumbers library (100 MiB in memory) in a process of its own and
writes a table of two octets per seven-digit mobile prefix; `Regions` maps that file. Geographic numbers go by
their area code. What is not in the data is "".
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import i64  # compiled, what is annotated so is a machine word

FIRST, LAST = 1_300_000, 1_999_999  # mobile numbers by their first seven digits
MAGIC = b"ZMREGION1\n"
LONGEST_AREA = 4  # digits of an area code without the trunk 0, at most 3; the data split some by one more


def build_command(path: Path) -> list[str]:
    """The command that builds the table in a process of its own."""
    code = "import sys, pathlib, gateway.regions as r; r.build(pathlib.Path(sys.argv[1]))"
    return [sys.executable, "-c", code, str(path)]


def build(path: Path) -> None:
    """Write the table of all Chinese prefixes to `path`, whole or not at all."""
    from phonenumbers.geodata import GEOCODE_DATA  # noqa: PLC0415  # 100 MiB, wanted here only

    names: dict[str, int] = {"": 0}
    mobile: dict[str, int] = {}
    areas: dict[str, int] = {}
    for prefix, words in GEOCODE_DATA.items():
        if not prefix.startswith("86"):
            continue
        digits = prefix[2:]
        name = words.get("zh") or words.get("en") or ""
        number = names.setdefault(name, len(names))
        if len(digits) <= LONGEST_AREA and not digits.startswith("1"):
            areas[digits] = number
        elif digits.startswith("1"):
            mobile[digits] = number
    areas["10"] = mobile.get("10", areas.get("10", 0))
    table = bytearray(2 * (LAST - FIRST + 1))
    for seven in range(FIRST, LAST + 1):
        digits = str(seven)
        found = next((mobile[digits[:n]] for n in range(7, 2, -1) if digits[:n] in mobile), 0)
        table[2 * (seven - FIRST) : 2 * (seven - FIRST) + 2] = found.to_bytes(2, "big")
    head = json.dumps([list(names), areas], ensure_ascii=False).encode()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(MAGIC + len(head).to_bytes(4, "big") + head + table)
    draft.replace(path)


class Regions:
    """The table at `path`. Raises OSError when it is not there, ValueError when it is not one."""

    def __init__(self, path: Path) -> None:
        octets = path.read_bytes()
        if octets[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{path}: not a table of regions")
        at = len(MAGIC) + 4
        size = int.from_bytes(octets[at - 4 : at], "big")
        self._names: list[str]
        self._areas: dict[str, int]
        self._names, self._areas = json.loads(octets[at : at + size])
        self._table = octets[at + size :]

    def region(self, number: str) -> str:
        """The city of a canonical number, in Chinese; "" when it is not known."""
        if len(number) == 14 and number[3] == "1" and number[4] in "3456789" and number.startswith("+86"):
            prefix: i64 = 0  # its first seven digits tell the city
            place: i64 = 3
            while place < 10:
                digit: i64 = ord(number[place])
                prefix = 10 * prefix + digit - 48
                place += 1
            at = 2 * (prefix - FIRST)
            high: i64 = self._table[at]
            low: i64 = self._table[at + 1]
            return self._names[high << 8 | low]
        if number.startswith("+86"):
            for length in range(LONGEST_AREA, 1, -1):
                code = self._areas.get(number[3 : 3 + length])
                if code is not None:
                    return self._names[code]
        return ""
