"""Make gateway/policy/simplified.py out of OpenCC's tables: `python tests/simplified.py` (make tables)."""

from pathlib import Path

import opencc

MADE = Path(__file__).parents[1] / "gateway/policy/simplified.py"
WIDTH = 48  # characters in a line; each takes two columns
RANGES = ((0x3400, 0x4DC0), (0x4E00, 0xA000))
"""The ideographs of the BMP: an SMS in UCS-2 holds no other, and NFKD resolves the compatibility ones."""

HEAD = '''"""Traditional characters, and in the same place what each is simplified; all that UCS-2 holds.

Made from OpenCC's table t2s (Apache License 2.0) by `make tables`; a test compares the two. The library
itself stays out of the processes: it takes 7 MiB in each.
"""

'''


def source() -> str:
    """What the module has to say by the installed OpenCC."""
    characters = [chr(code) for begin, end in RANGES for code in range(begin, end)]
    simplified = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    pairs = [
        (was, now)
        for was, now in zip(characters, simplified, strict=True)
        if was != now and len(now) == 1 and now <= "\uffff"
    ]
    return HEAD + "\n".join(
        (
            *_written("TRADITIONAL", [was for was, _ in pairs]),
            "",
            *_written("SIMPLIFIED", [now for _, now in pairs]),
            "",
        )
    )


def _written(name: str, characters: list[str]) -> list[str]:
    lines = ("".join(characters[at : at + WIDTH]) for at in range(0, len(characters), WIDTH))
    return [f"{name} = (", *(f'    "{line}"' for line in lines), ")"]


if __name__ == "__main__":
    MADE.write_text(source(), "utf-8")
