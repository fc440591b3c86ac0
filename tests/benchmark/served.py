"""An instance of a function, like tests/stand_ins/instance.py, that tells what every message costs.

`python -m tests.benchmark.served FILE AUTHORITIES`, with the function's environment and no other. A line of JSON on
stdin is a message, in the form that instance.py takes; a line on stdout says what came of it and what it cost.
AUTHORITIES is the file of certificate authorities that the packages trust, in place of certifi's: so that they verify
the stand-ins' certificates as they verify those of the real services.

Nothing but the standard library and certifi before the function is imported: it runs in another Python perhaps.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

import certifi

from tests.stand_ins.instance import import_handler, run_event, run_http


def peak_memory_bytes() -> int:
    """The most memory that this process ever had. Not ru_maxrss: that begins with the memory of the parent process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Serve messages until stdin ends."""
    path, authorities = sys.argv[1:]
    certifi.where = lambda: authorities
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        logging.basicConfig(level=logging.INFO, stream=nowhere)  # the log is written, as on FC, but nobody reads it
        handler = import_handler(path, "handler")
        for line in sys.stdin:
            job = json.loads(line)
            run = run_http if "environ" in job else run_event
            cpu, started = time.process_time(), time.monotonic()  # the first counts all threads
            outcome = run(handler, job)
            cost = {"cpu_seconds": time.process_time() - cpu, "seconds": time.monotonic() - started}
            print(json.dumps({**cost, "peak_bytes": peak_memory_bytes(), "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main()
