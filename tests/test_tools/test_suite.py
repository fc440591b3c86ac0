"""The tests themselves: two speeds, side by side, each bounded; and nothing is left of them when they are ended."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.forks import FORKING
from tests.helpers import bounded
from tests.stand_ins.fork_server import INSTANCE
from tests.stand_ins.local_cloud import ROOT

HOME = dict(os.environ)  # as it was before the tests emptied it
# Tests that start a playground, which does not end by itself, and end it by Ctrl-C and by SIGTERM.
PLAYGROUND = ["tests/test_tools/test_playground.py", "-k", "ending", "-m", "full or not full"]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *PLAYGROUND]


def is_instance(process: psutil.Process) -> bool:
    """Whether it runs a function."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()[-1:] == [str(INSTANCE)]
    return False


def test_every_module_has_tests_in_the_default_speed() -> None:
    """What nobody runs by hand is broken for long before anybody notices. Only a browser is too slow for that."""
    only_full = []
    for file in Path(ROOT, "tests").rglob("test_*.py"):
        tests = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
        tests = [test for test in tests if test.name.startswith("test_")]
        full = [test for test in tests if "pytest.mark.full" in map(ast.unparse, test.decorator_list)]
        if len(full) == len(tests):
            only_full.append(file.name)
    assert only_full == ["test_page.py"]


MANY = """
    import os, threading
    import pytest

    def note(name, words):
        with open(name, "a") as file:
            file.write(f"{words}\\n")

    @pytest.fixture(scope="session")
    def resource():
        yield
        note("ended", os.getpid())

    @pytest.mark.parametrize("number", range(40))
    def test_one_of_many(resource, number):
        note("began", os.getpid())
        note("many", number)

    @pytest.mark.xdist_group("together")
    @pytest.mark.parametrize("number", range(20))
    def test_one_of_a_group(number):
        note("group", os.getpid())

    def test_that_fails():
        assert 1 + 1 == 3

    def test_that_ends_its_process():
        os._exit(0)

    def test_that_leaves_a_thread_behind():
        threading.Thread(target=threading.Event().wait).start()
"""


@pytest.mark.skipif(FORKING is None, reason="pytest-xdist runs the tests side by side here")
def test_tests_side_by_side_have_their_outcomes(tmp_path: Path) -> None:
    """Each is run once and told by its name, a group in one process; what a process has begun is ended there."""
    (tmp_path / "test_many.py").write_text(textwrap.dedent(MANY), encoding="utf-8")
    (tmp_path / "conftest.py").write_text("from tests.forks import pytest_cmdline_main", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-n", "3", "-q", "-c", os.devnull, "--rootdir", "."]
    run = subprocess.run(
        command, cwd=tmp_path, env={**HOME, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in tmp_path.iterdir() if path.is_file()}
    assert "FAILED test_many.py::test_that_fails - assert (1 + 1) == 3" in run.stdout, run.stdout + run.stderr
    assert "FAILED test_many.py::test_that_ends_its_process - The process that ran" in run.stdout
    assert "2 failed, 61 passed" in run.stdout and run.returncode == 1
    assert sorted(map(int, lines["many"])) == [*range(40)]
    assert (len(lines["group"]), len(set(lines["group"]))) == (20, 1)
    assert len(lines["ended"]) == len(set(lines["ended"])) and {*lines["ended"]} <= {*lines["began"]}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
def test_what_does_not_end_fails() -> None:
    """Also what waits for a thread that does not end when it is given up."""
    never = threading.Event()
    with (
        pytest.raises(pytest.fail.Exception, match=r"has not ended after 0\.2 s"),
        bounded(0.2),
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(never.wait).result()
    never.set()


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that a process can answer")
@pytest.mark.parametrize("workers", [0, 2])
def test_terminated_suite_leaves_no_process_behind(workers: int) -> None:
    """Workers, a playground, instances: all are gone soon after SIGTERM."""
    with subprocess.Popen([*PYTEST, "-n", str(workers)], cwd=ROOT, env=HOME, stdout=subprocess.DEVNULL) as suite:
        try:
            deadline = time.monotonic() + 60
            started: list[psutil.Process] = []
            while not any(map(is_instance, started)):
                assert time.monotonic() < deadline, started
                time.sleep(0.1)
                started = psutil.Process(suite.pid).children(recursive=True)
            suite.terminate()
            suite.wait(30)
        finally:
            suite.kill()
        _, alive = psutil.wait_procs(started, timeout=20)
        for process in alive:
            process.kill()
    assert not alive


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Ctrl-C for one process")
def test_suite_that_was_started_with_nohup_passes_the_tests_of_ctrl_c() -> None:
    """SIGINT is ignored there, and what is started inherits that unless something is done."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what we start inherits it
    try:
        suite = subprocess.run([*PYTEST, "-n", "0"], cwd=ROOT, env=HOME, timeout=120)
    finally:
        signal.signal(signal.SIGINT, before)
    assert suite.returncode == 0
