"""One instance of a function: a process that imports one file and runs its handler, one request after the other.

function_compute.py starts it as `python -I -X utf8 instance.py` in the code folder, and talks to it in lines of JSON:
a line on stdin is a job, a line on stdout its outcome; bytes travel as base64.

    {"path", "handler", "log_level", "request_id"}   import the file      -> {}
    {"context", "event"}                             event                -> {"result"}
    {"context", "environ", "body"}                   HTTP request, WSGI   -> {"status", "headers", "result"}
    any of them                                                           -> {"error": as FC reports it}

With the argument "fork" it is no instance: it imports the packages once and forks the instances (fork_server.py).

Standard library only: it runs isolated, and in other versions of Python.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import importlib.util
import io
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

# What an instance has imported when it is forked: the packages, and modules that openai imports at its first request.
PACKAGES = ("requests", "fc2", "oss2", "openai", "openai.resources.chat")
MAX_FORK_BYTES = 64 * 1024


def make_context(
    *,
    runtime: str = "python3.10",
    request_id: str = "3f0c2a52-0000-4000-8000-000000000001",
    function: str = "Dingtalk_ChatGPT_Reply",
    handler: str = "Dingtalk_ChatGPT_Reply.handler",
    memory: int = 512,
    timeout: int = 60,
    service: str = "ChatGTP_Services",
    qualifier: str = "LATEST",
    version_id: str = "",
    log_project: str = "",
    log_store: str = "",
    region: str = "us-west-1",
    account_id: str = "1234567890123456",
    access_key_id: str | None = None,
    access_key_secret: str | None = None,
    security_token: str | None = None,
) -> SimpleNamespace:
    """The context that the runtime passes to every handler, with the documented fields only.

    What the credentials hold when there is no role is not documented: None is assumed.
    """
    context = SimpleNamespace(
        request_id=request_id,
        function=SimpleNamespace(name=function, handler=handler, memory=memory, timeout=timeout),
        region=region,
        account_id=account_id,
    )
    if runtime == "python3.10":
        context.credentials = SimpleNamespace(
            access_key_id=access_key_id, access_key_secret=access_key_secret, security_token=security_token
        )
        context.service = SimpleNamespace(
            name=service, log_project=log_project, log_store=log_store, qualifier=qualifier, version_id=version_id
        )
        context.tracing = SimpleNamespace(span_context=None, jaeger_endpoint=None, span_base64_baggages=None)
    else:
        context.function.qualifier, context.function.version_id = qualifier, version_id
        context.log_project, context.log_store = log_project, log_store
        context.logger, context.getLogger = None, logging.getLogger
    return context


def run_event(handler: Callable[..., Any], job: dict[str, Any]) -> dict[str, Any]:
    """The outcome of handler(event, context). That other values than str and bytes go out as JSON is assumed."""
    result = handler(base64.b64decode(job["event"]), make_context(**job["context"]))
    if isinstance(result, str):
        result = result.encode()
    elif not isinstance(result, bytes):
        result = json.dumps(result).encode()
    return {"result": base64.b64encode(result).decode()}


def run_http(handler: Callable[..., Any], job: dict[str, Any]) -> dict[str, Any]:
    """The outcome of the WSGI call handler(environ, start_response)."""
    head: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        if head and exc_info is None:
            raise RuntimeError("start_response was called twice")
        if not status[:3].isdecimal():
            raise RuntimeError(f"the status does not begin with three digits: {status!r}")
        for text in (text for header in headers for text in header):
            if not isinstance(text, str) or "\r" in text or "\n" in text:
                raise RuntimeError(f"cannot be in a header: {text!r}")
        head[:] = [status, headers]
        return written.append

    environ = {
        **job["environ"],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(base64.b64decode(job["body"])),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,  # one request at a time
        "wsgi.multiprocess": True,  # other instances serve the same function
        "wsgi.run_once": False,
        "fc.context": make_context(**job["context"]),
    }
    chunks = handler(environ, start_response)
    try:
        for chunk in chunks:
            written.append(chunk)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    if not head:
        raise RuntimeError("start_response was not called")
    return {"status": head[0], "headers": head[1], "result": base64.b64encode(b"".join(written)).decode()}


def error_report(error: BaseException) -> dict[str, Any]:
    """What FC tells the caller about an exception that the function did not catch (the documented fields)."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = [
        [f'File "{frame.filename}"', f"line {frame.lineno}", f"in {frame.name}", frame.line or ""]
        for frame in frames
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": stack}


def import_handler(path: str, handler: str) -> Callable[..., Any]:
    """The handler in the function file, which is imported by path and has its folder on sys.path."""
    folder, file_name = os.path.split(path)
    name = os.path.splitext(file_name)[0]
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file_name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(module, handler.rpartition(".")[2])
    return found


class _Formatter(logging.Formatter):
    """`<utc time> <request id> [LEVEL] message`: documented for the Go runtime, assumed for this one."""

    request_id = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"

    def format(self, record: logging.LogRecord) -> str:
        record.fc_request_id = self.request_id
        return super().format(record)


def main() -> None:
    """Serve jobs until stdin ends: then nobody is there any more, and even a busy instance ends at once."""
    # The two pipes move away from 0 and 1, so that what the function prints is log and never an outcome.
    jobs_in = os.fdopen(os.dup(0), "rb")
    outcomes = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if os.environ.get("LC_CTYPE") == "C.UTF-8":
        del os.environ["LC_CTYPE"]  # put there by Python itself, which found no locale
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    formatter = _Formatter("%(asctime)s %(fc_request_id)s [%(levelname)s] %(message)s")
    log = logging.StreamHandler(sys.stdout)
    log.setFormatter(formatter)
    logging.getLogger().addHandler(log)

    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read_jobs() -> None:
        for line in jobs_in:
            jobs.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read_jobs, daemon=True).start()  # a thread: the handler keeps the main one
    handler: Callable[..., Any] | None = None
    while True:
        job = jobs.get()
        try:
            if handler is None:
                formatter.request_id = job["request_id"]
                logging.getLogger().setLevel(job["log_level"])
                handler = import_handler(job["path"], job["handler"])
                outcome: dict[str, Any] = {}
            else:
                formatter.request_id = job["context"]["request_id"]
                outcome = run_http(handler, job) if "environ" in job else run_event(handler, job)
            line = json.dumps(outcome)
        except Exception as error:
            traceback.print_exc()  # FC logs it too
            line = json.dumps({"error": error_report(error)})
        sys.stdout.flush()
        sys.stderr.flush()
        outcomes.write(line.encode() + b"\n")
        outcomes.flush()


def fork_instances() -> None:
    """Import the packages, then fork an instance for every request on stdin, which is a socket, until it ends.

    A request is {"folder", "environment"} as JSON, with the three standard streams of the instance and a pipe for the
    answer, which is the number of its process.
    """
    for name in PACKAGES:
        with contextlib.suppress(ImportError):  # an interpreter need not have all of them
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        importlib.import_module("openai").DefaultHttpxClient().close()  # imports half of its packages only now
    gc.freeze()  # what is never collected is not copied either
    signal.signal(signal.SIGCHLD, reap)
    requests = socket.socket(fileno=os.dup(0))
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, MAX_FORK_BYTES, 4)
        if not request:
            return
        *streams, answer = descriptors
        process = os.fork()
        if process == 0:
            requests.close()
            os.close(answer)
            become_instance(json.loads(request), streams)
        os.write(answer, str(process).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def reap(*_: object) -> None:
    """Take the exit status of every instance that ended, or it would stay as a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def become_instance(request: dict[str, Any], streams: list[int]) -> None:
    """All that tells a process that was forked from one that was started; it does not return."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    fork_instances() if sys.argv[1:] == ["fork"] else main()
