"""What several test modules need: the two functions called as Function Compute calls them, and their clock."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import struct
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import strategies as st

from tests.stand_ins import openai_api
from tests.stand_ins.dingtalk import Dingtalk, signature
from tests.stand_ins.function_compute import Function, FunctionCompute
from tests.stand_ins.generation_3 import body_fields
from tests.stand_ins.instance import make_context
from tests.stand_ins.local_cloud import CONVERSATION, REPLY, LocalCloud
from tests.stand_ins.oss import Access, error_fault
from tests.stand_ins.server import Fault, Received

Message = dict[str, Any]

TEXTS = st.text(st.characters(), max_size=40)  # lone surrogates included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """What does not end in this time fails, with the line where it waits. On Windows, which has no alarm, it waits."""

    def give_up(*_: object) -> None:
        pytest.fail(f"has not ended after {seconds} s")

    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # and again every second, for what waits while it ends
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def warm_cloud(**settings: Any) -> Iterator[LocalCloud]:
    """For fixtures: both functions have an instance, for a cold start can take longer than DingTalk waits."""
    with LocalCloud(**settings) as cloud:
        warm_up(cloud)
        yield cloud


def warm_up(cloud: LocalCloud) -> None:
    """Have an instance of each function."""
    cloud.dingtalk.deliver(cloud.dingtalk.message("你好"), timeout=60)
    cloud.function_compute.wait_idle(60)


def as_new(cloud: LocalCloud) -> Iterator[LocalCloud]:
    """For fixtures: with nothing in it from another test."""
    cloud.reset()
    yield cloud
    cloud.function_compute.wait_idle(30)  # a run that is cut off would cost the next test a cold start


def set_environment(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str | None]) -> None:
    """These variables and no others."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)


def role_context(**changes: Any) -> SimpleNamespace:
    """A context with the role's credentials that the stand-ins accept."""
    role = {"access_key_id": "STS.example-id", "access_key_secret": "example-secret", "security_token": "example-token"}
    return make_context(**{"timeout": 120, **role, **changes})


def field_cases(name: str) -> list[Any]:
    """Parameters for a test: what services and clients were reported to send, from tests/data/field/."""
    return [pytest.param(case, id=case["id"]) for case in openai_api.field_cases(name)]


def asked(cloud: LocalCloud) -> str:
    """The last question that the model got."""
    return str(cloud.openai_api.asked[-1]["messages"][-1]["content"])


def deploy_source(compute: FunctionCompute, folder: Path, source: str, **settings: Any) -> None:
    """Deploy the function `f`, made of this source, with these fields of Function."""
    file = folder / "f.py"
    file.write_text(textwrap.dedent(source), encoding="utf-8")
    compute.deploy("f", Function(file, **settings))


def write_turns(cloud: LocalCloud, message: dict[str, Any], count: int, answer: str = "好", **fields: Any) -> str:
    """A journal with so many turns before the message, and their words; `fields` are more of each line. Its key."""
    place = f"{quote(message['conversationId'], safe='')}/{message['senderStaffId']}"
    lines, words = [], b""
    for number in range(count):
        said = {"msgId": f"m{number}", "at": 1, "question": f"问题 {number}", "answer": answer}
        piece = json.dumps(said, ensure_ascii=False).encode() + b"\n"
        where = {"words": [0, len(words), len(piece)], "turn": True}
        lines.append({"msgId": f"m{number}", "at": 1, "run": "r", "until": 1, **where, **fields})
        words += piece
    key = f"chat-journal/{place}.jsonl"
    cloud.oss.write(key, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    if count:
        cloud.oss.write(f"chat-history/{place}/0.jsonl", words)
    return key


def is_get(received: Received) -> bool:
    """For Fault.where: a read of OSS."""
    return received.method == "GET"


def is_append(received: Received) -> bool:
    """For Fault.where: an append to an object of OSS."""
    return received.method == "POST"


def is_commit(received: Received) -> bool:
    """For Fault.where: the line of the journal that commits a reply."""
    return is_append(received) and b'"until"' in received.body and b'"sent"' not in received.body


def lose_the_commit(cloud: LocalCloud, carry_out: bool, times: int) -> None:
    """No answer to the append that commits the reply, and then so many errors instead of a look at the journal."""
    cloud.oss.plan(Fault(where=is_get))  # at first the journal is read
    cloud.oss.plan(Fault(where=is_commit, drop=True, carry_out=carry_out))
    cloud.oss.plan(error_fault("InternalError", where=is_get, times=times))


def deny(cloud: LocalCloud, *actions: str) -> None:
    """The role loses these permissions."""
    everything = Access("").actions
    rights = everything - {f"oss:{action}" for action in actions}
    cloud.oss.access = {"STS.example-id": Access("example-secret", "example-token", rights)}


def png(width: int = 1, height: int = 1, size: int = 0) -> bytes:
    """A picture, with so many bytes if it would have fewer."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" * (width + 1) * height))
    picture = b"\x89PNG\r\n\x1a\n" + head + rows
    filling = size - len(picture) - 24
    return picture + (chunk(b"teXt", b"\0" * filling) if filling > 0 else b"") + chunk(b"IEND", b"")


PNG = png(2)


def set_clock(monkeypatch: pytest.MonkeyPatch, module: ModuleType, clock: Clock) -> None:
    """Give a function and its rooms this clock."""
    for room in (module, *module.rooms.values()):
        if hasattr(room, "time"):
            monkeypatch.setattr(room, "time", clock)


class Clock:
    """The module `time` for a function: pauses take no time, but are on record."""

    gmtime, strftime = staticmethod(time.gmtime), staticmethod(time.strftime)

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.ahead = 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ahead += seconds

    def time(self) -> float:
        return time.time() + self.ahead

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


class HttpAnswer(NamedTuple):
    """What the HTTP function answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def chat_text(self) -> str:
        """The sentence that the chat shows; '' if it shows nothing."""
        answer = json.loads(self.body)
        return str(answer["text"]["content"]) if answer["msgtype"] == "text" else ""


class Conversation:
    """Dingtalk_Conversation in this process, called as FC calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, module: ModuleType) -> None:
        self._monkeypatch = monkeypatch
        self.cloud = cloud
        self.module = module
        self.environment: dict[str, str | None] = dict(cloud.environment(CONVERSATION))
        self.context: Any = role_context()

    def set_environment(self) -> None:
        """What Function Compute does once per instance."""
        set_environment(self._monkeypatch, self.environment)

    def call(self, body: bytes = b"", method: str = "POST", **environ: Any) -> HttpAnswer:
        """Any request; `environ` adds to the WSGI environ, None removes from it."""
        request: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": "",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "application/json; charset=utf-8",
            "wsgi.input": io.BytesIO(body),
            "fc.context": self.context,
            "fc.request_uri": "/",
        }
        setup_testing_defaults(request)
        request.update(environ)
        request = {name: value for name, value in request.items() if value is not None}
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return lambda data: None

        self.set_environment()
        handler = functools.partial(self.module.handler)  # the validator wants a callable that it may wrap
        chunks = validator(handler)(request, start_response)
        answer = b"".join(chunks)
        chunks.close()  # type: ignore[attr-defined]
        status, headers = started[0]
        return HttpAnswer(int(status[:3]), dict(headers), answer)

    def post(self, message: Message | None = None, **spoiled: Any) -> HttpAnswer:
        """A message signed as DingTalk signs it; `spoiled`: age_ms, timestamp, sign, secret, body, more for `call`."""
        dingtalk: Dingtalk = self.cloud.dingtalk
        now_ms = int(dingtalk.clock() * 1000)
        timestamp = spoiled.pop("timestamp", str(now_ms - spoiled.pop("age_ms", 0)))
        secret = spoiled.pop("secret", dingtalk.app_secret)
        sign = spoiled.pop("sign", signature(timestamp, secret) if timestamp is not None else "")
        body = spoiled.pop("body", None)
        if body is None:
            body = json.dumps(message or dingtalk.message(), ensure_ascii=False).encode()
        return self.call(body, HTTP_TIMESTAMP=timestamp, HTTP_SIGN=sign, **spoiled)


class Conversation3(Conversation):
    """The same on Function Compute 3.0: the request is an event, and so is the answer."""

    def call(self, body: bytes = b"", method: str = "POST", **environ: Any) -> HttpAnswer:
        """Of `environ`, the HTTP_ ones."""
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").title(): value
            for name, value in environ.items()
            if value is not None
        }
        return self.send(http_event(body, method, headers))

    def send(self, event: bytes) -> HttpAnswer:
        """Any event."""
        self.set_environment()
        answer = json.loads(json.dumps(self.module.handler(event, self.context)))
        assert answer.keys() == {"statusCode", "headers", "isBase64Encoded", "body"}
        assert answer["isBase64Encoded"] is False
        return HttpAnswer(answer["statusCode"], answer["headers"], answer["body"].encode())


def http_event(sent: bytes, method: Any, headers: Mapping[str, Any], /, **changes: Any) -> bytes:
    """The event of an HTTP trigger of 3.0; `changes` replace fields of it, ... removes one."""
    event = {
        "version": "v1",
        "rawPath": "/",
        "headers": headers,
        "queryParameters": {},
        **body_fields(sent),
        "requestContext": {"http": {"method": method, "path": "/", "protocol": "HTTP/1.1"}},
        **changes,
    }
    return json.dumps({name: value for name, value in event.items() if value is not ...}).encode()


class Reply:
    """Dingtalk_ChatGPT_Reply in this process, called as FC calls it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, module: ModuleType) -> None:
        self._monkeypatch = monkeypatch
        self.cloud = cloud
        self.module = module
        self.environment: dict[str, str | None] = dict(cloud.environment(REPLY))
        self.context_changes: dict[str, Any] = {}
        self._runs = 0

    def run(self, event: Message | bytes, **context: Any) -> dict[str, Any]:
        """One run for one event; the JSON that the handler returns."""
        self._runs += 1
        set_environment(self._monkeypatch, self.environment)
        body = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
        changes = {"request_id": f"request-{self._runs}", **self.context_changes, **context}
        answer = self.module.handler(body, role_context(**changes))
        return dict(json.loads(answer))

    def run_at_once(self, *runs: tuple[Message, dict[str, Any]]) -> list[str]:
        """The results of runs at the same instant, each of a message and changes of its context; `delay` delays one.

        A run that raises NotDelivered has this name for a result.
        """
        set_environment(self._monkeypatch, self.environment)

        def run(number: int, message: Message, changes: dict[str, Any]) -> str:
            time.sleep(changes.pop("delay", 0))
            context = role_context(**{"request_id": f"at-once-{number}", **self.context_changes, **changes})
            try:
                return str(json.loads(self.module.handler(json.dumps(message).encode(), context))["result"])
            except self.module.NotDelivered as error:
                return type(error).__name__

        with ThreadPoolExecutor(len(runs)) as pool:
            started = [
                pool.submit(run, number, message, dict(changes)) for number, (message, changes) in enumerate(runs)
            ]
            return [future.result() for future in started]

    def ask(self, text: str, **message: Any) -> str:
        """What the chat shows for this question."""
        asked = self.cloud.dingtalk.message(text, **message)
        self.run(asked)
        shown = self.cloud.dingtalk.shown(asked)
        assert len(shown) == 1, shown
        return shown[0].text
