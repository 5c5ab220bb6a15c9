"""`python -m gateway.compiling` (make compile): the hot modules in machine code, for `compiled` to find.

Needs mypyc (it comes with mypy), setuptools, a C compiler and Python's headers; takes about half a minute on
one core. A build stands under its name only when it is whole and can be imported; then older ones go.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from gateway.compiled import FOLDER_VARIABLE, HOT, PACKAGE, digest, folder
from gateway.errors import UsageError

OPTIONS = ["--config-file=", "--ignore-missing-imports"]


def build(builds: Path) -> Path:
    """The folder of the build of these sources below `builds`, made if it is not there. Raises UsageError."""
    name = digest()
    made = builds / name
    if made.is_dir():
        return made
    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=builds) as room:
        draft = Path(room) / "draft"
        _compile(Path(room), draft / name)
        _try(draft)
        if digest() != name:
            raise UsageError("the sources changed while they were being compiled: compile again")
        with contextlib.suppress(OSError):  # another process was first
            (draft / name).rename(made)
    for old in builds.iterdir():
        if old != made and not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    return made


def _compile(room: Path, into: Path) -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which(compiler) is None or not header.exists():
        raise UsageError(f"nothing compiled: needs {compiler} and {header}; plain Python runs without")
    try:
        from mypyc.build import mypycify  # noqa: PLC0415  # only who compiles has it
        from setuptools import Distribution  # noqa: PLC0415
        from setuptools.errors import CompileError  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"nothing compiled: {error}; mypy is in tests/requirements.lock") from error
    paths = [str(Path(PACKAGE.name) / place) for place in HOT]
    said = io.StringIO()  # what mypyc makes of generator expressions and class bodies
    with contextlib.chdir(PACKAGE.parent):
        try:
            with contextlib.redirect_stdout(said):
                made = mypycify(
                    [*OPTIONS, f"--cache-dir={room / 'cache'}", *paths],
                    opt_level="2",
                    debug_level="0",
                    target_dir=str(room / "c"),
                )
        except SystemExit as end:
            raise UsageError(f"mypyc refuses the sources:\n{said.getvalue()}") from end
        command = Distribution({"name": "hot", "ext_modules": made, "packages": []}).get_command_obj(
            "build_ext"
        )
        command.build_lib, command.build_temp = str(into), str(room / "o")
        command.ensure_finalized()
        try:
            command.run()
        except CompileError as error:
            raise UsageError(f"the C compiler failed: {error}") from error


def _try(builds: Path) -> None:
    """Import all that was built in a fresh process, before anybody else does."""
    names = [f"{PACKAGE.name}.{place.removesuffix('.py').replace('/', '.')}" for place in HOT]
    code = (
        "import importlib as i\n"
        f"plain = [n for n in {names} if not i.import_module(n).__file__.endswith('.so')]\n"
        "assert not plain, plain"
    )
    environment = os.environ | {FOLDER_VARIABLE: str(builds)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise UsageError(f"what was compiled can't be imported:\n{run.stderr}")


def main() -> None:
    builds = folder()
    if builds is None:
        raise SystemExit(f"{FOLDER_VARIABLE} is empty: no build would be used")
    began = time.monotonic()
    try:
        made = build(builds)
    except UsageError as error:
        raise SystemExit(str(error)) from None
    print(f"{len(HOT)} modules compiled: {made} ({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
