"""The hot modules in machine code: only those of exactly these sources, and they do as the sources do."""

import ast
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from gateway.compiled import FOLDER_VARIABLE, HOT, PACKAGE, Build, digest, folder

ROOT = PACKAGE.parent
SUFFIX = EXTENSION_SUFFIXES[0]
WHICH = "import gateway, gateway.policy.judge as judge; print(gateway.COMPILED, judge.__file__)"

ON_BOTH = "cmpp content facts journal judge lane memory numbers replica session text"
"""Tests of the hot modules that put nothing in a function's place, which machine code would not notice."""


def python(*arguments: str, builds: Path | None = None, root: Path = ROOT) -> str:
    """What a fresh interpreter prints, with the builds of that folder."""
    environment = os.environ | {FOLDER_VARIABLE: str(builds) if builds else "", "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return run.stdout


def test_what_is_compiled_is_there() -> None:
    assert [place for place in HOT if not (PACKAGE / place).is_file()] == []


@pytest.mark.parametrize("place", HOT)
def test_no_class_of_them_has_an_attribute_that_mypyc_would_give_to_its_objects_alone(place: str) -> None:
    """`Cmpp.OTHER` without ClassVar is a descriptor there, and so is `f = staticmethod(g)`."""
    tree = ast.parse((PACKAGE / place).read_text("utf-8"))
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        bases = [ast.unparse(base) for base in owner.bases]
        if bases == ["StrEnum"]:
            continue  # stays a Python class
        found = [ast.unparse(node) for node in owner.body if isinstance(node, ast.Assign)]
        if not owner.decorator_list and bases != ["NamedTuple"]:
            found += [
                ast.unparse(node)
                for node in owner.body
                if isinstance(node, ast.AnnAssign)
                and node.value is not None
                and not ast.unparse(node.annotation).startswith("ClassVar")
            ]
        assert [line for line in found if not line.startswith("__slots__")] == []


def test_every_edit_makes_another_name(tmp_path: Path) -> None:
    package = tmp_path / "gateway"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    name = digest(package)
    assert name == digest()
    lane = package / "relay/lane.py"
    octets = lane.read_bytes()
    lane.write_bytes(octets + b"\n")
    assert digest(package) != name
    lane.write_bytes(octets)
    assert digest(package) == name
    lane.rename(package / "relay/line.py")
    assert digest(package) != name


def test_only_the_build_of_these_sources_is_used(tmp_path: Path) -> None:
    (tmp_path / sha256(b"others").hexdigest()[:32] / "gateway").mkdir(parents=True)
    assert python("-c", WHICH, builds=tmp_path).split() == ["False", str(PACKAGE / "policy/judge.py")]
    (tmp_path / digest()).mkdir()
    assert python("-c", WHICH, builds=tmp_path).startswith("True")


def test_without_a_folder_of_builds_plain_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert python("-c", WHICH, builds=tmp_path / "none").startswith("False")
    assert python("-c", WHICH).startswith("False")
    monkeypatch.delenv(FOLDER_VARIABLE)
    assert folder() == Path(sys.prefix) / "compiled"


def test_a_build_gives_its_modules_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / f"gateway/policy/judge{SUFFIX}"
    place.parent.mkdir(parents=True)
    place.touch()
    (tmp_path / f"shared__mypyc{SUFFIX}").touch()
    build = Build(tmp_path)
    found = build.find_spec("gateway.policy.judge")
    assert found is not None
    assert found.origin == str(place)
    assert build.find_spec("shared__mypyc") is not None
    assert build.find_spec("gateway.policy") is None
    assert build.find_spec("judge") is None


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the build of these sources."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: nothing can be compiled")
    folder = tmp_path_factory.mktemp("builds")
    python("-m", "gateway.compiling", builds=folder)
    return folder


JUDGE = """
import csv, hashlib
import gateway
from world import NOW, after, attempt, good
from gateway.config import read_profile
from gateway.policy.judge import decide, explain
from gateway.policy.profile_text import parse_profile
from gateway.policy.judge import MESSAGE_RULES, SENDER_RULES
from gateway.protocols.cmpp import Cmpp
seen = hashlib.sha256()
profile = parse_profile(read_profile, "zhejiang")
with open("tests/vectors/messages.csv", encoding="utf-8", newline="") as file:
    cases = [(attempt(text=row["text"]), good()) for row in csv.DictReader(file)]
cases += [after(e) for rule in (*SENDER_RULES, *MESSAGE_RULES) for e in (*rule.refuses, *rule.passes)]
for one, world in cases:
    [verdict] = decide([one], world, profile, NOW)
    wire = Cmpp(0x30)
    answer = wire.refusal(7, verdict.reason) if verdict.reason else wire.acceptance(7, bytes(8))
    seen.update(repr(verdict).encode() + answer)
for one, world in cases[:50]:
    seen.update(repr(explain(one, world, profile, NOW)).encode())
print(gateway.COMPILED, len(cases), seen.hexdigest())
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_compiled_and_plain_say_the_same(builds: Path) -> None:
    script = f"import sys; sys.path.insert(0, 'tests')\n{JUDGE}"
    plain, compiled = (python("-c", script, builds=place).split() for place in (None, builds))
    assert (plain[0], compiled[0]) == ("False", "True")
    assert int(plain[1]) > 100
    assert plain[1:] == compiled[1:]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("module", ON_BOTH.split())
def test_the_tests_of_the_sources_hold_for_the_build(builds: Path, module: str, tmp_path: Path) -> None:
    python(
        *(
            "-m",
            "pytest",
            f"tests/test_{module}.py",
            "-m",
            "not long",
            "-k",
            "not million",
            "-p",
            "no:cacheprovider",
        ),
        *("--basetemp", str(tmp_path / "base")),
        builds=builds,
    )
