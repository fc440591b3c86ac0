"""Instances that need not import the packages, which takes a second of CPU each: forks of a process that has.

Tests start many. Inside `fork_servers()` every interpreter that plays a runtime has one such process, and instances
are its forks: with their own environment, folder and streams, and the function's file imported by themselves. Elsewhere
(the playground, the benchmark), and where the system is not Linux, instances are started as Function Compute does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

INSTANCE = Path(__file__).with_name("instance.py")
IMPORT_SECONDS = 60.0


class Process(Protocol):
    """What an instance needs of a process: a part of subprocess.Popen."""

    pid: int
    stdin: BinaryIO
    stdout: BinaryIO

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float) -> int: ...


class _Fork:
    """A process that is no child of ours; its exit status is not known, only that it ended."""

    def __init__(self, pid: int, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._lock = threading.Lock()
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None  # it has ended already

    def poll(self) -> int | None:
        """None while it lives."""
        return self._ended(0)

    def kill(self) -> None:
        """SIGKILL."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Return when it has ended."""
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired("instance", timeout)
        return ended

    def _ended(self, timeout: float) -> int | None:
        with self._lock:
            if self._descriptor is not None:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                if not poll.poll(timeout * 1000):
                    return None
                os.close(self._descriptor)
                self._descriptor = None
        return 0


class _ForkServer:
    """A process of one interpreter that has imported the packages. Forks of this process may use it at once, too."""

    def __init__(self, python: str) -> None:
        """It is still importing when this returns; the first instance waits for that."""
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(IMPORT_SECONDS)
        with other:
            self._process = subprocess.Popen(
                [python, "-I", "-X", "utf8", str(INSTANCE), "fork"],
                stdin=other.fileno(),
                env={},
                start_new_session=True,
            )

    def fork(self, folder: Path, environment: Mapping[str, str], log: BinaryIO) -> _Fork:
        """A new instance."""
        request = json.dumps({"folder": str(folder), "environment": dict(environment)}).encode()
        their_stdin, stdin = os.pipe()
        stdout, their_stdout = os.pipe()
        answer, their_answer = os.pipe()
        try:
            socket.send_fds(self._socket, [request], [their_stdin, their_stdout, log.fileno(), their_answer])
        finally:
            for end in (their_stdin, their_stdout, their_answer):
                os.close(end)
        with os.fdopen(answer, "rb") as number:
            if not select.select([number], [], [], IMPORT_SECONDS)[0]:
                raise TimeoutError("no instance is forked")
            pid = number.read()
        if not pid:
            raise OSError("the process that forks instances has ended")
        return _Fork(int(pid), os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))

    def close(self) -> None:
        """End it; its forks live on."""
        self._socket.close()
        self._process.terminate()
        self._process.wait()


_servers: dict[str, _ForkServer] | None = None  # by interpreter; None: instances are started
_lock = threading.Lock()


@contextlib.contextmanager
def fork_servers(*pythons: str, used: bool = True) -> Iterator[None]:
    """Instances that begin inside the block, also in forks of this process, are forked; those of `pythons` at once.

    If not `used`, they are started: true cold starts.
    """
    global _servers
    outer = _servers
    _servers = {python: _ForkServer(python) for python in pythons} if used and sys.platform == "linux" else None
    try:
        yield
    finally:
        inner, _servers = _servers, outer
        for server in (inner or {}).values():
            server.close()


def start_instance(python: str, folder: Path, environment: Mapping[str, str], log: BinaryIO) -> Process:
    """The process of a new instance, in this folder, with no other variables than these."""
    if _servers is not None:
        with _lock:
            if python not in _servers:
                _servers[python] = _ForkServer(python)
        return _servers[python].fork(folder, environment, log)
    process: Process = subprocess.Popen(  # type: ignore[assignment]  # both pipes are there
        [python, "-I", "-X", "utf8", str(INSTANCE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=folder,
        env=environment,
        start_new_session=True,  # Ctrl-C in a terminal is for us; we end the instances
    )
    return process
