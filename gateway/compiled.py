"""The hot modules in machine code, where somebody compiled them: an option, never needed and never stale.

`compiling` puts a build into a folder of the environment, named after the digest of every source of this
package and the interpreter's ABI. A process looks for the build of exactly the sources that it runs from;
after any edit there is none, and plain Python runs. What a build holds is imported in place of the `.py`.
"""

import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent

FOLDER_VARIABLE = "ZHENGMING_COMPILED"
"""Folder of the builds; set and empty: no build is used. Not set: `compiled` in the environment."""

HOT = (
    "counters/page.py",
    "counters/shared.py",
    "counters/table.py",
    "durations.py",
    "evidence/journal.py",
    "evidence/seal.py",
    "evidence/skim.py",
    "model.py",
    "policy/another.py",
    "policy/content.py",
    "policy/facts.py",
    "policy/folding.py",
    "policy/judge.py",
    "policy/meant.py",
    "policy/message_rules.py",
    "policy/numbers.py",
    "policy/replies.py",
    "policy/text_rules.py",
    "protocols/cmpp.py",
    "protocols/cmpp_submit.py",
    "protocols/framing.py",
    "protocols/likeness.py",
    "protocols/message.py",
    "protocols/sgip.py",
    "protocols/single.py",
    "protocols/sip.py",
    "protocols/sip_grammar.py",
    "protocols/sip_identity.py",
    "protocols/sip_memo.py",
    "protocols/sip_proxy.py",
    "protocols/smgp.py",
    "protocols/smpp.py",
    "protocols/smpp_submit.py",
    "protocols/text.py",
    "regions.py",
    "registry/hashed.py",
    "registry/snapshot.py",
    "relay/contacts.py",
    "relay/counting.py",
    "relay/lane.py",
    "relay/memory.py",
    "relay/refusing.py",
    "relay/returns.py",
    "relay/routes.py",
    "relay/screen.py",
    "relay/session.py",
    "relay/shares.py",
)
"""What is compiled: all that runs for each message, but for what can't gain (records, which are msgspec's,
and the readers that table.py makes at run time) or can't be (a module that is run, a `_thread`)."""


def folder() -> Path | None:
    """Where builds are kept; None when none is to be used."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named is None:
        return Path(sys.prefix) / "compiled"
    return Path(named) if named else None


def digest(package: Path = PACKAGE) -> str:
    """Of all sources and the ABI that a build is made for: its name."""
    hashed = sha256(EXTENSION_SUFFIXES[0].encode())
    for path in sorted(package.rglob("*.py")):
        octets = path.read_bytes()
        hashed.update(f"\0{path.relative_to(package).as_posix()}\0{len(octets)}\0".encode() + octets)
    return hashed.hexdigest()[:32]


class Build:
    """An importer of the modules in the folder of one build."""

    def __init__(self, build: Path) -> None:
        suffix = EXTENSION_SUFFIXES[0]
        self._places = {
            ".".join(place.relative_to(build).parts).removesuffix(suffix): str(place)
            for place in build.rglob(f"*{suffix}")
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        place = self._places.get(name)
        if place is None:
            return None
        return spec_from_file_location(name, place, loader=ExtensionFileLoader(name, place))


def use() -> bool:
    """Import from the build of these very sources from now on; False when there is none."""
    builds = folder()
    if builds is None or not builds.is_dir():
        return False
    build = builds / digest()
    if not build.is_dir():
        return False
    sys.meta_path.insert(0, Build(build))
    return True
