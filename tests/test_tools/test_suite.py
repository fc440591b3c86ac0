"""The tests themselves: two speeds, and nothing is left of them when they are ended."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

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
