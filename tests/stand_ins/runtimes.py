"""The runtimes that the functions are for, played by the interpreters of these versions where they are installed."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .local_cloud import ROOT

HERE = "{}.{}".format(*sys.version_info[:2])
INSTALL_SECONDS = 300
HOME = dict(os.environ)  # as it was before the tests emptied it


class Runtime(NamedTuple):
    """One of Function Compute's, and the Python that plays it."""

    generation: int
    version: str
    python: str | None  # None: not installed

    def __str__(self) -> str:
        here = "" if self.python != sys.executable or self.version == HERE else f"-played-by-{HERE}"
        return f"{self.generation}.0-python{self.version}{here}"

    def settings(self) -> dict[str, Any]:
        """The arguments for LocalCloud; skips the test if there is no such Python."""
        if self.python is None:
            pytest.skip(f"CPython {self.version} is not installed: neither on PATH nor by pyenv")
        packages = required_packages(
            without="aliyun-fc2" if self.version == "3.12" else ""
        )  # FC does not have it there
        return {
            "generation": self.generation,
            "runtime": f"python{self.version}",
            "python": sys.executable if self.python == sys.executable else with_packages(self.python, packages),
        }


@functools.cache
def find_python(version: str) -> str | None:
    """A CPython of this version that can make virtual environments: this one, or one on PATH, or one of pyenv's."""
    if version == HERE:
        return sys.executable
    of_pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}", path=HOME.get("PATH")), *map(str, of_pyenv)):
        if candidate:
            code = "import sys, venv; print('{}.{}'.format(*sys.version_info), sys.executable, sep='\\n')"
            run = subprocess.run([candidate, "-c", code], capture_output=True, text=True, timeout=60)
            found = run.stdout.splitlines()  # empty if the command only tells which versions pyenv has
            if found[:1] == [version]:
                return found[1]  # the interpreter itself, not pyenv's script that looks for it at every start
    return None


def required_packages(without: str) -> tuple[str, ...]:
    """What requirements.txt pins."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = (line.partition("#")[0].strip() for line in lines)
    return tuple(package for package in packages if package and package.partition("==")[0] != without)


@functools.cache
def with_packages(python: str, packages: tuple[str, ...]) -> str:
    """A Python like this one with these packages, made once for all test processes and kept in .pytest_cache.

    By uv, which takes a sixth of the time of venv and pip.
    """
    import fcntl  # not on Windows, where none of this would say much about Function Compute

    name = hashlib.sha256(repr((python, packages)).encode()).hexdigest()[:16]
    folder = ROOT / ".pytest_cache" / f"runtime-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "bin" / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for command in (
                [sys.executable, "-m", "uv", "venv", "-q", "--allow-existing", "-p", python, str(folder)],
                [sys.executable, "-m", "uv", "pip", "install", "-q", "-p", str(made), *packages],
            ):
                run = subprocess.run(command, env=HOME, capture_output=True, text=True, timeout=INSTALL_SECONDS)
                if run.returncode:
                    pytest.skip(f"cannot make an environment of {python}: {run.stderr[-500:]}")
            (folder / "complete").touch()
    return str(made)


# Without CPython 3.10 the Python that runs the tests takes its place, so both generations are tested everywhere.
RUNTIMES = (
    Runtime(2, "3.10", find_python("3.10") or sys.executable),
    Runtime(3, "3.10", find_python("3.10") or sys.executable),
    Runtime(3, "3.12", find_python("3.12")),
)
GENERATIONS = (Runtime(2, "3.10", sys.executable), Runtime(3, "3.10", sys.executable))
# For tests that go the whole way: this Python by default, and every other one when all is tested.
EACH_RUNTIME = (
    pytest.param(GENERATIONS[0], id=str(GENERATIONS[0])),
    *(
        pytest.param(runtime, id=str(runtime), marks=pytest.mark.full)
        for runtime in RUNTIMES
        if runtime != GENERATIONS[0]
    ),
)
