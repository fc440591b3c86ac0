"""An instance that was forked cannot be told from one that was started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import deploy_source
from tests.stand_ins.fork_server import fork_servers
from tests.stand_ins.function_compute import FunctionCompute

# The function file is imported after the environment is there; what the packages read, they read when they need it.
SOURCE = """
    import gc, locale, logging, os, signal, ssl, sys, threading, time
    packages = sorted({"openai", "oss2", "requests", "fc2"} & sys.modules.keys())
    import requests
    def handler(event, context):
        return {
            "packages": packages,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "path": sys.path,
            "flags": repr(sys.flags),
            "arguments": sys.argv[:1],
            "encodings": [locale.getpreferredencoding(), sys.stdout.encoding, sys.getfilesystemencoding()],
            "buffering": [sys.stdout.line_buffering, sys.stderr.line_buffering],
            "root logger": [[type(each.formatter).__name__ for each in logging.root.handlers], logging.root.level],
            "threads": threading.active_count(),
            "open files": len(os.listdir("/proc/self/fd")),
            "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
            "leads its session": os.getsid(0) == os.getpid() == os.getpgid(0),
            "proxies": requests.utils.get_environ_proxies("http://example.com/"),
            "certificates": ssl.get_default_verify_paths().cafile,
            "hour": time.localtime(0).tm_hour,
            "stdin": sys.stdin.read(),
            "enabled": gc.isenabled(),
        }
"""
ENVIRONMENT = {"HTTP_PROXY": "http://127.0.0.1:9", "SSL_CERT_FILE": str(Path(__file__)), "TZ": "UTC-8", "NAME": "值"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="instances are forked on Linux only")


def told_by_instance(folder: Path, forked: bool) -> dict[str, Any]:
    """What the handler returns, from a cold start."""
    with fork_servers(used=forked), FunctionCompute() as compute:
        deploy_source(compute, folder, SOURCE, environment=ENVIRONMENT)
        return dict(json.loads(compute.test("f", b"{}")))


def test_forked_instance_is_like_a_started_one(tmp_path: Path) -> None:
    """Its environment, folder, path, streams, log, signals, and what the packages make of the environment.

    Only that it has the packages before its file is imported: that is what saves the time.
    """
    forked, started = (told_by_instance(tmp_path, forked) for forked in (True, False))
    assert (forked.pop("packages"), started.pop("packages")) == (["fc2", "openai", "oss2", "requests"], [])
    for told in (forked, started):
        assert told["environment"].pop("FC_INSTANCE_ID")
        assert told["path"].pop(0) == told.pop("folder")
    assert forked == started
    assert forked["environment"].items() >= ENVIRONMENT.items()
    assert (forked["proxies"]["http"], forked["hour"]) == ("http://127.0.0.1:9", 8)
