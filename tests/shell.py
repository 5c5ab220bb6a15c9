"""Commands of `zhengming` against a database, in this process: `Shell(…)("user", "list")`."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import cli


class Shell:
    """`command` comes before all arguments; `data_dir` is another than a fresh one."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        capsys: pytest.CaptureFixture[str],
        *command: str,
        data_dir: Path | None = None,
    ) -> None:
        self._capsys = capsys
        self._command = command
        self.folder = folder
        self.config = folder / "zhengming.toml"
        data = data_dir or folder / "data"
        self.config.write_text(f'[node]\ndata_dir = "{data}"\n[database]\ndsn = "{dsn}"\n')

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        try:
            code = cli.main([*self._command, *arguments, "--config", str(self.config)])
        except SystemExit as left:  # of argparse
            code = int(left.code or 0)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def tried(self, *arguments: str) -> tuple[int, Any]:
        """Exit code and what was printed as JSON."""
        code, out, err = self(*arguments, "--json")
        assert not err, err
        return code, json.loads(out)

    def json(self, *arguments: str) -> Any:
        """What was printed as JSON by a command that did well."""
        code, said = self.tried(*arguments)
        assert code == 0
        return said
