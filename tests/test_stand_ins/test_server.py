"""What every stand-in inherits: reading requests, sending answers, and the record of both."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from tests.stand_ins.server import MAX_BODY_BYTES, Answer, Fault, Received, StandIn, json_answer


class Echo(StandIn):
    """Answers what it got; /204 and /broken are special."""

    def respond(self, received: Received) -> Answer:
        if received.path == "/204":
            return Answer(204, (), b"not to be sent")
        if received.path == "/broken":
            raise RuntimeError("a mistake in the stand-in")
        return json_answer({"method": received.method, "path": received.path, "body": received.body.decode()})


@pytest.fixture(scope="module")
def running() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


@pytest.fixture
def echo(running: Echo) -> Echo:
    """One server for all tests, with nothing left of the test before."""
    running.reset()
    return running


def exchange(echo: Echo, request: bytes, method: str = "POST") -> tuple[http.client.HTTPResponse, bytes]:
    """The answer to these very bytes, and its body."""
    with socket.create_connection(("127.0.0.1", int(echo.url.rpartition(":")[2])), timeout=5) as client:
        client.sendall(request)
        response = http.client.HTTPResponse(client, method=method)
        response.begin()
        return response, response.read()


CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        (b"3;name=value\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", "abc"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        (b"0\r\n\r\n", ""),
    ],
    ids=["two", "extension and trailer", "hexadecimal", "none"],
)
def test_chunked_body_is_read(echo: Echo, chunks: bytes, body: str) -> None:
    """Clients that do not know the length beforehand are answered like all others."""
    response, answer = exchange(echo, CHUNKED + chunks)
    assert (response.status, json.loads(answer)["body"]) == (200, body)
    assert echo.received[0].body == body.encode()


def test_connection_goes_on_after_a_chunked_body(echo: Echo) -> None:
    """Nothing of the body is taken for the next request."""
    connection = http.client.HTTPConnection("127.0.0.1", int(echo.url.rpartition(":")[2]), timeout=5)
    for body in ([b"abc", b"de"], b"f"):
        connection.request("POST", "/", body)
        assert connection.getresponse().read()
    connection.close()
    assert [received.body for received in echo.received] == [b"abcde", b"f"]
    assert len(echo.connections()) == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
        CHUNKED + b"%x\r\n" % (MAX_BODY_BYTES + 1),
        CHUNKED + b"1\r\na\r\n%x\r\n" % MAX_BODY_BYTES,
        CHUNKED + b"-1\r\n",
        CHUNKED + b"abc\r\n",
        CHUNKED + b"x\r\n",
    ],
    ids=["long", "negative", "cut off", "long chunk", "long chunks", "negative chunk", "cut off chunk", "no number"],
)
def test_body_without_a_sensible_length_is_dropped(
    echo: Echo, capfd: pytest.CaptureFixture[str], request_: bytes
) -> None:
    """A stand-in reads no body without end, and acts on none that is incomplete."""
    with socket.create_connection(("127.0.0.1", int(echo.url.rpartition(":")[2])), timeout=5) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert not echo.received


def test_request_is_on_record_as_it_was_sent(echo: Echo) -> None:
    """Path and query undecoded, headers in their order and found in any case."""
    head = b"GET //a/%2Fb/../c?x=%20&y HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 0\r\n\r\n"
    exchange(echo, head, "GET")
    (received,) = echo.received
    assert (received.path, received.query_string) == ("//a/%2Fb/../c", "x=%20&y")
    assert received.query == {"x": " ", "y": ""}
    assert received.headers.items() == [("Host", "x"), ("X-One", "1"), ("x-one", "2"), ("Content-Length", "0")]
    assert received.headers["content-length"] == "0"


def test_head_is_told_the_length_and_gets_no_body(echo: Echo) -> None:
    """As GET would be answered, without the bytes."""
    response, body = exchange(echo, b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD")
    assert (response.headers["Content-Length"], body) == (str(len('{"method":"HEAD","path":"/a","body":""}')), b"")
    assert echo.received[0].answer == b""


def test_status_without_a_body_sends_none(echo: Echo) -> None:
    """The bytes after a 204 would be taken for the next answer."""
    response, body = exchange(echo, b"GET /204 HTTP/1.1\r\nHost: x\r\n\r\n", "GET")
    assert (response.status, response.headers["Content-Length"], body) == (204, "0", b"")


def test_mistake_of_a_stand_in_is_a_500(echo: Echo, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever looks for it finds the trace, and nobody takes it for a planned fault."""
    response, _ = exchange(echo, b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n", "GET")
    assert response.status == 500
    assert "RuntimeError: a mistake in the stand-in" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        (None, ""),
        ("application/json", "application/json"),
        ("Application/JSON ; charset=utf-8", "application/json"),
        ("application/json,text/plain", "application/json,text/plain"),
    ],
)
def test_media_type_is_the_content_type_without_parameters(
    echo: Echo, content_type: str | None, media_type: str
) -> None:
    """In lower case."""
    header = f"Content-Type: {content_type}\r\n" if content_type else ""
    exchange(echo, f"GET / HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode(), "GET")
    assert echo.received[0].media_type == media_type


def test_altered_answer_is_sent_instead_until_the_reset(echo: Echo) -> None:
    """What a service says can be changed without knowing how it comes to say it."""
    request = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    echo.alter = lambda received, answer: answer.with_header("X-Path", received.path)
    assert exchange(echo, request, "GET")[0].headers["X-Path"] == "/a"
    echo.reset()
    assert exchange(echo, request, "GET")[0].headers["X-Path"] is None


def test_endless_answer_goes_on_until_nobody_reads_it(echo: Echo) -> None:
    """In chunks, without a length; the next request is answered as ever."""
    echo.plan(Fault(status=200, body="again and " * 1000, endless=True))
    port = int(echo.url.rpartition(":")[2])
    endless, other = (http.client.HTTPConnection("127.0.0.1", port, timeout=5) for _ in range(2))
    endless.request("POST", "/")
    answer = endless.getresponse()
    assert (answer.getheader("Transfer-Encoding"), answer.getheader("Content-Length")) == ("chunked", None)
    assert answer.read(1_000_000) == b"again and " * 100_000
    answer.close()
    endless.close()
    other.request("POST", "/", b"x")
    assert json.loads(other.getresponse().read())["body"] == "x"
    other.close()
