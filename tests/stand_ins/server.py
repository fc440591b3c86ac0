"""What all stand-ins share: an HTTP server on 127.0.0.1, planned faults, and a record of every request."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

POLL_SECONDS = 0.01  # serve_forever's default of 0.5 s would make every stop that slow
MAX_BODY_BYTES = 64 * 1024 * 1024  # more than any test sends
MAX_ENDLESS_BYTES = 256 * 1024 * 1024  # then the connection breaks: nobody may read on for ever
MAX_LINE_BYTES = 64 * 1024  # of a chunk's size or of a trailer

AnyService = TypeVar("AnyService", bound="Service")


@dataclass
class Received:
    """One request as it arrived, and what became of it."""

    method: str
    path: str  # as sent: still percent-encoded, without the query
    query_string: str  # as sent
    headers: Message[str, str]  # finds a name in upper or lower case
    body: bytes = field(repr=False)
    connection: str  # "address:port" of the client: the same text means the same connection
    at: float  # time.monotonic() on arrival
    sender: str = ""  # `on_arrival` may fill it in
    carried_out: bool = False  # the service did what was asked, whatever was answered
    status: int | None = None  # None: the connection was dropped without an answer
    answer_headers: list[tuple[str, str]] = field(default_factory=list, repr=False)  # without Server and Date
    answer: bytes = field(default=b"", repr=False)
    seconds: float | None = None  # from arrival to the last byte handed to the socket; None if there is none

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; a parameter without a value has the value ''."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def media_type(self) -> str:
        """The Content-Type in lower case and without its parameters; '' if there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class Answer(NamedTuple):
    """What a service answers. The server adds Content-Length, Date and Server, and replaces them if they are here."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    endless: bool = False  # send the body again and again, in chunks

    def with_header(self, name: str, value: str) -> Answer:
        """The same answer with one more header."""
        return self._replace(headers=(*self.headers, (name, value)))


def json_answer(content: object, status: int = 200) -> Answer:
    """An answer whose body is JSON."""
    return Answer(status, (("Content-Type", "application/json"),), json.dumps(content, separators=(",", ":")).encode())


@dataclass(frozen=True)
class Fault:
    """One planned misbehaviour. Without any field set it changes nothing.

    A request meets the first planned fault whose `where` accepts it and whose `times` is not used up. What happens,
    in this order: sleep `delay`; carry out the request; call `then`; sleep `delay_answer`; answer. With `drop` or
    `status` the request is carried out only if `carry_out` says so.
    """

    where: Callable[[Received], bool] = lambda received: True
    times: int = 1
    delay: float = 0.0  # seconds before anything happens
    drop: bool = False  # close the connection instead of answering
    status: int | None = None  # answer this instead
    body: bytes | str = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    carry_out: bool = False  # with drop or status: do what was asked before misbehaving
    then: Callable[[], object] | None = None  # called before the answer, e.g. to kill the caller
    delay_answer: float = 0.0  # seconds between doing and answering
    byte_seconds: float = 0.0  # send the body one byte at a time with this pause
    endless: bool = False  # with status: send the body again and again, with that pause between, until nobody reads it


class Service:
    """An HTTP server on 127.0.0.1 while its `with` block lasts; subclasses say in `respond` what it answers.

    `start` after `stop` listens on the same port; in between connections are refused.
    """

    server_name = ""  # what the `Server` header says; empty: http.server's own

    def __init__(self, port: int = 0) -> None:
        """`port` 0 takes a free one."""
        self._port = port
        self._server: _Server | None = None

    def start(self) -> None:
        """Begin to listen; OSError if the port is busy."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True, name=type(self).__name__
        ).start()

    def stop(self) -> None:
        """Refuse new connections and close the kept ones."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def __enter__(self: AnyService) -> AnyService:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """http://127.0.0.1:<port>, without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    def respond(self, received: Received) -> Answer:
        """Do what the request asks, and answer it. Several threads may be in here at once."""
        raise NotImplementedError

    def handle(self, received: Received) -> tuple[Answer | None, float]:
        """The answer, and the seconds between its bytes; None drops the connection."""
        return self._try_to_respond(received), 0.0

    def _try_to_respond(self, received: Received) -> Answer:
        """A mistake in `respond` is a 500: a dropped connection would look like a planned fault."""
        try:
            return self.respond(received)
        except Exception:
            traceback.print_exc()
            return Answer(500)


class StandIn(Service):
    """A service that keeps a record and fails as planned.

    `received` is the record, in order of arrival. `plan` adds a fault. `on_arrival` is called with every request
    before anything is done about it, `alter` with what the service then answers: it returns what is sent instead.
    """

    on_arrival: Callable[[Received], object] | None = None
    alter: Callable[[Received, Answer], Answer] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._resets = 0

    def plan(self, fault: Fault) -> None:
        """Add one planned fault; Fault tells which request meets it."""
        with self._lock:
            self._faults.append(fault)

    def reset(self) -> None:
        """Forget planned faults and the record, and come back if stopped; subclasses also forget their state."""
        with self._lock:
            self._resets += 1
            self._faults.clear()
            self.received.clear()
            self.alter = None
        if self._server is None:
            self.start()

    def connections(self) -> set[str]:
        """The client addresses seen: as many as connections were opened."""
        return {received.connection for received in self.received}

    def handle(self, received: Received) -> tuple[Answer | None, float]:
        """As in the base class, with the record and the planned faults."""
        if self.on_arrival:
            self.on_arrival(received)
        fault = self._take(received)
        return self._answer(received, fault), fault.byte_seconds

    def _take(self, received: Received) -> Fault:
        """Put the request on record and find the fault it meets."""
        with self._lock:
            self.received.append(received)
            for index, fault in enumerate(self._faults):
                if fault.where(received):
                    if fault.times > 1:
                        self._faults[index] = replace(fault, times=fault.times - 1)
                    else:
                        del self._faults[index]
                    return fault
        return Fault()

    def _answer(self, received: Received, fault: Fault) -> Answer | None:
        """The answer; None to drop the connection."""
        resets = self._resets
        time.sleep(fault.delay)
        if resets != self._resets:
            return None  # the test that planned this delay is over: the request must not act in the next one
        answer: Answer | None = None
        if fault.carry_out or not (fault.drop or fault.status):
            answer = self._try_to_respond(received)
            received.carried_out = True
            answer = self.alter(received, answer) if self.alter else answer
        if fault.status:
            body = fault.body.encode() if isinstance(fault.body, str) else fault.body
            answer = Answer(fault.status, fault.headers, body, fault.endless)
        if fault.then:
            fault.then()
        time.sleep(fault.delay_answer)
        return None if fault.drop else answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as the real services do
    disable_nagle_algorithm = True  # or every kept connection waits 40 ms for a delayed acknowledgement
    wbufsize = -1  # one packet for headers and body
    server: _Server

    def handle_one_request(self) -> None:
        """As in the base class, but every method goes the same way and the body is always read."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        # as sent: self.path has lost the second slash of //x, which the real services take for another address
        path, _, query_string = self.requestline.split()[1].partition("?")
        received = Received(
            method=self.command,
            path=path,
            query_string=query_string,
            headers=self.headers,
            body=self._read_body(),
            connection="{}:{}".format(*self.client_address[:2]),
            at=time.monotonic(),
        )
        answer, byte_seconds = self.server.service.handle(received)
        if answer is None:
            self.close_connection = True
            return
        self._send(answer, received, byte_seconds)
        received.seconds = time.monotonic() - received.at

    def _read_body(self) -> bytes:
        """The whole body, of known length or in chunks; ValueError if it is too long or its length is no number."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self._read(int(self.headers.get("Content-Length") or 0), 0)
        body = bytearray()
        while size := int(self.rfile.readline(MAX_LINE_BYTES).partition(b";")[0], 16):
            body += self._read(size, len(body))
            self.rfile.readline(MAX_LINE_BYTES)  # the line break after the chunk
        while self.rfile.readline(MAX_LINE_BYTES).strip():
            pass  # trailers
        return bytes(body)

    def _read(self, size: int, before: int) -> bytes:
        """The next `size` bytes of a body of which `before` bytes were read already."""
        if not 0 <= size <= MAX_BODY_BYTES - before:
            raise ValueError(f"a body of {before + size} bytes, limit {MAX_BODY_BYTES}")
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client hung up in the middle of a body")
        return data

    def _send(self, answer: Answer, received: Received, byte_seconds: float) -> None:
        """Send the answer and put it on record as it went out."""
        body = b"" if answer.status in (204, 304) else answer.body
        own = ("content-length", "date", "server")
        headers = [(name, value) for name, value in answer.headers if name.lower() not in own]
        length = ("Content-Length", str(len(body)))  # to HEAD, of the body that GET would bring
        headers.append(("Transfer-Encoding", "chunked") if answer.endless else length)
        if self.command == "HEAD":
            body = b""
        received.status, received.answer_headers, received.answer = answer.status, headers, body
        self.send_response(answer.status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if answer.endless:
            self._repeat(body, byte_seconds)
        elif byte_seconds:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(byte_seconds)
        else:
            self.wfile.write(body)
        self.wfile.flush()

    def _repeat(self, body: bytes, pause: float) -> None:
        """Until the client hangs up, the stand-in stops, or much more was sent than anybody should read."""
        self.close_connection = True
        for _ in range(MAX_ENDLESS_BYTES // len(body)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            self.wfile.flush()
            time.sleep(pause)

    def version_string(self) -> str:
        return self.server.service.server_name or super().version_string()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the record is `StandIn.received`."""


class _Server(ThreadingHTTPServer):
    """Remembers its open connections, so that a stopped service is gone for kept-alive clients too."""

    daemon_threads = True
    request_queue_size = 512  # 200 people at once
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if a client hangs up in the middle: that is part of the tests. Anything else is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed by the client
