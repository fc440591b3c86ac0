"""How `python3 -m tests` and its like find their packages: a small project stands in the place of ours."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests import packages
from tests.stand_ins.local_cloud import ROOT
from tests.stand_ins.runtimes import find_python

HOME = dict(os.environ)  # as it was before the tests emptied it
READ_BY_ANY_PYTHON = ("__init__.py", "__main__.py", "packages.py", "playground/__init__.py", "playground/__main__.py")
MODULE = """\
import sys
from tests.packages import provide
provide("tests/requirements.txt", "tests.hello")
import thing
print(thing.VERSION, sys.prefix == sys.argv[1])
sys.exit(7)
"""


class Project:
    """A project whose module needs the package `thing`, in a folder with a blank and Chinese letters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "我的 机器人"
        self.venv = self.folder / ".venv"
        self.wheels = folder / "wheels"
        tests = self.folder / "tests"
        tests.mkdir(parents=True)
        self.wheels.mkdir()
        for name in ("__init__.py", "packages.py"):
            shutil.copy(ROOT / "tests" / name, tests)
        (tests / "hello.py").write_text(MODULE, encoding="utf-8")
        (tests / "requirements.txt").write_text("# comment\n-r more/other.txt\n", encoding="utf-8")
        (tests / "more").mkdir()
        for version in ("1.0", "2.0"):
            with zipfile.ZipFile(self.wheels / f"thing-{version}-py3-none-any.whl", "w") as wheel:
                for name, text in parts(version).items():
                    wheel.writestr(name, text)
        self.need("1.0")

    def need(self, version: str) -> None:
        other = self.folder / "tests/more/other.txt"
        other.write_text(f"thing=={version}  # why it is needed\n", encoding="utf-8")

    def make_venv(self, with_thing: bool = True) -> Path:
        """.venv without pip, which takes no time; where its packages are."""
        venv.create(self.venv, symlinks=os.name != "nt")
        (packages_folder,) = self.venv.rglob("site-packages")
        if with_thing:
            for name, text in parts("1.0").items():
                (packages_folder / name).parent.mkdir(exist_ok=True)
                (packages_folder / name).write_text(text, encoding="utf-8")
        return packages_folder

    def start(self, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """`python3 -m tests.hello` in a Python without packages (-S); `before` is run first."""
        here = f"import runpy, sys; sys.argv[1:] = {[str(self.venv)]!r}; sys.path.insert(0, ''); {before}\n"
        run = "runpy.run_module('tests.hello', run_name='__main__', alter_sys=True)"
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        return subprocess.run(
            [sys.executable, "-S", "-c", here + run],
            cwd=self.folder,
            env={**HOME, "PYTHONIOENCODING": "utf-8", **wheels, **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )


def parts(version: str) -> dict[str, str]:
    """The files of the package."""
    info = f"thing-{version}.dist-info"
    return {
        "thing.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("file", READ_BY_ANY_PYTHON)
def test_what_runs_first_is_read_by_an_old_python(file: str) -> None:
    """The syntax of 3.6; nothing from __future__, which 3.6 refuses."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"), feature_version=(3, 6))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


@pytest.mark.parametrize("module", ["tests", "tests.playground"])
@pytest.mark.parametrize("version", ["3.6", "3.8", "3.9"])
def test_old_python_says_which_one_is_needed(version: str, module: str) -> None:
    """One sentence, and where to get it."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")
    run = [python, "-m", module]
    told = subprocess.run(
        run, cwd=ROOT, env={**HOME, "PYTHONIOENCODING": "utf-8"}, capture_output=True, encoding="utf-8", check=False
    )
    assert (told.returncode, told.stdout) == (1, "")
    chinese, english = told.stderr.splitlines()
    assert chinese.startswith(f"需要 Python 3.10 或更新的版本，这里是 {version}.") and chinese.count("https://") == 1
    assert english.startswith(f"Python 3.10 or newer is needed; this is {version}.") and english.count("https://") == 1


@pytest.mark.full
@pytest.mark.parametrize("requirements", ["requirements.txt", "tests/requirements.txt"])
def test_every_package_is_one_for_the_oldest_python(requirements: str) -> None:
    """A newer version may have left it behind, which nobody sees whose own Python is newer."""
    oldest = "{}.{}".format(*packages.OLDEST)
    compile_pins = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--no-deps", "--python-version", oldest]
    told = subprocess.run(
        [*compile_pins, requirements], cwd=ROOT, env=HOME, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


def test_second_start_goes_straight_to_the_module(project: Project) -> None:
    """In .venv, without a word; the exit status is the module's."""
    project.make_venv()
    run = project.start()
    assert (run.returncode, run.stdout, run.stderr) == (7, "1.0 True\n", "")


def test_python_that_has_the_packages_needs_no_venv(project: Project) -> None:
    """An environment of one's own, also with another version."""
    project.need("2.0")
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    project.make_venv().rename(elsewhere / "packages")
    shutil.rmtree(project.venv)
    run = project.start(f"sys.path.append({str(elsewhere / 'packages')!r})")
    assert (run.returncode, run.stdout, run.stderr) == (7, "1.0 False\n", "")
    assert not project.venv.exists()


@pytest.mark.full
def test_first_start_installs_the_packages(project: Project) -> None:
    """With pip's progress where the sentences go; and again when another version is needed."""
    for version in ("1.0", "2.0"):
        project.need(version)
        run = project.start()
        assert (run.returncode, run.stdout) == (7, f"{version} True\n")
        assert "正在把需要的软件包装进 .venv" in run.stderr and f"Successfully installed thing-{version}" in run.stderr


@pytest.mark.full
def test_venv_without_pip_gets_one(project: Project) -> None:
    """As other tools make it, or as a first start that was interrupted leaves it."""
    project.make_venv(with_thing=False)
    run = project.start()
    assert (run.returncode, run.stdout) == (7, "1.0 True\n")


@pytest.mark.full
def test_broken_venv_is_made_anew(project: Project) -> None:
    """The Python that it was made from is gone."""
    project.make_venv()
    python = Path(packages.python_in(str(project.venv), os.name == "nt"))
    for file in python.parent.glob("python*"):
        file.unlink()
    python.symlink_to(project.folder / "gone")
    run = project.start()
    assert (run.returncode, run.stdout) == (7, "1.0 True\n")
    assert ".venv 不能用了，正在重新创建" in run.stderr and "Traceback" not in run.stderr


def test_something_else_in_the_place_of_venv_is_left_alone(project: Project) -> None:
    """A sentence says what to do; nothing is deleted."""
    project.venv.mkdir()
    (project.venv / "mine.txt").write_text("mine")
    run = project.start()
    assert (run.returncode, run.stdout) == (1, "")
    assert "不是 Python 的虚拟环境，请改名或删除" in run.stderr and "rename or delete it" in run.stderr
    assert (project.venv / "mine.txt").exists() and "Traceback" not in run.stderr


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_python_without_venv_is_told_with_the_package_to_install(project: Project, module: str) -> None:
    """Debian and Ubuntu leave it out."""
    run = project.start(f"sys.modules['{module}'] = None")
    assert (run.returncode, run.stdout) == (1, "")
    assert "sudo apt install python{}.{}-venv".format(*sys.version_info[:2]) in run.stderr
    assert "Traceback" not in run.stderr and not project.venv.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_is_read_only_is_told(project: Project) -> None:
    """Another place is needed."""
    project.folder.chmod(0o555)
    try:
        run = project.start()
    finally:
        project.folder.chmod(0o755)
    assert (run.returncode, run.stdout) == (1, "")
    assert "不能在" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.full
def test_failed_installation_is_told(project: Project) -> None:
    """No network: the lines of pip, then what to do."""
    run = project.start(PIP_NO_INDEX="0", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9", PIP_RETRIES="0")
    assert (run.returncode, run.stdout) == (1, "")
    assert "ERROR" in run.stderr and "软件包没有装上" in run.stderr and "PIP_INDEX_URL" in run.stderr
    assert "Traceback" not in run.stderr


def test_windows_has_its_python_in_scripts() -> None:
    """The same names on every system that the tests run on."""
    assert packages.python_in(r"C:\我的 机器人\.venv", windows=True) == r"C:\我的 机器人\.venv\Scripts\python.exe"
    assert packages.python_in("/home/我的 机器人/.venv", windows=False) == "/home/我的 机器人/.venv/bin/python"


@pytest.mark.skipif(os.name == "nt", reason="there it is the only way, and the other tests go it")
def test_start_as_on_windows_waits_for_the_module(project: Project) -> None:
    """Without exec, and by the path that Python has there: the exit status is the module's all the same."""
    project.make_venv()
    python = Path(packages.python_in(str(project.venv), windows=True))
    python.write_text(f'#!/bin/sh\nexec "{project.venv}/bin/python" "$@"\n')
    python.chmod(0o755)
    run = project.start("import tests.packages; tests.packages.WINDOWS = True")
    assert (run.returncode, run.stdout, run.stderr) == (7, "1.0 True\n", "")
