"""The two functions in processes of their own, and all that they talk to at the other end of a wire."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import certifi
import trustme

from tests.benchmark.wire import NO_DISTANCE, Network, Wire
from tests.stand_ins.dingtalk import XIAODING, Person, signature
from tests.stand_ins.function_compute import is_invoke
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, ROOT, LocalCloud
from tests.stand_ins.oss import Object
from tests.stand_ins.server import Fault, StandIn

ANSWER_SECONDS = 60.0  # no message takes this long, not even in a function that was broken on purpose


def find_python() -> str:
    """CPython 3.10, which is what Function Compute has, if there is one with the packages; else the running Python."""
    found = shutil.which("python3.10")
    if sys.version_info[:2] == (3, 10) or not found:
        return sys.executable
    check = "import sys, fc2, openai, oss2, requests; print(sys.executable)"
    run = subprocess.run([found, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return run.stdout.strip() or sys.executable


class Cost(NamedTuple):
    """What one message cost."""

    cpu_seconds: float
    seconds: float
    peak_bytes: int  # of the process, so far
    requests: int
    connections: int  # new ones
    moved_bytes: int


class Talk(NamedTuple):
    """A message and its answer."""

    question: str
    answer: str


class Served:
    """A function in a process of its own, as on an instance of Function Compute."""

    def __init__(self, python: str, path: Path, environment: dict[str, str], authorities: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-X", "utf8", "-m", "tests.benchmark.served", str(path), str(authorities)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """What served.py tells of this message."""
        assert self._process.stdin and self._process.stdout
        timer = threading.Timer(ANSWER_SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended in the middle of a message")
        told: dict[str, Any] = json.loads(line)
        return told


class Stage:
    """All stand-ins behind wires, while the `with` block lasts; `conversation` and `reply` make instances.

    Function Compute takes every message, and does nothing with it: each function is measured alone.
    """

    def __init__(self, python: str, network: Network = NO_DISTANCE) -> None:
        self.cloud = LocalCloud()
        self.python = python
        self._network = network
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        cloud = self._stack.enter_context(self.cloud)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        for name in (CONVERSATION, REPLY):
            shutil.copy(ROOT / f"{name}.py", self.folder)
        shutil.copytree(ROOT / "bot", self.folder / "bot", ignore=shutil.ignore_patterns("__pycache__"))
        authority = trustme.CA()
        self._authorities = self.folder / "authorities.pem"  # as many as in reality, for reading them takes long
        self._authorities.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        services: tuple[StandIn, ...] = (cloud.function_compute, cloud.oss, cloud.openai_api, cloud.dingtalk)
        self._wires = {
            service: self._stack.enter_context(Wire(service.url, tls, self._network)) for service in services
        }
        accepted = (("X-Fc-Request-Id", "3f0c2a52-0000-4000-8000-000000000002"),)
        cloud.function_compute.plan(Fault(where=is_invoke, times=1_000_000, status=202, headers=accepted))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _serve(self, name: str, **environment: str) -> Served:
        path = self.folder / f"{name}.py"
        return Served(self.python, path, {**self.cloud.environment(name), **environment}, self._authorities)

    def conversation(self) -> Served:
        """A new instance of Dingtalk_Conversation."""
        return self._serve(CONVERSATION, ENDPOINT=self._wires[self.cloud.function_compute].url)

    def reply(self, **environment: str) -> Served:
        """A new instance of Dingtalk_ChatGPT_Reply, with these variables as well."""
        urls = {
            "OSS_ENDPOINT": self._wires[self.cloud.oss].url,
            "CHATGPT_BASE_URL": self._wires[self.cloud.openai_api].url,
            "DINGTALK_API": self._wires[self.cloud.dingtalk].url,
        }
        return self._serve(REPLY, **urls, **environment)

    def hang_up(self) -> None:
        """Close all connections that Dingtalk_ChatGPT_Reply kept."""
        for service in (self.cloud.oss, self.cloud.openai_api, self.cloud.dingtalk):
            service.stop()
            service.start()
        while any(wire.open_connections for wire in self._wires.values()):
            time.sleep(0.001)  # until the wires have passed it on

    # -- messages -----------------------------------------------------------------------------------------

    def hand_over(self, conversation: Served) -> tuple[Cost, float]:
        """What it costs Dingtalk_Conversation to hand a message over, and how many seconds FC took to accept it."""
        dingtalk, compute = self.cloud.dingtalk, self.cloud.function_compute
        body = json.dumps(dingtalk.message("你好"), ensure_ascii=False).encode()
        timestamp = str(int(dingtalk.clock() * 1000))
        environ = {
            "REQUEST_METHOD": "POST",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_TIMESTAMP": timestamp,
            "HTTP_SIGN": signature(timestamp, dingtalk.app_secret),
        }
        job = {"environ": environ, "body": base64.b64encode(body).decode(), "context": self._context()}
        outcome, cost = self._measure(conversation, job)
        answer = base64.b64decode(outcome["result"]).decode()
        if answer != '{"msgtype": "empty"}':
            raise RuntimeError(f"{CONVERSATION} does not hand over: {outcome['status']}: {answer}")
        return cost, compute.received[-1].seconds or 0.0

    def ask(self, reply: Served, talk: Talk, person: Person = XIAODING, **kind: Any) -> tuple[Cost, str]:
        """What the message, of this kind, costs Dingtalk_ChatGPT_Reply, and its id."""
        dingtalk = self.cloud.dingtalk
        self.cloud.openai_api.answer_next(talk.answer)
        message = dingtalk.message(talk.question, person=person, **kind)
        message["sessionWebhook"] = message["sessionWebhook"].replace(dingtalk.url, self._wires[dingtalk].url)
        event = json.dumps(message, ensure_ascii=False).encode()
        job = {"event": base64.b64encode(event).decode(), "context": self._context()}
        outcome, cost = self._measure(reply, job)
        result = json.loads(base64.b64decode(outcome["result"]))["result"]
        shown = "".join(bubble.text for bubble in dingtalk.shown(message))
        if result != "answered" or talk.answer[-9:] not in shown:
            raise RuntimeError(f"{REPLY} does not answer: {result}: {shown[:200]!r}")
        return cost, message["msgId"]

    def _context(self) -> dict[str, Any]:
        role = self.cloud.function_compute.role
        return {"timeout": 120, **(dataclasses.asdict(role) if role else {})}

    def _measure(self, served: Served, job: dict[str, Any]) -> tuple[dict[str, Any], Cost]:
        before = self._totals()
        told = served.run(job)
        spent = (after - earlier for after, earlier in zip(self._totals(), before, strict=True))
        return told["outcome"], Cost(told["cpu_seconds"], told["seconds"], told["peak_bytes"], *spent)

    def _totals(self) -> tuple[int, int, int]:
        return (
            sum(len(service.received) for service in self._wires),
            sum(wire.connections for wire in self._wires.values()),
            sum(wire.moved_bytes for wire in self._wires.values()),
        )


SHOWN = 20  # turns, more than the model sees


class LongTalk:
    """A conversation whose next message always has the same number.

    Its objects hold what the function itself wrote for one message, again and again with other ids; the words only of
    the last turns, which are all that is read.
    """

    def __init__(self, stage: Stage, reply: Served, number: int, talk: Talk) -> None:
        self._stage, self._reply, self._talk = stage, reply, talk
        self._person = Person("小明", f"staff{number}-{len(talk.answer)}", "$:LWCP_v1:$user+Zx9s0004==")
        oss = stage.cloud.oss
        before = set(oss.keys())
        _, msg_id = stage.ask(reply, talk, self._person)
        words_key, journal_key = sorted(set(oss.keys()) - before)
        said, lines = oss.read(words_key) or b"", oss.read(journal_key) or b""
        assert lines.count(msg_id.encode()) == 2  # the turn and its mark
        words, journal = b"", b""
        for count in range(1, number):
            other = b"msg%021d==" % count
            piece = said.replace(msg_id.encode(), other)
            where = b"[0,%d,%d]" % (len(words), len(piece))
            journal += re.sub(rb"\[0,0,\d+\]", where, lines).replace(msg_id.encode(), other)
            words += piece if number - count <= SHOWN else b""
        objects = {words_key: words, journal_key: journal}  # whose checksum the function does not look at
        self._objects = {key: Object(data, appendable=True, crc=0) for key, data in objects.items()}

    def ask(self) -> Cost:
        """What the next message costs."""
        self._stage.cloud.oss.buckets["example-bucket"].objects.update(self._objects)
        return self._stage.ask(self._reply, self._talk, self._person)[0]
