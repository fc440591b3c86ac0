"""python3 -m deploy [conversation | reply | check [--fc 3]]: builds both packages, or one, or checks all."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys

from . import build, check


def main() -> int:
    """The exit status: 0, or 1 after a sentence that says what to change."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console without Chinese still shows the English sentences
    parser = argparse.ArgumentParser(prog="python3 -m deploy", description=build.__doc__)
    parser.add_argument("what", nargs="?", choices=[*build.FUNCTIONS, "check"], help="default: both packages")
    parser.add_argument(
        "--fc",
        type=int,
        choices=sorted(check.TEMPLATES),
        default=2,
        help="the generation of Function Compute; for check",
    )
    arguments = parser.parse_args()
    what = arguments.what
    try:
        if what == "check":
            return check.main(arguments.fc)
        for name in [what] if what else build.FUNCTIONS:
            build.build(name)
    except (build.Problem, OSError, subprocess.SubprocessError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
