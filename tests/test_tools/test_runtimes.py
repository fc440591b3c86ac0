"""Function Compute's runtimes, as the end-to-end and fault tests have them: each by a Python of its own version."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.stand_ins.runtimes import EACH_RUNTIME, HERE, Runtime, find_python


@pytest.mark.parametrize("runtime", EACH_RUNTIME)
def test_runtime_is_played_by_its_own_python(runtime: Runtime) -> None:
    """With the packages of requirements.txt, but for aliyun-fc2 where Function Compute does not have it either."""
    python = runtime.settings()["python"]
    code = """
        import importlib.util, sys
        print("{}.{}".format(*sys.version_info), *(bool(importlib.util.find_spec(name)) for name in sys.argv[1:]))
    """
    packages = ["fc2", "requests", "oss2", "openai"]
    command = [python, "-I", "-c", code.strip().replace("\n        ", "\n"), *packages]
    version, *found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert found == [str(python == sys.executable or runtime.version != "3.12"), "True", "True", "True"]
    if version != runtime.version:
        pytest.skip(f"CPython {runtime.version} is not installed: Python {version} plays the runtime")


def test_python_that_is_not_installed_is_not_found() -> None:
    """And this one is, wherever it is."""
    assert find_python("3.99") is None
    assert find_python(HERE) == sys.executable


def test_runtime_without_a_python_is_skipped_with_a_reason() -> None:
    """The reason says what to install."""
    with pytest.raises(pytest.skip.Exception, match=r"CPython 3\.99 is not installed"):
        Runtime(3, "3.99", None).settings()
