"""Which city a subscriber's number belongs to, for the statistics: a small table in place of a large one.

`build` reads the geographic data of the phonenumbers library (100 MiB in memory) in a process of its own and
writes a table of two octets per seven-digit mobile prefix; `Regions` maps that file. Geographic numbers go by
their area code. What is not in the data is "".
"""

import json
import mmap
import os
import sys
from pathlib import Path

FIRST, LAST = 1_300_000, 1_999_999  # mobile numbers by their first seven digits
MOST_KNOWN = 100_000  # heads of numbers whose city is remembered
MAGIC = b"ZMREGION1\n"
LONGEST_AREA = 4  # digits of an area code without the trunk 0, at most 3; the data split some by one more


def build_command(path: Path) -> list[str]:
    """The command that builds the table in a process of its own."""
    return [sys.executable, "-m", "gateway.regions", str(path)]


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
        with path.open("rb") as file:
            self._octets = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._octets[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{path}: not a table of regions")
        at = len(MAGIC) + 4
        size = int.from_bytes(self._octets[at - 4 : at], "big")
        self._names, self._areas = json.loads(self._octets[at : at + size])
        self._start = at + size - 2 * FIRST
        self.known: dict[str, str] = {}
        """Cities by the first ten characters of a number, as far as somebody has asked: the relay looks here
        before it calls."""

    def region(self, number: str) -> str:
        """The city of a canonical number, in Chinese; "" when it is not known."""
        head = number[:10]  # +86 and seven digits tell the city
        known = self.known.get(head)
        if known is None:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            known = self.known[head] = self._look_up(number)
        return known

    def _look_up(self, number: str) -> str:
        if number.startswith("+861") and number[4:5] >= "3" and len(number) == 14:
            at = self._start + 2 * int(number[3:10])
            return str(self._names[int.from_bytes(self._octets[at : at + 2], "big")])
        if number.startswith("+86"):
            for length in range(LONGEST_AREA, 1, -1):
                code = self._areas.get(number[3 : 3 + length])
                if code is not None:
                    return str(self._names[code])
        return ""


if __name__ == "__main__":
    build(Path(sys.argv[1]))
