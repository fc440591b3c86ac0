"""`python3 -m tests.benchmark`: what the two functions cost; fails if a budget is broken. README.md explains each row.

Groups of rows may be named to measure only those. Everything takes about three minutes, and needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.packages import provide

if __name__ == "__main__":
    provide("tests/requirements.txt", "tests.benchmark")

from tests.benchmark.measure import GROUPS
from tests.benchmark.rows import Row, broken_budgets, table
from tests.benchmark.stage import Stage, find_python
from tests.benchmark.wire import NO_DISTANCE, Network


def main() -> int:
    """The exit status: 0, or 1 if a budget is broken."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; all of them if none is named")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw growth and load, as SVG or PNG")
    parser.add_argument("--round-trip", type=float, default=20, metavar="MS", help="of the network in `network`: 20")
    parser.add_argument("--connect", type=float, default=40, metavar="MS", help="for a new connection: 40")
    arguments = parser.parse_args()
    groups = arguments.groups or list(GROUPS)
    if not set(groups) <= set(GROUPS):
        parser.error(f"the groups are {', '.join(GROUPS)}")
    if not sys.platform.startswith("linux"):
        parser.error("it measures memory as only Linux tells it")
    if arguments.plot:
        if not {"counts", "growth", "load"} <= set(groups):
            parser.error("--plot needs the groups counts, growth and load")
        from tests.benchmark import plot  # not needed otherwise, nor is its library
    distance = Network(arguments.round_trip / 1000, arguments.connect / 1000)

    python = find_python()
    rows: list[Row] = []
    for group in groups:
        print(f"measuring: {group} ...", file=sys.stderr, flush=True)
        with Stage(python, distance if group == "network" else NO_DISTANCE) as stage:
            rows += GROUPS[group](stage)
    if arguments.plot:
        plot.draw(rows, arguments.plot)
    broken = broken_budgets(rows, groups)
    about = {"python": version_of(python), "machine": machine()}
    if arguments.json:
        told = {**about, "rows": [row.as_json() for row in rows], "broken": broken}
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        print(f"{about['python']} on {about['machine']}\n\n{table(rows)}")
    for what in broken:
        print(f"BROKEN: {what}", file=sys.stderr)
    return 1 if broken else 0


def version_of(python: str) -> str:
    """'CPython 3.10.13'"""
    code = "import platform; print(platform.python_implementation(), platform.python_version())"
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def machine() -> str:
    """'2 × AMD EPYC, Linux 6.1, x86_64'"""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")} or {"unknown"}
    system = platform.uname()
    return f"{os.cpu_count()} × {', '.join(sorted(models))}, {system.system} {system.release}, {system.machine}"


if __name__ == "__main__":
    sys.exit(main())
