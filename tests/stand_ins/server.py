"""What the four stand-ins share: a real HTTP server on 127.0.0.1, planned faults, and a record of every request."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote

from flask import Flask
from typing_extensions import Self
from werkzeug.datastructures import Headers

POLL_SECONDS = 0.01  # serve_forever's default of 0.5 s would make every stop that slow
MAX_BODY_BYTES = 16 * 1024 * 1024  # more than any test sends; a stand-in reads no body without end


@dataclass
class Received:
    """One request as it arrived, and what became of it."""

    method: str
    path: str  # as sent: still percent-encoded, without the query
    query_string: str  # as sent
    headers: Headers  # case-insensitive
    body: bytes = field(repr=False)
    connection: str  # "address:port" of the client: the same text means the same connection
    at: float  # time.monotonic() on arrival
    sender: str = ""  # for `on_arrival` to fill in
    carried_out: bool = False  # the service did what was asked, whatever was answered
    status: int | None = None  # None: the connection was dropped without an answer
    answer_headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    answer: bytes = field(default=b"", repr=False)
    seconds: float | None = None  # from arrival to the last byte handed to the socket; None if there is none

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; a parameter without a value has the value ''."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


@dataclass(frozen=True)
class Fault:
    """One planned misbehaviour. Without any field set it changes nothing.

    A request meets the first planned fault whose `where` accepts it and whose `times` is not used up. In this
    order: sleep `delay`; carry the request out unless `drop` or `status` says to answer without doing so (both
    together with `carry_out=True` do it all the same); call `then`; sleep `delay_answer`; answer.
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


class StandIn:
    """A service on 127.0.0.1 while its `with` block lasts; subclasses add routes to `self.app` in __init__.

    `received` is the record, in order of arrival. `plan` adds a fault; between `stop` and
    `start` connections are refused. `on_arrival` is called with every request before anything is done about it.
    """

    server_name = ""  # what the `Server` header says; empty: http.server's own
    on_arrival: Callable[[Received], object] | None = None

    def __init__(self, port: int = 0) -> None:
        self.app = Flask(type(self).__name__)
        self.received: list[Received] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._resets = 0
        self._port = port
        self._server: _Server | None = None

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen: on a free port the first time, on the same one after `stop`."""
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

    def __enter__(self) -> Self:
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

    # -- faults and the record ----------------------------------------------------------------------------

    def plan(self, fault: Fault) -> None:
        """Add one planned fault; see Fault for which request meets it."""
        with self._lock:
            self._faults.append(fault)

    def reset(self) -> None:
        """Forget planned faults and the record, and come back if stopped; subclasses also forget their state."""
        with self._lock:
            self._resets += 1
            self._faults.clear()
            self.received.clear()
        if self._server is None:
            self.start()

    def connections(self) -> set[str]:
        """The client addresses seen: as many as connections were opened."""
        return {received.connection for received in self.received}

    # -- one request --------------------------------------------------------------------------------------

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

    def _answer(self, received: Received, fault: Fault) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """Status, headers and body of the answer; None to drop the connection."""
        resets = self._resets
        time.sleep(fault.delay)
        if resets != self._resets:
            return None  # it was slow in a test that is over, and must not turn up in the next one
        answer: tuple[int, list[tuple[str, str]], bytes] | None = None
        if fault.carry_out or not (fault.drop or fault.status):
            done = self.app.test_client().open(
                received.path + ("?" + received.query_string if received.query_string else ""),
                method=received.method,
                headers=received.headers,
                data=received.body,
                environ_overrides={"stand_in.received": received, "PATH_INFO": path_info(received.path)},
            )
            received.carried_out = True
            answer = done.status_code, list(done.headers), done.data
        if fault.status:
            body = fault.body.encode() if isinstance(fault.body, str) else fault.body
            answer = fault.status, list(fault.headers), body
        if fault.then:
            fault.then()
        time.sleep(fault.delay_answer)
        return None if fault.drop else answer


def path_info(path: str) -> str:
    """The decoded path for Flask, which takes //x for /x; the real services do not, so no route may fit: /%2Fx."""
    decoded = unquote(path, "latin-1")
    return "/%2F" + decoded[2:] if decoded.startswith("//") else decoded


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open, as the real services do
    disable_nagle_algorithm = True  # or every kept connection waits 40 ms for a delayed acknowledgement
    wbufsize = -1  # one packet for headers and body
    server: _Server

    def handle_one_request(self) -> None:
        """As in the base class, with every method going the same way and the body read in any case."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES or "Transfer-Encoding" in self.headers:
            raise ValueError("a body that no client of ours sends")
        # as sent: self.path has lost the second slash of //x, which the real services take for another address
        path, _, query_string = self.requestline.split()[1].partition("?")
        received = Received(
            method=self.command,
            path=path,
            query_string=query_string,
            headers=Headers(self.headers.items()),
            body=self.rfile.read(length),
            connection="{}:{}".format(*self.client_address[:2]),
            at=time.monotonic(),
        )
        if self.server.stand_in.on_arrival:
            self.server.stand_in.on_arrival(received)
        fault = self.server.stand_in._take(received)
        answer = self.server.stand_in._answer(received, fault)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        received.status, received.answer_headers, received.answer = status, headers, body
        told_length = str(len(body))
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "date", "server"):
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                told_length = value  # of the body that a GET would bring
        self.send_header("Content-Length", told_length)
        self.end_headers()
        if self.command != "HEAD" and fault.byte_seconds:
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(fault.byte_seconds)
        elif self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        received.seconds = time.monotonic() - received.at

    def version_string(self) -> str:
        return self.server.stand_in.server_name or super().version_string()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the record is `StandIn.received`."""


class _Server(ThreadingHTTPServer):
    """Remembers its open connections, so that a stopped service is gone for kept-alive clients too."""

    daemon_threads = True
    request_queue_size = 512  # 200 people at once
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], stand_in: StandIn) -> None:
        self.stand_in = stand_in
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing for a client that hangs up in the middle: that is part of the tests. The rest is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # already closed by the client
