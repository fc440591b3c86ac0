"""Run the tests: `python3 -m tests`, with any option of pytest."""

import runpy

from tests.packages import provide

if __name__ == "__main__":
    provide("tests/requirements.txt", "tests")
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)  # as `python -m pytest`; ends the program
