"""The source itself: lint, format, types, the two rings, sizes, locks, and what must never be committed.

Runs the same tools as `make lint`, so a plain `pytest` says what a reviewer would.
"""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LOCKS = [ROOT / "deploy/requirements.lock", ROOT / "tests/requirements.lock"]
MODULES = sorted((ROOT / "gateway").rglob("*.py"))
PURE = [
    path
    for path in MODULES
    if re.match(
        r"gateway/(model|errors|policy/.*|protocols/.*|evidence/(record|merkle|verify))\.py$",
        path.relative_to(ROOT).as_posix(),
    )
]
PROTOCOLS = {"cmpp", "sgip", "smgp", "smpp", "sip"}
MAX_LINES = 400

# clocks and files that need no import to be reached
CLOCKS = {"now", "utcnow", "today"}
DOORS = {"open", "print", "input", "__import__", "breakpoint"}

# host names are put together here so that this file does not name them either
REGISTRIES = re.compile(
    "|".join(
        [
            r"(?:files\.)?pythonhosted\.org",
            r"\bpypi\.(?:org|python)",
            r"registry\.(?:npmjs|yarnpkg|npmmirror)",
            r"proxy\.golang|goproxy\.",
            r"repo1?\.maven|maven\.aliyun",
            r"deb\.debian|security\.debian",
            r"(?:static|index)\.crates\.io",
            r"mirrors?\.[a-z0-9-]+\.[a-z]{2,}",
        ]
    )
)
MACHINE_PATHS = re.compile(r"/work/(?:main|shared|\.)|/root/|/home/[a-z]|/tmp/[a-z]|/usr/local/(?:bin|go)/")


@cache
def tracked() -> list[Path]:
    """What is, or would be, committed: everything that .gitignore lets through."""
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


@cache
def texts() -> dict[Path, str]:
    found = {}
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found[path] = raw.decode("utf-8", "replace")
    return found


def tool(*command: str) -> None:
    run = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{' '.join(command)}\n{run.stdout[-6000:]}{run.stderr[-2000:]}"


def test_ruff_finds_nothing() -> None:
    tool("ruff", "check", "--quiet", ".")


def test_code_is_formatted() -> None:
    tool("ruff", "format", "--check", "--quiet", ".")


@pytest.mark.timeout(300)
def test_types_hold_under_mypy_strict() -> None:
    tool("mypy")


def test_import_contracts_hold() -> None:
    tool("lint-imports", "--no-cache")


def test_every_module_stands_in_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    named = set(re.findall(r"gateway[\w.]*", " ".join(layers)))
    homeless = []
    for path in MODULES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name in {"gateway", "gateway.evidence"}:
            continue
        if not any(name == layer or name.startswith(layer + ".") for layer in named):
            homeless.append(name)
    assert not homeless, "name these in pyproject.toml, [tool.importlinter], layers"


def test_every_pure_module_and_protocol_is_under_its_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    pure = next(contract for contract in contracts if "pure ring" in contract["name"])["source_modules"]
    apart = next(contract for contract in contracts if contract["type"] == "independence")["modules"]
    for path in PURE:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert any(name == source or name.startswith(source + ".") for source in pure), name
        if path.parent.name == "protocols" and path.stem in PROTOCOLS:
            assert name in apart


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pure_ring_reads_no_clock_and_opens_no_door(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            where = f"{path.name}:{node.lineno}"
            assert not (isinstance(called, ast.Attribute) and called.attr in CLOCKS), f"{where} reads a clock"
            assert not (isinstance(called, ast.Name) and called.id in DOORS), f"{where} calls {called.id}"


def test_no_module_is_longer_than_one_sitting() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        path.name
        for path in MODULES
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_unfinished_word_in_the_gateway() -> None:
    word = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError|for now)\b")
    found = [
        f"{path.name}: {line.strip()}"
        for path in MODULES
        for line in path.read_text().splitlines()
        if word.search(line)
    ]
    assert found == []


def test_no_registry_or_mirror_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts().items()
        if path != Path(__file__)
        for match in REGISTRIES.finditer(text)
    ]
    assert found == []


def test_no_path_of_somebodys_machine_is_named() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts().items()
        if path != Path(__file__)
        for match in MACHINE_PATHS.finditer(text)
    ]
    assert found == []


def requirements(lock: Path) -> dict[str, str]:
    """Name and version → the rest of its entry (markers and hashes)."""
    entries: dict[str, str] = {}
    for entry in re.split(r"\n(?=[a-zA-Z0-9])", lock.read_text().strip()):
        pin = re.match(r"([a-zA-Z0-9._-]+)==(\S+)", entry)
        assert pin, f"{lock.name}: not pinned: {entry[:60]}"
        entries[f"{pin[1]}=={pin[2]}"] = entry
    return entries


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_lock_holds_hashes_and_no_address(lock: Path) -> None:
    for pin, entry in requirements(lock).items():
        assert "--hash=sha256:" in entry, f"{pin} has no hash"
    assert not re.search(r"https?://|--(?:index|extra-index|find)-|@ file", lock.read_text())


def test_locks_agree_and_cover_what_the_project_asks_for() -> None:
    deploy, tests = (set(requirements(lock)) for lock in LOCKS)
    assert deploy <= tests
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wishes = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    asked = {re.split(r"[\[<>=; ]", wish, maxsplit=1)[0].lower().replace("_", "-") for wish in wishes}
    assert asked <= {pin.partition("==")[0] for pin in tests}
