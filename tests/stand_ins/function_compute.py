"""Function Compute on 127.0.0.1: the invoke API, HTTP triggers, the asynchronous queue, and instances.

Both generations, as one account may have both: a function is one of 2.0, in the only service, or one of 3.0. Every
function runs in processes of its own (instance.py) with nothing but its own file and its own environment. What the
documents leave open is marked "assumed". They are, for 2.0 (generation_3.py names those of 3.0):

https://help.aliyun.com/document_detail/52736.html (errors of the API)
https://help.aliyun.com/document_detail/53252.html (its signature)
https://help.aliyun.com/document_detail/85445.html (statuses of HTTP triggers)
https://help.aliyun.com/document_detail/191345.html (headers of HTTP triggers)
https://help.aliyun.com/document_detail/422868.html (ids of asynchronous tasks)
https://help.aliyun.com/document_detail/69777.html (environment variables)
https://help.aliyun.com/document_detail/422182.html (the context)

How things hang together: a `_Pool` per function holds its instances and its queue of events. A thread of the server
runs a synchronous or HTTP request; workers, at most one per possible instance, run the events. One lock, `_state`,
guards everything that the threads share; no process is started and no function runs while it is held.
"""

from __future__ import annotations

import atexit
import base64
import hashlib
import heapq
import hmac
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from . import generation_3
from .fork_server import Process, start_instance
from .server import Answer, Fault, Received, StandIn, json_answer

MAX_CLOCK_DIFFERENCE_SECONDS = 15 * 60
MAX_ASYNC_BYTES = 128 * 1024
MAX_DELAY_SECONDS = 3600  # of an asynchronous invocation
MAX_SYNC_BYTES = 32 * 1024 * 1024
MAX_ENVIRONMENT_BYTES = 4 * 1024  # names and values together: how FC counts is assumed
MAX_HEADER_BYTES = 8 * 1024  # of an HTTP trigger, in either direction; names and values together: assumed
MAX_PATH_BYTES = 4 * 1024
SIGNATURE_NOT_MATCH = (
    "The request signature we calculated does not match the signature you provided."
    " Check your access key and signing method"
)
ENDING_SECONDS = 5.0  # killed processes are gone in milliseconds; past this something is wrong

RUNTIMES = {2: ("python3.10",), 3: ("python3.10", "python3.12")}  # by generation, those that the functions are for
TASK_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED_VARIABLE = re.compile(r"FC_.*|accessKeyID|accessKeySecret|securityToken|topic")
INVOKE_PATH = re.compile(r"/2016-08-15/services/([^/.]+)(?:\.([^/]+))?/functions/([^/]+)/invocations")
TRIGGER_PATH = re.compile(r"/2016-08-15/proxy/([^/.]+)(?:\.([^/]+))?/([^/]+)(/.*)?")
API_3_PATH = re.compile(r"/2023-03-30(/.*)?")
INVOKE_3_PATH = re.compile(r"/2023-03-30/functions/([^/]+)/invocations")
TRIGGER_3_PATH = re.compile(r"/([^/.]+)\.fcapp\.run(/.*)?")  # really the host <id>.<region>.fcapp.run
FORBIDDEN_RESPONSE_HEADER = re.compile(r"(?i)connection|content-length|date|keep-alive|server|x-fc-.*")


# -- what one sets in the console, and what one sees there -------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """An access key; with a security token it is the temporary one of a role."""

    access_key_id: str
    access_key_secret: str
    security_token: str = ""


@dataclass(frozen=True)
class Function:
    """A function as one would set it in the console; its file is copied, alone, when it is deployed."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    http: bool = False  # it has an HTTP trigger, anonymous, and on 2.0 a WSGI handler
    timeout: float = 60  # seconds for one run; the import at a cold start has as many of its own (assumed)
    max_instances: int = 4  # really 300 per region
    max_retries: int = 2  # maxAsyncRetryAttempts
    stateful: bool = True  # task mode is on (statefulInvocation)
    max_event_age: float = 3600  # maxAsyncEventAgeInSeconds; an older event vanishes silently
    memory: int = 512  # only told, not enforced
    handler: str = "handler"  # the name in the file; FC's form "<file>.<name>" is understood too
    generation: int = 2  # of FC: with 3, an HTTP function's handler is one for events
    runtime: str = "python3.10"  # decides what the context holds; 3.0 also has python3.12
    python: str = sys.executable  # what plays it, which need not be of this version
    methods: frozenset[str] | None = None  # what the trigger lets through, else 403; None: all


@dataclass
class Run:
    """One attempt to run a function for one invocation."""

    instance: str  # as in FC_INSTANCE_ID
    cold: bool
    started: float  # time.monotonic(); a cold start counts
    seconds: float | None = None  # None: still running
    result: bytes | None = None  # what the handler returned; of an HTTP function the response's body
    error: str | None = None  # "timeout", "killed" (the process died, however), or the class of the exception
    log: str = ""  # what was printed and logged meanwhile, and at the cold start before


@dataclass
class Invocation:
    """One event or HTTP request for a function; a repeated delivery and a retry are further runs of it."""

    function: str
    request_id: str
    event: bytes  # of an HTTP request on 2.0 its body
    task_id: str | None  # if task mode is on
    runs: list[Run]
    accepted_at: float  # time.monotonic()
    done: bool = False


# -- the signature of 2.0, written from the documentation and not from the SDK -----------------------------


def signature(method: str, path: str, headers: Message[str, str], secret: str) -> str:
    """The base64 text after `FC <id>:`. `path` is as sent, without the query. The body is not signed."""
    own = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-fc-"))
    lines = [method, *(headers.get(name, "") for name in ("Content-MD5", "Content-Type", "Date"))]
    lines += [f"{name}:{value}" for name, value in own]
    digest = hmac.digest(secret.encode(), "\n".join([*lines, unquote(path)]).encode(), "sha256")
    return base64.b64encode(digest).decode()


class _Refused(Exception):
    """FC itself says no, in JSON; the function is not run."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


# -- instances ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Deployment:
    """One state of a function's code and settings, and the only place where they are looked up."""

    name: str
    function: Function
    file: Path  # the copy, in what is /code on FC


class Instance:
    """A process that runs one function, one request at a time. Whoever made it busy owns it until it is idle again."""

    def __init__(self, deployment: _Deployment, environment: Mapping[str, str], log_file: Path, freeze: bool) -> None:
        self.id = environment["FC_INSTANCE_ID"]
        self.pid = 0  # 0: not started yet
        self.busy = True
        self.runs = 0
        self.deployment = deployment
        self.log_from = 0  # where in the log file the part begins that no reset has dropped
        self._environment = environment
        self._log_file = log_file  # a file and no pipe: all of a run's log is there when its outcome arrives
        self._freeze = freeze
        self._process: Process | None = None
        self._ended_by: str | None = None
        self._lock = threading.Lock()  # between a kill, the start and the time-out

    @property
    def alive(self) -> bool:
        """It can take a request."""
        return self._ended_by is None and (self._process is None or self._process.poll() is None)

    def run(self, job: dict[str, Any], log_level: str) -> dict[str, Any]:
        """The outcome of one job; {"error": ..., "died": "timeout" or "killed"} if the process did not survive it."""
        function = self.deployment.function
        if self._process is None:
            load = {
                "path": str(self.deployment.file),
                "handler": function.handler,
                "log_level": log_level,
                "request_id": job["context"]["request_id"],
            }
            try:
                self._start()
            except OSError as error:
                return {"died": self.kill(), "error": {"errorMessage": f"The instance cannot start: {error}"}}
            outcome = self._exchange(load)
            if "error" in outcome:
                self.kill()  # the next run tries again, from a cold start
                return outcome
        elif self._freeze:
            os.kill(self.pid, signal.SIGCONT)
        outcome = self._exchange(job)
        self.runs += 1
        if self._freeze and self.alive:
            os.kill(self.pid, signal.SIGSTOP)
        return outcome

    def _start(self) -> None:
        function, code = self.deployment.function, self.deployment.file.parent
        with self._lock, self._log_file.open("ab") as log:
            if self._ended_by:
                return
            self._process = start_instance(function.python, code, self._environment, log)
            self.pid = self._process.pid

    def _exchange(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send one line, wait for one line, at most as long as the function may run."""
        answered = False

        def expire() -> None:
            with self._lock:
                if not answered:
                    self._kill("timeout")

        line = b""
        timeout = self.deployment.function.timeout
        timer = threading.Timer(timeout, expire)
        timer.daemon = True
        timer.start()
        begun = time.monotonic()
        try:
            if self._process:
                self._process.stdin.write(json.dumps(job).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
        except BrokenPipeError:
            pass  # it died before it could read; the missing line says so
        finally:
            timer.cancel()
        with self._lock:
            answered = True
            if self._ended_by is None and line.endswith(b"\n"):
                outcome: dict[str, Any] = json.loads(line)
                return outcome
        died = self.kill()
        spent = f"(duration: {(time.monotonic() - begun) * 1000:.0f}ms)"
        if died == "timeout":
            message = f"Function timed out after {timeout:g} seconds {spent}"  # wording assumed
        else:
            message = f"Process exited unexpectedly before completing request {spent}"
        return {"died": died, "error": {"errorMessage": message}}

    def kill(self) -> str:
        """End the process with SIGKILL; tells what ended it first."""
        with self._lock:
            return self._kill("killed")

    def _kill(self, reason: str) -> str:
        self._ended_by = self._ended_by or reason
        if self._process:
            self._process.kill()
        return self._ended_by

    def close(self) -> None:
        """End the process and wait until it is gone. Only the owner may, or anybody while it is idle."""
        self.kill()
        if self._process:
            self._process.wait(ENDING_SECONDS)
            for pipe in (self._process.stdin, self._process.stdout):
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # what was still unsent to the dead process

    def log_end(self) -> int:
        """Where the log ends now."""
        return self._log_file.stat().st_size if self._log_file.exists() else 0

    def log(self, start: int) -> str:
        """What it wrote from there on."""
        if not self._log_file.exists():
            return ""
        with self._log_file.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def delete_log(self) -> None:
        self._log_file.unlink(missing_ok=True)


@dataclass
class _Event:
    """An event in the queue."""

    invocation: Invocation
    qualifier: str
    deliveries: int = 1  # successful runs that are still due
    failures: int = 0


class _Pool:
    """One function: its deployment, its instances, and the events that wait for one."""

    def __init__(self, state: threading.RLock, deployment: _Deployment) -> None:
        self.deployment = deployment
        self.instances: list[Instance] = []
        self.ended_logs: list[str] = []
        self.events: list[tuple[float, int, _Event]] = []  # a heap: when it is due, tie-breaker, event
        self.ready = threading.Condition(state)  # an event was queued or an instance has become free
        self.workers: list[threading.Thread] = []
        self.waiting = 0  # how many of the workers wait
        self.repeat = 0  # how many of the next events are delivered twice
        self.task_ids: set[str] = set()

    def remove(self, instance: Instance) -> None:
        """End an instance that is idle or ours."""
        instance.close()
        self.instances.remove(instance)
        self.ended_logs.append(instance.log(instance.log_from))
        instance.delete_log()


# -- the service -------------------------------------------------------------------------------------------


class FunctionCompute(StandIn):
    """Function Compute, of 2.0 with one service; see `deploy`, `trigger_url`, `invocations`, `wait_idle`.

    For what FC itself can do wrong plan a `Fault`, e.g. `Fault(where=is_invoke, status=503, body=...)`; `throttle`
    and `denied_actions` are the usual ones ready-made. A fault meets a request before any check of it.
    """

    def __init__(
        self,
        *,
        account_id: str = "1234567890123456",
        region: str = "us-west-1",
        service: str = "ChatGTP_Services",
        role: Credentials | None = Credentials("STS.example-id", "example-secret", "example-token"),
        users: Iterable[Credentials] = (),  # long-lived access keys that may call the API as well
        retry_seconds: float = 0.05,  # pause before a failed event is run again; really unknown
        root_log_level: str = "INFO",  # of the functions' root logger; assumed
        freeze: bool = False,  # SIGSTOP idle instances, as FC does; not on Windows; they outlive a SIGKILL of ours
    ) -> None:
        super().__init__()
        self.account_id = account_id
        self.region = region
        self.service = service
        self.role = role
        self.users = list(users)
        self.retry_seconds = retry_seconds
        self.root_log_level = root_log_level
        self.freeze = freeze
        self._nonces: set[str] = set()  # of 3.0's signatures
        self.denied_actions: set[str] = set()  # {"fc:InvokeFunction"}: nobody may invoke; 403 AccessDenied
        self.invocations: list[Invocation] = []
        self._state = threading.RLock()
        self._finished = threading.Condition(self._state)  # an invocation is done or a busy instance is free
        self._open = 0  # invocations that are not done
        self._pools: dict[str, _Pool] = {}
        self._stopping = False
        self._number = itertools.count()
        self._folder = Path(tempfile.mkdtemp(prefix="function-compute-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """As in the base class; instances start with the first request."""
        self._stopping = False
        atexit.register(self.stop)
        super().start()

    def stop(self) -> None:
        """Refuse requests, drop what is queued, end all instances and workers. Deployed functions stay deployed."""
        super().stop()
        atexit.unregister(self.stop)
        with self._state:
            self._stopping = True
            self._drop_everything()
            workers = [worker for pool in self._pools.values() for worker in pool.workers]
            for pool in self._pools.values():
                pool.ready.notify_all()
                for instance in [instance for instance in pool.instances if not instance.busy]:
                    pool.remove(instance)
                pool.workers.clear()
            self._wait_until_nothing_is_busy()
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(ENDING_SECONDS)

    def reset(self) -> None:
        """As in the base class; also forget invocations, stateful ids, logs, and what is queued or running.

        Deployed functions and their idle instances stay, so that tests need not wait for cold starts.
        """
        with self._state:
            self._drop_everything()
            self._wait_until_nothing_is_busy()
            self.invocations.clear()
            self.denied_actions.clear()
            for pool in self._pools.values():
                pool.repeat = 0
                pool.task_ids.clear()
                pool.ended_logs.clear()
                for instance in pool.instances:
                    instance.log_from = instance.log_end()
        super().reset()

    def _drop_everything(self) -> None:
        for pool in self._pools.values():
            pool.events.clear()
            for instance in pool.instances:
                if instance.busy:
                    instance.kill()
        for invocation in self.invocations:
            self._finish(invocation)

    def _wait_until_nothing_is_busy(self) -> None:
        def nothing_busy() -> bool:
            return not any(instance.busy for pool in self._pools.values() for instance in pool.instances)

        if not self._finished.wait_for(nothing_busy, ENDING_SECONDS):
            raise TimeoutError("an instance does not end")

    # -- the console --------------------------------------------------------------------------------------

    def deploy(self, name: str, function: Function) -> None:
        """Create or replace a function. Idle instances of the old one end now, busy ones after their run.

        Raises ValueError for what FC would not take.
        """
        _check(name, function)
        code = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        deployment = _Deployment(name, function, Path(shutil.copy(function.path, code)))
        rooms = function.path.with_name("bot")
        if rooms.is_dir():
            try:
                (code / "bot").symlink_to(rooms)  # so that all instances share the bytecode
            except OSError:  # Windows asks for a privilege
                shutil.copytree(rooms, code / "bot")
        with self._state:
            pool = self._pools.setdefault(name, _Pool(self._state, deployment))
            pool.deployment = deployment
            for instance in [instance for instance in pool.instances if not instance.busy]:
                pool.remove(instance)
            pool.ready.notify_all()

    def trigger_url(self, name: str) -> str:
        """The address of the HTTP trigger, with a trailing slash."""
        if self._pool(name, generation=3):
            return f"{self.url}/{name}.fcapp.run/"
        return f"{self.url}/2016-08-15/proxy/{self.service}/{name}/"

    def test(self, name: str, event: bytes) -> bytes:
        """What the function returns if the console's test button sends it this event; RuntimeError if it fails."""
        with self._state:
            pool = self._pools[name]
        outcome = self._run_now(pool, str(uuid.uuid4()), None, {}, event)
        if "error" in outcome:
            raise RuntimeError(json.dumps(outcome["error"]))
        return base64.b64decode(outcome["result"])

    def wait_idle(self, timeout: float) -> None:
        """Return when no event is queued and nothing runs; TimeoutError says what still does."""
        with self._state:
            if not self._finished.wait_for(lambda: self._open == 0, timeout):
                unfinished = [
                    f"{invocation.function} {invocation.request_id}"
                    f" ({'running' if any(run.seconds is None for run in invocation.runs) else 'queued'},"
                    f" {len(invocation.runs)} runs so far)"
                    for invocation in self.invocations
                    if not invocation.done
                ]
                raise TimeoutError(f"after {timeout:g} s not finished: {'; '.join(unfinished)}")

    def kill(self, name: str) -> int:
        """SIGKILL every instance of the function that is busy now; tells how many."""
        with self._state:
            busy = [instance for instance in self._pools[name].instances if instance.busy and instance.alive]
            for instance in busy:
                instance.kill()
        return len(busy)

    def run_twice(self, name: str, times: int = 1) -> None:
        """Deliver the next `times` events twice although the first run succeeds: FC promises at least once."""
        with self._state:
            self._pools[name].repeat = times

    def throttle(self, times: int = 1) -> None:
        """Answer the next `times` requests to the invoke API with 429."""
        self.plan(error_fault(429, "ResourceExhausted", times=times))

    def instances(self, name: str) -> list[Instance]:
        """The live instances of the function: see `pid`, `busy`, `runs`."""
        with self._state:
            return [instance for instance in self._pools[name].instances if instance.alive]

    def logs(self, name: str | None = None) -> str:
        """All that the instances of one function, or of all, wrote, cold starts included; instance by instance."""
        with self._state:
            pools = self._pools.values() if name is None else [self._pools[name]]
            return "".join(
                text
                for pool in pools
                for text in (*pool.ended_logs, *(instance.log(instance.log_from) for instance in pool.instances))
            )

    # -- requests -----------------------------------------------------------------------------------------

    def respond(self, received: Received) -> Answer:
        request_id = str(uuid.uuid4())
        trigger = TRIGGER_PATH.fullmatch(received.path)
        trigger_3 = TRIGGER_3_PATH.fullmatch(received.path)
        invoke = INVOKE_PATH.fullmatch(received.path)
        invoke_3 = INVOKE_3_PATH.fullmatch(received.path)
        try:
            if trigger:
                service, qualifier, name, path = trigger.groups()
                answer = self._trigger(received, request_id, self._find(service, qualifier, name), qualifier, path)
            elif trigger_3:
                name, path = trigger_3.groups()
                answer = self._trigger(received, request_id, self._find_3(name, None), None, path)
            elif invoke and received.method == "POST":
                answer = self._invoke_2(received, request_id, *invoke.groups())
            elif invoke_3 and received.method == "POST":
                answer = self._invoke_3(received, request_id, *invoke_3.groups())
            else:
                message = f"'{received.path}' against '{received.method}' is not supported"
                raise _Refused(400, "PathNotSupported", message)
        except _Refused as error:
            if trigger_3 or API_3_PATH.fullmatch(received.path):
                body = {"Code": error.code, "Message": str(error), "RequestId": request_id}
            else:
                body = {"ErrorCode": error.code, "ErrorMessage": str(error)}
            answer = json_answer(body, error.status)
            if trigger or trigger_3:
                answer = answer.with_header("X-Fc-Error-Type", "FcCommonError")
        return answer.with_header("X-Fc-Request-Id", request_id)  # that 3.0 has it too is assumed

    def _invoke_2(self, received: Received, request_id: str, service: str, qualifier: str | None, name: str) -> Answer:
        """InvokeFunction of 2.0. The order of the checks is assumed, here and below."""
        self._check_caller(received)
        self._check_permission(f"services/{service}/functions/{name}")
        pool = self._find(service, qualifier, name)
        if pool.deployment.function.http:  # assumed; FC keeps both kinds apart
            raise _Refused(400, "InvalidArgument", f"function '{name}' has an HTTP trigger and a handler for it")
        task_id = received.headers.get("x-fc-stateful-async-invocation-id")
        return self._invoke(received, request_id, pool, qualifier, task_id)

    def _invoke_3(self, received: Received, request_id: str, name: str) -> Answer:
        """InvokeFunction of 3.0."""
        self._check_caller_3(received)
        self._check_permission(f"functions/{name}")
        qualifier = received.query.get("qualifier")
        service, dollar, of_2 = unquote(name).rpartition("$")
        pool = self._find(service, qualifier, of_2) if dollar else self._find_3(name, qualifier)
        if dollar and pool.deployment.function.http:  # assumed, as in the API of 2.0
            raise _Refused(400, "InvalidArgument", f"function '{name}' has an HTTP trigger and a handler for it")
        return self._invoke(received, request_id, pool, qualifier, received.headers.get("x-fc-async-task-id"))

    def _invoke(
        self, received: Received, request_id: str, pool: _Pool, qualifier: str | None, task_id: str | None
    ) -> Answer:
        """The same on both generations: synchronous or not."""
        function = pool.deployment.function
        kind = received.headers.get("x-fc-invocation-type", "Sync")
        if kind not in ("Sync", "Async"):
            raise _Refused(400, "InvalidArgument", "x-fc-invocation-type is neither 'Sync' nor 'Async'")
        limit = MAX_SYNC_BYTES if kind == "Sync" else MAX_ASYNC_BYTES
        if len(received.body) > limit:
            raise _Refused(400, "EntityTooLarge", f"payload size exceeds maximum allowed size ({limit} bytes)")
        if kind == "Sync":
            outcome = self._run_now(pool, request_id, qualifier, {}, received.body)
            if "error" in outcome:
                return _failed_run(200, outcome["error"])
            content_type = ("Content-Type", "application/octet-stream")
            return Answer(200, (content_type,), base64.b64decode(outcome["result"]))
        delay = received.headers.get("x-fc-async-delay", "0")
        if not (delay.isascii() and delay.isdigit() and int(delay[:9]) <= MAX_DELAY_SECONDS):
            raise _Refused(400, "InvalidArgument", f"x-fc-async-delay is no number from 0 to {MAX_DELAY_SECONDS}")
        task_id = task_id if function.stateful else None  # assumed: with task mode off FC ignores the id
        if task_id is not None and not TASK_ID.fullmatch(task_id):
            raise _Refused(400, "InvalidArgument", f"the id '{task_id}' of the asynchronous task is invalid")
        with self._state:
            if task_id in pool.task_ids:
                # Alibaba's documents do not name the code; others' code tests for it, with the API of 2021. Assumed:
                # 3.0 has the same.
                raise _Refused(
                    409, "StatefulAsyncInvocationAlreadyExists", f"stateful invocation '{task_id}' already exists"
                )
            if task_id is not None:
                pool.task_ids.add(task_id)
            event = _Event(self._accept(pool, request_id, received.body, task_id), qualifier or "LATEST")
            if pool.repeat:
                pool.repeat -= 1
                event.deliveries = 2
            self._queue(pool, event, delay=int(delay))
        accepted = Answer(202)
        if task_id is None:
            return accepted
        return accepted.with_header("X-Fc-Stateful-Async-Invocation-Id", task_id)  # of 3.0 assumed

    def _check_permission(self, resource: str) -> None:
        if "fc:InvokeFunction" in self.denied_actions:
            resource = f"acs:fc:{self.region}:{self.account_id}:{resource}"
            message = f"the caller is not authorized to perform 'fc:InvokeFunction' on resource '{resource}'"
            raise _Refused(403, "AccessDenied", message)

    def _check_caller(self, received: Received) -> None:
        """Raise _Refused unless a known key signed the request, within 15 minutes, in the way of 2.0."""
        headers = received.headers
        if not headers.get("Authorization"):  # documented: 403. Assumed: the code
            raise _Refused(403, "AccessDenied", "required HTTP header Authorization was not specified")
        if not headers.get("Date"):
            raise _Refused(400, "MissingRequiredHeader", "required HTTP header Date was not specified")
        scheme, _, rest = headers["Authorization"].partition(" ")
        key_id, _, sent = rest.partition(":")
        key = self._key(key_id if scheme == "FC" else "")
        wanted = signature(received.method, received.path, headers, key.access_key_secret)
        if not hmac.compare_digest(wanted.encode(), sent.encode()):
            raise _Refused(403, "SignatureNotMatch", SIGNATURE_NOT_MATCH)
        # Documented for the next two: 403. Assumed: the codes.
        if headers.get("x-fc-security-token", "") != key.security_token:
            raise _Refused(403, "AccessDenied", "the security token is not that of the access key")
        try:
            difference = abs(time.time() - parsedate_to_datetime(headers["Date"]).timestamp())
        except ValueError:
            raise _Refused(400, "InvalidArgument", "the header Date is no date") from None
        if difference > MAX_CLOCK_DIFFERENCE_SECONDS:
            raise _Refused(403, "AccessDenied", f"the header Date is {difference:.0f} seconds off, more than 900")

    def _check_caller_3(self, received: Received) -> None:
        """The same in the way of 3.0, ACS3-HMAC-SHA256.

        AccessKey, signature and missing headers have documented codes; the other codes, and all statuses, are assumed.
        """
        headers = received.headers
        for name in ("Authorization", *generation_3.SIGNED):
            if not headers.get(name):
                raise _Refused(400, "MissingRequiredHeader", f"required HTTP header {name} was not specified")
        sent = generation_3.parse_authorization(headers["Authorization"])
        key = self._key(sent.key_id if sent.scheme == "ACS3-HMAC-SHA256" else "")
        unsigned = generation_3.unsigned(received, sent.signed)
        wanted = generation_3.signature(received, sent.signed, key.access_key_secret)
        hashed = hashlib.sha256(received.body).hexdigest()
        if unsigned or headers["x-acs-content-sha256"] != hashed or not hmac.compare_digest(wanted, sent.signature):
            raise _Refused(403, "SignatureNotMatch", SIGNATURE_NOT_MATCH)
        if (headers["x-acs-action"], headers["x-acs-version"]) != ("InvokeFunction", "2023-03-30"):
            raise _Refused(400, "InvalidArgument", "x-acs-action or x-acs-version is not that of this API")
        if headers.get("x-acs-security-token", "") != key.security_token:
            raise _Refused(403, "InvalidSecurityToken", "the security token is not that of the access key")
        try:
            signed_at = datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        except ValueError:
            raise _Refused(400, "InvalidArgument", "the header x-acs-date is no date") from None
        if abs(time.time() - signed_at.timestamp()) > MAX_CLOCK_DIFFERENCE_SECONDS:
            raise _Refused(400, "InvalidTimeStamp.Expired", "the header x-acs-date is more than 900 seconds off")
        with self._state:
            if headers["x-acs-signature-nonce"] in self._nonces:
                raise _Refused(400, "SignatureNonceUsed", "the header x-acs-signature-nonce was used before")
            self._nonces.add(headers["x-acs-signature-nonce"])

    def _key(self, key_id: str) -> Credentials:
        for key in (*([self.role] if self.role else []), *self.users):
            if key.access_key_id == key_id:
                return key
        raise _Refused(403, "InvalidAccessKeyID", f"invalid access key ID '{key_id}'")

    def _find(self, service: str, qualifier: str | None, name: str) -> _Pool:
        if unquote(service) != self.service:
            raise _Refused(404, "ServiceNotFound", f"service '{service}' does not exist")
        if qualifier not in (None, "LATEST"):  # no version was ever published; the code is assumed
            raise _Refused(404, "VersionNotFound", f"qualifier '{qualifier}' does not exist in service '{service}'")
        pool = self._pool(name, generation=2)
        if pool is None:
            raise _Refused(404, "FunctionNotFound", f"function '{name}' does not exist in service '{service}'")
        return pool

    def _find_3(self, name: str, qualifier: str | None) -> _Pool:
        if qualifier not in (None, "LATEST"):
            raise _Refused(404, "VersionNotFound", f"qualifier '{qualifier}' of function '{name}' does not exist")
        pool = self._pool(name, generation=3)
        if pool is None:
            raise _Refused(404, "FunctionNotFound", f"function '{name}' does not exist")
        return pool

    def _pool(self, name: str, generation: int) -> _Pool | None:
        with self._state:
            pool = self._pools.get(unquote(name))
        return pool if pool and pool.deployment.function.generation == generation else None

    def _trigger(
        self, received: Received, request_id: str, pool: _Pool, qualifier: str | None, path: str | None
    ) -> Answer:
        """A request to an HTTP trigger with authType anonymous."""
        name, function = pool.deployment.name, pool.deployment.function
        if not function.http:
            raise _Refused(404, "TriggerNotFound", f"function '{name}' has no HTTP trigger")
        if function.methods is not None and received.method not in function.methods:
            raise _Refused(403, "AccessDenied", f"the HTTP trigger does not allow the method {received.method}")
        if sum(len(name) + len(value) for name, value in received.headers.items()) > MAX_HEADER_BYTES:
            raise _Refused(400, "InvalidArgument", f"the request's headers exceed {MAX_HEADER_BYTES} bytes")
        if len(received.path) > MAX_PATH_BYTES:
            raise _Refused(400, "InvalidArgument", f"the request's path exceeds {MAX_PATH_BYTES} bytes")
        if function.generation == 2:
            outcome = self._run_now(
                pool, request_id, qualifier, {"environ": _environ(received, path or "/")}, received.body
            )
        else:
            event = generation_3.http_event(received, path or "/", name, self.account_id, request_id)
            outcome = self._run_now(pool, request_id, qualifier, {}, event)
        if "error" in outcome:
            return _failed_run(502, outcome["error"])  # of 3.0 assumed
        body = base64.b64decode(outcome["result"])
        if function.generation == 2:
            status, headers = int(outcome["status"][:3]), outcome["headers"]
        else:
            status, headers, body = generation_3.http_answer(body)
        headers = [(name, value) for name, value in headers if not FORBIDDEN_RESPONSE_HEADER.fullmatch(name)]
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return _failed_run(502, {"errorMessage": f"the response's headers exceed {MAX_HEADER_BYTES} bytes"})
        headers = [(name, value) for name, value in headers if name.lower() != "content-disposition"]
        return Answer(status, (*headers, ("Content-Disposition", "attachment")), body)  # of the default domain

    def _run_now(
        self, pool: _Pool, request_id: str, qualifier: str | None, job: dict[str, Any], body: bytes
    ) -> dict[str, Any]:
        """Run the function in this thread; _Refused if there is no instance left for it."""
        with self._state:
            instance = self._take_instance(pool)
            if instance is None:
                raise _Refused(429, "ResourceExhausted", "Your request exceeds the limit of concurrent instances")
            invocation = self._accept(pool, request_id, body, None)
        _, outcome = self._run(pool, instance, invocation, qualifier or "LATEST", job)
        with self._state:
            self._finish(invocation)
        return outcome

    # -- the queue ----------------------------------------------------------------------------------------

    def _accept(self, pool: _Pool, request_id: str, event: bytes, task_id: str | None) -> Invocation:
        invocation = Invocation(pool.deployment.name, request_id, event, task_id, [], time.monotonic())
        self.invocations.append(invocation)
        self._open += 1
        return invocation

    def _finish(self, invocation: Invocation) -> None:
        if not invocation.done:
            invocation.done = True
            self._open -= 1
            self._finished.notify_all()

    def _queue(self, pool: _Pool, event: _Event, delay: float) -> None:
        heapq.heappush(pool.events, (time.monotonic() + delay, next(self._number), event))
        if len(pool.events) > pool.waiting and len(pool.workers) < pool.deployment.function.max_instances:
            worker = threading.Thread(
                target=self._work, args=(pool,), daemon=True, name=f"{pool.deployment.name} queue"
            )
            pool.workers.append(worker)
            worker.start()
        pool.ready.notify()

    def _work(self, pool: _Pool) -> None:
        """Run events of one function until the stand-in stops."""
        while True:
            with self._state:
                taken = self._take_event(pool)
                while taken is None:
                    if self._stopping:
                        return
                    due = pool.events[0][0] - time.monotonic() if pool.events else None
                    pool.waiting += 1
                    # An event that is due waits for an instance, and whoever frees one notifies.
                    pool.ready.wait(due if due is not None and due > 0 else None)
                    pool.waiting -= 1
                    taken = self._take_event(pool)
                if pool.events:
                    pool.ready.notify()  # the waiting worker that looks after them may be the one that just woke up
            event, instance = taken
            run, _ = self._run(pool, instance, event.invocation, event.qualifier, {})
            with self._state:
                if run.error is None:
                    event.deliveries -= 1
                else:
                    event.failures += 1
                if (
                    event.invocation.done  # dropped by a reset
                    or event.deliveries == 0
                    or event.failures > pool.deployment.function.max_retries
                ):
                    self._finish(event.invocation)
                else:
                    self._queue(pool, event, delay=self.retry_seconds if run.error else 0)

    def _take_event(self, pool: _Pool) -> tuple[_Event, Instance] | None:
        """The next event that is due, and an instance for it, if there are both."""
        now = time.monotonic()
        while not self._stopping and pool.events and pool.events[0][0] <= now:
            event = pool.events[0][2]
            if now - event.invocation.accepted_at > pool.deployment.function.max_event_age:
                heapq.heappop(pool.events)
                self._finish(event.invocation)
                continue
            instance = self._take_instance(pool)
            if instance is None:
                return None
            heapq.heappop(pool.events)
            return event, instance
        return None

    # -- running ------------------------------------------------------------------------------------------

    def _take_instance(self, pool: _Pool) -> Instance | None:
        """A busy instance that is now the caller's: a warm one or a new one; None if there are too many."""
        if self._stopping:
            return None
        for instance in [instance for instance in pool.instances if not (instance.busy or instance.alive)]:
            pool.remove(instance)  # it died while it was idle
        deployment = pool.deployment
        current = [instance for instance in pool.instances if instance.deployment is deployment]
        for instance in current:
            if not instance.busy:
                instance.busy = True
                return instance
        if len(current) >= deployment.function.max_instances:
            return None
        environment = self._environment(deployment)
        log_file = self._folder / f"{environment['FC_INSTANCE_ID']}.log"
        instance = Instance(deployment, environment, log_file, self.freeze)
        pool.instances.append(instance)
        return instance

    def _run(
        self, pool: _Pool, instance: Instance, invocation: Invocation, qualifier: str, job: dict[str, Any]
    ) -> tuple[Run, dict[str, Any]]:
        """Run the function once, on an instance that is ours, and give the instance back."""
        run = Run(instance.id, cold=instance.pid == 0, started=time.monotonic())
        with self._state:
            invocation.runs.append(run)
        body = base64.b64encode(invocation.event).decode()
        job = {
            **job,
            ("body" if "environ" in job else "event"): body,
            "context": self._context(instance.deployment, invocation.request_id, qualifier),
        }
        log_start = instance.log_end() if instance.pid else 0
        outcome = instance.run(job, self.root_log_level)
        with self._state:
            run.seconds = time.monotonic() - run.started
            run.log = instance.log(log_start)
            if "error" in outcome:
                run.error = outcome.get("died") or outcome["error"]["errorType"]
            else:
                run.result = base64.b64decode(outcome["result"])
            instance.busy = False
            if self._stopping or not instance.alive or instance.deployment is not pool.deployment:
                pool.remove(instance)
            pool.ready.notify()
            self._finished.notify_all()
        return run, outcome

    def _context(self, deployment: _Deployment, request_id: str, qualifier: str) -> dict[str, Any]:
        """The arguments of instance.make_context."""
        function = deployment.function
        context = {
            "runtime": function.runtime,
            "request_id": request_id,
            "function": deployment.name,
            "handler": f"{deployment.file.stem}.{function.handler.rpartition('.')[2]}",
            "memory": function.memory,
            "timeout": int(function.timeout),
            "service": self.service if function.generation == 2 else "",  # of 3.0 assumed
            "qualifier": qualifier,
            "region": self.region,
            "account_id": self.account_id,
        }
        if self.role:
            context["access_key_id"] = self.role.access_key_id
            context["access_key_secret"] = self.role.access_key_secret
            context["security_token"] = self.role.security_token
        return context

    def _environment(self, deployment: _Deployment) -> dict[str, str]:
        """All of a new instance's environment variables. That FC's own win, and none without a role, is assumed."""
        environment = {
            **deployment.function.environment,
            "FC_ACCOUNT_ID": self.account_id,
            "FC_REGION": self.region,
            "FC_FUNCTION_NAME": deployment.name,
            "FC_INSTANCE_ID": f"c-{uuid.uuid4().hex[:20]}",
        }
        if deployment.function.generation == 2:
            environment["FC_SERVICE_NAME"] = self.service
        if self.role:
            environment["ALIBABA_CLOUD_ACCESS_KEY_ID"] = self.role.access_key_id
            environment["ALIBABA_CLOUD_ACCESS_KEY_SECRET"] = self.role.access_key_secret
            environment["ALIBABA_CLOUD_SECURITY_TOKEN"] = self.role.security_token
        if os.name == "nt":
            environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]  # Python on Windows does not start without it
        return environment


def is_invoke(received: Received) -> bool:
    """For Fault.where: a request to the invoke API."""
    return bool(INVOKE_PATH.fullmatch(received.path) or INVOKE_3_PATH.fullmatch(received.path))


def is_trigger(received: Received) -> bool:
    """For Fault.where: a request to an HTTP trigger."""
    return bool(TRIGGER_PATH.fullmatch(received.path) or TRIGGER_3_PATH.fullmatch(received.path))


def error_fault(status: int, code: str, times: int = 1) -> Fault:
    """A refusal of the next requests to the invoke API. Clients of either generation can read its body."""
    request_id = str(uuid.uuid4())
    body = {"ErrorCode": code, "ErrorMessage": "planned", "Code": code, "Message": "planned", "RequestId": request_id}
    headers = (("Content-Type", "application/json"), ("X-Fc-Request-Id", request_id))
    return Fault(where=is_invoke, times=times, status=status, headers=headers, body=json.dumps(body))


def _check(name: str, function: Function) -> None:
    """Raise ValueError if FC would refuse the function. The message names variables but no value."""
    if not TASK_ID.fullmatch(name):  # the same pattern
        raise ValueError(f"not the name of a function: {name!r}")
    if function.runtime not in RUNTIMES[function.generation]:
        raise ValueError(f"generation {function.generation} has no runtime {function.runtime}")
    wrong = [name for name in function.environment if not VARIABLE.fullmatch(name)]
    reserved = [name for name in function.environment if RESERVED_VARIABLE.fullmatch(name)]
    if wrong or reserved:
        raise ValueError(f"invalid environment variables: {wrong}, reserved ones: {reserved}")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in function.environment.items())
    if size > MAX_ENVIRONMENT_BYTES:
        raise ValueError(f"the environment has {size} bytes, limit {MAX_ENVIRONMENT_BYTES}")
    if not shutil.which(function.python):
        raise ValueError(f"no Python at {function.python}")


def _environ(received: Received, path: str) -> dict[str, str]:
    """The part of the WSGI environ that comes from the request; the instance adds the rest.

    That SCRIPT_NAME is '' and PATH_INFO what follows the function's name is assumed.
    """
    environ = {
        "REQUEST_METHOD": received.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": received.query_string,
        "CONTENT_TYPE": received.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": received.headers.get("Content-Length", ""),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": received.connection.rpartition(":")[0],
        "fc.request_uri": received.path + (f"?{received.query_string}" if received.query_string else ""),
    }
    for name, value in received.headers.items():
        variable = "HTTP_" + name.upper().replace("-", "_")
        if variable not in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            environ[variable] = f"{environ[variable]},{value}" if variable in environ else value
    return environ


def _failed_run(status: int, error: Mapping[str, object]) -> Answer:
    """What the caller of a run that failed is told."""
    return json_answer(error, status).with_header("X-Fc-Error-Type", "UnhandledInvocationError")
